/* SPDX-License-Identifier: MIT
 *
 * The pool, for the files of this folder and for worker tasks. The public functions are in odfork.h.
 *
 * A pool has a template: a process that is a copy of the program as it was when the pool was made. All it does is make
 * processes, each a copy of itself that runs one function of the program. Neither the template nor these processes are
 * children of the program (stand_in.c says whose they are), so no wait() of the program finds them.
 */
#ifndef ODF_POOL_POOL_H
#define ODF_POOL_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "odfork.h"

/* The function that a made process runs. Its result is the exit status. `argument` is a copy, aligned as malloc aligns;
 * `fds` are the caller's descriptors in the same order, close-on-exec, with numbers of this process. No atexit handler
 * runs, and no stream is flushed. */
typedef int pool_function(const void *argument, size_t length, const int *fds, size_t count);

#define POOL_ARGUMENT_MOST 16384u /* bytes; longer data goes by a descriptor of shared memory */
#define POOL_FDS_MOST      200u

struct pool_process {
	pid_t pid; /* not a child of the caller: for messages, and to look the process up while it runs */
	int pidfd; /* close-on-exec; -1 if the kernel has no pidfds (before Linux 5.3) */
	int end;   /* close-on-exec; poll() finds it readable when the process has ended */
};
#define POOL_PROCESS_NONE { .pid = 0, .pidfd = -1, .end = -1 }

/* Makes a process from the template. Of the program's descriptors it has the standard three, as they are now, and
 * `fds`. Signal mask, dispositions and all else are as they were in the program when the template was made. The process
 * is killed when the template ends, and the template ends with the program. If the template was killed, a new one is
 * made first, a copy of the program as it is then.
 *
 * Returns 0 or an errno value: EPERM (another process's pool), ENOTSUP (a pool without a template), E2BIG, EAGAIN,
 * ENOMEM, EMFILE, ENFILE. Thread-safe. */
int pool_process_make(odf_pool *pool, pool_function *function, const void *argument, size_t length, const int *fds,
		      size_t count, struct pool_process *process);

/* Waits until the process has ended, for at most `timeout_ms` (-1: no limit). 0 with the wait status; ETIMEDOUT;
 * ECHILD: the template ended first, and the wait status is lost (the process is killed then, if it was not dead).
 * Reports the end once. */
int pool_process_wait(struct pool_process *process, int timeout_ms, int *status);

/* Sends a signal, and never to a process that has got the id since. 0, or ESRCH (it has ended), EPERM. */
int pool_process_kill(struct pool_process *process, int signal);

/* Closes the descriptors. The process continues. */
void pool_process_forget(struct pool_process *process);

/* Moves a descriptor to a number above those that programs expect for their own, close-on-exec, and returns it. If none
 * is free there the descriptor stays where it is. */
int pool_lift(int fd);
#endif
