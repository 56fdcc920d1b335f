/* SPDX-License-Identifier: MIT
 *
 * The calls of bad_arguments.c that are about descriptors, files and limits.
 */
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "bad_arguments.h"

void try_descriptors(void)
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

void try_limits(void)
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
	SAY(prctl(PR_SET_MM, PR_SET_MM_MAP, none, sizeof(struct prctl_mm_map), 0));
	SAY(prctl(PR_SET_MM, PR_SET_MM_ARG_START, beyond, 0, 0));
	SAY(prctl(PR_SET_MM, PR_SET_MM_ENV_END, 0, 0, 0));
	/* Last: after these the heap stays as it is. */
	SAY(prctl(PR_SET_SECCOMP, 12345, 0, 0, 0));
	SAY(prctl(PR_SET_SECCOMP, 2, none, 0, 0));
	SAY(syscall(SYS_seccomp, 12345, 0, NULL));
	SAY(syscall(SYS_seccomp, 1, 0, none));
	SAY(setrlimit(RLIMIT_AS, &odd));
	SAY(mlockall(0));
}

void try_files(void)
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
