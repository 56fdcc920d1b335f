/* SPDX-License-Identifier: MIT */
#include "launch.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../strategy/report.h"
#include "../sys/syscall.h"
#include "engine.h"
#include "flight.h"

struct odf_launch {
	pthread_mutex_t lock; /* of the members below; not held while a thread waits for the child */
	struct plan *plan;    /* NULL: not needed any more */
	unsigned waiting;     /* threads that wait */
	bool is_final;        /* `report` does not change any more */
	pid_t pid, process;   /* `process`: the parent of `pid` */
	odf_report report;
};

odf_launch *launch_make(void)
{
	odf_launch *launch = calloc(1, sizeof *launch);

	if (launch != NULL)
		(void)pthread_mutex_init(&launch->lock, NULL); /* cannot fail without attributes */
	return launch;
}

void launch_begin(odf_launch *launch, pid_t pid, const odf_report *report, struct plan *plan)
{
	launch->pid = pid;
	launch->process = getpid();
	launch->report = *report;
	launch->plan = plan;
	launch->is_final = plan == NULL;
}

/* The wait status of a child that has ended, which is left for the caller to reap. 0: it was reaped already. */
static int status_of(pid_t pid)
{
	siginfo_t info;

	info.si_pid = 0;
	if (sys_call5(SYS_waitid, P_PID, pid, &info, WEXITED | WNOHANG | WNOWAIT, NULL) < 0 || info.si_pid != pid)
		return 0;
	if (info.si_code == CLD_EXITED)
		return (info.si_status & 0xff) << 8;
	return (info.si_status & 0x7f) | (info.si_code == CLD_DUMPED ? 0x80 : 0);
}

static void conclude(odf_launch *launch)
{
	const struct child_outcome *outcome = &launch->plan->outcome;

	launch->report.forgiven = outcome->forgiven;
	launch->report.error = outcome->error;
	if (launch->report.error == 0 && engine_died_silently(outcome, launch->pid)) {
		launch->report.error = ECHILD;
		launch->report.wait_status = status_of(launch->pid);
	}
	if (launch->report.error != 0) {
		launch->report.step = (odf_step)outcome->step;
		launch->report.index = outcome->index;
	}
	launch->is_final = true;
}

/* Called and returns with the lock, which is released during the wait: each thread has a timeout of its own. */
static void await(odf_launch *launch, int timeout_ms)
{
	struct plan *plan = launch->plan;
	bool landed;

	launch->waiting++;
	(void)pthread_mutex_unlock(&launch->lock);
	landed = flight_await(plan, launch->pid, timeout_ms);
	(void)pthread_mutex_lock(&launch->lock);
	launch->waiting--;
	if (landed && !launch->is_final)
		conclude(launch);
	if (launch->is_final && launch->waiting == 0) {
		plan_free(plan);
		launch->plan = NULL;
	}
}

int odf_launch_wait(odf_launch *launch, int timeout_ms, odf_report *report)
{
	int saved = errno, error = report_check(report);

	if (error != 0)
		return error;
	if (launch == NULL || timeout_ms < -1)
		return EINVAL;
	/* A forked child has a copy of the plan, which does not change any more, and `pid` is not its child. */
	if (launch->process != getpid())
		return EPERM;
	(void)pthread_mutex_lock(&launch->lock);
	if (!launch->is_final)
		await(launch, timeout_ms);
	if (!launch->is_final) {
		error = ETIMEDOUT;
	} else {
		error = launch->report.error;
		report_fill(report, &launch->report);
	}
	(void)pthread_mutex_unlock(&launch->lock);
	errno = saved;
	return error;
}

void odf_launch_free(odf_launch *launch)
{
	int saved = errno;

	if (launch == NULL)
		return;
	if (launch->plan != NULL)
		plan_free(launch->plan);
	(void)pthread_mutex_destroy(&launch->lock);
	free(launch);
	errno = saved;
}
