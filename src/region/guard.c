/* SPDX-License-Identifier: MIT
 *
 * The keeper reads the program's memory while the program runs, and the program may unmap that at the same moment by a
 * raw system call. The fault would end the keeper in the middle of a step, and a kernel before 5.16 would end with it
 * all processes that share its memory. So code that may fault is called by keeper_try: after a fault that returns
 * EFAULT.
 *
 * On x86-64 and AArch64. On others, under a shadow stack, and after any other fault, the keeper ends as it would
 * without this. The signal handler makes no call, as the keeper's filter permits few: it sets where the thread
 * continues.
 */
#include <errno.h>
#include <signal.h>
#include <ucontext.h>

#include "keeper.h"
#include "step.h"

/* The stack pointer in keeper_try, to which a fault returns; 0: nothing is tried. The keeper has one thread. */
__attribute__((visibility("hidden"), used)) uintptr_t keeper_try_stack;

#if defined __x86_64__
void keeper_try_failed(void);
__asm__(".text\n"
	".hidden keeper_try\n"
	".globl keeper_try\n"
	".type keeper_try, @function\n"
	"keeper_try:\n"
#ifdef __CET__
	"	endbr64\n"
#endif
	"	pushq %rbp\n"
	"	pushq %rbx\n"
	"	pushq %r12\n"
	"	pushq %r13\n"
	"	pushq %r14\n"
	"	pushq %r15\n"
	"	subq $8, %rsp\n"
	"	movq %rsp, keeper_try_stack(%rip)\n"
	"	movq %rdi, %rax\n"
	"	movq %rsi, %rdi\n"
	"	call *%rax\n"
	"1:	movq $0, keeper_try_stack(%rip)\n"
	"	addq $8, %rsp\n"
	"	popq %r15\n"
	"	popq %r14\n"
	"	popq %r13\n"
	"	popq %r12\n"
	"	popq %rbx\n"
	"	popq %rbp\n"
	"	ret\n"
	".hidden keeper_try_failed\n"
	".globl keeper_try_failed\n"
	"keeper_try_failed:\n"
	"	movl $14, %eax\n" /* EFAULT */
	"	jmp 1b\n"
	".size keeper_try, .-keeper_try\n");

static bool go_on(ucontext_t *context)
{
	context->uc_mcontext.gregs[REG_RSP] = (greg_t)keeper_try_stack;
	context->uc_mcontext.gregs[REG_RIP] = (greg_t)(uintptr_t)keeper_try_failed;
	return true;
}

#elif defined __aarch64__
void keeper_try_failed(void);
__asm__(".text\n"
	".hidden keeper_try\n"
	".globl keeper_try\n"
	".type keeper_try, @function\n"
	"keeper_try:\n"
	"	hint #34\n" /* bti c */
	"	stp x29, x30, [sp, #-160]!\n"
	"	stp x19, x20, [sp, #16]\n"
	"	stp x21, x22, [sp, #32]\n"
	"	stp x23, x24, [sp, #48]\n"
	"	stp x25, x26, [sp, #64]\n"
	"	stp x27, x28, [sp, #80]\n"
	"	stp d8, d9, [sp, #96]\n"
	"	stp d10, d11, [sp, #112]\n"
	"	stp d12, d13, [sp, #128]\n"
	"	stp d14, d15, [sp, #144]\n"
	"	adrp x9, keeper_try_stack\n"
	"	mov x10, sp\n"
	"	str x10, [x9, #:lo12:keeper_try_stack]\n"
	"	mov x9, x0\n"
	"	mov x0, x1\n"
	"	blr x9\n"
	"1:	adrp x9, keeper_try_stack\n"
	"	str xzr, [x9, #:lo12:keeper_try_stack]\n"
	"	ldp x19, x20, [sp, #16]\n"
	"	ldp x21, x22, [sp, #32]\n"
	"	ldp x23, x24, [sp, #48]\n"
	"	ldp x25, x26, [sp, #64]\n"
	"	ldp x27, x28, [sp, #80]\n"
	"	ldp d8, d9, [sp, #96]\n"
	"	ldp d10, d11, [sp, #112]\n"
	"	ldp d12, d13, [sp, #128]\n"
	"	ldp d14, d15, [sp, #144]\n"
	"	ldp x29, x30, [sp], #160\n"
	"	ret\n"
	".hidden keeper_try_failed\n"
	".globl keeper_try_failed\n"
	"keeper_try_failed:\n"
	"	mov w0, #14\n" /* EFAULT */
	"	b 1b\n"
	".size keeper_try, .-keeper_try\n");

static bool go_on(ucontext_t *context)
{
	context->uc_mcontext.sp = keeper_try_stack;
	context->uc_mcontext.pc = (uintptr_t)keeper_try_failed;
	return true;
}

#else
int keeper_try(int (*function)(void *), void *argument)
{
	return function(argument);
}

static bool go_on(ucontext_t *context)
{
	(void)context;
	return false;
}
#endif

void keeper_try_forget(void)
{
	keeper_try_stack = 0;
}

void keeper_fault(int signal, siginfo_t *about, void *context)
{
	/* Sent by a process, or a notice of bad memory that nobody has touched yet. */
	if (about->si_code <= 0 || (signal == SIGBUS && about->si_code == BUS_MCEERR_AO))
		return;
	if (keeper_try_stack == 0 || !go_on(context))
		__builtin_trap();
}
