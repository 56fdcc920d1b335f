/* SPDX-License-Identifier: MIT
 * The commands of odfork. Each gets its arguments from its own name on and returns the exit status. */
#ifndef ODF_CLI_CLI_H
#define ODF_CLI_CLI_H

#include <stdbool.h>

/* As in env(1), timeout(1) and others that run a program: an error of odfork or its command line cannot be mistaken for
 * the program's status. */
enum { EXIT_OWN = 125, EXIT_CANNOT_RUN = 126, EXIT_NOT_FOUND = 127 };

/* One for each command, in the file of its name. */
struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	/* For help: the first line starts with " odfork NAME", and each option is in it. */
	const char *usage;
};
extern const struct command command_bench, command_inspect, command_probe, command_run, command_spawn, command_stats;

/* Prints "odfork: " and the message and a hint at --help on standard error; returns EXIT_OWN. */
int usage_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The same for an argument that is not understood: the command has no such option, or the option takes another value,
 * or none. */
int option_error(const struct command *command, const char *argument);

/* The argument asks for help or the version, for whatever command it is given. */
bool is_help(const char *argument);
/* Prints that; `command` NULL: for all commands. Returns the exit status. */
int help(const char *command, const char *argument);

/* "--name=VALUE" or "--name VALUE" at argv[*i]; advances *i past a separate value. NULL: it is another argument, or
 * there is no value. */
const char *value_of(const char *name, int argc, char **argv, int *i);

/* The command waits for its own processes, so it does not leave SIGCHLD ignored if it has inherited that. This restores
 * the inherited disposition. */
void hand_on_signals(void);
#endif
