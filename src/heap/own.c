/* SPDX-License-Identifier: MIT
 *
 * The library's own mappings lie where no program has mappings (wake.c, choose_place). But a program that was built for
 * these addresses may map by MAP_FIXED, unmap or advise a range of tebibytes there without a look. For the program the
 * library's mappings do not exist: such a call is made for each part between them. If it fails for a part, the parts
 * before it are done, as with the kernel's calls on several mappings.
 *
 * Views of regions' files are mapped over as the program asks: it gets the memory that it asked for, and the library
 * notices when it uses the view. A call that changes or unmaps memory leaves them out. Async-signal-safe; not under the
 * lock.
 */
#include <errno.h>

#include "span.h"

/* The library's mappings lie between these addresses. If there was no room they lie where the kernel has put them,
 * among the program's, where no program maps or unmaps without a look. */
#define FROM ((uintptr_t)5 << 40)
#define TO   ((uintptr_t)32 << 40)

static bool is_failure(long result)
{
	return result < 0 && result >= -4095;
}

/* The range is not empty, of whole pages, and meets these addresses. The kernel refuses other ranges. */
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

/* Under the lock, where span_touches cannot be asked. */
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
		region_lock(&mask); /* no other mapping of ours comes to lie there */
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
