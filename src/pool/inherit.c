/* SPDX-License-Identifier: MIT
 *
 * A child that is forked while there is a pool has a copy of the pool's channel, and would keep the template from
 * seeing the end of a program that executes another or dies. It closes its copy. */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "../spawn/flight.h"
#include "../sys/syscall.h"
#include "internal.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static odf_pool *_Atomic pools;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Takes no lock, as a fork may come in a signal handler: each change of the list is one store, so that a copy of it
 * from any moment is whole. The program may have closed all descriptors that it does not know, and use the number. */
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
	(void)pthread_atfork(NULL, NULL, child); /* without memory for it children keep the channel */
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
