/* SPDX-License-Identifier: MIT
 *
 * The template, in the program: how it is made (stand_in.c: as whose child), greeted and ended.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../region/region.h"
#include "../sys/next_process.h"
#include "../sys/syscall.h"
#include "stand_in.h"

enum { ATTEMPTS = 10, WAIT_BY_PIDFD = 3 /* P_PIDFD, Linux 5.4 */ };

static int fork_template(odf_pool *pool, int sockets[2], struct template_start *start)
{
	uint64_t all = ~0ull;
	int saved = errno, error, cancel_state;

	/* fork runs the program's atfork handlers, which may be cancellation points. Cancellation stays disabled in the
	 * template and in all that it makes: a pending request is for this thread, not for a copy of it. */
	(void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	(void)sys_sigprocmask(SIG_SETMASK, &all, &start->mask);
	error = stand_in_fork(start, &pool->guard);
	if (error == EAGAIN && region_give_way()) /* the keeper's end may make room for a process */
		error = stand_in_fork(start, &pool->guard);
	(void)sys_sigprocmask(SIG_SETMASK, &start->mask, NULL);
	(void)pthread_setcancelstate(cancel_state, &cancel_state);
	sys_close(sockets[1]);
	sockets[1] = -1;
	errno = saved;
	return error;
}

/* Receives the first message of the template: its id, and a pidfd. */
static int meet(odf_pool *pool, int channel)
{
	struct pool_message message;
	size_t count = 1;
	long length;
	int fd = -1;

	length = pool_receive(channel, &message, NULL, 0, &fd, &count, -1);
	if (length < 0 || message.kind != POOL_READY) {
		if (count > 0)
			sys_close(fd);
		return ECHILD; /* the template was killed, or had no descriptor to begin with */
	}
	pool->template_pid = message.value;
	if (count == 0)
		return 0;
	if (pool->template_pidfd < 0) {
		pool->template_pidfd = pool_lift(fd);
		return 0;
	}
	length = sys_call3(SYS_dup3, fd, pool->template_pidfd, O_CLOEXEC);
	sys_close(fd);
	return length < 0 ? (int)-length : 0;
}

/* Puts the channel at the old number, if there is one. A thread that sends meanwhile reaches the old template's
 * channel, whose other end is closed, or the new one. */
static int install(odf_pool *pool, int channel)
{
	struct stat status;
	long result;

	if (pool->channel < 0) {
		pool->channel = pool_lift(channel);
	} else {
		result = sys_call3(SYS_dup3, channel, pool->channel, O_CLOEXEC);
		sys_close(channel);
		if (result < 0)
			return (int)-result;
	}
	pool->channel_inode = fstat(pool->channel, &status) == 0 ? status.st_ino : 0;
	atomic_fetch_add(&pool->generation, 1);
	return 0;
}

/* ECHILD: the stand-in or the template has ended already. */
static int attempt(odf_pool *pool)
{
	struct template_start start = { .program = pool->spawn.process, .once = pool->once };
	enum next_process next = next_process();
	int sockets[2], error;
	long result;

	/* FIRST: the stand-in would be the first process of a pid namespace, which ends with it. ELSEWHERE: all these
	 * processes would be in another pid namespace, where ids have another meaning. */
	if (next == NEXT_PROCESS_FIRST || next == NEXT_PROCESS_ELSEWHERE)
		return ENOTSUP;
	stand_in_leave_guard(&pool->guard);
	result = sys_call4(SYS_socketpair, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets);
	if (result < 0)
		return (int)-result;
	start.channel = sockets[1];
	error = fork_template(pool, sockets, &start);
	if (error == 0)
		error = meet(pool, sockets[0]);
	if (error == 0)
		return install(pool, sockets[0]);
	sys_close(sockets[0]);
	stand_in_leave_guard(&pool->guard);
	return error;
}

int pool_template_start(odf_pool *pool)
{
	int error = ECHILD;

	for (int i = 0; i < ATTEMPTS && error == ECHILD; i++)
		error = attempt(pool);
	return error == ECHILD ? EAGAIN : error;
}

int pool_template_renew(odf_pool *pool, unsigned generation)
{
	int error = 0;

	(void)pthread_mutex_lock(&pool->lock);
	if (atomic_load(&pool->generation) == generation)
		error = pool_template_start(pool);
	(void)pthread_mutex_unlock(&pool->lock);
	return error;
}

/* Closes the channel, which ends the template and with it all that it has made. SIGKILL ends a stopped one too. */
void pool_template_stop(odf_pool *pool)
{
	if (pool->channel < 0)
		return;
	sys_close(pool->channel);
	pool->channel = -1;
	if (pool->template_pidfd >= 0) {
		(void)sys_call4(SYS_pidfd_send_signal, pool->template_pidfd, SIGKILL, NULL, 0);
		/* If the program is what orphans are reparented to, and the guard was killed, the template is the
		 * program's child. Reaped here, no wait() of the program finds it. Otherwise this fails with ECHILD. */
		while (sys_call5(SYS_waitid, WAIT_BY_PIDFD, pool->template_pidfd, NULL, WEXITED | __WALL, NULL) ==
		       -EINTR)
			;
		sys_close(pool->template_pidfd);
		pool->template_pidfd = -1;
	}
	stand_in_leave_guard(&pool->guard);
}
