/* SPDX-License-Identifier: MIT
 *
 * Memory of any shape, as allocators and runtimes ask for it: with hints, below 4 GiB, reserved without rights and
 * opened by mprotect or by fixed mappings, grown and moved by mremap, by the data segment, with all rights and code in
 * it, and mapped before the library could know.
 *
 * Random programs of each shape: every page has a value that it must have in the program and in each child, whatever
 * was asked for in between; a thread counts in memory of the same shape meanwhile, and no count may be lost. And each
 * shape ends up in a region, where it can be settled.
 *
 *   shapes                       all, for ODF_TEST_SECONDS (5) from seed ODF_TEST_SEED (1) on
 *   shapes round SHAPE SEED      one of them, as it is run: with LD_PRELOAD and ODFORK_HEAP set by who calls
 *   shapes gains SHAPE
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef MAP_32BIT
#define MAP_32BIT 0
#endif

#define PAGE   ((size_t)4096)
#define MIB    ((size_t)1 << 20)
#define RW     (PROT_READ | PROT_WRITE)
#define PLAIN  (MAP_PRIVATE | MAP_ANONYMOUS)
#define AREAS  6
#define PAGES  ((size_t)640) /* of an area at most */
#define COUNTS ((size_t)96)  /* pages that the thread counts in */

enum shape { FREELY, HINTED, LOW, OPENED, FIXED, SEGMENT, EXECUTABLE, RESERVED, PIECES, SHAPES };
static const char *const shape_names[SHAPES] = { "freely", "hinted", "low", "opened", "fixed", "segment", "executable", "reserved",
							       "pieces" };

static unsigned long seed;
static const char *doing = "start";

#define REQUIRE(condition)                                                                                                    \
	do {                                                                                                                  \
		if (!(condition)) {                                                                                           \
			dprintf(2, "%s, seed %lu, %s: line %d: %s (errno %d)\n", shape_names[shape], seed, doing, __LINE__, \
				#condition, errno);                                                                           \
			_exit(1);                                                                                             \
		}                                                                                                             \
	} while (0)

static enum shape shape;

/* What a program of this shape has its memory with. */
static int all_rights(void)
{
	return shape == EXECUTABLE ? RW | PROT_EXEC : RW;
}
static unsigned long state;

static size_t below(size_t limit)
{
	state = state * 6364136223846793005ul + 1442695040888963407ul;
	return (size_t)(state >> 33) % limit;
}

static void wait_ms(long milliseconds)
{
	struct timespec time = { milliseconds / 1000, milliseconds % 1000 * 1000000 };

	while (nanosleep(&time, &time) != 0)
		;
}

/* ---- Areas, and what each of their pages must be ---- */

enum access { GONE, CLOSED, READABLE, OPEN };
static struct area {
	char *base; /* NULL: none */
	size_t pages;
	unsigned char value[PAGES]; /* 0 also for what was never written */
	unsigned char access[PAGES];
} areas[AREAS];
static char *last; /* that was mapped */

#if defined __x86_64__ || defined __i386__
#define RETURN 0xc3
#define CODE   64 /* where it is in a page */
#endif

static void put_code(char *page)
{
#ifdef RETURN
	if (shape == EXECUTABLE)
		page[CODE] = (char)RETURN;
#else
	(void)page;
#endif
}

/* It is a program's death if it cannot be executed. */
static void execute(const unsigned char *page)
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

static bool is_right(void)
{
	for (size_t i = 0; i < AREAS; i++)
		for (size_t page = 0; areas[i].base != NULL && page < areas[i].pages; page++) {
			const unsigned char *at = (unsigned char *)areas[i].base + page * PAGE;
			unsigned char value = areas[i].value[page];
			if (areas[i].access[page] == OPEN)
				execute(at);
			if (areas[i].access[page] < READABLE || (at[0] == value && at[PAGE / 2] == value && at[PAGE - 1] == value))
				continue;
			dprintf(2, "area %zu, page %zu of %zu at %p is %u %u %u and not %u\n", i, page, areas[i].pages, (const void *)at, at[0],
				at[PAGE / 2], at[PAGE - 1], value);
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

/* Out of what was asked for at once, before the library could know that it would be used. */
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

/* None so large that it is one of those that are looked at by themselves. */
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

static char *new_memory(size_t size)
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

/* By the means of the shape. */
static void open_pages(char *from, size_t size)
{
	if (shape == OPENED)
		REQUIRE(mprotect(from, size, RW) == 0);
	else if (shape == FIXED)
		REQUIRE(mmap(from, size, RW, PLAIN | MAP_FIXED, -1, 0) == from);
}

static void make_area(struct area *area)
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

/* The segment's last one only, as the others lie below it. */
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

/* ---- What a program may do ---- */

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
	REQUIRE(mmap(at, count * PAGE, open ? all_rights() : PROT_NONE, PLAIN | MAP_FIXED | (below(2) ? MAP_NORESERVE : 0), -1, 0) == at);
	fresh(area, from, count, open ? OPEN : CLOSED);
}

/* A gap, which another mapping may be given; filled again at once. */
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
		/* In the way of growth without a move; or more than one mapping, as plain too where something was
		 * mapped over a part of it. */
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
	static const int advices[] = { MADV_RANDOM, MADV_NORMAL, MADV_WILLNEED, MADV_NOHUGEPAGE, MADV_HUGEPAGE, MADV_DODUMP, MADV_DONTDUMP };

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
static change *const changes[] = { write_pages, write_pages, write_pages, discard, change_rights, map_again, unmap_and_map, resize, advise, renew };

static void change_something(void)
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

/* ---- The thread ---- */

static _Atomic(uint64_t) *counter_pages[COUNTS];
static atomic_bool over;
static atomic_ulong lost;

static void *count_up(void *unused)
{
	(void)unused;
	for (uint64_t round = 1; !atomic_load(&over); round++)
		for (size_t i = 0; i < COUNTS; i++)
			if (atomic_fetch_add(counter_pages[i], 1) != round - 1)
				atomic_fetch_add(&lost, 1);
	return NULL;
}

/* ---- Rounds ---- */

static pid_t fork_and_look(bool stays)
{
	pid_t pid = fork();

	REQUIRE(pid >= 0);
	if (pid != 0)
		return pid;
	doing = "child";
	REQUIRE(is_right());
	for (int i = 0; i < 6; i++)
		change_something();
	doing = "child";
	REQUIRE(is_right());
	if (stays)
		wait_ms(30);
	REQUIRE(is_right());
	_exit(0);
}

static void reap(pid_t pid)
{
	int status;

	REQUIRE(waitpid(pid, &status, 0) == pid && status == 0);
}

static int round_of(bool wakes)
{
	char *counters = new_memory(COUNTS * PAGE), *filler;
	pthread_t thread;

	state = seed * 2 + 1;
	open_pages(counters, COUNTS * PAGE);
	for (size_t i = 0; i < COUNTS; i++)
		counter_pages[i] = (_Atomic(uint64_t) *)(counters + i * PAGE + 64 * (i % 60));
	for (size_t i = 0; i < AREAS / 2; i++) /* before it wakes */
		make_area(&areas[i]);
	REQUIRE(pthread_create(&thread, NULL, count_up, NULL) == 0);
	filler = mmap(NULL, 24 * MIB, RW, PLAIN, -1, 0);
	REQUIRE(filler != MAP_FAILED);
	if (wakes)
		memset(filler, 1, 24 * MIB);
	for (int round = 0; round < 8; round++) {
		pid_t pid;
		for (size_t i = below(30); i > 0; i--)
			change_something();
		doing = "look";
		REQUIRE(is_right());
		pid = fork_and_look(below(3) == 0);
		for (size_t i = below(12); i > 0; i--)
			change_something();
		if (below(2)) {
			reap(pid);
			pid = 0;
		}
		wait_ms((long)below(25));
		for (size_t i = below(12); i > 0; i--)
			change_something();
		doing = "look";
		REQUIRE(is_right());
		if (pid != 0)
			reap(pid);
		wait_ms((long)below(25));
	}
	atomic_store(&over, true);
	REQUIRE(pthread_join(thread, NULL) == 0);
	REQUIRE(atomic_load(&lost) == 0);
	REQUIRE(is_right());
	return 0;
}

/* ---- Each ends up in a region ---- */

/* And LIVE, where something can settle it beside the program: root has userfaultfd. */
static bool is_in_a_region(const void *address)
{
	static char text[4 * MIB]; /* nothing is allocated, which may wake the library */
	int file = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	size_t length = 0;
	bool live = false;
	ssize_t got;

	REQUIRE(file >= 0);
	while ((got = read(file, text + length, sizeof text - 1 - length)) > 0)
		length += (size_t)got;
	REQUIRE(got == 0 && length < sizeof text - 1);
	close(file);
	text[length] = '\0';
	for (char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
		unsigned long start, stop;
		*end = '\0';
		if (sscanf(line, "%lx-%lx", &start, &stop) == 2 && (unsigned long)address >= start && (unsigned long)address < stop)
			live = strstr(line, "odfork-region") != NULL &&
			       (geteuid() != 0 || strstr(line, shape == EXECUTABLE ? " rwxs " : " rw-s ") != NULL);
	}
	return live;
}

static int gains(void)
{
	enum { BLOCKS = 48 };
	char *block[BLOCKS];
	int live = 0;

	for (int i = 0; i < BLOCKS; i++) { /* the first ones come before the library knows */
		block[i] = new_memory(MIB);
		open_pages(block[i], MIB);
		memset(block[i], i + 1, MIB);
		put_code(block[i]);
	}
	for (int tries = 0; tries < 40 && live < BLOCKS - 1; tries++) {
		reap(fork_and_look(false));
		wait_ms(100);
		live = 0;
		for (int i = 0; i < BLOCKS; i++) {
			live += is_in_a_region(block[i] + MIB / 2);
			REQUIRE(block[i][0] == i + 1 && block[i][MIB - 1] == i + 1);
			execute((unsigned char *)block[i]);
		}
	}
	if (live < BLOCKS - 1)
		dprintf(2, "%s: %d of %d are in a region\n", shape_names[shape], live, BLOCKS);
	return live < BLOCKS - 1;
}

/* ---- All ---- */

static int run(const char *what, enum shape which, unsigned long number, const char *heap)
{
	const char *build = getenv("ODF_BUILD");
	char library[4096], digits[32];
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		snprintf(library, sizeof library, "%s/libodfork.so.0", build != NULL ? build : ".");
		snprintf(digits, sizeof digits, "%lu", number);
		if (heap != NULL) {
			setenv("LD_PRELOAD", library, 1);
			setenv("ODFORK_HEAP", heap, 1);
		}
		execl("/proc/self/exe", "shapes", what, shape_names[which], digits, (char *)NULL);
		_exit(126);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return 1;
	return status;
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int count, char **arguments)
{
	static const char *const heaps[] = { "auto", "on", "auto", NULL };
	double end = seconds() + (getenv("ODF_TEST_SECONDS") != NULL ? atof(getenv("ODF_TEST_SECONDS")) : 5);
	unsigned long first = getenv("ODF_TEST_SEED") != NULL ? strtoul(getenv("ODF_TEST_SEED"), NULL, 10) : 1, number = first;
	int bad = 0, rounds = 0;

	for (int i = 0; count > 2 && i < SHAPES; i++)
		if (strcmp(arguments[2], shape_names[i]) == 0)
			shape = (enum shape)i;
	if (count > 2) {
		seed = count > 3 ? strtoul(arguments[3], NULL, 10) : 1;
		return strcmp(arguments[1], "gains") == 0 ? gains() : round_of(seed % 5 != 0);
	}
	printf("1..%d\n", SHAPES + 1);
	for (int i = 0; i < SHAPES; i++) {
		int one = run("gains", (enum shape)i, 0, "auto") | run("gains", (enum shape)i, 0, "on");
		printf("%s %d - %s memory is in a region\n", one == 0 ? "ok" : "not ok", i + 1, shape_names[i]);
		fflush(stdout);
		bad += one != 0;
	}
	do {
		enum shape which = (enum shape)(number % SHAPES);
		const char *heap = heaps[number / SHAPES % 4];
		if (run("round", which, number, heap) != 0) {
			printf("# round %s %lu with heap %s\n", shape_names[which], number, heap != NULL ? heap : "none");
			bad++;
		}
		rounds++;
		number++;
	} while (seconds() < end || rounds < SHAPES);
	printf("%s %d - %d rounds\n", bad == 0 ? "ok" : "not ok", SHAPES + 1, rounds);
	return bad != 0;
}
