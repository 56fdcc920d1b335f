/* SPDX-License-Identifier: MIT
 *
 * ODFORK_FOLLOW=0: the programs that this one executes are not to be preloaded. Our entry is taken out of LD_PRELOAD in place, before
 * the program has seen its environment: no allocation, and what others have in the variable stays.
 */
#include <dlfcn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../record/settings.h"
#include "preload.h"

#define VARIABLE "LD_PRELOAD="

static const char *last_part(const char *path, size_t length, size_t *part_length)
{
	size_t at = length;

	while (at > 0 && path[at - 1] != '/')
		at--;
	*part_length = length - at;
	return path + at;
}

/* The loader separates entries by spaces and colons. */
static bool separates(char c)
{
	return c == ' ' || c == ':';
}

/* By file name: as it is loaded, or any of the names that an installation has for it, which the loader takes for one library. */
static bool is_ours(const char *name, size_t length, const char *own_name, size_t own_length)
{
	static const char any[] = "libodfork.so";

	return (length == own_length && memcmp(name, own_name, length) == 0) ||
	       (length >= sizeof any - 1 && memcmp(name, any, sizeof any - 1) == 0);
}

/* Copies the list over itself without the entries that have our file name; returns whether anything is left. */
static bool remove_entries(char *list, const char *own)
{
	size_t own_length, length;
	const char *own_name = last_part(own, strlen(own), &own_length), *read = list;
	char *write = list;

	while (*read != '\0') {
		const char *name;
		size_t entry = 0;
		if (separates(*read)) {
			read++;
			continue;
		}
		while (read[entry] != '\0' && !separates(read[entry]))
			entry++;
		name = last_part(read, entry, &length);
		if (!is_ours(name, length, own_name, own_length)) {
			bool more = write != list;
			/* The separator before this entry leaves room for ours. */
			memmove(write + more, read, entry);
			if (more)
				*write = ':';
			write += entry + more;
		}
		read += entry;
	}
	*write = '\0';
	return write != list;
}

bool preload_is_preloaded(void)
{
	const char *entry = getenv("LD_PRELOAD");
	Dl_info info;
	size_t own_length;
	const char *own_name;

	if (entry == NULL || dladdr((const void *)settings, &info) == 0 || info.dli_fname == NULL)
		return false;
	own_name = last_part(info.dli_fname, strlen(info.dli_fname), &own_length);
	while (*entry != '\0') {
		size_t length = 0, name_length;
		const char *name;
		while (entry[length] != '\0' && !separates(entry[length]))
			length++;
		name = last_part(entry, length, &name_length);
		if (name_length > 0 && is_ours(name, name_length, own_name, own_length))
			return true;
		entry += length + (entry[length] != '\0');
	}
	return false;
}

__attribute__((constructor(103))) static void stop_following(void)
{
	char **kept = environ;
	Dl_info info;

	if (settings->follow || environ == NULL || dladdr((const void *)settings, &info) == 0 || info.dli_fname == NULL)
		return;
	for (char **entry = environ; *entry != NULL; entry++) {
		bool preload = strncmp(*entry, VARIABLE, strlen(VARIABLE)) == 0;
		if (!preload || remove_entries(*entry + strlen(VARIABLE), info.dli_fname))
			*kept++ = *entry;
	}
	*kept = NULL;
}
