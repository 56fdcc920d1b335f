/* SPDX-License-Identifier: MIT */
#include "environment.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static size_t name_length(const char *entry)
{
	return (size_t)(strchrnul(entry, '=') - entry);
}

static bool same_name(const char *a, const char *b)
{
	size_t length = name_length(a);

	return length == name_length(b) && memcmp(a, b, length) == 0;
}

bool environment_edits_fit(const odf_spawn_options *options, int *index)
{
	for (size_t i = 0; i < options->env_edit_count; i++) {
		if (options->env_edits[i] == NULL || name_length(options->env_edits[i]) == 0) {
			*index = (int)i;
			return false;
		}
	}
	return true;
}

/* The last of the edits from `first` on that has the entry's name, or NULL. */
static const char *edit_of(const odf_spawn_options *options, size_t first, const char *entry)
{
	for (size_t i = options->env_edit_count; i-- > first;)
		if (same_name(options->env_edits[i], entry))
			return options->env_edits[i];
	return NULL;
}

/* The value of an entry NAME=VALUE; NULL if the entry is only a name. */
static const char *value_of(const char *entry)
{
	const char *equals = entry == NULL ? NULL : strchr(entry, '=');

	return equals == NULL ? NULL : equals + 1;
}

static const char *child_path(const struct environment *environment, const struct request *request)
{
	const char *edit = edit_of(&request->options, 0, "PATH");

	if (edit != NULL)
		return value_of(edit);
	for (size_t i = 0; i < environment->base_count; i++)
		if (same_name(environment->base[i], "PATH"))
			return value_of(environment->base[i]);
	return NULL;
}

int environment_take(struct environment *environment, const struct request *request)
{
	uint64_t flags = request->options.flags;
	const char *path;

	*environment = (struct environment){ .base = request->envp == NULL ? environ : request->envp };
	environment->in_place = (request->envp != NULL || (environment->base != NULL && request_is_packed(request))) &&
				request->options.env_edit_count == 0;
	if (environment->base != NULL)
		while (environment->base[environment->base_count] != NULL)
			environment->base_count++;
	if (!(flags & (ODF_SPAWN_SEARCH_PATH | ODF_SPAWN_SEARCH_CHILD_PATH)) || strchr(request->file, '/') != NULL ||
	    request->file[0] == '\0')
		return 0;
	path = flags & ODF_SPAWN_SEARCH_PATH ? getenv("PATH") : child_path(environment, request);
	if (path == NULL)
		path = "/bin:/usr/bin"; /* the default of libc's own search */
	environment->path = strdup(path);
	return environment->path == NULL ? ENOMEM : 0;
}

void environment_drop(struct environment *environment)
{
	free(environment->path);
}

size_t environment_room(const struct environment *environment, const struct request *request)
{
	return environment->base_count + request->options.env_edit_count + 1;
}

void environment_write(const struct environment *environment, const struct request *request, char **array)
{
	const odf_spawn_options *options = &request->options;
	size_t count = 0;

	/* If another thread removes a variable meanwhile, there is a NULL among the counted entries. */
	for (size_t i = 0; i < environment->base_count; i++) {
		char *entry = environment->base[i];
		if (entry != NULL && edit_of(options, 0, entry) == NULL)
			array[count++] = entry;
	}
	for (size_t i = 0; i < options->env_edit_count; i++) {
		const char *edit = options->env_edits[i];
		if (value_of(edit) != NULL && edit_of(options, i + 1, edit) == NULL)
			array[count++] = (char *)(uintptr_t)edit;
	}
	array[count] = NULL;
}
