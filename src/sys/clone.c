/* SPDX-License-Identifier: MIT
 * The child starts here on its own stack: not instrumented, and it calls only the request's function. */
#include "clone.h"

#include <errno.h>
#include <stddef.h>

#include "syscall.h"

/* The kernel's struct clone_args, up to its second extension (5.7). */
struct clone3_arguments {
	_Alignas(8) uint64_t flags;
	uint64_t pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};
enum { CLONE3_SIZE_FIRST = 64, CLONE3_SIZE_CGROUP = 88 };
_Static_assert(offsetof(struct clone3_arguments, set_tid) == CLONE3_SIZE_FIRST &&
		       sizeof(struct clone3_arguments) == CLONE3_SIZE_CGROUP,
	       "as the kernel has it");

#if defined __x86_64__ && !defined __ILP32__
/* In the child the system call returns 0 on an empty stack, with all other registers unchanged. The child clears the
 * frame pointer, which ends back-traces, calls the function, and exits with its result. */
static ODF_UNINSTRUMENTED long enter(long number, long a, long b, long c, long d, long e, int (*function)(void *),
				     void *argument)
{
	long result;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register int (*r12)(void *) __asm__("r12") = function;
	register void *r13 __asm__("r13") = argument;
	__asm__ volatile("syscall\n\t"
			 "testq %%rax, %%rax\n\t"
			 "jnz 1f\n\t"
			 "xorl %%ebp, %%ebp\n\t"
			 "movq %%r13, %%rdi\n\t"
			 "callq *%%r12\n\t"
			 "movl %%eax, %%edi\n\t"
			 "movl %[exit], %%eax\n\t"
			 "syscall\n\t"
			 "hlt\n"
			 "1:"
			 : "=a"(result)
			 : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r12),
			   "r"(r13), [exit] "i"(SYS_exit_group)
			 : "rcx", "r11", "memory");
	return result;
}

long clone3_child(const struct clone_request *request)
{
	struct clone3_arguments arguments = {
		.flags = request->flags,
		.exit_signal = (uint64_t)request->exit_signal,
		.stack = (uint64_t)(uintptr_t)request->stack,
		.stack_size = request->stack_size,
		.tls = (uint64_t)(uintptr_t)request->local,
	};
	long size = CLONE3_SIZE_FIRST;

	if (request->flags & CLONE_PIDFD)
		arguments.pidfd = (uint64_t)(uintptr_t)request->pidfd;
	if (request->alive != NULL) {
		arguments.flags |= CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;
		arguments.parent_tid = arguments.child_tid = (uint64_t)(uintptr_t)request->alive;
	}
	if (request->flags & CLONE_INTO_CGROUP) {
		arguments.cgroup = (uint64_t)request->cgroup_fd;
		size = CLONE3_SIZE_CGROUP;
	}
	return enter(SYS_clone3, (long)&arguments, size, 0, 0, 0, request->function, request->argument);
}

long clone_child(const struct clone_request *request)
{
	char *top = (char *)request->stack + request->stack_size;
	uint64_t flags = request->flags | (uint64_t)request->exit_signal;
	int *stored = request->pidfd;

	if (request->alive != NULL && request->pidfd == NULL) {
		flags |= CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;
		stored = request->alive;
	}
	return enter(SYS_clone, (long)flags, (long)top, (long)stored, (long)request->alive, (long)request->local,
		     request->function, request->argument);
}
#else
long clone3_child(const struct clone_request *request)
{
	(void)request;
	return -ENOSYS;
}

long clone_child(const struct clone_request *request)
{
	int saved = errno;
	uint64_t flags = request->flags | (uint64_t)request->exit_signal;
	int *stored = request->pidfd;
	long pid;

	if (request->alive != NULL && request->pidfd == NULL) {
		flags |= CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;
		stored = request->alive;
	}
	pid = clone(request->function, (char *)request->stack + request->stack_size, (int)flags, request->argument,
		    stored, request->local, request->alive);

	if (pid < 0)
		pid = -errno;
	errno = saved;
	return pid;
}
#endif
