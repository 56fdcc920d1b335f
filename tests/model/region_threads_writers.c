/* SPDX-License-Identifier: MIT
 *
 * Threads of test_region_threads that write: by stores, by system calls, with a lock held, and with discards of what
 * they wrote.
 */
#include "region_threads.h"

atomic_bool stop, stop_forks;
atomic_ulong rounds_written, kernel_writes, added, locked, discards, forks, spawns, mappings, kills, churned,
	settle_calls;
uint64_t last_round[VECTORS];

void check_slot(int v, int slot, uint64_t round)
{
	uint64_t is = atomic_load_explicit(slots[v][slot], memory_order_relaxed);

	if (is != value_of(v, slot, round))
		failure("writer %d lost slot %d (region %d, offset %#zx): %016" PRIx64 ", must be %016" PRIx64, v, slot,
			slot % REGIONS, (size_t)((uintptr_t)slots[v][slot] - (uintptr_t)regions[slot % REGIONS].base),
			is, value_of(v, slot, round));
}

void *write_always(void *number)
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

/* The kernel writes `size` bytes to `to`. Returns the result of the system call. */
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
		break; /* a sandbox refuses it */
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

/* Long reads across several pages; each expects what the previous one left. */
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
		count = syscall(SYS_getrandom, block + at, size, 0); /* raw: libc's may not enter the kernel */
		memcpy(must[writer] + at, block + at, size);
	} else {
		for (size_t i = 0; i < size; i += 8)
			memcpy(bytes[writer] + i, random, size - i < 8 ? size - i : 8);
		count = write_by_kernel(channels, how, bytes[writer], block + at, size);
		memcpy(must[writer] + at, bytes[writer], size);
	}
	if (count != (ssize_t)size)
		failure("a system call (%d) wrote %zd of %zu bytes at %p: %s", (int)how, count, size,
			(void *)(block + at), strerror(errno));
	/* And the kernel reads from the region. */
	if (pwrite(channels->file, block, BLOCK_PAGES * PAGE, 0) != BLOCK_PAGES * PAGE ||
	    pread(channels->file, bytes[writer], BLOCK_PAGES * PAGE, 0) != BLOCK_PAGES * PAGE)
		failure("cannot write from a region to a file: %s", strerror(errno));
	else if (memcmp(bytes[writer], must[writer], BLOCK_PAGES * PAGE) != 0)
		failure("the kernel reads something else from the block of writer %d", writer);
}

void *write_by_kernel_always(void *number)
{
	int v = (int)(intptr_t)number, writer = v - WRITERS;
	uint64_t round = 0, random = (uint64_t)v;
	struct channels channels;

	if (pipe2(channels.pipe, O_CLOEXEC) != 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channels.sockets) != 0 ||
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
			count = write_by_kernel(&channels, (uint64_t)slot + round, &value,
						(void *)(uintptr_t)slots[v][slot], sizeof value);
			if (count != sizeof value) {
				failure("a system call (%d) wrote %zd bytes to a slot: %s",
					(int)(((uint64_t)slot + round) % 5), count, strerror(errno));
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

/* ---- Threads that lock ------------------------------------------------------------------------------------------- */

void *lock_always(void *number)
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
			sched_yield(); /* so that the other thread blocks on it */
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

/* ---- A thread that discards -------------------------------------------------------------------------------------- */

const size_t tagged[] = { 0, PAGE / 2 - 8, PAGE - 8 };

uint64_t discard_tag(int region, size_t page, uint64_t generation)
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
			failure("page %zu of region %d has %016" PRIx64 " at %zu, must be %016" PRIx64, page, region,
				is, tagged[i], must);
			return false;
		}
	}
	return true;
}

void *discard_always(void *unused)
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
			int error = odf_region_discard(regions[r].region, regions[r].base + (first + from) * PAGE,
						       run * PAGE);
			if (error != 0)
				failure("odf_region_discard: %s", strerror(error));
			discards++;
		}
		for (size_t i = from; i < from + run; i++) {
			unsigned char *at = regions[r].base + (first + i) * PAGE;
			generations[r][i] = drop ? 0 : generation;
			for (size_t word = 0; word < 3 && !drop; word++)
				__atomic_store_n((uint64_t *)(void *)(at + tagged[word]),
						 discard_tag(r, first + i, generation), __ATOMIC_RELAXED);
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
