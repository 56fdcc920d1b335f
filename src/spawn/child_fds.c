/* SPDX-License-Identifier: MIT
 *
 * The child's descriptors. RUNS BETWEEN CLONE AND EXEC, by the rules at the top of child.c.
 */
#include "child_step.h"

#include <sys/resource.h>

#include "../sys/proc.h"

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC 4u
#endif

static bool is_named(const struct child_plan *plan, int fd)
{
	size_t low = 0, high = plan->named_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (plan->named[middle] < fd)
			low = middle + 1;
		else
			high = middle;
	}
	return low < plan->named_count && plan->named[low] == fd;
}

/* Copies `from` to a number that no action names: a target would be overwritten, and a source that the caller has not
 * open would seem open. The number is above all of them; if the limit is too low, it is a free one between them. */
static long spare_copy(const struct child_plan *plan, int from)
{
	int above = plan->named_count > 0 ? plan->named[plan->named_count - 1] + 1 : 0;
	long fd = sys_call3(SYS_fcntl, from, F_DUPFD_CLOEXEC, above);

	for (int minimum = 0; (fd == -EINVAL || fd == -EMFILE) && minimum < above; minimum++) {
		if (is_named(plan, minimum))
			continue;
		fd = sys_call3(SYS_fcntl, from, F_DUPFD_CLOEXEC, minimum);
		if (fd >= 0 && is_named(plan, (int)fd)) {
			sys_close((int)fd);
			minimum = (int)fd;
			fd = -EMFILE;
		}
	}
	return fd;
}

static long open_at(const struct child_plan *plan, const struct fd_op *op)
{
	int directory = op->spare >= 0 ? plan->spares[op->spare] : op->from;
	long fd = sys_call4(SYS_openat, directory, op->path, op->flags | O_CLOEXEC | O_LARGEFILE, op->mode), result;

	if (fd < 0)
		return fd;
	if (fd == op->to)
		return sys_call3(SYS_fcntl, fd, F_SETFD, 0);
	result = sys_call3(SYS_dup3, fd, op->to, 0);
	sys_close((int)fd);
	return result;
}

static long apply(const struct child_plan *plan, const struct fd_op *op)
{
	long result;

	switch (op->kind) {
	case FD_OP_DUP:
		return sys_call3(SYS_dup3, op->from, op->to, 0);
	case FD_OP_SAVE:
		result = spare_copy(plan, op->from);
		if (result >= 0)
			plan->spares[op->spare] = (int)result;
		return result;
	case FD_OP_RESTORE:
		return sys_call3(SYS_dup3, plan->spares[op->spare], op->to, 0);
	case FD_OP_INHERIT:
		result = sys_call3(SYS_fcntl, op->to, F_GETFD, 0);
		return result < 0 ? result : sys_call3(SYS_fcntl, op->to, F_SETFD, result & ~FD_CLOEXEC);
	case FD_OP_OPEN:
		return open_at(plan, op);
	case FD_OP_CLOSE:
		/* If it was not open, the request is met. After other errors the descriptor is closed too. */
		sys_close(op->to);
		return 0;
	}
	return -EINVAL;
}

bool child_map_descriptors(const struct child_plan *plan)
{
	for (size_t i = 0; i < plan->op_count; i++) {
		begin(plan, plan->ops[i].step, plan->ops[i].index);
		if (!passed(plan, apply(plan, &plan->ops[i])))
			return false;
	}
	return true;
}

/* "123" as a number; -1 for "." and "..". */
static int number_of(const char *name)
{
	int number = 0;

	if (*name < '0' || *name > '9')
		return -1;
	for (; *name >= '0' && *name <= '9'; name++)
		number = number * 10 + (*name - '0');
	return number;
}

static bool in_ranges(const struct child_plan *plan, unsigned fd)
{
	for (size_t i = 0; i < plan->other_count; i++)
		if (fd >= plan->others[i].first && fd <= plan->others[i].last)
			return true;
	return false;
}

static void close_on_exec(int fd)
{
	long flags = sys_call3(SYS_fcntl, fd, F_GETFD, 0);

	if (flags >= 0)
		sys_call3(SYS_fcntl, fd, F_SETFD, flags | FD_CLOEXEC);
}

/* Without close_range: the descriptors that /proc shows as open. */
static long mark_others_by_proc(const struct child_plan *plan)
{
	_Alignas(8) char buffer[1024];
	int directory = proc_open("/proc/self/fd", O_RDONLY | O_DIRECTORY);
	long count;

	if (directory < 0)
		return directory;
	while ((count = sys_call3(SYS_getdents64, directory, buffer, sizeof buffer)) > 0) {
		for (long at = 0; at < count;) {
			const char *entry = buffer + at; /* ino 8, off 8, length 2, type 1, name */
			int fd = number_of(entry + 19);
			if (fd >= 0 && in_ranges(plan, (unsigned)fd))
				close_on_exec(fd);
			at += *(const unsigned short *)(const void *)(entry + 16);
		}
	}
	sys_close(directory);
	return count;
}

/* Without /proc: each number that can be open. Descriptors that were opened before the soft limit was lowered are above
 * it, so the hard limit counts, up to a maximum. */
static long mark_others_by_counting(const struct child_plan *plan)
{
	uint64_t limit[2];
	long result = sys_call4(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, limit);

	if (result < 0)
		return result;
	if (limit[1] > 1u << 20)
		limit[1] = 1u << 20; /* the default of fs.nr_open */
	for (size_t i = 0; i < plan->other_count; i++)
		for (uint64_t fd = plan->others[i].first; fd <= plan->others[i].last && fd < limit[1]; fd++)
			close_on_exec((int)fd);
	return 0;
}

/* Sets close-on-exec instead of closing: after exec it is the same, and until then the child can use its own. */
bool child_close_others(const struct child_plan *plan)
{
	long result = 0;

	if (!(plan->flags & ODF_SPAWN_CLOSE_OTHER_FDS))
		return true;
	begin(plan, ODF_STEP_CLOSE_OTHERS, -1);
	for (size_t i = 0; i < plan->other_count && result >= 0; i++)
		result = sys_call3(SYS_close_range, plan->others[i].first, plan->others[i].last, CLOSE_RANGE_CLOEXEC);
	if (result < 0) { /* ENOSYS before 5.9, EINVAL for the flag before 5.11, EPERM from filters */
		result = mark_others_by_proc(plan);
		if (result < 0)
			result = mark_others_by_counting(plan);
	}
	return passed(plan, result);
}

int child_kept_number(const struct child_plan *plan, int which)
{
	const struct kept_fd *kept = &plan->kept[which];

	return kept->spare >= 0 ? plan->spares[kept->spare] : kept->fd;
}
