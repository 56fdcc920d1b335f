/* SPDX-License-Identifier: MIT */
#include "cli.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "odfork.h"

static const char intro[] = "odfork " ODF_VERSION ": fast fork() and posix_spawn() for unmodified programs\n\n";
static const char outro[] = "\nSee odfork(1).\n";

/* In the order in which help lists them. */
static const struct command *const commands[] = {
	&command_bench, &command_inspect, &command_probe, &command_run, &command_spawn, &command_stats
};
enum { COMMANDS = sizeof commands / sizeof *commands }; /* NOLINT(bugprone-sizeof-expression): of the pointers */

/* The library in this program tries no kernel when it is loaded: the command prints a warning first (kernel.c). */
extern const char odfork_command_asks __attribute__((visibility("default")));
const char odfork_command_asks = 1;

int usage_error(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fputs("odfork: ", stderr);
	vfprintf(stderr, format, arguments);
	fputs("\nTry 'odfork --help'.\n", stderr);
	va_end(arguments);
	return EXIT_OWN;
}

/* As its help text says, which lists all options. */
static bool has_option(const struct command *command, const char *name, size_t length)
{
	const char *at = command->usage;

	while ((at = strstr(at, "--")) != NULL) {
		size_t found = 2 + strspn(at + 2, "abcdefghijklmnopqrstuvwxyz-");
		if (found == length && strncmp(at, name, length) == 0)
			return true;
		at += found;
	}
	return false;
}

int option_error(const struct command *command, const char *argument)
{
	size_t length = strcspn(argument, "=");

	if (!has_option(command, argument, length))
		return usage_error("%s: no such option: %s", command->name, argument);
	if (argument[length] == '=')
		return usage_error("%s: no such value: %s", command->name, argument);
	return usage_error("%s: no value for %s, or none that it can have", command->name, argument);
}

static int finish(int status)
{
	if (fflush(stdout) != 0 || ferror(stdout)) {
		perror("odfork: standard output");
		return EXIT_OWN;
	}
	return status;
}

static void print_usage(const char *command, FILE *to)
{
	fputs(intro, to);
	for (size_t i = 0; i < COMMANDS; i++)
		if (command == NULL || strcmp(command, commands[i]->name) == 0)
			fputs(commands[i]->usage, to);
	if (command == NULL)
		fputs("  odfork help [COMMAND], -h, --help   this\n"
		      "  odfork version, -V, --version       the version\n",
		      to);
	fputs(outro, to);
}

static bool is_version(const char *argument)
{
	return strcmp(argument, "--version") == 0 || strcmp(argument, "-V") == 0;
}

bool is_help(const char *argument)
{
	return strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0 || is_version(argument);
}

int help(const char *command, const char *argument)
{
	if (is_version(argument))
		printf("odfork %s\n", odf_version());
	else
		print_usage(command, stdout);
	return finish(EXIT_SUCCESS);
}

const char *value_of(const char *name, int argc, char **argv, int *i)
{
	size_t length = strlen(name);

	if (strncmp(argv[*i], name, length) != 0)
		return NULL;
	if (argv[*i][length] == '=')
		return argv[*i] + length + 1;
	if (argv[*i][length] == '\0' && *i + 1 < argc && strcmp(argv[*i + 1], "--") != 0)
		return argv[++*i];
	return NULL;
}

static struct sigaction found;

void hand_on_signals(void)
{
	(void)sigaction(SIGCHLD, &found, NULL); /* cannot fail */
}

static void take_over_signals(void)
{
	(void)sigaction(SIGCHLD, &(struct sigaction){ .sa_handler = SIG_DFL }, &found);
}

static const char *known_command(const char *name)
{
	for (size_t i = 0; i < COMMANDS; i++)
		if (strcmp(name, commands[i]->name) == 0)
			return commands[i]->name;
	return NULL;
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		print_usage(NULL, stderr);
		return EXIT_OWN;
	}
	take_over_signals();
	for (size_t i = 0; i < COMMANDS; i++)
		if (strcmp(argv[1], commands[i]->name) == 0)
			return finish(commands[i]->run(argc - 1, argv + 1));
	if (strcmp(argv[1], "version") == 0)
		return help(NULL, "--version");
	if (strcmp(argv[1], "help") == 0 && argc > 2 && !is_help(argv[2]) && known_command(argv[2]) == NULL)
		return usage_error("no such command: %s", argv[2]);
	if (strcmp(argv[1], "help") == 0)
		return help(argc > 2 ? known_command(argv[2]) : NULL, "--help");
	if (is_help(argv[1]))
		return help(argc > 2 ? known_command(argv[2]) : NULL, argv[1]);
	return usage_error("no such command: %s", argv[1]);
}
