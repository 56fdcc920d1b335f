/* SPDX-License-Identifier: MIT
 *
 * The heap as a program meets it: what odf_heap_info_get says in each way to have the library, by what it wakes, the malloc family against libc's own, and
 * what it must not do. Each case is a process of its own, this program executed again in the way that the case needs; the one named "plain" is run
 * without the library, and what it prints the library's must print as well.
 *
 *   test_heap              all, as TAP
 *   test_heap NAME         that one
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "odfork.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

#define MIB  ((size_t)1 << 20)
#define GIB  ((size_t)1 << 30)
#define PAGE ((size_t)4096)

#define must(condition) ((condition) ? (void)0 : wrong(__LINE__, #condition))

static __attribute__((noreturn)) void wrong(int line, const char *condition)
{
	dprintf(2, "line %d: %s (errno %d)\n", line, condition, errno);
	_exit(1);
}

static __attribute__((noreturn)) void cannot_be_done_here(const char *reason)
{
	const char *needed = getenv("ODF_MUST_WORK");

	dprintf(2, "skipped: %s\n", reason);
	_exit(needed != NULL && strcmp(needed, "1") == 0 ? 1 : 77);
}

/* ---- What the cases are made of ---------------------------------------------------------------------------------------------- */

#ifdef ODF_TEST_STATIC
#define heap_info_get odf_heap_info_get
#define heap_enable   odf_heap_enable
#else
/* The library is preloaded, or linked, or not there. */
static int heap_info_get(odf_heap_info *info)
{
	int (*function)(odf_heap_info *);

	*(void **)&function = dlsym(RTLD_DEFAULT, "odf_heap_info_get");
	must(function != NULL);
	return function(info);
}

static int heap_enable(size_t capacity)
{
	int (*function)(size_t);

	*(void **)&function = dlsym(RTLD_DEFAULT, "odf_heap_enable");
	must(function != NULL);
	return function(capacity);
}
#endif

static odf_heap_info info(void)
{
	odf_heap_info found = ODF_HEAP_INFO_INIT;

	must(heap_info_get(&found) == 0 && found.size == sizeof found);
	return found;
}

static bool is_awake(void)
{
	return info().state == ODF_HEAP_AWAKE;
}

static char *slurp(const char *path)
{
	static char text[1 << 20];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t size = 0, part;

	must(fd >= 0);
	while ((part = read(fd, text + size, sizeof text - 1 - (size_t)size)) > 0)
		size += part;
	text[size] = '\0';
	close(fd);
	return text;
}

/* False: nothing is there. */
static bool look_up(const void *pointer, bool *inside)
{
	char *line = slurp("/proc/self/maps"), *end;

	for (; *line != '\0'; line = end + 1) {
		unsigned long start, limit;
		end = strchr(line, '\n');
		*end = '\0';
		if (sscanf(line, "%lx-%lx", &start, &limit) == 2 && (unsigned long)pointer >= start && (unsigned long)pointer < limit) {
			*inside = strstr(line, "odfork-region") != NULL;
			return true;
		}
	}
	return false;
}

/* The mapping is of a region. The list is read without the lock of the address space, so that what the keeper replaces at that moment is missing from it;
 * msync takes the lock. */
static bool is_inside(const void *pointer)
{
	void *page = (void *)((uintptr_t)pointer / PAGE * PAGE);
	bool inside = false;

	while (!look_up(pointer, &inside) && msync(page, PAGE, MS_ASYNC) == 0)
		;
	return inside;
}

static void wait_ms(long milliseconds)
{
	struct timespec time = { milliseconds / 1000, milliseconds % 1000 * 1000000 };

	while (nanosleep(&time, &time) != 0)
		;
}

/* What libc's malloc does is seen where that can be had. */
static void need_libcs_calls(void)
{
	must(is_awake());
	if (info().malloc_door != ODF_HEAP_MALLOC_IN_PLACE)
		cannot_be_done_here("libc's own calls are not seen here");
}

static void fill(void *memory, size_t size, unsigned seed)
{
	unsigned char *bytes = memory;

	for (size_t i = 0; i < size; i += size > 4 * PAGE ? 509 : 1)
		bytes[i] = (unsigned char)(seed + i * 7);
	if (size > 0)
		bytes[size - 1] = (unsigned char)seed;
}

static bool holds(const void *memory, size_t size, size_t filled_size, unsigned seed)
{
	const unsigned char *bytes = memory;

	for (size_t i = 0; i < size; i += filled_size > 4 * PAGE ? 509 : 1)
		if (i != filled_size - 1 && bytes[i] != (unsigned char)(seed + i * 7))
			return false;
	return size < filled_size || size == 0 || bytes[size - 1] == (unsigned char)seed;
}

static void *map(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(memory != MAP_FAILED);
	return memory;
}

static int status_of(pid_t pid)
{
	int status;

	must(pid > 0);
	while (waitpid(pid, &status, 0) != pid)
		must(errno == EINTR);
	return status;
}

/* In a child, where it must be true. */
static void in_child(bool (*predicate)(void))
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(predicate() ? 0 : 1);
	must(status_of(pid) == 0);
}

static int count_tasks(void)
{
	struct stat tasks;

	must(stat("/proc/self/task", &tasks) == 0);
	return (int)tasks.st_nlink - 2;
}

/* What a process maps that has not forked is young. Of one that has, it is in a region from the start as soon as what
 * there was is LIVE. */
static void become_a_forker(void)
{
	pid_t pid = fork();
	void *probe;

	if (pid == 0)
		_exit(0);
	must(status_of(pid) == 0);
	for (int tries = 0; !is_inside(probe = map(MIB)); tries++) {
		must(munmap(probe, MIB) == 0 && tries < 30000);
		wait_ms(1);
	}
	must(munmap(probe, MIB) == 0);
}

static void wake_by_mapping(void)
{
	void *memory = map(64 * MIB);

	memset(memory, 1, 64 * MIB);
	must(is_awake());
	must(madvise(memory, 64 * MIB, MADV_DONTNEED) == 0);
	become_a_forker();
}

/* ---- What it says of itself ----------------------------------------------------------------------------------------------------- */

static void is_asleep(void)
{
	odf_heap_info found = info(), small = ODF_HEAP_INFO_INIT;
	struct {
		odf_heap_info info;
		unsigned char more[16];
	} large = { .info = ODF_HEAP_INFO_INIT };

	must(found.state == ODF_HEAP_ASLEEP && found.reason == ODF_REASON_TOO_SMALL && found.malloc_door == ODF_HEAP_MALLOC_LIBC);
	must(found.threshold >= MIB && found.capacity == 0 && found.placed_bytes == 0 && found.inside_bytes == 0 && found.spills == 0);
	must(found.outside_bytes > 0 && found.outside_bytes < found.threshold);
	must(heap_info_get(NULL) == EINVAL);
	small.size = 0;
	must(heap_info_get(&small) == EINVAL);
	large.info.size = sizeof large;
	must(heap_info_get(&large.info) == 0 && large.info.state == ODF_HEAP_ASLEEP);
	errno = 7;
	(void)info();
	must(errno == 7);
}

static void is_off(void)
{
	must(info().state == ODF_HEAP_OFF && info().reason == ODF_REASON_HEAP_OFF && info().malloc_door == ODF_HEAP_MALLOC_LIBC);
	for (int i = 0; i < 10; i++) {
		void *memory = map(16 * MIB), *requested = malloc(16 * MIB);
		memset(memory, 1, 16 * MIB);
		memset(requested, 1, 16 * MIB);
		must(!is_inside(memory) && !is_inside(requested));
	}
	must(info().state == ODF_HEAP_OFF && info().capacity == 0 && info().placed_bytes == 0 && info().outside_bytes >= 320 * MIB);
	must(count_tasks() == 1);
}

static bool is_asleep_again(void)
{
	return info().state == ODF_HEAP_ASLEEP;
}

static void counts(void)
{
	odf_heap_info found;
	void *memory;

	wake_by_mapping();
	found = info();
	must(found.reason == ODF_REASON_NONE && found.capacity >= GIB && found.capacity % GIB == 0 && found.placed_bytes >= 64 * MIB);
	must(found.inside_bytes < 8 * MIB); /* what was discarded is given back */
	memory = map(48 * MIB);
	memset(memory, 1, 48 * MIB);
	must(info().placed_bytes >= found.placed_bytes + 48 * MIB && info().inside_bytes >= found.inside_bytes + 48 * MIB);
	must(info().outside_bytes < found.outside_bytes + 8 * MIB);
	found = info();
	in_child(is_asleep_again); /* and then there is a keeper, whom to ask */
	must(info().inside_bytes >= found.inside_bytes / 2 && info().capacity == found.capacity && info().placed_bytes == found.placed_bytes);
}

static void is_on(void)
{
	void *last = NULL;

	must(is_awake() && info().reason == ODF_REASON_NONE && info().capacity >= GIB);
	must(is_inside(map(2 * MIB)));
	need_libcs_calls();
	must(is_inside(malloc(MIB)));
	for (int i = 0; i < 1000; i++) /* more than the data segment had before, and worth a region */
		last = malloc(10000);
	must((char *)last < (char *)sbrk(0) && is_inside(last));
	must(heap_enable(0) == 0 && heap_enable(5 * GIB) == 0 && info().capacity % GIB == 0);
}

static void is_two_gib(void)
{
	void *memory;

	must(info().state == ODF_HEAP_ASLEEP);
	wake_by_mapping();
	must(info().capacity == 2 * GIB && info().spills == 0);
	memory = mmap(NULL, 3 * GIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	must(memory != MAP_FAILED && is_inside(memory) && info().spills == 0); /* by a window of its own */
	must(is_inside(map(2 * MIB)));
}

static void linked_enables(void)
{
	must(info().state == ODF_HEAP_OFF && info().reason == ODF_REASON_HEAP_OFF);
	memset(malloc(64 * MIB), 1, 64 * MIB);
	must(info().state == ODF_HEAP_OFF);
	must(heap_enable(1025 * GIB) == EINVAL && info().state == ODF_HEAP_OFF);
	must(heap_enable(GIB + 1) == 0);
	must(is_awake() && info().capacity == 2 * GIB && info().reason == ODF_REASON_NONE);
	must(heap_enable(0) == 0 && info().capacity == 2 * GIB);
	must(is_inside(map(2 * MIB)));
}

static void is_not_interposed(void)
{
	must(info().state == ODF_HEAP_OFF && info().reason == ODF_REASON_HEAP_NOT_INTERPOSED);
	must(heap_enable(0) == ENOTSUP && info().state == ODF_HEAP_OFF);
	memset(malloc(64 * MIB), 1, 64 * MIB);
	must(info().state == ODF_HEAP_OFF && info().placed_bytes == 0);
}

/* ---- Waking ---------------------------------------------------------------------------------------------------------------------- */

/* Each request of so many bytes, until it is awake: not before the process has grown, and soon after. */
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

static void *request_cleared(size_t size)
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

static void wakes_by_small_requests(void)
{
	grow(malloc, 1000);
}

static void wakes_by_large_requests(void)
{
	grow(malloc, 600000);
}

static void wakes_by_cleared_requests(void)
{
	grow(request_cleared, 10000);
}

static void wakes_by_growing_requests(void)
{
	grow(request_more, 100000);
}

static void wakes_by_mappings(void)
{
	grow(map, MIB);
	wake_by_mapping();
}

static void reservations_do_not_wake(void)
{
	for (int i = 0; i < 4; i++) {
		must(mmap(NULL, GIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) != MAP_FAILED);
		must(mmap(NULL, 4 * GIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) != MAP_FAILED);
	}
	must(info().state == ODF_HEAP_ASLEEP);
	/* An allocator's. */
	must(mmap(NULL, 40 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) != MAP_FAILED);
	must(is_awake());
}

/* ---- The malloc family ------------------------------------------------------------------------------------------------------------- */

#define TELL(expression)                                                             \
	do {                                                                         \
		errno = 0;                                                           \
		long result_ = (long)(expression);                                   \
		dprintf(1, "%s: %ld, errno %d\n", #expression, result_, errno);      \
	} while (0)

/* So that the compiler does not see through it. */
static size_t volatile three = 3, forty_eight = 48, huge = SIZE_MAX / 2 + 1, most = SIZE_MAX, half = SIZE_MAX / 16, none = 0, wraps = ((size_t)1 << 60) + 65536;

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
	TELL(calloc(wraps, 16)); /* to a mebibyte */
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
			must(aligned != NULL && (uintptr_t)aligned % alignment == 0 && malloc_usable_size(aligned) >= size);
			fill(aligned, size, 7);
			aligned = realloc(aligned, size + 1000);
			must(aligned != NULL && holds(aligned, size, size, 7));
			free(aligned);
		}
	/* All of what can be used, and nobody else's. */
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
	/* As large as aligned, and less or more than that: many of each, in between others. */
	for (size_t alignment = 16; alignment <= 64 * PAGE; alignment *= 2) {
		void *kept[96];
		for (size_t i = 0; i < 96; i++) {
			size_t size = i % 3 == 0 ? alignment : i % 3 == 1 ? alignment / 2 + i : alignment + i;
			free(malloc(i * 24));
			must(posix_memalign(&kept[i], alignment, size) == 0 && (uintptr_t)kept[i] % alignment == 0 && malloc_usable_size(kept[i]) >= size);
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

static void semantics_asleep(void)
{
	tell_semantics();
}

static void semantics_awake(void)
{
	need_libcs_calls();
	tell_semantics();
	must(is_awake());
}

static void semantics_plain(void)
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

/* Whichever the request is that comes first. */
static void errno_is_left_alone(void)
{
	static void *(*const requests[])(size_t) = { malloc, request_cleared, request_of_nothing, request_from_small, request_aligned, request_posix, valloc,
						     pvalloc };

	for (unsigned i = 0; i < sizeof requests / sizeof *requests; i++) {
		first_request = requests[i];
		in_child(leaves_errno_alone);
	}
}

/* Of sizes of all kinds, from one place to another and back. */
static void resize(unsigned rounds)
{
	static const size_t sizes[] = { 1, 24, 100, 1000, 5000, 100000, 131072, 200000, MIB, 5 * MIB, 33 * MIB, 3000000, 150000, 4096, 40, 7 };

	for (unsigned round = 0; round < rounds; round++) {
		size_t size = sizes[round];
		unsigned char *pointer = malloc(size);
		fill(pointer, size, round);
		for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
			size_t common = size < sizes[i] ? size : sizes[i];
			pointer = realloc(pointer, sizes[i]);
			must(pointer != NULL && malloc_usable_size(pointer) >= sizes[i] && (uintptr_t)pointer % 16 == 0);
			must(holds(pointer, common, size, round));
			size = sizes[i];
			fill(pointer, size, round);
			memset(pointer + size, 9, malloc_usable_size(pointer) - size); /* all of it is the program's */
			must(holds(pointer, size, size, round));
		}
		free(pointer);
	}
}

#define EARLIER 2000
static struct {
	unsigned char *memory;
	size_t size;
} earlier[EARLIER];

static void request_earlier(void)
{
	for (unsigned i = 0; i < EARLIER; i++) {
		earlier[i].size = i % 50 == 0 ? 200000 + i : i % 7 == 0 ? 5000 + i : i;
		earlier[i].memory = i % 3 == 0 ? calloc(1, earlier[i].size) : i % 3 == 1 ? malloc(earlier[i].size) : memalign(64, earlier[i].size);
		must(earlier[i].memory != NULL);
		fill(earlier[i].memory, earlier[i].size, i);
	}
}

/* What was requested before the heap woke stays right. */
static void across_waking(void)
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

/* ---- Children ------------------------------------------------------------------------------------------------------------------------ */

static unsigned char *inherited;
static int generation;

static bool lives_and_wakes(void)
{
	unsigned char *own;

	must(info().state == ODF_HEAP_ASLEEP && info().reason == ODF_REASON_TOO_SMALL && info().capacity == 0 && info().placed_bytes == 0);
	must(holds(inherited, 5 * MIB, 5 * MIB, (unsigned)generation) && count_tasks() == 1);
	for (unsigned i = 0; i < EARLIER; i++) {
		must(holds(earlier[i].memory, earlier[i].size, earlier[i].size, i));
		if (i % 2 == 0)
			earlier[i].memory = realloc(earlier[i].memory, earlier[i].size + 5000);
		else
			free(earlier[i].memory);
		if (i % 2 == 0)
			must(holds(earlier[i].memory, earlier[i].size, earlier[i].size, i));
	}
	request_earlier();
	wake_by_mapping();
	must(info().reason == ODF_REASON_NONE && info().capacity >= GIB);
	own = malloc(5 * MIB);
	must(own != NULL);
	free(inherited);
	inherited = own;
	fill(inherited, 5 * MIB, (unsigned)++generation);
	resize(4);
	if (generation < 4)
		in_child(lives_and_wakes);
	must(holds(inherited, 5 * MIB, 5 * MIB, (unsigned)generation));
	for (unsigned i = 0; i < EARLIER; i++)
		must(holds(earlier[i].memory, earlier[i].size, earlier[i].size, i));
	return is_awake();
}

static void children_wake_for_themselves(void)
{
	wake_by_mapping();
	request_earlier();
	inherited = malloc(5 * MIB);
	for (int round = 0; round < 3; round++) {
		fill(inherited, 5 * MIB, (unsigned)generation);
		in_child(lives_and_wakes);
		must(is_awake() && holds(inherited, 5 * MIB, 5 * MIB, (unsigned)generation));
		for (unsigned i = 0; i < EARLIER; i++)
			must(holds(earlier[i].memory, earlier[i].size, earlier[i].size, i));
	}
}

static bool wakes_by_requests(void)
{
	/* Not asked in between, as asking is one of the ways in which it finds out that this is a child. */
	for (size_t asked = 0; asked < 3 * (size_t)16 * MIB; asked += 10000) {
		void *memory = malloc(10000);
		must(memory != NULL);
		memset(memory, 3, 10000);
	}
	return is_awake();
}

static void children_wake_by_requests(void)
{
	wake_by_mapping();
	resize(4);
	in_child(wakes_by_requests);
}

/* What the parent's malloc gave is the child's all the same, and it goes on with the same malloc. */
static bool goes_on(void)
{
	void *pointer;

	for (unsigned i = 0; i < EARLIER; i++) {
		size_t size = earlier[i].size, usable = malloc_usable_size(earlier[i].memory);
		must(usable >= size && holds(earlier[i].memory, size, size, i));
		if (i % 4 == 0) {
			earlier[i].memory = realloc(earlier[i].memory, usable + 3000);
			earlier[i].size = usable + 3000;
		} else if (i % 4 == 1) {
			earlier[i].size = i % 8 == 1 ? size / 3 + 1 : size - size / 3;
			earlier[i].memory = realloc(earlier[i].memory, earlier[i].size);
		} else if (i % 4 == 2) {
			free(earlier[i].memory);
			earlier[i].memory = malloc(size);
		}
		must(earlier[i].memory != NULL && malloc_usable_size(earlier[i].memory) >= earlier[i].size);
		must(i % 4 == 2 || size < 3 || holds(earlier[i].memory, size / 3, size, i));
		fill(earlier[i].memory, earlier[i].size, i);
	}
	errno = 95;
	free(malloc(MIB));
	must(malloc_trim(0) >= 0 && errno == 95);
	resize(4);
	wake_by_mapping();
	pointer = malloc(2 * MIB);
	must(pointer != NULL && info().malloc_door == ODF_HEAP_MALLOC_IN_PLACE);
	for (unsigned i = 0; i < EARLIER; i++)
		must(holds(earlier[i].memory, earlier[i].size, earlier[i].size, i));
	if (++generation < 3)
		in_child(goes_on);
	for (unsigned i = 0; i < EARLIER; i++)
		free(earlier[i].memory);
	return true;
}

static void prepare_children(void)
{
	wake_by_mapping();
	need_libcs_calls();
	request_earlier();
}

static void see_that_all_is_here(void)
{
	for (unsigned i = 0; i < EARLIER; i++)
		must(holds(earlier[i].memory, earlier[i].size, earlier[i].size, i));
}

static void children_of_malloc(void)
{
	prepare_children();
	for (int round = 0; round < 2; round++) { /* then with a keeper */
		in_child(goes_on);
		see_that_all_is_here();
	}
}

static void *waits(void *unused)
{
	pause();
	return unused;
}

static void children_beside_threads(void)
{
	pthread_t thread;

	prepare_children();
	must(pthread_create(&thread, NULL, waits, NULL) == 0);
	in_child(goes_on);
	see_that_all_is_here();
}

/* libc runs no handlers, so nobody has told it of this fork. */
static void children_past_libc(void)
{
	long pid;

	prepare_children();
	pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (pid == 0)
		_exit(goes_on() ? 0 : 1);
	must(pid > 0 && status_of((pid_t)pid) == 0);
	see_that_all_is_here();
}

static void no_thread_is_made(void)
{
	must(count_tasks() == 1);
	wake_by_mapping();
	must(count_tasks() == 1);
	resize(4);
	must(count_tasks() == 1);
	in_child(is_asleep_again);
	must(count_tasks() == 1);
	wait_ms(20);
	must(count_tasks() == 1);
}

/* Returns twice into the same frame. */
__attribute__((noinline)) static pid_t run_guest(void)
{
	pid_t pid = vfork();

	if (pid == 0) {
		for (int i = 0; i < 40; i++) {
			void *memory = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			if (memory == MAP_FAILED)
				_exit(1);
			memset(memory, 1, MIB);
		}
		_exit(0);
	}
	return pid;
}

/* It belongs to who wakes it: the descriptors do, and the right to retire it. */
static bool wakes_after_a_guest(void)
{
	int file;

	must(info().state == ODF_HEAP_ASLEEP);
	must(status_of(run_guest()) == 0);
	must(info().state == ODF_HEAP_ASLEEP);
	wake_by_mapping();
	file = open("/proc/self/exe", O_RDONLY | O_DIRECT);
	if (file >= 0) {
		must(info().state == ODF_HEAP_OFF && info().reason == ODF_REASON_HEAP_PINS);
		close(file);
	} else if (mlockall(MCL_CURRENT) == 0) { /* not every file system has direct input */
		must(info().state == ODF_HEAP_OFF && info().reason == ODF_REASON_HEAP_LOCKED);
		must(munlockall() == 0);
	} else {
		must(errno == EPERM || errno == ENOMEM); /* nothing here may retire it */
	}
	return true;
}

static void guests_do_not_wake_it(void)
{
	in_child(wakes_after_a_guest);
	must(wakes_after_a_guest());
}

static int files_below(int limit)
{
	DIR *files = opendir("/proc/self/fd");
	struct dirent *entry;
	int count = 0;

	must(files != NULL);
	while ((entry = readdir(files)) != NULL)
		count += entry->d_name[0] != '.' && atoi(entry->d_name) != dirfd(files) && atoi(entry->d_name) < limit;
	closedir(files);
	return count;
}

static void no_descriptor_in_the_way(void)
{
	struct rlimit limit = { 1024, 1024 };
	int before, below, lowest = dup(0);

	must(setrlimit(RLIMIT_NOFILE, &limit) == 0 && lowest >= 0);
	close(lowest);
	before = files_below(1024);
	below = files_below(200);
	wake_by_mapping();
	must(files_below(200) == below && files_below(1024) <= before + 2);
	must(dup(0) == lowest);
	close(lowest);
	in_child(is_asleep_again);
	must(files_below(1024) == before && dup(0) == lowest);
}

/* ---- Calls for the kernel -------------------------------------------------------------------------------------------------------------- */

static void locked_memory_retires_it(void)
{
	unsigned char *memory = map(8 * MIB), *later;

	wake_by_mapping();
	memory = map(8 * MIB);
	must(is_inside(memory));
	fill(memory, 8 * MIB, 5);
	if (mlockall(MCL_CURRENT) != 0 && (errno == EPERM || errno == ENOMEM))
		cannot_be_done_here("mlockall is not permitted");
	must(info().state == ODF_HEAP_OFF && info().reason == ODF_REASON_HEAP_LOCKED && info().capacity == 0);
	must(holds(memory, 8 * MIB, 8 * MIB, 5));
	later = map(8 * MIB);
	must(!is_inside(later));
	must(munlockall() == 0);
	inherited = memory;
	for (int round = 0; round < 2; round++) {
		pid_t pid = fork();
		if (pid == 0)
			_exit(holds(memory, 8 * MIB, 8 * MIB, 5) ? 0 : 1);
		fill(memory, 8 * MIB, 6);
		must(status_of(pid) == 0);
		fill(memory, 8 * MIB, 5);
	}
	must(munmap(memory, 8 * MIB) == 0);
}

/* As for ordinary memory, whatever that is on this kernel. */
static void advice_by_descriptor(void)
{
	static const int advices[] = { MADV_COLD, MADV_PAGEOUT, MADV_WILLNEED, MADV_DONTNEED, MADV_FREE, MADV_NORMAL, 12345 };
	unsigned char *outside, *inside;
	int self = (int)syscall(SYS_pidfd_open, getpid(), 0);
	struct iovec pieces[2];

	if (self < 0)
		cannot_be_done_here("no pidfd_open");
	outside = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	must((void *)outside != MAP_FAILED);
	wake_by_mapping();
	inside = map(MIB);
	must(!is_inside(outside) && is_inside(inside));
	for (size_t i = 0; i < sizeof advices / sizeof *advices; i++)
		for (int count = 1; count <= 2; count++) {
			ssize_t results[2];
			int errors[2];
			for (int which = 0; which < 2; which++) {
				unsigned char *memory = which == 0 ? outside : inside;
				memset(memory, 7, MIB);
				pieces[0] = (struct iovec){ memory, 16 * PAGE };
				pieces[1] = (struct iovec){ memory + 32 * PAGE, 5 * PAGE };
				errno = 0;
				results[which] = process_madvise(self, pieces, (size_t)count, advices[i], 0);
				errors[which] = errno;
			}
			if (results[0] != results[1] || errors[0] != errors[1])
				dprintf(2, "advice %d: %zd and %zd, errno %d and %d\n", advices[i], results[0], results[1], errors[0], errors[1]);
			must(results[0] == results[1] && errors[0] == errors[1]);
			if (advices[i] != MADV_FREE)
				must(memcmp(outside, inside, MIB) == 0);
		}
	close(self);
}

/* ---- Early and late ---------------------------------------------------------------------------------------------------------------------- */

static bool was_early;

/* Before main, in a program that has not begun. */
__attribute__((constructor)) static void before_main(void)
{
	unsigned char *memory[40];
	pid_t pid;

	if (getenv("ODF_TEST_EARLY") == NULL)
		return;
	for (unsigned i = 0; i < 40; i++) {
		memory[i] = malloc((i + 1) * 200000);
		must(memory[i] != NULL);
		fill(memory[i], (i + 1) * 200000, i);
	}
	must(is_awake());
	pid = fork();
	if (pid == 0) {
		for (unsigned i = 0; i < 40; i++) {
			must(holds(memory[i], (i + 1) * 200000, (i + 1) * 200000, i));
			free(memory[i]);
		}
		_exit(0);
	}
	for (unsigned i = 0; i < 40; i += 2)
		memory[i] = realloc(memory[i], (i + 1) * 300000);
	for (unsigned i = 0; i < 40; i++)
		fill(memory[i], (i + 1) * 200000, i + 1);
	must(status_of(pid) == 0);
	for (unsigned i = 0; i < 40; i++) {
		must(holds(memory[i], (i + 1) * 200000, (i + 1) * 200000, i + 1));
		free(memory[i]);
	}
	was_early = true;
}

static void constructor_forks(void)
{
	must(was_early && is_awake());
	resize(4);
}

static unsigned char *for_exit;

static void at_exit(void)
{
	unsigned char *more = malloc(3 * MIB);
	pid_t pid;

	fill(more, 3 * MIB, 9);
	pid = fork();
	if (pid == 0)
		_exit(holds(for_exit, 2 * MIB, 2 * MIB, 8) && holds(more, 3 * MIB, 3 * MIB, 9) ? 0 : 1);
	fill(for_exit, 2 * MIB, 7);
	must(status_of(pid) == 0 && holds(for_exit, 2 * MIB, 2 * MIB, 7));
	free(for_exit);
	free(more);
	resize(4);
	_exit(23);
}

static void exit_handler_forks(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		wake_by_mapping();
			for_exit = malloc(2 * MIB);
		fill(for_exit, 2 * MIB, 8);
		must(atexit(at_exit) == 0);
		exit(0);
	}
	must(status_of(pid) == 23 << 8);
}

static atomic_bool stop;
static atomic_ulong requests;

static void *requests_beside(void *number)
{
	uint64_t random = (uintptr_t)number * 77777 + 5;
	unsigned char *memory[64] = { NULL };
	size_t sizes[64] = { 0 };

	while (!atomic_load(&stop)) {
		unsigned i;
		random = random * 6364136223846793005u + 1442695040888963407u;
		i = random >> 40 & 63;
		must(memory[i] == NULL || holds(memory[i], sizes[i], sizes[i], i));
		if (random >> 33 & 1) {
			free(memory[i]);
			memory[i] = NULL;
			sizes[i] = 0;
		}
		if (random >> 34 & 1) {
			size_t size = random >> 46 & 7 ? random >> 50 : (random >> 50) * 40, common = size < sizes[i] ? size : sizes[i];
			unsigned char *fresh = realloc(memory[i], size + 1);
			must(fresh != NULL && holds(fresh, common, sizes[i], i));
			memory[i] = fresh;
			sizes[i] = size + 1;
			fill(fresh, size + 1, i);
		}
		if (atomic_fetch_add(&requests, 1) % 16 == 0)
			sched_yield(); /* there may be one core only */
	}
	for (unsigned i = 0; i < 64; i++)
		free(memory[i]);
	return NULL;
}

static bool requests_in_child(void)
{
	must(holds(inherited, 5 * MIB, 5 * MIB, 3));
	resize(1);
	free(inherited);
	return true;
}

static void forks_while_others_request(void)
{
	pthread_t threads[3];
	unsigned long before;

	inherited = malloc(5 * MIB);
	fill(inherited, 5 * MIB, 3);
	for (uintptr_t i = 0; i < 3; i++)
		must(pthread_create(&threads[i], NULL, requests_beside, (void *)i) == 0);
	for (int round = 0; round < 8; round++) {
		in_child(requests_in_child);
		if (round == 5)
			memset(map(64 * MIB), 1, 64 * MIB); /* it wakes in the middle */
	}
	before = atomic_load(&requests);
	for (int tries = 0; tries < 10000 && atomic_load(&requests) == before; tries++)
		wait_ms(1);
	must(atomic_load(&requests) > before);
	atomic_store(&stop, true);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	must(holds(inherited, 5 * MIB, 5 * MIB, 3));
}

/* ---- Mapping calls that tell what they did: the same with the library as without ------------------------------------------------------------ */

#define PAGES(count) ((size_t)(count) * PAGE)

#define TELL_CALL(call)                                                                                                                \
	do {                                                                                                                           \
		long result_;                                                                                                          \
		errno = 0;                                                                                                             \
		result_ = (long)(call);                                                                                                \
		dprintf(1, "line %d: %s, errno %d\n", __LINE__, result_ == -1 ? "fails" : "succeeds", errno);                          \
	} while (0)

/* One letter for each page: locked, or not, or not there. The kernel tells by refusing to have it invalidated. */
static void tell_locks(const unsigned char *memory, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		int result = msync((void *)(uintptr_t)(memory + PAGES(i)), PAGE, MS_ASYNC | MS_INVALIDATE);
		dprintf(1, "%s", result == 0 ? "-" : errno == EBUSY ? "L" : errno == ENOMEM ? "." : "?");
	}
	dprintf(1, "\n");
}

/* In the region, if there is one; the pages behind it are nobody's. */
static unsigned char *map_before_hole(size_t count)
{
	const char *heap = getenv("ODFORK_HEAP");
	bool on = heap != NULL && strcmp(heap, "on") == 0;
	size_t placed = on ? info().placed_bytes : 0;
	unsigned char *memory = map(PAGES(4 * count));

	must(!on || info().placed_bytes == placed + PAGES(4 * count));
	must(munmap(memory + PAGES(count), PAGES(3 * count)) == 0);
	return memory;
}

/* What a mapping grows by is locked and advised as it is, so that it is one mapping still. */
static void tell_growth(void)
{
	static const int advices[] = { MADV_NORMAL, MADV_DONTFORK, MADV_DONTDUMP, MADV_MERGEABLE, MADV_WIPEONFORK };
	unsigned char *memory;
	pid_t pid;

	for (size_t i = 0; i < sizeof advices / sizeof *advices; i++) {
		memory = map_before_hole(100) + PAGES(96);
		fill(memory, PAGES(4), 3);
		dprintf(1, "advice %d\n", advices[i]);
		TELL_CALL(madvise(memory, PAGES(4), advices[i]));
		/* What is wiped in children has left the region, and cannot always grow where it is. */
		memory = mremap(memory, PAGES(4), PAGES(9), advices[i] == MADV_WIPEONFORK ? MREMAP_MAYMOVE : 0);
		must(memory != MAP_FAILED);
		must(holds(memory, PAGES(4), PAGES(4), 3) && memory[PAGES(8)] == 0);
		pid = fork();
		if (pid == 0) {
			tell_locks(memory, 9);
			if (msync(memory, PAGES(9), MS_ASYNC) == 0)
				dprintf(1, "%d %d\n", memory[PAGES(4) - 1], memory[PAGES(9) - 1]);
			_exit(0);
		}
		must(status_of(pid) == 0);
		memory = mremap(memory, PAGES(9), PAGES(1000), MREMAP_MAYMOVE);
		must(memory != MAP_FAILED && holds(memory, PAGES(4), PAGES(4), 3) && memory[PAGES(999)] == 0);
		pid = fork();
		if (pid == 0) {
			dprintf(1, "%d\n", msync(memory + PAGES(900), PAGES(100), MS_ASYNC));
			_exit(0);
		}
		must(status_of(pid) == 0);
		TELL_CALL(munmap(memory, PAGES(1000)));
	}
	memory = map_before_hole(100);
	fill(memory + PAGES(99), PAGE, 4);
	TELL_CALL(mlock(memory + PAGES(99), PAGE));
	TELL_CALL(mremap(memory + PAGES(99), PAGE, PAGES(3), 0));
	tell_locks(memory + PAGES(97), 6);
	TELL_CALL(mremap(memory + PAGES(99), PAGES(3), PAGES(5), MREMAP_MAYMOVE));
	tell_locks(memory + PAGES(97), 8);
	TELL_CALL(madvise(memory + PAGES(99), PAGES(5), MADV_DONTNEED));
	must(holds(memory + PAGES(99), PAGE, PAGE, 4));
	TELL_CALL(munlock(memory + PAGES(99), PAGES(5)));
	tell_locks(memory + PAGES(97), 8);
	TELL_CALL(mmap(memory + PAGES(103), PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	TELL_CALL(mremap(memory + PAGES(99), PAGES(4), PAGES(5), 0)); /* something is there */
}

/* What moves stays locked and advised as it was; and what comes after it, if it grows then. */
static void tell_moves(void)
{
	static const int advices[] = { MADV_NORMAL, MADV_DONTFORK, MADV_DONTDUMP, MADV_MERGEABLE, MADV_WIPEONFORK };
	unsigned char *memory = map_before_hole(1000), *place = map_before_hole(1000), *moved;
	pid_t pid;

	for (size_t i = 0; i < 2 * sizeof advices / sizeof *advices; i++) {
		unsigned char *from = memory + PAGES(20 + 80 * i), *to = place + PAGES(20 + 80 * i);
		bool fixed = i % 2 != 0;
		fill(from, PAGES(20), 3);
		dprintf(1, "advice %d%s\n", advices[i / 2], fixed ? ", to a place" : "");
		TELL_CALL(madvise(from, PAGES(20), advices[i / 2]));
		moved = fixed ? mremap(from, PAGES(20), PAGES(40), MREMAP_MAYMOVE | MREMAP_FIXED, to) : mremap(from, PAGES(20), PAGES(40), MREMAP_MAYMOVE);
		must(moved != MAP_FAILED && moved != from && holds(moved, PAGES(20), PAGES(20), 3) && moved[PAGES(40) - 1] == 0);
		pid = fork();
		if (pid == 0) {
			tell_locks(moved, 40);
			if (msync(moved, PAGES(40), MS_ASYNC) == 0)
				dprintf(1, "%d %d\n", moved[PAGES(20) - 1], moved[PAGES(40) - 1]);
			_exit(0);
		}
		must(status_of(pid) == 0);
		tell_locks(from - PAGES(1), 22);
		if (!fixed)
			TELL_CALL(munmap(moved, PAGES(40)));
	}
	TELL_CALL(mlock(memory + PAGES(5), PAGES(3)));
	TELL_CALL(mprotect(memory + PAGES(6), PAGES(2), PROT_READ));
	moved = mremap(memory + PAGES(6), PAGES(2), PAGES(2), MREMAP_MAYMOVE | MREMAP_FIXED, place + PAGES(3));
	must(moved == place + PAGES(3));
	tell_locks(place + PAGES(2), 4);
	tell_locks(memory + PAGES(4), 5);
	TELL_CALL(madvise(moved, PAGES(2), MADV_DONTNEED));
	TELL_CALL(munlock(place, PAGES(10)));
	/* What is not alike is no single mapping, and does not grow. */
	TELL_CALL(mprotect(memory + PAGES(900), PAGES(5), PROT_READ));
	TELL_CALL(madvise(memory + PAGES(920), PAGES(5), MADV_DONTDUMP));
	TELL_CALL(mremap(memory + PAGES(898), PAGES(5), PAGES(20), MREMAP_MAYMOVE));
	TELL_CALL(mremap(memory + PAGES(902), PAGES(5), PAGES(20), MREMAP_MAYMOVE));
	TELL_CALL(mremap(memory + PAGES(918), PAGES(5), PAGES(20), MREMAP_MAYMOVE));
	TELL_CALL(mremap(memory + PAGES(922), PAGES(5), PAGES(20), MREMAP_MAYMOVE));
	TELL_CALL(mremap(memory + PAGES(918), PAGES(10), PAGES(10), 0));
	TELL_CALL(mremap(memory + PAGES(898), PAGES(10), PAGES(5), 0));
	tell_locks(memory + PAGES(890), 40);
	TELL_CALL(munmap(memory, PAGES(1000)));
	TELL_CALL(munmap(place, PAGES(1000)));
}

/* All is marked as locked before the first page is brought, and of what comes before a hole none is brought. */
static void tell_locking(void)
{
	unsigned char *memory = map_before_hole(100);
	pid_t pid;

	TELL_CALL(mprotect(memory + PAGES(20), PAGES(6), PROT_NONE));
	TELL_CALL(mlock(memory + PAGES(18), PAGES(15)));
	tell_locks(memory + PAGES(16), 20);
	TELL_CALL(madvise(memory + PAGES(27), PAGES(3), MADV_DONTNEED));
	TELL_CALL(munlock(memory + PAGES(10), PAGES(30)));
	tell_locks(memory + PAGES(16), 20);
	TELL_CALL(munmap(memory + PAGES(50), PAGES(5)));
	TELL_CALL(mlock(memory + PAGES(45), PAGES(20)));
	tell_locks(memory + PAGES(43), 24);
	TELL_CALL(madvise(memory + PAGES(46), PAGES(2), MADV_DONTNEED));
	TELL_CALL(mlock2(memory + PAGES(60), PAGES(3), MLOCK_ONFAULT));
	tell_locks(memory + PAGES(43), 24);
	pid = fork();
	if (pid == 0) { /* which has no locks */
		tell_locks(memory + PAGES(43), 24);
		TELL_CALL(madvise(memory + PAGES(60), PAGES(3), MADV_DONTNEED));
		tell_locks(memory + PAGES(43), 24);
		_exit(0);
	}
	must(status_of(pid) == 0);
	TELL_CALL(mlock(memory + PAGES(97) + 5, PAGE + 9)); /* two pages */
	tell_locks(memory + PAGES(95), 10);
	TELL_CALL(mlock(memory, 0));
	TELL_CALL(mlock2(memory, PAGES(200), 0x80));
	TELL_CALL(mlock2(memory + PAGES(51), PAGE, 0x80));
	TELL_CALL(mlock(memory, SIZE_MAX - PAGES(200)));
	tell_locks(memory, 10);
	TELL_CALL(munlock(memory, PAGES(100)));
	tell_locks(memory + PAGES(40), 60);
}

/* Arguments are looked at before memory is. */
static void tell_refusals(void)
{
	unsigned char *memory = map_before_hole(100), *hole = memory + PAGES(110), residence[20];

	TELL_CALL(mincore(hole, PAGE, residence));
	TELL_CALL(mincore(memory + PAGES(95), PAGES(10), residence));
	TELL_CALL(mincore(memory + PAGES(90), PAGES(10), residence));
	TELL_CALL(mincore(hole + 1, PAGE, residence));
	TELL_CALL(mincore(memory, PAGES(10), NULL));
	TELL_CALL(mprotect(hole, PAGE, 1 << 28));
	TELL_CALL(mprotect(hole, PAGE, PROT_READ));
	TELL_CALL(mprotect(hole + 1, PAGE, PROT_READ));
	TELL_CALL(syscall(SYS_pkey_mprotect, hole, PAGE, PROT_READ, 14));
	TELL_CALL(syscall(SYS_pkey_mprotect, hole, PAGE, PROT_READ, -1));
	TELL_CALL(madvise(hole, PAGE, 99));
	TELL_CALL(madvise(hole, PAGE, MADV_DONTNEED));
	TELL_CALL(msync(hole, PAGE, MS_ASYNC | MS_SYNC));
	TELL_CALL(msync(hole, PAGE, MS_ASYNC));
	TELL_CALL(mlock2(hole, PAGE, 0x80));
	TELL_CALL(mlock2(hole, PAGE, MLOCK_ONFAULT));
	TELL_CALL(mremap(hole, PAGE, PAGE, 0));
	TELL_CALL(mremap(hole, PAGE, 0, 0));
	TELL_CALL(mremap(hole, PAGE, PAGES(2), MREMAP_MAYMOVE));
	TELL_CALL(mremap(hole + 1, PAGE, PAGES(2), MREMAP_MAYMOVE));
	TELL_CALL(mremap(hole, 0, PAGE, MREMAP_MAYMOVE));
	TELL_CALL(munmap(memory, SIZE_MAX / 2));
	TELL_CALL(munmap(hole, PAGE));
}

/* A range that begins where nothing is, in processes that have inherited it. */
static void tell_holes_of_children(void)
{
	unsigned char *memory = map_before_hole(400);
	pid_t pid, other;

	fill(memory, PAGES(400), 9);
	pid = fork();
	if (pid == 0) {
		TELL_CALL(munmap(memory, PAGES(40)));
		TELL_CALL(mremap(memory + PAGES(36), PAGES(287), PAGES(287), 0));
		other = fork();
		if (other == 0) {
			TELL_CALL(mremap(memory + PAGES(36), PAGES(287), PAGES(287), 0));
			TELL_CALL(mremap(memory + PAGES(36), PAGES(287), PAGES(200), MREMAP_MAYMOVE));
			TELL_CALL(mremap(memory + PAGES(36), PAGES(287), PAGES(300), MREMAP_MAYMOVE));
			TELL_CALL(mmap(memory + PAGES(30), PAGES(10), PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
			TELL_CALL(mremap(memory + PAGES(36), PAGES(287), PAGES(287), 0));
			TELL_CALL(mremap(memory + PAGES(36), PAGES(287), PAGES(200), 0));
			tell_locks(memory + PAGES(30), 300);
			_exit(0);
		}
		must(status_of(other) == 0);
		TELL_CALL(madvise(memory + PAGES(36), PAGES(20), MADV_DONTNEED));
		must(memory[PAGES(41)] == 0);
		_exit(0);
	}
	must(status_of(pid) == 0 && holds(memory, PAGES(400), PAGES(400), 9));
}

/* What was there before is not to be seen again, whoever asked for what in between. */
static void tell_zeros(void)
{
	for (int way = 0; way < 6; way++) {
		unsigned char *memory = map_before_hole(100), *island = memory + PAGES(20);
		size_t seen = 0;
		pid_t pid;
		fill(memory, PAGES(100), 7);
		island[PAGES(18)] = 77;
		if (way == 1)
			TELL_CALL(mprotect(island, PAGES(30), PROT_READ));
		else if (way == 2)
			TELL_CALL(mprotect(island, PAGES(30), PROT_NONE));
		else if (way == 3)
			TELL_CALL(madvise(island, PAGES(30), MADV_DONTDUMP));
		else if (way == 4)
			TELL_CALL(madvise(island, PAGES(30), MADV_DONTFORK));
		else if (way == 5)
			TELL_CALL(mlock(island, PAGES(3)) != 0 || munlock(island, PAGES(3)) != 0);
		TELL_CALL(madvise(island + PAGES(5), PAGES(10), MADV_DONTNEED));
		if (way == 1 || way == 2) { /* with the rights that it had */
			int pipes[2];
			must(pipe(pipes) == 0);
			TELL_CALL(read(pipes[0], island + PAGES(6), write(pipes[1], "x", 1)));
			TELL_CALL(write(pipes[1], island + PAGES(6), 1));
			TELL_CALL(madvise(island + PAGES(16), PAGES(4), MADV_WIPEONFORK));
			TELL_CALL(read(pipes[0], island + PAGES(17), write(pipes[1], "x", 1)));
			TELL_CALL(write(pipes[1], island + PAGES(17), 1));
			close(pipes[0]);
			close(pipes[1]);
			TELL_CALL(mprotect(island, PAGES(30), PROT_READ | PROT_WRITE));
			must(island[PAGES(18)] == 77);
		}
		pid = fork();
		if (pid == 0) {
			tell_locks(island, 30);
			_exit(0);
		}
		must(status_of(pid) == 0);
		for (size_t i = 0; i < PAGES(10); i++)
			seen += island[PAGES(5) + i] != 0;
		dprintf(1, "way %d: %zu bytes are not zero\n", way, seen);
		must(holds(memory, PAGES(25), PAGES(100), 7) && memory[PAGES(100) - 1] == 7);
		TELL_CALL(mmap(island + PAGES(2), PAGES(20), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
		TELL_CALL(mmap(island + PAGES(2), PAGES(20), PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
		for (size_t i = 0; i < PAGES(20); i++)
			seen += island[PAGES(2) + i] != 0;
		dprintf(1, "way %d: %zu bytes are not zero\n", way, seen);
		TELL_CALL(munmap(island, PAGES(40)));
		island = mmap(island, PAGES(40), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		for (size_t i = 0; i < PAGES(40); i++)
			seen += island[i] != 0;
		dprintf(1, "way %d: %zu bytes are not zero\n", way, seen);
		TELL_CALL(munmap(memory, PAGES(100)));
	}
}

static void tell_mappings(void)
{
	tell_zeros();
	tell_growth();
	tell_moves();
	tell_locking();
	tell_refusals();
	tell_holes_of_children();
}

/* ---- All of them ------------------------------------------------------------------------------------------------------------------------- */

#define SIZES " (it is auto, on, off, or a size of at most 1T, such as 64G, 64GiB or 1.5g)\n"

enum way { PLAIN, PRELOADED, LINKED, STATIC };
static const struct {
	const char *name;
	void (*run)(void);
	enum way way;
	const char *heap;   /* ODFORK_HEAP; NULL: not set */
	const char *like;   /* what is printed must be what this one prints */
	const char *says;   /* on standard error */
	bool early;
} cases[] = {
	{ "semantics_plain", semantics_plain, PLAIN },
	{ "mappings_plain", tell_mappings, PLAIN },
	{ "asleep", is_asleep, PRELOADED },
	{ "asleep_auto", is_asleep, PRELOADED, "auto" },
	{ "asleep_nonsense", is_asleep, PRELOADED, "nonsense", .says = "odfork: value not understood, ignored: ODFORK_HEAP=nonsense" SIZES },
	{ "asleep_bad_size", is_asleep, PRELOADED, "12Q", .says = "odfork: value not understood, ignored: ODFORK_HEAP=12Q" SIZES },
	{ "asleep_too_much", is_asleep, PRELOADED, "2T", .says = "odfork: value not understood, ignored: ODFORK_HEAP=2T" SIZES },
	{ "off", is_off, PRELOADED, "off" },
	{ "counts", counts, PRELOADED },
	{ "on", is_on, PRELOADED, "on" },
	{ "size", is_two_gib, PRELOADED, "2G" },
	{ "size_rounded_up", is_two_gib, PRELOADED, "1025M" },
	{ "linked", linked_enables, LINKED },
	{ "linked_auto", linked_enables, LINKED, "auto" },
	{ "linked_on", is_on, LINKED, "on" },
	{ "linked_off", is_off, LINKED, "off" },
	{ "static", is_not_interposed, STATIC },
	{ "static_on", is_not_interposed, STATIC, "on" },
	{ "wakes_by_small_requests", wakes_by_small_requests, PRELOADED },
	{ "wakes_by_large_requests", wakes_by_large_requests, PRELOADED },
	{ "wakes_by_cleared_requests", wakes_by_cleared_requests, PRELOADED },
	{ "wakes_by_growing_requests", wakes_by_growing_requests, PRELOADED },
	{ "wakes_by_mappings", wakes_by_mappings, PRELOADED },
	{ "reservations_do_not_wake", reservations_do_not_wake, PRELOADED },
	{ "semantics_asleep", semantics_asleep, PRELOADED, .like = "semantics_plain" },
	{ "semantics_off", semantics_asleep, PRELOADED, "off", .like = "semantics_plain" },
	{ "semantics_awake", semantics_awake, PRELOADED, "on", .like = "semantics_plain" },
	{ "errno_is_left_alone", errno_is_left_alone, PRELOADED },
	{ "across_waking", across_waking, PRELOADED },
	{ "children_wake_for_themselves", children_wake_for_themselves, PRELOADED },
	{ "children_wake_by_requests", children_wake_by_requests, PRELOADED },
	{ "children_of_malloc", children_of_malloc, PRELOADED },
	{ "children_beside_threads", children_beside_threads, PRELOADED },
	{ "children_past_libc", children_past_libc, PRELOADED },
	{ "no_thread_is_made", no_thread_is_made, PRELOADED },
	{ "guests_do_not_wake_it", guests_do_not_wake_it, PRELOADED },
	{ "no_descriptor_in_the_way", no_descriptor_in_the_way, PRELOADED },
	{ "locked_memory_retires_it", locked_memory_retires_it, PRELOADED },
	{ "advice_by_descriptor", advice_by_descriptor, PRELOADED },
	{ "mappings_asleep", tell_mappings, PRELOADED, "off", .like = "mappings_plain" },
	{ "mappings", tell_mappings, PRELOADED, "on", .like = "mappings_plain" },
	{ "constructor_forks", constructor_forks, PRELOADED, "on", .early = true },
	{ "constructor_forks_after_growth", constructor_forks, PRELOADED, .early = true },
	{ "exit_handler_forks", exit_handler_forks, PRELOADED },
	{ "forks_while_others_request_awake", forks_while_others_request, PRELOADED, "on" },
	{ "forks_while_others_request", forks_while_others_request, PRELOADED },
};
#define CASES (sizeof cases / sizeof *cases)

static char directory[] = "/tmp/odfork-heap-XXXXXX", built[3000];

static char *path_of(const char *name, const char *extension)
{
	static char paths[4][4096];
	static unsigned next;
	char *path = paths[next++ % 4];

	snprintf(path, 4096, "%s/%s%s", directory, name, extension);
	return path;
}

/* Executes this program in the way of the case. */
static __attribute__((noreturn)) void become(size_t which)
{
	static const char *const programs[] = { "test_heap", "test_heap", "test_heap_linked", "test_heap_static" };
	char program[3100], library[3100];
	int out = open(path_of(cases[which].name, ".out"), O_CREAT | O_TRUNC | O_WRONLY, 0600);
	int error = open(path_of(cases[which].name, ".err"), O_CREAT | O_TRUNC | O_WRONLY, 0600);

	must(out >= 0 && error >= 0 && dup2(out, 1) == 1 && dup2(error, 2) == 2);
	close(out);
	close(error);
	snprintf(program, sizeof program, "%s/tests/%s", built, programs[cases[which].way]);
	snprintf(library, sizeof library, "%s/libodfork.so.0", built);
	unsetenv("ODFORK_HEAP");
	unsetenv("LD_PRELOAD");
	setenv("ODF_TEST_RUN", cases[which].name, 1);
	if (cases[which].heap != NULL)
		setenv("ODFORK_HEAP", cases[which].heap, 1);
	if (cases[which].way == PRELOADED)
		setenv("LD_PRELOAD", library, 1);
	if (cases[which].early)
		setenv("ODF_TEST_EARLY", "1", 1);
	execl(program, program, (char *)NULL);
	wrong(__LINE__, program);
}

static bool is_same(const char *one, const char *other)
{
	char *first = strdup(slurp(one));
	bool same = strcmp(first, slurp(other)) == 0;

	free(first);
	return same;
}

/* The exit status; 77: skipped. */
static int run(size_t which)
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0)
		become(which);
	status = status_of(pid);
	if (status != 0 && status != 77 << 8) {
		printf("# %s: %s", WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "failed", slurp(path_of(cases[which].name, ".err")));
		return 1;
	}
	if (status == 0 && strcmp(slurp(path_of(cases[which].name, ".err")), cases[which].says == NULL ? "" : cases[which].says) != 0) {
		printf("# it says: %s", slurp(path_of(cases[which].name, ".err")));
		return 1;
	}
	if (status == 0 && cases[which].like != NULL && !is_same(path_of(cases[which].name, ".out"), path_of(cases[which].like, ".out"))) {
		char command[9000];
		fflush(stdout);
		snprintf(command, sizeof command, "diff %s %s | sed 's/^/# /'", path_of(cases[which].like, ".out"), path_of(cases[which].name, ".out"));
		(void)!system(command);
		return 1;
	}
	return WEXITSTATUS(status);
}

int main(int argc, char **argv)
{
	const char *name = getenv("ODF_TEST_RUN"), *build = getenv("ODF_BUILD");
	int failed = 0, number = 0;
	char *end;

	for (size_t i = 0; name != NULL && i < CASES; i++)
		if (strcmp(name, cases[i].name) == 0) {
			odf_capabilities capabilities = ODF_CAPABILITIES_INIT;
			int (*get)(odf_capabilities *) = NULL;
			alarm(60);
			*(void **)&get = dlsym(RTLD_DEFAULT, "odf_capabilities_get");
			if (get != NULL && get(&capabilities) == 0 && capabilities.strategy[ODF_STRATEGY_REGION] != ODF_REASON_NONE &&
			    capabilities.strategy[ODF_STRATEGY_REGION] != ODF_REASON_NO_REGION)
				cannot_be_done_here("no regions");
			cases[i].run();
			_exit(0);
		}
	must(realpath("/proc/self/exe", built) != NULL && (end = strrchr(built, '/')) != NULL);
	*end = '\0';
	if (build != NULL)
		snprintf(built, sizeof built, "%s", build);
	else
		*strrchr(built, '/') = '\0';
	must(mkdtemp(directory) != NULL);
	if (argc == 1)
		printf("1..%zu\n", CASES);
	for (size_t i = 0; i < CASES; i++) {
		int result;
		if (argc > 1 && cases[i].way != PLAIN && strcmp(argv[1], cases[i].name) != 0)
			continue;
		result = run(i);
		failed += result != 0 && result != 77;
		printf("%s %d - %s%s\n", result == 0 || result == 77 ? "ok" : "not ok", ++number, cases[i].name, result == 77 ? " # SKIP not here" : "");
	}
	snprintf(built, sizeof built, "rm -rf %s", directory);
	(void)!system(built);
	return failed > 0;
}
