/* SPDX-License-Identifier: MIT
 *
 * The settings from the environment. A constructor reads them once, and they are constant from then on; before that
 * they have the defaults. Under AT_SECURE nothing is read. A variable or value that is not understood is reported on
 * standard error and ignored.
 */
#ifndef ODF_RECORD_SETTINGS_H
#define ODF_RECORD_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>

#include "heap_value.h"
#include "odfork.h"

struct settings {
	odf_strategy strategy; /* ODFORK_STRATEGY; ODF_STRATEGY_NONE for auto */
	/* ODFORK_KERNEL: the user's verdict on the kernel's on-demand fork; NONE: it keeps data; KERNEL_NOT_VERIFIED:
	 * none given */
	odf_reason kernel;
	bool log;              /* ODFORK_LOG */
	bool stats;            /* ODFORK_STATS: stats_path is set */
	bool follow;           /* ODFORK_FOLLOW */
	enum settings_heap heap; /* ODFORK_HEAP */
	size_t heap_capacity;  /* capacity, bytes; 0: the library chooses */
	int userfault_fd;      /* ODFORK_UFFD_FD, or passed by a service manager: an open /dev/userfaultfd; -1: none */
	const char *stats_path; /* absolute */
};

extern const struct settings *const settings;

/* Reads the settings once. Called by the constructor; another library's constructor may call it earlier. */
void settings_read(void);

/* userfault_fd if it is still that device, else -1: programs close descriptors that they do not know. */
int settings_userfault(void);
/* The descriptor is the device that makes userfaultfds. */
bool settings_is_userfault(int fd);
#endif
