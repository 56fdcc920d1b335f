/* SPDX-License-Identifier: MIT
 *
 * Cases of test_heap: children of each kind, and what the heap must not do to the program or to them.
 */
#include "heap_cases.h"

unsigned char *inherited;
static int generation;

static bool lives_and_wakes(void)
{
	unsigned char *own;

	must(info().state == ODF_HEAP_ASLEEP && info().reason == ODF_REASON_TOO_SMALL && info().capacity == 0 &&
	     info().placed_bytes == 0);
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

void children_wake_for_themselves(void)
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
	/* It asks no question in between: a question is one of the ways in which the library finds out that this is a
	 * child. */
	for (size_t asked = 0; asked < 3 * (size_t)16 * MIB; asked += 10000) {
		void *memory = malloc(10000);
		must(memory != NULL);
		memset(memory, 3, 10000);
	}
	return is_awake();
}

void children_wake_by_requests(void)
{
	wake_by_mapping();
	resize(4);
	in_child(wakes_by_requests);
}

/* Blocks from the parent's malloc belong to the child as well, and it goes on with the same malloc. */
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

void children_of_malloc(void)
{
	prepare_children();
	for (int round = 0; round < 2; round++) { /* the second time with a keeper */
		in_child(goes_on);
		see_that_all_is_here();
	}
}

static void *waits(void *unused)
{
	pause();
	return unused;
}

void children_beside_threads(void)
{
	pthread_t thread;

	prepare_children();
	must(pthread_create(&thread, NULL, waits, NULL) == 0);
	in_child(goes_on);
	see_that_all_is_here();
}

/* libc runs no atfork handlers, so the library is not told of this fork. */
void children_past_libc(void)
{
	long pid;

	prepare_children();
	pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (pid == 0)
		_exit(goes_on() ? 0 : 1);
	must(pid > 0 && status_of((pid_t)pid) == 0);
	see_that_all_is_here();
}

void no_thread_is_made(void)
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

/* The heap belongs to the process that wakes it: the descriptors do, and the right to retire it. */
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

void guests_do_not_wake_it(void)
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

void no_descriptor_in_the_way(void)
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

/* ---- Calls that the kernel answers ------------------------------------------------------------------------------- */

void locked_memory_retires_it(void)
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

/* As for ordinary memory, whatever this kernel does for that. */
void advice_by_descriptor(void)
{
	static const int advices[] = {
		MADV_COLD, MADV_PAGEOUT, MADV_WILLNEED, MADV_DONTNEED, MADV_FREE, MADV_NORMAL, 12345,
	};
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
				dprintf(2, "advice %d: %zd and %zd, errno %d and %d\n", advices[i], results[0],
					results[1], errors[0], errors[1]);
			must(results[0] == results[1] && errors[0] == errors[1]);
			if (advices[i] != MADV_FREE)
				must(memcmp(outside, inside, MIB) == 0);
		}
	close(self);
}
