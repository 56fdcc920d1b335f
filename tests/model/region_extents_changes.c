/* SPDX-License-Identifier: MIT
 *
 * Operations of test_region_extents: memory is taken, given, cut, lost, taken back, and written.
 */
#include "region_extents.h"

struct range {
	size_t slot, count;
};

/* Draws near a few fixed places, some of them at borders of page tables, so that steps meet the effects of earlier
 * steps. */
static struct range draw_range(void)
{
	static const size_t places[] = { 0, 20, 200, TABLE_PAGES - 5, TABLE_PAGES + 60, WINDOW - 24 };
	struct range range;
	size_t start = one_in(8) ? below(WINDOW) : places[below(sizeof places / sizeof *places)] + below(16), most;

	range.slot = (one_in(3) ? below(WINDOWS) : 0) * WINDOW + start;
	most = WINDOW - start;
	range.count = 1 + below(one_in(10) ? WINDOW : one_in(3) ? 64 : 12);
	if (range.count > most)
		range.count = most;
	return range;
}

static size_t offset_of(const struct area *a, struct range range)
{
	return page_of(a, range.slot) * PAGE;
}

static void becomes(struct area *a, size_t slot, enum region_kind kind, int rights)
{
	a->kind[slot] = (unsigned char)kind;
	a->rights[slot] = (unsigned char)rights;
}

static void becomes_zero(struct area *a, size_t slot)
{
	if (a->touched[slot])
		memset(shadow_at(a, slot), 0, PAGE);
	a->touched[slot] = a->kind[slot] != REGION_HOLE && a->touched[slot];
}

static void taken(struct area *a, size_t slot)
{
	becomes_zero(a, slot);
	becomes(a, slot, REGION_MEMORY, PROT_READ | PROT_WRITE);
	a->touched[slot] = true; /* so that the page is compared: it must be zero */
}

/* Part of the range may not be available now; the list shows what was taken. */
void take(struct area *a)
{
	struct range range = draw_range();
	uint64_t mask;
	int error;

	note("take %zu+%zu", page_of(a, range.slot), range.count);
	region_lock(&mask);
	error = region_take(a->handle, offset_of(a, range), range.count * PAGE);
	/* in a child another mapping may lie there */
	if (error != 0 && error != (a->owned ? EAGAIN : ENOMEM))
		failure("region_take: %s", strerror(error));
	for (size_t slot = range.slot; slot < range.slot + range.count; slot++) {
		struct region_extent run = region_run_at(a->handle, page_of(a, slot) * PAGE,
							 (size_t)REGION_PAGES * PAGE);
		if (error != 0 && a->kind[slot] == REGION_HOLE && run.kind == REGION_HOLE) {
			atomic_fetch_add(&board->again, a->owned);
			break; /* nothing was done from here on */
		}
		if (a->kind[slot] == REGION_HOLE)
			taken(a, slot);
	}
	region_unlock(&mask);
}

static size_t slot_of(const struct area *a, size_t page)
{
	for (size_t w = 0; w < WINDOWS; w++)
		if (page >= a->windows[w] && page < a->windows[w] + WINDOW)
			return w * WINDOW + page - a->windows[w];
	return SIZE_MAX;
}

/* A simple search: whether `length` bytes from `from` on could be taken. */
static bool could_be_taken(const odf_region *region, size_t from, size_t length)
{
	for (size_t end; from < region->length; from = end) {
		const struct region_extent *extent = region_extent_at(region, from, region->length, &end);
		if (extent == NULL || extent->kind != REGION_HOLE || extent->stale)
			return false; /* a stale hole can be taken while FROZEN; this search does not count on it */
		if (end - from >= length)
			return true;
		length -= end - from;
	}
	return false;
}

/* Takes memory where the region proposes it. A large range lies behind the windows, and is given back at once. */
void take_found(struct area *a)
{
	size_t count = 1 + below(one_in(4) ? 700 : 40), alignment = (size_t)PAGE << (one_in(2) ? 0 : below(12)), offset;
	uint64_t mask;
	int error;

	region_lock(&mask);
	offset = region_find_hole(a->handle, count * PAGE, alignment);
	note("find %zu aligned to %zu: %zd", count, alignment / PAGE,
	     offset == SIZE_MAX ? -1 : (ssize_t)(offset / PAGE));
	if (offset == SIZE_MAX)
		failure("no hole of %zu pages in an almost empty region", count);
	if (((uintptr_t)a->base + offset) % alignment != 0 || offset % PAGE != 0)
		failure("the hole at %zu is not aligned to %zu", offset, alignment);
	for (size_t earlier = (alignment - (uintptr_t)a->base % alignment) % alignment;
	     earlier < offset && earlier < (size_t)2 * WINDOW * PAGE; earlier += alignment)
		if (could_be_taken(a->handle, earlier, count * PAGE))
			failure("the hole at page %zu is not the first: %zu pages, alignment %zu, found %zu",
				earlier / PAGE, count, alignment / PAGE, offset / PAGE);
	error = region_take(a->handle, offset, count * PAGE);
	if (error != 0)
		failure("what was found cannot be taken: %s", strerror(error));
	for (size_t i = 0; i < count; i++) {
		size_t slot = slot_of(a, offset / PAGE + i);
		if (slot != SIZE_MAX && a->kind[slot] != REGION_HOLE)
			failure("found, but no hole: %s", describe(a, slot));
		if (slot != SIZE_MAX) {
			taken(a, slot);
			continue;
		}
		if (a->base[offset + i * PAGE + below(PAGE)] != 0)
			failure("what was taken is not zero: page %zu", offset / PAGE + i);
		a->base[offset + i * PAGE] = 1;
		error = region_give(a->handle, offset + i * PAGE, PAGE);
		if (error != 0)
			failure("region_give: %s", strerror(error));
	}
	region_unlock(&mask);
}

static void give_slots(struct area *a, size_t slot, size_t end)
{
	for (; slot < end; slot++)
		if (a->kind[slot] != REGION_FOREIGN) {
			becomes_zero(a, slot);
			becomes(a, slot, REGION_HOLE, 0);
		}
}

void give(struct area *a)
{
	struct range range = draw_range();
	uint64_t mask;
	int error;

	note("give %zu+%zu", page_of(a, range.slot), range.count);
	region_lock(&mask);
	error = region_give(a->handle, offset_of(a, range), range.count * PAGE);
	region_unlock(&mask);
	if (error != 0)
		failure("region_give: %s", strerror(error));
	give_slots(a, range.slot, range.slot + range.count);
}

void give_all(struct area *a)
{
	uint64_t mask;
	int error;

	note("give all");
	region_lock(&mask);
	error = region_give(a->handle, 0, (size_t)REGION_PAGES * PAGE);
	region_unlock(&mask);
	if (error != 0)
		failure("region_give of all: %s", strerror(error));
	give_slots(a, 0, (size_t)WINDOWS * WINDOW);
}

void cut(struct area *a)
{
	struct range range = draw_range();
	bool all = one_in(24);
	uint64_t mask;
	int error;

	if (all)
		range = (struct range){ 0, (size_t)WINDOWS * WINDOW };
	else if (range.count > 40)
		range.count = 1 + below(40);
	note("cut %zu+%zu", page_of(a, range.slot), range.count);
	region_lock(&mask);
	error = all ? region_cut(a->handle, 0, (size_t)REGION_PAGES * PAGE)
		    : region_cut(a->handle, offset_of(a, range), range.count * PAGE);
	region_unlock(&mask);
	if (error != 0)
		failure("region_cut: %s", strerror(error));
	for (size_t slot = range.slot; slot < range.slot + range.count; slot++)
		if (a->kind[slot] == REGION_MEMORY)
			becomes(a, slot, REGION_ISLAND, PROT_READ | PROT_WRITE);
}

/* The length of a run of islands with the same rights; 0: there is none here. */
static size_t island_at(const struct area *a, size_t slot)
{
	size_t end = (slot / WINDOW + 1) * WINDOW, count = 0;

	while (slot + count < end && a->kind[slot + count] == REGION_ISLAND &&
	       a->rights[slot + count] == a->rights[slot])
		count++;
	return count;
}

static size_t find_island(const struct area *a, size_t *slot)
{
	size_t start = below(WINDOWS * WINDOW);

	for (size_t i = 0; i < (size_t)WINDOWS * WINDOW; i++) {
		*slot = (start + i) % (WINDOWS * WINDOW);
		if (a->kind[*slot] == REGION_ISLAND) {
			size_t count = island_at(a, *slot);
			return 1 + below(count);
		}
	}
	return 0;
}

void protect(struct area *a)
{
	static const int rights[] = {
		PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE | PROT_EXEC,
	};
	size_t slot, count = find_island(a, &slot);
	int wanted = rights[below(4)];
	uint64_t mask;

	if (count == 0)
		return;
	note("protect %zu+%zu %d", page_of(a, slot), count, wanted);
	region_lock(&mask);
	if (mprotect(at(a, slot), count * PAGE, wanted) != 0)
		failure("mprotect: %s", strerror(errno));
	region_set_island(a->handle, page_of(a, slot) * PAGE, count * PAGE, wanted, 0);
	region_unlock(&mask);
	for (size_t i = slot; i < slot + count; i++)
		a->rights[i] = (unsigned char)wanted;
}

/* Discards: memory by the region, islands as the heap does it. */
void discard(struct area *a)
{
	struct range range = draw_range();
	uint64_t mask;

	note("discard %zu+%zu", page_of(a, range.slot), range.count);
	region_lock(&mask);
	for (size_t slot = range.slot, end = slot + range.count, next; slot < end; slot = next) {
		struct region_extent run = region_run_at(a->handle, page_of(a, slot) * PAGE,
							 (page_of(a, range.slot) + range.count) * PAGE);
		next = slot + run.length / PAGE;
		if (run.kind == REGION_MEMORY)
			region_discard(a->handle, run.from, run.length);
		else if (run.kind == REGION_ISLAND &&
			 !region_map_zeros((char *)at(a, slot), run.length, run.protection))
			failure("region_map_zeros");
		for (size_t i = slot; i < next; i++)
			if (a->kind[i] == REGION_MEMORY || a->kind[i] == REGION_ISLAND)
				becomes_zero(a, i);
	}
	region_unlock(&mask);
}

/* The program maps over memory of the region: it gets its own mapping there, or the call is refused. */
void lose(struct area *a)
{
	struct range range = draw_range();
	bool refused = one_in(3);
	uint64_t mask;
	int error;

	if (range.count > 12)
		range.count = 1 + below(12);
	note("lose %zu+%zu%s", page_of(a, range.slot), range.count, refused ? " (refused)" : "");
	region_lock(&mask);
	error = region_lose_begin(a->handle, offset_of(a, range), range.count * PAGE);
	if (error != 0)
		failure("region_lose_begin: %s", strerror(error));
	if (!refused) {
		if (mmap(at(a, range.slot), range.count * PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
			failure("mmap: %s", strerror(errno));
		region_lose_end(a->handle, offset_of(a, range), range.count * PAGE);
		for (size_t slot = range.slot; slot < range.slot + range.count; slot++) {
			memset(shadow_at(a, slot), 0, PAGE);
			becomes(a, slot, REGION_FOREIGN, PROT_READ | PROT_WRITE);
			a->touched[slot] = true;
		}
		atomic_fetch_add(&board->foreign, 1);
	}
	region_unlock(&mask);
}

/* The program gives up its own mapping: the place is the region's again once it is taken. */
void reclaim(struct area *a)
{
	struct range range = draw_range();
	uint64_t mask;
	int error;

	note("reclaim %zu+%zu", page_of(a, range.slot), range.count);
	region_lock(&mask);
	error = region_reclaim(a->handle, offset_of(a, range), range.count * PAGE);
	region_unlock(&mask);
	if (error != 0)
		failure("region_reclaim: %s", strerror(error));
	for (size_t slot = range.slot; slot < range.slot + range.count; slot++)
		if (a->kind[slot] == REGION_FOREIGN && a->owned) { /* in a child it is just unmapped */
			becomes_zero(a, slot);
			becomes(a, slot, REGION_HOLE, 0);
		} else if (a->kind[slot] == REGION_FOREIGN) {
			a->rights[slot] = PROT_NONE;
			a->touched[slot] = false;
		}
}

void put_over(struct area *a)
{
	struct range range = draw_range();
	size_t filled = below(4) == 0 ? PAGE : 8;

	for (size_t slot = range.slot; slot < range.slot + range.count; slot++) {
		size_t into = below(PAGE - filled + 1);
		uint64_t value = draw();
		if (!can_write(a, slot))
			continue;
		a->touched[slot] = true;
		for (size_t i = 0; i < filled; i += 8) {
			memcpy(at(a, slot) + into + i, &value, 8);
			memcpy(shadow_at(a, slot) + into + i, &value, 8);
		}
	}
}

/* ---- Forks and settles ------------------------------------------------------------------------------------------- */

static struct area *shared_or_new(void)
{
	struct area *a = mmap(NULL, sizeof *a, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (a == MAP_FAILED)
		failure("no memory for the oracle");
	return a;
}

void make_area(void)
{
	struct area **place = self.areas, *a;
	int error = 0;

	while (place < self.areas + MAX_AREAS && *place != NULL)
		place++;
	if (place == self.areas + MAX_AREAS)
		return;
	a = shared_or_new();
	a->handle = region_make_bare((size_t)1 + below((size_t)REGION_PAGES * PAGE), 0, NULL, &error);
	if (a->handle == NULL)
		failure("region_make_bare: %s", strerror(error));
	if (odf_region_capacity(a->handle) != (size_t)REGION_PAGES * PAGE)
		failure("capacity %zu", odf_region_capacity(a->handle));
	a->base = odf_region_base(a->handle);
	a->owned = true;
	a->born = self.forks;
	a->windows[1] = (1 + below(400)) * TABLE_PAGES + below(TABLE_PAGES) + WINDOW;
	a->windows[2] = REGION_PAGES - WINDOW;
	memset(a->kind, REGION_HOLE, sizeof a->kind);
	a->shadow = mmap(NULL, (size_t)WINDOWS * WINDOW * PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (a->shadow == MAP_FAILED)
		failure("no memory for the shadow");
	madvise(a->shadow, (size_t)WINDOWS * WINDOW * PAGE, MADV_NOHUGEPAGE);
	*place = a;
	note("make %zd at %p", place - self.areas, (void *)a->base);
}

struct area *draw_area(void)
{
	size_t count = 0;

	while (count < MAX_AREAS && self.areas[count] != NULL)
		count++;
	return self.areas[below(count)];
}
