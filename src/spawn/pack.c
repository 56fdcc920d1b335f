/* SPDX-License-Identifier: MIT
 *
 * Copies what a plan borrows from its request, so that the caller may change it before the child has used it.
 */
#include <errno.h>
#include <linux/filter.h>
#include <string.h>
#include <sys/mman.h>

#include "../sys/syscall.h"
#include "arena.h"
#include "block.h"
#include "flight.h"

/* Returns the original if there is no room. */
static const void *copy(struct arena *arena, const void *from, size_t size)
{
	void *to = from == NULL ? NULL : carve(arena, size);

	return to == NULL ? from : memcpy(to, from, size);
}

static const char *copy_string(struct arena *arena, const char *text)
{
	return text == NULL ? NULL : copy(arena, text, strlen(text) + 1);
}

/* Copies the array and its strings. */
static char *const *copy_strings(struct arena *arena, char *const *from)
{
	size_t count = 0;
	char **array;

	if (from == NULL)
		return NULL;
	while (from[count] != NULL)
		count++;
	array = carve(arena, (count + 1) * sizeof *array);
	for (size_t i = 0; i < count; i++) {
		const char *text = copy_string(arena, from[i]);
		if (array != NULL)
			array[i] = (char *)(uintptr_t)text;
	}
	if (array == NULL)
		return from;
	array[count] = NULL;
	return array;
}

/* The first member is the size; 0 means the first version's. The kernel refuses a size above a page. */
static const struct sched_attr *copy_sched_attr(struct arena *arena, const struct sched_attr *attr)
{
	uint32_t size;

	if (attr == NULL)
		return NULL;
	memcpy(&size, attr, sizeof size);
	return copy(arena, attr, size == 0 ? 48 : size < 4096 ? size : 4096);
}

static const struct sock_fprog *copy_filter(struct arena *arena, const struct sock_fprog *filter)
{
	struct sock_fprog *to;
	const void *code;

	if (filter == NULL)
		return NULL;
	to = carve(arena, sizeof *to);
	code = copy(arena, filter->filter, filter->len * sizeof *filter->filter);
	if (to == NULL)
		return filter;
	*to = (struct sock_fprog){ .len = filter->len, .filter = (struct sock_filter *)(uintptr_t)code };
	return to;
}

/* Continues to count when there is no room. The operations and the list of candidates are in the plan's block already;
 * the strings that they point to are not. */
static void place(struct arena *arena, const struct child_plan *from, struct child_plan *to)
{
	struct child_plan made;

	for (size_t i = 0; i < from->op_count; i++) {
		const char *path = copy_string(arena, from->ops[i].path);
		if (path != NULL)
			((struct fd_op *)(uintptr_t)to->ops)[i].path = path;
	}
	if (!from->searched && from->candidate_count > 0) {
		const char *file = copy_string(arena, from->candidates[0]);
		if (file != NULL)
			((const char **)(uintptr_t)to->candidates)[0] = file;
	}
	made = *from;
	made.cwd = copy_string(arena, from->cwd);
	made.root = copy_string(arena, from->root);
	made.namespaces = copy(arena, from->namespaces, from->namespace_count * sizeof *from->namespaces);
	made.sched_attr = copy_sched_attr(arena, from->sched_attr);
	made.affinity = copy(arena, from->affinity, from->affinity_size);
	made.groups = copy(arena, from->groups, from->group_count * sizeof *from->groups);
	made.seccomp = copy_filter(arena, from->seccomp);
	made.argv = copy_strings(arena, from->argv);
	made.envp = copy_strings(arena, from->envp);
	*to = made;
}

int flight_pack(struct plan *plan)
{
	struct arena arena = { .base = plan->room, .room = plan->room_size };
	const struct child_plan from = plan->child;
	size_t size;

	place(&arena, &from, &plan->child);
	if (arena.used <= arena.room)
		return 0;
	size = (arena.used + 4095) / 4096 * 4096;
	plan->extra = block_map(size, 0);
	if (plan->extra == NULL)
		return ENOMEM;
	plan->extra_size = size;
	arena = (struct arena){ .base = plan->extra, .room = size };
	place(&arena, &from, &plan->child);
	/* Too small if another thread has made a string longer meanwhile. */
	return arena.used > arena.room ? ENOMEM : 0;
}
