/* SPDX-License-Identifier: MIT
 *
 * Operations of test_heap_model: advice, protection, locks, and queries about memory.
 */
#include "heap_model.h"

/* Missing in older headers. */
enum {
	ADVICE_POPULATE_READ = 22, ADVICE_POPULATE_WRITE = 23, ADVICE_DONTNEED_LOCKED = 24, ADVICE_COLLAPSE = 25,
	ADVICE_GUARD_INSTALL = 102, ADVICE_GUARD_REMOVE = 103
};

#ifndef MLOCK_ONFAULT
#define MLOCK_ONFAULT 1
#endif

/* ---- Advice, protection, and the rest ---------------------------------------------------------------------------- */

static const struct advice {
	const char *name;
	int advice;
	unsigned weight;
	bool cuts; /* changes the mapping's flags, so that the kernel may split it */
} advices[] = {
	{ "dontneed", MADV_DONTNEED, 12, false },
	{ "free", MADV_FREE, 4, false },
	{ "normal", MADV_NORMAL, 1, true },
	{ "willneed", MADV_WILLNEED, 1, false },
	{ "random", MADV_RANDOM, 1, true },
	{ "sequential", MADV_SEQUENTIAL, 1, true },
	{ "hugepage", MADV_HUGEPAGE, 1, true },
	{ "nohugepage", MADV_NOHUGEPAGE, 1, true },
	{ "dontfork", MADV_DONTFORK, 2, true },
	{ "dofork", MADV_DOFORK, 2, true },
	{ "wipeonfork", MADV_WIPEONFORK, 2, true },
	{ "keeponfork", MADV_KEEPONFORK, 2, true },
	{ "dontdump", MADV_DONTDUMP, 1, true },
	{ "dodump", MADV_DODUMP, 1, true },
	{ "mergeable", MADV_MERGEABLE, 1, true },
	{ "unmergeable", MADV_UNMERGEABLE, 1, true },
	{ "cold", MADV_COLD, 1, false },
	{ "pageout", MADV_PAGEOUT, 1, false },
	{ "populate read", ADVICE_POPULATE_READ, 2, false },
	{ "populate write", ADVICE_POPULATE_WRITE, 2, false },
	{ "dontneed locked", ADVICE_DONTNEED_LOCKED, 1, false },
	{ "collapse", ADVICE_COLLAPSE, 1, false },
	{ "guard install", ADVICE_GUARD_INSTALL, 2, true },
	{ "guard remove", ADVICE_GUARD_REMOVE, 2, true },
	{ "remove", MADV_REMOVE, 2, false },
	{ "bad 5", 5, 1, false },
	{ "bad 99", 99, 1, false },
	{ "bad -1", -1, 1, false },
};

static const struct advice *draw_advice(void)
{
	const struct advice *last = advices + sizeof advices / sizeof *advices;
	size_t sum = 0, at;

	for (const struct advice *a = advices; a < last; a++)
		sum += a->weight;
	at = below(sum);
	for (const struct advice *a = advices;; a++) {
		if (at < a->weight)
			return is_left_out(a->name) ? advices : a;
		at -= a->weight;
	}
}

/* Records the effect of an advice. If the call failed midway, some pages may have it and some not: only what is certain
 * in both cases is compared. */
static void note_advice(struct arena *a, size_t page, size_t count, const struct advice *given, bool whole)
{
	for (size_t i = page; i < page + count; i++) {
		struct page *p = page_at(a, i);
		if (!is_mapped(p))
			continue;
		switch (given->advice) {
		case MADV_DONTNEED:
		case ADVICE_DONTNEED_LOCKED:
			if (p->kind != ANONYMOUS)
				break;
			p->touched = whole ? NEVER_TOUCHED : MAYBE_TOUCHED;
			if (whole)
				p->flags &= (uint8_t)~UNDEFINED;
			break;
		case MADV_FREE:
			if (p->touched != NEVER_TOUCHED && p->kind == ANONYMOUS)
				p->flags |= UNDEFINED;
			break;
		case MADV_DONTFORK:
			p->flags |= NOT_FORKED;
			break;
		case MADV_DOFORK:
			p->flags &= (uint8_t)~NOT_FORKED;
			break;
		case MADV_HUGEPAGE:
		case ADVICE_COLLAPSE:
			p->flags |= HUGE;
			break;
		case MADV_WILLNEED:
		case ADVICE_POPULATE_READ:
		case ADVICE_POPULATE_WRITE:
			if (p->touched == NEVER_TOUCHED)
				p->touched = MAYBE_TOUCHED;
			break;
		case ADVICE_GUARD_INSTALL:
		case ADVICE_GUARD_REMOVE:
			p->flags |= GUARDED;
			p->touched = MAYBE_TOUCHED;
			break;
		default:
			break;
		}
	}
	if (given->cuts)
		cut_pieces(a, page, count);
}

/* With ENOMEM the range has holes: the kernel advises the rest, and fails. */
static bool was_whole(int result)
{
	return result == 0 || errno == ENOMEM;
}

void advise(void)
{
	const struct advice *given = draw_advice();
	struct arena *a;
	size_t page, count;
	int result;

	if (!draw_place(&a, &page, &count))
		return;
	if (one_in(24)) {
		size_t bad = below(4);
		say("madvise(a%d+%zu, bad %zu, %s)", number_of(a), page, bad, given->name);
		say_result(bad == 0   ? call_madvise(address_of(a, page) + 1, PAGE, given->advice)
			   : bad == 1 ? call_madvise(address_of(a, page), 0, given->advice)
			   : bad == 2 ? call_madvise(address_of(a, page), SIZE_MAX - 5, given->advice)
				      : call_madvise(address_of(a, page),
						     (size_t)0 - (uintptr_t)address_of(a, page) + PAGE, given->advice));
		return;
	}
	if (given->advice == MADV_REMOVE)
		count = clip_flags(a, page, count, FOREIGN);
	if (given->advice == MADV_REMOVE || given->advice == MADV_FREE)
		count = clip_flags(a, page, count, UNSEEN);
	if (count == 0)
		return;
	say("madvise(a%d+%zu*%zu, %s)", number_of(a), page, count, given->name);
	result = call_madvise(address_of(a, page), draw_length(count), given->advice);
	note_advice(a, page, count, given, was_whole(result));
	if (given->advice == ADVICE_COLLAPSE)
		board->calls++; /* the result depends on the memory that the kernel has free */
	else
		say_result(result);
}

void advise_process(void)
{
	struct iovec vector[3];
	const struct advice *given = draw_advice();
	size_t parts = 1 + below(3);
	int fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	ssize_t result;

	if (fd < 0)
		return;
	say("process_madvise(");
	for (size_t i = 0; i < parts; i++) {
		struct arena *a;
		size_t page, count;
		vector[i] = (struct iovec){ NULL, 0 };
		if (!draw_place(&a, &page, &count))
			continue;
		if (given->advice == MADV_REMOVE || given->advice == MADV_FREE)
			count = clip_flags(a, page, count, FOREIGN | UNSEEN);
		vector[i] = (struct iovec){ address_of(a, page), count * PAGE };
		say("a%d+%zu*%zu ", number_of(a), page, count);
		note_advice(a, page, count, given, false);
	}
	errno = NO_ERROR;
	result = one_in(2) ? syscall(SYS_process_madvise, fd, vector, parts, given->advice, 0u)
			   : process_madvise(fd, vector, parts, given->advice, 0);
	say(", %s)", given->name);
	if (given->advice != ADVICE_COLLAPSE)
		say_result(result);
	close(fd);
}

void protect(void)
{
	struct arena *a;
	size_t page, count, length;
	int prot = draw_prot(), via = (int)below(4), result;

	if (!draw_place(&a, &page, &count))
		return;
	length = draw_length(count);
	if (one_in(24)) {
		size_t bad = below(5);
		say("mprotect(a%d+%zu, bad %zu)", number_of(a), page, bad);
		errno = NO_ERROR;
		say_result(bad == 0   ? call_mprotect(address_of(a, page) + 1, PAGE, prot)
			   : bad == 1 ? call_mprotect(address_of(a, page), 0, prot)
			   : bad == 2 ? call_mprotect(address_of(a, page), PAGE, 1 << 28)
			   : bad == 3 ? call_mprotect(address_of(a, page), SIZE_MAX - 5, prot)
				      : pkey_mprotect(address_of(a, page), PAGE, prot, 14));
		return;
	}
	say("%s(a%d+%zu*%zu, %s)", via == 0 ? "pkey_mprotect" : "mprotect", number_of(a), page, count, prot_name(prot));
	errno = NO_ERROR;
	if (via == 0)
		result = one_in(2) ? pkey_mprotect(address_of(a, page), length, prot, -1)
				   : (int)syscall(SYS_pkey_mprotect, address_of(a, page), length, prot, -1);
	else
		result = call_mprotect(address_of(a, page), length, prot);
	say_result(result);
	for (size_t i = page; i < page + count && is_mapped(page_at(a, i)); i++)
		page_at(a, i)->prot = (uint8_t)prot;
	cut_pieces(a, page, count);
}

void lock(void)
{
	struct arena *a;
	size_t page, count, how = below(5), length;
	long result;

	if (!draw_place(&a, &page, &count))
		return;
	if (count > 64 && how < 2)
		count = 1 + below(64);
	length = draw_length(count);
	say("%s(a%d+%zu*%zu)", how == 0 ? "mlock" : how == 1 ? "mlock2" : "munlock", number_of(a), page, count);
	errno = NO_ERROR;
	if (how == 0)
		result = one_in(2) ? mlock(address_of(a, page), length)
				   : syscall(SYS_mlock, address_of(a, page), length);
	else if (how == 1)
		result = one_in(2) ? mlock2(address_of(a, page), length, MLOCK_ONFAULT)
				   : syscall(SYS_mlock2, address_of(a, page), length, MLOCK_ONFAULT);
	else
		result = one_in(2) ? munlock(address_of(a, page), length)
				   : syscall(SYS_munlock, address_of(a, page), length);
	say_result(result);
	for (size_t i = page; i < page + count; i++) {
		if (!is_mapped(page_at(a, i)))
			continue;
		if (how > 1 && result == 0)
			page_at(a, i)->flags &= (uint8_t)~LOCKED;
		if (how <= 1)
			page_at(a, i)->flags |= LOCKED;
		if (page_at(a, i)->touched == NEVER_TOUCHED && how == 0)
			page_at(a, i)->touched = MAYBE_TOUCHED;
	}
	cut_pieces(a, page, count);
}

void synchronize(void)
{
	static const int flags[] = {
		MS_ASYNC, MS_SYNC, MS_SYNC | MS_INVALIDATE, MS_ASYNC | MS_SYNC, MS_INVALIDATE, 0, 0x40,
	};
	struct arena *a;
	size_t page, count, which = below(sizeof flags / sizeof *flags), off = one_in(16) ? 1 : 0, length;

	if (!draw_place(&a, &page, &count))
		return;
	length = draw_length(count);
	say("msync(a%d+%zu*%zu, %#x)", number_of(a), page, count, (unsigned)flags[which]);
	errno = NO_ERROR;
	say_result(one_in(2) ? msync(address_of(a, page) + off, length, flags[which])
			     : syscall(SYS_msync, address_of(a, page) + off, length, flags[which]));
}

/* A page that was written, and not with zeros only: the library does not copy pages of zeros when it moves memory. Not
 * if there may be a settle: the page may be in transit then. */
static bool is_certainly_there(const struct page *p, const unsigned char *bytes)
{
	return p->kind == ANONYMOUS && self.depth == 0 && !ever_forked && p->touched == WRITTEN &&
	       (p->flags & (UNDEFINED | HUGE | FOREIGN | GUARDED)) == 0 && (p->prot & PROT_READ) != 0 &&
	       (bytes[0] != 0 || memcmp(bytes, bytes + 1, PAGE - 1) != 0);
}

/* Compares only pages whose answer is certain. */
void ask_residence(void)
{
	static unsigned char vector[MAX_PAGES];
	struct arena *a;
	size_t page, count, off = one_in(16) ? 1 : 0, length;
	long result;

	if (!draw_place(&a, &page, &count))
		return;
	length = draw_length(count);
	say("mincore(a%d+%zu*%zu)", number_of(a), page, count);
	errno = NO_ERROR;
	if (one_in(16) && is_mapped_throughout(a, page, count))
		result = mincore(address_of(a, page), length, (void *)8);
	else
		result = one_in(2) ? mincore(address_of(a, page) + off, length, vector)
				   : syscall(SYS_mincore, address_of(a, page) + off, length, vector);
	say_result(result);
	if (result != 0)
		return;
	row_begin();
	for (size_t i = 0; i < count; i++) {
		if (is_certainly_there(page_at(a, page + i), (unsigned char *)address_of(a, page + i)))
			row_add((vector[i] & 1) != 0 ? "in" : "out");
		else
			row_add("?");
	}
	row_end();
}
