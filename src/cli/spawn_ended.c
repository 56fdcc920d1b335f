/* SPDX-License-Identifier: MIT */
#include "spawn_ended.h"

#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

/* The first version of the kernel's struct pidfd_info (Linux 6.13; exit_code since 6.15). */
struct info {
	uint64_t mask, cgroup;
	uint32_t pid, tgid, ppid, ids[8];
	int32_t exit_code; /* a wait status */
};
_Static_assert(sizeof(struct info) == 64, "as the kernel has it");
#define GET_INFO  _IOWR(0xFF, 11, struct info)
#define INFO_EXIT 8u

bool spawn_ended(int pidfd, siginfo_t *end)
{
	/* POLLIN comes before the kernel stores the exit code, POLLHUP after the process is gone. */
	struct pollfd ended = { pidfd, POLLIN, 0 }, gone = { pidfd, 0, 0 };
	struct info info = { .mask = INFO_EXIT };

	memset(end, 0, sizeof *end);
	if (poll(&ended, 1, 0) != 1)
		return false;
	(void)poll(&gone, 1, 1000);
	if (ioctl(pidfd, GET_INFO, &info) != 0 || !(info.mask & INFO_EXIT))
		return true;
	end->si_code = WIFEXITED(info.exit_code) ? CLD_EXITED : WCOREDUMP(info.exit_code) ? CLD_DUMPED : CLD_KILLED;
	end->si_status = WIFEXITED(info.exit_code) ? WEXITSTATUS(info.exit_code) : WTERMSIG(info.exit_code);
	return true;
}

int spawn_await(int pidfd, const sigset_t *signals, siginfo_t *signal)
{
	static const struct timespec none = { 0, 0 };
	struct pollfd either[2] = { { pidfd, POLLIN, 0 }, { signalfd(-1, signals, SFD_CLOEXEC), POLLIN, 0 } };

	if (either[1].fd < 0)
		return -1;
	(void)poll(either, 2, -1);
	close(either[1].fd);
	return sigtimedwait(signals, signal, &none) > 0 ? signal->si_signo : 0;
}
