/* SPDX-License-Identifier: MIT
 * What can be read in a program's or a library's file. Nothing in it is trusted: what lies outside of the file is as if
 * it were not there. */
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

/* Of a file descriptor; false: it cannot be read, or is empty. */
bool elf_open(int fd, struct elf_file *file);
void elf_close(struct elf_file *file);

bool elf_is_elf(const struct elf_file *file);
/* For the word size that this program is for. The others ask for that. */
bool elf_has_our_words(const struct elf_file *file);

/* The path of its loader; NULL: none. */
const char *elf_interpreter(const struct elf_file *file);
/* It is a library by its own account: has a name to be looked up by. */
bool elf_has_soname(const struct elf_file *file);
bool elf_has_section(const struct elf_file *file, const char *name);
/* Whether the loader finds a function of this name there. */
bool elf_exports(const struct elf_file *file, const char *name);
/* Whether it has one, for the loader or not. Of a file that was stripped: what the loader finds. */
bool elf_defines(const struct elf_file *file, const char *name);
/* Anywhere. */
bool elf_contains(const struct elf_file *file, const char *text);
#endif
