/* SPDX-License-Identifier: MIT
 *
 * Rare calls of the mapping door: shmat and shmdt; mseal, after which memory cannot be moved; remap_file_pages, which
 * gives a view another part of its file; names of anonymous memory. Async-signal-safe.
 */
#include <errno.h>
#include <sys/shm.h>

#include "span.h"

/* ---- shmat, shmdt ---- */

static size_t segment_size(int id)
{
	struct shmid_ds status;

	/* A process that may attach the segment may ask for its size. The kernel refuses both to others. */
	return sys_call3(SYS_shmctl, id, IPC_STAT, &status) < 0 ? 0 : status.shm_segsz;
}

static long attach(int id, char *address, size_t size, const void *wanted, int flags)
{
	const long arguments[6] = { id, (long)wanted, flags | SHM_REMAP };
	long result;
	uint64_t mask;

	heap_meet_child();
	region_lock(&mask);
	/* Without SHM_REMAP the place must be free, and a hole is. With it the segment replaces what is there. */
	if (!(flags & SHM_REMAP) && !span_is_all_hole(address, address + span_round_up(size)))
		result = sys_call3(SYS_shmat, id, wanted, flags);
	else if (span_is_sealed(address, address + span_round_up(size)))
		result = -EPERM;
	else
		result = span_put_over(address, size, SYS_shmat, arguments);
	if (result == (long)address)
		span_forget_young(address, size);
	region_unlock(&mask);
	return result;
}

static long attach_somewhere(int id, const void *address, int flags)
{
	uintptr_t at = (uintptr_t)address;
	size_t size = at != 0 && atomic_load_explicit(&heap_home_count, memory_order_acquire) > 0 ? segment_size(id)
												  : 0;

	if (flags & SHM_RND)
		at = at / (uintptr_t)SHMLBA * (uintptr_t)SHMLBA;
	/* Size 0: it is not known, as no segment is empty. The kernel makes or refuses the call then. */
	heap_forget_early((void *)at, size);
	if ((flags & SHM_REMAP) && own_meets((void *)at, size)) /* a segment cannot have a gap */
		return -ENOMEM;
	if (size == 0 || !span_touches((void *)at, size))
		return sys_call3(SYS_shmat, id, address, flags);
	return attach(id, (char *)at, size, address, flags);
}

long heap_shmat(int id, const void *address, int flags)
{
	long result = attach_somewhere(id, address, flags);

	return result == -ENOMEM && heap_makes_room() ? attach_somewhere(id, address, flags) : result;
}

long heap_shmdt(const void *address)
{
	char *at = (char *)(uintptr_t)address;
	struct span span;
	uint64_t mask;
	long result;

	if (!span_touches(at, 1))
		return sys_call1(SYS_shmdt, address);
	heap_meet_child();
	region_lock(&mask);
	result = sys_call1(SYS_shmdt, address);
	span = span_at(at, (char *)ADDRESSES_END);
	if (result == 0 && span.kind == REGION_FOREIGN && span.region != NULL && !span.inherited &&
	    !region_is_in_place(span.region))
		region_reclaim_gaps(span.region, span_offset(&span), span.length);
	region_unlock(&mask);
	return result;
}

/* ---- remap_file_pages ---- */

long heap_remap_file_pages(void *address, size_t length, int protection, size_t page, int flags)
{
	char *start = (char *)((uintptr_t)address / HEAP_PAGE * HEAP_PAGE), *at = start,
	     *end = start + length / HEAP_PAGE * HEAP_PAGE;
	uint64_t mask;
	long result = 0;

	if (!span_touches(start, length / HEAP_PAGE * HEAP_PAGE))
		return sys_call5(SYS_remap_file_pages, address, length, protection, page, flags);
	heap_meet_child();
	region_lock(&mask);
	span_look(start, end);
	while (at < end && result == 0) { /* private memory and holes have no other part of a file */
		struct span span = span_true_at(at, end);
		result = span.kind == REGION_FOREIGN ? 0 : -EINVAL;
		at += span.length;
	}
	if (result == 0)
		result = sys_call5(SYS_remap_file_pages, address, length, protection, page, flags);
	region_unlock(&mask);
	return result;
}

/* ---- mseal ---- */

/* The kernel will neither move sealed memory nor map over it, so it cannot be in a region. */
static long prepare_to_seal(char *at, char *end)
{
	for (char *look = at; look < end;) {
		struct span span = span_true_at(look, end);
		if (span.kind == REGION_HOLE)
			return -ENOMEM;
		look += span.length;
	}
	while (at < end) {
		struct span span = span_at(at, end);
		long error = span.sealed ? 0 : span_cut(&span);
		/* Read-only memory becomes anonymous, as it would be without the library: the kernel treats advice on
		 * sealed anonymous memory differently from advice on a sealed view of a file. */
		if (error == 0 && span.kind == REGION_ISLAND && !span.sealed && !(span.protection & PROT_WRITE) &&
		    !(span.advice & KEPT_KEYED))
			error = span_make_anonymous(&span, span.protection);
		if (error < 0)
			return -ENOMEM;
		at += span.length;
	}
	return 0;
}

static long seal(void *address, size_t length, long flags, long unused)
{
	char *start = address, *end = start + span_round_up(length);
	uint64_t mask;
	long result;

	(void)unused;
	heap_forget_early(address, length);
	if (flags != 0 || !span_touches(address, length))
		return sys_call3(NUMBER_MSEAL, address, length, flags);
	/* With length 0: whether the kernel has this call. */
	result = sys_call3(NUMBER_MSEAL, address, 0, 0);
	if (result < 0)
		return result;
	heap_meet_child();
	region_lock(&mask);
	span_look(start, end);
	result = prepare_to_seal(start, end);
	if (result == 0)
		result = sys_call3(NUMBER_MSEAL, address, length, 0);
	for (char *at = start; at < end && result == 0;) {
		struct span span = span_at(at, end);
		if (span.region != NULL)
			region_seal(span.region, span_offset(&span), span.length);
		at += span.length;
	}
	region_unlock(&mask);
	span_check_pieces();
	return result;
}

long heap_mseal(void *address, size_t length, unsigned long flags)
{
	const struct own_request request = { NUMBER_MSEAL, (long)flags, 0, false, seal };

	address = span_untagged(address);
	return own_is_asked(address, length) ? own_ask(address, length, &request)
					     : seal(address, length, (long)flags, 0);
}

/* ---- Names of anonymous memory ---- */

static long name_span(struct span *span, long name)
{
	/* Memory of a region has the name of its file. The program gets the answer that it would get without the
	 * library. */
	if (span->kind != REGION_FOREIGN)
		return 0;
	return sys_call5(SYS_prctl, PR_SET_VMA, PR_SET_VMA_ANON_NAME, span->start, span->length, name);
}

long heap_name(void *address, size_t length, const char *name)
{
	long error;

	if (!span_touches(address, length))
		return sys_call5(SYS_prctl, PR_SET_VMA, PR_SET_VMA_ANON_NAME, address, length, name);
	/* With length 0: whether the kernel has this call and accepts the name. */
	error = sys_call5(SYS_prctl, PR_SET_VMA, PR_SET_VMA_ANON_NAME, address, 0, name);
	return error < 0 ? error : span_walk_looking(address, length, true, name_span, (long)name);
}
