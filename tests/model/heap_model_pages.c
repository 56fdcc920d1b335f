/* SPDX-License-Identifier: MIT
 *
 * What a process of test_heap_model knows of each page of its memory, and how it draws a range of pages.
 */
#include "heap_model.h"

static struct page pages[MAX_ARENAS][MAX_PAGES];

/* ---- Pages and pieces -------------------------------------------------------------------------------------------- */

struct page *page_at(const struct arena *a, size_t page)
{
	return &pages[number_of(a)][page];
}

unsigned char *address_of(const struct arena *a, size_t page)
{
	return a->base + page * PAGE;
}

bool is_mapped(const struct page *p)
{
	return p->kind > HOLE;
}

/* A hole that may lie in a region. */
bool is_hole(const struct arena *a, size_t page)
{
	return !a->window && page_at(a, page)->kind == HOLE;
}

void set_kind(struct arena *a, size_t page, size_t count, enum kind kind)
{
	memset(page_at(a, page), 0, count * sizeof(struct page));
	for (size_t i = page; i < page + count; i++)
		page_at(a, i)->kind = (uint8_t)kind;
}

void set_mapped(struct arena *a, size_t page, size_t count, enum kind kind, int prot, unsigned flags,
		enum touched touched)
{
	struct page fresh = { (uint8_t)kind, (uint8_t)prot, (uint8_t)flags, (uint8_t)touched, ++self.piece };

	for (size_t i = page; i < page + count; i++)
		*page_at(a, i) = fresh;
}

/* Something was done to these pages and not to the pages next to them. */
void cut_pieces(struct arena *a, size_t page, size_t count)
{
	uint32_t before = 0;

	for (size_t i = page; i < page + count; i++) {
		struct page *p = page_at(a, i);
		if (i == page || p->piece != before)
			self.piece++;
		before = p->piece;
		p->piece = self.piece;
	}
}

bool is_mapped_throughout(const struct arena *a, size_t page, size_t count)
{
	for (size_t i = page; i < page + count; i++)
		if (!is_mapped(page_at(a, i)))
			return false;
	return true;
}

struct arena *free_arena(void)
{
	for (struct arena *a = self.arenas + WINDOWS; a < self.arenas + MAX_ARENAS; a++)
		if (a->base == NULL)
			return a;
	return NULL;
}

struct arena *begin_arena(void *base, size_t count)
{
	struct arena *a = free_arena();

	a->hinted = false;
	a->base = base;
	a->pages = count;
	a->window = false;
	memset(pages[number_of(a)], 0, count * sizeof(struct page));
	if (board->trace)
		dprintf(2, "# %s %s @%u a%d is at %p\n", board->tested ? "heap " : "plain", self.path, self.step,
			number_of(a), base);
	return a;
}

bool all_are(const struct arena *a, size_t page, size_t count, enum kind kind)
{
	for (size_t i = page; i < page + count; i++)
		if (page_at(a, i)->kind != kind)
			return false;
	return true;
}

/* Frees the arena's slot if all its pages are UNKNOWN. */
void end_if_unknown(struct arena *a)
{
	if (!a->window && a->base != NULL && all_are(a, 0, a->pages, UNKNOWN))
		a->base = NULL;
}

/* Called before the kernel or the heap places `count` pages at an address of their choice: they may fill any hole that
 * is large enough. A hole at an arena's border is part of a larger one. */
void forget_holes(size_t count)
{
	for (struct arena *a = self.arenas; a < self.arenas + MAX_ARENAS; a++) {
		if (a->base == NULL || a->window)
			continue;
		for (size_t i = 0, end; i < a->pages; i = end) {
			end = i + 1;
			if (page_at(a, i)->kind != HOLE)
				continue;
			while (end < a->pages && page_at(a, end)->kind == HOLE)
				end++;
			if (end - i >= count || i == 0 || end == a->pages || page_at(a, i - 1)->kind == UNKNOWN ||
			    page_at(a, end)->kind == UNKNOWN)
				set_kind(a, i, end - i, UNKNOWN);
		}
		end_if_unknown(a);
	}
}

/* The library maps memory of its own from time to time; once there may be a snapshot, at any moment. */
void forget_holes_of_kernel(void)
{
	for (struct arena *a = self.arenas + WINDOWS; a < self.arenas + MAX_ARENAS; a++) {
		for (size_t i = 0; a->base != NULL && !a->hinted && i < a->pages; i++)
			if (page_at(a, i)->kind == HOLE)
				set_kind(a, i, 1, UNKNOWN);
		end_if_unknown(a);
	}
}

/* A hint at unused addresses, with room to grow behind it. The kernel uses that address; the heap treats it only as a
 * preference, as it does with the hints of mimalloc. */
void *next_hint(size_t count)
{
	static uintptr_t next;
	const uintptr_t first = (uintptr_t)21 << 40, last = (uintptr_t)31 << 40;
	uintptr_t hint = next < first || next > last ? first : next;

	next = hint + (count + MAX_PAGES) * PAGE;
	return (void *)hint;
}

/* A mapping that was placed in a window has grown over pages that the window records as holes. */
void forget_holes_of_windows(const unsigned char *from, const unsigned char *end)
{
	for (struct arena *a = self.arenas; a < self.arenas + WINDOWS; a++)
		for (size_t i = 0; i < a->pages; i++)
			if (page_at(a, i)->kind == HOLE && address_of(a, i) >= from && address_of(a, i) < end)
				set_kind(a, i, 1, UNKNOWN);
}

struct arena *draw_arena(void)
{
	struct arena *there[MAX_ARENAS];
	size_t count = 0;

	for (struct arena *a = self.arenas; a < self.arenas + MAX_ARENAS; a++)
		if (a->base != NULL && (!a->window || one_in(4)))
			there[count++] = a;
	return count == 0 ? NULL : there[below(count)];
}

/* Draws a range that begins and ends at random pages or at the borders of what is known. */
bool draw_range(const struct arena *a, size_t *first, size_t *count)
{
	size_t hot = less(a->pages, 48), page, run, end;

	switch (below(10)) {
	case 0:
	case 1:
		page = 0;
		break;
	case 2:
	case 3: /* where one piece ends and another begins, or one page before that */
		page = below(hot);
		for (uint32_t piece = page_at(a, page)->piece; page + 1 < a->pages && page_at(a, page)->piece == piece;
		     page++)
			;
		page -= page > 0 && one_in(3) ? 1 : 0;
		break;
	case 4:
		page = below(a->pages);
		break;
	case 5:
		page = a->pages - 1 - below(less(a->pages, 5));
		break;
	default:
		page = below(hot);
	}
	for (size_t i = 0; page_at(a, page)->kind == UNKNOWN; i++) {
		page = page + 1 == a->pages ? 0 : page + 1;
		if (i > a->pages)
			return false;
	}
	switch (below(8)) {
	case 0:
		run = a->pages;
		break;
	case 1:
		run = 1 + below(hot);
		break;
	case 2:
	case 3: /* to the end of the piece */
		for (run = 1; page + run < a->pages && page_at(a, page + run)->piece == page_at(a, page)->piece &&
			      page_at(a, page + run)->kind == page_at(a, page)->kind; run++)
			;
		break;
	case 4:
		run = 1 + below(a->pages);
		break;
	default:
		run = 1 + below(6);
	}
	for (end = page; end < a->pages && end < page + run && page_at(a, end)->kind != UNKNOWN; end++)
		;
	*first = page;
	*count = end - page;
	return true;
}

bool draw_place(struct arena **arena, size_t *page, size_t *count)
{
	*arena = draw_arena();
	return *arena != NULL && draw_range(*arena, page, count);
}

void clip_to_piece(const struct arena *a, size_t page, size_t *count)
{
	for (size_t i = 1; i < *count; i++)
		if (page_at(a, page + i)->piece != page_at(a, page)->piece ||
		    page_at(a, page + i)->kind != page_at(a, page)->kind)
			*count = i;
}

/* The number of pages before the first one with one of these flags. */
size_t clip_flags(const struct arena *a, size_t page, size_t count, unsigned flags)
{
	for (size_t i = 0; i < count; i++)
		if ((page_at(a, page + i)->flags & flags) != 0)
			return i;
	return count;
}

/* A length in bytes that the kernel rounds up to `count` pages. */
size_t draw_length(size_t count)
{
	return count * PAGE - (one_in(4) ? below(PAGE) : 0);
}
