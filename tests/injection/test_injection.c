/* SPDX-License-Identifier: MIT
 *
 * The Nth system call fails. The library is built a second time with its system calls routed through this program, in
 * the caller and in the child. For each engine, and for a request with every option, each call that can fail is made to
 * fail, once and permanently. In each case either a fallback succeeds and the child is right, or the call's own errno
 * is returned with the step that the call belongs to; no child and no descriptor is left, and signal mask and
 * dispositions are as before.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../support/real_call.h"
#include "../support/support.h"

long sys_call6(long number, long a, long b, long c, long d, long e, long f);
void *__wrap_mmap64(void *address, size_t length, int protection, int flags, int fd, off_t offset);
void *__real_mmap64(void *address, size_t length, int protection, int flags, int fd, off_t offset);
int __wrap_mprotect(void *address, size_t length, int protection);
int __real_mprotect(void *address, size_t length, int protection);
pid_t __wrap_fork(void);
pid_t __real_fork(void);

enum { FAKE_MMAP = -1, FAKE_MPROTECT = -2, FAKE_FORK = -3 };

/* Shared with forked children. */
static struct control {
	volatile int armed;
	volatile int countdown; /* the call that decrements it to 0 fails */
	volatile int for_good;  /* so do all later calls of its number */
	volatile int error;
	volatile long failed_number; /* 0: none has failed so far */
	volatile int failures;
} *control;

/* Calls that cannot fail in this use, or whose failure no code could handle. All others can fail. */
static bool infallible(long number)
{
	static const long numbers[] = {
		SYS_rt_sigprocmask, SYS_close, SYS_wait4, SYS_exit_group, SYS_nanosleep, SYS_futex, SYS_getpid,
		SYS_gettid, SYS_getppid, SYS_umask, SYS_getpgid, SYS_getsid, SYS_munmap, SYS_exit, SYS_kill,
	};

	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		if (numbers[i] == number)
			return true;
	return false;
}

static bool fails(long number)
{
	if (control == NULL || !control->armed || infallible(number))
		return false;
	if (control->failed_number == 0 && --control->countdown == 0)
		control->failed_number = number;
	else if (control->failed_number != number || !control->for_good)
		return false;
	control->failures++;
	return true;
}

long sys_call6(long number, long a, long b, long c, long d, long e, long f)
{
	return fails(number) ? -(long)control->error : real_call(number, a, b, c, d, e, f);
}

void *__wrap_mmap64(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
	if (fails(FAKE_MMAP)) {
		errno = ENOMEM;
		return MAP_FAILED;
	}
	return __real_mmap64(address, length, protection, flags, fd, offset);
}

int __wrap_mprotect(void *address, size_t length, int protection)
{
	if (fails(FAKE_MPROTECT)) {
		errno = ENOMEM;
		return -1;
	}
	return __real_mprotect(address, length, protection);
}

pid_t __wrap_fork(void)
{
	if (fails(FAKE_FORK)) {
		errno = EAGAIN;
		return -1;
	}
	return __real_fork();
}

/* The steps in which a call may fail. */
static bool belongs(long number, odf_step step)
{
	switch (number) {
	case SYS_setsid:
		return step == ODF_STEP_SETSID;
	case SYS_chdir:
	case SYS_fchdir:
		return step == ODF_STEP_CWD;
	case SYS_dup3:
	case SYS_fcntl:
		return step == ODF_STEP_FD;
	case SYS_openat:
		return step == ODF_STEP_FD || step == ODF_STEP_CGROUP;
	case SYS_write:
		return step == ODF_STEP_CGROUP;
	case SYS_setpriority:
		return step == ODF_STEP_NICE;
	case SYS_sched_setscheduler:
		return step == ODF_STEP_SCHED;
	case SYS_sched_setaffinity:
		return step == ODF_STEP_AFFINITY;
	case SYS_prlimit64:
		return step == ODF_STEP_RLIMIT;
	case SYS_setgroups:
		return step == ODF_STEP_GROUPS;
	case SYS_setresgid:
		return step == ODF_STEP_GID;
	case SYS_setresuid:
		return step == ODF_STEP_UID;
	case SYS_prctl:
		return step == ODF_STEP_PARENT_DEATH || step == ODF_STEP_NO_NEW_PRIVS || step == ODF_STEP_SECCOMP;
	case SYS_rt_sigaction:
		return step == ODF_STEP_SIGNALS;
	case SYS_execve:
	case SYS_execveat:
		return step == ODF_STEP_EXEC;
	case SYS_pidfd_open:
		return step == ODF_STEP_PIDFD;
	case SYS_clone3:
	case SYS_clone:
	case SYS_mmap:
	case SYS_mprotect:
	case FAKE_MMAP:
	case FAKE_MPROTECT:
	case FAKE_FORK:
		return step == ODF_STEP_CLONE;
	default:
		return false; /* its failure must have no effect */
	}
}

static bool root;
static odf_pool *pool;

/* A detached process blocks its caller also by a pool. So by a pool only the kind that does not block is tested. */
enum how { PLAIN, DETACHED, NOT_AWAITED };

/* The process exists; returns what the call would have returned had it waited. */
static int await_launch(odf_launch *launch, odf_report *report, pid_t *pid)
{
	int error = odf_launch_wait(launch, -1, report);

	odf_launch_free(launch);
	if (error != 0) {
		assert_int_equal(waitpid(*pid, NULL, 0), *pid);
		*pid = -7;
	}
	return error;
}

/* Every option that this user may have. */
static int spawn_everything(odf_strategy engine, enum how how, odf_report *report, pid_t *pid)
{
	static struct sock_filter allow_all[] = { BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };
	static struct sock_fprog program = { 1, allow_all };
	static odf_rlimit limits[] = { { RLIMIT_CORE, { 0, 0 } }, { RLIMIT_NOFILE, { 200, 300 } } };
	static gid_t groups[] = { 7 };
	odf_fd_action map[] = { ODF_FD_DUP(40, 41), ODF_FD_DUP(41, 40), ODF_FD_NULL(0), ODF_FD_KEEP(42),
				ODF_FD_OPEN(50, "/etc/passwd", O_RDONLY, 0), ODF_FD_CLOSE(43) };
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	char *argv[] = { (char[]){ "true" }, NULL };
	bool detach = how == DETACHED;
	odf_launch *launch = NULL;
	cpu_set_t cpus;
	int pidfd = -1, error;

	CPU_ZERO(&cpus);
	CPU_SET(0, &cpus);
	options.allow = ODF_ALLOW(engine);
	options.flags = ODF_SPAWN_SEARCH_PATH | ODF_SPAWN_SETSID | ODF_SPAWN_CLOSE_OTHER_FDS | ODF_SPAWN_RESET_SIGNALS |
			ODF_SPAWN_NICE | ODF_SPAWN_SCHED | ODF_SPAWN_NO_NEW_PRIVS | ODF_SPAWN_UMASK |
			(detach ? ODF_SPAWN_DETACH : 0);
	options.cwd = "/";
	options.fds = map;
	options.fd_count = sizeof map / sizeof *map;
	options.pidfd = &pidfd;
	options.nice = nicer(3);
	options.sched_policy = SCHED_BATCH;
	options.rlimits = limits;
	options.rlimit_count = 2;
	options.affinity = &cpus;
	options.affinity_size = sizeof cpus;
	options.parent_death_signal = detach ? 0 : SIGTERM;
	options.seccomp = &program;
	if (engine == ODF_STRATEGY_POOL) {
		options.pool = pool;
		options.flags |= how == NOT_AWAITED ? ODF_SPAWN_NO_WAIT : 0;
		options.launch = how == NOT_AWAITED ? &launch : NULL;
	} else if (root) { /* not by a pool: a change of ids blocks the caller */
		options.flags |= ODF_SPAWN_UID | ODF_SPAWN_GID | ODF_SPAWN_GROUPS;
		options.uid = options.gid = 12345;
		options.groups = groups;
		options.group_count = 1;
	}
	error = odf_spawn(pid, "true", argv, NULL, &options, report);
	if (error == 0 && launch != NULL)
		error = await_launch(launch, report, pid);
	if (error == 0) {
		int status = -1;
		assert_true(pidfd >= 0);
		if (!detach) {
			assert_int_equal(waitpid(*pid, &status, 0), *pid);
			assert_int_equal(status, 0);
		}
	} else {
		assert_int_equal(*pid, -7);
	}
	if (pidfd >= 0)
		close(pidfd);
	return error;
}

/* Injects one failure. False: there are fewer calls than that. */
static bool inject(odf_strategy engine, enum how how, int at, bool for_good, int error)
{
	struct surroundings before = surroundings_take();
	odf_report report = ODF_REPORT_INIT;
	pid_t pid = -7;
	int result;

	*control = (struct control){ .countdown = at, .for_good = for_good, .error = error };
	control->armed = 1;
	result = spawn_everything(engine, how, &report, &pid);
	control->armed = 0;
	if (result != 0) {
		long number = control->failed_number;
		int expected = number == FAKE_FORK ? EAGAIN : error;
		if (number == FAKE_MMAP || number == FAKE_MPROTECT || number == SYS_mmap || number == SYS_mprotect)
			expected = ENOMEM;
		/* Two ways to the same goal: the call returns the errno of the last one. */
		if (number == 0 || result != expected || report.error != result || !belongs(number, report.step))
			fail_msg("%s, call %d (number %ld) fails with %d: result %d, report %d at %s %d",
				 odf_strategy_name(engine), at, number, error, result, report.error,
				 odf_step_name(report.step), report.index);
	}
	must_have_no_children();
	surroundings_must_equal(&before);
	return control->failed_number != 0;
}

static void test_every_call(void **state)
{
	static const int errors[] = { EIO, EPERM, ENOSYS, ENOMEM };
	static const odf_strategy tried_engines[] = { ODF_STRATEGY_VFORK, ODF_STRATEGY_FORK, ODF_STRATEGY_POOL };
	odf_pool_options pool_options = ODF_POOL_OPTIONS_INIT;
	int tried = 0, handled = 0;

	(void)state;
	for (int fd = 40; fd < 44; fd++)
		dup3(0, fd, O_CLOEXEC);
	pool_options.flags = ODF_POOL_NO_TASKS;
	pool = odf_pool_create(&pool_options);
	assert_non_null(pool);
	for (size_t engine = 0; engine < 3; engine++) {
		for (int second = 0; second < 2; second++) {
			enum how how = !second                                      ? PLAIN
				       : tried_engines[engine] == ODF_STRATEGY_POOL ? NOT_AWAITED
										    : DETACHED;
			for (size_t e = 0; e < sizeof errors / sizeof *errors; e++) {
				for (int for_good = 0; for_good < 2; for_good++) {
					int at = 1;
					/* A failed call may cause further ones, so the loop ends at a run without a
					 * failure. */
					while (inject(tried_engines[engine], how, at, for_good, errors[e])) {
						tried++;
						at++;
						assert_true(at < 2000);
					}
					handled++;
				}
			}
		}
	}
	print_message("# %d failures injected in %d runs\n", tried, handled);
	assert_true(tried > 500);
	assert_int_equal(odf_pool_destroy(pool), 0);
	for (int fd = 40; fd < 44; fd++)
		close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_call),
	};
	root = geteuid() == 0;
	control = __real_mmap64(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (control == MAP_FAILED)
		return 2;
	odf_probe_get(ODF_PROBE_CLONE_VM, NULL);
	return cmocka_run_group_tests_name("injection", tests, NULL, NULL);
}
