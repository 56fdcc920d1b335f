/* SPDX-License-Identifier: MIT
 *
 * A daemon with memory of malloc, libc's and those that are preloaded: what it has inherited, and freed or written anew
 * since, takes no more than without the library, in files that no process shows neither.
 */
#include "../support/region_files.h"

#define LARGE       24
#define SMALL       8000
#define LARGE_SIZE  MIB
#define SMALL_SIZE  ((size_t)1000)
#define PIECE_MAPPED ((size_t)16384)
#define KEPT        50 /* one in so many */
#define LITTLE      (4 * 1024L) /* KiB */

static char *large[LARGE], *small[SMALL];

/* In memory that the runs share. */
static struct found {
	long held, most; /* KiB; most: what is to be reached, 0: nothing */
	bool is_right;
} *found;

static void load(void)
{
	for (size_t i = 0; i < LARGE; i++) {
		large[i] = malloc(LARGE_SIZE);
		must(large[i] != NULL);
		memset(large[i], (int)i + 1, LARGE_SIZE);
	}
	for (size_t i = 0; i < SMALL; i++) {
		small[i] = malloc(SMALL_SIZE);
		must(small[i] != NULL);
		memset(small[i], (int)(i % 100) + 1, SMALL_SIZE);
	}
	for (int round = 0; round < 2; round++) {
		pid_t pid = fork();
		if (pid == 0)
			_exit(0);
		must(status_of(pid) == 0);
	}
	for (int tries = 0; tries < 6000 && getenv("ODFORK_HEAP") != NULL && started_as == 0 &&
			    !(is_live(large[0] + LARGE_SIZE / 2) && is_live(large[LARGE - 1] + LARGE_SIZE / 2));
	     tries++)
		wait_ms(5);
	must(getenv("ODFORK_HEAP") == NULL || is_inside(large[LARGE - 1] + LARGE_SIZE / 2));
}

static void free_most(void)
{
	for (size_t i = 0; i < LARGE; i++)
		if (i % KEPT != 0)
			free(large[i]);
	for (size_t i = 0; i < SMALL; i++)
		if (i % KEPT != 0)
			free(small[i]);
}

static void write_all(void)
{
	for (size_t i = 0; i < LARGE; i++)
		memset(large[i], (int)i + 1, LARGE_SIZE);
	for (size_t i = 0; i < SMALL; i++)
		memset(small[i], (int)(i % 100) + 1, SMALL_SIZE);
}

/* What has been kept; it is all in the other case, too. */
static bool has_what_it_kept(void)
{
	for (size_t i = 0; i < LARGE; i += KEPT)
		for (size_t at = 0; at < LARGE_SIZE; at += 512)
			if (large[i][at] != (char)(i + 1))
				return false;
	for (size_t i = 0; i < SMALL; i += KEPT)
		if (small[i][0] != (char)(i % 100 + 1) || small[i][SMALL_SIZE - 1] != (char)(i % 100 + 1))
			return false;
	return true;
}

/* Calls that a program makes anyway, until it has no more than plain. */
static void live_on(void)
{
	for (int tries = 0; tries < 1500; tries++) {
		char *some = mmap(NULL, PIECE_MAPPED, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		must(some != MAP_FAILED && munmap(some, PIECE_MAPPED) == 0);
		wait_ms(tries < 10 ? 5 : 20);
		found->held = held_kib();
		if (tries >= 10 && (found->most == 0 || found->held <= found->most))
			return;
	}
}

static void daemon_of(char *words[CASE_WORDS])
{
	pid_t parent = getpid(), pid;

	found = mmap(NULL, sizeof *found, PROT_READ | PROT_WRITE, MAP_SHARED, atoi(words[0]), 0);
	must(found != MAP_FAILED);
	if (words[2] != NULL && dlsym(RTLD_DEFAULT, words[2]) == NULL)
		cannot_be_done_here("no such allocator");
	load();
	pid = fork();
	must(pid >= 0);
	if (pid > 0)
		_exit(0);
	while (getppid() == parent)
		wait_ms(1);
	if (strcmp(words[1], "frees") == 0)
		free_most();
	else
		write_all();
	live_on();
	must(has_what_it_kept());
	pid = fork();
	if (pid == 0)
		_exit(has_what_it_kept() ? 0 : 1);
	must(pid > 0 && status_of(pid) == 0);
	found->is_right = true;
}

/* Each gives back what is free at once, and not after a time. */
static void preload_too(const void *allocator)
{
	const char *library = getenv("LD_PRELOAD");
	char both[PATH_MAX + 128];

	snprintf(both, sizeof both, "%s%s%s", library != NULL ? library : "", library != NULL ? ":" : "",
		 (const char *)allocator);
	setenv("LD_PRELOAD", both, 1);
	setenv("MALLOC_CONF", "dirty_decay_ms:0,muzzy_decay_ms:0", 1);
	setenv("MIMALLOC_PURGE_DELAY", "0", 1);
	setenv("MIMALLOC_RESET_DELAY", "0", 1);
	setenv("TCMALLOC_AGGRESSIVE_DECOMMIT", "t", 1);
}

/* To the daemon's end. */
static int run(const char *heap, const char *what, const char *allocator, const char *symbol, struct found *left)
{
	int fd = memfd_create("found", 0), ends[2], result;
	char word[16], byte;
	const char *words[] = { "outlives_malloc", "daemon_of", word, what, symbol, NULL };

	must(fd >= 0 && ftruncate(fd, sizeof *found) == 0 && pipe(ends) == 0);
	snprintf(word, sizeof word, "%d", fd);
	found = mmap(NULL, sizeof *found, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	must(found != MAP_FAILED);
	found->most = left->most;
	must(fcntl(ends[0], F_SETFD, FD_CLOEXEC) == 0);
	result = execute(heap, words, allocator != NULL ? preload_too : NULL, allocator);
	close(ends[1]);
	must(read(ends[0], &byte, 1) == 0);
	close(ends[0]);
	close(fd);
	*left = *found;
	must(munmap(found, sizeof *found) == 0);
	return result != 0 ? result : !left->is_right;
}

int main(int argc, char **argv)
{
	static const struct preloaded_case cases[] = { { "daemon_of", daemon_of } };
	static const char *const heaps[] = { "auto", "on" }, *const whats[] = { "frees", "writes" };
	static const struct {
		const char *name, *file, *symbol;
	} mallocs[] = {
		{ "libc's", NULL, NULL },
		{ "jemalloc", "libjemalloc.so.2", "mallctl" },
		{ "tcmalloc", "libtcmalloc_minimal.so.4", "tc_malloc" },
		{ "mimalloc", "libmimalloc.so.2.0", "mi_malloc" },
	};

	unsetenv("MALLOC_PERTURB_"); /* with which malloc writes to what it is given back */
	if (argc > 1)
		run_case(cases, 1, argc, argv);
	for (size_t i = 0; i < sizeof mallocs / sizeof *mallocs; i++)
		for (size_t what = 0; what < 2; what++) {
			struct found plain = { .most = 0 };
			int result = run(NULL, whats[what], mallocs[i].file, mallocs[i].symbol, &plain);
			tell_case(result, "plain, %s malloc, a daemon that %s", mallocs[i].name, whats[what]);
			for (size_t heap = 0; heap < (i == 0 ? 2 : 1) && result == 0; heap++) {
				struct found ours = { .most = plain.held * 12 / 10 + LITTLE };
				int status = run(heaps[heap], whats[what], mallocs[i].file, mallocs[i].symbol, &ours);
				tell_case(status != 0 ? status : ours.held > plain.held * 12 / 10 + LITTLE,
					  "%s, %s malloc, a daemon that %s: it has %ld KiB, plain %ld", heaps[heap],
					  mallocs[i].name, whats[what], ours.held, plain.held);
			}
		}
	return end_of_cases();
}
