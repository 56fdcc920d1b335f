/* SPDX-License-Identifier: MIT
 *
 * The program break. Memory by brk and sbrk is taken into regions like a mapping. libc's malloc moves the break, which
 * is seen where its calls are interposed (within.c); other allocators and Lisp systems move it themselves. Where
 * malloc's calls are not seen, memory between two of the program's own calls that neither of them made is malloc's, and
 * is left alone.
 *
 * Not thread-safe, as libc's brk and sbrk are not. Async-signal-safe otherwise.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../heap/heap.h"
#include "../libc/libc.h"
#include "../sys/syscall.h"
#include "preload.h"

#define EXPORTED __attribute__((visibility("default")))
#define PAGE ((uintptr_t)4096)

/* End of the last piece that was seen. It may be within a page. */
static uintptr_t own_from, own_end;
/* No piece below this was seen. */
static uintptr_t lowest;

/* libc's variable for the break, which its sbrk uses. NULL: libc's functions are called instead. */
static void **libcs_end;
static bool is_seen;

static int call_brk(void *end)
{
	int (*function)(void *) = (int (*)(void *))libc_find(LIBC_BRK);
	void *is;

	if (!is_seen)
		return function(end);
	is = (void *)sys_call1(SYS_brk, end);
	*libcs_end = is;
	if (is < end) {
		errno = ENOMEM;
		return -1;
	}
	return 0;
}

static void *call_sbrk(intptr_t increment)
{
	void *(*function)(intptr_t) = (void *(*)(intptr_t))libc_find(LIBC_SBRK);

	return function(increment);
}

static void *current_end(void)
{
	if (!is_seen)
		return call_sbrk(0);
	if (*libcs_end == NULL)
		(void)call_brk(NULL);
	return *libcs_end;
}

/* The kernel's break, which differs from libc's after a raw system call. libc's, if the kernel cannot be asked. */
static uintptr_t true_end(uintptr_t libcs)
{
	long end = sys_call1(SYS_brk, NULL);

	return end > 0 ? (uintptr_t)end : libcs;
}

/* `fresh`: nothing has been written there. */
static void note_growth(uintptr_t from, uintptr_t to, bool fresh)
{
	uintptr_t pages = (from + PAGE - 1) / PAGE * PAGE, end = to / PAGE * PAGE;

	if (from != own_end)
		own_from = pages; /* the rest of that page may be malloc's */
	own_end = to;
	if (!fresh)
		pages = end;
	/* The page with the old break has bytes of the program. */
	if (own_from < pages && own_from < end) {
		pages = pages < end ? pages : end;
		heap_note_found((void *)own_from, pages - own_from);
		own_from = pages;
	}
	if (own_from < end) {
		heap_note_grown((void *)own_from, end - own_from);
		own_from = end;
	}
}

bool preload_segment_is_known(void)
{
	libcs_end = dlsym(RTLD_DEFAULT, "__curbrk");
	if (libcs_end == NULL)
		(void)dlerror();
	return libcs_end != NULL;
}

void preload_segment_begins(void)
{
	void *end = call_sbrk(0);

	if (end != (void *)-1) {
		lowest = own_from = ((uintptr_t)end + PAGE - 1) / PAGE * PAGE;
		own_end = (uintptr_t)end;
	}
}

void preload_segment_is_seen(void)
{
	uintptr_t end;

	is_seen = true;
	end = (uintptr_t)current_end();
	if (own_end != 0 && end > own_end) /* by malloc, since the program began */
		note_growth(own_end, end, false);
}

struct move {
	void *to;
	bool unchanged; /* the kernel takes no such end, and libc calls that success */
};

static long move_down(void *argument)
{
	struct move *move = argument;

	if (call_brk(move->to) != 0)
		return -errno;
	move->unchanged = current_end() != move->to;
	return move->unchanged ? -ENOMEM : 0;
}

/* Takes memory out of the region before the kernel unmaps it. The start of the segment is not known; below it the
 * kernel changes nothing. */
static int shrink(uintptr_t from, uintptr_t to)
{
	struct move move = { (void *)to, false };
	uintptr_t start = (to + PAGE - 1) / PAGE * PAGE, end = (from + PAGE - 1) / PAGE * PAGE;
	uintptr_t first = start > lowest ? start : lowest;
	long error = first < end ? heap_give_back((void *)first, end - first, move_down, &move) : move_down(&move);

	if (error == 0 && own_end > to) {
		own_end = to;
		own_from = own_from < start ? own_from : start; /* the page with the new break stays as it is */
	}
	return move.unchanged ? 0 : (int)-error;
}

int preload_brk(void *end)
{
	uintptr_t libcs = (uintptr_t)current_end(), to = (uintptr_t)end, was;
	int error;

	if (libcs == UINTPTR_MAX || to == 0)
		return call_brk(end);
	was = true_end(libcs);
	if (to >= was) {
		if (to > was)
			heap_before_data(to - was);
		error = call_brk(end);
		if (error != 0 && errno == ENOMEM && heap_makes_room())
			error = call_brk(end);
		if (error == 0 && to > was)
			note_growth(was, to, true);
		return error;
	}
	if (shrink(was, to) == 0)
		return 0;
	errno = ENOMEM;
	return -1;
}

EXPORTED void *sbrk(intptr_t increment)
{
	void *was;

	if (is_seen) /* it calls our brk */
		return call_sbrk(increment);
	was = call_sbrk(0);
	if (increment == 0 || was == (void *)-1 || (increment > 0 ? (uintptr_t)increment > UINTPTR_MAX - (uintptr_t)was
								  : (uintptr_t)-increment > (uintptr_t)was))
		return call_sbrk(increment);
	return preload_brk((char *)was + increment) == 0 ? was : (void *)-1;
}

EXPORTED int brk(void *end)
{
	return preload_brk(end);
}
