/* SPDX-License-Identifier: MIT
 *
 * Tests of test_region: every kind of descendant, and how long it holds a snapshot.
 */
#include "region_tests.h"
#include "../support/real_call.h"

int gate[2];

void wait_at_gate(void)
{
	char byte;

	close(gate[1]);
	while (read(gate[0], &byte, 1) < 0 && errno == EINTR)
		;
}

static int waits(odf_region *region)
{
	wait_at_gate();
	return holds(region, 1) ? 0 : 1;
}

static int waits_without_descriptors(odf_region *region)
{
	sigset_t set;
	int got;

	(void)region;
	syscall(SYS_close_range, 0, ~0u, 0);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigwait(&set, &got);
	return holds(region, 1) ? 0 : 1;
}

static int leaves_a_grandchild(odf_region *region)
{
	pid_t pid = fork();

	if (pid == 0) {
		wait_at_gate();
		_exit(holds(region, 1) ? 0 : 1);
	}
	return pid > 0 ? 0 : 1;
}

static int execs(odf_region *region)
{
	(void)region;
	/* The executed program keeps the gate open, and reads from it until it is closed. */
	dup2(gate[0], 0);
	close(gate[1]);
	execlp("cat", "cat", (char *)NULL);
	return 127;
}

static void must_be_busy(odf_region *region)
{
	for (int round = 0; round < 3; round++) {
		assert_errno(EBUSY, odf_region_settle(region));
		assert_int_equal(info_of(region).state, ODF_REGION_FROZEN);
		assert_true(holds(region, 1));
		fill(region, 1); /* private pages, which must not reach the child */
	}
}

void open_gate(void)
{
	close(gate[0]);
	close(gate[1]);
}

static void must_settle(odf_region *region)
{
	assert_errno(0, odf_region_settle(region));
	assert_int_equal(info_of(region).state, ODF_REGION_LIVE);
	assert_true(holds(region, 1));
}

void every_kind_of_descendant(void **state)
{
	odf_region *region = make(4 * MIB + PAGE);
	pid_t pid, other;
	int status;

	(void)state;
	fill(region, 1);

	assert_int_equal(pipe(gate), 0);
	pid = child_that(waits, region);
	must_be_busy(region);
	open_gate();
	must_exit_with(pid, 0);
	must_settle(region);

	/* A child that closes every descriptor. */
	sigset_t term;
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, NULL);
	pid = child_that(waits_without_descriptors, region);
	must_be_busy(region);
	kill(pid, SIGTERM);
	must_exit_with(pid, 0);
	sigprocmask(SIG_UNBLOCK, &term, NULL);
	must_settle(region);

	/* A grandchild that outlives its parent. */
	assert_int_equal(pipe(gate), 0);
	pid = child_that(leaves_a_grandchild, region);
	must_exit_with(pid, 0);
	must_be_busy(region);
	open_gate();
	for (int wait = 0; odf_region_settle(region) == EBUSY && wait < 10000; wait++)
		usleep(1000);
	must_settle(region);

	/* Stopped, and then killed. */
	assert_int_equal(pipe(gate), 0);
	pid = child_that(waits, region);
	kill(pid, SIGSTOP);
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	must_be_busy(region);
	kill(pid, SIGKILL);
	assert_true(WIFSIGNALED(wait_for(pid)));
	open_gate();
	must_settle(region);

	/* After an exec: the process lives, but not its memory. */
	assert_int_equal(pipe(gate), 0);
	pid = child_that(execs, region);
	for (int wait = 0; odf_region_settle(region) == EBUSY && wait < 10000; wait++)
		usleep(1000);
	must_settle(region);
	assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
	open_gate();
	must_exit_with(pid, 0);

	/* Two children, of which the older ends first; and one more of the same snapshot. */
	assert_int_equal(pipe(gate), 0);
	pid = child_that(sees_generation_1, region);
	other = child_that(waits, region);
	must_exit_with(pid, 0);
	must_be_busy(region);
	pid = child_that(sees_generation_1, region);
	must_exit_with(pid, 0);
	must_be_busy(region);
	open_gate();
	must_exit_with(other, 0);
	must_settle(region);
	assert_errno(0, odf_region_destroy(region));
}

/* Made past every hook, while FROZEN: it has the snapshot, and counts. */
void raw_clone_of_frozen(void **state)
{
	odf_region *region = make(4 * MIB);
	odf_region_info info = ODF_REGION_INFO_INIT;
	pid_t pid;

	(void)state;
	fill(region, 1);
	must_exit_with(child_that(sees_generation_1, region), 0);
	assert_int_equal(pipe(gate), 0);
	pid = (pid_t)real_fork();
	if (pid == 0) {
		wait_at_gate();
		if (odf_region_info_get(region, &info) != 0 || info.state != ODF_REGION_INHERITED)
			_exit(3);
		_exit(holds(region, 1) ? 0 : 1);
	}
	must_be_busy(region);
	open_gate();
	must_exit_with(pid, 0);
	must_settle(region);
	assert_errno(0, odf_region_destroy(region));
}

/* While LIVE such a child has nothing there, and not its parent's memory. */
void raw_clone_of_live(void **state)
{
	odf_region *region = make(4 * MIB);
	odf_region_info info = ODF_REGION_INFO_INIT;
	pid_t pid;

	(void)state;
	fill(region, 1);
	pid = (pid_t)real_fork();
	if (pid == 0) {
		signal(SIGSEGV, SIG_DFL);
		if (odf_region_info_get(region, &info) != 0 || info.state != ODF_REGION_ABSENT)
			_exit(3);
		if (odf_region_discard(region, odf_region_base(region), PAGE) != ENXIO)
			_exit(4);
		if (odf_region_settle(region) != 0 || odf_region_destroy(region) != 0)
			_exit(5);
		/* A region of its own is like any other. */
		region = odf_region_create(MIB, ODF_REGION_MANUAL);
		if (region == NULL)
			_exit(6);
		fill(region, 1);
		pid = odf_fork();
		if (pid == 0)
			_exit(holds(region, 1) ? 0 : 1);
		_exit(wait_for(pid) == 0 ? 0 : 7);
	}
	must_exit_with(pid, 0);
	pid = (pid_t)real_fork();
	if (pid == 0) {
		signal(SIGSEGV, SIG_DFL);
		*(volatile uint64_t *)word_at(region, 0) = 666;
		_exit(0);
	}
	assert_true(WIFSIGNALED(wait_for(pid)));
	assert_true(holds(region, 1));
	assert_int_equal(info_of(region).state, ODF_REGION_LIVE);
	must_exit_with(child_that(sees_generation_1, region), 0);
	/* The first child's memory is released only when that child's own keeper has noticed its end. */
	for (int wait = 0; odf_region_settle(region) == EBUSY && wait < 10000; wait++)
		usleep(1000);
	must_settle(region);
	assert_errno(0, odf_region_destroy(region));
}

void in_another_pid_namespace(void **state)
{
	odf_region *region = make(MIB);
	pid_t pid;

	(void)state;
	fill(region, 1);
	assert_int_equal(pipe(gate), 0);
	pid = odf_fork();
	if (pid == 0) {
		if (unshare(CLONE_NEWPID) != 0)
			_exit(77);
		if (fork() == 0) {
			wait_at_gate();
			_exit(0);
		}
		_exit(0); /* the grandchild, its namespace's init, outlives it */
	}
	if (exit_status_of(pid) == 77) {
		open_gate();
		odf_region_destroy(region);
		skip_because("no pid namespaces for this user");
		return;
	}
	must_be_busy(region);
	open_gate();
	for (int wait = 0; odf_region_settle(region) == EBUSY && wait < 10000; wait++)
		usleep(1000);
	must_settle(region);
	assert_errno(0, odf_region_destroy(region));
}

/* ---- Children ---- */

static int uses_it_as_its_own(odf_region *region)
{
	odf_region_info info = info_of(region);
	odf_region *own;
	pid_t pid;

	if (info.state != ODF_REGION_INHERITED || info.resident_bytes != 0 || odf_region_settle(region) != 0)
		return 1;
	if (odf_region_discard(region, odf_region_base(region), 3 * MIB) != 0 || *word_at(region, 0) != 0 ||
	    *word_at(region, 3 * MIB - PAGE) != 0 || *word_at(region, 3 * MIB) != 3 * MIB + 1)
		return 2;
	fill(region, 5);
	pid = fork();
	if (pid == 0)
		_exit(holds(region, 5) ? 0 : 1);
	fill(region, 6);
	if (wait_for(pid) != 0 || !holds(region, 6))
		return 3;
	if (odf_region_destroy(region) != 0)
		return 4;
	own = odf_region_create(2 * MIB, ODF_REGION_MANUAL);
	if (own == NULL)
		return 5;
	fill(own, 1);
	pid = odf_fork();
	if (pid == 0)
		_exit(holds(own, 1) && info_of(own).state == ODF_REGION_INHERITED ? 0 : 1);
	fill(own, 2);
	if (wait_for(pid) != 0 || odf_region_settle(own) != 0 || !holds(own, 2))
		return 6;
	return odf_region_destroy(own);
}

void a_child_has_ordinary_memory(void **state)
{
	odf_region *region = make(8 * MIB);

	(void)state;
	fill(region, 1);
	for (int round = 0; round < 3; round++) {
		must_exit_with(child_that(uses_it_as_its_own, region), 0);
		assert_true(holds(region, 1));
	}
	must_settle(region);
	assert_errno(0, odf_region_destroy(region));
}
