/* SPDX-License-Identifier: MIT
 *
 * Async-signal-safe: system calls and text in fixed buffers only.
 *
 * The file is opened for each record. A descriptor kept open would be seen by the program, inherited by its children, closed by daemons, and
 * its number reused for a file of the program's own.
 */
#include "record.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../strategy/strategy.h"
#include "../sys/syscall.h"
#include "../sys/text.h"

uint64_t record_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail for this clock */
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Descriptor 2 as it was at the start. A program may close it and get the number for a file of its own, which must not receive our lines:
 * they go out only while descriptor 2 is still the same file, or is a terminal. */
static struct {
	dev_t device;
	ino_t inode;
} start_of_error;

static bool error_is_ours(void)
{
	struct stat now;

	if (fstat(STDERR_FILENO, &now) != 0)
		return false;
	return (now.st_dev == start_of_error.device && now.st_ino == start_of_error.inode) || isatty(STDERR_FILENO);
}

__attribute__((constructor(102))) static void remember_error(void)
{
	struct stat now;

	if (record_wanted() && fstat(STDERR_FILENO, &now) == 0) {
		start_of_error.device = now.st_dev;
		start_of_error.inode = now.st_ino;
	}
}

/* The strategies that were passed over on the way to the one taken, best first, each with its reason. */
static void add_reasons(struct text *text, const struct record *record, const char *(*name)(odf_reason), const char *separator)
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
	if (!any)
		text_add(text, name(record->report->strategy == ODF_STRATEGY_NONE ? ODF_REASON_NONE : ODF_REASON_CHOSEN));
}

static void add_json_line(struct text *text, const struct record *record)
{
	const odf_report *report = record->report;

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
	text_add(text, "\",\"step\":\"");
	text_add(text, odf_step_name(report->step));
	text_add(text, "\",\"error\":");
	text_add_signed(text, report->error);
	text_add(text, "}\n");
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
		text_add(text, record->file);
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
		text_add_signed(text, report->error);
	}
	text_add(text, ", held ");
	text_add_microseconds(text, report->elapsed_ns);
	text_add(text, " us (");
	add_reasons(text, record, odf_reason_text, "; ");
	text_add(text, ")\n");
}

/* One write, so that lines of many processes do not mix (O_APPEND). False if not all went out. */
static bool write_line(int fd, const struct text *text)
{
	long written;

	do
		written = sys_write(fd, text->buffer, text->length);
	while (written == -EINTR);
	return written == (long)text->length;
}

static bool append(const struct text *text)
{
	int fd = sys_open(settings->stats_path, O_WRONLY | O_APPEND | O_CREAT | O_NOCTTY, 0666);
	bool done;

	if (fd < 0)
		return false;
	done = write_line(fd, text);
	sys_close(fd);
	return done;
}

static void write_in(char *line, size_t size, const struct record *record)
{
	static atomic_bool complained;
	struct text text;

	if (settings->stats) {
		text = text_start(line, size);
		add_json_line(&text, record);
		if (!append(&text) && !atomic_exchange_explicit(&complained, true, memory_order_relaxed) && error_is_ours())
			settings_complain("records are lost, cannot write ", settings->stats_path, NULL);
	}
	if (settings->log && error_is_ours()) {
		text = text_start(line, size);
		add_log_line(&text, record);
		(void)write_line(STDERR_FILENO, &text); /* nobody is left to tell if standard error cannot be written */
	}
}

/* A fork may happen in a signal handler on an alternate stack of a few KiB, so its record, whose length is bounded, gets a small buffer.
 * A spawn does not, and has a path, of which each byte may need six. */
static __attribute__((noinline)) void write_fork(const struct record *record)
{
	char line[1024];

	write_in(line, sizeof line, record);
}

static __attribute__((noinline)) void write_spawn(const struct record *record)
{
	char line[6 * PATH_MAX + 1024];
	struct record shorter = *record;

	if (strnlen(record->file, PATH_MAX) == PATH_MAX) /* no program has such a path */
		shorter.file = "";
	write_in(line, sizeof line, &shorter);
}

void record_write(const struct record *record)
{
	int saved = errno;

	if (record->file == NULL)
		write_fork(record);
	else
		write_spawn(record);
	errno = saved;
}
