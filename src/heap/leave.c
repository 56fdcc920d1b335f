/* SPDX-License-Identifier: MIT
 *
 * Leaving: memory in regions becomes ordinary memory, and no more is put into regions. Also what is watched for that
 * purpose while there is a region. The watch begins before the look that precedes the waking of the heap (wake.c) and
 * ends when all is left: a descriptor that another thread opens meanwhile is seen by the look or by the watch.
 */
#include <string.h>

#include "../sys/proc.h"
#include "internal.h"
#include "pinned.h"
#include "span.h"

atomic_int heap_watched;

/* Gives up all regions of this process. After a failure the watch goes on, so that it is tried again. */
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
	/* Also if another thread has just done so: when this returns, all must be left. */
	if (heap_leave_all(reason)) /* unless odf_heap_enable has woken it again */
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

/* A write to /proc/PID/clear_refs makes the kernel note later writes in the page tables, which a freeze leaves behind.
 * Nothing has been written to the file yet. */
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

/* True also if the kernel does not tell. */
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

/* The process that has made a userfaultfd: the descriptor that a child inherits is for its parent's memory. */
static atomic_int maker;

void heap_meet_userfault(void)
{
	int saved = errno;

	heap_leave(ODF_REASON_HEAP_USERFAULT);
	atomic_store(&maker, (int)sys_call0(SYS_getpid));
	errno = saved;
}

/* The kernel does not merge pages of a file. */
void heap_before_merging(bool merges)
{
	int saved = errno;

	if (merges && sys_call5(SYS_prctl, PR_GET_MEMORY_MERGE, 0, 0, 0, 0) >= 0) /* else the kernel cannot merge */
		heap_leave(ODF_REASON_HEAP_MERGED);
	errno = saved;
}

/* To userfaultfd a private view of a file is not anonymous memory: a part that is given back and touched again shows
 * the file, and older kernels do not write-protect it. If other threads may be writing to the range it stays such a
 * view all the same, so that none of their writes is lost. */
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
