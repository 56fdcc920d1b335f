/* SPDX-License-Identifier: MIT
 *
 * What this kernel, sandbox and libc allow. Each question is one row of the table in probe.c, asked by effect, once
 * per process, without a side effect that anyone could notice; the answer is kept for good.
 *
 * The fork path must not ask anything for the first time (it may run in a signal handler): it uses capability_known,
 * and the constructor has asked what it needs.
 */
#ifndef ODF_CAPABILITY_CAPABILITY_H
#define ODF_CAPABILITY_CAPABILITY_H

#include <stdbool.h>

#include "odfork.h"

/* Asks unless asked already. Thread-safe; two threads that ask at once get and store the same answer. Not
 * async-signal-safe. */
bool capability(odf_probe probe);

/* The kept answer only. Async-signal-safe. */
odf_answer capability_known(odf_probe probe);

/* The errno value behind a kept ODF_ANSWER_NO. Async-signal-safe. */
int capability_error(odf_probe probe);

/* The same as the reason of a strategy; the kernel's is in kernel.h. Asks nothing that was not asked: an unasked
 * probe counts as available. */
odf_reason capability_clone_vm_reason(void);

/* Why snapshot regions cannot be had; asks what was not asked. Not async-signal-safe. */
odf_reason capability_region_reason(void);
#endif
