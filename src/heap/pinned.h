/* SPDX-License-Identifier: MIT
 *
 * Which open descriptors stand against memory in a region: through which the kernel or a device writes to the program's
 * pages themselves and not through its page tables. A freeze or a step of settling in between would move other pages
 * there, and what was written were lost. What cannot be recognised counts as such.
 *
 * Everything here is async-signal-safe. Of the program's errno nothing is said: the callers keep it.
 */
#ifndef ODF_HEAP_PINNED_H
#define ODF_HEAP_PINNED_H

#include <stdbool.h>
#include <stdint.h>

#include "odfork.h"

/* How a descriptor came: by a call that was told its flags; from elsewhere; or it is found when the heap wakes. */
enum pinned_way { PINNED_OPENED, PINNED_RECEIVED, PINNED_FOUND };

/* Which reason the descriptor gives; ODF_REASON_NONE: harmless, or not open. `flags` of PINNED_OPENED. */
odf_reason pinned_descriptor(int descriptor, enum pinned_way way, int flags);
/* The same of all that are open, and of what is mapped. */
odf_reason pinned_process(void);
/* The same for who has no time: HEAP_PINS as well where there is more to look at than takes some 50 us. */
odf_reason pinned_process_briefly(void);

/* Makes the system calls that these take, of the program's standard input, for nothing: in a process that may be
 * killed for any. */
void pinned_rehearse(void);

/* ---- The classes (pinned_classes.c) ---- */

#define PINNED_ZFS 0x2fc12fc1u

/* read() from files of this type (statfs) copies to memory through its page tables, whatever is mounted how. */
bool pinned_copies(uint32_t file_system);
/* A character device that does not write to memory by itself. */
bool pinned_is_plain_device(unsigned major, unsigned minor);
/* What the kernel calls an inode without a file, "anon_inode:[eventfd]". */
odf_reason pinned_anonymous(const char *name, enum pinned_way way);
/* A socket of this domain. */
odf_reason pinned_domain(int domain);
/* read() from ZFS copies, as this machine has set it. */
bool pinned_zfs_copies(void);
/* A line, or several, of the list of mappings. A ring need not have a descriptor any more, and a device's is often
 * closed when it has been mapped. */
odf_reason pinned_mapping(const char *text);
#endif
