/* SPDX-License-Identifier: MIT */
#ifndef ODF_CLI_DESCRIBE_H
#define ODF_CLI_DESCRIBE_H

#include <stdio.h>

#include "../record/heap_value.h"
#include "objects.h"
#include "odfork.h"

/* What is known about the heap in a program that the library can be preloaded into. */
struct findings {
	enum settings_heap heap;      /* what the program's environment asks for */
	bool by_kernel;               /* the kernel forks on demand */
	odf_reason region;            /* of odf_capabilities_get */
	/* userfaultfd can be used, so that a region can be settled while other threads run */
	bool settles;
	size_t threshold;             /* of odf_heap_info_get */
	const struct allocator *allocator;
};

void describe_heap(FILE *to, const char *command, const struct findings *findings);
#endif
