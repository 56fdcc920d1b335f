/* SPDX-License-Identifier: MIT
 *
 * The system calls of test_region_injection: which of them fails, when, and with which errno.
 */
#include "region_injection.h"

#define SCAN        _IOWR('f', 16, uint64_t[12])
#define IOC_NEW     _IO(0xAA, 0x00)
#define QUERY       _IOWR('f', 17, uint64_t[13]) /* PROCMAP_QUERY: Linux 6.11 */

struct control *control;

__thread bool ours; /* in a thread of the program, not in the keeper */

/* ---- The system calls -------------------------------------------------------------------------------------------- */

static bool infallible(long number, long b)
{
	switch (number) {
	case SYS_rt_sigprocmask:
	case SYS_futex:
	case SYS_close:
	case SYS_getpid:
	case SYS_gettid:
	case SYS_tgkill:
	case SYS_nanosleep:
	case SYS_sched_yield:
	case SYS_getppid:
	case SYS_wait4:
	case SYS_exit_group:
		return true;
	case SYS_munmap:
		return !control->trimming || !ours;
	case SYS_ioctl:
		return b == (long)UFFDIO_WAKE || (b == (long)UFFDIO_UNREGISTER && control->error != ENOMEM);
	default:
		return false;
	}
}

static bool fails(long number, long b)
{
	if (control == NULL || !atomic_load(&control->armed) || infallible(number, b))
		return false;
	atomic_fetch_add(&control->counts[number], 1);
	if (number != control->number || atomic_fetch_sub(&control->countdown, 1) > 1 ||
	    atomic_fetch_sub(&control->times, 1) <= 0)
		return false;
	atomic_fetch_add(&control->failures, 1);
	return true;
}

struct halt halt;

static void halt_between_steps(long number, long b, long c)
{
	const uint64_t *scan = (const uint64_t *)(uintptr_t)c;

	if (ours || number != SYS_ioctl || b != (long)SCAN || scan[7] == 0 /* max_pages: a merge */ ||
	    atomic_load(&halt.countdown) == 0 || atomic_fetch_sub(&halt.countdown, 1) != 1)
		return;
	halt.reached = true;
	sem_post(&halt.arrived);
	while (sem_wait(&halt.resume) != 0)
		;
}

static long lacking(long number, long b)
{
	if ((control->modes & NO_SCAN) && number == SYS_ioctl && b == (long)SCAN)
		return ENOTTY;
	if ((control->modes & NO_QUERY) && number == SYS_ioctl && b == (long)QUERY)
		return ENOTTY;
	if ((control->modes & NO_CLOSE_RANGE) && number == SYS_close_range)
		return ENOSYS;
	if ((control->modes & NO_USERFAULT) &&
	    (number == SYS_userfaultfd || (number == SYS_ioctl && b == (long)IOC_NEW)))
		return EPERM;
	return 0;
}

long sys_call6(long number, long a, long b, long c, long d, long e, long f)
{
	if (control == NULL)
		return real_call(number, a, b, c, d, e, f);
	if (lacking(number, b) != 0)
		return -lacking(number, b);
	halt_between_steps(number, b, c);
	if (!fails(number, b))
		return real_call(number, a, b, c, d, e, f);
	if (control->unmap && number == SYS_mremap && (d & MREMAP_FIXED))
		(void)real_call(SYS_munmap, e, c, 0, 0, 0, 0);
	if (control->unmap && number == SYS_mmap && (d & MAP_FIXED))
		(void)real_call(SYS_munmap, a, b, 0, 0, 0, 0);
	return -(long)control->error;
}

long __wrap_clone_child(const struct clone_request *request)
{
	return fails(FAKE_CLONE, 0) ? -(long)control->error : __real_clone_child(request);
}

void die(const char *format, ...)
{
	char text[400];
	va_list arguments;

	atomic_store(&control->armed, false);
	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	if (!atomic_exchange(&control->told, true))
		snprintf(control->text, sizeof control->text, "%s: %s", control->where, text);
	_exit(1);
}

void lift(void)
{
	atomic_store(&control->times, 0);
}

uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void wait_a_moment(void)
{
	struct timespec time = { 0, 300000 };

	nanosleep(&time, NULL);
}
