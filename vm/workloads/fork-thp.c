// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * fork in all its forms, on huge pages mapped by PMD, by PTE and both, on pinned pages, and what
 * ends an address space: exit, and exec, which keeps the process.
 *
 * usage: fork-thp (run as `fork-thp rest` it is what the exec starts: it waits for its end)
 */
#include "story.h"

#include <sys/syscall.h>
#include <sys/uio.h>

static struct child grandchild;

static void idle(char command)
{
	(void)command;
}

static void act(char command)
{
	if (command == 'u')
		must(munmap(place(0) + 256 * PAGE, 128 * PAGE), "munmap in the child");
	else if (command == 'f')
		grandchild = child_start(idle);
	else if (command == 'g')
		child_exit(&grandchild);
	else if (command == 'w')
		write_pages(place(1), 16, 128);
}

/* A child that gives its address space up by exec, and rests after it. */
static void fork_exec(void)
{
	int up[2], down[2], status;
	pid_t pid;
	char byte;

	must(pipe(up) || pipe(down), "pipe");
	fflush(NULL);
	pid = fork();
	must(pid < 0, "fork");
	if (pid == 0) {
		dup2(down[0], 0);
		dup2(up[1], 1);
		close(down[1]);
		execl("/proc/self/exe", "fork-thp", "rest", (char *)NULL);
		_exit(1);
	}
	close(up[1]);
	must(read(up[0], &byte, 1) != 1, "exec in a child");
	mark("exec_done");
	close(down[1]);
	must(waitpid(pid, &status, 0) != pid || status, "exec in a child");
	close(up[0]);
	close(down[0]);
}

/* Pins pages for long, as a driver does: fork must copy them at once. */
static int pin(char *at, size_t size)
{
	/* io_uring_params is 120 bytes; zero asks for nothing special. */
	static char params[120];
	struct iovec span = {at, size};
	int ring = syscall(425 /* io_uring_setup */, 1, params);

	if (ring < 0)
		return -1;
	if (syscall(427 /* io_uring_register */, ring, 0 /* buffers */, &span, 1)) {
		close(ring);
		return -1;
	}
	return ring;
}

static void fork_pinned(void)
{
	int ring;
	struct child child;

	map_huge(place(2));
	map_huge(place(3));
	must(mprotect(place(3) + PAGE, PAGE, PROT_READ), "mprotect");
	ring = pin(place(2), HUGE);
	if (ring < 0) {
		note("fork_pinned", strerror(errno));
	} else {
		mark("pinned_pmd");
		child = child_start(idle);
		mark("fork_pinned_pmd");
		child_exit(&child);
		close(ring);
	}
	ring = pin(place(3) + 64 * PAGE, 4 * PAGE);
	if (ring >= 0) {
		child = child_start(idle);
		mark("fork_pinned_pte");
		child_exit(&child);
		close(ring);
	}
	must(munmap(place(2), HUGE) || munmap(place(3), HUGE), "munmap");
	mark("pinned_gone");
}

int main(int argc, char **argv)
{
	struct child first, second;
	char byte;

	if (argc > 1 && !strcmp(argv[1], "rest")) {
		if (write(1, "", 1) != 1)
			return 1;
		return read(0, &byte, 1) != 0;
	}
	map_huge(place(0));
	map_huge(place(1));
	must(mprotect(place(1) + 8 * PAGE, PAGE, PROT_READ), "mprotect");
	mark("faulted");
	first = child_start(act);
	mark("forked");
	second = child_start(act);
	mark("forked_again");
	child_do(&first, 'u');
	mark("child_unmapped");
	child_do(&first, 'f');
	mark("grandchild");
	child_do(&second, 'w');
	mark("child_copied");
	write_pages(place(1), 64, 256);
	mark("parent_copied");
	child_do(&first, 'g');
	mark("grandchild_gone");
	if (can_split("split")) {
		split_folios(place(1), HUGE);
		mark("split");
	}
	child_do(&second, 'f');
	mark("forked_pages");
	fork_exec();
	mark("exec_gone");
	child_do(&second, 'g');
	child_exit(&second);
	child_exit(&first);
	mark("alone");
	fork_pinned();
	/* The rest is mapped when the process ends. */
	return 0;
}
