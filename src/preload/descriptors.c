/* SPDX-License-Identifier: MIT
 *
 * Calls that open, receive or change descriptors by which the kernel may write to memory past the page tables
 * (heap/pinned.h). Each makes the call first, and looks at the descriptor before the program has it. In a process
 * without memory in regions each costs a branch.
 *
 * The comments on a function hold for the same call by syscall().
 */
#undef _FILE_OFFSET_BITS /* open and open64 are to be two names */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../heap/heap.h"
#include "../libc/libc.h"
#include "../sys/readable.h"
#include "../sys/syscall.h"
#include "syscall.h"

#define EXPORTED __attribute__((visibility("default")))

#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(UFFDIO, 0)
#endif
#ifndef SOL_TLS
#define SOL_TLS 282
#endif
#define TLS_RX_OPTION 2 /* linux/tls.h and linux/if_xdp.h, which older headers lack or have in part */
#ifndef SOL_XDP
#define SOL_XDP 283
#endif
#define XDP_UMEM_REG_OPTION 4

static int finish(int result)
{
	if (result < 0) {
		errno = -result;
		return -1;
	}
	return result;
}

#define CALL(which, ...) ((__typeof__(__VA_ARGS__) *)libc_find(which))

/* ---- Opened ---- */

static int opened(int descriptor, int flags)
{
	if (descriptor >= 0 && heap_is_watched())
		heap_meet_opened(descriptor, flags);
	return descriptor;
}

static int opened_by_name(int descriptor, const char *path, int flags)
{
	if (descriptor >= 0)
		heap_meet_name(descriptor, path, flags);
	return opened(descriptor, flags);
}

static int received(int descriptor)
{
	if (descriptor >= 0 && heap_is_watched())
		heap_meet_received(descriptor);
	return descriptor;
}

/* By openat2, which has its flags in a structure. */
static int received_by_name(int descriptor, const char *path)
{
	if (descriptor >= 0)
		heap_meet_name(descriptor, path, O_RDWR);
	return received(descriptor);
}

static bool has_mode(int flags)
{
	return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE;
}

/* The mode, if the flags say that the caller passed one. */
#define MODE(last)        \
	mode_t mode = 0;        \
	if (has_mode(flags)) {        \
		va_list rest;        \
		va_start(rest, last);        \
		mode = va_arg(rest, mode_t);        \
		va_end(rest);        \
	}

#define TO_CREATE (O_CREAT | O_WRONLY | O_TRUNC)

EXPORTED int open(const char *path, int flags, ...)
{
	MODE(flags);
	return opened_by_name(libc_open(LIBC_OPEN, path, flags, mode), path, flags);
}

EXPORTED int open64(const char *path, int flags, ...)
{
	MODE(flags);
	return opened_by_name(libc_open(LIBC_OPEN64, path, flags, mode), path, flags);
}

EXPORTED int openat(int directory, const char *path, int flags, ...)
{
	MODE(flags);
	return opened_by_name(libc_openat(LIBC_OPEN, directory, path, flags, mode), path, flags);
}

EXPORTED int openat64(int directory, const char *path, int flags, ...)
{
	MODE(flags);
	return opened_by_name(libc_openat(LIBC_OPEN64, directory, path, flags, mode), path, flags);
}

/* A file that is opened for writing only may be one that matters by its name (heap_meet_name). */
EXPORTED int creat(const char *path, mode_t mode)
{
	return opened_by_name(libc_open(LIBC_OPEN, path, TO_CREATE, mode), path, TO_CREATE);
}

EXPORTED int creat64(const char *path, mode_t mode)
{
	return opened_by_name(libc_open(LIBC_OPEN64, path, TO_CREATE, mode), path, TO_CREATE);
}

/* Called by fortified programs if there is no mode. */
EXPORTED int __open_2(const char *path, int flags);
EXPORTED int __open_2(const char *path, int flags)
{
	return opened_by_name(libc_open(LIBC_OPEN_2, path, flags, 0), path, flags);
}

EXPORTED int __open64_2(const char *path, int flags);
EXPORTED int __open64_2(const char *path, int flags)
{
	return opened_by_name(libc_open(LIBC_OPEN64_2, path, flags, 0), path, flags);
}

EXPORTED int __openat_2(int directory, const char *path, int flags);
EXPORTED int __openat_2(int directory, const char *path, int flags)
{
	return opened_by_name(libc_openat(LIBC_OPEN_2, directory, path, flags, 0), path, flags);
}

EXPORTED int __openat64_2(int directory, const char *path, int flags);
EXPORTED int __openat64_2(int directory, const char *path, int flags)
{
	return opened_by_name(libc_openat(LIBC_OPEN64_2, directory, path, flags, 0), path, flags);
}

/* In glibc 2.43. Headers that declare it may have other types. */
EXPORTED int interposed_openat2(int directory, const char *path, const void *how, size_t size) __asm__("openat2");
int interposed_openat2(int directory, const char *path, const void *how, size_t size)
{
	return finish(received_by_name((int)sys_call4(SYS_openat2, directory, path, how, size), path));
}

EXPORTED int open_by_handle_at(int mount, struct file_handle *handle, int flags)
{
	return opened(CALL(LIBC_OPEN_BY_HANDLE_AT, int(int, struct file_handle *, int))(mount, handle, flags), flags);
}

/* F_SETFL can set O_DIRECT on an open file. On a pipe that flag means packet mode. */
static void note_status(int file, int command, long flags)
{
	struct stat status;
	int saved = errno;

	if (command == F_SETFL && (flags & O_DIRECT) && heap_is_watched() &&
	    (fstat(file, &status) != 0 || !S_ISFIFO(status.st_mode)))
		heap_leave(ODF_REASON_HEAP_PINS);
	errno = saved;
}

/* Each of its arguments has the size of a word. */
EXPORTED int fcntl(int file, int command, ...)
{
	void *argument;
	va_list rest;

	va_start(rest, command);
	argument = va_arg(rest, void *);
	va_end(rest);
	note_status(file, command, (long)(intptr_t)argument);
	return libc_fcntl(LIBC_OPEN, file, command, argument);
}

EXPORTED int fcntl64(int file, int command, ...)
{
	void *argument;
	va_list rest;

	va_start(rest, command);
	argument = va_arg(rest, void *);
	va_end(rest);
	note_status(file, command, (long)(intptr_t)argument);
	return libc_fcntl(LIBC_OPEN64, file, command, argument);
}

/* ---- Received ---- */

static void received_with(struct msghdr *message)
{
	if (message->msg_control == NULL || message->msg_controllen < sizeof(struct cmsghdr) || !heap_is_watched())
		return;
	for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part != NULL; part = CMSG_NXTHDR(message, part)) {
		const int *descriptors = (const int *)(const void *)CMSG_DATA(part);
		if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS || part->cmsg_len < CMSG_LEN(0))
			continue;
		for (size_t i = 0; i < (part->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++)
			heap_meet_received(descriptors[i]);
	}
}

EXPORTED ssize_t recvmsg(int socket, struct msghdr *message, int flags)
{
	ssize_t result = CALL(LIBC_RECVMSG, ssize_t(int, struct msghdr *, int))(socket, message, flags);

	if (result >= 0)
		received_with(message);
	return result;
}

EXPORTED int recvmmsg(int socket, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout)
{
	int result = CALL(LIBC_RECVMMSG, int(int, struct mmsghdr *, unsigned, int, struct timespec *))
			 (socket, messages, count, flags, timeout);

	for (int i = 0; i < result; i++)
		received_with(&messages[i].msg_hdr);
	return result;
}

EXPORTED int pidfd_getfd(int process, int descriptor, unsigned flags); /* of <sys/pidfd.h>, from glibc 2.36 on */
EXPORTED int pidfd_getfd(int process, int descriptor, unsigned flags)
{
	return finish(received((int)sys_call3(SYS_pidfd_getfd, process, descriptor, flags)));
}

/* ---- Sockets ---- */

EXPORTED int socket(int domain, int type, int protocol)
{
	int result = CALL(LIBC_SOCKET, int(int, int, int))(domain, type, protocol);

	if (result >= 0 && heap_is_watched())
		heap_meet_socket(domain);
	return result;
}

/* Kernel TLS decrypts into the reader's pages; the heap finds such a socket when it wakes. The call that registers
 * memory with AF_XDP pins that memory for good, so it is taken out of the region before. */
static void note_option(int level, int name, const void *value, socklen_t size)
{
	const uint64_t *range = value; /* address, length */

	if (level != SOL_TLS && level != SOL_XDP)
		return;
	if (level == SOL_TLS && name == TLS_RX_OPTION && heap_is_watched())
		heap_leave(ODF_REASON_HEAP_DEVICE);
	/* Also while the heap is asleep: it cannot ask the socket when it wakes and takes the memory. */
	if (level == SOL_XDP && name == XDP_UMEM_REG_OPTION && size >= 2 * sizeof *range &&
	    sys_is_readable(range, 2 * sizeof *range))
		heap_keep((const void *)(uintptr_t)range[0], (size_t)range[1]);
}

EXPORTED int setsockopt(int socket, int level, int name, const void *value, socklen_t size)
{
	note_option(level, name, value, size);
	return CALL(LIBC_SETSOCKOPT, int(int, int, int, const void *, socklen_t))(socket, level, name, value, size);
}

/* ---- The program's own userfaultfd ---- */

/* The program may pass it to another process, which then registers memory of this one. */
static long made_userfault(long result)
{
	if (result >= 0)
		heap_meet_userfault();
	return result;
}

static bool is_userfault(unsigned long request)
{
	return ((uint32_t)request >> 8 & 0xff) == UFFDIO;
}

static void before_register(unsigned long request, const void *argument)
{
	const struct uffdio_register *wanted = argument;

	if ((uint32_t)request == (uint32_t)UFFDIO_REGISTER && sys_is_readable(wanted, sizeof *wanted))
		heap_before_register((void *)(uintptr_t)wanted->range.start, (size_t)wanted->range.len);
}

EXPORTED int ioctl(int file, unsigned long request, ...)
{
	void *argument;
	va_list rest;
	int result;

	va_start(rest, request);
	argument = va_arg(rest, void *);
	va_end(rest);
	if (!is_userfault(request))
		return CALL(LIBC_IOCTL, int(int, unsigned long, ...))(file, request, argument);
	before_register(request, argument);
	result = CALL(LIBC_IOCTL, int(int, unsigned long, ...))(file, request, argument);
	return (uint32_t)request == (uint32_t)USERFAULTFD_IOC_NEW ? (int)made_userfault(result) : result;
}

/* ---- The same by syscall() ---- */

#if PRELOAD_HAS_SYSCALL
#ifdef SYS_open
long syscall_open(long number, const long w[6])
{
	return opened_by_name((int)sys_call3(number, w[0], w[1], w[2]), (const char *)w[0], (int)w[1]);
}
#endif

#ifdef SYS_creat
long syscall_creat(long number, const long w[6])
{
	return opened_by_name((int)sys_call2(number, w[0], w[1]), (const char *)w[0], TO_CREATE);
}
#endif

long syscall_openat(long number, const long w[6])
{
	return opened_by_name((int)sys_call4(number, w[0], w[1], w[2], w[3]), (const char *)w[1], (int)w[2]);
}

long syscall_open_by_handle_at(long number, const long w[6])
{
	return opened((int)sys_call3(number, w[0], w[1], w[2]), (int)w[2]);
}

long syscall_openat2(long number, const long w[6])
{
	return received_by_name((int)sys_call4(number, w[0], w[1], w[2], w[3]), (const char *)w[1]);
}

long syscall_receive(long number, const long w[6])
{
	return received((int)sys_call4(number, w[0], w[1], w[2], w[3]));
}

bool syscall_look_at_fcntl(const long w[6])
{
	note_status((int)w[0], (int)w[1], w[2]);
	return false;
}

long syscall_recvmsg(long number, const long w[6])
{
	long result = sys_call3(number, w[0], w[1], w[2]);

	if (result >= 0)
		received_with((struct msghdr *)w[1]);
	return result;
}

long syscall_recvmmsg(long number, const long w[6])
{
	struct mmsghdr *messages = (struct mmsghdr *)w[1];
	long result = sys_call5(number, w[0], w[1], w[2], w[3], w[4]);

	for (long i = 0; i < result; i++)
		received_with(&messages[i].msg_hdr);
	return result;
}

long syscall_socket(long number, const long w[6])
{
	long result = sys_call3(number, w[0], w[1], w[2]);

	if (result >= 0 && heap_is_watched())
		heap_meet_socket((int)w[0]);
	return result;
}

bool syscall_look_at_setsockopt(const long w[6])
{
	note_option((int)w[1], (int)w[2], (const void *)w[3], (socklen_t)w[4]);
	return false;
}

long syscall_userfaultfd(long number, const long w[6])
{
	return made_userfault(sys_call1(number, w[0]));
}

bool syscall_look_at_ioctl(const long w[6])
{
	if (is_userfault((unsigned long)w[1]))
		before_register((unsigned long)w[1], (const void *)w[2]);
	return (uint32_t)w[1] == (uint32_t)USERFAULTFD_IOC_NEW;
}

long syscall_ioctl(long number, const long w[6])
{
	return made_userfault(sys_call3(number, w[0], w[1], w[2]));
}
#endif
