/* SPDX-License-Identifier: MIT */
#include "target.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "../sys/program.h"
#include "elf_file.h"

/* How many scripts may be each other's interpreter before the kernel refuses, and how much of each it reads. */
enum { SCRIPTS_MOST = 5, SCRIPT_LINE = 256 };

/* If not, execvp skips it on its way through PATH: directories, for example. */
static bool is_executable(const char *path)
{
	struct stat status;

	return stat(path, &status) == 0 && S_ISREG(status.st_mode) && access(path, X_OK) == 0;
}

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
		if (size < PATH_MAX && is_executable(path))
			return true;
		directory += length;
		if (*directory == '\0')
			return false;
	}
}

/* exec would set AT_SECURE. */
static bool gains_rights(int fd)
{
	struct statvfs system;
	struct stat status;

	if (fstat(fd, &status) != 0 || (fstatvfs(fd, &system) == 0 && (system.f_flag & ST_NOSUID)))
		return false;
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1) {
		if ((status.st_mode & S_ISUID) && status.st_uid != getuid())
			return true;
		if ((status.st_mode & S_ISGID) && (status.st_mode & S_IXGRP) && status.st_gid != getgid())
			return true;
	}
	return getuid() != 0 && fgetxattr(fd, "security.capability", NULL, 0) > 0;
}

static const char *last_part(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash == NULL ? path : slash + 1;
}

static void examine_elf(int fd, const struct elf_file *file, struct target *target)
{
	struct program program;
	const char *loader;
	bool in_go;

	program_examine(AT_FDCWD, target->file, &program);
	target->would_break = !program_takes_preload(&program);
	target->passes_over = program.kind == PROGRAM_OTHER_LIBC && program.passes_over;
	loader = elf_interpreter(file);
	in_go = elf_has_section(file, ".note.go.buildid") || elf_has_section(file, ".gopclntab");
	switch (program.kind) {
	case PROGRAM_OTHER_WORDS:
		target->obstacle = "it is for another word size than libodfork.so";
		break;
	case PROGRAM_OTHER_MACHINE:
		target->obstacle = "it is for another machine than libodfork.so";
		break;
	case PROGRAM_STATIC:
		/* perhaps a loader, executed by its name, which then loads a program and preloads */
		if (!elf_has_soname(file))
			target->obstacle =
				in_go ? "it is a Go program, statically linked, "
					"so there is no loader to preload anything"
				      : "it is statically linked, so there is no loader to preload anything";
		break;
	case PROGRAM_OTHER_LIBC:
	case PROGRAM_SANITIZED:
	case PROGRAM_DYNAMIC:
		if (gains_rights(fd))
			target->obstacle =
				"it gains rights by being executed (set-user-id, set-group-id or capabilities), "
				"for which the loader preloads nothing";
		else if (program.kind == PROGRAM_OTHER_LIBC)
			target->obstacle =
				"its loader is not the one that libodfork.so is for: it has another C library";
		else if (program.kind == PROGRAM_SANITIZED)
			target->obstacle =
				"it is built with a sanitizer, whose runtime must come first and see every call";
		else if (in_go)
			target->obstacle =
				"it is a Go program, "
				"which asks the kernel for memory and processes itself, past every library";
		else if (loader != NULL)
			snprintf(target->loader, sizeof target->loader, "%s", loader);
		break;
	case PROGRAM_UNKNOWN:
		break;
	}
}

/* The command of env(1) in the rest of a script's first line, which is one argument of env, or several with option -S;
 * NULL: not understood. */
static char *env_command(char *rest)
{
	bool split = strncmp(rest, "-S", 2) == 0;

	if (!split)
		return rest[0] == '-' || rest[0] == '\0' || strchr(rest, '=') != NULL ? NULL : rest;
	for (rest += 2;;) {
		size_t length;
		rest += strspn(rest, " \t");
		length = strcspn(rest, " \t");
		if (length == 0 || rest[0] == '-' || strcspn(rest, "\"'\\$") < length)
			return NULL;
		if (memchr(rest, '=', length) == NULL) {
			rest[length] = '\0';
			return rest;
		}
		rest += length;
	}
}

/* Sets target->file to the next file to examine; false: not known. */
static bool follow_script(const struct elf_file *file, bool follow, struct target *target)
{
	char line[SCRIPT_LINE + 1] = "", *interpreter, *rest;
	size_t length = file->size < SCRIPT_LINE ? file->size : SCRIPT_LINE;

	memcpy(line, file->bytes, length);
	line[strcspn(line, "\n")] = '\0';
	interpreter = line + 2 + strspn(line + 2, " \t");
	rest = interpreter + strcspn(interpreter, " \t");
	if (*rest != '\0')
		*rest++ = '\0';
	rest += strspn(rest, " \t");
	for (length = strlen(rest); length > 0 && strchr(" \t", rest[length - 1]) != NULL; length--)
		rest[length - 1] = '\0';
	snprintf(target->file, sizeof target->file, "%s", interpreter);
	if (follow && strcmp(last_part(interpreter), "env") == 0) {
		char *command = env_command(rest);
		return command != NULL && find_program(command, target->file);
	}
	return *interpreter != '\0';
}

void target_examine(const char *command, bool follow, struct target *target)
{
	bool more = find_program(command, target->file);

	target->loader[0] = '\0';
	target->obstacle = NULL;
	target->would_break = target->passes_over = false;
	for (unsigned script = 0; more && script <= SCRIPTS_MOST; script++) {
		struct elf_file file;
		int fd = program_open(AT_FDCWD, target->file);

		more = false;
		if (fd < 0)
			return; /* an executable file need not be readable */
		if (elf_open(fd, &file)) {
			if (elf_is_elf(&file))
				examine_elf(fd, &file, target);
			else if (file.size > 2 && memcmp(file.bytes, "#!", 2) == 0)
				more = follow_script(&file, follow, target);
			elf_close(&file);
		}
		close(fd);
	}
}
