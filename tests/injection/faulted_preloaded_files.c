/* SPDX-License-Identifier: MIT
 *
 * Scenarios of faulted_preloaded: files, by each function that opens them.
 */
#include "faulted_preloaded.h"

void closes(int file)
{
	if (file >= 0)
		real_call(SYS_close, file, 0, 0, 0, 0, 0);
}

static FILE *closed(FILE *stream)
{
	if (stream != NULL)
		fclose(stream);
	return NULL;
}

/* By the names that a program uses that is built for large files, one that is not, and fortified ones. */
static void open_by_each_name(void)
{
	static const char *const plain[] = { "open", "open64" }, *const fortified[] = { "__open_2", "__open64_2" };
	static const char *const at[] = { "openat", "openat64" }, *const fortified_at[] = { "__openat_2",
											    "__openat64_2" };
	static const char *const fresh[] = { "creat", "creat64" };
	static const char *const streams[] = { "fopen", "fopen64" }, *const again[] = { "freopen", "freopen64" },
				 *const nameless[] = { "tmpfile", "tmpfile64" };
	int flags = O_RDONLY | O_CLOEXEC, file;
	FILE *stream, *second;

	for (size_t i = 0; i < 2; i++) {
		TRY_NAMED(file, -1, plain[i], ((int (*)(const char *, int, ...))named(plain[i]))("/etc/passwd", flags));
		closes(file);
		TRY_NAMED(file, -1, fortified[i],
			  ((int (*)(const char *, int))named(fortified[i]))("/etc/passwd", flags));
		closes(file);
		TRY_NAMED(file, -1, fresh[i],
			  ((int (*)(const char *, mode_t))named(fresh[i]))("/dev/null", 0600));
		closes(file);
		TRY_NAMED(file, -1, at[i],
			  ((int (*)(int, const char *, int, ...))named(at[i]))(AT_FDCWD, "/etc/passwd", flags));
		closes(file);
		TRY_NAMED(file, -1, fortified_at[i],
			  ((int (*)(int, const char *, int))named(fortified_at[i]))(AT_FDCWD, "/etc/passwd", flags));
		closes(file);
		TRY_NAMED(stream, NULL, streams[i],
			  ((FILE * (*)(const char *, const char *)) named(streams[i]))("/etc/passwd", "re"));
		if (stream != NULL) {
			TRY_NAMED(second, NULL, again[i],
				  ((FILE * (*)(const char *, const char *, FILE *)) named(again[i]))("/etc/group", "re",
												     stream));
			closed(second);
		}
		TRY_NAMED(stream, NULL, nameless[i], ((FILE * (*)(void)) named(nameless[i]))());
		closed(stream);
	}
}

static void make_by_each_name(void)
{
	static const char *const names[] = { "mkstemp",	 "mkstemp64",  "mkostemp",  "mkostemp64",
					     "mkstemps", "mkstemps64", "mkostemps", "mkostemps64" };
	char path[64];
	int file;

	for (size_t i = 0; i < 8; i++) {
		bool suffix = i >= 4;
		snprintf(path, sizeof path, "/tmp/odfork-faults-XXXXXX%s", suffix ? ".x" : "");
		/* A function that does not take the argument does not read it. */
		TRY_NAMED(file, -1, names[i],
			  ((int (*)(char *, int, int))named(names[i]))(path, suffix ? 2 : O_CLOEXEC, O_CLOEXEC));
		if (file >= 0)
			MUST(unlink(path) == 0);
		closes(file);
	}
}

static void open_handle(void)
{
	union {
		struct file_handle handle;
		char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
	} of = { .handle = { .handle_bytes = MAX_HANDLE_SZ } };
	int mount, directory, file;

	if (name_to_handle_at(AT_FDCWD, "/etc/passwd", &of.handle, &mount, 0) != 0)
		return;
	directory = (int)real_call(SYS_openat, AT_FDCWD, (long)"/", O_RDONLY | O_DIRECTORY, 0, 0, 0);
	/* Not supported by every file system, nor permitted to every user. */
	arm("open_by_handle_at", FAULTS_LIBRARY);
	file = open_by_handle_at(directory, &of.handle, O_RDONLY);
	disarm();
	closes(file);
	closes(directory);
}

/* Calls after which the kernel keeps pages of the region. */
static void hand_over(int socket)
{
	enum { FLAGS = MSG_ZEROCOPY | MSG_DONTWAIT };
	struct iovec piece = { blocks[1], 100 };
	struct mmsghdr messages = { .msg_hdr = { .msg_iov = &piece, .msg_iovlen = 1 } };
	int pipes[2], result;

	MUST(pipe2(pipes, O_CLOEXEC) == 0);
	TRY(result, -1, vmsplice, (pipes[1], &piece, 1, SPLICE_F_NONBLOCK));
	TRY(result, -1, syscall, (SYS_vmsplice, pipes[1], &piece, 1, SPLICE_F_NONBLOCK));
	closes(pipes[0]);
	closes(pipes[1]);
	/* Without a receiver. */
	arm("send", FAULTS_LIBRARY);
	MUST(send(socket, blocks[1], 100, FLAGS) == -1);
	arm("sendto", FAULTS_LIBRARY);
	MUST(sendto(socket, blocks[1], 100, FLAGS, NULL, 0) == -1);
	arm("sendmsg", FAULTS_LIBRARY);
	MUST(sendmsg(socket, &messages.msg_hdr, FLAGS) == -1);
	arm("sendmmsg", FAULTS_LIBRARY);
	MUST(sendmmsg(socket, &messages, 1, FLAGS) == -1);
	disarm();
}

void files(void)
{
	static const char *const controls[] = { "fcntl", "fcntl64" };
	int file, result, on = 1;
	struct msghdr none = { 0 };
	struct mmsghdr no_more = { 0 };
	struct {
		uint64_t flags, mode, resolve;
	} how = { O_RDONLY | O_CLOEXEC, 0, 0 };

	open_by_each_name();
	make_by_each_name();
	open_handle();
#ifdef SYS_creat
	TRY(file, -1, syscall, (SYS_creat, "/dev/null", 0600));
	closes(file);
#endif
	TRY(file, -1, syscall, (SYS_openat2, AT_FDCWD, "/etc/passwd", &how, sizeof how));
	closes(file);
	TRY_NAMED(
	    file, -1, "openat2",
	    ((int (*)(int, const char *, void *, size_t))named("openat2"))(AT_FDCWD, "/etc/passwd", &how, sizeof how));
	closes(file);
	file = (int)real_call(SYS_memfd_create, (long)"faults", 0, 0, 0, 0, 0);
	if (file >= 0) {
		void *at;
		for (size_t i = 0; i < 2; i++)
			TRY_NAMED(result, -1, controls[i],
				  ((int (*)(int, int, ...))named(controls[i]))(file, F_SETFL, 0));
		arm("ioctl", FAULTS_LIBRARY);
		MUST(ioctl(file, TCGETS, &on) == -1);
		disarm();
		MUST(ftruncate(file, (off_t)PAGE) == 0);
		TRY(at, MAP_FAILED, mmap, (NULL, PAGE, PROT_READ, MAP_PRIVATE, file, 0));
		if (at != MAP_FAILED)
			MUST(real_call(SYS_munmap, (long)at, (long)PAGE, 0, 0, 0, 0) == 0);
		closes(file);
	}
	TRY(file, -1, socket, (AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
	if (file >= 0) {
		TRY(result, -1, setsockopt, (file, SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
		arm("recvmsg", FAULTS_LIBRARY);
		MUST(recvmsg(file, &none, MSG_DONTWAIT) == -1);
		disarm();
		arm("recvmmsg", FAULTS_LIBRARY);
		MUST(recvmmsg(file, &no_more, 1, MSG_DONTWAIT, NULL) == -1);
		disarm();
		hand_over(file);
		closes(file);
	}
	MUST(all_holds());
}
