/* SPDX-License-Identifier: MIT
 *
 * Operations of test_heap_model: memory is mapped and unmapped.
 */
#include "heap_model.h"

#ifndef MAP_32BIT
#define MAP_32BIT 0
#endif

static size_t draw_pages(void)
{
	switch (below(16)) {
	case 0:
	case 1:
		return 1 + below(15); /* too little for the heap */
	case 2:
	case 3:
	case 4:
	case 5:
	case 6:
		return 16 + below(48);
	case 7:
	case 8:
	case 9:
	case 10:
		return 16 + below(300);
	case 11:
	case 12:
		return 16 + below(1024);
	case 13:
		return 512 * (1 + below(3)) + below(3) - 1;
	case 14:
		return 1024 + below(3000);
	default:
		return 1 + below(16384);
	}
}

static void sample_pages(struct arena *a)
{
	if (!board->tested || a->pages < 16 || page_at(a, 0)->kind != ANONYMOUS ||
	    page_at(a, 0)->prot != (PROT_READ | PROT_WRITE))
		return;
	board->eligible++;
	if (is_in_region(a->base))
		board->placed++;
}

/* Maps a new arena, at an address that the kernel or the heap chooses. */
void map_new(void)
{
	size_t count = draw_pages(), length = draw_length(count), hole = 0, hole_end = 0;
	struct manner m = draw_manner(count);
	struct arena *near = one_in(5) ? draw_arena() : NULL, *a;
	bool low = MAP_32BIT != 0 && one_in(40), sampled = one_in(16), wished = near == NULL && !low && one_in(2);
	void *hint = wished ? next_hint(count) : NULL, *result;
	const char *hinted = wished ? "hint" : "";

	if (free_arena() == NULL) {
		a = draw_arena();
		if (a != NULL)
			drop_arena(a);
		return;
	}
	if (near != NULL && near->window) { /* a hint in the window: the kernel uses the place if it is free */
		size_t at = below(near->pages);
		hint = address_of(near, at);
		hinted = "window";
		hole = at;
		hole_end = less(near->pages, at + count);
	} else if (near != NULL) {
		size_t at = below(near->pages);
		hint = address_of(near, at) + (one_in(4) ? below(PAGE) : 0);
		hinted = "arena";
		hole = at;
		hole_end = less(near->pages, at + count);
	}
	if (near != NULL)
		for (size_t i = hole; i < hole_end; i++) {
			if (page_at(near, i)->kind == HOLE)
				set_kind(near, i, 1, UNKNOWN);
		}
	if (low)
		m.flags |= MAP_32BIT;
	forget_holes(count);
	say("mmap(%s, %zu bytes%s", hinted, length, low ? " low" : "");
	say_manner(&m);
	result = call_mmap(hint, length, m.prot, m.flags, m.fd, m.offset);
	if (result == MAP_FAILED) {
		say_result(-1);
		return;
	}
	say_result(0);
	if ((uintptr_t)result % PAGE != 0)
		say(" not at a page");
	if (low && ((uintptr_t)result + length) >> 31 != 0)
		say(" not low");
	a = begin_arena(result, count);
	a->hinted = wished;
	say(" a%d", number_of(a));
	set_mapped(a, 0, count, m.kind, m.prot, (m.flags & MAP_LOCKED) != 0 ? LOCKED : 0, m.touched);
	if (sampled)
		sample_pages(a);
}

void map_over(void)
{
	struct manner m;
	struct arena *a;
	size_t page, count;
	bool replace = !one_in(5);
	void *result;

	if (!draw_place(&a, &page, &count))
		return;
	m = draw_manner(count);
	say("mmap(a%d+%zu*%zu %s", number_of(a), page, count, replace ? "fixed" : "noreplace");
	say_manner(&m);
	result = call_mmap(address_of(a, page), draw_length(count), m.prot,
			   m.flags | (replace ? MAP_FIXED : MAP_FIXED_NOREPLACE), m.fd, m.offset);
	say_result(result == MAP_FAILED ? -1 : 0);
	if (result == MAP_FAILED)
		return;
	if (result != address_of(a, page))
		say(" elsewhere");
	set_mapped(a, page, count, m.kind, m.prot, (m.flags & MAP_LOCKED) != 0 ? LOCKED : 0, m.touched);
}

/* Two patterns of allocators: map too much, then unmap the ends, so that the rest is aligned; or reserve, then make
 * some of it usable. */
void map_like_an_allocator(void)
{
	size_t want = 16 + below(600), more = 16 + below(one_in(2) ? 512 : 64), front = below(more), page, count;
	bool wished = one_in(2);
	unsigned char *result;
	struct arena *a;

	if (free_arena() == NULL)
		return;
	forget_holes(want);
	if (one_in(2)) {
		say("mmap(%zu pages), front %zu and back %zu unmapped", want + more, front, more - front);
		result = call_mmap(wished ? next_hint(want + more) : NULL, (want + more) * PAGE, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		say_result(result == MAP_FAILED ? -1 : 0);
		if (result == MAP_FAILED)
			return;
		if (front > 0)
			say_result(call_munmap(result, front * PAGE));
		if (front < more)
			say_result(call_munmap(result + (front + want) * PAGE, (more - front) * PAGE));
		a = begin_arena(result + front * PAGE, want);
		a->hinted = wished;
		set_mapped(a, 0, want, ANONYMOUS, PROT_READ | PROT_WRITE, 0, NEVER_TOUCHED);
		say(" a%d", number_of(a));
		return;
	}
	say("mmap(%zu pages, none), some made usable", want);
	result = call_mmap(wished ? next_hint(want) : NULL, want * PAGE, PROT_NONE,
			   MAP_PRIVATE | MAP_ANONYMOUS | (one_in(2) ? MAP_NORESERVE : 0), -1, 0);
	say_result(result == MAP_FAILED ? -1 : 0);
	if (result == MAP_FAILED)
		return;
	a = begin_arena(result, want);
	a->hinted = wished;
	say(" a%d", number_of(a));
	set_mapped(a, 0, want, ANONYMOUS, PROT_NONE, 0, NEVER_TOUCHED);
	for (int i = (int)below(3); i >= 0; i--) {
		bool over = one_in(2);
		if (!draw_range(a, &page, &count))
			return;
		say(" %s %zu*%zu", over ? "over" : "protect", page, count);
		if (over) {
			void *there = call_mmap(address_of(a, page), count * PAGE, PROT_READ | PROT_WRITE,
						MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
			say_result(there == MAP_FAILED ? -1 : 0);
			set_mapped(a, page, count, ANONYMOUS, PROT_READ | PROT_WRITE, 0, NEVER_TOUCHED);
		} else {
			say_result(call_mprotect(address_of(a, page), count * PAGE, PROT_READ | PROT_WRITE));
			cut_pieces(a, page, count);
			for (size_t p = page; p < page + count; p++)
				page_at(a, p)->prot = PROT_READ | PROT_WRITE;
		}
	}
}

/* More than any machine has. Refused under overcommit accounting; otherwise sparse. */
void map_too_much(void)
{
	size_t size = (size_t)1 << (one_in(2) ? 43 : 41);
	bool reserve = one_in(2);
	unsigned char *result;

	forget_holes(1u << 20);
	say("mmap(%zu GiB%s)", size >> 30, reserve ? "" : " noreserve");
	result = call_mmap(NULL, size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | (reserve ? 0 : MAP_NORESERVE), -1, 0);
	say_result(result == MAP_FAILED ? -1 : 0);
	if (result == MAP_FAILED)
		return;
	result[size - 1] = result[0] = 1;
	say(" %d %d", result[0] + result[size - 1], result[size / 2]);
	say_result(call_munmap(result, size));
}

void map_badly(void)
{
	static const struct {
		const char *what;
		size_t length;
		int prot, flags, fd, at;
		off_t offset;
	} cases[] = {
		{ "length 0", 0, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, -1, 0 },
		{ "neither shared nor private", 65536, 3, MAP_ANONYMOUS, -1, -1, 0 },
		{ "all of memory", SIZE_MAX - 65536, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, -1, 0 },
		{ "length that wraps", SIZE_MAX, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, -1, 0 },
		{ "more than there are addresses", (size_t)1 << 47, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
		  -1, 0 },
		{ "no such file", 65536, 3, MAP_PRIVATE, 987, -1, 0 },
		{ "offset within a page", 65536, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, -1, 512 },
		{ "fixed within a page", 65536, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 17, 0 },
		{ "fixed, length 0", 0, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0, 0 },
		{ "fixed, much too long", (size_t)1 << 47, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0, 0 },
		{ "shared and validated, with what is not known", 65536, 3, MAP_SHARED_VALIDATE | 1 << 23, 0, -1, 0 },
	};
	size_t which = below(sizeof cases / sizeof *cases);
	struct arena *a = draw_arena();
	void *result;

	if (cases[which].at >= 0 && a == NULL)
		return;
	if (is_left_out(cases[which].what))
		return;
	say("mmap(%s)", cases[which].what);
	result = call_mmap(cases[which].at < 0 ? NULL : a->base + cases[which].at, cases[which].length,
			   cases[which].prot, cases[which].flags,
			   cases[which].fd == 0 ? constant_file() : cases[which].fd, cases[which].offset);
	say_result(result == MAP_FAILED ? -1 : 0);
}

void unmap(void)
{
	struct arena *a;
	size_t page, count, length;

	if (!draw_place(&a, &page, &count))
		return;
	length = draw_length(count);
	if (one_in(24)) {
		size_t bad = below(3);
		if (is_left_out("munmap bad"))
			return;
		say("munmap(a%d+%zu, bad %zu)", number_of(a), page, bad);
		say_result(bad == 0   ? call_munmap(address_of(a, page) + 8, PAGE)
			   : bad == 1 ? call_munmap(address_of(a, page), 0)
				      : call_munmap(address_of(a, page), SIZE_MAX / 2));
		return;
	}
	say("munmap(a%d+%zu*%zu)", number_of(a), page, count);
	say_result(call_munmap(address_of(a, page), length));
	set_kind(a, page, count, HOLE);
}

/* Unmaps all that is left of it. */
void drop_arena(struct arena *a)
{
	for (size_t i = 0, end; i < a->pages; i = end) {
		end = i + 1;
		if (!is_mapped(page_at(a, i)))
			continue;
		while (end < a->pages && is_mapped(page_at(a, end)))
			end++;
		say(" munmap(a%d+%zu*%zu)", number_of(a), i, end - i);
		say_result(call_munmap(address_of(a, i), (end - i) * PAGE));
		set_kind(a, i, end - i, HOLE);
	}
	if (!a->window)
		a->base = NULL;
}
