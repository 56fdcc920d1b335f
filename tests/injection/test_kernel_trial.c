/* SPDX-License-Identifier: MIT
 *
 * The safety check of a kernel's on-demand fork, against a kernel that fails it in each way. The library's system calls
 * are routed through this program, in the caller and in the trial's two processes. The switch is a file, a child that
 * was forked with it on shows few page tables, and then one thing goes wrong. Each case runs in a freshly executed
 * process, since answers are cached, once with the check made when the library is loaded and once by a call.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../support/real_call.h"
#include "../support/support.h"

long sys_call6(long number, long a, long b, long c, long d, long e, long f);

#define TABLE ((uintptr_t)2 << 20)
#define PAGE  ((uintptr_t)4096)

/* Which process this is: the caller, or the trial's first or second process. Each has its own copy of this memory. */
static enum { CALLER, FIRST, SECOND } role;
static bool armed_up, switch_is_on;
static const char *fault, *switch_path, *trial_switch_path;
static int refusals;
static char *area; /* of the trial; kernel_trial.c says what each page table is for */

static bool is(const char *name)
{
	return strcmp(fault, name) == 0;
}

/* Runs before main, in the library's constructor. */
static void arm(void)
{
	armed_up = true;
	fault = getenv("TRIAL_FAULT");
	switch_path = getenv("TRIAL_SWITCH");
	trial_switch_path = getenv("TRIAL_SWITCH_OF_ITS_OWN"); /* each process has a switch of its own */
	if (fault == NULL)
		fault = "";
}

/* Wipes the rest of the page's page table, as far as the trial has filled it. */
static void wipe_neighbors(uintptr_t address, uintptr_t length)
{
	for (uintptr_t page = address / TABLE * TABLE; page < (address / TABLE + 1) * TABLE; page += PAGE)
		if (page + PAGE <= address || page >= address + length)
			(void)real_call(SYS_process_vm_writev, getpid(), (long)&(struct iovec){ (char[8]){ 0 }, 8 }, 1,
					(long)&(struct iovec){ (void *)page, 8 }, 1, 0);
}

static long open_as(const char *path, long flags)
{
	char status[256];
	int fd;

	if (strcmp(path, "/proc/self/use_odf") == 0 && switch_path != NULL) {
		if (is("write_fails") && (flags & O_ACCMODE) == O_WRONLY)
			return real_call(SYS_openat, AT_FDCWD, (long)"/dev/full", flags, 0, 0, 0);
		if (is("not_held") && (flags & O_ACCMODE) == O_RDONLY) /* armed: reads 0 until a fork */
			return real_call(SYS_openat, AT_FDCWD, (long)"/dev/zero", flags, 0, 0, 0);
		return real_call(SYS_openat, AT_FDCWD, (long)(role == CALLER ? switch_path : trial_switch_path), flags,
				 0, 0, 0);
	}
	if (strcmp(path, "/proc/self/status") == 0 && is("no_status") && role != CALLER)
		return -ENOENT;
	if (strcmp(path, "/proc/self/status") == 0 && role == SECOND && !is("no_effect")) {
		fd = memfd_create("status", MFD_CLOEXEC);
		/* Longer than one read, and its border is in the middle of the word that the library searches. */
		for (int i = 0; i < 63; i++)
			(void)!write(fd, "Filler:\n", 8);
		snprintf(status, sizeof status, "X:\t1\nVmPTE:\t      44 kB\nVmSwap:\t 1 kB\n");
		(void)!write(fd, status, strlen(status));
		lseek(fd, 0, SEEK_SET);
		return fd;
	}
	return real_call(SYS_openat, AT_FDCWD, (long)path, flags, 0, 0, 0);
}

long sys_call6(long number, long a, long b, long c, long d, long e, long f)
{
	long result;

	if (!armed_up)
		arm();
	switch (number) {
	case SYS_openat:
		return open_as((const char *)b, c);
	case SYS_clone:
		if (role == CALLER && is("first_clone_fails") && refusals++ == 0)
			return -EAGAIN;
		if (role == FIRST && is("second_clone_fails"))
			return -EAGAIN;
		if (role == FIRST && is("not_held")) /* this has crashed kernels */
			raise(SIGKILL);
		result = real_call(number, a, b, c, d, e, f);
		if (result == 0 && a == 0) {
			role = role == CALLER ? FIRST : SECOND;
			switch_is_on = role == SECOND;
		} else if (result > 0 && role == FIRST) {
			switch_is_on = true;
		}
		return result;
	case SYS_prctl:
		/* A signal to the process group, for example: the group is the program's, and neither of these two
		 * processes is in it. */
		if (role != CALLER)
			(void)real_call(SYS_kill, real_call(SYS_getpid, 0, 0, 0, 0, 0, 0), SIGUSR1, 0, 0, 0, 0);
		break;
	case SYS_mmap:
		/* Memory that should be private to each process is shared. */
		if (role == FIRST && is("writes"))
			d = (d & ~MAP_PRIVATE & ~MAP_NORESERVE) | MAP_SHARED;
		if (role == FIRST && is("no_memory"))
			return -ENOMEM;
		result = real_call(number, a, b, c, d, e, f);
		if (role == FIRST && b > (long)TABLE)
			area = (char *)(((uintptr_t)result + TABLE - 1) / TABLE * TABLE);
		return result;
	case SYS_madvise:
		if (!switch_is_on || c != MADV_DONTNEED)
			break;
		if ((is("discard_in_child") && role == SECOND) || (is("discard_in_parent") && role == FIRST))
			return 0;
		if ((is("discard_wipes_in_child") && role == SECOND) ||
		    (is("discard_wipes_in_parent") && role == FIRST))
			wipe_neighbors((uintptr_t)a, (uintptr_t)b);
		if ((is("discard_refused_in_child") && role == SECOND) ||
		    (is("discard_refused_in_parent") && role == FIRST))
			return -EPERM;
		if (is("child_dies") && role == SECOND)
			*(volatile char *)(uintptr_t)PAGE = 1; /* all signals are blocked: only a fault ends it */
		if (is("child_ends") && role == SECOND)
			_exit(0);
		if (is("parent_dies") && role == FIRST)
			raise(SIGKILL);
		if ((is("child_hangs") && role == SECOND) || (is("parent_hangs") && role == FIRST))
			for (;;)
				pause();
		break;
	case SYS_munmap:
		if (switch_is_on && b == (long)PAGE && area != NULL) {
			static const char *const names[] = { [0] = "unmap_own_wipes_in_child",
							     [1] = "unmap_own_wipes_in_parent",
							     [4] = "unmap_wipes_in_child",
							     [6] = "unmap_wipes_in_parent" };
			const char *name = names[(a - (long)area) / (long)TABLE];
			if (name != NULL && is(name))
				wipe_neighbors((uintptr_t)a, (uintptr_t)b);
		}
		break;
	case SYS_read:
		/* What one process has done shows in the other from the moment when it reports that: "shows
		 * FIRST|SECOND TABLE PAGE". */
		result = real_call(number, a, b, c, d, e, f);
		if (switch_is_on && result > 0 && strncmp(fault, "shows ", 6) == 0 && area != NULL &&
		    (fault[6] == 'F') == (role == FIRST)) {
			char *end;
			long table = strtol(strchr(fault + 6, ' '), &end, 10), page = atol(end);
			*(volatile uint64_t *)(void *)(area + table * (long)TABLE + page * (long)PAGE) = 0;
		}
		return result;
	case SYS_exit_group:
		if (is("child_dies_late") && role == SECOND)
			raise(SIGKILL);
		break;
	case SYS_pipe2:
		if (role == CALLER && is("no_descriptors") && refusals++ == 0)
			return -EMFILE;
		break;
	default:
		break;
	}
	return real_call(number, a, b, c, d, e, f);
}

/* ---- The cases --------------------------------------------------------------------------------------------------- */

static const struct {
	const char *fault;
	odf_reason reason;
	unsigned failed; /* bits of odf_kernel_check, or these: */
	odf_kernel_interface interface;
} cases[] = {
#define BIT(check) (1u << ODF_KERNEL_CHECK_##check)
#define NOT_TRIED  0x1000u /* no check has passed or failed */
#define NO_SIGN    0x2000u /* all checks passed, but the effect was not seen */
	{ "", ODF_REASON_NONE, 0, ODF_KERNEL_INTERFACE_USE_ODF_HELD },
	{ "writes", ODF_REASON_KERNEL_LOSES_WRITES, BIT(WRITES) | BIT(DISCARD), ODF_KERNEL_INTERFACE_USE_ODF_HELD },
	{ "shows FIRST 2 208", ODF_REASON_KERNEL_LOSES_WRITES, BIT(WRITES), ODF_KERNEL_INTERFACE_USE_ODF_HELD },
	{ "shows SECOND 2 212", ODF_REASON_KERNEL_LOSES_WRITES, BIT(WRITES), ODF_KERNEL_INTERFACE_USE_ODF_HELD },
	{ "shows FIRST 3 208", ODF_REASON_KERNEL_LOSES_NEIGHBORS, BIT(DISCARD_NEIGHBORS),
	  ODF_KERNEL_INTERFACE_USE_ODF_HELD },
	{ "shows SECOND 5 511", ODF_REASON_KERNEL_LOSES_NEIGHBORS, BIT(DISCARD_NEIGHBORS),
	  ODF_KERNEL_INTERFACE_USE_ODF_HELD },
	{ "shows FIRST 4 0", ODF_REASON_KERNEL_LOSES_NEIGHBORS, BIT(UNMAP_NEIGHBORS),
	  ODF_KERNEL_INTERFACE_USE_ODF_HELD },
	{ "shows SECOND 6 212", ODF_REASON_KERNEL_LOSES_NEIGHBORS, BIT(UNMAP_NEIGHBORS),
	  ODF_KERNEL_INTERFACE_USE_ODF_HELD },
	{ "shows FIRST 0 216", ODF_REASON_KERNEL_LOSES_NEIGHBORS, BIT(UNMAP_NEIGHBORS),
	  ODF_KERNEL_INTERFACE_USE_ODF_HELD },
	{ "shows SECOND 1 216", ODF_REASON_KERNEL_LOSES_NEIGHBORS, BIT(UNMAP_NEIGHBORS),
	  ODF_KERNEL_INTERFACE_USE_ODF_HELD },
	{ "unmap_own_wipes_in_child", ODF_REASON_KERNEL_LOSES_NEIGHBORS, BIT(UNMAP_NEIGHBORS),
	  ODF_KERNEL_INTERFACE_USE_ODF_HELD },
	{ "unmap_own_wipes_in_parent", ODF_REASON_KERNEL_LOSES_NEIGHBORS, BIT(UNMAP_NEIGHBORS),
	  ODF_KERNEL_INTERFACE_USE_ODF_HELD },
	{ "discard_in_child", ODF_REASON_KERNEL_LOSES_DISCARDS, BIT(DISCARD), ODF_KERNEL_INTERFACE_USE_ODF_HELD },
	{ "discard_in_parent", ODF_REASON_KERNEL_LOSES_DISCARDS, BIT(DISCARD), ODF_KERNEL_INTERFACE_USE_ODF_HELD },
	{ "discard_wipes_in_child", ODF_REASON_KERNEL_LOSES_NEIGHBORS, BIT(DISCARD_NEIGHBORS),
	  ODF_KERNEL_INTERFACE_USE_ODF_HELD },
	{ "discard_wipes_in_parent", ODF_REASON_KERNEL_LOSES_NEIGHBORS, BIT(DISCARD_NEIGHBORS),
	  ODF_KERNEL_INTERFACE_USE_ODF_HELD },
	{ "unmap_wipes_in_child", ODF_REASON_KERNEL_LOSES_NEIGHBORS, BIT(UNMAP_NEIGHBORS),
	  ODF_KERNEL_INTERFACE_USE_ODF_HELD },
	{ "unmap_wipes_in_parent", ODF_REASON_KERNEL_LOSES_NEIGHBORS, BIT(UNMAP_NEIGHBORS),
	  ODF_KERNEL_INTERFACE_USE_ODF_HELD },
	{ "child_dies", ODF_REASON_KERNEL_DIES, BIT(END), ODF_KERNEL_INTERFACE_USE_ODF_HELD },
	{ "child_ends", ODF_REASON_KERNEL_DIES, BIT(END), ODF_KERNEL_INTERFACE_USE_ODF_HELD },
	{ "child_dies_late", ODF_REASON_KERNEL_DIES, BIT(END), ODF_KERNEL_INTERFACE_USE_ODF_HELD },
	{ "parent_dies", ODF_REASON_KERNEL_DIES, BIT(END), ODF_KERNEL_INTERFACE_USE_ODF },
	{ "child_hangs", ODF_REASON_KERNEL_DIES, BIT(END), ODF_KERNEL_INTERFACE_USE_ODF },
	{ "parent_hangs", ODF_REASON_KERNEL_DIES, BIT(END), ODF_KERNEL_INTERFACE_USE_ODF },
	{ "no_effect", ODF_REASON_KERNEL_NO_EFFECT, BIT(EFFECT), ODF_KERNEL_INTERFACE_USE_ODF_HELD },
	{ "no_status", ODF_REASON_KERNEL_NOT_VERIFIED, NO_SIGN, ODF_KERNEL_INTERFACE_USE_ODF_HELD },
	{ "not_held", ODF_REASON_KERNEL_LOSES_NEIGHBORS, NOT_TRIED, ODF_KERNEL_INTERFACE_USE_ODF_ARMED },
	{ "write_fails", ODF_REASON_KERNEL_REFUSED, NOT_TRIED, ODF_KERNEL_INTERFACE_USE_ODF },
};

#define REQUIRE(condition)                                                                                  \
	do {                                                                                                \
		if (!(condition)) {                                                                         \
			fprintf(stderr, "%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #condition, errno);   \
			return 1;                                                                           \
		}                                                                                           \
	} while (0)

static volatile sig_atomic_t signals_seen;

static void on_signal(int signal)
{
	(void)signal;
	signals_seen++;
}

static int alone(void)
{
	return waitpid(-1, NULL, WNOHANG | __WALL) == -1 && errno == ECHILD;
}

/* In the program that was executed for one case. */
static int judge(size_t number)
{
	odf_kernel_verdict verdict = ODF_KERNEL_VERDICT_INIT;
	struct sigaction action = { .sa_handler = on_signal };
	struct surroundings before;
	unsigned expected = cases[number].failed;
	struct pollfd left = { .events = POLLIN };
	int ends[2];

	/* The check at load time has left nothing behind either. */
	REQUIRE(alone());
	REQUIRE(sigaction(SIGCHLD, &action, NULL) == 0);
	REQUIRE(pipe(ends) == 0);
	before = surroundings_take();
	REQUIRE(odf_kernel_verify(&verdict) == 0);
	surroundings_must_equal(&before);
	/* No process is left with a copy of the pipe; a grandchild might be. */
	close(ends[1]);
	left.fd = ends[0];
	REQUIRE(poll(&left, 1, 10000) == 1 && (left.revents & POLLHUP));
	REQUIRE(alone() && signals_seen == 0);
	REQUIRE(verdict.reason == cases[number].reason);
	REQUIRE(verdict.interface == cases[number].interface);
	for (odf_kernel_check check = 0; check < ODF_KERNEL_CHECK_COUNT; check++) {
		if (expected == NOT_TRIED || (expected == NO_SIGN && check == ODF_KERNEL_CHECK_EFFECT))
			REQUIRE(verdict.check[check] == ODF_ANSWER_NOT_ASKED);
		else if (expected == NO_SIGN)
			REQUIRE(verdict.check[check] == ODF_ANSWER_YES);
		else if (expected & 1u << check)
			REQUIRE(verdict.check[check] == ODF_ANSWER_NO);
		else if (!(expected & BIT(END)))
			REQUIRE(verdict.check[check] == ODF_ANSWER_YES);
	}
	return 0;
}

/* What prevented the check at load time is not cached as an answer. */
static int judge_passing(int error)
{
	odf_kernel_verdict verdict = ODF_KERNEL_VERDICT_INIT;
	odf_report report = ODF_REPORT_INIT;
	struct surroundings before = surroundings_take();
	pid_t pid;

	/* Then on-demand fork is not used, and a fork does not start the check. */
	fault = "";
	pid = odf_fork_with(NULL, &report);
	if (pid == 0)
		_exit(0);
	REQUIRE(pid > 0 && waitpid(pid, NULL, 0) == pid);
	REQUIRE(report.strategy == ODF_STRATEGY_FORK &&
		report.reason[ODF_STRATEGY_KERNEL] == ODF_REASON_KERNEL_NOT_VERIFIED);
	fault = getenv("TRIAL_FAULT");
	refusals = 0;
	REQUIRE(odf_kernel_verify(&verdict) == error);
	REQUIRE(verdict.reason == ODF_REASON_KERNEL_NOT_VERIFIED);
	REQUIRE(verdict.check[ODF_KERNEL_CHECK_END] == ODF_ANSWER_NOT_ASKED);
	REQUIRE(alone());
	surroundings_must_equal(&before);
	fault = "";
	REQUIRE(odf_kernel_verify(&verdict) == 0);
	REQUIRE(verdict.reason == ODF_REASON_NONE);
	return 0;
}

static char *case_path;

static int run(const char *what, const char *value, bool early)
{
	const char *path = scratch_path("switch");
	char own[512];
	pid_t pid;
	int status;

	snprintf(own, sizeof own, "%s.own", path);
	write_file(path, "0\n", 0600);
	write_file(own, "0\n", 0600);
	pid = fork();
	if (pid == 0) {
		setenv("TRIAL_SWITCH", path, 1);
		setenv("TRIAL_SWITCH_OF_ITS_OWN", own, 1);
		setenv("TRIAL_FAULT", strcmp(what, "--case") == 0 ? cases[atoi(value)].fault : value, 1);
		/* Otherwise the library does not start the check by itself. */
		if (early)
			unsetenv("ODFORK_KERNEL");
		else
			setenv("ODFORK_KERNEL", "unsafe", 1);
		execl(case_path, case_path, what, value, (char *)NULL);
		_exit(99);
	}
	status = wait_for(pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 256;
}

static void test_each_way(void **state)
{
	(void)state;
	for (int early = 0; early < 2; early++) {
		for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
			char number[16];
			if (early && strstr(cases[i].fault, "hangs") != NULL)
				continue; /* two seconds each */
			snprintf(number, sizeof number, "%zu", i);
			if (run("--case", number, early) != 0)
				fail_msg("\"%s\", %s", cases[i].fault, early ? "when loaded" : "by a call");
		}
	}
}

static void test_not_made(void **state)
{
	static const char *const faults[] = {
		"first_clone_fails",        "second_clone_fails",        "no_memory",
		"discard_refused_in_child", "discard_refused_in_parent", "no_descriptors"
	};

	(void)state;
	for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
		if (run("--passing", faults[i], true) != 0)
			fail_msg("%s", faults[i]);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_way),
		cmocka_unit_test(test_not_made),
	};
	if (argc == 3 && strcmp(argv[1], "--case") == 0)
		return judge(strtoul(argv[2], NULL, 10));
	if (argc == 3 && strcmp(argv[1], "--passing") == 0)
		return judge_passing(is("no_memory")                              ? ENOMEM
				     : strncmp(fault, "discard_refused", 15) == 0 ? EPERM
				     : is("no_descriptors")                       ? EMFILE
										  : EAGAIN);
	case_path = argv[0];
	return cmocka_run_group_tests_name("kernel_trial", tests, NULL, NULL);
}
