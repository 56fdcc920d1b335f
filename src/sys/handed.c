/* SPDX-License-Identifier: MIT */
#include "handed.h"

#include <pthread.h>
#include <stdatomic.h>
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
/* The thread may have the smallest possible stack. Longer paths are not handled. */
enum { VARIABLE_LENGTH = sizeof VARIABLE - 1, ON_STACK = 2048, PATH_MOST = 1024, PAGE = 4096 };

static char own_name[64] = "libodfork.so.0";
static char companion[PATH_MOST]; /* "": none */

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
	/* Only an absolute path, which the loader finds whatever the program's directory is. */
	if (path[0] == '/' && (size_t)(name - path) + sizeof HANDED_COMPANION <= sizeof companion &&
	    strpbrk(path, " :") == NULL) {
		memcpy(companion, path, (size_t)(name - path));
		memcpy(companion + (name - path), HANDED_COMPANION, sizeof HANDED_COMPANION);
	}
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

/* The next entry of a list, from *at on, which moves past it; false: no more. */
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

/* The last page that was found readable. */
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
	/* Byte by byte: a shorter entry may end where mapped memory ends. */
	for (size_t i = 0; i < VARIABLE_LENGTH; i++)
		if (!may_read(seen, entry + i, 1) || entry[i] != VARIABLE[i])
			return false;
	return true;
}

/* An environment that names this library. */
struct environment {
	char *const *entries;
	size_t count;
	size_t room;        /* bytes for a copy; 0: it does not name this library, or cannot be read */
	size_t replacement; /* the most bytes that an entry for this library grows by, with its end */
};

/* Each LD_PRELOAD entry is handled: of several, the loader uses the last. */
static struct environment measure(char *const envp[])
{
	struct seen array = { UINTPTR_MAX }, strings = { UINTPTR_MAX };
	struct environment environment = { .entries = envp,
					   .replacement =
						   sizeof((struct program *)NULL)->runtime + strlen(companion) + 1 };
	size_t text = 0;
	bool ours = false;

	if (envp == NULL)
		return environment;
	for (;; environment.count++) {
		const char *entry, *at, *name;
		size_t length;
		if (!may_read(&array, &envp[environment.count], sizeof *envp))
			return environment;
		entry = envp[environment.count];
		if (entry == NULL)
			break;
		if (!is_preload(&strings, entry))
			continue;
		if (!sys_is_readable_string(entry))
			return environment;
		ours = ours || names_us(entry + VARIABLE_LENGTH);
		/* The new text, and the old one for the companion; each name in it may be ours, and grow. */
		text += 2 * strlen(entry) + sizeof HANDED_PREFIX + 2;
		for (at = entry + VARIABLE_LENGTH; next_entry(&at, &name, &length);)
			text += environment.replacement;
	}
	if (ours)
		environment.room = (environment.count + 2) * sizeof *envp + text;
	return environment;
}

static char *add(char *to, const char *text, size_t length)
{
	memcpy(to, text, length);
	return to + length;
}

/* Copies a list with `instead` in place of the entries that name this library. Returns the address after it; NULL: it
 * is empty. `passes_over`: the loader ignores a file that does not exist. An entry with a token of glibc's loader
 * (preload/follow.c) names such a file for it: that entry stays, for what the program executes. */
static char *copy_list(char *to, const char *list, const char *instead, bool passes_over)
{
	const char *entry;
	size_t length, part;
	char *start = to;

	while (next_entry(&list, &entry, &length)) {
		const char *name = last_part(entry, length, &part);
		bool ours = handed_is_ours(name, part) && !(passes_over && memchr(entry, '$', length) != NULL);
		if (ours && *instead == '\0')
			continue;
		if (to != start)
			*to++ = ':';
		to = ours ? add(to, instead, strlen(instead)) : add(to, entry, length);
	}
	*to = '\0';
	return to == start ? NULL : to + 1;
}

/* What is preloaded in place of this library; "": nothing. */
static void choose_instead(const struct program *program, char *instead, size_t size)
{
	struct text text = text_start(instead, size);

	if (program->kind != PROGRAM_SANITIZED || companion[0] == '\0' || access(companion, R_OK) != 0)
		return;
	text_add(&text, program->runtime);
	text_add(&text, program->runtime[0] == '\0' ? "" : ":");
	text_add(&text, companion);
	if (text.length >= size)
		instead[0] = '\0';
}

static char **copy(void *memory, const struct environment *environment, const struct program *program)
{
	char **result = memory, **to = result, *text = (char *)(result + environment->count + 2);
	char instead[sizeof program->runtime + sizeof companion];
	struct seen strings = { UINTPTR_MAX };
	const char *before = NULL;

	choose_instead(program, instead, sizeof instead);
	for (size_t i = 0; i < environment->count; i++) {
		char *entry = environment->entries[i], *end;
		if (!is_preload(&strings, entry)) {
			*to++ = entry;
			continue;
		}
		before = entry;
		memcpy(text, VARIABLE, VARIABLE_LENGTH);
		end = copy_list(text + VARIABLE_LENGTH, entry + VARIABLE_LENGTH, instead,
				program->kind == PROGRAM_OTHER_LIBC && program->passes_over);
		if (end != NULL) {
			*to++ = text;
			text = end;
		}
	}
	if (instead[0] != '\0' && before != NULL) {
		*to++ = text;
		text = add(text, HANDED_PREFIX, sizeof HANDED_PREFIX - 1);
		(void)add(text, before, strlen(before) + 1);
	}
	*to = NULL;
	return result;
}

static __attribute__((noinline)) long go_on_stack(const struct environment *environment, const struct program *program,
						  handed_go *go, void *call)
{
	char *memory[ON_STACK / sizeof(char *)];

	return go(call, copy(memory, environment, program));
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

/* A copy that does not fit on the stack is mapped. In a child that shares its parent's memory (vfork) a successful exec
 * leaves that mapping in the parent. Such a child has the thread identity of its parent thread. So each thread has a
 * slot for the mapping that may be left, and unmaps it the next time: by then its child has executed or is dead. */
static struct left {
	_Atomic uintptr_t thread; /* 0: unused. A slot stays with a thread identity, also when a later thread has it */
	long process;             /* that is about to execute; 0: no mapping is left */
	void *memory;
	size_t size;
} left[64];

/* NULL: other threads use all slots. */
static struct left *left_of_thread(void)
{
	uintptr_t self = (uintptr_t)pthread_self();

	for (size_t i = 0; i < sizeof left / sizeof *left; i++) {
		uintptr_t found = atomic_load(&left[i].thread);
		if (found == self || (found == 0 && atomic_compare_exchange_strong(&left[i].thread, &found, self)))
			return &left[i];
	}
	return NULL;
}

/* False: `own` does not track the mapping, so it must not be cleared after exec has failed. */
static bool note(struct left *own, void *memory, size_t size)
{
	long self = sys_call0(SYS_getpid);

	if (own == NULL || own->process == self) /* the latter in a signal handler during another exec */
		return false;
	if (own->process != 0)
		(void)sys_call2(SYS_munmap, own->memory, own->size);
	own->memory = memory;
	own->size = size;
	own->process = self;
	return true;
}

static long go_without(const struct environment *environment, const struct program *program, handed_go *go, void *call)
{
	struct left *own;
	void *memory;
	bool noted;
	long result;

	if (environment->room <= ON_STACK)
		return go_on_stack(environment, program, go, call);
	memory = map(environment->room);
	if (memory == NULL)
		return go(call, environment->entries); /* the program will fail to start then, and say why */
	own = left_of_thread();
	noted = note(own, memory, environment->room);
	result = go(call, copy(memory, environment, program));
	if (noted)
		own->process = 0;
	(void)sys_call2(SYS_munmap, memory, environment->room);
	return result;
}

static long hand(const struct environment *environment, int directory, const char *path, handed_go *go, void *call)
{
	struct program program;

	if (environment->room == 0)
		return go(call, environment->entries);
	program_examine(directory, path, &program);
	return program_takes_preload(&program) ? go(call, environment->entries)
					       : go_without(environment, &program, go, call);
}

bool handed_matters(char *const envp[])
{
	return measure(envp).room > 0;
}

bool handed_readable_matters(char *const envp[])
{
	for (; envp != NULL && *envp != NULL; envp++)
		if (**envp == *VARIABLE && strncmp(*envp, VARIABLE, VARIABLE_LENGTH) == 0 &&
		    names_us(*envp + VARIABLE_LENGTH))
			return true;
	return false;
}

long handed_execute(int directory, const char *path, char *const envp[], handed_go *go, void *call)
{
	struct environment environment = measure(envp);

	return hand(&environment, directory, path, go, call);
}

long handed_execute_fd(int fd, char *const envp[], handed_go *go, void *call)
{
	char path[32];
	struct text text = text_start(path, sizeof path);

	text_add(&text, "/proc/thread-self/fd/");
	text_add_signed(&text, fd);
	return handed_execute(AT_FDCWD, path, envp, go, call);
}

/* The file that execvp finds, in `path`. As execvp does, it skips what is not an executable file, such as
 * directories. */
static bool find_in_path(const char *name, char path[PATH_MOST])
{
	const char *directory = getenv("PATH");
	struct stat status;

	for (directory = directory == NULL ? "/bin:/usr/bin" : directory;; directory++) {
		size_t length = strcspn(directory, ":");
		struct text text = text_start(path, PATH_MOST);
		text_add_bytes(&text, directory, length);
		text_add(&text, length > 0 ? "/" : "");
		text_add(&text, name);
		if (text.length < PATH_MOST && stat(path, &status) == 0 && S_ISREG(status.st_mode) &&
		    access(path, X_OK) == 0)
			return true;
		directory += length;
		if (*directory == '\0')
			return false;
	}
}

long handed_execute_name(const char *name, char *const envp[], handed_go *go, void *call)
{
	struct environment environment = measure(envp);
	char path[PATH_MOST];
	int saved = errno;
	bool found;

	if (environment.room == 0 || !sys_is_readable_string(name) || *name == '\0')
		return go(call, envp);
	if (strchr(name, '/') != NULL)
		return hand(&environment, AT_FDCWD, name, go, call);
	found = find_in_path(name, path);
	errno = saved;
	return found ? hand(&environment, AT_FDCWD, path, go, call) : go(call, envp);
}
