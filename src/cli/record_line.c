/* SPDX-License-Identifier: MIT
 * The JSON that a record uses: one object of names, strings, numbers and null. Unknown members are skipped. */
#include "record_line.h"

#include <stdlib.h>
#include <string.h>

/* Reads from a quote on into `text`, and cuts what does not fit. Escapes of one character become that character, others
 * stay as written. NULL: the string does not end. */
static const char *read_string(const char *at, char *text, size_t size)
{
	size_t length = 0;

	for (at++; *at != '\0' && *at != '"'; at++) {
		char c = *at;
		if (c == '\\' && (at[1] == '"' || at[1] == '\\' || at[1] == '/'))
			c = *++at;
		if (length + 1 < size)
			text[length++] = c;
	}
	text[length] = '\0';
	return *at == '"' ? at + 1 : NULL;
}

/* More than any time or size in a record. */
#define NUMBER_MOST 1e18

static const char *read_number(const char *at, double *number)
{
	char *end;

	if (strncmp(at, "null", 4) == 0) {
		*number = -1;
		return at + 4;
	}
	if (*at != '-' && (*at < '0' || *at > '9')) /* strtod accepts more than JSON has */
		return NULL;
	*number = strtod(at, &end);
	/* Also no "-inf", no hexadecimal number, and nothing that would overflow a sum. */
	if (strspn(at, "0123456789+-.eE") < (size_t)(end - at) || !(*number <= NUMBER_MOST && *number >= -NUMBER_MOST))
		return NULL;
	return end;
}

/* Skips a value of a kind that a record does not use. */
static const char *pass_over(const char *at)
{
	char text[2];
	int depth = 0;

	do {
		if (*at == '"') {
			at = read_string(at, text, sizeof text);
			if (at == NULL)
				return NULL;
			continue;
		}
		if (*at == '\0')
			return NULL;
		if (*at == '{' || *at == '[')
			depth++;
		if (*at == '}' || *at == ']') {
			if (depth == 0)
				return at;
			depth--;
		}
		if (*at == ',' && depth == 0)
			return at;
		at++;
	} while (depth > 0 || (*at != ',' && *at != '}'));
	return at;
}

static const char *read_member(const char *at, const char *name, struct record_line *record)
{
	const struct {
		const char *name;
		double *number;
	} numbers[] = {
		{ "pid", &record->pid },
		{ "child", &record->child },
		{ "held_us", &record->held_us },
		{ "region_bytes", &record->region_bytes },
		{ "private_bytes", &record->private_bytes },
		{ "time", &record->time },
		{ "error", &record->error },
	};
	const struct {
		const char *name;
		char *text;
		size_t size;
	} texts[] = {
		{ "call", record->call, sizeof record->call },
		{ "strategy", record->strategy, sizeof record->strategy },
		{ "step", record->step, sizeof record->step },
		{ "reason", record->reason, sizeof record->reason },
		{ "program", record->program, sizeof record->program },
	};

	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		if (strcmp(name, numbers[i].name) == 0)
			return read_number(at, numbers[i].number);
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		if (strcmp(name, texts[i].name) == 0)
			return *at == '"' ? read_string(at, texts[i].text, texts[i].size) : NULL;
	return pass_over(at);
}

static const char *skip_blanks(const char *at)
{
	return at + strspn(at, " \t\r");
}

static bool read_object(const char *at, struct record_line *record)
{
	char name[32];

	*record = (struct record_line){
		.pid = -1, .held_us = -1, .region_bytes = -1, .private_bytes = -1, .time = -1, .error = -1
	};
	for (at = skip_blanks(at + 1); at != NULL && *at == '"';) {
		at = read_string(at, name, sizeof name);
		at = at == NULL ? NULL : skip_blanks(at);
		if (at == NULL || *at != ':')
			return false;
		at = read_member(skip_blanks(at + 1), name, record);
		if (at == NULL)
			return false;
		at = skip_blanks(at);
		if (*at == ',')
			at = skip_blanks(at + 1);
	}
	return at != NULL && *at == '}' && *skip_blanks(at + 1) == '\0' && record->call[0] != '\0' &&
	       record->strategy[0] != '\0' && record->held_us >= 0;
}

bool record_line_read(char *line, struct record_line *record)
{
	static const char start[] = "{\"pid\":";
	char *found = strstr(line, start), *next;

	if (found == NULL)
		return false;
	if (found == line && read_object(found, record))
		return true;
	while ((next = strstr(found + 1, start)) != NULL)
		found = next;
	if (!read_object(found, record))
		return false;
	record->cut_before = found != line;
	return true;
}
