/* SPDX-License-Identifier: MIT
 * How much more memory this process and its children can take. */
#ifndef ODF_MEASURE_AVAILABLE_H
#define ODF_MEASURE_AVAILABLE_H

#include <stddef.h>

/* What is left, and the name of what limits it: static, for people. */
struct available {
	size_t bytes;
	const char *limit;
};

/* The least of: the machine's MemAvailable; what the memory cgroups of this process and their ancestors leave (either
 * version; page cache that they would drop counts as left); and, with strict overcommit, what the kernel can still
 * commit. */
struct available memory_available(void);

/* What one process can map, and have in private writable memory: RLIMIT_AS and RLIMIT_DATA, minus what this process
 * has. SIZE_MAX: no limit. */
struct available address_space_available(void);
struct available data_available(void);

#endif
