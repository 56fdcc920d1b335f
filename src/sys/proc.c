/* SPDX-License-Identifier: MIT */
#include "proc.h"

#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#define PROC_TYPE  0x9fa0
#define SYSFS_TYPE 0x62656572

static ODF_UNINSTRUMENTED long look(int file, long type)
{
	struct statfs system;
	long error = sys_call2(SYS_fstatfs, file, &system);

	return error < 0 ? error : system.f_type == type ? 0 : -ENOENT;
}

ODF_UNINSTRUMENTED long proc_look(int file)
{
	return look(file, PROC_TYPE);
}

static ODF_UNINSTRUMENTED int open_of(const char *path, int flags, long type)
{
	int file = sys_open(path, flags | O_NONBLOCK | O_NOCTTY, 0);
	long error = file < 0 ? 0 : look(file, type);

	if (error < 0)
		sys_close(file);
	return error < 0 ? (int)error : file;
}

ODF_UNINSTRUMENTED int proc_open(const char *path, int flags)
{
	return open_of(path, flags, PROC_TYPE);
}

ODF_UNINSTRUMENTED int proc_open_sysfs(const char *path, int flags)
{
	return open_of(path, flags, SYSFS_TYPE);
}

/* ---- Threads ---- */

/* A directory has a link for each that is in it, and two. */
static unsigned threads_of(const struct stat *tasks)
{
	return tasks->st_nlink > 2 ? (unsigned)tasks->st_nlink - 2 : 0;
}

unsigned proc_threads(void)
{
	static const char path[] = "/proc/self/task";
	static _Atomic(uint64_t) known; /* the device of a file system that is of that type */
	unsigned threads = 0;
	int saved = errno, directory;
	struct stat tasks;

	if (stat(path, &tasks) == 0) {
		threads = threads_of(&tasks);
		if (tasks.st_dev != atomic_load_explicit(&known, memory_order_relaxed)) {
			/* Of what is open, as another file may come to lie there. */
			directory = proc_open(path, O_RDONLY | O_DIRECTORY);
			threads = directory >= 0 && fstat(directory, &tasks) == 0 ? threads_of(&tasks) : 0;
			if (threads > 0)
				atomic_store_explicit(&known, tasks.st_dev, memory_order_relaxed);
			if (directory >= 0)
				sys_close(directory);
		}
	}
	errno = saved;
	return threads;
}
