/* SPDX-License-Identifier: MIT */
#include "crew.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../sys/syscall.h"
#include "internal.h"

#define IDLE_MS     10000
#define QUEUE       16384u
#define PATIENCE_MS 2000 /* for a manager to start, or to end its workers */

static void close_file(int *fd)
{
	if (*fd >= 0)
		sys_close(*fd);
	*fd = -1;
}

/* ---- The tasks of a pool ----------------------------------------------------------------------------------------- */

static int make_event(int *fd)
{
	*fd = (int)sys_call2(SYS_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (*fd < 0)
		return -*fd;
	*fd = pool_lift(*fd);
	return 0;
}

static int watch(const struct pool_tasks *tasks, int fd)
{
	struct epoll_event event = { .events = EPOLLIN };

	return (int)-sys_call4(SYS_epoll_ctl, tasks->descriptor, EPOLL_CTL_ADD, fd, &event);
}

static void free_tasks(struct pool_tasks *tasks)
{
	close_file(&tasks->tell);
	close_file(&tasks->descriptor);
	(void)pthread_mutex_destroy(&tasks->lock);
	free(tasks);
}

static int make_tasks(struct pool_tasks **made)
{
	struct pool_tasks *tasks = calloc(1, sizeof *tasks);
	int error;

	if (tasks == NULL)
		return ENOMEM;
	(void)pthread_mutex_init(&tasks->lock, NULL);
	tasks->descriptor = -1;
	error = make_event(&tasks->tell);
	if (error == 0) {
		tasks->descriptor = (int)sys_call1(SYS_epoll_create1, EPOLL_CLOEXEC);
		if (tasks->descriptor < 0)
			error = -tasks->descriptor;
		else
			tasks->descriptor = pool_lift(tasks->descriptor);
	}
	if (error == 0)
		error = watch(tasks, tasks->tell);
	if (error != 0)
		free_tasks(tasks);
	else
		*made = tasks;
	return error;
}

int crew_tasks_of(odf_pool *pool, struct pool_tasks **tasks)
{
	struct pool_tasks *none = NULL;
	int error;

	*tasks = atomic_load(&pool->tasks);
	if (*tasks != NULL)
		return 0;
	if (pool->channel < 0)
		return ENOTSUP;
	error = make_tasks(tasks);
	if (error == 0 && !atomic_compare_exchange_strong(&pool->tasks, &none, *tasks)) {
		free_tasks(*tasks); /* another thread was faster */
		*tasks = none;
	}
	return error;
}

/* ---- Crews ------------------------------------------------------------------------------------------------------- */

static void free_crew(struct crew *crew)
{
	/* A forked child may have a copy of the descriptor, which would keep the epoll entry after our close. */
	if (crew->manager.end >= 0)
		(void)sys_call4(SYS_epoll_ctl, crew->all->descriptor, EPOLL_CTL_DEL, crew->manager.end, NULL);
	pool_process_forget(&crew->manager);
	if (crew->own_pool != NULL)
		(void)odf_pool_destroy(crew->own_pool);
	share_unmap(&crew->view);
	close_file(&crew->file);
	close_file(&crew->view.bulk);
	close_file(&crew->view.poke);
	(void)pthread_mutex_destroy(&crew->lock);
	free(crew->free_slots);
	free(crew->tasks);
	free(crew->away);
	free(crew);
}

/* The highest numbers first, so that the first slots are taken first, and reused first. */
static int make_lists(struct crew *crew, unsigned slots)
{
	crew->free_slots = malloc(slots * sizeof *crew->free_slots);
	crew->tasks = calloc(slots, sizeof *crew->tasks);
	crew->away = calloc(slots, sizeof *crew->away);
	if (crew->free_slots == NULL || crew->tasks == NULL || crew->away == NULL)
		return ENOMEM;
	for (unsigned slot = slots; slot-- > 0;)
		crew->free_slots[crew->free_count++] = slot;
	return 0;
}

static int make_files(struct crew *crew, struct pool_tasks *tasks, unsigned slots)
{
	int error = share_make(&crew->view, slots, &crew->file);

	if (error != 0)
		return error;
	crew->file = pool_lift(crew->file);
	error = share_make_bulk(&crew->view.bulk, &crew->view.limits.bulk_size);
	if (error != 0)
		return error;
	crew->view.bulk = pool_lift(crew->view.bulk);
	crew->view.tell = tasks->tell;
	return make_event(&crew->view.poke);
}

/* Waits until the manager has listed its code. False: it has ended, or takes too long, and its code is not known. */
static bool wait_until_ready(struct crew *crew)
{
	uint64_t until = share_clock() + (uint64_t)PATIENCE_MS * 1000000u;

	while (atomic_load(&crew->view.head->ready) == 0 && share_clock() < until &&
	       !pool_readable(crew->manager.end, 0))
		share_futex_wait(&crew->view.head->ready, 0, 10000000);
	return atomic_load(&crew->view.head->ready) != 0;
}

static unsigned processors(void)
{
	long count = sysconf(_SC_NPROCESSORS_ONLN);

	return count < 1 ? 1 : count > (long)SHARE_WORKERS_MOST ? SHARE_WORKERS_MOST : (unsigned)count;
}

static void set_limits(struct share_view *view, const odf_pool_options *options, bool for_one)
{
	struct share_limits *limits = &view->limits;

	limits->workers_most = for_one ? 1 : options->workers_max != 0 ? options->workers_max : processors();
	if (!for_one && options->workers_max == 0 && limits->workers_most < options->workers_min)
		limits->workers_most = options->workers_min;
	limits->workers_least = for_one ? 0 : options->workers_min;
	limits->idle_ns = (options->idle_ms == 0 ? IDLE_MS : (uint64_t)options->idle_ms) * 1000000u;
	share_set_limits(view);
}

/* Ends a manager that is not to be used, and would wait for ever. This includes one that may have been made although
 * nothing is known of it. `ending` reaches it even if this process may not signal it. Its workers end with it. */
static void give_up(struct crew *crew)
{
	if (crew->view.poke >= 0) {
		atomic_store(&crew->view.head->ending, 1);
		share_poke(&crew->view);
	}
	if (crew->manager.end >= 0)
		(void)pool_process_kill(&crew->manager, SIGKILL);
	free_crew(crew);
}

/* The manager is made from the template of `pool`. */
static int make_crew(odf_pool *pool, struct pool_tasks *tasks, bool for_one, struct crew **made)
{
	const odf_pool_options *options = &pool->options;
	struct crew *crew = calloc(1, sizeof *crew);
	unsigned slots = for_one ? 1 : options->queue == 0 ? QUEUE : options->queue;
	int error;

	if (crew == NULL)
		return ENOMEM;
	crew->file = crew->view.bulk = crew->view.poke = -1;
	crew->manager = (struct pool_process)POOL_PROCESS_NONE;
	crew->all = tasks;
	(void)pthread_mutex_init(&crew->lock, NULL);
	error = make_lists(crew, slots);
	if (error == 0)
		error = make_files(crew, tasks, slots);
	if (error == 0) {
		int fds[] = { crew->file, crew->view.bulk, crew->view.poke, crew->view.tell };

		set_limits(&crew->view, options, for_one);
		error = pool_process_make(pool, manager_main, NULL, 0, fds, sizeof fds / sizeof *fds, &crew->manager);
	}
	if (error == 0 && !wait_until_ready(crew))
		error = EAGAIN;
	if (error == 0)
		error = watch(tasks, crew->manager.end);
	if (error != 0) {
		give_up(crew);
		return error;
	}
	crew->next = tasks->crews;
	tasks->crews = crew;
	*made = crew;
	return 0;
}

/* Frees the crew if it has no task and is not current. True: it was freed. With the list's lock. */
static bool part(struct crew *crew)
{
	bool unused;

	(void)pthread_mutex_lock(&crew->lock);
	unused = crew->task_count == 0 && crew != crew->all->current;
	(void)pthread_mutex_unlock(&crew->lock);
	if (!unused)
		return false;
	for (struct crew **at = &crew->all->crews; *at != NULL; at = &(*at)->next)
		if (*at == crew) {
			*at = crew->next;
			break;
		}
	free_crew(crew);
	return true;
}

int crew_current(odf_pool *pool, struct pool_tasks *tasks, struct crew **crew)
{
	int error = 0;

	if (tasks->current != NULL && tasks->current->is_over) {
		struct crew *old = tasks->current;
		tasks->current = NULL;
		(void)part(old);
	}
	if (tasks->current == NULL)
		error = make_crew(pool, tasks, false, &tasks->current);
	*crew = tasks->current;
	return error;
}

int crew_make_own(odf_pool *own, struct pool_tasks *tasks, struct crew **crew)
{
	int error = make_crew(own, tasks, true, crew);

	if (error == 0)
		(*crew)->own_pool = own;
	return error;
}

/* Each task has an answer afterwards: that of its slot if the slot has ended, else `error`. With the crew's lock. */
static void settle_all(struct crew *crew, int error)
{
	atomic_store(&crew->is_over, true);
	for (unsigned slot = 0; slot < crew->used; slot++) {
		odf_task *task = crew->tasks[slot];

		if (task == NULL)
			continue;
		if (!task->settled && SLOT_KIND(atomic_load(&crew->view.slots[slot].state)) != SLOT_ENDED) {
			task->settled = true;
			task->error = error;
		}
		atomic_fetch_or(&crew->view.ended[slot / 64], UINT64_C(1) << slot % 64);
		share_futex_wake(&crew->view.slots[slot].state, INT_MAX);
	}
	share_count(crew->view.tell);
}

void crew_check(struct crew *crew)
{
	if (crew->is_over || !pool_readable(crew->manager.end, 0))
		return;
	(void)pthread_mutex_lock(&crew->lock);
	if (!crew->is_over) {
		(void)sys_call4(SYS_epoll_ctl, crew->all->descriptor, EPOLL_CTL_DEL, crew->manager.end, NULL);
		settle_all(crew, ECHILD);
	}
	(void)pthread_mutex_unlock(&crew->lock);
}

void crew_part(struct crew *crew)
{
	struct pool_tasks *tasks = crew->all;
	bool last = part(crew) && tasks->pool_is_gone && tasks->crews == NULL;

	(void)pthread_mutex_unlock(&tasks->lock);
	if (last)
		free_tasks(tasks);
}

/* ---- The end ----------------------------------------------------------------------------------------------------- */

static void end_crew(struct crew *crew)
{
	static const struct {
		int wait_ms, signal;
	} prods[] = { { 50, SIGCONT }, { PATIENCE_MS, SIGKILL }, { PATIENCE_MS, 0 } };
	int status;

	atomic_store(&crew->view.head->ending, 1);
	atomic_store(&crew->view.head->poked, 0);
	share_poke(&crew->view);
	/* SIGCONT continues a stopped manager. SIGKILL ends one that does not exit; its workers end with it. */
	for (size_t i = 0; i < sizeof prods / sizeof *prods; i++) {
		if (pool_process_wait(&crew->manager, prods[i].wait_ms, &status) != ETIMEDOUT)
			break;
		(void)pool_process_kill(&crew->manager, prods[i].signal);
	}
	(void)pthread_mutex_lock(&crew->lock);
	settle_all(crew, ECANCELED);
	(void)pthread_mutex_unlock(&crew->lock);
}

void pool_tasks_end(odf_pool *pool)
{
	struct pool_tasks *tasks = atomic_load(&pool->tasks);
	struct crew *next;
	bool last;

	if (tasks == NULL)
		return;
	(void)pthread_mutex_lock(&tasks->lock);
	tasks->current = NULL;
	tasks->pool_is_gone = true;
	for (struct crew *crew = tasks->crews; crew != NULL; crew = next) {
		next = crew->next;
		end_crew(crew);
		(void)part(crew);
	}
	last = tasks->crews == NULL;
	(void)pthread_mutex_unlock(&tasks->lock);
	if (last)
		free_tasks(tasks);
}
