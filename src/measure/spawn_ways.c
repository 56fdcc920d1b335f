/* SPDX-License-Identifier: MIT */
#include "spawn_ways.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include "odfork.h"

static const char *const places[] = { "/bin/true", "/usr/bin/true", "/run/current-system/sw/bin/true" };
const char *spawned_program = "/bin/true";
char *const spawned_arguments[] = { (char[]){ "true" }, NULL };

bool spawn_ways_find(void)
{
	for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
		if (access(places[i], X_OK) == 0) {
			spawned_program = places[i];
			return true;
		}
	}
	return false;
}

/* Between vfork and exec it calls only exec and _exit. */
pid_t spawn_by_raw_vfork(void)
{
	pid_t pid = vfork();
	if (pid == 0) {
		execve(spawned_program, spawned_arguments, environ);
		_exit(127);
	}
	return pid;
}

/* As a careful program does it: exec closes the pipe, or the child writes the error to it. */
pid_t spawn_by_fork(void)
{
	int failure[2], error = 0;
	pid_t pid;

	if (pipe2(failure, O_CLOEXEC) != 0)
		return -1;
	pid = fork();
	if (pid == 0) {
		execv(spawned_program, spawned_arguments);
		error = errno;
		_exit(write(failure[1], &error, sizeof error) == sizeof error ? 127 : 126);
	}
	close(failure[1]);
	if (read(failure[0], &error, sizeof error) > 0)
		pid = -1;
	close(failure[0]);
	return pid;
}

pid_t spawn_by_libc(void)
{
	pid_t pid;
	int error = posix_spawn(&pid, spawned_program, NULL, NULL, spawned_arguments, environ);

	errno = error;
	return error == 0 ? pid : -1;
}

pid_t spawn_by_odf(void)
{
	pid_t pid;
	int error = odf_spawn(&pid, spawned_program, spawned_arguments, NULL, NULL, NULL);

	errno = error;
	return error == 0 ? pid : -1;
}

static pid_t by_pool(uint64_t flags)
{
	static odf_pool *pool;
	odf_pool_options pool_options = ODF_POOL_OPTIONS_INIT;
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	pid_t pid;
	int error;

	pool_options.flags = ODF_POOL_NO_TASKS;
	options.flags = flags;
	if (pool == NULL && (pool = odf_pool_create(&pool_options)) == NULL)
		return -1;
	error = odf_pool_spawn(pool, &pid, spawned_program, spawned_arguments, NULL, &options, NULL);
	errno = error;
	return error == 0 ? pid : -1;
}

pid_t spawn_by_pool(void)
{
	return by_pool(0);
}

pid_t spawn_by_pool_no_wait(void)
{
	return by_pool(ODF_SPAWN_NO_WAIT);
}

const struct spawn_way spawn_ways[SPAWN_WAYS] = {
	[SPAWN_BY_FORK] = { "fork_exec", "fork and exec", spawn_by_fork },
	[SPAWN_BY_LIBC] = { "posix_spawn", "libc's posix_spawn", spawn_by_libc },
	[SPAWN_BY_ODF] = { "odf_spawn", "odf_spawn", spawn_by_odf },
	[SPAWN_BY_POOL] = { "odf_pool_spawn", "odf_pool_spawn", spawn_by_pool },
	[SPAWN_BY_POOL_NO_WAIT] = { "odf_pool_spawn_no_wait", "odf_pool_spawn, no wait", spawn_by_pool_no_wait },
	[SPAWN_BY_RAW_VFORK] = { "vfork_exec", "vfork and exec, bare", spawn_by_raw_vfork },
};
