/* SPDX-License-Identifier: MIT
 *
 * The flags of clone3 that Linux 7.1 brought, each tried out by a process that shares this memory for a moment. No
 * exit signal: no SIGCHLD tells of it, and no wait without __WALL or __WCLONE sees it. Results are those of probe.c.
 */
#ifndef ODF_CAPABILITY_CLONE_FLAGS_H
#define ODF_CAPABILITY_CLONE_FLAGS_H

int clone_flags_probe_autoreap(void);
int clone_flags_probe_nnp(void);
int clone_flags_probe_autokill(void);
#endif
