/* SPDX-License-Identifier: MIT
 *
 * What root has to do so that this user's programs gain all that the machine offers: that their regions settle while
 * they run, with threads, needs userfaultfd for the kernel's own faults. */
#ifndef ODF_CLI_FULL_GAIN_H
#define ODF_CLI_FULL_GAIN_H

#include <stdbool.h>

#include "odfork.h"

struct full_gain {
	/* it is there, and closed to this user; else nothing is missing, or no right would help */
	bool closed;
	char by_device[128];  /* the command that opens the device to this user; "": none would */
	char by_setting[64];  /* the one that opens the system call to all; "": it would not */
	bool log_in_again;    /* by_device takes effect in the user's next session */
};

/* Asks the probes and the kernel, and changes nothing. */
struct full_gain full_gain_ask(const odf_capabilities *capabilities);
void full_gain_print(const struct full_gain *gain);
void full_gain_print_json(const struct full_gain *gain);
#endif
