/* SPDX-License-Identifier: MIT
 *
 * For test programs that run under the library. Each case executes this program again with the library preloaded, and
 * asserts what holds without the library. A case is a name and up to five words.
 */
#ifndef TESTS_PRELOADED_H
#define TESTS_PRELOADED_H

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "odfork.h"
#include "case_seconds.h"

#define MIB ((size_t)1 << 20)

#define must(condition) ((condition) ? (void)0 : wrong(__LINE__, #condition))

static inline __attribute__((noreturn)) void wrong(int line, const char *condition)
{
	dprintf(2, "line %d: %s (errno %d)\n", line, condition, errno);
	_exit(1);
}

/* Nothing may be skipped. */
static inline bool must_work(void)
{
	const char *needed = getenv("ODF_MUST_WORK");

	return needed != NULL && strcmp(needed, "1") == 0;
}

static inline __attribute__((noreturn)) void cannot_be_done_here(const char *reason)
{
	dprintf(2, "skipped: %s\n", reason);
	_exit(must_work() ? 1 : 77);
}

/* For an ordinary user without userfaultfd nothing settles while the program runs: memory is held twice until a fork
 * settles it. The user who started the case counts, as the case may change its ids. */
static uid_t started_as;
static __attribute__((constructor)) void note_user(void)
{
	started_as = geteuid();
}
static inline void needs_settling(void)
{
	if (started_as != 0)
		cannot_be_done_here("takes userfaultfd, which root has");
}

static inline void wait_ms(unsigned ms)
{
	struct timespec time = { ms / 1000, (long)(ms % 1000) * 1000000 };

	(void)nanosleep(&time, NULL);
}

static inline int status_of(pid_t pid)
{
	int status;
	pid_t waited;

	while ((waited = waitpid(pid, &status, 0)) == -1 && errno == EINTR)
		;
	return waited == pid ? status : -1;
}

static inline odf_heap_info info(void)
{
	odf_heap_info found = ODF_HEAP_INFO_INIT;
	int (*get)(odf_heap_info *);

	*(void **)&get = dlsym(RTLD_DEFAULT, "odf_heap_info_get");
	must(get != NULL && get(&found) == 0);
	return found;
}

/* Finds the mapping at `address`: its permissions, and whether it belongs to a region. */
static inline bool mapping_of(const void *address, char rights[5], bool *inside)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];
	bool found = false;

	while (maps != NULL && !found && fgets(line, sizeof line, maps) != NULL) {
		unsigned long from, to;
		found = sscanf(line, "%lx-%lx %4s", &from, &to, rights) == 3 && (unsigned long)address >= from &&
			(unsigned long)address < to;
		*inside = strstr(line, "odfork-region") != NULL;
	}
	if (maps != NULL)
		fclose(maps);
	return found;
}

static inline bool is_inside(const void *address)
{
	char rights[5];
	bool inside = false;

	return mapping_of(address, rights, &inside) && inside;
}

static inline bool is_live(const void *address)
{
	char rights[5] = "";
	bool inside = false;

	return mapping_of(address, rights, &inside) && inside && rights[3] == 's';
}

/* A line of /proc/self/status, in KiB; -1: there is none. */
static inline long kib(const char *name)
{
	FILE *status = fopen("/proc/self/status", "re");
	char line[256];
	long value = -1;

	while (status != NULL && value < 0 && fgets(line, sizeof line, status) != NULL)
		if (strncmp(line, name, strlen(name)) == 0)
			value = atol(line + strlen(name));
	if (status != NULL)
		fclose(status);
	return value;
}

/* ---- A typical program: its memory and what it does ---- */

#define PIECES     24
#define PIECE      ((size_t)200000)
#define MAPPED     (20 * MIB)
static char *pieces[PIECES], *mapped;
static char mapped_value;

static inline void fill_mapped(char value)
{
	mapped_value = value;
	memset(mapped, value, MAPPED);
}

/* If the heap is awake, makes new mappings come from a region at once; otherwise they would enter one only after they
 * have aged. Returns whether it is awake. */
static inline bool new_memory_is_inside(void)
{
	int (*enable)(size_t);

	*(void **)&enable = dlsym(RTLD_DEFAULT, "odf_heap_enable");
	if (enable == NULL || info().state != ODF_HEAP_AWAKE)
		return false;
	must(enable(0) == 0);
	return true;
}

/* Allocates more than the heap's threshold, by malloc and by mmap. */
static inline void grow(void)
{
	for (size_t i = 0; i < PIECES; i++) {
		pieces[i] = malloc(PIECE);
		must(pieces[i] != NULL);
		memset(pieces[i], (int)i + 1, PIECE);
	}
	mapped = mmap(NULL, MAPPED, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(mapped != MAP_FAILED);
	if (new_memory_is_inside()) {
		must(munmap(mapped, MAPPED) == 0);
		mapped = mmap(NULL, MAPPED, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		must(mapped != MAP_FAILED);
	}
	fill_mapped(9);
}

static inline bool is_right(void)
{
	for (size_t i = 0; i < PIECES; i++)
		if (pieces[i][77] != (char)(i + 1) || pieces[i][PIECE - 1] != (char)(i + 1))
			return false;
	for (size_t at = 0; at < MAPPED; at += 4096)
		if (mapped[at] != mapped_value || mapped[at + 4095] != mapped_value)
			return false;
	return true;
}

static inline void fork_and_check(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(is_right() ? 0 : 1);
	must(pid > 0 && status_of(pid) == 0);
}

/* Forks, writes, frees and allocates, in turn. */
static inline void go_on(void)
{
	for (size_t round = 0; round < 2; round++) {
		fork_and_check();
		must(is_right());
		fill_mapped((char)(20 + round));
		for (size_t i = round; i < PIECES; i += 5) {
			free(pieces[i]);
			pieces[i] = malloc(PIECE + round * 100000);
			must(pieces[i] != NULL);
			memset(pieces[i], (int)i + 1, PIECE);
		}
		wait_ms(5);
	}
	fork_and_check();
}

/* ---- Running ---- */

#define CASE_WORDS 5
struct preloaded_case {
	const char *name;
	void (*run)(char *words[CASE_WORDS]);
};

#define ANOTHER_USER 65534

/* Whether another user can read the file: the build may lie in a home directory that is closed to others. */
static inline bool is_open_to_others(const char *file)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(setgid(ANOTHER_USER) == 0 && setuid(ANOTHER_USER) == 0 && access(file, R_OK) == 0 ? 0 : 1);
	return pid > 0 && status_of(pid) == 0;
}

static char open_folder[] = "/tmp/odfork-test-XXXXXX", open_copy[64];
static pid_t copied_by;

static inline void remove_open_copy(void)
{
	if (getpid() == copied_by && unlink(open_copy) == 0)
		(void)rmdir(open_folder);
}

/* The library at a path that every user can read: a copy, if other users cannot reach the original. */
static inline const char *library_for_all(const char *library)
{
	static char piece[65536];
	ssize_t size = -1;
	int in, out;

	if (copied_by == 0) {
		copied_by = getpid();
		if (geteuid() != 0 || is_open_to_others(library))
			return library;
		must(mkdtemp(open_folder) != NULL && chmod(open_folder, 0755) == 0);
		snprintf(open_copy, sizeof open_copy, "%s/libodfork.so.0", open_folder);
		must(atexit(remove_open_copy) == 0);
		in = open(library, O_RDONLY | O_CLOEXEC);
		out = open(open_copy, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
		while (in >= 0 && out >= 0 && (size = read(in, piece, sizeof piece)) > 0)
			must(write(out, piece, (size_t)size) == size);
		must(size == 0 && fchmod(out, 0755) == 0);
		(void)close(in);
		(void)close(out);
	}
	return open_copy[0] != '\0' ? open_copy : library;
}

/* Runs a case in a child. `before` runs in the child before the exec that loads the library, e.g. to change the
 * user. */
static inline int execute(const char *heap, const char *const words[], void (*before)(const void *),
			  const void *argument)
{
	static char library[PATH_MAX + 64];
	const char *build = getenv("ODF_BUILD"), *preload;
	int status;
	pid_t pid;

	snprintf(library, sizeof library, "%s/libodfork.so.0", build != NULL ? build : ".");
	preload = before != NULL ? library_for_all(library) : library;
	pid = fork();
	if (pid == 0) {
		if (heap != NULL) {
			setenv("LD_PRELOAD", preload, 1);
			setenv("ODFORK_HEAP", heap, 1);
		}
		alarm(case_seconds(60));
		if (before != NULL)
			before(argument);
		execv("/proc/self/exe", (char *const *)(uintptr_t)words);
		_exit(127);
	}
	must(pid > 0);
	status = status_of(pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* ---- Results ---- */

static int cases_told, cases_failed;

static inline const char *heap_name(const char *heap)
{
	return heap != NULL ? heap : "plain";
}

/* Prints a TAP line for a result of execute. 77 is a case that cannot run here, and that may be skipped
 * (cannot_be_done_here). */
static inline __attribute__((format(printf, 2, 3))) void tell_case(int result, const char *format, ...)
{
	bool good = result == 0 || result == 77;
	va_list words;

	printf("%s %d - ", good ? "ok" : "not ok", ++cases_told);
	va_start(words, format);
	vprintf(format, words);
	va_end(words);
	puts(result == 77 ? " # SKIP not here" : "");
	if (!good)
		printf("# status %d\n", result);
	fflush(stdout);
	cases_failed += !good;
}

/* Runs one case without the library and with each ODFORK_HEAP. `run`: the name and up to three words; NULL for a
 * missing word. */
static inline void tell_with_each_heap(const char *program, const char *const run[4])
{
	static const char *const heaps[] = { NULL, "auto", "on" };

	for (size_t heap = 0; heap < sizeof heaps / sizeof *heaps; heap++) {
		const char *words[] = { program, run[0], run[1], run[2], run[3], NULL };
		int result = execute(heaps[heap], words, NULL, NULL);
		tell_case(result, "%s %s %s %s %s", heap_name(heaps[heap]), run[0], run[1] != NULL ? run[1] : "",
			  run[2] != NULL ? run[2] : "", run[3] != NULL ? run[3] : "");
	}
}

/* Prints the TAP plan, and returns the program's exit status. */
static inline int end_of_cases(void)
{
	printf("1..%d\n", cases_told);
	return cases_failed > 0;
}

/* Called in the process of a case. */
static inline void run_case(const struct preloaded_case *cases, size_t count, int argc, char **argv)
{
	char *words[CASE_WORDS] = { NULL };

	for (int i = 2; i < argc && i < 2 + CASE_WORDS; i++)
		words[i - 2] = argv[i];
	for (size_t i = 0; i < count; i++)
		if (argc > 1 && strcmp(argv[1], cases[i].name) == 0) {
			/* The loader only prints a message for a library that it cannot open; the case would then test
			 * nothing. */
			must(getenv("ODFORK_HEAP") == NULL || dlsym(RTLD_DEFAULT, "odf_heap_info_get") != NULL);
			cases[i].run(words);
			_exit(0);
		}
	dprintf(2, "no such case\n");
	_exit(2);
}
#endif
