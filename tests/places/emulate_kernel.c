/* SPDX-License-Identifier: MIT
 *
 * emulate_kernel [OPTION...] -- COMMAND...: runs a program as if on a kernel with on-demand fork, under a seccomp
 * filter whose notifications this program answers. Each time the switch is opened, it is a memfd of this program's. So
 * reads of it, whether it stays on, and its inheritance by fork and exec are as on these kernels. A child that is
 * forked on demand shows few page tables in its status. The options select which faults of on-demand fork happen; they
 * happen to the processes that take part in such a fork.
 *
 *   --kernel=held|armed|none   the published interface of Linux 5.6.19, that of 6.0.6, or no /proc/self/use_odf
 *                              (default)
 *   --on                       the switch is on from the start
 *   --no-effect                the switch turns nothing on
 *   --deny=ERRNO               /proc/self/use_odf is there, and opening it for writing fails with this error number
 *   --refuse                   it opens, and writing to it fails
 *   --fault=discard            MADV_DONTNEED answers 0 and does nothing
 *   --fault=discard_neighbors  MADV_DONTNEED wipes the rest of its page tables
 *   --fault=unmap_neighbors    munmap does the same
 *   --fault=end                a child that was forked on demand is killed
 *   --filtered                 the status does not hide that there is a filter
 *   --file=PATH=FILE           opening PATH opens FILE
 *   --async=FILE               the switch of Async-fork: forks are on demand while it says 1
 *   --velinux=FILE             the sysctl kernel.async_fork_enabled: if it says 1, forks of a process are on demand
 *                              after its prctl(0x4000, 1), which neither a child nor an executed program inherits;
 *                              if it says 2, all forks are
 *   --linux-5.6                newer system calls, flags and advice do not exist
 *   --log=FILE                 appends a line for each process made: "fork PID on_demand" or "fork PID plain"; or
 *                              "thread PID"
 *
 * System call 439 with any arguments and prctl 65 kill the program (SIGSYS): the library must never make either. So
 * does prctl 0x4000 without --velinux. Exits as the program does; 77: this cannot run here.
 */
#include "emulate_kernel.h"

#define SYSCTL      "/proc/sys/kernel/async_fork_enabled"
#define BY_PRCTL    0x4000
#define SKIPPED     77
#define LAST_5_6    438 /* pidfd_getfd; close_range, 436, is newer */
#define LAST_KNOWN  480
#define LAST_ADVICE 21 /* MADV_PAGEOUT */

void die(const char *what)
{
	perror(what);
	exit(1);
}

/* ---- The program ------------------------------------------------------------------------------------------------- */

static int load_filter(void)
{
	static const int notified[] = {
		SYS_openat, SYS_clone, SYS_clone3, SYS_execve, SYS_execveat,
#ifdef SYS_open
		SYS_open, SYS_fork, SYS_vfork,
#endif
	};
	scmp_filter_ctx context = seccomp_init(SCMP_ACT_ALLOW);
	int error = context == NULL ? -ENOMEM : 0;

	for (size_t i = 0; error == 0 && i < sizeof notified / sizeof *notified; i++)
		error = seccomp_rule_add(context, SCMP_ACT_NOTIFY, notified[i], 0);
	if (error == 0 && (options.discard || options.discard_neighbors || options.end))
		error = seccomp_rule_add(context, SCMP_ACT_NOTIFY, SYS_madvise, 1, SCMP_A2(SCMP_CMP_EQ, MADV_DONTNEED));
	if (error == 0 && options.unmap_neighbors)
		error = seccomp_rule_add(context, SCMP_ACT_NOTIFY, SYS_munmap, 0);
	if (error == 0)
		error = seccomp_rule_add(context, SCMP_ACT_KILL_PROCESS, 439, 0);
	if (error == 0)
		error = seccomp_rule_add(context, SCMP_ACT_KILL_PROCESS, SYS_prctl, 1, SCMP_A0(SCMP_CMP_EQ, 65));
	if (error == 0)
		error = seccomp_rule_add(context, options.velinux != NULL ? SCMP_ACT_NOTIFY : SCMP_ACT_KILL_PROCESS,
					 SYS_prctl, 1, SCMP_A0(SCMP_CMP_EQ, BY_PRCTL));
	if (error == 0 && options.linux_5_6) {
		error = seccomp_rule_add(context, SCMP_ACT_ERRNO(ENOSYS), 436, 0);
		for (int number = LAST_5_6 + 2; error == 0 && number <= LAST_KNOWN; number++)
			error = seccomp_rule_add(context, SCMP_ACT_ERRNO(ENOSYS), number, 0);
		/* MREMAP_DONTUNMAP; MADV_POPULATE_READ and newer; MFD_NOEXEC_SEAL and newer. */
		if (error == 0)
			error = seccomp_rule_add(context, SCMP_ACT_ERRNO(EINVAL), SYS_mremap, 1,
						 SCMP_A3(SCMP_CMP_MASKED_EQ, 4, 4));
		if (error == 0)
			error = seccomp_rule_add(context, SCMP_ACT_ERRNO(EINVAL), SYS_madvise, 1,
						 SCMP_A2(SCMP_CMP_GT, LAST_ADVICE));
		if (error == 0)
			error = seccomp_rule_add(context, SCMP_ACT_ERRNO(EINVAL), SYS_memfd_create, 1,
						 SCMP_A1(SCMP_CMP_GT, 7));
	}
	if (error == 0)
		error = seccomp_load(context);
	if (error != 0) {
		fprintf(stderr, "emulate_kernel: no filter: %s\n", strerror(-error));
		_exit(SKIPPED);
	}
	return seccomp_notify_fd(context);
}

static void send_descriptor(int channel, int fd)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { { 0 } };
	struct iovec one = { (char[]){ 'x' }, 1 };
	struct msghdr message = {
		.msg_iov = &one, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control,
	};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(header), &fd, sizeof fd);
	if (sendmsg(channel, &message, 0) != 1)
		_exit(1);
}

static int receive_descriptor(int channel)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	char byte;
	struct iovec one = { &byte, 1 };
	struct msghdr message = {
		.msg_iov = &one, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control,
	};
	int fd = -1;

	if (recvmsg(channel, &message, MSG_CMSG_CLOEXEC) == 1 && CMSG_FIRSTHDR(&message) != NULL)
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
	return fd;
}

static void set_option(char *option)
{
	char *value = strchr(option, '=');

	if (value != NULL)
		*value++ = '\0';
	if (strcmp(option, "--kernel") == 0 && value != NULL && strcmp(value, "held") == 0)
		options.kernel = HELD;
	else if (strcmp(option, "--kernel") == 0 && value != NULL && strcmp(value, "armed") == 0)
		options.kernel = ARMED;
	else if (strcmp(option, "--kernel") == 0 && value != NULL && strcmp(value, "none") == 0)
		options.kernel = NONE;
	else if (strcmp(option, "--fault") == 0 && value != NULL && strcmp(value, "discard") == 0)
		options.discard = true;
	else if (strcmp(option, "--fault") == 0 && value != NULL && strcmp(value, "discard_neighbors") == 0)
		options.discard_neighbors = true;
	else if (strcmp(option, "--fault") == 0 && value != NULL && strcmp(value, "unmap_neighbors") == 0)
		options.unmap_neighbors = true;
	else if (strcmp(option, "--fault") == 0 && value != NULL && strcmp(value, "end") == 0)
		options.end = true;
	else if (strcmp(option, "--on") == 0)
		options.on = true;
	else if (strcmp(option, "--no-effect") == 0)
		options.no_effect = true;
	else if (strcmp(option, "--deny") == 0 && value != NULL)
		options.deny = atoi(value);
	else if (strcmp(option, "--async") == 0)
		options.async = value;
	else if (strcmp(option, "--velinux") == 0 && value != NULL && options.file_count < 12) {
		options.velinux = value;
		options.files[options.file_count].path = SYSCTL;
		options.files[options.file_count++].file = value;
	} else if (strcmp(option, "--refuse") == 0)
		options.refuse = true;
	else if (strcmp(option, "--filtered") == 0)
		options.filtered = true;
	else if (strcmp(option, "--linux-5.6") == 0)
		options.linux_5_6 = true;
	else if (strcmp(option, "--log") == 0 && value != NULL)
		options.log = fopen(value, "ae");
	else if (strcmp(option, "--file") == 0 && value != NULL && strchr(value, '=') != NULL &&
		 options.file_count < 12) {
		options.files[options.file_count].path = value;
		value = strchr(value, '=');
		*value = '\0';
		options.files[options.file_count++].file = value + 1;
	} else {
		fprintf(stderr, "emulate_kernel: no such option: %s\n", option);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	int channel[2], status, i;
	pid_t pid;

	for (i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		set_option(argv[i]);
	if (i + 1 >= argc || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel) != 0)
		die("emulate_kernel: no program");
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(channel[0]);
		send_descriptor(channel[1], load_filter());
		/* The exec closes this process's copy of the listener. */
		execvp(argv[i + 1], argv + i + 1);
		perror(argv[i + 1]);
		_exit(127);
	}
	close(channel[1]);
	listener = receive_descriptor(channel[0]);
	while (listener >= 0) {
		struct pollfd ready = { .fd = listener, .events = POLLIN };
		struct seccomp_notif call;
		pid_t ended;
		if (poll(&ready, 1, 20) > 0) {
			if (!(ready.revents & POLLIN)) /* no process is left under the filter */
				break;
			memset(&call, 0, sizeof call);
			if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call) == 0)
				on_call(&call);
			else if (errno != ENOENT && errno != EINTR)
				die("emulate_kernel: receive");
			continue;
		}
		ended = waitpid(pid, &status, WNOHANG);
		if (ended == pid)
			goto end;
	}
	waitpid(pid, &status, 0);
end:
	if (WIFSIGNALED(status)) {
		fprintf(stderr, "emulate_kernel: %s ended by signal %d\n", argv[i + 1], WTERMSIG(status));
		return 128 + WTERMSIG(status);
	}
	return WEXITSTATUS(status);
}
