/* SPDX-License-Identifier: MIT
 *
 * Turns descriptor actions, which take effect together, into operations, which take effect one after the other. Pure:
 * no system calls, no allocation.
 */
#ifndef ODF_SPAWN_FD_MAP_H
#define ODF_SPAWN_FD_MAP_H

#include "child.h"

/* A kind that callers cannot use: at the very end `fd` becomes a copy of the child's descriptor `source`. */
enum { FD_KIND_LATE_DUP = 1000 };

/* Sizes of the arrays for this number of actions. */
#define FD_MAP_OPS(count)    (3 * (count) + KEPT_COUNT)
#define FD_MAP_SPARES(count) ((count) / 2 + (count) + KEPT_COUNT)
#define FD_MAP_NAMED(count)  (2 * (count) + KEPT_COUNT)
#define FD_MAP_RANGES(count) ((count) + 1)

/* An action, by its target. */
struct fd_slot {
	int fd;      /* target */
	int index;   /* of the action */
	int readers; /* pending duplications that have this target as their source */
	int reader;  /* index of one of these */
	int directory; /* index of the spare number that holds the directory of an OPEN_AT, or -1 */
	bool pending;
};

struct fd_map {
	struct fd_op *ops;       /* room for FD_MAP_OPS(count) */
	struct fd_slot *slots;   /* room for `count`; sorted by target on return */
	size_t *ready;           /* room for `count`; scratch */
	int *named;              /* room for FD_MAP_NAMED(count); on return each target and source, sorted */
	struct fd_range *others; /* room for FD_MAP_RANGES(count) */
	size_t op_count, other_count, spare_count, named_count;
	struct kept_fd kept[KEPT_COUNT]; /* `fd` is input, `spare` is output */
};

/* 0, or EINVAL with the *index of the wrong action: a negative number, a target that an earlier action has, an unknown
 * kind, no path. */
int fd_map_check(const odf_fd_action *actions, size_t count, int *sorted, int *index);

/* The actions must have passed fd_map_check. */
void fd_map_build(struct fd_map *map, const odf_fd_action *actions, size_t count);
#endif
