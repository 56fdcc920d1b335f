/* SPDX-License-Identifier: MIT */
#include "spawn_options.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "spawn_set.h"
#include "spawn_values.h"

static bool add_allowed(const char *word, void *allow)
{
	for (odf_strategy strategy = ODF_STRATEGY_NONE + 1; strategy < ODF_STRATEGY_COUNT; strategy++) {
		if (strcmp(word, odf_strategy_name(strategy)) == 0) {
			*(unsigned *)allow |= ODF_ALLOW(strategy);
			return true;
		}
	}
	return false;
}

static enum outcome set_allow(struct spawn_options *spawn, const char *value, const char *text)
{
	(void)text;
	return each_word(value, add_allowed, &spawn->options.allow) ? GOOD : BAD;
}

static bool add_forgiven(const char *word, void *forgive)
{
	for (odf_step step = ODF_STEP_NONE + 1; step < ODF_STEP_COUNT; step++) {
		if (strcmp(word, odf_step_name(step)) == 0) {
			*(uint64_t *)forgive |= ODF_FORGIVE(step);
			return true;
		}
	}
	return false;
}

static enum outcome set_forgive(struct spawn_options *spawn, const char *value, const char *text)
{
	(void)text;
	return each_word(value, add_forgiven, &spawn->options.forgive) ? GOOD : BAD;
}

static enum outcome set_cwd(struct spawn_options *spawn, const char *value, const char *text)
{
	(void)text;
	spawn->options.cwd = value;
	return GOOD;
}

static enum outcome set_cwd_fd(struct spawn_options *spawn, const char *value, const char *text)
{
	(void)text;
	spawn->options.flags |= ODF_SPAWN_CWD_FD;
	return spawn_read_fd(value, &spawn->options.cwd_fd) ? GOOD : BAD;
}

static enum outcome set_child_path(struct spawn_options *spawn, const char *value, const char *text)
{
	(void)value, (void)text;
	spawn->options.flags &= ~ODF_SPAWN_SEARCH_PATH;
	spawn->options.flags |= ODF_SPAWN_SEARCH_CHILD_PATH;
	return GOOD;
}

static enum outcome set_exec_fd(struct spawn_options *spawn, const char *value, const char *text)
{
	(void)text;
	spawn->options.flags |= ODF_SPAWN_EXEC_FD;
	spawn->options.flags &= ~(ODF_SPAWN_SEARCH_PATH | ODF_SPAWN_SEARCH_CHILD_PATH);
	return spawn_read_fd(value, &spawn->options.exec_fd) ? GOOD : BAD;
}

static enum outcome set_cgroup(struct spawn_options *spawn, const char *value, const char *text)
{
	(void)text;
	if (spawn->cgroup_fd >= 0)
		close(spawn->cgroup_fd);
	spawn->cgroup_fd = open(value, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (spawn->cgroup_fd < 0) {
		fprintf(stderr, "odfork: spawn: --cgroup=%s: %s\n", value, strerror(errno));
		return TOLD;
	}
	spawn->options.flags |= ODF_SPAWN_CGROUP_FD;
	spawn->options.cgroup_fd = spawn->cgroup_fd;
	return GOOD;
}

static enum outcome add_fd(struct spawn_options *spawn, odf_fd_action action, const char *text)
{
	size_t count = spawn->options.fd_count;
	odf_fd_action *fds = reallocarray(spawn->fds, count + 1, sizeof *fds);
	const char **texts;

	if (fds == NULL)
		return spawn_no_memory();
	spawn->fds = fds;
	texts = reallocarray(spawn->fd_texts, count + 1, sizeof *texts);
	if (texts == NULL)
		return spawn_no_memory();
	spawn->fd_texts = texts;
	fds[count] = action;
	texts[count] = text;
	spawn->options.fds = fds;
	spawn->options.fd_count = count + 1;
	return GOOD;
}

/* "FD" or "FD:REST"; false: not a number, or a required rest is missing. */
static bool split_fd(const char *value, int *fd, const char **rest)
{
	char number[16];
	size_t length = strcspn(value, ":");

	if (length >= sizeof number || (rest != NULL) != (value[length] == ':'))
		return false;
	memcpy(number, value, length);
	number[length] = '\0';
	if (rest != NULL)
		*rest = value + length + 1;
	return spawn_read_fd(number, fd);
}

static enum outcome set_dup(struct spawn_options *spawn, const char *value, const char *text)
{
	odf_fd_action action = { .kind = ODF_FD_KIND_DUP };
	const char *rest;

	if (!split_fd(value, &action.fd, &rest) || !spawn_read_fd(rest, &action.source))
		return BAD;
	return add_fd(spawn, action, text);
}

static enum outcome set_open(struct spawn_options *spawn, const char *value, const char *text)
{
	static const struct {
		const char *name;
		int flags;
	} modes[] = {
		{ "r:", O_RDONLY },
		{ "w:", O_WRONLY | O_CREAT | O_TRUNC },
		{ "a:", O_WRONLY | O_CREAT | O_APPEND },
		{ "rw:", O_RDWR | O_CREAT },
	};
	odf_fd_action action = { .kind = ODF_FD_KIND_OPEN, .source = -1, .mode = 0666 };
	const char *rest;

	if (!split_fd(value, &action.fd, &rest))
		return BAD;
	for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
		if (strncmp(rest, modes[i].name, strlen(modes[i].name)) == 0) {
			action.flags = modes[i].flags;
			action.path = rest + strlen(modes[i].name);
			return add_fd(spawn, action, text);
		}
	}
	return BAD;
}

static enum outcome add_simple(struct spawn_options *spawn, odf_fd_kind kind, const char *value, const char *text)
{
	odf_fd_action action = { .kind = kind, .source = -1 };

	return split_fd(value, &action.fd, NULL) ? add_fd(spawn, action, text) : BAD;
}

static enum outcome set_close(struct spawn_options *spawn, const char *value, const char *text)
{
	return add_simple(spawn, ODF_FD_KIND_CLOSE, value, text);
}

static enum outcome set_null(struct spawn_options *spawn, const char *value, const char *text)
{
	return add_simple(spawn, ODF_FD_KIND_NULL, value, text);
}

static enum outcome set_keep(struct spawn_options *spawn, const char *value, const char *text)
{
	return add_simple(spawn, ODF_FD_KIND_KEEP, value, text);
}

static enum outcome set_pgroup(struct spawn_options *spawn, const char *value, const char *text)
{
	long number = 0;

	(void)text;
	if (value != NULL && !read_number(value, 10, 0, INT_MAX, &number))
		return BAD;
	spawn->options.flags |= ODF_SPAWN_SETPGROUP;
	spawn->options.pgroup = (pid_t)number;
	return GOOD;
}

static enum outcome set_sigmask(struct spawn_options *spawn, const char *value, const char *text)
{
	(void)text;
	spawn->options.flags |= ODF_SPAWN_SIGMASK;
	return read_signals(value, &spawn->options.sigmask) ? GOOD : BAD;
}

static enum outcome set_umask(struct spawn_options *spawn, const char *value, const char *text)
{
	long number;

	(void)text;
	if (!read_number(value, 8, 0, 0777, &number))
		return BAD;
	spawn->options.flags |= ODF_SPAWN_UMASK;
	spawn->options.umask = (mode_t)number;
	return GOOD;
}

static enum outcome set_nice(struct spawn_options *spawn, const char *value, const char *text)
{
	long number;

	(void)text;
	if (!read_number(value, 10, -20, 19, &number))
		return BAD;
	spawn->options.flags |= ODF_SPAWN_NICE;
	spawn->options.nice = (int)number;
	return GOOD;
}

static enum outcome set_rlimit(struct spawn_options *spawn, const char *value, const char *text)
{
	size_t count = spawn->options.rlimit_count;
	odf_rlimit limit, *limits;
	const char **texts;

	if (!read_limit(value, &limit.resource, &limit.limit))
		return BAD;
	limits = reallocarray(spawn->rlimits, count + 1, sizeof *limits);
	if (limits == NULL)
		return spawn_no_memory();
	spawn->rlimits = limits;
	texts = reallocarray(spawn->rlimit_texts, count + 1, sizeof *texts);
	if (texts == NULL)
		return spawn_no_memory();
	spawn->rlimit_texts = texts;
	limits[count] = limit;
	texts[count] = text;
	spawn->options.rlimits = limits;
	spawn->options.rlimit_count = count + 1;
	return GOOD;
}

static enum outcome set_affinity(struct spawn_options *spawn, const char *value, const char *text)
{
	(void)text;
	spawn->options.affinity = &spawn->affinity;
	spawn->options.affinity_size = sizeof spawn->affinity;
	return read_processors(value, &spawn->affinity) ? GOOD : BAD;
}

static enum outcome set_sched(struct spawn_options *spawn, const char *value, const char *text)
{
	(void)text;
	spawn->options.flags |= ODF_SPAWN_SCHED;
	return read_policy(value, &spawn->options.sched_policy, &spawn->options.sched_param.sched_priority) ? GOOD
													    : BAD;
}

static enum outcome set_parent_death(struct spawn_options *spawn, const char *value, const char *text)
{
	(void)text;
	return read_signal(value, &spawn->options.parent_death_signal) ? GOOD : BAD;
}

/* A classic BPF program in the kernel's format: an array of struct sock_filter. */
static enum outcome set_seccomp(struct spawn_options *spawn, const char *value, const char *text)
{
	static struct sock_fprog program;
	struct stat status;
	FILE *file = fopen(value, "re");
	size_t count = 0;

	(void)text;
	if (file != NULL && fstat(fileno(file), &status) == 0 && S_ISREG(status.st_mode) && status.st_size > 0 &&
	    status.st_size <= (off_t)(BPF_MAXINSNS * sizeof(struct sock_filter)) &&
	    status.st_size % (off_t)sizeof(struct sock_filter) == 0) {
		free(spawn->filter);
		spawn->filter = malloc((size_t)status.st_size);
		count = (size_t)status.st_size / sizeof(struct sock_filter);
		if (spawn->filter == NULL || fread(spawn->filter, sizeof(struct sock_filter), count, file) != count)
			count = 0;
	}
	if (count == 0)
		fprintf(stderr, "odfork: spawn: --seccomp=%s: %s\n", value,
			file == NULL ? strerror(errno) : "not a file of 1 to 4096 instructions of struct sock_filter");
	if (file != NULL)
		fclose(file);
	if (count == 0)
		return TOLD;
	program = (struct sock_fprog){ (unsigned short)count, spawn->filter };
	spawn->options.seccomp = &program;
	return GOOD;
}

static enum outcome set_busy_retry(struct spawn_options *spawn, const char *value, const char *text)
{
	long number;

	(void)text;
	if (!read_number(value, 10, 0, INT_MAX, &number))
		return BAD;
	spawn->options.busy_retry_ms = (unsigned)number;
	return GOOD;
}

static const struct {
	const char *name;
	uint64_t flag; /* the ODF_SPAWN_* flag that the option sets; 0: none, or the setter sets it */
	enum { VALUE, NO_VALUE, ANY } has;
	spawn_setter *set;
} options[] = {
	{ "--affinity", 0, VALUE, set_affinity },
	{ "--allow", 0, VALUE, set_allow },
	{ "--ambient", ODF_SPAWN_AMBIENT, VALUE, spawn_set_ambient },
	{ "--autoreap", ODF_SPAWN_AUTOREAP, NO_VALUE, NULL },
	{ "--born-no-new-privs", ODF_SPAWN_BORN_NO_NEW_PRIVS, NO_VALUE, NULL },
	{ "--busy-retry", 0, VALUE, set_busy_retry },
	{ "--cgroup", 0, VALUE, set_cgroup },
	{ "--child-path", 0, NO_VALUE, set_child_path },
	{ "--close", 0, VALUE, set_close },
	{ "--close-others", ODF_SPAWN_CLOSE_OTHER_FDS, NO_VALUE, NULL },
	{ "--cwd", 0, VALUE, set_cwd },
	{ "--cwd-fd", 0, VALUE, set_cwd_fd },
	{ "--detach", ODF_SPAWN_DETACH, NO_VALUE, NULL },
	{ "--dup", 0, VALUE, set_dup },
	{ "--env", 0, VALUE, spawn_set_env },
	{ "--exec-fd", 0, VALUE, set_exec_fd },
	{ "--foreground", ODF_SPAWN_FOREGROUND, NO_VALUE, NULL },
	{ "--forgive", 0, VALUE, set_forgive },
	{ "--gid", 0, VALUE, spawn_set_gid },
	{ "--groups", 0, VALUE, spawn_set_groups },
	{ "--ioprio", ODF_SPAWN_IOPRIO, VALUE, spawn_set_ioprio },
	{ "--keep", 0, VALUE, set_keep },
	{ "--keep-groups", 0, NO_VALUE, spawn_set_keep_groups },
	{ "--kill-with-pidfd", ODF_SPAWN_KILL_WITH_PIDFD, NO_VALUE, NULL },
	{ "--namespace", 0, VALUE, spawn_set_namespace },
	{ "--nice", 0, VALUE, set_nice },
	{ "--no-new-privs", ODF_SPAWN_NO_NEW_PRIVS, NO_VALUE, NULL },
	{ "--null", 0, VALUE, set_null },
	{ "--oom-score-adj", ODF_SPAWN_OOM_SCORE_ADJ, VALUE, spawn_set_oom_score },
	{ "--open", 0, VALUE, set_open },
	{ "--parent-death", 0, VALUE, set_parent_death },
	{ "--pgroup", 0, ANY, set_pgroup },
	{ "--reset-signals", ODF_SPAWN_RESET_SIGNALS, NO_VALUE, NULL },
	{ "--rlimit", 0, VALUE, set_rlimit },
	{ "--root", 0, VALUE, spawn_set_root },
	{ "--sched", 0, VALUE, set_sched },
	{ "--seccomp", 0, VALUE, set_seccomp },
	{ "--setsid", ODF_SPAWN_SETSID, NO_VALUE, NULL },
	{ "--sigdefault", ODF_SPAWN_SIGDEFAULT, VALUE, spawn_set_sigdefault },
	{ "--sigmask", 0, VALUE, set_sigmask },
	{ "--stderr-to-stdout", ODF_SPAWN_STDERR_TO_STDOUT, NO_VALUE, NULL },
	{ "--tty-fd", 0, VALUE, spawn_set_tty_fd },
	{ "--uid", 0, VALUE, spawn_set_uid },
	{ "--umask", 0, VALUE, set_umask },
	{ "--user", 0, VALUE, spawn_set_user },
	{ "--user-groups", 0, NO_VALUE, spawn_set_user_groups },
};

/* Takes one argument; advances *i past a separate value. */
static enum outcome take_option(int argc, char **argv, int *i, struct spawn_options *spawn)
{
	const char *argument = argv[*i];

	for (size_t k = 0; k < sizeof options / sizeof *options; k++) {
		size_t length = strlen(options[k].name);
		const char *value = NULL;
		if (strncmp(argument, options[k].name, length) != 0 ||
		    (argument[length] != '\0' && argument[length] != '='))
			continue;
		if (options[k].has == VALUE)
			value = value_of(options[k].name, argc, argv, i);
		else if (argument[length] == '=')
			value = argument + length + 1;
		if ((value == NULL && options[k].has == VALUE) || (value != NULL && options[k].has == NO_VALUE))
			return BAD;
		spawn->options.flags |= options[k].flag;
		return options[k].set == NULL ? GOOD : options[k].set(spawn, value, argument);
	}
	if (strcmp(argument, "--no-path") == 0)
		spawn->options.flags &= ~(ODF_SPAWN_SEARCH_PATH | ODF_SPAWN_SEARCH_CHILD_PATH);
	else if (strcmp(argument, "--pidfd") == 0)
		spawn->pidfd = true;
	else if (strcmp(argument, "--report") == 0)
		spawn->report = true;
	else if (strcmp(argument, "--print-pid") == 0)
		spawn->print_pid = true;
	else
		return BAD;
	return GOOD;
}

int spawn_options_read(int argc, char **argv, struct spawn_options *spawn, int *status)
{
	*spawn = (struct spawn_options){ .options = ODF_SPAWN_OPTIONS_INIT, .cgroup_fd = -1 };
	spawn->options.flags = ODF_SPAWN_SEARCH_PATH;
	*status = EXIT_OWN;
	for (int i = 1; i < argc; i++) {
		int first = i;
		if (strcmp(argv[i], "--") == 0)
			return i + 1 < argc ? i + 1 : (usage_error("spawn: no command"), 0);
		if (argv[i][0] != '-')
			return i;
		if (is_help(argv[i]))
			return *status = help("spawn", argv[i]), 0;
		switch (take_option(argc, argv, &i, spawn)) {
		case GOOD:
			break;
		case BAD:
			if (i == first)
				return option_error(&command_spawn, argv[first]), 0;
			return usage_error("spawn: no such value: %s %s", argv[first], argv[i]), 0;
		case TOLD:
			return 0;
		}
	}
	return usage_error("spawn: no command"), 0;
}

void spawn_options_free(struct spawn_options *spawn)
{
	free(spawn->fds);
	free(spawn->fd_texts);
	free(spawn->rlimits);
	free(spawn->rlimit_texts);
	free(spawn->groups);
	free(spawn->filter);
	spawn_set_free(spawn);
	if (spawn->cgroup_fd >= 0)
		close(spawn->cgroup_fd);
}
