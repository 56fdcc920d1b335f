/* SPDX-License-Identifier: MIT
 *
 * Processes made by the template, in the program. Each request carries a socket of its own, over which the template
 * answers twice: who was made, and how it ended. So threads do not wait for each other's answers; and whatever becomes
 * of the template, or of a request that it has not read, the kernel closes the other end.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <string.h>

#include "../sys/syscall.h"
#include "internal.h"

#define PATIENCE_MS 200

/* Continues the template if it was stopped. A running one is not affected. */
static void prod(const odf_pool *pool)
{
	if (pool->template_pidfd >= 0)
		(void)sys_call4(SYS_pidfd_send_signal, pool->template_pidfd, SIGCONT, NULL, 0);
}

/* Bit i: descriptor i of the standard three is open. */
static uint32_t open_standard(void)
{
	uint32_t standard = 0;

	for (int fd = 0; fd < 3; fd++)
		if (sys_call3(SYS_fcntl, fd, F_GETFD, 0) >= 0)
			standard |= 1u << fd;
	return standard;
}

static int send_request(odf_pool *pool, const struct pool_message *request, const void *argument, const int *fds)
{
	int error;

	while ((error = pool_send(pool->channel, request, argument, request->length, fds, request->count,
				  PATIENCE_MS)) == EAGAIN)
		prod(pool);
	return error;
}

/* EPIPE: the other end was closed without an answer. */
static int await_answer(odf_pool *pool, struct pool_process *process)
{
	struct pool_message message = { .kind = POOL_ENDED };
	long length;

	for (;;) {
		size_t count = 1;
		int fd = -1;
		length = pool_receive(process->end, &message, NULL, 0, &fd, &count, PATIENCE_MS);
		if (count > 0)
			process->pidfd = pool_lift(fd);
		if (length != -EAGAIN)
			break;
		prod(pool);
	}
	if (length < 0 && length != -EMSGSIZE)
		return (int)-length;
	if (message.value < 0)
		return -message.value;
	process->pid = message.value;
	if (length >= 0)
		return 0;
	/* The message has lost its pidfd, for lack of a free descriptor. Nothing else would end the process. */
	if (message.kind == POOL_MADE && process->pid > 0)
		(void)pool_process_kill(process, SIGKILL);
	return EMFILE;
}

/* One attempt. */
static int ask(odf_pool *pool, struct pool_message *request, const void *argument, const int *fds, size_t count,
	       struct pool_process *process)
{
	uint32_t standard = open_standard(); /* before a descriptor of ours can get such a number */
	int sent[POOL_FDS_MOST + 4], sockets[2], error;
	long result = sys_call4(SYS_socketpair, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets);

	if (result < 0)
		return (int)-result;
	process->end = pool_lift(sockets[0]);
	request->count = 0;
	request->standard = standard;
	sent[request->count++] = sockets[1];
	for (int fd = 0; fd < 3; fd++)
		if (standard >> fd & 1)
			sent[request->count++] = fd;
	if (count > 0)
		memcpy(sent + request->count, fds, count * sizeof *fds);
	request->count += (uint32_t)count;
	error = send_request(pool, request, argument, sent);
	sys_close(sockets[1]);
	if (error == 0)
		error = await_answer(pool, process);
	if (error != 0)
		pool_process_forget(process);
	return error;
}

/* Whether no process has the other end. Waits a moment: a killed process does not close all its descriptors at once. */
static bool is_gone(int channel)
{
	struct pollfd one = { .fd = channel, .events = POLLIN };
	struct timespec patience = { 0, PATIENCE_MS * 1000000l };

	return sys_call5(SYS_ppoll, &one, 1, &patience, NULL, 8) > 0 && (one.revents & (POLLHUP | POLLERR));
}

int pool_process_make(odf_pool *pool, pool_function *function, const void *argument, size_t length, const int *fds,
		      size_t count, struct pool_process *process)
{
	struct pool_message request = { .kind = POOL_MAKE, .function = function, .length = (uint32_t)length };
	int error = pool_check(pool);

	*process = (struct pool_process)POOL_PROCESS_NONE;
	if (error != 0)
		return error;
	if (pool->channel < 0)
		return ENOTSUP;
	if (length > POOL_ARGUMENT_MOST || count > POOL_FDS_MOST)
		return E2BIG;
	for (;;) {
		unsigned generation = atomic_load(&pool->generation);
		error = ask(pool, &request, argument, fds, count, process);
		if (error != EPIPE)
			return error;
		/* The template lives: it had no descriptor left to receive the socket for the answer. */
		if (atomic_load(&pool->generation) == generation && !is_gone(pool->channel) &&
		    atomic_load(&pool->generation) == generation)
			return EMFILE;
		error = pool_template_renew(pool, generation);
		if (error != 0)
			return error;
	}
}

int pool_process_wait(struct pool_process *process, int timeout_ms, int *status)
{
	struct pool_message message;
	size_t count = 0;
	long length = pool_receive(process->end, &message, NULL, 0, NULL, &count, timeout_ms);

	if (length == -EAGAIN)
		return ETIMEDOUT;
	if (length < 0)
		return ECHILD;
	*status = message.value;
	return 0;
}

int pool_process_kill(struct pool_process *process, int signal)
{
	struct pollfd one = { .fd = process->end, .events = POLLIN };
	struct timespec none = { 0, 0 };
	long result;

	if (process->pidfd >= 0) {
		result = sys_call4(SYS_pidfd_send_signal, process->pidfd, signal, NULL, 0);
		return result < 0 ? (int)-result : 0;
	}
	/* The template reports an end right after it has reaped the process. Until then, but for that moment, the id
	 * cannot be another process's. */
	if (sys_call5(SYS_ppoll, &one, 1, &none, NULL, 8) != 0)
		return ESRCH;
	result = sys_call2(SYS_kill, process->pid, signal);
	return result < 0 ? (int)-result : 0;
}

void pool_process_forget(struct pool_process *process)
{
	if (process->pidfd >= 0)
		sys_close(process->pidfd);
	if (process->end >= 0)
		sys_close(process->end);
	*process = (struct pool_process)POOL_PROCESS_NONE;
}
