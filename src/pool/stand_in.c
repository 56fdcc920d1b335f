/* SPDX-License-Identifier: MIT
 *
 * Whose child a template is.
 *
 * A template must be made by libc's fork. The processes that it makes run functions of the program, which need the
 * locks of malloc, stdio and the loader in order, whatever other threads held at the fork. But the end of a child of
 * libc's fork is announced by SIGCHLD, and every wait() of the program would find it. A raw clone can have no exit
 * signal, but its child would have copies of locks that no thread releases.
 *
 * So a *stand-in* calls libc's fork. It is a child without an exit signal that shares the program's memory (CLONE_VM)
 * and runs on the stack and with the thread-local storage of the calling thread, which is suspended meanwhile. libc,
 * whose locks are in memory, takes it for that thread. Only a wait() with __WALL or __WCLONE finds it.
 *
 * As a rule the stand-in exits at once. The template is an orphan then, and a child of init or of the nearest
 * subreaper. If the program is itself the process that orphans are reparented to, the stand-in stays as the *guard*: it
 * is the parent of the template and a subreaper for all that the template makes, and exits when the last of them has
 * ended. From the moment when it lets the thread continue, the guard touches no memory: it runs a few instructions and
 * one system call, which do not use the stack.
 *
 * If memory is not shared although CLONE_VM asked for it (emulators), the stand-in is a copy, and the rest is the same.
 */
#include "stand_in.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#if defined __has_include
#if __has_include(<sys/rseq.h>)
#include <sys/rseq.h>
#pragma weak __rseq_offset
#pragma weak __rseq_size
#endif
#endif
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../capability/capability.h"
#include "../libc/libc.h"
#include "../region/region.h"
#include "../sys/syscall.h"

enum { RELEASED = -1, LOOK_US = 200, LOOKS = 5000, CLOSED_LEAST = 65536, CLOSED_MOST = 1 << 20 };

/* On the stack of the suspended thread. */
struct stand_in {
	struct template_start *start;
	int error;   /* errno of its fork */
	/* The guard's id, set before it runs; RELEASED: the thread may continue; 0, set by the kernel: it has ended. */
	int word;
	long guards; /* it stays as the guard */
};

static _Noreturn void end(int status)
{
	sys_call1(SYS_exit_group, status);
	__builtin_trap();
}

/* A process made by clone(CLONE_VM) has no rseq registration, nor have its children. libc believes that it has. */
static void renew_sequences(void)
{
#if defined RSEQ_SIG && (defined __x86_64__ || defined __aarch64__)
#ifdef __x86_64__
	char *thread = (char *)pthread_self();
#else
	char *thread = __builtin_thread_pointer();
#endif
	if (&__rseq_size != NULL && __rseq_size != 0)
		(void)sys_call4(SYS_rseq, thread + __rseq_offset, 32, 0, RSEQ_SIG);
#endif
}

/* The code of a guard from now on. All signals are blocked. */
static _Noreturn ODF_UNINSTRUMENTED void guard(int *word)
{
#if defined __x86_64__ && !defined __ILP32__
	__asm__ volatile("movl %[released], (%%rdi)\n\t"
			 "movl %[futex], %%eax\n\t"
			 "movl $1, %%esi\n\t" /* FUTEX_WAKE */
			 "movl $1, %%edx\n\t"
			 "syscall\n"
			 "1:\n\t"
			 "movl %[wait4], %%eax\n\t"
			 "movq $-1, %%rdi\n\t"
			 "xorl %%esi, %%esi\n\t"
			 "movl %[all], %%edx\n\t"
			 "xorl %%r10d, %%r10d\n\t"
			 "syscall\n\t"
			 "cmpq %[nobody], %%rax\n\t"
			 "jne 1b\n\t"
			 "movl %[exit], %%eax\n\t"
			 "xorl %%edi, %%edi\n\t"
			 "syscall\n\t"
			 "hlt"
			 :
			 : "D"(word), [released] "i"(RELEASED), [futex] "i"(SYS_futex), [wait4] "i"(SYS_wait4),
			   [all] "i"(__WALL), [nobody] "i"(-ECHILD), [exit] "i"(SYS_exit_group)
			 : "rax", "rcx", "rdx", "rsi", "r10", "r11", "memory");
#elif defined __aarch64__
	register int *x0 __asm__("x0") = word;
	register long x9 __asm__("x9") = __WALL;
	__asm__ volatile("mov w1, %[released]\n\t"
			 "stlr w1, [x0]\n\t"
			 "mov x8, %[futex]\n\t"
			 "mov x1, #1\n\t" /* FUTEX_WAKE */
			 "mov x2, #1\n\t"
			 "svc 0\n"
			 "1:\n\t"
			 "mov x8, %[wait4]\n\t"
			 "mov x0, #-1\n\t"
			 "mov x1, xzr\n\t"
			 "mov x2, x9\n\t"
			 "mov x3, xzr\n\t"
			 "svc 0\n\t"
			 "cmn x0, %[nobody]\n\t"
			 "b.ne 1b\n\t"
			 "mov x8, %[exit]\n\t"
			 "mov x0, xzr\n\t"
			 "svc 0\n\t"
			 "brk 0"
			 : "+r"(x0)
			 : "r"(x9), [released] "i"(RELEASED), [futex] "i"(SYS_futex), [wait4] "i"(SYS_wait4),
			   [nobody] "i"(ECHILD), [exit] "i"(SYS_exit_group)
			 : "x1", "x2", "x3", "x8", "memory", "cc");
#else
	(void)word;
#endif
	__builtin_unreachable();
}

/* For kernels before Linux 5.9, and if a filter refuses close_range. */
static void close_each(void)
{
	struct rlimit64 limit = { .rlim_max = CLOSED_LEAST };
	uint64_t most;

	if (sys_call4(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &limit) < 0 || limit.rlim_max < CLOSED_LEAST)
		limit.rlim_max = CLOSED_LEAST; /* it may have been higher when descriptors were opened */
	most = limit.rlim_max < CLOSED_MOST ? limit.rlim_max : CLOSED_MOST;
	for (uint64_t fd = 0; fd < most; fd++)
		sys_close((int)fd);
}

/* The guard's descriptor table is a copy: closing it releases the program's files, and the program keeps its own. */
static void become_guard(void)
{
	(void)sys_call2(SYS_prctl, PR_SET_NAME, "odfork-guard"); /* for ps */
	(void)sys_call2(SYS_setpgid, 0, 0);
	(void)sys_call1(SYS_chdir, "/");
	if (sys_call3(SYS_close_range, 0, ~0u, 0) < 0)
		close_each();
	(void)sys_call1(SYS_set_tid_address, NULL); /* at exit the kernel must not write to the thread's word */
}

/* On the stack of the suspended thread, below what make_stand_in needs. */
static _Noreturn ODF_UNINSTRUMENTED __attribute__((noinline)) void stand_in(struct stand_in *own)
{
	/* Before the fork: a child inherits whether the kernel looks for a subreaper among its ancestors. */
	bool guards = own->guards && sys_call2(SYS_prctl, PR_SET_CHILD_SUBREAPER, 1) == 0;
	pid_t pid = libc_fork();

	if (pid == 0) {
		region_stand_in_child();
		region_in_child();
		renew_sequences();
		pool_serve(own->start);
	}
	own->error = pid < 0 ? errno : 0;
	if (pid < 0 || !guards)
		end(0);
	become_guard();
	guard(&own->word);
}

/* The system call is in this very function, and the new process never returns from it: both run on one stack, and
 * frames that one of them leaves would be overwritten by the other. The thread waits for a guard in the instructions
 * after the call, which do not use the stack. On other architectures the stand-in is an ordinary short-lived child. */
static ODF_UNINSTRUMENTED __attribute__((noinline)) long make_stand_in(struct stand_in *own)
{
#if defined __x86_64__ && !defined __ILP32__
	register int *r10 __asm__("r10") = &own->word;
	register int *rdx __asm__("rdx") = &own->word;
	register long r8 __asm__("r8") = 0;
	register long r12 __asm__("r12") = own->guards;
	register int *r13 __asm__("r13") = &own->word;
	long flags = own->guards ? CLONE_VM | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID : CLONE_VM | CLONE_VFORK;
	long pid;

	__asm__ volatile("syscall\n\t"
			 "testq %%rax, %%rax\n\t"
			 "jle 3f\n\t"
			 "testq %%r12, %%r12\n\t"
			 "jz 3f\n\t"
			 "movq %%rax, %%r14\n"
			 "1:\n\t"
			 "movl (%%r13), %%edx\n\t"
			 "cmpl %%r14d, %%edx\n\t"
			 "jne 2f\n\t"
			 "movl %[futex], %%eax\n\t"
			 "movq %%r13, %%rdi\n\t"
			 "xorl %%esi, %%esi\n\t" /* FUTEX_WAIT while the word equals edx */
			 "xorl %%r10d, %%r10d\n\t"
			 "syscall\n\t"
			 "jmp 1b\n"
			 "2:\n\t"
			 "movq %%r14, %%rax\n"
			 "3:"
			 : "=a"(pid), "+D"(flags), "+r"(r10), "+r"(rdx)
			 : "0"(SYS_clone), "S"(0), "r"(r8), "r"(r12), "r"(r13), [futex] "i"(SYS_futex)
			 : "rcx", "r11", "r14", "memory", "cc");
#elif defined __aarch64__
	register long x8 __asm__("x8") = SYS_clone;
	register long x0 __asm__("x0") =
		own->guards ? CLONE_VM | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID : CLONE_VM | CLONE_VFORK;
	register int *x1 __asm__("x1") = NULL;
	register int *x2 __asm__("x2") = &own->word;
	register long x3 __asm__("x3") = 0;
	register int *x4 __asm__("x4") = &own->word;
	register int *x10 __asm__("x10") = &own->word;
	register long x11 __asm__("x11") = own->guards;
	long pid;

	__asm__ volatile("svc 0\n\t"
			 "cmp x0, #0\n\t"
			 "b.le 3f\n\t"
			 "cbz x11, 3f\n\t"
			 "mov x12, x0\n"
			 "1:\n\t"
			 "ldar w2, [x10]\n\t"
			 "cmp w2, w12\n\t"
			 "b.ne 2f\n\t"
			 "mov x8, %[futex]\n\t"
			 "mov x0, x10\n\t"
			 "mov x1, xzr\n\t" /* FUTEX_WAIT while the word equals w2 */
			 "mov x3, xzr\n\t"
			 "svc 0\n\t"
			 "b 1b\n"
			 "2:\n\t"
			 "mov x0, x12\n"
			 "3:"
			 : "+r"(x0), "+r"(x8), "+r"(x1), "+r"(x2), "+r"(x3)
			 : "r"(x4), "r"(x10), "r"(x11), [futex] "i"(SYS_futex)
			 : "x12", "memory", "cc");
	pid = x0;
#else
	long pid = libc_fork();

	if (pid < 0)
		return -errno;
	if (pid == 0)
		region_in_child();
#endif
	if (pid == 0)
		stand_in(own);
	return pid;
}

/* Whether orphans are reparented to this process, and a guard is possible. */
static bool wants_guard(void)
{
#if (defined __x86_64__ && !defined __ILP32__) || defined __aarch64__
	int reaps = 0;

	if (getpid() != 1 && (sys_call2(SYS_prctl, PR_GET_CHILD_SUBREAPER, &reaps) < 0 || reaps == 0))
		return false;
	/* Without shared memory the word would never change. */
	(void)capability(ODF_PROBE_CLONE_VM);
	return capability_clone_vm_reason() == ODF_REASON_NONE;
#else
	return false;
#endif
}

int stand_in_fork(struct template_start *start, pid_t *guard_pid)
{
	struct stand_in own = { .start = start, .error = ECHILD, .guards = wants_guard() };
	bool alone = region_stand_in_begin();
	uint64_t began;
	long pid = -region_fork_begin(&began);

	*guard_pid = 0;
	if (pid == 0) {
		pid = make_stand_in(&own);
		region_fork_end(0);
	}
	if (pid > 0 && own.guards && __atomic_load_n(&own.word, __ATOMIC_ACQUIRE) == RELEASED)
		*guard_pid = (pid_t)pid;
	else if (pid > 0)
		while (sys_call4(SYS_wait4, pid, NULL, __WALL, NULL) == -EINTR)
			;
	region_stand_in_end(alone);
	return pid < 0 ? (int)-pid : own.error;
}

/* A process that a task has started and left behind may live on. Once the guard is gone, it is reparented to the
 * program, as it would have been without a guard. */
void stand_in_leave_guard(pid_t *guard_pid)
{
	static const struct timespec moment = { 0, LOOK_US * 1000 };
	long result = 0;

	if (*guard_pid == 0)
		return;
	for (int i = 0; i < LOOKS && (result == 0 || result == -EINTR); i++) {
		result = sys_call4(SYS_wait4, *guard_pid, NULL, WNOHANG | __WALL, NULL);
		if (result == 0)
			(void)sys_call2(SYS_nanosleep, &moment, NULL);
	}
	if (result == 0) {
		(void)sys_call2(SYS_kill, *guard_pid, SIGKILL); /* the id cannot be reused before the wait */
		while (sys_call4(SYS_wait4, *guard_pid, NULL, __WALL, NULL) == -EINTR)
			;
	}
	*guard_pid = 0;
}
