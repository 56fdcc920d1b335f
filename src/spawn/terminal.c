/* SPDX-License-Identifier: MIT */
#include "terminal.h"

#include <signal.h>
#include <sys/ioctl.h>

#include "../sys/syscall.h"

/* The child has given the terminal to its group and then failed: restores the group from before, unless the foreground
 * group has changed since. All signals are blocked, as otherwise a background process gets SIGTTOU. */
void terminal_give_back(int tty, const struct result *result)
{
	int fd = tty, now = 0, before = result->foreground_before;
	uint64_t all = ~0ull, mask;

	if (result->error == 0 || result->foreground <= 0 || before <= 0)
		return;
	if (tty < 0)
		fd = sys_open("/dev/tty", O_RDWR | O_NOCTTY, 0);
	if (fd < 0)
		return;
	sys_sigprocmask(SIG_SETMASK, &all, &mask);
	/* A failure means that the old group is gone. */
	if (sys_call3(SYS_ioctl, fd, TIOCGPGRP, &now) >= 0 && now == result->foreground)
		(void)sys_call3(SYS_ioctl, fd, TIOCSPGRP, &before);
	sys_sigprocmask(SIG_SETMASK, &mask, NULL);
	if (tty < 0)
		sys_close(fd);
}
