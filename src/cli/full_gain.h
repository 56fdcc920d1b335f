/* SPDX-License-Identifier: MIT
 *
 * What root must do so that this user's programs get everything that the machine offers: the regions of programs with
 * threads settle while they run only with userfaultfd for kernel-mode faults. */
#ifndef ODF_CLI_FULL_GAIN_H
#define ODF_CLI_FULL_GAIN_H

#include <stdbool.h>

#include "odfork.h"

struct full_gain {
	/* the kernel has it, and this user may not use it; else nothing is missing, or no permission would help */
	bool closed;
	char by_device[128];  /* the command that gives this user access to the device; "": none would */
	char by_setting[64];  /* the command that opens the system call to all users; "": none would */
	bool log_in_again;    /* by_device takes effect in the user's next session */
};

/* Asks the probes and the kernel; changes nothing. */
struct full_gain full_gain_ask(const odf_capabilities *capabilities);
void full_gain_print(const struct full_gain *gain);
void full_gain_print_json(const struct full_gain *gain);
#endif
