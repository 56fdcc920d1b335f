/* SPDX-License-Identifier: MIT */
#include "available.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* The number in a file, SIZE_MAX if there is none ("max"). */
static size_t number_in(const char *directory, const char *name)
{
	char path[4400];
	unsigned long long number;
	FILE *file;
	int got;

	snprintf(path, sizeof path, "%s/%s", directory, name);
	file = fopen(path, "re");
	if (file == NULL)
		return SIZE_MAX;
	got = fscanf(file, "%llu", &number);
	fclose(file);
	return got == 1 ? (size_t)number : SIZE_MAX;
}

/* What the cgroup of this process and those above it leave, in either version's words. */
static size_t left_by_cgroup(const char *mount, const char *cgroup, const char *limit_name, const char *used_name)
{
	size_t left = SIZE_MAX;
	char path[4200];

	for (size_t length = strlen(cgroup); cgroup[0] == '/'; length--) {
		size_t limit, used;
		if (length > 0 && cgroup[length] != 0 && cgroup[length] != '/')
			continue;
		snprintf(path, sizeof path, "%s%.*s", mount, (int)length, cgroup);
		limit = number_in(path, limit_name);
		used = number_in(path, used_name);
		if (limit != SIZE_MAX && used != SIZE_MAX)
			left = least(left, limit > used ? limit - used : 0);
		if (length == 0)
			break;
	}
	return left;
}

size_t memory_available(void)
{
	size_t available = SIZE_MAX;
	unsigned long kb;
	char line[4096];
	FILE *file = fopen("/proc/meminfo", "re");

	while (file != NULL && fgets(line, sizeof line, file) != NULL)
		if (sscanf(line, "MemAvailable: %lu", &kb) == 1)
			available = (size_t)kb * 1024;
	if (file != NULL)
		fclose(file);
	file = fopen("/proc/self/cgroup", "re");
	while (file != NULL && fgets(line, sizeof line, file) != NULL) {
		char *controllers = strchr(line, ':'), *path = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
		if (path == NULL)
			continue;
		line[strcspn(line, "\n")] = 0;
		*path++ = 0;
		if (strcmp(controllers, ":") == 0) {
			available = least(available, left_by_cgroup("/sys/fs/cgroup", path, "memory.max", "memory.current"));
			available = least(available, left_by_cgroup("/sys/fs/cgroup/unified", path, "memory.max", "memory.current"));
		} else if (strstr(controllers, "memory") != NULL) {
			available = least(available, left_by_cgroup("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes", "memory.usage_in_bytes"));
		}
	}
	if (file != NULL)
		fclose(file);
	return available;
}
