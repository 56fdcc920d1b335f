/* SPDX-License-Identifier: MIT
 *
 * Worker tasks in the program. A *crew* is a manager, its workers, and the memory that they share with the program. A
 * pool has one current crew. If its manager is killed, all tasks of the crew end with ECHILD, and the next task gets a
 * new crew from the same template. A task with ODF_TASK_FORK, which is a fork of the program as it is now, has a crew
 * and a template of its own. An old crew stays until the last of its tasks is freed.
 */
#ifndef ODF_POOL_CREW_H
#define ODF_POOL_CREW_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "pool.h"
#include "share.h"

struct crew {
	struct crew *next;     /* of the pool's list */
	struct pool_tasks *all;
	struct share_view view;
	int file;              /* of the shared memory; -1: none */
	struct pool_process manager;
	odf_pool *own_pool;    /* NULL, or the pool of the crew's one task */
	/* Protects the members below, and `settled` and `given` of each task. */
	pthread_mutex_t lock;
	atomic_bool is_over;   /* takes no more tasks, and each of its tasks has its answer */
	unsigned backed;       /* slots below this have memory */
	unsigned used;         /* slots below this were used */
	/* Each slot is free, a task's, or `away`: its task was freed while it ran, and the manager has the slot. */
	unsigned *free_slots;
	unsigned free_count;
	odf_task **tasks;      /* by slot */
	unsigned task_count;
	bool *away;            /* by slot */
	struct code_cache code;
};

struct pool_tasks {
	pthread_mutex_t lock; /* of the list and of `current`; taken before a crew's lock */
	struct crew *crews;
	struct crew *current;
	int tell;             /* eventfd of all crews */
	atomic_uint waiting;  /* threads in odf_pool_finished that may sleep. A thread that may have read the eventfd in
			       * their place writes it again */
	int descriptor;       /* epoll: `tell`, and the `end` of each manager */
	bool pool_is_gone;    /* freed with the last crew */
};

struct odf_task {
	struct crew *crew;
	pid_t process;        /* the only process that may use the task */
	unsigned slot;
	bool settled;         /* the answer is known: `error`, and if that is 0 the slot's output */
	bool given;           /* by odf_pool_finished or odf_task_wait */
	int error;
	void *mapped;
	uint64_t mapped_length;
};

/* The pool's tasks, which are made if there are none. 0 or an errno value. */
int crew_tasks_of(odf_pool *pool, struct pool_tasks **tasks);
/* A crew that takes tasks, which is made if there is none. This and the next function: with the list's lock. */
int crew_current(odf_pool *pool, struct pool_tasks *tasks, struct crew **crew);
/* A crew for one task, from the template of `own`. On success the crew owns that pool. */
int crew_make_own(odf_pool *own, struct pool_tasks *tasks, struct crew **crew);
/* If the manager has ended: gives an answer to all tasks that have none. */
void crew_check(struct crew *crew);
/* Frees the crew if it has no tasks and is not current, and with the last crew of a destroyed pool the list. Called
 * with the list's lock, which it releases. */
void crew_part(struct crew *crew);

static inline struct slot *task_slot(const odf_task *task)
{
	return &task->crew->view.slots[task->slot];
}

/* ---- submit.c ---- */
void task_give_ranges(const struct share_view *view, struct slot *slot);
/* `is_free`: the slot belongs to the program again. */
void task_remove(odf_task *task, bool is_free);
#endif
