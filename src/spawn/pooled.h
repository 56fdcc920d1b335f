/* SPDX-License-Identifier: MIT
 *
 * What spawning must know about a pool: the first member of odf_pool.
 */
#ifndef ODF_SPAWN_POOLED_H
#define ODF_SPAWN_POOLED_H

#include <sys/types.h>

struct spawn_pool {
	pid_t process; /* the pool's process; its forked children have a copy that they must not use */
};

/* 0; EINVAL: no pool; EPERM: another process's. */
int spawn_pool_check(const struct spawn_pool *pool);
#endif
