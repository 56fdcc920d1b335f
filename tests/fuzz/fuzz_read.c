/* SPDX-License-Identifier: MIT
 *
 * Fuzzes data that is read from the kernel and from other processes: the text files of /proc, a process's pages and its
 * library's entries, records of a file, messages of a pool's channel. Each answer must be one that is documented, no
 * descriptor may stay open, no byte outside of the input may be read (sanitizers), and every reader must terminate.
 *
 * The readers' system calls come here (ODF_INJECT_FAILURES), and the command's libc calls do so by the linker's --wrap.
 * A file that they open below /proc and /sys has a part of the input as its content: each open gets the next part,
 * which ends with a NUL, and the opens after the last part get that part again. The input also sets how much each read
 * returns, as a line may be split between two reads.
 */
#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/vfs.h>

#include "../../src/capability/async_fork.h"
#include "../../src/capability/sandbox.h"
#include "../../src/cli/inspect.h"
#include "../../src/cli/record_line.h"
#include "../../src/cli/spawn_values.h"
#include "../../src/heap/pinned.h"
#include "../../src/pool/internal.h"
#include "../../src/pool/share.h"
#include "../../src/region/internal.h"
#include "../../src/sys/statm.h"

/* ---- The input as files ------------------------------------------------------------------------------------------ */

enum { FILES = 8, FIRST = 5000 };
static struct {
	const uint8_t *data;
	size_t size, next; /* next: where the part begins that is opened next */
	size_t piece;      /* most that a read gives */
	bool given;        /* the files of /proc are the input */
	size_t memory;     /* of the other process: what may still be read */
	struct {
		bool open;
		long type; /* of its file system */
		size_t from, to, at;
	} files[FILES];
} input;

static int open_input(void)
{
	const uint8_t *end;

	for (int i = 0; i < FILES; i++) {
		if (input.files[i].open)
			continue;
		end = memchr(input.data + input.next, '\0', input.size - input.next);
		input.files[i].open = true;
		input.files[i].from = input.files[i].at = input.next;
		input.files[i].to = end == NULL ? input.size : (size_t)(end - input.data);
		if (end != NULL)
			input.next = input.files[i].to + 1;
		return FIRST + i;
	}
	REQUIRE(!"more than a few descriptors at once");
	return -EMFILE;
}

static long read_input(int file, void *to, size_t size, size_t at)
{
	size_t left = input.files[file].to - input.files[file].from;

	left = at < left ? left - at : 0;
	if (size > input.piece)
		size = input.piece;
	if (size > left)
		size = left;
	if (size > 0) /* of a part without bytes there may be no address */
		memcpy(to, input.data + input.files[file].from + at, size);
	return (long)size;
}

static bool is_input(const char *path)
{
	return input.given && (strncmp(path, "/proc/", 6) == 0 || strncmp(path, "/sys/", 5) == 0);
}

long sys_call6(long number, long a, long b, long c, long d, long e, long f)
{
	int file = (int)a - FIRST;
	long result;

	if (number == SYS_openat && is_input((const char *)b) && !(c & O_DIRECTORY)) { /* our own descriptors are few */
		file = open_input() - FIRST;
		input.files[file].type = ((const char *)b)[1] == 'p' ? 0x9fa0 : 0x62656572;
		return FIRST + file;
	}
	if (number == SYS_readlinkat && is_input((const char *)b)) {
		size_t size = input.size < (size_t)d ? input.size : (size_t)d;
		memcpy((void *)c, input.data, size);
		return (long)size;
	}
	if (number == SYS_faccessat && input.given)
		return input.size % 2 == 0 ? 0 : -ENOENT;
	if (file >= 0 && file < FILES && input.files[file].open) {
		switch (number) {
		case SYS_read:
			result = read_input(file, (void *)b, (size_t)c, input.files[file].at - input.files[file].from);
			input.files[file].at += (size_t)result;
			return result;
		case SYS_fstatfs:
			*(struct statfs *)b = (struct statfs){ .f_type = input.files[file].type };
			return 0;
		case SYS_readlinkat:
			return read_input(file, (void *)c, (size_t)d, 0);
		case SYS_lseek:
			input.files[file].at = input.files[file].from;
			return 0;
		case SYS_ioctl:
			return -ENOTTY;
		case SYS_close:
			input.files[file].open = false;
			return 0;
		default:
			return -EBADF;
		}
	}
	result = syscall(number, a, b, c, d, e, f);
	return result == -1 ? -errno : result;
}

/* ---- The same for calls of libc ---- */

/* Named so or with 64, by how the headers are asked for large files. */
FILE *__real_fopen(const char *path, const char *mode);
FILE *__wrap_fopen(const char *path, const char *mode);
FILE *__wrap_fopen64(const char *path, const char *mode) __attribute__((alias("__wrap_fopen")));
int __wrap_open(const char *path, int flags, unsigned mode);
int __wrap_open64(const char *path, int flags, unsigned mode) __attribute__((alias("__wrap_open")));
ssize_t __real_readlink(const char *path, char *to, size_t size);
ssize_t __wrap_readlink(const char *path, char *to, size_t size);
DIR *__real_opendir(const char *path);
DIR *__wrap_opendir(const char *path);
ssize_t __wrap_process_vm_readv(pid_t pid, const struct iovec *to, unsigned long tos, const struct iovec *from,
				unsigned long froms, unsigned long flags);

static ssize_t read_cookie(void *cookie, char *to, size_t size)
{
	int file = (int)(intptr_t)cookie;
	long got = read_input(file, to, size, input.files[file].at - input.files[file].from);

	input.files[file].at += (size_t)got;
	return got;
}

static int close_cookie(void *cookie)
{
	input.files[(intptr_t)cookie].open = false;
	return 0;
}

FILE *__wrap_fopen(const char *path, const char *mode)
{
	cookie_io_functions_t calls = { .read = read_cookie, .close = close_cookie };

	if (!is_input(path)) /* the fuzzer's */
		return __real_fopen(path, mode);
	return fopencookie((void *)(intptr_t)(open_input() - FIRST), "r", calls);
}

/* Only what is read at offsets: page tables. The whole input is there. */
int __wrap_open(const char *path, int flags, unsigned mode)
{
	int fd;

	if (!is_input(path)) {
		long result = sys_call6(SYS_openat, AT_FDCWD, (long)path, flags, mode, 0, 0);
		errno = result < 0 ? (int)-result : errno;
		return result < 0 ? -1 : (int)result;
	}
	fd = (int)syscall(SYS_memfd_create, "input", 1u);
	REQUIRE(fd >= 0 && write(fd, input.data, input.size) == (ssize_t)input.size);
	return fd;
}

ssize_t __wrap_readlink(const char *path, char *to, size_t size)
{
	if (!is_input(path))
		return __real_readlink(path, to, size);
	size = size < input.size ? size : input.size;
	memcpy(to, input.data, size);
	return (ssize_t)size;
}

/* All processes of the machine, with the same maps each: none. But the descriptors of the one, which are ours. */
DIR *__wrap_opendir(const char *path)
{
	if (input.given && strcmp(path, "/proc") == 0)
		return NULL;
	return __real_opendir(is_input(path) ? "/proc/self/fd" : path);
}

/* Memory of the other process: the input, over and over. */
ssize_t __wrap_process_vm_readv(pid_t pid, const struct iovec *to, unsigned long tos, const struct iovec *from,
				unsigned long froms, unsigned long flags)
{
	size_t at = input.size > 0 ? (uintptr_t)from->iov_base / 8 * 8 % input.size : 0, count;

	(void)pid, (void)tos, (void)froms, (void)flags;
	if (input.size == 0 || to->iov_len > input.memory) {
		errno = EFAULT;
		return -1;
	}
	input.memory -= to->iov_len;
	for (size_t done = 0; done < to->iov_len; done += count, at = 0) {
		count = input.size - at < to->iov_len - done ? input.size - at : to->iov_len - done;
		memcpy((char *)to->iov_base + done, input.data + at, count);
	}
	return (ssize_t)to->iov_len;
}

/* ---- Readers ----------------------------------------------------------------------------------------------------- */

static void try_maps(void)
{
	static const uintptr_t places[] = { 0, 1, 0x1000, 0x400000, 0x7ffff7000000, 0x1000, UINTPTR_MAX };
	struct region_mapping found;
	struct region_maps maps;

	REQUIRE(region_maps_begin(&maps) == 0);
	for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
		int error = region_maps_find(&maps, (char *)places[i], &found);
		REQUIRE(error == ENOENT || (error == 0 && (uintptr_t)found.end > places[i]));
	}
	region_maps_again(&maps);
	(void)region_maps_find(&maps, (char *)places[2], &found);
	region_maps_end(&maps);
}

static int function(const void *data, size_t length, odf_output *output)
{
	(void)data, (void)length, (void)output;
	return 0;
}

static void try_code(void)
{
	static struct share share;
	struct code_cache cache = { 0 };

	share_note_code(&share);
	REQUIRE(share.code_count <= SHARE_CODE_MOST);
	(void)share_has_code(&share, &cache, function);
	share.code_count = (unsigned)input.size * 0x01010101u; /* the workers' to write */
	(void)share_has_code(&share, &cache, function);
}

static void try_cgroup(void)
{
	char path[PATH_MAX];
	uint64_t mark = 0;

	for (int everywhere = 0; everywhere < 2; everywhere++) {
		int error = async_fork_find(everywhere, path, &mark);
		REQUIRE(error <= 0 && error > -4096);
		if (error == 0) {
			REQUIRE(memchr(path, '\0', sizeof path) != NULL && mark != 0);
			(void)async_fork_alone(path);
		}
		input.next = 0;
	}
	(void)async_fork_cgroup();
}

static void try_status(void)
{
	struct sandbox sandbox;

	(void)sandbox_read(0, &sandbox);
	(void)sandbox_read(1, &sandbox);
	(void)(statm_resident_bytes() + statm_private_bytes());
	REQUIRE(pinned_process() < ODF_REASON_COUNT);
}

static void try_process(void)
{
	static struct inspect_process process;
	static struct inspect_memory memory;
	static struct inspect_library library;
	struct inspect_obstacles obstacles = { 0 };

	if (inspect_process_read(1, &process)) {
		REQUIRE(memchr(process.name, '\0', sizeof process.name) != NULL && process.pid >= INT_MIN);
		REQUIRE(memchr(process.program, '\0', sizeof process.program) != NULL);
	}
	process.pid = 1;
	inspect_descriptors_look(&process, &obstacles);
	REQUIRE(obstacles.count <= INSPECT_OBSTACLES);
	if (inspect_memory_read(1, &memory) == 0)
		REQUIRE(memory.mappings > 0 && memory.path_count <= INSPECT_PATHS && memory.scattered <= 1);
	input.next = 0;
	inspect_library_read(&process, &memory, &library);
	REQUIRE(memchr(library.version, '\0', sizeof library.version) != NULL && library.regions <= 256);
	inspect_memory_free(&memory);
}

static void try_record(void)
{
	static char line[RECORD_LINE_MOST];
	struct record_line record;

	memcpy(line, input.data, input.size < sizeof line ? input.size : sizeof line - 1);
	line[input.size < sizeof line ? input.size : sizeof line - 1] = '\0';
	if (!record_line_read(line, &record))
		return;
	REQUIRE(memchr(record.reason, '\0', sizeof record.reason) != NULL);
	REQUIRE(memchr(record.program, '\0', sizeof record.program) != NULL);
	REQUIRE(record.held_us >= 0 && record.call[0] != '\0' && record.strategy[0] != '\0');
}

static void try_options(void)
{
	char text[512];
	struct rlimit limit;
	cpu_set_t processors;
	sigset_t signals;
	long number = 0;
	int which, priority;

	memcpy(text, input.data, input.size < sizeof text ? input.size : sizeof text - 1);
	text[input.size < sizeof text ? input.size : sizeof text - 1] = '\0';
	if (read_number(text, 10, -5, 99, &number))
		REQUIRE(number >= -5 && number <= 99);
	if (read_signal(text, &which))
		REQUIRE(which > 0 && which <= SIGRTMAX);
	if (read_signals(text, &signals))
		REQUIRE(sigismember(&signals, SIGKILL) >= 0);
	if (read_processors(text, &processors))
		REQUIRE(CPU_COUNT(&processors) > 0);
	if (read_limit(text, &which, &limit))
		REQUIRE(which >= 0 && (unsigned)which < RLIM_NLIMITS);
	(void)read_policy(text, &which, &priority);
}

/* A message of any length and beginning, with descriptors: whole and with all of them, or refused and with all that
 * came in the caller's hands or closed. */
static void try_message(void)
{
	struct pool_message message;
	int ends[2], fds[4], sent[4];
	char bytes[256];
	size_t room = input.size > 0 ? input.data[0] % 5 : 0, with = input.size > 1 ? input.data[1] % 5 : 0,
	       count = room;
	struct iovec vector = { (void *)(uintptr_t)input.data, input.size < 4096 ? input.size : 4096 };
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof sent)];
	} control;
	struct msghdr header = { .msg_iov = &vector, .msg_iovlen = 1 };
	long length;
	int lowest = dup(STDOUT_FILENO);

	REQUIRE(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
	for (size_t i = 0; i < 4; i++)
		sent[i] = ends[i % 2];
	if (with > 0) {
		memset(&control, 0, sizeof control);
		header.msg_control = &control;
		header.msg_controllen = CMSG_SPACE(with * sizeof *sent);
		control.align = (struct cmsghdr){ .cmsg_level = SOL_SOCKET,
						  .cmsg_type = SCM_RIGHTS,
						  .cmsg_len = CMSG_LEN(with * sizeof *sent) };
		memcpy(CMSG_DATA(&control.align), sent, with * sizeof *sent);
	}
	REQUIRE(sendmsg(ends[0], &header, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0);
	length = pool_receive(ends[1], &message, bytes, sizeof bytes, fds, &count, 0);
	REQUIRE(count <= room && length <= (long)sizeof bytes);
	REQUIRE(length >= 0 ? (size_t)length == vector.iov_len - sizeof message
			    : length == -EMSGSIZE || length == -EPIPE);
	for (size_t i = 0; i < count; i++)
		REQUIRE(close(fds[i]) == 0);
	count = 0;
	REQUIRE(pool_receive(ends[1], &message, bytes, sizeof bytes, fds, &count, 0) == -EAGAIN);
	close(ends[0]);
	close(ends[1]);
	/* Nothing is left open: what comes next has the numbers behind. */
	REQUIRE(fcntl(lowest, F_DUPFD_CLOEXEC, lowest) == lowest + 1 &&
		fcntl(lowest, F_DUPFD_CLOEXEC, lowest) == lowest + 2);
	REQUIRE(fcntl(lowest, F_DUPFD_CLOEXEC, lowest) == lowest + 3);
	for (int fd = lowest; fd <= lowest + 3; fd++)
		close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const readers[])(void) = { try_maps,   try_code,    try_cgroup, try_status, try_process,
						 try_record, try_options, try_message };

	if (size < 2 || size > 1 << 16)
		return 0;
	input.data = data + 2;
	input.size = size - 2;
	input.piece = data[1] == 0 ? SIZE_MAX : data[1];
	input.next = 0;
	input.memory = (size_t)3 << 20;
	input.given = true;
	readers[fuzz_kind(data[0], sizeof readers / sizeof *readers)]();
	input.given = false;
	for (int i = 0; i < FILES; i++)
		REQUIRE(!input.files[i].open);
	return 0;
}

#ifndef ODF_LIBFUZZER
int main(void)
{
	static struct corpus corpus;
	static uint8_t bytes[1 << 16];
	long count = 0;

	stderr = fopen("/dev/null", "w"); /* what the command says of its input; the sanitizers have the descriptor */
	REQUIRE(stderr != NULL);
	corpus_read(&corpus, "read");
	for (size_t i = 0; i < corpus.count; i++)
		(void)LLVMFuzzerTestOneInput(corpus.inputs[i].data, corpus.inputs[i].size);
	for (; !is_over(count, 50000); count++) {
		size_t which = chance(corpus.count), size = corpus.inputs[which].size;
		memcpy(bytes, corpus.inputs[which].data, size);
		if (chance(4) == 0)
			size = chance(size) + 1;
		bytes[1 < size ? 1 : 0] = (uint8_t)(size > 1 ? chance(256) : bytes[0]);
		if (size > 2 && chance(8) != 0)
			change(bytes + 2, size - 2, 128);
		(void)LLVMFuzzerTestOneInput(bytes, size);
	}
	printf("1..1\n# %ld inputs beside %zu of the corpus\nok 1 - readers of what others write\n", count,
	       corpus.count);
	return 0;
}
#endif
