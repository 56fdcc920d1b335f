/* SPDX-License-Identifier: MIT
 * Async-signal-safe: system calls only. */
#include "quiet.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "syscall.h"

#define SIGNAL_BIT(signal) (1ull << ((signal) - 1))

/* Writes all of it, in one write if possible. */
static size_t write_whole(int fd, const char *line, size_t length, long *last)
{
	size_t done = 0;

	do {
		*last = sys_write(fd, line + done, length - done);
		if (*last > 0)
			done += (size_t)*last;
	} while (*last == -EINTR || (*last > 0 && done < length));
	return done;
}

/* Removes the start of a line whose rest did not fit, as on a full disk, if it is still the end of the file, so that a
 * reader finds whole lines. In append mode only: there the file position is where this write ended, and later writes do
 * not use it. */
static void take_back(int fd, size_t written)
{
	int saved = errno, mode = fcntl(fd, F_GETFL);
	off_t end = lseek(fd, 0, SEEK_CUR);
	struct stat status;

	if (mode >= 0 && (mode & O_APPEND) && end >= (off_t)written && fstat(fd, &status) == 0 &&
	    S_ISREG(status.st_mode) && status.st_size == end && ftruncate(fd, end - (off_t)written) != 0) {
		/* The part of the line stays; there is no way to report it. */
	}
	errno = saved;
}

struct quiet {
	uint64_t mask, before;
};

static const uint64_t raised = SIGNAL_BIT(SIGPIPE) | SIGNAL_BIT(SIGXFSZ);

static void begin(struct quiet *quiet)
{
	const uint64_t blocked = raised | SIGNAL_BIT(SIGTTOU);

	quiet->before = 0;
	sys_sigprocmask(SIG_BLOCK, &blocked, &quiet->mask);
	sys_call2(SYS_rt_sigpending, &quiet->before, sizeof quiet->before);
}

/* Removes the pending signals that a failed write has raised. */
static void end(const struct quiet *quiet, bool failed)
{
	const struct timespec at_once = { 0, 0 };
	uint64_t after = 0, ours;

	if (failed) {
		sys_call2(SYS_rt_sigpending, &after, sizeof after);
		ours = after & ~quiet->before & raised;
		if (ours != 0)
			(void)sys_call4(SYS_rt_sigtimedwait, &ours, NULL, &at_once, sizeof ours);
	}
	sys_sigprocmask(SIG_SETMASK, &quiet->mask, NULL);
}

long write_part_quietly(int fd, const void *bytes, size_t length)
{
	struct quiet quiet;
	long written;

	begin(&quiet);
	do
		written = sys_write(fd, bytes, length);
	while (written == -EINTR);
	end(&quiet, written < 0);
	return written;
}

int write_quietly(int fd, const char *line, size_t length)
{
	struct quiet quiet;
	size_t written;
	long last;

	begin(&quiet);
	written = write_whole(fd, line, length, &last);
	if (written > 0 && written < length)
		take_back(fd, written);
	end(&quiet, last < 0);
	if (written == length)
		return 0;
	return last < 0 ? (int)-last : EIO;
}
