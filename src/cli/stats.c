/* SPDX-License-Identifier: MIT
 * odfork stats FILE */
#include "stats.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

/* Reads a line without its newline; the rest of a line that is too long is skipped. False: end of file. */
static bool next_line(FILE *file, char line[RECORD_LINE_MOST])
{
	size_t length = 0;
	int c;

	while ((c = getc_unlocked(file)) != EOF && c != '\n') {
		if (c != '\0' && length + 1 < RECORD_LINE_MOST)
			line[length++] = (char)c;
	}
	line[length] = '\0';
	return c != EOF || length > 0;
}

/* False: no memory. */
static bool read_records(FILE *file, struct stats *stats)
{
	static char line[RECORD_LINE_MOST];
	struct record_line record;

	while (next_line(file, line)) {
		if (line[strspn(line, " \t\r")] == '\0')
			continue;
		if (!record_line_read(line, &record))
			stats->not_understood++;
		else if (!stats_add(stats, &record))
			return false;
	}
	return true;
}

static int summarize(const char *path, bool json)
{
	struct stats stats = { .first = -1, .last = -1 };
	bool standard = strcmp(path, "-") == 0, done;
	FILE *file = standard ? stdin : fopen(path, "re");

	if (file == NULL) {
		fprintf(stderr, "odfork: stats: cannot read %s: %s%s\n", path, strerror(errno),
			errno == ENOENT ? "; it is the file that was given to odfork run --stats, or is in ODFORK_STATS"
					: "");
		return EXIT_OWN;
	}
	errno = 0;
	done = read_records(file, &stats);
	if (!done || ferror(file)) {
		fprintf(stderr, "odfork: stats: cannot read %s: %s\n", path, strerror(done ? errno : ENOMEM));
		if (!standard)
			fclose(file);
		stats_free(&stats);
		return EXIT_OWN;
	}
	if (!standard)
		fclose(file);
	stats_sort(&stats);
	if (json)
		stats_print_json(&stats, standard ? NULL : path);
	else
		stats_print(&stats, standard ? "standard input" : path);
	stats_free(&stats);
	return EXIT_SUCCESS;
}

static int stats_command(int argc, char **argv)
{
	const char *path = NULL;
	bool json = false, options = true;

	for (int i = 1; i < argc; i++) {
		if (options && is_help(argv[i]))
			return help("stats", argv[i]);
		if (options && strcmp(argv[i], "--json") == 0)
			json = true;
		else if (options && strcmp(argv[i], "--") == 0)
			options = false;
		else if (options && argv[i][0] == '-' && argv[i][1] != '\0')
			return option_error(&command_stats, argv[i]);
		else if (path != NULL)
			return usage_error("stats: more than one file: %s", argv[i]);
		else
			path = argv[i];
	}
	if (path == NULL)
		return usage_error("stats: no file (- is standard input)");
	return summarize(path, json);
}

const struct command command_stats = {
	.name = "stats",
	.run = stats_command,
	.usage = "  odfork stats [--json] FILE         what the records in FILE come to; - is standard input\n"
		 "      --json         one JSON object, for programs\n",
};
