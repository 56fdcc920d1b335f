/* SPDX-License-Identifier: MIT
 *
 * Snapshot regions in sandboxes and on older kernels: what they can do without answers as if it were not there, and a filter that comes later takes
 * away what they had. They must work by the other way, or refuse with the reason, or stay FROZEN; the data must be right whatever happens. Each
 * case in a process of its own, since a filter is for good.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../support/support.h"

/* From newer headers. */
#define REMAP_DONTUNMAP 4
#define WIPEONFORK      18
#define ADD_SEALS       1033
#define UFFD_NEW        _IO(0xAA, 0x00)
#define NOEXEC_SEAL     0x0008u
#define SCAN            _IOWR('f', 16, uint64_t[12])

enum { PAGE = 4096, WORDS = PAGE / 8, PAGES = 2048, DEADLINE = 20 };

#define REQUIRE(condition)                                                                                     \
	do {                                                                                                   \
		if (!(condition)) {                                                                            \
			fprintf(stderr, "%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #condition, errno);      \
			_exit(1);                                                                              \
		}                                                                                              \
	} while (0)

/* ---- Filters -------------------------------------------------------------------------------------------------------------------- */

static scmp_filter_ctx filter;

static void filter_begin(void)
{
	filter = seccomp_init(SCMP_ACT_ALLOW);
	REQUIRE(filter != NULL);
}

static void deny(int call, int error)
{
	REQUIRE(seccomp_rule_add(filter, SCMP_ACT_ERRNO((unsigned)error), call, 0) == 0);
}

static void deny_where(int call, int error, unsigned argument, uint64_t mask, uint64_t value)
{
	REQUIRE(seccomp_rule_add(filter, SCMP_ACT_ERRNO((unsigned)error), call, 1, SCMP_CMP(argument, SCMP_CMP_MASKED_EQ, mask, value)) == 0);
}

static void filter_load(void)
{
	REQUIRE(seccomp_load(filter) == 0);
	seccomp_release(filter);
}

static void deny_memfd(int error)
{
	deny(SCMP_SYS(memfd_create), error);
}

static void deny_noexec_seal(int error)
{
	deny_where(SCMP_SYS(memfd_create), error, 1, NOEXEC_SEAL, NOEXEC_SEAL);
}

static void deny_seals(int error)
{
	deny_where(SCMP_SYS(fcntl), error, 1, 0xffffffffu, ADD_SEALS);
}

static void deny_remap(int error)
{
	deny_where(SCMP_SYS(mremap), error, 3, REMAP_DONTUNMAP, REMAP_DONTUNMAP);
}

static void deny_every_remap(int error)
{
	deny(SCMP_SYS(mremap), error);
}

static void deny_wipe(int error)
{
	deny_where(SCMP_SYS(madvise), error, 2, 0xffffffffu, WIPEONFORK);
}

static void deny_remove(int error)
{
	deny_where(SCMP_SYS(madvise), error, 2, 0xffffffffu, MADV_REMOVE);
}

static void deny_dontfork(int error)
{
	deny_where(SCMP_SYS(madvise), error, 2, 0xffffffffu, MADV_DONTFORK);
}

static void deny_userfault(int error)
{
	deny(SCMP_SYS(userfaultfd), error);
	deny_where(SCMP_SYS(ioctl), error, 1, 0xffffffffu, UFFD_NEW);
}

static void deny_minor(int error)
{
	deny_where(SCMP_SYS(ioctl), error, 1, 0xffffffffu, UFFDIO_API);
}

static void deny_register(int error)
{
	deny_where(SCMP_SYS(ioctl), error, 1, 0xffffffffu, UFFDIO_REGISTER);
}

static void deny_scan(int error)
{
	deny_where(SCMP_SYS(ioctl), error, 1, 0xffffffffu, SCAN);
}

static void deny_pagemap(int error)
{
	deny_scan(error);
	deny(SCMP_SYS(pread64), error);
}

static void deny_close_range(int error)
{
	deny(SCMP_SYS(close_range), error);
}

static void deny_clone3(int error)
{
	deny(SCMP_SYS(clone3), error);
}

/* Not for threads, which share memory. */
static void deny_fork(int error)
{
	deny(SCMP_SYS(fork), error);
	deny_where(SCMP_SYS(clone), error, 0, CLONE_VM, 0);
}

/* ---- A region, and what must hold of it --------------------------------------------------------------------------------------------- */

static odf_region *region;
static volatile uint64_t *base;
static unsigned generation; /* of all pages */

static void fill(void)
{
	generation++;
	for (size_t page = 0; page < PAGES; page++)
		base[page * WORDS] = base[page * WORDS + WORDS - 1] = generation * 100000ull + page;
}

static bool holds(void)
{
	for (size_t page = 0; page < PAGES; page++)
		if (base[page * WORDS] != generation * 100000ull + page || base[page * WORDS + WORDS - 1] != generation * 100000ull + page)
			return false;
	return true;
}

static void make_region(unsigned flags)
{
	region = odf_region_create((size_t)PAGES * PAGE, flags);
	REQUIRE(region != NULL);
	base = odf_region_base(region);
	fill();
}

static odf_region_info info(void)
{
	odf_region_info found = ODF_REGION_INFO_INIT;

	REQUIRE(odf_region_info_get(region, &found) == 0);
	return found;
}

/* A child that sees what there was and writes what its parent must not see, while its parent writes everything anew. */
static pid_t start_child(int hold)
{
	pid_t pid = odf_fork();

	if (pid == 0) {
		char byte;
		REQUIRE(holds());
		for (size_t page = 0; page < PAGES; page += 3)
			base[page * WORDS] = 0;
		for (size_t page = 1; page < PAGES; page += 3)
			REQUIRE(base[page * WORDS] == generation * 100000ull + page);
		if (hold >= 0 && read(hold, &byte, 1) != 0)
			_exit(1);
		_exit(0);
	}
	return pid;
}

static bool ends_well(pid_t pid)
{
	int status;

	return waitpid(pid, &status, 0) == pid && status == 0;
}

static void fork_and_check(void)
{
	pid_t pid = start_child(-1);

	REQUIRE(pid > 0);
	fill();
	REQUIRE(ends_well(pid) && holds());
}

static void fork_through_libc(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(holds() ? 0 : 1);
	REQUIRE(pid > 0 && ends_well(pid) && holds());
}

static time_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec;
}

/* By itself or by a call. */
static void must_settle(bool itself)
{
	time_t end = now() + DEADLINE;

	while (info().state != ODF_REGION_LIVE) {
		REQUIRE(now() < end);
		if (!itself)
			(void)odf_region_settle(region);
		usleep(1000);
	}
	REQUIRE(holds());
}

/* A fork settles a process of one thread once that pays, if little is written between two; no more forks than that may
 * take. */
static void forks_must_settle(void)
{
	time_t end = now() + DEADLINE;

	fill();
	while (info().settles == 0) {
		pid_t pid = start_child(-1);
		REQUIRE(pid > 0 && ends_well(pid) && holds() && now() < end);
	}
	fork_through_libc();
}

static void check_discards(void)
{
	REQUIRE(odf_region_discard(region, (char *)odf_region_base(region) + 64 * PAGE, 64 * PAGE) == 0);
	REQUIRE(odf_region_discard(region, (char *)odf_region_base(region) + 200 * PAGE, 2 * PAGE) == 0);
	for (size_t page = 64; page < 128; page++)
		REQUIRE(base[page * WORDS] == 0 && base[page * WORDS + WORDS - 1] == 0);
	REQUIRE(base[200 * WORDS] == 0 && base[202 * WORDS] != 0 && base[63 * WORDS] != 0);
	fill();
	REQUIRE(holds());
}

static odf_reason reason(void)
{
	odf_capabilities capabilities = ODF_CAPABILITIES_INIT;

	REQUIRE(odf_capabilities_get(&capabilities) == 0);
	return capabilities.strategy[ODF_STRATEGY_REGION];
}

/* ---- Cases ---------------------------------------------------------------------------------------------------------------------------- */

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

/* The keeper has the filter from its start, and cannot settle: what is FROZEN stays it, and is right. */
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

/* A part of the region that cannot be hidden from children may make it stay FROZEN. */
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

/* What the program is denied later, the keeper does not do with the program's rights. */
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

/* Forks fail only where they would without a region, and then what was frozen for them settles. What cannot be frozen is given up. */
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
			pid = fork(); /* by libc's own name */
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

/* 0: as wanted; else the wait status. */
static int run(void (*function)(const struct filter_case *, int), const struct filter_case *filter_case, int error)
{
	pid_t pid = fork();

	if (pid == 0) {
		alarm(3 * DEADLINE);
		signal(SIGSEGV, SIG_DFL); /* not cmocka's */
		signal(SIGBUS, SIG_DFL);
		function(filter_case, error);
		_exit(0);
	}
	return wait_for(pid);
}

static bool regions_work(void)
{
	odf_reason found = ODF_REASON_NONE;
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit((int)reason());
	status = wait_for(pid);
	if (WIFEXITED(status))
		found = (odf_reason)WEXITSTATUS(status);
	if (status != 0)
		skip_because(odf_reason_text(found));
	return status == 0;
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
				print_message("# %s (%s): wait status %#x\n", cases[i].name, strerror(cases[i].errors[k]), (unsigned)status);
				failures++;
			}
		}
	}
	assert_int_equal(failures, 0);
}

/* What registers with userfaultfd fails in the middle of a step: which is undone. */
static void check_register_fails(const struct filter_case *unused, int error)
{
	static const struct filter_case registering = { "no UFFDIO_REGISTER", deny_register, { 0 }, NULL, ODF_REASON_NONE };

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

/* It settles when it is told to, and not before. */
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
		REQUIRE(info().state == ODF_REGION_FROZEN && info().settles == (uint64_t)round && info().freezes == (uint64_t)round + 1);
		REQUIRE(odf_region_settle(region) == 0 && info().state == ODF_REGION_LIVE && info().settles == (uint64_t)round + 1);
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
