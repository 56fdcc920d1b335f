/* SPDX-License-Identifier: MIT
 *
 * The duplications are a parallel assignment: target <- source, all from the state before. One is done once its target is no longer
 * a source of another. What then remains is made of cycles; each is opened by saving one member at a spare number. Opened files,
 * /dev/null and closings come last, since their targets may be sources.
 */
#include "fd_map.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>

static int compare(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;
	return (x > y) - (x < y);
}

static int check_action(const odf_fd_action *action)
{
	if (action->fd < 0)
		return EINVAL;
	switch (action->kind) {
	case ODF_FD_KIND_DUP:
		return action->source < 0 ? EINVAL : 0;
	case ODF_FD_KIND_OPEN:
		return action->path == NULL ? EINVAL : 0;
	case ODF_FD_KIND_CLOSE:
	case ODF_FD_KIND_NULL:
	case ODF_FD_KIND_KEEP:
		return 0;
	}
	return EINVAL;
}

int fd_map_check(const odf_fd_action *actions, size_t count, int *sorted, int *index)
{
	for (size_t i = 0; i < count; i++) {
		int error = check_action(&actions[i]);
		if (error != 0) {
			*index = (int)i;
			return error;
		}
		sorted[i] = actions[i].fd;
	}
	qsort(sorted, count, sizeof *sorted, compare);
	for (size_t i = 1; i < count; i++) {
		if (sorted[i] != sorted[i - 1])
			continue;
		for (size_t later = count; later-- > 0;) { /* the last one that names it is the one too many */
			if (actions[later].fd == sorted[i]) {
				*index = (int)later;
				return EINVAL;
			}
		}
	}
	return 0;
}

static struct fd_op *add(struct fd_map *map, enum fd_op_kind kind, int index)
{
	struct fd_op *op = &map->ops[map->op_count++];

	*op = (struct fd_op){ .kind = kind, .index = index, .from = -1, .to = -1, .spare = -1 };
	return op;
}

static int add_save(struct fd_map *map, int from, int index)
{
	struct fd_op *op = add(map, FD_OP_SAVE, index);

	op->from = from;
	op->spare = (int)map->spare_count++;
	return op->spare;
}

/* Which of the pending duplications has `fd` as its source; other than `self`. */
static bool wanted(const odf_fd_action *actions, const int *pending, size_t count, int fd, size_t self)
{
	for (size_t i = 0; i < count; i++)
		if (i != self && actions[pending[i]].source == fd)
			return true;
	return false;
}

/* Saved sources: a pending duplication whose source was moved to a spare number. */
static void build_duplications(struct fd_map *map, const odf_fd_action *actions, size_t count)
{
	size_t left = 0;
	int saved_fd = -1, saved_spare = -1;

	for (size_t i = 0; i < count; i++)
		if (actions[i].kind == ODF_FD_KIND_DUP && actions[i].fd != actions[i].source)
			map->pending[left++] = (int)i;
	while (left > 0) {
		bool progress = false;
		for (size_t i = 0; i < left;) {
			int index = map->pending[i];
			const odf_fd_action *action = &actions[index];
			struct fd_op *op;
			/* A saved source is free to be overwritten: its readers take the spare. */
			if (action->fd != saved_fd && wanted(actions, map->pending, left, action->fd, i)) {
				i++;
				continue;
			}
			op = add(map, action->source == saved_fd ? FD_OP_RESTORE : FD_OP_DUP, index);
			op->from = action->source;
			op->spare = saved_spare;
			op->to = action->fd;
			map->pending[i] = map->pending[--left];
			progress = true;
		}
		if (progress || left == 0)
			continue;
		/* Only cycles are left, each number in them a target once. Open one; the one before is done with by now. */
		saved_fd = actions[map->pending[0]].fd;
		saved_spare = add_save(map, saved_fd, map->pending[0]);
	}
}

static void build_rest(struct fd_map *map, const odf_fd_action *actions, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const odf_fd_action *action = &actions[i];
		struct fd_op *op;
		switch (action->kind) {
		case ODF_FD_KIND_DUP:
			if (action->fd == action->source)
				add(map, FD_OP_INHERIT, (int)i)->to = action->fd;
			break;
		case ODF_FD_KIND_KEEP:
			add(map, FD_OP_INHERIT, (int)i)->to = action->fd;
			break;
		case ODF_FD_KIND_OPEN:
			op = add(map, FD_OP_OPEN, (int)i);
			op->to = action->fd;
			op->path = action->path;
			op->flags = action->flags;
			op->mode = action->mode;
			break;
		case ODF_FD_KIND_NULL:
			op = add(map, FD_OP_OPEN, (int)i);
			op->to = action->fd;
			op->path = "/dev/null";
			op->flags = O_RDWR;
			break;
		case ODF_FD_KIND_CLOSE:
			add(map, FD_OP_CLOSE, (int)i)->to = action->fd;
			break;
		}
	}
}

/* The gaps between the targets, from 3 on. */
static void build_others(struct fd_map *map, size_t count)
{
	unsigned next = 3;

	for (size_t i = 0; i < count; i++) {
		unsigned target = (unsigned)map->targets[i];
		if (target < next)
			continue;
		if (target > next)
			map->others[map->other_count++] = (struct fd_range){ next, target - 1 };
		next = target + 1;
	}
	map->others[map->other_count++] = (struct fd_range){ next, UINT_MAX };
}

void fd_map_build(struct fd_map *map, const odf_fd_action *actions, size_t count, int exec_fd)
{
	map->op_count = map->other_count = map->spare_count = map->named_count = 0;
	map->exec_spare = -1;
	if (count == 0) {
		build_others(map, 0);
		return;
	}
	for (size_t i = 0; i < count; i++) {
		map->targets[i] = actions[i].fd;
		map->named[map->named_count++] = actions[i].fd;
		if (actions[i].kind == ODF_FD_KIND_DUP)
			map->named[map->named_count++] = actions[i].source;
		/* The descriptor to execute must outlive the map, unless its number is kept as it is. */
		if (exec_fd >= 0 && actions[i].fd == exec_fd && actions[i].kind != ODF_FD_KIND_KEEP &&
		    !(actions[i].kind == ODF_FD_KIND_DUP && actions[i].source == exec_fd))
			map->exec_spare = 0;
	}
	qsort(map->targets, count, sizeof *map->targets, compare);
	qsort(map->named, map->named_count, sizeof *map->named, compare);
	if (map->exec_spare >= 0)
		map->exec_spare = add_save(map, exec_fd, -1);
	build_duplications(map, actions, count);
	build_rest(map, actions, count);
	build_others(map, count);
}
