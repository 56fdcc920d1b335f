/* SPDX-License-Identifier: MIT
 *
 * RUNS BETWEEN CLONE AND EXEC as well as in the caller: the rules are at the top of child.c.
 *
 * The child's cgroup. A frozen cgroup is not entered: the child would freeze in it before exec, and hold its maker,
 * which takes no signal but SIGKILL meanwhile, until another process thaws the cgroup.
 */
#include "child_cgroup.h"

#include "../sys/proc.h"

/* Reads the start of a cgroup's file as a string. False: the file does not exist, or cannot be read. */
static bool read_file(int cgroup_fd, const char *name, char *text, long size)
{
	/* If the descriptor is not a cgroup's, the file may be anything: a pipe must not block the child. */
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

/* Version 2: cgroup.freeze is what was asked of this cgroup, and holds for a process that enters before the others have
 * stopped; cgroup.events is the state, ancestors included. Version 1: FREEZING or FROZEN, for either reason. */
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
