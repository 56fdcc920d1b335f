/* SPDX-License-Identifier: MIT
 * odfork probe --verify: the kernel's on-demand fork tried out and measured. */
#ifndef ODF_CLI_VERIFY_H
#define ODF_CLI_VERIFY_H

#include <stdbool.h>

#include "odfork.h"

struct measurement {
	bool done;
	double fork_us;  /* the least of some */
	long table_kb;   /* of page tables that the child begins with; -1: unknown */
};

struct verification {
	odf_kernel_verdict verdict;
	int error; /* of odf_kernel_verify */
	size_t bytes; /* that the measured process held; 0: not measured */
	struct measurement plain, on_demand;
};

void verify(struct verification *result);
void print_verification(const struct verification *result);
void print_verification_json(const struct verification *result);

/* Where on-demand fork is offered, says on standard error that it is tried out now: what follows may be the last
 * thing that this machine does. */
void warn_of_trial(const char *command);
#endif
