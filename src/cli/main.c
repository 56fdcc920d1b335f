/* SPDX-License-Identifier: MIT */
#include "cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "odfork.h"

static const char usage[] =
	"odfork " ODF_VERSION ": fast fork() and posix_spawn() for unmodified programs\n"
	"\n"
	"  odfork probe [--json] [--verify]   what this machine offers, and why not the rest\n"
	"      --verify       tries out the kernel's on-demand fork, and measures forks\n"
	"  odfork run [OPTIONS] -- COMMAND... run a program under libodfork\n"
	"      --strategy=S   auto (default), or the one to use for fork: kernel, region, fork\n"
	"      --heap=H       auto (default): once the program has grown; on: from the start; off; or a size, as 64G: at most\n"
	"      --stats=FILE   a JSON object per line for each fork and spawn, appended to FILE\n"
	"      --log          the same, for people, on standard error; and what is found about the program\n"
	"      --no-follow    not for the programs that COMMAND executes\n"
	"      --user=NAME    as this user, with a descriptor that lets its threads' memory be settled\n"
	"  odfork --version\n"
	"\n"
	"See odfork(1).\n";

int usage_error(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fputs("odfork: ", stderr);
	vfprintf(stderr, format, arguments);
	fputs("\nTry 'odfork --help'.\n", stderr);
	va_end(arguments);
	return EXIT_USAGE;
}

static int finish(int status)
{
	if (fflush(stdout) != 0 || ferror(stdout)) {
		perror("odfork: standard output");
		return EXIT_FAILURE;
	}
	return status;
}

static int help(void)
{
	fputs(usage, stdout);
	return finish(EXIT_SUCCESS);
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		fputs(usage, stderr);
		return EXIT_USAGE;
	}
	for (int i = 2; i < argc && argv[i][0] == '-' && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			return help();
	if (strcmp(argv[1], "probe") == 0)
		return finish(command_probe(argc - 1, argv + 1));
	if (strcmp(argv[1], "run") == 0)
		return command_run(argc - 1, argv + 1);
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0)
		return help();
	if (strcmp(argv[1], "--version") == 0) {
		printf("odfork %s\n", odf_version());
		return finish(EXIT_SUCCESS);
	}
	return usage_error("no such command: %s", argv[1]);
}
