/* SPDX-License-Identifier: MIT
 *
 * What the kernel counts for a program under the library: the memory of its control group, what it has locked, its
 * mappings. Each limit lets it do what it lets a plain program do, and refuses it the same; where the kernel ends a
 * plain program for want of memory it ends this one in the same way, and never by SIGBUS.
 */
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "../support/cgroup.h"
#include "../support/preloaded.h"

#ifndef CAP_IPC_LOCK
#define CAP_IPC_LOCK 14
#endif

#define ALL     (24 * MIB)
#define PAGE    ((size_t)4096)
#define ROUNDS  3
#define WRITTEN (2 * MIB)
#define LITTLE  (4 * MIB) /* of the library's own */
#define SPARE   64        /* mappings of the library's own: LIMITS in odfork_heap(7) */
#define SAID    4096

/* What a run leaves for the test to compare, in memory that they share. */
struct found {
	size_t mappings;
	unsigned refused_forks, used;
	char said[SAID];
};
static struct found *found;

static const char *const heaps[] = { NULL, "auto", "on" };

static char *memory;

static void use_found(const char *fd)
{
	found = mmap(NULL, sizeof *found, PROT_READ | PROT_WRITE, MAP_SHARED, atoi(fd), 0);
	must(found != MAP_FAILED);
}

static __attribute__((format(printf, 1, 2))) void say(const char *format, ...)
{
	va_list words;

	va_start(words, format);
	found->used += (unsigned)vsnprintf(found->said + found->used, SAID - found->used, format, words);
	va_end(words);
	must(found->used < SAID);
}

static bool is_all(size_t from, size_t to, char value)
{
	for (size_t at = from; at < to; at += PAGE)
		if (memory[at] != value || memory[at + PAGE - 1] != value)
			return false;
	return true;
}

static bool is_all_live(void)
{
	return is_live(memory) && is_live(memory + ALL / 2) && is_live(memory + ALL - PAGE);
}

static bool settles(void)
{
	return getenv("ODFORK_HEAP") != NULL && started_as == 0;
}

static void wait_until_live(void)
{
	for (int tries = 0; tries < 6000 && settles() && !is_all_live(); tries++)
		wait_ms(5);
	must(!settles() || is_all_live());
}

static void load(void)
{
	memory = mmap(NULL, ALL, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(memory != MAP_FAILED);
	memset(memory, 5, ALL);
}

/* A child that sees `value`, and goes when it is told to. */
static pid_t fork_and_stay(char value, int *door)
{
	int ends[2];
	pid_t pid;
	char byte;

	must(pipe(ends) == 0);
	pid = fork();
	must(pid >= 0);
	if (pid == 0) {
		close(ends[1]);
		_exit(read(ends[0], &byte, 1) == 0 && is_all(0, ALL, value) ? 0 : 1);
	}
	close(ends[0]);
	*door = ends[1];
	return pid;
}

static void let_go(pid_t pid, int door)
{
	close(door);
	must(status_of(pid) == 0);
}

/* ---- Memory of a control group ----------------------------------------------------------------------------------- */

/* Which of the two the kernel ends must not be a matter of chance. */
static void prefer_for_death(const char *score)
{
	int file = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	must(file >= 0 && write(file, score, strlen(score)) == (ssize_t)strlen(score));
	close(file);
}

/* Half of it is written while a child has the other half's and its own: so much is there twice, and no more. */
static void in_cgroup(char *words[CASE_WORDS])
{
	(void)words;
	prefer_for_death("500");
	load();
	for (int round = 0; round < ROUNDS; round++) {
		char old = (char)(round == 0 ? 5 : 10 + round - 1), value = (char)(10 + round), byte;
		int ends[2];
		pid_t pid;
		must(pipe(ends) == 0);
		pid = fork();
		must(pid >= 0);
		if (pid == 0) {
			close(ends[1]);
			prefer_for_death("0");
			_exit(read(ends[0], &byte, 1) == 0 && is_all(0, ALL / 2, old) && is_all(ALL / 2, ALL, 5) ? 0
														 : 1);
		}
		close(ends[0]);
		memset(memory, value, ALL / 2);
		let_go(pid, ends[1]);
		wait_until_live();
		must(is_all(0, ALL / 2, value) && is_all(ALL / 2, ALL, 5));
	}
}

static void enter_cgroup(const void *folder)
{
	if (!cgroup_enter(folder, getpid()))
		_exit(77);
}

/* 0: not known. */
static size_t peak_of(const char *folder)
{
	static const char *const files[] = { "memory.max_usage_in_bytes", "memory.peak" };
	char path[CGROUP_PATH + 64];
	size_t peak = 0;

	for (int i = 0; i < 2 && peak == 0; i++) {
		FILE *file;
		snprintf(path, sizeof path, "%s/%s", folder, files[i]);
		file = fopen(path, "re");
		if (file != NULL && fscanf(file, "%zu", &peak) != 1)
			peak = 0;
		if (file != NULL)
			fclose(file);
	}
	return peak;
}

static void test_cgroup(void)
{
	/* With room, with little more than both halves take, with less. */
	static const struct {
		size_t mib;
		int status;
	} limits[] = { { 72, 0 }, { 45, 0 }, { 32, 128 + SIGKILL } };
	size_t peaks[3] = { 0 };

	for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
		for (size_t heap = 0; heap < 3; heap++) {
			const char *words[] = { "heap_counted", "in_cgroup", NULL };
			char folder[CGROUP_PATH], bytes[32];
			int result;
			snprintf(bytes, sizeof bytes, "%zu", limits[i].mib * MIB);
			if (geteuid() != 0 || !cgroup_make_memory(folder, bytes)) {
				tell_case(must_work() ? 1 : 77, "%s, a control group of %zu MiB",
					  heap_name(heaps[heap]), limits[i].mib);
				continue;
			}
			result = execute(heaps[heap], words, enter_cgroup, folder);
			if (i == 0)
				peaks[heap] = peak_of(folder);
			tell_case(result == limits[i].status ? 0 : result == 0 ? 1 : result,
				  "%s, a control group of %zu MiB: status %d", heap_name(heaps[heap]), limits[i].mib,
				  result);
			if (i == 0 && heap > 0 && peaks[0] > 0)
				tell_case(peaks[heap] > peaks[0] + peaks[0] / 10 + LITTLE,
					  "%s, at most %zu KiB, plain %zu", heap_name(heaps[heap]), peaks[heap] / 1024,
					  peaks[0] / 1024);
			must(cgroup_remove(folder));
		}
}

/* ---- Locked memory ----------------------------------------------------------------------------------------------- */

static void say_result(const char *what, int result)
{
	int error = errno;

	say("#   %s: %s, %ld KiB locked\n", what, result == 0 ? "0" : strerror(error), kib("VmLck:"));
}

static void lock_and_say(const char *state)
{
	char *more;

	say("# %s:\n", state);
	say_result("512 KiB", mlock(memory + MIB, MIB / 2));
	say_result("a MiB, beyond the limit", mlock(memory + 4 * MIB, MIB));
	say_result("up to the limit", mlock(memory + 8 * MIB, MIB / 2));
	say_result("a page more", mlock(memory + 12 * MIB, PAGE));
	say_result("again what is locked", mlock(memory + MIB, MIB / 2));
	say_result("without the first", munlock(memory + MIB, MIB / 2));
	more = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0);
	say_result("a MiB mapped so", more == MAP_FAILED ? -1 : 0);
	say_result("without the second", munlock(memory + 8 * MIB, MIB / 2));
}

static void locked(char *words[CASE_WORDS])
{
	int door;
	pid_t pid;

	use_found(words[0]);
	load();
	lock_and_say("grown");
	pid = fork_and_stay(5, &door);
	lock_and_say("a child has the snapshot");
	let_go(pid, door);
	for (int round = 0; round < 2; round++) {
		pid = fork_and_stay(5, &door);
		memset(memory + 16 * MIB, 5, MIB);
		let_go(pid, door);
	}
	for (int tries = 0; tries < 6000 && settles() && !is_live(memory + 16 * MIB); tries++)
		wait_ms(5);
	must(!settles() || is_live(memory + 16 * MIB));
	lock_and_say("LIVE, where it can be");
	say_result("all", mlockall(MCL_CURRENT));
	pid = fork_and_stay(5, &door);
	let_go(pid, door);
	must(is_all(0, ALL, 5));
}

/* Root has the right to lock all it likes, and here it has not. */
static void limit_locks(const void *unused)
{
	struct rlimit limit = { MIB, MIB };

	(void)unused;
	if (setrlimit(RLIMIT_MEMLOCK, &limit) != 0 ||
	    (geteuid() == 0 && prctl(PR_CAPBSET_DROP, CAP_IPC_LOCK, 0, 0, 0) != 0))
		_exit(77);
}

/* ---- Mappings ---------------------------------------------------------------------------------------------------- */

static size_t most_mappings(void)
{
	FILE *file = fopen("/proc/sys/vm/max_map_count", "re");
	size_t most = 0;

	must(file != NULL && fscanf(file, "%zu", &most) == 1);
	fclose(file);
	return most;
}

static bool is_as_written(char value)
{
	return is_all(0, WRITTEN, value) && is_all(WRITTEN, ALL, 5);
}

/* Whether there is a child, which sees what has been written. */
static bool fork_here(char value)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(is_as_written(value) ? 0 : 1);
	must(pid > 0 || errno == ENOMEM);
	if (pid > 0)
		must(status_of(pid) == 0);
	return pid > 0;
}

/* Shared memory, which the heap leaves alone, has every second page made another mapping until no more are granted.
 * Children do not get it. */
static void mapped_up(char *words[CASE_WORDS])
{
	static const unsigned spare[] = { 0, 2, 4, 8, 16, 40 };
	size_t most = most_mappings(), size = (most + 16) * PAGE, count = 0;
	char *filler, value = 5;

	use_found(words[0]);
	load();
	must(fork_here(5) && fork_here(5));
	wait_until_live();
	filler = mmap(NULL, size, PROT_READ, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	must(filler != MAP_FAILED && madvise(filler, size, MADV_DONTFORK) == 0);
	while ((2 * count + 1) * PAGE < size && mprotect(filler + (2 * count + 1) * PAGE, PAGE, PROT_NONE) == 0)
		count++;
	must(errno == ENOMEM);
	found->mappings = 2 * count;
	for (size_t i = 0, given = 0; i < sizeof spare / sizeof *spare; i++) {
		for (; given < spare[i]; given += 2) /* it joins its neighbours */
			must(mprotect(filler + (2 * --count + 1) * PAGE, PAGE, PROT_READ) == 0);
		found->refused_forks += !fork_here(value);
		must(is_as_written(value));
		memset(memory, ++value, WRITTEN);
		must(is_as_written(value));
	}
	must(munmap(filler, size) == 0);
	must(fork_here(value) && is_as_written(value));
}

/* ---- Each beside plain ------------------------------------------------------------------------------------------- */

static struct found results[3];

/* The first so many of these. What each run left is in `results`. */
static void run_each(const char *name, size_t count, void (*before)(const void *))
{
	for (size_t heap = 0; heap < count; heap++) {
		int fd = memfd_create("found", 0);
		char word[16];
		const char *words[] = { "heap_counted", name, word, NULL };
		struct found *left;
		must(fd >= 0 && ftruncate(fd, sizeof *left) == 0);
		snprintf(word, sizeof word, "%d", fd);
		left = mmap(NULL, sizeof *left, PROT_READ, MAP_SHARED, fd, 0);
		must(left != MAP_FAILED);
		tell_case(execute(heaps[heap], words, before, NULL), "%s %s", heap_name(heaps[heap]), name);
		results[heap] = *left;
		must(munmap((void *)(uintptr_t)left, sizeof *left) == 0);
		close(fd);
	}
}

int main(int argc, char **argv)
{
	static const struct preloaded_case cases[] = {
		{ "in_cgroup", in_cgroup }, { "locked", locked }, { "mapped_up", mapped_up },
	};
	if (argc > 1)
		run_case(cases, sizeof cases / sizeof *cases, argc, argv);
	test_cgroup();
	run_each("locked", 3, limit_locks);
	for (size_t heap = 1; heap < 3; heap++) {
		bool same = strcmp(results[heap].said, results[0].said) == 0;
		tell_case(!same, "%s: the same is locked, and refused, as plain", heaps[heap]);
		if (!same)
			printf("# plain:\n%s# %s:\n%s", results[0].said, heaps[heap], results[heap].said);
	}
	if (most_mappings() > 300000) { /* the machine's setting, which a test does not change */
		tell_case(must_work() ? 1 : 77, "mappings: more are allowed than can be made in a test");
		return end_of_cases();
	}
	run_each("mapped_up", 2, NULL);
	tell_case(results[1].mappings + SPARE < results[0].mappings, "auto: %zu mappings, plain %zu",
		  results[1].mappings, results[0].mappings);
	tell_case(results[1].refused_forks > results[0].refused_forks, "auto: %u forks refused, plain %u",
		  results[1].refused_forks, results[0].refused_forks);
	return end_of_cases();
}
