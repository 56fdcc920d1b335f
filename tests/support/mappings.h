/* SPDX-License-Identifier: MIT */
#ifndef TESTS_MAPPINGS_H
#define TESTS_MAPPINGS_H

#include <stdio.h>
#include <stdlib.h>

/* The number of mappings of this process. Ends the test if the list cannot be read. */
static inline int count_mappings(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	int lines = 0, byte;

	if (maps == NULL)
		abort();
	while ((byte = getc(maps)) != EOF)
		lines += byte == '\n';
	fclose(maps);
	return lines;
}
#endif
