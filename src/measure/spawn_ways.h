/* SPDX-License-Identifier: MIT
 *
 * Ways to start a program, for comparison. Each starts /bin/true and returns when the program is known to have been
 * executed (fork and exec: by a close-on-exec pipe; the other calls guarantee it). The caller waits for the child. -1
 * and errno on failure. */
#ifndef ODF_MEASURE_SPAWN_WAYS_H
#define ODF_MEASURE_SPAWN_WAYS_H

#include <stdbool.h>
#include <sys/types.h>

/* /bin/true, unless spawn_ways_find finds the program elsewhere; false: it was not found. */
extern const char *spawned_program;
bool spawn_ways_find(void);

extern char *const spawned_arguments[];

pid_t spawn_by_fork(void);
pid_t spawn_by_raw_vfork(void);
pid_t spawn_by_libc(void);
pid_t spawn_by_odf(void);
pid_t spawn_by_pool(void);
/* Returns when the process exists, before it is known whether exec succeeds. */
pid_t spawn_by_pool_no_wait(void);

enum {
	SPAWN_BY_FORK,
	SPAWN_BY_LIBC,
	SPAWN_BY_ODF,
	SPAWN_BY_POOL,
	SPAWN_BY_POOL_NO_WAIT,
	SPAWN_BY_RAW_VFORK,
	SPAWN_WAYS
};

extern const struct spawn_way {
	const char *key, *name;
	pid_t (*start)(void);
} spawn_ways[SPAWN_WAYS];

#endif
