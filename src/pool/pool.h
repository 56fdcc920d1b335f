/* SPDX-License-Identifier: MIT
 *
 * The pool, for the files of this folder and for worker tasks. The public functions are in odfork.h.
 *
 * A pool has a template: a process that is a copy of the program as it was when the pool was made. It does nothing but
 * make processes, each a copy of itself in which a function of the program runs. Neither it nor what it makes is a
 * child of the program's (stand_in.c says whose), so that no wait() finds them.
 */
#ifndef ODF_POOL_POOL_H
#define ODF_POOL_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "odfork.h"

/* What a made process runs. Its result is the exit status. `argument` is a copy, aligned as malloc's memory is;
 * `fds` are the descriptors that were given, in their order, close-on-exec, under numbers of this process.
 * No atexit handler runs, and no stream is flushed. */
typedef int pool_function(const void *argument, size_t length, const int *fds, size_t count);

#define POOL_ARGUMENT_MOST 16384u /* bytes; what is longer goes by a descriptor of shared memory */
#define POOL_FDS_MOST      200u

struct pool_process {
	pid_t pid; /* not a child of the caller's: for people, and for what else can be told of it while it runs */
	int pidfd; /* close-on-exec; -1 where the kernel has none (before Linux 5.3) */
	int end;   /* close-on-exec: for poll(), readable when the process has ended */
};
#define POOL_PROCESS_NONE { .pid = 0, .pidfd = -1, .end = -1 }

/* Makes one more process from the template. It has of the program's descriptors the standard three, as they are now,
 * and `fds`; the signal mask and the dispositions that the program had when the template was made; everything
 * else as the program had it then. It dies with the template, and that with the program. Where the template was killed
 * a new one is made first, a copy of the program as it is by then.
 *
 * 0, or an errno value: EPERM (the pool of another process), ENOTSUP (made without a template), E2BIG, EAGAIN, ENOMEM,
 * EMFILE, ENFILE. Thread-safe. */
int pool_process_make(odf_pool *pool, pool_function *function, const void *argument, size_t length, const int *fds,
		      size_t count, struct pool_process *process);

/* Waits until it has ended, for at most `timeout_ms` (-1: without an end). 0 with the wait status; ETIMEDOUT; ECHILD:
 * it has ended with the template, nobody knows how (SIGKILL at the latest). The answer is given once. */
int pool_process_wait(struct pool_process *process, int timeout_ms, int *status);

/* Sends a signal, never to another process: 0 or ESRCH (has ended), EPERM. */
int pool_process_kill(struct pool_process *process, int signal);

/* Closes the descriptors. The process goes on. */
void pool_process_forget(struct pool_process *process);

/* A copy of a descriptor at a number that programs do not expect theirs at, close-on-exec; closes the other. Should
 * there be none it stays where it is. */
int pool_lift(int fd);
#endif
