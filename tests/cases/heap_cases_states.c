/* SPDX-License-Identifier: MIT
 *
 * Cases of test_heap: asleep, awake and off, with each way to load the library, and what wakes the heap.
 */
#include "heap_cases.h"

void is_asleep(void)
{
	odf_heap_info found = info(), small = ODF_HEAP_INFO_INIT;
	struct {
		odf_heap_info info;
		unsigned char more[16];
	} large = { .info = ODF_HEAP_INFO_INIT };

	must(found.state == ODF_HEAP_ASLEEP && found.reason == ODF_REASON_TOO_SMALL &&
	     found.malloc_door == ODF_HEAP_MALLOC_LIBC);
	must(found.threshold >= MIB && found.capacity == 0 && found.placed_bytes == 0 && found.inside_bytes == 0 &&
	     found.spills == 0);
	must(found.outside_bytes > 0 && found.outside_bytes < found.threshold);
	must(heap_info_get(NULL) == EINVAL);
	small.size = 0;
	must(heap_info_get(&small) == EINVAL);
	small.size = (size_t)1 << 40;
	must(heap_info_get(&small) == E2BIG);
	large.info.size = sizeof large;
	must(heap_info_get(&large.info) == 0 && large.info.state == ODF_HEAP_ASLEEP);
	errno = 7;
	(void)info();
	must(errno == 7);
}

void is_off(void)
{
	must(info().state == ODF_HEAP_OFF && info().reason == ODF_REASON_HEAP_OFF &&
	     info().malloc_door == ODF_HEAP_MALLOC_LIBC);
	for (int i = 0; i < 10; i++) {
		void *memory = map(16 * MIB), *requested = malloc(16 * MIB);
		memset(memory, 1, 16 * MIB);
		memset(requested, 1, 16 * MIB);
		must(!is_inside(memory) && !is_inside(requested));
	}
	must(info().state == ODF_HEAP_OFF && info().capacity == 0 && info().placed_bytes == 0 &&
	     info().outside_bytes >= 320 * MIB);
	must(count_tasks() == 1);
}

bool is_asleep_again(void)
{
	return info().state == ODF_HEAP_ASLEEP;
}

void counts(void)
{
	odf_heap_info found;
	void *memory;

	wake_by_mapping();
	found = info();
	must(found.reason == ODF_REASON_NONE && found.capacity >= GIB && found.capacity % GIB == 0 &&
	     found.placed_bytes >= 64 * MIB);
	must(found.inside_bytes < 8 * MIB); /* discarded memory is given back */
	memory = map(48 * MIB);
	memset(memory, 1, 48 * MIB);
	must(info().placed_bytes >= found.placed_bytes + 48 * MIB &&
	     info().inside_bytes >= found.inside_bytes + 48 * MIB);
	must(info().outside_bytes < found.outside_bytes + 8 * MIB);
	found = info();
	in_child(is_asleep_again); /* and then there is a keeper to ask */
	must(info().inside_bytes >= found.inside_bytes / 2 && info().capacity == found.capacity &&
	     info().placed_bytes == found.placed_bytes);
}

void is_on(void)
{
	void *last = NULL;

	must(is_awake() && info().reason == ODF_REASON_NONE && info().capacity >= GIB);
	must(is_inside(map(2 * MIB)));
	need_libcs_calls();
	must(is_inside(malloc(MIB)));
	for (int i = 0; i < 1000; i++) /* more than the data segment had before, and enough for a region */
		last = malloc(10000);
	must((char *)last < (char *)sbrk(0) && is_inside(last));
	must(heap_enable(0) == 0 && heap_enable(5 * GIB) == 0 && info().capacity % GIB == 0);
}

void is_two_gib(void)
{
	void *memory;

	must(info().state == ODF_HEAP_ASLEEP);
	wake_by_mapping();
	must(info().capacity == 2 * GIB && info().spills == 0);
	memory = mmap(NULL, 3 * GIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	must(memory != MAP_FAILED && is_inside(memory) && info().spills == 0); /* in a window of its own */
	must(is_inside(map(2 * MIB)));
}

/* Allocated by malloc, from the data segment, before there was a heap. */
static size_t *old_blocks[40000];
#define OLD_BLOCKS (sizeof old_blocks / sizeof *old_blocks)
#define OLD_SIZE   1000

static bool old_blocks_are_right(void)
{
	for (size_t i = 0; i < OLD_BLOCKS; i++)
		if (old_blocks[i][0] != i || old_blocks[i][OLD_SIZE / sizeof(size_t) - 1] != ~i)
			return false;
	return true;
}

void linked_enables(void)
{
	must(info().state == ODF_HEAP_OFF && info().reason == ODF_REASON_HEAP_OFF);
	memset(malloc(64 * MIB), 1, 64 * MIB);
	for (size_t i = 0; i < OLD_BLOCKS; i++) {
		old_blocks[i] = malloc(OLD_SIZE);
		must(old_blocks[i] != NULL);
		old_blocks[i][0] = i;
		old_blocks[i][OLD_SIZE / sizeof(size_t) - 1] = ~i;
	}
	must((char *)old_blocks[OLD_BLOCKS - 1] < (char *)sbrk(0));
	must(info().state == ODF_HEAP_OFF);
	must(heap_enable(1025 * GIB) == EINVAL && info().state == ODF_HEAP_OFF);
	must(heap_enable(GIB + 1) == 0);
	must(is_awake() && info().capacity == 2 * GIB && info().reason == ODF_REASON_NONE);
	must(heap_enable(0) == 0 && info().capacity == 2 * GIB);
	must(old_blocks_are_right());
	in_child(old_blocks_are_right);
	must(is_inside(map(2 * MIB)));
	in_child(old_blocks_are_right);
	must(old_blocks_are_right());
}

void is_not_interposed(void)
{
	must(info().state == ODF_HEAP_OFF && info().reason == ODF_REASON_HEAP_NOT_INTERPOSED);
	must(heap_enable(0) == ENOTSUP && info().state == ODF_HEAP_OFF);
	memset(malloc(64 * MIB), 1, 64 * MIB);
	must(info().state == ODF_HEAP_OFF && info().placed_bytes == 0);
}

/* ---- Waking ------------------------------------------------------------------------------------------------------ */

/* Repeats requests of this size until the heap is awake: not before the process has grown, and soon after. */
static void grow(void *(*request)(size_t), size_t size)
{
	size_t most = 3 * info().threshold, asked = 0;

	for (; asked < most && !is_awake(); asked += size) {
		void *memory = request(size);
		must(memory != NULL);
		memset(memory, 3, size);
	}
	must(is_awake());
	must(asked + size >= info().threshold / 2);
}

void *request_cleared(size_t size)
{
	unsigned char *memory = calloc(size / 10, 10);

	for (size_t i = 0; i < size / 10 * 10; i++)
		must(memory[i] == 0);
	return realloc(memory, size);
}

static void *request_more(size_t size)
{
	static char *memory;
	static size_t whole;

	memory = realloc(memory, whole + size);
	must(memory != NULL);
	for (size_t i = 0; i < whole; i += 1000)
		must(memory[i] == 3);
	whole += size;
	return memory + whole - size;
}

void wakes_by_small_requests(void)
{
	grow(malloc, 1000);
}

void wakes_by_large_requests(void)
{
	grow(malloc, 600000);
}

void wakes_by_cleared_requests(void)
{
	grow(request_cleared, 10000);
}

void wakes_by_growing_requests(void)
{
	grow(request_more, 100000);
}

void wakes_by_mappings(void)
{
	grow(map, MIB);
	wake_by_mapping();
}

void reservations_do_not_wake(void)
{
	for (int i = 0; i < 4; i++) {
		must(mmap(NULL, GIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) != MAP_FAILED);
		must(mmap(NULL, 4 * GIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) !=
		     MAP_FAILED);
	}
	must(!settles_beside() || info().state == ODF_HEAP_ASLEEP);
	/* As an allocator reserves it. */
	must(mmap(NULL, 40 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) !=
	     MAP_FAILED);
	must(is_awake());
}
