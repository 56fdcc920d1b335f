/* SPDX-License-Identifier: MIT
 *
 * If ordinary memory gets large pages by default, files of regions get them too, but not for a program that has
 * forbidden them, for itself (PR_SET_THP_DISABLE) or for some memory (MADV_NOHUGEPAGE). Such a program gets one small
 * page for each page in which it writes a byte, before forks and after. Only the cases see the setting: a file is
 * mounted over the kernel's, in a mount namespace of their own.
 */
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>

#include "../support/preloaded.h"
#include "../support/region_files.h"

#define SETTING "/sys/kernel/mm/transparent_hugepage/enabled"
#define LARGE   (2 * MIB)
#define SPARSE  (256 * MIB)
#define DENSE   (32 * MIB)

static char *dense, *sparse;

static char *map(size_t length)
{
	char *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(memory != MAP_FAILED);
	return memory;
}

static void wake(void)
{
	dense = map(DENSE);
	memset(dense, 1, DENSE);
}

static void write_sparsely(void)
{
	for (size_t at = 0; at < SPARSE; at += LARGE)
		sparse[at + 7] = 5;
}

static void go_on_over_forks(void)
{
	for (int round = 0; round < 3; round++) {
		pid_t pid = fork();
		if (pid == 0)
			_exit(sparse[7] == 5 ? 0 : 1);
		must(pid > 0 && status_of(pid) == 0);
		for (int i = 0; i < 400 && !is_live(dense); i++)
			wait_ms(5);
	}
}

static void must_be_small(void)
{
	size_t bytes = region_bytes_mapped() + (size_t)kib("RssAnon:") * 1024;

	if (bytes > 2 * DENSE + 32 * MIB)
		dprintf(2, "%zu MiB\n", bytes / MIB);
	must(bytes <= 2 * DENSE + 32 * MIB);
	for (size_t at = 0; at < SPARSE; at += LARGE)
		must(sparse[at + 7] == 5 && sparse[at + 6] == 0);
}

/* Or on a file system that gives large pages to every writer. */
static bool is_of_memfds(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];
	bool all = true;

	must(maps != NULL);
	while (fgets(line, sizeof line, maps) != NULL)
		if (strstr(line, "odfork-region") != NULL)
			all = all && strstr(line, "/memfd:odfork-region") != NULL;
	fclose(maps);
	return all;
}

/* The reference for the others. */
static void unforbidden(char *words[CASE_WORDS])
{
	(void)words;
	wake();
	sparse = map(SPARSE);
	write_sparsely();
	go_on_over_forks();
	for (int i = 0; i < 200 && region_bytes_mapped() < SPARSE / 2 && !is_of_memfds(); i++) {
		go_on_over_forks();
		wait_ms(100);
	}
	if (region_bytes_mapped() < SPARSE / 2 || is_of_memfds())
		cannot_be_done_here("no files with large pages");
}

static void by_who_started_it(char *words[CASE_WORDS])
{
	(void)words;
	must(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == 1);
	wake();
	sparse = map(SPARSE);
	write_sparsely();
	go_on_over_forks();
	must(is_inside(dense) && is_of_memfds());
	must_be_small();
}

/* Before there is a region: from the start there is one only if that was requested. */
static void by_prctl(char *words[CASE_WORDS])
{
	if (strcmp(getenv("ODFORK_HEAP"), "on") == 0)
		return;
	must(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0);
	by_who_started_it(words);
}

/* Before the heap wakes, which adopts existing memory. */
static void by_advice_early(char *words[CASE_WORDS])
{
	(void)words;
	sparse = map(SPARSE);
	must(madvise(sparse, SPARSE, MADV_NOHUGEPAGE) == 0);
	wake();
	write_sparsely();
	go_on_over_forks();
	must_be_small();
}

static void by_advice(char *words[CASE_WORDS])
{
	(void)words;
	wake();
	sparse = map(SPARSE);
	must(madvise(sparse, SPARSE, MADV_NOHUGEPAGE) == 0);
	write_sparsely();
	go_on_over_forks();
	must_be_small();
}

/* For memory that is already in a region, and that is given back and written again. */
static void by_advice_inside(char *words[CASE_WORDS])
{
	(void)words;
	wake();
	sparse = map(MIB);
	sparse[7] = 5;
	go_on_over_forks();
	sparse = map(SPARSE);
	must(madvise(sparse, SPARSE, MADV_NOHUGEPAGE) == 0);
	write_sparsely();
	go_on_over_forks();
	must_be_small();
	must(madvise(sparse, SPARSE, MADV_DONTNEED) == 0 && sparse[7] == 0);
	write_sparsely();
	go_on_over_forks();
	must_be_small();
}

/* In the process that executes a case. */
static void set_always(const void *file)
{
	if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
	    mount(file, SETTING, NULL, MS_BIND, NULL) != 0)
		_exit(77);
}

static void set_always_and_forbid(const void *file)
{
	set_always(file);
	(void)prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
}

int main(int argc, char **argv)
{
	static const struct preloaded_case cases[] = {
		{ "unforbidden", unforbidden },         { "by_who_started_it", by_who_started_it },
		{ "by_prctl", by_prctl },               { "by_advice_early", by_advice_early },
		{ "by_advice", by_advice },             { "by_advice_inside", by_advice_inside },
	};
	static const char *const heaps[] = { "auto", "on" };
	static const char text[] = "[always] madvise never\n";
	const size_t count = sizeof cases / sizeof *cases;
	char file[] = "/tmp/odfork-always-XXXXXX";
	int fd;

	if (argc > 1)
		run_case(cases, count, argc, argv);
	fd = mkstemp(file);
	must(fd >= 0 && write(fd, text, sizeof text - 1) == sizeof text - 1 && fchmod(fd, 0644) == 0);
	close(fd);
	for (size_t heap = 0; heap < 2; heap++)
		for (size_t i = 0, can = 1; i < count; i++) {
			const char *words[] = { "large_forbidden", cases[i].name, NULL };
			void (*before)(const void *) = i == 1 ? set_always_and_forbid : set_always;
			int result = can ? execute(heaps[heap], words, before, file) : 77;
			can = can && (i > 0 || result == 0);
			tell_case(result, "%s %s", heaps[heap], cases[i].name);
		}
	must(unlink(file) == 0);
	return end_of_cases();
}
