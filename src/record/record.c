/* SPDX-License-Identifier: MIT
 *
 * Async-signal-safe: system calls and text in fixed buffers only.
 *
 * The file is opened for each record. The program would see a descriptor that stays open, its children would inherit
 * it, and a daemon would close it and reuse its number for a file of its own.
 */
#include "record.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../strategy/report.h"
#include "../strategy/strategy.h"
#include "../sys/quiet.h"
#include "../sys/statm.h"
#include "../sys/syscall.h"
#include "../sys/text.h"

uint64_t record_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail for this clock */
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* The file at descriptor 2 at the start. A program may close it and get the number for a file or terminal of its own,
 * which must not receive the library's lines: they are written only while descriptor 2 is still the same file. */
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

/* The path of this process's executable, as part of a JSON string; if it is long, its end. */
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
		cut += (text.length - sizeof program) / 6 + 1; /* each byte has taken six at most */
		text = text_start(program, sizeof program);
		text_add(&text, "...");
		text_add_json(&text, path + cut);
	}
}

/* The program may have a file size limit. Without that sign the library does not ask for the limit: a sandbox may kill
 * a program for a call that it never makes itself. */
static atomic_bool limited;

void record_note_file_limit(void)
{
	atomic_store_explicit(&limited, true, memory_order_relaxed);
}

__attribute__((constructor(102))) static void remember_start(void)
{
	struct stat now;
	int saved = errno;

	if (record_wanted() && fstat(STDERR_FILENO, &now) == 0) {
		start_of_error.device = now.st_dev;
		start_of_error.inode = now.st_ino;
	}
	if (settings->stats) {
		struct rlimit limit;
		remember_program();
		if (getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur != RLIM_INFINITY)
			record_note_file_limit();
	}
	errno = saved;
}

/* Seconds since 1970, with microseconds. */
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

/* null if the value is not known. */
static void add_number(struct text *text, const char *name, bool known, int64_t value)
{
	text_add(text, name);
	if (known)
		text_add_signed(text, value);
	else
		text_add(text, "null");
}

/* The strategies that were tried before the one taken, best first, each with its reason. */
static void add_reasons(struct text *text, const struct record *record, const char *(*name)(odf_reason),
			const char *separator)
{
	const odf_strategy *strategy = strategy_order(record->file != NULL);
	bool any = false;

	for (; *strategy != ODF_STRATEGY_NONE && *strategy != record->report->strategy; strategy++) {
		if (record->report->reason[*strategy] == ODF_REASON_NONE)
			continue; /* the request was refused before this strategy was considered */
		if (record->report->reason[*strategy] == ODF_REASON_NO_POOL)
			continue; /* no pool was given, so none was considered */
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
	size_t private;

	/* The order of the first and last members must not change: scripts match lines. */
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
	private = statm_private_bytes();
	add_number(text, ",\"private_bytes\":", private > 0, (int64_t)private);
	add_number(text, ",\"index\":", report->index >= 0, report->index);
	add_number(text, ",\"wait_status\":", report->error == ECHILD, report->wait_status);
	text_add(text, ",\"step\":\"");
	text_add(text, odf_step_name(report->step));
	text_add(text, "\",\"error\":");
	text_add_signed(text, report->error);
	text_add(text, "}\n");
}

#define FNV_START 14695981039346656037u
static uint64_t mix(uint64_t sum, uint64_t value)
{
	return (sum ^ value) * 1099511628211u;
}

static uint64_t mix_text(uint64_t sum, const char *text)
{
	for (; *text != '\0'; text++)
		sum = mix(sum, (unsigned char)*text);
	return sum;
}

/* Lines that this process, or one that it was forked from, has written: hashes of a line's contents without process ids
 * and times. */
#define SAID 64
static _Atomic uint64_t said[SAID];
static atomic_uint next_said;

static bool is_new(uint64_t sum)
{
	for (size_t i = 0; i < SAID; i++)
		if (atomic_load_explicit(&said[i], memory_order_relaxed) == sum)
			return false;
	atomic_store_explicit(&said[atomic_fetch_add_explicit(&next_said, 1, memory_order_relaxed) % SAID], sum,
			      memory_order_relaxed);
	return true;
}

static uint64_t sum_of_reasons(const struct record *record)
{
	uint64_t sum = mix(FNV_START, record->file != NULL);

	for (size_t i = 0; i < ODF_STRATEGY_COUNT; i++)
		sum = mix(sum, (uint64_t)record->report->reason[i]);
	return mix(mix(sum, (uint64_t)record->report->strategy), (uint64_t)record->report->despite);
}

/* From this time on, a line about a longer call is written again when the time has doubled. */
#define HELD_LONG 10000000u /* ns */

/* A line for this record would tell nothing new: the same call has gone the same way, and has not taken much longer. */
static bool has_been_said(const struct record *record)
{
	static _Atomic uint64_t longest[2];
	const odf_report *report = record->report;
	_Atomic uint64_t *known = &longest[record->file != NULL];
	uint64_t sum = mix_text(sum_of_reasons(record), record->call),
		 before = atomic_load_explicit(known, memory_order_relaxed);
	bool longer = report->elapsed_ns > HELD_LONG && report->elapsed_ns > 2 * before;

	sum = mix(mix(sum, (uint64_t)report->step), (uint64_t)(unsigned)report->error);
	if (record->file != NULL)
		sum = mix_text(sum, record->file);
	if (report->elapsed_ns > before)
		atomic_store_explicit(known, report->elapsed_ns, memory_order_relaxed);
	return !is_new(sum) && !longer;
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
		text_add_json(text, record->file); /* escapes newlines, so the record stays one line */
	}
	if (record->child > 0) {
		text_add(text, ": child ");
		text_add_signed(text, record->child);
		text_add(text, " by ");
		text_add(text, odf_strategy_name(report->strategy));
	}
	if (report->error != 0) { /* with a child: the error of its pidfd */
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

/* The line would pass this process's file size limit. The kernel would write only a part of it, and a process with
 * another limit might append to that. */
static bool passes_limit(int fd, size_t length)
{
	struct rlimit limit;
	struct stat status;

	if (!atomic_load_explicit(&limited, memory_order_relaxed) || getrlimit(RLIMIT_FSIZE, &limit) != 0 ||
	    limit.rlim_cur == RLIM_INFINITY)
		return false;
	return fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
	       (uint64_t)status.st_size + length > (uint64_t)limit.rlim_cur;
}

/* 0 or an errno value. Non-blocking: the open of a named pipe without a reader would block the program for ever, and so
 * would a write to a full one. */
static int append(const struct text *text)
{
	int fd = sys_open(settings->stats_path, O_WRONLY | O_APPEND | O_CREAT | O_NOCTTY | O_NONBLOCK, 0666), error;

	if (fd < 0)
		return -fd;
	error = passes_limit(fd, text->length) ? EFBIG : write_quietly(fd, text->buffer, text->length);
	sys_close(fd);
	return error;
}

/* Why a record could not be written, and what to do about it. */
static const char *cause_of(int error)
{
	switch (error) {
	case ENOENT:
	case ENOTDIR:
		return "there is no such folder";
	case EACCES:
	case EPERM:
	case EROFS:
		return "this user may not write there: give another file, or write permission to it and its folder";
	case ENOSPC:
	case EDQUOT:
		return "the disk is full";
	case EFBIG:
		return "the file is as long as RLIMIT_FSIZE permits: move it away, or raise the limit";
	case ENXIO:
	case EPIPE:
		return "nobody reads it";
	case EAGAIN:
		return "its reader is too slow";
	case EMFILE:
	case ENFILE:
		return "no descriptor is free: raise RLIMIT_NOFILE";
	case EISDIR:
		return "it is a folder";
	default:
		return NULL;
	}
}

static void complain(char *line, size_t size, int error)
{
	struct text text = text_start(line, size);
	const char *cause = cause_of(error);

	text_add(&text, "odfork: records are lost, cannot write ");
	text_add(&text, settings->stats_path);
	if (text.length > size - 256) /* leaves room for the rest */
		text.length = size - 256;
	text_add(&text, ": ");
	report_add_error(&text, error);
	if (cause != NULL) {
		text_add(&text, ", ");
		text_add(&text, cause);
	}
	text_add(&text, "\n");
	(void)write_quietly(STDERR_FILENO, line, text.length); /* there is no way to report it */
}

/* Makes the line, by one of the functions above. The buffer is small, as a fork may happen in a signal handler on an
 * alternate stack, and a spawn in a thread with the smallest possible stack. If a program's path makes the line too
 * long (each byte may need six), it is cut. */
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
		int error;
		make_line(&text, line, sizeof line, record, add_json_line);
		error = append(&text);
		if (error != 0 && !atomic_exchange_explicit(&complained, true, memory_order_relaxed) && error_is_ours())
			complain(line, sizeof line, error);
	}
	if (settings->log && error_is_ours() && !has_been_said(record)) {
		struct record told = *record;
		told.new_reasons = is_new(sum_of_reasons(record));
		make_line(&text, line, sizeof line, &told, add_log_line);
		(void)write_quietly(STDERR_FILENO, line, text.length); /* there is no way to report it */
	}
	errno = saved;
}
