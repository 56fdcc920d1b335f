/* SPDX-License-Identifier: MIT */
#ifndef ODF_CLI_OBJECTS_H
#define ODF_CLI_OBJECTS_H

#include <limits.h>
#include <stdbool.h>

#include "target.h"

/* The malloc that a program will use, as its loader finds it. */
struct allocator {
	enum { ALLOCATOR_UNKNOWN, ALLOCATOR_LIBC, ALLOCATOR_OTHER } kind;
	char where[PATH_MAX]; /* the file that defines it */
};

/* Called before LD_PRELOAD gets the library. Runs the loader, which loads the program's objects for that and runs none
 * of their code. */
void objects_find_allocator(const struct target *target, struct allocator *allocator);
#endif
