// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Runs a command, and makes marks at random times until it ends: a recorder takes a snapshot at
 * each, wherever the command is just then. Arguments: seed, the longest pause in milliseconds,
 * the command. How the command ended is a fact for the lab; it is no matter of this program's.
 */
#include "story.h"

int main(int argc, char **argv)
{
	char name[32];
	int status;
	pid_t pid;

	if (argc < 4)
		die(2, "usage: marks SEED MILLISECONDS COMMAND ...");
	srandom(atoi(argv[1]));
	pid = fork();
	must(pid < 0, "fork");
	if (pid == 0) {
		execvp(argv[3], argv + 3);
		die(127, "%s: %s", argv[3], strerror(errno));
	}
	for (int n = 0; waitpid(pid, &status, WNOHANG) == 0; n++) {
		usleep(random() % atoi(argv[2]) * 1000);
		snprintf(name, sizeof(name), "random_%d", n);
		mark(name);
	}
	if (WIFSIGNALED(status))
		fact("ended", "signal %d", WTERMSIG(status));
	else
		fact("ended", "status %d", WEXITSTATUS(status));
	return 0;
}
