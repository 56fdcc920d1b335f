/* SPDX-License-Identifier: MIT
 *
 * pool_message ROUNDS: how long the steps of which a program's start could consist hold the caller, in turns:
 *   - clone(CLONE_VM), without CLONE_VFORK, of a child that executes a program: what odf_pool_spawn does;
 *   - a message of 2 KiB with three descriptors to a process that waits for it: what a process made in advance
 *     would need;
 *   - asking for the state that such a process would have to be told: limits, dispositions, ids, groups, scheduling,
 *     namespaces, working directory and root. (No call tells the umask, the filters and the keyrings, and none passes
 *     the session.)
 *   - posix_spawn, for comparison.
 *
 * CSV: what,median_us,p99_us. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"

enum { STACK = 65536, BYTES = 2048, FDS = 3, SIGNALS = 64 };
static char *argv_true[] = { (char[]){ "/bin/true" }, NULL };
static char *stack;
static int channel[2];

static void must(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "pool_message: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int executes(void *unused)
{
	(void)unused;
	execve(argv_true[0], argv_true, environ);
	_exit(127);
}

static void reap(pid_t pid)
{
	int status;

	must(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0, "a child");
}

static double by_clone(void)
{
	double start = now_us(), held;
	pid_t pid = clone(executes, stack + STACK, CLONE_VM | SIGCHLD, NULL);

	held = now_us() - start;
	reap(pid);
	return held;
}

static double by_posix_spawn(void)
{
	double start = now_us(), held;
	pid_t pid = -1;

	must(posix_spawn(&pid, argv_true[0], NULL, NULL, argv_true, environ) == 0, "posix_spawn");
	held = now_us() - start;
	reap(pid);
	return held;
}

struct message {
	struct iovec bytes;
	struct msghdr header;
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(FDS * sizeof(int))];
	} control;
};

static char bytes[BYTES];

static void lay_out(struct message *message)
{
	message->bytes = (struct iovec){ bytes, sizeof bytes };
	message->header = (struct msghdr){ .msg_iov = &message->bytes,
					   .msg_iovlen = 1,
					   .msg_control = &message->control,
					   .msg_controllen = sizeof message->control };
}

static double by_message(void)
{
	struct message message;
	double start, held;
	char answer;

	lay_out(&message);
	memset(&message.control, 0, sizeof message.control);
	message.control.align = (struct cmsghdr){ .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
						  .cmsg_len = CMSG_LEN(FDS * sizeof(int)) };
	memcpy(CMSG_DATA(&message.control.align), (const int[FDS]){ 0, 1, 2 }, FDS * sizeof(int));
	start = now_us();
	must(sendmsg(channel[0], &message.header, 0) == BYTES, "sendmsg");
	held = now_us() - start;
	must(read(channel[0], &answer, 1) == 1, "an answer");
	usleep(200); /* until the receiver waits again */
	return held;
}

static void wait_for_messages(void)
{
	struct message message;
	int fds[FDS];

	for (;;) {
		lay_out(&message);
		if (recvmsg(channel[1], &message.header, MSG_CMSG_CLOEXEC) <= 0)
			_exit(0);
		memcpy(fds, CMSG_DATA(&message.control.align), sizeof fds);
		for (int i = 0; i < FDS; i++)
			close(fds[i]);
		if (write(channel[1], "", 1) != 1)
			_exit(1);
	}
}

static double by_asking(void)
{
	static const char *const namespaces[] = { "mnt", "pid_for_children", "net", "ipc",
						  "uts", "user", "cgroup", "time_for_children" };
	struct sched_param param;
	struct rlimit limit;
	struct stat status;
	unsigned long action[4], affinity[16];
	unsigned attr[16];
	gid_t ids[3], groups[64];
	double start = now_us();
	int directory, root;

	for (int i = 0; i < RLIM_NLIMITS; i++)
		syscall(SYS_prlimit64, 0, i, NULL, &limit);
	for (int i = 1; i <= SIGNALS; i++)
		syscall(SYS_rt_sigaction, i, NULL, action, 8);
	getresuid(&ids[0], &ids[1], &ids[2]);
	getresgid(&ids[0], &ids[1], &ids[2]);
	getgroups(64, groups);
	sched_getparam(0, &param);
	syscall(SYS_sched_getattr, 0, attr, sizeof attr, 0);
	syscall(SYS_sched_getaffinity, 0, sizeof affinity, affinity);
	syscall(SYS_ioprio_get, 1, 0);
	getsid(0);
	getpgrp();
	for (size_t i = 0; i < sizeof namespaces / sizeof *namespaces; i++) {
		char path[64];
		snprintf(path, sizeof path, "/proc/thread-self/ns/%s", namespaces[i]);
		stat(path, &status);
	}
	directory = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	close(directory);
	close(root);
	return now_us() - start;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		double (*measure)(void);
	} ways[] = {
		{ "clone(CLONE_VM)", by_clone },
		{ "message to a waiting process", by_message },
		{ "asking for the state", by_asking },
		{ "glibc posix_spawn", by_posix_spawn },
	};
	enum { WAYS = sizeof ways / sizeof *ways };
	size_t rounds = argc == 2 ? strtoul(argv[1], NULL, 10) : 0;
	double *held[WAYS];
	pid_t waiting;

	if (rounds < 10) {
		fprintf(stderr, "usage: pool_message ROUNDS (10 at least)\n");
		return 2;
	}
	stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	must(stack != MAP_FAILED, "a stack");
	must(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, channel) == 0, "socketpair");
	waiting = fork();
	must(waiting >= 0, "fork");
	if (waiting == 0) {
		close(channel[0]);
		wait_for_messages();
	}
	close(channel[1]);
	for (size_t way = 0; way < WAYS; way++) {
		held[way] = calloc(rounds, sizeof *held[way]);
		must(held[way] != NULL, "memory");
	}
	for (size_t i = 0; i < rounds; i++)
		for (size_t way = 0; way < WAYS; way++)
			held[way][i] = ways[way].measure();
	printf("what,median_us,p99_us\n");
	for (size_t way = 0; way < WAYS; way++)
		printf("%s,%.1f,%.1f\n", ways[way].name, quantile(held[way], rounds, 0.5),
		       quantile(held[way], rounds, 0.99));
	close(channel[0]);
	reap(waiting);
	return 0;
}
