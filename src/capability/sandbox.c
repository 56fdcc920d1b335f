/* SPDX-License-Identifier: MIT */
#include "sandbox.h"

#include <string.h>

#include "../sys/proc.h"
#include "../sys/text.h"

/* A line that starts with a name, followed by a number. Lines are parsed as they are read, as the list of groups may be
 * longer than any buffer. */
struct field {
	const char *name;
	unsigned *value;
	bool found;
};

static void take_line(char *line, struct field *fields, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		size_t length = strlen(fields[i].name);
		if (strncmp(line, fields[i].name, length) != 0)
			continue;
		fields[i].found = true;
		for (line += length; *line >= '0' && *line <= '9'; line++)
			*fields[i].value = *fields[i].value * 10 + (unsigned)(*line - '0');
		return;
	}
}

bool sandbox_read(unsigned process, struct sandbox *found)
{
	struct field fields[] = {
		{ "Seccomp:\t", &found->mode, false }, { "Seccomp_filters:\t", &found->filters, false },
		{ "PPid:\t", &found->parent, false },
	};
	char path[48], chunk[512], line[64];
	struct text text = text_start(path, sizeof path);
	size_t length = 0;
	long count;
	int fd;

	*found = (struct sandbox){ 0, 0, 0 };
	text_add(&text, process == 0 ? "/proc/thread-self" : "/proc/");
	if (process != 0)
		text_add_unsigned(&text, process);
	text_add(&text, "/status");
	fd = sys_open(path, PROC_READ, 0);
	if (fd < 0)
		return false;
	while ((count = sys_read(fd, chunk, sizeof chunk)) > 0) {
		for (long i = 0; i < count; i++) {
			if (chunk[i] != '\n') {
				if (length < sizeof line - 1)
					line[length++] = chunk[i];
				continue;
			}
			line[length] = '\0';
			take_line(line, fields, sizeof fields / sizeof fields[0]);
			length = 0;
		}
	}
	/* Only an answer "no filter" is verified by fstatfs: a filter might punish that call. Another process's mode
	 * says nothing about the caller's own filters. */
	if (process == 0 && found->mode == 0 && proc_look(fd) != 0)
		fields[0].found = false;
	sys_close(fd);
	return fields[0].found;
}
