/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "../sys/structure.h"
#include "../sys/syscall.h"
#include "internal.h"
#include "share.h"

#define FIRST_SIZE STRUCTURE_UP_TO(odf_pool_options, flags)
#define ALL_FLAGS  ODF_POOL_NO_TASKS

/* Programs expect the lowest free number below it; above it the descriptor table, which each made process copies, would
 * soon have to grow. */
#define LOWEST 40

int pool_lift(int fd)
{
	long lifted = sys_call3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, LOWEST);

	if (lifted < 0 && fd <= STDERR_FILENO) /* as one of the standard three it would pass for the program's */
		lifted = sys_call3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	if (lifted < 0)
		return fd;
	sys_close(fd);
	return (int)lifted;
}

int pool_check(const odf_pool *pool)
{
	return spawn_pool_check(pool == NULL ? NULL : &pool->spawn);
}

static int read_options(odf_pool_options *ours, const odf_pool_options *theirs)
{
	int error = theirs == NULL ? 0 : structure_read(ours, sizeof *ours, theirs, FIRST_SIZE);

	if (error == 0 && ((ours->flags & ~(uint64_t)ALL_FLAGS) || ours->workers_max > SHARE_WORKERS_MOST ||
			   ours->workers_min > SHARE_WORKERS_MOST || ours->queue > SHARE_QUEUE_MOST ||
			   (ours->workers_max != 0 && ours->workers_min > ours->workers_max)))
		error = EINVAL;
	return error;
}

static odf_pool *create(const odf_pool_options *options, bool once)
{
	odf_pool_options read = ODF_POOL_OPTIONS_INIT;
	int error = read_options(&read, options), saved = errno;
	odf_pool *pool = error == 0 ? calloc(1, sizeof *pool) : NULL;

	if (pool == NULL) {
		errno = error == 0 ? ENOMEM : error;
		return NULL;
	}
	*pool = (odf_pool){ .spawn.process = getpid(), .options = read, .once = once, .channel = -1,
			    .template_pidfd = -1 };
	(void)pthread_mutex_init(&pool->lock, NULL);
	if (!(read.flags & ODF_POOL_NO_TASKS))
		error = pool_template_start(pool);
	if (error != 0) {
		free(pool);
		errno = error;
		return NULL;
	}
	pool_enter(pool);
	errno = saved;
	return pool;
}

odf_pool *odf_pool_create(const odf_pool_options *options)
{
	return create(options, false);
}

odf_pool *pool_create_once(const odf_pool_options *options)
{
	return create(options, true);
}

int odf_pool_destroy(odf_pool *pool)
{
	int saved = errno, error = pool_check(pool);

	if (error != 0)
		return error;
	pool_leave(pool);
	pool_tasks_end(pool);
	pool_template_stop(pool);
	(void)pthread_mutex_destroy(&pool->lock);
	free(pool);
	errno = saved;
	return 0;
}
