/* SPDX-License-Identifier: MIT
 * The commands of odfork. Each gets its arguments from its own name on and returns the exit status. */
#ifndef ODF_CLI_CLI_H
#define ODF_CLI_CLI_H

#include <stdbool.h>

/* As of env(1), timeout(1) and others that run a program: what is wrong with odfork or its command line cannot be taken
 * for the program's status. */
enum { EXIT_OWN = 125, EXIT_CANNOT_RUN = 126, EXIT_NOT_FOUND = 127 };

/* One for each, in the file of its name. */
struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	/* For help: the first line begins with "  odfork NAME", and each option stands in it. */
	const char *usage;
};
extern const struct command command_bench, command_inspect, command_probe, command_run, command_spawn, command_stats;

/* Prints "odfork: " and the message and a hint at --help on standard error; returns EXIT_OWN. */
int usage_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The same, of an argument that was not understood: there is no such option of the command's, or it has another
 * value, or none. */
int option_error(const struct command *command, const char *argument);

/* The argument asks for help or the version, of whatever command it is given to. */
bool is_help(const char *argument);
/* Prints what it asks for; `command` NULL: of all. Returns the exit status. */
int help(const char *command, const char *argument);

/* "--name=VALUE" or "--name VALUE" at argv[*i]; advances *i over a separate value. NULL: it is not that, or there is no
 * value. */
const char *value_of(const char *name, int argc, char **argv, int *i);

/* The command waits for processes of its own, for which it does not leave SIGCHLD ignored as it may have found it. This
 * puts back what was found. */
void hand_on_signals(void);
#endif
