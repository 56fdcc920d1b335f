/* SPDX-License-Identifier: MIT
 *
 * Messages over a SOCK_SEQPACKET socket pair: each arrives whole or not at all, whatever other processes send at the
 * same time. Raw system calls: libc's recvmsg is interposed for the program's own messages.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

#include "../sys/syscall.h"
#include "internal.h"

/* A message: the header, the bytes, and the descriptors as control data. */
struct parts {
	struct iovec vector[2];
	struct msghdr header;
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int) * (POOL_FDS_MOST + 8))];
	} control;
};

static void lay_out(struct parts *parts, void *message, void *bytes, size_t length)
{
	parts->vector[0] = (struct iovec){ message, sizeof(struct pool_message) };
	parts->vector[1] = (struct iovec){ bytes, length };
	parts->header = (struct msghdr){ .msg_iov = parts->vector, .msg_iovlen = length > 0 ? 2 : 1 };
}

static long look_at(int fd, short events, int timeout_ms)
{
	struct pollfd one = { .fd = fd, .events = events };
	struct timespec limit = { timeout_ms / 1000, timeout_ms % 1000 * 1000000l };

	return sys_call5(SYS_ppoll, &one, 1, timeout_ms < 0 ? NULL : &limit, NULL, 8);
}

bool pool_readable(int fd, int timeout_ms)
{
	return look_at(fd, POLLIN, timeout_ms) > 0;
}

/* False: the time is over. */
static bool wait_for(int channel, short events, int timeout_ms)
{
	long result;

	/* A signal starts the timeout anew; the timeouts here are short. */
	do
		result = look_at(channel, events, timeout_ms);
	while (result == -EINTR);
	return result != 0;
}

int pool_send(int channel, const struct pool_message *message, const void *bytes, size_t length, const int *fds,
	      size_t count, int timeout_ms)
{
	struct parts parts;
	long result;

	lay_out(&parts, (void *)(uintptr_t)message, (void *)(uintptr_t)bytes, length);
	if (count > 0) {
		struct cmsghdr *control = &parts.control.align;
		memset(&parts.control, 0, CMSG_SPACE(count * sizeof *fds));
		control->cmsg_level = SOL_SOCKET;
		control->cmsg_type = SCM_RIGHTS;
		/* size_t by glibc, socklen_t by musl */
		control->cmsg_len = (__typeof__(control->cmsg_len))CMSG_LEN(count * sizeof *fds);
		memcpy(CMSG_DATA(control), fds, count * sizeof *fds);
		parts.header.msg_control = control;
		parts.header.msg_controllen = (__typeof__(parts.header.msg_controllen))CMSG_SPACE(count * sizeof *fds);
	}
	for (;;) {
		result = sys_call3(SYS_sendmsg, channel, &parts.header, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (result == -EAGAIN && wait_for(channel, POLLOUT, timeout_ms))
			continue;
		if (result != -EINTR)
			break;
	}
	switch (-result) {
	case ECONNRESET:
	case ECONNREFUSED:
	case ENOTCONN:
		return EPIPE;
	case ETOOMANYREFS: /* more descriptors in flight than RLIMIT_NOFILE permits */
		return EMFILE;
	default:
		return result < 0 ? (int)-result : 0;
	}
}

static void take_descriptors(struct msghdr *header, int *fds, size_t *count)
{
	size_t room = *count;

	*count = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c != NULL; c = CMSG_NXTHDR(header, c)) {
		size_t sent = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < sent; i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
			if (*count < room)
				fds[(*count)++] = fd;
			else
				sys_close(fd);
		}
	}
}

long pool_receive(int channel, struct pool_message *message, void *bytes, size_t room, int *fds, size_t *count,
		  int timeout_ms)
{
	struct parts parts;
	long result;

	for (;;) {
		lay_out(&parts, message, bytes, room);
		parts.header.msg_control = &parts.control;
		parts.header.msg_controllen = sizeof parts.control;
		result = sys_call3(SYS_recvmsg, channel, &parts.header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
		if (result == -EAGAIN && wait_for(channel, POLLIN, timeout_ms))
			continue;
		if (result != -EINTR)
			break;
	}
	if (result <= 0) {
		*count = 0;
		return result == 0 || result == -ECONNRESET ? -EPIPE : result;
	}
	take_descriptors(&parts.header, fds, count);
	if ((parts.header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) || (size_t)result < sizeof *message)
		return -EMSGSIZE;
	return result - (long)sizeof *message;
}
