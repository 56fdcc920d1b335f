/* SPDX-License-Identifier: MIT
 *
 * RUNS BETWEEN CLONE AND EXEC as well as in the caller: the rules are at the top of child.c.
 *
 * The cgroup of a child. One that is frozen is not entered: the child would stop in it before it executes the program,
 * and hold its maker, who takes no signal meanwhile but SIGKILL, for as long as somebody else likes.
 */
#include "child_cgroup.h"

#include "../sys/proc.h"

/* As much of a file of the cgroup's as fits, with a NUL; false: there is none, or it cannot be read. */
static bool read_file(int cgroup_fd, const char *name, char *text, long size)
{
	/* Where the descriptor is of no cgroup, the file may be anybody's: a pipe must not hold us. */
	int fd = (int)sys_call4(SYS_openat, cgroup_fd, name, PROC_READ | O_CLOEXEC, 0);
	long got;

	if (fd < 0)
		return false;
	got = sys_read(fd, text, (size_t)size - 1);
	sys_close(fd);
	text[got > 0 ? got : 0] = '\0';
	return got > 0;
}

static bool has_word(const char *text, const char *word)
{
	for (; *text != '\0'; text++) {
		long i = 0;
		while (word[i] != '\0' && text[i] == word[i])
			i++;
		if (word[i] == '\0')
			return true;
	}
	return false;
}

/* Version 2: what the cgroup itself is asked to be, which is so for who enters it before the others have stopped; then
 * what it is, for those above it as well. Version 1: FREEZING or FROZEN, for both reasons. */
bool child_cgroup_is_frozen(int cgroup_fd)
{
	char text[256];

	if (read_file(cgroup_fd, "cgroup.freeze", text, sizeof text) && text[0] == '1')
		return true;
	if (read_file(cgroup_fd, "cgroup.events", text, sizeof text))
		return has_word(text, "frozen 1");
	return read_file(cgroup_fd, "freezer.state", text, sizeof text) && has_word(text, "FR");
}

bool child_enter_cgroup(const struct child_plan *plan)
{
	long fd, result;

	if (plan->cgroup_fd < 0 || plan->in_cgroup)
		return true;
	begin(plan, ODF_STEP_CGROUP, -1);
	if (child_cgroup_is_frozen(plan->cgroup_fd))
		return passed(plan, -EBUSY);
	fd = sys_call4(SYS_openat, plan->cgroup_fd, "cgroup.procs", O_WRONLY | O_CLOEXEC, 0);
	result = fd;
	if (fd >= 0) {
		result = sys_write((int)fd, "0", 1);
		sys_close((int)fd);
	}
	return passed(plan, result);
}
