/* SPDX-License-Identifier: MIT */
#include "available.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

static void at_most(struct available *available, size_t bytes, const char *limit)
{
	if (bytes < available->bytes)
		*available = (struct available){ bytes, limit };
}

/* The number in a file; SIZE_MAX if there is none ("max"). */
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

/* The number after a name at the start of a line; SIZE_MAX if there is none. */
static size_t number_after(const char *directory, const char *file_name, const char *name)
{
	char path[4400], line[256];
	size_t length = strlen(name), found = SIZE_MAX;
	unsigned long long number;
	FILE *file;

	snprintf(path, sizeof path, "%s/%s", directory, file_name);
	file = fopen(path, "re");
	while (file != NULL && found == SIZE_MAX && fgets(line, sizeof line, file) != NULL)
		if (strncmp(line, name, length) == 0 && sscanf(line + length, " %llu", &number) == 1)
			found = (size_t)number;
	if (file != NULL)
		fclose(file);
	return found;
}

static size_t difference(size_t a, size_t b)
{
	return a > b ? a - b : 0;
}

/* File and member names of the two versions of cgroups. */
struct words {
	const char *mount, *limit, *soft_limit, *used, *cache;
};

static const struct words second = { "/sys/fs/cgroup", "memory.max", "memory.high", "memory.current", "inactive_file" };
static const struct words hybrid = { "/sys/fs/cgroup/unified", "memory.max", "memory.high", "memory.current",
				     "inactive_file" };
static const struct words first = { "/sys/fs/cgroup/memory", "memory.limit_in_bytes", NULL, "memory.usage_in_bytes",
				    "total_inactive_file" };

/* The memory that a cgroup and its ancestors leave. In a container the path may be the host's, of which only the root
 * of the mount exists. */
static size_t left_by_cgroup(const struct words *words, const char *cgroup)
{
	size_t left = SIZE_MAX;
	char path[4200];

	for (size_t length = strlen(cgroup); cgroup[0] == '/'; length--) {
		size_t limit, soft, used, cache;
		if (length > 0 && cgroup[length] != 0 && cgroup[length] != '/')
			continue;
		snprintf(path, sizeof path, "%s%.*s", words->mount, (int)length, cgroup);
		limit = number_in(path, words->limit);
		soft = words->soft_limit != NULL ? number_in(path, words->soft_limit) : SIZE_MAX;
		limit = soft < limit ? soft : limit;
		used = number_in(path, words->used);
		cache = number_after(path, "memory.stat", words->cache);
		if (limit != SIZE_MAX && used != SIZE_MAX) {
			size_t leaves = difference(limit, difference(used, cache != SIZE_MAX ? cache : 0));
			left = leaves < left ? leaves : left;
		}
		if (length == 0)
			break;
	}
	return left;
}

static void at_most_cgroups(struct available *available)
{
	static const char limit[] = "the limit of the memory cgroup";
	FILE *file = fopen("/proc/self/cgroup", "re");
	char line[4096];

	while (file != NULL && fgets(line, sizeof line, file) != NULL) {
		char *controllers = strchr(line, ':'),
		     *path = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
		if (path == NULL)
			continue;
		line[strcspn(line, "\n")] = 0;
		*path++ = 0;
		if (strcmp(controllers, ":") == 0) {
			at_most(available, left_by_cgroup(&second, path), limit);
			at_most(available, left_by_cgroup(&hybrid, path), limit);
		} else if (strstr(controllers, "memory") != NULL) {
			at_most(available, left_by_cgroup(&first, path), limit);
		}
	}
	if (file != NULL)
		fclose(file);
}

struct available memory_available(void)
{
	struct available available = { SIZE_MAX, "nothing" };
	size_t kb = number_after("/proc", "meminfo", "MemAvailable:");

	if (kb != SIZE_MAX)
		at_most(&available, kb * 1024, "the machine's available memory");
	at_most_cgroups(&available);
	if (number_in("/proc/sys/vm", "overcommit_memory") == 2) {
		size_t most = number_after("/proc", "meminfo", "CommitLimit:"),
		       promised = number_after("/proc", "meminfo", "Committed_AS:");
		if (most != SIZE_MAX && promised != SIZE_MAX)
			at_most(&available, difference(most, promised) * 1024,
				"strict overcommit (vm.overcommit_memory=2)");
	}
	return available;
}

static struct available left_by(int resource, const char *limit, const char *field)
{
	struct available available = { SIZE_MAX, "nothing" };
	size_t used_kb = number_after("/proc/self", "status", field);
	struct rlimit most;

	if (getrlimit(resource, &most) == 0 && most.rlim_cur != RLIM_INFINITY)
		at_most(&available, difference((size_t)most.rlim_cur, used_kb != SIZE_MAX ? used_kb * 1024 : 0), limit);
	return available;
}

struct available address_space_available(void)
{
	return left_by(RLIMIT_AS, "RLIMIT_AS (ulimit -v)", "VmSize:");
}

struct available data_available(void)
{
	return left_by(RLIMIT_DATA, "RLIMIT_DATA (ulimit -d)", "VmData:");
}
