/* SPDX-License-Identifier: MIT
 *
 * What this kernel, sandbox and libc allow. Each question is one row of the table in probe.c. It is asked once per
 * process, by trying, without a visible side effect, and the answer is kept.
 *
 * The fork path may run in a signal handler and must not ask a question for the first time: it uses capability_known.
 * The constructor has asked what it needs.
 */
#ifndef ODF_CAPABILITY_CAPABILITY_H
#define ODF_CAPABILITY_CAPABILITY_H

#include <stdbool.h>

#include "odfork.h"

/* Asks unless the answer is known. Thread-safe: two threads that ask at once get and store the same answer. Not
 * async-signal-safe. */
bool capability(odf_probe probe);

/* The kept answer only. Async-signal-safe. */
odf_answer capability_known(odf_probe probe);

/* The errno value behind a kept ODF_ANSWER_NO. Async-signal-safe. */
int capability_error(odf_probe probe);

/* The same as a strategy's reason; that of the kernel strategy is in kernel.h. Asks nothing: a probe that was not asked
 * counts as available. */
odf_reason capability_clone_vm_reason(void);

/* Why snapshot regions are not available; asks what was not asked. Not async-signal-safe. */
odf_reason capability_region_reason(void);
#endif
