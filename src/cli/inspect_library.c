/* SPDX-License-Identifier: MIT
 *
 * The state of the library in another process (sys/seen.h). The entries are searched in the private pages of the
 * library's file, or of the program's, into which it may be linked. What they point to is read from the process's
 * memory. Nothing there is trusted: sizes and counts are bounded, and addresses may be invalid.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "../sys/seen.h"
#include "inspect.h"

#define ENTRIES_MOST 128
#define REGIONS_MOST 256
#define SCANNED_MOST ((size_t)64 << 20) /* of one process */
#define PIECE ((size_t)1 << 20)

struct reader {
	pid_t pid;
	int error; /* of the first read that failed */
	size_t count;
	struct seen entries[ENTRIES_MOST];
	struct {
		uint64_t home;
		unsigned device_major, device_minor;
		uint64_t inode; /* 0: not known */
	} files[REGIONS_MOST]; /* by index in regions */
	size_t file_count;
};

static bool read_memory(struct reader *reader, uint64_t address, void *to, size_t size)
{
	struct iovec own = { to, size }, theirs = { (void *)(uintptr_t)address, size };
	ssize_t got = process_vm_readv(reader->pid, &own, 1, &theirs, 1, 0);

	if (got < 0 && reader->error == 0 && errno != EFAULT)
		reader->error = errno;
	return got == (ssize_t)size;
}

/* ---- Entries ---- */

static bool is_entry(const struct seen *entry)
{
	return entry->magic[0] == SEEN_MAGIC_FIRST && entry->magic[1] == SEEN_MAGIC_SECOND &&
	       memchr(entry->name, '\0', sizeof entry->name) != NULL &&
	       (entry->kind == SEEN_VALUE || entry->kind == SEEN_REGION) && entry->size > 0 && entry->size <= 64;
}

/* The page before the loader's own data may contain the same bytes of the file again, without relocated addresses: the
 * later entry counts. */
static void add_entry(struct reader *reader, const struct seen *entry)
{
	size_t at = 0;

	while (at < reader->count &&
	       (reader->entries[at].kind != entry->kind || strcmp(reader->entries[at].name, entry->name) != 0))
		at++;
	if (at == ENTRIES_MOST)
		return;
	reader->entries[at] = *entry;
	if (at == reader->count)
		reader->count++;
}

static void find_entries(struct reader *reader, const unsigned char *bytes, size_t size)
{
	for (size_t at = 0; at + sizeof(struct seen) <= size; at += sizeof(uint64_t)) {
		struct seen entry;
		memcpy(&entry, bytes + at, sizeof entry.magic[0]);
		if (entry.magic[0] != SEEN_MAGIC_FIRST)
			continue;
		memcpy(&entry, bytes + at, sizeof entry);
		if (is_entry(&entry))
			add_entry(reader, &entry);
	}
}

/* Reads overlap by the length of an entry, so that none is cut. */
static void scan(struct reader *reader, uint64_t start, uint64_t end, size_t *scanned)
{
	static unsigned char piece[PIECE + sizeof(struct seen)];

	for (uint64_t at = start; at < end && *scanned < SCANNED_MOST; at += PIECE) {
		size_t size = end - at < sizeof piece ? (size_t)(end - at) : sizeof piece;
		if (!read_memory(reader, at, piece, size))
			return;
		find_entries(reader, piece, size);
		*scanned += size;
	}
}

/* A mapping of a file that can contain entries. They hold addresses, which the loader has relocated, so their pages are
 * private. */
static bool may_have_entries(const char *path, const struct inspect_process *process, bool loaded)
{
	const char *name = strrchr(path, '/');

	if (name == NULL)
		return false;
	return strncmp(name, "/libodfork.so", 13) == 0 ||
	       (!loaded && process->program[0] != '\0' && strcmp(path, process->program) == 0);
}

static void scan_mappings(struct reader *reader, const struct inspect_process *process, bool loaded)
{
	FILE *file = inspect_open(reader->pid, "maps");
	char *line = NULL;
	size_t room = 0, scanned = 0;

	if (file == NULL)
		reader->error = errno;
	while (file != NULL && getline(&line, &room, file) > 0) {
		uint64_t start, end;
		char rights[5];
		int at = 0;
		line[strcspn(line, "\n")] = '\0';
		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %*s %*s %*s %n", &start, &end, rights, &at) == 3 &&
		    at > 0 && rights[0] == 'r' && rights[2] == '-' && rights[3] == 'p' &&
		    may_have_entries(line + at, process, loaded))
			scan(reader, start, end, &scanned);
	}
	free(line);
	if (file != NULL)
		fclose(file);
}

static const struct seen *find(const struct reader *reader, enum seen_kind kind, const char *name, size_t most)
{
	for (size_t i = 0; i < reader->count; i++)
		if (reader->entries[i].kind == kind && strcmp(reader->entries[i].name, name) == 0 &&
		    reader->entries[i].size <= most)
			return &reader->entries[i];
	return NULL;
}

/* A number of 1, 4 or 8 bytes; 0 if it cannot be read. */
static uint64_t number_at(struct reader *reader, uint64_t address, size_t size)
{
	uint64_t number = 0;

	return size <= sizeof number && read_memory(reader, address, &number, size) ? number : 0;
}

static uint64_t value(struct reader *reader, const char *name)
{
	const struct seen *entry = find(reader, SEEN_VALUE, name, sizeof(uint64_t));

	return entry == NULL ? 0 : number_at(reader, (uintptr_t)entry->place, entry->size);
}

/* A member of the region at address `region`. */
static uint64_t member(struct reader *reader, uint64_t region, const char *name)
{
	const struct seen *entry = find(reader, SEEN_REGION, name, sizeof(uint64_t));

	return entry == NULL ? 0 : number_at(reader, region + (uintptr_t)entry->place, entry->size);
}

static void read_version(struct reader *reader, struct inspect_library *library)
{
	const struct seen *entry = find(reader, SEEN_VALUE, "version", sizeof library->version - 1);

	if (entry != NULL && read_memory(reader, (uintptr_t)entry->place, library->version, entry->size))
		library->version[entry->size] = '\0';
	for (char *c = library->version; *c != '\0'; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
}

/* ---- Regions ---- */

/* Seconds since a time of a clock that all processes share; negative: never, or the value is impossible. */
static double since(uint64_t moment)
{
	struct timespec now;
	double seconds;

	clock_gettime(CLOCK_MONOTONIC, &now);
	seconds = (double)now.tv_sec + (double)now.tv_nsec / 1e9 - (double)moment / 1e9;
	return moment == 0 || seconds < 0 ? -1 : seconds;
}

static double later(double a, double b)
{
	return a < 0 || (b >= 0 && b < a) ? b : a;
}

static void read_regions(struct reader *reader, struct inspect_library *library)
{
	uint64_t region = value(reader, "regions");

	library->since_freeze = library->since_settle = -1;
	for (; region != 0 && library->regions < REGIONS_MOST; region = member(reader, region, "next")) {
		double frozen = since(member(reader, region, "frozen_ns"));
		uint64_t pause = member(reader, region, "longest_pause_ns");
		library->regions++;
		if (member(reader, region, "inherited") != 0)
			continue;
		library->has_region = true;
		library->given_up += member(reader, region, "given_up") != 0;
		library->frozen += member(reader, region, "live_length") != member(reader, region, "length") &&
				   member(reader, region, "given_up") == 0;
		library->region_bytes += member(reader, region, "length");
		library->freezes += member(reader, region, "freezes");
		library->settles += member(reader, region, "settles");
		if (library->since_freeze < 0 || (frozen >= 0 && frozen < library->since_freeze))
			library->last_freeze_ns = member(reader, region, "last_freeze_ns");
		library->since_freeze = later(library->since_freeze, frozen);
		library->since_settle = later(library->since_settle, since(member(reader, region, "settled_ns")));
		library->longest_pause_ns = pause > library->longest_pause_ns ? pause : library->longest_pause_ns;
		reader->files[reader->file_count++].home = member(reader, region, "home");
	}
}

/* ---- Who holds a snapshot ---- */

struct line {
	uint64_t start, end, inode;
	unsigned device_major, device_minor;
};

static bool read_line(const char *text, struct line *line)
{
	return sscanf(text, "%" SCNx64 "-%" SCNx64 " %*s %*x %x:%x %" SCNu64, &line->start, &line->end,
		      &line->device_major, &line->device_minor, &line->inode) == 5 &&
	       line->inode != 0;
}

/* By the mappings at the regions' first pages. */
static void note_files(struct reader *reader)
{
	FILE *file = inspect_open(reader->pid, "maps");
	char *text = NULL;
	size_t room = 0;
	struct line line;

	while (file != NULL && getline(&text, &room, file) > 0) {
		for (size_t i = 0;
		     strstr(text, "odfork-region") != NULL && read_line(text, &line) && i < reader->file_count; i++) {
			/* In the heap's regions the program may have mapped something else there: any part of the range
			 * counts. */
			if (reader->files[i].inode != 0 || line.end <= reader->files[i].home ||
			    line.start > reader->files[i].home + ((uint64_t)1 << 40))
				continue;
			reader->files[i].inode = line.inode;
			reader->files[i].device_major = line.device_major;
			reader->files[i].device_minor = line.device_minor;
			break;
		}
	}
	free(text);
	if (file != NULL)
		fclose(file);
}

static bool maps_a_region(const struct reader *reader, pid_t pid, bool *readable)
{
	FILE *file = inspect_open(pid, "maps");
	char *text = NULL;
	size_t room = 0;
	struct line line;
	bool found = false;

	*readable = file != NULL || (errno != EACCES && errno != EPERM); /* else the process has ended */
	while (file != NULL && !found && getline(&text, &room, file) > 0)
		for (size_t i = 0; read_line(text, &line) && i < reader->file_count && !found; i++)
			found = line.inode == reader->files[i].inode &&
				line.device_major == reader->files[i].device_major &&
				line.device_minor == reader->files[i].device_minor;
	free(text);
	if (file != NULL)
		fclose(file);
	return found;
}

static void read_name(pid_t pid, char name[32])
{
	FILE *file = inspect_open(pid, "comm");

	name[0] = '\0';
	if (file != NULL && fgets(name, 32, file) == NULL)
		name[0] = '\0';
	name[strcspn(name, "\n")] = '\0';
	if (file != NULL)
		fclose(file);
}

static void find_holders(const struct reader *reader, struct inspect_library *library)
{
	DIR *directory = opendir("/proc");
	struct dirent *entry;

	library->holders_complete = directory != NULL;
	while (directory != NULL && (entry = readdir(directory)) != NULL) {
		pid_t pid = (pid_t)atoi(entry->d_name);
		char name[32];
		bool readable;
		if (pid <= 0 || pid == reader->pid || pid == getpid())
			continue;
		if (!maps_a_region(reader, pid, &readable)) {
			library->holders_complete = library->holders_complete && readable;
			continue;
		}
		read_name(pid, name);
		if (strcmp(name, "odfork-keeper") == 0) {
			library->keeper = pid;
			continue;
		}
		if (library->holder_count < INSPECT_HOLDERS) {
			library->holders[library->holder_count].pid = pid;
			memcpy(library->holders[library->holder_count].name, name, sizeof name);
		}
		library->holder_count++;
	}
	if (directory != NULL)
		closedir(directory);
}

void inspect_library_read(const struct inspect_process *process, const struct inspect_memory *memory,
			  struct inspect_library *library)
{
	static struct reader reader;

	*library = (struct inspect_library){ .since_freeze = -1, .since_settle = -1 };
	for (size_t i = 0; i < memory->path_count; i++)
		library->loaded = library->loaded || strstr(memory->paths[i], "/libodfork.so") != NULL;
	reader = (struct reader){ .pid = process->pid };
	scan_mappings(&reader, process, library->loaded);
	if (reader.count == 0) {
		/* In a process without the library nothing is missing. */
		library->error = !library->loaded ? 0 : reader.error != 0 ? reader.error : ENOENT;
		return;
	}
	library->loaded = true;
	read_version(&reader, library);
	library->forks = value(&reader, "forks");
	library->spawns = value(&reader, "spawns");
	library->has_heap = find(&reader, SEEN_VALUE, "heap_state", sizeof(uint64_t)) != NULL;
	library->heap_state = (unsigned)value(&reader, "heap_state");
	library->heap_reason = (unsigned)value(&reader, "heap_reason");
	library->placed = value(&reader, "heap_placed");
	library->spills = value(&reader, "heap_spilled");
	read_regions(&reader, library);
	library->is_child = library->has_heap && library->heap_state == ODF_HEAP_AWAKE && !library->has_region;
	note_files(&reader);
	if (reader.file_count > 0)
		find_holders(&reader, library);
	library->error = reader.error;
}
