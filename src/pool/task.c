/* SPDX-License-Identifier: MIT
 * Tasks, as the program sees them: submitted, waited for, cancelled, freed. Read share.h and crew.h first. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../sys/structure.h"
#include "../sys/syscall.h"
#include "crew.h"
#include "internal.h"

#define ALL_FLAGS    (ODF_TASK_FRESH | ODF_TASK_FORK)
#define OPTIONS_SIZE STRUCTURE_UP_TO(odf_task_options, memory)
#define INFO_SIZE    STRUCTURE_UP_TO(odf_task_info, run_ns)

/* Nobody tells a sleeper that the manager was killed: it looks so often. */
#define LOOK_MS 100

static struct slot *slot_of(const odf_task *task)
{
	return &task->crew->view.slots[task->slot];
}

/* ---- Slots ------------------------------------------------------------------------------------------------------- */

/* Those of tasks that were freed while they ran. With the crew's lock. */
static void collect_released(struct crew *crew)
{
	struct share *share = crew->view.head;

	if (atomic_exchange(&share->released, 0) == 0)
		return;
	for (unsigned slot = 0; slot < share->slots; slot++) {
		unsigned released = SLOT_RELEASED;

		if (crew->free_count < share->slots &&
		    atomic_compare_exchange_strong(&crew->view.slots[slot].state, &released, SLOT_FREE))
			crew->free_slots[crew->free_count++] = slot;
	}
}

/* 0 or an errno value: EAGAIN (no slot), EPIPE (the crew is over). */
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
		struct share *share = crew->view.head;

		task->crew = crew;
		task->slot = crew->free_slots[--crew->free_count];
		crew->tasks[task->slot] = task;
		crew->task_count++;
		atomic_store(&slot_of(task)->state, SLOT_FILLING);
		if (task->slot >= atomic_load(&share->used))
			atomic_store(&share->used, task->slot + 1);
	}
	(void)pthread_mutex_unlock(&crew->lock);
	return error;
}

/* `is_free`: the slot is the program's again. */
static void remove_task(odf_task *task, bool is_free)
{
	struct crew *crew = task->crew;
	struct pool_tasks *all = crew->all;

	(void)pthread_mutex_lock(&all->lock);
	(void)pthread_mutex_lock(&crew->lock);
	crew->tasks[task->slot] = NULL;
	crew->task_count--;
	if (is_free) {
		atomic_store(&slot_of(task)->state, SLOT_FREE);
		crew->free_slots[crew->free_count++] = task->slot;
	}
	(void)pthread_mutex_unlock(&crew->lock);
	crew_part(crew);
	free(task);
}

static void give_ranges(const struct share_view *view, struct slot *slot)
{
	if (slot->input_at != 0)
		share_bulk_give(view, slot->input_at, (slot->input_length + 4095) & ~(uint64_t)4095);
	share_bulk_give(view, slot->output_at, slot->output_room);
	slot->input_at = slot->output_room = 0;
}

/* ---- Submitting -------------------------------------------------------------------------------------------------- */

static int fill_input(const struct share_view *view, struct slot *slot, const void *input, size_t length)
{
	uint64_t room;
	void *data;
	int error;

	slot->input_length = length;
	slot->input_at = 0;
	if (share_takes(length)) {
		if (length > 0)
			memcpy(slot->input, input, length);
		return 0;
	}
	error = share_bulk_place(view, length, &slot->input_at, &room);
	if (error == 0)
		error = share_bulk_fill(view, slot->input_at, room);
	if (error != 0) {
		slot->input_at = 0;
		return error;
	}
	data = share_bulk_map(view, slot->input_at, length, true);
	if (data == NULL) {
		share_bulk_give(view, slot->input_at, room);
		slot->input_at = 0;
		return ENOMEM;
	}
	memcpy(data, input, length);
	share_bulk_unmap(data, length);
	return 0;
}

/* With the crew's lock, as who puts in is one at a time. */
static void enqueue(struct crew *crew, unsigned slot, bool fresh)
{
	struct share *share = crew->view.head;
	_Atomic unsigned *ring = fresh ? crew->view.fresh_ring : crew->view.ring;
	_Atomic unsigned *tail = fresh ? &share->fresh_tail : &share->tail;
	unsigned head = atomic_load(fresh ? &share->fresh_head : &share->head), at = atomic_load(tail);

	if (at - head <= share->ring_mask) {
		atomic_store(&ring[at & share->ring_mask], slot);
		atomic_store(tail, at + 1);
	} else { /* full of hints that are stale */
		atomic_fetch_add(fresh ? &share->fresh_missed : &share->scan, 1);
	}
}

/* From here on it is the workers'. */
static void hand_over(odf_task *task, bool fresh)
{
	struct crew *crew = task->crew;
	struct share *share = crew->view.head;

	(void)pthread_mutex_lock(&crew->lock);
	atomic_store(&slot_of(task)->state, fresh ? SLOT_FRESH : SLOT_QUEUED);
	enqueue(crew, task->slot, fresh);
	if (fresh || (!share_wake_one(&crew->view) && atomic_load(&share->workers) < share->workers_most))
		share_poke(&crew->view);
	(void)pthread_mutex_unlock(&crew->lock); /* who frees the crew has taken it after us */
}

/* The slot is the task's. */
static int fill(odf_task *task, odf_task_function function, const void *input, size_t length,
		const odf_task_options *options)
{
	struct crew *crew = task->crew;
	struct slot *slot = slot_of(task);
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
	slot->has_cpu = false;
	slot->time_ns = options->time_ms * UINT64_C(1000000);
	slot->cpu_ns = options->cpu_ms * UINT64_C(1000000);
	slot->memory = options->memory;
	atomic_store(&slot->began_ns, 0);
	atomic_store(&slot->ended_ns, 0);
	return fill_input(&crew->view, slot, input, length);
}

/* A slot of the pool's crew. Should that be over by then, it is of the next. */
static int enter_current(odf_pool *pool, struct pool_tasks *all, odf_task *task)
{
	struct crew *crew;
	int error;

	(void)pthread_mutex_lock(&all->lock); /* or the crew might be freed */
	do {
		error = crew_current(pool, all, &crew);
		if (error == 0)
			error = enter_task(crew, task);
	} while (error == EPIPE);
	(void)pthread_mutex_unlock(&all->lock);
	return error;
}

/* The slot of a crew of its own, of a pool that is made now. */
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
		crew_part(crew); /* with its pool */
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
		*task = made; /* before it can end, and be given out by odf_pool_finished */
		hand_over(made, (read.flags & (ODF_TASK_FRESH | ODF_TASK_FORK)) == ODF_TASK_FRESH);
	}
	if (error != 0 && made->crew != NULL)
		remove_task(made, true);
	else if (error != 0)
		free(made);
	errno = saved;
	return error;
}

int odf_pool_submit(odf_pool *pool, odf_task_function function, const void *input, size_t length, odf_task **task)
{
	return odf_pool_submit_with(pool, function, input, length, NULL, task);
}

/* ---- Answers ----------------------------------------------------------------------------------------------------- */

static int check(const odf_task *task)
{
	if (task == NULL)
		return EINVAL;
	return task->process == getpid() ? 0 : EPERM;
}

/* Its answer, once it is there. False: not yet. With the crew's lock. */
static bool settle(odf_task *task)
{
	if (!task->settled && SLOT_KIND(atomic_load(&slot_of(task)->state)) == SLOT_ENDED) {
		task->settled = true;
		task->error = slot_of(task)->error;
	}
	return task->settled;
}

/* The answer of a slot that has ended, where it is in the worker's words, is taken as it is found: within bounds. 0 or
 * ENOMEM. With the lock. */
static int find_output(odf_task *task, void **output, size_t *length)
{
	const struct share_view *view = &task->crew->view;
	struct slot *slot = slot_of(task);
	uint64_t size = slot->output_length, at = slot->output_at, most = (uint64_t)view->head->bulk_size;

	if (slot->output_room == 0) {
		*output = slot->output;
		*length = size < SHARE_DATA ? size : SHARE_DATA;
		return 0;
	}
	if (task->mapped == NULL) {
		if (at > most || size > most - at)
			return EIO;
		task->mapped = share_bulk_map(view, at, size, true);
		task->mapped_length = size;
		if (task->mapped == NULL)
			return ENOMEM;
	}
	*output = task->mapped;
	*length = task->mapped_length;
	return 0;
}

/* ETIMEDOUT: there is none yet. */
static int answer_of(odf_task *task, void **output, size_t *length)
{
	int error;

	(void)pthread_mutex_lock(&task->crew->lock);
	error = settle(task) ? task->error : ETIMEDOUT;
	if (error == 0)
		error = find_output(task, output, length);
	if (task->settled && !task->given && error != ENOMEM) {
		task->given = true;
		atomic_fetch_and(&task->crew->view.ended[task->slot / 64], ~(UINT64_C(1) << task->slot % 64));
	}
	(void)pthread_mutex_unlock(&task->crew->lock);
	return error;
}

static bool has_answer(odf_task *task)
{
	bool has;

	(void)pthread_mutex_lock(&task->crew->lock);
	has = settle(task);
	(void)pthread_mutex_unlock(&task->crew->lock);
	return has;
}

/* Until the state may have changed, for at most so long. */
static void sleep_on(odf_task *task, uint64_t wait_ns)
{
	_Atomic unsigned *word = &slot_of(task)->state;
	unsigned state = atomic_load(word);

	while (!(state & SLOT_WAITED)) {
		if (SLOT_KIND(state) == SLOT_ENDED || atomic_load(&task->crew->is_over))
			return;
		if (atomic_compare_exchange_weak(word, &state, state | SLOT_WAITED))
			state |= SLOT_WAITED;
	}
	share_futex_wait(word, state, wait_ns);
}

int odf_task_wait(odf_task *task, void **output, size_t *length, int timeout_ms)
{
	uint64_t limit = timeout_ms < 0 ? UINT64_MAX : (uint64_t)timeout_ms * 1000000u;
	uint64_t start = share_clock(), passed = 0;
	const uint64_t look = (uint64_t)LOOK_MS * 1000000u;
	uint64_t looked = start;
	int saved = errno, error = check(task);
	void *found = NULL;
	size_t found_length = 0;

	while (error == 0 && !has_answer(task)) {
		uint64_t now = share_clock();

		passed = now - start;
		if (timeout_ms == 0 || now - looked >= look) {
			crew_check(task->crew);
			looked = now;
		}
		if (passed >= limit)
			break;
		sleep_on(task, limit - passed < look ? limit - passed : look);
	}
	if (error == 0)
		error = answer_of(task, &found, &found_length);
	if (output != NULL)
		*output = error == 0 ? found : NULL;
	if (length != NULL)
		*length = error == 0 ? found_length : 0;
	errno = saved;
	return error;
}

/* ---- Cancelling and freeing -------------------------------------------------------------------------------------- */

/* It is the program's again, or the manager's to end. */
enum cancelled { CANCELLED_NOT_BEGUN, CANCELLED_RUNNING, CANCELLED_TOO_LATE };

/* `freed`: SLOT_FREED or 0. */
static enum cancelled cancel(odf_task *task, unsigned freed)
{
	_Atomic unsigned *word = &slot_of(task)->state;
	struct share *share = task->crew->view.head;
	unsigned state = atomic_load(word);

	for (;;) {
		unsigned waited = state & SLOT_WAITED;
		unsigned condemned = SLOT_OF(SLOT_CONDEMNED, SLOT_WORKER(state)) | waited;

		switch (SLOT_KIND(state)) {
		case SLOT_QUEUED:
		case SLOT_FRESH:
			if (atomic_compare_exchange_weak(word, &state, SLOT_FILLING | waited))
				return CANCELLED_NOT_BEGUN;
			break;
		case SLOT_RUNNING:
			if (atomic_compare_exchange_weak(word, &state, condemned | freed)) {
				atomic_fetch_add(&share->condemned, 1);
				share_poke(&task->crew->view);
				return CANCELLED_RUNNING;
			}
			break;
		case SLOT_CONDEMNED:
			if (atomic_compare_exchange_weak(word, &state, state | freed))
				return CANCELLED_RUNNING;
			break;
		default:
			return CANCELLED_TOO_LATE;
		}
	}
}

int odf_task_cancel(odf_task *task)
{
	int saved = errno, error = check(task);
	struct crew *crew;

	if (error != 0)
		return error;
	crew = task->crew;
	(void)pthread_mutex_lock(&crew->lock);
	if (settle(task)) {
		error = EALREADY;
	} else {
		switch (cancel(task, 0)) {
		case CANCELLED_NOT_BEGUN:
			slot_of(task)->error = ECANCELED;
			while (!share_end(&crew->view, task->slot, SLOT_FILLING))
				;
			break;
		case CANCELLED_RUNNING:
			break;
		case CANCELLED_TOO_LATE:
			error = EALREADY;
			break;
		}
	}
	(void)pthread_mutex_unlock(&crew->lock);
	errno = saved;
	return error;
}

void odf_task_free(odf_task *task)
{
	int saved = errno;
	struct crew *crew;
	bool is_free = true;

	if (check(task) != 0)
		return;
	crew = task->crew;
	share_bulk_unmap(task->mapped, task->mapped_length);
	/* Of one that runs the slot comes back from the manager. A crew that is over gives its slots to nobody. */
	if (!atomic_load(&crew->is_over))
		is_free = cancel(task, SLOT_FREED) != CANCELLED_RUNNING;
	if (is_free)
		give_ranges(&crew->view, slot_of(task));
	remove_task(task, is_free);
	errno = saved;
}

/* ---- Looking ----------------------------------------------------------------------------------------------------- */

int odf_task_info_get(odf_task *task, odf_task_info *info)
{
	odf_task_info ours = { .size = sizeof ours };
	int saved = errno, error = info == NULL ? EINVAL : structure_check_output(info, INFO_SIZE);
	struct slot *slot;
	uint64_t began, ended;

	if (error == 0)
		error = check(task);
	if (error != 0)
		return error;
	crew_check(task->crew);
	slot = slot_of(task);
	(void)pthread_mutex_lock(&task->crew->lock);
	began = atomic_load(&slot->began_ns);
	ended = atomic_load(&slot->ended_ns);
	if (settle(task)) {
		ours.state = ODF_TASK_ENDED;
		ours.error = task->error;
		if (SLOT_KIND(atomic_load(&slot->state)) == SLOT_ENDED && task->error == slot->error) {
			ours.result = task->error == 0 ? slot->result : 0;
			ours.wait_status = task->error == ECHILD || task->error == ETIME ? slot->wait_status : 0;
		}
	} else {
		unsigned kind = SLOT_KIND(atomic_load(&slot->state));
		ours.state = kind == SLOT_RUNNING || kind == SLOT_CONDEMNED ? ODF_TASK_RUNS : ODF_TASK_WAITS;
		ended = share_clock();
	}
	(void)pthread_mutex_unlock(&task->crew->lock);
	if (began != 0) {
		ours.worker = slot->process;
		ours.run_ns = ended > began ? ended - began : 0;
	}
	structure_write(info, &ours, sizeof ours);
	errno = saved;
	return 0;
}
