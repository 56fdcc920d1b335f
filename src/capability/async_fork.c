/* SPDX-License-Identifier: MIT
 *
 * Async-fork of Alibaba Cloud Linux has a switch for each memory cgroup, in both versions of cgroups: the file
 * memory.async_fork. Only the process's own cgroup is searched for it: /proc/self/cgroup names the cgroup, and
 * /proc/self/mountinfo says where it is mounted.
 *
 * System calls and fixed buffers only.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "../sys/proc.h"
#include "../sys/text.h"
#include "async_fork.h"

#define SWITCH_FILE "memory.async_fork"

/* ---- Lines of a file ---- */

struct lines {
	int fd;
	size_t used, at;
	bool cut;      /* the last line was longer than its buffer */
	uint64_t mark; /* FNV-1a of the whole line, never 0 */
	char chunk[512];
};

/* Reads the next line without its newline, cut to `size`. False at end of file. */
static bool next_line(struct lines *lines, char *line, size_t size)
{
	struct text text = text_start(line, size);
	bool any = false;

	lines->mark = 0xcbf29ce484222325u;
	for (;;) {
		if (lines->at == lines->used) {
			long count = sys_read(lines->fd, lines->chunk, sizeof lines->chunk);
			if (count <= 0)
				break;
			lines->used = (size_t)count;
			lines->at = 0;
		}
		any = true;
		if (lines->chunk[lines->at] == '\n') {
			lines->at++;
			break;
		}
		lines->mark = (lines->mark ^ (unsigned char)lines->chunk[lines->at]) * 0x100000001b3u;
		text_add_bytes(&text, lines->chunk + lines->at++, 1);
	}
	lines->mark |= 1;
	lines->cut = text.length >= size;
	return any;
}

/* ---- Whose cgroup ---- */

/* A comma-separated list contains the word. */
static bool list_has(const char *list, size_t length, const char *word)
{
	size_t size = strlen(word);

	for (size_t from = 0, to; from <= length; from = to + 1) {
		for (to = from; to < length && list[to] != ','; to++)
			;
		if (to - from == size && memcmp(list + from, word, size) == 0)
			return true;
	}
	return false;
}

enum version { NO_PROC, NO_CGROUP, VERSION_1, VERSION_2 };

/* The memory cgroup of this process: "4:memory:/path" in version 1; "0::/path" in version 2, which counts only if there
 * is no version 1 line. */
static enum version own_cgroup(char path[PATH_MAX], uint64_t *mark)
{
	struct lines lines = { .fd = sys_open("/proc/self/cgroup", PROC_READ, 0) };
	enum version version = NO_CGROUP;
	char line[PATH_MAX];

	if (lines.fd < 0)
		return NO_PROC;
	while (version != VERSION_1 && next_line(&lines, line, sizeof line)) {
		const char *first = strchr(line, ':'), *second = first == NULL ? NULL : strchr(first + 1, ':');
		bool memory;
		if (second == NULL || second[1] != '/' || lines.cut)
			continue;
		memory = list_has(first + 1, (size_t)(second - first - 1), "memory");
		if (!memory && strncmp(line, "0::", 3) != 0)
			continue;
		memcpy(path, second + 1, strlen(second + 1) + 1);
		*mark = lines.mark;
		version = memory ? VERSION_1 : VERSION_2;
	}
	sys_close(lines.fd);
	return version;
}

/* The buffer is short and holds only the start of each line, as this runs in forks, on a stack of any size. */
uint64_t async_fork_cgroup(void)
{
	struct lines lines = { .fd = sys_open("/proc/self/cgroup", PROC_READ, 0) };
	uint64_t unified = 0, memory = 0;
	char head[128];

	if (lines.fd < 0)
		return 0;
	while (memory == 0 && next_line(&lines, head, sizeof head)) {
		const char *first = strchr(head, ':'), *second = first == NULL ? NULL : strchr(first + 1, ':');
		if (second != NULL && list_has(first + 1, (size_t)(second - first - 1), "memory"))
			memory = lines.mark;
		else if (strncmp(head, "0::", 3) == 0)
			unified = lines.mark;
	}
	sys_close(lines.fd);
	return memory != 0 ? memory : unified;
}

/* ---- Where it is mounted ---- */

/* In place: mountinfo writes spaces and backslashes in octal. */
static void unescape(char *text)
{
	char *to = text;

	for (const char *from = text; *from != '\0'; to++) {
		bool octal = from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' && from[2] <= '7' &&
			     from[3] >= '0' && from[3] <= '7';
		int byte = octal ? (from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0') : from[0];
		*to = (char)byte;
		from += octal ? 4 : 1;
	}
	*to = '\0';
}

/* The part of `path` below `root`; NULL if it is not below. */
static const char *below(const char *path, const char *root)
{
	size_t length = strlen(root);

	if (strcmp(root, "/") == 0)
		return path;
	if (strncmp(path, root, length) != 0 || (path[length] != '/' && path[length] != '\0'))
		return NULL;
	return path + length;
}

static bool exists(const char *directory, const char *name)
{
	char path[PATH_MAX];
	struct text text = text_start(path, sizeof path);

	text_add(&text, directory);
	text_add(&text, "/");
	text_add(&text, name);
	return text.length < sizeof path && sys_call3(SYS_faccessat, AT_FDCWD, path, F_OK) == 0;
}

/* The switch of a root cgroup applies to the whole machine and is not used. A root has release_agent in version 1, and
 * lacks cgroup.type in version 2; other cgroups are the reverse. */
static bool is_root(const char *directory, enum version version)
{
	return version == VERSION_1 ? exists(directory, "release_agent") : !exists(directory, "cgroup.type");
}

/* 0 if the switch exists and can be opened for writing. */
static int look(const char *mount, const char *rest, enum version version, char path[PATH_MAX])
{
	struct text text = text_start(path, PATH_MAX);
	size_t directory;
	int fd;

	text_add(&text, mount);
	if (strcmp(rest, "/") != 0)
		text_add(&text, rest);
	directory = text.length;
	text_add(&text, "/" SWITCH_FILE);
	if (text.length >= PATH_MAX)
		return -ENAMETOOLONG;
	fd = sys_open(path, PROC_WRITE, 0);
	if (fd < 0)
		return fd;
	sys_close(fd);
	path[directory] = '\0';
	if (is_root(path, version))
		return -ENOENT;
	path[directory] = '/';
	return 0;
}

/* One line: "ID PARENT DEVICE ROOT MOUNT OPTIONS ... - TYPE SOURCE SUPER-OPTIONS". -ENOENT if it is not a mount of this
 * process's cgroup hierarchy. */
static int look_at_mount(char *line, const char *cgroup, enum version version, char path[PATH_MAX])
{
	char *field[6], *rest = line, *type, *source, *options;
	const char *inside;

	for (int i = 0; i < 6; i++) {
		field[i] = strsep(&rest, " ");
		if (rest == NULL)
			return -ENOENT;
	}
	do
		type = strsep(&rest, " ");
	while (rest != NULL && strcmp(type, "-") != 0);
	type = strsep(&rest, " ");
	source = strsep(&rest, " ");
	options = rest;
	if (source == NULL || options == NULL || strcmp(type, version == VERSION_1 ? "cgroup" : "cgroup2") != 0)
		return -ENOENT;
	if (version == VERSION_1 && !list_has(options, strlen(options), "memory"))
		return -ENOENT;
	unescape(field[3]);
	unescape(field[4]);
	inside = below(cgroup, field[3]);
	return inside == NULL ? -ENOENT : look(field[4], inside, version, path);
}

static int look_everywhere(const char *cgroup, enum version version, char path[PATH_MAX])
{
	struct lines lines = { .fd = sys_open("/proc/self/mountinfo", PROC_READ, 0) };
	char line[PATH_MAX];
	int result = -ENOENT;

	if (lines.fd < 0)
		return lines.fd;
	while (result == -ENOENT && next_line(&lines, line, sizeof line))
		if (!lines.cut)
			result = look_at_mount(line, cgroup, version, path);
	sys_close(lines.fd);
	return result;
}

int async_fork_find(bool everywhere, char path[PATH_MAX], uint64_t *mark)
{
	char cgroup[PATH_MAX];
	enum version version = own_cgroup(cgroup, mark);

	if (version == NO_PROC)
		return -ESRCH;
	if (version == NO_CGROUP)
		return -ENOENT;
	if (everywhere)
		return look_everywhere(cgroup, version, path);
	return look(version == VERSION_1 ? "/sys/fs/cgroup/memory" : "/sys/fs/cgroup", cgroup, version, path);
}

bool async_fork_alone(const char *path)
{
	char name[PATH_MAX], line[32];
	size_t directory = strlen(path) - strlen(SWITCH_FILE);
	struct text text = text_start(name, sizeof name);
	struct lines lines;
	bool alone = true;

	text_add_bytes(&text, path, directory);
	text_add(&text, "cgroup.procs");
	if (text.length >= sizeof name)
		return false;
	lines = (struct lines){ .fd = sys_open(name, PROC_READ, 0) };
	if (lines.fd < 0)
		return false;
	for (unsigned count = 0; alone && next_line(&lines, line, sizeof line); count++)
		alone = count == 0 && atoi(line) == sys_call0(SYS_getpid);
	sys_close(lines.fd);
	return alone;
}
