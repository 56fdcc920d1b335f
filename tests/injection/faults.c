/* SPDX-License-Identifier: MIT
 *
 * Makes system calls of the library fail, in programs that use it (faulted.c, each public function) and in a program
 * under it (faulted_preloaded.c). One table of calls, errnos and times is applied from outside the program, by a
 * seccomp filter with a listener (faults_run.c). So the library under test is the installed one, and the calls of libc
 * on its behalf, of its keeper, of its children and of its pools' processes fail like its own.
 *
 * Each scenario runs once with all calls counted. Then each call that it made fails with ENOSYS, EPERM, EAGAIN, ENOMEM
 * and EINTR: the first time, a time in the middle, the last time, and every time. An ordinary test run uses one of
 * these errnos and one of these times for each call and scenario, in rotation; ODF_TEST_SCALE=errnos uses each errno
 * with one of the times; ODF_TEST_SCALE=full uses every combination. The programs assert the result, the data and what
 * is left behind. faults.calls lists the calls that cannot fail, or only in certain ways, and why.
 *
 *   faults LIST SCENARIO PROGRAM...
 *       everything; LIST receives lines of FUNCTION CALL TIMES-SEEN TIMES-FAILED
 *   faults LIST SCENARIO PROGRAM... : CALL ERRNO NTH TIMES
 *       one failure, as a report names it; "- - 0 0": none
 * SCENARIO is passed to the program as its last argument; commas separate several. With LIST "-" no list is written.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "faults_run.h"

#define GOOD       1000000
#define GOOD_WAITS 40 /* after so many answers that ask for a retry the call succeeds: no kernel gives them for ever */
#define WORKERS    2
#define SMALL_FORM 1 /* in how many scenarios a call is made to fail */

static const int errors[ERRORS] = { ENOSYS, EPERM, EAGAIN, ENOMEM, EINTR };

struct call calls[FAULTS_NUMBERS];
struct totals *totals;
struct faults *control;
int control_fd = -1;
char *scenarios[SCENARIOS];
char **program;
int program_words;
static int scenario_count;

void die(const char *what)
{
	perror(what);
	exit(2);
}

static void *shared(size_t size, int fd)
{
	void *memory =
	    mmap(NULL, size, PROT_READ | PROT_WRITE, fd < 0 ? MAP_SHARED | MAP_ANONYMOUS : MAP_SHARED, fd, 0);

	if (memory == MAP_FAILED)
		die("mmap");
	return memory;
}

const char *call_name(int number)
{
	static char name[48];
	char *found = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, number);

	if (found == NULL) /* newer than this libseccomp */
		snprintf(name, sizeof name, "%s", number == 462 ? "mseal" : number == 449 ? "futex_waitv" : "unknown");
	else
		snprintf(name, sizeof name, "%s", found);
	free(found);
	return name;
}

static int error_index(const char *name)
{
	static const char *const names[ERRORS] = { "ENOSYS", "EPERM", "EAGAIN", "ENOMEM", "EINTR" };

	for (size_t i = 0; i < ERRORS; i++)
		if (strcmp(names[i], name) == 0)
			return (int)i;
	fprintf(stderr, "no errno of the table: %s\n", name);
	exit(2);
}

/* Reads lines: cannot CALL REASON, only CALL ERRNO,... REASON, own CALL REASON. Other lines are for faults.sh. */
static void read_calls(const char *path)
{
	FILE *file = fopen(path, "re");
	char line[512];

	if (file == NULL)
		die(path);
	for (int number = 0; number < FAULTS_NUMBERS; number++)
		for (size_t i = 0; i < ERRORS; i++)
			calls[number].may[i] = true;
	while (fgets(line, sizeof line, file) != NULL) {
		char *rest, *kind = strtok_r(line, " \n", &rest), *name, *list;
		int number;
		if (kind == NULL ||
		    (strcmp(kind, "cannot") != 0 && strcmp(kind, "only") != 0 && strcmp(kind, "own") != 0))
			continue;
		name = strtok_r(NULL, " \n", &rest);
		number = name == NULL ? -1 : seccomp_syscall_resolve_name(name);
		if (number < 0 || number >= FAULTS_NUMBERS) {
			fprintf(stderr, "%s: no call of this machine: %s\n", path, name == NULL ? "" : name);
			exit(2);
		}
		if (strcmp(kind, "own") == 0) {
			calls[number].own = true;
			continue;
		}
		memset(calls[number].may, 0, sizeof calls[number].may);
		if (*kind != 'o')
			continue;
		list = strtok_r(NULL, " \n", &rest);
		for (char *error = strtok_r(list, ",", &rest); error != NULL; error = strtok_r(NULL, ",", &rest))
			calls[number].may[error_index(error)] = true;
	}
	fclose(file);
}

/* ---- All runs ---- */

static bool every_errno, every_way;

/* Whether this worker gets the next job, which is number `job`. */
static bool taken(int job)
{
	static int mine = -1;

	if (mine < job)
		mine = atomic_fetch_add(&totals->next, 1);
	return mine == job;
}

/* The errno for this call in the small form. */
static int turn_of(int scenario, int number)
{
	for (size_t i = 0; i < ERRORS; i++) {
		size_t error = ((size_t)scenario + (size_t)number + i) % ERRORS;
		if (calls[number].may[error])
			return (int)error;
	}
	return -1;
}

static bool is_cold(int scenario)
{
	return strstr(scenarios[scenario], "-cold") != NULL;
}

/* The same scenario makes this call also when started before any failure. */
static bool warm_makes(int scenario, int number)
{
	for (int other = 0; other < scenario_count; other++)
		if (!is_cold(other) && strncmp(scenarios[other], scenarios[scenario], strlen(scenarios[other])) == 0 &&
		    totals->counts[other][number] > 0)
			return true;
	return false;
}

/* userfaultfd's ioctl that wakes threads is retried until there is memory: without it they could not continue. */
static bool is_waited_for(int number, int error)
{
	return error == EAGAIN || error == EINTR || (error == ENOMEM && number == SYS_ioctl);
}

static void run_all(bool count)
{
	int job = 0;

	int made[FAULTS_NUMBERS] = { 0 }; /* scenarios so far */

	for (int scenario = 0; scenario < scenario_count; scenario++) {
		if (count) {
			if (taken(job++))
				run(scenario, -1, 0, 0, 0, "");
			continue;
		}
		for (int number = 0; number < FAULTS_NUMBERS; number++) {
			int seen = totals->counts[scenario][number];
			if (seen == 0 || (!every_errno && ++made[number] > SMALL_FORM))
				continue;
			for (size_t error = 0; error < ERRORS; error++) {
				int good = is_waited_for(number, errors[error]) ? GOOD_WAITS : GOOD;
				const int ways[4][2] = { { 1, 1 }, { seen / 2 + 1, 1 }, { seen, 1 }, { 1, good } };
				bool first_turn = (int)error == turn_of(scenario, number);
				if (!calls[number].may[error] ||
				    (!every_errno &&
				     (!first_turn || (is_cold(scenario) && warm_makes(scenario, number)))))
					continue;
				for (int way = 0; way < 4; way++) {
					if (!every_way && way != (scenario + number + (int)error) % 4)
						continue;
					/* Threads and other processes behave differently in each run. */
					if (taken(job++) &&
					    run(scenario, number, errors[error], ways[way][0], ways[way][1], "") == 0)
						run(scenario, number, errors[error], 1, ways[way][1], "");
				}
			}
		}
	}
}

/* Makes the call fail once, the first time, with the first errno that works. Returns how many calls failed. */
static int fail_once(int scenario, int number, const char *only)
{
	int failed = 0;

	for (size_t error = 0; error < ERRORS && failed == 0; error++)
		if (calls[number].may[error])
			failed = run(scenario, number, errors[error], 1, 1, only);
	return failed;
}

/* For functions without a failed call so far, and for calls that have not failed: makes one fail, by rotation and at
 * random. */
static void run_left(void)
{
	for (int f = 0; f < FAULTS_FUNCTIONS; f++) {
		int failed = 0;
		if (!taken(f)) /* another worker's job */
			continue;
		for (int number = 0; number < FAULTS_NUMBERS; number++)
			failed += totals->failed[f][number];
		for (int number = 0; number < FAULTS_NUMBERS && failed == 0; number++)
			if (totals->seen[f][number] > 0)
				failed = fail_once(totals->scenario[f], number, totals->functions[f]);
	}
	for (int number = 0; number < FAULTS_NUMBERS; number++) {
		int failed = 0;
		if (!taken(FAULTS_FUNCTIONS + number))
			continue;
		for (int f = 0; f < FAULTS_FUNCTIONS; f++)
			failed += totals->failed[f][number];
		for (int scenario = 0; scenario < scenario_count && failed == 0; scenario++)
			if (totals->counts[scenario][number] > 0)
				failed = fail_once(scenario, number, "");
	}
}

enum pass { COUNT, FAIL, LEFT };

static void with_workers(enum pass pass)
{
	pid_t workers[WORKERS];
	int status;

	totals->next = 0;
	fflush(stdout);
	for (int i = 0; i < WORKERS; i++) {
		workers[i] = fork();
		if (workers[i] < 0)
			die("fork");
		if (workers[i] == 0) {
			control_fd = memfd_create("faults", MFD_CLOEXEC);
			if (control_fd < 0 || ftruncate(control_fd, sizeof *control) != 0)
				die("memfd_create");
			control = shared(sizeof *control, control_fd);
			prctl(PR_SET_CHILD_SUBREAPER, 1);
			if (pass == LEFT)
				run_left();
			else
				run_all(pass == COUNT);
			exit(0);
		}
	}
	for (int i = 0; i < WORKERS; i++) {
		if (waitpid(workers[i], &status, 0) != workers[i] || status != 0)
			exit(WIFEXITED(status) ? WEXITSTATUS(status) : 2);
	}
}

static void write_list(const char *path)
{
	FILE *list = fopen(path, "we");

	if (list == NULL)
		die(path);
	for (int f = 0; f < totals->functions_count; f++) {
		bool any = false;
		for (int number = 0; number < FAULTS_NUMBERS; number++) {
			if (totals->seen[f][number] == 0)
				continue;
			any = true;
			fprintf(list, "%s %s %d %d\n", totals->functions[f], call_name(number),
				(int)totals->seen[f][number], (int)totals->failed[f][number]);
		}
		if (!any)
			fprintf(list, "%s - 0 0\n", totals->functions[f]);
	}
	fclose(list);
}

int main(int argc, char **argv)
{
	const char *scale = getenv("ODF_TEST_SCALE"), *source = getenv("ODF_SOURCE");
	char path[4096], *rest;
	int colon = 3;

	if (argc < 4 || source == NULL)
		return 2;
	/* Otherwise memory that malloc caches for a thread's next request would count as used. */
	setenv("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0", 1);
	setvbuf(stdout, NULL, _IOLBF, 0);
	every_way = scale != NULL && strcmp(scale, "full") == 0;
	every_errno = every_way || (scale != NULL && strcmp(scale, "errnos") == 0);
	snprintf(path, sizeof path, "%s/tests/injection/faults.calls", source);
	read_calls(path);
	totals = shared(sizeof *totals, -1);
	for (char *name = strtok_r(argv[2], ",", &rest); name != NULL && scenario_count < SCENARIOS;
	     name = strtok_r(NULL, ",", &rest))
		scenarios[scenario_count++] = name;
	while (colon < argc && strcmp(argv[colon], ":") != 0)
		colon++;
	program_words = colon - 3;
	program = calloc((size_t)program_words + 2, sizeof *program);
	if (program == NULL)
		die("calloc");
	memcpy(program, argv + 3, (size_t)program_words * sizeof *program);
	if (argc == colon + 5) {
		control_fd = memfd_create("faults", MFD_CLOEXEC);
		if (control_fd < 0 || ftruncate(control_fd, sizeof *control) != 0)
			die("memfd_create");
		control = shared(sizeof *control, control_fd);
		prctl(PR_SET_CHILD_SUBREAPER, 1);
		run(0, strcmp(argv[colon + 1], "-") == 0 ? -1 : seccomp_syscall_resolve_name(argv[colon + 1]),
		    strcmp(argv[colon + 2], "-") == 0 ? 0 : errors[error_index(argv[colon + 2])], atoi(argv[colon + 3]),
		    atoi(argv[colon + 4]), "");
	} else {
		with_workers(COUNT);
		if (totals->wrong == 0)
			with_workers(FAIL);
		with_workers(LEFT);
	}
	if (strcmp(argv[1], "-") != 0)
		write_list(argv[1]);
	printf("# %d runs, %d calls failed, %d runs wrong\n", (int)totals->runs, (int)totals->failures,
	       (int)totals->wrong);
	return totals->wrong == 0 ? 0 : 1;
}
