/* SPDX-License-Identifier: MIT
 * mremap (mapping.c). Async-signal-safe. */
#include <errno.h>
#include <string.h>

#include "span.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

/* Bytes that are copied at a time. */
#define COPY_SLICE ((size_t)2 << 20)

/* Copies piece by piece. With `give_back` each piece of a region's memory is given back once it is copied, so that the
 * two are never both there as a whole. */
static void copy_out(char *to, const struct span *from, size_t length, bool give_back)
{
	for (size_t at = 0; at < length; at += COPY_SLICE) {
		size_t size = length - at < COPY_SLICE ? length - at : COPY_SLICE;
		if (span_copy(to + at, from->start + at, size) && give_back && from->kind == REGION_MEMORY)
			(void)region_discard(from->region, span_offset(from) + at, size);
	}
}

/* Private anonymous memory of the program, in whatever state it is here. */
static bool is_programs(const struct span *span)
{
	return span->kind == REGION_MEMORY || span->kind == REGION_ISLAND || span->young;
}

/* Memory that follows with the same rights belongs to the same mapping, even if a part was cut out once. Of foreign
 * places the kernel knows by itself. */
static void extend(struct span *span, char *end)
{
	while (span->start + span->length < end) {
		struct span next = span_at(span->start + span->length, end);
		bool both = span->kind == REGION_FOREIGN && next.kind == REGION_FOREIGN;
		bool alike = is_programs(span) && is_programs(&next) && next.region == span->region &&
			     next.protection == span->protection && next.advice == span->advice;
		if (!both && !alike)
			return;
		if (!both && next.kind != span->kind)
			span->kind = REGION_ISLAND;
		span->young = span->young && next.young;
		span->length += next.length;
	}
}

/* The most memory outside of regions that is copied. */
#define JOIN_MOST ((size_t)1 << 30)

/* Readable as a whole, anonymous, and with these rights. Memory with guards (MADV_GUARD_INSTALL) is not: they are in
 * the page tables. */
static bool can_be_joined(const struct span *part, int protection)
{
	return region_bytes_with(part->start, part->length, protection) == part->length &&
	       sys_call3(SYS_madvise, part->start, part->length, MADV_POPULATE_READ) == 0;
}

/* A mapping of the program of which parts are neither in the region nor in its list: they were left outside so that
 * they could have large pages, or this is a child, where memory that was young is ordinary. If the heap is off nothing
 * is touched, as pages may be missing there until the program provides them. */
static bool join_foreign(struct span *span, char *old, char *end)
{
	struct span whole = { .protection = -1 };
	size_t foreign = 0;

	for (char *at = old; at < end;) {
		struct span part = span_at(at, end);
		at += part.length;
		if (!is_programs(&part)) {
			foreign += part.length;
			if (part.kind == REGION_FOREIGN && !part.sealed)
				continue;
			return false;
		}
		if (whole.protection != -1 && (part.protection != whole.protection || part.advice != whole.advice))
			return false;
		whole = part;
	}
	if (whole.protection == -1 || !(whole.protection & PROT_READ) || foreign > JOIN_MOST ||
	    heap_state() == ODF_HEAP_OFF || !region_is_unfiltered())
		return false;
	for (char *at = old; at < end;) {
		struct span part = span_at(at, end);
		if (!is_programs(&part) && !can_be_joined(&part, whole.protection))
			return false;
		at += part.length;
	}
	whole.start = old;
	whole.length = (size_t)(end - old);
	whole.kind = REGION_ISLAND;
	whole.young = false;
	*span = whole;
	return true;
}

/* Where the kernel has put a mapping by its own choice nothing else is, whatever the lists say. */
static long note_place(long place, size_t length)
{
	if (place >= 0 || place < -4095)
		span_forget_history((char *)place, length);
	return place;
}

/* The kernel moves or enlarges a mapping, at a place that it chooses. With old length 0 it makes a second view. */
static long remap_by_kernel(char *old, size_t old_length, size_t length, int flags, void *hint)
{
	long result = sys_call5(SYS_mremap, old, old_length, length, flags, hint);

	if (result != (long)old)
		return note_place(result, span_round_up(length));
	if (length > old_length)
		(void)note_place((long)(old + old_length), length - old_length);
	return result;
}

/* A mapping that lies outside of all regions. */
static long remap_outside(char *old, size_t old_length, size_t length, int flags, void *fixed)
{
	long result = sys_call5(SYS_mremap, old, old_length, length, flags, fixed);
	size_t was = span_round_up(old_length), is = span_round_up(length);

	if ((flags & MREMAP_FIXED) || (result < 0 && result >= -4095))
		return result;
	if (result != (long)old)
		heap_note_given((void *)result, is);
	else if (is > was)
		heap_note_given(old + was, is - was);
	return result;
}

/* The place to which memory moves, chosen like that of a new mapping. */
static long new_place(const struct span *from, size_t length, void *fixed)
{
	odf_region *region = heap_region(); /* read once: another thread may give it up */

	if (fixed != NULL)
		return span_map_over(fixed, length, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
	if (from->kind == REGION_MEMORY && !region_is_in_place(from->region) && length >= HEAP_SMALLEST &&
	    region != NULL) {
		size_t offset = region_find_hole(region, length, HEAP_PAGE);
		if (offset != SIZE_MAX && region_take(region, offset, length) == 0) {
			heap_note_placed(length);
			return (long)((char *)odf_region_base(region) + offset);
		}
		if (offset != SIZE_MAX)
			(void)region_give(region, offset, length);
	}
	return note_place(raw_mmap(NULL, length, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | (span_exceeds_machine(length) ? MAP_NORESERVE : 0), -1,
				   0),
			  length);
}

/* The part that a mapping has grown by gets the same advice as the rest. */
static bool advise_alike(char *at, char *end, unsigned advice)
{
	while (advice != 0 && at < end) {
		struct span span = span_at(at, end);
		if (span_cut(&span) != 0)
			return false;
		span_keep_advice(span.start, span.length, advice);
		span_note_advice(&span, advice, 0);
		at += span.length;
	}
	return true;
}

/* Grows into free address space. */
static bool grow_in_window(const struct span *span, size_t length)
{
	char *end = span->start + span->length;
	size_t more = length - span->length;
	long result = raw_mmap(end, more, span->protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	if (result != (long)end) {
		if (result >= 0 || result < -4095)
			(void)sys_call2(SYS_munmap, result, more);
		return false;
	}
	span_forget_history(end, more);
	/* Behind inherited memory the new part is the kernel's. A later move joins the two (join_foreign). */
	if (span->inherited) {
		span_keep_advice(end, more, span->advice);
		return true;
	}
	/* It must be one mapping with the memory before it. */
	if (region_overlay(span->region, (size_t)(end - span->base), more) == 0 &&
	    advise_alike(end, end + more, span->advice))
		return true;
	(void)span_unmap(end, end + more);
	return false;
}

static bool grow_in_place(const struct span *span, size_t length)
{
	char *end = span->start + span->length, *wanted = span->start + length;
	struct region_extent behind;

	if (span->protection != region_rights(span->region) || wanted > span->base + odf_region_capacity(span->region))
		return false;
	if (region_is_in_place(span->region))
		return grow_in_window(span, length);
	for (char *at = end; at < wanted; at += behind.length) {
		behind = region_run_at(span->region, (size_t)(at - span->base), (size_t)(wanted - span->base));
		if (behind.kind != REGION_HOLE)
			return false;
	}
	if (region_take_now(span->region, (size_t)(end - span->base), (size_t)(wanted - end)) == 0 &&
	    advise_alike(end, wanted, span->advice))
		return true;
	(void)region_give(span->region, (size_t)(end - span->base), (size_t)(wanted - end));
	return false;
}

/* Memory of a region is not committed, so whether the program may have this much at once is left to the kernel. A
 * mapping that exceeds the machine as it is was made without commitment. */
static bool may_grow(size_t length, size_t more)
{
	long place;

	if (more < LARGE_REQUEST || span_exceeds_machine(length))
		return true;
	place = raw_mmap(span_apart(more), more, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (place < 0 && place > -4096)
		return false;
	(void)sys_call2(SYS_munmap, place, more);
	return true;
}

static long move_span(struct span *span, size_t length, int flags, void *fixed)
{
	size_t common = span->length < length ? span->length : length;
	bool stays = flags & MREMAP_DONTUNMAP;
	int protection = span->protection;
	long place = span->advice & KEPT_KEYED ? -ENOMEM : new_place(span, length, fixed);

	if (place < 0 && place > -4096)
		return place;
	if (!span_open(span)) {
		(void)span_unmap((char *)place, (char *)place + length);
		return -ENOMEM;
	}
	copy_out((char *)place, span, common, !stays);
	span_close(span); /* rights that cannot be taken away stay */
	if (protection != (PROT_READ | PROT_WRITE))
		(void)sys_call3(SYS_mprotect, place, length, protection); /* an island's new place is the kernel's */
	span_keep_advice((char *)place, length, span->advice);
	if (!stays) {
		(void)span_unmap(span->start, span->start + span->length);
		return place;
	}
	for (char *at = span->start, *end = at + span->length; at < end;) {
		struct span part = span_at(at, end);
		if (part.kind == REGION_FOREIGN)
			(void)sys_call3(SYS_madvise, part.start, part.length, MADV_DONTNEED);
		else
			(void)span_zero(&part);
		at += part.length;
	}
	return place;
}

static bool is_sound(const void *old, size_t old_length, size_t length, int flags, const void *fixed)
{
	if ((flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP)) != 0 || !span_is_aligned(old) ||
	    length == 0 || length > SIZE_MAX / 2)
		return false;
	if ((flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) && !(flags & MREMAP_MAYMOVE))
		return false;
	if ((flags & MREMAP_DONTUNMAP) && old_length != length)
		return false;
	if (!(flags & MREMAP_FIXED))
		return true;
	if ((uintptr_t)fixed > ADDRESSES_END || length > ADDRESSES_END - (uintptr_t)fixed)
		return false;
	return span_is_aligned(fixed) && ((const char *)fixed + span_round_up(length) <= (const char *)old ||
				     (const char *)old + span_round_up(old_length) <= (const char *)fixed);
}

/* The range is several things here, and one mapping to the kernel: the program has mapped it by a raw system call. */
static void see_one_mapping(struct span *span, char *old, size_t length)
{
	if (!region_is_one_anonymous(old, length))
		return;
	for (char *at = old, *end = old + length; at < end; at += span->length) {
		*span = span_at(at, end);
		if (span->region != NULL && span->kind != REGION_FOREIGN)
			region_lose_end(span->region, span_offset(span), span->length);
	}
	*span = span_at(old, old + length);
	span->length = length;
}

static long remap_locked(char *old, size_t old_length, size_t length, int flags, void *fixed)
{
	long arguments[6] = { (long)old, (long)old_length, (long)length, flags, (long)fixed, 0 };
	struct span span;
	bool stays, joined;

	/* The part by which it grows, and its new place, get the advice of the rest. */
	span_forget_ended_locks(old, old + old_length);
	span = span_at(old, old + old_length);
	if (span.kind == REGION_HOLE)
		return -EFAULT;
	if ((flags & MREMAP_FIXED) && length < old_length) { /* the part that does not move is unmapped first */
		long error = span_unmap(old + length, old + old_length);
		if (error < 0)
			return error;
		arguments[1] = (long)(old_length = length);
		span = span_at(old, old + old_length);
	}
	extend(&span, old + old_length);
	if (span.length < old_length)
		see_one_mapping(&span, old, old_length);
	stays = length <= old_length && !(flags & (MREMAP_FIXED | MREMAP_DONTUNMAP));
	joined = span.length < old_length && !stays && join_foreign(&span, old, old + old_length);
	if (span.kind == REGION_FOREIGN && span.length < old_length) {
		/* The kernel must not unmap or move what follows. But it tells whether anything is mapped at `old`. */
		long error = sys_call5(SYS_mremap, old, HEAP_PAGE, HEAP_PAGE, 0, 0);
		if (error < 0 && error > -4096)
			return error;
		error = flags & (MREMAP_FIXED | MREMAP_DONTUNMAP) || length > old_length
				? -EFAULT
				: span_unmap(old + length, old + old_length);
		return error < 0 ? error : (long)old;
	}
	if (span.kind == REGION_FOREIGN)
		return flags & MREMAP_FIXED ? span_put_over(fixed, length, SYS_mremap, arguments)
					    : remap_by_kernel(old, old_length, length, flags, fixed);
	if (stays) {
		long error = span_unmap(old + length, old + old_length);
		return error < 0 ? error : (long)old;
	}
	if (span.length != old_length)
		return -EFAULT; /* more than one mapping */
	if (length > old_length && !may_grow(old_length, length - old_length))
		return -ENOMEM;
	if (!(flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) && !joined && grow_in_place(&span, length))
		return (long)old;
	if (!(flags & MREMAP_MAYMOVE))
		return -ENOMEM;
	/* With MREMAP_DONTUNMAP alone the new address would be a hint only. */
	return move_span(&span, length, flags, flags & MREMAP_FIXED ? fixed : NULL);
}

/* The rights of plain memory. -1: it is not plain, or has several. */
static int rights_of_plain(char *at, size_t length)
{
	int rights = -1;

	for (char *end = at + length; at < end;) {
		struct span span = span_at(at, end);
		if (!is_programs(&span) || (span.protection | PROT_EXEC) != HEAP_ALL_RIGHTS || span.advice != 0 ||
		    (rights != -1 && span.protection != rights))
			return -1;
		rights = span.protection;
		at += span.length;
	}
	return rights;
}

/* Anonymous memory of the kernel's is young where it has come to lie or has grown. */
static void note_moved(char *old, size_t old_length, char *place, size_t length, int flags, int rights)
{
	if (place != old && !(flags & MREMAP_DONTUNMAP))
		span_forget_young(old, old_length);
	else if (place == old && length < old_length) /* free for any mapping */
		span_forget_young(old + length, old_length - length);
	if (rights != -1)
		span_note_young(place, length, rights);
	else
		span_forget_young(place, length);
}

static long remap(void *old, size_t old_length, size_t length, int flags, void *fixed)
{
	uint64_t mask;
	long result;
	bool early;

	old = span_untagged(old);
	early = heap_has_early(old);
	if (length > old_length && length - old_length <= ADDRESSES_END)
		heap_grows(length - old_length);
	heap_forget_early(old, old_length);
	if (flags & MREMAP_FIXED)
		heap_forget_early(fixed, length);
	if (!span_touches(old, old_length == 0 ? 1 : old_length) &&
	    !((flags & MREMAP_FIXED) && span_touches(fixed, length))) {
		result = remap_outside(old, old_length, length, flags, fixed);
		if (early && old_length > 0) {
			bool moved = result >= 0 || result < -4095;
			heap_note_early(moved ? (void *)result : old, span_round_up(moved ? length : old_length), true);
		}
		return result;
	}
	if (!is_sound(old, old_length, length, flags, fixed))
		return -EINVAL;
	heap_meet_child();
	region_lock(&mask);
	span_true_rights(old, old_length);
	span_look(old, (char *)old + span_round_up(old_length == 0 ? 1 : old_length));
	if (flags & MREMAP_FIXED)
		span_look(fixed, (char *)fixed + span_round_up(length));
	if (span_is_sealed(old, (char *)old + span_round_up(old_length)) ||
	    ((flags & MREMAP_FIXED) && span_is_sealed(fixed, (char *)fixed + span_round_up(length)))) {
		result = -EPERM;
	} else if (old_length > 0) {
		int rights = rights_of_plain(old, span_round_up(old_length));
		result = remap_locked(old, span_round_up(old_length), span_round_up(length), flags, fixed);
		if (result >= 0 || result < -4095)
			note_moved(old, span_round_up(old_length), (char *)result, span_round_up(length), flags,
				   rights);
	} else { /* a second view, which private memory cannot have */
		struct span span = span_at(old, (char *)old + HEAP_PAGE);
		result = span.kind == REGION_HOLE      ? -EFAULT
			 : span.kind == REGION_FOREIGN ? remap_by_kernel(old, 0, length, flags, fixed)
						       : -EINVAL;
	}
	region_unlock(&mask);
	return result;
}

/* Moves memory to a range that meets the library's own mappings. What would come to lie on these is lost. */
static long move_around(char *old, size_t old_length, size_t length, int flags, char *fixed)
{
	char *end = fixed + length, *from, *to;
	long result = 0;

	if (!is_sound(old, old_length, length, flags, fixed))
		return -EINVAL;
	if (length > old_length || length < OWN_WIDE) /* memory in two parts cannot grow */
		return -ENOMEM;
	if (length < old_length)
		result = heap_munmap(old + length, old_length - length);
	for (char *at = fixed; at < end && (result >= 0 || result < -4095); at = to) {
		bool last = !own_find(at, end, &from, &to);
		if (last)
			from = to = end;
		if (from > at)
			result = heap_mremap(old + (at - fixed), (size_t)(from - at), (size_t)(from - at), flags, at);
		if ((result >= 0 || result < -4095) && !last && !(flags & MREMAP_DONTUNMAP)) {
			char *start = from > at ? from : at, *stop = to < end ? to : end;
			result = heap_munmap(old + (start - fixed), (size_t)(stop - start));
		}
	}
	return result < 0 && result >= -4095 ? result : (long)fixed;
}

/* For a range that meets the library's own mappings. To the kernel it would be several mappings, which mremap can
 * shorten but not move. */
static long remap_around(char *old, size_t old_length, size_t length, int flags)
{
	long result = -EFAULT;

	if (length <= old_length && (flags & ~MREMAP_MAYMOVE) == 0 && length > 0 && !own_meets(old, 1))
		result = heap_mremap(old, HEAP_PAGE, HEAP_PAGE, flags, NULL); /* fails if nothing is there */
	if ((result >= 0 || result < -4095) && length < old_length)
		result = heap_munmap(old + length, old_length - length);
	return result < 0 && result >= -4095 ? result : (long)old;
}

static void before_growth(char *at)
{
	int count = atomic_load_explicit(&heap_home_count, memory_order_acquire);
	odf_region *regions[HEAP_HOMES];
	uint64_t mask;

	if (count == 0 || region_is_amid() || !span_is_aligned(at) || (uintptr_t)at > ADDRESSES_END - HEAP_PAGE)
		return;
	heap_meet_child();
	for (int i = 0; i < count; i++)
		regions[i] = heap_homes[i].region;
	region_lock(&mask);
	span_look(at, at + HEAP_PAGE);
	if (span_at(at, at + HEAP_PAGE).kind == REGION_FOREIGN)
		region_bring_in_stray(regions, count, at);
	region_unlock(&mask);
}

long heap_mremap(void *old, size_t old_length, size_t length, int flags, void *fixed)
{
	char *start = span_untagged(old);
	long result;

	if (own_meets(start, old_length))
		return remap_around(start, span_round_up(old_length), span_round_up(length), flags);
	if ((flags & MREMAP_FIXED) && own_meets(fixed, length))
		return move_around(start, span_round_up(old_length), span_round_up(length), flags, fixed);
	if (length > old_length && length - old_length <= ADDRESSES_END)
		heap_before_data(length - old_length);
	if (length > old_length && old_length > 0)
		before_growth(start);
	result = remap(old, old_length, length, flags, fixed);
	return result == -ENOMEM && length > old_length && heap_makes_room()
		       ? remap(old, old_length, length, flags, fixed)
		       : result;
}
