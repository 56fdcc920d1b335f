/* SPDX-License-Identifier: MIT
 *
 * Leaving: what was in the region is ordinary memory from then on, and nothing more is placed; and what is watched for
 * it while there is a region. It is watched from before the look that the heap takes before it wakes (wake.c), until
 * all has been left: who opens something meanwhile is seen by the one or by the other.
 */
#include <string.h>

#include "../sys/proc.h"
#include "internal.h"
#include "pinned.h"
#include "span.h"

atomic_int heap_watched;

/* All that this process has. What could not be left stays watched, so that it is tried again. */
bool heap_leave_all(odf_reason reason)
{
	int count = atomic_load_explicit(&heap_home_count, memory_order_acquire);
	bool all = true;
	uint64_t mask;

	region_lock(&mask);
	for (int i = 0; i < count; i++)
		all = region_give_up(heap_homes[i].region, reason) == 0 && all;
	region_unlock(&mask);
	return all;
}

void heap_leave(odf_reason reason)
{
	int watched = atomic_load(&heap_watched);

	heap_meet_child();
	heap_stay_asleep(reason);
	if (atomic_load_explicit(&heap_home_count, memory_order_acquire) == 0 || !heap_is_owner())
		return; /* what a child inherited is ordinary memory */
	heap_retire(reason);
	/* Also when another thread has just done so: when this returns, all is left. */
	if (heap_leave_all(reason)) /* unless it has been woken again meanwhile, by odf_heap_enable */
		(void)atomic_compare_exchange_strong(&heap_watched, &watched, 0);
}

static void meet(int descriptor, enum pinned_way way, int flags)
{
	int saved = errno;
	odf_reason reason = pinned_descriptor(descriptor, way, flags);

	if (reason != ODF_REASON_NONE)
		heap_leave(reason);
	errno = saved;
}

void heap_meet_opened(int descriptor, int flags)
{
	meet(descriptor, PINNED_OPENED, flags);
}

/* By that file of /proc the kernel is told to note in page tables what is written from then on, and these are left
 * behind by a freeze. Nothing has been written to it yet. */
void heap_meet_name(int descriptor, const char *path, int flags)
{
	static const char name[] = "clear_refs";
	size_t length;
	int saved = errno;

	if ((flags & O_ACCMODE) == O_RDONLY || (flags & O_PATH))
		return;
	length = strlen(path);
	if (length >= sizeof name - 1 && strcmp(path + length - (sizeof name - 1), name) == 0 &&
	    proc_look(descriptor) == 0)
		heap_leave(ODF_REASON_HEAP_USERFAULT);
	errno = saved;
}

void heap_meet_received(int descriptor)
{
	meet(descriptor, PINNED_RECEIVED, 0);
}

void heap_meet_socket(int domain)
{
	int saved = errno;
	odf_reason reason = pinned_domain(domain);

	if (reason != ODF_REASON_NONE)
		heap_leave(reason);
	errno = saved;
}

/* True also where the kernel does not say. */
static bool is_resident(const char *start, size_t length)
{
	unsigned char states[512];

	for (size_t at = 0, size; at < length; at += size) {
		size = length - at < sizeof states * HEAP_PAGE ? length - at : sizeof states * HEAP_PAGE;
		if (sys_call3(SYS_mincore, start + at, size, states) < 0)
			return true;
		for (size_t page = 0; page < size / HEAP_PAGE; page++)
			if (states[page] & 1)
				return true;
	}
	return false;
}

/* The process that has made one: the descriptor that a child inherits is about its parent's memory. */
static atomic_int maker;

void heap_meet_userfault(void)
{
	int saved = errno;

	heap_leave(ODF_REASON_HEAP_USERFAULT);
	atomic_store(&maker, (int)sys_call0(SYS_getpid));
	errno = saved;
}

/* Pages of a file are not merged. */
void heap_before_merging(bool merges)
{
	int saved = errno;

	if (merges && sys_call5(SYS_prctl, PR_GET_MEMORY_MERGE, 0, 0, 0, 0) >= 0) /* or the kernel cannot */
		heap_leave(ODF_REASON_HEAP_MERGED);
	errno = saved;
}

/* A private view of a file is no anonymous memory: a part that is given back and touched again shows the file, and
 * older kernels do not write-protect it. Where other threads may write to the range right now it stays such a view all
 * the same, as their bytes count for more. */
void heap_before_register(void *address, size_t length)
{
	int saved = errno;

	if (!span_touches(address, length) || (atomic_load(&maker) != sys_call0(SYS_getpid) && !heap_is_owner()))
		return;
	heap_leave(ODF_REASON_HEAP_USERFAULT);
	if (region_has_one_thread() || !is_resident(address, length))
		heap_make_anonymous(address, length);
	errno = saved;
}
