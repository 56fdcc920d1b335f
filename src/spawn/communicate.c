/* SPDX-License-Identifier: MIT
 *
 * Writes a process's input and reads its output, on all streams at once, so that neither side waits for the other. Raw
 * system calls: no cancellation point. errno is restored, as malloc may set it.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "../sys/quiet.h"
#include "../sys/structure.h"
#include "../sys/syscall.h"
#include "process.h"

#define DEFAULT_LIMIT ((size_t)64 << 20)
enum { PART = 65536 };

struct collected {
	char *bytes; /* ends with a NUL */
	size_t length, room;
};

int io_read(odf_io *ours, const odf_io *theirs)
{
	size_t first = STRUCTURE_UP_TO(odf_io, error_length);
	int error = theirs == NULL ? EINVAL : structure_read(ours, sizeof *ours, theirs, first);

	if (error == 0 && (ours->timeout_ms < 0 || (ours->input == NULL && ours->input_length > 0)))
		error = EINVAL;
	ours->wait_status = 0;
	ours->input_done = ours->output_length = ours->error_length = 0;
	ours->output = ours->error_output = NULL;
	return error;
}

/* Makes room for one more part, and the NUL. */
static int grow(struct collected *c)
{
	size_t room = c->room == 0 ? PART + 1 : c->room * 2;
	char *larger;

	if (c->bytes != NULL && c->room - c->length > PART)
		return 0;
	larger = realloc(c->bytes, room);
	if (larger == NULL)
		return ENOMEM;
	c->bytes = larger;
	c->room = room;
	c->bytes[c->length] = '\0';
	return 0;
}

/* Reads one part. At the limit one byte is read and dropped, to tell the end of file from more output. Without `keep`
 * everything is dropped, and there is no limit. */
static int collect(odf_process *process, int stream, struct collected *c, size_t limit, bool keep)
{
	size_t left = limit - c->length;
	char beyond;
	long count;
	int error = grow(c);

	if (error != 0)
		return error;
	if (left > PART)
		left = PART;
	count = left == 0 ? sys_read(process->streams[stream], &beyond, 1)
		: sys_read(process->streams[stream], c->bytes + c->length, left);
	if (count == -EAGAIN || count == -EINTR)
		return 0;
	if (count <= 0) {
		odf_process_close_stream(process, stream);
		return (int)-count;
	}
	if (left == 0)
		return EFBIG;
	c->length += keep ? (size_t)count : 0;
	c->bytes[c->length] = '\0';
	return 0;
}

/* Writes one part. EPIPE is no error: the process has closed its input. */
static int feed(odf_process *process, odf_io *io)
{
	size_t left = io->input_length - io->input_done;
	long count = write_part_quietly(process->streams[0], (const char *)io->input + io->input_done, left < PART
					? left : PART);

	if (count == -EAGAIN)
		return 0;
	if (count < 0 && count != -EPIPE)
		return (int)-count;
	if (count > 0)
		io->input_done += (size_t)count;
	if (count == -EPIPE || io->input_done == io->input_length)
		odf_process_close_stream(process, 0);
	return 0;
}

static int await(const odf_process *process, struct pollfd polls[3], uint64_t deadline)
{
	uint64_t left = deadline_left(deadline);
	struct timespec time = { .tv_sec = (time_t)(left / 1000000000u), .tv_nsec = (long)(left % 1000000000u) };
	long result;

	for (int i = 0; i < 3; i++)
		polls[i] = (struct pollfd){ .fd = process->streams[i], .events = i == 0 ? POLLOUT : POLLIN };
	result = sys_call5(SYS_ppoll, polls, 3, left == NEVER ? NULL : &time, NULL, 0);
	if (result == -EINTR)
		return EINTR;
	return result < 0 ? (int)-result : result == 0 ? ETIMEDOUT : 0;
}

static bool any_open(const odf_process *process)
{
	return process->streams[0] >= 0 || process->streams[1] >= 0 || process->streams[2] >= 0;
}

int process_communicate_until(odf_process *process, odf_io *io, uint64_t deadline, bool keep)
{
	struct collected collected[3] = { { NULL, 0, 0 }, { NULL, 0, 0 }, { NULL, 0, 0 } };
	size_t limit = io->limit == 0 ? DEFAULT_LIMIT : io->limit;
	struct pollfd polls[3];
	int saved = errno, error = 0;

	for (int i = 0; i < 3; i++) {
		if (process->streams[i] < 0)
			continue;
		/* Affects our end of the pipe only. */
		(void)sys_call3(SYS_fcntl, process->streams[i], F_SETFL, O_NONBLOCK | (i == 0 ? O_WRONLY : O_RDONLY));
		if (i > 0 && error == 0)
			error = grow(&collected[i]);
	}
	if (io->input_length == 0)
		(void)odf_process_close_stream(process, 0);
	while (error == 0 && any_open(process)) {
		error = await(process, polls, deadline);
		if (error == EINTR)
			error = 0;
		else if (error == 0 && polls[0].revents != 0)
			error = feed(process, io);
		for (int i = 1; i < 3 && error == 0; i++)
			if (polls[i].revents != 0)
				error = collect(process, i, &collected[i], limit, keep);
	}
	for (int i = 1; i < 3 && !keep; i++) {
		free(collected[i].bytes);
		collected[i].bytes = NULL;
	}
	io->output = collected[1].bytes;
	io->output_length = collected[1].length;
	io->error_output = collected[2].bytes;
	io->error_length = collected[2].length;
	errno = saved;
	return error;
}

int odf_process_communicate(odf_process *process, odf_io *io)
{
	odf_io own = ODF_IO_INIT;
	int error = process == NULL ? EINVAL : io_read(&own, io);

	if (error != 0)
		return error;
	error = process_communicate_until(process, &own, own.timeout_ms == 0 ? NEVER : deadline_in(own.timeout_ms),
					  true);
	structure_write(io, &own, sizeof own);
	return error;
}
