/* SPDX-License-Identifier: MIT
 *
 * The fork calls. As async-signal-safe as libc's fork: no function here locks or allocates, or asks the system for the
 * first time what it can do.
 *
 * Each way to make a fork faster is a state that an ordinary fork uses, so the process is always made by libc's fork.
 * That repairs thread ids, robust lists and the locks of malloc, stdio and the loader, and runs the atfork handlers.
 */
#include "fork.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>

#include "../capability/kernel.h"
#include "../libc/libc.h"
#include "../record/counts.h"
#include "../record/record.h"
#include "../region/region.h"
#include "../strategy/report.h"
#include "../strategy/strategy.h"
#include "../sys/statm.h"
#include "../sys/structure.h"
#include "../sys/syscall.h"
#include "../sys/trace.h"
#include "kernel_switch.h"

static const char *const call_names[] = {
	[FORK_CALL_ODF_FORK] = "odf_fork",
	[FORK_CALL_ODF_FORK_WITH] = "odf_fork_with",
	[FORK_CALL_FORK] = "fork",
	[FORK_CALL_FORK_BARE] = "_Fork",
};

/* The usual case: no kernel switch to choose, no record or probe to write. Regions do not matter here, as they are
 * frozen before every fork. */
static bool is_plain(void)
{
	return kernel_place() == NULL && !record_wanted() && !TRACE_IS_WATCHED(fork);
}

__attribute__((constructor(102))) static void ask_early(void)
{
	kernel_ask_early();
	/* A fork within libc does not pass through this file. If another thread has the kernel's switch set for a
	 * moment, the child of such a fork inherits it, so an atfork handler clears it. Without memory for the handler
	 * the child keeps it. Kernels without a switch need no handler. */
	if (kernel_place() != NULL)
		(void)pthread_atfork(NULL, NULL, kernel_switch_in_child);
}

static pid_t libc_fork_of(enum fork_call call)
{
	pid_t pid = call == FORK_CALL_FORK_BARE ? libc_fork_bare() : libc_fork();

	if (pid == 0)
		kernel_switch_in_child();
	return pid;
}

static pid_t note(pid_t pid)
{
	if (pid > 0)
		counts_fork();
	else if (pid == 0)
		counts_in_child();
	return pid;
}

/* Forks with the process's regions frozen, whatever the strategy: memory that is LIVE cannot be inherited. *refused is
 * set if they could not be frozen. */
static pid_t fork_frozen(enum fork_call call, bool *refused)
{
	uint64_t start;
	pid_t pid;
	int error;

	if (region_bytes() == 0) {
		pid = libc_fork_of(call);
		return note(pid < 0 && errno == EAGAIN && region_give_way() ? libc_fork_of(call) : pid);
	}
	error = region_fork_begin(&start);
	if (error == 0) {
		pid = libc_fork_of(call);
		/* The keeper's end may make room for one more process. */
		if (pid < 0 && errno == EAGAIN && region_give_way())
			pid = libc_fork_of(call);
		if (pid == 0)
			region_in_child();
		else
			region_fork_end(pid);
		return note(pid);
	}
	*refused = true;
	errno = error;
	return -1;
}

/* *is_on: forks are on demand already. */
static struct strategy_choice choose(unsigned allow, bool *is_on)
{
	struct strategy_request request = { .allow = allow };
	struct strategy_capabilities capabilities = { .kernel = kernel_offer_reason() };
	struct strategy_facts facts = { .region_bytes = region_bytes(), .region_absence = region_absence() };
	const struct kernel_place *place = kernel_place();

	if (allow == 0 && settings->strategy != ODF_STRATEGY_NONE)
		request.allow = ODF_ALLOW(settings->strategy) | ODF_ALLOW(ODF_STRATEGY_FORK);
	if (capabilities.kernel == ODF_REASON_NONE) {
		capabilities.kernel_doubt = kernel_doubt();
		capabilities.kernel_verified = capabilities.kernel_doubt == ODF_REASON_NONE;
		facts.kernel_is_on = place != NULL && kernel_switch_is_left_on(place);
		if (capabilities.kernel_verified || (request.allow & ODF_ALLOW(ODF_STRATEGY_KERNEL)))
			facts.resident_bytes = statm_resident_bytes();
	}
	*is_on = facts.kernel_is_on;
	return strategy_choose(&request, &capabilities, &facts);
}

/* Forks as chosen, or by the next best strategy if the kernel's switch cannot be set. Afterwards both processes put the
 * switch back, if it may be put back (kernel_switch.h). */
static pid_t fork_as_chosen(enum fork_call call, struct strategy_choice *choice, bool is_on)
{
	bool switched = choice->strategy == ODF_STRATEGY_KERNEL && !is_on, refused = false;
	struct kernel_switch state;
	pid_t pid;
	int error;

	if (switched) {
		odf_reason reason = kernel_switch_set(&state, kernel_place(), choice->despite == ODF_REASON_NONE);
		if (reason != ODF_REASON_NONE)
			strategy_retract(choice, false, reason);
	}
	if (choice->strategy == ODF_STRATEGY_NONE) {
		errno = ENOTSUP;
		return -1;
	}
	pid = fork_frozen(call, &refused);
	if (refused)
		choice->reason[ODF_STRATEGY_REGION] = ODF_REASON_REGION_REFUSED;
	if (switched && pid != 0) {
		error = errno;
		kernel_switch_put_back(&state, pid > 0);
		errno = error;
	}
	return pid;
}

/* A pidfd of this process shows before the fork that the child's pidfd can be opened: the system call exists and is
 * permitted, and a number is free. The number is released just before it is needed. */
static int reserve_pidfd(int *reserved)
{
	int fd = (int)sys_call2(SYS_pidfd_open, getpid(), 0);

	if (fd < 0)
		return -fd;
	*reserved = fd;
	return 0;
}

static pid_t fork_with(enum fork_call call, const odf_fork_options *options, odf_report *theirs)
{
	odf_report report = { .size = sizeof report, .index = -1 };
	int saved = errno, reserved = -1;
	bool is_on;
	struct strategy_choice choice;
	uint64_t start = record_now();
	pid_t pid = -1;

	choice = choose(options->allow, &is_on);
	if (options->pidfd != NULL) {
		*options->pidfd = -1;
		report.error = reserve_pidfd(&reserved);
		report.step = report.error == 0 ? ODF_STEP_NONE : ODF_STEP_PIDFD;
	}
	if (report.error == 0) {
		pid = fork_as_chosen(call, &choice, is_on);
		if (pid == 0) {
			if (reserved >= 0)
				sys_close(reserved);
			return 0;
		}
		if (pid < 0) {
			report.error = errno;
			report.step = choice.strategy == ODF_STRATEGY_NONE ? ODF_STEP_REQUEST : ODF_STEP_CLONE;
		}
	}
	if (reserved >= 0)
		sys_close(reserved);
	if (pid > 0 && options->pidfd != NULL) {
		int fd = (int)sys_call2(SYS_pidfd_open, pid, 0);
		if (fd >= 0) {
			*options->pidfd = fd;
		} else {
			report.error = -fd;
			report.step = ODF_STEP_PIDFD;
		}
	}
	report.strategy = choice.strategy;
	report.despite = choice.despite;
	for (odf_strategy s = 0; s < ODF_STRATEGY_COUNT; s++)
		report.reason[s] = choice.reason[s];
	report.elapsed_ns = record_now() - start;
	report_fill(theirs, &report);
	TRACE_4(fork, pid, odf_strategy_name(report.strategy), report.elapsed_ns, report.error);
	if (record_wanted())
		record_write(&(struct record){ .call = call_names[call], .child = pid, .report = &report,
					       .region_bytes = region_resident_bytes() });
	errno = pid > 0 ? saved : report.error;
	return pid;
}

static int check_options(odf_fork_options *ours, const odf_fork_options *theirs)
{
	int error = theirs == NULL
			    ? 0
			    : structure_read(ours, sizeof *ours, theirs, STRUCTURE_UP_TO(odf_fork_options, pidfd));

	if (error == 0 && (ours->allow & ~STRATEGY_FORK_KINDS))
		error = EINVAL;
	return error;
}

pid_t fork_plainly(void)
{
	bool refused;

	return fork_frozen(FORK_CALL_FORK, &refused);
}

pid_t fork_by_call(enum fork_call call)
{
	static const odf_fork_options any = { .size = sizeof any };

	bool refused;

	return is_plain() ? fork_frozen(call, &refused) : fork_with(call, &any, NULL);
}

pid_t odf_fork(void)
{
	return fork_by_call(FORK_CALL_ODF_FORK);
}

pid_t odf_fork_with(const odf_fork_options *options, odf_report *report)
{
	odf_fork_options ours = ODF_FORK_OPTIONS_INIT;
	odf_report refused = { .size = sizeof refused, .index = -1 };
	int unfit = report_check(report), error = check_options(&ours, options);

	if (unfit != 0)
		report = NULL; /* it cannot be filled */
	if (error == 0)
		error = unfit;
	if (error != 0) {
		refused.step = ODF_STEP_REQUEST;
		refused.error = error;
		report_fill(report, &refused);
		if (options != NULL && structure_has(options, STRUCTURE_UP_TO(odf_fork_options, pidfd)) &&
		    options->pidfd != NULL)
			*options->pidfd = -1;
		if (record_wanted())
			record_write(&(struct record){ .call = call_names[FORK_CALL_ODF_FORK_WITH], .child = -1,
						       .report = &refused });
		errno = error;
		return -1;
	}
	return fork_with(FORK_CALL_ODF_FORK_WITH, &ours, report);
}
