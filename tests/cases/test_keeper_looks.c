/* SPDX-License-Identifier: MIT
 *
 * When the keeper looks at the program, and what it finds, without a keeper: its code runs here, in processes that play
 * its part. The test controls each look and its result; nothing depends on speed.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../src/region/keeper.c"
#include "../../src/region/keeper_sleep.c"
#include "../support/support.h"

static atomic_int word;

static void nothing(int signal)
{
	(void)signal;
}

static char state_of(pid_t pid)
{
	char path[64], *text, *at, state;

	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	text = read_file(path);
	assert_non_null(text);
	at = strrchr(text, ')');
	assert_non_null(at);
	state = at[2];
	free(text);
	return state;
}

/* ---- Before a step ---- */

/* Plays its parent's keeper: pauses after a step, and reports when it would begin the next one. It allocates nothing,
 * as its memory must be as large as the program's. */
static _Noreturn void play_keeper(int say)
{
	const struct region_progress progress = { .step_ns = LONGEST_SLEEP_NS };
	struct sigaction action = { .sa_handler = nothing };

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (sigaction(SIGUSR1, &action, NULL) != 0)
		_exit(1);
	program_meet(getppid());
	atomic_store(&word, 1234);
	keeper_watch(&word, 1234);
	keeper_pause_most_ns = LONGEST_SLEEP_NS;
	if (write(say, "a", 1) != 1)
		_exit(1);
	keeper_between_steps(&progress);
	if (write(say, "b", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

/* The program is stopped during the pause between two steps: the keeper looks after the pause, and makes no step until
 * the program continues. */
static void test_look_before_step(void **state)
{
	struct pollfd said = { .events = POLLIN };
	atomic_int *shared; /* with the process that plays the keeper */
	int ends[2], status;
	pid_t program, played;
	char byte;

	(void)state;
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(shared, MAP_FAILED);
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	said.fd = ends[0];
	program = fork();
	assert_true(program >= 0);
	if (program == 0) {
		played = fork();
		if (played == 0) {
			atomic_store(shared, getpid());
			play_keeper(ends[1]);
		}
		if (played < 0)
			_exit(1);
		for (;;)
			pause();
	}
	assert_int_equal(read(ends[0], &byte, 1), 1);
	assert_int_equal(byte, 'a');
	played = atomic_load(shared);
	assert_true(played > 0);
	while (state_of(played) != 'S') /* it pauses */
		usleep(1000);
	assert_int_equal(kill(program, SIGSTOP), 0);
	assert_int_equal(waitpid(program, &status, WUNTRACED), program);
	assert_true(WIFSTOPPED(status));
	assert_int_equal(kill(played, SIGUSR1), 0); /* ends the pause */
	assert_int_equal(poll(&said, 1, 100), 0);
	assert_int_equal(kill(program, SIGCONT), 0);
	assert_int_equal(read(ends[0], &byte, 1), 1);
	assert_int_equal(byte, 'b');
	assert_int_equal(kill(program, SIGKILL), 0);
	assert_int_equal(waitpid(program, NULL, 0), program);
	close(ends[0]);
	close(ends[1]);
	munmap(shared, sizeof *shared);
}

/* ---- A child of a SCHED_IDLE thread, which may be left without a processor ---- */

static enum schedule_action action_for(struct odf_region *region)
{
	struct schedule_facts facts = { .now = region_clock() };

	find_facts(region, &facts);
	return schedule_region(&facts).action;
}

/* FROZEN for long, with much written since: it is to be settled. But not while such a child may still be about to
 * end. */
static void test_idle_child_is_waited_for(void **state)
{
	static struct odf_region region;
	pid_t pid;

	(void)state;
	program_meet(getpid());
	keeper_settler.pagemap = keeper_settler.userfault = 0;
	region.length = 2 * REGION_PAGE;
	region.live_length = REGION_PAGE;
	region.adopting = true; /* all of it */
	assert_int_equal(action_for(&region), SCHEDULE_SETTLE);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		for (;;)
			pause();
	atomic_store(&keeper_children[3], pid);
	assert_int_equal(action_for(&region), SCHEDULE_SETTLE); /* a child of another thread is no reason to wait */
	keeper_note_idle_fork();
	assert_int_equal(action_for(&region), SCHEDULE_WAIT);
	seen.idle_fork_ns = region_clock() - IDLE_CHILD_NS; /* not forever */
	assert_int_equal(action_for(&region), SCHEDULE_SETTLE);
	keeper_note_idle_fork();
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitid(P_PID, (id_t)pid, &(siginfo_t){ 0 }, WEXITED | WNOWAIT), 0);
	assert_int_equal(action_for(&region), SCHEDULE_SETTLE); /* the child has reported its end */
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	keeper_settler.pagemap = keeper_settler.userfault = -1;
	seen.idle_fork_ns = 0;
}

/* ---- A region whose settles are not done before the next fork ---- */

static void test_behind(void **state)
{
	static struct odf_region region;
	struct schedule_facts facts = { .now = region_clock() };

	(void)state;
	program_meet(getpid());
	keeper_settler.pagemap = keeper_settler.userfault = 0;
	region.length = 2 * REGION_PAGE;
	region.live_length = REGION_PAGE;
	for (size_t i = 0; i < SCHEDULE_DISTANCES; i++)
		seen.distances[i] = 1600000;
	find_facts(&region, &facts);
	assert_int_equal(facts.behind_ns, 0);
	region.behind = 1;
	find_facts(&region, &facts);
	assert_int_equal(facts.behind_ns, 1600000);
	region.flags = ODF_REGION_MANUAL; /* by call only */
	assert_int_equal(behind_ns(&region), 0);
	keeper_settler.pagemap = keeper_settler.userfault = -1;
	for (size_t i = 0; i < SCHEDULE_DISTANCES; i++)
		seen.distances[i] = 0;
}

/* A process that has taken few page faults gets no time for more. */
static bool is_read_but_briefly(bool is_brief)
{
	return !is_brief;
}

/* A child that has taken few page faults reports its end if it is asked to. */
static void test_small_child_says_its_end(void **state)
{
	static struct odf_region region;
	char *tokens = region_map(NULL, 2 * REGION_PAGE, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	(void)state;
	if (!region_is_unfiltered()) {
		skip_because("behind a filter no child says it");
		return;
	}
	assert_non_null(tokens);
	region.tokens = tokens + 2 * REGION_PAGE;
	region_ends_prepare();
	assert_non_null(region_ends_word());
	for (unsigned wanted = 0; wanted < 3; wanted++) {
		unsigned before = region_ends_seen();
		pid_t pid;
		region_ends_want(wanted != 0);
		assert_int_equal(region_ends_are_wanted(), wanted != 0);
		pid = fork();
		assert_true(pid >= 0);
		if (pid == 0) {
			region_ends_inherit(&region);
			if (wanted == 2) /* a grandchild, which the keeper does not wait for */
				region_ends_inherit(&region);
			region_ends_say(is_read_but_briefly);
			_exit(region_is_mapped(tokens + REGION_PAGE, REGION_PAGE) == (wanted != 1) ? 0 : 1);
		}
		assert_int_equal(wait_for(pid), 0);
		assert_int_equal(region_ends_seen() - before, wanted == 1);
	}
	region_ends_want(false);
	assert_int_equal(region_unmap(tokens, 2 * REGION_PAGE), 0);
}

/* ---- An exec ---- */

/* After the kernel has cleared the main thread's word the keeper looks often for a while, and then rarely. */
static void test_looks_for_exec(void **state)
{
	(void)state;
	atomic_store(&word, 77);
	keeper_watch(&word, 77);
	awaited.cleared_ns = 0;
	assert_int_equal(until_a_look(), LOOK_FOR_END_NS);
	assert_int_equal(awaited.cleared_ns, 0);
	atomic_store(&word, 0);
	assert_int_equal(until_a_look(), LOOKS_FOR_EXEC_NS);
	assert_true(awaited.cleared_ns != 0);
	awaited.cleared_ns = region_clock() - LOOK_FOR_EXEC_NS; /* it was no exec: the thread has ended */
	assert_int_equal(until_a_look(), LOOK_FOR_END_NS);
	awaited.main_word = NULL;
	awaited.cleared_ns = 0;
	assert_int_equal(until_a_look(), LOOK_FOR_END_NS);
}

static void *clears_word(void *unused)
{
	(void)unused;
	atomic_store(&word, 0);
	(void)sys_call3(SYS_futex, &word, FUTEX_WAKE, 1); /* as the kernel does */
	return NULL;
}

/* The clearing itself ends a sleep, and is passed on to others that wait for it. */
static void test_cleared_word_wakes(void **state)
{
	pthread_t thread;

	(void)state;
	atomic_store(&word, 78);
	keeper_watch(&word, 78);
	assert_int_equal(pthread_create(&thread, NULL, clears_word, NULL), 0);
	while (atomic_load(&word) != 0)
		keeper_sleep(atomic_load(&keeper.notices), LONGEST_SLEEP_NS);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(until_a_look(), LOOKS_FOR_EXEC_NS);
	awaited.main_word = NULL;
	awaited.cleared_ns = 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_look_before_step),
		cmocka_unit_test(test_idle_child_is_waited_for),
		cmocka_unit_test(test_behind),
		cmocka_unit_test(test_small_child_says_its_end),
		cmocka_unit_test(test_looks_for_exec),
		cmocka_unit_test(test_cleared_word_wakes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
