/* SPDX-License-Identifier: MIT
 *
 * System calls of the region code fail, in the caller, in the keeper and in children. The library is built a second
 * time with its system calls routed through this program. A scenario that visits every state runs again and again, each
 * time with another failure: the nth call of one system call number, once or many times, with each errno that it can
 * return. The call is not made. A further variant, for calls that replace a mapping (MREMAP_FIXED, MAP_FIXED), removes
 * the old mapping all the same, as older kernels do. Calls are counted per number and not overall, since the keeper
 * makes its calls concurrently.
 *
 * Whatever fails: every byte is right in the process and in every child, always. The creation of a region fails with an
 * errno; a fork fails with ENOMEM; a settle reports why and leaves the region FROZEN. Once calls work again, forks work
 * and the region becomes LIVE, unless it reports itself that it never will. And nothing is left behind: no file
 * mapping, no thread, no descriptor, no memory. One exception: what was at aside when a move to there failed, as
 * nothing shows whose it is then; the summary counts these. After a permanent failure mappings and memory are not
 * counted.
 *
 *   test_region_injection
 *       everything
 *   test_region_injection SCENARIO [MODES]
 *       one of them: 0 by call, 1 with a thread beside; each call once, on a machine that lacks something
 *   test_region_injection SCENARIO MODES NUMBER NTH ERRNO TIMES UNMAP
 *       one failure, as a report names it
 *
 * Scenarios 2 and 3 do this to the heap's region, with holes, islands and other memory in it. In a test run every 13th
 * call fails, in these two scenarios every 23rd, and the others on the following days; with ODF_TEST_SCALE, or by hand,
 * all.
 *
 * Some calls never fail here, because they cannot fail in this use, or because no code could continue: rt_sigprocmask,
 * futex, close, getpid, gettid, tgkill, nanosleep, sched_yield, munmap of the library's whole mappings (but the
 * trimming of a new reservation does fail), UFFDIO_WAKE. UFFDIO_UNREGISTER fails with ENOMEM only. With a thread
 * beside, the variant that unmaps is left out: home is unmapped between that failure and its repair, and no code could
 * prevent this (the kernel fails so only without memory for its own structures).
 */
#include "region_injection.h"

/* "Permanent": more often than any code retries; but it is lifted for code that must go on in any case. */
#define MANY 150

static void (*const scenarios[])(void) = { by_call, by_itself, with_holes, with_holes_and_a_keeper };

/* ---- One run ----------------------------------------------------------------------------------------------------- */

static void wait_until_alone(void)
{
	for (int tries = 0; tries < 2000; tries++) { /* a thread that has been joined may still exist for a moment */
		char *status = read_file("/proc/self/status"),
		     *line = status == NULL ? NULL : strstr(status, "\nThreads:");
		bool alone = line != NULL && strtoul(line + 9, NULL, 10) == 1;
		free(status);
		if (alone)
			return;
		wait_a_moment();
	}
	die("a thread is left behind");
}

/* Writable anonymous memory without a name, in pages: what mmap has handed out. */
static size_t count_memory(void)
{
	char *maps = read_file("/proc/self/maps"), *line, *rest = maps;
	size_t pages = 0;

	if (maps == NULL)
		die("no maps");
	while ((line = strsep(&rest, "\n")) != NULL) {
		unsigned long start, end;
		char access[8], name[8] = "";
		/* After a failed move to aside the mapping there may be another thread's, so the region abandons it. If
		 * it was the region's own, it keeps the file. */
		if (strstr(line, "odfork-region") != NULL && strstr(line, "rw-s") != NULL &&
		    control->number == SYS_mremap)
			atomic_fetch_add(&control->given_up, 1);
		else if ((strstr(line, "odfork-region") != NULL || strstr(line, "odfork-token") != NULL) &&
			 control->times_at_first == 1)
			die("left behind: %s", line);
		if (sscanf(line, "%lx-%lx %7s %*s %*s %*s %7s", &start, &end, access, name) >= 3 && access[1] == 'w' &&
		    name[0] == '\0')
			pages += (end - start) / PAGE;
	}
	free(maps);
	return pages;
}

static void destroy(void)
{
	for (size_t i = 0; i < AREAS; i++) {
		if (areas[i].region != NULL && odf_region_destroy(areas[i].region) != 0)
			die("destroy");
		areas[i].region = NULL;
	}
}

static void run(int scenario)
{
	static const int deadly[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGSYS };
	struct surroundings before, after;
	size_t memory;
	pthread_t thread;

	ours = true;
	for (size_t i = 0; i < sizeof deadly / sizeof *deadly; i++)
		signal(deadly[i], SIG_DFL); /* cmocka's handlers would continue in its main program */
	signal(SIGPIPE, SIG_IGN);
	AT("warming up"); /* makes what stays for good: the marker, libc's cache of stacks, arenas */
	create(&areas[SMALL], ODF_REGION_MANUAL);
	create(&areas[BIG], ODF_REGION_MANUAL);
	if (pthread_create(&thread, NULL, settle_beside, &areas[BIG]) != 0)
		die("no thread");
	pthread_join(thread, NULL);
	destroy();
	wait_until_alone();
	before = surroundings_take();
	memory = count_memory();
	atomic_store(&control->armed, true);
	scenarios[scenario]();
	AT("forks afterwards");
	lift();
	(void)end_of(snapshot(false));
	if (!end_of(snapshot(true)))
		die("absent for ever");
	fill(9, false);
	compare("afterwards");
	AT("settle afterwards");
	settle(&areas[BIG]);
	settle(&areas[SMALL]);
	compare("afterwards");
	(void)end_of(snapshot(false));
	if (atomic_load(&control->countdown) > 0)
		lift();
	if (bare)
		_exit(0); /* permanent */
	AT("destroy");
	destroy();
	atomic_store(&control->armed, false);
	AT("what is left");
	wait_until_alone();
	after = surroundings_take();
	if (strcmp(before.text, after.text) != 0)
		die("descriptors, mask or dispositions changed: %.150s ... %.150s", before.text, after.text);
	if (count_memory() > memory && control->times_at_first == 1)
		die("%zu pages of memory are left behind", count_memory() - memory);
	_exit(0);
}

/* ---- All runs ---------------------------------------------------------------------------------------------------- */

static const struct {
	long number;
	const char *name;
	int errors[4];
	bool replaces; /* replaces mappings */
} calls[] = {
	{ SYS_mmap, "mmap", { ENOMEM }, true },
	{ SYS_munmap, "munmap", { ENOMEM }, false },
	{ SYS_mremap, "mremap", { ENOMEM, EFAULT }, true },
	{ SYS_madvise, "madvise", { ENOMEM }, false },
	{ SYS_ioctl, "ioctl", { ENOMEM, ENOTTY }, false },
	{ SYS_memfd_create, "memfd_create", { EMFILE, EINVAL }, false },
	{ SYS_ftruncate, "ftruncate", { ENOMEM }, false },
	{ SYS_fcntl, "fcntl", { EBUSY, EPERM }, false },
	{ SYS_openat, "openat", { EMFILE, ENOENT }, false },
	{ SYS_pread64, "pread64", { EIO, EINTR }, false },
	{ SYS_read, "read", { EIO }, false },
	{ SYS_pwrite64, "pwrite64", { EFBIG, ENOMEM }, false },
	{ SYS_prctl, "prctl", { EINVAL }, false },
	{ SYS_chdir, "chdir", { EACCES }, false },
	{ SYS_readlinkat, "readlinkat", { EACCES }, false },
	{ SYS_pidfd_open, "pidfd_open", { EMFILE, ENOSYS }, false },
	{ SYS_ppoll, "ppoll", { ENOMEM }, false },
	{ SYS_fstat, "fstat", { EPERM }, false },
	{ SYS_fstatfs, "fstatfs", { ENOSYS }, false },
	{ SYS_capset, "capset", { EPERM }, false },
	{ SYS_close_range, "close_range", { ENOSYS, ENOMEM }, false },
	{ SYS_unshare, "unshare", { ENOMEM, EPERM }, false },
	{ SYS_prlimit64, "prlimit64", { EPERM }, false },
	{ SYS_userfaultfd, "userfaultfd", { EPERM, ENFILE }, false },
	{ FAKE_CLONE, "clone", { EAGAIN, ENOMEM }, false },
};
#define CALLS (sizeof calls / sizeof *calls)

static int runs, injected, bad, shown;

static volatile pid_t running;
static volatile bool hung;

/* Prints what each of its threads is doing. */
static void tell_where(pid_t pid)
{
	char path[128], text[101] = "";
	struct dirent *entry;
	DIR *tasks;

	snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	tasks = opendir(path);
	while (tasks != NULL && (entry = readdir(tasks)) != NULL) {
		static const char *const files[] = { "comm", "stat", "wchan", "syscall" };
		for (size_t i = 0; entry->d_name[0] != '.' && i < sizeof files / sizeof *files; i++) {
			int fd;
			ssize_t size;
			snprintf(path, sizeof path, "/proc/%d/task/%.20s/%s", (int)pid, entry->d_name, files[i]);
			fd = open(path, O_RDONLY | O_CLOEXEC);
			size = fd < 0 ? -1 : read(fd, text, 100);
			text[size > 0 ? size : 0] = '\0';
			if (size > 0)
				print_message("# %s %s: %.*s\n", entry->d_name, files[i], (int)strcspn(text, "\n"),
					      text);
			if (fd >= 0)
				close(fd);
		}
	}
	if (tasks != NULL)
		closedir(tasks);
}

/* In the parent, as the library blocks signals while it waits. Arrives while this process waits for the run and does
 * nothing else. */
static void end_of_patience(int unused)
{
	(void)unused;
	hung = true;
	tell_where(running);
	kill(running, SIGKILL);
}

/* True: the failure took place. */
static bool inject(int scenario, unsigned modes, long number, int nth, int error, int times, bool unmap)
{
	int status;
	pid_t pid;
	bool took_place;

	control->modes = modes;
	control->number = number;
	control->error = error;
	control->unmap = unmap;
	control->countdown = nth;
	control->times = control->times_at_first = times;
	control->failures = 0;
	control->armed = control->told = control->trimming = false;
	memset(control->counts, 0, sizeof control->counts);
	fflush(stdout);
	pid = fork();
	if (pid == 0)
		run(scenario);
	assert_true(pid > 0);
	running = pid;
	hung = false;
	signal(SIGALRM, end_of_patience);
	alarm(case_seconds(30));
	status = wait_for(pid);
	alarm(0);
	took_place = control->failures > 0;
	runs++;
	injected += took_place;
	if (status != 0) {
		bad++;
		if (shown++ < 40)
			print_message("# bad: %d %u %ld %d %d %d %d (%s): %s %s\n", scenario, modes, number, nth, error,
				      times, unmap, strerror(error),
				      WIFSIGNALED(status) ? (hung ? "hangs" : strsignal(WTERMSIG(status))) : "",
				      WIFSIGNALED(status) ? control->where : control->text);
	}
	return took_place;
}

/* Fails every nth call of a number, or every stride-th of them: other calls each day, until all have failed after
 * `stride` days. Failures of all calls from the first on are run every day. */
static void inject_all(int scenario, unsigned modes, size_t call, int error, int times, bool unmap, int stride)
{
	int first = 1 + (int)(time(NULL) / 86400 % stride);

	if (times == MANY && first > 1)
		(void)inject(scenario, modes, calls[call].number, 1, error, times, unmap);
	for (int nth = first; nth < 400; nth += stride)
		if (!inject(scenario, modes, calls[call].number, nth, error, times, unmap))
			break;
}

/* `every`: one call out of this many, for the test run. */
static void run_scenario(int scenario, unsigned modes, bool everything, int every)
{
	uint64_t start = now_ms();
	int before = runs, bad_before = bad;

	(void)inject(scenario, modes, -1, 1, 0, 0, false);
	if (bad > bad_before)
		return; /* fails even without an injected failure */
	for (size_t i = 0; i < CALLS; i++) {
		for (int e = 0; e < 4 && calls[i].errors[e] != 0; e++) {
			inject_all(scenario, modes, i, calls[i].errors[e], 1, false, every);
			if (!everything)
				break;
			if (calls[i].replaces)
				inject_all(scenario, modes, i, calls[i].errors[e], 1, true, every);
			if (e == 0 && calls[i].number != SYS_munmap) /* other uses of munmap must not fail */
				inject_all(scenario, modes, i, calls[i].errors[e], MANY, false,
					   every * (calls[i].replaces ? 5 : 3));
		}
	}
	print_message("# scenario %d, modes %u: %d runs, %llu ms\n", scenario, modes, runs - before,
		      (unsigned long long)(now_ms() - start));
}

static void summary(void)
{
	print_message("# %d runs with %d failures: no region %d times, no fork %d, no memory in the child %d, not "
		      "settled %d, never %d, "
		      "places given up %d\n",
		      runs, injected, control->no_region, control->no_fork, control->absent, control->not_settled,
		      control->never, control->given_up);
}

/* In a test run one call out of this many fails; with ODF_TEST_SCALE every call. */
enum { IN_A_RUN = 13, IN_A_RUN_WITH_HOLES = 23 };

static int every(int in_a_run)
{
	return getenv("ODF_TEST_SCALE") != NULL ? 1 : in_a_run;
}

/* Each zero page that is put takes six more calls. All of these fail in scenarios by call; elsewhere small pieces are
 * given back in the other ways. */
extern bool region_zero_pages_never;
/* Steps without page tables, as when forks come in quick succession: in half of the tests. */
extern bool region_fresh_always;

static void test_by_call(void **state)
{
	(void)state;
	bad = 0;
	region_fresh_always = false;
	run_scenario(0, 0, true, every(IN_A_RUN));
	summary();
	assert_int_equal(bad, 0);
}

static void test_on_lesser_machines(void **state)
{
	(void)state;
	bad = 0;
	region_fresh_always = false;
	region_zero_pages_never = true;
	run_scenario(0, NO_USERFAULT, false, every(IN_A_RUN));
	run_scenario(0, NO_SCAN | NO_CLOSE_RANGE, false, every(IN_A_RUN));
	summary();
	assert_int_equal(bad, 0);
}

static void test_with_holes(void **state)
{
	(void)state;
	bad = 0;
	region_fresh_always = true;
	region_zero_pages_never = true;
	run_scenario(2, 0, true, every(IN_A_RUN_WITH_HOLES));
	summary();
	assert_int_equal(bad, 0);
}

static void test_with_holes_otherwise(void **state)
{
	(void)state;
	bad = 0;
	region_fresh_always = false;
	region_zero_pages_never = true;
	run_scenario(3, 0, false, every(IN_A_RUN_WITH_HOLES));
	run_scenario(2, NO_USERFAULT | NO_QUERY, false, every(IN_A_RUN_WITH_HOLES));
	summary();
	assert_int_equal(bad, 0);
}

static void test_by_itself(void **state)
{
	(void)state;
	bad = 0;
	region_fresh_always = true;
	region_zero_pages_never = true;
	run_scenario(1, 0, false, every(IN_A_RUN));
	summary();
	assert_int_equal(bad, 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_by_call),
		cmocka_unit_test(test_on_lesser_machines),
		cmocka_unit_test(test_by_itself),
		cmocka_unit_test(test_with_holes),
		cmocka_unit_test(test_with_holes_otherwise),
	};
	ours = true;
	unsetenv("ODFORK_UFFD_FD");
	for (odf_probe probe = 0; probe < ODF_PROBE_COUNT; probe++)
		odf_probe_get(probe, NULL);
	control = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (control == MAP_FAILED)
		return 2;
	control->where = "start";
	if (argc == 2 || argc == 3) {
		run_scenario(atoi(argv[1]), argc == 3 ? (unsigned)atoi(argv[2]) : 0, argc == 2, 1);
		summary();
		return bad > 0;
	}
	if (argc == 8) {
		(void)inject(atoi(argv[1]), (unsigned)atoi(argv[2]), atol(argv[3]), atoi(argv[4]), atoi(argv[5]),
			     atoi(argv[6]), atoi(argv[7]) != 0);
		print_message("%d failures; mremap %d mmap %d madvise %d ioctl %d\n", control->failures,
			      control->counts[SYS_mremap], control->counts[SYS_mmap], control->counts[SYS_madvise],
			      control->counts[SYS_ioctl]);
		return bad > 0;
	}
	return cmocka_run_group_tests_name("region injection", tests, NULL, NULL);
}
