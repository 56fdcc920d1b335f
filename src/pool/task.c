/* SPDX-License-Identifier: MIT
 *
 * Submitted tasks (submit.c): wait, cancel, free, information. Read share.h and crew.h first.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "../sys/structure.h"
#include "../sys/syscall.h"
#include "crew.h"
#include "internal.h"

#define INFO_SIZE STRUCTURE_UP_TO(odf_task_info, run_ns)

/* No process wakes a sleeper when the manager is killed, so it checks at this interval. */
#define LOOK_MS 100

static int check(const odf_task *task)
{
	if (task == NULL)
		return EINVAL;
	return task->process == getpid() ? 0 : EPERM;
}

/* Takes the answer if it is there. False: not yet. With the crew's lock. */
static bool settle(odf_task *task)
{
	if (!task->settled && SLOT_KIND(atomic_load(&task_slot(task)->state)) == SLOT_ENDED) {
		task->settled = true;
		task->error = task_slot(task)->error;
	}
	return task->settled;
}

/* The output of a slot that has ended. The worker has written where it is and how long, so both are checked. 0, ENOMEM
 * or EIO. With the crew's lock. */
static int find_output(odf_task *task, void **output, size_t *length)
{
	const struct share_view *view = &task->crew->view;
	struct slot *slot = task_slot(task);
	uint64_t size = slot->output_length, at = slot->output_at;

	if (slot->output_room == 0) {
		*output = slot->output;
		*length = size < SHARE_DATA ? size : SHARE_DATA;
		return 0;
	}
	if (task->mapped == NULL) {
		if (!share_bulk_is_plausible(view, at, size))
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

/* ETIMEDOUT: no answer yet. */
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
		if (atomic_load(&task->crew->all->waiting) != 0)
			share_count(task->crew->all->tell); /* there may be nothing left to wait for */
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

/* Sleeps until the state may have changed, for at most `wait_ns`. */
static void sleep_on(odf_task *task, uint64_t wait_ns)
{
	_Atomic unsigned *word = &task_slot(task)->state;
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

/* NOT_BEGUN: the slot belongs to the program again. RUNNING: the manager ends it. */
enum cancelled { CANCELLED_NOT_BEGUN, CANCELLED_RUNNING, CANCELLED_TOO_LATE };

/* `freed`: SLOT_FREED or 0. */
static enum cancelled cancel(odf_task *task, unsigned freed)
{
	_Atomic unsigned *word = &task_slot(task)->state;
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
			task->settled = true; /* even if a worker damages the slot */
			task->error = task_slot(task)->error = ECANCELED;
			if (!share_end(&crew->view, task->slot, SLOT_FILLING))
				share_tell(&crew->view, task->slot, true);
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
	/* The manager gives back the slot of a running task. The slots of a crew that is over are not reused. */
	if (!atomic_load(&crew->is_over))
		is_free = cancel(task, SLOT_FREED) != CANCELLED_RUNNING;
	if (is_free)
		task_give_ranges(&crew->view, task_slot(task));
	task_remove(task, is_free);
	errno = saved;
}

/* ---- Looking ----------------------------------------------------------------------------------------------------- */

int odf_task_info_get(odf_task *task, odf_task_info *info)
{
	odf_task_info ours = { .size = sizeof ours };
	int saved = errno, error = info == NULL ? EINVAL : structure_check_output(info, INFO_SIZE);
	struct slot *slot;
	uint64_t began, ended;
	pid_t worker;

	if (error == 0)
		error = check(task);
	if (error != 0)
		return error;
	crew_check(task->crew);
	slot = task_slot(task);
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
		worker = slot->process;
		ours.worker = worker > 0 ? worker : 0; /* never a value that kill() takes for a group or for all */
		ours.run_ns = ended > began ? ended - began : 0;
	}
	structure_write(info, &ours, sizeof ours);
	errno = saved;
	return 0;
}
