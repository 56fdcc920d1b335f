/* SPDX-License-Identifier: MIT
 *
 * Regions under threads that run all the time, on a loaded machine. What must hold:
 *
 *   - A snapshot is one moment. Each writer goes through its slots in order, round after round, by stores or by system
 *     calls that write for it. So at any moment the rounds in its slots are r, r ... r, r-1 ... r-1. A child must see
 *     such a state, and the same one each time it looks.
 *   - No write is lost, and no page is misplaced: each slot names its owner, and each writer finds its last values.
 *   - No system call fails because its buffer is in a region. Mutexes in a region exclude, condition variables wake,
 *     and no other process sees a child's writes.
 *   - Foreign memory is not touched, and is never placed in a region.
 *
 * ODF_TEST_SECONDS: for how long (6). ODF_TEST_NOBODY=1 gives up root first. A build with ODF_TEST_INTERPOSED needs the
 * shared library. If that is there, children are also made in the ways that it interposes.
 */
#include "region_threads.h"

/* ---- The test ---------------------------------------------------------------------------------------------------- */

static odf_region_info info_of(int r)
{
	odf_region_info info = ODF_REGION_INFO_INIT;

	assert_errno(0, odf_region_info_get(regions[r].region, &info));
	return info;
}

/* Every slot has the value that was written last. */
static void check_all(void)
{
	uint64_t sum = 0;

	for (int v = 0; v < VECTORS; v++)
		for (int slot = 0; slot < SLOTS; slot++)
			check_slot(v, slot, last_round[v]);
	for (int i = 0; i < SHARED; i++)
		sum += *shared[i];
	if (sum != added)
		failure("%" PRIu64 " additions are left of %lu", sum, (unsigned long)added);
	sum = 0;
	for (int i = 0; i < GUARDED; i++)
		sum += guarded[i]->second;
	if (sum != locked)
		failure("%" PRIu64 " additions under mutexes are left of %lu", sum, (unsigned long)locked);
}

static void wait_until_live(double seconds)
{
	for (int r = 0; r < REGIONS; r++)
		for (double end = now() + seconds; outcome->failures == 0 && info_of(r).state != ODF_REGION_LIVE;
		     usleep(1000))
			if (now() > end)
				failure("region %d does not become LIVE though nobody forks: state %d, live %zu", r,
					info_of(r).state, info_of(r).live_bytes);
}

/* cmocka's handler would jump from the faulting thread into the test's own stack, also in children. This one prints the
 * place; then the access faults again and kills the process. */
static void on_fault(int signal, siginfo_t *info, void *unused)
{
	pid_t self = getpid();
	uintptr_t at = (uintptr_t)info->si_addr;
	char text[sizeof outcome->text];
	int region = -1;

	(void)unused;
	for (int r = 0; r < REGIONS; r++)
		if (at >= (uintptr_t)regions[r].base && at < (uintptr_t)regions[r].base + regions[r].pages * PAGE)
			region = r;
	snprintf(text, sizeof text, "%s is hit by signal %d (code %d) at %p (region %d, page %zu)",
		 self == test_process ? "the process" : "a child", signal, info->si_code, info->si_addr, region,
		 region < 0 ? 0 : (size_t)(at - (uintptr_t)regions[region].base) / PAGE);
	failure("%s", text);
	if (self == test_process)
		dprintf(2, "\n# %s\n", text);
}

static void watch_for_faults(void)
{
	static const int signals[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGSYS };
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | (int)SA_RESETHAND };

	test_process = getpid();
	for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
		sigaction(signals[i], &action, NULL);
	signal(SIGABRT, SIG_DFL);
}

static void on_guard(int signal)
{
	static const char text[] = "\n# this test hangs\n";

	(void)signal;
	(void)!write(2, text, sizeof text - 1);
	abort();
}

static bool regions_work(void)
{
	odf_capabilities capabilities = ODF_CAPABILITIES_INIT;

	assert_errno(0, odf_capabilities_get(&capabilities));
	if (capabilities.strategy[ODF_STRATEGY_REGION] == ODF_REASON_NONE ||
	    capabilities.strategy[ODF_STRATEGY_REGION] == ODF_REASON_NO_REGION)
		return true;
	skip_because(odf_reason_text(capabilities.strategy[ODF_STRATEGY_REGION]));
	return false;
}

enum { THREADS = WRITERS + KERNEL_WRITERS + LOCKERS + FORKERS + SPINNERS + 5 };

static pthread_t threads[THREADS];
static int thread_count;

static void start(void *(*function)(void *), int number)
{
	assert_int_equal(pthread_create(&threads[thread_count++], NULL, function, (void *)(intptr_t)number), 0);
}

/* Prints the totals of what the regions did. */
static odf_region_info tell(void)
{
	odf_region_info sum = ODF_REGION_INFO_INIT;

	for (int r = 0; r < REGIONS; r++) {
		odf_region_info info = info_of(r);
		sum.freezes += info.freezes;
		sum.settles += info.settles;
		sum.interrupted += info.interrupted;
		sum.steps += info.steps;
		sum.merged_pages += info.merged_pages;
		if (info.longest_pause_ns > sum.longest_pause_ns)
			sum.longest_pause_ns = info.longest_pause_ns;
	}
	print_message(
		"# %lu rounds of %d slots, %lu kernel writes, %lu additions and %lu under mutexes, %lu discards, %lu "
		"looks, %lu orphans\n",
		(unsigned long)rounds_written, SLOTS, (unsigned long)kernel_writes, (unsigned long)added,
		(unsigned long)locked, (unsigned long)discards, (unsigned long)outcome->looks,
		(unsigned long)outcome->orphans_made);
	print_message("# %lu forks (", (unsigned long)forks);
	for (int way = 0; way < WAY_COUNT; way++)
		print_message("%s%lu %s", way == 0 ? "" : ", ", (unsigned long)way_used[way], way_names[way]);
	print_message("), %lu kills, %lu spawns, %lu foreign mappings, %lu regions came and went\n",
		      (unsigned long)kills, (unsigned long)spawns, (unsigned long)mappings, (unsigned long)churned);
	print_message("# %" PRIu64 " freezes, %" PRIu64 " settles (%lu calls), %" PRIu64 " interrupted, %" PRIu64
		      " steps, %" PRIu64 " pages merged, longest pause %.3f ms\n",
		      sum.freezes, sum.settles, (unsigned long)settle_calls, sum.interrupted, sum.steps,
		      sum.merged_pages, (double)sum.longest_pause_ns / 1e6);
	return sum;
}

static bool there_was_enough(void)
{
	return forks > 10 && outcome->looks > 10 && rounds_written > 10 && discards > 0 && spawns > 0;
}

static void test_threads_and_regions(void **state)
{
	const char *given = getenv("ODF_TEST_SECONDS");
	double seconds = given == NULL || *given == '\0' ? 6 : strtod(given, NULL);
	odf_region_settling settling;
	struct surroundings before;
	odf_region_info sum;
	pthread_t first;

	(void)state;
	if (!regions_work())
		return;
	watch_for_faults();
	signal(SIGALRM, on_guard);
	alarm(GUARD_SECONDS + (unsigned)seconds);
	/* libc installs a handler of its own with the first thread. */
	stop = true;
	assert_int_equal(pthread_create(&first, NULL, spin, NULL), 0);
	pthread_join(first, NULL);
	stop = false;
	before = surroundings_take();
	lay_out();
	settling = info_of(0).settling;
	for (int v = 0; v < VECTORS; v++)
		start(v < WRITERS ? write_always : write_by_kernel_always, v);
	for (int i = 0; i < LOCKERS; i++)
		start(lock_always, i);
	for (int i = 0; i < SPINNERS; i++)
		start(spin, i);
	start(discard_always, 0);
	start(spawn_always, 0);
	start(map_always, 0);
	start(churn_always, 0);
	start(watch_always, 0);
	for (int i = 0; i < FORKERS; i++)
		start(fork_always, i);
	/* At least the minimum of everything, however slow the machine is. */
	for (double end = now() + seconds; (now() < end || !there_was_enough()) && outcome->failures == 0;)
		usleep(20000);
	stop_forks = true;
	for (int i = THREADS - FORKERS; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (double end = now() + 200; outcome->orphans_made != outcome->orphans_well && outcome->failures == 0;
	     usleep(1000))
		if (now() > end)
			failure("%lu orphans of %lu were not heard of",
				(unsigned long)(outcome->orphans_made - outcome->orphans_well),
				(unsigned long)outcome->orphans_made);
	/* While all the other threads still run. */
	if (settling == ODF_REGION_SETTLES_ALWAYS)
		wait_until_live(200);
	stop = true;
	for (int i = 0; i < THREADS - FORKERS; i++)
		pthread_join(threads[i], NULL);
	check_all();
	for (int r = 0; r < REGIONS && settling != ODF_REGION_SETTLES_NEVER && outcome->failures == 0; r++) {
		assert_errno(0, odf_region_settle(regions[r].region)); /* all threads have ended */
		assert_int_equal(info_of(r).state, ODF_REGION_LIVE);
	}
	check_all();
	/* One more of each kind, in a process that has one thread again. */
	for (int i = 0; i < 10 && outcome->failures == 0; i++) {
		pid_t pid = i % 2 == 0 ? odf_fork() : fork();
		assert_true(pid >= 0);
		if (pid == 0)
			be_child((uint64_t)i * 7, WAY_FORK, true);
		must_exit_with(pid, 0);
		check_all();
	}
	sum = tell();
	if (outcome->failures != 0)
		fail_msg("%d failures, the first: %s", (int)outcome->failures, outcome->text);
	assert_true(there_was_enough() && sum.freezes > 0);
	if (settling != ODF_REGION_SETTLES_NEVER)
		assert_true(sum.settles > 0);
	for (int r = 0; r < REGIONS; r++)
		assert_errno(0, odf_region_destroy(regions[r].region));
	alarm(0);
	must_have_no_children();
	surroundings_must_equal(&before);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_threads_and_regions),
	};
	void *symbol;

	(void)argc;
	become_nobody_if_asked(argv);
	if (is_interposed("_Fork", &symbol)) {
		memcpy(&bare_fork, &symbol, sizeof symbol);
		way_works[WAY_BARE] = true;
	}
	way_works[WAY_SYSCALL] = is_interposed("syscall", &symbol);
#ifdef ODF_TEST_INTERPOSED
	if (!is_interposed("fork", &symbol) || !way_works[WAY_BARE] || !way_works[WAY_SYSCALL]) {
		fprintf(stderr, "fork, _Fork and syscall are not all interposed\n");
		return 1;
	}
#endif
	outcome = mmap(NULL, sizeof *outcome, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (outcome == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	return cmocka_run_group_tests_name("region_threads", tests, NULL, NULL);
}
