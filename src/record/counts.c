/* SPDX-License-Identifier: MIT */
#include "counts.h"

#include <stdatomic.h>

#include "../sys/seen.h"

static _Atomic uint64_t forks, spawns;

SEEN_THE_VALUE(forks, "forks", forks);
SEEN_THE_VALUE(spawns, "spawns", spawns);

void counts_fork(void)
{
	atomic_fetch_add_explicit(&forks, 1, memory_order_relaxed);
}

void counts_spawn(void)
{
	atomic_fetch_add_explicit(&spawns, 1, memory_order_relaxed);
}

void counts_in_child(void)
{
	atomic_store_explicit(&forks, 0, memory_order_relaxed);
	atomic_store_explicit(&spawns, 0, memory_order_relaxed);
}
