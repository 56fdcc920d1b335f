/* SPDX-License-Identifier: MIT
 *
 * The template, as the program sees it.
 *
 * It is made by libc's fork, as what it makes is to run functions of the program: with the locks of malloc, stdio and
 * the loader in order, whatever other threads held. libc's fork makes a child whose end is announced by SIGCHLD, which
 * every wait() of the program would find; a raw clone could have no exit signal, but would be copied from locks that
 * nobody releases.
 *
 * So a *stand-in* calls libc's fork: a child without exit signal, made as by vfork, which shares the program's memory
 * and runs on the stack and with the thread-local storage of the calling thread, as if it were that thread, which is
 * suspended meanwhile. For libc, whose locks are in memory, it is. It ends at once, and no wait() but one with __WALL
 * or __WCLONE finds it. The template, its child, is an orphan then, and child of init or of the nearest subreaper.
 *
 * Where memory is not shared although that was asked for (emulators), the stand-in is a copy, and the rest is the same.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#if defined __has_include
#if __has_include(<sys/rseq.h>)
#include <sys/rseq.h>
#pragma weak __rseq_offset
#pragma weak __rseq_size
#endif
#endif
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../libc/libc.h"
#include "../region/region.h"
#include "../sys/next_process.h"
#include "../sys/syscall.h"
#include "internal.h"

enum { ATTEMPTS = 10, WAIT_BY_PIDFD = 3 /* P_PIDFD, Linux 5.4 */ };

static _Noreturn void end(int status)
{
	sys_call1(SYS_exit_group, status);
	__builtin_trap();
}

struct stand_in {
	struct template_start *start;
	int error; /* of its fork */
};

/* A process that was made by clone(CLONE_VM) has no restartable sequences, nor have its children; libc believes that it
 * has. */
static void renew_sequences(void)
{
#if defined __x86_64__ && defined RSEQ_SIG
	if (&__rseq_size != NULL && __rseq_size != 0)
		(void)sys_call4(SYS_rseq, (char *)pthread_self() + __rseq_offset, 32, 0, RSEQ_SIG);
#endif
}

/* On the stack of the thread that it stands in for, below all that this needs. */
static _Noreturn ODF_UNINSTRUMENTED __attribute__((noinline)) void stand_in(struct stand_in *own)
{
	pid_t pid = libc_fork();

	if (pid == 0) {
		region_stand_in_child();
		region_in_child();
		renew_sequences();
		pool_serve(own->start);
	}
	own->error = pid < 0 ? errno : 0;
	end(0);
}

/* The call is in this very function, and the new process never returns from it: both run on one stack, and what one of
 * them leaves the other would find overwritten. Elsewhere the stand-in is a copy: a child as any, for a moment. */
static ODF_UNINSTRUMENTED __attribute__((noinline)) long make_stand_in(struct stand_in *own)
{
#if defined __x86_64__ && !defined __ILP32__
	register long r10 __asm__("r10") = 0;
	register long r8 __asm__("r8") = 0;
	long pid;

	__asm__ volatile("syscall"
			 : "=a"(pid)
			 : "0"(SYS_clone), "D"(CLONE_VM | CLONE_VFORK), "S"(0), "d"(0), "r"(r10), "r"(r8)
			 : "rcx", "r11", "memory");
#elif defined __aarch64__
	register long x8 __asm__("x8") = SYS_clone;
	register long x0 __asm__("x0") = CLONE_VM | CLONE_VFORK;
	register long x1 __asm__("x1") = 0;
	register long x2 __asm__("x2") = 0;
	register long x3 __asm__("x3") = 0;
	register long x4 __asm__("x4") = 0;
	long pid;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
	pid = x0;
#else
	long pid = libc_fork();

	if (pid < 0)
		return -errno;
	if (pid == 0)
		region_in_child();
#endif
	if (pid == 0)
		stand_in(own);
	return pid;
}

/* With all signals blocked, so that no handler runs in it. 0 or an errno value. */
static int make(struct template_start *start)
{
	struct stand_in own = { .start = start, .error = 0 };
	bool alone = region_stand_in_begin();
	uint64_t began;
	long pid = -region_fork_begin(&began);

	if (pid == 0) {
		pid = make_stand_in(&own);
		region_fork_end(began, 0);
	}
	if (pid > 0)
		while (sys_call4(SYS_wait4, pid, NULL, __WALL, NULL) == -EINTR)
			;
	region_stand_in_end(alone);
	return pid < 0 ? (int)-pid : own.error;
}

static int fork_template(int sockets[2], struct template_start *start)
{
	uint64_t all = ~0ull;
	int saved = errno, error;

	(void)sys_sigprocmask(SIG_SETMASK, &all, &start->mask);
	error = make(start);
	if (error == EAGAIN && region_give_way()) /* there may be room for one more, which is the keeper's */
		error = make(start);
	(void)sys_sigprocmask(SIG_SETMASK, &start->mask, NULL);
	sys_close(sockets[1]);
	sockets[1] = -1;
	errno = saved;
	return error;
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
	/* Where orphans come to the program it is a child, and nobody else has to know. Elsewhere ECHILD. */
	while (sys_call5(SYS_waitid, WAIT_BY_PIDFD, pool->template_pidfd, NULL, WEXITED | __WALL, NULL) == -EINTR)
		;
	sys_close(pool->template_pidfd);
	pool->template_pidfd = -1;
}
