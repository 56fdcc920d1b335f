/* SPDX-License-Identifier: MIT
 *
 * System calls in the test's own code, which no library can interpose: x86-64 and AArch64.
 */
#ifndef ODF_TESTS_REAL_CALL_H
#define ODF_TESTS_REAL_CALL_H

#include <signal.h>
#include <sys/syscall.h>

/* Returns what the kernel returns: on failure minus an errno value. */
static __attribute__((noinline, unused)) long real_call(long number, long a, long b, long c, long d, long e, long f)
{
#if defined __x86_64__
	long result;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
#elif defined __aarch64__
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	return x0;
#else
#error "no system call in assembly for this machine"
#endif
}

/* A fork that no library sees; on failure minus an errno value. */
static inline long real_fork(void)
{
	return real_call(SYS_clone, SIGCHLD, 0, 0, 0, 0, 0);
}

/* For syscall(). AArch64 has no system calls fork and open. */
#ifdef SYS_fork
#define FORK_BY_NUMBER SYS_fork
#define OPEN_BY_NUMBER SYS_open
#else
#define FORK_BY_NUMBER SYS_clone, SIGCHLD, 0, 0, 0, 0
#define OPEN_BY_NUMBER SYS_openat, AT_FDCWD
#endif
#endif
