/* SPDX-License-Identifier: MIT
 *
 * The areas of shapes: how each is mapped, changed and checked.
 */
#include "shapes.h"

#ifndef MAP_32BIT
#define MAP_32BIT 0
#endif

const char *const shape_names[SHAPES] = { "freely",  "hinted",     "low",      "opened", "fixed",
						 "segment", "executable", "reserved", "pieces" };

unsigned long seed;
const char *doing = "start";

/* The protection that a program of this shape gives its memory. */
static int all_rights(void)
{
	return shape == EXECUTABLE ? RW | PROT_EXEC : RW;
}
unsigned long state;

size_t below(size_t limit)
{
	state = state * 6364136223846793005ul + 1442695040888963407ul;
	return (size_t)(state >> 33) % limit;
}

void wait_ms(long milliseconds)
{
	struct timespec time = { milliseconds / 1000, milliseconds % 1000 * 1000000 };

	while (nanosleep(&time, &time) != 0)
		;
}

struct area areas[AREAS];
static char *last; /* the last mapping */

#if defined __x86_64__ || defined __i386__
#define RETURN 0xc3
#define CODE   64 /* its offset in a page */
#endif

void put_code(char *page)
{
#ifdef RETURN
	if (shape == EXECUTABLE)
		page[CODE] = (char)RETURN;
#else
	(void)page;
#endif
}

/* If the page is not executable the program dies. */
void execute(const unsigned char *page)
{
#ifdef RETURN
	if (shape == EXECUTABLE && page[CODE] == RETURN) {
		void (*code)(void);
		const unsigned char *at = page + CODE;
		memcpy(&code, &at, sizeof code);
		code();
	}
#else
	(void)page;
#endif
}

bool is_right(void)
{
	for (size_t i = 0; i < AREAS; i++)
		for (size_t page = 0; areas[i].base != NULL && page < areas[i].pages; page++) {
			const unsigned char *at = (unsigned char *)areas[i].base + page * PAGE;
			unsigned char value = areas[i].value[page];
			if (areas[i].access[page] == OPEN)
				execute(at);
			if (areas[i].access[page] < READABLE ||
			    (at[0] == value && at[PAGE / 2] == value && at[PAGE - 1] == value))
				continue;
			dprintf(2, "area %zu, page %zu of %zu at %p is %u %u %u and not %u\n", i, page, areas[i].pages,
				(const void *)at, at[0], at[PAGE / 2], at[PAGE - 1], value);
			return false;
		}
	return true;
}

static void write_pages(struct area *area, size_t from, size_t count)
{
	for (size_t page = from; page < from + count; page++)
		if (area->access[page] == OPEN) {
			area->value[page] = (unsigned char)(1 + below(255));
			memset(area->base + page * PAGE, area->value[page], PAGE);
			put_code(area->base + page * PAGE);
		}
}

/* Pages [from, from + count) are new, and zero. */
static void fresh(struct area *area, size_t from, size_t count, enum access access)
{
	memset(area->value + from, 0, count);
	memset(area->access + from, access, count);
}

/* Takes it from memory reserved in one call, before the library could know of its use. */
static void *take_reserved(size_t size)
{
	static char *reserved;
	static size_t used;

	if (reserved == NULL) {
		void *memory = mmap(NULL, (size_t)8 << 30, RW, PLAIN | MAP_NORESERVE, -1, 0);
		REQUIRE(memory != MAP_FAILED);
		reserved = memory;
	}
	used += size;
	return reserved + used - size;
}

/* None of the mappings is large enough for the library to consider it by itself. */
static void *map_pieces(size_t size)
{
	char *memory = mmap(NULL, size, PROT_NONE, PLAIN, -1, 0);

	REQUIRE(memory != MAP_FAILED && munmap(memory, size) == 0);
	for (size_t at = 0, length; at < size; at += length) {
		length = size - at < 4 * PAGE ? size - at : 4 * PAGE;
		REQUIRE(mmap(memory + at, length, RW, PLAIN, -1, 0) == memory + at);
	}
	return memory;
}

char *new_memory(size_t size)
{
	void *memory = MAP_FAILED;

	switch (shape) {
	case HINTED:
		memory = mmap(last, size, RW, PLAIN, -1, 0);
		break;
	case LOW:
		memory = mmap(NULL, size, RW, PLAIN | MAP_32BIT, -1, 0);
		break;
	case OPENED:
	case FIXED:
		memory = mmap(NULL, size, PROT_NONE, PLAIN | MAP_NORESERVE, -1, 0);
		break;
	case SEGMENT:
		memory = sbrk((intptr_t)size);
		break;
	case RESERVED:
		memory = take_reserved(size);
		break;
	case PIECES:
		memory = map_pieces(size);
		break;
	default:
		memory = mmap(NULL, size, all_rights(), PLAIN, -1, 0);
		break;
	}
	REQUIRE(memory != MAP_FAILED);
	last = memory;
	return memory;
}

/* Makes the pages accessible in the way of the shape. */
void open_pages(char *from, size_t size)
{
	if (shape == OPENED)
		REQUIRE(mprotect(from, size, RW) == 0);
	else if (shape == FIXED)
		REQUIRE(mmap(from, size, RW, PLAIN | MAP_FIXED, -1, 0) == from);
}

void make_area(struct area *area)
{
	bool closed = shape == OPENED || shape == FIXED;

	area->pages = 64 + below(PAGES - 64);
	area->base = new_memory(area->pages * PAGE);
	fresh(area, 0, area->pages, closed ? CLOSED : OPEN);
	if (closed) {
		size_t count = 1 + below(area->pages);
		open_pages(area->base, count * PAGE);
		fresh(area, 0, count, OPEN);
	}
	write_pages(area, 0, area->pages);
}

/* Of the data segment only the last area can be dropped: the others lie below it. */
static void drop_area(struct area *area)
{
	if (shape != SEGMENT)
		REQUIRE(munmap(area->base, area->pages * PAGE) == 0);
	else if (sbrk(0) == area->base + area->pages * PAGE)
		REQUIRE(sbrk(-(intptr_t)(area->pages * PAGE)) == area->base + area->pages * PAGE);
	else
		return;
	area->base = NULL;
}

/* ---- Operations ---- */

static void discard(struct area *area, size_t from, size_t count)
{
	doing = "discard";
	REQUIRE(madvise(area->base + from * PAGE, count * PAGE, MADV_DONTNEED) == 0);
	memset(area->value + from, 0, count);
}

static void change_rights(struct area *area, size_t from, size_t count)
{
	const struct {
		int rights;
		enum access access;
	} kinds[] = { { PROT_NONE, CLOSED }, { PROT_READ, READABLE }, { all_rights(), OPEN }, { all_rights(), OPEN } };
	size_t kind = below(4);

	doing = "change_rights";
	REQUIRE(mprotect(area->base + from * PAGE, count * PAGE, kinds[kind].rights) == 0);
	memset(area->access + from, kinds[kind].access, count);
}

static void map_again(struct area *area, size_t from, size_t count)
{
	bool open = below(3) != 0;
	char *at = area->base + from * PAGE;

	doing = "map_again";
	REQUIRE(mmap(at, count * PAGE, open ? all_rights() : PROT_NONE,
		     PLAIN | MAP_FIXED | (below(2) ? MAP_NORESERVE : 0), -1, 0) == at);
	fresh(area, from, count, open ? OPEN : CLOSED);
}

/* Makes a gap, in which another mapping may be placed, and fills it again at once. */
static void unmap_and_map(struct area *area, size_t from, size_t count)
{
	char *at = area->base + from * PAGE;

	doing = "unmap_and_map";
	REQUIRE(munmap(at, count * PAGE) == 0);
	REQUIRE(mmap(at, count * PAGE, all_rights(), PLAIN | MAP_FIXED, -1, 0) == at);
	fresh(area, from, count, OPEN);
}

static bool is_one_mapping(const struct area *area)
{
	for (size_t page = 0; page < area->pages; page++)
		if (area->access[page] != OPEN)
			return false;
	return true;
}

static void resize(struct area *area, size_t from, size_t count)
{
	size_t pages = below(2) ? area->pages + below(PAGES - area->pages + 1) : 1 + below(area->pages);
	void *memory;

	(void)from, (void)count;
	doing = "resize";
	if (shape == SEGMENT || !is_one_mapping(area))
		return;
	memory = mremap(area->base, area->pages * PAGE, pages * PAGE, below(4) ? MREMAP_MAYMOVE : 0);
	if (memory == MAP_FAILED) {
		/* Something is in the way of growth in place; or it is more than one mapping, as without the library
		 * after something was mapped over part of it. */
		REQUIRE(errno == ENOMEM || errno == EFAULT);
		return;
	}
	if (pages > area->pages)
		fresh(area, area->pages, pages - area->pages, OPEN);
	area->base = memory;
	area->pages = pages;
}

static void advise(struct area *area, size_t from, size_t count)
{
	static const int advices[] = {
		MADV_RANDOM, MADV_NORMAL, MADV_WILLNEED, MADV_NOHUGEPAGE, MADV_HUGEPAGE, MADV_DODUMP, MADV_DONTDUMP,
	};

	doing = "advise";
	(void)madvise(area->base + from * PAGE, count * PAGE, advices[below(sizeof advices / sizeof *advices)]);
}

static void renew(struct area *area, size_t from, size_t count)
{
	(void)from, (void)count;
	doing = "renew";
	drop_area(area);
	if (area->base == NULL)
		make_area(area);
}

typedef void change(struct area *area, size_t from, size_t count);
static change *const changes[] = {
	write_pages, write_pages, write_pages, discard, change_rights, map_again, unmap_and_map, resize, advise, renew,
};

void change_something(void)
{
	struct area *area = &areas[below(AREAS)];
	size_t from, count;

	if (area->base == NULL) {
		doing = "make_area";
		make_area(area);
		return;
	}
	from = below(area->pages);
	count = 1 + below(below(2) ? area->pages - from : 1 + (area->pages - from) / 8);
	doing = "write";
	changes[below(sizeof changes / sizeof *changes)](area, from, count);
}
