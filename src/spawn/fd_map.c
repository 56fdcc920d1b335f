/* SPDX-License-Identifier: MIT
 *
 * Duplications are a parallel assignment: target <- source, all from the state before. A duplication is ready when no
 * pending one has its target as a source. Those that never get ready form cycles; each cycle is opened by saving one
 * member at a spare number. Opened files, /dev/null and closings come last, since their targets may be sources. The
 * time is n log n in the number of actions, because the caller waits for it.
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
	case ODF_FD_KIND_OPEN_AT:
		return action->path == NULL || (action->source < 0 && action->source != AT_FDCWD) ? EINVAL : 0;
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
		for (size_t later = count; later-- > 0;) { /* the last action that names it is the wrong one */
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

	*op = (struct fd_op){ .kind = kind, .step = ODF_STEP_FD, .index = index, .from = -1, .to = -1, .spare = -1 };
	return op;
}

static int add_save(struct fd_map *map, int from, int index)
{
	struct fd_op *op = add(map, FD_OP_SAVE, index);

	op->from = from;
	op->spare = (int)map->spare_count++;
	return op->spare;
}

static int compare_slots(const void *a, const void *b)
{
	return compare(&((const struct fd_slot *)a)->fd, &((const struct fd_slot *)b)->fd);
}

static struct fd_slot *find_slot(struct fd_map *map, size_t count, int fd)
{
	struct fd_slot key = { .fd = fd };

	return bsearch(&key, map->slots, count, sizeof *map->slots, compare_slots);
}

/* Adds one duplication. If its source is itself a target and has no other reader, that becomes ready. */
static void duplicate(struct fd_map *map, const odf_fd_action *actions, size_t count, struct fd_slot *slot,
		      int saved_fd, int spare, size_t *ready_count)
{
	int source = actions[slot->index].source;
	struct fd_slot *read = find_slot(map, count, source);
	struct fd_op *op = add(map, source == saved_fd ? FD_OP_RESTORE : FD_OP_DUP, slot->index);

	op->from = source;
	op->spare = spare;
	op->to = slot->fd;
	slot->pending = false;
	if (read != NULL && read->pending && --read->readers == 0)
		map->ready[(*ready_count)++] = (size_t)(read - map->slots);
}

static void drain(struct fd_map *map, const odf_fd_action *actions, size_t count, int saved_fd, int spare,
		  size_t *ready_count)
{
	while (*ready_count > 0) {
		struct fd_slot *slot = &map->slots[map->ready[--*ready_count]];
		duplicate(map, actions, count, slot, saved_fd, spare, ready_count);
	}
}

static void build_duplications(struct fd_map *map, const odf_fd_action *actions, size_t count)
{
	size_t ready_count = 0;

	for (size_t i = 0; i < count; i++) {
		const odf_fd_action *action = &actions[map->slots[i].index];
		map->slots[i].pending = action->kind == ODF_FD_KIND_DUP && action->fd != action->source;
	}
	for (size_t i = 0; i < count; i++) {
		struct fd_slot *read = map->slots[i].pending
					       ? find_slot(map, count, actions[map->slots[i].index].source)
					       : NULL;
		if (read != NULL && read->pending) {
			read->readers++;
			read->reader = map->slots[i].index;
		}
	}
	for (size_t i = 0; i < count; i++)
		if (map->slots[i].pending && map->slots[i].readers == 0)
			map->ready[ready_count++] = i;
	drain(map, actions, count, -1, -1, &ready_count);
	for (size_t i = 0; i < count; i++) {
		struct fd_slot *slot = &map->slots[i];
		int spare;
		if (!slot->pending)
			continue;
		/* A cycle: each number in it is read once. If saving it fails, that is the error of its reader. */
		spare = add_save(map, slot->fd, slot->reader);
		map->ready[ready_count++] = i;
		slot->readers = 0;
		drain(map, actions, count, slot->fd, spare, &ready_count);
	}
}

static void build_rest(struct fd_map *map, const odf_fd_action *actions, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const odf_fd_action *action = &actions[i];
		struct fd_op *op;
		if ((int)action->kind == FD_KIND_LATE_DUP)
			continue;
		switch (action->kind) {
		case ODF_FD_KIND_DUP:
			if (action->fd == action->source)
				add(map, FD_OP_INHERIT, (int)i)->to = action->fd;
			break;
		case ODF_FD_KIND_KEEP:
			add(map, FD_OP_INHERIT, (int)i)->to = action->fd;
			break;
		case ODF_FD_KIND_OPEN:
		case ODF_FD_KIND_OPEN_AT:
			op = add(map, FD_OP_OPEN, (int)i);
			op->from = action->kind == ODF_FD_KIND_OPEN ? AT_FDCWD : action->source;
			op->spare = find_slot(map, count, action->fd)->directory;
			op->to = action->fd;
			op->path = action->path;
			op->flags = action->flags;
			op->mode = action->mode;
			break;
		case ODF_FD_KIND_NULL:
			op = add(map, FD_OP_OPEN, (int)i);
			op->from = AT_FDCWD;
			op->to = action->fd;
			op->path = "/dev/null";
			op->flags = O_RDWR;
			break;
		case ODF_FD_KIND_CLOSE:
			add(map, FD_OP_CLOSE, (int)i)->to = action->fd;
			break;
		}
	}
	for (size_t i = 0; i < count; i++) {
		if ((int)actions[i].kind == FD_KIND_LATE_DUP) {
			struct fd_op *op = add(map, FD_OP_DUP, (int)i);
			op->from = actions[i].source;
			op->to = actions[i].fd;
		}
	}
}

/* The gaps between the targets, from 3 on. */
static void build_others(struct fd_map *map, size_t count)
{
	unsigned next = 3;

	for (size_t i = 0; i < count; i++) {
		unsigned target = (unsigned)map->slots[i].fd;
		if (target < next)
			continue;
		if (target > next)
			map->others[map->other_count++] = (struct fd_range){ next, target - 1 };
		next = target + 1;
	}
	map->others[map->other_count++] = (struct fd_range){ next, UINT_MAX };
}

/* Whether the map puts another file at this number of the caller. */
static bool overwritten(struct fd_map *map, const odf_fd_action *actions, size_t count, int fd)
{
	struct fd_slot *slot = fd < 0 ? NULL : find_slot(map, count, fd);
	const odf_fd_action *action = slot == NULL ? NULL : &actions[slot->index];

	return action != NULL && action->kind != ODF_FD_KIND_KEEP &&
		!(action->kind == ODF_FD_KIND_DUP && action->source == fd);
}

/* Saves them before anything is overwritten. A failure is reported as the step that uses the descriptor. */
static void save_used_later(struct fd_map *map, const odf_fd_action *actions, size_t count)
{
	static const odf_step steps[KEPT_COUNT] = { [KEPT_EXEC] = ODF_STEP_EXEC, [KEPT_TTY] = ODF_STEP_FOREGROUND };

	for (size_t i = 0; i < KEPT_COUNT; i++) {
		map->kept[i].spare = -1;
		if (overwritten(map, actions, count, map->kept[i].fd)) {
			map->kept[i].spare = add_save(map, map->kept[i].fd, -1);
			map->ops[map->op_count - 1].step = steps[i];
		}
	}
	for (size_t i = 0; i < count; i++) {
		struct fd_slot *slot = &map->slots[i];
		slot->directory = -1;
		if (actions[slot->index].kind == ODF_FD_KIND_OPEN_AT &&
		    overwritten(map, actions, count, actions[slot->index].source))
			slot->directory = add_save(map, actions[slot->index].source, slot->index);
	}
}

void fd_map_build(struct fd_map *map, const odf_fd_action *actions, size_t count)
{
	map->op_count = map->other_count = map->spare_count = map->named_count = 0;
	for (size_t i = 0; i < KEPT_COUNT; i++)
		if (map->kept[i].fd >= 0)
			map->named[map->named_count++] = map->kept[i].fd;
	for (size_t i = 0; i < count; i++) {
		map->slots[i] = (struct fd_slot){ .fd = actions[i].fd, .index = (int)i };
		map->named[map->named_count++] = actions[i].fd;
		if ((actions[i].kind == ODF_FD_KIND_DUP || actions[i].kind == ODF_FD_KIND_OPEN_AT) &&
		    actions[i].source >= 0)
			map->named[map->named_count++] = actions[i].source;
	}
	qsort(map->slots, count, sizeof *map->slots, compare_slots);
	qsort(map->named, map->named_count, sizeof *map->named, compare);
	save_used_later(map, actions, count);
	build_duplications(map, actions, count);
	build_rest(map, actions, count);
	build_others(map, count);
}
