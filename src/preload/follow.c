/* SPDX-License-Identifier: MIT
 *
 * LD_PRELOAD for the programs that this one executes. It is changed in place, without allocation, before the program
 * reads its environment; entries of other libraries stay.
 *
 * ODFORK_FOLLOW=0: our entry is removed.
 *
 * Otherwise our entry is rewritten as "/$LIB/../../.." and so on, with the path after it. glibc's loader expands $LIB
 * to a directory, and the name leads to our file. For another C library's loader it is a file that does not exist:
 * musl's ignores such an entry, while a library that it cannot load would end the program with status 127. The entry
 * stays in the variable, so that programs further down with glibc are preloaded again.
 */
#include <dlfcn.h>
#include <limits.h>
#include <link.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "../record/settings.h"
#include "../sys/handed.h"
#include "../sys/text.h"
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

/* Spaces and colons separate the loader's entries. */
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

void preload_find_own_name(void)
{
	Dl_info info;

	if (dladdr((const void *)settings, &info) != 0 && info.dli_fname != NULL)
		handed_set_own_name(info.dli_fname);
}

__attribute__((constructor(101))) static void find_at_start(void)
{
	preload_find_own_name();
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

static void stop_following(void)
{
	char **kept = environ;

	for (char **entry = environ; *entry != NULL; entry++) {
		bool preload = strncmp(*entry, VARIABLE, strlen(VARIABLE)) == 0;
		if (!preload || remove_entries(*entry + strlen(VARIABLE)))
			*kept++ = *entry;
	}
	*kept = NULL;
}

/* The absolute name of an entry. A relative one starts from the working directory at the program's start; one without a
 * slash is searched for by the loader. */
static void add_absolute(struct text *text, const char *entry, size_t length, const char *own)
{
	char directory[PATH_MAX];

	if (memchr(entry, '/', length) == NULL) {
		entry = own;
		length = strlen(own);
	}
	if (entry[0] != '/' && getcwd(directory, sizeof directory) != NULL) {
		text_add(text, directory);
		text_add(text, "/");
	}
	text_add_bytes(text, entry, length);
}

/* By effect: the name leads to this library as it is loaded. */
static bool leads_here(const char *name, const void *base)
{
	void *loaded = dlopen(name, RTLD_LAZY | RTLD_NOLOAD);
	bool here = loaded != NULL && ((struct link_map *)loaded)->l_addr == (ElfW(Addr))base;

	if (loaded == NULL)
		(void)dlerror(); /* the program's next dlerror() must not show our message */
	else
		(void)dlclose(loaded);
	return here;
}

/* Copies the list, our entries rewritten so that other loaders ignore them. False: nothing is to be changed, as a rule
 * because our entry has that form already. */
static bool write_for_all_loaders(const char *list, const Dl_info *own, struct text *text)
{
	bool any = false;

	for (size_t length; *list != '\0'; list += length) {
		const char *name;
		char path[2 * PATH_MAX];
		struct text one = text_start(path, sizeof path);
		size_t name_length;
		length = 1;
		if (separates(*list)) {
			text_add_bytes(text, list, 1);
			continue;
		}
		while (list[length] != '\0' && !separates(list[length]))
			length++;
		name = last_part(list, length, &name_length);
		if (memchr(list, '$', length) != NULL || name_length == 0 || !handed_is_ours(name, name_length)) {
			text_add_bytes(text, list, length);
			continue;
		}
		text_add(&one, HANDED_ROOT);
		add_absolute(&one, list, length, own->dli_fname);
		if (one.length >= sizeof path || !leads_here(path, own->dli_fbase))
			return false;
		text_add(text, path);
		any = true;
	}
	return any;
}

static void follow_everywhere(const Dl_info *own)
{
	static char variable[4 * PATH_MAX];

	for (char **entry = environ; *entry != NULL; entry++) {
		struct text text = text_start(variable, sizeof variable);
		if (strncmp(*entry, VARIABLE, strlen(VARIABLE)) != 0)
			continue;
		text_add(&text, VARIABLE);
		if (write_for_all_loaders(*entry + strlen(VARIABLE), own, &text) && text.length < sizeof variable)
			*entry = variable;
		return; /* of several equal variables the loader takes the first */
	}
}

__attribute__((constructor(103))) static void follow(void)
{
	Dl_info own;

	if (environ == NULL || getauxval(AT_SECURE) != 0)
		return;
	if (dladdr((const void *)settings, &own) == 0 || own.dli_fname == NULL)
		return;
	if (settings->follow)
		follow_everywhere(&own);
	else
		stop_following();
}
