/* SPDX-License-Identifier: MIT
 *
 * Files by which the kernel says something of this process. After a change of root anything may lie under their names,
 * made by whoever may write there.
 *
 * Where a lie could cost memory, or has something written to, the file system is asked (proc_open): one system call
 * more, which a seccomp filter may punish. Where it could cost time, or makes a record wrong, it is enough that nothing
 * waits: a named pipe that nobody writes to is at its end at once (PROC_READ).
 *
 * Async-signal-safe, and for code that a child runs on its parent's memory.
 */
#ifndef ODF_SYS_PROC_H
#define ODF_SYS_PROC_H

#include "syscall.h"

#define PROC_READ (O_RDONLY | O_NONBLOCK | O_NOCTTY)
/* A switch of the kernel's under a name of its own, of whatever file system: no link to another's file. */
#define PROC_WRITE (O_WRONLY | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW)

/* 0: it is in a file system of type proc; -ENOENT: in another; or minus another errno value, as by a filter. */
long proc_look(int file);
/* A descriptor, or minus an errno value, as that. Never waits. */
int proc_open(const char *path, int flags);
/* The same of sysfs. */
int proc_open_sysfs(const char *path, int flags);
#endif
