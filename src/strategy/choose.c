/* SPDX-License-Identifier: MIT
 *
 * The choice of a strategy. Pure: reads its arguments and nothing else.
 */
#include "strategy.h"

/* Region composes with kernel and fork: it says what happens to the memory in regions, whichever of these makes the
 * process. As a strategy of its own it is libc's fork with regions frozen. */
static const odf_strategy fork_order[] = {
	ODF_STRATEGY_KERNEL, ODF_STRATEGY_REGION, ODF_STRATEGY_FORK, ODF_STRATEGY_NONE,
};

/* A pool that was given is used. The next two both leave the page tables alone. Our own vfork holds the caller a third
 * less than libc's posix_spawn (bench/RESULTS.md): libc resets 64 dispositions one by one, where the kernel does it at
 * clone. And libc does not say which step failed. posix_spawn is there for callers who name it. */
static const odf_strategy spawn_order[] = {
	ODF_STRATEGY_POOL, ODF_STRATEGY_VFORK, ODF_STRATEGY_POSIX_SPAWN, ODF_STRATEGY_FORK, ODF_STRATEGY_NONE,
};

const odf_strategy *strategy_order(bool spawn)
{
	return spawn ? spawn_order : fork_order;
}

static odf_reason kernel_doubt(const struct strategy_capabilities *capabilities)
{
	if (capabilities->kernel_verified)
		return ODF_REASON_NONE;
	return capabilities->kernel_doubt == ODF_REASON_NONE ? ODF_REASON_KERNEL_NOT_VERIFIED
							     : capabilities->kernel_doubt;
}

/* Why a strategy is impossible, or ODF_REASON_NONE. */
static odf_reason obstacle(odf_strategy strategy, const struct strategy_request *request,
			   const struct strategy_capabilities *capabilities, const struct strategy_facts *facts)
{
	bool any = request->allow == 0;
	bool fork_allowed = any || (request->allow & ODF_ALLOW(ODF_STRATEGY_FORK));

	if (!any && !(request->allow & ODF_ALLOW(strategy)))
		return ODF_REASON_NOT_ALLOWED;
	if (request->spawn && request->impossible != ODF_REASON_NONE)
		return request->impossible;
	switch (strategy) {
	case ODF_STRATEGY_KERNEL:
		if (capabilities->kernel != ODF_REASON_NONE)
			return capabilities->kernel;
		if (kernel_doubt(capabilities) == ODF_REASON_KERNEL_NO_EFFECT)
			return ODF_REASON_KERNEL_NO_EFFECT;
		if (any && !capabilities->kernel_verified)
			return kernel_doubt(capabilities);
		/* Regions discard, unmap and move pages, and read the process's pagemap: the published on-demand-fork
		 * kernels get all of that wrong. */
		if (facts->region_bytes > 0 && !capabilities->kernel_verified)
			return ODF_REASON_KERNEL_REGIONS;
		if (fork_allowed && facts->resident_bytes < STRATEGY_KERNEL_GAINS_BYTES)
			return ODF_REASON_TOO_SMALL;
		return ODF_REASON_NONE;
	case ODF_STRATEGY_REGION:
		if (facts->region_bytes > 0)
			return ODF_REASON_NONE;
		return facts->region_absence != ODF_REASON_NONE ? facts->region_absence : ODF_REASON_NO_REGION;
	case ODF_STRATEGY_POSIX_SPAWN:
		if (request->pre_exec)
			return ODF_REASON_PRE_EXEC;
		if (request->libc_lacks != ODF_REASON_NONE)
			return request->libc_lacks;
		return capabilities->clone_vm;
	case ODF_STRATEGY_POOL:
		if (!request->pool)
			return ODF_REASON_NO_POOL;
		return request->pre_exec ? ODF_REASON_PRE_EXEC : capabilities->clone_vm;
	case ODF_STRATEGY_VFORK:
		return request->pre_exec ? ODF_REASON_PRE_EXEC : capabilities->clone_vm;
	case ODF_STRATEGY_FORK:
		return request->spawn ? request->fork_lacks : ODF_REASON_NONE;
	default:
		return ODF_REASON_NOT_BUILT;
	}
}

static void take_first_possible(struct strategy_choice *choice, const odf_strategy *order)
{
	choice->strategy = ODF_STRATEGY_NONE;
	for (; *order != ODF_STRATEGY_NONE; order++) {
		odf_reason *reason = &choice->reason[*order];
		bool possible = *reason == ODF_REASON_NONE || *reason == ODF_REASON_BETTER_CHOSEN;
		if (!possible)
			continue;
		if (choice->strategy == ODF_STRATEGY_NONE) {
			choice->strategy = *order;
			*reason = ODF_REASON_CHOSEN;
		} else {
			*reason = ODF_REASON_BETTER_CHOSEN;
		}
	}
}

/* The kernel's switch is on and stays on: the report names that strategy even if the caller asked for another. */
static void take_what_is_on(struct strategy_choice *choice, const odf_strategy *order)
{
	for (; *order != ODF_STRATEGY_NONE; order++)
		if (choice->reason[*order] == ODF_REASON_NONE || choice->reason[*order] == ODF_REASON_CHOSEN)
			choice->reason[*order] = ODF_REASON_BETTER_CHOSEN;
	choice->reason[ODF_STRATEGY_KERNEL] = ODF_REASON_CHOSEN;
	choice->strategy = ODF_STRATEGY_KERNEL;
}

struct strategy_choice strategy_choose(const struct strategy_request *request,
				       const struct strategy_capabilities *capabilities,
				       const struct strategy_facts *facts)
{
	const odf_strategy *order = strategy_order(request->spawn);
	struct strategy_choice choice = { .strategy = ODF_STRATEGY_NONE };

	for (odf_strategy other = ODF_STRATEGY_NONE + 1; other < ODF_STRATEGY_COUNT; other++)
		choice.reason[other] = request->spawn ? ODF_REASON_ENDS_IN_EXEC : ODF_REASON_RETURNS_TWICE;
	for (const odf_strategy *s = order; *s != ODF_STRATEGY_NONE; s++)
		choice.reason[*s] = obstacle(*s, request, capabilities, facts);
	if (!request->spawn && facts->kernel_is_on && kernel_doubt(capabilities) != ODF_REASON_KERNEL_NO_EFFECT)
		take_what_is_on(&choice, order);
	else
		take_first_possible(&choice, order);
	if (choice.strategy == ODF_STRATEGY_KERNEL)
		choice.despite = kernel_doubt(capabilities);
	return choice;
}

void strategy_retract(struct strategy_choice *choice, bool spawn, odf_reason reason)
{
	choice->reason[choice->strategy] = reason;
	choice->despite = ODF_REASON_NONE;
	take_first_possible(choice, strategy_order(spawn));
}
