/* SPDX-License-Identifier: MIT
 *
 * Compares the list of extents alone with a plain array (list_model.h).
 */
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../src/region/internal.h"
#include "list_model.h"

static struct {
	uint64_t random;
} self;
#include "../support/draw.h"

enum {
	PAGES = 8192,
	FIXED = 64,  /* every FIXED-th page stays unchanged, for readers to look at */
	SPARE = 3,   /* blocks that a change may take before it returns others */
	READERS = 2
};
#define PAGE REGION_PAGE

static struct odf_region region;
static struct region_extent plain[PAGES]; /* for each page; the address does not matter */
static char wrong[256];

__attribute__((format(printf, 1, 2))) static char *say(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(wrong, sizeof wrong, format, arguments);
	va_end(arguments);
	return wrong;
}

static bool alike(const struct region_extent *a, const struct region_extent *b)
{
	bool with_rights = a->kind == REGION_ISLAND || a->young;

	return a->kind == b->kind && a->stale == b->stale && a->sealed == b->sealed && a->young == b->young &&
	       (!with_rights || (a->protection == b->protection && a->advice == b->advice));
}

/* ---- The invariants ---------------------------------------------------------------------------------------------- */

/* Each block number appears once, and each block in use is filled enough. */
static const char *check_blocks(const struct region_extents *extents)
{
	static bool seen[1 << 16];

	if (extents->known > extents->most / REGION_BLOCK_LEAST + 1 + SPARE || extents->blocks > extents->known)
		return say("%zu blocks of %zu for %zu extents", extents->blocks, extents->known, extents->most);
	memset(seen, 0, extents->known);
	for (size_t i = 0; i < extents->known; i++) {
		const struct region_block *block = region_block_of(extents, extents->order[i]);
		if (extents->order[i] >= extents->known || seen[extents->order[i]])
			return say("block %u, place %zu of %zu", extents->order[i], i, extents->known);
		seen[extents->order[i]] = true;
		if (i < extents->blocks && (block->count > REGION_BLOCK_MOST || block->count == 0 ||
					    (block->count < REGION_BLOCK_LEAST && extents->blocks > 1)))
			return say("%zu extents in block %zu of %zu", block->count, i, extents->blocks);
	}
	return NULL;
}

/* The list is sorted and merged, its count is right, and it reads the same backwards. */
static const char *check_order(const struct region_extents *extents)
{
	struct region_place place = { 0, 0 }, back;
	const struct region_extent *extent, *before = NULL;
	size_t count = 0, pieces = 0, end = 0;

	for (; (extent = region_extent_next(extents, &place)) != NULL; count++) {
		if (extent->from < end || extent->length == 0 || extent->from + extent->length > region.length ||
		    extent->kind == REGION_MEMORY)
			return say("extent %zu at page %zu, behind %zu", count, extent->from / PAGE, end / PAGE);
		if (before != NULL && extent->from == end && alike(before, extent))
			return say("extent %zu at page %zu is like the one before", count, extent->from / PAGE);
		pieces += extent->from > end;
		end = extent->from + extent->length;
		before = extent;
	}
	if (count != extents->count || pieces != extents->pieces)
		return say("%zu extents and %zu pieces, and counted are %zu and %zu", count, pieces, extents->count,
			   extents->pieces);
	back = region_extents_end(extents);
	for (; (extent = region_extent_before(extents, &back)) != NULL; count--) {
		if (extent->from + extent->length != end && count == extents->count)
			return say("the last extent ends at page %zu", (extent->from + extent->length) / PAGE);
		if (extent->from + extent->length > end)
			return say("backwards, at page %zu behind %zu", extent->from / PAGE, end / PAGE);
		end = extent->from;
	}
	return count == 0 ? NULL : say("%zu extents not met on the way back", count);
}

static const char *check_array(const struct region_extents *extents)
{
	struct region_place place = { 0, 0 };
	const struct region_extent *extent = region_extent_next(extents, &place);
	static const struct region_extent memory;

	for (size_t page = 0; page < PAGES; page++) {
		const struct region_extent *is = &memory;
		if (extent != NULL && extent->from + extent->length <= page * PAGE)
			extent = region_extent_next(extents, &place);
		if (extent != NULL && extent->from <= page * PAGE)
			is = extent;
		if (!alike(is, &plain[page]))
			return say("page %zu is of kind %d, must be %d", page, is->kind, plain[page].kind);
	}
	return NULL;
}

static const char *check_page(size_t page)
{
	struct region_extent run = region_run_at(&region, page * PAGE, region.length);
	size_t next = page;

	while (next < PAGES && alike(&plain[next], &plain[page]))
		next++;
	if (!alike(&run, &plain[page]) || run.from != page * PAGE || run.length != (next - page) * PAGE)
		return say("run of %zu pages at page %zu of kind %d, must be %zu of kind %d", run.length / PAGE, page,
			   run.kind, next - page, plain[page].kind);
	return NULL;
}

static const char *check(void)
{
	const char *error = check_blocks(region.extents);

	if (error == NULL)
		error = check_order(region.extents);
	if (error == NULL)
		error = check_array(region.extents);
	return error;
}

/* ---- Changes ----------------------------------------------------------------------------------------------------- */

static struct region_extent draw_kind(void)
{
	struct region_extent run = { .kind = (unsigned char)(one_in(4) ? REGION_MEMORY : 1 + below(3)) };

	if (run.kind == REGION_ISLAND)
		run.protection = (unsigned char)below(4);
	run.stale = (run.kind == REGION_HOLE || run.kind == REGION_FOREIGN) && one_in(2);
	run.young = run.kind == REGION_FOREIGN && !run.stale && one_in(2);
	if (run.young)
		run.protection = (unsigned char)below(4);
	return run;
}

static const char *change(size_t page, size_t count, struct region_extent run)
{
	if (!region_has_room(&region))
		return say("no room for more than %zu", region.extents->count);
	run.from = page * PAGE;
	run.length = count * PAGE;
	region_record(&region, run);
	for (size_t i = page; i < page + count; i++)
		plain[i] = run;
	return NULL;
}

/* Near the border of two blocks, or anywhere. */
static size_t draw_page(void)
{
	const struct region_extents *extents = region.extents;
	const struct region_block *block;
	size_t page;

	if (extents->blocks < 2 || one_in(3))
		return below(PAGES);
	block = region_block_of(extents, extents->order[1 + below(extents->blocks - 1)]);
	page = block->list[0].from / PAGE + below(5);
	return page >= PAGES + 2 ? PAGES - 1 : page >= 2 ? page - 2 : 0;
}

/* Each round prefers one pattern: single pages, ascending or descending; making existing extents alike; or large
 * ranges. */
static const char *change_somehow(unsigned way, size_t step)
{
	size_t page = way == 1 ? step : way == 2 ? PAGES - 1 - step : draw_page(), most;
	struct region_extent run = draw_kind();

	if (page >= PAGES)
		page = PAGES - 1;
	most = PAGES - page;
	if (way == 2) /* each page is an extent, and each block is half empty: the maximum number of blocks */
		run = (struct region_extent){ .kind = REGION_ISLAND, .protection = (unsigned char)(page % 2) };
	if (way == 3 && page > 0)
		run = plain[page - 1]; /* merges with the extent before */
	if (way == 2)
		most = 1;
	else if (way == 4)
		most = most < 2000 ? most : 2000;
	else if (way == 3)
		most = most < 3 ? most : 3;
	else
		most = most < 2 || one_in(4) ? most < 3 ? most : 3 : 1;
	return change(page, 1 + below(most), run);
}

/* An address with nothing mapped nearby, so that an access beyond the list ends this process. */
static void *find_place(void)
{
	size_t size = (size_t)1 << 30;
	char *place = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (place == MAP_FAILED)
		return NULL;
	munmap(place, size);
	return place + size / 2;
}

static bool begin(uint64_t seed)
{
	struct region_extent all = { .length = PAGES * PAGE, .kind = REGION_FOREIGN };

	self.random = seed;
	region = (struct odf_region){ .length = PAGES * PAGE, .capacity = PAGES * PAGE, .in_place = true };
	region.extents = region_extents_make(find_place(), REGION_EXTENTS_FIRST, all);
	for (size_t i = 0; i < PAGES; i++)
		plain[i] = all;
	return region.extents != NULL;
}

const char *list_model_changes(uint64_t seed, unsigned rounds)
{
	const char *error = NULL;

	if (!begin(seed))
		return "no memory for a list";
	for (unsigned round = 0; round < rounds && error == NULL; round++) {
		unsigned way = (unsigned)below(5);
		size_t steps = way == 4 ? 1 + below(8) : 500 + below(3000);
		if (round < 2)
			way = 2 - round, steps = PAGES; /* up to thousands of extents, whatever is drawn */
		for (size_t step = 0; step < steps && error == NULL; step++) {
			error = change_somehow(way, step);
			if (error == NULL && step % 4 == 0)
				error = check_page(draw_page() % PAGES);
			if (error == NULL && (way == 4 || step % 32 == 0))
				error = check();
		}
		if (error == NULL)
			error = check();
	}
	region_extents_unmap(&region);
	return error;
}

/* ---- Readers during a change ------------------------------------------------------------------------------------- */

static atomic_size_t begun, done; /* counts of changes */
static atomic_bool over;

static unsigned char rights_of(size_t fixed)
{
	return (unsigned char)(fixed / FIXED % 4);
}

/* Makes many extents, among them the fixed ones. */
static const char *begin_beside(uint64_t seed)
{
	const char *error = NULL;

	if (!begin(seed) || !region_makes_room(&region, PAGES))
		return "no memory for a list";
	for (size_t page = 0; page < PAGES && error == NULL; page++)
		error = change(page, 1, page % FIXED == 0 ? (struct region_extent){ .kind = REGION_ISLAND,
										   .protection = rights_of(page) }
							  : draw_kind());
	atomic_store(&begun, 0);
	atomic_store(&done, 0);
	atomic_store(&over, false);
	return error;
}

/* Changes pages between two fixed ones. */
static void change_beside(void)
{
	size_t page = below(PAGES / FIXED) * FIXED + 1 + below(FIXED - 1), most = FIXED - page % FIXED;

	atomic_fetch_add(&begun, 1);
	(void)change(page, one_in(3) ? 1 + below(most) : 1, draw_kind());
	atomic_fetch_add(&done, 1);
}

static void *reader(void *argument)
{
	struct {
		uint64_t random;
	} me = { (uint64_t)(uintptr_t)argument };
	size_t sure = 0;

	while (!atomic_load(&over) || sure < 100) {
		size_t page, first = atomic_load(&done), pieces, bytes;
		struct region_extent run;
		page = mix(me.random++) % (PAGES / FIXED) * FIXED;
		run = region_run_at(&region, page * PAGE, (page + 1) * PAGE);
		atomic_thread_fence(memory_order_seq_cst);
		if (atomic_load(&begun) - first <= 1) {
			if (run.kind != REGION_ISLAND || run.protection != rights_of(page) || run.length != PAGE)
				return say("a reader sees kind %d at page %zu", run.kind, page);
			sure++;
		}
		/* any answer is fine, but it must return */
		pieces = region_piece_count(&region);
		bytes = region_foreign_bytes(&region) + region_young_bytes(&region);
		if (pieces > PAGES || bytes > SIZE_MAX / 2)
			return say("%zu pieces, %zu bytes", pieces, bytes);
	}
	return NULL;
}

const char *list_model_readers(uint64_t seed, unsigned changes)
{
	const char *error = begin_beside(seed);
	pthread_t threads[READERS];
	size_t count = 0;

	region.has_young = true;
	while (error == NULL && count < READERS)
		if (pthread_create(&threads[count], NULL, reader, (void *)(uintptr_t)(seed + 1000 * count)) == 0)
			count++;
		else
			error = "no thread";
	for (unsigned i = 0; i < changes && error == NULL; i++)
		change_beside();
	atomic_store(&over, true);
	for (size_t i = 0; i < count; i++) {
		void *result;
		if (pthread_join(threads[i], &result) == 0 && result != NULL)
			error = result;
	}
	if (error == NULL)
		error = check();
	region_extents_unmap(&region);
	return error;
}

/* In a child, whose array may be half a change behind the list. */
static const char *be_a_clone(uint64_t seed)
{
	const char *error = check_blocks(region.extents);

	self.random = seed;
	if (error == NULL)
		error = check_order(region.extents);
	for (size_t page = 0; page < PAGES && error == NULL; page++) {
		struct region_extent run = region_run_at(&region, page * PAGE, (page + 1) * PAGE);
		if (page % FIXED == 0 && (run.kind != REGION_ISLAND || run.protection != rights_of(page)))
			error = say("a clone has kind %d at page %zu", run.kind, page);
		plain[page] = run;
	}
	for (int i = 0; i < 64 && error == NULL; i++)
		change_beside();
	return error != NULL ? error : check();
}

static struct {
	uint64_t seed;
	unsigned count;
	char *text; /* the child's error message */
	const char *error;
} clones_made;

/* In a signal handler, usually in the middle of a change. */
static void make_clone(int number)
{
	int status = -1;
	pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

	(void)number;
	if (pid == 0) {
		const char *what = be_a_clone(clones_made.seed + clones_made.count);
		if (what != NULL)
			strcpy(clones_made.text, what);
		_exit(what != NULL);
	}
	clones_made.count++;
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		clones_made.error = "no child";
	else if (status != 0)
		clones_made.error = clones_made.text[0] != '\0' ? say("%s", clones_made.text)
							       : say("a clone ended with %#x", (unsigned)status);
}

const char *list_model_clones(uint64_t seed, unsigned clones)
{
	const struct itimerval soon = { { 0, 0 }, { 0, 300 } }, never = { { 0, 0 }, { 0, 0 } };
	struct sigaction action = { .sa_handler = make_clone }, before;
	const char *error = begin_beside(seed);
	char *text = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (error != NULL || text == MAP_FAILED)
		return error != NULL ? error : "no memory";
	clones_made.seed = seed;
	clones_made.count = 0;
	clones_made.text = text;
	clones_made.error = NULL;
	sigaction(SIGPROF, &action, &before);
	for (unsigned i = 0; i < clones && clones_made.error == NULL; i++) {
		setitimer(ITIMER_PROF, &soon, NULL);
		while (__atomic_load_n(&clones_made.count, __ATOMIC_RELAXED) == i)
			change_beside();
	}
	setitimer(ITIMER_PROF, &never, NULL);
	sigaction(SIGPROF, &before, NULL);
	munmap(text, PAGE);
	error = clones_made.error != NULL ? clones_made.error : check();
	region_extents_unmap(&region);
	return error;
}
