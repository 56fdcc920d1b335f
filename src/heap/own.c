/* SPDX-License-Identifier: MIT
 *
 * What the library keeps of itself lies where no program has anything (wake.c, choose_place), and one may come to map
 * by MAP_FIXED, to unmap or to advise a range of tebibytes there without a look: addresses that it was built for. To
 * the program these mappings are not there. So a call about such a range is made for what is around them, part by
 * part. Where a part is refused those before it are done, as with the kernel's calls for several mappings.
 *
 * Views of regions' files are mapped over as the program asks, which is seen when they are used: it has the memory
 * that it asked for. What changes or unmaps them is not done to them. Async-signal-safe; not under the lock.
 */
#include <errno.h>

#include "span.h"

/* It lies in here, but where all was taken: then among what the kernel has mapped for the program, where nothing is
 * mapped, or unmapped, without a look. */
#define FROM ((uintptr_t)5 << 40)
#define TO   ((uintptr_t)32 << 40)

static bool is_failure(long result)
{
	return result < 0 && result >= -4095;
}

/* Whole pages there, and not empty: else the kernel refuses it. */
static bool may_meet(const void *address, size_t length)
{
	uintptr_t at = (uintptr_t)address;

	return atomic_load_explicit(&heap_home_count, memory_order_acquire) > 0 && at < TO && length > 0 &&
	       length <= ADDRESSES_END - at && at + length > FROM && span_is_aligned(address) && !region_is_amid();
}

/* Under the lock. */
static bool find(char *at, char *end, bool views, char **from, char **to)
{
	bool found = false;

	for (int i = 0, count = atomic_load_explicit(&heap_home_count, memory_order_acquire); i < count; i++) {
		char *start, *stop, *before = found ? *from : end;
		if (before > at && region_own_in(heap_homes[i].region, at, before, views, &start, &stop)) {
			*from = start;
			*to = stop;
			found = true;
		}
	}
	return found;
}

bool own_find(char *at, char *end, char **from, char **to)
{
	uint64_t mask;
	bool found;

	region_lock(&mask);
	found = find(at, end, false, from, to);
	region_unlock(&mask);
	return found;
}

bool own_meets(const void *address, size_t length)
{
	char *at = (char *)(uintptr_t)address, *from, *to;

	if (!may_meet(address, length))
		return false;
	heap_meet_child();
	return own_find(at, at + span_round_up(length), &from, &to);
}

long own_around(void *address, size_t length, bool views, own_function *call, const void *argument)
{
	char *at = address, *end = at + span_round_up(length), *from, *to;
	long result = 0;

	for (; at < end && !is_failure(result); at = to) {
		uint64_t mask;
		region_lock(&mask);
		if (!find(at, end, views, &from, &to))
			from = to = end;
		region_unlock(&mask);
		if (from > at)
			result = call(at, (size_t)(from - at), argument);
	}
	return result;
}

/* Under the lock, under which span_touches may not be asked. */
static bool is_outside(const char *at, const char *end)
{
	for (int i = 0, count = atomic_load_explicit(&heap_home_count, memory_order_acquire); i < count; i++)
		if (at < heap_homes[i].end && heap_homes[i].start < end)
			return false;
	return true;
}

bool own_is_asked(const void *address, size_t length)
{
	return length >= OWN_WIDE ? may_meet(address, length) : own_meets(address, length);
}

long own_ask(void *address, size_t length, const struct own_request *request)
{
	bool views = length >= OWN_WIDE, any = false;
	char *at = address, *end = at + span_round_up(length), *from, *to;
	long result = 0;

	heap_meet_child();
	for (; at < end; at = to) {
		long error = 0;
		uint64_t mask;
		bool outside;
		region_lock(&mask); /* nothing else of ours comes to lie there meanwhile */
		if (!find(at, end, views, &from, &to))
			from = to = end;
		outside = is_outside(at, from);
		if (from > at && outside)
			error = sys_call4(request->number, at, from - at, request->c, request->d);
		region_unlock(&mask);
		if (from > at && !outside)
			error = request->inside(at, (size_t)(from - at), request->c, request->d);
		any = any || from > at;
		if (is_failure(error))
			result = error;
		if (is_failure(error) && (!request->past_holes || error != -ENOMEM))
			break;
	}
	return any ? result : -ENOMEM;
}
