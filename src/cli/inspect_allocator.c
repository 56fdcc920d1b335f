/* SPDX-License-Identifier: MIT
 * The malloc that a process uses: by the libraries that are mapped, else by the contents of the program's file. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "../sys/program.h"
#include "elf_file.h"
#include "inspect.h"

static const char *const names[INSPECT_MALLOCS] = {
	[INSPECT_MALLOC_UNKNOWN] = "unknown",   [INSPECT_MALLOC_GLIBC] = "glibc",
	[INSPECT_MALLOC_MUSL] = "musl",         [INSPECT_MALLOC_JEMALLOC] = "jemalloc",
	[INSPECT_MALLOC_TCMALLOC] = "tcmalloc", [INSPECT_MALLOC_MIMALLOC] = "mimalloc",
	[INSPECT_MALLOC_OTHER] = "other",
};

const char *inspect_malloc_name(enum inspect_malloc kind)
{
	return names[kind];
}

static const struct {
	const char *library; /* prefix of its file name */
	const char *function; /* a function of a program that has it linked in */
	const char *text; /* a text in such a program if it is stripped */
	enum inspect_malloc kind;
} known[] = {
	{ "libjemalloc", "je_mallctl", "<jemalloc>", INSPECT_MALLOC_JEMALLOC },
	{ "libjemalloc", "mallctl", "<jemalloc>", INSPECT_MALLOC_JEMALLOC },
	{ "libtcmalloc", "tc_malloc", "tcmalloc::", INSPECT_MALLOC_TCMALLOC },
	{ "libtcmalloc", "MallocExtension_ReleaseFreeMemory", "tcmalloc::", INSPECT_MALLOC_TCMALLOC },
	{ "libmimalloc", "mi_malloc", "mimalloc: ", INSPECT_MALLOC_MIMALLOC },
};
enum { KNOWN = sizeof known / sizeof *known };

static const char *last_part(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash == NULL ? path : slash + 1;
}

static bool starts(const char *text, const char *start)
{
	return strncmp(text, start, strlen(start)) == 0;
}

/* Opens the path as the process sees it, which may have another root directory. */
static bool open_for(pid_t pid, const char *path, struct elf_file *file)
{
	char inside[PATH_MAX + 64];
	bool done;
	int fd;

	snprintf(inside, sizeof inside, "/proc/%d/root%s", (int)pid, path);
	fd = program_open(AT_FDCWD, inside);
	if (fd < 0)
		return false;
	done = elf_open(fd, file);
	close(fd);
	if (done && (!elf_is_elf(file) || !elf_has_our_words(file))) {
		elf_close(file);
		return false;
	}
	return done;
}

/* The allocator of a statically linked program, or one that is linked into the program. */
static void look_into_program(const struct inspect_process *process, struct inspect_allocator *allocator)
{
	struct elf_file file;
	char path[64];
	int fd;

	snprintf(path, sizeof path, "/proc/%d/exe", (int)process->pid);
	fd = program_open(AT_FDCWD, path);
	if (fd < 0)
		return;
	if (elf_open(fd, &file)) {
		bool own = elf_is_elf(&file) && elf_has_our_words(&file);
		for (size_t i = 0; own && i < KNOWN && allocator->kind == INSPECT_MALLOC_UNKNOWN; i++)
			if (elf_defines(&file, known[i].function))
				allocator->kind = known[i].kind;
		for (size_t i = 0; own && i < KNOWN && allocator->kind == INSPECT_MALLOC_UNKNOWN; i++)
			if (elf_contains(&file, known[i].text))
				allocator->kind = known[i].kind;
		if (allocator->kind == INSPECT_MALLOC_UNKNOWN && own && elf_exports(&file, "malloc"))
			allocator->kind = INSPECT_MALLOC_OTHER;
		if (allocator->kind == INSPECT_MALLOC_UNKNOWN && own && elf_interpreter(&file) == NULL &&
		    elf_defines(&file, "__libc_malloc"))
			allocator->kind = elf_contains(&file, "GLIBC_TUNABLES") ? INSPECT_MALLOC_GLIBC
										: INSPECT_MALLOC_MUSL;
		elf_close(&file);
	}
	close(fd);
	allocator->in_program = allocator->kind != INSPECT_MALLOC_UNKNOWN;
	if (allocator->in_program)
		snprintf(allocator->where, sizeof allocator->where, "%s", process->program);
}

static bool exports_malloc(pid_t pid, const char *path)
{
	struct elf_file file;
	bool found;

	if (strstr(last_part(path), ".so") == NULL || !open_for(pid, path, &file))
		return false;
	found = elf_exports(&file, "malloc") && elf_exports(&file, "free");
	elf_close(&file);
	return found;
}

static void look_at_libraries(const struct inspect_process *process, const struct inspect_memory *memory,
			      struct inspect_allocator *allocator)
{
	enum inspect_malloc libc = INSPECT_MALLOC_UNKNOWN;
	const char *libc_path = "";

	for (size_t i = 0; i < memory->path_count && allocator->kind == INSPECT_MALLOC_UNKNOWN; i++) {
		const char *path = memory->paths[i], *name = last_part(path);
		if (starts(name, "ld-musl") || starts(name, "libc.musl") ||
		    (starts(name, "libc.so") && strstr(path, "musl") != NULL)) {
			libc = INSPECT_MALLOC_MUSL;
			libc_path = path;
			continue;
		}
		if (starts(name, "libc.so.6") || starts(name, "libc-2.")) {
			libc = INSPECT_MALLOC_GLIBC;
			libc_path = path;
			continue;
		}
		if (starts(name, "ld-") || starts(name, "libodfork") || strcmp(path, process->program) == 0)
			continue;
		for (size_t k = 0; k < KNOWN; k++)
			if (starts(name, known[k].library))
				allocator->kind = known[k].kind;
		if (allocator->kind == INSPECT_MALLOC_UNKNOWN &&
		    exports_malloc(process->pid, path))
			allocator->kind = INSPECT_MALLOC_OTHER;
		if (allocator->kind != INSPECT_MALLOC_UNKNOWN)
			snprintf(allocator->where, sizeof allocator->where, "%s", path);
	}
	if (allocator->kind == INSPECT_MALLOC_UNKNOWN && libc != INSPECT_MALLOC_UNKNOWN) {
		allocator->kind = libc;
		snprintf(allocator->where, sizeof allocator->where, "%s", libc_path);
	}
}

void inspect_allocator_find(const struct inspect_process *process, const struct inspect_memory *memory,
			    struct inspect_allocator *allocator)
{
	*allocator = (struct inspect_allocator){ 0 };
	for (size_t i = 0; i < memory->path_count; i++) {
		const char *name = last_part(memory->paths[i]);
		allocator->library = allocator->library || starts(name, "libodfork.so");
		allocator->jvm = allocator->jvm || starts(name, "libjvm.so");
		allocator->v8 = allocator->v8 || starts(name, "libnode.so") || starts(name, "libv8");
	}
	allocator->v8 = allocator->v8 || strcmp(last_part(process->program), "node") == 0 ||
			strcmp(last_part(process->program), "nodejs") == 0;
	look_into_program(process, allocator);
	if (allocator->kind == INSPECT_MALLOC_UNKNOWN)
		look_at_libraries(process, memory, allocator);
}
