/* SPDX-License-Identifier: MIT
 *
 * Regions under threads that never stop, with a loaded machine around them. What must hold:
 *
 *   - a snapshot is a moment. Each writer goes through its slots in order, round after round, by stores or by system calls that
 *     write for it; at any moment the rounds in its slots are r, r ... r, r-1 ... r-1, and this is what a child must see, at
 *     every look the same;
 *   - no write is lost, no page goes astray: each slot says whose it is, and each writer finds what it left;
 *   - no system call fails for where its memory is, mutexes there exclude and condition variables wake, and nobody sees what a
 *     child writes;
 *   - foreign memory is left alone, and never comes to lie in a region.
 *
 * ODF_TEST_SECONDS says for how long (6), ODF_TEST_NOBODY=1 gives up root first. Compiled with ODF_TEST_INTERPOSED the shared
 * library must be there; where it is, children are made in the ways that it interposes too.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../support/support.h"

enum {
	PAGE = 4096,
	REGIONS = 3,
	WRITERS = 4,        /* by stores */
	KERNEL_WRITERS = 2, /* by system calls */
	VECTORS = WRITERS + KERNEL_WRITERS,
	PER_REGION = 128,
	SLOTS = PER_REGION * REGIONS,
	SHARED = 24,       /* counters that all writers add to */
	GUARDED = 2 * REGIONS,
	LOCKERS = 2,
	BLOCK_PAGES = 8,   /* of each kernel writer, for long reads */
	DISCARD_PAGES = 3000,
	FORKERS = 2,
	SPINNERS = 2,
	MAPPINGS = 24,
	GUARD_SECONDS = 300 /* only to tell a hang from a failure */
};

static const size_t region_pages[REGIONS] = { 10 * 1024 + 1, 1536 + 3, 3ul << 18 };

/* ---- What all processes share ---------------------------------------------------------------------------------------------- */

static struct outcome {
	atomic_int failures;
	char text[512];
	atomic_ulong looks, orphans_made, orphans_well;
} *outcome;

__attribute__((format(printf, 1, 2))) static void failure(const char *format, ...)
{
	va_list arguments;

	if (atomic_fetch_add(&outcome->failures, 1) != 0)
		return;
	va_start(arguments, format);
	vsnprintf(outcome->text, sizeof outcome->text, format, arguments);
	va_end(arguments);
}

static pid_t test_process;

/* ---- The memory ------------------------------------------------------------------------------------------------------------ */

static struct {
	odf_region *region;
	unsigned char *base;
	size_t pages, counter_pages; /* slots and shared counters are below counter_pages */
} regions[REGIONS];

static _Atomic uint64_t *slots[VECTORS][SLOTS], *shared[SHARED];
static unsigned char *blocks[KERNEL_WRITERS];

/* What a mutex in a region guards, in the same page. */
static struct guarded {
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	_Atomic uint64_t first, second; /* equal, unless somebody holds the mutex */
} *guarded[GUARDED];

/* Each value says whose it is, so that a page in the wrong place shows. */
static uint64_t value_of(int vector, int slot, uint64_t round)
{
	return (uint64_t)(1 + vector * SLOTS + slot) << 48 | round;
}

static const uint64_t round_mask = (1ull << 48) - 1;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Every other while the load rests, so that more is forked and settled; in between everything is slow. */
static bool load_rests(void)
{
	return (uint64_t)(now() * 1.3) % 2 != 0;
}

static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static size_t below(uint64_t *random, size_t limit)
{
	*random = mix(*random);
	return (size_t)(*random % limit);
}

/* Pages one by one, scattered over what belongs to the counters: a prime stride meets each once. */
static unsigned char *next_page(int region, size_t *turn)
{
	size_t page = 11 + *turn * 1000003 % regions[region].counter_pages;

	(*turn)++;
	return regions[region].base + page % regions[region].counter_pages * PAGE;
}

static void lay_out(void)
{
	size_t turns[REGIONS] = { 0 };

	for (int r = 0; r < REGIONS; r++) {
		regions[r].region = odf_region_create(region_pages[r] * PAGE, 0);
		assert_non_null(regions[r].region);
		regions[r].base = odf_region_base(regions[r].region);
		regions[r].pages = region_pages[r];
		regions[r].counter_pages = region_pages[r] * 3 / 4;
	}
	for (int slot = 0; slot < SLOTS; slot++) {
		int r = slot % REGIONS;
		unsigned char *page = NULL;
		/* Some slots have a page to themselves, some share one: others write to the page while it is merged. */
		for (int v = 0; v < VECTORS; v++) {
			if (page == NULL || slot / REGIONS % 2 == 0)
				page = next_page(r, &turns[r]);
			slots[v][slot] = (_Atomic uint64_t *)(void *)(page + 64 * (v + slot % 32));
			*slots[v][slot] = value_of(v, slot, 0);
		}
	}
	for (int i = 0; i < SHARED; i++)
		shared[i] = (_Atomic uint64_t *)(void *)(next_page(i % REGIONS, &turns[i % REGIONS]) + i * 8);
	for (int i = 0; i < GUARDED; i++) {
		pthread_mutexattr_t attributes;
		guarded[i] = (struct guarded *)(void *)next_page(i % REGIONS, &turns[i % REGIONS]);
		assert_int_equal(pthread_mutexattr_init(&attributes), 0);
		if (i % 2 == 0)
			assert_int_equal(pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT), 0);
		assert_int_equal(pthread_mutex_init(&guarded[i]->mutex, &attributes), 0);
		assert_int_equal(pthread_cond_init(&guarded[i]->changed, NULL), 0);
		pthread_mutexattr_destroy(&attributes);
	}
	/* The last pages of the second region, whose discards end before. */
	for (int i = 0; i < KERNEL_WRITERS; i++)
		blocks[i] = regions[1].base + (regions[1].pages - (size_t)(i + 1) * BLOCK_PAGES) * PAGE;
}

static void discard_range(int region, size_t *first, size_t *count)
{
	size_t left = regions[region].pages - regions[region].counter_pages - (region == 1 ? KERNEL_WRITERS * BLOCK_PAGES : 0);

	*first = regions[region].counter_pages;
	*count = left < DISCARD_PAGES ? left : DISCARD_PAGES;
}

/* ---- Threads that write ---------------------------------------------------------------------------------------------------- */

static atomic_bool stop, stop_forks;
static atomic_ulong rounds_written, kernel_writes, added, locked, discards, forks, spawns, mappings, kills, churned, settle_calls;
static uint64_t last_round[VECTORS];

static void check_slot(int v, int slot, uint64_t round)
{
	uint64_t is = atomic_load_explicit(slots[v][slot], memory_order_relaxed);

	if (is != value_of(v, slot, round))
		failure("writer %d lost slot %d (region %d, offset %#zx): %016" PRIx64 ", must be %016" PRIx64, v, slot,
			slot % REGIONS, (size_t)((uintptr_t)slots[v][slot] - (uintptr_t)regions[slot % REGIONS].base), is,
			value_of(v, slot, round));
}

static void *write_always(void *number)
{
	int v = (int)(intptr_t)number;
	uint64_t round = 0, random = (uint64_t)v;

	while (!stop && outcome->failures == 0) {
		round++;
		for (int slot = 0; slot < SLOTS; slot++) {
			check_slot(v, slot, round - 1);
			atomic_store_explicit(slots[v][slot], value_of(v, slot, round), memory_order_release);
			if (slot % 16 == v) {
				atomic_fetch_add_explicit(shared[below(&random, SHARED)], 1, memory_order_relaxed);
				added++;
			}
		}
		rounds_written++;
		if (load_rests() && v > 0)
			usleep(300);
	}
	last_round[v] = round;
	return NULL;
}

struct channels {
	int pipe[2], sockets[2], file, zero;
};

/* The kernel writes `size` bytes to `to`; the result of the call that did. */
static ssize_t write_by_kernel(const struct channels *channels, uint64_t how, const void *bytes, void *to, size_t size)
{
	struct iovec target = { to, size }, source = { (void *)(uintptr_t)bytes, size };
	ssize_t count;

	switch (how % 5) {
	case 0:
		if (pwrite(channels->file, bytes, size, 0) != (ssize_t)size)
			return -1;
		return pread(channels->file, to, size, 0);
	case 1:
		count = process_vm_readv(getpid(), &target, 1, &source, 1, 0);
		if (count >= 0 || (errno != EPERM && errno != ENOSYS))
			return count;
		break; /* a sandbox */
	case 2:
		if (send(channels->sockets[0], bytes, size, 0) != (ssize_t)size)
			return -1;
		return recv(channels->sockets[1], to, size, MSG_WAITALL);
	case 3:
		if (write(channels->pipe[1], bytes, size) != (ssize_t)size)
			return -1;
		return readv(channels->pipe[0], &target, 1);
	default:
		break;
	}
	if (write(channels->pipe[1], bytes, size) != (ssize_t)size)
		return -1;
	return read(channels->pipe[0], to, size);
}

/* Long reads over several pages; each finds what the one before left. */
static void write_block(int writer, const struct channels *channels, uint64_t *random)
{
	static unsigned char must[KERNEL_WRITERS][BLOCK_PAGES * PAGE], bytes[KERNEL_WRITERS][BLOCK_PAGES * PAGE];
	size_t at = below(random, BLOCK_PAGES * PAGE - 1), size = 1 + below(random, BLOCK_PAGES * PAGE - at);
	unsigned char *block = blocks[writer];
	uint64_t how = below(random, 8);
	ssize_t count;

	if (memcmp(block, must[writer], BLOCK_PAGES * PAGE) != 0)
		failure("kernel writer %d lost something of its block", writer);
	if (how == 6) {
		count = read(channels->zero, block + at, size);
		memset(must[writer] + at, 0, size);
	} else if (how == 7) {
		size = size > 256 ? 256 : size;
		count = syscall(SYS_getrandom, block + at, size, 0); /* libc's may not ask the kernel */
		memcpy(must[writer] + at, block + at, size);
	} else {
		for (size_t i = 0; i < size; i += 8)
			memcpy(bytes[writer] + i, random, size - i < 8 ? size - i : 8);
		count = write_by_kernel(channels, how, bytes[writer], block + at, size);
		memcpy(must[writer] + at, bytes[writer], size);
	}
	if (count != (ssize_t)size)
		failure("a system call (%d) wrote %zd of %zu bytes at %p: %s", (int)how, count, size, (void *)(block + at),
			strerror(errno));
	/* And reads, from the region. */
	if (pwrite(channels->file, block, BLOCK_PAGES * PAGE, 0) != BLOCK_PAGES * PAGE ||
	    pread(channels->file, bytes[writer], BLOCK_PAGES * PAGE, 0) != BLOCK_PAGES * PAGE)
		failure("cannot write from a region to a file: %s", strerror(errno));
	else if (memcmp(bytes[writer], must[writer], BLOCK_PAGES * PAGE) != 0)
		failure("the kernel reads something else from the block of writer %d", writer);
}

static void *write_by_kernel_always(void *number)
{
	int v = (int)(intptr_t)number, writer = v - WRITERS;
	uint64_t round = 0, random = (uint64_t)v;
	struct channels channels;

	if (pipe2(channels.pipe, O_CLOEXEC) != 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channels.sockets) != 0 ||
	    (channels.file = memfd_create("file", MFD_CLOEXEC)) < 0 ||
	    (channels.zero = open("/dev/zero", O_RDONLY | O_CLOEXEC)) < 0) {
		failure("no descriptors: %s", strerror(errno));
		return NULL;
	}
	while (!stop && outcome->failures == 0) {
		round++;
		for (int slot = 0; slot < SLOTS; slot++) {
			uint64_t value = value_of(v, slot, round);
			ssize_t count;
			check_slot(v, slot, round - 1);
			count = write_by_kernel(&channels, (uint64_t)slot + round, &value, (void *)(uintptr_t)slots[v][slot],
						sizeof value);
			if (count != sizeof value) {
				failure("a system call (%d) wrote %zd bytes to a slot: %s", (int)(((uint64_t)slot + round) % 5),
					count, strerror(errno));
				break;
			}
			kernel_writes++;
		}
		write_block(writer, &channels, &random);
		rounds_written++;
	}
	last_round[v] = round;
	close(channels.pipe[0]);
	close(channels.pipe[1]);
	close(channels.sockets[0]);
	close(channels.sockets[1]);
	close(channels.file);
	close(channels.zero);
	return NULL;
}

/* ---- Threads that lock ----------------------------------------------------------------------------------------------------- */

static void *lock_always(void *number)
{
	uint64_t random = 31 + (uint64_t)(intptr_t)number;

	while (!stop && outcome->failures == 0) {
		struct guarded *g = guarded[below(&random, GUARDED)];
		uint64_t first;
		int error = pthread_mutex_lock(&g->mutex);
		if (error != 0)
			failure("pthread_mutex_lock in a region: %s", strerror(error));
		if (g->first != g->second)
			failure("a mutex in a region does not exclude: %" PRIu64 " and %" PRIu64, g->first, g->second);
		first = atomic_load_explicit(&g->first, memory_order_relaxed) + 1;
		atomic_store_explicit(&g->first, first, memory_order_release);
		if (below(&random, 32) == 0)
			sched_yield(); /* so that the other one comes to wait */
		atomic_store_explicit(&g->second, first, memory_order_release);
		locked++;
		if (below(&random, 64) == 0) {
			struct timespec until;
			clock_gettime(CLOCK_REALTIME, &until);
			until.tv_nsec = until.tv_nsec < 999000000 ? until.tv_nsec + 1000000 : until.tv_nsec;
			pthread_cond_timedwait(&g->changed, &g->mutex, &until);
		} else {
			pthread_cond_signal(&g->changed);
		}
		error = pthread_mutex_unlock(&g->mutex);
		if (error != 0)
			failure("pthread_mutex_unlock in a region: %s", strerror(error));
		if (load_rests())
			usleep((useconds_t)below(&random, 200));
	}
	return NULL;
}

/* ---- A thread that discards ------------------------------------------------------------------------------------------------ */

static const size_t tagged[] = { 0, PAGE / 2 - 8, PAGE - 8 };

static uint64_t discard_tag(int region, size_t page, uint64_t generation)
{
	return 0xdaull << 56 | (uint64_t)region << 48 | (uint64_t)page << 24 | (generation & 0xffffff);
}

static bool page_is(int region, size_t page, uint64_t generation)
{
	const unsigned char *at = regions[region].base + page * PAGE;

	for (size_t i = 0; i < 3; i++) {
		uint64_t must = generation == 0 ? 0 : discard_tag(region, page, generation);
		uint64_t is = __atomic_load_n((const uint64_t *)(const void *)(at + tagged[i]), __ATOMIC_RELAXED);
		if (is != must) {
			failure("page %zu of region %d has %016" PRIx64 " at %zu, must be %016" PRIx64, page, region, is,
				tagged[i], must);
			return false;
		}
	}
	return true;
}

static void *discard_always(void *unused)
{
	static uint64_t generations[REGIONS][DISCARD_PAGES];
	uint64_t random = 77, generation = 0;

	(void)unused;
	while (!stop && outcome->failures == 0) {
		int r = (int)below(&random, REGIONS);
		size_t first, count, from, run;
		bool drop = below(&random, 3) == 0;
		discard_range(r, &first, &count);
		from = below(&random, count);
		run = 1 + below(&random, drop ? 1500 : 100);
		run = run < count - from ? run : count - from;
		generation = generation % 0xffffff + 1;
		for (size_t i = from; i < from + run && page_is(r, first + i, generations[r][i]); i++)
			;
		if (drop) {
			int error = odf_region_discard(regions[r].region, regions[r].base + (first + from) * PAGE, run * PAGE);
			if (error != 0)
				failure("odf_region_discard: %s", strerror(error));
			discards++;
		}
		for (size_t i = from; i < from + run; i++) {
			unsigned char *at = regions[r].base + (first + i) * PAGE;
			generations[r][i] = drop ? 0 : generation;
			for (size_t word = 0; word < 3 && !drop; word++)
				__atomic_store_n((uint64_t *)(void *)(at + tagged[word]), discard_tag(r, first + i, generation),
						 __ATOMIC_RELAXED);
		}
		for (size_t i = from == 0 ? 0 : from - 1;
		     i < from + run + 1 && i < count && page_is(r, first + i, generations[r][i]); i++)
			;
	}
	for (int r = 0; r < REGIONS; r++) {
		size_t first, count;
		discard_range(r, &first, &count);
		for (size_t i = 0; i < count && outcome->failures == 0; i++)
			page_is(r, first + i, generations[r][i]);
	}
	return NULL;
}

/* ---- Children -------------------------------------------------------------------------------------------------------------- */

/* What a child saw at its first look. In ordinary memory, of its own. */
static uint64_t seen_rounds[VECTORS][SLOTS], seen_shared[SHARED], seen_guarded[GUARDED][2],
	seen_discards[REGIONS][DISCARD_PAGES][3];

static void look_at_vectors(bool again)
{
	for (int v = 0; v < VECTORS; v++) {
		uint64_t newest = 0, last = 0;
		for (int slot = 0; slot < SLOTS; slot++) {
			uint64_t value = atomic_load_explicit(slots[v][slot], memory_order_relaxed), round = value & round_mask;
			if (value != value_of(v, slot, round))
				failure("a child finds %016" PRIx64 " in slot %d of writer %d", value, slot, v);
			if (slot == 0)
				newest = last = round;
			if (round > last || round + 1 < newest)
				failure("a torn snapshot: writer %d was in round %" PRIu64 " at slot 0, %" PRIu64
					" at slot %d, %" PRIu64 " at slot %d",
					v, newest, last, slot - 1, round, slot);
			if (again && round != seen_rounds[v][slot])
				failure("a child's memory changes: slot %d of writer %d from round %" PRIu64 " to %" PRIu64, slot,
					v, seen_rounds[v][slot], round);
			seen_rounds[v][slot] = last = round;
		}
	}
}

static void look_at_rest(bool again)
{
	for (int i = 0; i < SHARED; i++) {
		uint64_t value = atomic_load_explicit(shared[i], memory_order_relaxed);
		if (again && value != seen_shared[i])
			failure("a child's memory changes: shared counter %d from %" PRIu64 " to %" PRIu64, i, seen_shared[i],
				value);
		seen_shared[i] = value;
	}
	for (int i = 0; i < GUARDED; i++) {
		uint64_t second = guarded[i]->second, first = guarded[i]->first;
		if (first != second && first != second + 1)
			failure("a torn snapshot: what a mutex guards is %" PRIu64 " and %" PRIu64, first, second);
		if (again && (first != seen_guarded[i][0] || second != seen_guarded[i][1]))
			failure("a child's memory changes: what mutex %d guards", i);
		seen_guarded[i][0] = first;
		seen_guarded[i][1] = second;
	}
	for (int r = 0; r < REGIONS; r++) {
		size_t first, count;
		discard_range(r, &first, &count);
		for (size_t page = 0; page < count; page += 7)
			for (size_t word = 0; word < 3; word++) {
				uint64_t *at = (uint64_t *)(void *)(regions[r].base + (first + page) * PAGE + tagged[word]);
				uint64_t value = __atomic_load_n(at, __ATOMIC_RELAXED);
				if (value != 0 && value >> 24 != discard_tag(r, first + page, 0) >> 24)
					failure("a child finds %016" PRIx64 " in page %zu of region %d", value, first + page, r);
				if (again && value != seen_discards[r][page][word])
					failure("a child's memory changes: page %zu of region %d from %016" PRIx64
						" to %016" PRIx64,
						first + page, r, seen_discards[r][page][word], value);
				seen_discards[r][page][word] = value;
			}
	}
}

static void look(bool again)
{
	look_at_vectors(again);
	look_at_rest(again);
	outcome->looks++;
}

/* Nobody else may see any of this. */
static void scribble(uint64_t tag, bool discard_too)
{
	for (int v = 0; v < VECTORS; v++)
		for (int slot = 0; slot < SLOTS; slot++)
			atomic_store_explicit(slots[v][slot], tag + (uint64_t)slot, memory_order_relaxed);
	for (int i = 0; i < SHARED; i++)
		atomic_fetch_add_explicit(shared[i], tag, memory_order_relaxed);
	for (int i = 0; i < GUARDED; i++)
		memset((void *)guarded[i], 0x66, sizeof *guarded[i]);
	for (int i = 0; i < KERNEL_WRITERS; i++)
		memset(blocks[i], (int)tag, BLOCK_PAGES * PAGE);
	for (int r = 0; r < REGIONS && discard_too; r++) {
		size_t first, count;
		discard_range(r, &first, &count);
		if (odf_region_discard(regions[r].region, regions[r].base + first * PAGE, count * PAGE) != 0)
			failure("discard in a child");
		for (size_t page = 0; page < count; page += 5)
			if (*(uint64_t *)(void *)(regions[r].base + (first + page) * PAGE) != 0)
				failure("a child reads what it discarded");
	}
	usleep(1000);
	for (int v = 0; v < VECTORS; v++)
		for (int slot = 0; slot < SLOTS; slot++)
			if (atomic_load_explicit(slots[v][slot], memory_order_relaxed) != tag + (uint64_t)slot)
				failure("a child loses what it wrote");
}

enum way { WAY_FORK, WAY_ODF_FORK, WAY_ODF_FORK_WITH, WAY_PLAIN, WAY_BARE = WAY_PLAIN, WAY_SYSCALL, WAY_COUNT };

static const char *const way_names[] = { "fork", "odf_fork", "odf_fork_with", "_Fork", "syscall" };
static bool way_works[WAY_COUNT] = { [WAY_FORK] = true, [WAY_ODF_FORK] = true, [WAY_ODF_FORK_WITH] = true };
static atomic_ulong way_used[WAY_COUNT];
static pid_t (*bare_fork)(void);

static bool is_interposed(const char *name, void **symbol)
{
	Dl_info info;

	*symbol = dlsym(RTLD_DEFAULT, name);
	return *symbol != NULL && dladdr(*symbol, &info) != 0 && info.dli_fname != NULL &&
	       strstr(info.dli_fname, "libodfork") != NULL;
}

static pid_t fork_by(enum way way)
{
	switch (way) {
	case WAY_ODF_FORK:
		return odf_fork();
	case WAY_ODF_FORK_WITH:
		return odf_fork_with(NULL, NULL);
	case WAY_BARE:
		return bare_fork();
	case WAY_SYSCALL:
		return (pid_t)syscall(SYS_fork);
	default:
		return fork();
	}
}

__attribute__((noreturn)) static void be_orphan(uint64_t random)
{
	alarm(GUARD_SECONDS);
	look(true);
	usleep((useconds_t)below(&random, 10000));
	look(true);
	outcome->orphans_well++;
	_exit(outcome->failures == 0 ? 0 : 1);
}

/* A child of a process with threads: nothing that libc forbids there. One that is to be killed leaves no orphan that nobody knows
 * of. */
__attribute__((noreturn)) static void be_child(uint64_t random, enum way way, bool doomed)
{
	static const useconds_t delays[] = { 0, 100, 500, 3000, 3000, 20000 };
	bool by_libc = way < WAY_PLAIN;
	pid_t grandchild = -1;
	int status = 0;

	alarm(GUARD_SECONDS);
	if (below(&random, 6) == 0)
		_exit(0); /* gone at once: room to settle */
	look(false);
	usleep(delays[below(&random, 6)]);
	look(true);
	if (below(&random, 5) == 0) {
		bool wait = below(&random, 2) == 0 || doomed;
		if (!wait)
			outcome->orphans_made++;
		grandchild = by_libc ? fork() : (pid_t)syscall(SYS_fork);
		if (grandchild == 0) {
			if (!wait)
				be_orphan(random);
			look(true);
			scribble(0x7700000000000000, false);
			_exit(outcome->failures == 0 ? 0 : 1);
		}
		if (grandchild < 0)
			failure("a child cannot fork: %s", strerror(errno));
		if (!wait)
			_exit(0);
		look(true);
	}
	if (below(&random, 2) == 0)
		scribble(0x6600000000000000 + random % 1000, by_libc);
	if (grandchild > 0) {
		while (waitpid(grandchild, &status, 0) < 0 && errno == EINTR)
			;
		if (status != 0)
			failure("a grandchild ended with %#x", status);
	}
	_exit(outcome->failures == 0 ? 0 : 1);
}

/* Until some of every region is LIVE again, or all of it: what the next fork cuts short, or freezes as a whole. Not for long, as
 * somebody else may be forking, or nobody settling. */
static void wait_for_settles(bool all)
{
	for (double end = now() + 0.1; now() < end && !stop_forks;) {
		bool there = true;
		for (int r = 0; r < REGIONS && there; r++) {
			odf_region_info info = ODF_REGION_INFO_INIT;
			if (odf_region_info_get(regions[r].region, &info) != 0)
				failure("odf_region_info_get");
			there = info.live_bytes == info.capacity || (!all && info.live_bytes > 0);
		}
		if (there)
			return;
		usleep(1000);
	}
}

static void *fork_always(void *number)
{
	uint64_t random = 1000 + (uint64_t)(intptr_t)number;

	while (!stop_forks && outcome->failures == 0) {
		enum way way = (enum way)below(&random, WAY_COUNT);
		bool kill_it = below(&random, 10) == 0;
		int status = 0;
		pid_t pid;
		if (!way_works[way])
			way = (enum way)below(&random, WAY_PLAIN);
		below(&random, 2);
		pid = fork_by(way);
		if (pid == 0)
			be_child(random, way, kill_it);
		if (pid < 0) {
			failure("%s: %s", way_names[way], strerror(errno));
			break;
		}
		way_used[way]++;
		forks++;
		if (kill_it) {
			usleep((useconds_t)below(&random, 5000));
			kill(pid, SIGKILL);
			kills++;
		}
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
		if (status != 0 && !(kill_it && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL))
			failure("a child by %s ended with %#x", way_names[way], status);
		/* Sometimes forks follow at once, sometimes there is time to settle, or nearly. All but the first rest every
		 * other while. */
		usleep((useconds_t)below(&random, below(&random, 8) == 0 ? 60000 : 2500));
		if (below(&random, 2) == 0)
			wait_for_settles(below(&random, 2) == 0);
		while (number != NULL && (uint64_t)(now() * 2.9) % 2 == 0 && !stop_forks)
			usleep(5000);
	}
	return NULL;
}

/* ---- Noise ----------------------------------------------------------------------------------------------------------------- */

static pid_t make_vfork_child(void)
{
	pid_t pid = vfork();

	if (pid == 0)
		_exit(0);
	return pid;
}

static void *spawn_always(void *unused)
{
	static char name[] = "true", *argv[] = { name, NULL };
	uint64_t random = 5;

	(void)unused;
	while (!stop && outcome->failures == 0) {
		int error = 0, status = 0;
		pid_t pid = -1;
#ifdef __SANITIZE_THREAD__
		switch (below(&random, 2)) { /* which makes a vfork a fork */
#else
		switch (below(&random, 4)) {
#endif
		case 0:
			error = posix_spawn(&pid, "/bin/true", NULL, NULL, argv, environ);
			break;
		case 1: {
			odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
			/* The last of them is FORK, which freezes. */
			options.allow = ODF_ALLOW(engines[below(&random, stop_forks ? 2 : 3)]);
			error = odf_spawn(&pid, "/bin/true", argv, NULL, &options, NULL);
			break;
		}
		default:
			pid = make_vfork_child();
			error = pid < 0 ? errno : 0;
		}
		if (error != 0) {
			failure("a spawn: %s", strerror(error));
			break;
		}
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
		if (status != 0)
			failure("a spawned process ended with %#x", status);
		spawns++;
		usleep((useconds_t)below(&random, 4000));
	}
	return NULL;
}

static void *spin(void *unused)
{
	volatile uint64_t value = 0;

	(void)unused;
	while (!stop) {
		for (int i = 0; i < 100000; i++)
			value = value + 1;
		if (load_rests())
			usleep(5000);
	}
	return NULL;
}

/* Where a region is nobody else's memory can be, not for a moment. */
static void check_place(uint64_t *random)
{
	int r = (int)below(random, REGIONS);
	void *wanted = regions[r].base + below(random, regions[r].pages) * PAGE;
	void *got = mmap(wanted, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	if (got == wanted)
		failure("foreign memory can be mapped into region %d, at %p", r, wanted);
	else if (got != MAP_FAILED)
		munmap(got, PAGE);
}

/* Foreign memory that comes and goes, so that whatever the library unmaps by mistake is somebody's. */
static void *map_always(void *unused)
{
	static const size_t sizes[] = { 1, 1, 2, 3, 16, 17, 511, 512, 513, 1024, 2048 };
	struct {
		unsigned char *memory;
		size_t pages;
		uint64_t tag;
	} ring[MAPPINGS];
	uint64_t random = 9, tag = 0;

	(void)unused;
	memset(ring, 0, sizeof ring);
	while (!stop && outcome->failures == 0) {
		size_t i = below(&random, MAPPINGS), step;
		check_place(&random);
		if (ring[i].memory != NULL) {
			for (size_t page = 0; page < ring[i].pages; page++) {
				uint64_t is = *(volatile uint64_t *)(void *)(ring[i].memory + page * PAGE + 8 * (page % 512));
				/* Of the larger ones most pages were never touched. */
				step = ring[i].pages > 100 ? 61 : 1;
				if (is != (page % step == 0 ? ring[i].tag + page : 0))
					failure("foreign memory at %p+%zu pages was changed to %016" PRIx64,
						(void *)ring[i].memory, page, is);
				if (step > 1)
					page += step - 1;
			}
			munmap(ring[i].memory, ring[i].pages * PAGE);
		}
		ring[i].pages = sizes[below(&random, sizeof sizes / sizeof *sizes)];
		ring[i].tag = tag += 1ull << 32;
		ring[i].memory = mmap(NULL, ring[i].pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (ring[i].memory == MAP_FAILED) {
			failure("mmap: %s", strerror(errno));
			break;
		}
		for (int r = 0; r < REGIONS; r++)
			if (ring[i].memory < regions[r].base + regions[r].pages * PAGE &&
			    ring[i].memory + ring[i].pages * PAGE > regions[r].base)
				failure("foreign memory at %p lies in region %d", (void *)ring[i].memory, r);
		step = ring[i].pages > 100 ? 61 : 1;
		for (size_t page = 0; page < ring[i].pages; page += step) {
			volatile uint64_t *word = (volatile uint64_t *)(void *)(ring[i].memory + page * PAGE + 8 * (page % 512));
			if (*word != 0)
				failure("new foreign memory at %p is not zeros", (void *)ring[i].memory);
			*word = ring[i].tag + page;
		}
		mappings++;
		if (below(&random, 16) == 0)
			usleep(200);
	}
	for (size_t i = 0; i < MAPPINGS; i++)
		if (ring[i].memory != NULL && ring[i].memory != MAP_FAILED)
			munmap(ring[i].memory, ring[i].pages * PAGE);
	return NULL;
}

/* Regions that come and go. */
static void *churn_always(void *unused)
{
	uint64_t random = 13;

	(void)unused;
	while (!stop && outcome->failures == 0) {
		size_t pages = 1 + below(&random, below(&random, 4) == 0 ? 1100 : 20), words = pages * PAGE / 8;
		odf_region *region = odf_region_create(pages * PAGE, below(&random, 2) == 0 ? ODF_REGION_MANUAL : 0);
		uint64_t *base, tag = random;
		if (region == NULL) {
			failure("odf_region_create: %s", strerror(errno));
			break;
		}
		base = odf_region_base(region);
		for (int turn = 0; turn < 4; turn++) {
			for (size_t i = 0; i < words; i += 200)
				if (__atomic_exchange_n(&base[i], tag + (uint64_t)turn + i, __ATOMIC_RELAXED) !=
				    (turn == 0 ? 0 : tag + (uint64_t)turn - 1 + i))
					failure("a young region lost word %zu", i);
			usleep((useconds_t)below(&random, 2000));
		}
		if (odf_region_destroy(region) != 0)
			failure("odf_region_destroy");
		churned++;
	}
	return NULL;
}

static void check_info(int r, odf_region_info *last)
{
	odf_region_info now = ODF_REGION_INFO_INIT;
	int error = odf_region_info_get(regions[r].region, &now);
	bool fine = error == 0 && now.capacity == regions[r].pages * PAGE && now.live_bytes <= now.capacity &&
		    now.private_bytes <= now.capacity &&
		    (now.state == ODF_REGION_LIVE || now.state == ODF_REGION_FROZEN || now.state == ODF_REGION_SETTLING) &&
		    (now.state != ODF_REGION_LIVE || now.live_bytes == now.capacity) && now.freezes >= last->freezes &&
		    now.settles >= last->settles && now.interrupted >= last->interrupted && now.steps >= last->steps &&
		    now.merged_pages >= last->merged_pages && now.settles <= now.freezes &&
		    now.longest_pause_ns >= last->longest_pause_ns;

	if (!fine)
		failure("region %d says of itself: error %d, state %d, live %zu, private %zu, resident %zu, freezes %" PRIu64
			" (%" PRIu64 " before), settles %" PRIu64 " (%" PRIu64 "), steps %" PRIu64 ", merged %" PRIu64,
			r, error, now.state, now.live_bytes, now.private_bytes, now.resident_bytes, now.freezes, last->freezes,
			now.settles, last->settles, now.steps, now.merged_pages);
	*last = now;
}

/* Asks the regions how they are, and where the keeper works beside the program asks it to settle in between. */
static void *watch_always(void *unused)
{
	odf_region_info last[REGIONS];
	uint64_t random = 17;

	(void)unused;
	memset(last, 0, sizeof last);
	while (!stop && outcome->failures == 0) {
		int r = (int)below(&random, REGIONS);
		check_info(r, &last[r]);
		if (last[r].settling == ODF_REGION_SETTLES_ALWAYS && below(&random, 8) == 0) {
			int error = odf_region_settle(regions[r].region);
			if (error != 0 && error != EBUSY && error != EAGAIN)
				failure("odf_region_settle: %s", strerror(error));
			settle_calls++;
		}
		usleep((useconds_t)below(&random, 5000));
	}
	return NULL;
}

/* ---- The test -------------------------------------------------------------------------------------------------------------- */

static odf_region_info info_of(int r)
{
	odf_region_info info = ODF_REGION_INFO_INIT;

	assert_errno(0, odf_region_info_get(regions[r].region, &info));
	return info;
}

/* Everything is as it was written last. */
static void check_all(void)
{
	uint64_t sum = 0;

	for (int v = 0; v < VECTORS; v++)
		for (int slot = 0; slot < SLOTS; slot++)
			check_slot(v, slot, last_round[v]);
	for (int i = 0; i < SHARED; i++)
		sum += *shared[i];
	if (sum != added)
		failure("%" PRIu64 " additions are left of %lu", sum, (unsigned long)added);
	sum = 0;
	for (int i = 0; i < GUARDED; i++)
		sum += guarded[i]->second;
	if (sum != locked)
		failure("%" PRIu64 " additions under mutexes are left of %lu", sum, (unsigned long)locked);
}

static void wait_until_live(double seconds)
{
	for (int r = 0; r < REGIONS; r++)
		for (double end = now() + seconds; outcome->failures == 0 && info_of(r).state != ODF_REGION_LIVE; usleep(1000))
			if (now() > end)
				failure("region %d does not become LIVE though nobody forks: state %d, live %zu", r,
					info_of(r).state, info_of(r).live_bytes);
}

/* cmocka would jump out of the thread that faults into its own, in children too. Says where it was instead; the fault comes again
 * and kills. */
static void on_fault(int signal, siginfo_t *info, void *unused)
{
	pid_t self = getpid();
	uintptr_t at = (uintptr_t)info->si_addr;
	char text[sizeof outcome->text];
	int region = -1;

	(void)unused;
	for (int r = 0; r < REGIONS; r++)
		if (at >= (uintptr_t)regions[r].base && at < (uintptr_t)regions[r].base + regions[r].pages * PAGE)
			region = r;
	snprintf(text, sizeof text, "%s is hit by signal %d (code %d) at %p (region %d, page %zu)",
		 self == test_process ? "the process" : "a child", signal, info->si_code, info->si_addr, region,
		 region < 0 ? 0 : (size_t)(at - (uintptr_t)regions[region].base) / PAGE);
	failure("%s", text);
	if (self == test_process)
		dprintf(2, "\n# %s\n", text);
}

static void watch_for_faults(void)
{
	static const int signals[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGSYS };
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | (int)SA_RESETHAND };

	test_process = getpid();
	for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
		sigaction(signals[i], &action, NULL);
	signal(SIGABRT, SIG_DFL);
}

static void on_guard(int signal)
{
	static const char text[] = "\n# this test hangs\n";

	(void)signal;
	(void)!write(2, text, sizeof text - 1);
	abort();
}

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

enum { THREADS = WRITERS + KERNEL_WRITERS + LOCKERS + FORKERS + SPINNERS + 5 };

static pthread_t threads[THREADS];
static int thread_count;

static void start(void *(*function)(void *), int number)
{
	assert_int_equal(pthread_create(&threads[thread_count++], NULL, function, (void *)(intptr_t)number), 0);
}

/* What the regions did, summed up. */
static odf_region_info tell(void)
{
	odf_region_info sum = ODF_REGION_INFO_INIT;

	for (int r = 0; r < REGIONS; r++) {
		odf_region_info info = info_of(r);
		sum.freezes += info.freezes;
		sum.settles += info.settles;
		sum.interrupted += info.interrupted;
		sum.steps += info.steps;
		sum.merged_pages += info.merged_pages;
		if (info.longest_pause_ns > sum.longest_pause_ns)
			sum.longest_pause_ns = info.longest_pause_ns;
	}
	print_message("# %lu rounds of %d slots, %lu kernel writes, %lu additions and %lu under mutexes, %lu discards, %lu "
		      "looks, %lu orphans\n",
		      (unsigned long)rounds_written, SLOTS, (unsigned long)kernel_writes, (unsigned long)added,
		      (unsigned long)locked, (unsigned long)discards, (unsigned long)outcome->looks,
		      (unsigned long)outcome->orphans_made);
	print_message("# %lu forks (", (unsigned long)forks);
	for (int way = 0; way < WAY_COUNT; way++)
		print_message("%s%lu %s", way == 0 ? "" : ", ", (unsigned long)way_used[way], way_names[way]);
	print_message("), %lu kills, %lu spawns, %lu foreign mappings, %lu regions came and went\n", (unsigned long)kills,
		      (unsigned long)spawns, (unsigned long)mappings, (unsigned long)churned);
	print_message("# %" PRIu64 " freezes, %" PRIu64 " settles (%lu calls), %" PRIu64 " interrupted, %" PRIu64
		      " steps, %" PRIu64 " pages merged, longest pause %.3f ms\n",
		      sum.freezes, sum.settles, (unsigned long)settle_calls, sum.interrupted, sum.steps, sum.merged_pages,
		      (double)sum.longest_pause_ns / 1e6);
	return sum;
}

static void test_threads_and_regions(void **state)
{
	const char *given = getenv("ODF_TEST_SECONDS");
	double seconds = given == NULL || *given == '\0' ? 6 : strtod(given, NULL);
	odf_region_settling settling;
	struct surroundings before;
	odf_region_info sum;
	pthread_t first;

	(void)state;
	if (!regions_work())
		return;
	watch_for_faults();
	signal(SIGALRM, on_guard);
	alarm(GUARD_SECONDS + (unsigned)seconds);
	/* libc installs a handler of its own with the first thread. */
	stop = true;
	assert_int_equal(pthread_create(&first, NULL, spin, NULL), 0);
	pthread_join(first, NULL);
	stop = false;
	before = surroundings_take();
	lay_out();
	settling = info_of(0).settling;
	for (int v = 0; v < VECTORS; v++)
		start(v < WRITERS ? write_always : write_by_kernel_always, v);
	for (int i = 0; i < LOCKERS; i++)
		start(lock_always, i);
	for (int i = 0; i < SPINNERS; i++)
		start(spin, i);
	start(discard_always, 0);
	start(spawn_always, 0);
	start(map_always, 0);
	start(churn_always, 0);
	start(watch_always, 0);
	for (int i = 0; i < FORKERS; i++)
		start(fork_always, i);
	for (double end = now() + seconds; now() < end && outcome->failures == 0;)
		usleep(20000);
	stop_forks = true;
	for (int i = THREADS - FORKERS; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (double end = now() + 60; outcome->orphans_made != outcome->orphans_well && outcome->failures == 0; usleep(1000))
		if (now() > end)
			failure("%lu orphans of %lu were not heard of",
				(unsigned long)(outcome->orphans_made - outcome->orphans_well),
				(unsigned long)outcome->orphans_made);
	/* With all the others at it still. */
	if (settling == ODF_REGION_SETTLES_ALWAYS)
		wait_until_live(60);
	stop = true;
	for (int i = 0; i < THREADS - FORKERS; i++)
		pthread_join(threads[i], NULL);
	check_all();
	for (int r = 0; r < REGIONS && settling != ODF_REGION_SETTLES_NEVER && outcome->failures == 0; r++) {
		assert_errno(0, odf_region_settle(regions[r].region)); /* all is quiet now */
		assert_int_equal(info_of(r).state, ODF_REGION_LIVE);
	}
	check_all();
	/* One more of each kind, of a process with one thread. */
	for (int i = 0; i < 10 && outcome->failures == 0; i++) {
		pid_t pid = i % 2 == 0 ? odf_fork() : fork();
		assert_true(pid >= 0);
		if (pid == 0)
			be_child((uint64_t)i * 7, WAY_FORK, true);
		must_exit_with(pid, 0);
		check_all();
	}
	sum = tell();
	if (outcome->failures != 0)
		fail_msg("%d failures, the first: %s", (int)outcome->failures, outcome->text);
	assert_true(forks > 10 && outcome->looks > 10 && rounds_written > 10 && discards > 0 && spawns > 0 && sum.freezes > 0);
	if (settling != ODF_REGION_SETTLES_NEVER)
		assert_true(sum.settles > 0);
	for (int r = 0; r < REGIONS; r++)
		assert_errno(0, odf_region_destroy(regions[r].region));
	alarm(0);
	must_have_no_children();
	surroundings_must_equal(&before);
}

/* The library asks its questions in a constructor, so it must begin as nobody. */
static void be_nobody(char **argv)
{
	const char *wanted = getenv("ODF_TEST_NOBODY");
	const gid_t nobody = 65534;

	if (wanted == NULL || strcmp(wanted, "1") != 0 || geteuid() != 0)
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
		cmocka_unit_test(test_threads_and_regions),
	};
	void *symbol;

	(void)argc;
	be_nobody(argv);
	if (is_interposed("_Fork", &symbol)) {
		memcpy(&bare_fork, &symbol, sizeof symbol);
		way_works[WAY_BARE] = true;
	}
	way_works[WAY_SYSCALL] = is_interposed("syscall", &symbol);
#ifdef ODF_TEST_INTERPOSED
	if (!is_interposed("fork", &symbol) || !way_works[WAY_BARE] || !way_works[WAY_SYSCALL]) {
		fprintf(stderr, "fork, _Fork and syscall are not all interposed\n");
		return 1;
	}
#endif
	outcome = mmap(NULL, sizeof *outcome, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (outcome == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	return cmocka_run_group_tests_name("region_threads", tests, NULL, NULL);
}
