/* SPDX-License-Identifier: MIT
 *
 * Makes calls with bad pointers and odd arguments, and prints for each a line with its result and errno, or the signal
 * that it ended in. Each is a call that the library interposes, on memory that is in the heap if that is awake.
 * bad_arguments.sh compares the output with and without the library.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
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
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "odfork.h"
#include "bad_arguments.h"

sigjmp_buf before;
char *memory, *none, *page_end;

static void on_fault(int number)
{
	siglongjmp(before, number);
}

void say(const char *name, long result)
{
	int error = errno;

	if (result < 0 && result >= -4095)
		printf("%s: %ld, errno %d\n", name, result, error);
	else
		printf("%s: %s\n", name, result == 0 ? "0" : "more");
}

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
