/* SPDX-License-Identifier: MIT
 *
 * Files in which the kernel describes this process. After a change of root, any user who may write there may have put
 * something else under their names.
 *
 * If wrong contents could lose memory, or make the library write somewhere, proc_open also asks for the type of the
 * file system: one more system call, which a seccomp filter may punish. If they could only cost time or make a record
 * wrong, it is enough that the open does not block: a named pipe without a writer reads as end of file (PROC_READ).
 *
 * Async-signal-safe, and usable by a child that runs on its parent's memory.
 */
#ifndef ODF_SYS_PROC_H
#define ODF_SYS_PROC_H

#include "syscall.h"

#define PROC_READ (O_RDONLY | O_NONBLOCK | O_NOCTTY)
/* For a switch of the kernel under its own name, on any file system: no symbolic link to another file. */
#define PROC_WRITE (O_WRONLY | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW)

/* 0: the file is in a file system of type proc; -ENOENT: in another; or minus another errno value, such as that of a
 * filter. */
long proc_look(int file);
/* Opens a file that must be in proc. Returns a descriptor, or minus an errno value as proc_look. Never blocks. */
int proc_open(const char *path, int flags);
/* The same for sysfs. */
int proc_open_sysfs(const char *path, int flags);
#endif
