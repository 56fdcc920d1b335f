/* SPDX-License-Identifier: MIT
 *
 * Memory in all forms that allocators and runtimes ask for: with hints, below 4 GiB, reserved without rights and made
 * accessible by mprotect or by fixed mappings, grown and moved by mremap, in the data segment, with all rights and code
 * in it, and mapped before the library could know.
 *
 * Random programs for each shape: every page has a known value, in the program and in each child, after any sequence of
 * calls. Meanwhile a thread counts in memory of the same shape, and no count may be lost. And memory of each shape ends
 * up in a region, where it can be settled.
 *
 *   shapes                       all, for ODF_TEST_SECONDS (5) from seed ODF_TEST_SEED (1) on
 *   shapes round SHAPE SEED      one round; the caller sets LD_PRELOAD and ODFORK_HEAP
 *   shapes gains SHAPE
 */
#include "shapes.h"

#define MIB    ((size_t)1 << 20)
#define COUNTS ((size_t)96)  /* pages, in which the thread counts */

enum shape shape;

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
	for (size_t i = 0; i < AREAS / 2; i++) /* before the heap wakes */
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

/* ---- Each shape ends up in a region ---- */

/* And LIVE, if it can be settled beside the program: root has userfaultfd. */
static bool is_in_a_region(const void *address)
{
	static char text[4 * MIB]; /* static, as an allocation may wake the library's heap */
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
		if (sscanf(line, "%lx-%lx", &start, &stop) == 2 && (unsigned long)address >= start &&
		    (unsigned long)address < stop)
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

	for (int i = 0; i < BLOCKS; i++) { /* the first ones are mapped before the library knows */
		block[i] = new_memory(MIB);
		open_pages(block[i], MIB);
		memset(block[i], i + 1, MIB);
		put_code(block[i]);
	}
	for (int tries = 0; tries < 40 && live < BLOCKS - 1; tries++) {
		reap(fork_and_look(false));
		/* The keeper gets only part of the machine; without userfaultfd forks do the work. */
		wait_ms(geteuid() == 0 ? 100 + 100 * (unsigned)tries : 100);
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

/* ---- All shapes ---- */

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
	unsigned long first = getenv("ODF_TEST_SEED") != NULL ? strtoul(getenv("ODF_TEST_SEED"), NULL, 10) : 1,
		      number = first;
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
		/* Without userfaultfd only a fork adopts memory, and for this little it is not worthwhile. */
		bool skipped = one != 0 && geteuid() != 0;
		one = skipped ? 0 : one;
		printf("%s %d - %s memory is in a region%s\n", one == 0 ? "ok" : "not ok", i + 1, shape_names[i],
		       skipped ? " # SKIP takes userfaultfd, which root has" : "");
		fflush(stdout);
		bad += one != 0;
	}
	do {
		enum shape which = (enum shape)(number % SHAPES);
		const char *heap = heaps[number / SHAPES % 4];
		if (run("round", which, number, heap) != 0) {
			printf("# round %s %lu with heap %s\n", shape_names[which], number,
			       heap != NULL ? heap : "none");
			bad++;
		}
		rounds++;
		number++;
	} while (seconds() < end || rounds < SHAPES);
	printf("%s %d - %d rounds\n", bad == 0 ? "ok" : "not ok", SHAPES + 1, rounds);
	return bad != 0;
}
