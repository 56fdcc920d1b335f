/* SPDX-License-Identifier: MIT
 * The flags of `odfork spawn`: each an option of odf_spawn. */
#ifndef ODF_CLI_SPAWN_OPTIONS_H
#define ODF_CLI_SPAWN_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "odfork.h"
#include "user.h"

struct sock_filter;

/* What the options point to, and what is for the command itself. */
struct spawn_options {
	odf_spawn_options options;
	odf_fd_action *fds;
	const char **fd_texts; /* how each was asked for */
	odf_rlimit *rlimits;
	const char **rlimit_texts;
	odf_namespace *namespaces; /* with descriptors that the command has opened */
	const char **namespace_texts;
	const char **edits;
	gid_t *groups;
	cpu_set_t affinity;
	struct sock_filter *filter;
	int cgroup_fd; /* that the command has opened; -1: none */
	bool pidfd, report, print_pid;
};

/* Reads argv from 1 on. The index of the command; 0: there is none to start, and *status to end with. Whatever the
 * result, spawn_options_free frees. */
int spawn_options_read(int argc, char **argv, struct spawn_options *spawn, int *status);
void spawn_options_free(struct spawn_options *spawn);
#endif
