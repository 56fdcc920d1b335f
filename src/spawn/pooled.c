/* SPDX-License-Identifier: MIT */
#include "pooled.h"

#include <errno.h>
#include <unistd.h>

int spawn_pool_check(const struct spawn_pool *pool)
{
	if (pool == NULL)
		return EINVAL;
	return pool->process == getpid() ? 0 : EPERM;
}
