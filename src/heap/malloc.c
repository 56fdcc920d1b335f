/* SPDX-License-Identifier: MIT
 *
 * Whose malloc the program uses, and whether its calls are seen. An allocator of the program's own makes calls that are
 * interposed, and needs nothing. libc's maps memory by calls within libc (preload/within.c); that memory is treated
 * like any other that the program maps.
 */
#include "internal.h"

static bool is_seen;
static bool (*ask_whose)(void), (*see_within)(void);

void heap_set_malloc(bool (*is_libcs)(void), bool (*see)(void))
{
	ask_whose = is_libcs;
	see_within = see;
}

/* Asks the loader at the first call and keeps the answer. */
static bool is_libcs(void)
{
	enum { UNKNOWN, ANOTHERS, LIBCS };
	static atomic_int whose;

	if (ask_whose == NULL)
		return false;
	if (atomic_load_explicit(&whose, memory_order_relaxed) == UNKNOWN)
		atomic_store_explicit(&whose, ask_whose() ? LIBCS : ANOTHERS, memory_order_relaxed);
	return atomic_load_explicit(&whose, memory_order_relaxed) == LIBCS;
}

void heap_see_malloc(void)
{
	if (!is_seen && see_within != NULL && is_libcs())
		is_seen = see_within();
}

odf_heap_malloc heap_malloc_door(void)
{
	if (!is_libcs())
		return ODF_HEAP_MALLOC_OTHER;
	return is_seen && heap_state() == ODF_HEAP_AWAKE ? ODF_HEAP_MALLOC_IN_PLACE : ODF_HEAP_MALLOC_LIBC;
}
