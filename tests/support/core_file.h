/* SPDX-License-Identifier: MIT
 *
 * What a core dump must have of memory whose pages are all 'Z', with a marker in one of them: each page, once.
 */
#ifndef TESTS_CORE_FILE_H
#define TESTS_CORE_FILE_H

#include <elf.h>

#include "preloaded.h"

#define CORE_PAGE   ((size_t)4096)
#define CORE_MARKER "the marker"

static inline void core_fill(char *memory, size_t size)
{
	memset(memory, 'Z', size);
	strcpy(memory + size / 2 + 123, CORE_MARKER);
}

static inline bool core_is_filled(const char *memory, size_t size)
{
	for (size_t at = 0; at < size; at += CORE_PAGE)
		if (memory[at] != 'Z' || memory[at + CORE_PAGE - 1] != 'Z')
			return false;
	return strcmp(memory + size / 2 + 123, CORE_MARKER) == 0;
}

static inline void core_must_have(int core, const char *memory, size_t size)
{
	uint64_t at = (uint64_t)(uintptr_t)memory, end = at + size, mark = at + size / 2 + 123;
	static char page[CORE_PAGE];
	Elf64_Ehdr head;
	size_t found = 0;

	must(pread(core, &head, sizeof head, 0) == (ssize_t)sizeof head && memcmp(head.e_ident, ELFMAG, SELFMAG) == 0 &&
	     head.e_type == ET_CORE);
	for (unsigned i = 0; i < head.e_phnum; i++) {
		Elf64_Phdr part;
		must(pread(core, &part, sizeof part, (off_t)(head.e_phoff + i * head.e_phentsize)) ==
		     (ssize_t)sizeof part);
		if (part.p_type != PT_LOAD)
			continue;
		for (uint64_t address = part.p_vaddr; address < part.p_vaddr + part.p_filesz; address += CORE_PAGE) {
			if (address < at || address >= end)
				continue;
			must(pread(core, page, CORE_PAGE, (off_t)(part.p_offset + address - part.p_vaddr)) ==
			     (ssize_t)CORE_PAGE);
			must(page[0] == 'Z' && page[CORE_PAGE - 1] == 'Z');
			if (address == mark / CORE_PAGE * CORE_PAGE)
				must(strcmp(page + mark % CORE_PAGE, CORE_MARKER) == 0);
			found++;
		}
	}
	must(found == size / CORE_PAGE);
}
#endif
