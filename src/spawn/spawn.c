/* SPDX-License-Identifier: MIT
 *
 * odf_spawn: checks, plans, chooses an engine and runs it. If a kind of process is refused here, the next best is
 * tried.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "../capability/capability.h"
#include "../record/counts.h"
#include "../record/record.h"
#include "../region/region.h"
#include "../strategy/report.h"
#include "../strategy/strategy.h"
#include "../sys/next_process.h"
#include "../sys/structure.h"
#include "../sys/trace.h"
#include "engine.h"
#include "hand.h"
#include "launch.h"
#include "pipes.h"
#include "terminal.h"
#include "user.h"

#define LAUNCH_SIZE STRUCTURE_UP_TO(odf_spawn_options, launch)
#define CLONE_FLAGS (ODF_SPAWN_AUTOREAP | ODF_SPAWN_KILL_WITH_PIDFD | ODF_SPAWN_BORN_NO_NEW_PRIVS)
#define FIRST_SIZE STRUCTURE_UP_TO(odf_spawn_options, reserved[1])

/* Whether the kernel has the clone3 flags that the request needs; also true if it cannot be asked, as clone3 tells. */
static bool clone_has_flags(uint64_t flags)
{
	static const struct {
		uint64_t flag;
		odf_probe probe;
	} needed[] = { { ODF_SPAWN_AUTOREAP, ODF_PROBE_AUTOREAP },
		       { ODF_SPAWN_KILL_WITH_PIDFD, ODF_PROBE_AUTOKILL },
		       { ODF_SPAWN_BORN_NO_NEW_PRIVS, ODF_PROBE_CLONE_NNP } };

	for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
		if ((flags & needed[i].flag) && !capability(needed[i].probe) &&
		    capability_known(needed[i].probe) == ODF_ANSWER_NO)
			return false;
	return true;
}

static struct strategy_choice choose(const struct plan *plan, const struct request *request)
{
	static const unsigned sharing = ODF_ALLOW(ODF_STRATEGY_POOL) | ODF_ALLOW(ODF_STRATEGY_VFORK) |
					ODF_ALLOW(ODF_STRATEGY_POSIX_SPAWN);
	const odf_spawn_options *options = &request->options;
	struct strategy_request asked = {
		.spawn = true,
		.allow = options->allow,
		.pre_exec = options->pre_exec != NULL,
		.pool = options->pool != NULL,
		.libc_lacks = engine_posix_spawn_lacks(plan, request),
	};
	struct strategy_capabilities capabilities = { .kernel = ODF_REASON_ENDS_IN_EXEC };
	struct strategy_facts facts = { 0 };
	enum next_process next;

	if (options->flags & ODF_SPAWN_DETACH) {
		/* FIRST: the go-between would be the first process of the pid namespace, which ends with it. ELSEWHERE:
		 * the pid would be one of another namespace. */
		next = next_process();
		if (next == NEXT_PROCESS_FIRST || next == NEXT_PROCESS_ELSEWHERE)
			asked.impossible = ODF_REASON_PID_NAMESPACE;
	}
	if (options->flags & CLONE_FLAGS) {
		asked.fork_lacks = ODF_REASON_CLONE_FLAG;
		if (asked.impossible == ODF_REASON_NONE && !clone_has_flags(options->flags))
			asked.impossible = ODF_REASON_CLONE_FLAG;
	}
	if (!asked.pre_exec && (options->allow == 0 || (options->allow & sharing))) {
		(void)capability(ODF_PROBE_CLONE_VM);
		capabilities.clone_vm = capability_clone_vm_reason();
		if (capability_known(ODF_PROBE_CLONE_VM) == ODF_ANSWER_NOT_ASKED) {
			next = next_process();
			if (next == NEXT_PROCESS_FIRST || next == NEXT_PROCESS_UNKNOWN)
				capabilities.clone_vm = ODF_REASON_PID_NAMESPACE;
		}
	}
	return strategy_choose(&asked, &capabilities, &facts);
}

static void run_engine(odf_strategy strategy, struct plan *plan, const struct request *request, struct result *result)
{
	bool pidfd = request->options.pidfd != NULL;

	*result = (struct result)RESULT_INIT;
	plan_restart(plan);
	switch (strategy) {
	case ODF_STRATEGY_POSIX_SPAWN:
		engine_posix_spawn(plan, request, result);
		break;
	case ODF_STRATEGY_VFORK:
		engine_vfork(plan, pidfd, result);
		break;
	case ODF_STRATEGY_POOL:
		engine_pool(plan, pidfd, result);
		break;
	case ODF_STRATEGY_FORK:
		engine_fork(plan, pidfd, result);
		break;
	default:
		result->step = ODF_STEP_REQUEST;
		result->error = ENOTSUP;
		break;
	}
	terminal_give_back(request->options.tty_fd, result);
}

/* Runs the chosen engine, and the next in order while the kind of process is refused and another is allowed. If none
 * is, the refusal is the error. */
static void run_chosen(struct strategy_choice *choice, struct plan *plan, const struct request *request,
		       struct result *result)
{
	run_engine(choice->strategy, plan, request, result);
	while (result->error != 0 && result->refused) {
		struct strategy_choice next = *choice;
		strategy_retract(&next, true,
				 choice->strategy == ODF_STRATEGY_POSIX_SPAWN ? ODF_REASON_LIBC_REFUSED
									      : ODF_REASON_CLONE_REFUSED);
		if (next.strategy == ODF_STRATEGY_NONE)
			return;
		*choice = next;
		run_engine(choice->strategy, plan, request, result);
	}
	if (result->error == ENOTSUP && result->step == ODF_STEP_CLONE)
		choice->reason[choice->strategy] = ODF_REASON_CLONE_FLAG;
}

static void fail_before(struct result *result, odf_step step, int error, int index)
{
	result->step = step;
	result->error = error;
	result->index = index;
}

struct chosen {
	struct strategy_choice *choice;
	struct plan *plan;
	const struct request *request;
	struct result *result;
};

/* Runs with the environment that the program gets, from which this library may have been removed. */
static long run_with(void *call, char *const envp[])
{
	const struct chosen *chosen = call;

	chosen->plan->child.envp = envp;
	run_chosen(chosen->choice, chosen->plan, chosen->request, chosen->result);
	return 0;
}

/* *flying: set to the plan of a child that is on its way, if the caller has asked for a launch. */
static void plan_and_run(const struct request *request, struct strategy_choice *choice, struct result *result,
			 struct plan **flying)
{
	struct plan *plan;
	int error = plan_make(&plan, request);

	if (error != 0) {
		fail_before(result, error == ENOMEM ? ODF_STEP_CLONE : ODF_STEP_EXEC, error, -1);
		return;
	}
	*choice = choose(plan, request);
	hand_environment(plan, request, run_with, &(struct chosen){ choice, plan, request, result });
	if (plan->flying && request->options.launch != NULL)
		*flying = plan;
	else
		plan_free(plan);
}

/* Makes and looks up what the caller must have before there is a child, and frees it. */
static void prepare_and_run(struct request *request, struct strategy_choice *choice, struct result *result,
			    struct plan **flying)
{
	odf_spawn_options *o = &request->options;
	struct pipes pipes = PIPES_INIT;
	gid_t *groups = NULL;
	int index, error = request_check(request, &index);

	if (error != 0) {
		fail_before(result, ODF_STEP_REQUEST, error, index);
		return;
	}
	if (o->flags & ODF_SPAWN_USER_GROUPS) {
		int cancel_state;

		/* Name services may contain cancellation points. */
		(void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
		error = user_groups(o->uid, o->flags & ODF_SPAWN_GID ? &o->gid : NULL, &groups, &o->group_count);
		(void)pthread_setcancelstate(cancel_state, &cancel_state);
		o->groups = groups;
		o->flags |= ODF_SPAWN_GROUPS;
		if (error != 0)
			fail_before(result, ODF_STEP_GROUPS, error, -1);
	}
	if (error == 0) {
		error = pipes_make(&pipes, request, &index);
		if (error != 0)
			fail_before(result, ODF_STEP_PIPES, error, index);
	}
	if (error == 0) {
		plan_and_run(request, choice, result, flying);
		if (result->error == EAGAIN && region_give_way()) {
			*result = (struct result)RESULT_INIT;
			plan_and_run(request, choice, result, flying);
		}
		if (result->step == ODF_STEP_FD && result->index >= 0 && (size_t)result->index >= pipes.first) {
			result->step = ODF_STEP_PIPES;
			result->index = pipes_stream(&pipes, result->index);
		}
	}
	pipes_drop(&pipes, result->error != 0);
	if (o->flags & ODF_SPAWN_PIPES)
		memcpy(o->pipes, pipes.ours, sizeof pipes.ours);
	free(groups);
}

static void fill_report(odf_report *report, const struct strategy_choice *choice, const struct result *result)
{
	report->strategy = choice->strategy;
	report->step = result->step;
	report->index = result->index;
	report->error = result->error;
	report->wait_status = result->wait_status;
	report->forgiven = result->forgiven;
	memcpy(report->reason, choice->reason, sizeof choice->reason);
}

int odf_spawn(pid_t *pid, const char *file, char *const argv[], char *const envp[], const odf_spawn_options *options,
	      odf_report *report)
{
	struct request request = { .file = file, .argv = argv, .envp = envp, .options = ODF_SPAWN_OPTIONS_INIT };
	struct strategy_choice choice = { .strategy = ODF_STRATEGY_NONE };
	struct result result = RESULT_INIT;
	odf_report filled = ODF_REPORT_INIT;
	struct plan *flying = NULL;
	odf_launch *launch = NULL;
	bool recorded = record_wanted(), watched = TRACE_IS_WATCHED(spawn);
	uint64_t start = 0;
	int unfit = report_check(report), saved = errno, error;

	if (unfit != 0)
		report = NULL; /* it cannot be filled */
	if (options != NULL && structure_is_within(options, LAUNCH_SIZE) && options->launch != NULL) {
		*options->launch = NULL;
		start = record_now();
	}
	if (report != NULL || recorded || watched)
		start = record_now();
	error = options == NULL ? 0 : structure_read(&request.options, sizeof request.options, options, FIRST_SIZE);
	if (error == 0 && (request.options.reserved[0] != 0 || request.options.reserved[1] != 0))
		error = E2BIG;
	if (error == 0)
		error = unfit;
	if (error == 0 && request.options.launch != NULL) {
		launch = launch_make();
		error = launch == NULL ? ENOMEM : 0;
	}
	if (error != 0)
		fail_before(&result, ODF_STEP_REQUEST, error, -1);
	else
		prepare_and_run(&request, &choice, &result, &flying);
	if (result.error == 0)
		counts_spawn();
	if (result.error == 0 && pid != NULL)
		*pid = result.pid;
	/* Also if the options were refused for their size. */
	if (options != NULL && structure_has(options, STRUCTURE_UP_TO(odf_spawn_options, pidfd)) &&
	    options->pidfd != NULL)
		*options->pidfd = result.pidfd;
	if (result.error != 0 && options != NULL && structure_is_within(options, FIRST_SIZE) &&
	    (options->flags & ODF_SPAWN_PIPES) && options->pipes != NULL)
		memset(options->pipes, -1, 3 * sizeof *options->pipes);
	if (report != NULL || recorded || watched || launch != NULL) {
		fill_report(&filled, &choice, &result);
		filled.elapsed_ns = record_now() - start;
		report_fill(report, &filled);
		TRACE_5(spawn, result.pid, file, odf_strategy_name(filled.strategy), filled.elapsed_ns, filled.error);
		if (recorded)
			record_write(&(struct record){ .call = "odf_spawn",
						       .file = file == NULL ? "" : file,
						       .child = result.pid,
						       .report = &filled });
	}
	if (result.error != 0) {
		odf_launch_free(launch);
	} else if (launch != NULL) {
		launch_begin(launch, result.pid, &filled, flying);
		*request.options.launch = launch;
	}
	errno = saved;
	return result.error;
}
