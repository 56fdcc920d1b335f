/* SPDX-License-Identifier: MIT
 *
 * Closes pool channels in forked children. A child of the program has a copy of the channel; if it kept the copy, the
 * template would not see the end of a program that dies or executes another.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "../spawn/flight.h"
#include "../sys/syscall.h"
#include "internal.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static odf_pool *_Atomic pools;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Takes no lock, as a signal handler may fork. Each change of the list is one store, so a copy taken at any moment is
 * consistent. The inode is compared because the program may have closed the channel and reused its number. */
static void child(void)
{
	struct stat status;

	for (odf_pool *pool = atomic_load(&pools); pool != NULL; pool = atomic_load(&pool->next))
		if (pool->channel >= 0 && fstat(pool->channel, &status) == 0 && S_ISSOCK(status.st_mode) &&
		    status.st_ino == pool->channel_inode)
			sys_close(pool->channel);
	atomic_store(&pools, NULL);
	flight_forget();
	lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
}

static void begin(void)
{
	(void)pthread_atfork(NULL, NULL, child); /* if it fails (ENOMEM), children keep the channel */
}

void pool_enter(odf_pool *pool)
{
	(void)pthread_once(&once, begin);
	(void)pthread_mutex_lock(&lock);
	atomic_store(&pool->next, atomic_load(&pools));
	atomic_store(&pools, pool);
	(void)pthread_mutex_unlock(&lock);
}

void pool_leave(odf_pool *pool)
{
	odf_pool *_Atomic *at = &pools;
	odf_pool *found;

	(void)pthread_mutex_lock(&lock);
	while ((found = atomic_load(at)) != NULL && found != pool)
		at = &found->next;
	if (found != NULL)
		atomic_store(at, atomic_load(&pool->next));
	(void)pthread_mutex_unlock(&lock);
}
