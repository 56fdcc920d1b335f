/* SPDX-License-Identifier: MIT
 *
 * The choice of strategy: a pure function of what is asked, what the machine can do and what the process is like.
 * Nothing else in the library decides. Everything here is async-signal-safe.
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

/* Below this much resident memory a fork's page tables are a small part of its cost, and the switch with the dearer
 * faults after it gains nothing. */
#define STRATEGY_KERNEL_GAINS_BYTES ((size_t)16 << 20)

struct strategy_request {
	bool spawn;            /* ends in exec; else returns in two processes */
	unsigned allow;        /* ODF_ALLOW() set; 0 for any */
	bool pool;             /* spawn: a pool was given */
	bool pre_exec;         /* spawn: user code runs before exec */
	odf_reason impossible; /* spawn: ODF_REASON_NONE, or what keeps every strategy from doing it */
	odf_reason fork_lacks; /* spawn: ODF_REASON_NONE if fork can do the whole request, else why not */
	odf_reason libc_lacks; /* spawn: ODF_REASON_NONE if posix_spawn can express the whole request, else why not */
};

struct strategy_capabilities {
	odf_reason kernel;    /* ODF_REASON_NONE if offered */
	bool kernel_verified; /* and shown to lose no data */
	odf_reason kernel_doubt; /* if not: why */
	odf_reason clone_vm;  /* ODF_REASON_NONE if a child can share its parent's memory */
};

struct strategy_facts {
	size_t resident_bytes; /* looked at only where the kernel offers on-demand fork */
	size_t region_bytes;   /* of memory in snapshot regions */
	bool kernel_is_on;     /* forks of this process are on demand as it is, whatever is chosen */
	odf_reason region_absence; /* without any: why the heap has made none, if it has a reason of its own */
};

struct strategy_choice {
	odf_strategy strategy; /* ODF_STRATEGY_NONE: none of the allowed is possible */
	odf_reason reason[ODF_STRATEGY_COUNT];
	/* of the strategy that was taken: what would have kept it from being taken, had it not been named */
	odf_reason despite;
};

struct strategy_choice strategy_choose(const struct strategy_request *request,
				       const struct strategy_capabilities *capabilities,
				       const struct strategy_facts *facts);

/* The best-first order for a kind of request; ends with ODF_STRATEGY_NONE. */
const odf_strategy *strategy_order(bool spawn);

/* Takes a strategy back that turned out impossible when tried, for `reason`, and chooses again among the rest. */
void strategy_retract(struct strategy_choice *choice, bool spawn, odf_reason reason);
#endif
