/* SPDX-License-Identifier: MIT
 *
 * Fills the caller's report. Async-signal-safe.
 */
#ifndef ODF_STRATEGY_REPORT_H
#define ODF_STRATEGY_REPORT_H

#include "odfork.h"

/* 0 or EINVAL. NULL is valid: no report is wanted. */
int report_check(const odf_report *report);

/* Does nothing if `theirs` is NULL. */
void report_fill(odf_report *theirs, const odf_report *ours);

/* "ENOENT (2)" if libc knows the error's name, else "2". */
struct text;
void report_add_error(struct text *text, int error);
#endif
