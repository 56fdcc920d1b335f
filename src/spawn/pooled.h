/* SPDX-License-Identifier: MIT
 * What spawning has to know of a pool: odf_pool begins with it. */
#ifndef ODF_SPAWN_POOLED_H
#define ODF_SPAWN_POOLED_H

#include <sys/types.h>

struct spawn_pool {
	pid_t process; /* whose pool it is: a forked child has a copy that it must not use */
};

/* 0; EINVAL: none; EPERM: of another process. */
int spawn_pool_check(const struct spawn_pool *pool);
#endif
