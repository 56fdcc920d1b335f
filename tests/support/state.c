/* SPDX-License-Identifier: MIT
 *
 * state FILE [ARGUMENT...]: writes the state of this process into FILE, as a JSON object with one member per line, and
 * exits with 0. It collects everything before it opens FILE. FILE "-" is standard output.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

extern char **environ;

static char *text;
static size_t text_size;

static void escaped(FILE *out, const char *string)
{
	fputc('"', out);
	for (; *string != '\0'; string++) {
		if (*string == '"' || *string == '\\')
			fputc('\\', out);
		fputc(*string, out);
	}
	fputc('"', out);
}

static void strings(FILE *out, const char *name, char **list)
{
	fprintf(out, "\"%s\":[", name);
	for (char **entry = list; *entry != NULL; entry++) {
		if (entry != list)
			fputc(',', out);
		escaped(out, *entry);
	}
	fprintf(out, "],\n");
}

static int by_number(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

static void descriptors(FILE *out)
{
	DIR *directory = opendir("/proc/self/fd");
	struct dirent *entry;
	int numbers[4096], count = 0;

	if (directory == NULL) {
		fprintf(out, "\"fds\":null,\n");
		return;
	}
	while ((entry = readdir(directory)) != NULL)
		if (entry->d_name[0] != '.' && atoi(entry->d_name) != dirfd(directory) && count < 4096)
			numbers[count++] = atoi(entry->d_name);
	closedir(directory);
	qsort(numbers, (size_t)count, sizeof *numbers, by_number);
	fprintf(out, "\"fds\":[");
	for (int i = 0; i < count; i++)
		fprintf(out, "%s%d", i == 0 ? "" : ",", numbers[i]);
	fprintf(out, "],\n");
	for (int i = 0; i < count; i++) {
		struct stat status;
		int fd = numbers[i];
		if (fstat(fd, &status) != 0)
			continue;
		fprintf(out, "\"fd%d\":\"%llu:%llu flags %o offset %lld\",\n", fd, (unsigned long long)status.st_dev,
			(unsigned long long)status.st_ino, (unsigned)fcntl(fd, F_GETFL),
			(long long)(S_ISREG(status.st_mode) ? lseek(fd, 0, SEEK_CUR) : -1));
	}
}

/* Lines of /proc/self/status: what they show, libc's functions would show only in part. */
static void kernel_status(FILE *out)
{
	static const char *const wanted[] = { "SigBlk", "SigIgn", "SigCgt", "Groups", "NoNewPrivs",       "Seccomp",
					      "CapAmb", "CapPrm", "CapInh", "CapEff", "Cpus_allowed_list" };
	FILE *status = fopen("/proc/self/status", "re");
	char line[4096];

	while (status != NULL && fgets(line, sizeof line, status) != NULL) {
		char *colon = strchr(line, ':');
		if (colon == NULL)
			continue;
		*colon = '\0';
		for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
			if (strcmp(line, wanted[i]) == 0) {
				char *value = colon + 1 + strspn(colon + 1, " \t");
				size_t length = strcspn(value, "\n");
				while (length > 0 && value[length - 1] == ' ')
					length--;
				value[length] = '\0';
				fprintf(out, "\"%s\":\"%s\",\n", line, value);
			}
		}
	}
	if (status != NULL)
		fclose(status);
}

static void first_lines(FILE *out, const char *name, const char *path)
{
	FILE *file = fopen(path, "re");
	char line[4096] = "";
	size_t count = file == NULL ? 0 : fread(line, 1, sizeof line - 1, file);

	line[count] = '\0';
	for (char *c = line; *c != '\0'; c++)
		if (*c == '\n')
			*c = ' ';
	fprintf(out, "\"%s\":", name);
	escaped(out, line);
	fprintf(out, ",\n");
	if (file != NULL)
		fclose(file);
}

static void link_target(FILE *out, const char *name, const char *path)
{
	char target[4096] = "";

	if (readlink(path, target, sizeof target - 1) < 0)
		target[0] = '\0';
	fprintf(out, "\"%s\":", name);
	escaped(out, target);
	fprintf(out, ",\n");
}

static void limits(FILE *out)
{
	for (int resource = 0; resource < RLIM_NLIMITS; resource++) {
		struct rlimit limit;
		if (getrlimit(resource, &limit) == 0)
			fprintf(out, "\"rlimit%d\":\"%lld %lld\",\n", resource, (long long)limit.rlim_cur,
				(long long)limit.rlim_max);
	}
}

int main(int argc, char **argv)
{
	FILE *out = open_memstream(&text, &text_size);
	char directory[4096] = "";
	uid_t uid[3];
	gid_t gid[3];
	int death = 0, tty, file;
	mode_t mask = umask(0);
	struct sched_param param = { 0 };
	struct stat root = { 0 };

	umask(mask);
	if (out == NULL || argc < 2)
		return 2;
	fprintf(out, "{\n");
	descriptors(out);
	strings(out, "argv", argv);
	strings(out, "environ", environ);
	fprintf(out, "\"cwd\":\"%s\",\n", getcwd(directory, sizeof directory) == NULL ? "" : directory);
	getresuid(&uid[0], &uid[1], &uid[2]);
	getresgid(&gid[0], &gid[1], &gid[2]);
	fprintf(out, "\"uid\":\"%u %u %u\",\n\"gid\":\"%u %u %u\",\n", uid[0], uid[1], uid[2], gid[0], gid[1], gid[2]);
	fprintf(out, "\"pid\":%d,\n\"ppid\":%d,\n\"sid\":%d,\n\"pgid\":%d,\n", getpid(), getppid(), getsid(0),
		getpgid(0));
	kernel_status(out);
	limits(out);
	fprintf(out, "\"umask\":\"%04o\",\n", (unsigned)mask);
	errno = 0;
	fprintf(out, "\"nice\":%d,\n", getpriority(PRIO_PROCESS, 0));
	sched_getparam(0, &param);
	fprintf(out, "\"sched\":\"%d %d\",\n", sched_getscheduler(0), param.sched_priority);
	prctl(PR_GET_PDEATHSIG, &death);
	fprintf(out, "\"parent_death_signal\":%d,\n", death);
	first_lines(out, "cgroup", "/proc/self/cgroup");
	first_lines(out, "oom_score_adj", "/proc/self/oom_score_adj");
	fprintf(out, "\"ioprio\":%ld,\n", syscall(SYS_ioprio_get, 1, 0));
	link_target(out, "root", "/proc/self/root"); /* "/", as seen from that root */
	fprintf(out, "\"root_directory\":\"%llu:%llu\",\n", stat("/", &root) == 0 ? (unsigned long long)root.st_dev : 0,
		(unsigned long long)root.st_ino);
	link_target(out, "exe", "/proc/self/exe");
	link_target(out, "uts", "/proc/self/ns/uts");
	link_target(out, "user", "/proc/self/ns/user");
	tty = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
	fprintf(out, "\"foreground\":%d\n}\n", tty < 0 ? -1 : tcgetpgrp(tty));
	if (fclose(out) != 0)
		return 2;
	file = strcmp(argv[1], "-") == 0 ? STDOUT_FILENO
					 : open(argv[1], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (strcmp(argv[1], "-") != 0 && fchmod(file, 0644) != 0) /* despite the umask under test */
		return 3;
	return file >= 0 && write(file, text, text_size) == (ssize_t)text_size ? 0 : 3;
}
