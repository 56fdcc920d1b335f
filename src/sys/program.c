/* SPDX-License-Identifier: MIT
 * Nothing in the file is trusted: what is outside the file, or invalid, counts as missing. */
#include "program.h"

#include <elf.h>
#include <link.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>

#include "syscall.h"

/* Size of the reads: this may run in a signal handler on a small stack, or in a thread with the smallest possible
 * stack. */
enum { CHUNK = 1024 };
/* How many scripts may be each other's interpreter before the kernel refuses, and how much of each it reads. */
enum { SCRIPTS_MOST = 5, SCRIPT_LINE = 256 };

#define OWN_CLASS (sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32)

/* Returns the number of bytes read; less than `size` at end of file. */
static size_t read_at(int fd, uint64_t at, void *buffer, size_t size)
{
	long count;

	if (at > INT64_MAX - size)
		return 0;
#if __SIZEOF_LONG__ == 8
	count = sys_call4(SYS_pread64, fd, buffer, size, at);
#else
	if (at > INT32_MAX || sys_call3(SYS_lseek, fd, (long)at, SEEK_SET) < 0)
		return 0;
	count = sys_read(fd, buffer, size);
#endif
	return count > 0 ? (size_t)count : 0;
}

/* The type is checked before the open: opening a FIFO wakes its writer, and opening a device may start it. */
int program_open(int directory, const char *path)
{
	struct stat status;
	int fd;

	if (fstatat(directory, path, &status, 0) != 0 || !S_ISREG(status.st_mode))
		return -1;
	fd = (int)sys_call4(SYS_openat, directory, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_LARGEFILE, 0);
	if (fd < 0)
		return -1;
	if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode))
		return fd;
	sys_close(fd);
	return -1;
}

/* Calls `look` for each program header until it returns false. */
static void each_segment(int fd, const ElfW(Ehdr) *header, bool (*look)(const ElfW(Phdr) *, void *), void *argument)
{
	ElfW(Phdr) some[CHUNK / sizeof(ElfW(Phdr))];
	size_t count;

	if (header->e_phentsize != sizeof *some)
		return;
	for (size_t at = 0; at < header->e_phnum; at += count) {
		size_t left = header->e_phnum - at, wanted = left * sizeof *some < sizeof some
								     ? left * sizeof *some
								     : sizeof some / sizeof *some * sizeof *some;
		count = read_at(fd, header->e_phoff + (uint64_t)at * sizeof *some, some, wanted) / sizeof *some;
		for (size_t i = 0; i < count; i++)
			if (!look(&some[i], argument))
				return;
		if (count == 0)
			return;
	}
}

struct segments {
	ElfW(Phdr) interpreter, dynamic;
	bool any;
};

static bool note_segment(const ElfW(Phdr) *segment, void *argument)
{
	struct segments *found = argument;

	found->any = true;
	if (segment->p_type == PT_INTERP)
		found->interpreter = *segment;
	else if (segment->p_type == PT_DYNAMIC)
		found->dynamic = *segment;
	return true;
}

static const char *last_part(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash == NULL ? path : slash + 1;
}

/* The loader of this process; NULL: it has none. */
static const char *own_loader(void)
{
	const ElfW(Phdr) *segments = (const ElfW(Phdr) *)getauxval(AT_PHDR);
	unsigned long count = getauxval(AT_PHNUM);
	ElfW(Addr) base = 0;

	for (unsigned long i = 0; segments != NULL && i < count; i++)
		if (segments[i].p_type == PT_PHDR)
			base = (ElfW(Addr))segments - segments[i].p_vaddr;
	for (unsigned long i = 0; segments != NULL && i < count; i++)
		if (segments[i].p_type == PT_INTERP)
			return (const char *)(base + segments[i].p_vaddr);
	return NULL;
}

/* The loader's name differs between C libraries. In a static process that name is not known, and every loader counts as
 * ours. */
static bool has_our_loader(int fd, const ElfW(Phdr) *interpreter, bool *is_musl)
{
	const char *ours = own_loader();
	char name[256];
	size_t length = interpreter->p_filesz < sizeof name ? interpreter->p_filesz : sizeof name - 1;

	*is_musl = false;
	if (ours == NULL)
		return true;
	length = read_at(fd, interpreter->p_offset, name, length);
	name[length] = '\0';
	*is_musl = strncmp(last_part(name), "ld-musl-", strlen("ld-musl-")) == 0;
	return strcmp(last_part(ours), last_part(name)) == 0;
}

/* ---- Sanitizers ---- */

/* Names among a program's needed libraries and dynamic symbols. */
static const struct {
	const char *name;
	bool start; /* a prefix of the name */
	unsigned sign;
} signs[] = {
	/* Runtimes that are libraries. That of the undefined-behaviour sanitizer alone is missing, as it interposes
	 * nothing. */
	{ "libasan.so", true, 1 },
	{ "libtsan.so", true, 1 },
	{ "liblsan.so", true, 1 },
	{ "libhwasan.so", true, 1 },
	{ "libclang_rt.asan", true, 1 },
	{ "libclang_rt.tsan", true, 1 },
	{ "libclang_rt.msan", true, 1 },
	{ "libclang_rt.lsan", true, 1 },
	{ "libclang_rt.hwasan", true, 1 },
	{ "libclang_rt.memprof", true, 1 },
	/* Runtimes that clang links into the program. */
	{ "__asan_init", false, 1 },
	{ "__tsan_init", false, 1 },
	{ "__msan_init", false, 1 },
	{ "__lsan_init", false, 1 },
	{ "__hwasan_init", false, 1 },
	{ "__memprof_init", false, 1 },
	{ "__dfsan_set_label", false, 1 },
	/* Runtimes that gcc links into the program, which do not export the names above: a symbol of any runtime, and
	 * symbols of those that interpose. */
	{ "__sanitizer_symbolize_code", false, 2 },
	{ "_obstack_begin_1", false, 4 },
	{ "__lsan_is_turned_off", false, 4 },
};
enum { SIGNS_CERTAIN = 1, SIGNS_TOGETHER = 2 | 4, NAME_LONGEST = 47, SIGNS_LIBRARIES = 10, SIGNS_PROGRAM = 7 };

static unsigned sign_of(const char *name)
{
	for (size_t i = 0; i < sizeof signs / sizeof *signs; i++)
		if (signs[i].start ? strncmp(name, signs[i].name, strlen(signs[i].name)) == 0
				   : strcmp(name, signs[i].name) == 0)
			return signs[i].sign;
	return 0;
}

/* The signs among all strings of a table. Of a string longer than NAME_LONGEST the beginning counts. */
static unsigned read_signs(int fd, uint64_t offset, uint64_t size)
{
	char chunk[CHUNK], name[NAME_LONGEST + 1];
	size_t length = 0, count;
	unsigned found = 0;

	for (uint64_t at = 0; at < size; at += count) {
		count = read_at(fd, offset + at, chunk, size - at < sizeof chunk ? size - at : sizeof chunk);
		if (count == 0)
			break;
		for (size_t i = 0; i < count; i++) {
			if (chunk[i] != '\0') {
				if (length < NAME_LONGEST)
					name[length++] = chunk[i];
				continue;
			}
			name[length] = '\0';
			length = 0;
			if (name[0] == '_' || name[0] == 'l')
				found |= sign_of(name);
		}
	}
	return found;
}

static bool is_sanitized(unsigned found)
{
	return (found & SIGNS_CERTAIN) || (found & SIGNS_TOGETHER) == SIGNS_TOGETHER;
}

/* Contents of the dynamic section: addresses, which find_tables replaces by file offsets, 0 for none. */
struct dynamic {
	uint64_t strings, size, symbols, hash;
	uint64_t needed[32]; /* enough, as a runtime is among the first */
	size_t needed_count;
	bool begins_early; /* with functions that run before those of the libraries */
};

static bool read_entry(const ElfW(Dyn) *entry, struct dynamic *dynamic)
{
	switch (entry->d_tag) {
	case DT_NULL:
		return false;
	case DT_STRTAB:
		dynamic->strings = entry->d_un.d_ptr;
		break;
	case DT_STRSZ:
		dynamic->size = entry->d_un.d_val;
		break;
	case DT_SYMTAB:
		dynamic->symbols = entry->d_un.d_ptr;
		break;
	case DT_GNU_HASH:
		dynamic->hash = entry->d_un.d_ptr;
		break;
	case DT_PREINIT_ARRAY:
		dynamic->begins_early = true;
		break;
	case DT_NEEDED:
		if (dynamic->needed_count < sizeof dynamic->needed / sizeof *dynamic->needed)
			dynamic->needed[dynamic->needed_count++] = entry->d_un.d_val;
		break;
	default:
		break;
	}
	return true;
}

static void read_dynamic(int fd, const ElfW(Phdr) *segment, struct dynamic *dynamic)
{
	ElfW(Dyn) entries[CHUNK / sizeof(ElfW(Dyn))];
	uint64_t at = 0;
	size_t count;

	while (at < segment->p_filesz) {
		uint64_t left = segment->p_filesz - at;
		count = read_at(fd, segment->p_offset + at, entries, left < sizeof entries ? left : sizeof entries) /
			sizeof *entries;
		if (count == 0)
			return;
		for (size_t i = 0; i < count; i++)
			if (!read_entry(&entries[i], dynamic))
				return;
		at += count * sizeof *entries;
	}
}

struct translation {
	uint64_t *places[3]; /* each an address, replaced by its offset */
	uint64_t offsets[3];
};

static bool translate(const ElfW(Phdr) *segment, void *argument)
{
	struct translation *wanted = argument;

	for (size_t i = 0; segment->p_type == PT_LOAD && i < sizeof wanted->places / sizeof *wanted->places; i++) {
		uint64_t address = *wanted->places[i];
		if (address != 0 && address >= segment->p_vaddr && address - segment->p_vaddr < segment->p_filesz)
			wanted->offsets[i] = address - segment->p_vaddr + segment->p_offset;
	}
	return true;
}

static void find_tables(int fd, const ElfW(Ehdr) *header, struct dynamic *dynamic)
{
	struct translation tables = { .places = { &dynamic->strings, &dynamic->symbols, &dynamic->hash } };

	each_segment(fd, header, translate, &tables);
	for (size_t i = 0; i < sizeof tables.places / sizeof *tables.places; i++)
		*tables.places[i] = tables.offsets[i];
}

static bool read_string(int fd, const struct dynamic *dynamic, uint64_t at, char *name, size_t size)
{
	if (at >= dynamic->size)
		return false;
	name[read_at(fd, dynamic->strings + at, name, size - 1)] = '\0';
	return strlen(name) < size - 1; /* a name that was cut would be another name */
}

/* The program defines a dynamic symbol of this name. Looked up as the loader does it: the Bloom filter nearly always
 * says no with one read. */
static bool offers(int fd, const struct dynamic *dynamic, const char *name)
{
	enum { BITS = sizeof(ElfW(Addr)) * 8, LONGEST_CHAIN = 4096 };
	struct {
		uint32_t buckets, first, words, shift;
	} table;
	uint32_t hash = 5381, index, other;
	uint64_t at = dynamic->hash + sizeof table;
	ElfW(Addr) word;
	ElfW(Sym) symbol;
	char found[NAME_LONGEST + 1];

	for (const char *c = name; *c != '\0'; c++)
		hash = hash * 33 + (unsigned char)*c;
	if (read_at(fd, dynamic->hash, &table, sizeof table) != sizeof table || table.words == 0 ||
	    table.buckets == 0 ||
	    read_at(fd, at + hash / BITS % table.words * sizeof word, &word, sizeof word) != sizeof word ||
	    !(word >> hash % BITS & word >> (hash >> (table.shift & 31)) % BITS & 1))
		return false;
	at += (uint64_t)table.words * sizeof word;
	if (read_at(fd, at + hash % table.buckets * sizeof index, &index, sizeof index) != sizeof index ||
	    index < table.first)
		return false;
	at += (uint64_t)table.buckets * sizeof index;
	for (unsigned i = 0; i < LONGEST_CHAIN; i++, index++) {
		if (read_at(fd, at + (uint64_t)(index - table.first) * sizeof other, &other, sizeof other) !=
		    sizeof other)
			return false;
		if ((other | 1) == (hash | 1) &&
		    read_at(fd, dynamic->symbols + (uint64_t)index * sizeof symbol, &symbol, sizeof symbol) ==
			    sizeof symbol &&
		    read_string(fd, dynamic, symbol.st_name, found, sizeof found) && strcmp(found, name) == 0)
			return true;
		if (other & 1) /* end of the chain */
			return false;
	}
	return false;
}

/* The runtimes of gcc, and most of clang's, have functions that run before those of the libraries, which hardly any
 * other program has: only for these all names are read. */
static bool has_sanitizer(int fd, const struct dynamic *dynamic)
{
	char name[NAME_LONGEST + 1];

	for (size_t i = 0; i < dynamic->needed_count; i++)
		if (read_string(fd, dynamic, dynamic->needed[i], name, sizeof name) && sign_of(name) == SIGNS_CERTAIN)
			return true;
	if (dynamic->begins_early || dynamic->hash == 0)
		return is_sanitized(read_signs(fd, dynamic->strings, dynamic->size));
	for (size_t i = SIGNS_LIBRARIES; i < SIGNS_LIBRARIES + SIGNS_PROGRAM; i++)
		if (offers(fd, dynamic, signs[i].name))
			return true;
	return false;
}

static void look_for_sanitizer(int fd, const ElfW(Ehdr) *header, const ElfW(Phdr) *segment, struct program *program)
{
	struct dynamic dynamic = { 0 };

	read_dynamic(fd, segment, &dynamic);
	find_tables(fd, header, &dynamic);
	if (dynamic.strings == 0 || !has_sanitizer(fd, &dynamic))
		return;
	program->kind = PROGRAM_SANITIZED;
	if (dynamic.needed_count == 0 ||
	    !read_string(fd, &dynamic, dynamic.needed[0], program->runtime, sizeof program->runtime) ||
	    sign_of(program->runtime) != SIGNS_CERTAIN)
		program->runtime[0] = '\0';
}

static void examine_elf(int fd, const ElfW(Ehdr) *header, size_t size, struct program *program)
{
	/* The ELF header of this program or library itself. */
	extern const ElfW(Ehdr) __ehdr_start __attribute__((visibility("hidden")));
	struct segments segments = { 0 };

	if (header->e_ident[EI_CLASS] != OWN_CLASS) {
		program->kind = PROGRAM_OTHER_WORDS;
		return;
	}
	if (size < sizeof *header)
		return;
	if (header->e_ident[EI_DATA] != __ehdr_start.e_ident[EI_DATA] || header->e_machine != __ehdr_start.e_machine) {
		program->kind = PROGRAM_OTHER_MACHINE;
		return;
	}
	each_segment(fd, header, note_segment, &segments);
	if (!segments.any)
		return;
	if (segments.interpreter.p_type != PT_INTERP) {
		program->kind = PROGRAM_STATIC;
	} else if (!has_our_loader(fd, &segments.interpreter, &program->passes_over)) {
		program->kind = PROGRAM_OTHER_LIBC;
	} else {
		program->kind = PROGRAM_DYNAMIC;
		look_for_sanitizer(fd, header, &segments.dynamic, program);
	}
}

/* Cuts the interpreter out of a script's first line. NULL: it has none. */
static const char *interpreter_in(char *line)
{
	char *start = line + 2 + strspn(line + 2, " \t");

	start[strcspn(start, " \t\n")] = '\0';
	return *start == '\0' ? NULL : start;
}

void program_examine(int directory, const char *path, struct program *program)
{
	union {
		ElfW(Ehdr) header;
		char line[SCRIPT_LINE + 1];
	} start;
	int saved = errno;

	*program = (struct program){ .kind = PROGRAM_UNKNOWN };
	for (unsigned script = 0; path != NULL && script <= SCRIPTS_MOST; script++) {
		int fd = program_open(directory, path);
		size_t size;

		path = NULL;
		if (fd < 0)
			break; /* an executable file need not be readable */
		size = read_at(fd, 0, start.line, SCRIPT_LINE);
		start.line[size] = '\0';
		if (size >= EI_NIDENT && memcmp(start.line, ELFMAG, SELFMAG) == 0)
			examine_elf(fd, &start.header, size, program);
		else if (size > 2 && memcmp(start.line, "#!", 2) == 0)
			path = interpreter_in(start.line);
		directory = AT_FDCWD;
		sys_close(fd);
	}
	errno = saved;
}
