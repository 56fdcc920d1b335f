/* SPDX-License-Identifier: MIT
 *
 * Submitting tasks: their slots, their input, and the crew that gets them. Read share.h and crew.h first.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../sys/structure.h"
#include "../sys/syscall.h"
#include "crew.h"
#include "internal.h"

#define ALL_FLAGS    (ODF_TASK_FRESH | ODF_TASK_FORK)
#define OPTIONS_SIZE STRUCTURE_UP_TO(odf_task_options, memory)

/* ---- Slots ------------------------------------------------------------------------------------------------------- */

/* Takes back the slots of tasks that were freed while they ran. With the crew's lock. */
static void collect_released(struct crew *crew)
{
	if (atomic_exchange(&crew->view.head->released, 0) == 0)
		return;
	for (unsigned slot = 0; slot < crew->used; slot++) {
		unsigned released = SLOT_RELEASED;

		if (crew->away[slot] &&
		    atomic_compare_exchange_strong(&crew->view.slots[slot].state, &released, SLOT_FREE)) {
			crew->away[slot] = false;
			crew->free_slots[crew->free_count++] = slot;
		}
	}
}

/* Gives the task a slot. 0 or an errno value: EAGAIN (no slot), EPIPE (the crew is over). */
static int enter_task(struct crew *crew, odf_task *task)
{
	int error = 0;

	(void)pthread_mutex_lock(&crew->lock);
	if (crew->free_count == 0)
		collect_released(crew);
	if (atomic_load(&crew->is_over))
		error = EPIPE;
	else if (crew->free_count == 0)
		error = EAGAIN;
	while (error == 0 && crew->free_slots[crew->free_count - 1] >= crew->backed) {
		unsigned more = share_back(&crew->view, crew->file, crew->backed);

		crew->backed += more;
		error = more == 0 ? ENOMEM : 0;
	}
	if (error == 0) {
		task->crew = crew;
		task->slot = crew->free_slots[--crew->free_count];
		crew->tasks[task->slot] = task;
		crew->task_count++;
		atomic_store(&task_slot(task)->state, SLOT_FILLING);
		if (task->slot >= crew->used) {
			crew->used = task->slot + 1;
			atomic_store(&crew->view.head->used, crew->used);
		}
	}
	(void)pthread_mutex_unlock(&crew->lock);
	return error;
}

void task_remove(odf_task *task, bool is_free)
{
	struct crew *crew = task->crew;
	struct pool_tasks *all = crew->all;

	(void)pthread_mutex_lock(&all->lock);
	(void)pthread_mutex_lock(&crew->lock);
	crew->tasks[task->slot] = NULL;
	crew->task_count--;
	if (!task->given && atomic_load(&all->waiting) != 0)
		share_count(all->tell); /* there may be nothing left to wait for */
	if (is_free) {
		atomic_store(&task_slot(task)->state, SLOT_FREE);
		crew->free_slots[crew->free_count++] = task->slot;
	} else {
		crew->away[task->slot] = true;
	}
	(void)pthread_mutex_unlock(&crew->lock);
	crew_part(crew);
	free(task);
}

void task_give_ranges(const struct share_view *view, struct slot *slot)
{
	if (slot->input_at != 0)
		share_bulk_give(view, slot->input_at, (slot->input_length + 4095) & ~(uint64_t)4095);
	share_bulk_give(view, slot->output_at, slot->output_room);
	slot->input_at = slot->output_room = 0;
}

/* ---- Submitting -------------------------------------------------------------------------------------------------- */

static int fill_input(const struct share_view *view, struct slot *slot, const void *input, size_t length)
{
	uint64_t at, room; /* local: a worker may overwrite the slot's fields */
	void *data;
	int error;

	slot->input_length = length;
	slot->input_at = 0;
	if (share_takes(length)) {
		if (length > 0)
			memcpy(slot->input, input, length);
		return 0;
	}
	error = share_bulk_place(view, length, &at, &room);
	if (error == 0)
		error = share_bulk_fill(view, at, room);
	if (error != 0)
		return error;
	data = share_bulk_map(view, at, length, true);
	if (data == NULL) {
		share_bulk_give(view, at, room);
		return ENOMEM;
	}
	memcpy(data, input, length);
	share_bulk_unmap(data, length);
	slot->input_at = at;
	return 0;
}

/* With the crew's lock: the ring has one writer at a time. */
static void enqueue(struct crew *crew, unsigned slot, bool fresh)
{
	struct share *share = crew->view.head;
	_Atomic unsigned *ring = fresh ? crew->view.fresh_ring : crew->view.ring;
	_Atomic unsigned *tail = fresh ? &share->fresh_tail : &share->tail;
	unsigned head = atomic_load(fresh ? &share->fresh_head : &share->head), at = atomic_load(tail);

	if (at - head <= crew->view.limits.ring_mask) {
		atomic_store(&ring[at & crew->view.limits.ring_mask], slot);
		atomic_store(tail, at + 1);
	} else { /* full of stale hints */
		atomic_fetch_add(fresh ? &share->fresh_missed : &share->scan, 1);
	}
}

/* Queues the task. From here on the slot belongs to the workers. */
static void hand_over(odf_task *task, bool fresh)
{
	struct crew *crew = task->crew;
	_Atomic unsigned *workers = &crew->view.head->workers;

	(void)pthread_mutex_lock(&crew->lock);
	atomic_store(&task_slot(task)->state, fresh ? SLOT_FRESH : SLOT_QUEUED);
	enqueue(crew, task->slot, fresh);
	if (fresh || (!share_wake_one(&crew->view) && atomic_load(workers) < crew->view.limits.workers_most))
		share_poke(&crew->view);
	(void)pthread_mutex_unlock(&crew->lock); /* a thread that frees the crew takes the lock after this */
}

/* The slot belongs to the task, and no worker takes it yet. */
static int fill(odf_task *task, odf_task_function function, const void *input, size_t length,
		const odf_task_options *options)
{
	struct crew *crew = task->crew;
	struct slot *slot = task_slot(task);
	bool known;

	(void)pthread_mutex_lock(&crew->lock);
	known = share_has_code(crew->view.head, &crew->code, function);
	(void)pthread_mutex_unlock(&crew->lock);
	if (!known)
		return EFAULT;
	slot->function = function;
	slot->output_length = slot->output_at = slot->output_room = slot->spare_room = 0;
	slot->error = slot->result = slot->wait_status = 0;
	slot->process = 0;
	slot->has_cpu = 0;
	slot->time_ns = options->time_ms * UINT64_C(1000000);
	slot->cpu_ns = options->cpu_ms * UINT64_C(1000000);
	slot->memory = options->memory;
	atomic_store(&slot->began_ns, 0);
	atomic_store(&slot->ended_ns, 0);
	return fill_input(&crew->view, slot, input, length);
}

/* Gives the task a slot of the pool's current crew. If that crew is over, one of the next. */
static int enter_current(odf_pool *pool, struct pool_tasks *all, odf_task *task)
{
	struct crew *crew;
	int error;

	(void)pthread_mutex_lock(&all->lock); /* keeps the crew from being freed */
	do {
		error = crew_current(pool, all, &crew);
		if (error == 0)
			error = enter_task(crew, task);
	} while (error == EPIPE);
	(void)pthread_mutex_unlock(&all->lock);
	return error;
}

/* Gives the task the slot of a crew of its own, from a pool that is made now. */
static int enter_own(odf_pool *pool, struct pool_tasks *all, odf_task *task)
{
	int saved = errno, error;
	struct crew *crew = NULL;
	odf_pool *own = pool_create_once(&pool->options);

	error = own == NULL ? errno : 0;
	errno = saved;
	if (error != 0)
		return error;
	(void)pthread_mutex_lock(&all->lock);
	error = crew_make_own(own, all, &crew);
	if (error == 0)
		error = enter_task(crew, task);
	if (error != 0 && crew != NULL)
		crew_part(crew); /* frees its pool too, and releases the lock */
	else
		(void)pthread_mutex_unlock(&all->lock);
	if (error != 0 && crew == NULL)
		(void)odf_pool_destroy(own);
	return error == EPIPE ? EAGAIN : error;
}

static int read_options(odf_task_options *ours, const odf_task_options *theirs)
{
	int error = theirs == NULL ? 0 : structure_read(ours, sizeof *ours, theirs, OPTIONS_SIZE);

	return error == 0 && (ours->flags & ~(uint64_t)ALL_FLAGS) ? EINVAL : error;
}

int odf_pool_submit_with(odf_pool *pool, odf_task_function function, const void *input, size_t length,
			 const odf_task_options *options, odf_task **task)
{
	odf_task_options read = ODF_TASK_OPTIONS_INIT;
	struct pool_tasks *all;
	odf_task *made;
	int saved = errno, error = pool_check(pool);

	if (task != NULL)
		*task = NULL;
	if (error == 0)
		error = read_options(&read, options);
	if (error == 0 && (task == NULL || function == NULL || (input == NULL && length > 0)))
		error = EINVAL;
	if (error == 0)
		error = crew_tasks_of(pool, &all);
	if (error != 0)
		return error;
	made = calloc(1, sizeof *made);
	if (made == NULL)
		return ENOMEM;
	made->process = getpid();
	error = read.flags & ODF_TASK_FORK ? enter_own(pool, all, made) : enter_current(pool, all, made);
	if (error == 0)
		error = fill(made, function, input, length, &read);
	if (error == 0) {
		*task = made; /* before the task can end and odf_pool_finished can return it */
		hand_over(made, (read.flags & (ODF_TASK_FRESH | ODF_TASK_FORK)) == ODF_TASK_FRESH);
	}
	if (error != 0 && made->crew != NULL)
		task_remove(made, true);
	else if (error != 0)
		free(made);
	errno = saved;
	return error;
}

int odf_pool_submit(odf_pool *pool, odf_task_function function, const void *input, size_t length, odf_task **task)
{
	return odf_pool_submit_with(pool, function, input, length, NULL, task);
}
