/* SPDX-License-Identifier: MIT */
#include "spawn_set.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "spawn_values.h"

enum outcome spawn_no_memory(void)
{
	fprintf(stderr, "odfork: spawn: %s\n", strerror(ENOMEM));
	return TOLD;
}

bool spawn_read_fd(const char *value, int *fd)
{
	long number;

	if (!read_number(value, 10, 0, INT_MAX, &number))
		return false;
	*fd = (int)number;
	return true;
}

static bool add_capability(const char *word, void *set)
{
	/* In the order of their numbers, as in capabilities(7). */
	static const char *const known[] = {
		"chown",
		"dac_override",
		"dac_read_search",
		"fowner",
		"fsetid",
		"kill",
		"setgid",
		"setuid",
		"setpcap",
		"linux_immutable",
		"net_bind_service",
		"net_broadcast",
		"net_admin",
		"net_raw",
		"ipc_lock",
		"ipc_owner",
		"sys_module",
		"sys_rawio",
		"sys_chroot",
		"sys_ptrace",
		"sys_pacct",
		"sys_admin",
		"sys_boot",
		"sys_nice",
		"sys_resource",
		"sys_time",
		"sys_tty_config",
		"mknod",
		"lease",
		"audit_write",
		"audit_control",
		"setfcap",
		"mac_override",
		"mac_admin",
		"syslog",
		"wake_alarm",
		"block_suspend",
		"audit_read",
		"perfmon",
		"bpf",
		"checkpoint_restore",
	};
	uint64_t *bits = set;
	long number;

	if (read_number(word, 10, 0, 63, &number)) {
		*bits |= 1ull << number;
		return true;
	}
	if (strncasecmp(word, "cap_", 4) == 0)
		word += 4;
	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		if (strcasecmp(word, known[i]) == 0) {
			*bits |= 1ull << i;
			return true;
		}
	}
	return false;
}

enum outcome spawn_set_ambient(struct spawn_options *spawn, const char *value, const char *text)
{
	(void)text;
	return strcmp(value, "none") == 0 || each_word(value, add_capability, &spawn->options.ambient) ? GOOD : BAD;
}

enum outcome spawn_set_env(struct spawn_options *spawn, const char *value, const char *text)
{
	const char **edits;

	(void)text;
	if (value[0] == '\0' || value[0] == '=')
		return BAD;
	edits = reallocarray(spawn->edits, spawn->options.env_edit_count + 1, sizeof *edits);
	if (edits == NULL)
		return spawn_no_memory();
	edits[spawn->options.env_edit_count++] = value;
	spawn->edits = edits;
	spawn->options.env_edits = edits;
	return GOOD;
}

enum outcome spawn_set_ioprio(struct spawn_options *spawn, const char *value, const char *text)
{
	static const char *const classes[] = { NULL, "realtime", "best-effort", "idle" };
	size_t length = strcspn(value, ":");
	long level = 4; /* the kernel's default */

	(void)text;
	if (value[length] == ':' && !read_number(value + length + 1, 10, 0, 7, &level))
		return BAD;
	for (int i = 1; i < 4; i++) {
		if (strlen(classes[i]) == length && strncmp(value, classes[i], length) == 0) {
			spawn->options.ioprio = ODF_IOPRIO(i, (int)level);
			return GOOD;
		}
	}
	return BAD;
}

enum outcome spawn_set_namespace(struct spawn_options *spawn, const char *value, const char *text)
{
	size_t count = spawn->options.namespace_count;
	odf_namespace *namespaces = reallocarray(spawn->namespaces, count + 1, sizeof *namespaces);
	const char **texts;
	int fd;

	if (namespaces == NULL)
		return spawn_no_memory();
	spawn->namespaces = namespaces;
	texts = reallocarray(spawn->namespace_texts, count + 1, sizeof *texts);
	if (texts == NULL)
		return spawn_no_memory();
	spawn->namespace_texts = texts;
	fd = open(value, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0) {
		fprintf(stderr, "odfork: spawn: %s: %s\n", text, strerror(errno));
		return TOLD;
	}
	namespaces[count] = (odf_namespace){ .fd = fd };
	texts[count] = text;
	spawn->options.namespaces = namespaces;
	spawn->options.namespace_count = count + 1;
	return GOOD;
}

enum outcome spawn_set_oom_score(struct spawn_options *spawn, const char *value, const char *text)
{
	long number;

	(void)text;
	if (!read_number(value, 10, -1000, 1000, &number))
		return BAD;
	spawn->options.oom_score_adj = (int)number;
	return GOOD;
}

enum outcome spawn_set_root(struct spawn_options *spawn, const char *value, const char *text)
{
	(void)text;
	spawn->options.root = value;
	return GOOD;
}

enum outcome spawn_set_sigdefault(struct spawn_options *spawn, const char *value, const char *text)
{
	(void)text;
	return read_signals(value, &spawn->options.sigdefault) ? GOOD : BAD;
}

enum outcome spawn_set_tty_fd(struct spawn_options *spawn, const char *value, const char *text)
{
	(void)text;
	spawn->options.flags |= ODF_SPAWN_TTY_FD;
	return spawn_read_fd(value, &spawn->options.tty_fd) ? GOOD : BAD;
}

/* Of the three options for the user's groups the last one counts. */
static enum outcome choose_groups(struct spawn_options *spawn, uint64_t flag)
{
	spawn->options.flags &= ~(ODF_SPAWN_GROUPS | ODF_SPAWN_KEEP_GROUPS | ODF_SPAWN_USER_GROUPS);
	spawn->options.flags |= flag;
	return GOOD;
}

static void use_groups(struct spawn_options *spawn, gid_t *groups, size_t count)
{
	free(spawn->groups);
	spawn->groups = groups;
	spawn->options.groups = groups;
	spawn->options.group_count = count;
	(void)choose_groups(spawn, ODF_SPAWN_GROUPS);
}

enum outcome spawn_set_user(struct spawn_options *spawn, const char *value, const char *text)
{
	struct user user;

	(void)text;
	if (!user_read("spawn", value, &user)) {
		free(user.groups);
		return TOLD;
	}
	spawn->options.flags |= ODF_SPAWN_UID | ODF_SPAWN_GID;
	spawn->options.uid = user.uid;
	spawn->options.gid = user.gid;
	use_groups(spawn, user.groups, (size_t)user.group_count);
	return GOOD;
}

enum outcome spawn_set_uid(struct spawn_options *spawn, const char *value, const char *text)
{
	struct user user;

	(void)text;
	if (!user_read("spawn", value, &user)) {
		free(user.groups);
		return TOLD;
	}
	free(user.groups);
	spawn->options.flags |= ODF_SPAWN_UID;
	spawn->options.uid = user.uid;
	return GOOD;
}

enum outcome spawn_set_gid(struct spawn_options *spawn, const char *value, const char *text)
{
	(void)text;
	spawn->options.flags |= ODF_SPAWN_GID;
	return group_read("spawn", value, &spawn->options.gid) ? GOOD : TOLD;
}

enum outcome spawn_set_keep_groups(struct spawn_options *spawn, const char *value, const char *text)
{
	(void)value, (void)text;
	return choose_groups(spawn, ODF_SPAWN_KEEP_GROUPS);
}

enum outcome spawn_set_user_groups(struct spawn_options *spawn, const char *value, const char *text)
{
	(void)value, (void)text;
	return choose_groups(spawn, ODF_SPAWN_USER_GROUPS);
}

struct group_list {
	gid_t *groups;
	size_t count;
	enum outcome outcome;
};

static bool add_group(const char *word, void *argument)
{
	struct group_list *list = argument;
	gid_t *more = reallocarray(list->groups, list->count + 1, sizeof *more);

	if (more == NULL) {
		list->outcome = spawn_no_memory();
		return false;
	}
	list->groups = more;
	list->outcome = group_read("spawn", word, &more[list->count++]) ? GOOD : TOLD;
	return list->outcome == GOOD;
}

enum outcome spawn_set_groups(struct spawn_options *spawn, const char *value, const char *text)
{
	struct group_list list = { NULL, 0, GOOD };

	(void)text;
	if (strcmp(value, "none") != 0 && !each_word(value, add_group, &list)) {
		free(list.groups);
		return list.outcome == GOOD ? spawn_no_memory() : list.outcome;
	}
	use_groups(spawn, list.groups, list.count);
	return GOOD;
}

void spawn_set_free(struct spawn_options *spawn)
{
	for (size_t i = 0; i < spawn->options.namespace_count; i++)
		close(spawn->namespaces[i].fd);
	free(spawn->namespaces);
	free(spawn->namespace_texts);
	free(spawn->edits);
}
