/* SPDX-License-Identifier: MIT
 *
 * Whether a program is one that forks, before it has: by what it and the libraries that it is started with ask of the
 * loader. A program that could fork by another way, or by a library that is loaded later, is found out when it does.
 */
#include <link.h>
#include <string.h>

#include "../record/settings.h"
#include "internal.h"

static bool asks;

struct object {
	ElfW(Addr) base;
	const ElfW(Sym) *symbols;
	const char *names;
	const uint32_t *gnu_hash, *hash;
};

/* glibc has made addresses of them, other loaders leave them as they are in the file. */
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
		case DT_GNU_HASH:
			object->gnu_hash = place(object, entry->d_un.d_ptr);
			break;
		case DT_HASH:
			object->hash = place(object, entry->d_un.d_ptr);
			break;
		default:
			break;
		}
}

static bool is_fork(const char *name)
{
	return strcmp(name, "fork") == 0 || strcmp(name, "_Fork") == 0 || strcmp(name, "forkpty") == 0 || strcmp(name, "daemon") == 0;
}

static int look(struct dl_phdr_info *info, size_t size, void *ours)
{
	struct object object = { .base = info->dlpi_addr };
	uint32_t count;

	(void)size;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
		uintptr_t start = object.base + segment->p_vaddr;
		if (segment->p_type == PT_LOAD && (uintptr_t)ours - start < segment->p_memsz)
			return 0; /* this library, which asks for it itself */
		if (segment->p_type == PT_DYNAMIC)
			read_dynamic(&object, (const ElfW(Dyn) *)start);
	}
	if (object.symbols == NULL || object.names == NULL)
		return 0;
	/* What is asked for comes before what is offered, which alone is in the table of GNU's kind. */
	count = object.gnu_hash != NULL ? object.gnu_hash[1] : object.hash != NULL ? object.hash[1] : 0;
	for (uint32_t i = 1; i < count; i++)
		if (object.symbols[i].st_shndx == SHN_UNDEF && is_fork(object.names + object.symbols[i].st_name))
			return 1;
	return 0;
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
