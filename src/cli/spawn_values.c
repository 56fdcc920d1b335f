/* SPDX-License-Identifier: MIT */
#include "spawn_values.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "../record/heap_value.h"

bool read_number(const char *text, int base, long least, long most, long *number)
{
	char *end;
	long found;

	if (text[0] != '-' && (text[0] < '0' || text[0] > '9'))
		return false;
	errno = 0;
	found = strtol(text, &end, base);
	if (errno != 0 || end == text || *end != '\0' || found < least || found > most)
		return false;
	*number = found;
	return true;
}

bool each_word(const char *text, bool (*take)(const char *word, void *argument), void *argument)
{
	char *copy = strdup(text), *word = copy;
	bool good = copy != NULL;

	while (good && word != NULL) {
		char *comma = strchr(word, ',');
		if (comma != NULL)
			*comma++ = '\0';
		good = take(word, argument);
		word = comma;
	}
	free(copy);
	return good;
}

bool read_signal(const char *text, int *number)
{
	static const struct {
		const char *name;
		int number;
	} known[] = {
		{ "HUP", SIGHUP },     { "INT", SIGINT },	{ "QUIT", SIGQUIT }, { "ILL", SIGILL },
		{ "TRAP", SIGTRAP },   { "ABRT", SIGABRT },	{ "BUS", SIGBUS },   { "FPE", SIGFPE },
		{ "KILL", SIGKILL },   { "USR1", SIGUSR1 },	{ "SEGV", SIGSEGV }, { "USR2", SIGUSR2 },
		{ "PIPE", SIGPIPE },   { "ALRM", SIGALRM },	{ "TERM", SIGTERM }, { "CHLD", SIGCHLD },
		{ "CONT", SIGCONT },   { "STOP", SIGSTOP },	{ "TSTP", SIGTSTP }, { "TTIN", SIGTTIN },
		{ "TTOU", SIGTTOU },   { "URG", SIGURG },	{ "XCPU", SIGXCPU }, { "XFSZ", SIGXFSZ },
		{ "PROF", SIGPROF },   { "IO", SIGIO },		{ "SYS", SIGSYS },   { "PWR", SIGPWR },
		{ "WINCH", SIGWINCH }, { "VTALRM", SIGVTALRM },
	};
	long found;

	if (read_number(text, 10, 1, 64, &found)) {
		*number = (int)found;
		return true;
	}
	if (strncasecmp(text, "SIG", 3) == 0)
		text += 3;
	if (strncasecmp(text, "RTMIN+", 6) == 0 && read_number(text + 6, 10, 0, SIGRTMAX - SIGRTMIN, &found)) {
		*number = SIGRTMIN + (int)found;
		return true;
	}
	if (strncasecmp(text, "RTMAX-", 6) == 0 && read_number(text + 6, 10, 0, SIGRTMAX - SIGRTMIN, &found)) {
		*number = SIGRTMAX - (int)found;
		return true;
	}
	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		if (strcasecmp(text, known[i].name) == 0) {
			*number = known[i].number;
			return true;
		}
	}
	return false;
}

static bool add_signal(const char *word, void *set)
{
	int number;

	/* sigaddset refuses the signals that libc reserves. */
	return read_signal(word, &number) && sigaddset(set, number) == 0;
}

bool read_signals(const char *text, sigset_t *set)
{
	sigset_t found;

	sigemptyset(&found);
	if (strcmp(text, "all") == 0)
		sigfillset(&found);
	else if (strcmp(text, "none") != 0 && !each_word(text, add_signal, &found))
		return false;
	*set = found;
	return true;
}

static bool add_processors(const char *word, void *set)
{
	char *end;
	long first, last;

	if (word[0] < '0' || word[0] > '9')
		return false;
	errno = 0;
	first = last = strtol(word, &end, 10);
	if (errno != 0 || (*end == '-' && !read_number(end + 1, 10, first, CPU_SETSIZE - 1, &last)) ||
	    (*end != '-' && *end != '\0') || last >= CPU_SETSIZE)
		return false;
	for (; first <= last; first++)
		CPU_SET(first, (cpu_set_t *)set);
	return true;
}

bool read_processors(const char *text, cpu_set_t *set)
{
	cpu_set_t found;

	CPU_ZERO(&found);
	if (!each_word(text, add_processors, &found))
		return false;
	*set = found;
	return true;
}

static bool read_one_limit(const char *text, rlim_t *limit)
{
	unsigned long long size;

	if (strcmp(text, "unlimited") == 0) {
		*limit = RLIM_INFINITY;
		return true;
	}
	if (!size_read(text, &size) || size >= (unsigned long long)RLIM_INFINITY)
		return false;
	*limit = (rlim_t)size;
	return true;
}

bool read_limit(const char *text, int *resource, struct rlimit *limit)
{
	static const struct {
		const char *name;
		int resource;
	} known[] = {
		{ "as", RLIMIT_AS },
		{ "core", RLIMIT_CORE },
		{ "cpu", RLIMIT_CPU },
		{ "data", RLIMIT_DATA },
		{ "fsize", RLIMIT_FSIZE },
		{ "memlock", RLIMIT_MEMLOCK },
		{ "msgqueue", RLIMIT_MSGQUEUE },
		{ "nice", RLIMIT_NICE },
		{ "nofile", RLIMIT_NOFILE },
		{ "nproc", RLIMIT_NPROC },
		{ "rss", RLIMIT_RSS },
		{ "rtprio", RLIMIT_RTPRIO },
		{ "rttime", RLIMIT_RTTIME },
		{ "sigpending", RLIMIT_SIGPENDING },
		{ "stack", RLIMIT_STACK },
		{ "locks", RLIMIT_LOCKS },
	};
	char word[64], *value, *hard;

	if (strlen(text) >= sizeof word)
		return false;
	strcpy(word, text);
	value = strchr(word, '=');
	if (value == NULL)
		return false;
	*value++ = '\0';
	hard = strchr(value, ':');
	if (hard != NULL)
		*hard++ = '\0';
	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		if (strcasecmp(word, known[i].name) == 0) {
			*resource = known[i].resource;
			return read_one_limit(value, &limit->rlim_cur) &&
			       read_one_limit(hard == NULL ? value : hard, &limit->rlim_max);
		}
	}
	return false;
}

bool read_policy(const char *text, int *policy, int *priority)
{
	static const struct {
		const char *name;
		int policy;
	} known[] = {
		{ "other", SCHED_OTHER }, { "batch", SCHED_BATCH }, { "idle", SCHED_IDLE },
		{ "fifo", SCHED_FIFO },	  { "rr", SCHED_RR },
	};
	size_t length = strcspn(text, ":");
	long found = 0;

	if (text[length] == ':' && !read_number(text + length + 1, 10, 0, 99, &found))
		return false;
	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		if (strlen(known[i].name) == length && strncasecmp(text, known[i].name, length) == 0) {
			*policy = known[i].policy;
			*priority = (int)found;
			return true;
		}
	}
	return false;
}
