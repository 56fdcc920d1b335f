/* SPDX-License-Identifier: MIT
 *
 * Which mappings there are, from the kernel: by the query that /proc/self/maps answers (PROCMAP_QUERY, Linux 6.11),
 * otherwise by its text. Nothing else tells what is behind an address: moves and advice succeed on anybody's mappings.
 * Async-signal-safe; between two uses only the keeper's descriptor is kept, and whether there are queries.
 *
 * In the program's table a descriptor exists for some microseconds, with the lock held and signals blocked. If there
 * can be none (no /proc, no room in the table), the caller gets an error.
 */
#include <errno.h>
#include <linux/types.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "../sys/proc.h"
#include "internal.h"

/* struct procmap_query of linux/fs.h, which older headers lack. */
struct query {
	uint64_t size, flags, address, start, end, mapping_flags, page_size, offset, inode;
	uint32_t major, minor, name_size, build_id_size;
	uint64_t name, build_id;
};
_Static_assert(sizeof(struct query) == 104,
	       "as the kernel has it: of another size it is another request, refused as by an old kernel");
#define QUERY         _IOWR('f', 17, struct query)
#define READABLE      0x01u
#define WRITABLE      0x02u
#define EXECUTABLE    0x04u
#define SHARED        0x08u
#define COVERING_NEXT 0x10u

/* The keeper's descriptor, in its own table: the program cannot close it, and after a change of root it still works. */
static int kept = -1;

static atomic_bool no_queries;

bool region_maps_are_quick(void)
{
	return !atomic_load_explicit(&no_queries, memory_order_relaxed);
}

static int open_list(void)
{
	/* The list of the process: "self" has an empty one if the main thread has ended. Memory that is not in the list
	 * is given up (verify.c), so no other file may be taken for it. */
	return proc_open("/proc/thread-self/maps", O_RDONLY);
}

int region_maps_keep(void)
{
	kept = open_list();
	return kept < 0 ? -kept : 0;
}

void region_maps_forget(void)
{
	kept = -1;
}

int region_maps_begin(struct region_maps *maps)
{
	bool by_keeper = region_lock_is_keepers();

	maps->file = by_keeper ? kept : -1;
	maps->owned = !by_keeper;
	maps->text_only = !region_maps_are_quick();
	maps->started = false;
	maps->used = maps->length = 0;
	maps->last = (struct region_mapping){ 0 };
	if (by_keeper) /* it can open no file any more */
		return maps->file < 0 ? ENOENT : 0;
	maps->file = open_list();
	return maps->file < 0 ? -maps->file : 0;
}

void region_maps_end(struct region_maps *maps)
{
	if (maps->owned && maps->file >= 0)
		sys_close(maps->file);
	maps->file = -1;
}

void region_maps_again(struct region_maps *maps)
{
	maps->last.start = maps->last.end = (char *)UINTPTR_MAX; /* behind any address: the next search reads the text
	                                                            again */
}

static uint64_t device_of(unsigned major_number, unsigned minor_number)
{
	return (uint64_t)major_number << 32 | minor_number;
}

static int ask(const struct region_maps *maps, const char *at, struct region_mapping *found)
{
	struct query query = { .size = sizeof query, .flags = COVERING_NEXT, .address = (uintptr_t)at };
	long error = sys_call3(SYS_ioctl, maps->file, QUERY, &query);

	if (error < 0)
		return (int)-error;
	*found = (struct region_mapping){
		.start = (char *)(uintptr_t)query.start,
		.end = (char *)(uintptr_t)query.end,
		.offset = query.offset,
		.inode = query.inode,
		.device = device_of(query.major, query.minor),
		.protection = (query.mapping_flags & READABLE ? PROT_READ : 0) |
			      (query.mapping_flags & WRITABLE ? PROT_WRITE : 0) |
			      (query.mapping_flags & EXECUTABLE ? PROT_EXEC : 0),
		.shared = (query.mapping_flags & SHARED) != 0,
	};
	return 0;
}

/* ---- The text ---- */

/* -1: the end, or an error. */
static int next_byte(struct region_maps *maps, int *error)
{
	long got;

	if (maps->used == maps->length) {
		do
			got = sys_read(maps->file, maps->text, sizeof maps->text);
		while (got == -EINTR);
		if (got <= 0) {
			*error = got < 0 ? (int)-got : ENOENT;
			return -1;
		}
		maps->used = 0;
		maps->length = (size_t)got;
	}
	return (unsigned char)maps->text[maps->used++];
}

static int digit(int byte)
{
	if (byte >= '0' && byte <= '9')
		return byte - '0';
	return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : 16;
}

/* Reads up to the byte that follows the number, which is *end. */
static uint64_t number(struct region_maps *maps, unsigned base, int *end, int *error)
{
	uint64_t value = 0;

	for (;;) {
		*end = next_byte(maps, error);
		if (*end < 0 || digit(*end) >= (int)base)
			return value;
		value = value * base + (unsigned)digit(*end);
	}
}

/* A line: "start-end rwxp offset major:minor inode name". */
static int next_line(struct region_maps *maps, struct region_mapping *found)
{
	unsigned first, second;
	int end, error = 0;

	*found = (struct region_mapping){ 0 };
	found->start = (char *)(uintptr_t)number(maps, 16, &end, &error);
	found->end = (char *)(uintptr_t)number(maps, 16, &end, &error);
	found->protection = (next_byte(maps, &error) == 'r' ? PROT_READ : 0);
	found->protection |= next_byte(maps, &error) == 'w' ? PROT_WRITE : 0;
	found->protection |= next_byte(maps, &error) == 'x' ? PROT_EXEC : 0;
	found->shared = next_byte(maps, &error) == 's';
	(void)next_byte(maps, &error);
	found->offset = number(maps, 16, &end, &error);
	first = (unsigned)number(maps, 16, &end, &error);
	second = (unsigned)number(maps, 16, &end, &error);
	found->device = device_of(first, second);
	found->inode = number(maps, 10, &end, &error);
	while (error == 0 && end != '\n')
		end = next_byte(maps, &error);
	return error;
}

static int find_in_text(struct region_maps *maps, const char *at, struct region_mapping *found)
{
	int error = 0;

	/* the keeper's file was read before; or the text was already read beyond `at` */
	if (!maps->started || maps->last.start > at) {
		if (sys_call3(SYS_lseek, maps->file, 0, 0) < 0)
			return EIO;
		maps->used = maps->length = 0;
		maps->last = (struct region_mapping){ 0 };
		maps->started = true;
	}
	while (error == 0 && maps->last.end <= at)
		error = next_line(maps, &maps->last);
	*found = maps->last;
	return error;
}

int region_maps_find(struct region_maps *maps, const char *at, struct region_mapping *found)
{
	int error;

	if (!maps->text_only) {
		error = ask(maps, at, found);
		if (error == 0 || error == ENOENT)
			return error;
		maps->text_only = true;
		if (error == ENOTTY) /* the kernel's answer, not a filter's */
			atomic_store_explicit(&no_queries, true, memory_order_relaxed);
	}
	return find_in_text(maps, at, found);
}

int region_note_file(struct odf_region *region)
{
	struct stat status;
	long error = sys_call2(SYS_fstat, region->file, &status);

	if (error < 0)
		return (int)-error;
	region->view_device = device_of(major(status.st_dev), minor(status.st_dev));
	region->view_inode = status.st_ino;
	return 0;
}
