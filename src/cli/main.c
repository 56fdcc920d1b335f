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

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *usage;
} commands[] = {
	{ "probe", command_probe,
	  "  odfork probe [--json] [--verify]   what this machine offers, and why not the rest\n"
	  "      --verify       tries out the kernel's on-demand fork, and measures forks\n" },
	{ "run", command_run,
	  "  odfork run [OPTIONS] [--] COMMAND... run a program under libodfork\n"
	  "      --strategy=S   auto (default), or the one to use for fork: kernel, region, fork\n"
	  "      --heap=H       auto (default): once the program has grown; on: from the start; off; or a size, as 64G: at most\n"
	  "      --stats=FILE   a JSON object per line for each fork and spawn, appended to FILE\n"
	  "      --log          the same, for people, on standard error; and what is found about the program\n"
	  "      --no-follow    not for the programs that COMMAND executes\n"
	  "      --user=USER[:GROUP]  as this user (names or numbers), with a descriptor that lets its threads' memory be settled\n" },
	{ "spawn", command_spawn,
	  "  odfork spawn [OPTIONS] [--] COMMAND... start a program by odf_spawn(3), wait for it, and end as it ends\n"
	  "      --dup=FD:SOURCE, --open=FD:MODE:PATH (MODE r, w, a, rw), --null=FD, --close=FD, --keep=FD, --close-others\n"
	  "      --stderr-to-stdout, --env=NAME[=VALUE], --cwd=DIRECTORY, --cwd-fd=FD, --root=DIRECTORY, --umask=OCTAL\n"
	  "      --setsid, --pgroup[=ID], --foreground, --tty-fd=FD, --detach\n"
	  "      --sigmask=SIGNAL,...|none|all, --sigdefault=SIGNAL,..., --reset-signals, --parent-death=SIGNAL\n"
	  "      --user=USER[:GROUP], --uid=USER, --gid=GROUP, --groups=GROUP,...|none, --keep-groups, --user-groups\n"
	  "      --ambient=CAPABILITY,...|none, --no-new-privs, --seccomp=FILE, --namespace=FILE\n"
	  "      --nice=N, --sched=POLICY[:PRIORITY], --ioprio=CLASS[:LEVEL], --affinity=LIST, --oom-score-adj=N\n"
	  "      --rlimit=NAME=SOFT[:HARD], --cgroup=DIRECTORY, --forgive=STEP,..., --allow=STRATEGY,..., --busy-retry=MS\n"
	  "      --exec-fd=FD, --no-path, --child-path, --pidfd\n"
	  "      --print-pid    of the program, on standard output\n"
	  "      --report       how it was started, on standard error\n" },
};
enum { COMMANDS = sizeof commands / sizeof *commands };

/* Nothing is tried out when the library in this program starts: first comes the warning (kernel.c). */
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
		if (command == NULL || strcmp(command, commands[i].name) == 0)
			fputs(commands[i].usage, to);
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
		if (strcmp(name, commands[i].name) == 0)
			return commands[i].name;
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
		if (strcmp(argv[1], commands[i].name) == 0)
			return finish(commands[i].run(argc - 1, argv + 1));
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
