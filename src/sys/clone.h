/* SPDX-License-Identifier: MIT
 *
 * Makes a child that runs a function on a stack of its own, without libc: for children that share memory with their
 * parent (CLONE_VM | CLONE_VFORK). The caller blocks all signals first. The function obeys the rules for code between
 * clone and exec.
 */
#ifndef ODF_SYS_CLONE_H
#define ODF_SYS_CLONE_H

#include <sched.h>
#include <stddef.h>
#include <stdint.h>

#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x00001000
#endif
#ifndef CLONE_CLEAR_SIGHAND
#define CLONE_CLEAR_SIGHAND 0x100000000ULL
#endif
#ifndef CLONE_INTO_CGROUP
#define CLONE_INTO_CGROUP 0x200000000ULL
#endif
/* From headers of Linux 7.1. */
#ifndef CLONE_AUTOREAP
#define CLONE_AUTOREAP 0x400000000ULL
#endif
#ifndef CLONE_NNP
#define CLONE_NNP 0x800000000ULL
#endif
#ifndef CLONE_PIDFD_AUTOKILL
#define CLONE_PIDFD_AUTOKILL 0x1000000000ULL
#endif

struct clone_request {
	uint64_t flags;  /* CLONE_*, without the exit signal */
	int exit_signal; /* 0: no SIGCHLD, and only a wait with __WCLONE sees the child */
	void *stack;     /* lowest address */
	size_t stack_size;
	int (*function)(void *argument); /* its return value is the child's exit status */
	void *argument;
	int *pidfd;    /* with CLONE_PIDFD: set before the child runs, by kernels that know the flag (5.2) */
	int cgroup_fd; /* with CLONE_INTO_CGROUP */
	void *local;   /* with CLONE_SETTLS: the child's thread pointer */
	/* If not NULL: the kernel stores the child's id here before the child runs. When the child releases the memory,
	 * by exec or its end, the kernel stores 0 and wakes the futex. clone cannot do this together with a pidfd,
	 * which uses the same argument: then it is not stored to. */
	int *alive;
};

/* By clone3: all flags. Returns the pid, or minus an errno value: ENOSYS if this file has no code for the
 * architecture. */
long clone3_child(const struct clone_request *request);

/* By clone: the lower 32 bits of the flags only; the caller must not set higher ones. Returns the pid, or minus an
 * errno value. */
long clone_child(const struct clone_request *request);
#endif
