/* SPDX-License-Identifier: MIT */
#include "process_memory.h"

#include <stdio.h>
#include <string.h>

/* The number after `name` at the start of a line of /proc/PID/FILE; -1: there is none. */
static double field_of(pid_t pid, const char *file_name, const char *name)
{
	char path[64], line[256];
	size_t length = strlen(name);
	double number = -1;
	FILE *file;

	snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file_name);
	file = fopen(path, "re");
	if (file == NULL)
		return -1;
	while (number < 0 && fgets(line, sizeof line, file) != NULL)
		if (strncmp(line, name, length) == 0 && sscanf(line + length, "%lf", &number) != 1)
			break;
	fclose(file);
	return number;
}

double process_memory_kib(pid_t pid)
{
	double pages = field_of(pid, "smaps_rollup", "Pss_Anon:"), tables = field_of(pid, "status", "VmPTE:");

	return pages < 0 || tables < 0 ? -1 : pages + tables;
}
