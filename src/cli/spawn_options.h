/* SPDX-License-Identifier: MIT
 * The options of `odfork spawn`: each is an option of odf_spawn. */
#ifndef ODF_CLI_SPAWN_OPTIONS_H
#define ODF_CLI_SPAWN_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "odfork.h"
#include "user.h"

struct sock_filter;

/* The data that the options of odf_spawn point to, and the command's own options. */
struct spawn_options {
	odf_spawn_options options;
	odf_fd_action *fds;
	const char **fd_texts; /* each as the user gave it */
	odf_rlimit *rlimits;
	const char **rlimit_texts;
	odf_namespace *namespaces; /* with descriptors that the command has opened */
	const char **namespace_texts;
	const char **edits;
	gid_t *groups;
	cpu_set_t affinity;
	struct sock_filter *filter;
	int cgroup_fd; /* opened by the command; -1: none */
	bool pidfd, report, print_pid;
};

/* Reads argv from 1 on. Returns the index of the command; 0: there is none to start, and *status is the exit status.
 * Whatever the result, the caller calls spawn_options_free. */
int spawn_options_read(int argc, char **argv, struct spawn_options *spawn, int *status);
void spawn_options_free(struct spawn_options *spawn);
#endif
