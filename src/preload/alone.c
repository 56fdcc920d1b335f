/* SPDX-License-Identifier: MIT
 *
 * unshare and setns. The kernel refuses some of them (a time namespace, CLONE_VM) to a process that shares its memory
 * with another, and the keeper shares the program's. If a single-threaded process is refused, the heap leaves, which
 * ends the keeper (as in room.c), and the call is made again. In the shared library only.
 */
#include <errno.h>
#include <sched.h>

#include "../libc/libc.h"
#include "../region/region.h"
#include "../sys/syscall.h"
#include "syscall.h"

#define EXPORTED __attribute__((visibility("default")))

/* All flags that unshare takes. It answers EINVAL to others too. */
#define KNOWN_FLAGS                                                                                  \
	(CLONE_THREAD | CLONE_FS | CLONE_NEWNS | CLONE_SIGHAND | CLONE_VM | CLONE_FILES |            \
	 CLONE_SYSVSEM | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWUSER | CLONE_NEWPID | \
	 0x02000000 /* CGROUP */ | 0x80 /* TIME */)

static bool is_for_memory(long flags, int error)
{
	return error == EINVAL && (flags & CLONE_VM) && (flags & ~(long)KNOWN_FLAGS) == 0;
}

static bool is_alone_now(void)
{
	int saved = errno;
	bool is = region_keeper_is_ours() && region_has_one_thread() && region_give_way();

	errno = saved;
	return is;
}

EXPORTED int setns(int file, int kind)
{
	int (*function)(int, int) = (int (*)(int, int))libc_find(LIBC_SETNS);
	int result = function(file, kind);

	return result == -1 && errno == EUSERS && is_alone_now() ? function(file, kind) : result;
}

EXPORTED int unshare(int flags)
{
	int (*function)(int) = (int (*)(int))libc_find(LIBC_UNSHARE);
	int result = function(flags);

	return result == -1 && is_for_memory((unsigned)flags, errno) && is_alone_now() ? function(flags) : result;
}

#if PRELOAD_HAS_SYSCALL
long syscall_setns(long number, const long w[6])
{
	long result = sys_call2(number, w[0], w[1]);

	return result == -EUSERS && is_alone_now() ? sys_call2(number, w[0], w[1]) : result;
}

long syscall_unshare(long number, const long w[6])
{
	long result = sys_call1(number, w[0]);

	return result < 0 && is_for_memory(w[0], (int)-result) && is_alone_now() ? sys_call1(number, w[0]) : result;
}
#endif
