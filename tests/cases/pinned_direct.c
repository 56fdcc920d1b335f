/* SPDX-License-Identifier: MIT
 *
 * Cases of test_pinned: files open for direct input, by each way to get the descriptor, FUSE, and devices.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_alg.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sched.h>
#include <unistd.h>

#include "direct_fs.h"
#include "pinned.h"
#include "../support/real_call.h"

#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

#define MIB ((size_t)1 << 20)

static void try_direct(int file, odf_reason reason)
{
	if (file < 0)
		cannot_be_done_here(strerror(errno));
	must_have_left(reason);
	read_under_forks(file, plain_read);
}

/* ---- O_DIRECT --------------------------------------------------------------------------------------------------- */

#define OPENED(name, call)                                     \
	static void name(void)                                 \
	{                                                      \
		wake();                                        \
		try_direct((int)(call), ODF_REASON_HEAP_PINS); \
	}

#define FLAGS (O_RDONLY | O_DIRECT)

OPENED(by_open, open(direct_path(), FLAGS))
OPENED(by_open64, open64(direct_path(), FLAGS))
OPENED(by_openat, openat(AT_FDCWD, direct_path(), FLAGS))
OPENED(by_syscall_open, syscall(OPEN_BY_NUMBER, direct_path(), FLAGS))
OPENED(by_syscall_openat, syscall(SYS_openat, AT_FDCWD, direct_path(), FLAGS))

struct how {
	uint64_t flags, mode, resolve;
};
static const struct how how = { FLAGS, 0, 0 };

OPENED(by_syscall_openat2, syscall(SYS_openat2, AT_FDCWD, direct_path(), &how, sizeof how))

/* In glibc 2.43 and newer. */
static int call_openat2(void)
{
	int (*function)(int, const char *, const struct how *, size_t);

	*(void **)&function = dlsym(RTLD_DEFAULT, "openat2");
	must(function != NULL);
	return function(AT_FDCWD, direct_path(), &how, sizeof how);
}
OPENED(by_openat2, call_openat2())

static int open_handle(bool by_syscall)
{
	struct {
		struct file_handle handle;
		unsigned char room[MAX_HANDLE_SZ];
	} found = { .handle.handle_bytes = MAX_HANDLE_SZ };
	/* any descriptor of that file system will do */
	int mount, beside = open(direct_path(), O_RDONLY);

	if (name_to_handle_at(AT_FDCWD, direct_path(), &found.handle, &mount, 0) != 0)
		return -1;
	return by_syscall ? (int)syscall(SYS_open_by_handle_at, beside, &found.handle, FLAGS)
			  : open_by_handle_at(beside, &found.handle, FLAGS);
}
OPENED(by_handle, open_handle(false))
OPENED(by_syscall_handle, open_handle(true))

int fill_with_blocks(int file)
{
	unsigned char *data = mmap(NULL, DIRECT_BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	must(data != MAP_FAILED);
	for (size_t block = 0; file >= 0 && block < DIRECT_BLOCKS; block++) {
		memset(data, direct_byte(block * DIRECT_BLOCK), DIRECT_BLOCK);
		must(write(file, data, DIRECT_BLOCK) == (ssize_t)DIRECT_BLOCK);
	}
	munmap(data, DIRECT_BLOCK);
	return file;
}

static char made[4096];

static char *template_with(const char *end)
{
	snprintf(made, sizeof made, "%s-XXXXXX%s", direct_path(), end);
	return made;
}
OPENED(by_mkostemp, fill_with_blocks(mkostemp(template_with(""), O_DIRECT)))
OPENED(by_mkostemps64, fill_with_blocks(mkostemps64(template_with(".x"), 2, O_DIRECT)))

static int made_direct(bool by_syscall)
{
	int file = open(direct_path(), O_RDONLY), copy = dup(file);

	must(file >= 0 && copy >= 0 && info().state == ODF_HEAP_AWAKE);
	must((by_syscall ? syscall(SYS_fcntl, copy, F_SETFL, O_DIRECT) : fcntl(copy, F_SETFL, O_DIRECT)) == 0);
	return file; /* both refer to the same open file */
}
OPENED(by_fcntl, made_direct(false))
OPENED(by_syscall_fcntl, made_direct(true))

/* ---- Received descriptors ---------------------------------------------------------------------------------------- */

static _Alignas(struct cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))];
static char byte;
static struct iovec vector = { &byte, 1 };

/* Another process, which does not share this one's memory, opens the file and sends the descriptor. */
static int sender(const char *path, int flags)
{
	int pair[2];
	pid_t pid;

	must(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
	pid = fork();
	must(pid >= 0);
	if (pid == 0) {
		int files[2] = { open("/dev/null", O_RDONLY), open(path, flags) };
		struct msghdr message = {
			.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control,
		};
		struct cmsghdr *part = CMSG_FIRSTHDR(&message);
		part->cmsg_level = SOL_SOCKET;
		part->cmsg_type = SCM_RIGHTS;
		part->cmsg_len = CMSG_LEN(sizeof files);
		memcpy(CMSG_DATA(part), files, sizeof files);
		_exit(files[1] >= 0 && sendmsg(pair[1], &message, 0) == 1 ? 0 : 1);
	}
	must(waitpid(pid, NULL, 0) == pid);
	return pair[0];
}

static int received(int how_it_comes, const char *path, int flags)
{
	struct mmsghdr message = {
		.msg_hdr = { .msg_iov = &vector,
			     .msg_iovlen = 1,
			     .msg_control = control,
			     .msg_controllen = sizeof control },
	};
	int from = sender(path, flags), files[2];

	must(info().state == ODF_HEAP_AWAKE);
	switch (how_it_comes) {
	case 0:
		must(recvmsg(from, &message.msg_hdr, 0) == 1);
		break;
	case 1:
		must(recvmmsg(from, &message, 1, 0, NULL) == 1);
		break;
	case 2:
		must(syscall(SYS_recvmsg, from, &message.msg_hdr, 0) == 1);
		break;
	default:
		must(syscall(SYS_recvmmsg, from, &message, 1, 0, NULL) == 1);
		break;
	}
	memcpy(files, CMSG_DATA(CMSG_FIRSTHDR(&message.msg_hdr)), sizeof files);
	return files[1];
}
OPENED(by_recvmsg, received(0, direct_path(), FLAGS))
OPENED(by_recvmmsg, received(1, direct_path(), FLAGS))
OPENED(by_syscall_recvmsg, received(2, direct_path(), FLAGS))
OPENED(by_syscall_recvmmsg, received(3, direct_path(), FLAGS))

static int taken_from_child(bool by_syscall)
{
	int pipes[2], file, pidfd, number = 0;
	int (*function)(int, int, unsigned);
	pid_t pid;

	*(void **)&function = dlsym(RTLD_DEFAULT, "pidfd_getfd");
	must(function != NULL && pipe(pipes) == 0);
	pid = fork();
	must(pid >= 0);
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		number = open(direct_path(), FLAGS);
		must(write(pipes[1], &number, sizeof number) == sizeof number);
		pause();
	}
	must(read(pipes[0], &number, sizeof number) == sizeof number);
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	must(info().state == ODF_HEAP_AWAKE);
	file = by_syscall ? (int)syscall(SYS_pidfd_getfd, pidfd, number, 0) : function(pidfd, number, 0);
	kill(pid, SIGKILL);
	must(waitpid(pid, NULL, 0) == pid);
	return file;
}
OPENED(by_pidfd_getfd, taken_from_child(false))
OPENED(by_syscall_pidfd_getfd, taken_from_child(true))

/* ---- Found when the heap wakes ----------------------------------------------------------------------------------- */

static void must_stay_asleep(odf_reason reason)
{
	ballast = map(32 * MIB);
	memset(ballast, 1, 32 * MIB);
	wake_buffers = map((THREADS + 1) * DIRECT_BLOCK);
	must_have_left(reason);
	must(!is_inside(ballast));
}

static void open_before(void)
{
	int file = open(direct_path(), FLAGS);

	must(file >= 0 && info().state == ODF_HEAP_ASLEEP);
	must_stay_asleep(ODF_REASON_HEAP_PINS);
	read_under_forks(file, plain_read);
}

static bool is_zombie(void)
{
	char text[256] = "";
	const char *end;
	FILE *file = fopen("/proc/self/stat", "re");

	must(file != NULL && fgets(text, sizeof text, file) != NULL);
	fclose(file);
	end = strrchr(text, ')');
	return end != NULL && end[1] == ' ' && end[2] == 'Z';
}

/* After the main thread's end the kernel lists no descriptors and no mappings under the process's id. */
static void *grow_alone(void *file)
{
	for (unsigned looks = 0; !is_zombie(); looks++) {
		must(looks < 20000);
		usleep(1000);
	}
	must(info().state == ODF_HEAP_ASLEEP);
	must_stay_asleep(ODF_REASON_HEAP_PINS);
	read_under_forks(*(const int *)file, plain_read);
	_exit(0);
	return NULL;
}

static void open_before_the_main_thread_ended(void)
{
	static int file;
	pthread_t thread;

	if (geteuid() != 0) /* without userfaultfd a multi-threaded program has no heap */
		cannot_be_done_here("takes userfaultfd, which root has");
	file = open(direct_path(), FLAGS);
	must(file >= 0 && pthread_create(&thread, NULL, grow_alone, &file) == 0 && pthread_detach(thread) == 0);
	pthread_exit(NULL);
}

/* Executes this program again. */
static void inherited(void)
{
	const char *number = getenv("ODF_TEST_INHERITED");
	char text[12];

	if (number != NULL) {
		must_stay_asleep(ODF_REASON_HEAP_PINS);
		read_under_forks(atoi(number), plain_read);
		return;
	}
	snprintf(text, sizeof text, "%d", open(direct_path(), FLAGS));
	setenv("ODF_TEST_INHERITED", text, 1);
	execl("/proc/self/exe", "test_pinned", (char *)NULL);
	must(false);
}

/* A descriptor that was closed before does not matter. */
static void closed_before(void)
{
	int file = open(direct_path(), FLAGS);

	must(file >= 0 && close(file) == 0);
	wake();
}

/* A child has its own descriptors, and its heap wakes or not by itself. */
static void child_of_one_that_left(void)
{
	int file, status;
	pid_t pid;

	wake();
	file = open(direct_path(), FLAGS);
	must_have_left(ODF_REASON_HEAP_PINS);
	for (int closes = 0; closes < 2; closes++) {
		pid = fork();
		must(pid >= 0);
		if (pid == 0) {
			if (closes)
				close(file);
			ballast = map(32 * MIB);
			memset(ballast, 1, 32 * MIB);
			must(info().state == (closes ? ODF_HEAP_AWAKE : ODF_HEAP_OFF));
			must(is_inside(ballast) == (closes != 0));
			_exit(0);
		}
		must(waitpid(pid, &status, 0) == pid && status == 0);
	}
}

/* ---- File systems ----------------------------------------------------------------------------------------------- */

static void fuse(void)
{
	const char *path = fuse_path();

	wake();
	try_direct(open(path, O_RDONLY), ODF_REASON_HEAP_FILE_SYSTEM);
}

static void fuse_received(void)
{
	const char *path = fuse_path();

	wake();
	try_direct(received(0, path, O_RDONLY), ODF_REASON_HEAP_FILE_SYSTEM);
}

static void fuse_open_before(void)
{
	int file = open(fuse_path(), O_RDONLY);

	must(file >= 0);
	must_stay_asleep(ODF_REASON_HEAP_FILE_SYSTEM);
	read_under_forks(file, plain_read);
}

static ssize_t read_stream(int file, void *buffer, size_t offset)
{
	static FILE *stream;
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	size_t got;

	(void)file;
	pthread_mutex_lock(&lock);
	if (stream == NULL)
		stream = fopen(fuse_path(), "r");
	must(stream != NULL && fseek(stream, (long)offset, SEEK_SET) == 0);
	got = fread(buffer, 1, DIRECT_BLOCK, stream);
	pthread_mutex_unlock(&lock);
	return (ssize_t)got;
}

static void fuse_by_stream(void)
{
	fuse_path();
	wake();
	read_under_forks(-1, read_stream);
	must_have_left(ODF_REASON_HEAP_FILE_SYSTEM);
}

/* Directories and files open only for writing are harmless. So are pipes in packet mode, for which O_DIRECT has another
 * meaning. */
static void harmless(void)
{
	int pipes[2];

	wake();
	must(open("/tmp", O_RDONLY | O_DIRECTORY) >= 0);
	must(open(direct_path(), O_WRONLY | O_DIRECT) >= 0);
	must(open(direct_path(), O_RDONLY | O_PATH) >= 0);
	must(pipe2(pipes, O_DIRECT) == 0 && fcntl(pipes[1], F_SETFL, O_DIRECT) == 0);
	must(open("/dev/null", O_RDWR) >= 0 && open("/dev/urandom", O_RDONLY) >= 0 &&
	     open("/proc/self/stat", O_RDONLY) >= 0);
	must(open("/nowhere", O_RDONLY | O_DIRECT) < 0 && errno == ENOENT);
	must(syscall(SYS_openat, AT_FDCWD, (char *)8, O_RDONLY) == -1 && errno == EFAULT);
	must(fopen("/proc/self/status", "r") != NULL && tmpfile() != NULL);
	must(syscall(SYS_openat, AT_FDCWD, direct_path(), O_RDONLY) >= 0 && fcntl(0, F_GETFL) >= 0);
	errno = 5;
	must(open(direct_path(), O_RDONLY) >= 0 && errno == 5);
	must(info().state == ODF_HEAP_AWAKE && is_inside(map(MIB)));
}

/* Received by a process that has no descriptor number left to examine it with. */
static void harmless_as_the_last(void)
{
	int event = eventfd(0, 0), pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0), next = dup(0);
	struct rlimit limit;
	rlim_t before;

	wake();
	must(event >= 0 && next >= 0 && close(next) == 0 && getrlimit(RLIMIT_NOFILE, &limit) == 0);
	if (pidfd < 0)
		cannot_be_done_here(strerror(errno));
	before = limit.rlim_cur;
	limit.rlim_cur = (rlim_t)next + 1;
	must(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	if (syscall(SYS_pidfd_getfd, pidfd, event, 0) < 0)
		cannot_be_done_here(strerror(errno));
	must(dup(0) == -1 && errno == EMFILE && info().state == ODF_HEAP_AWAKE);
	limit.rlim_cur = before;
	must(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	must(info().state == ODF_HEAP_AWAKE && is_inside(map(MIB)));
}

/* ---- Devices and sockets ---------------------------------------------------------------------------------------- */

static void device(void)
{
	wake();
	if (open("/dev/fuse", O_RDWR) < 0)
		cannot_be_done_here("no /dev/fuse");
	must_have_left(ODF_REASON_HEAP_DEVICE);
}

static void sockets(void)
{
	wake();
	must(socket(AF_UNIX, SOCK_STREAM, 0) >= 0 && socket(AF_INET, SOCK_DGRAM, 0) >= 0 &&
	     info().state == ODF_HEAP_AWAKE);
	if (socket(AF_ALG, SOCK_SEQPACKET, 0) >= 0) /* from a module that need not be there; see
	                                               test_pinned_classes.c */
		must_have_left(ODF_REASON_HEAP_DEVICE);
}

const struct pinned_case pinned_cases[] = {
	{ "by_open", by_open },
	{ "by_open64", by_open64 },
	{ "by_openat", by_openat },
	{ "by_openat2", by_openat2 },
	{ "by_syscall_open", by_syscall_open },
	{ "by_syscall_openat", by_syscall_openat },
	{ "by_syscall_openat2", by_syscall_openat2 },
	{ "by_handle", by_handle },
	{ "by_syscall_handle", by_syscall_handle },
	{ "by_mkostemp", by_mkostemp },
	{ "by_mkostemps64", by_mkostemps64 },
	{ "by_fcntl", by_fcntl },
	{ "by_syscall_fcntl", by_syscall_fcntl },
	{ "by_recvmsg", by_recvmsg },
	{ "by_recvmmsg", by_recvmmsg },
	{ "by_syscall_recvmsg", by_syscall_recvmsg },
	{ "by_syscall_recvmmsg", by_syscall_recvmmsg },
	{ "by_pidfd_getfd", by_pidfd_getfd },
	{ "by_syscall_pidfd_getfd", by_syscall_pidfd_getfd },
	{ "open_before", open_before },
	{ "open_before_the_main_thread_ended", open_before_the_main_thread_ended },
	{ "inherited", inherited },
	{ "closed_before", closed_before },
	{ "child_of_one_that_left", child_of_one_that_left },
	{ "fuse", fuse },
	{ "fuse_received", fuse_received },
	{ "fuse_open_before", fuse_open_before },
	{ "fuse_by_stream", fuse_by_stream },
	{ "harmless", harmless },
	{ "harmless_as_the_last", harmless_as_the_last },
	{ "device", device },
	{ "sockets", sockets },
};
const size_t pinned_count = sizeof pinned_cases / sizeof *pinned_cases;
