/* SPDX-License-Identifier: MIT
 *
 * The engines: ways to carry out a plan. Each leaves nothing behind when it fails: the child reaped, signal mask,
 * cancellation state and errno as before, no descriptor open.
 */
#ifndef ODF_SPAWN_ENGINE_H
#define ODF_SPAWN_ENGINE_H

#include "plan.h"

struct result {
	pid_t pid;      /* -1 on failure */
	int pidfd;      /* -1 unless wanted */
	odf_step step;  /* the rest is as in odf_report */
	int index, error, wait_status;
	uint64_t forgiven;
	int foreground_before, foreground; /* as in child_outcome: to be put back after a failure */
	bool refused; /* the kind of process itself is refused here: another engine may do */
};

#define RESULT_INIT { .pid = -1, .pidfd = -1, .index = -1 }

void engine_vfork(struct plan *plan, bool pidfd, struct result *result);
void engine_fork(struct plan *plan, bool pidfd, struct result *result);
/* With ODF_SPAWN_NO_WAIT the child may be on its way when this returns: plan->flying. */
void engine_pool(struct plan *plan, bool pidfd, struct result *result);
void engine_posix_spawn(struct plan *plan, const struct request *request, struct result *result);

/* What keeps engine_posix_spawn from expressing this request, or ODF_REASON_NONE. */
odf_reason engine_posix_spawn_lacks(const struct plan *plan, const struct request *request);

/* Shared by the engines that watch the child themselves. */

/* Turns what the child left in `outcome` into the result for child `pid`, which has executed the program or is
 * ending. Reaps it if it failed. */
void engine_conclude(struct result *result, const struct child_outcome *outcome, pid_t pid);

/* Whether the child becomes somebody else. */
bool engine_changes_ids(const struct child_plan *child);

/* Whether a child that said nothing wrong, and has let go of the memory, executed a program or died. */
bool engine_died_silently(const struct child_outcome *outcome, pid_t pid);

enum life {
	LIFE_RUNS,     /* alive, has not executed a program */
	LIFE_EXECUTED, /* has executed one; alive or not */
	LIFE_DEAD,     /* died without; not reaped */
	LIFE_GONE,     /* reaped by somebody else */
	LIFE_UNKNOWN   /* in another session, and no /proc to look at; or a sandbox that hides the answer */
};

/* What became of a child. No effect on it. */
enum life engine_life(pid_t pid);

/* Whether it has ended, reaped or not; false while that cannot be told. */
bool engine_ended(pid_t pid);

/* Waits for a child that is ending; the wait status, or 0 if somebody else reaped it. */
int engine_reap(pid_t pid);
#endif
