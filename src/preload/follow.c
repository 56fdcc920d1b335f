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
#include "../sys/handed.h"
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

/* Copies the list over itself without the entries that have our file name; returns whether anything is left. */
static bool remove_entries(char *list)
{
	size_t length;
	const char *read = list;
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
		if (!handed_is_ours(name, length)) {
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

__attribute__((constructor(101))) static void find_own_name(void)
{
	Dl_info info;

	if (dladdr((const void *)settings, &info) != 0 && info.dli_fname != NULL)
		handed_set_own_name(info.dli_fname);
}

bool preload_is_preloaded(void)
{
	const char *entry = getenv("LD_PRELOAD");

	if (entry == NULL)
		return false;
	while (*entry != '\0') {
		size_t length = 0, name_length;
		const char *name;
		while (entry[length] != '\0' && !separates(entry[length]))
			length++;
		name = last_part(entry, length, &name_length);
		if (name_length > 0 && handed_is_ours(name, name_length))
			return true;
		entry += length + (entry[length] != '\0');
	}
	return false;
}

__attribute__((constructor(103))) static void stop_following(void)
{
	char **kept = environ;

	if (settings->follow || environ == NULL)
		return;
	for (char **entry = environ; *entry != NULL; entry++) {
		bool preload = strncmp(*entry, VARIABLE, strlen(VARIABLE)) == 0;
		if (!preload || remove_entries(*entry + strlen(VARIABLE)))
			*kept++ = *entry;
	}
	*kept = NULL;
}
