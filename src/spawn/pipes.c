/* SPDX-License-Identifier: MIT */
#include "pipes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../sys/syscall.h"
#include "fd_map.h"

static const uint64_t flags[3] = { ODF_SPAWN_PIPE_STDIN, ODF_SPAWN_PIPE_STDOUT, ODF_SPAWN_PIPE_STDERR };

static bool is_named(const odf_spawn_options *options, int fd)
{
	for (size_t i = 0; i < options->fd_count; i++)
		if (options->fds[i].fd == fd || options->fds[i].source == fd)
			return true;
	for (size_t i = 0; i < options->namespace_count; i++)
		if (options->namespaces[i].fd == fd)
			return true;
	return fd <= 2 || options->cwd_fd == fd || options->exec_fd == fd || options->cgroup_fd == fd ||
		options->tty_fd == fd;
}

/* The request may name a number that is not open; our pipe must not be there, or the request would find it open.
 * Returns a number that it does not name, or minus an errno value; the old number is closed. */
static int move_aside(const odf_spawn_options *options, int fd)
{
	int aside = fd;

	while (aside >= 0 && is_named(options, aside)) {
		int next = (int)sys_call3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, aside + 1);
		if (aside != fd)
			sys_close(aside);
		aside = next;
	}
	if (aside != fd)
		sys_close(fd);
	return aside;
}

static int make_one(const odf_spawn_options *options, int stream, struct pipes *pipes)
{
	int ends[2], error = (int)sys_call2(SYS_pipe2, ends, O_CLOEXEC), reads, writes;

	if (error < 0)
		return -error;
	reads = move_aside(options, ends[0]);
	writes = move_aside(options, ends[1]);
	pipes->theirs[stream] = stream == 0 ? reads : writes;
	pipes->ours[stream] = stream == 0 ? writes : reads;
	return reads < 0 ? -reads : writes < 0 ? -writes : 0;
}

int pipes_make(struct pipes *pipes, struct request *request, int *stream)
{
	odf_spawn_options *o = &request->options;
	size_t count = o->fd_count;

	pipes->first = count;
	if (!(o->flags & (ODF_SPAWN_PIPES | ODF_SPAWN_STDERR_TO_STDOUT)))
		return 0;
	*stream = -1;
	pipes->actions = reallocarray(NULL, count + 3, sizeof *pipes->actions);
	if (pipes->actions == NULL)
		return ENOMEM;
	if (count > 0)
		memcpy(pipes->actions, o->fds, count * sizeof *pipes->actions);
	for (*stream = 0; *stream < 3; ++*stream) {
		if (o->flags & flags[*stream]) {
			int error = make_one(o, *stream, pipes);
			if (error != 0)
				return error;
			pipes->actions[count++] = ODF_FD_DUP(*stream, pipes->theirs[*stream]);
		} else if (*stream == 2 && (o->flags & ODF_SPAWN_STDERR_TO_STDOUT)) {
			pipes->actions[count++] = (odf_fd_action){ .kind = (odf_fd_kind)FD_KIND_LATE_DUP, .fd = 2,
								  .source = 1 };
		}
	}
	o->fds = pipes->actions;
	o->fd_count = count;
	return 0;
}

int pipes_stream(const struct pipes *pipes, int index)
{
	return pipes->actions[index].fd;
}

void pipes_drop(struct pipes *pipes, bool failed)
{
	for (int i = 0; i < 3; i++) {
		if (pipes->theirs[i] >= 0)
			sys_close(pipes->theirs[i]);
		if (failed && pipes->ours[i] >= 0) {
			sys_close(pipes->ours[i]);
			pipes->ours[i] = -1;
		}
	}
	free(pipes->actions);
}
