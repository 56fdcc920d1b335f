/* SPDX-License-Identifier: MIT
 * Async-fork's switch: the file memory.async_fork of this process's own memory cgroup, and of no other. */
#ifndef ODF_CAPABILITY_ASYNC_FORK_H
#define ODF_CAPABILITY_ASYNC_FORK_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

/* 0 and where it is, if it may be written, with a mark of the cgroup; or minus an errno value, -ESRCH where
 * /proc/self/cgroup cannot be read. `everywhere`: in whatever mount /proc/self/mountinfo names;
 * otherwise only where cgroups usually are, which is cheap. */
int async_fork_find(bool everywhere, char path[PATH_MAX], uint64_t *cgroup);

/* A mark of this process's memory cgroup; 0 where it cannot be told. Async-signal-safe. */
uint64_t async_fork_cgroup(void);

/* Whether no other process is in the cgroup of the switch at `path`. */
bool async_fork_alone(const char *path);
#endif
