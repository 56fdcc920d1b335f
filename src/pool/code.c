/* SPDX-License-Identifier: MIT
 *
 * Where code is. A worker has the mappings that the program had when the pool was made. The address of a function from
 * a library that was loaded later is unmapped there, or holds something else. So the mappings of both sides, as
 * /proc/thread-self/maps shows them, are compared: the same place in the same file.
 */
#include "share.h"

#include <link.h>
#include <string.h>

#include "../sys/proc.h"

struct reader {
	int file;
	char text[4096];
	size_t at, length;
};

static int next_byte(struct reader *reader)
{
	if (reader->at == reader->length) {
		long count = sys_read(reader->file, reader->text, sizeof reader->text);

		if (count <= 0)
			return -1;
		reader->at = 0;
		reader->length = (size_t)count;
	}
	return (unsigned char)reader->text[reader->at++];
}

/* Reads a number in this base, and the byte after it. */
static uint64_t read_number(struct reader *reader, unsigned base, int *behind)
{
	uint64_t value = 0;
	int byte;

	for (;;) {
		unsigned digit = 255;

		byte = next_byte(reader);
		if (byte >= '0' && byte <= '9')
			digit = (unsigned)byte - '0';
		else if (byte >= 'a' && byte <= 'f')
			digit = (unsigned)byte - 'a' + 10;
		if (digit >= base)
			break;
		value = value * base + digit;
	}
	*behind = byte;
	return value;
}

/* Reads the next mapping, and whether it is executable. False: there are no more. */
static bool next_mapping(struct reader *reader, struct code_range *range, bool *executable)
{
	char rights[5] = "";
	int behind;

	range->from = read_number(reader, 16, &behind);
	if (behind != '-')
		return false;
	range->to = read_number(reader, 16, &behind);
	for (size_t i = 0; i < 5; i++) { /* and the blank */
		behind = next_byte(reader);
		rights[i] = (char)behind;
	}
	*executable = rights[2] == 'x';
	range->offset = read_number(reader, 16, &behind);
	range->device = read_number(reader, 16, &behind) << 32; /* MAJOR:MINOR */
	range->device |= read_number(reader, 16, &behind);
	range->inode = read_number(reader, 10, &behind);
	while (behind != '\n' && behind >= 0)
		behind = next_byte(reader);
	return true;
}

void share_note_code(struct share *share)
{
	struct reader reader = { .file = sys_open("/proc/thread-self/maps", PROC_READ, 0) };
	struct code_range range;
	bool executable;

	share->code_count = 0;
	share->code_all = 1;
	if (reader.file < 0)
		return;
	while (next_mapping(&reader, &range, &executable)) {
		share->code_all = 0;
		if (!executable)
			continue;
		if (share->code_count == SHARE_CODE_MOST) {
			share->code_all = 1;
			break;
		}
		share->code[share->code_count++] = range;
	}
	sys_close(reader.file);
}

/* Whether both map the same place of the same file. Anonymous memory has nothing to compare. */
static bool is_same(const struct code_range *a, const struct code_range *b)
{
	return a->device == b->device && a->inode == b->inode &&
	       (a->inode == 0 || a->offset - a->from == b->offset - b->from);
}

static bool is_there(const struct share *share, const struct code_range *mine, uintptr_t function)
{
	unsigned count = share->code_count < SHARE_CODE_MOST ? share->code_count : SHARE_CODE_MOST;

	for (unsigned i = 0; i < count; i++)
		if (function >= share->code[i].from && function < share->code[i].to)
			return is_same(&share->code[i], mine);
	return share->code_all != 0;
}

static int count_changes(struct dl_phdr_info *info, size_t size, void *changes)
{
	(void)size;
	*(uint64_t *)changes = info->dlpi_adds + info->dlpi_subs;
	return 1;
}

bool share_has_code(const struct share *share, struct code_cache *cache, odf_task_function function)
{
	uintptr_t at = (uintptr_t)function;
	struct code_known *known = &cache->known[at / 16 % (sizeof cache->known / sizeof *cache->known)];
	struct reader reader = { .at = 0 };
	struct code_range range;
	uint64_t changes = 0;
	bool executable, found = false, asked = false;

	(void)dl_iterate_phdr(count_changes, &changes);
	if (known->function == at && known->changes == changes)
		return true;
	reader.file = sys_open("/proc/thread-self/maps", PROC_READ, 0);
	while (reader.file >= 0 && !found && next_mapping(&reader, &range, &executable)) {
		asked = true;
		if (at >= range.from && at < range.to) {
			found = executable && is_there(share, &range, at);
			break;
		}
	}
	if (reader.file >= 0)
		sys_close(reader.file);
	if (!asked)
		found = true; /* no /proc: accepted */
	if (found)
		*known = (struct code_known){ at, changes };
	return found;
}
