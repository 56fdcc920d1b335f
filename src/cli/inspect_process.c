/* SPDX-License-Identifier: MIT */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "inspect.h"

FILE *inspect_open(pid_t pid, const char *name)
{
	char path[96];

	snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
	return fopen(path, "re");
}

/* The number after "NAME:" in a line; false: it is another line. */
static bool field(const char *line, const char *name, uint64_t *number)
{
	size_t length = strlen(name);

	if (strncmp(line, name, length) != 0 || line[length] != ':')
		return false;
	*number = strtoull(line + length + 1, NULL, 10);
	return true;
}

/* False: there is no such file. */
static bool read_status(struct inspect_process *process)
{
	FILE *file = inspect_open(process->pid, "status");
	char line[512];
	uint64_t number;

	if (file == NULL)
		return false;
	process->seccomp = -1;
	while (fgets(line, sizeof line, file) != NULL) {
		if (strncmp(line, "Name:\t", 6) == 0) {
			line[strcspn(line, "\n")] = '\0';
			snprintf(process->name, sizeof process->name, "%.60s", line + 6);
		} else if (field(line, "Tgid", &number)) {
			process->pid = (pid_t)number; /* of the process, if a thread's id was given */
		} else if (field(line, "Uid", &number)) {
			process->uid = (unsigned)number;
		} else if (field(line, "Threads", &number)) {
			process->threads = (long)number;
		} else if (field(line, "Seccomp", &number)) {
			process->seccomp = (int)number;
		} else if (field(line, "VmLck", &number)) {
			process->locked_bytes = number * 1024;
		} else if (field(line, "VmPTE", &number)) {
			process->table_bytes = number * 1024;
		}
	}
	fclose(file);
	return true;
}

/* Start time in ticks since boot; 0: there is no such process. Its name, in parentheses, may contain anything. */
static uint64_t start_of(pid_t pid)
{
	FILE *file = inspect_open(pid, "stat");
	char line[1024], *at;
	size_t length;

	if (file == NULL)
		return 0;
	length = fread(line, 1, sizeof line - 1, file);
	fclose(file);
	line[length] = '\0';
	at = strrchr(line, ')');
	for (int i = 0; at != NULL && i < 20; i++)
		at = strchr(at + 1, ' ');
	return at == NULL ? 0 : strtoull(at + 1, NULL, 10);
}

static void read_limits(struct inspect_process *process)
{
	const struct {
		const char *name;
		uint64_t *limit;
	} limits[] = {
		{ "Max address space", &process->limit_as },
		{ "Max data size", &process->limit_data },
		{ "Max file size", &process->limit_fsize },
		{ "Max processes", &process->limit_processes },
	};
	FILE *file = inspect_open(process->pid, "limits");
	char line[256];

	for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
		*limits[i].limit = UINT64_MAX;
	while (file != NULL && fgets(line, sizeof line, file) != NULL) {
		for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
			const char *value = line + strlen(limits[i].name);
			if (strncmp(line, limits[i].name, strlen(limits[i].name)) != 0)
				continue;
			value += strspn(value, " ");
			if (*value >= '0' && *value <= '9')
				*limits[i].limit = strtoull(value, NULL, 10);
		}
	}
	if (file != NULL)
		fclose(file);
}

static bool read_secure(pid_t pid)
{
	FILE *file = inspect_open(pid, "auxv");
	ElfW(auxv_t) entry;
	bool secure = false;

	while (file != NULL && fread(&entry, sizeof entry, 1, file) == 1 && entry.a_type != AT_NULL)
		if (entry.a_type == AT_SECURE)
			secure = entry.a_un.a_val != 0;
	if (file != NULL)
		fclose(file);
	return secure;
}

static void read_program(struct inspect_process *process)
{
	char path[64];
	ssize_t length;

	snprintf(path, sizeof path, "/proc/%d/exe", (int)process->pid);
	length = readlink(path, process->program, sizeof process->program - 1);
	process->program[length > 0 ? length : 0] = '\0';
}

bool inspect_process_read(pid_t pid, struct inspect_process *process)
{
	*process = (struct inspect_process){ .pid = pid, .start = start_of(pid) };
	if (process->start == 0 || !read_status(process)) {
		if (access("/proc/self/status", R_OK) != 0)
			fprintf(stderr, "odfork: inspect: /proc is not mounted here\n");
		else
			fprintf(stderr,
				"odfork: inspect: there is no process %d, or /proc hides it from this user (hidepid): "
				"then root may ask, "
				"and the group that /proc was mounted with (gid=)\n",
				(int)pid);
		return false;
	}
	process->start = start_of(process->pid);
	read_limits(process);
	read_program(process);
	process->is_secure = read_secure(process->pid);
	return true;
}

bool inspect_process_is_there(const struct inspect_process *process)
{
	return start_of(process->pid) == process->start;
}

const char *inspect_permission(const struct inspect_process *process)
{
	static char text[256];

	if (geteuid() == 0)
		snprintf(text, sizeof text,
			 "CAP_SYS_PTRACE, which this root lacks, or lacks in the process's user namespace");
	else if (process->uid != getuid())
		snprintf(text, sizeof text, "to be its user (%u), root, or to have CAP_SYS_PTRACE", process->uid);
	else
		snprintf(text, sizeof text,
			 "root or CAP_SYS_PTRACE: it has changed its user or may not be dumped (PR_SET_DUMPABLE), or "
			 "has capabilities "
			 "that this process lacks");
	return text;
}

const char *inspect_tracing_permission(const struct inspect_process *process)
{
	static char text[384];
	FILE *file = fopen("/proc/sys/kernel/yama/ptrace_scope", "re");
	int scope = 0;

	if (file != NULL && fscanf(file, "%d", &scope) != 1)
		scope = 0;
	if (file != NULL)
		fclose(file);
	if (scope > 0 && geteuid() != 0)
		snprintf(text, sizeof text, "root or CAP_SYS_PTRACE, as kernel.yama.ptrace_scope is %d here", scope);
	else
		snprintf(text, sizeof text, "%s", inspect_permission(process));
	return text;
}
