/* SPDX-License-Identifier: MIT
 *
 * Regions against a model: random programs write, discard, fork, kill, execute, settle, destroy and create, and do the same to
 * ordinary private memory, the shadow, which the kernel's own fork copies. In every process of the tree every byte of every
 * region must equal its shadow.
 *
 * What a process does is decided by the seed, its path in the tree of forks (0.2.1: the second child of the third child of the
 * root, counted from 0) and the number of the step, never by what was drawn or happened before: a replay is the same program,
 * though timing differs.
 *
 *   test_region_model SEED [TIMES]     that seed only, some times over (1)
 *
 * ODF_TEST_SEEDS says how many seeds (2000), ODF_TEST_FIRST_SEED where they begin (1); ODF_TEST_SECONDS runs fresh ones for so
 * long instead; ODF_TEST_WORKERS how many at once (2); ODF_TEST_TRACE=1 shows each step; ODF_TEST_NOBODY=1 gives up root first.
 * Compiled with ODF_TEST_INTERPOSED the shared library must be there, linked or preloaded; where it is, its interposed ways to
 * make a process are used too.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../support/support.h"

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED true
#endif
#endif
#ifndef SANITIZED
#define SANITIZED false
#endif

enum {
	PAGE = 4096,
	BLOCK = 512, /* pages below one page-table page */
	MAX_REGIONS = 4,
	MAX_CHILDREN = 8,
	MAX_PROCESSES = 512,
	MAX_DEPTH = 4,
	HOT = 12,
	PATH_SIZE = 48,
	RUN_BUFFER = 3 * PAGE,
	CLONE_STACK = 512 * 1024,
	GUARD_SECONDS = 120 /* only to tell a hang from a failure */
};

/* ---- What all processes of a seed share ------------------------------------------------------------------------------------ */

/* One process that a program made. A process that nobody waits for any more is inherited and judged by the worker, which knows it
 * by this. */
struct entry {
	atomic_int pid;
	int parent;         /* index; -1 for the root */
	atomic_bool ready;  /* may be stopped: it is continued should its parent die */
	atomic_bool doomed; /* its parent kills it */
	atomic_bool leaves; /* it executes another program */
	atomic_bool done;   /* it came to the end of its program, and all was well */
	atomic_bool gone;   /* waited for */
	char path[PATH_SIZE];
};

struct board {
	atomic_int failed;
	atomic_bool told; /* the text is complete */
	char text[1024];
	atomic_int used;
	struct entry entries[MAX_PROCESSES];
};

static struct totals {
	atomic_int failed;
	atomic_ulong seeds, processes, steps, compared, discards, kills, stops, execs, orphans, settles, busy, spawns, past,
		created, destroyed;
	/* By the library's own count, of regions as they were destroyed or left. */
	atomic_ulong kernel_settles, interrupted, merged;
	char text[1024];
} *totals;

static struct board *board;

static void *shared_memory(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_true(memory != MAP_FAILED);
	return memory;
}

/* ---- What a process knows -------------------------------------------------------------------------------------------------- */

struct region {
	odf_region *handle; /* NULL: none here */
	unsigned char *base, *shadow;
	size_t pages;
	unsigned char *blocks; /* one for each 512 pages: something in it was touched */
	uint64_t *touched;     /* one bit for each page */
	size_t aside_size;     /* of the memory that holds both */
	size_t hot[HOT];
	bool owned; /* made by this process, not inherited */
	odf_region_info last;
};

struct child {
	pid_t pid;
	int entry;
	bool stopped;
};

static struct {
	uint64_t seed, random;
	char path[PATH_SIZE];
	int entry, depth;
	unsigned step, forks, fork_limit;
	long page_budget; /* pages that this process may still touch */
	bool past_libc;   /* made by clone() or syscall(), so that libc knows of no thread here: none is to be started */
	struct child children[MAX_CHILDREN];
	int child_count;
	struct region regions[MAX_REGIONS];
} self;

static bool trace;

static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static uint64_t draw(void)
{
	self.random += 0x9e3779b97f4a7c15u;
	return mix(self.random);
}

static size_t below(size_t limit)
{
	return (size_t)(draw() % limit);
}

static bool one_in(size_t n)
{
	return below(n) == 0;
}

static void draw_from_step(unsigned step)
{
	uint64_t value = mix(self.seed);

	for (const char *c = self.path; *c != '\0'; c++)
		value = mix(value ^ (unsigned char)*c);
	self.random = mix(value ^ (uint64_t)step << 8);
}

/* Ends this process, and with it the whole seed. */
__attribute__((noreturn, format(printf, 1, 2))) static void failure(const char *format, ...)
{
	va_list arguments;
	int nobody = 0, length;

	if (atomic_compare_exchange_strong(&board->failed, &nobody, 1)) {
		length = snprintf(board->text, sizeof board->text, "seed %" PRIu64 " process %s step %u: ", self.seed, self.path,
				  self.step);
		va_start(arguments, format);
		vsnprintf(board->text + length, sizeof board->text - (size_t)length, format, arguments);
		va_end(arguments);
		board->told = true;
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
	length = snprintf(line, sizeof line, "# %s@%u ", self.path, self.step);
	va_start(arguments, format);
	vsnprintf(line + length, sizeof line - (size_t)length, format, arguments);
	va_end(arguments);
	dprintf(2, "%s\n", line);
}

static const char *state_name(odf_region_state state)
{
	static const char *const names[] = { "LIVE", "FROZEN", "SETTLING", "INHERITED", "ABSENT" };

	return (unsigned)state < 5 ? names[state] : "unknown";
}

static odf_region_info info_of(const odf_region *region)
{
	odf_region_info info = ODF_REGION_INFO_INIT;
	int error = odf_region_info_get(region, &info);

	if (error != 0)
		failure("odf_region_info_get: %s", strerror(error));
	return info;
}

static int number_of(const struct region *r)
{
	return (int)(r - self.regions);
}

/* ---- Comparing ------------------------------------------------------------------------------------------------------------- */

__attribute__((noreturn)) static void mismatch(const struct region *r, size_t page)
{
	const unsigned char *is = r->base + page * PAGE, *must = r->shadow + page * PAGE;
	odf_region_info info = info_of(r->handle);
	size_t first = PAGE, count = 0;
	uint64_t value, wanted;

	for (size_t i = 0; i < PAGE; i++)
		if (is[i] != must[i]) {
			first = count == 0 ? i : first;
			count++;
		}
	if (count == 0)
		failure("region %d: page %zu of %zu changed while it was compared (%s)", number_of(r), page, r->pages,
			state_name(info.state));
	first &= ~(size_t)7;
	memcpy(&value, is + first, 8);
	memcpy(&wanted, must + first, 8);
	failure("region %d (%zu pages at %p, %s, %s): offset %#zx (page %zu) is %016" PRIx64 ", must be %016" PRIx64
		"; %zu bytes of the page differ; freezes %" PRIu64 " settles %" PRIu64 " interrupted %" PRIu64 " merged %" PRIu64,
		number_of(r), r->pages, (void *)r->base, r->owned ? "own" : "inherited", state_name(info.state),
		page * PAGE + first, page, value, wanted, count, info.freezes, info.settles, info.interrupted, info.merged_pages);
}

static void compare_page(const struct region *r, size_t page)
{
	if (memcmp(r->base + page * PAGE, r->shadow + page * PAGE, PAGE) != 0)
		mismatch(r, page);
	atomic_fetch_add_explicit(&totals->compared, 1, memory_order_relaxed);
}

static bool is_touched(const struct region *r, size_t page)
{
	return r->blocks[page / BLOCK] != 0 && (r->touched[page / 64] >> page % 64 & 1) != 0;
}

static void touch(struct region *r, size_t page, size_t count)
{
	for (size_t p = page; p < page + count; p++) {
		if (!is_touched(r, p))
			self.page_budget--;
		r->blocks[p / BLOCK] = 1;
		r->touched[p / 64] |= 1ul << p % 64;
	}
}

/* All that was ever touched, and some of the rest, which must be zeros. */
static void compare_region(const struct region *r)
{
	for (size_t block = 0; block * BLOCK < r->pages; block++) {
		if (!r->blocks[block])
			continue;
		for (size_t word = block * BLOCK / 64; word < (block + 1) * BLOCK / 64; word++)
			for (uint64_t bits = r->touched[word]; bits != 0; bits &= bits - 1)
				compare_page(r, word * 64 + (size_t)__builtin_ctzl(bits));
	}
	for (size_t i = 0; i < 16 && i < r->pages; i++)
		compare_page(r, r->pages <= 16 ? i : below(r->pages));
}

static void compare_all(void)
{
	for (struct region *r = self.regions; r < self.regions + MAX_REGIONS; r++)
		if (r->handle != NULL)
			compare_region(r);
}

/* ---- What the library says about a region ---------------------------------------------------------------------------------- */

static void check_info(struct region *r)
{
	odf_region_info now = info_of(r->handle), *last = &r->last;
	size_t capacity = r->pages * PAGE, whole_blocks = (r->pages + BLOCK - 1) / BLOCK * BLOCK * PAGE;
	bool fine = now.capacity == capacity && now.size == sizeof now && (unsigned)now.settling <= ODF_REGION_SETTLES_NEVER;

	switch (now.state) {
	case ODF_REGION_LIVE:
		fine = fine && r->owned && now.live_bytes == capacity && now.private_bytes == 0;
		break;
	case ODF_REGION_FROZEN:
		fine = fine && r->owned && now.live_bytes == 0 && now.freezes > 0;
		break;
	case ODF_REGION_SETTLING:
		/* Made LIVE in whole tables, some of which may lie beyond the capacity. */
		fine = fine && r->owned && now.live_bytes <= capacity && now.freezes > 0;
		break;
	case ODF_REGION_INHERITED:
		fine = fine && !r->owned && now.live_bytes == 0 && now.resident_bytes == 0;
		break;
	default:
		fine = false;
	}
	/* The file may be of 2 MiB pages. */
	fine = fine && now.resident_bytes <= whole_blocks && now.private_bytes <= capacity && now.settles <= now.freezes &&
	       now.interrupted <= now.freezes && now.longest_pause_ns >= now.last_pause_ns;
	fine = fine && now.freezes >= last->freezes && now.settles >= last->settles && now.interrupted >= last->interrupted &&
	       now.steps >= last->steps && now.merged_pages >= last->merged_pages &&
	       now.longest_pause_ns >= last->longest_pause_ns;
	if (!fine)
		failure("region %d (%s, %zu pages) says of itself: %s, settling %d, capacity %zu, live %zu, resident %zu, "
			"private %zu, freezes %" PRIu64 " (%" PRIu64 " before), settles %" PRIu64 " (%" PRIu64
			"), interrupted %" PRIu64 " (%" PRIu64 "), steps %" PRIu64 " (%" PRIu64 "), merged %" PRIu64 " (%" PRIu64
			"), pause %" PRIu64 " longest %" PRIu64 " (%" PRIu64 ")",
			number_of(r), r->owned ? "own" : "inherited", r->pages, state_name(now.state), now.settling, now.capacity,
			now.live_bytes, now.resident_bytes, now.private_bytes, now.freezes, last->freezes, now.settles,
			last->settles, now.interrupted, last->interrupted, now.steps, last->steps, now.merged_pages,
			last->merged_pages, now.last_pause_ns, now.longest_pause_ns, last->longest_pause_ns);
	*last = now;
}

static void count_for_totals(const struct region *r)
{
	odf_region_info info;

	if (!r->owned)
		return;
	info = info_of(r->handle);
	totals->kernel_settles += info.settles;
	totals->interrupted += info.interrupted;
	totals->merged += info.merged_pages;
}

/* Whether a process forked from here, or from there and so on, may still be about. */
static bool has_descendants(void)
{
	int used = board->used < MAX_PROCESSES ? board->used : MAX_PROCESSES;

	for (int i = 0; i < used; i++) {
		int above = board->entries[i].parent;
		if (board->entries[i].gone)
			continue;
		while (above >= 0 && above != self.entry)
			above = board->entries[above].parent;
		if (above == self.entry)
			return true;
	}
	return false;
}

static void settle(struct region *r)
{
	/* A killed descendant's own vfork child may keep its memory for a moment. */
	for (int patience = 10000;; patience--) {
		bool alone = !has_descendants();
		int error = odf_region_settle(r->handle);
		odf_region_info info = info_of(r->handle);
		if (error == 0) {
			if (info.state != (r->owned ? ODF_REGION_LIVE : ODF_REGION_INHERITED))
				failure("region %d is %s after odf_region_settle", number_of(r), state_name(info.state));
			totals->settles++;
			return;
		}
		if (error == ENOTSUP && info.settling == ODF_REGION_SETTLES_NEVER && r->owned)
			return;
		if (error != EBUSY || !r->owned)
			failure("region %d (%s, %s): odf_region_settle: %s", number_of(r), r->owned ? "own" : "inherited",
				state_name(info.state), strerror(error));
		totals->busy++;
		if (!alone || board->failed)
			return;
		if (patience == 0)
			failure("region %d: odf_region_settle finds a descendant though all are gone", number_of(r));
		usleep(1000);
	}
}

/* ---- Making and ending regions --------------------------------------------------------------------------------------------- */

static size_t draw_pages(void)
{
	switch (below(16)) {
	case 0:
	case 1:
	case 2:
		return 1 + below(8);
	case 3:
	case 4:
	case 5:
		return 1 + below(40);
	case 6:
	case 7:
	case 8:
		return 1 + below(1100);
	case 9:
		return BLOCK << below(4);
	case 10:
		return (BLOCK << below(4)) + 1;
	case 11:
	case 12:
	case 13:
		return 1 + below(16384); /* 64 MiB */
	default:
		return (1u << 18) + below(1u << 21); /* 1 to 9 GiB */
	}
}

static void create(struct region *r)
{
	size_t bytes, block_count, bitmap;
	void *memory;

	memset(r, 0, sizeof *r);
	r->pages = draw_pages();
	bytes = r->pages * PAGE - (one_in(4) ? below(PAGE) : 0);
	r->handle = odf_region_create(bytes, one_in(4) ? ODF_REGION_MANUAL : 0);
	if (r->handle == NULL)
		failure("odf_region_create(%zu): %s", bytes, strerror(errno));
	r->base = odf_region_base(r->handle);
	r->owned = true;
	if ((uintptr_t)r->base % PAGE != 0 || odf_region_capacity(r->handle) != r->pages * PAGE)
		failure("a region of %zu bytes is at %p with capacity %zu", bytes, (void *)r->base,
			odf_region_capacity(r->handle));
	block_count = (r->pages + BLOCK - 1) / BLOCK;
	bitmap = block_count * BLOCK / 8;
	r->aside_size = bitmap + block_count;
	r->shadow = mmap(NULL, r->pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	memory = mmap(NULL, r->aside_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (r->shadow == MAP_FAILED || memory == MAP_FAILED)
		failure("no memory for the shadow of %zu pages", r->pages);
	madvise(r->shadow, r->pages * PAGE, MADV_NOHUGEPAGE);
	r->touched = memory;
	r->blocks = (unsigned char *)memory + bitmap;
	/* First, last, both sides of a border of page tables (the base may be aligned to them or not), and anything. */
	for (size_t i = 0; i < HOT; i++) {
		size_t page = below(r->pages);
		if (i == 0)
			page = 0;
		if (i == 1)
			page = r->pages - 1;
		if (i >= 2 && i < 6)
			page = page / BLOCK * BLOCK - (i % 2);
		r->hot[i] = page < r->pages ? page : r->pages - 1;
	}
	totals->created++;
	note("create %d: %zu pages at %p", number_of(r), r->pages, (void *)r->base);
}

static void destroy(struct region *r)
{
	int error;

	count_for_totals(r);
	error = odf_region_destroy(r->handle);
	if (error != 0)
		failure("odf_region_destroy: %s", strerror(error));
	munmap(r->shadow, r->pages * PAGE);
	munmap(r->touched, r->aside_size);
	r->handle = NULL;
	totals->destroyed++;
}

static struct region *draw_region(void)
{
	struct region *there[MAX_REGIONS];
	size_t count = 0;

	for (struct region *r = self.regions; r < self.regions + MAX_REGIONS; r++)
		if (r->handle != NULL)
			there[count++] = r;
	return count == 0 ? NULL : there[below(count)];
}

/* ---- Touching memory ------------------------------------------------------------------------------------------------------- */

static size_t draw_page(const struct region *r)
{
	size_t page = r->hot[below(HOT)];

	switch (below(8)) {
	case 0:
		return below(r->pages);
	case 1:
	case 2:
		page += below(8);
		return page < r->pages ? page : r->pages - 1;
	default:
		return page;
	}
}

/* Length of a run of pages from `page`. */
static size_t draw_run(const struct region *r, size_t page, size_t most)
{
	size_t run = 1 + below(one_in(8) ? most : one_in(2) ? 40 : 4), left = r->pages - page;

	return run < left ? run : left;
}

static void write_words(struct region *r)
{
	for (size_t i = 1 + below(12); i > 0; i--) {
		size_t page = draw_page(r), at = page * PAGE + below(PAGE - 7), size = one_in(3) ? 8 : 1 + below(8);
		uint64_t value = draw();
		touch(r, page, 1);
		memcpy(r->base + at, &value, size);
		memcpy(r->shadow + at, &value, size);
	}
}

static void write_run(struct region *r)
{
	size_t page = draw_page(r), run = draw_run(r, page, 1300);
	uint64_t tag = draw();

	if (self.page_budget < 0)
		run = 1;
	touch(r, page, run);
	note("write %d: pages %zu+%zu", number_of(r), page, run);
	for (size_t p = page; p < page + run; p++) {
		size_t from = p == page && one_in(2) ? below(PAGE) : 0,
		       to = p == page + run - 1 && one_in(2) ? from + below(PAGE - from) : PAGE;
		memset(r->base + p * PAGE + from, (int)(tag + p), to - from);
		memset(r->shadow + p * PAGE + from, (int)(tag + p), to - from);
		if (from == 0 && to == PAGE)
			for (size_t word = 0; word < PAGE; word += 1 + (size_t)(tag & 1023)) {
				r->base[p * PAGE + word] ^= (unsigned char)(tag >> 16);
				r->shadow[p * PAGE + word] ^= (unsigned char)(tag >> 16);
			}
	}
}

static void add_words(struct region *r)
{
	for (size_t i = 1 + below(8); i > 0; i--) {
		size_t page = draw_page(r), at = page * PAGE + below(PAGE / 8) * 8;
		uint64_t value = draw(), was, must;
		touch(r, page, 1);
		was = __atomic_fetch_add((uint64_t *)(void *)(r->base + at), value, __ATOMIC_RELAXED);
		must = __atomic_fetch_add((uint64_t *)(void *)(r->shadow + at), value, __ATOMIC_RELAXED);
		if (was != must)
			failure("region %d: an atomic addition at %#zx found %016" PRIx64 ", must be %016" PRIx64, number_of(r),
				at, was, must);
	}
}

/* A place of up to three pages. */
static size_t draw_span(struct region *r, size_t *length)
{
	size_t page = draw_page(r), at = page * PAGE + below(PAGE), left = r->pages * PAGE - at;

	*length = 1 + below(one_in(2) ? 64 : RUN_BUFFER);
	if (*length > left)
		*length = left;
	touch(r, page, (at + *length - 1) / PAGE - page + 1);
	return at;
}

static void through_pipe(const void *from, void *to, size_t length)
{
	int fds[2];
	ssize_t sent, received = 0;

	if (pipe2(fds, O_CLOEXEC) != 0)
		failure("pipe2: %s", strerror(errno));
	sent = write(fds[1], from, length);
	if (sent == (ssize_t)length)
		received = read(fds[0], to, length);
	if (sent != (ssize_t)length || received != (ssize_t)length)
		failure("a pipe took %zd and gave %zd of %zu bytes: %s", sent, received, length, strerror(errno));
	close(fds[0]);
	close(fds[1]);
}

/* The kernel writes into the region. */
static void kernel_writes(struct region *r)
{
	static unsigned char bytes[RUN_BUFFER];
	size_t length, at = draw_span(r, &length);
	uint64_t value = draw(), how = below(3);

	for (size_t i = 0; i < length; i++)
		bytes[i] = (unsigned char)(value >> i % 8 * 8) ^ (unsigned char)i;
	if (how == 0) {
		through_pipe(bytes, r->base + at, length);
	} else if (how == 1) {
		struct iovec to = { r->base + at, length }, from = { bytes, length };
		ssize_t count = process_vm_readv(getpid(), &to, 1, &from, 1, 0);
		if (count < 0 && (errno == EPERM || errno == ENOSYS))
			through_pipe(bytes, r->base + at, length); /* a sandbox */
		else if (count != (ssize_t)length)
			failure("process_vm_readv into region %d gave %zd of %zu: %s", number_of(r), count, length,
				strerror(errno));
	} else {
		if (length > 256)
			length = 256;
		if (syscall(SYS_getrandom, r->base + at, length, 0) != (ssize_t)length) /* libc's may not ask the kernel */
			failure("getrandom into region %d: %s", number_of(r), strerror(errno));
		memcpy(bytes, r->base + at, length);
	}
	memcpy(r->shadow + at, bytes, length);
}

static void kernel_reads(struct region *r)
{
	static unsigned char bytes[RUN_BUFFER];
	size_t length, at = draw_span(r, &length);

	through_pipe(r->base + at, bytes, length);
	for (size_t i = 0; i < length; i++)
		if (bytes[i] != r->shadow[at + i])
			failure("region %d: the kernel reads %02x at %#zx, must be %02x", number_of(r), bytes[i], at + i,
				r->shadow[at + i]);
}

static void compare_some(const struct region *r)
{
	for (size_t i = 1 + below(16); i > 0; i--)
		compare_page(r, draw_page(r));
}

static void discard(struct region *r)
{
	size_t page = draw_page(r), run = one_in(12) ? r->pages - page : draw_run(r, page, 2000);
	size_t length = run * PAGE - (one_in(3) ? below(PAGE) : 0);
	int error;

	note("discard %d: pages %zu+%zu", number_of(r), page, run);
	error = odf_region_discard(r->handle, r->base + page * PAGE, length);
	if (error != 0)
		failure("odf_region_discard of %zu pages from page %zu of region %d (%s): %s", run, page, number_of(r),
			state_name(info_of(r->handle).state), strerror(error));
	if (run < 16)
		memset(r->shadow + page * PAGE, 0, run * PAGE);
	else
		madvise(r->shadow + page * PAGE, run * PAGE, MADV_DONTNEED);
	for (size_t p = page; p < page + run && p < page + 8; p++)
		touch(r, p, 1);
	totals->discards++;
}

/* One discard beside the other, written to in between, so that the kernel keeps them apart. */
static void discard_patchwork(struct region *r)
{
	size_t page = draw_page(r), patch = 6 + below(6);

	for (size_t i = 1 + below(8); i > 0 && page + patch <= r->pages; i--, page += patch + (one_in(4) ? 1 : 0)) {
		size_t at = page * PAGE + below(patch * PAGE);
		int error = odf_region_discard(r->handle, r->base + page * PAGE, patch * PAGE);
		if (error != 0)
			failure("odf_region_discard: %s", strerror(error));
		memset(r->shadow + page * PAGE, 0, patch * PAGE);
		touch(r, page, patch);
		if (one_in(4))
			continue;
		r->base[at] = r->shadow[at] = (unsigned char)draw();
	}
	totals->discards++;
}

static void refused(struct region *r)
{
	size_t size = r->pages * PAGE;
	const int got[] = {
		odf_region_discard(r->handle, r->base + 1, 1),
		odf_region_discard(r->handle, r->base + size, 1),
		odf_region_discard(r->handle, r->base, size + 1),
		odf_region_discard(r->handle, r->base - PAGE, PAGE),
		odf_region_discard(r->handle, r->base, SIZE_MAX),
	};

	for (size_t i = 0; i < sizeof got / sizeof *got; i++)
		if (got[i] != EINVAL)
			failure("wrong discard %zu gives %s", i, strerror(got[i]));
}

/* ---- Processes ------------------------------------------------------------------------------------------------------------- */

enum way {
	WAY_FORK, WAY_ODF_FORK, WAY_ODF_FORK_WITH, WAY_HANDLER, WAY_PLAIN,
	WAY_BARE = WAY_PLAIN, WAY_HANDLER_BARE, WAY_SYSCALL, WAY_CLONE, WAY_COUNT
};

static const char *const way_names[] = {
	"fork", "odf_fork", "odf_fork_with", "fork in a handler", "_Fork", "_Fork in a handler", "syscall", "clone",
};

static bool way_works[WAY_COUNT] = { [WAY_FORK] = true, [WAY_ODF_FORK] = true, [WAY_ODF_FORK_WITH] = true, [WAY_HANDLER] = true };
static pid_t (*bare_fork)(void);

static bool is_interposed(const char *name, void **symbol)
{
	Dl_info info;

	*symbol = dlsym(RTLD_DEFAULT, name);
	return *symbol != NULL && dladdr(*symbol, &info) != 0 && info.dli_fname != NULL &&
	       strstr(info.dli_fname, "libodfork") != NULL;
}

static void find_ways(void)
{
	void *symbol;

	if (is_interposed("_Fork", &symbol)) {
		memcpy(&bare_fork, &symbol, sizeof symbol);
		way_works[WAY_BARE] = way_works[WAY_HANDLER_BARE] = true;
	}
	way_works[WAY_SYSCALL] = is_interposed("syscall", &symbol);
	/* The address sanitizer knows nothing of the new stack and cleans up to the end of another, at the first call that does
	 * not return. */
	way_works[WAY_CLONE] = !SANITIZED && is_interposed("clone", &symbol);
}

static enum way draw_way(void)
{
	enum way way = (enum way)below(WAY_COUNT), plain = (enum way)below(WAY_PLAIN);

	return way_works[way] ? way : plain;
}

static volatile sig_atomic_t handler_is_bare;
static volatile pid_t handler_result;

static void fork_in_handler(int signal)
{
	(void)signal;
	handler_result = handler_is_bare ? bare_fork() : fork();
}

static void run_program(void) __attribute__((noreturn));

/* The first thing that a child does. */
__attribute__((noreturn)) static void be_child(int entry, enum way way)
{
	struct entry *e = &board->entries[entry];

	self.entry = entry;
	e->pid = getpid();
	strcpy(self.path, e->path);
	self.depth++;
	self.past_libc = self.past_libc || way == WAY_SYSCALL || way == WAY_CLONE;
	self.child_count = 0;
	for (struct region *r = self.regions; r < self.regions + MAX_REGIONS; r++) {
		r->owned = false;
		memset(&r->last, 0, sizeof r->last);
	}
	/* So that nobody stays stopped for good. */
	prctl(PR_SET_PDEATHSIG, SIGCONT);
	e->ready = true;
	run_program();
}

static int child_of_clone(void *argument)
{
	be_child(*(int *)argument, WAY_CLONE);
}

static void *stack_for_clone(void)
{
	void *stack = mmap(NULL, CLONE_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (stack == MAP_FAILED)
		failure("no memory for a stack");
	return stack;
}

static pid_t fork_by(enum way way, int entry)
{
	odf_fork_options options = ODF_FORK_OPTIONS_INIT;
	odf_report report = ODF_REPORT_INIT;
	const unsigned allow[] = { 0, 0, ODF_ALLOW(ODF_STRATEGY_FORK),
				   ODF_ALLOW(ODF_STRATEGY_FORK) | ODF_ALLOW(ODF_STRATEGY_REGION) };
	int pidfd = -1;
	pid_t pid = -1;
	void *stack;

	switch (way) {
	case WAY_ODF_FORK:
		return odf_fork();
	case WAY_ODF_FORK_WITH:
		options.allow = allow[below(4)];
		options.pidfd = one_in(3) ? &pidfd : NULL;
		pid = odf_fork_with(&options, &report);
		if (pidfd >= 0)
			close(pidfd);
		return pid;
	case WAY_BARE:
		return bare_fork();
	case WAY_HANDLER:
	case WAY_HANDLER_BARE:
		handler_is_bare = way == WAY_HANDLER_BARE;
		/* Not raise(), which takes the thread's number from libc. No other thread may have the signal unblocked, so it is
		 * here at once. */
		handler_result = -2;
		kill(getpid(), SIGUSR1);
		if (handler_result == -2)
			failure("a signal of the process did not come to its only thread");
		return handler_result;
	case WAY_SYSCALL:
		return (pid_t)(one_in(2) ? syscall(SYS_fork) : syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
	case WAY_CLONE:
		stack = stack_for_clone();
		pid = clone(child_of_clone, (char *)stack + CLONE_STACK, SIGCHLD, &entry);
		munmap(stack, CLONE_STACK);
		return pid;
	default:
		return fork();
	}
}

static void judge(struct entry *e, int status)
{
	bool ended = WIFEXITED(status) && WEXITSTATUS(status) == 0 && (e->done || e->leaves);
	bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && e->doomed;

	e->gone = true;
	if (board->failed)
		return;
	if (!ended && !killed)
		failure("process %s ended with %s %d", e->path, WIFSIGNALED(status) ? "signal" : "status",
			WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

static int wait_status(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) != pid)
		if (errno != EINTR)
			failure("waitpid: %s", strerror(errno));
	return status;
}

static void reap(int index)
{
	struct child child = self.children[index];

	if (child.stopped)
		kill(child.pid, SIGCONT);
	self.children[index] = self.children[--self.child_count];
	judge(&board->entries[child.entry], wait_status(child.pid));
}

static void make_child(void)
{
	enum way way = draw_way();
	int entry = atomic_fetch_add(&board->used, 1);
	uint64_t freezes[MAX_REGIONS];
	bool live[MAX_REGIONS] = { false };
	struct entry *e;
	pid_t pid;

	if (entry >= MAX_PROCESSES)
		failure("more processes than the test foresaw");
	if (self.child_count == MAX_CHILDREN)
		reap((int)below(MAX_CHILDREN));
	e = &board->entries[entry];
	memset(e, 0, sizeof *e);
	e->parent = self.entry;
	snprintf(e->path, sizeof e->path, "%.38s.%u", self.path, self.forks++ % 1000);
	for (int i = 0; i < MAX_REGIONS; i++)
		if (self.regions[i].handle != NULL && self.regions[i].owned && one_in(2)) {
			odf_region_info info = info_of(self.regions[i].handle);
			live[i] = info.state == ODF_REGION_LIVE;
			freezes[i] = info.freezes;
		}
	pid = fork_by(way, entry);
	if (pid == 0)
		be_child(entry, way);
	if (pid < 0)
		failure("%s: %s", way_names[way], strerror(errno));
	e->pid = pid;
	totals->processes++;
	note("%s makes %s, %d", way_names[way], e->path, (int)pid);
	self.children[self.child_count++] = (struct child){ pid, entry, false };
	for (int i = 0; i < MAX_REGIONS; i++)
		if (live[i]) {
			odf_region_info info = info_of(self.regions[i].handle);
			if (info.freezes != freezes[i] + 1)
				failure("region %d was LIVE with %" PRIu64 " freezes, and has %" PRIu64 " after %s", i,
					freezes[i], info.freezes, way_names[way]);
		}
}

/* What a parent can do to a child. */
static void treat_child(void)
{
	int index;
	struct child *child;
	struct entry *e;

	if (self.child_count == 0)
		return;
	index = (int)below((size_t)self.child_count);
	child = &self.children[index];
	e = &board->entries[child->entry];
	switch (below(6)) {
	case 0:
	case 1:
		e->doomed = true;
		kill(child->pid, SIGKILL);
		note("kills %s", e->path);
		totals->kills++;
		reap(index);
		break;
	case 2:
	case 3:
		if (child->stopped || !e->ready)
			break;
		child->stopped = true;
		kill(child->pid, SIGSTOP);
		note("stops %s", e->path);
		totals->stops++;
		break;
	case 4:
		child->stopped = false;
		kill(child->pid, SIGCONT);
		break;
	default:
		note("waits for %s", e->path);
		reap(index);
	}
}

/* In a function of its own, as it returns twice into the same frame. */
__attribute__((noinline)) static pid_t make_vfork_child(void)
{
	pid_t pid = vfork();

	if (pid == 0)
		_exit(0);
	return pid;
}

/* A spawn must not touch the regions. */
static void make_other_process(void)
{
	static char name[] = "true", *argv[] = { name, NULL };
	odf_region_info before[MAX_REGIONS];
	bool spawn = one_in(3);
	pid_t pid = -1;
	int status, error = 0;

	for (int i = 0; i < MAX_REGIONS; i++)
		if (self.regions[i].handle != NULL)
			before[i] = info_of(self.regions[i].handle);
	if (spawn) {
		error = one_in(2) ? posix_spawn(&pid, "/bin/true", NULL, NULL, argv, environ)
				  : odf_posix_spawn(&pid, "/bin/true", NULL, NULL, argv, environ);
	} else {
		pid = make_vfork_child();
	}
	if (error != 0 || pid < 0)
		failure("%s: %s", spawn ? "posix_spawn" : "vfork", strerror(error == 0 ? errno : error));
	status = wait_status(pid);
	if (status != 0)
		failure("a spawned process ended with %#x", status);
	for (int i = 0; i < MAX_REGIONS; i++)
		if (self.regions[i].handle != NULL) {
			odf_region_info after = info_of(self.regions[i].handle);
			/* The keeper may have settled meanwhile. */
			if (after.freezes != before[i].freezes ||
			    (before[i].state == ODF_REGION_LIVE && after.state != ODF_REGION_LIVE))
				failure("a %s made region %d go from %s to %s", spawn ? "spawn" : "vfork", i,
					state_name(before[i].state), state_name(after.state));
		}
	totals->spawns++;
}

/* In a child that was told that the memory is not there. What is there all the same must not be its parent's, which compares
 * after this. The kernel does it, and says EFAULT where we would be killed. */
static void try_to_write(const struct region *r)
{
	for (int i = 0; i < 6; i++) {
		unsigned char *at = r->base + draw_page(r) * PAGE + below(PAGE - 64);
		ssize_t count = syscall(SYS_getrandom, at, 64, 0);
		if (count != 64 && (count >= 0 || errno != EFAULT))
			failure("getrandom in a child that has not got the memory gives %zd: %s", count, strerror(errno));
	}
}

/* A fork that nobody can see; a pid, or minus an errno value. */
static long raw_fork(void)
{
#ifdef __x86_64__
	long pid;

	__asm__ volatile("syscall" : "=a"(pid) : "0"((long)SYS_fork) : "rcx", "r11", "memory");
	return pid;
#else
	return -ENOSYS;
#endif
}

/* The child of a fork that nobody can see must be told that it has not got the memory, unless it has. */
static void make_child_past_the_library(void)
{
	long pid = raw_fork();
	int status;

	if (pid == -ENOSYS)
		return;
	if (pid == 0) {
		alarm(GUARD_SECONDS / 2);
		for (struct region *r = self.regions; r < self.regions + MAX_REGIONS; r++) {
			odf_region_info info = ODF_REGION_INFO_INIT;
			int error;
			if (r->handle == NULL)
				continue;
			error = odf_region_info_get(r->handle, &info);
			if (error != 0)
				failure("odf_region_info_get past the library: %s", strerror(error));
			if (info.state == ODF_REGION_INHERITED)
				compare_region(r);
			else if (info.state != ODF_REGION_ABSENT || !r->owned)
				failure("region %d (%s) is %s in a child made past the library", number_of(r),
					r->owned ? "own" : "inherited", state_name(info.state));
			else if ((error = odf_region_discard(r->handle, r->base, PAGE)) != ENXIO)
				failure("discard in a child that has not got the memory: %s", strerror(error));
			else
				try_to_write(r);
		}
		_exit(0);
	}
	if (pid < 0)
		failure("a raw fork: %s", strerror((int)-pid));
	status = wait_status((pid_t)pid);
	if (status != 0 && !board->failed)
		failure("a child made past the library ended with %#x", status);
	compare_all();
	totals->past++;
}

/* Much to merge and nobody in the way: the keeper settles, and a fork cuts it short somewhere. */
static void race_settle(struct region *r)
{
	size_t tables = (r->pages + BLOCK - 1) / BLOCK, step = 1 + below(4);

	if (self.depth > 1 || self.page_budget < 0)
		return;
	make_child();
	for (size_t i = 0; i < 2; i++) {
		write_run(r);
		discard(r);
		discard_patchwork(r);
	}
	/* A little of every table, then more of some. */
	for (size_t table = 0; table < tables && table < 80 * step; table += step) {
		size_t page = table * BLOCK + below(BLOCK);
		if (page >= r->pages)
			break;
		touch(r, page, 1);
		r->base[page * PAGE] = r->shadow[page * PAGE] = (unsigned char)draw();
	}
	for (size_t i = 0; i < 3; i++) {
		size_t page = draw_page(r), run = r->pages - page < 300 ? r->pages - page : 300;
		touch(r, page, run);
		for (size_t p = page; p < page + run; p++)
			r->base[p * PAGE + 8] = r->shadow[p * PAGE + 8] = (unsigned char)(p + i);
	}
	while (self.child_count > 0) {
		board->entries[self.children[0].entry].doomed = true;
		kill(self.children[0].pid, SIGKILL);
		totals->kills++;
		reap(0);
	}
	usleep((useconds_t)below(one_in(4) ? 30000 : 3000));
	make_child();
	compare_region(r);
}

/* ---- The program ----------------------------------------------------------------------------------------------------------- */

enum operation {
	DO_WORDS, DO_RUN, DO_ADD, DO_KERNEL_WRITE, DO_KERNEL_READ, DO_COMPARE_SOME, DO_COMPARE, DO_DISCARD, DO_REFUSED, DO_FORK,
	DO_CHILD, DO_SETTLE, DO_INFO, DO_DESTROY, DO_CREATE, DO_SPAWN, DO_PAST, DO_RACE, DO_SLEEP, DO_COUNT
};

static const unsigned char weights[DO_COUNT] = {
	[DO_WORDS] = 26, [DO_RUN] = 12, [DO_ADD] = 6, [DO_KERNEL_WRITE] = 8, [DO_KERNEL_READ] = 4, [DO_COMPARE_SOME] = 8,
	[DO_COMPARE] = 5, [DO_DISCARD] = 8, [DO_REFUSED] = 1, [DO_FORK] = 14, [DO_CHILD] = 10, [DO_SETTLE] = 5, [DO_INFO] = 6,
	[DO_DESTROY] = 2, [DO_CREATE] = 4, [DO_SPAWN] = 2, [DO_PAST] = 1, [DO_RACE] = 1, [DO_SLEEP] = 4,
};

static enum operation draw_operation(void)
{
	size_t sum = 0, at;
	enum operation operation = DO_WORDS;

	for (int i = 0; i < DO_COUNT; i++)
		sum += weights[i];
	for (at = below(sum); at >= weights[operation]; operation++)
		at -= weights[operation];
	return operation;
}

static void create_one_more(void)
{
	for (struct region *r = self.regions; r < self.regions + MAX_REGIONS; r++)
		if (r->handle == NULL) {
			create(r);
			return;
		}
}

static void take_step(void)
{
	enum operation operation = draw_operation();
	struct region *r = draw_region();

	if (r == NULL && operation != DO_FORK && operation != DO_CHILD && operation != DO_SPAWN && operation != DO_SLEEP)
		operation = DO_CREATE;
	switch (operation) {
	case DO_WORDS:
		write_words(r);
		break;
	case DO_RUN:
		write_run(r);
		break;
	case DO_ADD:
		add_words(r);
		break;
	case DO_KERNEL_WRITE:
		kernel_writes(r);
		break;
	case DO_KERNEL_READ:
		kernel_reads(r);
		break;
	case DO_COMPARE_SOME:
		compare_some(r);
		break;
	case DO_COMPARE:
		compare_region(r);
		break;
	case DO_DISCARD:
		if (one_in(4))
			discard_patchwork(r);
		else
			discard(r);
		break;
	case DO_REFUSED:
		refused(r);
		break;
	case DO_FORK:
		if (self.depth < MAX_DEPTH && self.forks < self.fork_limit)
			make_child();
		else if (r != NULL)
			write_words(r);
		break;
	case DO_CHILD:
		treat_child();
		break;
	case DO_SETTLE:
		note("settle %d", number_of(r));
		settle(r);
		break;
	case DO_INFO:
		check_info(r);
		break;
	case DO_DESTROY:
		note("destroy %d", number_of(r));
		destroy(r);
		break;
	case DO_CREATE:
		if (!self.past_libc)
			create_one_more();
		break;
	case DO_SPAWN:
		make_other_process();
		break;
	case DO_PAST:
		make_child_past_the_library();
		break;
	case DO_RACE:
		race_settle(r);
		break;
	default:
		usleep((useconds_t)below(one_in(4) ? 4000 : 400));
	}
}

__attribute__((noreturn)) static void end_program(bool root)
{
	bool leave_children = one_in(root ? 8 : 4), leave_by_exec = !root && one_in(6);

	self.step++;
	compare_all();
	if (leave_children) {
		totals->orphans += (unsigned long)self.child_count;
	} else {
		while (self.child_count > 0 && !board->failed)
			reap(0);
		compare_all();
		self.step++;
		for (struct region *r = self.regions; r < self.regions + MAX_REGIONS; r++)
			if (r->handle != NULL && one_in(2)) {
				settle(r);
				check_info(r);
				compare_region(r);
			}
	}
	for (struct region *r = self.regions; r < self.regions + MAX_REGIONS; r++)
		if (r->handle != NULL) {
			if (one_in(2))
				destroy(r);
			else
				count_for_totals(r);
		}
	if (board->failed)
		_exit(1);
	if (leave_by_exec) {
		totals->execs++;
		board->entries[self.entry].leaves = true;
		execl("/bin/true", "true", (char *)NULL);
		failure("cannot execute /bin/true: %s", strerror(errno));
	}
	board->entries[self.entry].done = true;
	_exit(0);
}

/* Ends the process: exit status 0 when all was well. */
static void run_program(void)
{
	static const unsigned char most_forks[] = { 7, 4, 3, 2, 1 };
	bool root = self.depth == 0;
	unsigned steps;

	alarm(GUARD_SECONDS);
	draw_from_step(~0u);
	steps = root ? 30 + (unsigned)below(50) : (unsigned)below(one_in(4) ? 40 : 16);
	self.forks = 0;
	self.fork_limit = (unsigned)below(most_forks[self.depth] + 1u);
	self.page_budget = root && self.seed % 64 == 0 ? 20000 : 3000;
	self.step = 0;
	if (root) {
		for (size_t i = 1 + below(3); i > 0; i--)
			create(&self.regions[i - 1]);
	} else {
		for (struct region *r = self.regions; r < self.regions + MAX_REGIONS; r++)
			if (r->handle != NULL &&
			    (odf_region_base(r->handle) != r->base || odf_region_capacity(r->handle) != r->pages * PAGE))
				failure("region %d is elsewhere or of another size in the child", number_of(r));
		if (one_in(2))
			compare_all();
	}
	while (self.step < steps && !board->failed) {
		self.step++;
		draw_from_step(self.step);
		take_step();
		atomic_fetch_add_explicit(&totals->steps, 1, memory_order_relaxed);
	}
	if (board->failed)
		_exit(1);
	end_program(root);
}

/* ---- Seeds ----------------------------------------------------------------------------------------------------------------- */

static void on_guard(int signal)
{
	static const char text[] = "\n# a seed hangs\n";
	int nobody = 0;

	(void)signal;
	(void)!write(2, text, sizeof text - 1);
	if (atomic_compare_exchange_strong(&board->failed, &nobody, 1)) {
		snprintf(board->text, sizeof board->text, "seed %" PRIu64 ": does not end", self.seed);
		board->told = true;
	}
	for (int i = 0; i < board->used && i < MAX_PROCESSES; i++)
		if (board->entries[i].pid > 0 && !board->entries[i].gone)
			kill(board->entries[i].pid, SIGKILL);
}

static struct entry *entry_of(pid_t pid)
{
	for (int i = 0; i < board->used && i < MAX_PROCESSES; i++)
		if (board->entries[i].pid == pid && !board->entries[i].gone)
			return &board->entries[i];
	return NULL;
}

/* cmocka catches these to go on with the next test, which only its own process is to do. */
static void let_signals_kill(void)
{
	static const int signals[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS };

	for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
		signal(signals[i], SIG_DFL);
}

/* In a worker: makes the root, and waits for it and for all that outlive their parents, which come here. */
/* Of the library's own; not there where it is linked as programs have it. Every second seed gives small pieces back in the other ways. */
extern bool region_zero_pages_never __attribute__((weak));
/* And every third one settles without page tables, as where forks come close. */
extern bool region_fresh_always __attribute__((weak));

static bool run_seed(uint64_t seed)
{
	struct sigaction in_handler = { .sa_handler = fork_in_handler }, at_guard = { .sa_handler = on_guard };
	struct entry *root = &board->entries[0];
	pid_t pid;
	int status;

	memset(&self, 0, sizeof self);
	memset(board, 0, offsetof(struct board, entries));
	memset(root, 0, sizeof *root);
	if (&region_zero_pages_never != NULL)
		region_zero_pages_never = seed % 2 == 0;
	if (&region_fresh_always != NULL)
		region_fresh_always = seed % 3 == 0;
	self.seed = seed;
	strcpy(self.path, "0");
	strcpy(root->path, "0");
	root->parent = -1;
	board->used = 1;
	sigaction(SIGUSR1, &in_handler, NULL);
	pid = fork();
	if (pid == 0) {
		signal(SIGALRM, SIG_DFL);
		root->pid = getpid();
		run_program();
	}
	if (pid < 0)
		return false;
	root->pid = pid;
	sigaction(SIGALRM, &at_guard, NULL);
	alarm(GUARD_SECONDS + 60);
	while ((pid = waitpid(-1, &status, 0)) > 0 || errno == EINTR) {
		struct entry *e = pid > 0 ? entry_of(pid) : NULL;
		bool ended, killed;
		if (e == NULL)
			continue; /* a spawned one whose parent was killed */
		ended = WIFEXITED(status) && WEXITSTATUS(status) == 0 && (e->done || e->leaves);
		killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && e->doomed;
		e->gone = true;
		if (!ended && !killed && !board->failed) {
			board->failed = 1;
			snprintf(board->text, sizeof board->text, "seed %" PRIu64 ": process %s ended with %s %d", seed, e->path,
				 WIFSIGNALED(status) ? "signal" : "status",
				 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
			board->told = true;
		}
	}
	alarm(0);
	totals->seeds++;
	return board->failed == 0;
}

static uint64_t number_from(const char *name, uint64_t otherwise)
{
	const char *given = getenv(name);

	return given == NULL || *given == '\0' ? otherwise : strtoull(given, NULL, 0);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Seeds first, first + step... until `count` are done or the time is over; same: one seed over and over. */
__attribute__((noreturn)) static void work(uint64_t first, uint64_t step, uint64_t count, double end)
{
	let_signals_kill();
	board = shared_memory(sizeof *board);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	for (uint64_t i = 0; i < count && !totals->failed && (end == 0 || now() < end); i++) {
		int nobody = 0;
		if (run_seed(first + i * step))
			continue;
		if (atomic_compare_exchange_strong(&totals->failed, &nobody, 1))
			snprintf(totals->text, sizeof totals->text, "%s",
				 board->told ? board->text : "a process failed without a word");
		_exit(1);
	}
	_exit(0);
}

static uint64_t only_seed, only_times;

static void run_workers(uint64_t first, uint64_t count, uint64_t step, double end)
{
	uint64_t workers = number_from("ODF_TEST_WORKERS", 2);
	pid_t pids[64];
	bool fine = true;

	if (workers == 0 || workers > 64)
		workers = 2;
	for (uint64_t i = 0; i < workers; i++) {
		pids[i] = fork();
		if (pids[i] == 0)
			work(first + i * step, workers * step, count / workers + (i < count % workers), end);
		assert_true(pids[i] > 0);
	}
	for (uint64_t i = 0; i < workers; i++)
		fine = wait_for(pids[i]) == 0 && fine;
	print_message(
		"# %lu seeds, %lu processes, %lu steps, %lu pages compared, %lu regions made and %lu destroyed, %lu discards\n",
		(unsigned long)totals->seeds, (unsigned long)totals->processes, (unsigned long)totals->steps,
		(unsigned long)totals->compared, (unsigned long)totals->created, (unsigned long)totals->destroyed,
		(unsigned long)totals->discards);
	print_message("# %lu kills, %lu stops, %lu execs, %lu left behind, %lu spawns, %lu past the library, settle called: %lu "
		      "done, %lu busy\n",
		      (unsigned long)totals->kills, (unsigned long)totals->stops, (unsigned long)totals->execs,
		      (unsigned long)totals->orphans, (unsigned long)totals->spawns, (unsigned long)totals->past,
		      (unsigned long)totals->settles, (unsigned long)totals->busy);
	print_message("# regions: %lu settles, %lu interrupted, %lu pages merged\n", (unsigned long)totals->kernel_settles,
		      (unsigned long)totals->interrupted, (unsigned long)totals->merged);
	if (!fine || totals->failed) {
		print_message("# %s\n# replay: test_region_model SEED [TIMES]\n", totals->text);
		fail_msg("%s", totals->failed ? totals->text : "a worker failed");
	}
}

/* Regions are not for every machine. */
static bool regions_work(void)
{
	odf_capabilities capabilities = ODF_CAPABILITIES_INIT;

	assert_errno(0, odf_capabilities_get(&capabilities));
	if (capabilities.strategy[ODF_STRATEGY_REGION] == ODF_REASON_NONE ||
	    capabilities.strategy[ODF_STRATEGY_REGION] == ODF_REASON_NO_REGION)
		return true;
	skip_because(odf_reason_text(capabilities.strategy[ODF_STRATEGY_REGION]));
	return false;
}

static void test_random_programs(void **state)
{
	uint64_t seconds = number_from("ODF_TEST_SECONDS", 0), first = number_from("ODF_TEST_FIRST_SEED", 1);

	(void)state;
	if (!regions_work())
		return;
	if (only_times > 0) {
		run_workers(only_seed, only_times, 0, 0);
	} else if (seconds > 0) {
		uint32_t fresh;
		assert_int_equal(getrandom(&fresh, sizeof fresh, 0), sizeof fresh);
		first = (uint64_t)fresh << 16;
		print_message("# seeds from %" PRIu64 "\n", first);
		run_workers(first, UINT64_MAX / 2, 1, now() + (double)seconds);
	} else {
		run_workers(first, number_from("ODF_TEST_SEEDS", 2000), 1, 0);
	}
}

/* ---- Who holds a snapshot, one case at a time ------------------------------------------------------------------------------ */

enum { PAGES = 2 * BLOCK + 1 };

static void fill(unsigned char *base, uint64_t tag)
{
	for (size_t page = 0; page < PAGES; page++)
		for (size_t word = 0; word < PAGE / 8; word += 64)
			((uint64_t *)(void *)(base + page * PAGE))[word] = tag << 32 | (page * PAGE + word);
}

static bool is_filled(const unsigned char *base, uint64_t tag)
{
	for (size_t page = 0; page < PAGES; page++)
		for (size_t word = 0; word < PAGE / 8; word++) {
			uint64_t must = word % 64 == 0 ? tag << 32 | (page * PAGE + word) : 0;
			if (((const uint64_t *)(const void *)(base + page * PAGE))[word] != must)
				return false;
		}
	return true;
}

enum holder { HOLDS_CHILD, HOLDS_STOPPED, HOLDS_ORPHAN, HOLDS_ORPHAN_OF_KILLED, HOLDER_COUNT };

struct word {
	atomic_int ready, pid, verdict; /* verdict: 1 well, 2 not */
};

/* Holds the snapshot until it is told to look, or the test has ended. */
__attribute__((noreturn)) static void hold(const unsigned char *base, struct word *word, const int go[2])
{
	char byte;
	bool well = is_filled(base, 1);

	alarm(GUARD_SECONDS);
	word->pid = getpid();
	word->ready = 1;
	if (read(go[0], &byte, 1) != 1)
		well = false;
	word->verdict = well && is_filled(base, 1) ? 1 : 2;
	_exit(0);
}

static pid_t make_holder(enum holder holder, const unsigned char *base, struct word *word, const int go[2])
{
	pid_t pid = fork(), middle;
	char byte;

	assert_true(pid >= 0);
	if (pid == 0) {
		let_signals_kill();
		close(go[1]);
		if (holder == HOLDS_CHILD || holder == HOLDS_STOPPED)
			hold(base, word, go);
		if (fork() == 0)
			hold(base, word, go);
		if (holder == HOLDS_ORPHAN)
			_exit(0);
		_exit(read(go[0], &byte, 1) == 0);
	}
	while (!word->ready)
		usleep(100);
	if (holder == HOLDS_STOPPED)
		kill(pid, SIGSTOP);
	if (holder == HOLDS_CHILD || holder == HOLDS_STOPPED)
		return pid;
	middle = pid;
	if (holder == HOLDS_ORPHAN_OF_KILLED)
		kill(middle, SIGKILL);
	wait_for(middle);
	return word->pid;
}

static odf_region_info get_info(const odf_region *region)
{
	odf_region_info info = ODF_REGION_INFO_INIT;

	assert_errno(0, odf_region_info_get(region, &info));
	return info;
}

/* A holder was reaped; its memory may be held for a moment more only if something else looks at it. */
static void must_settle(odf_region *region)
{
	int error = EBUSY;

	for (int patience = 10000; error == EBUSY && patience > 0; patience--) {
		error = odf_region_settle(region);
		if (error == EBUSY)
			usleep(1000);
	}
	assert_int_equal(error, 0);
	assert_int_equal(get_info(region).state, ODF_REGION_LIVE);
}

static void hold_and_settle(enum holder holder, unsigned flags)
{
	odf_region *region = odf_region_create(PAGES * PAGE, flags);
	struct word *word = shared_memory(sizeof *word);
	unsigned char *base;
	int go[2];
	pid_t pid;

	assert_non_null(region);
	base = odf_region_base(region);
	assert_int_equal(pipe2(go, O_CLOEXEC), 0);
	fill(base, 1);
	pid = make_holder(holder, base, word, go);
	for (uint64_t tag = 2; tag < 5; tag++) {
		fill(base, tag);
		assert_int_equal(odf_region_settle(region), EBUSY);
		assert_true(is_filled(base, tag));
		assert_int_equal(get_info(region).state, ODF_REGION_FROZEN);
		usleep(3000);
	}
	assert_errno(0, odf_region_discard(region, base, PAGES * PAGE));
	assert_int_equal(write(go[1], "g", 1), 1);
	if (holder == HOLDS_STOPPED)
		kill(pid, SIGCONT);
	must_exit_with(pid, 0);
	assert_int_equal(word->verdict, 1);
	must_settle(region);
	for (size_t i = 0; i < PAGES * PAGE; i++)
		assert_int_equal(base[i], 0);
	fill(base, 6);
	must_settle(region);
	assert_true(is_filled(base, 6));
	assert_errno(0, odf_region_destroy(region));
	close(go[0]);
	close(go[1]);
	munmap(word, sizeof *word);
}

static bool settling_by_call_works(void)
{
	odf_region *region = odf_region_create(PAGE, 0);
	odf_region_info info;

	assert_non_null(region);
	info = get_info(region);
	assert_errno(0, odf_region_destroy(region));
	if (info.settling == ODF_REGION_SETTLES_NEVER)
		skip_because("regions do not settle here");
	return info.settling != ODF_REGION_SETTLES_NEVER;
}

static void test_holders(void **state)
{
	(void)state;
	if (!regions_work() || !settling_by_call_works())
		return;
	/* Orphans come to us. */
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	for (enum holder holder = 0; holder < HOLDER_COUNT; holder++) {
		hold_and_settle(holder, 0);
		hold_and_settle(holder, ODF_REGION_MANUAL);
	}
	prctl(PR_SET_CHILD_SUBREAPER, 0);
	must_have_no_children();
}

/* A child that executes has let go of the snapshot, though it lives. */
static void test_exec_lets_go(void **state)
{
	odf_region *region;
	unsigned char *base;
	int in[2], out[2];
	char byte = 0;
	pid_t pid;

	(void)state;
	if (!regions_work() || !settling_by_call_works())
		return;
	region = odf_region_create(PAGES * PAGE, ODF_REGION_MANUAL);
	assert_non_null(region);
	base = odf_region_base(region);
	fill(base, 1);
	assert_int_equal(pipe2(in, O_CLOEXEC) | pipe2(out, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		dup2(in[0], 0);
		dup2(out[1], 1);
		execl("/bin/cat", "cat", (char *)NULL);
		_exit(127);
	}
	fill(base, 2);
	/* It runs as soon as it has given the byte back. */
	assert_int_equal(write(in[1], "x", 1), 1);
	assert_int_equal(read(out[0], &byte, 1), 1);
	assert_errno(0, odf_region_settle(region));
	assert_int_equal(get_info(region).state, ODF_REGION_LIVE);
	assert_true(is_filled(base, 2));
	for (int i = 0; i < 2; i++) {
		close(in[i]);
		close(out[i]);
	}
	must_exit_with(pid, 0);
	assert_errno(0, odf_region_destroy(region));
}

/* ---- Forks in signal handlers ---------------------------------------------------------------------------------------------- */

static struct {
	const unsigned char *base;
	atomic_ulong forks, failures;
} in_handler;

/* At any moment of a call about regions, not only between them. _Fork where it is ours, for libc's fork is not made for handlers;
 * but what is interrupted here holds none of its locks. */
static void fork_and_look(int signal)
{
	int saved = errno, status;
	pid_t pid = bare_fork != NULL ? bare_fork() : fork();

	(void)signal;
	if (pid == 0)
		_exit(is_filled(in_handler.base, 1) ? 0 : 1);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
		in_handler.failures++;
	in_handler.forks++;
	errno = saved;
}

static void test_forks_in_handlers(void **state)
{
	struct sigaction action = { .sa_handler = fork_and_look, .sa_flags = SA_RESTART };
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2 };
	odf_region *kept, *region;
	uint64_t random = 1;
	unsigned char *base;
	timer_t timer;

	(void)state;
	if (!regions_work())
		return;
	alarm(GUARD_SECONDS);
	kept = odf_region_create(PAGES * PAGE, 0);
	region = odf_region_create(PAGES * PAGE, 0);
	assert_true(kept != NULL && region != NULL);
	fill(odf_region_base(kept), 1);
	base = odf_region_base(region);
	in_handler.base = odf_region_base(kept);
	sigaction(SIGUSR2, &action, NULL);
	assert_int_equal(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
	for (unsigned round = 0; round < 400; round++) {
		unsigned long before = in_handler.forks;
		struct itimerspec when = { { 0, 0 }, { 0, 1 } };
		random = mix(random);
		when.it_value.tv_nsec += (long)(random % 300000);
		assert_int_equal(timer_settime(timer, 0, &when, NULL), 0);
		while (in_handler.forks == before) {
			size_t page = random % (PAGES - 20);
			base[page * PAGE] = base[(page + 19) * PAGE] = (unsigned char)(1 + round % 255);
			if (base[page * PAGE] != 1 + round % 255 || base[(page + 19) * PAGE] != 1 + round % 255)
				in_handler.failures++;
			assert_errno(0, odf_region_discard(region, base + page * PAGE, 20 * PAGE));
			if (base[page * PAGE] != 0 || base[(page + 19) * PAGE] != 0)
				in_handler.failures++;
			if (round % 4 == 0)
				(void)get_info(region);
			if (round % 4 == 1)
				(void)odf_region_settle(region); /* EAGAIN, if the fork came between */
		}
	}
	timer_delete(timer);
	alarm(0);
	signal(SIGUSR2, SIG_DFL);
	assert_int_equal(in_handler.failures, 0);
	assert_true(is_filled(in_handler.base, 1));
	assert_errno(0, odf_region_destroy(kept));
	assert_errno(0, odf_region_destroy(region));
	must_have_no_children();
}

/* ---- Forks that nobody sees ------------------------------------------------------------------------------------------------ */

/* In such a child: whether each region is there as it says. 0 or 1, or how it is wrong. */
static int look_past_the_library(odf_region *const regions[], int count)
{
	int result = 0;

	for (int i = 0; i < count; i++) {
		const volatile uint64_t *words = odf_region_base(regions[i]);
		odf_region_info info = ODF_REGION_INFO_INIT;
		if (odf_region_info_get(regions[i], &info) != 0 ||
		    (info.state != ODF_REGION_ABSENT && info.state != ODF_REGION_INHERITED))
			return 2;
		for (size_t page = 0; page < PAGES && info.state == ODF_REGION_INHERITED; page += 32)
			if (words[page * PAGE / 8] != (1ull << 32 | page * PAGE)) /* or is killed here */
				return 3;
		result |= info.state == ODF_REGION_INHERITED;
	}
	return result;
}

/* While the keeper asks for descendants and settles: a child has the memory or knows that it has not. */
static void test_forks_past_the_library(void **state)
{
	double end = now() + 1.5 + (double)number_from("ODF_TEST_SECONDS", 0) / 10;
	unsigned long there = 0, absent = 0;
	odf_region *regions[3];
	uint64_t random = 3;

	(void)state;
	if (!regions_work())
		return;
#ifndef __x86_64__
	skip_because("no code for a raw fork on this machine");
	return;
#endif
	alarm(GUARD_SECONDS + (unsigned)number_from("ODF_TEST_SECONDS", 0));
	for (int i = 0; i < 3; i++) {
		regions[i] = odf_region_create(PAGES * PAGE, 0);
		assert_non_null(regions[i]);
		fill(odf_region_base(regions[i]), 1);
	}
	while (now() < end) {
		pid_t pid = fork();
		assert_true(pid >= 0);
		random = mix(random);
		if (pid == 0) {
			usleep((useconds_t)(random % 300));
			_exit(0);
		}
		for (int i = 0; i < 3; i++)
			for (size_t page = 0; page < PAGES; page += 3)
				((volatile unsigned char *)odf_region_base(regions[i]))[page * PAGE + 8] = 0; /* what is there */
		for (int raw = 0; raw < 12; raw++) {
			long past = raw_fork();
			int status;
			if (past == 0) {
				let_signals_kill();
				_exit(look_past_the_library(regions, 3));
			}
			assert_true(past > 0);
			status = wait_for((pid_t)past);
			if (!WIFEXITED(status) || WEXITSTATUS(status) > 1)
				fail_msg("a child made past the library ended with %#x", status);
			there += WEXITSTATUS(status) == 1;
			absent += WEXITSTATUS(status) == 0;
			if (raw == 4)
				must_exit_with(pid, 0);
		}
	}
	alarm(0);
	print_message("# %lu children had the memory of a region, %lu of none\n", there, absent);
	for (int i = 0; i < 3; i++) {
		assert_true(is_filled(odf_region_base(regions[i]), 1));
		assert_errno(0, odf_region_destroy(regions[i]));
	}
	must_have_no_children();
}

/* ---- Nothing is left ------------------------------------------------------------------------------------------------------- */

static size_t count_lines(const char *path)
{
	char *text = read_file(path);
	size_t count = 0;

	assert_non_null(text);
	for (const char *c = text; *c != '\0'; c++)
		count += *c == '\n';
	free(text);
	return count;
}

static size_t count_threads(void)
{
	char *text = read_file("/proc/self/status"), *line;
	size_t count;

	assert_non_null(text);
	line = strstr(text, "\nThreads:");
	assert_non_null(line);
	count = strtoul(line + 9, NULL, 10);
	free(text);
	return count;
}

static void cycle(unsigned round)
{
	odf_region *regions[3];
	pid_t pid;

	for (int i = 0; i < 3; i++) {
		size_t size = (size_t)(1 + round * 7 % 300) * PAGE << 4 * i;
		regions[i] = odf_region_create(size, round % 3 == 0 ? ODF_REGION_MANUAL : 0);
		assert_non_null(regions[i]);
		memset(odf_region_base(regions[i]), 1, PAGE);
	}
	for (int i = 0; i < 3; i++) {
		pid = i == 1 ? odf_fork() : fork();
		assert_true(pid >= 0);
		if (pid == 0) {
			unsigned char *base = odf_region_base(regions[i]);
			let_signals_kill();
			base[1] = 2;
			_exit(base[0] == 1 && odf_region_destroy(regions[i]) == 0 ? 0 : 1);
		}
		memset(odf_region_base(regions[i]), 3, PAGE);
		if (round % 2 == 0)
			assert_errno(0, odf_region_discard(regions[i], odf_region_base(regions[i]), PAGE));
		if (round % 4 == 1)
			assert_errno(0, odf_region_destroy(regions[i])); /* while the child has it */
		must_exit_with(pid, 0);
		if (round % 4 != 1 && round % 2 == 0)
			odf_region_settle(regions[i]);
	}
	if (round % 4 != 1)
		for (int i = 0; i < 3; i++)
			assert_errno(0, odf_region_destroy(regions[i]));
}

static void test_nothing_is_left(void **state)
{
	size_t threads, maps;
	struct surroundings before;

	(void)state;
	if (!regions_work())
		return;
	/* libc keeps the stacks of threads that ended, and the library may keep something for the next region. */
	for (unsigned round = 0; round < 24; round++)
		cycle(round);
	usleep(100000);
	before = surroundings_take();
	threads = count_threads();
	maps = count_lines("/proc/self/maps");
	for (unsigned round = 0; round < 120; round++)
		cycle(round);
	for (int patience = 2000; patience > 0; patience--) {
		if (count_threads() <= threads && count_lines("/proc/self/maps") <= maps)
			break;
		usleep(10000);
	}
	assert_true(count_threads() <= threads);
	/* A thread's stack more or less, with its guard. */
	assert_true(count_lines("/proc/self/maps") <= maps + 2);
	surroundings_must_equal(&before);
	must_have_no_children();
}

/* Kilobytes of our own memory, in a line of /proc/self/status. */
static size_t own_kilobytes(void)
{
	char *text = read_file("/proc/self/status"), *line;
	size_t count;

	assert_non_null(text);
	line = strstr(text, "\nRssAnon:");
	assert_non_null(line);
	count = strtoul(line + 9, NULL, 10);
	free(text);
	return count;
}

/* What a FROZEN region cost twice is there once when it has settled, and what was discarded is free. */
static void test_memory_is_given_back(void **state)
{
	enum { SIZE = 64 << 20, SLACK = 8 << 20 };
	struct word *word = shared_memory(sizeof *word);
	odf_region *region;
	unsigned char *base;
	size_t before;
	int go[2];
	pid_t pid;

	(void)state;
	if (!regions_work() || !settling_by_call_works())
		return;
	region = odf_region_create(SIZE, ODF_REGION_MANUAL);
	assert_non_null(region);
	base = odf_region_base(region);
	memset(base, 1, SIZE);
	before = own_kilobytes();
	assert_true(get_info(region).resident_bytes >= SIZE);
	fill(base, 1); /* for the holder, who looks at the first pages */
	for (size_t page = 0; page < PAGES; page++)
		for (size_t i = 0; i < PAGE; i++)
			if (i % 512 >= 8)
				base[page * PAGE + i] = 0;
	assert_int_equal(pipe2(go, O_CLOEXEC), 0);
	pid = make_holder(HOLDS_CHILD, base, word, go);
	memset(base, 2, SIZE);
	assert_true(get_info(region).private_bytes >= SIZE && own_kilobytes() >= before + (SIZE - SLACK) / 1024);
	assert_errno(0, odf_region_discard(region, base, SIZE / 2));
	assert_int_equal(write(go[1], "g", 1), 1);
	must_exit_with(pid, 0);
	assert_int_equal(word->verdict, 1);
	must_settle(region);
	/* It may drop its copies after it has told us. */
	for (int patience = 2000; patience > 0 && own_kilobytes() > before + SLACK / 1024; patience--)
		usleep(5000);
	assert_true(own_kilobytes() <= before + SLACK / 1024);
	assert_true(get_info(region).resident_bytes <= SIZE / 2 + SLACK && get_info(region).private_bytes == 0);
	assert_errno(0, odf_region_discard(region, base + SIZE / 2, SIZE / 4));
	assert_true(get_info(region).resident_bytes <= SIZE / 4 + SLACK);
	for (size_t i = 0; i < SIZE; i += 512)
		assert_int_equal(base[i], i < SIZE / 4 * 3 ? 0 : 2);
	assert_errno(0, odf_region_destroy(region));
	close(go[0]);
	close(go[1]);
	munmap(word, sizeof *word);
}

static void test_interposition(void **state)
{
	(void)state;
#ifdef ODF_TEST_INTERPOSED
	void *symbol;
	assert_true(is_interposed("fork", &symbol));
	for (enum way way = 0; way < WAY_COUNT; way++)
		if (!way_works[way] && !(way == WAY_CLONE && SANITIZED))
			fail_msg("%s is not interposed", way_names[way]);
#endif
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
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_interposition),
		cmocka_unit_test(test_holders),
		cmocka_unit_test(test_exec_lets_go),
		cmocka_unit_test(test_forks_in_handlers),
		cmocka_unit_test(test_forks_past_the_library),
		cmocka_unit_test(test_memory_is_given_back),
		cmocka_unit_test(test_nothing_is_left),
		cmocka_unit_test(test_random_programs),
	};
	const struct CMUnitTest only[] = { cmocka_unit_test(test_random_programs) };

	be_nobody(argv);
	find_ways();
	trace = number_from("ODF_TEST_TRACE", 0) != 0;
	totals = shared_memory(sizeof *totals);
	if (argc > 1) {
		only_seed = strtoull(argv[1], NULL, 0);
		only_times = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
		return cmocka_run_group_tests_name("region_model", only, NULL, NULL);
	}
	return cmocka_run_group_tests_name("region_model", tests, NULL, NULL);
}
