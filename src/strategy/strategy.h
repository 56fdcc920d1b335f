/* SPDX-License-Identifier: MIT
 *
 * The choice of a strategy: a pure function of the request, the machine's capabilities and the state of the process. No
 * other code of the library chooses. All functions here are async-signal-safe.
 */
#ifndef ODF_STRATEGY_STRATEGY_H
#define ODF_STRATEGY_STRATEGY_H

#include <stdbool.h>

#include "odfork.h"

#define STRATEGY_FORK_KINDS \
	(ODF_ALLOW(ODF_STRATEGY_KERNEL) | ODF_ALLOW(ODF_STRATEGY_REGION) | ODF_ALLOW(ODF_STRATEGY_FORK))
#define STRATEGY_SPAWN_KINDS \
	(ODF_ALLOW(ODF_STRATEGY_POOL) | ODF_ALLOW(ODF_STRATEGY_POSIX_SPAWN) | ODF_ALLOW(ODF_STRATEGY_VFORK) | \
	 ODF_ALLOW(ODF_STRATEGY_FORK))

/* Below this much resident memory the page tables are a small part of a fork's cost, and the switch with the dearer
 * faults after it gains nothing. */
#define STRATEGY_KERNEL_GAINS_BYTES ((size_t)16 << 20)

struct strategy_request {
	bool spawn;            /* the child executes a program; else the call returns in two processes */
	unsigned allow;        /* set of ODF_ALLOW(); 0: any */
	bool pool;             /* spawn: a pool was given */
	bool pre_exec;         /* spawn: user code runs before exec */
	odf_reason impossible; /* spawn: ODF_REASON_NONE, or why no strategy can do it */
	odf_reason fork_lacks; /* spawn: ODF_REASON_NONE if fork can do the whole request, else why not */
	odf_reason libc_lacks; /* spawn: ODF_REASON_NONE if posix_spawn can express the whole request, else why not */
};

struct strategy_capabilities {
	odf_reason kernel;    /* ODF_REASON_NONE if the kernel offers on-demand fork */
	bool kernel_verified; /* it was seen to lose no data */
	odf_reason kernel_doubt; /* why it was not verified */
	odf_reason clone_vm;  /* ODF_REASON_NONE if a child can share its parent's memory */
};

struct strategy_facts {
	size_t resident_bytes; /* read only if the kernel offers on-demand fork */
	size_t region_bytes;   /* memory in snapshot regions */
	bool kernel_is_on;     /* every fork of this process is on demand, whatever is chosen */
	odf_reason region_absence; /* with no region: why the heap has made none, if it knows */
};

struct strategy_choice {
	odf_strategy strategy; /* ODF_STRATEGY_NONE: no allowed strategy is possible */
	odf_reason reason[ODF_STRATEGY_COUNT];
	/* what would have kept the chosen strategy from being chosen, had the caller not named it */
	odf_reason despite;
};

struct strategy_choice strategy_choose(const struct strategy_request *request,
				       const struct strategy_capabilities *capabilities,
				       const struct strategy_facts *facts);

/* The strategies for a kind of request, best first, up to ODF_STRATEGY_NONE. */
const odf_strategy *strategy_order(bool spawn);

/* The chosen strategy was tried and is impossible, for `reason`: chooses among the rest. */
void strategy_retract(struct strategy_choice *choice, bool spawn, odf_reason reason);
#endif
