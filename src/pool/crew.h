/* SPDX-License-Identifier: MIT
 *
 * Worker tasks as the program has them. A *crew* is a manager, its workers, and the memory that they share with the
 * program. A pool has one; when its manager was killed all of its tasks are answered with ECHILD, and the next task
 * gets another crew, of the same template. A task that wants a fork of the program as it is now has a crew, and a
 * template, of its own. Old crews stay until the last of their tasks is freed. */
#ifndef ODF_POOL_CREW_H
#define ODF_POOL_CREW_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "pool.h"
#include "share.h"

struct crew {
	struct crew *next;     /* of the pool */
	struct pool_tasks *all;
	struct share_view view;
	int file;              /* -1 */
	struct pool_process manager;
	odf_pool *own_pool;    /* made for this crew's one task */
	/* Protects the members below, and `settled` and `given` of each task. */
	pthread_mutex_t lock;
	atomic_bool is_over;   /* no more tasks, and each that there is has its answer */
	unsigned backed;       /* slots below this have memory, */
	unsigned used;         /* and these were used */
	/* Each slot is free, a task's, or away: with the manager, as its task was freed while it ran. */
	unsigned *free_slots;
	unsigned free_count;
	odf_task **tasks;      /* by slot */
	unsigned task_count;
	bool *away;            /* by slot */
	struct code_cache code;
};

struct pool_tasks {
	pthread_mutex_t lock; /* of the list and of `current`; taken before a crew's */
	struct crew *crews;
	struct crew *current;
	int tell;             /* eventfd of all crews */
	atomic_uint waiting;  /* threads in odf_pool_finished that may sleep: who may have read what was meant for
			       * them tells them again */
	int descriptor;       /* epoll: `tell`, and each manager's end */
	bool pool_is_gone;    /* freed with the last crew */
};

struct odf_task {
	struct crew *crew;
	pid_t process;        /* that may use it */
	unsigned slot;
	bool settled;         /* what follows is the answer */
	bool given;           /* by odf_pool_finished, or known to a waiter */
	int error;
	void *mapped;
	uint64_t mapped_length;
};

/* The pool's; made if there is none. 0 or an errno value. */
int crew_tasks_of(odf_pool *pool, struct pool_tasks **tasks);
/* One that works; made if there is none. This and the next with the lock of the list. */
int crew_current(odf_pool *pool, struct pool_tasks *tasks, struct crew **crew);
/* For one task, from a pool of its own, which is the crew's then. */
int crew_make_own(odf_pool *own, struct pool_tasks *tasks, struct crew **crew);
/* The manager has ended: all tasks without an answer have one. */
void crew_check(struct crew *crew);
/* After a task was taken out, or the crew given up: frees what nobody needs. With the lock of the list,
 * which is given back. */
void crew_part(struct crew *crew);

static inline struct slot *task_slot(const odf_task *task)
{
	return &task->crew->view.slots[task->slot];
}

/* ---- submit.c ---- */
void task_give_ranges(const struct share_view *view, struct slot *slot);
/* `is_free`: the slot is the program's again. */
void task_remove(odf_task *task, bool is_free);
#endif
