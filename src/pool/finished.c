/* SPDX-License-Identifier: MIT
 *
 * Tasks that have ended, one at a time, for event loops; and the state of a pool.
 */
#include <errno.h>
#include <pthread.h>

#include "../sys/structure.h"
#include "../sys/syscall.h"
#include "crew.h"
#include "internal.h"

#define INFO_SIZE STRUCTURE_UP_TO(odf_pool_info, reserved)

/* A thread that frees a task, or is given its answer, wakes those that wait. A worker that damages the shared memory
 * can suppress a wake, so a waiting thread looks again at this interval. */
#define LOOK_MS 1000

int odf_pool_descriptor(odf_pool *pool)
{
	struct pool_tasks *tasks;
	int saved = errno, error = pool_check(pool);

	if (error == 0)
		error = crew_tasks_of(pool, &tasks);
	errno = error == 0 ? saved : error;
	return error == 0 ? tasks->descriptor : -1;
}

/* The task of a slot whose bit is set, if it has ended: the bit may be an earlier task's. With the crew's lock. */
static odf_task *take_ended(struct crew *crew, unsigned slot)
{
	odf_task *task = crew->tasks[slot];

	if (task == NULL || task->given)
		return NULL;
	if (!task->settled && SLOT_KIND(atomic_load(&crew->view.slots[slot].state)) != SLOT_ENDED)
		return NULL;
	task->given = true;
	return task;
}

static odf_task *find_ended(struct crew *crew)
{
	odf_task *found = NULL;

	(void)pthread_mutex_lock(&crew->lock);
	for (unsigned word = 0; found == NULL && word * 64 < crew->used; word++) {
		uint64_t bits = atomic_load(&crew->view.ended[word]);

		while (bits != 0 && found == NULL) {
			unsigned slot = word * 64 + (unsigned)__builtin_ctzll(bits);

			atomic_fetch_and(&crew->view.ended[word], ~(bits & -bits)); /* before the state is read */
			bits &= bits - 1;
			if (slot < crew->used)
				found = take_ended(crew, slot);
		}
	}
	(void)pthread_mutex_unlock(&crew->lock);
	return found;
}

/* *under_way: there are tasks that were not given out. */
static odf_task *look(struct pool_tasks *tasks, bool *under_way)
{
	odf_task *found = NULL;

	*under_way = false;
	(void)pthread_mutex_lock(&tasks->lock);
	for (struct crew *crew = tasks->crews; crew != NULL && found == NULL; crew = crew->next)
		found = find_ended(crew);
	for (struct crew *crew = tasks->crews; crew != NULL && found == NULL; crew = crew->next) {
		crew_check(crew);
		found = find_ended(crew);
	}
	for (struct crew *crew = tasks->crews; crew != NULL && !*under_way; crew = crew->next) {
		(void)pthread_mutex_lock(&crew->lock);
		for (unsigned slot = 0; slot < crew->used && !*under_way && found == NULL; slot++)
			*under_way = crew->tasks[slot] != NULL && !crew->tasks[slot]->given;
		(void)pthread_mutex_unlock(&crew->lock);
	}
	(void)pthread_mutex_unlock(&tasks->lock);
	return found;
}

/* Makes the next end of a task write the eventfd again. The order matters: a process that ends a task sets its bit,
 * then writes unless `told` is set. */
static void listen_again(struct pool_tasks *tasks)
{
	uint64_t drained;

	(void)sys_read(tasks->tell, &drained, sizeof drained);
	(void)pthread_mutex_lock(&tasks->lock);
	for (struct crew *crew = tasks->crews; crew != NULL; crew = crew->next)
		atomic_store(&crew->view.head->told, 0);
	(void)pthread_mutex_unlock(&tasks->lock);
}

/* NULL: the time is over, or *under_way is false. *drained: this call has emptied the eventfd. */
static odf_task *await(struct pool_tasks *tasks, int timeout_ms, bool *under_way, bool *drained)
{
	uint64_t start = share_clock();

	for (;;) {
		odf_task *found = look(tasks, under_way);
		int64_t left = LOOK_MS;

		*drained = found == NULL;
		if (found == NULL) {
			listen_again(tasks);
			found = look(tasks, under_way);
		}
		if (found != NULL || !*under_way)
			return found;
		if (timeout_ms >= 0) {
			left = timeout_ms - (int64_t)((share_clock() - start) / 1000000u);
			if (left <= 0)
				return NULL;
		}
		(void)pool_readable(tasks->descriptor, left < LOOK_MS ? (int)left : LOOK_MS);
	}
}

int odf_pool_finished(odf_pool *pool, odf_task **task, int timeout_ms)
{
	struct pool_tasks *tasks;
	int saved = errno, error = pool_check(pool);
	bool under_way = false, drained;
	unsigned self = timeout_ms != 0;

	if (task != NULL)
		*task = NULL;
	if (error == 0)
		error = task == NULL ? EINVAL : crew_tasks_of(pool, &tasks);
	if (error != 0)
		return error;
	atomic_fetch_add(&tasks->waiting, self);
	*task = await(tasks, timeout_ms, &under_way, &drained);
	if (atomic_fetch_sub(&tasks->waiting, self) > self && drained && (*task != NULL || !under_way))
		share_count(tasks->tell); /* another thread may sleep, with a task to take or none left */
	errno = saved;
	return *task != NULL ? 0 : under_way ? ETIMEDOUT : ESRCH;
}

int odf_pool_info_get(odf_pool *pool, odf_pool_info *info)
{
	odf_pool_info ours = { .size = sizeof ours };
	int error = info == NULL ? EINVAL : structure_check_output(info, INFO_SIZE);
	struct pool_tasks *tasks;

	if (error == 0)
		error = pool_check(pool);
	if (error != 0)
		return error;
	tasks = atomic_load(&pool->tasks);
	if (tasks != NULL) {
		(void)pthread_mutex_lock(&tasks->lock);
		if (tasks->current != NULL) {
			struct share *share = tasks->current->view.head;

			ours.manager = tasks->current->manager.pid;
			ours.workers = atomic_load(&share->workers);
			for (unsigned i = 0; i < SHARE_WORKERS_MOST / 64; i++)
				ours.idle += (unsigned)__builtin_popcountll(atomic_load(&share->asleep[i]));
			ours.started = atomic_load(&share->started);
			ours.lost = atomic_load(&share->lost);
		}
		(void)pthread_mutex_unlock(&tasks->lock);
	}
	structure_write(info, &ours, sizeof ours);
	return 0;
}
