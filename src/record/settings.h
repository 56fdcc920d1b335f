/* SPDX-License-Identifier: MIT
 *
 * What the environment asked for, read once by a constructor and constant from then on; before that, the defaults.
 * Under AT_SECURE nothing is read. A variable or value that is not understood is named on standard error and ignored.
 */
#ifndef ODF_RECORD_SETTINGS_H
#define ODF_RECORD_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>

#include "heap_value.h"
#include "odfork.h"

struct settings {
	odf_strategy strategy; /* ODFORK_STRATEGY; ODF_STRATEGY_NONE for auto */
	/* ODFORK_KERNEL: somebody's word on the kernel's on-demand fork; NONE: it keeps data; KERNEL_NOT_VERIFIED: no
	 * word */
	odf_reason kernel;
	bool log;              /* ODFORK_LOG */
	bool stats;            /* ODFORK_STATS: stats_path is set */
	bool follow;           /* ODFORK_FOLLOW */
	enum settings_heap heap; /* ODFORK_HEAP */
	size_t heap_capacity;  /* the same, bytes; 0: chosen */
	int userfault_fd;      /* ODFORK_UFFD_FD, or from a service manager: an open /dev/userfaultfd; -1: none */
	const char *stats_path; /* absolute */
};

extern const struct settings *const settings;

/* Reads them, once. The constructor, which another library's may come before. */
void settings_read(void);

/* userfault_fd if it still is what it was, else -1: programs close what they do not know. */
int settings_userfault(void);
/* It is the device that makes userfaultfds. */
bool settings_is_userfault(int fd);
#endif
