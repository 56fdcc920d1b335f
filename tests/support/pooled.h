/* SPDX-License-Identifier: MIT
 *
 * Included before the code of an odf_spawn test, to run it through a pool. A request that allows VFORK allows POOL
 * instead, and its report shows POOL as VFORK. ODF_TEST_POOL=1: the call waits for exec. ODF_TEST_POOL=2: the call does
 * not wait, and the wrapper waits for the launch.
 */
#ifndef ODF_TESTS_POOLED_H
#define ODF_TESTS_POOLED_H

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "odfork.h"

#define POOLED_VFORK ODF_ALLOW(ODF_STRATEGY_VFORK)

/* One for all files of a test: each file defines it, as a weak symbol. */
odf_pool *pooled_pool __attribute__((weak));
pid_t pooled_process __attribute__((weak)); /* which has made the pool; a forked child makes its own */

static inline void pooled_report(odf_report *report)
{
	odf_reason vfork;

	if (report == NULL || report->size < sizeof *report)
		return;
	if (report->strategy == ODF_STRATEGY_POOL)
		report->strategy = ODF_STRATEGY_VFORK;
	vfork = report->reason[ODF_STRATEGY_VFORK];
	report->reason[ODF_STRATEGY_VFORK] = report->reason[ODF_STRATEGY_POOL];
	report->reason[ODF_STRATEGY_POOL] = vfork;
}

/* Waits for the launch. On failure it does what odf_spawn would have done: reaps the child and closes its
 * descriptors. */
static inline int pooled_end(odf_launch *launch, pid_t pid, const odf_spawn_options *options, odf_report *report)
{
	int error = odf_launch_wait(launch, -1, report);

	odf_launch_free(launch);
	if (error == 0)
		return 0;
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (options->pidfd != NULL && *options->pidfd >= 0) {
		close(*options->pidfd);
		*options->pidfd = -1;
	}
	for (int i = 0; (options->flags & ODF_SPAWN_PIPES) && i < 3; i++) {
		if (options->pipes[i] >= 0)
			close(options->pipes[i]);
		options->pipes[i] = -1;
	}
	return error;
}

__attribute__((noinline, unused)) static int pooled_spawn(pid_t *pid, const char *file, char *const argv[],
							  char *const envp[], const odf_spawn_options *options,
							  odf_report *report)
{
	odf_spawn_options own = ODF_SPAWN_OPTIONS_INIT;
	odf_pool_options pool_options = ODF_POOL_OPTIONS_INIT;
	odf_launch *launch = NULL;
	int saved = errno, error;
	pid_t child = -1;

	if (options != NULL) {
		if (options->size != sizeof own || (options->allow != 0 && !(options->allow & POOLED_VFORK)))
			return odf_spawn(pid, file, argv, envp, options, report);
		own = *options;
	}
	if (own.allow != 0)
		own.allow = (own.allow & ~POOLED_VFORK) | ODF_ALLOW(ODF_STRATEGY_POOL);
	pool_options.flags = ODF_POOL_NO_TASKS;
	if (pooled_process != getpid())
		pooled_pool = odf_pool_create(&pool_options);
	pooled_process = getpid();
	if (pooled_pool == NULL)
		abort();
	errno = saved;
	own.pool = pooled_pool;
	if (ODF_TEST_POOL == 2) {
		own.flags |= ODF_SPAWN_NO_WAIT;
		own.launch = &launch;
	}
	error = odf_spawn(&child, file, argv, envp, &own, report);
	if (error == 0 && launch != NULL)
		error = pooled_end(launch, child, &own, report);
	else
		odf_launch_free(launch);
	if (error == 0 && pid != NULL)
		*pid = child;
	pooled_report(report);
	errno = saved;
	return error;
}
#define odf_spawn pooled_spawn
#endif
