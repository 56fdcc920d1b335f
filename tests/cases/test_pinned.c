/* SPDX-License-Identifier: MIT
 *
 * What is written to memory without its page tables (through pinned pages) must be there afterwards, despite any forks
 * and settles meanwhile. The cases cover each way to a descriptor by which this happens, the reason that is reported,
 * and reads through it during forks, in one thread and in several; the program's own userfaultfd; and other state of
 * memory that the kernel keeps. Each case is a process of its own: this program executed again under the preloaded
 * library.
 *
 *   test_pinned            all, as TAP
 *   test_pinned NAME       that case
 *   ODF_TEST_READS         how many of each (48; in the long form 10000)
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_alg.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sched.h>
#include <unistd.h>

#include "direct_fs.h"
#include "pinned.h"

#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

/* ---- All cases --------------------------------------------------------------------------------------------------- */

static const struct {
	const struct pinned_case *cases;
	const size_t *count;
} lists[] = {
	{ pinned_cases, &pinned_count },
	{ pinned_more_cases, &pinned_more_count },
	{ pinned_lent_cases, &pinned_lent_count },
	{ pinned_told_cases, &pinned_told_count },
};
#define LISTS (sizeof lists / sizeof *lists)

static char built[3000], directory[] = "/var/tmp/odfork-pinned-XXXXXX";

static __attribute__((noreturn)) void become(const struct pinned_case *one)
{
	char program[3100], library[3100], file[100];

	snprintf(program, sizeof program, "%s/tests/test_pinned", built);
	snprintf(library, sizeof library, "%s/libodfork.so.0", built);
	snprintf(file, sizeof file, "%s/direct", directory);
	unsetenv("ODFORK_HEAP");
	setenv("ODF_TEST_RUN", one->name, 1);
	setenv("ODF_TEST_FILE", file, 1);
	setenv("LD_PRELOAD", library, 1);
	execl(program, program, (char *)NULL);
	must(false);
}

/* In a mount namespace of this process, so that the mount ends with it. */
static void mount_fuse(void)
{
	char program[3100], number[12], place[100];
	int ready[2];
	pid_t pid;

	if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
		return;
	snprintf(place, sizeof place, "%s/fuse", directory);
	snprintf(program, sizeof program, "%s/tests/direct_fs", built);
	must(mkdir(place, 0700) == 0 && pipe2(ready, O_CLOEXEC) == 0);
	pid = fork();
	must(pid >= 0);
	if (pid == 0) {
		int out = dup(ready[1]);
		snprintf(number, sizeof number, "%d", out);
		execl(program, program, place, number, (char *)NULL);
		_exit(1);
	}
	close(ready[1]);
	if (read(ready[0], number, 1) == 1) {
		strcat(place, "/f");
		setenv("ODF_TEST_FUSE", place, 1);
	}
	close(ready[0]);
}

static int run(const struct pinned_case *one)
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0)
		become(one);
	must(pid > 0 && waitpid(pid, &status, 0) == pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int run_all(const char *only)
{
	bool failed = false;
	char file[100];
	size_t number = 0, all = 0;

	must(getenv("ODF_BUILD") != NULL && mkdtemp(directory) != NULL);
	snprintf(built, sizeof built, "%s", getenv("ODF_BUILD"));
	snprintf(file, sizeof file, "%s/direct", directory);
	close(fill_with_blocks(open(file, O_CREAT | O_WRONLY, 0644)));
	sync();
	mount_fuse();
	for (size_t list = 0; list < LISTS; list++)
		all += *lists[list].count;
	printf("1..%zu\n", only != NULL ? (size_t)1 : all);
	for (size_t list = 0; list < LISTS; list++) {
		for (size_t i = 0; i < *lists[list].count; i++) {
			const struct pinned_case *one = &lists[list].cases[i];
			int result;
			if (only != NULL && strcmp(only, one->name) != 0)
				continue;
			result = run(one);
			failed = failed || (result != 0 && result != ODF_NOT_HERE);
			printf("%s %zu - %s%s\n", result == 0 || result == ODF_NOT_HERE ? "ok" : "not ok", ++number,
			       one->name, result == ODF_NOT_HERE ? " # SKIP" : "");
		}
	}
	if (getenv("ODF_TEST_FUSE") != NULL) {
		snprintf(file, sizeof file, "%s/fuse", directory);
		must(umount2(file, MNT_DETACH) == 0);
	}
	return failed;
}

static void remove_directory(void)
{
	char command[200];

	snprintf(command, sizeof command, "rm -rf %s", directory);
	must(system(command) == 0);
}

int main(int argc, char **argv)
{
	const char *name = getenv("ODF_TEST_RUN");
	int result;

	for (size_t list = 0; name != NULL && list < LISTS; list++)
		for (size_t i = 0; i < *lists[list].count; i++)
			if (strcmp(name, lists[list].cases[i].name) == 0)
				return lists[list].cases[i].function(), 0;
	result = run_all(argc > 1 ? argv[1] : NULL);
	remove_directory();
	return result;
}
