/* SPDX-License-Identifier: MIT
 *
 * Probes of the clone3 flags that Linux 7.1 added. Each makes a process that shares this memory for a moment. It has no
 * exit signal, so it sends no SIGCHLD, and only a wait with __WALL or __WCLONE sees it. Results are those of probe.c.
 */
#ifndef ODF_CAPABILITY_CLONE_FLAGS_H
#define ODF_CAPABILITY_CLONE_FLAGS_H

int clone_flags_probe_autoreap(void);
int clone_flags_probe_nnp(void);
int clone_flags_probe_autokill(void);
#endif
