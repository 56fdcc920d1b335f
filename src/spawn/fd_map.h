/* SPDX-License-Identifier: MIT
 *
 * Descriptor actions, which apply at once, as operations that apply one after the other. Pure: no system calls, no
 * allocation.
 */
#ifndef ODF_SPAWN_FD_MAP_H
#define ODF_SPAWN_FD_MAP_H

#include "child.h"

/* A kind that callers cannot give: fd becomes a copy of what the child has at `source` when all else is done. */
enum { FD_KIND_LATE_DUP = 1000 };

/* Room to give for `actions` of this count. */
#define FD_MAP_OPS(count)    (3 * (count) + KEPT_COUNT)
#define FD_MAP_SPARES(count) ((count) / 2 + (count) + KEPT_COUNT)
#define FD_MAP_NAMED(count)  (2 * (count) + KEPT_COUNT)
#define FD_MAP_RANGES(count) ((count) + 1)

/* An action by its target. */
struct fd_slot {
	int fd;      /* target */
	int index;   /* of the action */
	int readers; /* duplications still to do that have this target as their source */
	int reader;  /* the index of one of them */
	int directory; /* the spare number that holds the directory of an OPEN_AT, or -1 */
	bool pending;
};

struct fd_map {
	struct fd_op *ops;       /* FD_MAP_OPS(count) */
	struct fd_slot *slots;   /* count; sorted by target on return */
	size_t *ready;           /* count; scratch */
	int *named;              /* FD_MAP_NAMED(count); on return every target and source, sorted */
	struct fd_range *others; /* FD_MAP_RANGES(count) */
	size_t op_count, other_count, spare_count, named_count;
	struct kept_fd kept[KEPT_COUNT]; /* `fd` is given; `spare` the result */
};

/* 0, or EINVAL with *index the offending action: a number below 0, a target named twice, a kind that does not exist,
 * no path. */
int fd_map_check(const odf_fd_action *actions, size_t count, int *sorted, int *index);

/* Actions must have passed fd_map_check. */
void fd_map_build(struct fd_map *map, const odf_fd_action *actions, size_t count);
#endif
