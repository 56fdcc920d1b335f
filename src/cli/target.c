/* SPDX-License-Identifier: MIT */
#include "target.h"

#include <elf.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

/* The file that execvp would run, in `path`. */
static bool find_program(const char *command, char path[PATH_MAX])
{
	const char *directory = getenv("PATH");

	if (strchr(command, '/') != NULL)
		return snprintf(path, PATH_MAX, "%s", command) < PATH_MAX;
	if (directory == NULL)
		directory = "/bin:/usr/bin";
	for (;; directory++) {
		int length = (int)strcspn(directory, ":");
		int size = snprintf(path, PATH_MAX, "%.*s%s%s", length, directory, length > 0 ? "/" : "", command);
		if (size < PATH_MAX && access(path, X_OK) == 0)
			return true;
		directory += length;
		if (*directory == '\0')
			return false;
	}
}

static const char *elf_obstacle(int fd, const ElfW(Ehdr) *header)
{
	if (header->e_ident[EI_CLASS] != (sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32))
		return "it is for another word size than libodfork.so";
	for (unsigned i = 0; i < header->e_phnum; i++) {
		ElfW(Phdr) program;
		off_t at = (off_t)(header->e_phoff + (size_t)i * header->e_phentsize);
		if (pread(fd, &program, sizeof program, at) != (ssize_t)sizeof program)
			return NULL;
		if (program.p_type == PT_INTERP)
			return NULL;
	}
	return "it is statically linked, so there is no loader to preload anything";
}

/* What makes the kernel set AT_SECURE. */
static bool gains_rights(int fd, const struct stat *status)
{
	if ((status->st_mode & S_ISUID) && status->st_uid != getuid())
		return true;
	if ((status->st_mode & S_ISGID) && (status->st_mode & S_IXGRP) && status->st_gid != getgid())
		return true;
	return getuid() != 0 && fgetxattr(fd, "security.capability", NULL, 0) > 0;
}

static const char *file_obstacle(const char *path, bool script)
{
	union {
		char bytes[PATH_MAX];
		ElfW(Ehdr) header;
	} start = { { 0 } };
	const char *obstacle = NULL;
	struct stat status;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return NULL;
	if (fstat(fd, &status) == 0 && gains_rights(fd, &status))
		obstacle = "it gains rights by being executed (set-user-id, set-group-id or capabilities), for which the loader preloads nothing";
	else if (pread(fd, start.bytes, sizeof start.bytes - 1, 0) < (ssize_t)sizeof start.header)
		obstacle = NULL;
	else if (memcmp(start.bytes, ELFMAG, SELFMAG) == 0)
		obstacle = elf_obstacle(fd, &start.header);
	close(fd);
	if (memcmp(start.bytes, "#!", 2) == 0 && !script) {
		char *interpreter = start.bytes + 2 + strspn(start.bytes + 2, " \t");
		interpreter[strcspn(interpreter, " \t\n")] = '\0';
		return file_obstacle(interpreter, true);
	}
	return obstacle;
}

const char *target_obstacle(const char *command)
{
	char path[PATH_MAX];

	return find_program(command, path) ? file_obstacle(path, false) : NULL;
}
