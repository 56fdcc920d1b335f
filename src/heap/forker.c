/* SPDX-License-Identifier: MIT
 *
 * Whether a program is one that forks, known before it does: by the symbols that it and the libraries loaded at its
 * start import. A program that forks in another way, or by a library that is loaded later, is recognised when it forks.
 */
#include <link.h>
#include <string.h>

#include "../record/settings.h"
#include "internal.h"

static bool asks;

struct relocations {
	const ElfW(Rela) *list;
	size_t size;
};

struct object {
	ElfW(Addr) base;
	const ElfW(Sym) *symbols;
	const char *names;
	struct relocations calls, others;
	size_t relative; /* this many of the others come first and have no symbol */
};

/* glibc's loader has turned these values into addresses; other loaders leave them as they are in the file. */
static const void *place(const struct object *object, ElfW(Addr) value)
{
	return (const void *)(value < object->base ? object->base + value : value);
}

static void read_dynamic(struct object *object, const ElfW(Dyn) *entry)
{
	for (; entry->d_tag != DT_NULL; entry++)
		switch (entry->d_tag) {
		case DT_SYMTAB:
			object->symbols = place(object, entry->d_un.d_ptr);
			break;
		case DT_STRTAB:
			object->names = place(object, entry->d_un.d_ptr);
			break;
		case DT_JMPREL:
			object->calls.list = place(object, entry->d_un.d_ptr);
			break;
		case DT_PLTRELSZ:
			object->calls.size = entry->d_un.d_val;
			break;
		case DT_RELA:
			object->others.list = place(object, entry->d_un.d_ptr);
			break;
		case DT_RELASZ:
			object->others.size = entry->d_un.d_val;
			break;
		case DT_RELACOUNT:
			object->relative = entry->d_un.d_val;
			break;
		default:
			break;
		}
}

static bool is_fork(const char *name)
{
	return strcmp(name, "fork") == 0 || strcmp(name, "_Fork") == 0 || strcmp(name, "forkpty") == 0 ||
	       strcmp(name, "daemon") == 0;
}

/* By the relocations, as a table of symbols does not tell its length. */
static bool has_fork(const struct object *object, const struct relocations *relocations, size_t from)
{
	size_t count = relocations->list == NULL ? 0 : relocations->size / sizeof *relocations->list;

	for (size_t i = from; i < count; i++) {
		const ElfW(Sym) *symbol = &object->symbols[ELF64_R_SYM(relocations->list[i].r_info)];
		if (symbol->st_shndx == SHN_UNDEF && is_fork(object->names + symbol->st_name))
			return true;
	}
	return false;
}

static int look(struct dl_phdr_info *info, size_t size, void *ours)
{
	struct object object = { .base = info->dlpi_addr };

	(void)size;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
		uintptr_t start = object.base + segment->p_vaddr;
		if (segment->p_type == PT_LOAD && (uintptr_t)ours - start < segment->p_memsz)
			return 0; /* this library, which imports fork itself */
		if (segment->p_type == PT_DYNAMIC)
			read_dynamic(&object, (const ElfW(Dyn) *)start);
	}
	if (object.symbols == NULL || object.names == NULL)
		return 0;
	return has_fork(&object, &object.calls, 0) || has_fork(&object, &object.others, object.relative);
}

bool heap_program_asks_for_fork(void)
{
	return asks;
}

__attribute__((constructor(103))) static void look_at_all(void)
{
	if (settings->heap == SETTINGS_HEAP_AUTO)
		asks = dl_iterate_phdr(look, (void *)(uintptr_t)look_at_all) == 1;
}
