/* SPDX-License-Identifier: MIT
 *
 * Cases of test_heap: the malloc family compared with libc's own, while the heap is asleep, awake, and waking.
 */
#include "heap_cases.h"

#define TELL(expression)                                                             \
	do {                                                                         \
		errno = 0;                                                           \
		long result_ = (long)(expression);                                   \
		dprintf(1, "%s: %ld, errno %d\n", #expression, result_, errno);      \
	} while (0)

/* volatile, so that the compiler cannot evaluate the calls. */
static size_t volatile three = 3, forty_eight = 48, huge = SIZE_MAX / 2 + 1, most = SIZE_MAX, half = SIZE_MAX / 16,
		       none = 0, wraps = ((size_t)1 << 60) + 65536;

static bool is_aligned_to(void *pointer, size_t alignment)
{
	bool aligned = pointer != NULL && (uintptr_t)pointer % alignment == 0;

	free(pointer);
	return aligned;
}

static char somewhere;
static void *untouched = &somewhere;

static void tell_semantics(void)
{
	void *pointer = malloc(100), *big = malloc(10 * MIB), *other = untouched;

	memset(pointer, 5, 100);
	memset(big, 6, 10 * MIB);
	TELL(is_aligned_to(malloc(none), 16));
	TELL(is_aligned_to(calloc(none, 5), 16));
	TELL(is_aligned_to(calloc(5, none), 16));
	TELL(is_aligned_to(realloc(NULL, none), 16));
	TELL(malloc(huge));
	TELL(malloc(most));
	TELL(malloc(most - 10));
	TELL(calloc(huge, 1));
	TELL(calloc(half, 17));
	TELL(calloc(most, most));
	TELL(calloc(2, huge));
	TELL(calloc(wraps, 16)); /* the product wraps around to a mebibyte */
	TELL(realloc(NULL, huge));
	TELL(realloc(pointer, huge));
	TELL(realloc(pointer, most));
	TELL(realloc(big, huge));
	TELL(reallocarray(pointer, half, 17));
	TELL(reallocarray(pointer, most, most));
	TELL(reallocarray(big, most, 2));
	TELL(((char *)pointer)[99]);
	TELL(((char *)big)[10 * MIB - 1]);
	TELL(malloc_usable_size(pointer) >= 100);
	TELL(malloc_usable_size(NULL));
	TELL(realloc(malloc(10), none));
	TELL(realloc(malloc(MIB), none));
	TELL(posix_memalign(&other, 0, 10));
	TELL(posix_memalign(&other, 4, 10));
	TELL(posix_memalign(&other, 24, 10));
	TELL(other == untouched);
	errno = 99;
	dprintf(1, "%d", posix_memalign(&other, 3, 16));
	dprintf(1, "%d", posix_memalign(&other, 64, 16));
	dprintf(1, " and errno is still %d\n", errno);
	free(other);
	other = untouched;
	errno = 99;
	TELL(posix_memalign(&other, 16, huge));
	TELL(posix_memalign(&other, 4096, most - 100));
	TELL(other == untouched);
	TELL(memalign(16, huge));
	TELL(aligned_alloc(16, huge));
	TELL(memalign(huge, 16));
	TELL(aligned_alloc(huge, 16));
	TELL(memalign(most, 16));
	TELL(is_aligned_to(memalign(none, 16), 16));
	TELL(is_aligned_to(memalign(three, 16), 16));
	TELL(is_aligned_to(memalign(forty_eight, 1000), 64));
	TELL(is_aligned_to(memalign(64, none), 64));
	TELL(is_aligned_to(aligned_alloc(64, 10), 64));
	TELL(valloc(huge));
	TELL(pvalloc(huge));
	TELL(pvalloc(most - 100));
	TELL(is_aligned_to(valloc(none), 4096));
	TELL(is_aligned_to(valloc(5000), 4096));
	TELL(is_aligned_to(pvalloc(1), 4096));
	pointer = pvalloc(1);
	TELL(malloc_usable_size(pointer) >= 4096);
	free(pointer);
	for (size_t alignment = 16; alignment <= 64 * MIB; alignment *= 4)
		for (size_t size = 1; size < 40 * MIB; size = size * 9 + 1) {
			unsigned char *aligned = memalign(alignment, size);
			must(aligned != NULL && (uintptr_t)aligned % alignment == 0 &&
			     malloc_usable_size(aligned) >= size);
			fill(aligned, size, 7);
			aligned = realloc(aligned, size + 1000);
			must(aligned != NULL && holds(aligned, size, size, 7));
			free(aligned);
		}
	/* All usable bytes, and no others. */
	for (size_t size = 1; size < 20000; size = size < 8 ? size + 1 : size * 3) {
		unsigned char *kept[64];
		for (size_t i = 0; i < 64; i++) {
			kept[i] = i % 2 == 0 ? malloc(size) : calloc(1, size);
			must(kept[i] != NULL && (uintptr_t)kept[i] % 16 == 0 && malloc_usable_size(kept[i]) >= size);
		}
		for (size_t i = 0; i < 64; i++)
			memset(kept[i], (int)i + 1, malloc_usable_size(kept[i]));
		for (size_t i = 0; i < 64; i++) {
			for (size_t at = 0; at < malloc_usable_size(kept[i]); at++)
				must(kept[i][at] == i + 1);
			free(kept[i]);
		}
	}
	/* Sizes equal to the alignment, and smaller and larger ones: many of each, mixed with others. */
	for (size_t alignment = 16; alignment <= 64 * PAGE; alignment *= 2) {
		void *kept[96];
		for (size_t i = 0; i < 96; i++) {
			size_t size = i % 3 == 0 ? alignment : i % 3 == 1 ? alignment / 2 + i : alignment + i;
			free(malloc(i * 24));
			must(posix_memalign(&kept[i], alignment, size) == 0 && (uintptr_t)kept[i] % alignment == 0 &&
			     malloc_usable_size(kept[i]) >= size);
			fill(kept[i], size, (unsigned)i);
		}
		for (size_t i = 0; i < 96; i++) {
			size_t size = i % 3 == 0 ? alignment : i % 3 == 1 ? alignment / 2 + i : alignment + i;
			must(holds(kept[i], size, size, (unsigned)i));
			free(kept[i]);
		}
	}
	errno = 98;
	free(NULL);
	free(big);
	free(malloc(5));
	free(malloc(3 * MIB));
	dprintf(1, "after free errno is still %d\n", errno);
	pointer = malloc(50 * MIB);
	errno = 97;
	free(pointer);
	dprintf(1, "after a large free errno is still %d\n", errno);
	TELL(mallopt(M_ARENA_MAX, 2));
	(void)malloc_trim(0);
}

void semantics_asleep(void)
{
	tell_semantics();
}

void semantics_awake(void)
{
	need_libcs_calls();
	tell_semantics();
	must(is_awake());
}

void semantics_plain(void)
{
	must(dlsym(RTLD_DEFAULT, "odf_fork") == NULL);
	tell_semantics();
}

static void *(*first_request)(size_t);

static void *request_aligned(size_t size)
{
	return memalign(256, size);
}

static void *request_posix(size_t size)
{
	void *pointer;

	return posix_memalign(&pointer, 256, size) == 0 ? pointer : NULL;
}

static void *request_of_nothing(size_t size)
{
	return realloc(NULL, size);
}

static void *request_from_small(size_t size)
{
	return realloc(malloc(10), size);
}

static bool leaves_errno_alone(void)
{
	for (unsigned i = 0; i < 200; i++) {
		void *pointer;
		if (i == 40)
			wake_by_mapping();
		errno = 96;
		pointer = first_request(i % 2 == 0 ? 50000 : 8 * MIB);
		must(pointer != NULL && errno == 96);
		free(pointer);
		must(errno == 96);
	}
	must(malloc_trim(0) >= 0 && errno == 96);
	return true;
}

/* Whichever request comes first. */
void errno_is_left_alone(void)
{
	static void *(*const requests[])(size_t) = {
		malloc, request_cleared, request_of_nothing, request_from_small, request_aligned, request_posix,
		valloc, pvalloc
	};

	for (unsigned i = 0; i < sizeof requests / sizeof *requests; i++) {
		first_request = requests[i];
		in_child(leaves_errno_alone);
	}
}

/* Sizes of all kinds, from one place to another and back. */
void resize(unsigned rounds)
{
	static const size_t sizes[] = {
		1, 24, 100, 1000, 5000, 100000, 131072, 200000, MIB, 5 * MIB, 33 * MIB, 3000000, 150000, 4096, 40, 7,
	};

	for (unsigned round = 0; round < rounds; round++) {
		size_t size = sizes[round];
		unsigned char *pointer = malloc(size);
		fill(pointer, size, round);
		for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
			size_t common = size < sizes[i] ? size : sizes[i];
			pointer = realloc(pointer, sizes[i]);
			must(pointer != NULL && malloc_usable_size(pointer) >= sizes[i] &&
			     (uintptr_t)pointer % 16 == 0);
			must(holds(pointer, common, size, round));
			size = sizes[i];
			fill(pointer, size, round);
			memset(pointer + size, 9, malloc_usable_size(pointer) - size); /* all of it may be used */
			must(holds(pointer, size, size, round));
		}
		free(pointer);
	}
}

struct earlier earlier[EARLIER];

void request_earlier(void)
{
	for (unsigned i = 0; i < EARLIER; i++) {
		earlier[i].size = i % 50 == 0 ? 200000 + i : i % 7 == 0 ? 5000 + i : i;
		earlier[i].memory = i % 3 == 0   ? calloc(1, earlier[i].size)
				    : i % 3 == 1 ? malloc(earlier[i].size)
						 : memalign(64, earlier[i].size);
		must(earlier[i].memory != NULL);
		fill(earlier[i].memory, earlier[i].size, i);
	}
}

/* Blocks that were allocated before the heap woke stay right. */
void across_waking(void)
{
	request_earlier();
	must(!is_awake());
	wake_by_mapping();
	for (unsigned i = 0; i < EARLIER; i++) {
		must(holds(earlier[i].memory, earlier[i].size, earlier[i].size, i));
		must(malloc_usable_size(earlier[i].memory) >= earlier[i].size);
		if (i % 4 == 0) {
			size_t size = i % 8 == 0 ? 3 * earlier[i].size + 10 : earlier[i].size / 2 + 1;
			size_t common = size < earlier[i].size ? size : earlier[i].size;
			earlier[i].memory = realloc(earlier[i].memory, size);
			must(earlier[i].memory != NULL && holds(earlier[i].memory, common, earlier[i].size, i));
			free(earlier[i].memory);
		} else if (i % 4 == 1) {
			free(earlier[i].memory);
		}
	}
	resize(8);
	for (unsigned i = 0; i < EARLIER; i++)
		if (i % 4 == 2) {
			must(holds(earlier[i].memory, earlier[i].size, earlier[i].size, i));
			earlier[i].memory = realloc(earlier[i].memory, earlier[i].size + 300000);
			must(holds(earlier[i].memory, earlier[i].size, earlier[i].size, i));
			free(earlier[i].memory);
		} else if (i % 4 == 3) {
			must(holds(earlier[i].memory, earlier[i].size, earlier[i].size, i));
			free(earlier[i].memory);
		}
}
