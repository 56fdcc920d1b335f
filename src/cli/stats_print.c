/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "json.h"
#include "stats.h"

/* The programs in the table. */
#define PROGRAMS_SHOWN 10

/* In bytes; *below 0: no upper end. */
static void bounds_of(int size, double *from, double *below)
{
	*from = 0;
	*below = STATS_SIZE_FIRST;
	for (int i = 0; i < size; i++) {
		*from = *below;
		*below *= 4;
	}
	if (size == STATS_SIZES - 1)
		*below = 0;
}

static int add_size(char *text, size_t room, double bytes)
{
	double mebibytes = bytes / (1 << 20);

	return mebibytes >= 1024 ? snprintf(text, room, "%.0f GiB", mebibytes / 1024)
				 : snprintf(text, room, "%.0f MiB", mebibytes);
}

static const char *size_name(int size)
{
	static char text[48];
	double from, below;
	int length;

	if (size == STATS_NO_SIZE)
		return "not known";
	bounds_of(size, &from, &below);
	if (from == 0)
		(void)snprintf(text, sizeof text, "below 16 MiB");
	else if (below == 0)
		(void)snprintf(text + add_size(text, sizeof text, from), 16, " and more");
	else {
		length = add_size(text, sizeof text, from);
		length += snprintf(text + length, sizeof text - (size_t)length, " to ");
		(void)add_size(text + length, sizeof text - (size_t)length, below);
	}
	return text;
}

static void print_strategies(const struct stats_group *group)
{
	const char *separator = "";

	for (odf_strategy s = 0; s < ODF_STRATEGY_COUNT; s++) {
		if (group->strategies[s] == 0)
			continue;
		printf("%s%s %zu", separator, s == ODF_STRATEGY_NONE ? "another" : odf_strategy_name(s),
		       group->strategies[s]);
		separator = ", ";
	}
	if (group->failed > 0)
		printf("%sfailed %zu", separator, group->failed);
}

static void print_time(double when)
{
	char text[32] = "?";
	time_t seconds = (time_t)when;
	struct tm local;

	if (localtime_r(&seconds, &local) != NULL)
		(void)strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &local);
	fputs(text, stdout);
}

/* The text for people that belongs to the reason's name in "region: no_region". */
static const char *text_of(const char *reason)
{
	const char *colon = strstr(reason, ": "), *name = colon == NULL ? reason : colon + 2;

	for (odf_reason r = 0; r < ODF_REASON_COUNT; r++)
		if (strcmp(name, odf_reason_name(r)) == 0)
			return odf_reason_text(r);
	return NULL;
}

/* Names come from a file, so they are escaped for a terminal. */
static void print_name(const char *name, int width)
{
	for (; *name != '\0'; name++, width--)
		putchar((unsigned char)*name < 0x20 || *name == 0x7f ? '?' : *name);
	for (; width > 0; width--)
		putchar(' ');
}

static void print_tallies(const char *title, const struct stats_tallies *tallies, size_t most, bool explained)
{
	if (tallies->count == 0)
		return;
	printf("\n%9s  %s\n", "records", title);
	for (size_t i = 0; i < tallies->count && i < most; i++) {
		const char *text = explained ? text_of(tallies->list[i].name) : NULL;
		printf("%9zu  ", tallies->list[i].count);
		print_name(tallies->list[i].name, text == NULL ? 0 : 36);
		printf("%s%s\n", text == NULL ? "" : "  ", text == NULL ? "" : text);
	}
	if (tallies->count > most || tallies->others > 0)
		printf("%9s  and %zu more\n", "",
		       tallies->count - (tallies->count > most ? most : tallies->count) + tallies->others);
}

void stats_print(const struct stats *stats, const char *name)
{
	print_name(name, 0);
	printf(": %zu %s of %zu %s", stats->records, stats->records == 1 ? "record" : "records", stats->processes,
	       stats->processes == 1 ? "process" : "processes");
	if (stats->first >= 0) {
		fputs(", from ", stdout);
		print_time(stats->first);
		fputs(" to ", stdout);
		print_time(stats->last);
	}
	putchar('\n');
	if (stats->not_understood > 0)
		printf("%zu %s no records, or cut ones, and left out\n", stats->not_understood,
		       stats->not_understood == 1 ? "line is" : "lines are");
	if (stats->records == 0)
		return;
	printf("\n%-15s %-18s %9s   held, in us: %10s %10s %10s %10s   by\n", "call", "size of process", "records",
	       "median", "90 %", "99 %", "most");
	for (size_t i = 0; i < stats->group_count; i++) {
		const struct stats_group *group = &stats->groups[i];
		print_name(group->call, 15);
		printf(" %-18s %9zu                ", size_name(group->size), group->count + group->failed);
		if (group->count > 0)
			printf("%10.1f %10.1f %10.1f %10.1f   ", stats_percentile(group, 500),
			       stats_percentile(group, 900), stats_percentile(group, 990),
			       stats_percentile(group, 1000));
		else
			printf("%10s %10s %10s %10s   ", "-", "-", "-", "-");
		print_strategies(group);
		putchar('\n');
	}
	print_tallies("reason", &stats->reasons, stats->reasons.count, true);
	print_tallies("failed at", &stats->failures, stats->failures.count, false);
	print_tallies("program", &stats->programs, PROGRAMS_SHOWN, false);
}

static void print_group_json(const struct stats_group *group)
{
	const char *separator = "";
	double from, below, sum = 0;

	fputs("{\"call\":", stdout);
	json_print_string(group->call);
	if (group->size == STATS_NO_SIZE) {
		fputs(",\"size_from\":null,\"size_below\":null", stdout);
	} else {
		bounds_of(group->size, &from, &below);
		printf(",\"size_from\":%.0f,\"size_below\":", from);
		printf(below > 0 ? "%.0f" : "null", below);
	}
	printf(",\"records\":%zu,\"failed\":%zu,\"strategies\":{", group->count + group->failed, group->failed);
	for (odf_strategy s = 0; s < ODF_STRATEGY_COUNT; s++) {
		if (group->strategies[s] == 0)
			continue;
		printf("%s\"%s\":%zu", separator, s == ODF_STRATEGY_NONE ? "another" : odf_strategy_name(s),
		       group->strategies[s]);
		separator = ",";
	}
	fputs("},\"held_us\":", stdout);
	if (group->count == 0) {
		fputs("null}", stdout);
		return;
	}
	for (size_t i = 0; i < group->count; i++)
		sum += group->held[i];
	printf("{\"least\":%.1f,\"mean\":%.1f,\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"most\":%.1f}}",
	       group->held[0], sum / (double)group->count, stats_percentile(group, 500), stats_percentile(group, 900),
	       stats_percentile(group, 990), stats_percentile(group, 999), stats_percentile(group, 1000));
}

static void print_tallies_json(const char *name, const char *member, const struct stats_tallies *tallies)
{
	printf(",\"%s\":[", name);
	for (size_t i = 0; i < tallies->count; i++) {
		printf("%s{\"%s\":", i == 0 ? "" : ",", member);
		json_print_string(tallies->list[i].name);
		printf(",\"records\":%zu}", tallies->list[i].count);
	}
	putchar(']');
}

void stats_print_json(const struct stats *stats, const char *name)
{
	fputs("{\"file\":", stdout);
	json_print_string(name);
	printf(",\"records\":%zu,\"not_understood\":%zu,\"processes\":%zu", stats->records, stats->not_understood,
	       stats->processes);
	if (stats->first >= 0)
		printf(",\"first\":%.6f,\"last\":%.6f", stats->first, stats->last);
	else
		fputs(",\"first\":null,\"last\":null", stdout);
	fputs(",\"calls\":[", stdout);
	for (size_t i = 0; i < stats->group_count; i++) {
		fputs(i == 0 ? "" : ",", stdout);
		print_group_json(&stats->groups[i]);
	}
	putchar(']');
	print_tallies_json("reasons", "reason", &stats->reasons);
	print_tallies_json("failures", "failure", &stats->failures);
	print_tallies_json("programs", "program", &stats->programs);
	fputs("}\n", stdout);
}
