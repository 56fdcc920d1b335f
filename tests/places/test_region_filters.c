/* SPDX-License-Identifier: MIT
 *
 * Snapshot regions in sandboxes and on older kernels. Calls that regions can do without answer as if they did not
 * exist; and a filter that comes later takes away calls that they have used. Regions must work by another way, or be
 * refused with the reason, or stay FROZEN; the data must be right in any case. Each case is a process of its own, since
 * a filter is permanent.
 */
#include "region_filters.h"

/* ---- Cases ------------------------------------------------------------------------------------------------------- */

struct filter_case {
	const char *name;
	void (*deny)(int error);
	int errors[3];
	void (*check)(const struct filter_case *filter_case, int error);
	odf_reason reason;
};

static void load(const struct filter_case *filter_case, int error)
{
	filter_begin();
	filter_case->deny(error);
	filter_load();
}

static void check_refused(const struct filter_case *filter_case, int error)
{
	load(filter_case, error);
	errno = 0;
	REQUIRE(odf_region_create((size_t)PAGES * PAGE, 0) == NULL && errno == ENOTSUP);
	REQUIRE(filter_case->reason == ODF_REASON_NONE || reason() == filter_case->reason);
	REQUIRE(odf_region_create((size_t)PAGES * PAGE, 0) == NULL && errno == ENOTSUP);
}

static void check_works_here(odf_region_settling settling)
{
	make_region(0);
	REQUIRE(reason() == ODF_REASON_NONE && info().settling == settling);
	for (int i = 0; i < 5; i++) {
		fork_and_check();
		fork_through_libc();
		check_discards();
		must_settle(settling == ODF_REGION_SETTLES_ALWAYS);
		check_discards();
	}
	REQUIRE(info().freezes >= 5 && info().settles >= 5 && info().merged_pages > 0);
	if (settling == ODF_REGION_SETTLES_AT_FORK) {
		REQUIRE(odf_region_destroy(region) == 0);
		make_region(0);
		forks_must_settle();
	}
	REQUIRE(odf_region_destroy(region) == 0);
}

static odf_region_settling without_filter;

static void check_works(const struct filter_case *filter_case, int error)
{
	load(filter_case, error);
	check_works_here(without_filter);
}

static void check_works_at_fork(const struct filter_case *filter_case, int error)
{
	load(filter_case, error);
	check_works_here(ODF_REGION_SETTLES_AT_FORK);
}

/* The keeper has the filter from its start, and cannot settle: what is FROZEN stays FROZEN, with the right contents. */
static void check_stays_frozen(const struct filter_case *filter_case, int error)
{
	int hold[2], status;
	pid_t pid;

	load(filter_case, error);
	make_region(0);
	REQUIRE(pipe2(hold, O_CLOEXEC) == 0);
	pid = start_child(hold[0]);
	REQUIRE(pid > 0);
	fill();
	kill(pid, SIGKILL);
	REQUIRE(waitpid(pid, &status, 0) == pid);
	for (int i = 0; i < 30; i++) {
		fork_and_check();
		if (i % 5 == 0)
			fork_through_libc();
		check_discards();
		(void)odf_region_settle(region);
		REQUIRE(info().settles == 0 && holds());
	}
	fork_and_check();
	usleep(150000); /* the keeper tries, too */
	REQUIRE(odf_region_settle(region) != 0);
	REQUIRE(info().state == ODF_REGION_FROZEN || info().state == ODF_REGION_SETTLING);
	REQUIRE(info().settles == 0 && holds());
	REQUIRE(odf_region_destroy(region) == 0);
}

/* Part of the region cannot be hidden from children, so it may stay FROZEN. */
static void check_right_later(const struct filter_case *filter_case, int error)
{
	make_region(0);
	load(filter_case, error);
	for (int i = 0; i < 10; i++) {
		fork_and_check();
		(void)odf_region_settle(region);
		REQUIRE(holds());
		check_discards();
	}
	REQUIRE(odf_region_destroy(region) == 0);
}

/* If the program loses a right later, the keeper must not use that right for it. */
static void check_works_later(const struct filter_case *filter_case, int error)
{
	make_region(0);
	fork_and_check();
	load(filter_case, error);
	for (int i = 0; i < 5; i++) {
		fork_and_check();
		check_discards();
		must_settle(false);
		check_discards();
		REQUIRE(odf_region_info_get(region, &ODF_REGION_INFO_INIT) == 0);
	}
	REQUIRE(odf_region_destroy(region) == 0);
}

/* A fork fails only if it would fail without a region, and then what was frozen for it settles. A region that cannot be
 * frozen is given up. */
static void check_forks_like_plain(const struct filter_case *filter_case, int error)
{
	make_region(0);
	load(filter_case, error);
	for (int i = 0; i < 10; i++) {
		pid_t pid;
		errno = 0;
		if (filter_case->deny == deny_fork) {
			REQUIRE(odf_fork() == -1 && errno == error && fork() == -1 && errno == error);
		} else {
			fork_and_check();
			pid = fork(); /* libc's fork */
			if (pid == 0)
				_exit(holds() ? 0 : 1);
			REQUIRE(ends_well(pid) && info().state == ODF_REGION_GIVEN_UP);
		}
		fill();
		check_discards();
		if (filter_case->deny == deny_fork && i % 5 == 0)
			must_settle(false);
		REQUIRE(holds());
	}
	REQUIRE(odf_region_destroy(region) == 0);
}

static const struct filter_case cases[] = {
	{ "no memfd_create", deny_memfd, { EPERM, EACCES, ENOSYS }, check_refused, ODF_REASON_REGION_NO_MEMFD },
	{ "no seals", deny_seals, { EPERM, EINVAL }, check_refused, ODF_REASON_REGION_NO_MEMFD },
	{ "no MREMAP_DONTUNMAP", deny_remap, { EINVAL }, check_refused, ODF_REASON_REGION_NO_REMAP },
	{ "no MADV_WIPEONFORK", deny_wipe, { EINVAL }, check_refused, ODF_REASON_NONE },
	{ "no MFD_NOEXEC_SEAL", deny_noexec_seal, { EINVAL }, check_works, ODF_REASON_NONE },
	{ "no MADV_REMOVE", deny_remove, { EINVAL, EPERM }, check_works, ODF_REASON_NONE },
	{ "no close_range", deny_close_range, { ENOSYS, EPERM }, check_works, ODF_REASON_NONE },
	{ "no clone3", deny_clone3, { ENOSYS }, check_works, ODF_REASON_NONE },
	{ "no PAGEMAP_SCAN", deny_scan, { ENOTTY, EPERM, EINVAL }, check_works, ODF_REASON_NONE },
	{ "no userfaultfd", deny_userfault, { EPERM, ENOSYS }, check_works_at_fork, ODF_REASON_NONE },
	{ "no minor faults", deny_minor, { EINVAL }, check_works_at_fork, ODF_REASON_NONE },
	{ "no memfd_create later", deny_memfd, { EPERM, ENOSYS }, check_works_later, ODF_REASON_NONE },
	{ "no seals later", deny_seals, { EPERM }, check_works_later, ODF_REASON_NONE },
	{ "no pagemap later", deny_pagemap, { EPERM }, check_works_later, ODF_REASON_NONE },
	{ "no userfaultfd later", deny_userfault, { EPERM }, check_works_later, ODF_REASON_NONE },
	{ "no PAGEMAP_SCAN later", deny_scan, { EPERM }, check_works_later, ODF_REASON_NONE },
	{ "no MADV_REMOVE later", deny_remove, { EPERM }, check_works_later, ODF_REASON_NONE },
	{ "no MADV_DONTFORK later", deny_dontfork, { EPERM }, check_right_later, ODF_REASON_NONE },
	{ "no moves later", deny_every_remap, { EPERM }, check_forks_like_plain, ODF_REASON_NONE },
	{ "no DONTUNMAP later", deny_remap, { EPERM }, check_forks_like_plain, ODF_REASON_NONE },
	{ "no forks later", deny_fork, { EAGAIN }, check_forks_like_plain, ODF_REASON_NONE },
};

/* Returns 0 if as expected; otherwise the wait status. */
static int run(void (*function)(const struct filter_case *, int), const struct filter_case *filter_case, int error)
{
	pid_t pid = fork();

	if (pid == 0) {
		alarm(3 * DEADLINE);
		signal(SIGSEGV, SIG_DFL); /* instead of cmocka's handler */
		signal(SIGBUS, SIG_DFL);
		function(filter_case, error);
		_exit(0);
	}
	return wait_for(pid);
}

static bool regions_work(void)
{
	odf_reason found;
	pid_t pid = fork();

	if (pid == 0)
		_exit((int)reason());
	found = (odf_reason)exit_status_of(pid);
	if (found != ODF_REASON_NONE)
		skip_because(odf_reason_text(found));
	return found == ODF_REASON_NONE;
}

static void say_settling(const struct filter_case *unused, int unused_too)
{
	(void)unused, (void)unused_too;
	make_region(0);
	_exit((int)info().settling + 1);
}

static void test_filters(void **state)
{
	int status, failures = 0;

	(void)state;
	if (!regions_work())
		return;
	status = run(say_settling, NULL, 0);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) > 0);
	without_filter = (odf_region_settling)(WEXITSTATUS(status) - 1);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		for (int k = 0; k < 3 && cases[i].errors[k] != 0; k++) {
			status = run(cases[i].check, &cases[i], cases[i].errors[k]);
			if (status != 0) {
				print_message("# %s (%s): wait status %#x\n", cases[i].name,
					      strerror(cases[i].errors[k]), (unsigned)status);
				failures++;
			}
		}
	}
	assert_int_equal(failures, 0);
}

/* A registration with userfaultfd fails in the middle of a step, which is then undone. */
static void check_register_fails(const struct filter_case *unused, int error)
{
	static const struct filter_case registering = {
		"no UFFDIO_REGISTER", deny_register, { 0 }, NULL, ODF_REASON_NONE,
	};

	(void)unused;
	check_stays_frozen(&registering, error);
}

static void test_step_undone(void **state)
{
	(void)state;
	if (!regions_work())
		return;
	if (without_filter != ODF_REGION_SETTLES_ALWAYS) {
		skip_because("userfaultfd does not serve kernel-mode faults here");
		return;
	}
	assert_int_equal(run(check_register_fails, NULL, EPERM), 0);
	assert_int_equal(run(check_register_fails, NULL, ENOMEM), 0);
}

/* It settles when told to, and not before. */
static void check_manual(const struct filter_case *unused, int forbid_userfault)
{
	static const struct filter_case no_userfault = { "", deny_userfault, { 0 }, NULL, ODF_REASON_NONE };

	(void)unused;
	if (forbid_userfault)
		load(&no_userfault, EPERM);
	make_region(ODF_REGION_MANUAL);
	REQUIRE(info().settling == ODF_REGION_SETTLES_BY_CALL);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 150; i++)
			fork_and_check();
		usleep(200000);
		REQUIRE(info().state == ODF_REGION_FROZEN && info().settles == (uint64_t)round &&
			info().freezes == (uint64_t)round + 1);
		REQUIRE(odf_region_settle(region) == 0 && info().state == ODF_REGION_LIVE &&
			info().settles == (uint64_t)round + 1);
		REQUIRE(holds());
	}
	REQUIRE(odf_region_destroy(region) == 0);
}

static void test_manual(void **state)
{
	(void)state;
	if (!regions_work())
		return;
	assert_int_equal(run(check_manual, NULL, 0), 0);
	assert_int_equal(run(check_manual, NULL, 1), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_filters),
		cmocka_unit_test(test_step_undone),
		cmocka_unit_test(test_manual),
	};
	return cmocka_run_group_tests_name("region_filters", tests, NULL, NULL);
}
