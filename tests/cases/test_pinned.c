/* SPDX-License-Identifier: MIT
 *
 * What is written to memory past its page tables is there afterwards, whatever forks and settles meanwhile: each way to
 * a descriptor by which that happens, its reason, and reads through it under forks, in one thread and in several. And
 * the program's own userfaultfd. Each case is a process of its own, this program executed again under the preloaded
 * library.
 *
 *   test_pinned            all, as TAP
 *   test_pinned NAME       that one
 *   ODF_TEST_READS         how many of each (48; in the long form 10000)
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
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sched.h>
#include <unistd.h>

#include "direct_fs.h"
#include "pinned.h"

#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

#define MIB ((size_t)1 << 20)

odf_heap_info info(void)
{
	odf_heap_info found = ODF_HEAP_INFO_INIT;
	int (*function)(odf_heap_info *);

	*(void **)&function = dlsym(RTLD_DEFAULT, "odf_heap_info_get");
	must(function != NULL && function(&found) == 0);
	return found;
}

unsigned char *map(size_t size)
{
	unsigned char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(memory != MAP_FAILED);
	return memory;
}

bool is_inside(const void *address)
{
	char line[512];
	bool found = false;
	FILE *maps = fopen("/proc/self/maps", "r");

	must(maps != NULL);
	while (fgets(line, sizeof line, maps) != NULL) {
		unsigned long start, end;
		if (sscanf(line, "%lx-%lx", &start, &end) == 2 && (unsigned long)address >= start && (unsigned long)address < end)
			found = strstr(line, "odfork-region") != NULL;
	}
	fclose(maps);
	return found;
}

static unsigned char *ballast;
unsigned char *wake_buffers;

#define THREADS 3

/* Memory enough to wake the heap, and a buffer for each reader, all of it in the region. */
void wake(void)
{
	int (*enable)(size_t);

	if (ballast != NULL)
		return;
	ballast = map(32 * MIB);
	memset(ballast, 1, 32 * MIB);
	*(void **)&enable = dlsym(RTLD_DEFAULT, "odf_heap_enable");
	must(info().state == ODF_HEAP_AWAKE && enable != NULL && enable(0) == 0); /* from now on from the start */
	wake_buffers = map((THREADS + 1) * DIRECT_BLOCK);
	memset(wake_buffers, 1, (THREADS + 1) * DIRECT_BLOCK);
	must(info().state == ODF_HEAP_AWAKE && is_inside(wake_buffers));
}

static const char *direct_path(void)
{
	return getenv("ODF_TEST_FILE");
}

static const char *fuse_path(void)
{
	const char *path = getenv("ODF_TEST_FUSE");

	if (path == NULL)
		cannot_be_done_here("there is no FUSE, or not for this user");
	return path;
}

/* ---- Reads under forks ------------------------------------------------------------------------------------------ */

static int reads(void)
{
	const char *number = getenv("ODF_TEST_READS");

	return number != NULL ? atoi(number) : 48;
}

struct reader {
	pthread_t thread;
	unsigned char *buffer;
	read_function *read;
	int file, count;
};

static void read_once(const struct reader *reader, int number)
{
	size_t block = (size_t)number % DIRECT_BLOCKS;

	memset(reader->buffer, 0xee, DIRECT_BLOCK);
	must(reader->read(reader->file, reader->buffer, block * DIRECT_BLOCK) == (ssize_t)DIRECT_BLOCK);
	for (size_t at = 0; at < DIRECT_BLOCK; at += 512)
		must(reader->buffer[at] == direct_byte(block * DIRECT_BLOCK + at));
}

static void *read_on(void *reader_pointer)
{
	struct reader *reader = reader_pointer;

	for (int i = 0; i < reader->count; i++)
		read_once(reader, i);
	return NULL;
}

/* A fork, and some writing, so that there is something to settle. */
static void fork_once(int number)
{
	pid_t pid = fork();

	must(pid >= 0);
	if (pid == 0)
		_exit(0);
	memset(ballast + (size_t)(number % 24) * MIB, number, 8 * MIB);
	must(waitpid(pid, NULL, 0) == pid);
}

static atomic_bool stop;

static void *fork_on(void *unused)
{
	for (int i = 0; !stop; i++) {
		fork_once(i);
		usleep((useconds_t)(i % 5) * 500);
	}
	return unused;
}

ssize_t plain_read(int file, void *buffer, size_t offset)
{
	return pread(file, buffer, DIRECT_BLOCK, (off_t)offset);
}

/* Into memory that was in the region before, and such as came after. */
void read_under_forks(int file, read_function *function)
{
	struct reader readers[THREADS];
	unsigned char *fresh = map(DIRECT_BLOCK);
	pthread_t forker;

	memset(fresh, 1, DIRECT_BLOCK);
	for (int i = 0; i < reads(); i++) {
		struct reader reader = { .buffer = i % 2 == 0 ? wake_buffers : fresh, .read = function, .file = file };
		if (i % 12 == 0)
			fork_once(i);
		read_once(&reader, i);
	}
	must(pthread_create(&forker, NULL, fork_on, NULL) == 0);
	for (int i = 0; i < THREADS; i++) {
		readers[i] = (struct reader){ .buffer = wake_buffers + (size_t)(i + 1) * DIRECT_BLOCK, .read = function, .file = file, .count = reads() / THREADS };
		must(pthread_create(&readers[i].thread, NULL, read_on, &readers[i]) == 0);
	}
	for (int i = 0; i < THREADS; i++)
		must(pthread_join(readers[i].thread, NULL) == 0);
	stop = true;
	must(pthread_join(forker, NULL) == 0);
	munmap(fresh, DIRECT_BLOCK);
}

void must_have_left(odf_reason reason)
{
	odf_heap_info now = info();
	unsigned char *later = map(MIB);

	if (now.state != ODF_HEAP_OFF || now.reason != reason)
		dprintf(2, "state %d, reason %d, not %d\n", (int)now.state, (int)now.reason, (int)reason);
	must(now.state == ODF_HEAP_OFF && now.reason == reason);
	must(!is_inside(later));
	munmap(later, MIB);
}

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
OPENED(by_syscall_open, syscall(SYS_open, direct_path(), FLAGS))
OPENED(by_syscall_openat, syscall(SYS_openat, AT_FDCWD, direct_path(), FLAGS))

struct how {
	uint64_t flags, mode, resolve;
};
static const struct how how = { FLAGS, 0, 0 };

OPENED(by_syscall_openat2, syscall(SYS_openat2, AT_FDCWD, direct_path(), &how, sizeof how))

/* glibc 2.43 has it. */
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
	int mount, directory = open("/tmp", O_RDONLY | O_DIRECTORY);

	if (name_to_handle_at(AT_FDCWD, direct_path(), &found.handle, &mount, 0) != 0)
		return -1;
	return by_syscall ? (int)syscall(SYS_open_by_handle_at, directory, &found.handle, FLAGS) : open_by_handle_at(directory, &found.handle, FLAGS);
}
OPENED(by_handle, open_handle(false))
OPENED(by_syscall_handle, open_handle(true))

static int fill_with_blocks(int file)
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
	return file; /* both are the same open file */
}
OPENED(by_fcntl, made_direct(false))
OPENED(by_syscall_fcntl, made_direct(true))

/* ---- Received --------------------------------------------------------------------------------------------------- */

static _Alignas(struct cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))];
static char byte;
static struct iovec vector = { &byte, 1 };

/* Another process, which does not share this one's memory, opens and sends. */
static int sender(const char *path, int flags)
{
	int pair[2];
	pid_t pid;

	must(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
	pid = fork();
	must(pid >= 0);
	if (pid == 0) {
		int files[2] = { open("/dev/null", O_RDONLY), open(path, flags) };
		struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
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
	struct mmsghdr message = { .msg_hdr = { .msg_iov = &vector, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control } };
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

/* ---- Found when the heap wakes ---------------------------------------------------------------------------------- */

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

/* This program once more. */
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

/* What is closed by then stands against nothing. */
static void closed_before(void)
{
	int file = open(direct_path(), FLAGS);

	must(file >= 0 && close(file) == 0);
	wake();
}

/* A child has its own descriptors and wakes, or does not, for itself. */
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

/* Directories, and what is only written, are harmless; and so are pipes of packets, for which O_DIRECT is another
 * flag. */
static void harmless(void)
{
	int pipes[2];

	wake();
	must(open("/tmp", O_RDONLY | O_DIRECTORY) >= 0);
	must(open(direct_path(), O_WRONLY | O_DIRECT) >= 0);
	must(open(direct_path(), O_RDONLY | O_PATH) >= 0);
	must(pipe2(pipes, O_DIRECT) == 0 && fcntl(pipes[1], F_SETFL, O_DIRECT) == 0);
	must(open("/dev/null", O_RDWR) >= 0 && open("/dev/urandom", O_RDONLY) >= 0 && open("/proc/self/stat", O_RDONLY) >= 0);
	must(open("/nowhere", O_RDONLY | O_DIRECT) < 0 && errno == ENOENT);
	must(syscall(SYS_openat, AT_FDCWD, (char *)8, O_RDONLY) == -1 && errno == EFAULT);
	must(fopen("/proc/self/status", "r") != NULL && tmpfile() != NULL);
	must(syscall(SYS_openat, AT_FDCWD, direct_path(), O_RDONLY) >= 0 && fcntl(0, F_GETFL) >= 0);
	errno = 5;
	must(open(direct_path(), O_RDONLY) >= 0 && errno == 5);
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
	must(socket(AF_UNIX, SOCK_STREAM, 0) >= 0 && socket(AF_INET, SOCK_DGRAM, 0) >= 0 && info().state == ODF_HEAP_AWAKE);
	if (socket(AF_ALG, SOCK_SEQPACKET, 0) >= 0) /* of a module that need not be there; test_pinned_classes.c */
		must_have_left(ODF_REASON_HEAP_DEVICE);
}

/* Of a memory that is given to AF_XDP only that leaves; asked of any socket, which the kernel then refuses. */
static void registered_by_option(void)
{
	uint64_t registration[4] = { 0, 2 * MIB, 4096, 0 };
	int any = socket(AF_INET, SOCK_DGRAM, 0);

	wake();
	registration[0] = (uintptr_t)(ballast + 4 * MIB);
	must(setsockopt(any, 283, 4, registration, sizeof registration) == -1);
	must(info().state == ODF_HEAP_AWAKE);
	fork_once(1);
	must(setsockopt(any, 283, 4, (void *)8, sizeof registration) == -1);
	must(syscall(SYS_setsockopt, any, 283, 4, registration, sizeof registration) == -1);
	must(setsockopt(any, 282, 2, registration, sizeof registration) == -1); /* TLS_RX */
	must_have_left(ODF_REASON_HEAP_DEVICE);
}

static const struct pinned_case cases[] = {
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
	{ "inherited", inherited },
	{ "closed_before", closed_before },
	{ "child_of_one_that_left", child_of_one_that_left },
	{ "fuse", fuse },
	{ "fuse_received", fuse_received },
	{ "fuse_open_before", fuse_open_before },
	{ "fuse_by_stream", fuse_by_stream },
	{ "harmless", harmless },
	{ "device", device },
	{ "sockets", sockets },
	{ "registered_by_option", registered_by_option },
};

/* ---- All of them ------------------------------------------------------------------------------------------------ */

static char built[3000], directory[] = "/var/tmp/odfork-pinned-XXXXXX";

static __attribute__((noreturn)) void become(const struct pinned_case *one)
{
	char program[3100], library[3100], file[100];

	snprintf(program, sizeof program, "%s/tests/test_pinned", built);
	snprintf(library, sizeof library, "%s/libodfork.so.0", built);
	snprintf(file, sizeof file, "%s/direct", directory);
	unsetenv("ODFORK_HEAP");
	setenv("ODF_TEST_RUN", one->name, 1);
	setenv("ODF_TEST_FILE", file, 1);
	setenv("LD_PRELOAD", library, 1);
	execl(program, program, (char *)NULL);
	must(false);
}

/* In a mount namespace of our own, so that it goes when we do. */
static void mount_fuse(void)
{
	char program[3100], number[12], place[100];
	int ready[2];
	pid_t pid;

	if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
		return;
	snprintf(place, sizeof place, "%s/fuse", directory);
	snprintf(program, sizeof program, "%s/tests/direct_fs", built);
	must(mkdir(place, 0700) == 0 && pipe2(ready, O_CLOEXEC) == 0);
	pid = fork();
	must(pid >= 0);
	if (pid == 0) {
		int out = dup(ready[1]);
		snprintf(number, sizeof number, "%d", out);
		execl(program, program, place, number, (char *)NULL);
		_exit(1);
	}
	close(ready[1]);
	if (read(ready[0], number, 1) == 1) {
		strcat(place, "/f");
		setenv("ODF_TEST_FUSE", place, 1);
	}
	close(ready[0]);
}

static int run(const struct pinned_case *one)
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0)
		become(one);
	must(pid > 0 && waitpid(pid, &status, 0) == pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int run_all(const char *only)
{
	const struct pinned_case *lists[] = { cases, pinned_more_cases };
	const size_t counts[] = { sizeof cases / sizeof *cases, pinned_more_count };
	bool failed = false;
	char file[100];
	size_t number = 0;

	must(getenv("ODF_BUILD") != NULL && mkdtemp(directory) != NULL);
	snprintf(built, sizeof built, "%s", getenv("ODF_BUILD"));
	snprintf(file, sizeof file, "%s/direct", directory);
	close(fill_with_blocks(open(file, O_CREAT | O_WRONLY, 0644)));
	sync();
	mount_fuse();
	printf("1..%zu\n", only != NULL ? (size_t)1 : counts[0] + counts[1]);
	for (size_t list = 0; list < 2; list++) {
		for (size_t i = 0; i < counts[list]; i++) {
			const struct pinned_case *one = &lists[list][i];
			int result;
			if (only != NULL && strcmp(only, one->name) != 0)
				continue;
			result = run(one);
			failed = failed || (result != 0 && result != ODF_NOT_HERE);
			printf("%s %zu - %s%s\n", result == 0 || result == ODF_NOT_HERE ? "ok" : "not ok", ++number, one->name,
			       result == ODF_NOT_HERE ? " # SKIP" : "");
		}
	}
	if (getenv("ODF_TEST_FUSE") != NULL) {
		snprintf(file, sizeof file, "%s/fuse", directory);
		must(umount2(file, MNT_DETACH) == 0);
	}
	return failed;
}

static void remove_directory(void)
{
	char command[200];

	snprintf(command, sizeof command, "rm -rf %s", directory);
	must(system(command) == 0);
}

int main(int argc, char **argv)
{
	const char *name = getenv("ODF_TEST_RUN");
	int result;

	for (size_t i = 0; name != NULL && i < sizeof cases / sizeof *cases; i++)
		if (strcmp(name, cases[i].name) == 0)
			return cases[i].function(), 0;
	for (size_t i = 0; name != NULL && i < pinned_more_count; i++)
		if (strcmp(name, pinned_more_cases[i].name) == 0)
			return pinned_more_cases[i].function(), 0;
	result = run_all(argc > 1 ? argv[1] : NULL);
	remove_directory();
	return result;
}
