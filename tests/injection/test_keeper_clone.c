/* SPDX-License-Identifier: MIT
 *
 * How the keeper is made: on a kernel that can reap it by itself (Linux 7.1), which is emulated by a child whose end
 * sends SIGCHLD to a parent that ignores it; and on kernels and under filters that refuse this.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "odfork.h"

#include "../../src/region/region.h"
#include "../../src/sys/clone.h"
#include "../support/own_process.h"
#include "../support/real_call.h"

#define SIZE ((size_t)4 << 20)

long sys_call6(long number, long a, long b, long c, long d, long e, long f);
long __wrap_clone_child(const struct clone_request *request);
long __real_clone_child(const struct clone_request *request);
long __wrap_clone3_child(const struct clone_request *request);
long __real_clone3_child(const struct clone_request *request);

static int refusal; /* errno for the flag; 0: the kernel supports it */
static unsigned asked, made_plainly;

long sys_call6(long number, long a, long b, long c, long d, long e, long f)
{
	return real_call(number, a, b, c, d, e, f);
}

static bool is_keepers(const struct clone_request *request)
{
	return request->flags & CLONE_SETTLS;
}

long __wrap_clone_child(const struct clone_request *request)
{
	made_plainly += is_keepers(request);
	return __real_clone_child(request);
}

long __wrap_clone3_child(const struct clone_request *request)
{
	struct clone_request as_here = *request;

	/* The library's probe does not make a keeper. */
	if (!(request->flags & CLONE_AUTOREAP) || !is_keepers(request))
		return __real_clone3_child(request);
	asked++;
	/* The kernel's conditions for the flag. */
	if (refusal != 0 || request->exit_signal != 0 || (request->flags & (CLONE_PARENT | CLONE_THREAD)))
		return -(refusal != 0 ? refusal : EINVAL);
	as_here.flags &= ~CLONE_AUTOREAP;
	as_here.exit_signal = SIGCHLD;
	return __real_clone_child(&as_here);
}

/* Forks, and lets the keeper settle. */
static void must_work(odf_region *region)
{
	char *base = odf_region_base(region);
	odf_region_info info = ODF_REGION_INFO_INIT;
	pid_t pid;

	memset(base, 1, SIZE);
	pid = odf_fork();
	if (pid == 0)
		_exit(base[SIZE - 1] == 1 ? 0 : 1);
	must(pid > 0);
	memset(base, 2, SIZE);
	while (waitpid(pid, NULL, 0) == -1 && errno == EINTR)
		;
	for (int error = EAGAIN; error != 0;) {
		error = odf_region_settle(region);
		must(error == 0 || error == EAGAIN || error == EBUSY);
	}
	must(base[0] == 2 && base[SIZE - 1] == 2);
	must(odf_region_info_get(region, &info) == 0 && info.state == ODF_REGION_LIVE);
}

static odf_region *make(void)
{
	odf_region *region = odf_region_create(SIZE, ODF_REGION_MANUAL);

	must(region != NULL);
	return region;
}

static void no_child_is_left(pid_t keeper)
{
	must(kill(keeper, 0) == -1 && errno == ESRCH);
	must(waitpid(-1, NULL, __WALL) == -1 && errno == ECHILD);
}

static void made_once_more(int error)
{
	odf_region *region;
	pid_t keeper;

	refusal = error;
	for (unsigned round = 1; round <= 2; round++) {
		region = make();
		keeper = region_keeper_process();
		must(keeper > 0 && asked == 1 && made_plainly == round);
		must_work(region);
		must(odf_region_destroy(region) == 0);
		no_child_is_left(keeper);
	}
}

static void where_it_is_refused(void **state)
{
	static const int errors[] = { EINVAL, ENOSYS, EPERM, E2BIG, EACCES };

	(void)state;
	for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++)
		in_a_process(made_once_more, errors[i]);
}

static void fails_for_now(int error)
{
	odf_region *region;

	must(signal(SIGCHLD, SIG_IGN) != SIG_ERR);
	refusal = error;
	errno = 0;
	must(odf_region_create(SIZE, 0) == NULL && errno == error);
	must(asked == 1 && made_plainly == 0);
	refusal = 0;
	region = make();
	must(asked == 2 && made_plainly == 0);
	must_work(region);
}

/* A failure that is not a property of the kernel. */
static void where_there_is_no_room(void **state)
{
	(void)state;
	in_a_process(fails_for_now, EAGAIN);
	in_a_process(fails_for_now, ENOMEM);
}

static void goes(int unused)
{
	odf_region *region;
	pid_t keeper;

	(void)unused;
	must(signal(SIGCHLD, SIG_IGN) != SIG_ERR);
	for (unsigned round = 1; round <= 20; round++) {
		region = make();
		keeper = region_keeper_process();
		must(keeper > 0 && asked == round && made_plainly == 0);
		must_work(region);
		must(odf_region_destroy(region) == 0);
		no_child_is_left(keeper);
	}
}

static void where_the_kernel_has_it(void **state)
{
	(void)state;
	in_a_process(goes, 0);
}

/* A child of the program with exit signal 0 and that pid. */
static pid_t make_child_of(pid_t number)
{
	struct clone_args arguments = {
		.set_tid = (uintptr_t)&number,
		.set_tid_size = 1,
	};
	pid_t pid = (pid_t)syscall(SYS_clone3, &arguments, sizeof arguments);

	if (pid == 0)
		for (;;)
			pause();
	return pid;
}

static void its_number_is_anothers(int unused)
{
	odf_region *region;
	pid_t keeper, child;

	(void)unused;
	must(signal(SIGCHLD, SIG_IGN) != SIG_ERR);
	region = make();
	keeper = region_keeper_process();
	must(keeper > 0 && kill(keeper, SIGKILL) == 0);
	while ((child = make_child_of(keeper)) == -1 && errno == EEXIST) /* until the keeper has ended */
		(void)sched_yield();
	must(child == keeper);
	must(odf_region_destroy(region) == 0); /* waits for no process */
	must(waitpid(keeper, NULL, __WCLONE | WNOHANG) == 0);
	must(kill(keeper, SIGKILL) == 0 && waitpid(keeper, NULL, __WCLONE) == keeper);
}

static void number_of_one_that_had_ended(void **state)
{
	(void)state;
	if (geteuid() != 0) {
		skip_because("takes root to choose a number");
		return;
	}
	in_a_process(its_number_is_anothers, 0);
}

static void made_under_a_filter(int unused)
{
	struct sock_filter allow[] = { BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };
	struct sock_fprog filter = { 1, allow };

	(void)unused;
	must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
		return; /* a kernel without seccomp filters */
	must_work(make());
	must(asked == 0 && made_plainly == 1);
}

/* A filter may kill for a call that was not rehearsed. */
static void under_a_filter(void **state)
{
	(void)state;
	in_a_process(made_under_a_filter, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(where_it_is_refused),
		cmocka_unit_test(where_there_is_no_room),
		cmocka_unit_test(where_the_kernel_has_it),
		cmocka_unit_test(number_of_one_that_had_ended),
		cmocka_unit_test(under_a_filter),
	};

	if (!regions_are_here())
		return 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
