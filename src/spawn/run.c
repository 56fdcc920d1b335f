/* SPDX-License-Identifier: MIT
 *
 * odf_run: runs a program from its start to its end.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "../sys/structure.h"
#include "../sys/syscall.h"
#include "process.h"

static bool names(const odf_spawn_options *options, int fd)
{
	for (size_t i = 0; i < options->fd_count; i++)
		if (options->fds[i].fd == fd)
			return true;
	return false;
}

/* Chooses the streams to collect, unless the options do. *null: standard input becomes /dev/null. */
static void choose_streams(odf_spawn_options *options, const odf_io *io, bool *null)
{
	if (options->flags & ODF_SPAWN_PIPES)
		return;
	if (!names(options, 0)) {
		if (io->input_length > 0)
			options->flags |= ODF_SPAWN_PIPE_STDIN;
		else
			*null = true;
	}
	if (!names(options, 1))
		options->flags |= ODF_SPAWN_PIPE_STDOUT;
	if (!names(options, 2) && !(options->flags & ODF_SPAWN_STDERR_TO_STDOUT))
		options->flags |= ODF_SPAWN_PIPE_STDERR;
}

/* Kills the process, and its group if it has its own, before it is reaped: until then these ids are not reused. */
static void end(odf_process *process, const odf_spawn_options *options)
{
	bool own_group = (options->flags & ODF_SPAWN_SETSID) ||
		((options->flags & ODF_SPAWN_SETPGROUP) && options->pgroup == 0);

	pthread_mutex_lock(&process->lock);
	if (own_group && !process->ended && !process->gone)
		(void)sys_call2(SYS_kill, -process->pid, SIGKILL);
	pthread_mutex_unlock(&process->lock);
	(void)odf_process_kill(process, SIGKILL);
}

static int to_the_end(odf_process *process, const odf_spawn_options *options, odf_io *io, bool keep)
{
	uint64_t deadline = io->timeout_ms == 0 ? NEVER : deadline_in(io->timeout_ms);
	int error = process_communicate_until(process, io, deadline, keep), result;

	if (error == 0)
		error = process_wait_until(process, deadline, &io->wait_status);
	if (error == 0 || error == ECHILD)
		return error;
	end(process, options);
	result = process_wait_until(process, NEVER, &io->wait_status);
	return result == ECHILD && error == 0 ? ECHILD : error;
}

int odf_run(const char *file, char *const argv[], char *const envp[], const odf_spawn_options *options, odf_io *io,
	    odf_report *report)
{
	odf_spawn_options own = ODF_SPAWN_OPTIONS_INIT;
	odf_io said = ODF_IO_INIT;
	odf_fd_action *map = NULL;
	odf_process *process = NULL;
	bool null = false;
	int saved = errno, error;

	if (options != NULL && structure_read(&own, sizeof own, options, SPAWN_OPTIONS_FIRST_SIZE) != 0)
		return odf_spawn(NULL, file, argv, envp, options, report); /* refuses these options */
	error = io == NULL ? 0 : io_read(&said, io);
	if (error != 0)
		return error;
	if (io != NULL && (own.fds != NULL || own.fd_count == 0))
		choose_streams(&own, &said, &null);
	if (null) {
		map = reallocarray(NULL, own.fd_count + 1, sizeof *map);
		if (map == NULL) {
			errno = saved;
			return ENOMEM;
		}
		if (own.fd_count > 0)
			memcpy(map, own.fds, own.fd_count * sizeof *map);
		map[own.fd_count++] = ODF_FD_NULL(0);
		own.fds = map;
	}
	error = odf_process_spawn(&process, file, argv, envp, &own, report);
	free(map);
	if (error == 0) {
		error = to_the_end(process, &own, &said, io != NULL);
		odf_process_close(process);
	}
	if (io != NULL)
		structure_write(io, &said, sizeof said);
	errno = saved;
	return error;
}
