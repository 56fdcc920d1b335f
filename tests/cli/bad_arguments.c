/* SPDX-License-Identifier: MIT
 *
 * Calls with bad pointers and odd arguments, each with its result and errno on a line, or the signal that it ended in.
 * bad_arguments.sh compares what it says with and without the library: each call is one that the library interposes, on
 * memory that is in the heap where that is awake.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "odfork.h"
#include "../support/real_call.h"

#define PAGE ((size_t)4096)
#define SIZE ((size_t)8 << 20)
#define PRIVATE (MAP_PRIVATE | MAP_ANONYMOUS)

extern char **environ;
static sigjmp_buf before;

static void on_fault(int number)
{
	siglongjmp(before, number);
}

/* Of what is a place or a number that differs from run to run only that it is one. */
static void say(const char *name, long result)
{
	int error = errno;

	if (result < 0 && result >= -4095)
		printf("%s: %ld, errno %d\n", name, result, error);
	else
		printf("%s: %s\n", name, result == 0 ? "0" : "more");
}

#define TRY(name, ...)                                                                                  \
	do {                                                                                            \
		int number = sigsetjmp(before, 1);                                                      \
		errno = 0;                                                                              \
		if (number == 0)                                                                        \
			say(name, (long)(__VA_ARGS__));                                                 \
		else                                                                                    \
			printf("%s: signal %d\n", name, number);                                        \
	} while (0)
#define SAY(...) TRY(#__VA_ARGS__, __VA_ARGS__)

/* A call that may make a process: the child ends at once. */
static long make(long pid)
{
	int error = errno, status = 0;

	if (pid == 0)
		_exit(7);
	if (pid > 0 && (waitpid((pid_t)pid, &status, __WALL) != pid || WEXITSTATUS(status) != 7))
		return -2;
	errno = error;
	return pid;
}

static char *memory;	/* in the heap where there is one */
static char *none;	/* may not be read */
static char *page_end;	/* behind which none lies */
static char *const unmapped = (char *)((uintptr_t)1 << 46);
static char *const beyond = (char *)0xffff800000000000u;

struct clone3_arguments {
	uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size,
		cgroup;
	uint64_t more[5];
};

static long clone3(const struct clone3_arguments *arguments, size_t size)
{
	return make(syscall(SYS_clone3, arguments, size));
}

static void try_clone3(void)
{
	static struct clone3_arguments good = { .exit_signal = SIGCHLD };
	struct clone3_arguments odd = good;
	static const size_t sizes[] = { 0, 1, 40, 47, 48, 63, 64, 80, 88, 89, 4096, 4097, SIZE_MAX };
	const void *const bad[] = { NULL, none, unmapped, beyond, page_end - 40, page_end - 8, (void *)1 };
	char name[64];

	for (volatile size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		for (volatile size_t j = 0; j < sizeof bad / sizeof *bad; j++) {
			snprintf(name, sizeof name, "clone3(bad %zu, %zu)", j, sizes[i]);
			TRY(name, clone3(bad[j], sizes[i]));
		}
		snprintf(name, sizeof name, "clone3(good, %zu)", sizes[i]);
		if (sizes[i] <= sizeof good || sizes[i] > PAGE)
			TRY(name, clone3(&good, sizes[i]));
	}
	/* At odd places. */
	memcpy(page_end - 64, &good, 64);
	SAY(clone3((void *)(page_end - 64), 64));
	SAY(clone3((void *)(page_end - 64), 88));
	memcpy(memory + 3, &good, sizeof good);
	SAY(clone3((void *)(memory + 3), 88));
	good.more[0] = 1;
	SAY(clone3(&good, 96));
	SAY(clone3(&good, 88));
	good.more[0] = 0;
#define ODD(member, value) (odd = good, odd.member = (value), clone3(&odd, 88))
	SAY(ODD(flags, (uint64_t)1 << 63));
	SAY(ODD(flags, CLONE_THREAD));
	SAY(ODD(flags, CLONE_SIGHAND));
	SAY(ODD(flags, CLONE_FS | CLONE_NEWNS));
	SAY(ODD(flags, CLONE_THREAD | CLONE_SIGHAND));
	SAY(ODD(flags, CLONE_PIDFD));
	SAY(ODD(exit_signal, 300));
	SAY(ODD(stack, 4096));
	SAY(ODD(stack_size, 4096));
	SAY(ODD(set_tid_size, 100));
	SAY(ODD(set_tid, 1));
}

static int child(void *unused)
{
	(void)unused;
	return 7;
}

static void try_clone(void)
{
	char *stack = memory + 1 * PAGE * 256;

	SAY(make(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0)));
	SAY(make(syscall(SYS_clone, CLONE_THREAD, 0, 0, 0, 0)));
	SAY(make(syscall(SYS_clone, CLONE_SIGHAND | SIGCHLD, 0, 0, 0, 0)));
	SAY(make(syscall(SYS_clone, CLONE_THREAD | CLONE_SIGHAND, 0, 0, 0, 0)));
	SAY(make(syscall(SYS_clone, CLONE_NEWNS | CLONE_FS | SIGCHLD, 0, 0, 0, 0)));
	SAY(make(syscall(SYS_clone, CLONE_PIDFD | CLONE_PARENT_SETTID | SIGCHLD, 0, memory, 0, 0)));
	SAY(make(syscall(SYS_clone, CLONE_PIDFD | CLONE_DETACHED | SIGCHLD, 0, memory, 0, 0)));
	SAY(make(syscall(SYS_clone, CLONE_PIDFD | SIGCHLD, 0, none, 0, 0)));
	SAY(make(syscall(SYS_clone, CLONE_PARENT_SETTID | SIGCHLD, 0, none, 0, 0)));
	SAY(make(syscall(SYS_clone, CLONE_SIGHAND | SIGCHLD, stack, 0, 0, 0)));
	SAY(make(syscall(FORK_BY_NUMBER)));
	SAY(make(clone(NULL, stack, SIGCHLD, NULL)));
	SAY(make(clone(child, NULL, SIGCHLD, NULL)));
	SAY(make(clone(child, NULL, CLONE_VM | SIGCHLD, NULL)));
	SAY(make(clone(NULL, NULL, CLONE_VM | SIGCHLD, NULL)));
	SAY(make(clone(child, stack, SIGCHLD, NULL)));
	SAY(make(clone(child, stack, CLONE_SIGHAND | SIGCHLD, NULL)));
	SAY(make(clone(child, stack, CLONE_THREAD, NULL)));
	SAY(make(clone(child, stack, CLONE_THREAD | CLONE_VM, NULL)));
	SAY(make(clone(child, stack, CLONE_NEWNS | CLONE_FS | SIGCHLD, NULL)));
	SAY(make(clone(child, stack, CLONE_PIDFD | SIGCHLD, NULL, none)));
}

/* By libc's function or by syscall(). */
#define BOTH(number, function, ...)                                                  \
	do {                                                                         \
		TRY(#function "(" #__VA_ARGS__ ")", function(__VA_ARGS__));            \
		TRY("syscall " #function "(" #__VA_ARGS__ ")", syscall(number, __VA_ARGS__)); \
	} while (0)

static void try_mapping(void)
{
	unsigned char states[64], *volatile nothing = NULL;

	BOTH(SYS_munmap, munmap, memory + 1, PAGE);
	BOTH(SYS_munmap, munmap, memory, (size_t)0);
	BOTH(SYS_munmap, munmap, memory, SIZE_MAX - PAGE);
	BOTH(SYS_munmap, munmap, beyond, PAGE);
	BOTH(SYS_mprotect, mprotect, memory + 1, PAGE, PROT_READ);
	BOTH(SYS_mprotect, mprotect, memory, PAGE, 0x40);
	BOTH(SYS_mprotect, mprotect, memory, PAGE, PROT_GROWSDOWN | PROT_GROWSUP | PROT_READ);
	BOTH(SYS_mprotect, mprotect, memory, SIZE_MAX - PAGE, PROT_READ);
	BOTH(SYS_mprotect, mprotect, memory, (size_t)0, PROT_READ);
	BOTH(SYS_mprotect, mprotect, unmapped, PAGE, PROT_READ);
	BOTH(SYS_pkey_mprotect, pkey_mprotect, memory, PAGE, PROT_READ, 100);
	BOTH(SYS_pkey_mprotect, pkey_mprotect, memory, PAGE, PROT_READ, -2);
	BOTH(SYS_madvise, madvise, memory + 1, PAGE, MADV_DONTNEED);
	BOTH(SYS_madvise, madvise, memory, PAGE, 12345);
	BOTH(SYS_madvise, madvise, memory, PAGE, -1);
	BOTH(SYS_madvise, madvise, memory, SIZE_MAX - PAGE, MADV_DONTNEED);
	BOTH(SYS_madvise, madvise, memory, (size_t)0, MADV_DONTNEED);
	BOTH(SYS_madvise, madvise, beyond, PAGE, MADV_DONTNEED);
	SAY(posix_madvise(memory + 1, PAGE, POSIX_MADV_WILLNEED));
	SAY(posix_madvise(memory, PAGE, 12345));
	BOTH(SYS_mincore, mincore, memory, PAGE, nothing);
	BOTH(SYS_mincore, mincore, memory, PAGE, (unsigned char *)none);
	BOTH(SYS_mincore, mincore, memory, PAGE, (unsigned char *)beyond);
	BOTH(SYS_mincore, mincore, memory + 1, PAGE, states);
	BOTH(SYS_mincore, mincore, memory, SIZE_MAX - PAGE, states);
	BOTH(SYS_mincore, mincore, unmapped, PAGE, states);
	BOTH(SYS_mincore, mincore, memory, (size_t)0, nothing);
	BOTH(SYS_msync, msync, memory, PAGE, 0x100);
	BOTH(SYS_msync, msync, memory, PAGE, MS_SYNC | MS_ASYNC);
	BOTH(SYS_msync, msync, memory + 1, PAGE, MS_SYNC);
	BOTH(SYS_msync, msync, memory, SIZE_MAX - PAGE, MS_SYNC);
	BOTH(SYS_mlock2, mlock2, memory, PAGE, 0x100u);
	BOTH(SYS_mlock, mlock, memory, SIZE_MAX - PAGE);
	BOTH(SYS_mlock, mlock, unmapped, PAGE);
	BOTH(SYS_munlock, munlock, unmapped, PAGE);
	BOTH(SYS_munlock, munlock, memory, SIZE_MAX - PAGE);
	BOTH(SYS_mlockall, mlockall, 0);
	BOTH(SYS_mlockall, mlockall, 0x100);
	BOTH(SYS_mlockall, mlockall, MCL_ONFAULT);
	BOTH(SYS_mlockall, mlockall, MCL_CURRENT | 0x100);
	BOTH(SYS_mmap, mmap, NULL, (size_t)0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, (off_t)0);
	BOTH(SYS_mmap, mmap, NULL, SIZE, PROT_READ | PROT_WRITE, MAP_ANONYMOUS, -1, (off_t)0);
	BOTH(SYS_mmap, mmap, NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, -1, (off_t)0);
	BOTH(SYS_mmap, mmap, NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, (off_t)1);
	BOTH(SYS_mmap, mmap, NULL, SIZE_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, (off_t)0);
	BOTH(SYS_mmap, mmap, memory + 1, PAGE, PROT_READ | PROT_WRITE, PRIVATE | MAP_FIXED, -1, (off_t)0);
	BOTH(SYS_mmap, mmap, memory, SIZE_MAX - PAGE, PROT_READ | PROT_WRITE, PRIVATE | MAP_FIXED, -1, (off_t)0);
	BOTH(SYS_mmap, mmap, beyond, PAGE, PROT_READ | PROT_WRITE, PRIVATE | MAP_FIXED, -1, (off_t)0);
	BOTH(SYS_mmap, mmap, memory, PAGE, PROT_READ | PROT_WRITE, PRIVATE | MAP_FIXED_NOREPLACE, -1, (off_t)0);
}

static void try_mremap(void)
{
	BOTH(SYS_mremap, mremap, memory + 1, PAGE, 2 * PAGE, MREMAP_MAYMOVE, NULL);
	BOTH(SYS_mremap, mremap, memory, PAGE, (size_t)0, MREMAP_MAYMOVE, NULL);
	BOTH(SYS_mremap, mremap, memory, PAGE, 2 * PAGE, 0x10, NULL);
	BOTH(SYS_mremap, mremap, memory, PAGE, 2 * PAGE, -1, NULL);
	BOTH(SYS_mremap, mremap, memory, PAGE, PAGE, MREMAP_FIXED, memory + SIZE / 2);
	BOTH(SYS_mremap, mremap, memory, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, memory + SIZE / 2 + 1);
	BOTH(SYS_mremap, mremap, memory, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, memory + PAGE);
	BOTH(SYS_mremap, mremap, memory, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, memory);
	BOTH(SYS_mremap, mremap, memory, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, beyond);
	BOTH(SYS_mremap, mremap, memory, PAGE, PAGE, MREMAP_DONTUNMAP, NULL);
	BOTH(SYS_mremap, mremap, memory, PAGE, 2 * PAGE, MREMAP_DONTUNMAP | MREMAP_MAYMOVE, NULL);
	BOTH(SYS_mremap, mremap, memory, PAGE, SIZE_MAX - PAGE, MREMAP_MAYMOVE, NULL);
	BOTH(SYS_mremap, mremap, memory, SIZE_MAX - PAGE, SIZE_MAX - PAGE, MREMAP_MAYMOVE, NULL);
	BOTH(SYS_mremap, mremap, unmapped, PAGE, 2 * PAGE, MREMAP_MAYMOVE, NULL);
	BOTH(SYS_mremap, mremap, beyond, PAGE, 2 * PAGE, MREMAP_MAYMOVE, NULL);
}

static long advise(int process, const void *pieces, size_t count, int advice, unsigned flags)
{
	return syscall(SYS_process_madvise, process, pieces, count, advice, flags);
}

static void try_process_madvise(void)
{
	int self = (int)syscall(SYS_pidfd_open, getpid(), 0), file = open("/dev/null", O_RDONLY);
	struct iovec good[2] = { { memory, PAGE }, { memory + PAGE, PAGE } };
	struct iovec huge[2] = { { memory, PAGE }, { memory, SIZE_MAX } };
	struct iovec odd[2] = { { memory, PAGE }, { memory + 1, PAGE } };
	struct iovec nowhere[2] = { { memory, PAGE }, { unmapped, PAGE } };

	for (int way = 0; way < 2; way++) {
		const char *name = way == 0 ? "process_madvise" : "syscall process_madvise";
#define ADVISE(...) (printf("%s ", name), (way == 0 ? process_madvise(__VA_ARGS__) : advise(__VA_ARGS__)))
		SAY(ADVISE(self, good, 2, MADV_WILLNEED, 0));
		SAY(ADVISE(self, NULL, 0, MADV_WILLNEED, 0));
		SAY(ADVISE(self, NULL, 1, MADV_WILLNEED, 0));
		SAY(ADVISE(self, (const struct iovec *)none, 1, MADV_WILLNEED, 0));
		SAY(ADVISE(self, (const struct iovec *)unmapped, 2, MADV_WILLNEED, 0));
		SAY(ADVISE(self, (const struct iovec *)beyond, 2, MADV_WILLNEED, 0));
		SAY(ADVISE(self, (const struct iovec *)(page_end - 8), 1, MADV_WILLNEED, 0));
		SAY(ADVISE(self, good, 2000, MADV_WILLNEED, 0));
		SAY(ADVISE(self, good, 2, 12345, 0));
		SAY(ADVISE(self, good, 2, MADV_WILLNEED, 1));
		SAY(ADVISE(self, huge, 2, MADV_WILLNEED, 0));
		SAY(ADVISE(self, odd, 2, MADV_WILLNEED, 0));
		SAY(ADVISE(self, nowhere, 2, MADV_WILLNEED, 0));
		SAY(ADVISE(-1, good, 2, MADV_WILLNEED, 0));
		SAY(ADVISE(file, good, 2, MADV_WILLNEED, 0));
		SAY(ADVISE(1000000, good, 2, MADV_WILLNEED, 0));
	}
	close(self);
	close(file);
}

static void try_files(void)
{
	const char *const bad[] = { NULL, none, unmapped, beyond };
	struct flock *lock = (struct flock *)(void *)none;
	pid_t pid = -5;

	memcpy(page_end - 3, "/no", 3); /* without an end */
	for (volatile size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		printf("%zu: ", i);
		SAY(open(bad[i], O_RDONLY));
		SAY(open(bad[i], O_RDONLY | O_DIRECT));
		SAY(open64(bad[i], O_CREAT | O_WRONLY, 0600));
		SAY(openat(AT_FDCWD, bad[i], O_RDONLY));
		SAY(openat(-1, bad[i], O_RDONLY));
		SAY(openat64(AT_FDCWD, bad[i], O_RDONLY));
		SAY(syscall(SYS_openat, AT_FDCWD, bad[i], O_RDONLY, 0));
		SAY(syscall(SYS_openat2, AT_FDCWD, "/dev/null", bad[i], 24));
		SAY(syscall(SYS_openat2, AT_FDCWD, bad[i], bad[i], 24));
		SAY(syscall(SYS_futex, bad[i], FUTEX_WAKE, 1, NULL, NULL, 0));
		SAY(syscall(SYS_io_setup, 4, bad[i]));
		if (bad[i] != NULL) /* libc itself looks at none */
			SAY(posix_spawn(&pid, bad[i], NULL, NULL, (char *[]){ NULL }, NULL));
	}
	SAY(open(page_end - 3, O_RDONLY));
	SAY(posix_spawn(&pid, page_end - 3, NULL, NULL, (char *[]){ NULL }, NULL));
	SAY(posix_spawn(&pid, "/nowhere", NULL, NULL, (char *[]){ NULL }, NULL));
	SAY(posix_spawnp(&pid, "nowhere", NULL, NULL, (char *[]){ NULL }, NULL));
	SAY(posix_spawn(&pid, "/bin/true", NULL, NULL, (char **)(void *)none, NULL));
	SAY(posix_spawn(&pid, "/bin/true", NULL, NULL, (char *[]){ none, NULL }, NULL));
	SAY(posix_spawn(&pid, "/bin/true", NULL, NULL, (char *[]){ NULL }, (char **)(void *)none));
	SAY(pid == -5);
	SAY(open("", O_RDONLY));
	SAY(open("/dev/null", O_TMPFILE | O_RDWR, 0600));
	SAY(openat(12345, "null", O_RDONLY));
	SAY(fcntl(12345, F_SETFL, O_DIRECT));
	SAY(fcntl(0, 12345, 0));
	SAY(fcntl(0, F_GETLK, lock));
	SAY(fcntl64(0, F_GETLK, lock));
	SAY(syscall(SYS_futex, memory + 1, FUTEX_WAKE, 1, NULL, NULL, 0));
	SAY(syscall(SYS_futex, memory, 12345, 1, NULL, NULL, 0));
	SAY(syscall(99999, 1, 2, 3));
	SAY(syscall(-1));
}

/* Nothing is executed: what is named is not there, cannot be read, or comes with what cannot be. */
static void try_execution(void)
{
	char *const bad[] = { NULL, none, unmapped, beyond, page_end - 3 };
	char *good_arguments[] = { (char[]){ "x" }, NULL }, *bad_entry[] = { none, NULL };
	char *bad_variable[] = { (char[]){ "LD_PRELOAD=libodfork.so.0" }, none, NULL };

	for (volatile size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		printf("%zu: ", i);
		SAY(execve(bad[i], good_arguments, environ));
		SAY(syscall(SYS_execve, bad[i], good_arguments, environ));
		SAY(syscall(SYS_execveat, AT_FDCWD, bad[i], good_arguments, environ, 0));
		SAY(syscall(SYS_execveat, -1, bad[i], good_arguments, environ, AT_EMPTY_PATH));
		SAY(execv(bad[i], good_arguments));
		SAY(execl(bad[i], "x", (char *)NULL));
		if (bad[i] == NULL) /* what was not given is none */
			continue;
		SAY(execve("/bin/true", (char **)(void *)bad[i], environ));
		SAY(execve("/bin/true", good_arguments, (char **)(void *)bad[i]));
		SAY(syscall(SYS_execve, "/bin/true", good_arguments, bad[i]));
		SAY(syscall(SYS_execveat, AT_FDCWD, "/bin/true", good_arguments, bad[i], 0));
	}
	SAY(execve("/nowhere", good_arguments, bad_entry));
	SAY(execve("/bin/true", good_arguments, bad_entry));
	SAY(execve("/bin/true", good_arguments, bad_variable));
	SAY(execve("/bin/true", bad_entry, environ));
	SAY(execve("/dev/null", good_arguments, environ));
	SAY(execvp("", good_arguments));
	SAY(execvp("nowhere", good_arguments));
	SAY(fexecve(-1, good_arguments, environ));
	SAY(fexecve(12345, good_arguments, environ));
	SAY(syscall(SYS_execveat, AT_FDCWD, "/bin/true", good_arguments, environ, 0x12345));
}

static void try_waiting(void)
{
	int *status = (int *)(void *)none;
	siginfo_t *information = (siginfo_t *)(void *)none;

	SAY(waitpid(-1, status, WNOHANG));
	SAY(waitpid(1, NULL, 0));
	SAY(waitpid(-1, NULL, 0x12345));
	SAY(wait4(-1, status, WNOHANG, (struct rusage *)(void *)none));
	SAY(wait3(status, WNOHANG, NULL));
	SAY(waitid(P_ALL, 0, information, WEXITED | WNOHANG));
	SAY(waitid(P_ALL, 0, NULL, 0));
	SAY(waitid((idtype_t)99, 0, NULL, WEXITED));
	SAY(waitid(P_PIDFD, 12345, NULL, WEXITED));
	SAY(syscall(SYS_wait4, -1, status, WNOHANG, none));
	SAY(syscall(SYS_waitid, P_ALL, 0, information, WEXITED | WNOHANG, none));
	SAY(syscall(SYS_waitid, 99, 0, NULL, WEXITED, NULL));
}

static void try_descriptors(void)
{
	int pair[2] = { -1, -1 };
	char byte = 'x';
	struct iovec one = { none, 1 };
	struct msghdr header = { .msg_iov = &one, .msg_iovlen = 1 }, huge = { .msg_iov = &one, .msg_iovlen = 100000 };
	char *const bad[] = { NULL, none, unmapped, beyond, page_end - 8 };

	if (socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) != 0)
		return;
	for (volatile size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct msghdr *message = (struct msghdr *)(void *)bad[i];
		printf("%zu: ", i);
		SAY(write(pair[0], &byte, 1));
		SAY(recvmsg(pair[1], message, MSG_DONTWAIT));
		SAY(syscall(SYS_recvmsg, pair[1], message, MSG_DONTWAIT));
		SAY(recvmmsg(pair[1], (struct mmsghdr *)(void *)bad[i], 1, MSG_DONTWAIT, NULL));
		SAY(syscall(SYS_recvmmsg, pair[1], bad[i], 1, MSG_DONTWAIT, NULL));
		SAY(recv(pair[1], &byte, 1, MSG_DONTWAIT));
		SAY(setsockopt(pair[0], SOL_SOCKET, SO_RCVBUF, bad[i], 4));
		SAY(syscall(SYS_setsockopt, pair[0], SOL_SOCKET, SO_RCVBUF, bad[i], 4));
		SAY(ioctl(pair[0], 0x541B, bad[i])); /* FIONREAD */
		SAY(syscall(SYS_ioctl, pair[0], 0x541B, bad[i]));
		SAY(syscall(SYS_io_uring_setup, 4, bad[i]));
		SAY(open_by_handle_at(AT_FDCWD, (struct file_handle *)(void *)bad[i], O_RDONLY));
		SAY(syscall(SYS_open_by_handle_at, AT_FDCWD, bad[i], O_RDONLY));
	}
	SAY(recvmsg(pair[1], &header, MSG_DONTWAIT));
	SAY(write(pair[0], &byte, 1));
	SAY(recvmsg(pair[1], &header, MSG_DONTWAIT));
	SAY(recvmsg(pair[1], &huge, MSG_DONTWAIT));
	SAY(recvmsg(-1, &header, 0));
	SAY(setsockopt(-1, SOL_SOCKET, SO_RCVBUF, &byte, 1));
	SAY(setsockopt(pair[0], 12345, 12345, &byte, 1));
	SAY(ioctl(-1, 0x541B, &byte));
	SAY(ioctl(pair[0], 0x12345678, &byte));
	SAY(socket(12345, 1, 0));
	SAY(socket(AF_INET, 0x7777, 0));
	SAY(syscall(SYS_socket, 12345, 1, 0));
	SAY(syscall(SYS_pidfd_getfd, -1, 0, 0));
	SAY(syscall(SYS_pidfd_getfd, 0, 0, 1));
	SAY(syscall(SYS_userfaultfd, 0x40000000));
	SAY(syscall(SYS_openat2, AT_FDCWD, "/dev/null", memory, 4097));
	SAY(syscall(SYS_openat2, AT_FDCWD, "/dev/null", memory, 8));
	SAY(syscall(SYS_openat2, AT_FDCWD, "/dev/null", page_end - 8, 24));
	SAY(fopen("/nowhere", "r") != NULL);
	SAY(fopen("/dev/null", "what") != NULL);
	SAY(shmat(12345678, NULL, 0) == (void *)-1 ? -1 : 0);
	SAY(shmat(12345678, memory + 1, 0) == (void *)-1 ? -1 : 0);
	SAY(shmdt(memory));
	SAY(shmdt(memory + 1));
	SAY(shmdt(beyond));
	SAY(syscall(SYS_remap_file_pages, memory + 1, PAGE, 0, 0, 0));
	SAY(syscall(SYS_remap_file_pages, memory, PAGE, PROT_READ, 0, 0));
	SAY(syscall(SYS_remap_file_pages, beyond, PAGE, 0, 0, 0));
	SAY(syscall(462, memory + 1, PAGE, 0)); /* mseal */
	SAY(syscall(462, memory, PAGE, 1));
	SAY(syscall(462, unmapped, PAGE, 0));
	SAY(syscall(462, memory, SIZE_MAX - PAGE, 0));
	close(pair[0]);
	close(pair[1]);
}

static void try_limits(void)
{
	struct rlimit odd = { 2, 1 };
	const struct rlimit *const bad[] = { (void *)none, (void *)unmapped, (void *)beyond, (void *)(page_end - 8) };

	for (volatile size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		printf("%zu: ", i);
		SAY(setrlimit(RLIMIT_AS, bad[i]));
		SAY(setrlimit64(RLIMIT_AS, (const struct rlimit64 *)bad[i]));
		SAY(prlimit(0, RLIMIT_AS, bad[i], NULL));
		SAY(prlimit(getpid(), RLIMIT_AS, bad[i], NULL));
		SAY(prlimit64(0, RLIMIT_AS, (const struct rlimit64 *)bad[i], NULL));
		SAY(prlimit(0, RLIMIT_AS, NULL, (struct rlimit *)(uintptr_t)bad[i]));
		SAY(syscall(SYS_prlimit64, 0, RLIMIT_AS, bad[i], NULL));
	}
	SAY(setrlimit(RLIMIT_AS, NULL));
	SAY(setrlimit(12345, &odd));
	SAY(setrlimit(RLIMIT_CORE, &odd));
	SAY(prlimit(12345678, RLIMIT_CORE, &odd, NULL));
	SAY(prctl(12345, 0, 0, 0, 0));
	SAY(prctl(PR_SET_NAME, none));
	/* Last: after these the heap stays as it is. */
	SAY(prctl(PR_SET_SECCOMP, 12345, 0, 0, 0));
	SAY(prctl(PR_SET_SECCOMP, 2, none, 0, 0));
	SAY(syscall(SYS_seccomp, 12345, 0, NULL));
	SAY(syscall(SYS_seccomp, 1, 0, none));
	SAY(setrlimit(RLIMIT_AS, &odd));
	SAY(mlockall(0));
}

/* "asleep", "awake" or "off" as the heap is, "plain" without the library: for the script, not part of what is
 * compared. */
static void say_state(void)
{
	static const char *const names[] = { "off", "asleep", "awake" };
	int (*get)(odf_heap_info *) = NULL;
	odf_heap_info info = ODF_HEAP_INFO_INIT;

	*(void **)&get = dlsym(RTLD_DEFAULT, "odf_heap_info_get");
	if (get == NULL)
		fputs("plain\n", stderr);
	else
		fprintf(stderr, "%s\n", get(&info) == 0 && (unsigned)info.state < 3 ? names[info.state] : "?");
}

int main(int argc, char **argv)
{
	/* What wakes the heap, and lies in it; or not. */
	size_t size = argc > 1 && strcmp(argv[1], "small") == 0 ? SIZE : 8 * SIZE;
	struct sigaction action = { .sa_handler = on_fault, .sa_flags = SA_NODEFER };
	char *pages;

	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
	setvbuf(stdout, NULL, _IOLBF, 0);
	pages = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (pages == MAP_FAILED || memory == MAP_FAILED || mprotect(pages + PAGE, PAGE, PROT_NONE) != 0)
		return 2;
	none = pages + PAGE;
	page_end = none;
	memset(memory, 1, 4 * PAGE);
	say_state();
	try_clone3();
	try_clone();
	try_mapping();
	try_mremap();
	try_process_madvise();
	try_waiting();
	try_execution();
	say_state(); /* nothing of it was a reason to leave */
	try_descriptors();
	try_files();
	try_limits();
	return memory[0] == 1 && memory[4 * PAGE - 1] == 1 ? 0 : 3;
}
