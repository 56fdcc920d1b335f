/* SPDX-License-Identifier: MIT
 *
 * What emulate_kernel knows of each process, and what was written to the switch.
 */
#include "emulate_kernel.h"

struct options options;

static struct process processes[MOST];
static unsigned process_count;

/* A number from /proc/PID/status. */
long status_number(pid_t pid, const char *name)
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

void meet_child(pid_t pid, pid_t thread, struct process *parent)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/%d/task/%d/children", pid, thread);
	for (int tries = 0; tries < 2000; tries++) { /* no child may appear: the call fails */
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
			/* Another thread may have written to the switch between the library's read and the fork. */
			take_writes();
			parent->child_bit = parent->bit;
			add(child, parent);
			return;
		}
		usleep(50);
	}
}

struct process *process_of(pid_t thread)
{
	pid_t pid = (pid_t)status_number(thread, "Tgid");
	struct process *process = pid < 0 ? NULL : known(pid);

	if (pid < 0)
		return NULL;
	return process != NULL ? process : add(pid, known((pid_t)status_number(pid, "PPid")));
}

struct written written[MOST];
unsigned written_count;

void take_writes(void)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < written_count; i++) {
		struct process *process = known(written[i].pid);
		char byte = 0;
		if (pread(written[i].fd, &byte, 1, 0) != 1) {
			written[kept++] = written[i]; /* nothing was written yet */
			continue;
		}
		close(written[i].fd);
		if (process == NULL)
			continue;
		if (options.kernel == HELD && (byte == '0' || byte == '1'))
			process->bit = byte == '1';
		if (options.kernel == ARMED && byte == '1' && !process->bit)
			process->armed = true; /* 0 has no effect, before and after */
	}
	written_count = kept;
}
