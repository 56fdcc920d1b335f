/* SPDX-License-Identifier: MIT
 *
 * gcore of a program that goes on: the core has all that the program has, each page once, and is about as large as that
 * of a plain program, while its memory is LIVE and while a child keeps it FROZEN. The program has afterwards what it
 * had before: bytes, memory, and forks. All of the memory is touched: what is not, gcore allocates by reading it
 * (odfork(7)).
 */
#include <spawn.h>
#include <sys/prctl.h>

#include "../support/core_file.h"
#include "../support/region_files.h"

#define ALL    (24 * MIB)
#define LITTLE (4 * MIB) /* libc's code, which the library has written to, and the library's data */
#define PIECES_OF_MALLOC 40

static char *memory, *small[PIECES_OF_MALLOC];

/* In memory that the runs share. */
static struct found {
	size_t blocks, size;
} *found;

static bool settles(void)
{
	return getenv("ODFORK_HEAP") != NULL && started_as == 0;
}

/* Little is private to the process then. */
static bool is_all_live(void)
{
	return is_live(memory) && is_live(memory + ALL - CORE_PAGE) && kib("RssAnon:") < 4096;
}

static void wait_until_live(void)
{
	for (int tries = 0; tries < 6000 && settles() && !is_all_live(); tries++)
		wait_ms(5);
	must(!settles() || is_all_live());
}

static bool has_everything(void)
{
	for (int i = 0; i < PIECES_OF_MALLOC; i++)
		for (size_t at = 0; at < 50000; at++)
			if (small[i][at] != (char)(i + 1))
				return false;
	return core_is_filled(memory, ALL);
}

static void fork_once(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(has_everything() ? 0 : 1);
	must(pid > 0 && status_of(pid) == 0);
}

static void load(void)
{
	memory = mmap(NULL, ALL, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(memory != MAP_FAILED);
	core_fill(memory, ALL);
	for (int i = 0; i < PIECES_OF_MALLOC; i++) {
		small[i] = malloc(50000);
		must(small[i] != NULL);
		memset(small[i], i + 1, 50000);
	}
	for (int round = 0; round < 2; round++) {
		fork_once();
		core_fill(memory, ALL);
	}
	wait_until_live();
}

/* Without the library, which is not to be preloaded into the debugger. */
static void make_core(const char *prefix)
{
	char number[16], path[4096];
	char *arguments[] = { (char *)(uintptr_t) "gcore", (char *)(uintptr_t) "-o", (char *)(uintptr_t)prefix, number,
			      NULL };
	char *environment[] = { path, (char *)(uintptr_t) "HOME=/nonexistent", NULL };
	posix_spawn_file_actions_t actions;
	int result, status;
	pid_t pid;

	snprintf(number, sizeof number, "%d", getpid());
	snprintf(path, sizeof path, "PATH=%s", getenv("PATH"));
	(void)prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
	must(posix_spawn_file_actions_init(&actions) == 0 &&
	     posix_spawn_file_actions_addopen(&actions, 1, "said", O_WRONLY | O_CREAT, 0600) == 0 &&
	     posix_spawn_file_actions_adddup2(&actions, 1, 2) == 0);
	result = posix_spawnp(&pid, "gcore", &actions, NULL, arguments, environment);
	if (result != 0 && getenv("ODFORK_HEAP") == NULL)
		cannot_be_done_here("no gcore");
	must(result == 0);
	status = status_of(pid);
	if (status != 0 && getenv("ODFORK_HEAP") == NULL)
		cannot_be_done_here("gcore may not look at processes");
	must(status == 0);
}

static void look_at_core(const char *prefix)
{
	struct stat status;
	char name[64];
	int core;

	snprintf(name, sizeof name, "%s.%d", prefix, getpid());
	core = open(name, O_RDONLY | O_CLOEXEC);
	must(core >= 0 && fstat(core, &status) == 0);
	core_must_have(core, memory, ALL);
	found->blocks = (size_t)status.st_blocks * 512;
	found->size = (size_t)status.st_size;
	close(core);
}

/* RssShmem counts a page of the file once for each mapping that shows it: here it counts once. */
static long memory_now(void)
{
	must(has_everything());
	return held_kib();
}

static void looked_at(char *words[CASE_WORDS])
{
	char directory[] = "/tmp/odfork-gcore-XXXXXX", text[64], byte;
	bool frozen = strcmp(words[1], "frozen") == 0;
	long before, after;
	int ends[2];
	pid_t pid = 0;

	found = mmap(NULL, sizeof *found, PROT_READ | PROT_WRITE, MAP_SHARED, atoi(words[0]), 0);
	must(found != MAP_FAILED && mkdtemp(directory) != NULL && chdir(directory) == 0);
	load();
	must(pipe(ends) == 0);
	if (frozen) {
		pid = fork();
		must(pid >= 0);
		if (pid == 0) {
			close(ends[1]);
			_exit(read(ends[0], &byte, 1) == 0 && has_everything() ? 0 : 1);
		}
		for (size_t at = 0; at < ALL; at += 3 * CORE_PAGE)
			memory[at] = 'Z';
	}
	before = memory_now();
	make_core("core");
	after = memory_now();
	must(after <= before + 1024 && after >= before - 1024);
	look_at_core("core");
	snprintf(text, sizeof text, "rm -r %s", directory);
	must(chdir("/") == 0 && system(text) == 0);
	if (frozen) {
		close(ends[1]);
		must(status_of(pid) == 0);
	}
	core_fill(memory, ALL);
	fork_once();
	wait_until_live();
	must(has_everything());
}

int main(int argc, char **argv)
{
	static const struct preloaded_case cases[] = { { "looked_at", looked_at } };
	static const char *const heaps[] = { NULL, "auto", "on" };
	static const char *const who[] = { "live", "frozen" };

	if (argc > 1)
		run_case(cases, 1, argc, argv);
	for (size_t i = 0; i < 2; i++) {
		struct found of[3];
		int result = 0;
		for (size_t heap = 0; heap < 3 && result != 77; heap++) {
			int fd = memfd_create("found", 0);
			char word[16];
			const char *words[] = { "gcored", "looked_at", word, who[i], NULL };
			struct found *left;
			must(fd >= 0 && ftruncate(fd, sizeof *left) == 0);
			snprintf(word, sizeof word, "%d", fd);
			left = mmap(NULL, sizeof *left, PROT_READ, MAP_SHARED, fd, 0);
			must(left != MAP_FAILED);
			result = execute(heaps[heap], words, NULL, NULL);
			tell_case(result, "%s, %s", heap_name(heaps[heap]), who[i]);
			of[heap] = *left;
			must(munmap(left, sizeof *left) == 0);
			close(fd);
			if (heap > 0 && result == 0)
				tell_case(of[heap].blocks > of[0].blocks + LITTLE ||
						  of[heap].size > of[0].size + LITTLE,
					  "%s, %s: a core of %zu KiB, plain %zu", heaps[heap], who[i],
					  of[heap].blocks / 1024, of[0].blocks / 1024);
		}
	}
	return end_of_cases();
}
