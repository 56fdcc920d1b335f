/* SPDX-License-Identifier: MIT
 *
 * Operations of test_heap_model: memory is moved, and made larger and smaller.
 */
#include "heap_model.h"

static void move_pages(struct arena *to, size_t to_page, const struct arena *from, size_t from_page, size_t count)
{
	memmove(page_at(to, to_page), page_at(from, from_page), count * sizeof(struct page));
	cut_pieces(to, to_page, count);
}

/* The new pages at the end are like the last old one. */
static void grow_pages(struct arena *a, size_t page, size_t old, size_t now)
{
	for (size_t i = old; i < now; i++) {
		*page_at(a, page + i) = *page_at(a, page + old - 1);
		page_at(a, page + i)->touched = MAYBE_TOUCHED;
		page_at(a, page + i)->flags &= HUGE | NOT_FORKED | FOREIGN | LOCKED;
	}
}

/* After MREMAP_DONTUNMAP: the mapping stays, without its pages. */
static void empty_pages(struct arena *a, size_t page, size_t count)
{
	for (size_t i = page; i < page + count; i++) {
		page_at(a, i)->touched = MAYBE_TOUCHED;
		page_at(a, i)->flags &= HUGE | NOT_FORKED | FOREIGN;
	}
	cut_pieces(a, page, count);
}

/* Whether it is certain that the range is more than one mapping: neighbours that look alike may be one mapping or
 * two. */
static bool surely_several(const struct arena *a, size_t page, size_t count)
{
	for (size_t i = page + 1; i < page + count; i++)
		if (page_at(a, i)->kind != page_at(a, i - 1)->kind || page_at(a, i)->prot != page_at(a, i - 1)->prot)
			return true;
	return false;
}

static bool draw_target(struct arena **to, size_t *to_page, size_t count)
{
	*to = draw_arena();
	if (*to == NULL || (*to)->pages < count)
		return false;
	*to_page = one_in(3) ? 0 : below((*to)->pages - count + 1);
	for (size_t i = *to_page; i < *to_page + count; i++)
		if (page_at(*to, i)->kind == UNKNOWN)
			return false;
	return true;
}

/* Older kernels unmap the target before they find that the source is not a single mapping. */
static void find_out_what_is_left(struct arena *a, size_t page, size_t count)
{
	say(" left");
	row_begin();
	for (size_t i = page; i < page + count; i++) {
		bool there = msync(address_of(a, i), PAGE, MS_ASYNC) == 0;
		if (!there)
			set_kind(a, i, 1, HOLE);
		row_add(there ? "there" : "hole");
	}
	row_end();
}

static size_t draw_new_count(size_t count)
{
	switch (below(6)) {
	case 0:
		return 1 + below(count);
	case 1:
		return count * 2;
	case 2:
		return count + 1 + below(600);
	case 3:
		return count;
	default:
		return count + 1 + below(8);
	}
}

static void resize_in_place(struct arena *a, size_t page, size_t count)
{
	size_t now = draw_new_count(count);
	void *result;

	if (page + now > a->pages)
		now = a->pages - page;
	for (size_t i = count; i < now; i++)
		if (page_at(a, page + i)->kind == UNKNOWN)
			now = i;
	say("mremap(a%d+%zu*%zu, %zu)", number_of(a), page, count, now);
	result = call_mremap(address_of(a, page), draw_length(count), draw_length(now), 0, NULL);
	if (now > count && !a->window && is_mapped_throughout(a, page, count) &&
	    all_are(a, page + count, now - count, HOLE)) {
		/* Growth in place may succeed or fail: nothing guarantees it. */
		say(" may be");
		if (result != MAP_FAILED && munmap(address_of(a, page + count), (now - count) * PAGE) != 0)
			say(" and cannot shrink");
		return;
	}
	say_result(result == MAP_FAILED ? -1 : 0);
	if (result == MAP_FAILED)
		return;
	if (result != address_of(a, page))
		say(" elsewhere");
	if (now < count)
		set_kind(a, page + now, count - now, HOLE);
	else
		grow_pages(a, page, count, now);
}

/* To an address that the kernel or the heap chooses. */
static void resize_and_move(struct arena *a, size_t page, size_t count)
{
	size_t now = less(draw_new_count(count), MAX_PAGES), old_length = draw_length(count),
	       new_length = draw_length(now);
	/* Not for locked memory: the kernel may unlock more than was asked for. */
	bool must_move = page + count < a->pages && is_mapped(page_at(a, page + count)),
	     dont_unmap = one_in(4) && clip_flags(a, page, count, LOCKED) == count;
	unsigned char *result, *was = address_of(a, page);
	struct page last = *page_at(a, page + count - 1);
	struct arena *to;
	size_t room;

	if (free_arena() == NULL)
		return;
	if (dont_unmap)
		now = one_in(8) ? now : count;
	if (dont_unmap && now == count) {
		old_length = new_length = count * PAGE;
		must_move = true;
	}
	if (now > count || dont_unmap)
		forget_holes(now);
	if (a->base == NULL) /* forget_holes has ended the arena: all of it was holes */
		return;
	say("mremap(a%d+%zu*%zu, %zu may move%s)", number_of(a), page, count, now, dont_unmap ? ", not unmapped" : "");
	result = call_mremap(was, old_length, new_length, MREMAP_MAYMOVE | (dont_unmap ? MREMAP_DONTUNMAP : 0), NULL);
	say_result(result == MAP_FAILED ? -1 : 0);
	if (result == MAP_FAILED)
		return;
	if (now <= count && !dont_unmap) {
		if (result != was)
			say(" elsewhere");
		if (now < count)
			set_kind(a, page + now, count - now, HOLE);
		return;
	}
	if (must_move && result == was)
		say(" not moved");
	to = begin_arena(result, now);
	say(" a%d", number_of(to));
	move_pages(to, 0, a, page, count);
	*page_at(to, count - 1) = last;
	cut_pieces(to, 0, count);
	grow_pages(to, 0, count, now);
	if (dont_unmap) {
		empty_pages(a, page, count);
	} else if (must_move) {
		set_kind(a, page, count, HOLE);
	} else { /* it may have grown into the hole behind it */
		for (room = count; room < now && page + room < a->pages && page_at(a, page + room)->kind == HOLE;
		     room++)
			;
		set_kind(a, page, room, UNKNOWN);
		end_if_unknown(a);
		forget_holes_of_windows(was + count * PAGE, was + now * PAGE);
	}
}

/* To a place in an arena. */
static void move_to(struct arena *a, size_t page, size_t count)
{
	static struct page copy[MAX_PAGES];
	/* Several mappings at once must not grow. In other cases kernels differ. */
	bool several = surely_several(a, page, count);
	size_t now = one_in(2) && !several ? count : less(draw_new_count(count), MAX_PAGES), to_page,
	       old_length = draw_length(count), new_length = draw_length(now);
	bool dont_unmap = now == count && one_in(4) && clip_flags(a, page, count, LOCKED) == count;
	struct arena *to;
	void *result;

	if ((several && now <= count) || !draw_target(&to, &to_page, now))
		return;
	if (dont_unmap)
		old_length = new_length = count * PAGE;
	say("mremap(a%d+%zu*%zu, to a%d+%zu*%zu%s)", number_of(a), page, count, number_of(to), to_page, now,
	    dont_unmap ? ", not unmapped" : "");
	result = call_mremap(address_of(a, page), old_length, new_length,
			     MREMAP_MAYMOVE | MREMAP_FIXED | (dont_unmap ? MREMAP_DONTUNMAP : 0),
			     address_of(to, to_page));
	say_result(result == MAP_FAILED ? -1 : 0);
	if (result == MAP_FAILED) {
		find_out_what_is_left(to, to_page, now);
		return;
	}
	if (result != address_of(to, to_page))
		say(" elsewhere");
	memcpy(copy, page_at(a, page), count * sizeof *copy);
	if (dont_unmap)
		empty_pages(a, page, count);
	else
		set_kind(a, page, count, HOLE);
	memcpy(page_at(to, to_page), copy, less(count, now) * sizeof *copy);
	cut_pieces(to, to_page, less(count, now));
	for (size_t i = 0; i < count && moved_unseen; i++) {
		page_at(to, to_page + i)->flags |= UNSEEN;
		page_at(to, to_page + i)->piece = ++self.piece;
	}
	if (now > count)
		grow_pages(to, to_page, count, now);
}

/* Calls with invalid arguments, which fail and unmap nothing. */
static void move_badly(struct arena *a, size_t page, size_t count)
{
	unsigned char *at = address_of(a, page);
	size_t which = below(8);
	void *result = MAP_FAILED;

	say("mremap(a%d+%zu*%zu, bad %zu)", number_of(a), page, count, which);
	switch (which) {
	case 0:
		result = call_mremap(at, count * PAGE, 0, MREMAP_MAYMOVE, NULL);
		break;
	case 1:
		result = call_mremap(at + 16, PAGE, PAGE, MREMAP_MAYMOVE, NULL);
		break;
	case 2:
		result = call_mremap(at, PAGE, PAGE, MREMAP_FIXED, at);
		break;
	case 3:
		result = call_mremap(at, PAGE, PAGE, 0x80, at);
		break;
	case 4:
		result = call_mremap(at, count * PAGE, count * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
				     at + (count - 1) * PAGE);
		break;
	case 5:
		result = call_mremap(at, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, at + 100 * PAGE + 5);
		break;
	case 6:
		result = call_mremap(at, PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
		break;
	default:
		result = call_mremap(at, SIZE_MAX - PAGE, SIZE_MAX - PAGE, MREMAP_MAYMOVE, NULL);
		break;
	}
	say_result(result == MAP_FAILED ? -1 : 0);
}

/* Old size 0: maps the same memory a second time, if it is shared. */
static void move_nothing(struct arena *a, size_t page, size_t count)
{
	struct arena *to;
	void *result;

	if (free_arena() == NULL)
		return;
	clip_to_piece(a, page, &count);
	forget_holes(count);
	if (a->base == NULL)
		return;
	say("mremap(a%d+%zu*0, %zu)", number_of(a), page, count);
	result = call_mremap(address_of(a, page), 0, count * PAGE, MREMAP_MAYMOVE, NULL);
	say_result(result == MAP_FAILED ? -1 : 0);
	if (result == MAP_FAILED)
		return;
	to = begin_arena(result, count);
	say(" a%d", number_of(to));
	move_pages(to, 0, a, page, count);
}

void move(void)
{
	struct arena *a;
	size_t page, count, single;

	if (!draw_place(&a, &page, &count))
		return;
	single = count;
	clip_to_piece(a, page, &single);
	if (!one_in(8) || !surely_several(a, page, count))
		count = single;
	switch (below(16)) {
	case 0:
		move_badly(a, page, count);
		break;
	case 1:
		move_nothing(a, page, count);
		break;
	case 2:
	case 3:
	case 4:
	case 5:
		resize_in_place(a, page, count);
		break;
	case 6:
	case 7:
	case 8:
	case 9:
		move_to(a, page, count);
		break;
	default:
		resize_and_move(a, page, count);
	}
}
