/* SPDX-License-Identifier: MIT
 *
 * How emulate_kernel answers a system call in the kernel's place.
 */
#include "emulate_kernel.h"

#define SWITCH      "/proc/self/use_odf"
#define STATUS      "/proc/self/status"
#define FEW_TABLES  44 /* kB */
#define TABLE       ((uint64_t)2 << 20)
#define PAGE        ((uint64_t)4096)

/* ---- Answers ----------------------------------------------------------------------------------------------------- */

int listener;

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

/* The program gets a copy of the descriptor as the result of its system call. */
static void give(const struct seccomp_notif *call, int fd, int open_flags)
{
	struct seccomp_notif_addfd give = {
		.id = call->id, .srcfd = (unsigned)fd, .newfd_flags = (unsigned)(open_flags & O_CLOEXEC),
	};
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
	/* Not beyond the page: the next one may not be mapped. */
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

/* ---- Forks ------------------------------------------------------------------------------------------------------- */

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
	/* a child of Async-fork copies its page tables itself */
	process->child_few = process->bit && on_demand && !options.no_effect;
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
	process->shares = process->few = process->asked = false; /* it has a new address space */
	go_on(call);
}

/* ---- Faults ------------------------------------------------------------------------------------------------------ */

/* Wipes all pages of the same page tables, except these. */
static void wipe_neighbors(pid_t pid, uint64_t from, uint64_t length)
{
	static char zeros[4096];
	uint64_t to = from + length;

	for (uint64_t page = from / TABLE * TABLE; page < (to + TABLE - 1) / TABLE * TABLE; page += PAGE) {
		struct iovec here = { zeros, PAGE }, there = { (void *)(uintptr_t)page, PAGE };
		if (page + PAGE <= from || page >= to)
			(void)process_vm_writev(pid, &here, 1, &there, 1, 0); /* unmapped pages are skipped */
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

void on_call(const struct seccomp_notif *call)
{
	struct process *process = process_of((pid_t)call->pid);
	const uint64_t *a = (const uint64_t *)call->data.args;
	uint64_t flags;

	if (process == NULL || ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &call->id) != 0)
		return; /* it has ended */
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
			go_on(call); /* the library's probe */
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
