/* SPDX-License-Identifier: MIT
 *
 * More of test_pinned.c: memory whose pages the kernel keeps after the call, in a pipe or on their way through a
 * socket. What a child has sent in this way must not change, even after the child has ended, its parent has written to
 * the same memory, and that has settled.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "direct_fs.h"
#include "pinned.h"

#ifndef SO_ZEROCOPY
#define SO_ZEROCOPY 60
#endif
#ifndef MSG_ZEROCOPY
#define MSG_ZEROCOPY 0x4000000
#endif

#define MIB   ((size_t)1 << 20)
#define PAGE  ((size_t)4096)
#define PAGES ((size_t)8)

static unsigned char *memory;

static bool is_live(void)
{
	char line[512], rights[8];
	bool found = false;
	FILE *maps = fopen("/proc/self/maps", "r");

	must(maps != NULL);
	while (fgets(line, sizeof line, maps) != NULL) {
		unsigned long start, end;
		if (sscanf(line, "%lx-%lx %7s", &start, &end, rights) == 3 && (unsigned long)memory >= start &&
		    (unsigned long)memory < end)
			found = strstr(line, "odfork-region") != NULL && rights[3] == 's';
	}
	fclose(maps);
	return found;
}

/* Only looks, as a settle comes by itself once much was written. */
static void must_be_settled(void)
{
	for (int looks = 0; !is_live(); looks++) {
		must(looks < 20000);
		usleep(1000);
	}
}

/* LIVE, filled with 'o'. */
static void prepare(void)
{
	if (geteuid() != 0)
		cannot_be_done_here("takes userfaultfd, which root has: to settle beside nothing that forks");
	wake();
	memory = map(4 * MIB);
	must(is_inside(memory));
	memset(memory, 'o', 4 * MIB);
	fork_once(1);
	must_be_settled();
}

static void must_be(const unsigned char *bytes, size_t count, int byte)
{
	for (size_t at = 0; at < count; at++)
		must(bytes[at] == byte);
}

static void finish_child(pid_t pid)
{
	int status;

	must(waitpid(pid, &status, 0) == pid && status == 0);
}

/* ---- Pipes ---- */

typedef long splice_function(int pipe, const struct iovec *pieces, size_t count, unsigned flags);

static long by_function(int pipe, const struct iovec *pieces, size_t count, unsigned flags)
{
	return vmsplice(pipe, pieces, count, flags);
}

static long by_number(int pipe, const struct iovec *pieces, size_t count, unsigned flags)
{
	return syscall(SYS_vmsplice, pipe, pieces, count, flags);
}

/* With ordinary memory in between, and pieces that begin and end within pages. */
static size_t hand_over(int pipe, splice_function *splice)
{
	static unsigned char other[100];
	struct iovec pieces[] = {
		{ memory, 2 * PAGE },
		{ other, sizeof other },
		{ NULL, 0 },
		{ memory + 4 * PAGE + 100, PAGE },
		{ memory + 8 * PAGE, 2 * PAGE },
	};
	size_t all = 5 * PAGE + sizeof other;

	memset(other, 'o', sizeof other);
	must(splice(pipe, pieces, sizeof pieces / sizeof *pieces, SPLICE_F_NONBLOCK) == (long)all);
	return all;
}

static void must_give(int pipe, size_t size, int byte)
{
	static unsigned char got[16 * PAGE];

	must(size <= sizeof got && read(pipe, got, size) == (ssize_t)size);
	must_be(got, size, byte);
}

static pid_t fork_with_a_pipe(int pipes[2])
{
	pid_t pid;

	prepare();
	must(pipe(pipes) == 0);
	pid = fork();
	must(pid >= 0);
	return pid;
}

static void child_hands_over(splice_function *splice, bool by_grandchild)
{
	int pipes[2];
	size_t size = 5 * PAGE + 100;
	pid_t pid = fork_with_a_pipe(pipes);

	if (pid == 0) {
		pid_t deeper = by_grandchild ? fork() : 0;
		must(deeper >= 0);
		if (deeper == 0)
			_exit(hand_over(pipes[1], splice) != size);
		finish_child(deeper);
		_exit(0);
	}
	finish_child(pid);
	memset(memory, 'n', 4 * MIB);
	must_be_settled();
	must_give(pipes[0], size, 'o');
	must_be(memory, 4 * MIB, 'n');
	must(info().state == ODF_HEAP_AWAKE);
}

static void spliced_by_child(void)
{
	child_hands_over(by_function, false);
}

static void spliced_by_child_by_number(void)
{
	child_hands_over(by_number, false);
}

static void spliced_by_grandchild(void)
{
	child_hands_over(by_function, true);
}

/* Memory that the process gives back after it has handed it over. */
static void spliced_and_given_back(void)
{
	for (int frozen = 0; frozen < 2; frozen++) {
		int pipes[2];
		size_t size;
		pid_t pid = 0;
		prepare();
		must(pipe(pipes) == 0);
		if (!frozen)
			size = hand_over(pipes[1], by_function);
		pid = fork();
		must(pid >= 0);
		if (pid == 0) {
			pause();
			_exit(0);
		}
		if (frozen)
			size = hand_over(pipes[1], by_function);
		must(madvise(memory, 16 * PAGE, MADV_DONTNEED) == 0);
		memset(memory + MIB, 'n', 3 * MIB);
		must(kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid);
		must_be_settled();
		must_give(pipes[0], size, 'o');
		must_be(memory, 16 * PAGE, 0);
		munmap(memory, 4 * MIB);
	}
}

/* The kernel decides all else about the call. */
static void splices_as_the_kernel_does(void)
{
	struct iovec pieces[2], huge;
	int pipes[2];
	pid_t pid;

	prepare();
	must(pipe(pipes) == 0 && fcntl(pipes[1], F_SETPIPE_SZ, (int)(4 * PAGE)) == (int)(4 * PAGE));
	pieces[0] = (struct iovec){ memory, 1 };
	pieces[1] = (struct iovec){ (void *)8, PAGE };
	must(vmsplice(pipes[1], (void *)8, 1, 0) == -1 && errno == EFAULT);
	must(vmsplice(-1, pieces, 1, 0) == -1 && errno == EBADF);
	must(vmsplice(pipes[1], pieces, 2000, 0) == -1 && errno == EINVAL);
	must(vmsplice(pipes[1], pieces + 1, 1, 0) == -1 && errno == EFAULT);
	must(vmsplice(pipes[1], pieces, 0, 0) == 0);
	must(vmsplice(pipes[1], pieces, 2, 0) == 1); /* up to the address that cannot be read */
	huge = (struct iovec){ memory, MIB };
	must(vmsplice(pipes[1], &huge, 1, SPLICE_F_NONBLOCK) == (ssize_t)(3 * PAGE)); /* as much as there is room for */
	must(vmsplice(pipes[1], &huge, 1, SPLICE_F_NONBLOCK) == -1 && errno == EAGAIN);
	must_give(pipes[0], 1 + 3 * PAGE, 'o');
	/* From a pipe into memory, in a child. */
	must(write(pipes[1], "abc", 3) == 3);
	pid = fork();
	must(pid >= 0);
	if (pid == 0) {
		huge.iov_len = 3;
		must(vmsplice(pipes[0], &huge, 1, 0) == 3 && memcmp(memory, "abco", 4) == 0);
		_exit(0);
	}
	finish_child(pid);
	must(*memory == 'o');
	must(close(pipes[0]) == 0 && signal(SIGPIPE, SIG_IGN) != SIG_ERR);
	must(vmsplice(pipes[1], &huge, 1, 0) == -1 && errno == EPIPE);
}

/* At the limit of mappings there is no memory for a copy. Returns a mapping of a page, without which there is. */
static void *use_up_mappings(void)
{
	int file = memfd_create("pages", MFD_CLOEXEC);
	void *last = MAP_FAILED, *page;

	must(file >= 0 && ftruncate(file, PAGE) == 0);
	while ((page = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, file, 0)) != MAP_FAILED)
		last = page;
	must(errno == ENOMEM && last != MAP_FAILED && close(file) == 0);
	return last;
}

static void must_lack_memory(int pipe, void *bytes)
{
	struct iovec piece = { bytes, PAGE };

	must(by_function(pipe, &piece, 1, SPLICE_F_NONBLOCK) == -1 && errno == ENOMEM);
	must(by_number(pipe, &piece, 1, SPLICE_F_NONBLOCK) == -1 && errno == ENOMEM);
}

/* The call fails then, for what would get into the pipe would change later. */
static void spliced_without_memory(void)
{
	struct iovec piece;
	int pipes[2];
	void *last;

	prepare();
	piece = (struct iovec){ memory, PAGE };
	must(pipe(pipes) == 0);
	last = use_up_mappings();
	must_lack_memory(pipes[1], memory);
	must(munmap(last, PAGE) == 0);
	must(by_function(pipes[1], &piece, 1, SPLICE_F_NONBLOCK) == (long)PAGE);
	*memory = 'n';
	must_give(pipes[0], PAGE, 'o');
}

/* Under a filter the library makes no call that it might refuse: no copies. This one permits all. */
static void enter_a_filter(void)
{
	struct sock_filter permit = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog filter = { 1, &permit };

	must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0);
}

/* A child's pages become its own, but for those that it may not write. */
static void child_splices_without_copies(bool by_filter)
{
	int pipes[2];
	pid_t pid = fork_with_a_pipe(pipes);

	if (pid == 0) {
		struct iovec piece = { memory + 8 * PAGE, PAGE };
		must(mprotect(memory, PAGE, PROT_READ) == 0);
		if (by_filter)
			enter_a_filter();
		else
			(void)use_up_mappings();
		must_lack_memory(pipes[1], memory);
		must(by_function(pipes[1], &piece, 1, SPLICE_F_NONBLOCK) == (long)PAGE);
		_exit(0);
	}
	finish_child(pid);
	memset(memory, 'n', 4 * MIB);
	must_be_settled();
	must_give(pipes[0], PAGE, 'o');
}

static void spliced_without_memory_by_child(void)
{
	child_splices_without_copies(false);
}

static void spliced_under_a_filter(void)
{
	child_splices_without_copies(true);
}

/* ---- Sockets ---- */

/* A connection with a small receive buffer, so that sent data waits in the sender. */
static void connect_both(int ends[2])
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t size = sizeof at;
	int listener = socket(AF_INET, SOCK_STREAM, 0), little = 4096, much = 4 << 20, on = 1;

	must(listener >= 0 && setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &little, sizeof little) == 0);
	must(bind(listener, (struct sockaddr *)&at, sizeof at) == 0 && listen(listener, 1) == 0);
	must(getsockname(listener, (struct sockaddr *)&at, &size) == 0);
	ends[0] = socket(AF_INET, SOCK_STREAM, 0);
	must(ends[0] >= 0 && setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &much, sizeof much) == 0);
	must(connect(ends[0], (struct sockaddr *)&at, sizeof at) == 0);
	ends[1] = accept(listener, NULL, NULL);
	must(ends[1] >= 0 && close(listener) == 0);
	if (setsockopt(ends[0], SOL_SOCKET, SO_ZEROCOPY, &on, sizeof on) != 0)
		cannot_be_done_here("no SO_ZEROCOPY");
}

enum sending { SEND, SENDTO, SENDMSG, SENDMMSG, NUMBERS, SENDINGS };

/* Returns how much was sent. */
static size_t send_all(int socket, enum sending how)
{
	enum { FLAGS = MSG_ZEROCOPY | MSG_DONTWAIT };
	struct iovec piece = { memory, 16 * PAGE };
	struct mmsghdr messages = { .msg_hdr = { .msg_iov = &piece, .msg_iovlen = 1 } };
	long got = 0;

	switch (how) {
	case SEND:
		got = send(socket, memory, 16 * PAGE, FLAGS);
		break;
	case SENDTO:
		got = sendto(socket, memory, 16 * PAGE, FLAGS, NULL, 0);
		break;
	case SENDMSG:
		got = sendmsg(socket, &messages.msg_hdr, FLAGS);
		break;
	case SENDMMSG:
		got = sendmmsg(socket, &messages, 1, FLAGS) == 1 ? (long)messages.msg_len : -1;
		break;
	default:
		got = syscall(SYS_sendmsg, socket, &messages.msg_hdr, FLAGS);
	}
	must(got > 0);
	return (size_t)got;
}

static void sent_by_child(void)
{
	static unsigned char got[16 * PAGE];

	prepare();
	for (enum sending how = SEND; how < SENDINGS; how++) {
		size_t *sent = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		int ends[2];
		pid_t pid;
		must(sent != MAP_FAILED);
		connect_both(ends);
		pid = fork();
		must(pid >= 0);
		if (pid == 0) {
			*sent = send_all(ends[0], how);
			_exit(0);
		}
		finish_child(pid);
		memset(memory, 'n', 4 * MIB);
		must_be_settled();
		for (size_t at = 0; at < *sent;) {
			ssize_t part = recv(ends[1], got, sizeof got, 0);
			must(part > 0);
			must_be(got, (size_t)part, 'o');
			at += (size_t)part;
		}
		memset(memory, 'o', 4 * MIB);
		must(close(ends[0]) == 0 && close(ends[1]) == 0);
		munmap(sent, PAGE);
	}
	must(info().state == ODF_HEAP_AWAKE);
}

const struct pinned_case pinned_lent_cases[] = {
	{ "spliced_by_child", spliced_by_child },
	{ "spliced_by_child_by_number", spliced_by_child_by_number },
	{ "spliced_by_grandchild", spliced_by_grandchild },
	{ "spliced_and_given_back", spliced_and_given_back },
	{ "splices_as_the_kernel_does", splices_as_the_kernel_does },
	{ "spliced_without_memory", spliced_without_memory },
	{ "spliced_without_memory_by_child", spliced_without_memory_by_child },
	{ "spliced_under_a_filter", spliced_under_a_filter },
	{ "sent_by_child", sent_by_child },
};
const size_t pinned_lent_count = sizeof pinned_lent_cases / sizeof *pinned_lent_cases;
