/* SPDX-License-Identifier: MIT
 *
 * Tests of test_region_model with a chosen holder of a snapshot: children that are stopped, orphans, children that have
 * executed another program, children of signal handlers, and children that the library did not see.
 */
#include "region_model.h"
#include "../support/real_call.h"

void fill(unsigned char *base, uint64_t tag)
{
	for (size_t page = 0; page < PAGES; page++)
		for (size_t word = 0; word < PAGE / 8; word += 64)
			((uint64_t *)(void *)(base + page * PAGE))[word] = tag << 32 | (page * PAGE + word);
}

static bool is_filled(const unsigned char *base, uint64_t tag)
{
	for (size_t page = 0; page < PAGES; page++)
		for (size_t word = 0; word < PAGE / 8; word++) {
			uint64_t must = word % 64 == 0 ? tag << 32 | (page * PAGE + word) : 0;
			if (((const uint64_t *)(const void *)(base + page * PAGE))[word] != must)
				return false;
		}
	return true;
}

/* Holds the snapshot until it is told to check it, or until the test has ended. */
__attribute__((noreturn)) static void hold(const unsigned char *base, struct word *word, const int go[2])
{
	char byte;
	bool well = is_filled(base, 1);

	alarm(GUARD_SECONDS);
	word->pid = getpid();
	word->ready = 1;
	if (read(go[0], &byte, 1) != 1)
		well = false;
	word->verdict = well && is_filled(base, 1) ? 1 : 2;
	_exit(0);
}

pid_t make_holder(enum holder holder, const unsigned char *base, struct word *word, const int go[2])
{
	pid_t pid = fork(), middle;
	char byte;

	assert_true(pid >= 0);
	if (pid == 0) {
		let_signals_kill();
		close(go[1]);
		if (holder == HOLDS_CHILD || holder == HOLDS_STOPPED)
			hold(base, word, go);
		if (fork() == 0)
			hold(base, word, go);
		if (holder == HOLDS_ORPHAN)
			_exit(0);
		_exit(read(go[0], &byte, 1) == 0);
	}
	while (!word->ready)
		usleep(100);
	if (holder == HOLDS_STOPPED)
		kill(pid, SIGSTOP);
	if (holder == HOLDS_CHILD || holder == HOLDS_STOPPED)
		return pid;
	middle = pid;
	if (holder == HOLDS_ORPHAN_OF_KILLED)
		kill(middle, SIGKILL);
	wait_for(middle);
	return word->pid;
}

odf_region_info get_info(const odf_region *region)
{
	odf_region_info info = ODF_REGION_INFO_INIT;

	assert_errno(0, odf_region_info_get(region, &info));
	return info;
}

/* The holder has been reaped. Its memory can last a moment longer only if another process is looking at it. */
void must_settle(odf_region *region)
{
	int error = EBUSY;

	for (int patience = 10000; error == EBUSY && patience > 0; patience--) {
		error = odf_region_settle(region);
		if (error == EBUSY)
			usleep(1000);
	}
	assert_int_equal(error, 0);
	assert_int_equal(get_info(region).state, ODF_REGION_LIVE);
}

static void hold_and_settle(enum holder holder, unsigned flags)
{
	odf_region *region = odf_region_create(PAGES * PAGE, flags);
	struct word *word = shared_memory(sizeof *word);
	unsigned char *base;
	int go[2];
	pid_t pid;

	assert_non_null(region);
	base = odf_region_base(region);
	assert_int_equal(pipe2(go, O_CLOEXEC), 0);
	fill(base, 1);
	pid = make_holder(holder, base, word, go);
	for (uint64_t tag = 2; tag < 5; tag++) {
		fill(base, tag);
		assert_int_equal(odf_region_settle(region), EBUSY);
		assert_true(is_filled(base, tag));
		assert_int_equal(get_info(region).state, ODF_REGION_FROZEN);
		usleep(3000);
	}
	assert_errno(0, odf_region_discard(region, base, PAGES * PAGE));
	assert_int_equal(write(go[1], "g", 1), 1);
	if (holder == HOLDS_STOPPED)
		kill(pid, SIGCONT);
	must_exit_with(pid, 0);
	assert_int_equal(word->verdict, 1);
	must_settle(region);
	for (size_t i = 0; i < PAGES * PAGE; i++)
		assert_int_equal(base[i], 0);
	fill(base, 6);
	must_settle(region);
	assert_true(is_filled(base, 6));
	assert_errno(0, odf_region_destroy(region));
	close(go[0]);
	close(go[1]);
	munmap(word, sizeof *word);
}

bool settling_by_call_works(void)
{
	odf_region *region = odf_region_create(PAGE, 0);
	odf_region_info info;

	assert_non_null(region);
	info = get_info(region);
	assert_errno(0, odf_region_destroy(region));
	if (info.settling == ODF_REGION_SETTLES_NEVER)
		skip_because("regions do not settle here");
	return info.settling != ODF_REGION_SETTLES_NEVER;
}

void test_holders(void **state)
{
	(void)state;
	if (!regions_work() || !settling_by_call_works())
		return;
	/* This process adopts orphans. */
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	for (enum holder holder = 0; holder < HOLDER_COUNT; holder++) {
		hold_and_settle(holder, 0);
		hold_and_settle(holder, ODF_REGION_MANUAL);
	}
	prctl(PR_SET_CHILD_SUBREAPER, 0);
	must_have_no_children();
}

/* A child that executes a program releases the snapshot, though it still lives. */
void test_exec_lets_go(void **state)
{
	odf_region *region;
	unsigned char *base;
	int in[2], out[2];
	char byte = 0;
	pid_t pid;

	(void)state;
	if (!regions_work() || !settling_by_call_works())
		return;
	region = odf_region_create(PAGES * PAGE, ODF_REGION_MANUAL);
	assert_non_null(region);
	base = odf_region_base(region);
	fill(base, 1);
	assert_int_equal(pipe2(in, O_CLOEXEC) | pipe2(out, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		dup2(in[0], 0);
		dup2(out[1], 1);
		execl("/bin/cat", "cat", (char *)NULL);
		_exit(127);
	}
	fill(base, 2);
	/* The new program has returned a byte, so it runs. */
	assert_int_equal(write(in[1], "x", 1), 1);
	assert_int_equal(read(out[0], &byte, 1), 1);
	assert_errno(0, odf_region_settle(region));
	assert_int_equal(get_info(region).state, ODF_REGION_LIVE);
	assert_true(is_filled(base, 2));
	for (int i = 0; i < 2; i++) {
		close(in[i]);
		close(out[i]);
	}
	must_exit_with(pid, 0);
	assert_errno(0, odf_region_destroy(region));
}

/* ---- Forks in signal handlers ------------------------------------------------------------------------------------ */

static struct {
	const unsigned char *base;
	atomic_ulong forks, failures;
} in_handler;

/* Interrupts calls about regions at any moment. Uses _Fork if the library interposes it, since libc's fork is not
 * async-signal-safe; but the code that is interrupted here holds none of libc's locks. */
static void fork_and_look(int signal)
{
	int saved = errno, status;
	pid_t pid = bare_fork != NULL ? bare_fork() : fork();

	(void)signal;
	if (pid == 0)
		_exit(is_filled(in_handler.base, 1) ? 0 : 1);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
		in_handler.failures++;
	in_handler.forks++;
	errno = saved;
}

void test_forks_in_handlers(void **state)
{
	struct sigaction action = { .sa_handler = fork_and_look, .sa_flags = SA_RESTART };
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2 };
	odf_region *kept, *region;
	uint64_t random = 1;
	unsigned char *base;
	timer_t timer;

	(void)state;
	if (!regions_work())
		return;
	alarm(GUARD_SECONDS);
	kept = odf_region_create(PAGES * PAGE, 0);
	region = odf_region_create(PAGES * PAGE, 0);
	assert_true(kept != NULL && region != NULL);
	fill(odf_region_base(kept), 1);
	base = odf_region_base(region);
	in_handler.base = odf_region_base(kept);
	sigaction(SIGUSR2, &action, NULL);
	assert_int_equal(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
	for (unsigned round = 0; round < 400; round++) {
		unsigned long before = in_handler.forks;
		struct itimerspec when = { { 0, 0 }, { 0, 1 } };
		random = mix(random);
		when.it_value.tv_nsec += (long)(random % 300000);
		assert_int_equal(timer_settime(timer, 0, &when, NULL), 0);
		while (in_handler.forks == before) {
			size_t page = random % (PAGES - 20);
			base[page * PAGE] = base[(page + 19) * PAGE] = (unsigned char)(1 + round % 255);
			if (base[page * PAGE] != 1 + round % 255 || base[(page + 19) * PAGE] != 1 + round % 255)
				in_handler.failures++;
			assert_errno(0, odf_region_discard(region, base + page * PAGE, 20 * PAGE));
			if (base[page * PAGE] != 0 || base[(page + 19) * PAGE] != 0)
				in_handler.failures++;
			if (round % 4 == 0)
				(void)get_info(region);
			if (round % 4 == 1)
				(void)odf_region_settle(region); /* EAGAIN, if the fork came during the call */
		}
	}
	timer_delete(timer);
	alarm(0);
	signal(SIGUSR2, SIG_DFL);
	assert_int_equal(in_handler.failures, 0);
	assert_true(is_filled(in_handler.base, 1));
	assert_errno(0, odf_region_destroy(kept));
	assert_errno(0, odf_region_destroy(region));
	must_have_no_children();
}

/* ---- Forks that the library does not see ------------------------------------------------------------------------- */

/* In such a child: checks that each region is there, or not, as the library says. 0: none is there; 1: some are;
 * greater: an error. */
static int look_past_the_library(odf_region *const regions[], int count)
{
	int result = 0;

	for (int i = 0; i < count; i++) {
		const volatile uint64_t *words = odf_region_base(regions[i]);
		odf_region_info info = ODF_REGION_INFO_INIT;
		if (odf_region_info_get(regions[i], &info) != 0 ||
		    (info.state != ODF_REGION_ABSENT && info.state != ODF_REGION_INHERITED))
			return 2;
		for (size_t page = 0; page < PAGES && info.state == ODF_REGION_INHERITED; page += 32)
			if (words[page * PAGE / 8] != (1ull << 32 | page * PAGE)) /* a missing page kills this
			                                                             process */
				return 3;
		result |= info.state == ODF_REGION_INHERITED;
	}
	return result;
}

/* While the keeper tests for descendants and settles, a child either has the memory or is told that it has not. */
void test_forks_past_the_library(void **state)
{
	double end = now() + 1.5 + (double)number_from("ODF_TEST_SECONDS", 0) / 10;
	unsigned long there = 0, absent = 0;
	odf_region *regions[3];
	uint64_t random = 3;

	(void)state;
	if (!regions_work())
		return;
	alarm(GUARD_SECONDS + (unsigned)number_from("ODF_TEST_SECONDS", 0));
	for (int i = 0; i < 3; i++) {
		regions[i] = odf_region_create(PAGES * PAGE, 0);
		assert_non_null(regions[i]);
		fill(odf_region_base(regions[i]), 1);
	}
	while (now() < end) {
		pid_t pid = fork();
		assert_true(pid >= 0);
		random = mix(random);
		if (pid == 0) {
			usleep((useconds_t)(random % 300));
			_exit(0);
		}
		for (int i = 0; i < 3; i++)
			for (size_t page = 0; page < PAGES; page += 3)
				((volatile unsigned char *)odf_region_base(
					regions[i]))[page * PAGE + 8] = 0; /* the value that is there already */
		for (int raw = 0; raw < 12; raw++) {
			long past = real_fork();
			int status;
			if (past == 0) {
				let_signals_kill();
				_exit(look_past_the_library(regions, 3));
			}
			assert_true(past > 0);
			status = wait_for((pid_t)past);
			if (!WIFEXITED(status) || WEXITSTATUS(status) > 1)
				fail_msg("a child made past the library ended with %#x", status);
			there += WEXITSTATUS(status) == 1;
			absent += WEXITSTATUS(status) == 0;
			if (raw == 4)
				must_exit_with(pid, 0);
		}
	}
	alarm(0);
	assert_true(there + absent > 0);
	print_message("# %lu children had the memory of a region, %lu of none\n", there, absent);
	for (int i = 0; i < 3; i++) {
		assert_true(is_filled(odf_region_base(regions[i]), 1));
		assert_errno(0, odf_region_destroy(regions[i]));
	}
	must_have_no_children();
}
