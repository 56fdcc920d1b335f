/* SPDX-License-Identifier: MIT */
#include "handed.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "program.h"
#include "readable.h"
#include "syscall.h"
#include "text.h"

#define VARIABLE "LD_PRELOAD="
/* The stack may be the least that a thread can have. A longer path is not looked at. */
enum { VARIABLE_LENGTH = sizeof VARIABLE - 1, ON_STACK = 2048, PATH_MOST = 1024, PAGE = 4096 };

static char own_name[64] = "libodfork.so.0";

static const char *last_part(const char *path, size_t length, size_t *part_length)
{
	size_t at = length;

	while (at > 0 && path[at - 1] != '/')
		at--;
	*part_length = length - at;
	return path + at;
}

void handed_set_own_name(const char *path)
{
	size_t length;
	const char *name = last_part(path, strlen(path), &length);

	if (length < sizeof own_name)
		memcpy(own_name, name, length + 1);
}

bool handed_is_ours(const char *name, size_t length)
{
	static const char any[] = "libodfork.so";

	return (length == strlen(own_name) && memcmp(name, own_name, length) == 0) ||
	       (length >= sizeof any - 1 && memcmp(name, any, sizeof any - 1) == 0);
}

/* The loader separates entries by spaces and colons. */
static bool separates(char c)
{
	return c == ' ' || c == ':';
}

/* The next entry of a list, from *at on, which is moved behind it; false: no more. */
static bool next_entry(const char **at, const char **entry, size_t *length)
{
	while (separates(**at))
		(*at)++;
	*entry = *at;
	while (**at != '\0' && !separates(**at))
		(*at)++;
	*length = (size_t)(*at - *entry);
	return *length > 0;
}

static bool names_us(const char *list)
{
	const char *entry;
	size_t length, part;

	while (next_entry(&list, &entry, &length)) {
		const char *name = last_part(entry, length, &part);
		if (handed_is_ours(name, part))
			return true;
	}
	return false;
}

/* What may be read because it lies where something was read before. */
struct seen {
	uintptr_t page;
};

static bool may_read(struct seen *seen, const void *from, size_t size)
{
	uintptr_t first = (uintptr_t)from / PAGE, last = ((uintptr_t)from + size - 1) / PAGE;

	if (first == seen->page && last == seen->page)
		return true;
	if (!sys_is_readable(from, size))
		return false;
	seen->page = last;
	return true;
}

static bool is_preload(struct seen *seen, const char *entry)
{
	/* A shorter one may end where memory does. */
	for (size_t i = 0; i < VARIABLE_LENGTH; i++)
		if (!may_read(seen, entry + i, 1) || entry[i] != VARIABLE[i])
			return false;
	return true;
}

/* How many entries the environment has, and in *room, if it names this library, how many bytes a copy takes; else 0, also if it cannot be read. */
static size_t measure(char *const envp[], size_t *room)
{
	struct seen array = { UINTPTR_MAX }, strings = { UINTPTR_MAX };
	size_t count = 0, text = 0;
	bool ours = false;

	*room = 0;
	if (envp == NULL)
		return 0;
	for (;; count++) {
		if (!may_read(&array, &envp[count], sizeof *envp))
			return 0;
		if (envp[count] == NULL)
			break;
		if (!is_preload(&strings, envp[count]))
			continue;
		if (!sys_is_readable_string(envp[count]))
			return 0;
		ours = ours || names_us(envp[count] + VARIABLE_LENGTH);
		text += strlen(envp[count]) + 1;
	}
	if (ours)
		*room = (count + 1) * sizeof *envp + text;
	return count;
}

/* Copies a list without our entries; what follows it. NULL: nothing is left. */
static char *copy_list(char *to, const char *list)
{
	const char *entry;
	size_t length, part;
	char *start = to;

	while (next_entry(&list, &entry, &length)) {
		const char *name = last_part(entry, length, &part);
		if (handed_is_ours(name, part))
			continue;
		if (to != start)
			*to++ = ':';
		memcpy(to, entry, length);
		to += length;
	}
	*to = '\0';
	return to == start ? NULL : to + 1;
}

static char **copy(void *memory, char *const envp[], size_t count)
{
	char **result = memory, **to = result, *text = (char *)(result + count + 1);
	struct seen strings = { UINTPTR_MAX };

	for (size_t i = 0; i < count; i++) {
		char *end;
		if (!is_preload(&strings, envp[i])) {
			*to++ = envp[i];
			continue;
		}
		memcpy(text, VARIABLE, VARIABLE_LENGTH);
		end = copy_list(text + VARIABLE_LENGTH, envp[i] + VARIABLE_LENGTH);
		if (end != NULL) {
			*to++ = text;
			text = end;
		}
	}
	*to = NULL;
	return result;
}

static __attribute__((noinline)) long go_on_stack(char *const envp[], size_t count, handed_go *go, void *call)
{
	char *memory[ON_STACK / sizeof(char *)];

	return go(call, copy(memory, envp, count));
}

static void *map(size_t size)
{
#ifdef SYS_mmap2
	long result = sys_call6(SYS_mmap2, 0, (long)size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
#else
	long result = sys_call6(SYS_mmap, 0, (long)size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
#endif
	return result < 0 && result >= -4095 ? NULL : (void *)result;
}

static long go_without(char *const envp[], size_t count, size_t room, handed_go *go, void *call)
{
	void *memory;
	long result;

	if (room <= ON_STACK)
		return go_on_stack(envp, count, go, call);
	memory = map(room);
	if (memory == NULL)
		return go(call, envp); /* it will not start then, which says why better than we could */
	result = go(call, copy(memory, envp, count));
	(void)sys_call2(SYS_munmap, memory, room);
	return result;
}

long handed_execute(int directory, const char *path, char *const envp[], handed_go *go, void *call)
{
	struct program program;
	size_t room, count = measure(envp, &room);

	if (room == 0)
		return go(call, envp);
	program_examine(directory, path, &program);
	return program_takes_preload(&program) ? go(call, envp) : go_without(envp, count, room, go, call);
}

long handed_execute_fd(int fd, char *const envp[], handed_go *go, void *call)
{
	char path[32];
	struct text text = text_start(path, sizeof path);

	text_add(&text, "/proc/self/fd/");
	text_add_signed(&text, fd);
	return handed_execute(AT_FDCWD, path, envp, go, call);
}

long handed_execute_name(const char *name, char *const envp[], handed_go *go, void *call)
{
	const char *directory = getenv("PATH");
	char path[PATH_MOST];
	struct stat status;
	size_t room;
	int saved = errno;

	if (!sys_is_readable_string(name) || *name == '\0' || (measure(envp, &room), room == 0))
		return go(call, envp);
	if (strchr(name, '/') != NULL)
		return handed_execute(AT_FDCWD, name, envp, go, call);
	for (directory = directory == NULL ? "/bin:/usr/bin" : directory;; directory++) {
		size_t length = strcspn(directory, ":");
		struct text text = text_start(path, sizeof path);
		text_add_bytes(&text, directory, length);
		text_add(&text, length > 0 ? "/" : "");
		text_add(&text, name);
		/* What execvp goes past: directories, for example. */
		if (text.length < sizeof path && stat(path, &status) == 0 && S_ISREG(status.st_mode) && access(path, X_OK) == 0) {
			errno = saved;
			return handed_execute(AT_FDCWD, path, envp, go, call);
		}
		directory += length;
		if (*directory == '\0')
			break;
	}
	errno = saved;
	return go(call, envp);
}
