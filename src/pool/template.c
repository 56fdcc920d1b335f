/* SPDX-License-Identifier: MIT
 *
 * The template, as the program sees it.
 *
 * It is made by libc's fork, as what it makes is to run functions of the program: with the locks of malloc, stdio and
 * the loader in order, whatever other threads held. libc's fork makes a child whose end is announced by SIGCHLD, which
 * every wait() of the program would find. So it is made by a go-between, which ends at once: the template is an orphan,
 * and child of init or of the nearest subreaper. (A raw clone could have no exit signal, and be copied from locks that
 * nobody will release. A child of the program that shares its memory, as the keeper is, could run libc's fork only with
 * the identity of one of its threads.) The go-between is a child of the program for a moment, as that of
 * ODF_SPAWN_DETACH made by FORK is.
 */
#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../fork/fork.h"
#include "../sys/next_process.h"
#include "../sys/syscall.h"
#include "internal.h"

enum { ATTEMPTS = 10 };

static _Noreturn void end(int status)
{
	sys_call1(SYS_exit_group, status);
	__builtin_trap();
}

/* With all signals blocked. The go-between, or minus an errno value. */
static pid_t make(struct template_start *start)
{
	pid_t pid = fork_plainly();

	if (pid != 0)
		return pid < 0 ? -errno : pid;
	pid = fork_plainly();
	if (pid == 0)
		pool_serve(start);
	end(pid < 0 ? errno : 0);
}

/* 0, or the errno value with which the second fork failed. ECHILD: somebody else has taken the status. */
static int await_go_between(pid_t pid)
{
	int status = 0;
	long result;

	do
		result = sys_call4(SYS_wait4, pid, &status, __WALL, NULL);
	while (result == -EINTR);
	if (result < 0)
		return ECHILD;
	return WIFEXITED(status) ? WEXITSTATUS(status) : ECHILD;
}

static int fork_template(int sockets[2], struct template_start *start)
{
	uint64_t all = ~0ull;
	pid_t pid;
	int error;

	(void)sys_sigprocmask(SIG_SETMASK, &all, &start->mask);
	pid = make(start);
	error = pid < 0 ? -pid : await_go_between(pid);
	(void)sys_sigprocmask(SIG_SETMASK, &start->mask, NULL);
	sys_close(sockets[1]);
	sockets[1] = -1;
	return error == ECHILD ? 0 : error;
}

/* The template says who it is when it is ready. */
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
		return ECHILD; /* it was killed, or has no descriptors to begin with */
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

/* The old number, if there is one: who sends meanwhile reaches the old template's end, which nobody has any more, or
 * the new one. */
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

/* ECHILD: what was made is gone already. */
static int attempt(odf_pool *pool)
{
	struct template_start start = { .program = pool->spawn.process };
	enum next_process next = next_process();
	int sockets[2], error;
	long result;

	/* The go-between would be the first process of a namespace, which ends with it; or all in another one, where
	 * ids have another meaning. */
	if (next == NEXT_PROCESS_FIRST || next == NEXT_PROCESS_ELSEWHERE)
		return ENOTSUP;
	result = sys_call4(SYS_socketpair, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets);
	if (result < 0)
		return (int)-result;
	start.channel = sockets[1];
	error = fork_template(sockets, &start);
	if (error == 0)
		error = meet(pool, sockets[0]);
	if (error == 0)
		return install(pool, sockets[0]);
	sys_close(sockets[0]);
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

/* It ends when nobody has the channel's other end, and with it all that it has made. One that is stopped would end when
 * somebody continues it. */
void pool_template_stop(odf_pool *pool)
{
	if (pool->channel < 0)
		return;
	sys_close(pool->channel);
	pool->channel = -1;
	if (pool->template_pidfd < 0)
		return;
	(void)sys_call4(SYS_pidfd_send_signal, pool->template_pidfd, SIGKILL, NULL, 0);
	sys_close(pool->template_pidfd);
	pool->template_pidfd = -1;
}
