/* SPDX-License-Identifier: MIT
 * What a program's or library's file contains. Nothing in it is trusted: what is outside the file counts as missing. */
#ifndef ODF_CLI_ELF_FILE_H
#define ODF_CLI_ELF_FILE_H

#include <elf.h>
#include <link.h>
#include <stdbool.h>
#include <stddef.h>

struct elf_file {
	const unsigned char *bytes;
	size_t size;
};

/* Maps the file of a descriptor; false: it cannot be read, or is empty. */
bool elf_open(int fd, struct elf_file *file);
void elf_close(struct elf_file *file);

bool elf_is_elf(const struct elf_file *file);
/* The file has this program's word size. The other functions need that. */
bool elf_has_our_words(const struct elf_file *file);

/* The path of its loader; NULL: it has none. */
const char *elf_interpreter(const struct elf_file *file);
/* It calls itself a library: it has a name by which the loader looks it up. */
bool elf_has_soname(const struct elf_file *file);
bool elf_has_section(const struct elf_file *file, const char *name);
/* The loader finds a function of this name in it. */
bool elf_exports(const struct elf_file *file, const char *name);
/* It has such a function, for the loader or not. In a stripped file: the loader finds one. */
bool elf_defines(const struct elf_file *file, const char *name);
/* The file has this text anywhere. */
bool elf_contains(const struct elf_file *file, const char *text);
#endif
