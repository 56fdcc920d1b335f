/* SPDX-License-Identifier: MIT
 * odfork probe --verify: tries and measures the kernel's on-demand fork. */
#ifndef ODF_CLI_VERIFY_H
#define ODF_CLI_VERIFY_H

#include <stdbool.h>

#include "odfork.h"

struct measurement {
	bool done;
	double fork_us;  /* the shortest of several */
	long table_kb;   /* page tables with which the child starts; -1: unknown */
};

struct verification {
	odf_kernel_verdict verdict;
	int error; /* of odf_kernel_verify */
	size_t bytes; /* memory of the measured process; 0: not measured */
	struct measurement plain, on_demand;
};

void verify(struct verification *result);
void print_verification(const struct verification *result);
void print_verification_json(const struct verification *result);

/* If on-demand fork is offered, says on standard error that it is being tried: a crash of the kernel may end the
 * machine next. */
void warn_of_trial(const char *command);
#endif
