/* SPDX-License-Identifier: MIT
 *
 * Which open descriptors forbid memory in a region: those through which the kernel or a device writes to the program's
 * pages directly and not through its page tables. If a freeze or a step of settling came in between, other pages would
 * be mapped there, and the data would be lost. What is not recognised counts as forbidding.
 *
 * Everything here is async-signal-safe. It may change errno: the callers keep it.
 */
#ifndef ODF_HEAP_PINNED_H
#define ODF_HEAP_PINNED_H

#include <stdbool.h>
#include <stdint.h>

#include "odfork.h"

/* How the process came by a descriptor: by a call whose flags are known; in another way; or it is found open when the
 * heap wakes. */
enum pinned_way { PINNED_OPENED, PINNED_RECEIVED, PINNED_FOUND };

/* The reason that the descriptor gives. ODF_REASON_NONE: it is harmless, or not open. `flags`: for PINNED_OPENED
 * only. */
odf_reason pinned_descriptor(int descriptor, enum pinned_way way, int flags);
/* The same for all open descriptors and all mappings. */
odf_reason pinned_process(void);
/* The same for a caller without time: ODF_REASON_HEAP_PINS also if a complete look would take more than some 50 us. */
odf_reason pinned_process_briefly(void);

/* Makes the system calls of these functions, on standard input, and ignores the results: for a process that may be
 * killed for any of them. */
void pinned_rehearse(void);

/* ---- The classes (pinned_classes.c) ---- */

#define PINNED_ZFS 0x2fc12fc1u

/* read() from files of this type (statfs) copies to memory through the page tables, however they are mounted. */
bool pinned_copies(uint32_t file_system);
/* A character device that does not write to memory by itself. */
bool pinned_is_plain_device(unsigned major, unsigned minor);
/* An inode without a file, by the name that the kernel gives it, as "anon_inode:[eventfd]". */
odf_reason pinned_anonymous(const char *name, enum pinned_way way);
/* A socket of this domain. */
odf_reason pinned_domain(int domain);
/* read() from ZFS copies, with the settings of this machine. */
bool pinned_zfs_copies(void);
/* Text from the list of mappings. A ring may have no descriptor any more, and a device's is often closed once it is
 * mapped. */
odf_reason pinned_mapping(const char *text);
#endif
