/* SPDX-License-Identifier: MIT
 *
 * Memory of a process that does not fork: the kernel's mapping at first, and a region's once it has aged, whatever the
 * program does to it in that time. Each case waits for a second or a few.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

/* A program that imports fork has its memory in a region from the start, so this one looks it up by name. */
static inline pid_t fork_by_name(void)
{
	pid_t (*function)(void);

	*(void **)&function = dlsym(RTLD_DEFAULT, "fork");
	if (function == NULL)
		abort();
	return function();
}
#define fork fork_by_name

#include "../support/preloaded.h"

#define PAGE   ((size_t)4096)
#define ALL    (24 * MIB)
#define WORDS  (ALL / sizeof(unsigned))
#define PLAYED (8 * MIB)
#define WRITERS 2

static bool preloaded(void)
{
	return getenv("ODFORK_HEAP") != NULL;
}

static void *map(size_t length)
{
	void *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(memory != MAP_FAILED);
	return memory;
}

static atomic_uint *counters;
static atomic_bool stop;

/* Each thread has its own words. */
static void *write_words(void *argument)
{
	size_t own = (size_t)(uintptr_t)argument, random = own * 77 + 1, *written = malloc(sizeof *written);

	must(written != NULL);
	for (*written = 0; !atomic_load(&stop); ++*written) {
		random = random * 6364136223846793005u + 1442695040888963407u;
		atomic_fetch_add(&counters[(random >> 33) % (WORDS / WRITERS) * WRITERS + own], 1);
	}
	return written;
}

/* Maps, unmaps, moves, zeroes and protects parts of memory that may be about to enter the region. */
static void play(char *memory, unsigned round)
{
	size_t at = round * 37 % (PLAYED / PAGE / 2) * PAGE, size = (1 + round % 40) * PAGE;
	char *part = memory + at, *moved;

	memset(part, (int)(round % 100 + 1), size);
	switch (round % 5) {
	case 0:
		must(mprotect(part, size, PROT_READ) == 0 && part[size - 1] == (char)(round % 100 + 1));
		must(mprotect(part, size, PROT_READ | PROT_WRITE) == 0);
		break;
	case 1:
		must(madvise(part, size, MADV_DONTNEED) == 0 && part[0] == 0 && part[size - 1] == 0);
		break;
	case 2:
		must(munmap(part, size) == 0);
		must(mmap(part, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == part);
		must(part[0] == 0 && part[size - 1] == 0);
		break;
	case 3:
		moved = mremap(part, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, memory + PLAYED - size);
		must(moved == memory + PLAYED - size && moved[0] == (char)(round % 100 + 1) &&
		     moved[size - 1] == moved[0]);
		must(mmap(part, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == part);
		break;
	default:
		must(part[0] == (char)(round % 100 + 1) && part[size - 1] == part[0]);
		break;
	}
}

/* The sum of all words is what was written, and a child sees its parent's memory. */
static bool is_sum(size_t sum)
{
	for (size_t i = 0; i < WORDS; i++)
		sum -= atomic_load(&counters[i]);
	return sum == 0;
}

static void grows_old(char *words[CASE_WORDS])
{
	pthread_t writers[WRITERS];
	struct timespec before, after;
	char *played;
	size_t sum = 0;
	pid_t pid;

	(void)words;
	if (preloaded())
		needs_settling();
	/* It is still as the kernel mapped it. If this process got too little processor time, the check says
	 * nothing. */
	(void)clock_gettime(CLOCK_MONOTONIC, &before);
	counters = map(ALL);
	memset(counters, 0, ALL);
	if (preloaded()) {
		bool inside = is_inside(&counters[WORDS / 2]);
		(void)clock_gettime(CLOCK_MONOTONIC, &after);
		must(info().state == ODF_HEAP_AWAKE && (!inside || after.tv_sec > before.tv_sec));
	}
	played = map(PLAYED);
	memset(played, 5, PLAYED);
	for (size_t i = 0; i < WRITERS; i++)
		must(pthread_create(&writers[i], NULL, write_words, (void *)(uintptr_t)i) == 0);
	for (unsigned round = 0; round < (preloaded() ? 40000u : 500u); round++) {
		if (is_live(&counters[0]) && is_live(&counters[WORDS - 1]) && round > 500)
			break;
		play(played, round);
		wait_ms(1);
	}
	must(!preloaded() || (is_live(&counters[0]) && is_live(&counters[WORDS - 1])));
	for (unsigned round = 0; round < 100; round++)
		play(played, round);
	atomic_store(&stop, true);
	for (size_t i = 0; i < WRITERS; i++) {
		void *written;
		must(pthread_join(writers[i], &written) == 0);
		sum += *(size_t *)written;
	}
	must(is_sum(sum));
	for (int round = 0; round < 3; round++) {
		pid = fork();
		if (pid == 0)
			_exit(is_sum(sum) ? 0 : 1);
		must(pid > 0 && status_of(pid) == 0);
	}
	must(is_sum(sum));
}

/* If nothing can be adopted beside the program: much is mapped before any of it is used. */
#define BLOCKS 128
static void mapped_before_use(char *words[CASE_WORDS])
{
	static char *blocks[BLOCKS];
	char open_to_all = '0';
	int file = open("/proc/sys/vm/unprivileged_userfaultfd", O_RDONLY);

	(void)words;
	if (file >= 0 && read(file, &open_to_all, 1) != 1)
		open_to_all = '0';
	if (preloaded() && (open_to_all == '1' || access("/dev/userfaultfd", R_OK | W_OK) == 0))
		_exit(77); /* it can be adopted */
	for (size_t i = 0; i < BLOCKS; i++)
		blocks[i] = map(MIB);
	if (preloaded() && info().state != ODF_HEAP_AWAKE && info().reason != ODF_REASON_TOO_SMALL)
		cannot_be_done_here("there is no heap");
	for (size_t i = 0; i < BLOCKS; i++)
		memset(blocks[i], (int)i, MIB);
	must(!preloaded() || (info().state == ODF_HEAP_AWAKE && is_inside(blocks[BLOCKS - 1])));
	for (size_t i = 0; i < BLOCKS; i++)
		must(blocks[i][0] == (char)i && blocks[i][MIB - 1] == (char)i);
}

static void become_nobody(const void *unused)
{
	(void)unused;
	if (setgid(65534) != 0 || setuid(65534) != 0)
		_exit(77);
}

int main(int argc, char **argv)
{
	static const struct preloaded_case cases[] = {
		{ "grows_old", grows_old }, { "mapped_before_use", mapped_before_use },
	};
	static const char *const heaps[] = { NULL, "auto" };

	if (argc > 1)
		run_case(cases, 2, argc, argv);
	for (size_t heap = 0; heap < 2; heap++) {
		const char *words[] = { "aging", "mapped_before_use", NULL };
		int result = execute(heaps[heap], words, become_nobody, NULL);
		tell_case(result, "mapped_before_use %s", heap_name(heaps[heap]));
	}
	for (size_t heap = 0; heap < 2; heap++) {
		const char *words[] = { "aging", "grows_old", NULL };
		tell_case(execute(heaps[heap], words, NULL, NULL), "grows_old %s", heap_name(heaps[heap]));
	}
	return end_of_cases();
}
