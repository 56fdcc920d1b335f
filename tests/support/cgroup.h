/* SPDX-License-Identifier: MIT
 *
 * A cgroup for one test, in cgroup v1 or v2.
 */
#ifndef ODF_TESTS_CGROUP_H
#define ODF_TESTS_CGROUP_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CGROUP_PATH = 128 };

static inline bool cgroup_write(const char *folder, const char *name, const char *text)
{
	char path[CGROUP_PATH + 64];
	bool written;
	int file;

	snprintf(path, sizeof path, "%s/%s", folder, name);
	file = open(path, O_WRONLY | O_CLOEXEC);
	if (file < 0)
		return false;
	written = write(file, text, strlen(text)) == (ssize_t)strlen(text);
	close(file);
	return written;
}

/* Makes a cgroup with a limit. v1 (first_file) and v2 (second_file) name the limit's file differently. False: no cgroup
 * can be made here. */
static inline bool cgroup_make(char folder[CGROUP_PATH], const char *controller, const char *first_file,
			       const char *second_file, const char *limit)
{
	for (int way = 0; way < 3; way++) {
		snprintf(folder, CGROUP_PATH, "/sys/fs/cgroup/%s/odfork-test-%s-%d",
			 way == 0 ? controller : way == 1 ? "." : "unified", controller, (int)getpid());
		if (mkdir(folder, 0755) != 0)
			continue;
		if (cgroup_write(folder, way == 0 ? first_file : second_file, limit))
			return true;
		rmdir(folder);
	}
	return false;
}

/* A cgroup whose memory is limited, without swap. */
static inline bool cgroup_make_memory(char folder[CGROUP_PATH], const char *bytes)
{
	if (!cgroup_make(folder, "memory", "memory.limit_in_bytes", "memory.max", bytes))
		return false;
	(void)cgroup_write(folder, "memory.swap.max", "0");                /* v2 */
	(void)cgroup_write(folder, "memory.memsw.limit_in_bytes", bytes); /* v1, if it counts swap */
	return true;
}

static inline bool cgroup_enter(const char *folder, pid_t pid)
{
	char number[16];

	snprintf(number, sizeof number, "%d", (int)pid);
	return cgroup_write(folder, "cgroup.procs", number);
}

/* Tries for 20 s: processes in the cgroup may still be about to end. */
static inline bool cgroup_remove(const char *folder)
{
	for (int i = 0; i < 20000; i++) {
		if (rmdir(folder) == 0)
			return true;
		if (errno != EBUSY)
			return false;
		usleep(1000);
	}
	return false;
}
#endif
