// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Processes that share an address space: made by clone(CLONE_VM), whose two sides map and unmap
 * the same huge page, and by vfork(), until the child calls exec(). Each mapping is one, through
 * however many processes it is seen.
 */
#include "story.h"

#include <sched.h>

#define STACK (256 * 1024)

static char stack[STACK] __attribute__((aligned(16)));
static int down[2], up[2];

/* 's' splits the PMD mapping, 'u' unmaps some pages, 'm' marks from this side. */
static void act(char command)
{
	if (command == 's')
		must(mprotect(place(0) + 64 * PAGE, PAGE, PROT_READ), "mprotect");
	else if (command == 'u')
		must(munmap(place(0), 32 * PAGE), "munmap");
	else
		mark("of_the_child");
}

static int sharer(void *nothing)
{
	char command;

	(void)nothing;
	while (read(down[0], &command, 1) == 1 && command != 'q') {
		act(command);
		if (write(up[1], "", 1) != 1)
			break;
	}
	return 0;
}

static void tell(char command)
{
	char answer;

	must(write(down[1], &command, 1) != 1 || read(up[0], &answer, 1) != 1, "the sharer");
}

int main(void)
{
	int status;
	pid_t pid;

	map_huge(place(0));
	mark("alone");
	must(pipe(down) || pipe(up), "pipe");
	pid = clone(sharer, stack + STACK, CLONE_VM | SIGCHLD, NULL);
	must(pid < 0, "clone");
	mark("shared");
	tell('s');
	mark("split");
	tell('m');
	tell('u');
	mark("unmapped");
	/* The other side of what is shared: this process unmaps, too. */
	must(munmap(place(0) + 128 * PAGE, 32 * PAGE), "munmap");
	mark("unmapped_twice");
	must(write(down[1], "q", 1) != 1 || waitpid(pid, &status, 0) != pid, "waitpid");
	mark("sharer_gone");

	map_huge(place(1));
	pid = vfork();
	must(pid < 0, "vfork");
	if (pid == 0) {
		/* The parent sleeps in the kernel until the exec. */
		mark("in_vfork");
		execl("/bin/true", "true", NULL);
		_exit(1);
	}
	must(waitpid(pid, &status, 0) != pid || status, "the child of vfork()");
	mark("after_vfork");
	return 0;
}
