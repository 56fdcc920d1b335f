/* SPDX-License-Identifier: MIT
 *
 * A child process that holds a new namespace.
 */
#ifndef ODF_TESTS_NAMESPACE_HOLDER_H
#define ODF_TESTS_NAMESPACE_HOLDER_H

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "keeper_program.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

/* The child is killed when this process ends. *error: 0, or why it has no new namespace. */
static inline pid_t hold_namespace(int flag, int *error)
{
	int ready[2];
	pid_t pid;

	must(pipe2(ready, O_CLOEXEC) == 0);
	pid = fork();
	must(pid >= 0);
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		*error = unshare(flag) == 0 ? 0 : errno;
		must(write(ready[1], error, sizeof *error) == sizeof *error);
		for (;;)
			pause();
	}
	close(ready[1]);
	must(read(ready[0], error, sizeof *error) == sizeof *error);
	close(ready[0]);
	return pid;
}
#endif
