/* SPDX-License-Identifier: MIT */
#include "next_process.h"

#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "syscall.h"

/* From newer headers: Linux 6.9 and 6.11. */
#define PIDFD_THREAD_FLAG            O_EXCL
#define PIDFD_PID_NAMESPACE          _IO(0xff, 5)
#define PIDFD_CHILDREN_PID_NAMESPACE _IO(0xff, 6)

static bool there(const char *path)
{
	struct stat status;
	int saved = errno, result = lstat(path, &status);

	errno = saved;
	return result == 0;
}

/* unshare and setns affect the calling thread. The link pid_for_children cannot be read while that namespace has no
 * process. */
static enum next_process by_proc(void)
{
	char own[64], children[64];
	long length, other;

	length = sys_call4(SYS_readlinkat, AT_FDCWD, "/proc/thread-self/ns/pid", own, sizeof own);
	if (length < 0) /* a kernel without PID namespaces */
		return length == -ENOENT && there("/proc/thread-self/ns") ? NEXT_PROCESS_ORDINARY
			: NEXT_PROCESS_UNKNOWN;
	other = sys_call4(SYS_readlinkat, AT_FDCWD, "/proc/thread-self/ns/pid_for_children", children, sizeof children);
	if (other == -ENOENT && there("/proc/thread-self/ns/pid_for_children"))
		return NEXT_PROCESS_FIRST;
	if (other < 0)
		return NEXT_PROCESS_UNKNOWN;
	for (long i = 0; i < length || i < other; i++)
		if (i == length || i == other || own[i] != children[i])
			return NEXT_PROCESS_ELSEWHERE;
	return NEXT_PROCESS_ORDINARY;
}

static bool same_file(int a, int b)
{
	struct stat first, second;
	int saved = errno;
	bool same = fstat(a, &first) == 0 && fstat(b, &second) == 0 && first.st_ino == second.st_ino &&
		first.st_dev == second.st_dev;

	errno = saved;
	return same;
}

/* Another namespace may have a process or not. It counts as having none, the dangerous case. */
static enum next_process by_pidfd(void)
{
	int thread = (int)sys_call2(SYS_pidfd_open, sys_call0(SYS_gettid), PIDFD_THREAD_FLAG), own, children;
	enum next_process result = NEXT_PROCESS_UNKNOWN;

	if (thread < 0)
		return NEXT_PROCESS_UNKNOWN;
	own = (int)sys_call3(SYS_ioctl, thread, PIDFD_PID_NAMESPACE, 0);
	children = (int)sys_call3(SYS_ioctl, thread, PIDFD_CHILDREN_PID_NAMESPACE, 0);
	if (own >= 0)
		result = children >= 0 && same_file(own, children) ? NEXT_PROCESS_ORDINARY : NEXT_PROCESS_FIRST;
	if (children == -EMFILE || children == -ENFILE || children == -ENOMEM)
		result = NEXT_PROCESS_UNKNOWN;
	if (children >= 0)
		sys_close(children);
	if (own >= 0)
		sys_close(own);
	sys_close(thread);
	return result;
}

enum next_process next_process(void)
{
	enum next_process result = by_proc();

	return result == NEXT_PROCESS_UNKNOWN ? by_pidfd() : result;
}
