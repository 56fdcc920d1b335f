/* SPDX-License-Identifier: MIT */
#ifndef ODF_CLI_OBJECTS_H
#define ODF_CLI_OBJECTS_H

#include <limits.h>
#include <stdbool.h>

#include "target.h"

/* The malloc that a program will use, as its loader will find it. */
struct allocator {
	enum { ALLOCATOR_UNKNOWN, ALLOCATOR_LIBC, ALLOCATOR_OTHER } kind;
	char where[PATH_MAX]; /* the file that has it */
};

/* Before LD_PRELOAD gets the library. Asks the loader, which loads all of it for the purpose and runs nothing. */
void objects_find_allocator(const struct target *target, struct allocator *allocator);
#endif
