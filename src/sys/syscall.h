/* SPDX-License-Identifier: MIT
 *
 * System calls without libc. For code that runs between clone and exec, in a signal handler, or in a probe: no errno,
 * no thread-local storage, no cancellation, no PLT, and none of what libc adds (its setuid signals every thread; its
 * sigprocmask hides the signals that it uses itself).
 *
 * Convention: the result, or minus the errno value. Never sets errno on x86-64 and AArch64. Elsewhere libc's syscall()
 * is used, which does, so callers that must keep errno save it.
 *
 * Preconditions are those of the system call. No function here loops on EINTR, allocates or locks.
 */
#ifndef ODF_SYS_SYSCALL_H
#define ODF_SYS_SYSCALL_H

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Numbers that older headers lack; the same on every architecture since Linux 5.1. */
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_clone3
#define SYS_clone3 435
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif
#ifndef SYS_process_madvise
#define SYS_process_madvise 440
#endif

#ifndef O_LARGEFILE
#define O_LARGEFILE 0
#endif

/* For code that a child runs on its parent's memory: it must not be instrumented, as shadow memory and counters are the
 * parent's. */
#define ODF_UNINSTRUMENTED __attribute__((no_sanitize("address", "undefined", "thread")))

#ifdef ODF_INJECT_FAILURES
/* Defined by the tests, which make chosen calls fail and pass on the others. */
long sys_call6(long number, long a, long b, long c, long d, long e, long f);
#elif defined __x86_64__ && !defined __ILP32__
static inline ODF_UNINSTRUMENTED long sys_call6(long number, long a, long b, long c, long d, long e, long f)
{
	long result;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}
#elif defined __aarch64__
static inline ODF_UNINSTRUMENTED long sys_call6(long number, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	return x0;
}
#else
static inline ODF_UNINSTRUMENTED long sys_call6(long number, long a, long b, long c, long d, long e, long f)
{
	long result = syscall(number, a, b, c, d, e, f);
	return result == -1 ? -errno : result;
}
#endif

#define sys_call0(n)                sys_call6((n), 0, 0, 0, 0, 0, 0)
#define sys_call1(n, a)             sys_call6((n), (long)(a), 0, 0, 0, 0, 0)
#define sys_call2(n, a, b)          sys_call6((n), (long)(a), (long)(b), 0, 0, 0, 0)
#define sys_call3(n, a, b, c)       sys_call6((n), (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define sys_call4(n, a, b, c, d)    sys_call6((n), (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define sys_call5(n, a, b, c, d, e) sys_call6((n), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)

/* openat with O_CLOEXEC added, and O_LARGEFILE, which libc adds for 32-bit programs. Is not restarted: a signal may
 * interrupt it with EINTR on slow files. */
static inline ODF_UNINSTRUMENTED int sys_open(const char *path, int flags, unsigned mode)
{
	return (int)sys_call4(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC | O_LARGEFILE, mode);
}

static inline ODF_UNINSTRUMENTED int sys_close(int fd)
{
	return (int)sys_call1(SYS_close, fd);
}

static inline ODF_UNINSTRUMENTED long sys_read(int fd, void *buffer, size_t size)
{
	return sys_call3(SYS_read, fd, buffer, size);
}

static inline ODF_UNINSTRUMENTED long sys_write(int fd, const void *buffer, size_t size)
{
	return sys_call3(SYS_write, fd, buffer, size);
}

/* Changes the calling thread's mask: all 64 signals of the kernel, with those that libc reserves. */
static inline ODF_UNINSTRUMENTED int sys_sigprocmask(int how, const uint64_t *set, uint64_t *old)
{
	return (int)sys_call4(SYS_rt_sigprocmask, how, set, old, sizeof *set);
}
#endif
