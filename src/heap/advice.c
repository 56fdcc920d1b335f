/* SPDX-License-Identifier: MIT
 * Advice about memory (mapping.c). Async-signal-safe. */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "../sys/proc.h"
#include "../sys/readable.h"
#include "span.h"

#ifndef MADV_COLD
#define MADV_COLD 20
#define MADV_PAGEOUT 21
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE  103
#endif
#ifndef PIDFD_SELF
#define PIDFD_SELF_THREAD       (-10000)
#define PIDFD_SELF_THREAD_GROUP (-10001)
#endif

/* MADV_NOHUGEPAGE, where the files of regions have large pages: only other memory can be without them. Before there is
 * a region, whether its file would have them: that is asked once, and not under a filter, which could punish the
 * question. */
static bool is_against_large_pages(long advice)
{
	static atomic_int known; /* 1: no; 2: yes */
	int value = atomic_load_explicit(&known, memory_order_relaxed);

	if (advice != MADV_NOHUGEPAGE)
		return false;
	if (heap_state() != ODF_HEAP_ASLEEP || !region_is_unfiltered())
		return region_files_are_large();
	if (value == 0) {
		value = region_large_pages_wanted() ? 2 : 1;
		atomic_store_explicit(&known, value, memory_order_relaxed);
	}
	return value == 2;
}

/* Advice that would split a mapping, which it is not worth: nothing depends on it. */
static bool is_mere_advice(long advice)
{
	switch (advice) {
	case MADV_NORMAL:
	case MADV_RANDOM:
	case MADV_SEQUENTIAL:
	case MADV_HUGEPAGE:
	case MADV_DOFORK:
	case MADV_KEEPONFORK:
	case MADV_DODUMP:
	case MADV_UNMERGEABLE:
		return true;
	case MADV_NOHUGEPAGE:
		return !is_against_large_pages(advice);
	default:
		return false;
	}
}

/* Advice that changes no mapping and means the same for the memory of a file. */
static bool is_passing_advice(long advice)
{
	switch (advice) {
	case MADV_WILLNEED:
	case MADV_COLD:
	case MADV_PAGEOUT:
	case MADV_POPULATE_READ:
	case MADV_POPULATE_WRITE:
		return true;
	default:
		return false;
	}
}

/* Advice after which young memory is still plain: the kernel notes nothing about it, or drops its note when mappings
 * merge. */
static bool leaves_young(long advice)
{
	switch (advice) {
	case MADV_DONTNEED:
	case MADV_DONTNEED_LOCKED:
	case MADV_FREE:
	case MADV_NORMAL:
	case MADV_RANDOM:
	case MADV_SEQUENTIAL:
	case MADV_DOFORK:
	case MADV_KEEPONFORK:
	case MADV_DODUMP:
	case MADV_UNMERGEABLE:
		return true;
	case MADV_NOHUGEPAGE:
		return !is_against_large_pages(advice);
	default:
		return is_passing_advice(advice);
	}
}

static bool is_zeroing(long advice)
{
	return advice == MADV_DONTNEED || advice == MADV_FREE || advice == MADV_DONTNEED_LOCKED;
}

/* MADV_HUGEPAGE changes nothing where the kernel gives no large pages. */
static bool ends_youth(long advice)
{
	return advice == MADV_HUGEPAGE ? heap_large_pages_are_given() : !leaves_young(advice);
}

/* False: a raw system call has unmapped some of it. */
static bool is_there(const struct span *span)
{
	if (span->inherited && !region_is_unfiltered()) /* a filter may kill for msync */
		return true;
	return sys_call3(SYS_msync, span->start, span->length, MS_ASYNC) != -ENOMEM;
}

/* Shortens the span to the part before the first page that a raw system call has locked. False: that is its first
 * page. */
static bool end_before_locks(struct span *span)
{
	size_t free = 0, end = span->length;

	if (!region_is_locked(span->start, span->length))
		return true;
	while (end - free > HEAP_PAGE) { /* the first locked page is in [free, end) */
		size_t middle = free + (end - free) / 2 / HEAP_PAGE * HEAP_PAGE;
		if (region_is_locked(span->start, middle))
			end = middle;
		else
			free = middle;
	}
	span->length = free;
	return free > 0;
}

static long advise_span(struct span *span, long advice)
{
	long error;

	/* An island is looked at first for this advice only. Other advice goes to the kernel, whose answer is right for
	 * whatever has replaced the island. */
	if (span->kind == REGION_ISLAND && is_zeroing(advice)) {
		span_look(span->start, span->start + span->length);
		*span = span_at(span->start, span->start + span->length);
	}
	if (advice == MADV_HUGEPAGE || advice == MADV_COLLAPSE)
		span_make_large(span, advice == MADV_COLLAPSE);
	if (span->kind == REGION_FOREIGN) {
		if (span->young && ends_youth(advice))
			span_forget_young(span->start, span->length);
		return sys_call3(SYS_madvise, span->start, span->length, advice);
	}
	if (is_zeroing(advice)) {
		if (span->kind == REGION_MEMORY && advice == MADV_DONTNEED_LOCKED)
			return span_zero(span);
		if (span->kind == REGION_MEMORY)
			return -region_discard_unlocked(span->region, span_offset(span), span->length);
		/* Zeros that replace it would lack its key. */
		if ((span->advice & KEPT_KEYED) && !region_is_one_anonymous(span->start, span->length))
			return -ENOMEM;
		/* The kernel is asked first, as it may refuse: locked memory, for example. */
		error = sys_call3(SYS_madvise, span->start, span->length, advice == MADV_FREE ? MADV_DONTNEED : advice);
		/* An anonymous island has its zeros now, and the kernel knows its attributes: the list may be older
		 * than a mapping that a raw system call has made there. */
		return error < 0 || region_is_one_anonymous(span->start, span->length) ? error : span_zero(span);
	}
	if (span->kind == REGION_MEMORY && is_mere_advice(advice))
		return is_there(span) ? 0 : -ENOMEM;
	if (is_passing_advice(advice))
		return sys_call3(SYS_madvise, span->start, span->length, advice);
	if (advice == MADV_REMOVE) /* as for memory without a file behind it */
		return -EINVAL;
	if (advice == MADV_GUARD_INSTALL && !end_before_locks(span))
		return -EINVAL;
	/* This advice splits no mapping in the kernel, so it must not split one here. */
	if (advice == MADV_COLLAPSE)
		return sys_call3(SYS_madvise, span->start, span->length, advice);
	if (advice == MADV_WIPEONFORK || advice == MADV_GUARD_INSTALL || advice == MADV_GUARD_REMOVE)
		error = span_make_anonymous(span, span->protection);
	else
		error = span_cut(span);
	if (error == 0)
		error = sys_call3(SYS_madvise, span->start, span->length, advice);
	if (error == 0 && span->kind == REGION_ISLAND)
		span_note_advice(span, advice == MADV_DONTFORK            ? KEPT_DONTFORK
				       : advice == MADV_DONTDUMP          ? KEPT_DONTDUMP
				       : advice == MADV_MERGEABLE         ? KEPT_MERGEABLE
				       : is_against_large_pages(advice)   ? KEPT_SMALL
									  : 0,
				 advice == MADV_DOFORK        ? KEPT_DONTFORK
				 : advice == MADV_DODUMP      ? KEPT_DONTDUMP
				 : advice == MADV_UNMERGEABLE ? KEPT_MERGEABLE
				 : advice == MADV_HUGEPAGE    ? KEPT_SMALL
							      : 0);
	return error;
}

/* Advice for which the kernel's answer is right whatever raw system calls have mapped there. MADV_FREE is not: the
 * kernel refuses it for some mappings. */
static bool goes_by_what_is_there(int advice)
{
	return (is_zeroing(advice) && advice != MADV_FREE) || is_mere_advice(advice) || is_passing_advice(advice);
}

static bool goes_past_holes(int advice)
{
	return advice != MADV_POPULATE_READ && advice != MADV_POPULATE_WRITE;
}

static long advise(void *address, size_t length, long kind, long unused)
{
	int advice = (int)kind;
	long error;

	(void)unused;
	if (ends_youth(advice))
		heap_forget_early(address, length);
	if (!span_touches(address, length))
		return sys_call3(SYS_madvise, address, length, advice);
	/* With length 0: whether the kernel knows this advice. */
	error = sys_call3(SYS_madvise, address, 0, advice);
	if (error < 0)
		return error;
	if (goes_by_what_is_there(advice))
		error = span_walk(address, length, goes_past_holes(advice), advise_span, advice);
	else
		error = span_walk_looking(address, length, goes_past_holes(advice), advise_span, advice);
	heap_look_at_inherited();
	return error;
}

long heap_madvise(void *address, size_t length, int advice)
{
	const struct own_request request = { SYS_madvise, advice, 0, goes_past_holes(advice), advise };

	address = span_untagged(address);
	return own_is_asked(address, length) ? own_ask(address, length, &request) : advise(address, length, advice, 0);
}

static bool is_self(int process)
{
	char path[48] = "/proc/thread-self/fdinfo/", text[512] = "";
	char digits[12];
	size_t length = strlen(path), count = 0;
	const char *line;
	int file;
	long pid = 0;

	if (process == PIDFD_SELF_THREAD || process == PIDFD_SELF_THREAD_GROUP)
		return true;
	if (process < 0)
		return false;
	for (int rest = process; count == 0 || rest > 0; rest /= 10)
		digits[count++] = (char)('0' + rest % 10);
	while (count > 0)
		path[length++] = digits[--count];
	path[length] = '\0';
	file = proc_open(path, O_RDONLY);
	if (file < 0)
		return false;
	if (sys_read(file, text, sizeof text - 1) < 0)
		text[0] = '\0';
	sys_close(file);
	line = strstr(text, "Pid:");
	if (line == NULL)
		return false;
	for (line += 4; *line == ' ' || *line == '\t'; line++)
		;
	for (; *line >= '0' && *line <= '9'; line++)
		pid = pid * 10 + (*line - '0');
	return pid == sys_call0(SYS_getpid);
}

static bool is_ours(const struct iovec *piece)
{
	void *address = span_untagged(piece->iov_base);

	return span_touches(address, piece->iov_len) || own_is_asked(address, piece->iov_len);
}

/* As heap_madvise does it, for memory that is to be taken in when the heap wakes. At worst these are another process's
 * addresses, and this process's memory there stays outside. */
static void forget_early(const struct iovec *pieces, size_t count, int advice)
{
	if (!ends_youth(advice) || count > 1024 || !sys_is_readable(pieces, count * sizeof *pieces))
		return;
	for (size_t i = 0; i < count; i++)
		heap_forget_early(span_untagged(pieces[i].iov_base), pieces[i].iov_len);
}

long heap_process_madvise(int process, const struct iovec *pieces, size_t count, int advice, unsigned flags)
{
	bool ours = false, sound = true;
	long error, done = 0;

	forget_early(pieces, count, advice);
	/* Without pieces the kernel checks only the other arguments. */
	error = sys_call5(SYS_process_madvise, process, pieces, 0, advice, flags);
	if (atomic_load_explicit(&heap_home_count, memory_order_relaxed) == 0 || error < 0 || count == 0 ||
	    count > 1024 || !is_self(process) || !sys_is_readable(pieces, count * sizeof *pieces))
		return sys_call5(SYS_process_madvise, process, pieces, count, advice, flags);
	for (size_t i = 0; i < count; i++) {
		sound = sound && pieces[i].iov_len <= SSIZE_MAX; /* the kernel refuses all for one bad length */
		ours = ours || is_ours(&pieces[i]);
	}
	if (!ours || !sound)
		return sys_call5(SYS_process_madvise, process, pieces, count, advice, flags);
	for (size_t i = 0; i < count; i++) {
		/* Pieces that are not ours go to the system call, which permits fewer kinds of advice than madvise
		 * does. Ours are handled only if it permits this one. */
		if (!is_ours(&pieces[i]))
			error = sys_call5(SYS_process_madvise, process, &pieces[i], 1, advice, flags);
		else
			error = heap_madvise(pieces[i].iov_base, pieces[i].iov_len, advice);
		if (error < 0)
			return done > 0 ? done : error;
		done += (long)pieces[i].iov_len;
	}
	return done;
}
