/* SPDX-License-Identifier: MIT
 *
 * emulate_kernel [OPTION...] -- COMMAND...: runs a program as if on a kernel with on-demand fork, by a seccomp filter whose notifications are answered
 * here. The switch is a memfd of ours each time it is opened, so that what is read back, what stays on and what is inherited is as on these kernels, by fork
 * and by exec. A child that is forked on demand shows few page tables in its status. Of on-demand fork's faults, those that are asked for happen, to the
 * processes that take part in one.
 *
 *   --kernel=held|armed|none   the published interface of Linux 5.6.19, that of 6.0.6, or no /proc/self/use_odf (default)
 *   --on                       the switch is on from the start
 *   --no-effect                and turns nothing on
 *   --deny=ERRNO               /proc/self/use_odf is there, and opening it for writing fails with this error number
 *   --refuse                   it opens, and writing to it fails
 *   --fault=discard            MADV_DONTNEED answers 0 and does nothing
 *   --fault=discard_neighbors  MADV_DONTNEED wipes the rest of its page tables
 *   --fault=unmap_neighbors    so does munmap
 *   --fault=end                a child that was forked on demand is killed
 *   --filtered                 the status does not hide that there is a filter
 *   --file=PATH=FILE           opening PATH opens FILE
 *   --async=FILE               the switch of Async-fork: forks are on demand while it says 1
 *   --velinux=FILE             the sysctl kernel.async_fork_enabled: where it says 1, forks of a process are on demand after its prctl(0x4000, 1), which no
 *                              child and no other program gets; where it says 2, all are
 *   --linux-5.6                system calls, flags and advice that are newer are not there
 *   --log=FILE                 one more line there for each process made: "fork PID on_demand" or "fork PID plain"; "thread PID"
 *
 * System call 439, whatever it is called with, and prctl 65 kill the program (SIGSYS): the library must never issue either; and prctl 0x4000 without
 * --velinux. Ends as the program ends; 77: cannot be done here.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define SWITCH      "/proc/self/use_odf"
#define STATUS      "/proc/self/status"
#define SYSCTL      "/proc/sys/kernel/async_fork_enabled"
#define BY_PRCTL    0x4000
#define FEW_TABLES  44 /* kB */
#define TABLE       ((uint64_t)2 << 20)
#define PAGE        ((uint64_t)4096)
#define MOST        4096
#define SKIPPED     77
#define LAST_5_6    438 /* pidfd_getfd; close_range, 436, is younger */
#define LAST_KNOWN  480
#define LAST_ADVICE 21 /* MADV_PAGEOUT */

enum kernel { NONE, HELD, ARMED };

static struct {
	enum kernel kernel;
	bool on, no_effect, refuse, filtered, linux_5_6;
	bool discard, discard_neighbors, unmap_neighbors, end;
	int deny;
	FILE *log;
	const char *async, *velinux;
	struct {
		const char *path, *file;
	} files[12];
	unsigned file_count;
} options;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/* ---- Processes -------------------------------------------------------------------------------------------------------------------------- */

static struct process {
	pid_t pid;
	bool bit;    /* what reading gives */
	bool armed;  /* for the next clone */
	bool shares; /* has forked on demand, or was so made */
	bool few;    /* was so made */
	bool asked;  /* by prctl */
	long copied; /* if `few`: kB of page tables that it would have otherwise, from its parent */
	/* What its next child gets. */
	bool child_bit, child_few;
	long child_copied;
} processes[MOST];
static unsigned process_count;

/* A number in /proc/PID/status. */
static long status_number(pid_t pid, const char *name)
{
	char path[64], line[256];
	size_t length = strlen(name);
	long number = -1;
	FILE *file;

	snprintf(path, sizeof path, "/proc/%d/status", pid);
	file = fopen(path, "re");
	if (file == NULL)
		return -1;
	while (number < 0 && fgets(line, sizeof line, file) != NULL)
		if (strncmp(line, name, length) == 0 && line[length] == ':')
			number = atol(line + length + 1);
	fclose(file);
	return number;
}

static struct process *known(pid_t pid)
{
	for (unsigned i = 0; i < process_count; i++)
		if (processes[i].pid == pid)
			return &processes[i];
	return NULL;
}

static struct process *add(pid_t pid, const struct process *parent)
{
	struct process *process = &processes[process_count++];

	if (process_count == MOST) {
		fprintf(stderr, "emulate_kernel: too many processes\n");
		exit(1);
	}
	*process = (struct process){ .pid = pid };
	if (parent != NULL) {
		process->bit = parent->child_bit;
		process->few = process->shares = parent->child_few;
		process->copied = parent->child_copied;
	} else {
		process->bit = options.on;
	}
	return process;
}

/* Waits until the child is there that the thread is about to make, so that it is known with what it got. */
static void take_writes(void);

static void meet_child(pid_t pid, pid_t thread, struct process *parent)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/%d/task/%d/children", pid, thread);
	for (int tries = 0; tries < 2000; tries++) { /* it may not come: the call fails */
		char text[16384], *at = text;
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		ssize_t count;
		if (fd < 0)
			return;
		count = read(fd, text, sizeof text - 1);
		close(fd);
		text[count < 0 ? 0 : count] = '\0';
		for (char *end; *at != '\0'; at = end) {
			pid_t child = (pid_t)strtol(at, &end, 10);
			if (end == at)
				break;
			if (known(child) != NULL)
				continue;
			/* Another thread may have written between the question and the fork. */
			take_writes();
			parent->child_bit = parent->bit;
			add(child, parent);
			return;
		}
		usleep(50);
	}
}

static struct process *process_of(pid_t thread)
{
	pid_t pid = (pid_t)status_number(thread, "Tgid");
	struct process *process = pid < 0 ? NULL : known(pid);

	if (pid < 0)
		return NULL;
	return process != NULL ? process : add(pid, known((pid_t)status_number(pid, "PPid")));
}

/* ---- What is written to the switch ---------------------------------------------------------------------------------------------------------- */

/* The descriptors that were given out for writing: what was written is looked at when anything happens next. */
static struct {
	int fd;
	pid_t pid;
} written[MOST];
static unsigned written_count;

static void take_writes(void)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < written_count; i++) {
		struct process *process = known(written[i].pid);
		char byte = 0;
		if (pread(written[i].fd, &byte, 1, 0) != 1) {
			written[kept++] = written[i]; /* nothing yet */
			continue;
		}
		close(written[i].fd);
		if (process == NULL)
			continue;
		if (options.kernel == HELD && (byte == '0' || byte == '1'))
			process->bit = byte == '1';
		if (options.kernel == ARMED && byte == '1' && !process->bit)
			process->armed = true; /* 0 changes nothing, before and after */
	}
	written_count = kept;
}

/* ---- Answers --------------------------------------------------------------------------------------------------------------------------------- */

static int listener;

static void answer(const struct seccomp_notif *call, long value, int error, unsigned flags)
{
	struct seccomp_notif_resp response = { .id = call->id, .val = value, .error = error, .flags = flags };

	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response) != 0 && errno != ENOENT)
		die("emulate_kernel: answer");
}

static void go_on(const struct seccomp_notif *call)
{
	answer(call, 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE);
}

/* The program gets a copy of the descriptor as the result of its call. */
static void give(const struct seccomp_notif *call, int fd, int open_flags)
{
	struct seccomp_notif_addfd give = { .id = call->id, .srcfd = (unsigned)fd, .newfd_flags = (unsigned)(open_flags & O_CLOEXEC) };
	int number = ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &give);

	if (number >= 0)
		answer(call, number, 0, 0);
	else if (errno != ENOENT)
		answer(call, 0, -errno, 0);
}

static int memory_file(const char *contents, size_t size)
{
	int fd = memfd_create("emulated", MFD_CLOEXEC);

	if (fd < 0 || write(fd, contents, size) != (ssize_t)size || lseek(fd, 0, SEEK_SET) != 0)
		die("emulate_kernel: memfd");
	return fd;
}

static void open_switch(const struct seccomp_notif *call, struct process *process, int flags)
{
	int fd;

	if ((flags & O_ACCMODE) == O_RDONLY) {
		fd = memory_file(process->bit ? "1\n" : "0\n", 2);
		give(call, fd, flags);
		close(fd);
	} else if (options.deny != 0) {
		answer(call, 0, -options.deny, 0);
	} else if (options.refuse) {
		fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
		give(call, fd, flags);
		close(fd);
	} else {
		fd = memory_file("", 0);
		give(call, fd, flags);
		if (written_count == MOST)
			die("emulate_kernel: too many writers");
		written[written_count].fd = fd;
		written[written_count++].pid = process->pid;
	}
}

static void open_status(const struct seccomp_notif *call, const struct process *process, int flags)
{
	char path[64], line[512], *text = NULL;
	size_t size = 0;
	FILE *in, *out = open_memstream(&text, &size);
	int fd;

	snprintf(path, sizeof path, "/proc/%d/status", process->pid);
	in = fopen(path, "re");
	if (in == NULL || out == NULL)
		die(path);
	while (fgets(line, sizeof line, in) != NULL) {
		long more = atol(line + 6) - process->copied;
		if (strncmp(line, "VmPTE:", 6) == 0 && process->few)
			fprintf(out, "VmPTE:\t%8ld kB\n", FEW_TABLES + (more > 0 ? more : 0));
		else if (strncmp(line, "Seccomp:", 8) == 0 && !options.filtered)
			fputs("Seccomp:\t0\n", out);
		else
			fputs(line, out);
	}
	fclose(in);
	fclose(out);
	fd = memory_file(text, size);
	give(call, fd, flags);
	close(fd);
	free(text);
}

static bool read_string(pid_t pid, uint64_t address, char *text, size_t size)
{
	/* Not beyond the page: what comes after it may not be there. */
	size_t first = PAGE - address % PAGE, used = 0;

	while (used < size) {
		size_t part = used == 0 ? first : PAGE;
		struct iovec here, there = { (void *)(uintptr_t)(address + used), 0 };
		ssize_t count;
		if (part > size - used)
			part = size - used;
		here = (struct iovec){ text + used, part };
		there.iov_len = part;
		count = process_vm_readv(pid, &here, 1, &there, 1, 0);
		if (count <= 0)
			return false;
		if (memchr(text + used, '\0', (size_t)count) != NULL)
			return true;
		used += (size_t)count;
	}
	return false;
}

static void on_open(const struct seccomp_notif *call, struct process *process, uint64_t name, int flags)
{
	char path[512];

	if (!read_string((pid_t)call->pid, name, path, sizeof path)) {
		go_on(call);
		return;
	}
	for (unsigned i = 0; i < options.file_count; i++) {
		int fd, error;
		if (strcmp(path, options.files[i].path) != 0)
			continue;
		fd = open(options.files[i].file, (flags & (O_ACCMODE | O_NONBLOCK)) | O_CLOEXEC);
		error = errno;
		if (fd < 0) {
			answer(call, 0, -error, 0);
			return;
		}
		give(call, fd, flags);
		close(fd);
		return;
	}
	if (strcmp(path, SWITCH) == 0 && options.kernel != NONE)
		open_switch(call, process, flags);
	else if (strcmp(path, STATUS) == 0)
		open_status(call, process, flags);
	else
		go_on(call);
}

/* ---- Forks ----------------------------------------------------------------------------------------------------------------------------------- */

static char first_byte(const char *path)
{
	char byte = '0';
	int fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);

	if (fd >= 0) {
		if (read(fd, &byte, 1) != 1)
			byte = '0';
		close(fd);
	}
	return byte;
}

static bool async_is_on(const struct process *process)
{
	char mode = first_byte(options.velinux);

	return first_byte(options.async) == '1' || mode == '2' || (mode == '1' && process->asked);
}

static void on_prctl(const struct seccomp_notif *call, struct process *process)
{
	process->asked = call->data.args[1] != 0;
	answer(call, 0, 0, 0);
}

static void on_clone(const struct seccomp_notif *call, struct process *process, uint64_t flags)
{
	bool on_demand;

	if (process->armed) {
		process->armed = false;
		process->bit = true;
	}
	process->child_bit = process->bit;
	on_demand = (process->bit || async_is_on(process)) && !(flags & CLONE_VM);
	process->child_few = process->bit && on_demand && !options.no_effect; /* a child of Async-fork copies its tables itself */
	process->child_copied = process->child_few ? status_number(process->pid, "VmPTE") : 0;
	process->shares |= process->child_few;
	if (options.log != NULL) {
		fprintf(options.log, "%s %d%s\n", flags & CLONE_VM ? "thread" : "fork", process->pid,
			flags & CLONE_VM ? "" : on_demand && !options.no_effect ? " on_demand" : " plain");
		fflush(options.log);
	}
	go_on(call);
	if (!(flags & CLONE_VM))
		meet_child(process->pid, (pid_t)call->pid, process);
}

static void on_exec(const struct seccomp_notif *call, struct process *process)
{
	process->armed = false;
	process->shares = process->few = process->asked = false; /* other memory */
	go_on(call);
}

/* ---- Faults ---------------------------------------------------------------------------------------------------------------------------------- */

/* All pages but these, in the page tables that they are in. */
static void wipe_neighbors(pid_t pid, uint64_t from, uint64_t length)
{
	static char zeros[4096];
	uint64_t to = from + length;

	for (uint64_t page = from / TABLE * TABLE; page < (to + TABLE - 1) / TABLE * TABLE; page += PAGE) {
		struct iovec here = { zeros, PAGE }, there = { (void *)(uintptr_t)page, PAGE };
		if (page + PAGE <= from || page >= to)
			(void)process_vm_writev(pid, &here, 1, &there, 1, 0); /* where nothing is, nothing is wiped */
	}
}

static void on_discard(const struct seccomp_notif *call, const struct process *process)
{
	if (process->shares && options.discard) {
		answer(call, 0, 0, 0);
		return;
	}
	if (process->shares && options.discard_neighbors)
		wipe_neighbors(process->pid, call->data.args[0], call->data.args[1]);
	if (process->few && options.end)
		kill(process->pid, SIGKILL);
	go_on(call);
}

static void on_unmap(const struct seccomp_notif *call, const struct process *process)
{
	if (process->shares && options.unmap_neighbors && call->data.args[1] < TABLE)
		wipe_neighbors(process->pid, call->data.args[0], call->data.args[1]);
	go_on(call);
}

static void on_call(const struct seccomp_notif *call)
{
	struct process *process = process_of((pid_t)call->pid);
	const uint64_t *a = (const uint64_t *)call->data.args;
	uint64_t flags;

	if (process == NULL || ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &call->id) != 0)
		return; /* gone */
	take_writes();
	switch (call->data.nr) {
	case SYS_openat:
		on_open(call, process, a[1], (int)a[2]);
		break;
#ifdef SYS_open
	case SYS_open:
		on_open(call, process, a[0], (int)a[1]);
		break;
	case SYS_fork:
		on_clone(call, process, 0);
		break;
	case SYS_vfork:
		on_clone(call, process, CLONE_VM | CLONE_VFORK);
		break;
#endif
	case SYS_clone:
		on_clone(call, process, a[0]);
		break;
	case SYS_clone3: {
		struct iovec here = { &flags, sizeof flags }, there = { (void *)(uintptr_t)a[0], sizeof flags };
		if (a[0] == 0 || process_vm_readv(process->pid, &here, 1, &there, 1, 0) != sizeof flags)
			go_on(call); /* a probe */
		else
			on_clone(call, process, flags);
		break;
	}
	case SYS_execve:
	case SYS_execveat:
		on_exec(call, process);
		break;
	case SYS_prctl:
		on_prctl(call, process);
		break;
	case SYS_madvise:
		on_discard(call, process);
		break;
	case SYS_munmap:
		on_unmap(call, process);
		break;
	default:
		go_on(call);
	}
}

/* ---- The program -------------------------------------------------------------------------------------------------------------------------------- */

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
		error = seccomp_rule_add(context, options.velinux != NULL ? SCMP_ACT_NOTIFY : SCMP_ACT_KILL_PROCESS, SYS_prctl, 1,
					 SCMP_A0(SCMP_CMP_EQ, BY_PRCTL));
	if (error == 0 && options.linux_5_6) {
		error = seccomp_rule_add(context, SCMP_ACT_ERRNO(ENOSYS), 436, 0);
		for (int number = LAST_5_6 + 2; error == 0 && number <= LAST_KNOWN; number++)
			error = seccomp_rule_add(context, SCMP_ACT_ERRNO(ENOSYS), number, 0);
		/* MREMAP_DONTUNMAP; MADV_POPULATE_READ and what came after it; MFD_NOEXEC_SEAL and what came after it. */
		if (error == 0)
			error = seccomp_rule_add(context, SCMP_ACT_ERRNO(EINVAL), SYS_mremap, 1, SCMP_A3(SCMP_CMP_MASKED_EQ, 4, 4));
		if (error == 0)
			error = seccomp_rule_add(context, SCMP_ACT_ERRNO(EINVAL), SYS_madvise, 1, SCMP_A2(SCMP_CMP_GT, LAST_ADVICE));
		if (error == 0)
			error = seccomp_rule_add(context, SCMP_ACT_ERRNO(EINVAL), SYS_memfd_create, 1, SCMP_A1(SCMP_CMP_GT, 7));
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
	struct msghdr message = { .msg_iov = &one, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
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
	struct msghdr message = { .msg_iov = &one, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
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
	else if (strcmp(option, "--file") == 0 && value != NULL && strchr(value, '=') != NULL && options.file_count < 12) {
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
		/* The listener's copy here is closed by the exec. */
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
			if (!(ready.revents & POLLIN)) /* nobody is left who could call */
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
