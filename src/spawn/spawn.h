/* SPDX-License-Identifier: MIT
 *
 * libc's posix_spawn, for the interposed functions.
 */
#ifndef ODF_SPAWN_SPAWN_H
#define ODF_SPAWN_SPAWN_H

#include "../libc/libc.h"

/* Calls libc's function `which`, and records it as the function `call`. */
int spawn_by_libc(const char *call, enum libc_spawn which, pid_t *pid, const char *file,
		  const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attributes, char *const argv[],
		  char *const envp[]);
#endif
