/* SPDX-License-Identifier: MIT
 *
 * libc's syscall(): a table of the numbers that are not passed on as they are. All other numbers cost a lookup.
 */
#include "syscall.h"

#if PRELOAD_HAS_SYSCALL
#include <errno.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/uio.h>

#include "../heap/heap.h"
#include "../libc/libc.h"
#include "../region/region.h"
#include "../sys/syscall.h"
#include "preload.h"

/* ---- Mapping calls: always by the heap ---- */

static long do_mmap(long number, const long w[6])
{
	(void)number;
	return heap_mmap((void *)w[0], (size_t)w[1], (int)w[2], (int)w[3], (int)w[4], w[5]);
}

static long do_munmap(long number, const long w[6])
{
	(void)number;
	return heap_munmap((void *)w[0], (size_t)w[1]);
}

static long do_mremap(long number, const long w[6])
{
	(void)number;
	return heap_mremap((void *)w[0], (size_t)w[1], (size_t)w[2], (int)w[3], (void *)w[4]);
}

static long do_madvise(long number, const long w[6])
{
	(void)number;
	return heap_madvise((void *)w[0], (size_t)w[1], (int)w[2]);
}

static long do_mprotect(long number, const long w[6])
{
	(void)number;
	return heap_mprotect((void *)w[0], (size_t)w[1], (int)w[2]);
}

static long do_pkey_mprotect(long number, const long w[6])
{
	(void)number;
	return heap_pkey_mprotect((void *)w[0], (size_t)w[1], (int)w[2], (int)w[3]);
}

static long do_mlock(long number, const long w[6])
{
	(void)number;
	return heap_mlock((void *)w[0], (size_t)w[1]);
}

static long do_mlock2(long number, const long w[6])
{
	(void)number;
	return heap_mlock2((void *)w[0], (size_t)w[1], (unsigned)w[2]);
}

static long do_munlock(long number, const long w[6])
{
	(void)number;
	return heap_munlock((void *)w[0], (size_t)w[1]);
}

static long do_mlockall(long number, const long w[6])
{
	(void)number;
	return heap_mlockall((int)w[0]);
}

static long do_mincore(long number, const long w[6])
{
	(void)number;
	return heap_mincore((void *)w[0], (size_t)w[1], (unsigned char *)w[2]);
}

static long do_msync(long number, const long w[6])
{
	long result = sys_call3(number, w[0], w[1], w[2]);

	return result == 0 && heap_meets_hole((void *)w[0], (size_t)w[1]) ? -ENOMEM : result;
}

static long do_process_madvise(long number, const long w[6])
{
	(void)number;
	return heap_process_madvise((int)w[0], (const struct iovec *)w[1], (size_t)w[2], (int)w[3], (unsigned)w[4]);
}

static long do_shmat(long number, const long w[6])
{
	(void)number;
	return heap_shmat((int)w[0], (const void *)w[1], (int)w[2]);
}

static long do_shmdt(long number, const long w[6])
{
	(void)number;
	return heap_shmdt((const void *)w[0]);
}

static long do_remap_file_pages(long number, const long w[6])
{
	(void)number;
	return heap_remap_file_pages((void *)w[0], (size_t)w[1], (int)w[2], (size_t)w[3], (int)w[4]);
}

static long do_mseal(long number, const long w[6])
{
	(void)number;
	return heap_mseal((void *)w[0], (size_t)w[1], (unsigned long)w[2]);
}

/* ---- Calls that are looked at and passed on ---- */

static bool look_at_seccomp(const long w[6])
{
	if (w[0] == SECCOMP_SET_MODE_STRICT)
		heap_before_filter(HEAP_FILTER_STRICT, 0, NULL);
	else if (w[0] == SECCOMP_SET_MODE_FILTER)
		heap_before_filter(HEAP_FILTER_SECCOMP, (unsigned long)w[1], (const void *)w[2]);
	return false;
}

static bool look_at_setrlimit(const long w[6])
{
	preload_note_limit((int)w[0], (const struct rlimit64 *)w[1]);
	return false;
}

static bool look_at_prlimit(const long w[6])
{
	if ((int)w[0] == 0 || (int)w[0] == (int)sys_call0(SYS_getpid))
		preload_note_limit((int)w[1], (const struct rlimit64 *)w[2]);
	return false;
}

/* PR_SET_VMA is answered here: the kernel names anonymous memory only. */
static bool look_at_prctl(const long w[6])
{
	if ((int)w[0] == PR_SET_SECCOMP)
		heap_before_filter(w[1] == SECCOMP_MODE_STRICT ? HEAP_FILTER_STRICT : HEAP_FILTER_PRCTL, 0,
				   (const void *)w[2]);
	if ((int)w[0] == PR_SET_TSC)
		preload_before_tsc((unsigned long)w[1]);
	if ((int)w[0] == PR_SET_MM)
		preload_before_title((unsigned long)w[1], (unsigned long)w[2], (unsigned long)w[3]);
	if ((int)w[0] == PR_SET_MEMORY_MERGE)
		heap_before_merging(w[1] != 0);
	return (int)w[0] == PR_SET_VMA && w[1] == PR_SET_VMA_ANON_NAME;
}

static long do_prctl(long number, const long w[6])
{
	(void)number;
	return heap_name((void *)w[2], (size_t)w[3], (const char *)w[4]);
}

/* libnuma makes it by syscall() too. */
static bool look_at_mbind(const long w[6])
{
	heap_place((const void *)w[0], (size_t)w[1], (int)w[2]);
	return false;
}

static bool look_at_ring(const long w[6])
{
	(void)w;
	heap_leave(ODF_REASON_HEAP_PINS);
	return false;
}

static bool look_at_end(const long w[6])
{
	(void)w;
	heap_process_ends();
	return false;
}

static const struct syscall_entry table[] = {
	[SYS_mmap] = { NULL, do_mmap },
	[SYS_munmap] = { NULL, do_munmap },
	[SYS_mremap] = { NULL, do_mremap },
	[SYS_madvise] = { NULL, do_madvise },
	[SYS_mprotect] = { NULL, do_mprotect },
	[SYS_pkey_mprotect] = { NULL, do_pkey_mprotect },
	[SYS_mlock] = { NULL, do_mlock },
	[SYS_mlock2] = { NULL, do_mlock2 },
	[SYS_munlock] = { NULL, do_munlock },
	[SYS_mlockall] = { NULL, do_mlockall },
	[SYS_mincore] = { NULL, do_mincore },
	[SYS_msync] = { NULL, do_msync },
	[SYS_process_madvise] = { NULL, do_process_madvise },
	[SYS_shmat] = { NULL, do_shmat },
	[SYS_shmdt] = { NULL, do_shmdt },
	[SYS_remap_file_pages] = { NULL, do_remap_file_pages },
	[NUMBER_MSEAL] = { NULL, do_mseal },
#ifdef SYS_fork /* AArch64 never had it */
	[SYS_fork] = { syscall_look_at_fork, syscall_make_process },
#endif
	[SYS_clone] = { syscall_look_at_clone, syscall_make_process },
	[SYS_clone3] = { syscall_look_at_clone3, syscall_make_process },
	[SYS_execve] = { NULL, syscall_execve },
	[SYS_execveat] = { NULL, syscall_execveat },
	[SYS_exit_group] = { look_at_end, NULL },
	[SYS_wait4] = { syscall_look_at_wait4, syscall_wait4 },
	[SYS_waitid] = { syscall_look_at_waitid, syscall_waitid },
	[SYS_seccomp] = { look_at_seccomp, NULL },
	[SYS_prctl] = { look_at_prctl, do_prctl },
	[SYS_setrlimit] = { look_at_setrlimit, NULL },
	[SYS_prlimit64] = { look_at_prlimit, NULL },
	[SYS_futex] = { syscall_look_at_futex, NULL },
	[NUMBER_FUTEX_WAITV] = { syscall_look_at_futex_waitv, NULL },
	[NUMBER_FUTEX_WAKE] = { syscall_look_at_futex2, NULL },
	[NUMBER_FUTEX_WAIT] = { syscall_look_at_futex2, NULL },
	[NUMBER_FUTEX_REQUEUE] = { syscall_look_at_futex_requeue, NULL },
	[SYS_mbind] = { look_at_mbind, NULL },
	[SYS_io_uring_register] = { look_at_ring, NULL },
	[SYS_io_uring_setup] = { NULL, syscall_io_uring_setup },
#ifdef SYS_open
	[SYS_open] = { NULL, syscall_open },
#endif
#ifdef SYS_creat
	[SYS_creat] = { NULL, syscall_creat },
#endif
	[SYS_openat] = { NULL, syscall_openat },
	[SYS_openat2] = { NULL, syscall_openat2 },
	[SYS_open_by_handle_at] = { NULL, syscall_open_by_handle_at },
	[SYS_fcntl] = { syscall_look_at_fcntl, NULL },
	[SYS_pidfd_getfd] = { NULL, syscall_receive },
	[SYS_recvmsg] = { NULL, syscall_recvmsg },
	[SYS_recvmmsg] = { NULL, syscall_recvmmsg },
	[SYS_socket] = { NULL, syscall_socket },
	[SYS_setns] = { NULL, syscall_setns },
	[SYS_unshare] = { NULL, syscall_unshare },
	[SYS_kill] = { NULL, syscall_kill },
	[SYS_vmsplice] = { NULL, syscall_vmsplice },
	[SYS_sendto] = { syscall_look_at_sendto, NULL },
	[SYS_sendmsg] = { syscall_look_at_sendmsg, NULL },
	[SYS_sendmmsg] = { syscall_look_at_sendmmsg, NULL },
	[SYS_setsockopt] = { syscall_look_at_setsockopt, NULL },
	[SYS_userfaultfd] = { NULL, syscall_userfaultfd },
	[SYS_ioctl] = { syscall_look_at_ioctl, syscall_ioctl },
};

static const struct syscall_entry *find_entry(long number)
{
	return (unsigned long)number < sizeof table / sizeof *table ? &table[number] : NULL;
}

/* Called by the assembly below with the arguments of syscall(): the number, the first five words, and the sixth where
 * SIXTH says; on x86-64 that is above the return address. */
#ifdef __x86_64__
#define SIXTH 7
#else
#define SIXTH 6
#endif
__attribute__((used)) bool interposed_is_ours(const long *frame);
bool interposed_is_ours(const long *frame)
{
	const struct syscall_entry *entry = find_entry(frame[0]);
	long words[6] = { 0 };

	if (entry == NULL || (entry->look == NULL && entry->answer == NULL))
		return false;
	if (entry->look == NULL)
		return true;
	for (int i = 0; i < 5; i++)
		words[i] = frame[1 + i];
	words[5] = frame[SIXTH];
	return entry->look(words) && entry->answer != NULL;
}

__attribute__((used)) long interposed_call(long number, long a, long b, long c, long d, long e, long f);
long interposed_call(long number, long a, long b, long c, long d, long e, long f)
{
	const long words[6] = { a, b, c, d, e, f };
	long result = table[number].answer(number, words);

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

/* A jump, not a call: the child of a call with CLONE_VM returns on its parent's stack, which must hold no frame of ours
 * then. The seventh argument of interposed_call lies where syscall() has it. */
#ifdef __x86_64__
__asm__(".text\n"
	".globl syscall\n"
	".type syscall, @function\n"
	"syscall:\n"
	"	.cfi_startproc\n"
	"	endbr64\n"
	"	pushq %r9\n	.cfi_adjust_cfa_offset 8\n"
	"	pushq %r8\n	.cfi_adjust_cfa_offset 8\n"
	"	pushq %rcx\n	.cfi_adjust_cfa_offset 8\n"
	"	pushq %rdx\n	.cfi_adjust_cfa_offset 8\n"
	"	pushq %rsi\n	.cfi_adjust_cfa_offset 8\n"
	"	pushq %rdi\n	.cfi_adjust_cfa_offset 8\n"
	"	movq %rsp, %rdi\n"
	"	subq $8, %rsp\n	.cfi_adjust_cfa_offset 8\n"
	"	call interposed_is_ours\n"
	"	movzbl %al, %eax\n"
	"	testl %eax, %eax\n"
	"	leaq interposed_call(%rip), %rax\n"
	"	jne 3f\n"
	"	call interposed_libc_syscall\n"
	"3:	addq $8, %rsp\n	.cfi_adjust_cfa_offset -8\n"
	"	popq %rdi\n	.cfi_adjust_cfa_offset -8\n"
	"	popq %rsi\n	.cfi_adjust_cfa_offset -8\n"
	"	popq %rdx\n	.cfi_adjust_cfa_offset -8\n"
	"	popq %rcx\n	.cfi_adjust_cfa_offset -8\n"
	"	popq %r8\n	.cfi_adjust_cfa_offset -8\n"
	"	popq %r9\n	.cfi_adjust_cfa_offset -8\n"
	"	jmpq *%rax\n"
	"	.cfi_endproc\n"
	".size syscall, .-syscall\n");
#else
__asm__(".text\n"
	".globl syscall\n"
	".type syscall, @function\n"
	"syscall:\n"
	"	.cfi_startproc\n"
	"	hint #34\n" /* bti c */
	"	stp x0, x1, [sp, #-80]!\n	.cfi_adjust_cfa_offset 80\n"
	"	stp x2, x3, [sp, #16]\n"
	"	stp x4, x5, [sp, #32]\n"
	"	str x6, [sp, #48]\n"
	"	stp x29, x30, [sp, #64]\n	.cfi_rel_offset 29, 64\n	.cfi_rel_offset 30, 72\n"
	"	mov x0, sp\n"
	"	bl interposed_is_ours\n"
	"	and w0, w0, #255\n"
	"	adrp x16, interposed_call\n"
	"	add x16, x16, #:lo12:interposed_call\n"
	"	cbnz w0, 3f\n"
	"	bl interposed_libc_syscall\n"
	"	mov x16, x0\n"
	"3:	ldp x29, x30, [sp, #64]\n	.cfi_restore 29\n	.cfi_restore 30\n"
	"	ldr x6, [sp, #48]\n"
	"	ldp x4, x5, [sp, #32]\n"
	"	ldp x2, x3, [sp, #16]\n"
	"	ldp x0, x1, [sp], #80\n	.cfi_adjust_cfa_offset -80\n"
	"	br x16\n"
	"	.cfi_endproc\n"
	".size syscall, .-syscall\n");
#endif
#endif
