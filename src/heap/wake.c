/* SPDX-License-Identifier: MIT
 *
 * What forbids waking, and the region that is made if nothing does. Runs within any call that maps memory (state.c): no
 * thread, no allocation.
 */
#include <errno.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/resource.h>

#include "../capability/capability.h"
#include "../capability/kernel.h"
#include "../record/settings.h"
#include "../sys/proc.h"
#include "../sys/statm.h"
#include "../sys/tasks.h"
#include "internal.h"
#include "pinned.h"

#define GIB ((size_t)1 << 30)

/* Twice the machine's memory: more cannot be used, and address space may be limited. */
size_t heap_capacity(size_t wanted)
{
	long pages = sysconf(_SC_PHYS_PAGES);
	size_t capacity = pages > 0 ? 2 * (size_t)pages * HEAP_PAGE : 16 * GIB;

	if (wanted != 0)
		capacity = wanted;
	if (capacity > HEAP_CAPACITY_MOST)
		capacity = HEAP_CAPACITY_MOST;
	return (capacity + GIB - 1) / GIB * GIB;
}

/* A place in an address range in which the kernel puts no mapping by itself; random, like ASLR. */
static char *choose_place(void)
{
	const void *random = (const void *)getauxval(AT_RANDOM);
	uint32_t number = 0;

	if (random != NULL)
		memcpy(&number, random, sizeof number);
	/* Each region plans some ten times its capacity. Overlaps are noticed, and cost time (views.c). */
	number += (uint32_t)atomic_load(&heap_home_count) * 977u;
	return (char *)(((uintptr_t)6 << 40) + ((uintptr_t)(number % 8192) << 30));
}

/* Asked anew each time: a process that has dropped its ids, or is not dumpable, cannot open what it could open
 * before. */
static bool can_tell_pages(void)
{
	int fd = proc_open("/proc/thread-self/pagemap", O_RDONLY);

	if (fd >= 0)
		sys_close(fd);
	return fd >= 0;
}

/* A region that nothing can settle, beside other threads if there are any, would stay FROZEN after the first fork. */
static bool can_settle(void)
{
	if (!can_tell_pages())
		return false;
	return tasks_ask() == 1 || ((capability(ODF_PROBE_UFFD_KERNEL) || capability(ODF_PROBE_UFFD_DEVICE)) &&
				    capability(ODF_PROBE_UFFD_MINOR));
}

/* A region counts more than plain memory against limits of address space and of file size, and escapes the limit of
 * data. Limits from HEAP_NO_LIMIT on do not bind: the address space of a process ends at 128 TiB. */
static bool is_limited(void)
{
	static const int resources[] = { RLIMIT_AS, RLIMIT_DATA, RLIMIT_FSIZE };

	for (size_t i = 0; i < sizeof resources / sizeof *resources; i++) {
		struct rlimit64 limit = { RLIM64_INFINITY, RLIM64_INFINITY };
		if (sys_call4(SYS_prlimit64, 0, resources[i], NULL, &limit) == 0 && limit.rlim_cur < HEAP_NO_LIMIT)
			return true;
	}
	return false;
}

static odf_reason find_obstacle(void)
{
	odf_reason obstacle = is_limited() ? ODF_REASON_HEAP_LIMIT : capability_region_reason();

	/* The kernel's own strategy is enough, and regions rule it out. So if the settings name it, or name no strategy
	 * and it is not in doubt, there is no heap, unless the settings have it on. If they name another strategy, the
	 * kernel's is not taken. */
	if (settings->heap != SETTINGS_HEAP_ON && kernel_place() != NULL &&
	    (settings->strategy == ODF_STRATEGY_KERNEL ||
	     (settings->strategy == ODF_STRATEGY_NONE && kernel_doubt() == ODF_REASON_NONE)))
		return ODF_REASON_HEAP_KERNEL;
	if (obstacle == ODF_REASON_NONE && sys_call5(SYS_prctl, PR_GET_MEMORY_MERGE, 0, 0, 0, 0) > 0)
		obstacle = ODF_REASON_HEAP_MERGED;
	if (obstacle == ODF_REASON_NONE)
		obstacle = pinned_process();
	if (obstacle == ODF_REASON_NONE && !can_settle())
		obstacle = ODF_REASON_HEAP_NO_SETTLING;
	return obstacle;
}

void heap_rehearse(void)
{
	(void)find_obstacle();
	(void)heap_may_be_young();
	(void)heap_capacity(0);
	(void)choose_place();
	(void)statm_private_bytes();
	pinned_rehearse();
}

/* The keeper copies pages of code. That is right only on processors that fetch instructions as they are in memory,
 * whoever has written them, and at whatever address. */
#ifdef __x86_64__
#define COHERENT true
#else
#define COHERENT false
#endif

/* The amount of memory with all rights that is mapped before the heap wakes decides what the keeper may do. */
#define EXECUTABLE_LEAST ((size_t)1 << 20)
static _Atomic(size_t) executable;
static atomic_bool keeper_may, refused;

void heap_note_executable(size_t length)
{
	atomic_fetch_add_explicit(&executable, length, memory_order_relaxed);
}

bool heap_may_execute(void)
{
	return atomic_load_explicit(&keeper_may, memory_order_relaxed) &&
	       !atomic_load_explicit(&refused, memory_order_relaxed);
}

/* Not under a filter, which may punish a call that makes memory executable, and no trial makes one. With the heap on
 * from the start the keeper may, as nothing is known of the program yet. */
static void let_keeper_execute(void)
{
	bool wanted = COHERENT &&
		      (heap_is_on() || atomic_load_explicit(&executable, memory_order_relaxed) >= EXECUTABLE_LEAST);
	bool may = wanted && region_is_unfiltered();

	region_let_keeper_execute(may);
	atomic_store(&keeper_may, may);
}

odf_region *heap_make_window_region(void *start, size_t length, int rights, odf_reason *obstacle, int *error)
{
	odf_region *fresh = NULL;

	/* The heap is awake: what was looked at then has been watched since, and the keeper has what it needs. */
	if (atomic_load(&heap_home_count) == HEAP_HOMES)
		*obstacle = ODF_REASON_HEAP_NO_ROOM;
	else
		*obstacle = is_limited() ? ODF_REASON_HEAP_LIMIT : ODF_REASON_NONE;
	if (*obstacle == ODF_REASON_NONE)
		fresh = region_make_in_place(start, length, rights, choose_place(), error);
	if (fresh == NULL && rights == HEAP_ALL_RIGHTS && *obstacle == ODF_REASON_NONE && *error != EBUSY)
		atomic_store(&refused, true);
	return fresh;
}

bool heap_is_on(void)
{
	return settings->heap == SETTINGS_HEAP_ON;
}

/* The program has asked for the heap (odf_heap_enable): it is about to fork. */
static atomic_bool asked_for;

void heap_note_asked_for(void)
{
	atomic_store_explicit(&asked_for, true, memory_order_relaxed);
}

bool heap_was_asked_for(void)
{
	return atomic_load_explicit(&asked_for, memory_order_relaxed);
}

bool heap_may_be_young(void)
{
	return settings->heap != SETTINGS_HEAP_ON && !heap_was_asked_for() &&
	       (capability(ODF_PROBE_UFFD_KERNEL) || capability(ODF_PROBE_UFFD_DEVICE)) &&
	       capability(ODF_PROBE_UFFD_MINOR);
}

odf_region *heap_make_region(odf_reason *obstacle, int *error)
{
	odf_region *fresh = NULL;
	char *place;

	*obstacle = atomic_load(&heap_home_count) < HEAP_HOMES ? find_obstacle() : ODF_REASON_HEAP_NO_ROOM;
	if (*obstacle != ODF_REASON_NONE)
		return NULL;
	(void)heap_may_be_young(); /* asked now, before the program may enter a sandbox */
	let_keeper_execute();
	/* The keeper needs a region before there is a window: this one is at addresses where nothing comes to lie. */
	place = choose_place();
	fresh = region_make_in_place(place, GIB, PROT_READ | PROT_WRITE, place + GIB, error);
	if (fresh == NULL && (*error == EAGAIN || *error == ECHILD))
		*obstacle = ODF_REASON_HEAP_PROCESS;
	else if (fresh == NULL && *error == ENOMEM)
		*obstacle = ODF_REASON_HEAP_NO_ROOM;
	if (fresh != NULL)
		region_is_for_keeper(fresh);
	return fresh;
}
