/* SPDX-License-Identifier: MIT
 *
 * The end of the data segment, as the program itself moves it: allocators of its own do, and Lisps. What it grows by
 * is its memory like a mapping. libc's malloc moves it as well, past us; what lies between two of the program's own
 * calls and is not theirs is malloc's, and left alone.
 *
 * Not safe beside another thread that moves it, as libc's functions are not.
 */
#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../heap/heap.h"
#include "../libc/libc.h"

#define EXPORTED __attribute__((visibility("default")))
#define PAGE ((uintptr_t)4096)

/* Where the program's own last piece ends, which may be within a page. */
static uintptr_t own_from, own_end;

static void *call_sbrk(intptr_t increment)
{
	void *(*function)(intptr_t) = (void *(*)(intptr_t))libc_find(LIBC_SBRK);

	return function(increment);
}

static int call_brk(void *end)
{
	int (*function)(void *) = (int (*)(void *))libc_find(LIBC_BRK);

	return function(end);
}

static void note_growth(uintptr_t from, uintptr_t to)
{
	if (from != own_end)
		own_from = (from + PAGE - 1) / PAGE * PAGE; /* the rest of a page may be another's */
	own_end = to;
	if (to / PAGE * PAGE > own_from) {
		heap_note_grown((void *)own_from, to / PAGE * PAGE - own_from);
		own_from = to / PAGE * PAGE;
	}
}

struct move {
	void *to;
};

static long move_down(void *argument)
{
	const struct move *move = argument;

	return call_brk(move->to) == 0 ? 0 : -errno;
}

/* What is given back is a region's no more at the moment at which it is gone. */
static int shrink(uintptr_t from, uintptr_t to)
{
	struct move move = { (void *)to };
	uintptr_t start = (to + PAGE - 1) / PAGE * PAGE, end = (from + PAGE - 1) / PAGE * PAGE;
	long error = heap_give_back((void *)start, end - start, move_down, &move);

	if (error == 0 && own_end > to) {
		own_end = to;
		own_from = own_from < to / PAGE * PAGE ? own_from : to / PAGE * PAGE;
	}
	return (int)-error;
}

EXPORTED void *sbrk(intptr_t increment)
{
	uintptr_t was;
	void *result;

	if (increment > 0) {
		result = call_sbrk(increment);
		if (result != (void *)-1)
			note_growth((uintptr_t)result, (uintptr_t)result + (uintptr_t)increment);
		return result;
	}
	result = call_sbrk(0);
	was = (uintptr_t)result;
	if (increment == 0 || result == (void *)-1 || (uintptr_t)-increment > was)
		return increment == 0 || result == (void *)-1 ? result : call_sbrk(increment);
	if (shrink(was, was + (uintptr_t)increment) == 0)
		return result;
	errno = ENOMEM;
	return (void *)-1;
}

EXPORTED int brk(void *end)
{
	uintptr_t was = (uintptr_t)call_sbrk(0), to = (uintptr_t)end;
	int error;

	if (was == UINTPTR_MAX || to == 0 || to >= was) {
		error = call_brk(end);
		if (error == 0 && was != UINTPTR_MAX && to > was)
			note_growth(was, to);
		return error;
	}
	if (shrink(was, to) == 0)
		return 0;
	errno = ENOMEM;
	return -1;
}
