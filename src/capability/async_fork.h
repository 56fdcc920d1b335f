/* SPDX-License-Identifier: MIT
 * The switch of Async-fork: the file memory.async_fork of this process's own memory cgroup, and of no other. */
#ifndef ODF_CAPABILITY_ASYNC_FORK_H
#define ODF_CAPABILITY_ASYNC_FORK_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

/* Returns 0, the path of the switch if it can be opened for writing, and a mark of the cgroup; or minus an errno value,
 * -ESRCH if /proc/self/cgroup cannot be read. `everywhere`: search all mounts in /proc/self/mountinfo; otherwise only
 * the usual mount point of cgroups, which is cheap. */
int async_fork_find(bool everywhere, char path[PATH_MAX], uint64_t *cgroup);

/* A mark of this process's memory cgroup; 0 if it cannot be read. Async-signal-safe. */
uint64_t async_fork_cgroup(void);

/* The caller is the only process in the cgroup of the switch at `path`. */
bool async_fork_alone(const char *path);
#endif
