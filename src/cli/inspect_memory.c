/* SPDX-License-Identifier: MIT
 * Reads /proc/PID/smaps. Meanwhile the kernel holds the process's mmap lock for reading, one mapping at a time. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../heap/pinned.h"
#include "inspect.h"

#define KIB ((uint64_t)1024)
#define HUGE_BYTES (2048 * KIB)
/* Smaller mappings stay outside regions, unless they are next to larger ones. */
#define HEAP_PIECE_LEAST (64 * KIB)

struct mapping {
	uint64_t start, end;
	char rights[5];
	char path[PATH_MAX];
	uint64_t resident, anonymous, huge, swapped, locked, hugetlb, page;
	bool not_forked, wiped, asked_huge;
};

static bool read_header(const char *line, struct mapping *mapping)
{
	int at = 0;
	uint64_t start, end;
	char rights[5];

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %*s %*s %*s%n", &start, &end, rights, &at) != 3 || at == 0 ||
	    start >= end)
		return false;
	*mapping = (struct mapping){ .start = start, .end = end, .page = 4096 };
	memcpy(mapping->rights, rights, sizeof rights);
	line += at + strspn(line + at, " \t");
	snprintf(mapping->path, sizeof mapping->path, "%.*s", (int)strcspn(line, "\n"), line);
	return true;
}

static void read_flags(const char *flags, struct mapping *mapping)
{
	mapping->not_forked = strstr(flags, " dc") != NULL;
	mapping->wiped = strstr(flags, " wf") != NULL;
	mapping->asked_huge = strstr(flags, " hg") != NULL;
}

static void read_detail(const char *line, struct mapping *mapping)
{
	const struct {
		const char *name;
		uint64_t *bytes;
	} fields[] = {
		{ "Rss:", &mapping->resident },        { "Anonymous:", &mapping->anonymous },
		{ "AnonHugePages:", &mapping->huge },  { "Swap:", &mapping->swapped },
		{ "Locked:", &mapping->locked },       { "Private_Hugetlb:", &mapping->hugetlb },
		{ "KernelPageSize:", &mapping->page },
	};

	if (strncmp(line, "VmFlags:", 8) == 0) {
		read_flags(line + 8, mapping);
		return;
	}
	for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
		if (strncmp(line, fields[i].name, strlen(fields[i].name)) == 0)
			*fields[i].bytes = strtoull(line + strlen(fields[i].name), NULL, 10) * KIB;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void keep_path(struct inspect_memory *memory, const char *path)
{
	if (path[0] != '/' || memory->path_count == INSPECT_PATHS)
		return;
	for (size_t i = 0; i < memory->path_count; i++)
		if (strcmp(memory->paths[i], path) == 0)
			return;
	memory->paths[memory->path_count] = strdup(path);
	if (memory->paths[memory->path_count] != NULL)
		memory->path_count++;
}

/* Memory that the heap would take: anonymous, readable and writable, no stack, without a property that only such memory
 * can have. */
static bool could_be_inside(const struct mapping *mapping)
{
	bool nameless = mapping->path[0] == '\0' || strncmp(mapping->path, "[anon:", 6) == 0;

	return strcmp(mapping->rights, "rw-p") == 0 && !mapping->asked_huge && mapping->locked == 0 &&
	       ((nameless && mapping->end - mapping->start >= HEAP_PIECE_LEAST) ||
		strcmp(mapping->path, "[heap]") == 0);
}

static void count(struct inspect_memory *memory, struct inspect_order *order, const struct mapping *mapping)
{
	bool is_private = mapping->rights[3] == 'p', is_stack = strncmp(mapping->path, "[stack", 6) == 0;
	bool is_region = strstr(mapping->path, "odfork-region") != NULL;
	uint64_t own = mapping->anonymous + mapping->hugetlb, large = mapping->huge + mapping->hugetlb;

	memory->mappings++;
	if (memory->pinning == ODF_REASON_NONE)
		memory->pinning = pinned_mapping(mapping->path);
	memory->resident += mapping->resident + mapping->hugetlb;
	memory->swapped += mapping->swapped;
	memory->locked += mapping->locked;
	if (mapping->rights[2] == 'x')
		keep_path(memory, mapping->path);
	if (is_region)
		memory->region += mapping->resident - least(mapping->resident, own);
	else if (!is_private)
		memory->shared += mapping->resident;
	else
		memory->file += mapping->resident - least(mapping->resident, mapping->anonymous);
	memory->private_huge += large;
	memory->private_small += own - least(own, large);
	if (mapping->not_forked) {
		memory->kept_from_children += mapping->resident + mapping->hugetlb;
		return;
	}
	/* If at least one page of a private mapping was ever the process's own, a fork copies all of its page tables,
	 * also for pages of the file. */
	if (!is_private || mapping->wiped || own + mapping->swapped == 0)
		return;
	memory->copied_mappings++;
	memory->copied_own += own;
	inspect_order_add(order, mapping->start, mapping->end);
	memory->copied_huge += mapping->huge / HUGE_BYTES +
			       (mapping->page >= HUGE_BYTES ? mapping->hugetlb / mapping->page : 0);
	memory->copied_small += (mapping->resident - least(mapping->resident, mapping->huge) + mapping->swapped) / 4096;
	memory->copied_tables += least((mapping->end - mapping->start) / HUGE_BYTES + 1,
				       (mapping->resident + mapping->swapped) / 4096 + 1);
	if (could_be_inside(mapping))
		memory->inside += own;
	if (is_stack)
		memory->stacks += own;
	else if (strcmp(mapping->path, "[heap]") == 0)
		memory->brk += own;
	else if (mapping->asked_huge)
		memory->asked_huge += own;
}

int inspect_memory_read(pid_t pid, struct inspect_memory *memory)
{
	static struct mapping current, next;
	FILE *file = inspect_open(pid, "smaps");
	struct inspect_order order = { .pagemap = -1 };
	char *line = NULL, path[64];
	size_t room = 0;

	*memory = (struct inspect_memory){ 0 };
	if (file == NULL)
		return errno;
	snprintf(path, sizeof path, "/proc/%d/pagemap", (int)pid);
	order.pagemap = open(path, O_RDONLY | O_CLOEXEC);
	current = (struct mapping){ 0 };
	errno = 0;
	while (getline(&line, &room, file) > 0) {
		if (!read_header(line, &next)) {
			read_detail(line, &current);
			continue;
		}
		if (current.end != 0)
			count(memory, &order, &current);
		current = next;
	}
	if (current.end != 0)
		count(memory, &order, &current);
	free(line);
	if (order.pagemap >= 0)
		close(order.pagemap);
	memory->scattered = inspect_order_scattered(&order);
	if (ferror(file) && memory->mappings == 0) {
		int error = errno == 0 ? EIO : errno;
		fclose(file);
		return error;
	}
	fclose(file);
	/* A kernel thread, or a process that has ended. */
	return memory->mappings == 0 ? ESRCH : 0;
}

void inspect_memory_free(struct inspect_memory *memory)
{
	for (size_t i = 0; i < memory->path_count; i++)
		free(memory->paths[i]);
	memory->path_count = 0;
}
