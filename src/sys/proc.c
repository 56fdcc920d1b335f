/* SPDX-License-Identifier: MIT */
#include "proc.h"

#include <sys/vfs.h>

#define PROC_TYPE  0x9fa0
#define SYSFS_TYPE 0x62656572

static ODF_UNINSTRUMENTED long look(int file, long type)
{
	struct statfs system;
	long error = sys_call2(SYS_fstatfs, file, &system);

	return error < 0 ? error : (long)system.f_type == type ? 0 : -ENOENT;
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
