/* SPDX-License-Identifier: MIT
 *
 * Calls after which memory must not be in a region: limits, sandboxes, and futexes that are not private, which the
 * kernel keys by the file behind the page (futex.c). libc has such futexes in robust and process-shared objects, and at
 * the top of a thread's stack. For descriptors see descriptors.c.
 *
 * In a process without memory in regions each costs a branch or a few.
 */
#undef _FILE_OFFSET_BITS /* prlimit and prlimit64 are to be two names */
#include <errno.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../heap/heap.h"
#include "../libc/libc.h"
#include "../record/record.h"
#include "../region/region.h"
#include "preload.h"
#include "../sys/readable.h"

#define EXPORTED __attribute__((visibility("default")))

/* ---- Limits ---- */

void preload_note_limit(int resource, const struct rlimit64 *limit)
{
	if (resource == RLIMIT_FSIZE && limit != NULL)
		record_note_file_limit();
	if ((resource == RLIMIT_AS || resource == RLIMIT_DATA) && limit != NULL &&
	    sys_is_readable(limit, sizeof *limit) && limit->rlim_cur < HEAP_NO_LIMIT)
		heap_leave(ODF_REASON_HEAP_LIMIT);
	if (resource == RLIMIT_NPROC && limit != NULL && sys_is_readable(limit, sizeof *limit) &&
	    limit->rlim_cur < REGION_PROCESSES_LEAST)
		heap_leave(ODF_REASON_HEAP_PROCESS);
}

EXPORTED int setrlimit(__rlimit_resource_t resource, const struct rlimit *limit)
{
	preload_note_limit((int)resource, (const struct rlimit64 *)limit);
	return libc_prlimit(0, (int)resource, (const struct rlimit64 *)limit, NULL);
}

EXPORTED int setrlimit64(__rlimit_resource_t resource, const struct rlimit64 *limit)
{
	preload_note_limit((int)resource, limit);
	return libc_prlimit(0, (int)resource, limit, NULL);
}

EXPORTED int prlimit(pid_t process, enum __rlimit_resource resource, const struct rlimit *limit, struct rlimit *old)
{
	if (process == 0 || process == getpid())
		preload_note_limit((int)resource, (const struct rlimit64 *)limit);
	return libc_prlimit(process, (int)resource, (const struct rlimit64 *)limit, (struct rlimit64 *)old);
}

EXPORTED int prlimit64(pid_t process, enum __rlimit_resource resource, const struct rlimit64 *limit,
		       struct rlimit64 *old)
{
	if (process == 0 || process == getpid())
		preload_note_limit((int)resource, limit);
	return libc_prlimit(process, (int)resource, limit, old);
}

/* RDTSC raises SIGSEGV from then on, also in the library's reads of the clock, and in a keeper that inherits this. */
void preload_before_tsc(unsigned long how)
{
	if ((int)how == PR_TSC_SIGSEGV)
		heap_leave(ODF_REASON_HEAP_SANDBOX);
}

/* A filter may kill the process for the heap's calls. */
EXPORTED int prctl(int option, ...)
{
	unsigned long arguments[4];
	va_list rest;

	va_start(rest, option);
	for (int i = 0; i < 4; i++) /* each argument is a word; garbage where the caller passed none */
		arguments[i] = va_arg(rest, unsigned long);
	va_end(rest);
	if (option == PR_SET_SECCOMP)
		heap_before_filter(arguments[0] == SECCOMP_MODE_STRICT ? HEAP_FILTER_STRICT : HEAP_FILTER_PRCTL, 0,
				   (const void *)arguments[1]);
	if (option == PR_SET_TSC)
		preload_before_tsc(arguments[0]);
	if (option == PR_SET_MM)
		preload_before_title(arguments[0], arguments[1], arguments[2]);
	if (option == PR_SET_MEMORY_MERGE)
		heap_before_merging(arguments[0] != 0);
	if (option == PR_SET_VMA && arguments[0] == PR_SET_VMA_ANON_NAME) {
		long result = heap_name((void *)arguments[1], arguments[2], (const char *)arguments[3]);
		if (result < 0)
			errno = (int)-result;
		return result < 0 ? -1 : 0;
	}
	return libc_prctl(option, arguments[0], arguments[1], arguments[2], arguments[3]);
}

/* ---- Futexes that are not private ---- */

/* Also while the heap is asleep: when it wakes it takes memory that is mapped now. */

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

	if (attributes != NULL) {
		(void)pthread_mutexattr_getpshared(attributes, &shared);
		(void)pthread_mutexattr_getrobust(attributes, &robust);
		(void)pthread_mutexattr_getprotocol(attributes, &protocol);
		if (shared != PTHREAD_PROCESS_PRIVATE || robust != PTHREAD_MUTEX_STALLED ||
		    protocol == PTHREAD_PRIO_INHERIT)
			heap_keep(mutex, sizeof *mutex);
	}
	return libc_pthread_mutex_init(mutex, attributes);
}

EXPORTED int pthread_cond_init(pthread_cond_t *restrict condition, const pthread_condattr_t *restrict attributes)
{
	int shared = PTHREAD_PROCESS_PRIVATE;

	if (attributes != NULL && pthread_condattr_getpshared(attributes, &shared) == 0 &&
	    shared != PTHREAD_PROCESS_PRIVATE)
		heap_keep(condition, sizeof *condition);
	return libc_pthread_cond_init(condition, attributes);
}

EXPORTED int pthread_rwlock_init(pthread_rwlock_t *restrict lock, const pthread_rwlockattr_t *restrict attributes)
{
	int shared = PTHREAD_PROCESS_PRIVATE;

	if (attributes != NULL && pthread_rwlockattr_getpshared(attributes, &shared) == 0 &&
	    shared != PTHREAD_PROCESS_PRIVATE)
		heap_keep(lock, sizeof *lock);
	return libc_pthread_rwlock_init(lock, attributes);
}

EXPORTED int pthread_barrier_init(pthread_barrier_t *restrict barrier, const pthread_barrierattr_t *restrict attributes,
				  unsigned count)
{
	int shared = PTHREAD_PROCESS_PRIVATE;

	if (attributes != NULL && pthread_barrierattr_getpshared(attributes, &shared) == 0 &&
	    shared != PTHREAD_PROCESS_PRIVATE)
		heap_keep(barrier, sizeof *barrier);
	return libc_pthread_barrier_init(barrier, attributes, count);
}

EXPORTED int sem_init(sem_t *semaphore, int shared, unsigned value)
{
	if (shared)
		heap_keep(semaphore, sizeof *semaphore);
	return libc_sem_init(semaphore, shared, value);
}
