/* SPDX-License-Identifier: MIT
 *
 * Async-signal-safe: system calls and text in fixed buffers only.
 *
 * The file is opened for each record. A descriptor kept open would be seen by the program, inherited by its children,
 * closed by daemons, and its number reused for a file of the program's own.
 */
#include "record.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../strategy/report.h"
#include "../strategy/strategy.h"
#include "../sys/quiet.h"
#include "../sys/syscall.h"
#include "../sys/text.h"

uint64_t record_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail for this clock */
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Descriptor 2 as it was at the start. A program may close it and get the number for a file or terminal of its own,
 * which must not receive our lines: they go out only while descriptor 2 is still the same file. */
static struct {
	dev_t device;
	ino_t inode;
} start_of_error;

static bool error_is_ours(void)
{
	struct stat now;

	if (fstat(STDERR_FILENO, &now) != 0)
		return false;
	return now.st_dev == start_of_error.device && now.st_ino == start_of_error.inode;
}

/* The executable file of this process, as a piece of a JSON string; its end if it is long. */
static char program[256];

static void remember_program(void)
{
	char path[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
	struct text text = text_start(program, sizeof program);
	size_t cut = 0;

	if (length <= 0)
		return;
	path[length] = '\0';
	text_add_json(&text, path);
	while (text.length >= sizeof program) {
		cut += (text.length - sizeof program) / 6 + 1; /* of which each has taken six at most */
		text = text_start(program, sizeof program);
		text_add(&text, "...");
		text_add_json(&text, path + cut);
	}
}

__attribute__((constructor(102))) static void remember_start(void)
{
	struct stat now;
	int saved = errno;

	if (record_wanted() && fstat(STDERR_FILENO, &now) == 0) {
		start_of_error.device = now.st_dev;
		start_of_error.inode = now.st_ino;
	}
	if (settings->stats)
		remember_program();
	errno = saved;
}

/* Seconds since 1970 with microseconds. */
static void add_time(struct text *text)
{
	struct timespec now;
	long micro;

	clock_gettime(CLOCK_REALTIME, &now); /* cannot fail for this clock */
	micro = now.tv_nsec / 1000;
	text_add_signed(text, now.tv_sec);
	text_add(text, ".");
	for (long digit = 100000; digit > 0; digit /= 10)
		text_add_unsigned(text, (uint64_t)(micro / digit % 10));
}

/* null where it says nothing. */
static void add_number(struct text *text, const char *name, bool known, int64_t value)
{
	text_add(text, name);
	if (known)
		text_add_signed(text, value);
	else
		text_add(text, "null");
}

/* The strategies that were passed over on the way to the one taken, best first, each with its reason. */
static void add_reasons(struct text *text, const struct record *record, const char *(*name)(odf_reason),
			const char *separator)
{
	const odf_strategy *strategy = strategy_order(record->file != NULL);
	bool any = false;

	for (; *strategy != ODF_STRATEGY_NONE && *strategy != record->report->strategy; strategy++) {
		if (record->report->reason[*strategy] == ODF_REASON_NONE)
			continue; /* a refused request was not considered */
		if (any)
			text_add(text, separator);
		text_add(text, odf_strategy_name(*strategy));
		text_add(text, ": ");
		text_add(text, name(record->report->reason[*strategy]));
		any = true;
	}
	if (record->report->despite != ODF_REASON_NONE) {
		text_add(text, any ? separator : "");
		text_add(text, "despite: ");
		text_add(text, name(record->report->despite));
	} else if (!any) {
		text_add(text,
			 name(record->report->strategy == ODF_STRATEGY_NONE ? ODF_REASON_NONE : ODF_REASON_CHOSEN));
	}
}

static void add_json_line(struct text *text, const struct record *record)
{
	const odf_report *report = record->report;

	/* The order of the first and of the last stays as it was: scripts match lines. */
	text_add(text, "{\"pid\":");
	text_add_signed(text, getpid());
	text_add(text, ",\"child\":");
	text_add_signed(text, record->child);
	text_add(text, ",\"call\":\"");
	text_add(text, record->call);
	if (record->file != NULL) {
		text_add(text, "\",\"file\":\"");
		text_add_json(text, record->file);
	}
	text_add(text, "\",\"strategy\":\"");
	text_add(text, odf_strategy_name(report->strategy));
	text_add(text, "\",\"held_us\":");
	text_add_microseconds(text, report->elapsed_ns);
	text_add(text, ",\"region_bytes\":");
	text_add_unsigned(text, record->region_bytes);
	text_add(text, ",\"reason\":\"");
	add_reasons(text, record, odf_reason_name, ", ");
	text_add(text, "\",\"schema\":");
	text_add_unsigned(text, RECORD_SCHEMA);
	text_add(text, ",\"time\":");
	add_time(text);
	text_add(text, ",\"program\":\"");
	text_add(text, program);
	text_add(text, "\"");
	add_number(text, ",\"index\":", report->index >= 0, report->index);
	add_number(text, ",\"wait_status\":", report->error == ECHILD, report->wait_status);
	text_add(text, ",\"step\":\"");
	text_add(text, odf_step_name(report->step));
	text_add(text, "\",\"error\":");
	text_add_signed(text, report->error);
	text_add(text, "}\n");
}

/* Whether the reasons are others than those that this process, or one that it was forked from, has written in its last
 * line for a fork, or for a spawn. */
static bool are_new_reasons(const struct record *record)
{
	static _Atomic uint64_t said[2];
	const odf_report *report = record->report;
	uint64_t now = 14695981039346656037u; /* FNV-1a */

	for (size_t i = 0; i < ODF_STRATEGY_COUNT; i++)
		now = (now ^ (uint64_t)report->reason[i]) * 1099511628211u;
	now = (now ^ (uint64_t)report->strategy) * 1099511628211u;
	now = (now ^ (uint64_t)report->despite) * 1099511628211u;
	return atomic_exchange_explicit(&said[record->file != NULL], now, memory_order_relaxed) != now;
}

static void add_log_line(struct text *text, const struct record *record)
{
	const odf_report *report = record->report;

	text_add(text, "odfork: ");
	text_add_signed(text, getpid());
	text_add(text, " ");
	text_add(text, record->call);
	if (record->file != NULL) {
		text_add(text, " ");
		text_add_json(text, record->file); /* a line stays one line */
	}
	if (record->child > 0) {
		text_add(text, ": child ");
		text_add_signed(text, record->child);
		text_add(text, " by ");
		text_add(text, odf_strategy_name(report->strategy));
	}
	if (report->error != 0) { /* with a child: its pidfd */
		text_add(text, ": failed at step ");
		text_add(text, odf_step_name(report->step));
		text_add(text, " with error ");
		report_add_error(text, report->error);
	}
	text_add(text, ", held ");
	text_add_microseconds(text, report->elapsed_ns);
	text_add(text, " us");
	if (record->new_reasons) {
		text_add(text, " (");
		add_reasons(text, record, odf_reason_text, "; ");
		text_add(text, ")");
	}
	text_add(text, "\n");
}

/* Not blocking: opening a named pipe without a reader would hold the program for ever. */
static bool append(const struct text *text)
{
	int fd = sys_open(settings->stats_path, O_WRONLY | O_APPEND | O_CREAT | O_NOCTTY | O_NONBLOCK, 0666);
	bool done;

	if (fd < 0)
		return false;
	done = write_quietly(fd, text->buffer, text->length);
	sys_close(fd);
	return done;
}

/* The line, by one of the functions above. The buffer is small, since a fork may happen in a signal handler on an
 * alternate stack and a spawn in a thread with the least of stacks; a program's path that makes the line too long (each
 * byte may need six) is cut. */
static void make_line(struct text *text, char *line, size_t size, const struct record *record,
		      void (*add)(struct text *, const struct record *))
{
	char start[128];
	struct record cut = *record;
	size_t length = 0;

	*text = text_start(line, size);
	add(text, record);
	if (text->length < size)
		return;
	while (length < sizeof start - 4 && record->file[length] != '\0') {
		start[length] = record->file[length];
		length++;
	}
	memcpy(start + length, "...", 4);
	cut.file = start;
	*text = text_start(line, size);
	add(text, &cut);
}

void record_write(const struct record *record)
{
	static atomic_bool complained;
	char line[1536];
	struct text text;
	int saved = errno;

	if (settings->stats) {
		make_line(&text, line, sizeof line, record, add_json_line);
		if (!append(&text) && !atomic_exchange_explicit(&complained, true, memory_order_relaxed) &&
		    error_is_ours()) {
			text = text_start(line, sizeof line);
			text_add(&text, "odfork: records are lost, cannot write ");
			text_add(&text, settings->stats_path);
			if (text.length > sizeof line - 2)
				text.length = sizeof line - 2;
			text_add(&text, "\n");
			(void)write_quietly(STDERR_FILENO, line, text.length); /* nobody is left to tell */
		}
	}
	if (settings->log && error_is_ours()) {
		struct record told = *record;
		told.new_reasons = are_new_reasons(record);
		make_line(&text, line, sizeof line, &told, add_log_line);
		(void)write_quietly(STDERR_FILENO, line, text.length); /* nobody is left to tell */
	}
	errno = saved;
}
