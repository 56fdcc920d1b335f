/* SPDX-License-Identifier: MIT
 * Async-signal-safe: system calls only. */
#include "quiet.h"

#include <signal.h>
#include <time.h>

#include "syscall.h"

#define SIGNAL_BIT(signal) (1ull << ((signal) - 1))

bool write_quietly(int fd, const char *line, size_t length)
{
	const uint64_t raised = SIGNAL_BIT(SIGPIPE) | SIGNAL_BIT(SIGXFSZ), blocked = raised | SIGNAL_BIT(SIGTTOU);
	const struct timespec at_once = { 0, 0 };
	uint64_t mask, before = 0, after = 0, ours;
	long written;

	sys_sigprocmask(SIG_BLOCK, &blocked, &mask);
	sys_call2(SYS_rt_sigpending, &before, sizeof before);
	do
		written = sys_write(fd, line, length);
	while (written == -EINTR);
	if (written < 0) {
		sys_call2(SYS_rt_sigpending, &after, sizeof after);
		ours = after & ~before & raised;
		if (ours != 0) /* what the write itself has raised is taken away again */
			(void)sys_call4(SYS_rt_sigtimedwait, &ours, NULL, &at_once, sizeof ours);
	}
	sys_sigprocmask(SIG_SETMASK, &mask, NULL);
	return written == (long)length;
}
