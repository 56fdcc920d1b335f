/* SPDX-License-Identifier: MIT
 *
 * Calls after which the kernel holds references to the caller's pages (vmsplice, MSG_ZEROCOPY); heap/lend.c says why
 * that matters. In a process without memory in regions, and for other sends, each costs a branch. In the shared library
 * only.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "../heap/heap.h"
#include "../libc/libc.h"
#include "../sys/readable.h"
#include "../sys/syscall.h"
#include "syscall.h"

#define EXPORTED __attribute__((visibility("default")))

#ifndef MSG_ZEROCOPY
#define MSG_ZEROCOPY 0x4000000
#endif
#define PIECES_MOST 1024

#define CALL(which, ...) ((__typeof__(__VA_ARGS__) *)libc_find(which))

/* ---- Pipes ---- */

static void end_lending(void *lending)
{
	heap_end_lending(lending);
}

EXPORTED ssize_t vmsplice(int pipe, const struct iovec *pieces, size_t count, unsigned flags)
{
	struct heap_lending lending = heap_begin_lending(pipe, pieces, count);
	ssize_t result;

	if (lending.error != 0) {
		errno = lending.error;
		return -1;
	}
	if (lending.copies == NULL)
		return CALL(LIBC_VMSPLICE, ssize_t(int, const struct iovec *, size_t, unsigned))(pipe, pieces, count,
												 flags);
	pthread_cleanup_push(end_lending, &lending);
	result = CALL(LIBC_VMSPLICE, ssize_t(int, const struct iovec *, size_t, unsigned))(pipe, lending.pieces,
											 lending.count, flags);
	pthread_cleanup_pop(1);
	return result;
}

/* ---- Sockets ---- */

static void before_message(const struct msghdr *message)
{
	if (!sys_is_readable(message, sizeof *message) || message->msg_iovlen > PIECES_MOST ||
	    !sys_is_readable(message->msg_iov, message->msg_iovlen * sizeof *message->msg_iov))
		return;
	for (size_t i = 0; i < message->msg_iovlen; i++)
		heap_own(message->msg_iov[i].iov_base, message->msg_iov[i].iov_len);
}

static void before_messages(const struct mmsghdr *messages, unsigned count)
{
	for (unsigned i = 0; i < count && i < PIECES_MOST && sys_is_readable(&messages[i], sizeof *messages); i++)
		before_message(&messages[i].msg_hdr);
}

EXPORTED ssize_t send(int socket, const void *bytes, size_t length, int flags)
{
	if (flags & MSG_ZEROCOPY)
		heap_own(bytes, length);
	return CALL(LIBC_SEND, ssize_t(int, const void *, size_t, int))(socket, bytes, length, flags);
}

EXPORTED ssize_t sendto(int socket, const void *bytes, size_t length, int flags, const struct sockaddr *to,
			socklen_t size)
{
	if (flags & MSG_ZEROCOPY)
		heap_own(bytes, length);
	return CALL(LIBC_SENDTO, ssize_t(int, const void *, size_t, int, const struct sockaddr *, socklen_t))
		   (socket, bytes, length, flags, to, size);
}

EXPORTED ssize_t sendmsg(int socket, const struct msghdr *message, int flags)
{
	if (flags & MSG_ZEROCOPY)
		before_message(message);
	return CALL(LIBC_SENDMSG, ssize_t(int, const struct msghdr *, int))(socket, message, flags);
}

EXPORTED int sendmmsg(int socket, struct mmsghdr *messages, unsigned count, int flags)
{
	if (flags & MSG_ZEROCOPY)
		before_messages(messages, count);
	return CALL(LIBC_SENDMMSG, int(int, struct mmsghdr *, unsigned, int))(socket, messages, count, flags);
}

/* ---- The same by syscall() ---- */

#if PRELOAD_HAS_SYSCALL
long syscall_vmsplice(long number, const long w[6])
{
	struct heap_lending lending = heap_begin_lending((int)w[0], (const struct iovec *)w[1], (size_t)w[2]);
	long result = lending.error != 0 ? -lending.error
					 : sys_call4(number, w[0], lending.pieces, lending.count, w[3]);

	heap_end_lending(&lending);
	return result;
}

bool syscall_look_at_sendto(const long w[6])
{
	if (w[3] & MSG_ZEROCOPY)
		heap_own((const void *)w[1], (size_t)w[2]);
	return false;
}

bool syscall_look_at_sendmsg(const long w[6])
{
	if (w[2] & MSG_ZEROCOPY)
		before_message((const struct msghdr *)w[1]);
	return false;
}

bool syscall_look_at_sendmmsg(const long w[6])
{
	if (w[3] & MSG_ZEROCOPY)
		before_messages((const struct mmsghdr *)w[1], (unsigned)w[2]);
	return false;
}
#endif
