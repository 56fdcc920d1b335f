/* SPDX-License-Identifier: MIT
 *
 * The engines: ways to execute a plan. An engine that fails leaves nothing behind: the child is reaped, no descriptor
 * is open, and signal mask, cancellation state and errno are as before.
 */
#ifndef ODF_SPAWN_ENGINE_H
#define ODF_SPAWN_ENGINE_H

#include "plan.h"

struct result {
	pid_t pid;      /* -1 on failure */
	int pidfd;      /* -1: not wanted */
	odf_step step;  /* this and the next are as in odf_report */
	int index, error, wait_status;
	uint64_t forgiven;
	int foreground_before, foreground; /* as in child_outcome; put back after a failure */
	bool refused; /* this kind of process is refused here: another engine may succeed */
};

#define RESULT_INIT { .pid = -1, .pidfd = -1, .index = -1 }

void engine_vfork(struct plan *plan, bool pidfd, struct result *result);
void engine_fork(struct plan *plan, bool pidfd, struct result *result);
/* With ODF_SPAWN_NO_WAIT the child may not have executed the program when this returns: plan->flying. */
void engine_pool(struct plan *plan, bool pidfd, struct result *result);
void engine_posix_spawn(struct plan *plan, const struct request *request, struct result *result);

/* Why engine_posix_spawn cannot express the request, or ODF_REASON_NONE. */
odf_reason engine_posix_spawn_lacks(const struct plan *plan, const struct request *request);

/* Shared by the engines that watch the child themselves: */

/* Makes the result for child `pid`, which has executed the program or is ending, from what it has left in `outcome`.
 * Reaps it if it failed. */
void engine_conclude(struct result *result, const struct child_outcome *outcome, pid_t pid);

/* Whether the child changes its ids or capabilities. */
bool engine_changes_ids(const struct child_plan *child);

/* Whether a child that has let go of the memory and has reported no error died, rather than execute the program. */
bool engine_died_silently(const struct child_outcome *outcome, pid_t pid);

enum life {
	LIFE_RUNS,     /* alive, has not executed the program */
	LIFE_EXECUTED, /* has executed it; alive or not */
	LIFE_DEAD,     /* died before that; not reaped */
	LIFE_GONE,     /* reaped by another thread, or by the kernel */
	LIFE_UNKNOWN   /* in another session and no /proc to read, or a filter hides the answer */
};

/* The state of a child. Does not affect it. */
enum life engine_life(pid_t pid);

/* Whether the child has ended, reaped or not. False also if that cannot be told. */
bool engine_ended(pid_t pid);

/* Waits for a child that is ending. Returns its wait status; 0: it was reaped elsewhere. */
int engine_reap(pid_t pid);
#endif
