/* SPDX-License-Identifier: MIT
 *
 * Ways to start a program, to be compared: each starts /bin/true and returns when it is known to have been executed
 * (for fork and exec by a close-on-exec pipe; the others promise it). The caller waits for the child. -1 and errno on
 * failure. */
#ifndef ODF_MEASURE_SPAWN_WAYS_H
#define ODF_MEASURE_SPAWN_WAYS_H

#include <stdbool.h>
#include <sys/types.h>

/* /bin/true, until spawn_ways_find has found where it is; false: nowhere. */
extern const char *spawned_program;
bool spawn_ways_find(void);

extern char *const spawned_arguments[];

pid_t spawn_by_fork(void);
pid_t spawn_by_raw_vfork(void);
pid_t spawn_by_libc(void);
pid_t spawn_by_odf(void);
pid_t spawn_by_pool(void);
/* Returns when the process is there, whatever becomes of it. */
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
