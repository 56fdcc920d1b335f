/* SPDX-License-Identifier: MIT */
#ifndef ODF_CLI_DESCRIBE_H
#define ODF_CLI_DESCRIBE_H

#include <stdio.h>

#include "../record/heap_value.h"
#include "objects.h"
#include "odfork.h"

/* What there is to say of the heap in a program that can be preloaded. */
struct findings {
	enum settings_heap heap;      /* what the program's environment will ask for */
	bool by_kernel;               /* forks are on demand by the kernel */
	odf_reason region;            /* of odf_capabilities_get */
	/* userfaultfd may be used, so that a region can be settled beside other threads */
	bool settles;
	size_t threshold;             /* of odf_heap_info_get */
	const struct allocator *allocator;
};

void describe_heap(FILE *to, const char *command, const struct findings *findings);
#endif
