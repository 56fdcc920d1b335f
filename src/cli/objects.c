/* SPDX-License-Identifier: MIT */
#include "objects.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../sys/program.h"
#include "elf_file.h"

/* The library interposes these. An allocator defines all or some of them. */
static const char *const functions[] = { "malloc", "free", "realloc" };

static bool has_malloc(const char *path)
{
	struct elf_file file;
	bool found = false;
	int fd = program_open(AT_FDCWD, path);

	if (fd < 0)
		return false;
	if (elf_open(fd, &file)) {
		for (size_t i = 0;
		     i < sizeof functions / sizeof *functions && elf_is_elf(&file) && elf_has_our_words(&file); i++)
			found = found || elf_exports(&file, functions[i]);
		elf_close(&file);
	}
	close(fd);
	return found;
}

static const char *last_part(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash == NULL ? path : slash + 1;
}

static bool starts_with(const char *text, const char *start)
{
	return strncmp(text, start, strlen(start)) == 0;
}

/* A line of the list: "\tNAME => PATH (ADDRESS)" or "\tPATH (ADDRESS)". Cuts out the path; NULL: none, as for a library
 * that was not found. */
static char *path_in(char *line, const char **name)
{
	char *start = line + strspn(line, "\t"), *arrow = strstr(start, " => "), *end = strstr(start, " (0x");

	if (end == NULL)
		return NULL;
	*end = '\0';
	if (arrow != NULL)
		*arrow = '\0';
	*name = last_part(start);
	start = arrow == NULL ? start : arrow + 4;
	return strchr(start, '/') == NULL ? NULL : start;
}

/* Starts the loader, which lists the objects of the program in the order in which it searches them, and opens a pipe
 * from it; 0: that is not possible. */
static pid_t list_objects(const struct target *target, FILE **list)
{
	char option[] = "--list";
	char *arguments[] = { (char *)(uintptr_t)target->loader, option, (char *)(uintptr_t)target->file, NULL };
	posix_spawn_file_actions_t actions;
	int ends[2];
	pid_t pid = 0;

	if (pipe2(ends, O_CLOEXEC) != 0)
		return 0;
	*list = fdopen(ends[0], "r");
	if (*list != NULL && posix_spawn_file_actions_init(&actions) == 0) {
		if (posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO) != 0 ||
		    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0) != 0 ||
		    posix_spawn(&pid, target->loader, &actions, NULL, arguments, environ) != 0)
			pid = 0;
		posix_spawn_file_actions_destroy(&actions);
	}
	close(ends[1]);
	if (pid == 0 && *list != NULL)
		fclose(*list);
	else if (pid == 0)
		close(ends[0]);
	return pid;
}

/* The loader has listed everything. */
static bool end_list(pid_t pid, FILE *list)
{
	int status = -1;

	fclose(list);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status == 0;
}

static void find_malloc(const struct target *target, struct allocator *allocator)
{
	char *line = NULL, *path;
	const char *name;
	size_t room = 0;
	FILE *list;
	pid_t pid = list_objects(target, &list);
	bool found = has_malloc(target->file), is_libc = false;

	if (pid == 0)
		return;
	if (found)
		snprintf(allocator->where, sizeof allocator->where, "%s", target->file);
	/* Reads to the end in any case, so that the loader does not write to a closed pipe. */
	while (getline(&line, &room, list) > 0) {
		path = path_in(line, &name);
		if (found || path == NULL || starts_with(last_part(path), "libodfork.so") || !has_malloc(path))
			continue;
		found = true;
		is_libc = strcmp(name, "libc.so.6") == 0;
		snprintf(allocator->where, sizeof allocator->where, "%s", path);
	}
	free(line);
	if (end_list(pid, list) && found)
		allocator->kind = is_libc ? ALLOCATOR_LIBC : ALLOCATOR_OTHER;
}

void objects_find_allocator(const struct target *target, struct allocator *allocator)
{
	allocator->kind = ALLOCATOR_UNKNOWN;
	allocator->where[0] = '\0';
	if (target->loader[0] == '\0')
		return;
	find_malloc(target, allocator);
}
