/* SPDX-License-Identifier: MIT
 *
 * What a spawned child does before exec, and all that it needs for it, computed before the child exists. The same code
 * runs in a child that shares its parent's memory and in one that does not.
 */
#ifndef ODF_SPAWN_CHILD_H
#define ODF_SPAWN_CHILD_H

#include <stdbool.h>
#include <stdint.h>

#include "odfork.h"

/* Written by the child and read by the parent, in memory that both see; therefore volatile. */
struct child_outcome {
	volatile int step;  /* the last step that the child began */
	volatile int index;
	volatile int error; /* 0, or errno of that step: the child is ending */
	volatile uint64_t forgiven;
	volatile int foreground_before, foreground; /* process groups: the terminal's before it was given to the child,
						     * and the child's; 0: it was not given */
};

/* Descriptors of the caller that are used after the descriptor map, when other files may have their numbers. */
enum { KEPT_EXEC, KEPT_TTY, KEPT_COUNT };
struct kept_fd {
	int fd;    /* -1: none */
	int spare; /* index of the spare number that holds it; -1: it keeps its number */
};

enum fd_op_kind {
	FD_OP_DUP,     /* to = copy of from, kept across exec */
	FD_OP_SAVE,    /* spare = copy of from, at a number that no action names */
	FD_OP_RESTORE, /* to = copy of spare */
	FD_OP_INHERIT, /* clear the close-on-exec flag of to */
	FD_OP_OPEN,    /* to = path */
	FD_OP_CLOSE    /* close to */
};

struct fd_op {
	enum fd_op_kind kind;
	odf_step step; /* the step that fails if this operation does */
	int index; /* of the caller's action; -1: an operation of the library */
	int from, to; /* OPEN: the directory, or AT_FDCWD */
	int spare; /* index of a spare number. OPEN: that of the directory; -1: it keeps its number */
	int flags;
	mode_t mode;
	const char *path;
};

struct fd_range {
	unsigned first, last;
};

struct limit {
	int resource;
	uint64_t soft_hard[2]; /* as the kernel's struct rlimit64 */
};

struct child_plan {
	struct child_outcome *outcome;
	uint64_t flags; /* ODF_SPAWN_* */
	uint64_t forgive;
	bool handlers_cleared; /* the kernel reset handled signals at clone */
	bool in_cgroup;        /* the kernel put the child into its cgroup at clone */
	pid_t parent;          /* the caller's id, as the child's getppid returns it */
	const int *pidfd;      /* if not NULL, the kernel must have stored a descriptor there at clone */

	const char *cwd;
	int cwd_fd, cgroup_fd;

	const struct fd_op *ops;
	size_t op_count;
	int *spares;      /* numbers that the child has found */
	const int *named; /* each number that an action names as target or source, sorted */
	size_t named_count;
	const struct fd_range *others; /* the ranges that ODF_SPAWN_CLOSE_OTHER_FDS closes */
	size_t other_count;
	struct kept_fd kept[KEPT_COUNT];

	const char *root;
	const odf_namespace *namespaces;
	size_t namespace_count;
	const struct sched_attr *sched_attr;
	uint64_t ambient;
	int ioprio, oom_score_adj;
	uint64_t sigdefault;

	pid_t pgroup;
	mode_t umask;
	int nice, sched_policy;
	struct sched_param sched_param;
	const cpu_set_t *affinity;
	size_t affinity_size;
	const struct limit *limits;
	size_t limit_count;
	uid_t uid;
	gid_t gid;
	const gid_t *groups;
	size_t group_count;
	int parent_death_signal;
	const struct sock_fprog *seccomp;
	int (*pre_exec)(void *argument);
	void *pre_exec_arg;
	unsigned busy_retry_ms;
	uint64_t sigmask; /* at exec */

	const char *const *candidates; /* paths to try in turn */
	size_t candidate_count;
	bool searched; /* they come from PATH: some errors lead on to the next */
	char *const *argv;
	char *const *envp;
};

/* The function of a clone_request: `plan` is a struct child_plan; the result is the exit status. */
int child_entry(void *plan);

/* Executes the plan. The caller has blocked all signals. Returns only after a failure, which is in the outcome; the
 * process must then end at once. */
void child_run(const struct child_plan *plan);
#endif
