/* SPDX-License-Identifier: MIT
 * Computes what fits into memory before any memory is touched. */
#include <stdio.h>

#include "available.h"
#include "bench.h"

#define ROOM ((size_t)128 << 20) /* for the processes themselves and other small things */

static size_t ways_at_a_time(const struct bench *bench)
{
	return 1u + bench->with_region + bench->with_kernel;
}

/* Memory of each process, page tables of the process and of a child, and what is written while a child lives. */
static size_t need(size_t bytes, size_t processes)
{
	return processes * (bytes + bytes / 256) + bytes / 32 + ROOM;
}

/* The most that a region maps: three times its capacity, plus what rounding up adds (region/internal.h). */
static size_t mapped(const struct bench *bench, size_t bytes)
{
	return bench->with_region ? 3 * bytes + ((size_t)5 << 30) + ROOM : bytes + ROOM;
}

static bool says(bool fits, char *why, size_t room, size_t bytes, size_t needed, struct available available)
{
	char size[32], needs[32], has[32];

	if (!fits)
		snprintf(why, room, "%s does not fit: it needs %s, and %s leaves %s", bench_amount(size, bytes),
			 bench_amount(needs, needed), available.limit, bench_amount(has, available.bytes));
	return fits;
}

bool bench_fits(const struct bench *bench, size_t bytes, char *why, size_t room)
{
	struct available memory = memory_available(), space = address_space_available(), data = data_available();
	size_t all = need(bytes, ways_at_a_time(bench)), one = need(bytes, 1);

	return says(bytes < SIZE_MAX / 16 && all <= memory.bytes, why, room, bytes, all, memory) &&
	       says(mapped(bench, bytes) <= space.bytes, why, room, bytes, mapped(bench, bytes), space) &&
	       says(one <= data.bytes, why, room, bytes, one, data);
}

bool bench_fits_with_one_more(size_t bytes)
{
	return need(bytes, 1) <= memory_available().bytes;
}
