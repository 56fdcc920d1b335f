/* SPDX-License-Identifier: MIT
 *
 * Process titles: a program has moved its command line and environment (PR_SET_MM) into memory that is in a region or
 * will be. The kernel must show them to other processes as without the library, for the program and for its children.
 */
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "../support/preloaded.h"

#define PAGE ((size_t)4096)
#define LONG ((size_t)10000)

static char *neighbour; /* part of it is in a region */

static void wake(void)
{
	neighbour = mmap(NULL, 48 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(neighbour != MAP_FAILED);
	memset(neighbour, 1, 48 * MIB);
}

/* A process without the right to set the place still finds its title in memory that no file backs. */
static bool has_right = true;

static void must_be_shown(const char *file, const char *text, size_t length)
{
	static char shown[2 * LONG];
	int fd;

	for (size_t at = 0; at < length; at += PAGE)
		must(!is_inside(text + at));
	must(!is_inside(text + length - 1));
	if (!has_right)
		return;
	fd = open(file, O_RDONLY | O_CLOEXEC);
	must(fd >= 0);
	must(read(fd, shown, sizeof shown) == (ssize_t)length && memcmp(shown, text, length) == 0);
	close(fd);
}

static void over_forks(const char *file, const char *text, size_t length)
{
	must_be_shown(file, text, length);
	for (int round = 0; round < 3; round++) {
		pid_t pid = fork();
		must(pid >= 0);
		if (pid == 0) {
			must_be_shown(file, text, length);
			_exit(0);
		}
		must_be_shown(file, text, length);
		must(status_of(pid) == 0);
		for (int i = 0; i < 400 && getenv("ODFORK_HEAP") != NULL && started_as == 0 && !is_live(neighbour); i++)
			wait_ms(5);
		must_be_shown(file, text, length);
		must(text[0] == 'a' && text[length - 2] == (char)('a' + (length - 2) % 26));
	}
}

static char *fill(char *text, size_t length)
{
	for (size_t i = 0; i < length; i++)
		text[i] = (char)('a' + i % 26);
	text[length - 1] = '\0';
	return text;
}

static void note_right(long result)
{
	must(result == 0 || errno == EPERM); /* CAP_SYS_RESOURCE */
	has_right = has_right && result == 0;
}

static void set(int start, const char *text, size_t length)
{
	note_right(prctl(PR_SET_MM, start, text, 0, 0));
	note_right(prctl(PR_SET_MM, start + 1, text + length, 0, 0));
}

static void go_into_region(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	must(pid > 0 && status_of(pid) == 0);
	for (int i = 0; i < 400 && getenv("ODFORK_HEAP") != NULL && started_as == 0 && !is_live(neighbour); i++)
		wait_ms(5);
}

/* In memory that is a shared mapping of the region's file by then. */
static void mapped_title(char *words[CASE_WORDS])
{
	char *text;

	(void)words;
	wake();
	go_into_region();
	text = fill(neighbour + MIB - 100, LONG);
	set(PR_SET_MM_ARG_START, text, LONG);
	over_forks("/proc/self/cmdline", text, LONG);
	must(text[-1] == 1 && text[LONG] == 1 && neighbour[20 * MIB] == 1);
	text[2] = 'X'; /* the program can change it as before */
	must_be_shown("/proc/self/cmdline", text, LONG);
}

static void allocated_title(char *words[CASE_WORDS])
{
	char *text;

	(void)words;
	wake();
	for (int i = 0; i < 3000; i++)
		memset(malloc(500), 1, 500);
	text = fill(malloc(200), 200);
	go_into_region();
	set(PR_SET_MM_ARG_START, text, 200);
	over_forks("/proc/self/cmdline", text, 200);
}

/* Before there is any region. */
static void early_title(char *words[CASE_WORDS])
{
	char *text = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)words;
	must(text != MAP_FAILED);
	memset(text, 1, MIB);
	fill(text + 4000, LONG);
	set(PR_SET_MM_ARG_START, text + 4000, LONG);
	wake();
	over_forks("/proc/self/cmdline", text + 4000, LONG);
}

static void environment(char *words[CASE_WORDS])
{
	char *text;

	(void)words;
	wake();
	go_into_region();
	text = fill(neighbour + 5 * MIB, LONG);
	note_right(syscall(SYS_prctl, PR_SET_MM, PR_SET_MM_ENV_START, text, 0, 0));
	note_right(syscall(SYS_prctl, PR_SET_MM, PR_SET_MM_ENV_END, text + LONG, 0, 0));
	over_forks("/proc/self/environ", text, LONG);
}

/* The other fields keep their values. */
static struct prctl_mm_map as_it_is(void)
{
	struct prctl_mm_map map = { .exe_fd = (uint32_t)-1, .brk = (uintptr_t)sbrk(0) };
	static char stat[4096];
	int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC), field = 2;

	must(fd >= 0 && read(fd, stat, sizeof stat - 1) > 0);
	close(fd);
	for (char *at = strrchr(stat, ')'); at != NULL; at = strchr(at + 1, ' '), field++) {
		unsigned long long value = strtoull(at + 1, NULL, 10);
		switch (field) {
		case 26: map.start_code = value; break;
		case 27: map.end_code = value; break;
		case 28: map.start_stack = value; break;
		case 45: map.start_data = value; break;
		case 46: map.end_data = value; break;
		case 47: map.start_brk = value; break;
		case 48: map.arg_start = value; break;
		case 49: map.arg_end = value; break;
		case 50: map.env_start = value; break;
		case 51: map.env_end = value; break;
		default: break;
		}
	}
	return map;
}

static void all_at_once(char *words[CASE_WORDS])
{
	struct prctl_mm_map map;
	char *text;

	(void)words;
	wake();
	go_into_region();
	text = fill(neighbour + 5 * MIB + 50, LONG);
	map = as_it_is();
	map.arg_start = (uintptr_t)text;
	map.arg_end = (uintptr_t)text + LONG;
	if (prctl(PR_SET_MM, PR_SET_MM_MAP, &map, sizeof map, 0) != 0)
		cannot_be_done_here("takes a kernel with CONFIG_CHECKPOINT_RESTORE");
	over_forks("/proc/self/cmdline", text, LONG);
	must(prctl(PR_SET_MM, PR_SET_MM_MAP, (void *)16, sizeof map, 0) == -1 && errno == EFAULT);
}

int main(int argc, char **argv)
{
	static const struct preloaded_case cases[] = {
		{ "mapped", mapped_title },       { "allocated", allocated_title }, { "early", early_title },
		{ "environment", environment }, { "all_at_once", all_at_once },
	};
	const size_t count = sizeof cases / sizeof *cases;

	if (argc > 1)
		run_case(cases, count, argc, argv);
	for (size_t i = 0; i < count; i++)
		tell_with_each_heap("titled", (const char *const[4]){ cases[i].name });
	return end_of_cases();
}
