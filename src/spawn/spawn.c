/* SPDX-License-Identifier: MIT
 *
 * odf_spawn: check, plan, choose, run; and where a kind of process turns out to be refused here, the next best.
 */
#include <errno.h>
#include <string.h>

#include "../capability/capability.h"
#include "../record/record.h"
#include "../region/region.h"
#include "../strategy/report.h"
#include "../strategy/strategy.h"
#include "../sys/structure.h"
#include "engine.h"

#define FIRST_SIZE STRUCTURE_UP_TO(odf_spawn_options, reserved)

static struct strategy_choice choose(const struct plan *plan, const struct request *request)
{
	static const unsigned sharing = ODF_ALLOW(ODF_STRATEGY_VFORK) | ODF_ALLOW(ODF_STRATEGY_POSIX_SPAWN);
	const odf_spawn_options *options = &request->options;
	struct strategy_request asked = {
		.spawn = true,
		.allow = options->allow,
		.pre_exec = options->pre_exec != NULL,
		.libc_lacks = engine_posix_spawn_lacks(plan, request),
	};
	struct strategy_capabilities capabilities = { .kernel = ODF_REASON_ENDS_IN_EXEC };
	struct strategy_facts facts = { 0 };

	if (!asked.pre_exec && (options->allow == 0 || (options->allow & sharing))) {
		(void)capability(ODF_PROBE_CLONE_VM);
		capabilities.clone_vm = capability_clone_vm_reason();
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
	case ODF_STRATEGY_FORK:
		engine_fork(plan, pidfd, result);
		break;
	default:
		result->step = ODF_STEP_REQUEST;
		result->error = ENOTSUP;
		break;
	}
}

/* The choice, and down the order as long as what was chosen is refused and something else is allowed. What is forbidden to fall back on
 * leaves the refusal as the error. */
static void run_chosen(struct strategy_choice *choice, struct plan *plan, const struct request *request, struct result *result)
{
	run_engine(choice->strategy, plan, request, result);
	while (result->error != 0 && result->refused) {
		struct strategy_choice next = *choice;
		strategy_retract(&next, true,
				 choice->strategy == ODF_STRATEGY_POSIX_SPAWN ? ODF_REASON_LIBC_REFUSED : ODF_REASON_CLONE_REFUSED);
		if (next.strategy == ODF_STRATEGY_NONE)
			return;
		*choice = next;
		run_engine(choice->strategy, plan, request, result);
	}
}

static void refuse(struct result *result, int error, int index)
{
	result->step = ODF_STEP_REQUEST;
	result->error = error;
	result->index = index;
}

static void plan_and_run(struct request *request, struct strategy_choice *choice, struct result *result)
{
	struct plan *plan;
	int index, error = request_check(request, &index);

	if (error != 0) {
		refuse(result, error, index);
		return;
	}
	error = plan_make(&plan, request);
	if (error != 0) {
		result->step = error == ENOMEM ? ODF_STEP_CLONE : ODF_STEP_EXEC;
		result->error = error;
		return;
	}
	*choice = choose(plan, request);
	run_chosen(choice, plan, request, result);
	plan_free(plan);
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

int odf_spawn(pid_t *pid, const char *file, char *const argv[], char *const envp[], const odf_spawn_options *options, odf_report *report)
{
	struct request request = { .file = file, .argv = argv, .envp = envp, .options = ODF_SPAWN_OPTIONS_INIT };
	struct strategy_choice choice = { .strategy = ODF_STRATEGY_NONE };
	struct result result = RESULT_INIT;
	odf_report filled = ODF_REPORT_INIT;
	bool recorded = record_wanted();
	uint64_t start = 0;
	int unfit = report_check(report), saved = errno, error;

	if (unfit != 0)
		report = NULL; /* it cannot be filled */
	if (report != NULL || recorded)
		start = record_now();
	error = options == NULL ? 0 : structure_read(&request.options, sizeof request.options, options, FIRST_SIZE);
	if (error == 0 && request.options.reserved != 0)
		error = E2BIG;
	if (error == 0)
		error = unfit;
	if (error != 0)
		refuse(&result, error, -1);
	else
		plan_and_run(&request, &choice, &result);
	if (error == 0 && result.error == EAGAIN && region_give_way()) {
		result = (struct result)RESULT_INIT;
		plan_and_run(&request, &choice, &result);
	}
	if (result.error == 0 && pid != NULL)
		*pid = result.pid;
	/* Also where the options were refused for their size. */
	if (options != NULL && structure_has(options, STRUCTURE_UP_TO(odf_spawn_options, pidfd)) && options->pidfd != NULL)
		*options->pidfd = result.pidfd;
	if (report != NULL || recorded) {
		fill_report(&filled, &choice, &result);
		filled.elapsed_ns = record_now() - start;
		report_fill(report, &filled);
		if (recorded)
			record_write(&(struct record){ .call = "odf_spawn",
						       .file = file == NULL ? "" : file,
						       .child = result.pid,
						       .report = &filled });
	}
	errno = saved;
	return result.error;
}
