/* SPDX-License-Identifier: MIT
 *
 * The base of the commands of kernel_facts: the memory, and the facts about a process that they print.
 */
#include "kernel_facts.h"

char **own_arguments;

/* The switch: '0' or '1'; 'n': there is none. */
char bit(void)
{
	char byte = 'n';
	int fd = open("/proc/self/use_odf", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return 'n';
	REQUIRE(read(fd, &byte, 1) == 1);
	close(fd);
	return byte;
}

/* Size of this process's page tables, in kB. */
long tables(void)
{
	FILE *file = fopen("/proc/self/status", "re");
	char line[256];
	long found = -1;

	if (file == NULL)
		return -1;
	while (found < 0 && fgets(line, sizeof line, file) != NULL)
		if (strncmp(line, "VmPTE:", 6) == 0)
			found = atol(line + 6);
	fclose(file);
	return found;
}

static char *memory;
size_t memory_size;

void take(const char *mebibytes)
{
	memory_size = strtoul(mebibytes, NULL, 10) << 20;
	memory = mmap(NULL, memory_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	REQUIRE(memory != MAP_FAILED);
	/* huge pages have no page tables to count; this fails on a kernel without huge pages */
	(void)madvise(memory, memory_size, MADV_NOHUGEPAGE);
	for (size_t at = 0; at < memory_size; at += 4096)
		memory[at] = (char)(at >> 12);
}

bool keeps(size_t except)
{
	for (size_t at = 0; at < memory_size; at += 4096)
		if (at != except && memory[at] != (char)(at >> 12))
			return false;
	return true;
}

/* What a child sees; the parent prints it. */
struct seen {
	char bit;
	bool keeps;
	long tables;
};

void tell(int fd)
{
	struct seen seen = { bit(), keeps(memory_size), tables() };

	if (memory_size > 0)
		memory[0] = 99;
	REQUIRE(write(fd, &seen, sizeof seen) == sizeof seen);
}

void print_reasons(const odf_report *report)
{
	printf("strategy=%s\n", odf_strategy_name(report->strategy));
	printf("kernel=%s\n", odf_reason_name(report->reason[ODF_STRATEGY_KERNEL]));
	printf("despite=%s\n", odf_reason_name(report->despite));
	printf("step=%s\nerror=%d\n", odf_step_name(report->step), report->error);
}

void print_seen(int fd, long own_tables)
{
	struct seen seen;

	REQUIRE(read(fd, &seen, sizeof seen) == sizeof seen);
	printf("child_bit=%c\nchild_keeps=%d\n", seen.bit, seen.keeps);
	/* Shows whether the fork was on demand: with the memory used here the two sizes are far apart. */
	printf("child_tables=%s\n", seen.tables < 0 || own_tables < 0 ? "unknown"
				    : seen.tables * 2 < own_tables    ? "few"
								      : "copied");
}

void must_exit(pid_t pid)
{
	int status;

	REQUIRE(waitpid(pid, &status, 0) == pid);
	REQUIRE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
