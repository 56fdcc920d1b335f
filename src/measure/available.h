/* SPDX-License-Identifier: MIT
 * How much memory this process and its children could still take. */
#ifndef ODF_MEASURE_AVAILABLE_H
#define ODF_MEASURE_AVAILABLE_H

#include <stddef.h>

/* What is left, and what limits it: a name for people, static. */
struct available {
	size_t bytes;
	const char *limit;
};

/* The least of the machine's MemAvailable, of what the memory cgroups of this process and those above it leave (either
 * version; the page cache that they would drop counts as left), and, where overcommit is strict, of what can still be
 * promised. */
struct available memory_available(void);

/* What one process can map, and have in private writable memory: RLIMIT_AS and RLIMIT_DATA, less what this process has.
 * SIZE_MAX: no limit. */
struct available address_space_available(void);
struct available data_available(void);

#endif
