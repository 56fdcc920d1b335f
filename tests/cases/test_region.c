/* SPDX-License-Identifier: MIT
 *
 * Regions: what the public functions promise, state by state, in parent and child; and the token's verdict on every kind of descendant. Settling is by
 * call here (ODF_REGION_MANUAL), so that each state holds as long as a test needs it.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../support/support.h"

#define PAGE ((size_t)4096)
#define MIB  ((size_t)1 << 20)

static odf_region_info info_of(const odf_region *region)
{
	odf_region_info info = ODF_REGION_INFO_INIT;

	assert_errno(0, odf_region_info_get(region, &info));
	return info;
}

static uint64_t *word_at(const odf_region *region, size_t offset)
{
	return (uint64_t *)(void *)((char *)odf_region_base(region) + offset);
}

/* Every page holds its number and a generation. */
static void fill(odf_region *region, uint64_t generation)
{
	for (size_t at = 0; at < odf_region_capacity(region); at += PAGE)
		*word_at(region, at) = at + generation;
}

static bool holds(const odf_region *region, uint64_t generation)
{
	for (size_t at = 0; at < odf_region_capacity(region); at += PAGE)
		if (*word_at(region, at) != at + generation)
			return false;
	return true;
}

/* A child that does what `code` says and ends with its result; holds the snapshot until `hold` is closed, if that is not -1. */
static pid_t child_that(int (*code)(odf_region *), odf_region *region)
{
	pid_t pid = odf_fork();

	if (pid == 0)
		_exit(code(region));
	assert_true(pid > 0);
	return pid;
}

static odf_region *make(size_t capacity)
{
	odf_region *region = odf_region_create(capacity, ODF_REGION_MANUAL);

	assert_non_null(region);
	return region;
}

static void refuses_what_makes_no_sense(void **state)
{
	odf_region *region;
	odf_region_info info = ODF_REGION_INFO_INIT;

	(void)state;
	errno = 0;
	assert_null(odf_region_create(0, 0));
	assert_int_equal(errno, EINVAL);
	assert_null(odf_region_create(PAGE, 0x80000000u));
	assert_int_equal(errno, EINVAL);
	assert_null(odf_region_create((size_t)1 << 60, 0));
	assert_int_equal(errno, ENOMEM);
	assert_null(odf_region_create(SIZE_MAX, 0));
	assert_int_equal(errno, ENOMEM);
	errno = 7;
	region = make(3 * PAGE);
	assert_int_equal(errno, 7);
	assert_errno(EINVAL, odf_region_discard(region, (char *)odf_region_base(region) + 1, PAGE));
	assert_errno(EINVAL, odf_region_discard(region, (char *)odf_region_base(region) - PAGE, PAGE));
	assert_errno(EINVAL, odf_region_discard(region, odf_region_base(region), 4 * PAGE));
	assert_errno(EINVAL, odf_region_discard(region, (char *)odf_region_base(region) + PAGE, SIZE_MAX));
	assert_errno(0, odf_region_discard(region, odf_region_base(region), 0));
	assert_errno(0, odf_region_discard(region, (char *)odf_region_base(region) + 2 * PAGE, 1)); /* rounded up */
	assert_errno(EINVAL, odf_region_discard(NULL, NULL, 0));
	assert_errno(EINVAL, odf_region_settle(NULL));
	assert_errno(EINVAL, odf_region_destroy(NULL));
	assert_errno(EINVAL, odf_region_info_get(region, NULL));
	assert_errno(EINVAL, odf_region_info_get(NULL, &info));
	info.size = 4;
	assert_errno(EINVAL, odf_region_info_get(region, &info));
	assert_errno(0, odf_region_destroy(region));
}

static int sees_generation_1(odf_region *region)
{
	return holds(region, 1) ? 0 : 1;
}

static int sees_and_overwrites(odf_region *region)
{
	if (!holds(region, 1))
		return 1;
	fill(region, 99);
	return holds(region, 99) ? 0 : 2;
}

static void any_size(void **state)
{
	static const size_t sizes[] = { 1, PAGE, 3 * PAGE, 2 * MIB - PAGE, 2 * MIB, 2 * MIB + PAGE, 5 * MIB + 3 * PAGE, 64 * MIB };

	(void)state;
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		odf_region *region = make(sizes[i]);
		size_t rounded = (sizes[i] + PAGE - 1) / PAGE * PAGE;
		assert_int_equal(odf_region_capacity(region), rounded);
		assert_int_equal((uintptr_t)odf_region_base(region) % PAGE, 0);
		for (size_t at = 0; at < rounded; at += sizeof(uint64_t))
			if (*word_at(region, at) != 0)
				fail();
		fill(region, 1);
		for (int round = 0; round < 3; round++) {
			pid_t pid = child_that(sees_and_overwrites, region);
			assert_true(holds(region, 1));
			must_exit_with(pid, 0);
			*word_at(region, rounded - PAGE) += 0;
			if (round != 1)
				assert_errno(0, odf_region_settle(region));
			assert_true(holds(region, 1));
		}
		assert_errno(0, odf_region_destroy(region));
	}
}

/* Terabytes of address space, of which some pages at both ends and around the borders of the largest moves are used. */
static void sparse_terabytes(void **state)
{
	static const size_t offsets[] = { 0, 1024 * MIB - PAGE, 1024 * MIB, 700001 * MIB, 4096 * (size_t)1024 * MIB - PAGE };
	odf_region *region = make(4096 * (size_t)1024 * MIB);
	pid_t pid;

	(void)state;
	for (int round = 1; round <= 3; round++) {
		for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++)
			*word_at(region, offsets[i]) = offsets[i] + (size_t)round;
		pid = odf_fork();
		if (pid == 0) {
			for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++)
				if (*word_at(region, offsets[i]) != offsets[i] + (size_t)round)
					_exit(1);
			_exit(*word_at(region, 5 * MIB) == 0 ? 0 : 2);
		}
		for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++)
			*word_at(region, offsets[i]) = 0;
		must_exit_with(pid, 0);
		assert_errno(0, odf_region_settle(region));
	}
	assert_true(info_of(region).resident_bytes < MIB);
	assert_errno(0, odf_region_destroy(region));
}

/* A file of the library's is named. The path of this program may have the project's name in it. */
static bool names_a_file(const char *text)
{
	return strstr(text, "odfork-region") != NULL || strstr(text, "odfork-token") != NULL;
}

static void leaves_nothing_behind(void **state)
{
	struct surroundings before = surroundings_take();
	char *maps = read_file("/proc/self/maps"), *after;
	odf_region *one, *two;
	pid_t pid;

	(void)state;
	one = make(4 * MIB);
	two = make(PAGE);
	fill(one, 1);
	/* No descriptor is the program's to lose. */
	for (int fd = 3; fd < 64; fd++) {
		char path[64], target[256] = "";
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		if (readlink(path, target, sizeof target - 1) > 0)
			assert_false(names_a_file(target));
	}
	pid = child_that(sees_generation_1, one);
	must_exit_with(pid, 0);
	assert_errno(0, odf_region_destroy(one));
	assert_errno(0, odf_region_settle(two));
	assert_errno(0, odf_region_destroy(two));
	after = read_file("/proc/self/maps");
	assert_false(names_a_file(after));
	surroundings_must_equal(&before);
	free(maps);
	free(after);
}

static void counts_what_happens(void **state)
{
	odf_region *region = make(8 * MIB);
	odf_region_info info = info_of(region);
	pid_t pid;

	(void)state;
	assert_int_equal(info.state, ODF_REGION_LIVE);
	assert_int_equal(info.settling, ODF_REGION_SETTLES_BY_CALL);
	assert_int_equal(info.capacity, 8 * MIB);
	assert_int_equal(info.live_bytes, 8 * MIB);
	assert_int_equal(info.resident_bytes, 0);
	fill(region, 1);
	assert_int_equal(info_of(region).resident_bytes, 8 * MIB);
	pid = child_that(sees_generation_1, region);
	info = info_of(region);
	assert_int_equal(info.state, ODF_REGION_FROZEN);
	assert_int_equal(info.freezes, 1);
	assert_int_equal(info.live_bytes, 0);
	assert_int_equal(info.private_bytes, 0);
	assert_true(info.last_freeze_ns > 0);
	for (size_t page = 0; page < 10; page++)
		*word_at(region, page * 37 * PAGE) = page * 37 * PAGE + 1;
	assert_int_equal(info_of(region).private_bytes, 10 * PAGE);
	must_exit_with(pid, 0);
	pid = child_that(sees_generation_1, region);
	must_exit_with(pid, 0);
	assert_int_equal(info_of(region).freezes, 1); /* it was FROZEN */
	assert_errno(0, odf_region_settle(region));
	info = info_of(region);
	assert_int_equal(info.state, ODF_REGION_LIVE);
	assert_int_equal(info.settles, 1);
	assert_true(info.merged_pages >= 10);
	assert_true(info.steps >= 1);
	assert_true(info.longest_pause_ns >= info.last_pause_ns && info.last_pause_ns > 0);
	assert_int_equal(info.private_bytes, 0);
	assert_int_equal(info.resident_bytes, 8 * MIB);
	assert_errno(0, odf_region_settle(region)); /* nothing to do */
	assert_int_equal(info_of(region).settles, 1);
	assert_true(holds(region, 1));
	assert_errno(0, odf_region_destroy(region));
}

/* The keeper by itself, where it can; the wait is for it, not a claim about time. */
static void settles_by_itself(void **state)
{
	odf_region *region = odf_region_create(16 * MIB, 0);
	pid_t pid;

	(void)state;
	assert_non_null(region);
	if (info_of(region).settling != ODF_REGION_SETTLES_ALWAYS) {
		odf_region_destroy(region);
		skip_because("userfaultfd does not serve the kernel's faults here");
		return;
	}
	fill(region, 1);
	for (int round = 0; round < 5; round++) {
		pid = child_that(sees_and_overwrites, region);
		fill(region, 1);
		must_exit_with(pid, 0);
		for (int wait = 0; info_of(region).state != ODF_REGION_LIVE && wait < 10000; wait++)
			usleep(1000);
		assert_int_equal(info_of(region).state, ODF_REGION_LIVE);
		assert_true(holds(region, 1));
	}
	assert_errno(0, odf_region_destroy(region));
}

/* ---- Descendants ---- */

static int gate[2];

static void wait_at_gate(void)
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
	/* The gate stays open in the program, which reads until it closes. */
	dup2(gate[0], 0);
	close(gate[1]);
	execlp("cat", "cat", (char *)NULL);
	return 127;
}

/* A child of no libc function: inline assembly passes every hook. */
static pid_t raw_fork(void)
{
	long pid;

	__asm__ volatile("syscall" : "=a"(pid) : "0"(SYS_clone), "D"(SIGCHLD), "S"(0), "d"(0) : "rcx", "r11", "memory");
	return (pid_t)pid;
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

static void open_gate(void)
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

static void every_kind_of_descendant(void **state)
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

	/* One that closes every descriptor. */
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

	/* Killed, and stopped before. */
	assert_int_equal(pipe(gate), 0);
	pid = child_that(waits, region);
	kill(pid, SIGSTOP);
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	must_be_busy(region);
	kill(pid, SIGKILL);
	assert_true(WIFSIGNALED(wait_for(pid)));
	open_gate();
	must_settle(region);

	/* Executed: the process lives, the memory does not. */
	assert_int_equal(pipe(gate), 0);
	pid = child_that(execs, region);
	for (int wait = 0; odf_region_settle(region) == EBUSY && wait < 10000; wait++)
		usleep(1000);
	must_settle(region);
	assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
	open_gate();
	must_exit_with(pid, 0);

	/* Two, of which the older goes first; and one more of the same snapshot. */
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

/* Made past every hook, while FROZEN: has the snapshot, and counts. */
static void raw_clone_of_frozen(void **state)
{
	odf_region *region = make(4 * MIB);
	odf_region_info info = ODF_REGION_INFO_INIT;
	pid_t pid;

	(void)state;
	fill(region, 1);
	must_exit_with(child_that(sees_generation_1, region), 0);
	assert_int_equal(pipe(gate), 0);
	pid = raw_fork();
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

/* While LIVE there is nothing for it, rather than its parent's memory. */
static void raw_clone_of_live(void **state)
{
	odf_region *region = make(4 * MIB);
	odf_region_info info = ODF_REGION_INFO_INIT;
	pid_t pid;

	(void)state;
	fill(region, 1);
	pid = raw_fork();
	if (pid == 0) {
		signal(SIGSEGV, SIG_DFL);
		if (odf_region_info_get(region, &info) != 0 || info.state != ODF_REGION_ABSENT)
			_exit(3);
		if (odf_region_discard(region, odf_region_base(region), PAGE) != ENXIO)
			_exit(4);
		if (odf_region_settle(region) != 0 || odf_region_destroy(region) != 0)
			_exit(5);
		/* One of its own is like any other. */
		region = odf_region_create(MIB, ODF_REGION_MANUAL);
		if (region == NULL)
			_exit(6);
		fill(region, 1);
		pid = odf_fork();
		if (pid == 0)
			_exit(holds(region, 1) ? 0 : 1);
		_exit(WEXITSTATUS(wait_for(pid)));
	}
	must_exit_with(pid, 0);
	pid = raw_fork();
	if (pid == 0) {
		signal(SIGSEGV, SIG_DFL);
		*(volatile uint64_t *)word_at(region, 0) = 666;
		_exit(0);
	}
	assert_true(WIFSIGNALED(wait_for(pid)));
	assert_true(holds(region, 1));
	assert_int_equal(info_of(region).state, ODF_REGION_LIVE);
	must_exit_with(child_that(sees_generation_1, region), 0);
	/* What the first one had it leaves when its own keeper has noticed its end. */
	for (int wait = 0; odf_region_settle(region) == EBUSY && wait < 10000; wait++)
		usleep(1000);
	must_settle(region);
	assert_errno(0, odf_region_destroy(region));
}

static void in_another_pid_namespace(void **state)
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
	if (WEXITSTATUS(wait_for(pid)) == 77) {
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
	if (odf_region_discard(region, odf_region_base(region), 3 * MIB) != 0 || *word_at(region, 0) != 0 || *word_at(region, 3 * MIB - PAGE) != 0 ||
	    *word_at(region, 3 * MIB) != 3 * MIB + 1)
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

static void a_child_has_ordinary_memory(void **state)
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

/* ---- Discard ---- */

static int sees_what_was(odf_region *region)
{
	wait_at_gate();
	return holds(region, 1) ? 0 : 1;
}

static bool zeros(const odf_region *region, size_t from, size_t end)
{
	for (size_t at = from; at < end; at += sizeof(uint64_t))
		if (*word_at(region, at) != 0)
			return false;
	return true;
}

static void discard_live(void **state)
{
	odf_region *region = make(32 * MIB);
	char *base = odf_region_base(region);

	(void)state;
	fill(region, 1);
	assert_errno(0, odf_region_discard(region, base + MIB, 9 * MIB + PAGE));
	assert_true(info_of(region).resident_bytes <= 23 * MIB);
	assert_true(zeros(region, MIB, 10 * MIB + PAGE));
	assert_int_equal(*word_at(region, MIB - PAGE), MIB - PAGE + 1);
	assert_int_equal(*word_at(region, 10 * MIB + PAGE), 10 * MIB + PAGE + 1);
	assert_errno(0, odf_region_discard(region, base, 32 * MIB));
	assert_true(info_of(region).resident_bytes == 0);
	assert_errno(0, odf_region_destroy(region));
}

/* A descendant has the old content, the parent zeros at once; the memory comes back when it is gone. */
static void discard_frozen(void **state)
{
	static const size_t sizes[] = { PAGE, 7 * PAGE, 8 * PAGE, 100 * PAGE, 2 * MIB, 5 * MIB + PAGE };

	(void)state;
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		odf_region *region = make(32 * MIB + PAGE);
		char *base = odf_region_base(region);
		size_t from = 3 * MIB + 5 * PAGE, end = from + sizes[i];
		pid_t pid;

		fill(region, 1);
		assert_int_equal(pipe(gate), 0);
		pid = child_that(sees_what_was, region);
		*word_at(region, from) = 17; /* a private page under it */
		assert_errno(0, odf_region_discard(region, base + from, sizes[i]));
		assert_true(zeros(region, from, end));
		assert_int_equal(info_of(region).resident_bytes, 32 * MIB + PAGE); /* the frozen file is not touched */
		*word_at(region, from + sizes[i] / PAGE / 2 * PAGE) = 4711;
		assert_int_equal(*word_at(region, from - PAGE), from - PAGE + 1);
		assert_int_equal(*word_at(region, end), end + 1);
		open_gate();
		must_exit_with(pid, 0);
		assert_errno(0, odf_region_settle(region));
		assert_int_equal(info_of(region).resident_bytes, 32 * MIB + PAGE - sizes[i] + PAGE); /* one was written again */
		assert_int_equal(*word_at(region, from + sizes[i] / PAGE / 2 * PAGE), 4711);
		*word_at(region, from + sizes[i] / PAGE / 2 * PAGE) = 0;
		assert_true(zeros(region, from, end));
		assert_int_equal(*word_at(region, end), end + 1);
		assert_errno(0, odf_region_destroy(region));
	}
}

/* Over and over, all of it, with forks between: neither mappings nor memory pile up. */
static void discard_again_and_again(void **state)
{
	odf_region *region = make(8 * MIB);
	char *base = odf_region_base(region), *maps;
	size_t lines = 0;

	(void)state;
	for (int round = 0; round < 50; round++) {
		fill(region, 1);
		must_exit_with(child_that(sees_generation_1, region), 0);
		for (size_t at = 0; at < 8 * MIB; at += 16 * PAGE)
			assert_errno(0, odf_region_discard(region, base + at, 8 * PAGE));
		assert_errno(0, odf_region_discard(region, base, 8 * MIB));
		assert_true(zeros(region, 0, 8 * MIB));
		if (round % 10 == 9) {
			assert_errno(0, odf_region_settle(region));
			assert_int_equal(info_of(region).resident_bytes, 0);
		}
	}
	maps = read_file("/proc/self/maps");
	for (char *at = maps; (at = strchr(at, '\n')) != NULL; at++)
		lines++;
	assert_true(lines < 200);
	free(maps);
	assert_errno(0, odf_region_destroy(region));
}

/* Freed memory stays freed over a fork and its settle: what is zero is not written back. */
static void zeros_take_no_memory(void **state)
{
	odf_region *region = make(16 * MIB);

	(void)state;
	fill(region, 1);
	must_exit_with(child_that(sees_generation_1, region), 0);
	memset(odf_region_base(region), 0, 16 * MIB);
	assert_errno(0, odf_region_settle(region));
	assert_int_equal(info_of(region).resident_bytes, 0);
	assert_true(zeros(region, 0, 16 * MIB));
	assert_errno(0, odf_region_destroy(region));
}

/* The kernel then fills new mappings at once, and with MCL_CURRENT all there are: also the one that home is made of at the next freeze. */
static int lives_with_mlockall(int before, int after)
{
	odf_region *region;
	pid_t pid;

	if (before != 0 && mlockall(before) != 0)
		return 77;
	region = odf_region_create(8 * MIB, ODF_REGION_MANUAL);
	if (region == NULL)
		return 77; /* by RLIMIT_MEMLOCK */
	if (before != 0 && info_of(region).resident_bytes != 0)
		return 1;
	fill(region, 1);
	if (after != 0 && mlockall(after) != 0)
		return 77;
	for (uint64_t round = 1; round < 4; round++) {
		fill(region, round);
		pid = odf_fork();
		if (pid == 0)
			_exit(holds(region, round) ? 0 : 1);
		if (!holds(region, round) || wait_for(pid) != 0 || !holds(region, round))
			return 2;
		fill(region, round + 10);
		if (odf_region_settle(region) != 0 || !holds(region, round + 10))
			return 3;
	}
	return odf_region_destroy(region);
}

static void under_mlockall(void **state)
{
	static const int flags[][2] = {
		{ MCL_FUTURE, 0 }, { 0, MCL_FUTURE }, { 0, MCL_CURRENT }, { MCL_CURRENT | MCL_FUTURE, MCL_CURRENT }, { MCL_FUTURE | MCL_ONFAULT, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
		pid_t pid = fork();
		int result;
		if (pid == 0)
			_exit(lives_with_mlockall(flags[i][0], flags[i][1]));
		result = WEXITSTATUS(wait_for(pid));
		if (result == 77) {
			skip_because("memory may not be locked here");
			return;
		}
		assert_int_equal(result, 0);
	}
}

static void several_regions(void **state)
{
	odf_region *regions[8];
	pid_t pid;

	(void)state;
	for (size_t i = 0; i < 8; i++) {
		regions[i] = make((i + 1) * MIB + i * PAGE);
		fill(regions[i], i);
	}
	for (int round = 0; round < 4; round++) {
		pid = odf_fork();
		if (pid == 0) {
			for (size_t i = 0; i < 8; i++)
				if (!holds(regions[i], i))
					_exit((int)i + 1);
			_exit(0);
		}
		for (size_t i = 0; i < 8; i++)
			fill(regions[i], i);
		must_exit_with(pid, 0);
		/* Some are settled, some stay FROZEN, one is made anew. */
		for (size_t i = (size_t)round % 2; i < 8; i += 2)
			assert_errno(0, odf_region_settle(regions[i]));
		assert_errno(0, odf_region_destroy(regions[round]));
		regions[round] = make(MIB);
		fill(regions[round], (uint64_t)round);
	}
	for (size_t i = 0; i < 8; i++) {
		assert_true(holds(regions[i], i));
		assert_errno(0, odf_region_destroy(regions[i]));
	}
}

/* The report says it, and so does the record's strategy. */
static void the_report_names_regions(void **state)
{
	odf_fork_options options = ODF_FORK_OPTIONS_INIT;
	odf_report report = ODF_REPORT_INIT;
	odf_region *region = make(MIB);
	pid_t pid = odf_fork_with(&options, &report);

	(void)state;
	if (pid == 0)
		_exit(0);
	must_exit_with(pid, 0);
	assert_int_equal(report.strategy, ODF_STRATEGY_REGION);
	assert_int_equal(report.reason[ODF_STRATEGY_REGION], ODF_REASON_CHOSEN);
	assert_int_equal(report.reason[ODF_STRATEGY_FORK], ODF_REASON_BETTER_CHOSEN);
	/* Whatever is allowed, memory that is LIVE cannot be inherited. */
	fill(region, 1);
	assert_errno(0, odf_region_settle(region));
	options.allow = ODF_ALLOW(ODF_STRATEGY_FORK);
	pid = odf_fork_with(&options, &report);
	if (pid == 0)
		_exit(holds(region, 1) ? 0 : 1);
	must_exit_with(pid, 0);
	assert_int_equal(report.strategy, ODF_STRATEGY_FORK);
	assert_errno(0, odf_region_destroy(region));
	pid = odf_fork_with(NULL, &report);
	if (pid == 0)
		_exit(0);
	must_exit_with(pid, 0);
	assert_int_equal(report.reason[ODF_STRATEGY_REGION], ODF_REASON_NO_REGION);
}

int main(void)
{
	odf_capabilities capabilities = ODF_CAPABILITIES_INIT;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refuses_what_makes_no_sense), cmocka_unit_test(any_size),
		cmocka_unit_test(sparse_terabytes),            cmocka_unit_test(leaves_nothing_behind),
		cmocka_unit_test(counts_what_happens),         cmocka_unit_test(settles_by_itself),
		cmocka_unit_test(every_kind_of_descendant),    cmocka_unit_test(raw_clone_of_frozen),
		cmocka_unit_test(raw_clone_of_live),           cmocka_unit_test(in_another_pid_namespace),
		cmocka_unit_test(a_child_has_ordinary_memory), cmocka_unit_test(discard_live),
		cmocka_unit_test(discard_frozen),              cmocka_unit_test(discard_again_and_again),
		cmocka_unit_test(zeros_take_no_memory),        cmocka_unit_test(several_regions),
		cmocka_unit_test(the_report_names_regions),    cmocka_unit_test(under_mlockall),
	};

	if (odf_capabilities_get(&capabilities) != 0 || capabilities.strategy[ODF_STRATEGY_REGION] != ODF_REASON_NONE) {
		printf("1..0 # SKIP no regions here: %s\n", odf_reason_text(capabilities.strategy[ODF_STRATEGY_REGION]));
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
