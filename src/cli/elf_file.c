/* SPDX-License-Identifier: MIT */
#include "elf_file.h"

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define OWN_CLASS (sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32)

bool elf_open(int fd, struct elf_file *file)
{
	struct stat status;
	void *bytes;

	if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) || status.st_size <= 0)
		return false;
	bytes = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (bytes == MAP_FAILED)
		return false;
	*file = (struct elf_file){ bytes, (size_t)status.st_size };
	return true;
}

void elf_close(struct elf_file *file)
{
	munmap((void *)(uintptr_t)file->bytes, file->size);
}

/* NULL: part of it is outside the file, or is misaligned. */
static const void *piece(const struct elf_file *file, uint64_t at, uint64_t length)
{
	if (at > file->size || length > file->size - at || (uintptr_t)(file->bytes + at) % sizeof(ElfW(Addr)) != 0)
		return NULL;
	return file->bytes + at;
}

/* Its NUL is in the file, and before `limit`. */
static const char *string(const struct elf_file *file, uint64_t at, uint64_t limit)
{
	if (limit > file->size)
		limit = file->size;
	return at < limit && memchr(file->bytes + at, '\0', limit - at) != NULL ? (const char *)file->bytes + at : NULL;
}

static const ElfW(Ehdr) *header(const struct elf_file *file)
{
	return piece(file, 0, sizeof(ElfW(Ehdr)));
}

bool elf_is_elf(const struct elf_file *file)
{
	return file->size >= EI_NIDENT && memcmp(file->bytes, ELFMAG, SELFMAG) == 0;
}

bool elf_has_our_words(const struct elf_file *file)
{
	return file->bytes[EI_CLASS] == OWN_CLASS;
}

static const ElfW(Phdr) *program_header(const struct elf_file *file, ElfW(Word) type)
{
	const ElfW(Ehdr) *start = header(file);

	for (unsigned i = 0; start != NULL && start->e_phentsize == sizeof(ElfW(Phdr)) && i < start->e_phnum; i++) {
		const ElfW(Phdr) *program = piece(file, start->e_phoff + i * sizeof *program, sizeof *program);
		if (program == NULL)
			return NULL;
		if (program->p_type == type)
			return program;
	}
	return NULL;
}

const char *elf_interpreter(const struct elf_file *file)
{
	const ElfW(Phdr) *program = program_header(file, PT_INTERP);

	return program == NULL || program->p_filesz > file->size
		       ? NULL
		       : string(file, program->p_offset, program->p_offset + program->p_filesz);
}

bool elf_has_soname(const struct elf_file *file)
{
	const ElfW(Phdr) *program = program_header(file, PT_DYNAMIC);
	const ElfW(Dyn) *entry = program == NULL ? NULL : piece(file, program->p_offset, program->p_filesz);

	for (size_t i = 0; entry != NULL && i < program->p_filesz / sizeof *entry && entry[i].d_tag != DT_NULL; i++)
		if (entry[i].d_tag == DT_SONAME)
			return true;
	return false;
}

static const ElfW(Shdr) *section_header(const struct elf_file *file, unsigned index)
{
	const ElfW(Ehdr) *start = header(file);

	if (start == NULL || start->e_shoff == 0 || start->e_shentsize != sizeof(ElfW(Shdr)) || index >= start->e_shnum)
		return NULL;
	return piece(file, start->e_shoff + index * sizeof(ElfW(Shdr)), sizeof(ElfW(Shdr)));
}

bool elf_has_section(const struct elf_file *file, const char *name)
{
	const ElfW(Ehdr) *start = header(file);
	const ElfW(Shdr) *names = start == NULL ? NULL : section_header(file, start->e_shstrndx), *section;

	if (names == NULL || names->sh_offset > file->size || names->sh_size > file->size)
		return false;
	for (unsigned i = 1; (section = section_header(file, i)) != NULL; i++) {
		const char *found = string(file, names->sh_offset + section->sh_name,
					   names->sh_offset + names->sh_size);
		if (found != NULL && strcmp(found, name) == 0)
			return true;
	}
	return false;
}

static bool is_function(const ElfW(Sym) *symbol)
{
	unsigned type = symbol->st_info & 0xf, binding = symbol->st_info >> 4;

	return symbol->st_shndx != SHN_UNDEF && (type == STT_FUNC || type == STT_GNU_IFUNC) &&
	       (binding == STB_GLOBAL || binding == STB_WEAK);
}

/* The symbol table of this kind has a function of this name. */
static bool has_function(const struct elf_file *file, ElfW(Word) table, const char *name)
{
	const ElfW(Shdr) *section, *strings;
	const ElfW(Sym) *symbols;

	for (unsigned i = 1; (section = section_header(file, i)) != NULL; i++) {
		if (section->sh_type != table)
			continue;
		strings = section_header(file, section->sh_link);
		symbols = piece(file, section->sh_offset, section->sh_size);
		if (strings == NULL || symbols == NULL || strings->sh_offset > file->size ||
		    strings->sh_size > file->size)
			return false;
		for (size_t at = 0; at < section->sh_size / sizeof *symbols; at++) {
			const char *found = string(file, strings->sh_offset + symbols[at].st_name,
						   strings->sh_offset + strings->sh_size);
			if (is_function(&symbols[at]) && found != NULL && strcmp(found, name) == 0)
				return true;
		}
	}
	return false;
}

bool elf_exports(const struct elf_file *file, const char *name)
{
	return has_function(file, SHT_DYNSYM, name);
}

bool elf_defines(const struct elf_file *file, const char *name)
{
	return has_function(file, SHT_SYMTAB, name) || has_function(file, SHT_DYNSYM, name);
}

bool elf_contains(const struct elf_file *file, const char *text)
{
	return memmem(file->bytes, file->size, text, strlen(text)) != NULL;
}
