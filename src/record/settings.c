/* SPDX-License-Identifier: MIT */
#include "settings.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../sys/quiet.h"
#include "../sys/text.h"

static struct settings current = {
	.strategy = ODF_STRATEGY_NONE,
	.kernel = ODF_REASON_KERNEL_NOT_VERIFIED,
	.follow = true,
	.userfault_fd = -1,
};
const struct settings *const settings = &current;

/* Any user may have chosen the bytes of names and values. Control characters are escaped, so that they give no command
 * to a terminal, and a line stays one line. */
static void complain(const char *what, const char *name, const char *value, const char *forms)
{
	char line[512];
	struct text text = text_start(line, sizeof line);

	text_add(&text, "odfork: ");
	text_add(&text, what);
	text_add_json(&text, name);
	if (value != NULL) {
		text_add(&text, "=");
		text_add_json(&text, value);
	}
	if (forms != NULL) {
		text_add(&text, " (it is ");
		text_add(&text, forms);
		text_add(&text, ")");
	}
	if (text.length > sizeof line - 2)
		text.length = sizeof line - 2;
	text_add(&text, "\n");
	/* If standard error cannot be written, there is no way to report it. */
	(void)write_quietly(STDERR_FILENO, line, text.length);
}

static bool read_strategy(const char *value)
{
	static const odf_strategy named[] = { ODF_STRATEGY_KERNEL, ODF_STRATEGY_REGION, ODF_STRATEGY_FORK };

	if (strcmp(value, "auto") == 0) {
		current.strategy = ODF_STRATEGY_NONE;
		return true;
	}
	for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
		if (strcmp(value, odf_strategy_name(named[i])) == 0) {
			current.strategy = named[i];
			return true;
		}
	}
	return false;
}

/* The user's own verdict on the kernel, in the words of odf_reason_name. */
static bool read_kernel(const char *value)
{
	static const struct {
		const char *word; /* NULL: the reason's name */
		odf_reason reason;
	} known[] = {
		{ "ask", ODF_REASON_KERNEL_NOT_VERIFIED },
		{ "safe", ODF_REASON_NONE },
		{ "unsafe", ODF_REASON_KERNEL_UNSAFE },
		{ NULL, ODF_REASON_KERNEL_LOSES_WRITES },
		{ NULL, ODF_REASON_KERNEL_LOSES_NEIGHBORS },
		{ NULL, ODF_REASON_KERNEL_LOSES_DISCARDS },
		{ NULL, ODF_REASON_KERNEL_DIES },
		{ NULL, ODF_REASON_KERNEL_NO_EFFECT },
	};

	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		if (strcmp(value, known[i].word == NULL ? odf_reason_name(known[i].reason) : known[i].word) == 0) {
			current.kernel = known[i].reason;
			return true;
		}
	}
	return false;
}

#define STATS "ODFORK_STATS="

/* The entry for the environment, with an absolute path. */
static char stats_entry[sizeof STATS + PATH_MAX] = STATS;

/* The program may change its directory before its first fork, so a relative path is made absolute at the start. */
static bool read_stats(const char *value)
{
	char *path = stats_entry + strlen(STATS);
	size_t length = strlen(value), prefix = 0;

	if (length == 0)
		return false;
	if (value[0] != '/') {
		if (getcwd(path, PATH_MAX) == NULL)
			return false;
		prefix = strlen(path);
		if (prefix + 1 >= PATH_MAX)
			return false;
		if (path[prefix - 1] != '/')
			path[prefix++] = '/';
	}
	if (prefix + length >= PATH_MAX)
		return false;
	memcpy(path + prefix, value, length + 1);
	current.stats_path = path;
	current.stats = true;
	return true;
}

static bool read_switch(const char *value, bool *result)
{
	if ((value[0] != '0' && value[0] != '1') || value[1] != '\0')
		return false;
	*result = value[0] == '1';
	return true;
}

static bool read_log(const char *value)
{
	return read_switch(value, &current.log);
}

static bool read_follow(const char *value)
{
	return read_switch(value, &current.follow);
}

static bool read_heap(const char *value)
{
	return heap_value_read(value, &current.heap, &current.heap_capacity);
}

static bool read_number(const char *value, int *result)
{
	long number;
	char *end;

	if (value[0] < '0' || value[0] > '9')
		return false;
	number = strtol(value, &end, 10);
	if (*end != '\0' || number > INT_MAX)
		return false;
	*result = (int)number;
	return true;
}

/* The device is compared with the one of that name; if there is none, the open file's own name must be that of the
 * device. */
bool settings_is_userfault(int fd)
{
	struct stat status, device;
	char path[32], name[PATH_MAX];
	struct text text = text_start(path, sizeof path);
	ssize_t length;

	if (fstat(fd, &status) != 0 || !S_ISCHR(status.st_mode))
		return false;
	if (stat("/dev/userfaultfd", &device) == 0)
		return S_ISCHR(device.st_mode) && device.st_rdev == status.st_rdev;
	text_add(&text, "/proc/thread-self/fd/");
	text_add_signed(&text, fd);
	length = readlink(path, name, sizeof name - 1);
	if (length <= 0)
		return false;
	name[length] = '\0';
	return strcmp(name, "/dev/userfaultfd") == 0;
}

int settings_userfault(void)
{
	return current.userfault_fd >= 0 && settings_is_userfault(current.userfault_fd) ? current.userfault_fd : -1;
}

static bool take_userfault(int fd)
{
	if (!settings_is_userfault(fd) || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
		return false;
	current.userfault_fd = fd;
	return true;
}

/* No complaint: the variable outlives the descriptor, which is close-on-exec, so in a program that is executed later
 * the number may be another file's. */
static bool read_userfault(const char *value)
{
	int fd, saved = errno;

	if (!read_number(value, &fd))
		return false;
	(void)take_userfault(fd);
	errno = saved;
	return true;
}

/* As a service manager passes it (sd_listen_fds): descriptors from 3 on, named in order. */
static void find_passed_userfault(void)
{
	const char *names = getenv("LISTEN_FDNAMES"), *process = getenv("LISTEN_PID"), *end;
	int pid, fd = 3;

	if (names == NULL || process == NULL || !read_number(process, &pid) || pid != getpid())
		return;
	for (;; names = end + 1, fd++) {
		end = strchr(names, ':');
		if (end == NULL)
			end = names + strlen(names);
		if ((size_t)(end - names) == strlen("userfaultfd") &&
		    memcmp(names, "userfaultfd", strlen("userfaultfd")) == 0 && take_userfault(fd))
			return;
		if (*end == '\0')
			return;
	}
}

/* The companion has used this variable (sys/handed.h), or cannot be loaded. */
static bool read_nothing(const char *value)
{
	(void)value;
	return true;
}

static const struct {
	const char *name;
	bool (*read)(const char *value);
	const char *forms; /* the accepted values, if they are many */
} variables[] = {
	{ "ODFORK_STRATEGY", read_strategy },
	{ "ODFORK_KERNEL", read_kernel },
	{ "ODFORK_STATS", read_stats },
	{ "ODFORK_LOG", read_log },
	{ "ODFORK_FOLLOW", read_follow },
	{ "ODFORK_HEAP", read_heap, SETTINGS_HEAP_FORMS },
	{ "ODFORK_UFFD_FD", read_userfault },
	{ "ODFORK_LD_PRELOAD", read_nothing },
};

static void read_variable(const char *entry)
{
	const char *equals = strchr(entry, '=');
	size_t length = equals == NULL ? 0 : (size_t)(equals - entry);

	for (size_t i = 0; length > 0 && i < sizeof variables / sizeof *variables; i++) {
		if (strlen(variables[i].name) == length && memcmp(variables[i].name, entry, length) == 0) {
			if (!variables[i].read(equals + 1))
				complain("value not understood, ignored: ", variables[i].name, equals + 1,
					 variables[i].forms);
			return;
		}
	}
	complain("variable not known, ignored: ", entry, NULL, NULL);
}

static void read_settings(void)
{
	if (getauxval(AT_SECURE) != 0 || environ == NULL)
		return;
	for (char **entry = environ; *entry != NULL; entry++) {
		if (strncmp(*entry, "ODFORK_", 7) != 0)
			continue;
		read_variable(*entry);
		/* Programs that this one executes, from whatever directory, must write to the same file. No allocation,
		 * and before the program has read its environment. */
		if (current.stats && strncmp(*entry, STATS, strlen(STATS)) == 0 && (*entry)[strlen(STATS)] != '/')
			*entry = stats_entry;
	}
	if (current.userfault_fd < 0)
		find_passed_userfault();
}

void settings_read(void)
{
	static bool is_done;

	if (!is_done)
		read_settings();
	is_done = true;
}

/* Priorities: 101 for what needs nothing else, 102 for what needs the settings, 103 for what changes the program's
 * environment. The functions are static: GCC drops the priority of one that was declared before. */
__attribute__((constructor(101))) static void read_at_start(void)
{
	settings_read();
}
