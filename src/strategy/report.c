/* SPDX-License-Identifier: MIT */
#include "report.h"

#include <errno.h>
#include <limits.h>

#include "../sys/error_name.h"
#include "../sys/structure.h"
#include "../sys/text.h"

int report_check(const odf_report *report)
{
	return report == NULL
		       ? 0
		       : structure_check_output(report, STRUCTURE_UP_TO(odf_report, reason[ODF_STRATEGY_ROOM - 1]));
}

void report_fill(odf_report *theirs, const odf_report *ours)
{
	if (theirs != NULL)
		structure_write(theirs, ours, sizeof *ours);
}

void report_add_error(struct text *text, int error)
{
	const char *name = error_name(error);

	if (name == NULL) {
		text_add_signed(text, error);
		return;
	}
	text_add(text, name);
	text_add(text, " (");
	text_add_signed(text, error);
	text_add(text, ")");
}

static void add_outcome(struct text *text, const odf_report *report)
{
	if (report->error == 0) {
		text_add(text, "made by ");
		text_add(text, odf_strategy_name(report->strategy));
		if (report->despite != ODF_REASON_NONE) {
			text_add(text, ", asked for by name although ");
			text_add(text, odf_reason_text(report->despite));
		}
	} else {
		text_add(text, "failed at step ");
		text_add(text, odf_step_name(report->step));
		if (report->index >= 0) {
			text_add(text, " ");
			text_add_signed(text, report->index);
		}
		text_add(text, ", error ");
		report_add_error(text, report->error);
		if (report->wait_status != 0) {
			text_add(text, ", wait status ");
			text_add_signed(text, report->wait_status);
		}
		text_add(text, ", tried by ");
		text_add(text, odf_strategy_name(report->strategy));
	}
	text_add(text, "; held ");
	text_add_microseconds(text, report->elapsed_ns);
	text_add(text, " us\n");
}

int odf_report_format(const odf_report *report, char *buffer, size_t size)
{
	struct text text;

	if (report == NULL || (buffer == NULL && size > 0) || report_check(report) != 0) {
		errno = EINVAL;
		return -1;
	}
	text = text_start(buffer, size);
	add_outcome(&text, report);
	for (odf_step step = ODF_STEP_NONE + 1; step < ODF_STEP_COUNT; step++) {
		if (report->forgiven & ODF_FORGIVE(step)) {
			text_add(&text, "forgiven: ");
			text_add(&text, odf_step_name(step));
			text_add(&text, "\n");
		}
	}
	for (odf_strategy strategy = ODF_STRATEGY_NONE + 1; strategy < ODF_STRATEGY_COUNT; strategy++) {
		if (report->reason[strategy] == ODF_REASON_NONE)
			continue;
		text_add(&text, odf_strategy_name(strategy));
		text_add(&text, ": ");
		text_add(&text, odf_reason_text(report->reason[strategy]));
		text_add(&text, "\n");
	}
	return text.length > INT_MAX ? INT_MAX : (int)text.length;
}
