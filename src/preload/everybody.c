/* SPDX-License-Identifier: MIT
 *
 * kill(-1), which signals all processes but the caller, the keeper included. Without the library the caller goes on.
 * A keeper that is killed amid a step would take the program with it, so the heap leaves before SIGKILL. A keeper that
 * is stopped amid a step would block each thread that touches that memory, so it gets SIGCONT after SIGSTOP. In a
 * process with regions of its own SIGKILL ends the keeper, as odfork_keeper(7) says. Async-signal-safe, as kill is. In
 * the shared library only.
 */
#include <errno.h>
#include <signal.h>

#include "../libc/libc.h"
#include "../region/region.h"
#include "../sys/syscall.h"
#include "syscall.h"

#define EXPORTED __attribute__((visibility("default")))

#define ALL_OTHERS (-1)

static void before_all(long process, long number)
{
	int saved = errno;

	if ((int)process == ALL_OTHERS && (int)number == SIGKILL && region_keeper_is_ours())
		(void)region_give_way();
	errno = saved;
}

static void after_all(long process, long number, bool done)
{
	if (done && (int)process == ALL_OTHERS && (int)number == SIGSTOP)
		region_keeper_rouse();
}

EXPORTED int kill(pid_t process, int number)
{
	int (*function)(pid_t, int) = (int (*)(pid_t, int))libc_find(LIBC_KILL);
	int result;

	before_all(process, number);
	result = function(process, number);
	after_all(process, number, result == 0);
	return result;
}

#if PRELOAD_HAS_SYSCALL
long syscall_kill(long number, const long w[6])
{
	long result;

	before_all(w[0], w[1]);
	result = sys_call2(number, w[0], w[1]);
	after_all(w[0], w[1], result == 0);
	return result;
}
#endif
