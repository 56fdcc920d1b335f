/* SPDX-License-Identifier: MIT
 *
 * Calls after which memory must not be a region's: descriptors for direct input, by which devices write past the page tables to pages that a freeze or a
 * settle would move away from under them; and what makes the kernel know a place by the file behind it: futexes that are not private, which libc has in
 * robust and process-shared objects and at the top of a thread's stack.
 *
 * Without memory of a region in the process each is a branch.
 */
#undef _FILE_OFFSET_BITS /* open and open64 are to be two names */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../heap/heap.h"
#include "../libc/libc.h"
#include "../region/region.h"
#include "../sys/readable.h"

#define EXPORTED __attribute__((visibility("default")))

static void note_flags(int flags)
{
	if (flags & O_DIRECT)
		heap_leave(ODF_REASON_HEAP_PINS);
}

static bool has_mode(int flags)
{
	return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE;
}

/* The mode as the caller passed it, where there is one. */
#define MODE(last)                                                                                                               \
	mode_t mode = 0;                                                                                                         \
	if (has_mode(flags)) {                                                                                                   \
		va_list rest;                                                                                                    \
		va_start(rest, last);                                                                                            \
		mode = va_arg(rest, mode_t);                                                                                     \
		va_end(rest);                                                                                                    \
	}                                                                                                                        \
	note_flags(flags)

EXPORTED int open(const char *path, int flags, ...)
{
	MODE(flags);
	return libc_open(LIBC_OPEN, path, flags, mode);
}

EXPORTED int open64(const char *path, int flags, ...)
{
	MODE(flags);
	return libc_open(LIBC_OPEN64, path, flags, mode);
}

EXPORTED int openat(int directory, const char *path, int flags, ...)
{
	MODE(flags);
	return libc_openat(LIBC_OPEN, directory, path, flags, mode);
}

EXPORTED int openat64(int directory, const char *path, int flags, ...)
{
	MODE(flags);
	return libc_openat(LIBC_OPEN64, directory, path, flags, mode);
}

/* What fortified programs call where there is no mode. */
EXPORTED int __open_2(const char *path, int flags);
EXPORTED int __open_2(const char *path, int flags)
{
	note_flags(flags);
	return libc_open(LIBC_OPEN_2, path, flags, 0);
}

EXPORTED int __open64_2(const char *path, int flags);
EXPORTED int __open64_2(const char *path, int flags)
{
	note_flags(flags);
	return libc_open(LIBC_OPEN64_2, path, flags, 0);
}

EXPORTED int __openat_2(int directory, const char *path, int flags);
EXPORTED int __openat_2(int directory, const char *path, int flags)
{
	note_flags(flags);
	return libc_openat(LIBC_OPEN_2, directory, path, flags, 0);
}

EXPORTED int __openat64_2(int directory, const char *path, int flags);
EXPORTED int __openat64_2(int directory, const char *path, int flags)
{
	note_flags(flags);
	return libc_openat(LIBC_OPEN64_2, directory, path, flags, 0);
}

static int change(enum libc_open which, int file, int command, void *argument)
{
	if (command == F_SETFL)
		note_flags((int)(intptr_t)argument);
	return libc_fcntl(which, file, command, argument);
}

/* Every argument of it is a word. */
EXPORTED int fcntl(int file, int command, ...)
{
	void *argument;
	va_list rest;

	va_start(rest, command);
	argument = va_arg(rest, void *);
	va_end(rest);
	return change(LIBC_OPEN, file, command, argument);
}

EXPORTED int fcntl64(int file, int command, ...)
{
	void *argument;
	va_list rest;

	va_start(rest, command);
	argument = va_arg(rest, void *);
	va_end(rest);
	return change(LIBC_OPEN64, file, command, argument);
}

/* ---- Limits ---- */

static void note_limit(int resource, const struct rlimit64 *limit)
{
	if ((resource == RLIMIT_AS || resource == RLIMIT_DATA) && limit != NULL && sys_is_readable(limit, sizeof *limit) &&
	    limit->rlim_cur < HEAP_NO_LIMIT)
		heap_leave(ODF_REASON_HEAP_LIMIT);
}

EXPORTED int setrlimit(__rlimit_resource_t resource, const struct rlimit *limit)
{
	note_limit((int)resource, (const struct rlimit64 *)limit);
	return libc_prlimit(0, (int)resource, (const struct rlimit64 *)limit, NULL);
}

EXPORTED int setrlimit64(__rlimit_resource_t resource, const struct rlimit64 *limit)
{
	note_limit((int)resource, limit);
	return libc_prlimit(0, (int)resource, limit, NULL);
}

EXPORTED int prlimit(pid_t process, enum __rlimit_resource resource, const struct rlimit *limit, struct rlimit *old)
{
	if (process == 0 || process == getpid())
		note_limit((int)resource, (const struct rlimit64 *)limit);
	return libc_prlimit(process, (int)resource, (const struct rlimit64 *)limit, (struct rlimit64 *)old);
}

EXPORTED int prlimit64(pid_t process, enum __rlimit_resource resource, const struct rlimit64 *limit, struct rlimit64 *old)
{
	if (process == 0 || process == getpid())
		note_limit((int)resource, limit);
	return libc_prlimit(process, (int)resource, limit, old);
}

/* A filter may kill for what the heap does to wake. */
EXPORTED int prctl(int option, ...)
{
	unsigned long arguments[4];
	va_list rest;

	va_start(rest, option);
	for (int i = 0; i < 4; i++) /* every argument of it is a word; those that were not passed are not used */
		arguments[i] = va_arg(rest, unsigned long);
	va_end(rest);
	if (option == PR_SET_SECCOMP)
		heap_stay_asleep(ODF_REASON_HEAP_SANDBOX);
	return libc_prctl(option, arguments[0], arguments[1], arguments[2], arguments[3]);
}

/* ---- Futexes that are not private ---- */

EXPORTED int pthread_attr_setstack(pthread_attr_t *attributes, void *stack, size_t size)
{
	int error = libc_pthread_attr_setstack(attributes, stack, size);

	if (error == 0)
		heap_keep(stack, size);
	return error;
}

EXPORTED int pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attributes)
{
	int shared = PTHREAD_PROCESS_PRIVATE, robust = PTHREAD_MUTEX_STALLED, protocol = PTHREAD_PRIO_NONE;

	if (attributes != NULL && region_bytes() != 0) {
		(void)pthread_mutexattr_getpshared(attributes, &shared);
		(void)pthread_mutexattr_getrobust(attributes, &robust);
		(void)pthread_mutexattr_getprotocol(attributes, &protocol);
		if (shared != PTHREAD_PROCESS_PRIVATE || robust != PTHREAD_MUTEX_STALLED || protocol == PTHREAD_PRIO_INHERIT)
			heap_keep(mutex, sizeof *mutex);
	}
	return libc_pthread_mutex_init(mutex, attributes);
}

EXPORTED int pthread_cond_init(pthread_cond_t *restrict condition, const pthread_condattr_t *restrict attributes)
{
	int shared = PTHREAD_PROCESS_PRIVATE;

	if (attributes != NULL && region_bytes() != 0 && pthread_condattr_getpshared(attributes, &shared) == 0 && shared != PTHREAD_PROCESS_PRIVATE)
		heap_keep(condition, sizeof *condition);
	return libc_pthread_cond_init(condition, attributes);
}

EXPORTED int pthread_rwlock_init(pthread_rwlock_t *restrict lock, const pthread_rwlockattr_t *restrict attributes)
{
	int shared = PTHREAD_PROCESS_PRIVATE;

	if (attributes != NULL && region_bytes() != 0 && pthread_rwlockattr_getpshared(attributes, &shared) == 0 && shared != PTHREAD_PROCESS_PRIVATE)
		heap_keep(lock, sizeof *lock);
	return libc_pthread_rwlock_init(lock, attributes);
}

EXPORTED int pthread_barrier_init(pthread_barrier_t *restrict barrier, const pthread_barrierattr_t *restrict attributes, unsigned count)
{
	int shared = PTHREAD_PROCESS_PRIVATE;

	if (attributes != NULL && region_bytes() != 0 && pthread_barrierattr_getpshared(attributes, &shared) == 0 && shared != PTHREAD_PROCESS_PRIVATE)
		heap_keep(barrier, sizeof *barrier);
	return libc_pthread_barrier_init(barrier, attributes, count);
}

EXPORTED int sem_init(sem_t *semaphore, int shared, unsigned value)
{
	if (shared)
		heap_keep(semaphore, sizeof *semaphore);
	return libc_sem_init(semaphore, shared, value);
}
