/* SPDX-License-Identifier: MIT
 *
 * libc's clone() and syscall(), where they make a process with memory of its own: sandboxes and browsers do. Everything else passes: threads, and children
 * that share this memory, freeze nothing. And syscall() where it is one of the mapping calls.
 */
#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#include "../heap/heap.h"
#include "../libc/libc.h"
#include "../region/region.h"
#include "../sys/syscall.h"

#define EXPORTED __attribute__((visibility("default")))

struct child {
	int (*function)(void *);
	void *argument;
};

static int start_child(void *child_pointer)
{
	struct child *child = child_pointer; /* in its own copy of the parent's stack */

	region_in_child();
	return child->function(child->argument);
}

/* Not as a thread, and not for as long only as its parent sleeps. */
static bool shares_quietly(uint64_t flags)
{
	return (flags & CLONE_VM) && !(flags & (CLONE_THREAD | CLONE_VFORK));
}

EXPORTED int clone(int (*function)(void *), void *stack, int flags, void *argument, ...)
{
	void *parent_id, *storage, *child_id;
	struct child child = { function, argument };
	uint64_t start;
	va_list rest;
	int pid, error;

	/* Which of them the caller passed depends on the flags; those that it did not are passed on as they are, and not used. */
	va_start(rest, argument);
	parent_id = va_arg(rest, void *);
	storage = va_arg(rest, void *);
	child_id = va_arg(rest, void *);
	va_end(rest);
	if (shares_quietly((unsigned)flags))
		region_memory_is_shared();
	if (function == NULL || stack == NULL || (flags & CLONE_VM) || region_bytes() == 0)
		return libc_clone(function, stack, flags, argument, parent_id, storage, child_id);
	error = region_fork_begin(&start, false);
	if (error != 0) {
		errno = error;
		return -1;
	}
	pid = libc_clone(start_child, stack, flags, &child, parent_id, storage, child_id);
	error = errno;
	region_fork_end(start);
	errno = error;
	return pid;
}

#if defined __x86_64__ && !defined __ILP32__
struct clone3_arguments {
	uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack;
};

/* Called from below with the arguments of syscall(): a child that returns from the call on a copy of this stack, when there are regions. */
__attribute__((used)) bool interposed_is_ours(long number, unsigned long first, unsigned long second);
bool interposed_is_ours(long number, unsigned long first, unsigned long second)
{
	const struct clone3_arguments *arguments = (const struct clone3_arguments *)first;

	if ((number == SYS_clone && shares_quietly(first)) ||
	    (number == SYS_clone3 && arguments != NULL && second >= sizeof *arguments && shares_quietly(arguments->flags)))
		region_memory_is_shared();
	switch (number) {
	case SYS_mmap:
	case SYS_munmap:
	case SYS_mremap:
	case SYS_madvise:
	case SYS_mprotect:
	case SYS_pkey_mprotect:
	case SYS_mlock:
	case SYS_mlock2:
	case SYS_munlock:
	case SYS_mlockall:
	case SYS_mincore:
	case SYS_msync:
	case SYS_process_madvise:
		return true;
	default:
		break;
	}
	if (number == SYS_seccomp)
		heap_stay_asleep(ODF_REASON_HEAP_SANDBOX);
	if (region_bytes() == 0)
		return false;
	/* What the kernel will know this memory by, or write past the page tables to. */
	if (number == SYS_futex && !(second & FUTEX_PRIVATE_FLAG))
		heap_keep((const void *)first, sizeof(int));
	else if (number == SYS_io_uring_register || number == SYS_io_setup)
		heap_leave(ODF_REASON_HEAP_PINS);
	switch (number) {
	case SYS_fork:
		return true;
	case SYS_clone: /* flags, stack */
		return !(first & CLONE_VM) && second == 0;
	case SYS_clone3: /* arguments, size */
		return arguments != NULL && second >= sizeof *arguments && !(arguments->flags & CLONE_VM) && arguments->stack == 0;
	default:
		return false;
	}
}

static long make_process(long number, long a, long b, long c, long d, long e)
{
	uint64_t start;
	long result = -region_fork_begin(&start, false);

	if (result < 0)
		return result;
	result = sys_call6(number, a, b, c, d, e, 0);
	if (result == 0)
		region_in_child();
	else
		region_fork_end(start);
	return result;
}

static long do_call(long number, long a, long b, long c, long d, long e, long f)
{
	switch (number) {
	case SYS_mmap:
		return heap_mmap((void *)a, (size_t)b, (int)c, (int)d, (int)e, f, NULL);
	case SYS_munmap:
		return heap_munmap((void *)a, (size_t)b);
	case SYS_mremap:
		return heap_mremap((void *)a, (size_t)b, (size_t)c, (int)d, (void *)e);
	case SYS_madvise:
		return heap_madvise((void *)a, (size_t)b, (int)c);
	case SYS_mprotect:
		return heap_mprotect((void *)a, (size_t)b, (int)c);
	case SYS_pkey_mprotect:
		return heap_pkey_mprotect((void *)a, (size_t)b, (int)c, (int)d);
	case SYS_mlock:
		return heap_mlock((void *)a, (size_t)b);
	case SYS_mlock2:
		return heap_mlock2((void *)a, (size_t)b, (unsigned)c);
	case SYS_munlock:
		return heap_munlock((void *)a, (size_t)b);
	case SYS_mlockall:
		return heap_mlockall((int)a);
	case SYS_mincore:
		return heap_mincore((void *)a, (size_t)b, (unsigned char *)c);
	case SYS_msync:
		number = sys_call3(SYS_msync, a, b, c);
		return number == 0 && heap_meets_hole((void *)a, (size_t)b) ? -ENOMEM : number;
	case SYS_process_madvise:
		return heap_process_madvise((int)a, (const struct iovec *)b, (size_t)c, (int)d, (unsigned)e);
	default:
		return make_process(number, a, b, c, d, e);
	}
}

__attribute__((used)) long interposed_call(long number, long a, long b, long c, long d, long e, long f);
long interposed_call(long number, long a, long b, long c, long d, long e, long f)
{
	long result = do_call(number, a, b, c, d, e, f);

	if (result < 0 && result >= -4095) {
		errno = (int)-result;
		return -1;
	}
	return result;
}

__attribute__((used)) libc_syscall_function *interposed_libc_syscall(void);
libc_syscall_function *interposed_libc_syscall(void)
{
	return libc_syscall();
}

/* A jump and no call, as the child of a call with CLONE_VM returns on its parent's stack, which must then hold nothing of ours. The seventh argument of
 * interposed_call is where it is for syscall(). */
__asm__(".text\n"
	".globl syscall\n"
	".type syscall, @function\n"
	"syscall:\n"
	"	.cfi_startproc\n"
	"	pushq %rdi\n	.cfi_adjust_cfa_offset 8\n"
	"	pushq %rsi\n	.cfi_adjust_cfa_offset 8\n"
	"	pushq %rdx\n	.cfi_adjust_cfa_offset 8\n"
	"	pushq %rcx\n	.cfi_adjust_cfa_offset 8\n"
	"	pushq %r8\n	.cfi_adjust_cfa_offset 8\n"
	"	pushq %r9\n	.cfi_adjust_cfa_offset 8\n"
	"	subq $8, %rsp\n	.cfi_adjust_cfa_offset 8\n"
	"	call interposed_is_ours\n"
	"	movzbl %al, %eax\n"
	"	testl %eax, %eax\n"
	"	leaq interposed_call(%rip), %rax\n"
	"	jne 3f\n"
	"	call interposed_libc_syscall\n"
	"3:	addq $8, %rsp\n	.cfi_adjust_cfa_offset -8\n"
	"	popq %r9\n	.cfi_adjust_cfa_offset -8\n"
	"	popq %r8\n	.cfi_adjust_cfa_offset -8\n"
	"	popq %rcx\n	.cfi_adjust_cfa_offset -8\n"
	"	popq %rdx\n	.cfi_adjust_cfa_offset -8\n"
	"	popq %rsi\n	.cfi_adjust_cfa_offset -8\n"
	"	popq %rdi\n	.cfi_adjust_cfa_offset -8\n"
	"	jmpq *%rax\n"
	"	.cfi_endproc\n"
	".size syscall, .-syscall\n");
#endif
