/* SPDX-License-Identifier: MIT
 *
 * A child that runs a function on a stack of its own, without libc's knowledge: for children that share memory with
 * their parent (CLONE_VM | CLONE_VFORK). The caller blocks all signals first; the function obeys the rules of code
 * between clone and exec.
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
	int exit_signal; /* 0: no SIGCHLD, and waited for with __WCLONE only */
	void *stack;     /* lowest address */
	size_t stack_size;
	int (*function)(void *argument); /* its result is the child's exit status, should it return */
	void *argument;
	int *pidfd;    /* with CLONE_PIDFD: set by kernels that know the flag (5.2), before the child runs */
	int cgroup_fd; /* with CLONE_INTO_CGROUP */
	void *local;   /* with CLONE_SETTLS: where the thread pointer is to point */
	/* If not NULL: the child's id from before it runs until it lets go of the memory, by exec or its end; then 0,
	 * and a futex wake. Not by clone together with a pidfd, which takes the argument's place: then it is left
	 * alone. */
	int *alive;
};

/* By clone3: all flags. The pid, or minus an errno value: ENOSYS where the architecture has no code for it here. */
long clone3_child(const struct clone_request *request);

/* By clone: flags of 32 bits only, the high ones are the caller's to leave out. The pid, or minus an errno value. */
long clone_child(const struct clone_request *request);
#endif
