/* SPDX-License-Identifier: MIT
 *
 * libc's malloc under the library: it stays the same malloc with the same answers, and its memory becomes part of
 * regions in place, in each form that malloc uses. The program prints numbers where it can. It prints them without the
 * library, too, and they must be the same.
 *
 *   malloc_in_place              all, as TAP
 *   malloc_in_place "" CASE      that case
 *   malloc_in_place CASE         that case in this process; the caller sets LD_PRELOAD and ODFORK_HEAP
 */
#include "../support/case_seconds.h"
#include "malloc_in_place.h"

#define THREADS 4

static void small_blocks(void)
{
	struct blocks blocks = make(100, AMOUNT * 8 / 10);
	char *end = sbrk(0);

	go_through(&blocks, 1);
	/* The data segment becomes short again; its former contents are free. */
	unmake(&blocks, 0);
	free(blocks.list);
	must(malloc_trim(0) == 1);
	must((char *)sbrk(0) < end - AMOUNT / 2);
	wait_for_inside(0, 8 * MIB);
}

static void blocks_of_a_mebibyte(void)
{
	struct blocks blocks = make(MIB - 4096, AMOUNT);

	go_through(&blocks, 1);
	unmake(&blocks, 0);
	wait_for_inside(0, 8 * MIB);
}

static void one_that_grows(void)
{
	struct blocks blocks = { NULL, 1, 0 };

	blocks.list = calloc(1, sizeof *blocks.list);
	must(blocks.list != NULL);
	for (size_t size = 100000; size < AMOUNT + MIB; size += size / 8) {
		must(is_right(blocks.list));
		blocks.list[0].memory = realloc(blocks.list[0].memory, size);
		must(is_right(blocks.list));
		fill(blocks.list, size, (unsigned)(size % 200 + 1));
		blocks.each = size;
	}
	go_through(&blocks, 1);
	blocks.list[0].memory = realloc(blocks.list[0].memory, 2 * MIB);
	blocks.list[0].size = 2 * MIB;
	check(&blocks);
	wait_for_inside(0, 8 * MIB);
}

static void *make_in_thread(void *argument)
{
	*(struct blocks *)argument = make(1000, AMOUNT / THREADS);
	return NULL;
}

static void *unmake_in_thread(void *argument)
{
	unmake(argument, 0);
	(void)malloc_trim(0);
	return NULL;
}

static void in_threads(void *(*function)(void *), struct blocks blocks[THREADS])
{
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++)
		must(pthread_create(&threads[i], NULL, function, &blocks[i]) == 0);
	for (int i = 0; i < THREADS; i++)
		must(pthread_join(threads[i], NULL) == 0);
}

static void four_threads(void)
{
	struct blocks blocks[THREADS];

	in_threads(make_in_thread, blocks);
	go_through(blocks, THREADS);
	/* By threads other than those whose arenas they come from. */
	in_threads(unmake_in_thread, blocks);
	wait_for_inside(0, 16 * MIB);
}

/* ---- Threads that come and go, with cached memory, during steps ---- */

static atomic_bool stop;
static atomic_ulong ended;

static void *live_shortly(void *unused)
{
	struct block kept[40];

	(void)unused;
	for (unsigned i = 0; i < 40; i++) {
		kept[i].memory = malloc(24 + i * 24);
		fill(&kept[i], 24 + i * 24, i + 1);
	}
	free(malloc(300000));
	for (unsigned i = 0; i < 40; i++) {
		must(is_right(&kept[i]));
		free(kept[i].memory); /* memory that is cached for a thread is freed when that has ended */
	}
	atomic_fetch_add(&ended, 1);
	return NULL;
}

static void *make_threads(void *unused)
{
	(void)unused;
	while (!atomic_load(&stop)) {
		pthread_t threads[3];
		for (int i = 0; i < 3; i++)
			must(pthread_create(&threads[i], NULL, live_shortly, NULL) == 0);
		for (int i = 0; i < 3; i++)
			must(pthread_join(threads[i], NULL) == 0);
	}
	return NULL;
}

static void threads_that_end(void)
{
	struct blocks blocks[THREADS];
	pthread_t maker;

	in_threads(make_in_thread, blocks);
	must(pthread_create(&maker, NULL, make_threads, NULL) == 0);
	for (int round = 0; round < 12; round++) {
		unsigned long before = atomic_load(&ended);
		fork_once(blocks, THREADS);
		while (atomic_load(&ended) < before + 20)
			wait_ms(1);
		unmake(&blocks[round % THREADS], 0);
		blocks[round % THREADS] = make(round % 2 == 0 ? 3000 : 200000, AMOUNT / THREADS);
	}
	atomic_store(&stop, true);
	must(pthread_join(maker, NULL) == 0);
	for (int i = 0; i < THREADS; i++)
		check(&blocks[i]);
}

/* ---- The same numbers as without the library ---- */

static char *first;

static void tell_heap(const char *when)
{
	static struct mallinfo2 before;
	static char *end_before;
	struct mallinfo2 now = mallinfo2();

	if (end_before == NULL) {
		before = now;
		end_before = sbrk(0);
	}
	printf("%s: end %ld, arena %ld, mapped %ld of %ld, used %ld, free %ld\n", when,
	       (long)((char *)sbrk(0) - end_before), (long)(now.arena - before.arena), (long)(now.hblks - before.hblks),
	       (long)(now.hblkhd - before.hblkhd), (long)(now.uordblks - before.uordblks),
	       (long)(now.fordblks - before.fordblks));
}

#define TOLD 3000

static void numbers(void)
{
	static struct block blocks[TOLD];
	unsigned long random = 7;
	size_t rest;

	setvbuf(stdout, malloc(100000), _IOFBF, 100000);
	(void)is_preloaded();
	/* The allocations and frees before main differ a little. From here on all memory comes from the end of the
	 * heap, which is at the same offset within a page. */
	for (size_t size = 24; size < 1200; size += 16)
		for (int i = 0; i < 10; i++)
			(void)!malloc(size);
	first = malloc(24);
	rest = (2048 - ((uintptr_t)first + 32)) & 4095;
	(void)!malloc((rest < 32 ? rest + 4096 : rest) - 8);
	first = malloc(24);
	must(((uintptr_t)first & 4095) == 2048);
	tell_heap("start");
	for (unsigned round = 0; round < 6; round++) {
		for (unsigned i = 0; i < TOLD; i++) {
			size_t size;
			random = random * 6364136223846793005ul + 1442695040888963407ul;
			size = random >> 40 & 15 ? random >> 50 : (random >> 46 & 0xffff) * 30;
			if (blocks[i].memory != NULL) {
				must(is_right(&blocks[i]));
				if (random >> 35 & 1) {
					blocks[i].memory = realloc(blocks[i].memory, size + 1);
				} else {
					free(blocks[i].memory);
					blocks[i].memory = random >> 36 & 1 ? calloc(1, size + 1)
									    : memalign(64, size + 1);
				}
			} else {
				blocks[i].memory = malloc(size + 1);
			}
			fill(&blocks[i], size + 1, i % 255 + 1);
			if (i % 100 == 0)
				printf("%u: usable %zu, at %lx\n", i, malloc_usable_size(blocks[i].memory),
				       (char *)blocks[i].memory < (char *)sbrk(0)
					       ? (unsigned long)((char *)blocks[i].memory - first)
					       : 0);
		}
		tell_heap("round");
		if (round == 2)
			wait_for_inside(0, SIZE_MAX);
		if (round >= 2) {
			pid_t pid;
			fflush(stdout);
			pid = fork();
			if (pid == 0) {
				for (unsigned i = 0; i < TOLD; i++) {
					must(is_right(&blocks[i]));
					free(blocks[i].memory);
				}
				tell_heap("child");
				fflush(stdout);
				_exit(0);
			}
			must(pid > 0 && waitpid(pid, NULL, 0) == pid);
			wait_for_inside(MIB, SIZE_MAX);
		}
		if (round == 4) {
			printf("mallopt %d\n", mallopt(M_MMAP_THRESHOLD, 50000) + mallopt(M_TRIM_THRESHOLD, 100000) +
						       mallopt(M_TOP_PAD, 0));
		}
	}
	for (unsigned i = 0; i < TOLD; i++)
		if (i % 50 != 0)
			free(blocks[i].memory);
	tell_heap("most is freed");
	printf("trim %d\n", malloc_trim(0));
	tell_heap("trimmed");
	for (unsigned i = 0; i < TOLD; i += 50)
		must(is_right(&blocks[i]));
	fflush(stdout);
}

/* ---- A large block that was never written takes no memory, and a block that is moved is not held twice ----------- */

static size_t resident(void)
{
	unsigned long size, pages = 0;
	FILE *file = fopen("/proc/self/statm", "r");

	must(file != NULL && fscanf(file, "%lu %lu", &size, &pages) == 2);
	fclose(file);
	return pages * 4096;
}

/* While memory is adopted or settled some of it is counted twice; longer if nothing settles beside the program. */
static void must_come_down_below(size_t most)
{
	for (int i = 0; i < 6000 && geteuid() == 0 && resident() >= most; i++)
		usleep(10000);
	must(resident() < most);
}

static void cleared(void)
{
	struct blocks blocks = make(100000, 32 * MIB); /* the heap is awake */
	size_t before = resident();
	char *large = calloc(450, MIB);

	must(large != NULL);
	must_come_down_below(before + 4 * MIB);
	for (size_t i = 0; i < 450 * MIB; i += 10 * MIB)
		must(large[i] == 0);
	large = realloc(large, 600 * MIB);
	must(large != NULL);
	must_come_down_below(before + 8 * MIB);
	large[0] = large[600 * MIB - 1] = 1;
	fork_once(&blocks, 1);
	must(large[0] == 1 && large[600 * MIB - 1] == 1);
	free(large);
	if (geteuid() == 0)
		must_come_down_below(before + 16 * MIB);
}

static const struct {
	const char *name;
	void (*run)(void);
	const char *heap;
	bool same;  /* its output must be as without the library */
	bool leaves; /* the heap is off at the end */
	bool linked; /* with a library whose constructor makes a thread, and runs before this library's */
} cases[] = {
	{ "small_blocks", small_blocks, "auto", false, false, false },
	{ "small_blocks, from the start", small_blocks, "on", false, false, false },
	{ "small_blocks, and a thread since before", small_blocks, "auto", false, false, true },
	{ "small_blocks, from the start, and a thread since before", small_blocks, "on", false, false, true },
	{ "blocks_of_a_mebibyte", blocks_of_a_mebibyte, "auto", false, false, false },
	{ "one_that_grows", one_that_grows, "auto", false, false, false },
	{ "four_threads", four_threads, "auto", false, false, false },
	{ "four_threads, from the start", four_threads, "on", false, false, false },
	{ "threads_that_end", threads_that_end, "auto", false, false, false },
	{ "numbers", numbers, "auto", true, false, false },
	{ "numbers, from the start", numbers, "on", true, false, false },
	{ "cleared", cleared, "auto", false, false, false },
#ifdef __x86_64__ /* the filter is for its system calls */
	{ "in_a_sandbox", in_a_sandbox, "auto", false, true, false },
	{ "in_a_sandbox_later", in_a_sandbox_later, "auto", false, true, false },
#endif
};
#define CASES (sizeof cases / sizeof *cases)

static char *output_of(const char *program, size_t which, const char *library, int *status)
{
	static char texts[2][1 << 20];
	static unsigned next;
	char path[4200], *text = texts[next++ % 2];
	size_t length = 0;
	ssize_t part;
	int ends[2];
	pid_t pid;

	must(pipe(ends) == 0);
	pid = fork();
	if (pid == 0) {
		must(dup2(ends[1], 1) == 1);
		close(ends[0]);
		close(ends[1]);
		unsetenv("LD_PRELOAD");
		setenv("ODFORK_HEAP", cases[which].heap, 1);
		unsetenv("MALLOC_PERTURB_");
		if (library != NULL)
			setenv("LD_PRELOAD", library, 1);
		snprintf(path, sizeof path, "%s%s", program, cases[which].linked ? "_linked" : "");
		execl(path, path, cases[which].name, (char *)NULL);
		_exit(127);
	}
	close(ends[1]);
	while ((part = read(ends[0], text + length, sizeof texts[0] - 1 - length)) > 0)
		length += (size_t)part;
	text[length] = '\0';
	close(ends[0]);
	must(pid > 0 && waitpid(pid, status, 0) == pid);
	return text;
}

#ifdef ODF_EARLY_THREAD
bool early_thread_is_there(void); /* early_thread.c */
#endif

int main(int argc, char **argv)
{
	const char *build = getenv("ODF_BUILD");
	char library[4096], program[4096] = "";
	int failed = 0;

#ifdef ODF_EARLY_THREAD
	must(early_thread_is_there());
#endif
	for (size_t i = 0; argc == 2 && i < CASES; i++)
		if (strcmp(argv[1], cases[i].name) == 0) {
			alarm(case_seconds(120));
			cases[i].run();
			if (is_preloaded() && !cases[i].leaves) { /* the case has tested the library */
				odf_heap_info found = info();
				if (found.state == ODF_HEAP_OFF || found.malloc_door != ODF_HEAP_MALLOC_IN_PLACE) {
					const char *needed = getenv("ODF_MUST_WORK");
					dprintf(2, "state %d, reason %d, door %d\n", (int)found.state,
						(int)found.reason, (int)found.malloc_door);
					return needed != NULL && strcmp(needed, "1") == 0 ? 1 : 77;
				}
			}
			return 0;
		}
	must(build != NULL && readlink("/proc/self/exe", program, sizeof program - 1) > 0);
	snprintf(library, sizeof library, "%s/libodfork.so.0", build);
	printf("1..%zu\n", CASES);
	for (size_t i = 0; i < CASES; i++) {
		int status, plain_status = 0;
		char *text, *plain;
		bool same = true;
		if (argc > 2 && strcmp(argv[2], cases[i].name) != 0)
			continue;
		text = output_of(program, i, library, &status);
		if (cases[i].same) {
			plain = output_of(program, i, NULL, &plain_status);
			same = strcmp(text, plain) == 0;
			for (char *at = text, *other = plain; !same && *at != '\0';
			     at += strcspn(at, "\n") + 1, other += strcspn(other, "\n") + 1)
				if (strncmp(at, other, strcspn(at, "\n") + 1) != 0) {
					printf("# plain: %.*s\n# here:  %.*s\n", (int)strcspn(other, "\n"), other,
					       (int)strcspn(at, "\n"), at);
					break;
				}
		}
		if (status != 0 && WIFSIGNALED(status))
			printf("# signal %d\n", WTERMSIG(status));
		failed += (status != 0 && status != 77 << 8) || plain_status != 0 || !same;
		printf("%s %zu - %s%s\n",
		       (status == 0 || status == 77 << 8) && plain_status == 0 && same ? "ok" : "not ok", i + 1,
		       cases[i].name, status == 77 << 8 ? " # SKIP not here" : "");
		fflush(stdout);
	}
	return failed > 0;
}
