/* SPDX-License-Identifier: MIT
 *
 * What mimalloc has beyond the end of its own map of its memory (malloc.c). Any thread changes it at any time,
 * without a lock: an allocator may unmap in a signal handler.
 */
#include "internal.h"
#include "ranges.h"

#define MAP_END ((uintptr_t)20 << 40)

static struct ranges beyond;

bool heap_note_beyond(const void *mapping, size_t length)
{
	return (uintptr_t)mapping + length <= MAP_END || ranges_add(&beyond, (uintptr_t)mapping, length);
}

bool heap_forget_beyond(const void *mapping, size_t length)
{
	return (uintptr_t)mapping + length <= MAP_END || ranges_are_none(&beyond) ||
	       ranges_forget(&beyond, (uintptr_t)mapping, length, false);
}

bool heap_is_beyond(const void *pointer)
{
	return (uintptr_t)pointer >= MAP_END && ranges_have(&beyond, (uintptr_t)pointer);
}
