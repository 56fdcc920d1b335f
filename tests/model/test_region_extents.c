/* SPDX-License-Identifier: MIT
 *
 * The region of the heap against a model: random programs take, give, cut, discard, lose and protect parts of a region from region_make_bare, write, fork
 * and settle. An oracle says of each page what it is, what it holds and what may be done to it. After each step the list of the region agrees with it, is
 * sorted and merged; bytes are equal; holes and what has no rights cannot be touched; memory that is taken again is zero; what children may inherit they
 * inherit, and nothing else. Children verify what they have of their parents, live for a while, write, fork, and verify it again. In the end all is given
 * back, and the file has no memory any more.
 *
 *   test_region_extents SEED [TIMES]     that seed only, some times over (1)
 *
 * ODF_TEST_SEEDS says how many seeds (100), ODF_TEST_FIRST_SEED where they begin (1); ODF_TEST_SECONDS runs fresh ones for so long instead;
 * ODF_TEST_TRACE=1 shows each step; ODF_TEST_NOBODY=1 gives up root first, so that nothing settles but by call and on the way to a fork. In odd
 * seeds another region exists first, and with it the keeper; in even ones the keeper comes with the first fork.
 *
 * What a process does is decided by the seed and its path in the tree of forks; the keeper, where it settles by itself, comes when it likes.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../src/region/internal.h"
#include "../support/support.h"

enum {
	PAGE = 4096,
	TABLE_PAGES = 512,
	REGION_PAGES = 1 << 18, /* 1 GiB, the least that there is */
	WINDOW = 3 * TABLE_PAGES / 2, /* pages: where things happen; the rest is a hole until all is taken at once */
	WINDOWS = 3,
	MAX_AREAS = 3,
	MAX_CHILDREN = 3,
	MAX_DEPTH = 3,
	GUARD_SECONDS = 60 /* only to tell a hang from a failure */
};

/* ---- What all processes of a seed share ------------------------------------------------------------------------------------ */

static struct board {
	atomic_int failed;
	char text[1024];
	atomic_ulong seeds, processes, steps, settles, busy, again, foreign, left;
} *board;

/* ---- What a process knows -------------------------------------------------------------------------------------------------- */

struct area {
	odf_region *handle; /* NULL: none here */
	unsigned char *base, *shadow;
	bool owned;
	unsigned born; /* how many forks of this process came before */
	size_t windows[WINDOWS];
	/* For each page of the windows. */
	unsigned char kind[WINDOWS * WINDOW], rights[WINDOWS * WINDOW];
	bool touched[WINDOWS * WINDOW];
};

struct child {
	pid_t pid;
	int go;
	unsigned fork; /* which one of this process */
};

static struct {
	uint64_t seed, random;
	char path[32];
	unsigned depth, step, forks;
	struct area *areas[MAX_AREAS];
	struct child children[MAX_CHILDREN];
	unsigned child_count;
	int from_pipe, to_pipe;
} self;

static bool trace;

static uint64_t draw(void)
{
	uint64_t x = self.random += 0x9e3779b97f4a7c15u;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static size_t below(size_t limit)
{
	return (size_t)(draw() % limit);
}

static bool one_in(size_t n)
{
	return below(n) == 0;
}

__attribute__((noreturn, format(printf, 1, 2))) static void failure(const char *format, ...)
{
	va_list arguments;
	int nobody = 0, length;

	if (atomic_compare_exchange_strong(&board->failed, &nobody, 1)) {
		length = snprintf(board->text, sizeof board->text, "seed %" PRIu64 " process 0%s step %u: ", self.seed, self.path, self.step);
		va_start(arguments, format);
		vsnprintf(board->text + length, sizeof board->text - (size_t)length, format, arguments);
		va_end(arguments);
	}
	_exit(1);
}

__attribute__((format(printf, 1, 2))) static void note(const char *format, ...)
{
	char line[256];
	va_list arguments;
	int length;

	if (!trace)
		return;
	length = snprintf(line, sizeof line, "# 0%s@%u ", self.path, self.step);
	va_start(arguments, format);
	vsnprintf(line + length, sizeof line - (size_t)length, format, arguments);
	va_end(arguments);
	dprintf(2, "%s\n", line);
}

/* ---- Pages ------------------------------------------------------------------------------------------------------------------ */

static const char *const kind_names[] = { "memory", "hole", "island", "foreign" };

static size_t page_of(const struct area *a, size_t slot)
{
	return a->windows[slot / WINDOW] + slot % WINDOW;
}

static unsigned char *at(const struct area *a, size_t slot)
{
	return a->base + page_of(a, slot) * PAGE;
}

static unsigned char *shadow_at(const struct area *a, size_t slot)
{
	return a->shadow + slot * PAGE;
}

static bool can_read(const struct area *a, size_t slot)
{
	return a->kind[slot] != REGION_HOLE && (a->rights[slot] & PROT_READ);
}

static bool can_write(const struct area *a, size_t slot)
{
	return a->kind[slot] != REGION_HOLE && (a->rights[slot] & PROT_WRITE);
}

/* By the kernel, which says instead of a signal. */
static bool is_touchable(unsigned char *address, bool for_writing)
{
	char byte = 0;
	ssize_t result;

	if (!for_writing) {
		result = write(self.to_pipe, address, 1);
		if (result == 1 && read(self.from_pipe, &byte, 1) != 1)
			failure("pipe: %s", strerror(errno));
	} else {
		byte = 0;
		if (write(self.to_pipe, &byte, 1) != 1)
			failure("pipe: %s", strerror(errno));
		result = read(self.from_pipe, address, 1); /* makes it zero */
		if (result < 0 && read(self.from_pipe, &byte, 1) != 1)
			failure("pipe: %s", strerror(errno));
	}
	if (result != 1 && errno != EFAULT)
		failure("pipe: %s", strerror(errno));
	return result == 1;
}

static sigjmp_buf before_touch;

static void jump_back(int number)
{
	siglongjmp(before_touch, number);
}

static bool faults(volatile unsigned char *address)
{
	struct sigaction action = { .sa_handler = jump_back }, was[2];
	int signal;

	sigaction(SIGSEGV, &action, &was[0]);
	sigaction(SIGBUS, &action, &was[1]);
	signal = sigsetjmp(before_touch, 1);
	if (signal == 0)
		(void)*address;
	sigaction(SIGSEGV, &was[0], NULL);
	sigaction(SIGBUS, &was[1], NULL);
	if (signal == SIGBUS)
		failure("SIGBUS at %p", (void *)(uintptr_t)address);
	return signal == SIGSEGV;
}

/* ---- Comparing -------------------------------------------------------------------------------------------------------------- */

static const char *describe(const struct area *a, size_t slot)
{
	static char text[160];
	struct region_extent run = region_run_at(a->handle, page_of(a, slot) * PAGE, (size_t)REGION_PAGES * PAGE);

	snprintf(text, sizeof text, "page %zu of the %s region, %s%s, live %zu+%zu pages, %s%s%s", page_of(a, slot), a->owned ? "own" : "inherited",
		 kind_names[run.kind], run.stale ? " (stale)" : "", a->handle->live_from / PAGE, a->handle->live_length / PAGE,
		 a->handle->visible ? "visible " : "", a->handle->vacant ? "vacant " : "", a->handle->doubt ? "doubt" : "");
	return text;
}

static void compare_page(const struct area *a, size_t slot)
{
	const unsigned char *is = at(a, slot), *must = shadow_at(a, slot);

	if (memcmp(is, must, PAGE) == 0)
		return;
	for (size_t i = 0; i < PAGE; i++)
		if (is[i] != must[i])
			failure("byte %zu is %02x, must be %02x: %s", i, is[i], must[i], describe(a, slot));
	failure("changed while it was compared: %s", describe(a, slot));
}

static void compare_all(const struct area *a)
{
	for (size_t slot = 0; slot < WINDOWS * WINDOW; slot++)
		if (a->touched[slot] && can_read(a, slot))
			compare_page(a, slot);
}

/* The list of the region itself: sorted, merged, whole pages, within it. */
static void check_list(const struct area *a)
{
	const struct region_extent *extents = a->handle->extents->list;
	size_t end = 0;

	for (size_t i = 0; i < a->handle->extents->count; i++) {
		const struct region_extent *e = &extents[i], *before = i == 0 ? NULL : &extents[i - 1];
		if (e->from % PAGE != 0 || e->length % PAGE != 0 || e->length == 0 || e->from < end ||
		    e->from + e->length > a->handle->length || e->kind == REGION_MEMORY || e->kind > REGION_FOREIGN)
			failure("extent %zu is %zu+%zu of kind %d, after %zu", i, e->from / PAGE, e->length / PAGE, e->kind, end / PAGE);
		if (before != NULL && before->from + before->length == e->from && before->kind == e->kind && before->stale == e->stale &&
		    (e->kind != REGION_ISLAND || (before->protection == e->protection && before->advice == e->advice)))
			failure("extents %zu and %zu, both %s, are not merged at page %zu", i - 1, i, kind_names[e->kind], e->from / PAGE);
		if (e->kind == REGION_ISLAND && e->stale)
			failure("an island is stale");
		end = e->from + e->length;
	}
}

/* What the region says of each page is what the oracle says. */
static void check_runs(const struct area *a)
{
	size_t size = (size_t)REGION_PAGES * PAGE;

	for (size_t w = 0; w < WINDOWS; w++) {
		size_t slot = w * WINDOW, end = slot + WINDOW;
		while (slot < end) {
			size_t from = page_of(a, slot) * PAGE;
			struct region_extent run = region_run_at(a->handle, from, size);
			if (run.from != from || run.length == 0 || run.length % PAGE != 0)
				failure("the run at page %zu is %zu+%zu", from / PAGE, run.from, run.length);
			for (size_t page = 0; page < run.length / PAGE && slot < end; page++, slot++) {
				if (run.kind != a->kind[slot])
					failure("must be %s: %s", kind_names[a->kind[slot]], describe(a, slot));
				if (run.kind == REGION_ISLAND && run.protection != a->rights[slot])
					failure("rights %d, must be %d: %s", run.protection, a->rights[slot], describe(a, slot));
			}
		}
	}
}

/* Some pages: rights as the oracle says. */
static void probe(const struct area *a)
{
	for (int i = 0; i < 6; i++) {
		size_t slot = below(WINDOWS * WINDOW);
		if ((a->kind[slot] == REGION_HOLE || (a->kind[slot] == REGION_FOREIGN && a->rights[slot] == PROT_NONE)) && !a->owned)
			continue; /* not there, and the place may be another's */
		if (is_touchable(at(a, slot), false) != can_read(a, slot))
			failure("%s be read: %s", can_read(a, slot) ? "cannot" : "can", describe(a, slot));
		if (can_read(a, slot))
			compare_page(a, slot);
		if (!can_write(a, slot) && is_touchable(at(a, slot), true))
			failure("can be written: %s", describe(a, slot));
		if (one_in(8) && faults(at(a, slot)) == can_read(a, slot))
			failure("%s: %s", can_read(a, slot) ? "faults" : "does not fault", describe(a, slot));
	}
}

/* What children get, as the kernel has it: memory if the region is visible, islands always, holes never (invariant 3). A child has no holes. */
static void check_inheritance(const struct area *a)
{
	unsigned char *start = a->base, *limit = start + (size_t)REGION_PAGES * PAGE;
	unsigned long from = 0, end = 0;
	bool ours = false, is_file = false;
	uint64_t mask;
	char *text, *rest, *line;

	region_lock(&mask); /* the keeper stands still */
	text = read_file("/proc/self/smaps");
	if (text == NULL)
		failure("no smaps");
	for (rest = text; (line = strsep(&rest, "\n")) != NULL;) {
		unsigned long one, two;
		if (sscanf(line, "%lx-%lx ", &one, &two) == 2) {
			from = one;
			end = two;
			ours = (unsigned char *)from < limit && (unsigned char *)end > start;
			is_file = strstr(line, "odfork-region") != NULL;
		}
		if (!ours || strncmp(line, "VmFlags:", 8) != 0)
			continue;
		for (size_t slot = 0; slot < WINDOWS * WINDOW; slot++) {
			bool kept = strstr(line, " dc") != NULL, wanted = a->kind[slot] != REGION_HOLE && (a->kind[slot] != REGION_MEMORY || a->handle->visible);
			if (at(a, slot) < (unsigned char *)from || at(a, slot) >= (unsigned char *)end)
				continue;
			if (!a->owned && is_file && a->kind[slot] == REGION_HOLE)
				failure("the child has the file in a hole: %s", describe(a, slot));
			if (a->owned && kept == wanted)
				failure("%s by children: %s", kept ? "not inherited" : "inherited", describe(a, slot));
			if (a->kind[slot] == REGION_MEMORY && (!a->owned || a->handle->visible) && strstr(line, " sh") != NULL)
				failure("shared with children: %s", describe(a, slot));
		}
	}
	region_unlock(&mask);
	free(text);
}

static void check(const struct area *a, bool everything)
{
	uint64_t mask;

	region_lock(&mask);
	check_list(a);
	check_runs(a);
	region_unlock(&mask);
	probe(a);
	if (everything)
		compare_all(a);
	if (one_in(24))
		check_inheritance(a);
}

/* ---- What is done to a region ------------------------------------------------------------------------------------------------- */

struct range {
	size_t slot, count;
};

/* Around a few places, at borders of tables some of them, so that what is done meets what was done before. */
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
	a->touched[slot] = true; /* so that it is looked at: must be zero */
}

/* Some of it may not be had now; what was done is told by the list. */
static void take(struct area *a)
{
	struct range range = draw_range();
	uint64_t mask;
	int error;

	note("take %zu+%zu", page_of(a, range.slot), range.count);
	region_lock(&mask);
	error = region_take(a->handle, offset_of(a, range), range.count * PAGE);
	if (error != 0 && error != (a->owned ? EAGAIN : ENOMEM)) /* in a child something else may have come to lie there */
		failure("region_take: %s", strerror(error));
	for (size_t slot = range.slot; slot < range.slot + range.count; slot++) {
		struct region_extent run = region_run_at(a->handle, page_of(a, slot) * PAGE, (size_t)REGION_PAGES * PAGE);
		if (error != 0 && a->kind[slot] == REGION_HOLE && run.kind == REGION_HOLE) {
			atomic_fetch_add(&board->again, a->owned);
			break; /* from here on nothing was done */
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

/* Naively: from here on so many pages could be taken. */
static bool could_be_taken(const odf_region *region, size_t from, size_t length)
{
	for (size_t end; from < region->length; from = end) {
		const struct region_extent *extent = region_extent_at(region, from, region->length, &end);
		if (extent == NULL || extent->kind != REGION_HOLE || extent->stale)
			return false; /* a stale one can be had, if it is FROZEN; not counted on here */
		if (end - from >= length)
			return true;
		length -= end - from;
	}
	return false;
}

/* Where the region proposes; what is large goes behind the windows, and is given back at once. */
static void take_found(struct area *a)
{
	size_t count = 1 + below(one_in(4) ? 700 : 40), alignment = (size_t)PAGE << (one_in(2) ? 0 : below(12)), offset;
	uint64_t mask;
	int error;

	region_lock(&mask);
	offset = region_find_hole(a->handle, count * PAGE, alignment);
	note("find %zu aligned to %zu: %zd", count, alignment / PAGE, offset == SIZE_MAX ? -1 : (ssize_t)(offset / PAGE));
	if (offset == SIZE_MAX)
		failure("no hole of %zu pages in an almost empty region", count);
	if (((uintptr_t)a->base + offset) % alignment != 0 || offset % PAGE != 0)
		failure("the hole at %zu is not aligned to %zu", offset, alignment);
	for (size_t earlier = (alignment - (uintptr_t)a->base % alignment) % alignment; earlier < offset && earlier < (size_t)2 * WINDOW * PAGE; earlier += alignment)
		if (could_be_taken(a->handle, earlier, count * PAGE))
			failure("the hole at page %zu is not the first: %zu pages, alignment %zu, found %zu", earlier / PAGE, count, alignment / PAGE,
				offset / PAGE);
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

static void give(struct area *a)
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

static void give_all(struct area *a)
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

static void cut(struct area *a)
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
	error = all ? region_cut(a->handle, 0, (size_t)REGION_PAGES * PAGE) : region_cut(a->handle, offset_of(a, range), range.count * PAGE);
	region_unlock(&mask);
	if (error != 0)
		failure("region_cut: %s", strerror(error));
	for (size_t slot = range.slot; slot < range.slot + range.count; slot++)
		if (a->kind[slot] == REGION_MEMORY)
			becomes(a, slot, REGION_ISLAND, PROT_READ | PROT_WRITE);
}

/* A run of islands with the same rights; 0: there is none here. */
static size_t island_at(const struct area *a, size_t slot)
{
	size_t end = (slot / WINDOW + 1) * WINDOW, count = 0;

	while (slot + count < end && a->kind[slot + count] == REGION_ISLAND && a->rights[slot + count] == a->rights[slot])
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

static void protect(struct area *a)
{
	static const int rights[] = { PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE | PROT_EXEC };
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

/* Memory by the region, islands as the heap does it. */
static void discard(struct area *a)
{
	struct range range = draw_range();
	uint64_t mask;

	note("discard %zu+%zu", page_of(a, range.slot), range.count);
	region_lock(&mask);
	for (size_t slot = range.slot, end = slot + range.count, next; slot < end; slot = next) {
		struct region_extent run = region_run_at(a->handle, page_of(a, slot) * PAGE, (page_of(a, range.slot) + range.count) * PAGE);
		next = slot + run.length / PAGE;
		if (run.kind == REGION_MEMORY)
			region_discard(a->handle, run.from, run.length);
		else if (run.kind == REGION_ISLAND && !region_map_zeros((char *)at(a, slot), run.length, run.protection))
			failure("region_map_zeros");
		for (size_t i = slot; i < next; i++)
			if (a->kind[i] == REGION_MEMORY || a->kind[i] == REGION_ISLAND)
				becomes_zero(a, i);
	}
	region_unlock(&mask);
}

/* The program's own mapping comes to lie there, or the call is refused. */
static void lose(struct area *a)
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
		if (mmap(at(a, range.slot), range.count * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
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

/* The program gives up what it had put there: memory of the region's again, when it is taken. */
static void reclaim(struct area *a)
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
		if (a->kind[slot] == REGION_FOREIGN && a->owned) { /* in a child it is unmapped, and that is all */
			becomes_zero(a, slot);
			becomes(a, slot, REGION_HOLE, 0);
		} else if (a->kind[slot] == REGION_FOREIGN) {
			a->rights[slot] = PROT_NONE;
			a->touched[slot] = false;
		}
}

static void put_over(struct area *a)
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

/* ---- Forks, settles ----------------------------------------------------------------------------------------------------------- */

static struct area *shared_or_new(void)
{
	struct area *a = mmap(NULL, sizeof *a, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (a == MAP_FAILED)
		failure("no memory for the oracle");
	return a;
}

static void make_area(void)
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
	a->shadow = mmap(NULL, (size_t)WINDOWS * WINDOW * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (a->shadow == MAP_FAILED)
		failure("no memory for the shadow");
	madvise(a->shadow, (size_t)WINDOWS * WINDOW * PAGE, MADV_NOHUGEPAGE);
	*place = a;
	note("make %zd at %p", place - self.areas, (void *)a->base);
}

static struct area *draw_area(void)
{
	size_t count = 0;

	while (count < MAX_AREAS && self.areas[count] != NULL)
		count++;
	return self.areas[below(count)];
}

static void live(void);

static void begin_child(bool by_libc)
{
	struct child *child = &self.children[self.child_count];
	int ends[2];

	if (self.child_count == MAX_CHILDREN || self.depth == MAX_DEPTH || self.forks >= (self.depth == 0 ? 30 : 1))
		return;
	if (pipe2(ends, O_CLOEXEC) != 0)
		failure("pipe: %s", strerror(errno));
	self.forks++;
	note("fork");
	child->pid = by_libc ? fork() : odf_fork(); /* in the first case no keeper is made */
	if (child->pid < 0)
		failure("fork: %s", strerror(errno));
	if (child->pid == 0) {
		char byte;
		size_t length = strlen(self.path);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(ends[1]);
		for (unsigned i = 0; i < self.child_count; i++)
			close(self.children[i].go);
		close(self.from_pipe);
		close(self.to_pipe);
		snprintf(self.path + length, sizeof self.path - length, ".%u", self.forks - 1);
		self.child_count = self.forks = self.step = 0;
		self.depth++;
		self.random ^= draw() + (uint64_t)self.path[length + 1];
		for (struct area **a = self.areas; a < self.areas + MAX_AREAS && *a != NULL; a++) {
			region_meet_child();
			if (!region_is_inherited((*a)->handle) || (*a)->handle->absent)
				failure("a child does not have the region");
			(*a)->owned = false;
		}
		atomic_fetch_add(&board->processes, 1);
		live();
		(void)!read(ends[0], &byte, 1); /* told, or the parent is gone */
		for (struct area **a = self.areas; a < self.areas + MAX_AREAS && *a != NULL; a++)
			check(*a, true);
		_exit(0);
	}
	close(ends[0]);
	child->go = ends[1];
	child->fork = self.forks;
	self.child_count++;
}

static void end_child(size_t which)
{
	struct child child = self.children[which];
	int status;

	note("end of child");
	close(child.go);
	self.children[which] = self.children[--self.child_count];
	while (waitpid(child.pid, &status, 0) != child.pid)
		if (errno != EINTR)
			failure("waitpid: %s", strerror(errno));
	if (status != 0)
		failure("child %u ended with %#x", child.fork - 1, (unsigned)status);
}

/* Whether a child may have what the region was. */
static bool is_held(const struct area *a)
{
	for (unsigned i = 0; i < self.child_count; i++)
		if (self.children[i].fork > a->born)
			return true;
	return false;
}

/* True if it is LIVE now. */
static bool settle(struct area *a)
{
	int error = odf_region_settle(a->handle);

	/* A child that has ended leaves its memory when its own keeper has noticed, if it had one. */
	for (int i = 0; error == EBUSY && a->owned && !is_held(a) && i < 1000; i++) {
		usleep(1000);
		error = odf_region_settle(a->handle);
	}

	note("settle: %s", strerror(error));
	if (error == 0 && a->owned && is_held(a))
		failure("settled although a child has the snapshot");
	if (error == EBUSY && a->owned && is_held(a)) {
		atomic_fetch_add(&board->busy, 1);
		return false;
	}
	if (error != 0)
		failure("odf_region_settle (%s): %s", a->owned ? "own" : "inherited", strerror(error));
	atomic_fetch_add(&board->settles, 1);
	return a->owned;
}

/* ---- A program ------------------------------------------------------------------------------------------------------------------ */

static void step(void)
{
	struct area *a = draw_area();

	switch (below(a->owned ? 32 : 28)) {
	case 0:
	case 1:
	case 2:
	case 3:
	case 4:
	case 5:
	case 6:
		put_over(a);
		break;
	case 7:
	case 8:
		discard(a);
		break;
	case 9:
	case 10:
		cut(a);
		break;
	case 11:
		protect(a);
		break;
	case 12:
		if (one_in(2))
			lose(a);
		else
			reclaim(a);
		break;
	case 13:
		begin_child(one_in(3));
		break;
	case 14:
	case 15:
	case 16:
		if (self.child_count > 0)
			end_child(below(self.child_count));
		break;
	case 17:
		(void)settle(a);
		break;
	case 18:
		if (one_in(4))
			make_area();
		break;
	case 19:
		if (one_in(2))
			usleep(1500); /* the keeper may come */
		break;
	case 20:
	case 21:
	case 22:
	case 23:
		take(a);
		break;
	case 24:
	case 25:
	case 26:
		give(a);
		break;
	case 27:
		if (a->owned)
			take_found(a);
		break;
	case 28:
	case 29:
		(void)settle(a);
		break;
	default:
		if (one_in(8))
			give_all(a);
		break;
	}
	check(a, one_in(8));
	atomic_fetch_add(&board->steps, 1);
}

static void open_pipe(void)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) != 0)
		failure("pipe: %s", strerror(errno));
	self.from_pipe = ends[0];
	self.to_pipe = ends[1];
}

/* When all has been given back and settled, nothing is left of the file: a freeze and a settle go past everything that is stale. */
static void nothing_is_left(struct area *a)
{
	uint64_t left;

	give_all(a);
	for (int round = 0; round < 2; round++) {
		begin_child(false);
		while (self.child_count > 0)
			end_child(self.child_count - 1);
		if (!settle(a))
			failure("cannot be settled at the end");
	}
	check(a, true);
	for (size_t i = 0; i < a->handle->extents->count; i++)
		if (a->handle->extents->list[i].stale)
			failure("extent %zu (%s) is stale after all was settled", i, kind_names[a->handle->extents->list[i].kind]);
	left = region_resident(a->handle);
	atomic_fetch_add(&board->left, left);
	if (left != 0)
		failure("%" PRIu64 " bytes are left in the file", left);
}

static void live(void)
{
	unsigned steps = self.depth == 0 ? 150 + (unsigned)below(250) : 4 + (unsigned)below(30);

	open_pipe();
	for (struct area **a = self.areas; a < self.areas + MAX_AREAS && *a != NULL; a++)
		check(*a, true);
	for (self.step = 1; self.step <= steps && board->failed == 0; self.step++)
		step();
	while (self.child_count > 0)
		end_child(self.child_count - 1);
	for (struct area **a = self.areas; a < self.areas + MAX_AREAS && *a != NULL; a++) {
		check(*a, true);
		self.forks = 0;
		(*a)->born = 0;
		if ((*a)->owned && self.depth < MAX_DEPTH)
			nothing_is_left(*a);
	}
}

static __attribute__((noreturn)) void run_seed(uint64_t seed)
{
	static const int deadly[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGSYS };
	odf_region *other = NULL;

	for (size_t i = 0; i < sizeof deadly / sizeof *deadly; i++)
		signal(deadly[i], SIG_DFL); /* cmocka has handlers */
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	region_fresh_always = seed % 3 == 0; /* steps without page tables */
	region_zero_pages_never = seed % 4 < 2; /* the other ways to give small pieces back */
	self.seed = seed;
	self.random = seed * 0x9e3779b97f4a7c15u;
	(void)draw();
	if (seed % 2 == 1) {
		other = odf_region_create(PAGE, ODF_REGION_MANUAL);
		if (other == NULL)
			failure("odf_region_create: %s", strerror(errno));
	}
	make_area();
	if (!region_keeper_runs())
		failure("the keeper does not run");
	live();
	if (other != NULL && odf_region_destroy(other) != 0)
		failure("odf_region_destroy");
	_exit(0);
}

/* ---- All seeds ------------------------------------------------------------------------------------------------------------------- */

static uint64_t number_from(const char *name, uint64_t otherwise)
{
	const char *given = getenv(name);

	return given == NULL || *given == '\0' ? otherwise : strtoull(given, NULL, 0);
}

static volatile pid_t running[2];

static void end_of_patience(int unused)
{
	(void)unused;
	for (int i = 0; i < 2; i++)
		if (running[i] > 0)
			kill(running[i], SIGKILL);
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* Two at once. False: a seed failed. */
static bool run_seeds(uint64_t first, uint64_t count, uint64_t increment, double end)
{
	uint64_t next = 0, seeds[2] = { 0 };
	unsigned busy = 0;

	signal(SIGALRM, end_of_patience);
	while ((next < count && (end == 0 || now() < end)) || busy > 0) {
		int status;
		pid_t pid;
		for (int i = 0; i < 2; i++)
			if (running[i] == 0 && next < count && (end == 0 || now() < end)) {
				seeds[i] = first + increment * next++;
				fflush(stdout);
				pid = fork();
				assert_true(pid >= 0);
				if (pid == 0)
					run_seed(seeds[i]);
				running[i] = pid;
				busy++;
			}
		alarm(GUARD_SECONDS);
		pid = wait(&status);
		alarm(0);
		for (int i = 0; i < 2; i++)
			if (running[i] == pid) {
				running[i] = 0;
				busy--;
				atomic_fetch_add(&board->seeds, 1);
				if (status == 0)
					continue;
				print_message("# seed %" PRIu64 ": %s %s\n", seeds[i],
					      WIFSIGNALED(status) ? (WTERMSIG(status) == SIGKILL ? "hangs" : strsignal(WTERMSIG(status))) : "",
					      board->text);
				count = 0;
			}
		if (count == 0 && busy > 0)
			end_of_patience(0);
	}
	signal(SIGALRM, SIG_DFL);
	print_message("# %lu seeds, %lu processes, %lu steps; settled %lu times, %lu times a child had the snapshot; %lu places not to be had at the moment, "
		      "%lu lost\n", board->seeds, board->processes + board->seeds, board->steps, board->settles, board->busy, board->again, board->foreign);
	return count != 0;
}

static uint64_t only_seed, only_times;

static void test_extents(void **state)
{
	odf_capabilities capabilities = ODF_CAPABILITIES_INIT;
	uint64_t seconds = number_from("ODF_TEST_SECONDS", 0);

	(void)state;
	assert_errno(0, odf_capabilities_get(&capabilities));
	if (capabilities.strategy[ODF_STRATEGY_REGION] != ODF_REASON_NONE && capabilities.strategy[ODF_STRATEGY_REGION] != ODF_REASON_NO_REGION) {
		skip_because(odf_reason_text(capabilities.strategy[ODF_STRATEGY_REGION]));
		return;
	}
	if (only_times > 0) {
		assert_true(run_seeds(only_seed, only_times, 0, 0));
	} else if (seconds > 0) {
		uint32_t fresh;
		assert_int_equal(getrandom(&fresh, sizeof fresh, 0), sizeof fresh);
		print_message("# seeds from %" PRIu64 "\n", (uint64_t)fresh << 16);
		assert_true(run_seeds((uint64_t)fresh << 16, UINT64_MAX / 2, 1, now() + (double)seconds));
	} else {
		assert_true(run_seeds(number_from("ODF_TEST_FIRST_SEED", 1), number_from("ODF_TEST_SEEDS", 100), 1, 0));
	}
	assert_true(only_times > 0 || (board->settles > 0 && board->busy > 0 && board->again > 0 && board->foreign > 0));
}

/* The library asks its questions in a constructor, so it must begin as nobody. */
static void be_nobody(char **argv)
{
	const gid_t nobody = 65534;

	if (number_from("ODF_TEST_NOBODY", 0) == 0 || geteuid() != 0)
		return;
	if (setgroups(0, NULL) != 0 || setgid(nobody) != 0 || setuid(nobody) != 0) {
		perror("cannot become nobody");
		exit(1);
	}
	execv("/proc/self/exe", argv);
	perror("cannot execute myself as nobody");
	exit(1);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_extents) };

	be_nobody(argv);
	trace = number_from("ODF_TEST_TRACE", 0) != 0;
	board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (board == MAP_FAILED)
		return 2;
	if (argc > 1) {
		only_seed = strtoull(argv[1], NULL, 0);
		only_times = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
	}
	return cmocka_run_group_tests_name("region extents", tests, NULL, NULL);
}
