/* SPDX-License-Identifier: MIT
 *
 * Calls after which the kernel holds references to the caller's pages: a pipe's (vmsplice), or a socket's until the
 * receiver has acknowledged (MSG_ZEROCOPY). Memory of a region has pages of a file behind it, and no count of the
 * library's shows that one is in a pipe: when the child that put it there has ended, the file's pages are written
 * again, and the pipe would deliver what the parent has written since. So a pipe, and a child's socket, get other
 * pages.
 *
 * A pipe gets pages of a copy, which is unmapped after the call: at most as much as the pipe can take at once, as the
 * kernel too may take less than it was given. If there is no memory for a copy, inherited memory becomes the child's
 * own instead; where that is impossible too, the call fails with ENOMEM, which vmsplice(2) permits. A socket gets pages
 * that are the child's own from then on. A process that made its region leaves alone what it has sent until it is told
 * that it was sent, and no such page changes meanwhile.
 *
 * As async-signal-safe as these calls are.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "../sys/readable.h"
#include "span.h"

#ifndef F_GETPIPE_SZ
#define F_GETPIPE_SZ 1032
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#define PIECES_MOST 1024 /* the kernel takes no more (UIO_MAXIOV) */
#define OWN_SLICE ((size_t)4 << 20) /* bytes under one hold of the lock */

/* ---- Which memory is concerned ---- */

/* The whole pages that the range touches. */
static char *around(const void *address, size_t *length)
{
	size_t into = (uintptr_t)address % HEAP_PAGE;

	*length = *length == 0 || *length > SIZE_MAX - 2 * HEAP_PAGE ? 0 : span_round_up(*length + into);
	return (char *)span_untagged(address) - into;
}

/* The span may have pages of a file that is settled. The file of a region that was given up is not. */
static bool is_of_the_file(const struct span *span)
{
	odf_reason reason;

	if (span->region == NULL || region_has_left(span->region, &reason))
		return false;
	return span->kind == REGION_MEMORY || (span->kind == REGION_ISLAND && span->inherited);
}

/* `made_here`: only regions that this process made count. */
static bool is_lent_by(const void *address, size_t length, bool made_here)
{
	char *at = around(address, &length), *end = at + length;
	bool found = false;
	uint64_t mask;

	if (!span_touches(at, length))
		return false;
	heap_meet_child();
	region_lock(&mask);
	while (at < end && !found) {
		struct span span = span_at(at, end);
		found = is_of_the_file(&span) && !(made_here && span.inherited);
		at += span.length;
	}
	region_unlock(&mask);
	return found;
}

static bool is_lent_by_a_region(const void *address, size_t length)
{
	return is_lent_by(address, length, false);
}

/* ---- Private pages in the same place ---- */

/* For kernels before 5.14, and under a filter. Writes to each page what is in it, atomically, as other threads may
 * write. */
static void touch(char *start, size_t length)
{
	for (char *page = start; page < start + length; page += HEAP_PAGE)
		(void)__atomic_fetch_or(page, 0, __ATOMIC_RELAXED);
}

struct owning {
	bool by_call, is_incomplete;
};

/* A page that may not be written cannot be replaced. */
static long own_span(struct span *span, long argument)
{
	struct owning *owning = (struct owning *)argument;

	if (!span->inherited || !is_of_the_file(span))
		return 0;
	if (!(span->protection & PROT_WRITE))
		owning->is_incomplete = true;
	else if (!owning->by_call)
		touch(span->start, span->length);
	else if (sys_call3(SYS_madvise, span->start, span->length, MADV_POPULATE_WRITE) != 0)
		owning->is_incomplete = true; /* for lack of memory, or a raw system call took away the rights */
	return 0;
}

/* A call can do it, and no filter may kill for that call. */
static bool owns_by_call(void *page)
{
	return region_is_unfiltered() && sys_call3(SYS_madvise, page, 0, MADV_POPULATE_WRITE) != -EINVAL;
}

/* False: other pages of a file are still there. */
static bool own(const void *address, size_t length)
{
	char *at = around(address, &length), *end = at + length;
	struct owning owning = { .is_incomplete = false };

	if (!span_touches(at, length))
		return true;
	for (size_t size; at < end; at += size) {
		size = (size_t)(end - at) < OWN_SLICE ? (size_t)(end - at) : OWN_SLICE;
		owning.by_call = owns_by_call(at);
		(void)span_walk(at, size, true, own_span, (long)&owning);
	}
	return !owning.is_incomplete;
}

void heap_own(const void *address, size_t length)
{
	(void)own(address, length);
}

/* ---- Copies ---- */

struct copies {
	char *start;
	size_t size;
	struct iovec *pieces;
	size_t count;
};

/* How many of the pipe's pages a piece fills. */
static size_t pages_of(const struct iovec *piece)
{
	size_t length = piece->iov_len;

	(void)around(piece->iov_base, &length);
	return length / HEAP_PAGE;
}

/* Takes the pieces that fit into an empty pipe of this many pages. One that fits in part is cut. */
static size_t take_pieces(struct iovec *taken, const struct iovec *pieces, size_t count, size_t pages, size_t *used)
{
	size_t taken_count = 0;

	for (size_t i = 0; i < count && *used < pages; i++) {
		struct iovec piece = pieces[i];
		size_t most = (pages - *used) * HEAP_PAGE - (uintptr_t)piece.iov_base % HEAP_PAGE;
		if (piece.iov_len == 0)
			continue;
		if (piece.iov_len > most)
			piece.iov_len = most;
		*used += pages_of(&piece);
		taken[taken_count++] = piece;
	}
	return taken_count;
}

/* False: there is no memory for it. The kernel answers for pieces that cannot be read. */
static bool copy_pieces(struct copies *copies, const struct iovec *pieces, size_t count, size_t pages)
{
	size_t list = span_round_up(count * sizeof *pieces), used = 0;
	char *to;
	long start;

	copies->size = list + pages * HEAP_PAGE;
	start = raw_mmap(span_apart(copies->size), copies->size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (start < 0 && start > -4096)
		return false;
	copies->start = (char *)start;
	copies->pieces = (struct iovec *)start;
	copies->count = take_pieces(copies->pieces, pieces, count, pages, &used);
	to = copies->start + list;
	for (size_t i = 0; i < copies->count; i++) {
		struct iovec *piece = &copies->pieces[i];
		char *at = to + (uintptr_t)piece->iov_base % HEAP_PAGE;
		to += pages_of(piece) * HEAP_PAGE;
		if (!is_lent_by_a_region(piece->iov_base, piece->iov_len) ||
		    !sys_is_readable(piece->iov_base, piece->iov_len))
			continue;
		memcpy(at, piece->iov_base, piece->iov_len);
		piece->iov_base = at;
	}
	return true;
}

/* The kernel too may take less than it was given. */
static bool copy_what_fits(struct copies *copies, const struct iovec *pieces, size_t count, size_t pages)
{
	for (; pages > 0; pages /= 2)
		if (copy_pieces(copies, pieces, count, pages))
			return true;
	return false;
}

static bool is_lent(const struct iovec *pieces, size_t count)
{
	bool found = false;

	if (atomic_load_explicit(&heap_home_count, memory_order_acquire) == 0 || count == 0 || count > PIECES_MOST ||
	    !sys_is_readable(pieces, count * sizeof *pieces))
		return false;
	for (size_t i = 0; i < count; i++) {
		if (pieces[i].iov_len > SSIZE_MAX) /* for one bad length the kernel refuses all */
			return false;
		found = found || is_lent_by_a_region(pieces[i].iov_base, pieces[i].iov_len);
	}
	return found;
}

static long pages_of_pipe(int pipe)
{
	long flags = sys_call2(SYS_fcntl, pipe, F_GETFL);

	if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY) /* vmsplice then copies from the pipe to memory */
		return 0;
	return sys_call2(SYS_fcntl, pipe, F_GETPIPE_SZ) / (long)HEAP_PAGE;
}

static bool own_pieces(const struct iovec *pieces, size_t count)
{
	bool complete = true;

	for (size_t i = 0; i < count; i++)
		complete = own(pieces[i].iov_base, pieces[i].iov_len) && complete;
	return complete;
}

static bool is_lent_by_own_region(const struct iovec *pieces, size_t count)
{
	bool found = false;

	for (size_t i = 0; i < count && !found; i++)
		found = is_lent_by(pieces[i].iov_base, pieces[i].iov_len, true);
	return found;
}

struct heap_lending heap_begin_lending(int pipe, const struct iovec *pieces, size_t count)
{
	struct heap_lending lending = { pieces, count, NULL, 0, 0 };
	struct copies copies;
	int saved = errno;
	bool may_copy;
	long pages;

	if (!is_lent(pieces, count))
		return lending;
	may_copy = region_is_unfiltered() || heap_is_owner(); /* an awake heap's filter permits this */
	pages = may_copy ? pages_of_pipe(pipe) : 0;
	if (pages > 0 && copy_what_fits(&copies, pieces, count, (size_t)pages))
		lending = (struct heap_lending){ copies.pieces, copies.count, copies.start, copies.size, 0 };
	/* The process that made a region has no other pages there than those of the file. */
	else if ((pages > 0 || !may_copy) && (!own_pieces(pieces, count) || is_lent_by_own_region(pieces, count)))
		lending.error = ENOMEM;
	errno = saved;
	return lending;
}

void heap_end_lending(const struct heap_lending *lending)
{
	if (lending->copies != NULL)
		(void)sys_call2(SYS_munmap, lending->copies, lending->size);
}
