/* SPDX-License-Identifier: MIT
 *
 * The heap against the kernel: random programs map, unmap, move, protect, advise, allocate, read, write and fork, once with the
 * library preloaded and its heap awake, once without. Both write down what came of each call: result, errno, bytes, faults. Every
 * process of one must have the same to say as its counterpart in the other.
 *
 * The two have their memory at different addresses, so a program names it by arena and page, and what it does follows from the
 * seed, its path in the tree of forks (0.2.1: the second child of the third child of the root, counted from 0), the number of the
 * step, and what it knows of its memory; never from an address. What the kernel leaves open is not asked: whether neighbours were
 * merged to one mapping, what is in a page between MADV_FREE and the next write to all of it, whether a page that was not written is
 * resident, and whether a gap in memory that the kernel placed is still one after something else was placed. Nor is what the heap is known to
 * do otherwise: a hole in it faults with SEGV_ACCERR, and a mapping may not be able to grow in place where it could.
 *
 *   test_heap_model SEED [TIMES]     that seed only, some times over (1)
 *
 * ODF_TEST_SEEDS says how many seeds (2000), ODF_TEST_FIRST_SEED where they begin (1); ODF_TEST_SECONDS runs fresh ones for so
 * long instead; ODF_TEST_WORKERS how many pairs at once (2); ODF_TEST_TRACE=1 shows each step; ODF_TEST_NOBODY=1 gives up root
 * first. ODF_TEST_LIBRARY is what is preloaded, otherwise the one in ODF_BUILD; ODF_TEST_HEAP, ODF_TEST_NOISE and ODF_TEST_PAST fix
 * ODFORK_HEAP, whether signals interrupt, and whether there are calls that the library does not see (the seed says).
 *
 * One process goes through a batch of seeds, one after the other. ODF_TEST_WHOLE=1 replays the batch of the seed. ODF_TEST_REDUCE=N
 * leaves out steps of a seed that differs, as long as one of N runs still differs, and shows what remains. ODF_TEST_GO_ON=1 does
 * not end at the first difference; ODF_TEST_ONCE=1 does not try how often it happens again.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <malloc.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* Newer than some headers. */
enum {
	ADVICE_POPULATE_READ = 22, ADVICE_POPULATE_WRITE = 23, ADVICE_DONTNEED_LOCKED = 24, ADVICE_COLLAPSE = 25,
	ADVICE_GUARD_INSTALL = 102, ADVICE_GUARD_REMOVE = 103
};
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#ifndef MLOCK_ONFAULT
#define MLOCK_ONFAULT 1
#endif
#ifndef MAP_32BIT
#define MAP_32BIT 0
#endif

enum {
	PAGE = 4096,
	WINDOWS = 2,
	MAX_ARENAS = 10,
	MAX_PAGES = 16384 + 64,
	WINDOW_PAGES = 600,
	MAX_BLOCKS = 24,
	MAX_CHILDREN = 6,
	MAX_DEPTH = 4,
	MAX_ENTRIES = 512,
	MAX_SKIPS = 4096,
	PATH_SIZE = 48,
	TEXT_SIZE = 96 * 1024,
	FILE_PAGES = 40,   /* of the file that does not change: less, by half a page */
	SHARED_PAGES = 64, /* of a process's own file */
	BUFFER = 15 * PAGE,
	CLONE_STACK = 256 * 1024,
	GUARD_SECONDS = 180 /* only to tell a hang from a failure, on a machine of which others have most */
};

/* ---- What a run leaves for the test to compare ----------------------------------------------------------------------------- */

/* One process, and what it has to say, a line for each step. */
struct entry {
	atomic_int pid;
	uint64_t seed;
	atomic_bool doomed; /* killed at any moment by its parent */
	atomic_bool done;
	atomic_uint length; /* of the text; whole lines, once the process is done */
	char path[PATH_SIZE];
	char text[TEXT_SIZE];
};

struct skip {
	uint64_t path; /* mixed with the seed */
	unsigned step;
};

/* Shared by the test and all processes of one of its two runs. */
struct board {
	bool tested, trace, grows, noisy, off, past_the_library;
	char without[256];
	int constant_file;
	atomic_uint used, skipping;
	atomic_ulong steps, processes, calls, faults, eligible, placed, kills;
	unsigned skip_count;
	struct skip skips[MAX_SKIPS]; /* in order */
	struct entry entries[MAX_ENTRIES];
};

static struct board *board;

/* ---- What a process knows -------------------------------------------------------------------------------------------------- */

enum kind { UNKNOWN, HOLE, ANONYMOUS, FILE_PRIVATE, SHARED };
enum touched { NEVER_TOUCHED, MAYBE_TOUCHED, WRITTEN };

enum page_flag {
	UNDEFINED = 1,   /* freed: contents either old or zero */
	NOT_FORKED = 2,  /* MADV_DONTFORK */
	FOREIGN = 4,     /* shared with a parent that runs: its contents are not ours */
	HUGE = 8,        /* residence is up to the kernel */
	GUARDED = 16,
	LOCKED = 32,
	UNSEEN = 64 /* moved past the library: it may be a region's still, and several mappings */
};

struct page {
	uint8_t kind, prot, flags, touched;
	uint32_t piece; /* pages that were mapped together and treated alike ever since are certainly one mapping */
};

/* Memory that the program has a name for. An arena that is a window lies where nothing is ever placed unasked, so that its holes stay holes. Of others a
 * page becomes UNKNOWN when its hole may have been filled by somebody else: by the heap; or, if the kernel was free to place it, by what the library maps
 * for itself. */
struct arena {
	unsigned char *base; /* NULL: none */
	size_t pages;
	bool window, hinted;
};

struct block {
	unsigned char *start; /* NULL: none */
	size_t size, stride;
	uint64_t tag;
};

struct child {
	pid_t pid;
	unsigned entry;
};

static struct {
	uint64_t seed, random;
	char path[PATH_SIZE];
	unsigned entry, depth, step, forks, fork_limit;
	uint32_t piece;
	int shared_file; /* -1: none yet */
	uint64_t shared_inode;
	struct arena arenas[MAX_ARENAS];
	struct block blocks[MAX_BLOCKS];
	struct child children[MAX_CHILDREN];
	unsigned child_count;
	bool noisy;
} self;
static bool ever_forked; /* also in an earlier seed of the batch */

static struct page pages[MAX_ARENAS][MAX_PAGES];

static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static uint64_t draw(void)
{
	self.random += 0x9e3779b97f4a7c15u;
	return mix(self.random);
}

static size_t below(size_t limit)
{
	return (size_t)(draw() % limit);
}

static bool one_in(size_t n)
{
	return below(n) == 0;
}

static uint64_t mix_path(uint64_t seed, const char *path)
{
	uint64_t value = mix(seed);

	for (const char *c = path; *c != '\0'; c++)
		value = mix(value ^ (unsigned char)*c);
	return value;
}

static void draw_from_step(unsigned step)
{
	self.random = mix(mix_path(self.seed, self.path) ^ (uint64_t)step << 8);
}

static size_t less(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* ---- Saying what came of it ------------------------------------------------------------------------------------------------ */

static struct entry *entry(void)
{
	return &board->entries[self.entry];
}

/* Where the log is full the rest goes into one number. */
__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
	struct entry *e = entry();
	unsigned used = e->length, room = TEXT_SIZE - 64;
	va_list arguments;
	char text[512];
	int length;

	va_start(arguments, format);
	length = vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	if (length < 0)
		_exit(97);
	if ((size_t)length >= sizeof text)
		length = sizeof text - 1;
	if (used + (unsigned)length < room) {
		memcpy(e->text + used, text, (size_t)length);
		e->length = used + (unsigned)length;
	} else {
		uint64_t number = 0;
		memcpy(&number, e->text + room, sizeof number);
		for (int i = 0; i < length; i++)
			number = mix(number ^ (unsigned char)text[i]);
		memcpy(e->text + room, &number, sizeof number);
	}
}

static unsigned line_start;

static void end_line(void)
{
	struct entry *e = entry();

	say("\n");
	if (board->trace)
		dprintf(2, "# %s %s %.*s", board->tested ? "heap " : "plain", self.path, (int)(e->length - line_start), e->text + line_start);
	line_start = e->length;
}

/* Something that is no result to compare: the test itself cannot go on. */
__attribute__((noreturn, format(printf, 1, 2))) static void broken(const char *format, ...)
{
	char text[256];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	say("BROKEN: %s: %s", text, strerror(errno));
	end_line();
	_exit(98);
}

/* Left out, so that what else differs shows. */
static bool is_left_out(const char *what)
{
	const char *at = board->without;
	char name[64];

	for (size_t length; *at != '\0'; at += length + (at[length] == ',')) {
		length = strcspn(at, ",");
		snprintf(name, sizeof name, "%.*s", (int)length, at);
		if (strstr(what, name) != NULL)
			return true;
	}
	return false;
}

static const char *error_name(int error)
{
	static char number[16];

	switch (error) {
	case ENOMEM:
		return "ENOMEM";
	case EINVAL:
		return "EINVAL";
	case EFAULT:
		return "EFAULT";
	case EEXIST:
		return "EEXIST";
	case EAGAIN:
		return "EAGAIN";
	case EBUSY:
		return "EBUSY";
	case EACCES:
		return "EACCES";
	case EPERM:
		return "EPERM";
	case EBADF:
		return "EBADF";
	case ENODEV:
		return "ENODEV";
	case EINTR:
		return "EINTR";
	case EOPNOTSUPP:
		return "EOPNOTSUPP";
	default:
		snprintf(number, sizeof number, "error %d", error);
		return number;
	}
}

/* errno before a call that must not change it unless it fails. */
enum { NO_ERROR = 0 };

static void say_result(long result)
{
	int error = errno;

	if (result < 0)
		say(" = %s", error_name(error));
	else
		say(" = %ld", result);
	if (result >= 0 && error != NO_ERROR)
		say(" with errno %s", error_name(error));
	board->calls++;
}

static int number_of(const struct arena *a)
{
	return (int)(a - self.arenas);
}

/* ---- Faults ---------------------------------------------------------------------------------------------------------------- */

static sigjmp_buf fault_jump;
static volatile sig_atomic_t fault_expected, fault_signal, fault_code;
static void *volatile fault_address;

static void on_fault(int signal, siginfo_t *info, void *context)
{
	(void)context;
	if (!fault_expected) {
		say(" UNEXPECTED signal %d code %d", signal, info->si_code);
		if (board->trace)
			dprintf(2, "# %s: signal %d at %p\n", self.path, signal, info->si_addr);
		end_line();
		_exit(99);
	}
	fault_signal = signal;
	fault_code = info->si_code;
	fault_address = info->si_addr;
	fault_expected = 0;
	siglongjmp(fault_jump, 1);
}

/* Each in a frame of its own, to which the handler jumps back; false after a fault. */

__attribute__((noinline)) static bool can_read(const unsigned char *from, unsigned char *to, size_t length)
{
	fault_expected = 1;
	if (sigsetjmp(fault_jump, 0) != 0)
		return false;
	*to = *(const volatile unsigned char *)from; /* so that the fault is here */
	memcpy(to, from, length);
	fault_expected = 0;
	return true;
}

__attribute__((noinline)) static bool can_fill(unsigned char *to, unsigned char byte, size_t length)
{
	fault_expected = 1;
	if (sigsetjmp(fault_jump, 0) != 0)
		return false;
	*(volatile unsigned char *)to = byte;
	memset(to, byte, length);
	fault_expected = 0;
	return true;
}

/* One instruction that reads and writes. */
__attribute__((noinline)) static bool can_add(unsigned char *to, uint64_t value, uint64_t *was)
{
	fault_expected = 1;
	if (sigsetjmp(fault_jump, 0) != 0)
		return false;
	*was = __atomic_fetch_add((uint64_t *)(void *)to, value, __ATOMIC_RELAXED);
	fault_expected = 0;
	return true;
}

__attribute__((noinline)) static bool can_execute(unsigned char *code)
{
	fault_expected = 1;
	if (sigsetjmp(fault_jump, 0) != 0)
		return false;
	((void (*)(void))(uintptr_t)code)();
	fault_expected = 0;
	return true;
}

enum { TOKEN = 16 };

/* In a few letters; and whether the kernel told the right address. What was unmapped in a region is inaccessible there, which is the same to all
 * system calls but not to a handler. */
static void fault_token(char *token, const void *address, bool hole)
{
	const char *name;

	if (hole && fault_signal == SIGSEGV && (fault_code == SEGV_MAPERR || fault_code == SEGV_ACCERR))
		name = "hole";
	else if (fault_signal == SIGSEGV && fault_code == SEGV_MAPERR)
		name = "maperr";
	else if (fault_signal == SIGSEGV && fault_code == SEGV_ACCERR)
		name = "accerr";
	else if (fault_signal == SIGSEGV && fault_code == 4)
		name = "pkuerr";
	else if (fault_signal == SIGBUS && fault_code == BUS_ADRERR)
		name = "bus";
	else
		name = NULL;
	if (name != NULL)
		snprintf(token, TOKEN, "%s%s", name, fault_address == address ? "" : "!");
	else
		snprintf(token, TOKEN, "s%dc%d%s", (int)fault_signal, (int)fault_code, fault_address == address ? "" : "!");
	board->faults++;
}

/* ---- A row of tokens, one for each page, equal ones together --------------------------------------------------------------- */

static struct {
	char last[TOKEN];
	size_t run, shown;
	uint64_t rest;
} row;

static void row_flush(void)
{
	char text[TOKEN + 24];

	if (row.run == 0)
		return;
	if (row.run == 1)
		snprintf(text, sizeof text, " %s", row.last);
	else
		snprintf(text, sizeof text, " %s*%zu", row.last, row.run);
	if (row.shown++ < 48)
		say("%s", text);
	else
		for (const char *c = text; *c != '\0'; c++)
			row.rest = mix(row.rest ^ (unsigned char)*c);
	row.run = 0;
}

static void row_begin(void)
{
	row.run = row.shown = 0;
	row.rest = 0;
}

static void row_add(const char *token)
{
	if (row.run > 0 && strcmp(token, row.last) == 0) {
		row.run++;
		return;
	}
	row_flush();
	memcpy(row.last, token, strlen(token) + 1);
	row.run = 1;
}

static void row_end(void)
{
	row_flush();
	if (row.rest != 0)
		say(" +%zu:%08" PRIx32, row.shown - 48, (uint32_t)row.rest);
}

/* ---- Pages and pieces ------------------------------------------------------------------------------------------------------ */

static struct page *page_at(const struct arena *a, size_t page)
{
	return &pages[number_of(a)][page];
}

static unsigned char *address_of(const struct arena *a, size_t page)
{
	return a->base + page * PAGE;
}

static bool is_mapped(const struct page *p)
{
	return p->kind > HOLE;
}

/* One that may be in a region. */
static bool is_hole(const struct arena *a, size_t page)
{
	return !a->window && page_at(a, page)->kind == HOLE;
}

static void set_kind(struct arena *a, size_t page, size_t count, enum kind kind)
{
	memset(page_at(a, page), 0, count * sizeof(struct page));
	for (size_t i = page; i < page + count; i++)
		page_at(a, i)->kind = (uint8_t)kind;
}

static void set_mapped(struct arena *a, size_t page, size_t count, enum kind kind, int prot, unsigned flags, enum touched touched)
{
	struct page fresh = { (uint8_t)kind, (uint8_t)prot, (uint8_t)flags, (uint8_t)touched, ++self.piece };

	for (size_t i = page; i < page + count; i++)
		*page_at(a, i) = fresh;
}

/* Something was done to these pages and not to their neighbours. */
static void cut_pieces(struct arena *a, size_t page, size_t count)
{
	uint32_t before = 0;

	for (size_t i = page; i < page + count; i++) {
		struct page *p = page_at(a, i);
		if (i == page || p->piece != before)
			self.piece++;
		before = p->piece;
		p->piece = self.piece;
	}
}

static bool is_mapped_throughout(const struct arena *a, size_t page, size_t count)
{
	for (size_t i = page; i < page + count; i++)
		if (!is_mapped(page_at(a, i)))
			return false;
	return true;
}

static struct arena *free_arena(void)
{
	for (struct arena *a = self.arenas + WINDOWS; a < self.arenas + MAX_ARENAS; a++)
		if (a->base == NULL)
			return a;
	return NULL;
}

static struct arena *begin_arena(void *base, size_t count)
{
	struct arena *a = free_arena();

	a->hinted = false;
	a->base = base;
	a->pages = count;
	a->window = false;
	memset(pages[number_of(a)], 0, count * sizeof(struct page));
	if (board->trace)
		dprintf(2, "# %s %s @%u a%d is at %p\n", board->tested ? "heap " : "plain", self.path, self.step, number_of(a), base);
	return a;
}

static bool all_are(const struct arena *a, size_t page, size_t count, enum kind kind)
{
	for (size_t i = page; i < page + count; i++)
		if (page_at(a, i)->kind != kind)
			return false;
	return true;
}

/* Nothing is known of it any more. */
static void end_if_unknown(struct arena *a)
{
	if (!a->window && a->base != NULL && all_are(a, 0, a->pages, UNKNOWN))
		a->base = NULL;
}

/* Before something of so many pages is placed by the kernel or the heap, wherever they like: a hole that it fits into may be gone
 * then. At the border of an arena the hole is part of a larger one. */
static void forget_holes(size_t count)
{
	for (struct arena *a = self.arenas; a < self.arenas + MAX_ARENAS; a++) {
		if (a->base == NULL || a->window)
			continue;
		for (size_t i = 0, end; i < a->pages; i = end) {
			end = i + 1;
			if (page_at(a, i)->kind != HOLE)
				continue;
			while (end < a->pages && page_at(a, end)->kind == HOLE)
				end++;
			if (end - i >= count || i == 0 || end == a->pages || page_at(a, i - 1)->kind == UNKNOWN ||
			    page_at(a, end)->kind == UNKNOWN)
				set_kind(a, i, end - i, UNKNOWN);
		}
		end_if_unknown(a);
	}
}

/* The library maps something now and then: at any time once there may be a snapshot. */
static void forget_holes_of_kernel(void)
{
	for (struct arena *a = self.arenas + WINDOWS; a < self.arenas + MAX_ARENAS; a++) {
		for (size_t i = 0; a->base != NULL && !a->hinted && i < a->pages; i++)
			if (page_at(a, i)->kind == HOLE)
				set_kind(a, i, 1, UNKNOWN);
		end_if_unknown(a);
	}
}

/* Addresses that nobody has, with room to grow behind them. The kernel takes no other; the heap takes them for no more than a wish, as mimalloc's are. */
static void *next_hint(size_t count)
{
	static uintptr_t next;
	const uintptr_t first = (uintptr_t)21 << 40, last = (uintptr_t)31 << 40;
	uintptr_t hint = next < first || next > last ? first : next;

	next = hint + (count + MAX_PAGES) * PAGE;
	return (void *)hint;
}

/* A mapping that was placed in a window has grown there, over what the window has for a hole. */
static void forget_holes_of_windows(const unsigned char *from, const unsigned char *end)
{
	for (struct arena *a = self.arenas; a < self.arenas + WINDOWS; a++)
		for (size_t i = 0; i < a->pages; i++)
			if (page_at(a, i)->kind == HOLE && address_of(a, i) >= from && address_of(a, i) < end)
				set_kind(a, i, 1, UNKNOWN);
}

static struct arena *draw_arena(void)
{
	struct arena *there[MAX_ARENAS];
	size_t count = 0;

	for (struct arena *a = self.arenas; a < self.arenas + MAX_ARENAS; a++)
		if (a->base != NULL && (!a->window || one_in(4)))
			there[count++] = a;
	return count == 0 ? NULL : there[below(count)];
}

/* Where known pages begin and end, near something that was drawn. */
static bool draw_range(const struct arena *a, size_t *first, size_t *count)
{
	size_t hot = less(a->pages, 48), page, run, end;

	switch (below(10)) {
	case 0:
	case 1:
		page = 0;
		break;
	case 2:
	case 3: /* where one piece ends and another begins, or just before */
		page = below(hot);
		for (uint32_t piece = page_at(a, page)->piece; page + 1 < a->pages && page_at(a, page)->piece == piece; page++)
			;
		page -= page > 0 && one_in(3) ? 1 : 0;
		break;
	case 4:
		page = below(a->pages);
		break;
	case 5:
		page = a->pages - 1 - below(less(a->pages, 5));
		break;
	default:
		page = below(hot);
	}
	for (size_t i = 0; page_at(a, page)->kind == UNKNOWN; i++) {
		page = page + 1 == a->pages ? 0 : page + 1;
		if (i > a->pages)
			return false;
	}
	switch (below(8)) {
	case 0:
		run = a->pages;
		break;
	case 1:
		run = 1 + below(hot);
		break;
	case 2:
	case 3: /* to the end of the piece */
		for (run = 1; page + run < a->pages && page_at(a, page + run)->piece == page_at(a, page)->piece &&
			      page_at(a, page + run)->kind == page_at(a, page)->kind; run++)
			;
		break;
	case 4:
		run = 1 + below(a->pages);
		break;
	default:
		run = 1 + below(6);
	}
	for (end = page; end < a->pages && end < page + run && page_at(a, end)->kind != UNKNOWN; end++)
		;
	*first = page;
	*count = end - page;
	return true;
}

static bool draw_place(struct arena **arena, size_t *page, size_t *count)
{
	*arena = draw_arena();
	return *arena != NULL && draw_range(*arena, page, count);
}

static void clip_to_piece(const struct arena *a, size_t page, size_t *count)
{
	for (size_t i = 1; i < *count; i++)
		if (page_at(a, page + i)->piece != page_at(a, page)->piece || page_at(a, page + i)->kind != page_at(a, page)->kind)
			*count = i;
}

/* Up to the first page with one of these flags; none if it is the first. */
static size_t clip_flags(const struct arena *a, size_t page, size_t count, unsigned flags)
{
	for (size_t i = 0; i < count; i++)
		if ((page_at(a, page + i)->flags & flags) != 0)
			return i;
	return count;
}

/* Length in bytes: the kernel rounds up. */
static size_t draw_length(size_t count)
{
	return count * PAGE - (one_in(4) ? below(PAGE) : 0);
}

/* ---- The calls ------------------------------------------------------------------------------------------------------------- */

static unsigned draw_via(void)
{
	return (unsigned)below(8);
}

#ifdef __x86_64__
/* In code of the program's own: nobody sees it. */
static long raw(long number, const void *a, size_t b, long c, long d, long e, long f)
{
	long result;
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;

	__asm__ volatile("syscall" : "=a"(result) : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
	if (result < 0 && result >= -4095) {
		errno = (int)-result;
		return -1;
	}
	return result;
}
#else
#define raw(number, ...) syscall(number, __VA_ARGS__)
#endif

/* Half of the seeds make calls that the library does not see. What of such a call it cannot make right is left out:
 * advice, what goes by where one mapping of the kernel's ends, and old pages that are to be zeros and are a file's. */
static bool is_unseen(unsigned via)
{
	return via >= 6 && board->past_the_library;
}

static void *call_mmap(void *address, size_t length, int prot, int flags, int fd, off_t offset)
{
	unsigned via = draw_via();

	errno = NO_ERROR;
	if (is_unseen(via))
		return (void *)raw(SYS_mmap, address, length, prot, flags, fd, offset);
	if (via == 0)
		return (void *)syscall(SYS_mmap, address, length, prot, flags, fd, offset);
	if (via == 1)
		return mmap64(address, length, prot, flags, fd, offset);
	return mmap(address, length, prot, flags, fd, offset);
}

static int call_munmap(void *address, size_t length)
{
	unsigned via = draw_via();

	errno = NO_ERROR;
	if (is_unseen(via))
		return (int)raw(SYS_munmap, address, length, 0, 0, 0, 0);
	return via == 0 ? (int)syscall(SYS_munmap, address, length) : munmap(address, length);
}

static bool moved_unseen; /* the last call */

static void *call_mremap(void *address, size_t length, size_t new_length, int flags, void *new_address)
{
	unsigned via = draw_via();

	errno = NO_ERROR;
	moved_unseen = is_unseen(via) && length == new_length && !(flags & MREMAP_DONTUNMAP);
	if (moved_unseen)
		return (void *)raw(SYS_mremap, address, length, (long)new_length, flags, (long)new_address, 0);
	if (via == 0)
		return (void *)syscall(SYS_mremap, address, length, new_length, flags, new_address);
	return mremap(address, length, new_length, flags, new_address);
}

static int call_madvise(void *address, size_t length, int advice)
{
	errno = NO_ERROR;
	return draw_via() == 0 ? (int)syscall(SYS_madvise, address, length, advice) : madvise(address, length, advice);
}

static int call_mprotect(void *address, size_t length, int prot)
{
	unsigned via = draw_via();

	errno = NO_ERROR;
	if (is_unseen(via))
		return (int)raw(SYS_mprotect, address, length, prot, 0, 0, 0);
	return via == 0 ? (int)syscall(SYS_mprotect, address, length, prot) : mprotect(address, length, prot);
}

static int constant_file(void)
{
	return board->constant_file;
}

static uint64_t constant_inode;

static uint64_t inode_of(int fd)
{
	struct stat status;

	return fstat(fd, &status) == 0 ? (uint64_t)status.st_ino : 0;
}

/* What is not a process's own to close stays open, and the same: looked at after each step, as few of them use it. */
static void check_files(void)
{
	if (inode_of(constant_file()) != constant_inode)
		say(" LOST a descriptor");
	if (self.shared_file >= 0 && inode_of(self.shared_file) != self.shared_inode)
		say(" LOST its own descriptor");
}

static int shared_file(void)
{
	static unsigned char bytes[PAGE];

	if (self.shared_file >= 0)
		return self.shared_file;
	self.shared_file = (int)syscall(SYS_memfd_create, "shared", MFD_CLOEXEC);
	if (self.shared_file < 0)
		broken("memfd_create");
	if (ftruncate(self.shared_file, SHARED_PAGES * PAGE) != 0)
		broken("ftruncate");
	for (unsigned i = 0; i < SHARED_PAGES; i += 3) {
		memset(bytes, (int)(i + 1), sizeof bytes);
		if (pwrite(self.shared_file, bytes, sizeof bytes, (off_t)i * PAGE) != sizeof bytes)
			broken("pwrite");
	}
	self.shared_inode = inode_of(self.shared_file);
	return self.shared_file;
}

static const char *prot_name(int prot)
{
	static const char *const names[] = { "none", "r", "w", "rw", "x", "rx", "wx", "rwx" };

	return names[prot & 7];
}

static int draw_prot(void)
{
	static const uint8_t usual[] = { PROT_NONE, PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE };

	return one_in(4) ? (int)below(8) : usual[below(sizeof usual)];
}

/* How something is mapped. */
struct manner {
	enum kind kind;
	int prot, flags, fd;
	off_t offset;
	enum touched touched;
};

static struct manner draw_manner(size_t count)
{
	struct manner m = { .kind = ANONYMOUS, .prot = PROT_READ | PROT_WRITE, .flags = MAP_PRIVATE | MAP_ANONYMOUS, .fd = -1 };

	if (one_in(4))
		m.prot = draw_prot();
	if (one_in(4))
		m.flags |= MAP_NORESERVE;
	if (one_in(16))
		m.flags |= MAP_STACK;
	switch (below(24)) {
	case 0:
	case 1:
		m.kind = FILE_PRIVATE;
		m.flags = MAP_PRIVATE;
		m.fd = constant_file();
		m.offset = (off_t)below(FILE_PAGES) * PAGE;
		break;
	case 2:
		m.kind = SHARED;
		m.flags = MAP_SHARED;
		m.fd = shared_file();
		m.offset = (off_t)below(SHARED_PAGES) * PAGE;
		break;
	case 3:
		m.kind = SHARED;
		m.flags = MAP_SHARED | MAP_ANONYMOUS;
		break;
	case 4:
		if (count <= 64)
			m.flags |= MAP_LOCKED;
		break;
	case 5:
		m.offset = (off_t)below(3) * PAGE; /* ignored */
		break;
	default:
		break;
	}
	if (one_in(10) && count <= 600)
		m.flags |= MAP_POPULATE;
	if ((m.flags & (MAP_POPULATE | MAP_LOCKED)) != 0 && m.prot != PROT_NONE)
		m.touched = (m.prot & PROT_WRITE) != 0 ? WRITTEN : MAYBE_TOUCHED;
	return m;
}

static void say_manner(const struct manner *m)
{
	say(", %s, %s%s%s%s%s", prot_name(m->prot),
	    m->kind == ANONYMOUS ? "private" : m->kind == FILE_PRIVATE ? "private file" : m->fd >= 0 ? "shared file" : "shared",
	    (m->flags & MAP_NORESERVE) != 0 ? " noreserve" : "", (m->flags & MAP_STACK) != 0 ? " stack" : "",
	    (m->flags & MAP_POPULATE) != 0 ? " populate" : "", (m->flags & MAP_LOCKED) != 0 ? " locked" : "");
	if (m->offset != 0)
		say(" at %lld", (long long)m->offset / PAGE);
	say(")");
}

/* Whether the heap has it, for the count. */
static bool is_in_region(const void *address)
{
	static char text[256 * 1024];
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	size_t used = 0;
	ssize_t count;

	if (fd < 0)
		return false;
	while (used < sizeof text - 1 && (count = read(fd, text + used, sizeof text - 1 - used)) > 0)
		used += (size_t)count;
	close(fd);
	text[used] = '\0';
	for (char *line = text; line != NULL && *line != '\0'; line = strchr(line, '\n')) {
		char *rest;
		uintptr_t from, to;
		line += *line == '\n';
		from = strtoull(line, &rest, 16);
		if (*rest != '-')
			return false;
		to = strtoull(rest + 1, &rest, 16);
		if ((uintptr_t)address >= from && (uintptr_t)address < to) {
			char *end = strchr(rest, '\n');
			if (end != NULL)
				*end = '\0';
			return strstr(rest, "odfork-region") != NULL;
		}
	}
	return false;
}

static size_t draw_pages(void)
{
	switch (below(16)) {
	case 0:
	case 1:
		return 1 + below(15); /* too little for the heap */
	case 2:
	case 3:
	case 4:
	case 5:
	case 6:
		return 16 + below(48);
	case 7:
	case 8:
	case 9:
	case 10:
		return 16 + below(300);
	case 11:
	case 12:
		return 16 + below(1024);
	case 13:
		return 512 * (1 + below(3)) + below(3) - 1;
	case 14:
		return 1024 + below(3000);
	default:
		return 1 + below(16384);
	}
}

static void sample_pages(struct arena *a)
{
	if (!board->tested || a->pages < 16 || page_at(a, 0)->kind != ANONYMOUS || page_at(a, 0)->prot != (PROT_READ | PROT_WRITE))
		return;
	board->eligible++;
	if (is_in_region(a->base))
		board->placed++;
}

static void drop_arena(struct arena *a);

/* An arena more, wherever it comes to lie. */
static void map_new(void)
{
	size_t count = draw_pages(), length = draw_length(count), hole = 0, hole_end = 0;
	struct manner m = draw_manner(count);
	struct arena *near = one_in(5) ? draw_arena() : NULL, *a;
	bool low = MAP_32BIT != 0 && one_in(40), sampled = one_in(16), wished = near == NULL && !low && one_in(2);
	void *hint = wished ? next_hint(count) : NULL, *result;
	const char *hinted = wished ? "hint" : "";

	if (free_arena() == NULL) {
		a = draw_arena();
		if (a != NULL)
			drop_arena(a);
		return;
	}
	if (near != NULL && near->window) { /* a place that is free, and the kernel will take it; or it is not */
		size_t at = below(near->pages);
		hint = address_of(near, at);
		hinted = "window";
		hole = at;
		hole_end = less(near->pages, at + count);
	} else if (near != NULL) {
		size_t at = below(near->pages);
		hint = address_of(near, at) + (one_in(4) ? below(PAGE) : 0);
		hinted = "arena";
		hole = at;
		hole_end = less(near->pages, at + count);
	}
	if (near != NULL)
		for (size_t i = hole; i < hole_end; i++) {
			if (page_at(near, i)->kind == HOLE)
				set_kind(near, i, 1, UNKNOWN);
		}
	if (low)
		m.flags |= MAP_32BIT;
	forget_holes(count);
	say("mmap(%s, %zu bytes%s", hinted, length, low ? " low" : "");
	say_manner(&m);
	result = call_mmap(hint, length, m.prot, m.flags, m.fd, m.offset);
	if (result == MAP_FAILED) {
		say_result(-1);
		return;
	}
	say_result(0);
	if ((uintptr_t)result % PAGE != 0)
		say(" not at a page");
	if (low && ((uintptr_t)result + length) >> 31 != 0)
		say(" not low");
	a = begin_arena(result, count);
	a->hinted = wished;
	say(" a%d", number_of(a));
	set_mapped(a, 0, count, m.kind, m.prot, (m.flags & MAP_LOCKED) != 0 ? LOCKED : 0, m.touched);
	if (sampled)
		sample_pages(a);
}

static void map_over(void)
{
	struct manner m;
	struct arena *a;
	size_t page, count;
	bool replace = !one_in(5);
	void *result;

	if (!draw_place(&a, &page, &count))
		return;
	m = draw_manner(count);
	say("mmap(a%d+%zu*%zu %s", number_of(a), page, count, replace ? "fixed" : "noreplace");
	say_manner(&m);
	result = call_mmap(address_of(a, page), draw_length(count), m.prot, m.flags | (replace ? MAP_FIXED : MAP_FIXED_NOREPLACE), m.fd,
			   m.offset);
	say_result(result == MAP_FAILED ? -1 : 0);
	if (result == MAP_FAILED)
		return;
	if (result != address_of(a, page))
		say(" elsewhere");
	set_mapped(a, page, count, m.kind, m.prot, (m.flags & MAP_LOCKED) != 0 ? LOCKED : 0, m.touched);
}

/* As allocators do: too much, then the ends go so that the rest is aligned; or a reservation, of which some is made usable. */
static void map_like_an_allocator(void)
{
	size_t want = 16 + below(600), more = 16 + below(one_in(2) ? 512 : 64), front = below(more), page, count;
	bool wished = one_in(2);
	unsigned char *result;
	struct arena *a;

	if (free_arena() == NULL)
		return;
	forget_holes(want);
	if (one_in(2)) {
		say("mmap(%zu pages), front %zu and back %zu unmapped", want + more, front, more - front);
		result = call_mmap(wished ? next_hint(want + more) : NULL, (want + more) * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		say_result(result == MAP_FAILED ? -1 : 0);
		if (result == MAP_FAILED)
			return;
		if (front > 0)
			say_result(call_munmap(result, front * PAGE));
		if (front < more)
			say_result(call_munmap(result + (front + want) * PAGE, (more - front) * PAGE));
		a = begin_arena(result + front * PAGE, want);
		a->hinted = wished;
		set_mapped(a, 0, want, ANONYMOUS, PROT_READ | PROT_WRITE, 0, NEVER_TOUCHED);
		say(" a%d", number_of(a));
		return;
	}
	say("mmap(%zu pages, none), some made usable", want);
	result = call_mmap(wished ? next_hint(want) : NULL, want * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | (one_in(2) ? MAP_NORESERVE : 0), -1, 0);
	say_result(result == MAP_FAILED ? -1 : 0);
	if (result == MAP_FAILED)
		return;
	a = begin_arena(result, want);
	a->hinted = wished;
	say(" a%d", number_of(a));
	set_mapped(a, 0, want, ANONYMOUS, PROT_NONE, 0, NEVER_TOUCHED);
	for (int i = (int)below(3); i >= 0; i--) {
		bool over = one_in(2);
		if (!draw_range(a, &page, &count))
			return;
		say(" %s %zu*%zu", over ? "over" : "protect", page, count);
		if (over) {
			void *there = call_mmap(address_of(a, page), count * PAGE, PROT_READ | PROT_WRITE,
						MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
			say_result(there == MAP_FAILED ? -1 : 0);
			set_mapped(a, page, count, ANONYMOUS, PROT_READ | PROT_WRITE, 0, NEVER_TOUCHED);
		} else {
			say_result(call_mprotect(address_of(a, page), count * PAGE, PROT_READ | PROT_WRITE));
			cut_pieces(a, page, count);
			for (size_t p = page; p < page + count; p++)
				page_at(a, p)->prot = PROT_READ | PROT_WRITE;
		}
	}
}

/* More than any machine has: refused where it is accounted, and sparse where it is not. */
static void map_too_much(void)
{
	size_t size = (size_t)1 << (one_in(2) ? 43 : 41);
	bool reserve = one_in(2);
	unsigned char *result;

	forget_holes(1u << 20);
	say("mmap(%zu GiB%s)", size >> 30, reserve ? "" : " noreserve");
	result = call_mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | (reserve ? 0 : MAP_NORESERVE), -1, 0);
	say_result(result == MAP_FAILED ? -1 : 0);
	if (result == MAP_FAILED)
		return;
	result[size - 1] = result[0] = 1;
	say(" %d %d", result[0] + result[size - 1], result[size / 2]);
	say_result(call_munmap(result, size));
}

static void map_badly(void)
{
	static const struct {
		const char *what;
		size_t length;
		int prot, flags, fd, at;
		off_t offset;
	} cases[] = {
		{ "length 0", 0, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, -1, 0 },
		{ "neither shared nor private", 65536, 3, MAP_ANONYMOUS, -1, -1, 0 },
		{ "all of memory", SIZE_MAX - 65536, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, -1, 0 },
		{ "length that wraps", SIZE_MAX, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, -1, 0 },
		{ "more than there are addresses", (size_t)1 << 47, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, -1, 0 },
		{ "no such file", 65536, 3, MAP_PRIVATE, 987, -1, 0 },
		{ "offset within a page", 65536, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, -1, 512 },
		{ "fixed within a page", 65536, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 17, 0 },
		{ "fixed, length 0", 0, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0, 0 },
		{ "fixed, much too long", (size_t)1 << 47, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0, 0 },
		{ "shared and validated, with what is not known", 65536, 3, MAP_SHARED_VALIDATE | 1 << 23, 0, -1, 0 },
	};
	size_t which = below(sizeof cases / sizeof *cases);
	struct arena *a = draw_arena();
	void *result;

	if (cases[which].at >= 0 && a == NULL)
		return;
	if (is_left_out(cases[which].what))
		return;
	say("mmap(%s)", cases[which].what);
	result = call_mmap(cases[which].at < 0 ? NULL : a->base + cases[which].at, cases[which].length, cases[which].prot,
			   cases[which].flags, cases[which].fd == 0 ? constant_file() : cases[which].fd, cases[which].offset);
	say_result(result == MAP_FAILED ? -1 : 0);
}

static void unmap(void)
{
	struct arena *a;
	size_t page, count, length;

	if (!draw_place(&a, &page, &count))
		return;
	length = draw_length(count);
	if (one_in(24)) {
		size_t bad = below(3);
		if (is_left_out("munmap bad"))
			return;
		say("munmap(a%d+%zu, bad %zu)", number_of(a), page, bad);
		say_result(bad == 0   ? call_munmap(address_of(a, page) + 8, PAGE)
			   : bad == 1 ? call_munmap(address_of(a, page), 0)
				      : call_munmap(address_of(a, page), SIZE_MAX / 2));
		return;
	}
	say("munmap(a%d+%zu*%zu)", number_of(a), page, count);
	say_result(call_munmap(address_of(a, page), length));
	set_kind(a, page, count, HOLE);
}

/* All that is left of it. */
static void drop_arena(struct arena *a)
{
	for (size_t i = 0, end; i < a->pages; i = end) {
		end = i + 1;
		if (!is_mapped(page_at(a, i)))
			continue;
		while (end < a->pages && is_mapped(page_at(a, end)))
			end++;
		say(" munmap(a%d+%zu*%zu)", number_of(a), i, end - i);
		say_result(call_munmap(address_of(a, i), (end - i) * PAGE));
		set_kind(a, i, end - i, HOLE);
	}
	if (!a->window)
		a->base = NULL;
}

/* ---- mremap ---------------------------------------------------------------------------------------------------------------- */

static void move_pages(struct arena *to, size_t to_page, const struct arena *from, size_t from_page, size_t count)
{
	memmove(page_at(to, to_page), page_at(from, from_page), count * sizeof(struct page));
	cut_pieces(to, to_page, count);
}

/* More pages like the last one, at the end. */
static void grow_pages(struct arena *a, size_t page, size_t old, size_t now)
{
	for (size_t i = old; i < now; i++) {
		*page_at(a, page + i) = *page_at(a, page + old - 1);
		page_at(a, page + i)->touched = MAYBE_TOUCHED;
		page_at(a, page + i)->flags &= HUGE | NOT_FORKED | FOREIGN | LOCKED;
	}
}

/* What stays when something was moved away from under its mapping. */
static void empty_pages(struct arena *a, size_t page, size_t count)
{
	for (size_t i = page; i < page + count; i++) {
		page_at(a, i)->touched = MAYBE_TOUCHED;
		page_at(a, i)->flags &= HUGE | NOT_FORKED | FOREIGN;
	}
	cut_pieces(a, page, count);
}

/* Surely more than one mapping: what two neighbours have in common is not enough. */
static bool surely_several(const struct arena *a, size_t page, size_t count)
{
	for (size_t i = page + 1; i < page + count; i++)
		if (page_at(a, i)->kind != page_at(a, i - 1)->kind || page_at(a, i)->prot != page_at(a, i - 1)->prot)
			return true;
	return false;
}

static bool draw_target(struct arena **to, size_t *to_page, size_t count)
{
	*to = draw_arena();
	if (*to == NULL || (*to)->pages < count)
		return false;
	*to_page = one_in(3) ? 0 : below((*to)->pages - count + 1);
	for (size_t i = *to_page; i < *to_page + count; i++)
		if (page_at(*to, i)->kind == UNKNOWN)
			return false;
	return true;
}

/* Older kernels have unmapped the target when they find that the source is no single mapping. */
static void find_out_what_is_left(struct arena *a, size_t page, size_t count)
{
	say(" left");
	row_begin();
	for (size_t i = page; i < page + count; i++) {
		bool there = msync(address_of(a, i), PAGE, MS_ASYNC) == 0;
		if (!there)
			set_kind(a, i, 1, HOLE);
		row_add(there ? "there" : "hole");
	}
	row_end();
}

static size_t draw_new_count(size_t count)
{
	switch (below(6)) {
	case 0:
		return 1 + below(count);
	case 1:
		return count * 2;
	case 2:
		return count + 1 + below(600);
	case 3:
		return count;
	default:
		return count + 1 + below(8);
	}
}

static void resize_in_place(struct arena *a, size_t page, size_t count)
{
	size_t now = draw_new_count(count);
	void *result;

	if (page + now > a->pages)
		now = a->pages - page;
	for (size_t i = count; i < now; i++)
		if (page_at(a, page + i)->kind == UNKNOWN)
			now = i;
	say("mremap(a%d+%zu*%zu, %zu)", number_of(a), page, count, now);
	result = call_mremap(address_of(a, page), draw_length(count), draw_length(now), 0, NULL);
	if (now > count && !a->window && is_mapped_throughout(a, page, count) && all_are(a, page + count, now - count, HOLE)) {
		/* It may grow, and need not: nothing promises that it can. */
		say(" may be");
		if (result != MAP_FAILED && munmap(address_of(a, page + count), (now - count) * PAGE) != 0)
			say(" and cannot shrink");
		return;
	}
	say_result(result == MAP_FAILED ? -1 : 0);
	if (result == MAP_FAILED)
		return;
	if (result != address_of(a, page))
		say(" elsewhere");
	if (now < count)
		set_kind(a, page + now, count - now, HOLE);
	else
		grow_pages(a, page, count, now);
}

/* Wherever it comes to lie. */
static void resize_and_move(struct arena *a, size_t page, size_t count)
{
	size_t now = less(draw_new_count(count), MAX_PAGES), old_length = draw_length(count), new_length = draw_length(now);
	/* Of locked memory the kernel may unlock more than was asked for. */
	bool must_move = page + count < a->pages && is_mapped(page_at(a, page + count)),
	     dont_unmap = one_in(4) && clip_flags(a, page, count, LOCKED) == count;
	unsigned char *result, *was = address_of(a, page);
	struct page last = *page_at(a, page + count - 1);
	struct arena *to;
	size_t room;

	if (free_arena() == NULL)
		return;
	if (dont_unmap)
		now = one_in(8) ? now : count;
	if (dont_unmap && now == count) {
		old_length = new_length = count * PAGE;
		must_move = true;
	}
	if (now > count || dont_unmap)
		forget_holes(now);
	if (a->base == NULL) /* all of it was holes */
		return;
	say("mremap(a%d+%zu*%zu, %zu may move%s)", number_of(a), page, count, now, dont_unmap ? ", not unmapped" : "");
	result = call_mremap(was, old_length, new_length, MREMAP_MAYMOVE | (dont_unmap ? MREMAP_DONTUNMAP : 0), NULL);
	say_result(result == MAP_FAILED ? -1 : 0);
	if (result == MAP_FAILED)
		return;
	if (now <= count && !dont_unmap) {
		if (result != was)
			say(" elsewhere");
		if (now < count)
			set_kind(a, page + now, count - now, HOLE);
		return;
	}
	if (must_move && result == was)
		say(" not moved");
	to = begin_arena(result, now);
	say(" a%d", number_of(to));
	move_pages(to, 0, a, page, count);
	*page_at(to, count - 1) = last;
	cut_pieces(to, 0, count);
	grow_pages(to, 0, count, now);
	if (dont_unmap) {
		empty_pages(a, page, count);
	} else if (must_move) {
		set_kind(a, page, count, HOLE);
	} else { /* it may have grown into what follows */
		for (room = count; room < now && page + room < a->pages && page_at(a, page + room)->kind == HOLE; room++)
			;
		set_kind(a, page, room, UNKNOWN);
		end_if_unknown(a);
		forget_holes_of_windows(was + count * PAGE, was + now * PAGE);
	}
}

/* To a place that we have. */
static void move_to(struct arena *a, size_t page, size_t count)
{
	static struct page copy[MAX_PAGES];
	/* Several mappings at once: if they grow they must not. Otherwise this differs among kernels. */
	bool several = surely_several(a, page, count);
	size_t now = one_in(2) && !several ? count : less(draw_new_count(count), MAX_PAGES), to_page, old_length = draw_length(count),
	       new_length = draw_length(now);
	bool dont_unmap = now == count && one_in(4) && clip_flags(a, page, count, LOCKED) == count;
	struct arena *to;
	void *result;

	if ((several && now <= count) || !draw_target(&to, &to_page, now))
		return;
	if (dont_unmap)
		old_length = new_length = count * PAGE;
	say("mremap(a%d+%zu*%zu, to a%d+%zu*%zu%s)", number_of(a), page, count, number_of(to), to_page, now,
	    dont_unmap ? ", not unmapped" : "");
	result = call_mremap(address_of(a, page), old_length, new_length,
			     MREMAP_MAYMOVE | MREMAP_FIXED | (dont_unmap ? MREMAP_DONTUNMAP : 0), address_of(to, to_page));
	say_result(result == MAP_FAILED ? -1 : 0);
	if (result == MAP_FAILED) {
		find_out_what_is_left(to, to_page, now);
		return;
	}
	if (result != address_of(to, to_page))
		say(" elsewhere");
	memcpy(copy, page_at(a, page), count * sizeof *copy);
	if (dont_unmap)
		empty_pages(a, page, count);
	else
		set_kind(a, page, count, HOLE);
	memcpy(page_at(to, to_page), copy, less(count, now) * sizeof *copy);
	cut_pieces(to, to_page, less(count, now));
	for (size_t i = 0; i < count && moved_unseen; i++) {
		page_at(to, to_page + i)->flags |= UNSEEN;
		page_at(to, to_page + i)->piece = ++self.piece;
	}
	if (now > count)
		grow_pages(to, to_page, count, now);
}

/* Of which nothing comes; with nothing that is mapped over. */
static void move_badly(struct arena *a, size_t page, size_t count)
{
	unsigned char *at = address_of(a, page);
	size_t which = below(8);
	void *result = MAP_FAILED;

	say("mremap(a%d+%zu*%zu, bad %zu)", number_of(a), page, count, which);
	switch (which) {
	case 0:
		result = call_mremap(at, count * PAGE, 0, MREMAP_MAYMOVE, NULL);
		break;
	case 1:
		result = call_mremap(at + 16, PAGE, PAGE, MREMAP_MAYMOVE, NULL);
		break;
	case 2:
		result = call_mremap(at, PAGE, PAGE, MREMAP_FIXED, at);
		break;
	case 3:
		result = call_mremap(at, PAGE, PAGE, 0x80, at);
		break;
	case 4:
		result = call_mremap(at, count * PAGE, count * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, at + (count - 1) * PAGE);
		break;
	case 5:
		result = call_mremap(at, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, at + 100 * PAGE + 5);
		break;
	case 6:
		result = call_mremap(at, PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
		break;
	default:
		result = call_mremap(at, SIZE_MAX - PAGE, SIZE_MAX - PAGE, MREMAP_MAYMOVE, NULL);
		break;
	}
	say_result(result == MAP_FAILED ? -1 : 0);
}

/* The same memory once more, where it is shared. */
static void move_nothing(struct arena *a, size_t page, size_t count)
{
	struct arena *to;
	void *result;

	if (free_arena() == NULL)
		return;
	clip_to_piece(a, page, &count);
	forget_holes(count);
	if (a->base == NULL)
		return;
	say("mremap(a%d+%zu*0, %zu)", number_of(a), page, count);
	result = call_mremap(address_of(a, page), 0, count * PAGE, MREMAP_MAYMOVE, NULL);
	say_result(result == MAP_FAILED ? -1 : 0);
	if (result == MAP_FAILED)
		return;
	to = begin_arena(result, count);
	say(" a%d", number_of(to));
	move_pages(to, 0, a, page, count);
}

static void move(void)
{
	struct arena *a;
	size_t page, count, single;

	if (!draw_place(&a, &page, &count))
		return;
	single = count;
	clip_to_piece(a, page, &single);
	if (!one_in(8) || !surely_several(a, page, count))
		count = single;
	switch (below(16)) {
	case 0:
		move_badly(a, page, count);
		break;
	case 1:
		move_nothing(a, page, count);
		break;
	case 2:
	case 3:
	case 4:
	case 5:
		resize_in_place(a, page, count);
		break;
	case 6:
	case 7:
	case 8:
	case 9:
		move_to(a, page, count);
		break;
	default:
		resize_and_move(a, page, count);
	}
}

/* ---- Advice, protection, and the rest --------------------------------------------------------------------------------------- */

static const struct advice {
	const char *name;
	int advice;
	unsigned weight;
	bool cuts; /* the mapping is another one then */
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

/* What is known then. If it failed in the middle, part of the pages may have it and part not: what is certain for neither is not
 * compared. */
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

/* Holes may be in between: the rest is advised, and it fails all the same. */
static bool was_whole(int result)
{
	return result == 0 || errno == ENOMEM;
}

static void advise(void)
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
				      : call_madvise(address_of(a, page), (size_t)0 - (uintptr_t)address_of(a, page) + PAGE, given->advice));
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
		board->calls++; /* as the kernel happens to have memory */
	else
		say_result(result);
}

static void advise_process(void)
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

static void protect(void)
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

static void lock(void)
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
		result = one_in(2) ? mlock(address_of(a, page), length) : syscall(SYS_mlock, address_of(a, page), length);
	else if (how == 1)
		result = one_in(2) ? mlock2(address_of(a, page), length, MLOCK_ONFAULT)
				   : syscall(SYS_mlock2, address_of(a, page), length, MLOCK_ONFAULT);
	else
		result = one_in(2) ? munlock(address_of(a, page), length) : syscall(SYS_munlock, address_of(a, page), length);
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

static void synchronize(void)
{
	static const int flags[] = { MS_ASYNC, MS_SYNC, MS_SYNC | MS_INVALIDATE, MS_ASYNC | MS_SYNC, MS_INVALIDATE, 0, 0x40 };
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

/* Compared where it is certain: what was written. Not where there may be something to settle: a page may be on its way then. */
static void ask_residence(void)
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
		const struct page *p = page_at(a, page + i);
		if (p->kind == ANONYMOUS && self.depth == 0 && !ever_forked && p->touched == WRITTEN && (p->flags & (UNDEFINED | HUGE | FOREIGN | GUARDED)) == 0)
			row_add((vector[i] & 1) != 0 ? "in" : "out");
		else
			row_add("?");
	}
	row_end();
}

/* ---- Bytes ----------------------------------------------------------------------------------------------------------------- */

static unsigned char buffer[BUFFER + PAGE];

static void token_of_bytes(char *token, const unsigned char *bytes, size_t length)
{
	uint64_t value = 0, any = 0, word;

	for (size_t i = 0; i + 8 <= length; i += 8) {
		memcpy(&word, bytes + i, 8);
		any |= word;
		value = (value ^ word) * 0x9e3779b97f4a7c15u;
		value ^= value >> 29;
	}
	for (size_t i = length & ~(size_t)7; i < length; i++) {
		any |= bytes[i];
		value = mix(value ^ bytes[i]);
	}
	if (any == 0)
		memcpy(token, "0", 2);
	else
		snprintf(token, TOKEN, "%05" PRIx64, mix(value) & 0xfffff);
}

/* One page, as the process itself sees it. */
static void look_at(const struct arena *a, size_t page)
{
	struct page *p = page_at(a, page);
	char token[TOKEN];

	if (p->kind == UNKNOWN || (p->flags & (UNDEFINED | FOREIGN)) != 0) {
		row_add("?");
		return;
	}
	if (!can_read(address_of(a, page), buffer, PAGE)) {
		fault_token(token, address_of(a, page), is_hole(a, page));
		row_add(token);
		return;
	}
	if (p->touched == NEVER_TOUCHED)
		p->touched = MAYBE_TOUCHED;
	token_of_bytes(token, buffer, PAGE);
	row_add(token);
}

static void read_pages(void)
{
	struct arena *a;
	size_t page, count;

	if (!draw_place(&a, &page, &count))
		return;
	count = less(count, one_in(8) ? 400 : 24);
	say("read a%d+%zu*%zu:", number_of(a), page, count);
	row_begin();
	for (size_t i = page; i < page + count; i++)
		look_at(a, i);
	row_end();
}

static void compare_arena(const struct arena *a)
{
	size_t last = 0;

	say(" a%d:", number_of(a));
	row_begin();
	for (size_t i = 0; i < a->pages; i++) {
		const struct page *p = page_at(a, i);
		if (p->kind == UNKNOWN)
			continue;
		if (p->touched == NEVER_TOUCHED && p->kind != FILE_PRIVATE && i > 0 && i + 1 < a->pages &&
		    p->kind == page_at(a, i - 1)->kind && p->kind == page_at(a, i + 1)->kind && i % 211 != 0)
			continue;
		if (i != last + 1) {
			char token[TOKEN];
			snprintf(token, sizeof token, "%zu.", i);
			row_add(token);
		}
		last = i;
		look_at(a, i);
	}
	row_end();
}

static void check_block(struct block *b);

static void compare_all(void)
{
	say("compare");
	for (struct arena *a = self.arenas; a < self.arenas + MAX_ARENAS; a++)
		if (a->base != NULL)
			compare_arena(a);
	for (struct block *b = self.blocks; b < self.blocks + MAX_BLOCKS; b++)
		if (b->start != NULL)
			check_block(b);
}

static void note_written(struct page *p, bool all)
{
	p->touched = WRITTEN;
	if (all)
		p->flags &= (uint8_t)~UNDEFINED;
}

static void write_page(const struct arena *a, size_t page, size_t from, size_t to, uint64_t tag)
{
	struct page *p = page_at(a, page);
	unsigned char *bytes = address_of(a, page);
	char token[TOKEN];

	if (p->kind == UNKNOWN || (p->flags & FOREIGN) != 0) {
		row_add("?");
		return;
	}
	if (!can_fill(bytes + from, (unsigned char)(tag + page), to - from)) {
		fault_token(token, bytes + from, is_hole(a, page));
		row_add(token);
		return;
	}
	note_written(p, from == 0 && to == PAGE);
	row_add("ok");
}

static void write_pages(void)
{
	struct arena *a;
	size_t page, count;
	uint64_t tag;

	if (!draw_place(&a, &page, &count))
		return;
	count = less(count, one_in(8) ? 300 : 24);
	tag = draw();
	say("write a%d+%zu*%zu:", number_of(a), page, count);
	row_begin();
	for (size_t i = page; i < page + count; i++) {
		size_t from = i == page && one_in(2) ? below(PAGE) : 0, to = i + 1 == page + count && one_in(2) ? from + 1 + below(PAGE - from) : PAGE;
		write_page(a, i, from, less(to, PAGE), tag);
	}
	row_end();
}

static void write_words(void)
{
	struct arena *a;
	size_t page, count;

	if (!draw_place(&a, &page, &count))
		return;
	say("words a%d:", number_of(a));
	row_begin();
	for (size_t i = 1 + below(10); i > 0; i--) {
		size_t at = page + below(count), from = below(PAGE - 8);
		write_page(a, at, from, from + 1 + below(8), draw());
		if (!one_in(4))
			continue;
		look_at(a, at);
	}
	row_end();
}

/* A reading and writing instruction, and code. */
static void add_or_execute(void)
{
	struct arena *a;
	size_t page, count, at = below(PAGE / 8) * 8;
	unsigned char *bytes, code;
	char token[TOKEN];
	bool execute = one_in(2);
	uint64_t was;

	if (!draw_place(&a, &page, &count) || clip_flags(a, page, 1, FOREIGN | UNDEFINED) == 0)
		return;
	bytes = address_of(a, page) + at;
	say("%s a%d+%zu:", execute ? "execute" : "add", number_of(a), page);
	row_begin();
	if (!can_add(bytes, 0x1234567, &was)) {
		fault_token(token, bytes, is_hole(a, page));
	} else {
		snprintf(token, sizeof token, "%06" PRIx64, mix(was) & 0xffffff);
		note_written(page_at(a, page), false);
	}
	row_add(token);
#ifdef __x86_64__
	if (execute) {
		write_page(a, page, at, at + 1, 0xc3 - page); /* ret, if it can be written */
		if (can_read(bytes, &code, 1) ? code != 0xc3 : (page_at(a, page)->prot & PROT_EXEC) != 0) {
			row_add("other code");
		} else if (!can_execute(bytes)) {
			fault_token(token, bytes, is_hole(a, page));
			row_add(token);
		} else {
			row_add("done");
		}
	}
#endif
	row_end();
}

static bool draw_bytes(struct arena **a, size_t *page, size_t *at, size_t *length, unsigned unwanted)
{
	size_t count;

	if (!draw_place(a, page, &count))
		return false;
	count = less(clip_flags(*a, *page, count, unwanted), BUFFER / PAGE);
	if (count == 0)
		return false;
	*at = one_in(3) ? 0 : below(PAGE);
	*length = count * PAGE - *at;
	if (one_in(2))
		*length = 1 + below(*length);
	return true;
}

static void note_kernel_wrote(struct arena *a, size_t page, size_t at, ssize_t count)
{
	size_t end = at + (count > 0 ? (size_t)count : 0);

	for (size_t p = 0; p * PAGE < end; p++)
		note_written(page_at(a, page + p), p * PAGE >= at && (p + 1) * PAGE <= end);
}

static void say_bytes(const unsigned char *bytes, size_t length)
{
	char token[TOKEN];

	token_of_bytes(token, bytes, length);
	say(" %s", token);
}

/* The kernel reads from the arena for us: as much as there is. */
static void kernel_reads(void)
{
	static const char *const names[] = { "write to a pipe", "process_vm_readv", "pwrite", "writev", "process_vm_writev" };
	struct arena *a;
	size_t page, at, length, how = below(5);
	unsigned char *from;
	ssize_t count = -1;
	int fds[2] = { -1, -1 };

	if (!draw_bytes(&a, &page, &at, &length, FOREIGN | UNDEFINED))
		return;
	from = address_of(a, page) + at;
	say("%s from a%d+%zu+%zu, %zu bytes", names[how], number_of(a), page, at, length);
	memset(buffer, 0, length);
	if (how == 0 || how == 3) {
		struct iovec parts[2] = { { from, length / 3 }, { from + length / 3, length - length / 3 } };
		if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) != 0)
			broken("pipe2");
		errno = NO_ERROR;
		count = how == 0 ? write(fds[1], from, length) : writev(fds[1], parts, 2);
	} else if (how == 2) {
		fds[0] = (int)syscall(SYS_memfd_create, "scratch", MFD_CLOEXEC);
		if (fds[0] < 0)
			broken("memfd_create");
		errno = NO_ERROR;
		count = pwrite(fds[0], from, length, 100);
	} else {
		struct iovec there = { from, length }, here = { buffer, length };
		errno = NO_ERROR;
		count = how == 1 ? process_vm_readv(getpid(), &here, 1, &there, 1, 0) : process_vm_writev(getpid(), &there, 1, &here, 1, 0);
	}
	say_result(count);
	if (how == 0 || how == 3) {
		if (count > 0 && read(fds[0], buffer, (size_t)count) != count)
			broken("read from a pipe");
	} else if (how == 2 && count > 0 && pread(fds[0], buffer, (size_t)count, 100) != count) {
		broken("pread");
	}
	if (count > 0)
		say_bytes(buffer, (size_t)count);
	for (int i = 0; i < 2; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	for (size_t p = 0; p * PAGE < at + length; p++)
		if (page_at(a, page + p)->touched == NEVER_TOUCHED)
			page_at(a, page + p)->touched = MAYBE_TOUCHED;
}

static void kernel_writes(void)
{
	static const char *const names[] = { "read from a pipe", "process_vm_readv", "pread", "readv", "process_vm_writev" };
	struct arena *a;
	size_t page, at, length, how = below(5);
	unsigned char *to;
	uint64_t tag = draw();
	ssize_t count = -1;
	int fds[2] = { -1, -1 };

	if (!draw_bytes(&a, &page, &at, &length, FOREIGN))
		return;
	to = address_of(a, page) + at;
	say("%s to a%d+%zu+%zu, %zu bytes", names[how], number_of(a), page, at, length);
	for (size_t i = 0; i < length; i++)
		buffer[i] = (unsigned char)(tag >> i % 7 * 8) ^ (unsigned char)i;
	/* What was never read may be half written when it fails. */
	for (size_t p = 0; p * PAGE < at + length; p++)
		if (page_at(a, page + p)->touched == NEVER_TOUCHED)
			page_at(a, page + p)->touched = MAYBE_TOUCHED;
	if (how == 0 || how == 3) {
		struct iovec parts[2] = { { to, length / 3 }, { to + length / 3, length - length / 3 } };
		if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) != 0)
			broken("pipe2");
		if (write(fds[1], buffer, length) != (ssize_t)length)
			broken("write to a pipe");
		errno = NO_ERROR;
		count = how == 0 ? read(fds[0], to, length) : readv(fds[0], parts, 2);
	} else if (how == 2) {
		errno = NO_ERROR;
		count = pread(constant_file(), to, length, (off_t)(tag % (FILE_PAGES * PAGE)));
	} else {
		struct iovec there = { to, length }, here = { buffer, length };
		errno = NO_ERROR;
		count = how == 1 ? process_vm_readv(getpid(), &there, 1, &here, 1, 0) : process_vm_writev(getpid(), &here, 1, &there, 1, 0);
	}
	say_result(count);
	for (int i = 0; i < 2; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	note_kernel_wrote(a, page, at, count);
}

/* ---- malloc and its family ------------------------------------------------------------------------------------------------- */

static void forget_all_holes(void)
{
	forget_holes(1);
}

static size_t draw_size(void)
{
	switch (below(12)) {
	case 0:
	case 1:
	case 2:
		return 1 + below(200);
	case 3:
	case 4:
		return 1 + below(5000);
	case 5:
	case 6:
		return 1 + below(140000);
	case 7:
	case 8:
	case 9:
		return 60000 + below(1000000);
	case 10:
		return 1 + below(9000000);
	default:
		return (1 + below(300)) * PAGE;
	}
}

static uint64_t block_word(const struct block *b, size_t at)
{
	return mix(b->tag + at);
}

static void fill_block(struct block *b)
{
	b->tag = draw();
	b->stride = b->size <= 32768 ? 16 : PAGE;
	for (size_t at = 0; at + 8 <= b->size; at += b->stride) {
		uint64_t word = block_word(b, at);
		memcpy(b->start + at, &word, 8);
	}
	if (b->size > 0)
		b->start[b->size - 1] = (unsigned char)b->tag;
}

/* The first so many bytes have what was written there. */
static bool block_is(const struct block *b, size_t size, size_t *where)
{
	for (size_t at = 0; at + 8 <= size; at += b->stride) {
		uint64_t word = block_word(b, at);
		if (at + 8 >= b->size && at < b->size) /* the last byte is another */
			break;
		if (memcmp(b->start + at, &word, 8) != 0) {
			*where = at;
			return false;
		}
	}
	return true;
}

static void check_block(struct block *b)
{
	size_t where;

	if (!block_is(b, b->size, &where))
		say(" b%d BAD at %zu", (int)(b - self.blocks), where);
	else if (b->size > 0 && b->start[b->size - 1] != (unsigned char)b->tag)
		say(" b%d BAD at its end", (int)(b - self.blocks));
}

static struct block *draw_block(bool there)
{
	struct block *found[MAX_BLOCKS];
	size_t count = 0;

	for (struct block *b = self.blocks; b < self.blocks + MAX_BLOCKS; b++)
		if ((b->start != NULL) == there)
			found[count++] = b;
	return count == 0 ? NULL : found[below(count)];
}

static void free_block(struct block *b)
{
	say("free(b%d)", (int)(b - self.blocks));
	check_block(b);
	errno = 42;
	free(b->start);
	if (errno != 42)
		say(" errno %d", errno);
	b->start = NULL;
}

static void allocate(void)
{
	struct block *b = draw_block(false);
	size_t size = draw_size(), how = below(12), alignment = 16;
	void *result = NULL;
	int error;

	if (b == NULL) {
		free_block(draw_block(true));
		return;
	}
	switch (how) {
	case 0:
	case 1:
		say("calloc(%zu)", size);
		result = one_in(2) ? calloc(1, size) : calloc(size, 1);
		break;
	case 2:
		alignment = (size_t)8 << below(one_in(4) ? 19 : 10);
		say("posix_memalign(%zu, %zu)", alignment, size);
		error = posix_memalign(&result, alignment, size);
		say(" = %d", error);
		break;
	case 3:
		alignment = (size_t)16 << below(one_in(4) ? 18 : 9);
		say("aligned_alloc(%zu, %zu)", alignment, size);
		result = aligned_alloc(alignment, size);
		break;
	case 4:
		alignment = (size_t)16 << below(one_in(4) ? 18 : 9);
		say("memalign(%zu, %zu)", alignment, size);
		result = memalign(alignment, size);
		break;
	case 5:
		alignment = PAGE;
		say("valloc(%zu)", size);
		result = one_in(2) ? valloc(size) : pvalloc(size);
		break;
	case 6:
		size = size % 3000 + 1;
		memset(buffer, 'x', size);
		buffer[size - 1] = '\0';
		say("strdup(%zu)", size);
		result = strdup((const char *)buffer);
		alignment = 1;
		break;
	default:
		say("malloc(%zu)", size);
		result = malloc(size);
	}
	say(" = %s b%d", result == NULL ? "NULL" : "ok", (int)(b - self.blocks));
	board->calls++;
	if (result == NULL)
		return;
	if ((uintptr_t)result % alignment != 0)
		say(" not aligned");
	if (malloc_usable_size(result) < size)
		say(" usable %zu", malloc_usable_size(result));
	b->start = result;
	b->size = size;
	if (how < 2)
		for (size_t at = 0; at < size; at += size > 100000 ? 509 : 1)
			if (b->start[at] != 0) {
				say(" not zero at %zu", at);
				break;
			}
	if (one_in(4))
		memset(result, 0x5a, malloc_usable_size(result));
	fill_block(b);
}

static void allocate_badly(void)
{
	size_t which = below(12);
	/* Not known to the compiler, which has opinions. */
	volatile size_t huge = SIZE_MAX, half = SIZE_MAX / 2, four = 4;
	void *result = NULL;
	int error;

	say("bad allocation %zu", which);
	errno = NO_ERROR;
	switch (which) {
	case 0:
		result = malloc(half + 1);
		break;
	case 1:
		result = calloc(half, four);
		break;
	case 2:
		result = malloc(huge);
		break;
	case 3:
		result = reallocarray(NULL, half, four);
		break;
	case 4:
		error = posix_memalign(&result, 24, 100);
		say(" = %d", error);
		result = NULL;
		break;
	case 5:
		error = posix_memalign(&result, four, 100);
		say(" = %d", error);
		result = NULL;
		break;
	case 6:
		result = malloc(0);
		say(" %s", result == NULL ? "NULL" : "ok");
		free(result);
		return;
	case 7:
		result = realloc(malloc(100), 0);
		say(" %s", result == NULL ? "NULL" : "ok");
		return;
	case 8:
		free(NULL);
		say(" usable %zu", malloc_usable_size(NULL));
		return;
	case 9:
		result = aligned_alloc(64, huge - 100);
		break;
	case 10:
		result = calloc(0, 10);
		say(" %s", result == NULL ? "NULL" : "ok");
		free(result);
		return;
	default:
		result = memalign(PAGE, half + 1);
		break;
	}
	if (result == NULL)
		say(" = NULL %s", error_name(errno));
	else
		say(" = something");
	free(result);
}

static void reallocate(struct block *b)
{
	size_t size = one_in(3) ? draw_size() : one_in(2) ? b->size * 2 : 1 + b->size / 2, where;
	unsigned char *result;

	size = less(size, 9000000);
	say("realloc(b%d of %zu, %zu)", (int)(b - self.blocks), b->size, size);
	check_block(b);
	result = one_in(4) ? reallocarray(b->start, 1, size) : realloc(b->start, size);
	say(" = %s", result == NULL ? "NULL" : "ok");
	if (result == NULL)
		return;
	b->start = result;
	if (!block_is(b, less(b->size, size), &where))
		say(" BAD at %zu", where);
	b->size = size;
	fill_block(b);
}

/* What memory managers do with the whole pages within a large block. */
static void treat_block(struct block *b)
{
	unsigned char *from = (unsigned char *)(((uintptr_t)b->start + PAGE - 1) & ~(uintptr_t)(PAGE - 1));
	size_t count = 16, faults = 0, how = below(4);
	long result;

	if (b->size < 20 * PAGE)
		return;
	say("b%d:", (int)(b - self.blocks));
	check_block(b);
	errno = NO_ERROR;
	switch (how) {
	case 0:
		say(" dontneed");
		say_result(call_madvise(from, count * PAGE, MADV_DONTNEED));
		for (size_t i = 0; i < count * PAGE; i += 64)
			if (from[i] != 0) {
				say(" not zero at %zu", i);
				break;
			}
		break;
	case 1:
		say(" read only");
		say_result(call_mprotect(from, count * PAGE, PROT_READ));
		for (size_t i = 0; i < count; i++)
			faults += !can_fill(from + i * PAGE, 1, 1);
		say(" %zu faults, usable again", faults);
		errno = NO_ERROR;
		say_result(call_mprotect(from, count * PAGE, PROT_READ | PROT_WRITE));
		break;
	case 2:
		say(" free");
		say_result(call_madvise(from, count * PAGE, MADV_FREE));
		break;
	default:
		say(" written");
		result = process_vm_readv(getpid(), &(struct iovec){ from + 5, 3 * PAGE }, 1, &(struct iovec){ buffer, 3 * PAGE }, 1, 0);
		say_result(result);
	}
	fill_block(b);
}

static void use_malloc(void)
{
	struct block *b = draw_block(true);
	size_t how = below(12);

	forget_all_holes();
	if (b == NULL || how < 5)
		allocate();
	else if (how < 7)
		free_block(b);
	else if (how < 9)
		reallocate(b);
	else if (how < 11)
		treat_block(b);
	else
		allocate_badly();
}

/* ---- Processes ------------------------------------------------------------------------------------------------------------- */

enum way { WAY_FORK, WAY_BARE, WAY_SYSCALL, WAY_SYSCALL_CLONE, WAY_CLONE, WAY_HANDLER, WAY_COUNT };

static const char *const way_names[] = { "fork", "_Fork", "syscall fork", "syscall clone", "clone", "fork in a handler" };

/* Since glibc 2.34. */
pid_t _Fork(void) __attribute__((weak));

/* Where the library is preloaded. */
int odf_heap_enable(size_t capacity) __attribute__((weak));

static void run_program(void) __attribute__((noreturn));
static void start_noise(void);

static unsigned char clone_stack[CLONE_STACK] __attribute__((aligned(64)));
static unsigned next_entry;
static bool next_waited_for;

/* The first thing that a child does. */
__attribute__((noreturn)) static void be_child(void)
{
	self.entry = next_entry;
	entry()->pid = getpid();
	memcpy(self.path, entry()->path, sizeof self.path);
	self.depth++;
	self.child_count = 0;
	line_start = 0;
	if (!next_waited_for)
		self.shared_file = -1;
	for (struct arena *a = self.arenas; a < self.arenas + MAX_ARENAS; a++)
		for (size_t i = 0; a->base != NULL && i < a->pages; i++) {
			struct page *p = page_at(a, i);
			if (is_mapped(p) && (p->flags & NOT_FORKED) != 0)
				set_kind(a, i, 1, HOLE);
			else if (p->kind == SHARED && !next_waited_for)
				p->flags |= FOREIGN;
			p->flags &= (uint8_t)~LOCKED;
		}
	run_program();
}

static int child_of_clone(void *unused)
{
	(void)unused;
	be_child();
}

static volatile pid_t handler_result;

static void fork_in_handler(int signal)
{
	(void)signal;
	handler_result = fork();
}

static pid_t fork_by(enum way way)
{
	errno = NO_ERROR;
	switch (way) {
	case WAY_BARE:
		return _Fork != NULL ? _Fork() : fork();
	case WAY_SYSCALL:
#ifdef SYS_fork
		return (pid_t)syscall(SYS_fork);
#endif
	case WAY_SYSCALL_CLONE:
		return (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	case WAY_CLONE:
		return clone(child_of_clone, clone_stack + CLONE_STACK, SIGCHLD, NULL);
	case WAY_HANDLER:
		handler_result = -1;
		kill(getpid(), SIGUSR2);
		return handler_result;
	default:
		return fork();
	}
}

static int wait_status(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) != pid)
		if (errno != EINTR)
			broken("waitpid");
	return status;
}

static void say_status(int status)
{
	if (WIFSIGNALED(status))
		say(" signal %d", WTERMSIG(status));
	else
		say(" exit %d", WEXITSTATUS(status));
}

static void reap(unsigned index)
{
	struct child child = self.children[index];
	struct entry *e = &board->entries[child.entry];
	int status = wait_status(child.pid);

	self.children[index] = self.children[--self.child_count];
	say("wait for %s:", e->path);
	if (!e->doomed)
		say_status(status);
}

static void make_child(void)
{
	enum way way = one_in(2) ? WAY_FORK : (enum way)below(WAY_COUNT);
	bool waited_for = one_in(4);
	struct entry *e;
	pid_t pid;

	if (self.child_count == MAX_CHILDREN)
		reap((unsigned)below(MAX_CHILDREN));
	next_entry = atomic_fetch_add(&board->used, 1);
	next_waited_for = waited_for;
	if (next_entry >= MAX_ENTRIES)
		broken("more processes than foreseen");
	e = &board->entries[next_entry];
	e->doomed = e->done = false;
	e->length = 0;
	memset(e->text + TEXT_SIZE - 64, 0, 64);
	e->seed = self.seed;
	e->pid = 0;
	snprintf(e->path, sizeof e->path, "%.38s.%u", self.path, self.forks++ % 1000);
	ever_forked = true;
	say("%s makes %s%s", way_names[way], e->path, waited_for ? " and waits" : "");
	pid = fork_by(way);
	if (pid == 0)
		be_child();
	if (pid < 0) {
		say_result(-1);
		return;
	}
	board->processes++;
	e->pid = pid;
	if (waited_for)
		say_status(wait_status(pid));
	else
		self.children[self.child_count++] = (struct child){ pid, (unsigned)(e - board->entries) };
}

static void treat_child(void)
{
	unsigned index;

	if (self.child_count == 0)
		return;
	index = (unsigned)below(self.child_count);
	if (one_in(3)) {
		say("kill ");
		board->entries[self.children[index].entry].doomed = true;
		board->kills++;
		if (one_in(2))
			usleep((useconds_t)below(1000));
		kill(self.children[index].pid, SIGKILL);
	}
	reap(index);
}

/* In a function of its own, as it returns twice into the same frame. */
__attribute__((noinline)) static pid_t make_vfork_child(void)
{
	pid_t pid = vfork();

	if (pid == 0)
		_exit(3);
	return pid;
}

static void make_vfork(void)
{
	say("vfork:");
	say_status(wait_status(make_vfork_child()));
}

/* ---- Noise: signals at any moment, whose handlers map and fork --------------------------------------------------------------- */

static timer_t noise;
static unsigned noise_turn;

/* Once more, after a while: a timer that goes on by itself may leave no time for anything else. */
static void arm_noise(void)
{
	struct itimerspec when = { { 0, 0 }, { 0, 0 } };

	when.it_value.tv_nsec = (long)(100000 + mix(self.entry + noise_turn) % 2000000);
	if (noise_turn < 40)
		timer_settime(noise, 0, &when, NULL);
}

static void make_noise(int signal)
{
	int saved = errno, status;
	unsigned char *memory = MAP_FAILED;
	pid_t pid;

	(void)signal;
	if (noise_turn++ % 2 == 0) {
		memory = mmap(NULL, 40 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (memory != MAP_FAILED)
			memory[5 * PAGE] = 77;
	}
	pid = _Fork != NULL ? _Fork() : fork();
	if (pid == 0)
		_exit(memory != MAP_FAILED && memory[5 * PAGE] != 77 ? 1 : 0);
	if (pid > 0 && (waitpid(pid, &status, 0) != pid || status != 0))
		say(" NOISE %#x", (unsigned)status);
	if (memory != MAP_FAILED)
		munmap(memory, 40 * PAGE);
	arm_noise();
	errno = saved;
}

/* Each process has its own: timers are not inherited. In the reference nothing depends on it. */
static void start_noise(void)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };

	if (!self.noisy)
		return;
	if (timer_create(CLOCK_MONOTONIC, &event, &noise) != 0)
		broken("timer_create");
	noise_turn = 0;
	arm_noise();
}

/* ---- The program ----------------------------------------------------------------------------------------------------------- */

enum operation {
	DO_MAP, DO_MAP_OVER, DO_MAP_LIKE_AN_ALLOCATOR, DO_MAP_TOO_MUCH, DO_MAP_BADLY, DO_UNMAP, DO_DROP, DO_MOVE, DO_ADVISE,
	DO_ADVISE_PROCESS, DO_PROTECT, DO_LOCK, DO_SYNCHRONIZE, DO_RESIDENCE, DO_READ, DO_WRITE, DO_WORDS, DO_EXECUTE,
	DO_KERNEL_READ, DO_KERNEL_WRITE, DO_COMPARE, DO_MALLOC, DO_FORK, DO_CHILD, DO_VFORK, DO_SLEEP, DO_COUNT
};

static const unsigned char weights[DO_COUNT] = {
	[DO_MAP] = 9, [DO_MAP_OVER] = 9, [DO_MAP_LIKE_AN_ALLOCATOR] = 4, [DO_MAP_TOO_MUCH] = 1, [DO_MAP_BADLY] = 1, [DO_UNMAP] = 9,
	[DO_DROP] = 1, [DO_MOVE] = 14, [DO_ADVISE] = 18, [DO_ADVISE_PROCESS] = 2, [DO_PROTECT] = 8, [DO_LOCK] = 3,
	[DO_SYNCHRONIZE] = 2, [DO_RESIDENCE] = 4, [DO_READ] = 8, [DO_WRITE] = 20, [DO_WORDS] = 12, [DO_EXECUTE] = 2,
	[DO_KERNEL_READ] = 6, [DO_KERNEL_WRITE] = 8, [DO_COMPARE] = 4, [DO_MALLOC] = 10, [DO_FORK] = 12, [DO_CHILD] = 7,
	[DO_VFORK] = 1, [DO_SLEEP] = 5,
};

static enum operation draw_operation(void)
{
	size_t sum = 0, at;
	enum operation operation = DO_MAP;

	for (int i = 0; i < DO_COUNT; i++)
		sum += weights[i];
	for (at = below(sum); at >= weights[operation]; operation++)
		at -= weights[operation];
	return operation;
}

static void take_step(void)
{
	enum operation operation = draw_operation();
	struct arena *a;

	if (free_arena() == self.arenas + WINDOWS && one_in(2))
		operation = DO_MAP; /* there is nothing yet */
	switch (operation) {
	case DO_MAP:
		map_new();
		break;
	case DO_MAP_OVER:
		map_over();
		break;
	case DO_MAP_LIKE_AN_ALLOCATOR:
		map_like_an_allocator();
		break;
	case DO_MAP_TOO_MUCH:
		map_too_much();
		break;
	case DO_MAP_BADLY:
		map_badly();
		break;
	case DO_UNMAP:
		unmap();
		break;
	case DO_DROP:
		a = draw_arena();
		if (a != NULL)
			drop_arena(a);
		break;
	case DO_MOVE:
		move();
		break;
	case DO_ADVISE:
		advise();
		break;
	case DO_ADVISE_PROCESS:
		advise_process();
		break;
	case DO_PROTECT:
		protect();
		break;
	case DO_LOCK:
		lock();
		break;
	case DO_SYNCHRONIZE:
		synchronize();
		break;
	case DO_RESIDENCE:
		ask_residence();
		break;
	case DO_READ:
		read_pages();
		break;
	case DO_WRITE:
		write_pages();
		break;
	case DO_WORDS:
		write_words();
		break;
	case DO_EXECUTE:
		add_or_execute();
		break;
	case DO_KERNEL_READ:
		kernel_reads();
		break;
	case DO_KERNEL_WRITE:
		kernel_writes();
		break;
	case DO_COMPARE:
		compare_all();
		break;
	case DO_MALLOC:
		use_malloc();
		break;
	case DO_FORK:
		if (self.depth < MAX_DEPTH && self.forks < self.fork_limit)
			make_child();
		else
			write_pages();
		break;
	case DO_CHILD:
		treat_child();
		break;
	case DO_VFORK:
		make_vfork();
		break;
	default: /* for what the library does in the background */
		if (board->tested)
			usleep((useconds_t)below(one_in(6) ? 6000 : 600));
	}
}

static bool is_skipped(unsigned step)
{
	uint64_t path = mix_path(self.seed, self.path);

	if (!board->skipping)
		return false;
	for (unsigned i = 0; i < board->skip_count; i++)
		if (board->skips[i].path == path && board->skips[i].step == step)
			return true;
	return false;
}

static void free_everything(void)
{
	say("end");
	forget_all_holes();
	for (struct arena *a = self.arenas; a < self.arenas + MAX_ARENAS; a++)
		if (a->base != NULL)
			drop_arena(a);
	for (struct block *b = self.blocks; b < self.blocks + MAX_BLOCKS; b++)
		if (b->start != NULL)
			free_block(b);
	end_line();
}

static void begin_step(unsigned step)
{
	self.step = step;
	draw_from_step(step);
	say("@%u ", step);
	if (self.depth > 0 || ever_forked || board->noisy) /* a keeper may be about */
		forget_holes_of_kernel();
}

/* The root, which goes on to the next seed, returns. */
static void go_through_program(void)
{
	static const unsigned char most_forks[] = { 7, 4, 3, 2, 1 };
	static char *const arguments[] = { (char *)(uintptr_t) "true", NULL };
	bool root = self.depth == 0;
	unsigned steps, ending;

	alarm(GUARD_SECONDS);
	draw_from_step(~0u);
	steps = root ? 30 + (unsigned)below(one_in(8) ? 200 : 60) : (unsigned)below(one_in(4) ? 50 : 20);
	self.forks = 0;
	self.fork_limit = (unsigned)below(most_forks[self.depth] + 1u);
	self.noisy = board->noisy && board->tested;
	start_noise();
	if (!root)
		forget_holes_of_kernel();
	/* As if it had grown: what it maps then is in a region of its own, and what belongs to that comes to lie anywhere. */
	if (!root && one_in(2)) {
		forget_all_holes();
		if (odf_heap_enable != NULL && board->tested && !board->off)
			(void)odf_heap_enable(0);
	}
	if (!root && one_in(2)) {
		compare_all();
		end_line();
	}
	for (unsigned step = 1; step <= steps; step++) {
		unsigned before;
		if (is_skipped(step))
			continue;
		begin_step(step);
		before = entry()->length;
		take_step();
		check_files();
		board->steps++;
		if (entry()->length != before) {
			end_line();
		} else {
			entry()->length = line_start; /* nothing came of it */
		}
	}
	begin_step(steps + 1);
	compare_all();
	end_line();
	begin_step(steps + 2);
	ending = (unsigned)below(16);
	while (self.child_count > 0 && (root || ending % 4 != 0)) {
		reap(0);
		end_line();
	}
	if (root || ending % 2 == 0)
		free_everything();
	if (root)
		return;
	entry()->done = true;
	if (ending == 1)
		kill(getpid(), SIGKILL);
	else if (ending == 2)
		exit(5);
	else if (ending == 3)
		execv("/bin/true", arguments);
	_exit((int)ending);
}

static void run_program(void)
{
	go_through_program();
	_exit(96);
}

/* ---- One run: this program, executed again ----------------------------------------------------------------------------------- */

/* Root of a seed, in a process that has others behind it. */
static void run_seed(uint64_t seed)
{
	struct entry *e;
	int status;

	memset(&self, 0, sizeof self);
	self.seed = seed;
	strcpy(self.path, "0");
	self.shared_file = -1;
	self.entry = atomic_fetch_add(&board->used, 1);
	if (self.entry >= MAX_ENTRIES)
		_exit(95);
	e = entry();
	e->doomed = e->done = false;
	e->length = 0;
	memset(e->text + TEXT_SIZE - 64, 0, 64);
	e->seed = seed;
	e->pid = getpid();
	strcpy(e->path, "0");
	line_start = 0;
	for (int i = 0; i < WINDOWS; i++) {
		/* Low, where nobody places anything. */
		self.arenas[i].base = (unsigned char *)(uintptr_t)((32ull + (unsigned)i) << 32);
		self.arenas[i].pages = WINDOW_PAGES;
		self.arenas[i].window = true;
		set_kind(&self.arenas[i], 0, WINDOW_PAGES, HOLE);
	}
	go_through_program();
	if (self.noisy)
		timer_delete(noise);
	/* Those who outlived their parents have come here. */
	while (waitpid(-1, &status, 0) > 0 || errno == EINTR)
		;
	if (self.shared_file >= 0)
		close(self.shared_file);
	e->done = true;
}

/* As a program grows that did not ask for the heap. */
static void grow(size_t bytes)
{
	unsigned char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void *blocks[64];

	if (memory == MAP_FAILED)
		_exit(94);
	for (size_t i = 0; i < bytes; i += PAGE)
		memory[i] = 1;
	for (size_t i = 0; i < 64; i++)
		blocks[i] = memset(malloc(200000), 1, 200000);
	for (size_t i = 0; i < 64; i++)
		free(blocks[i]);
}

/* A file of its bytes, less half a page. */
static void make_constant_file(void)
{
	int fd = (int)syscall(SYS_memfd_create, "constant", 0);

	if (fd < 0)
		_exit(93);
	for (size_t page = 0; page < FILE_PAGES; page++) {
		memset(buffer, (int)(page % 5 == 0 ? 0 : page + 3), PAGE);
		buffer[17] = 1;
		if (pwrite(fd, buffer, page + 1 == FILE_PAGES ? PAGE / 2 : PAGE, (off_t)page * PAGE) < 0)
			_exit(92);
	}
	board->constant_file = fd;
	constant_inode = inode_of(fd);
}

__attribute__((noreturn)) static void run(char **arguments)
{
	struct sigaction at_fault = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER },
			 at_noise = { .sa_handler = make_noise, .sa_flags = SA_RESTART },
			 to_fork = { .sa_handler = fork_in_handler, .sa_flags = SA_RESTART };
	uint64_t first = strtoull(arguments[1], NULL, 0), step = strtoull(arguments[2], NULL, 0), count = strtoull(arguments[3], NULL, 0);

	board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED, atoi(arguments[0]), 0);
	if (board == MAP_FAILED)
		_exit(91);
	sigaction(SIGSEGV, &at_fault, NULL);
	sigaction(SIGBUS, &at_fault, NULL);
	sigaction(SIGILL, &at_fault, NULL);
	sigaction(SIGUSR1, &at_noise, NULL);
	sigaction(SIGUSR2, &to_fork, NULL);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	make_constant_file();
	if (board->grows)
		grow((size_t)48 << 20);
	for (uint64_t i = 0; i < count; i++)
		run_seed(first + i * step);
	_exit(0);
}

/* ---- Both runs, and what they have to say --------------------------------------------------------------------------------------- */

static struct totals {
	atomic_int differences;
	atomic_ulong seeds, processes, steps, calls, faults, eligible, placed, kills;
} *totals;

static char library[4096];
static uint64_t only_seed, only_times;

static uint64_t number_from(const char *name, uint64_t otherwise)
{
	const char *given = getenv(name);

	return given == NULL || *given == '\0' ? otherwise : strtoull(given, NULL, 0);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

struct side {
	struct board *board;
	int fd;
	pid_t pid;
	int status;
	bool hung;
};

static void make_side(struct side *side, bool tested)
{
	side->fd = (int)syscall(SYS_memfd_create, "board", 0);
	assert_true(side->fd >= 0);
	assert_int_equal(ftruncate(side->fd, sizeof *side->board), 0);
	side->board = mmap(NULL, sizeof *side->board, PROT_READ | PROT_WRITE, MAP_SHARED, side->fd, 0);
	assert_true(side->board != MAP_FAILED);
	side->board->tested = tested;
	if (getenv("ODF_TEST_WITHOUT") != NULL)
		snprintf(side->board->without, sizeof side->board->without, "%s", getenv("ODF_TEST_WITHOUT"));
	side->board->trace = number_from("ODF_TEST_TRACE", 0) != 0;
}

enum { ENVIRONMENT = 512 };

/* What was preloaded before stays away: it is us who say. */
static void make_environment(char **environment, const char *const *ours)
{
	size_t count = 0;

	for (char **e = environ; *e != NULL && count < ENVIRONMENT - 8; e++)
		if (strncmp(*e, "LD_PRELOAD=", 11) != 0 && strncmp(*e, "ODFORK_HEAP=", 12) != 0)
			environment[count++] = *e;
	for (; *ours != NULL; ours++)
		environment[count++] = (char *)(uintptr_t)*ours;
	environment[count] = NULL;
}

static void start_side(struct side *side, const char *const *ours, uint64_t first, uint64_t step, uint64_t count)
{
	char texts[4][32], *arguments[7] = { (char *)(uintptr_t) "test_heap_model", (char *)(uintptr_t) "--run" };
	char *environment[ENVIRONMENT];

	snprintf(texts[0], sizeof texts[0], "%d", side->fd);
	snprintf(texts[1], sizeof texts[1], "%" PRIu64, first);
	snprintf(texts[2], sizeof texts[2], "%" PRIu64, step);
	snprintf(texts[3], sizeof texts[3], "%" PRIu64, count);
	for (int i = 0; i < 4; i++)
		arguments[2 + i] = texts[i];
	arguments[6] = NULL;
	make_environment(environment, ours);
	/* One that is killed in the middle of making a child leaves a place that says nothing. */
	for (unsigned i = 0; i < side->board->used && i < MAX_ENTRIES; i++)
		side->board->entries[i].path[0] = '\0';
	side->board->used = 0;
	side->hung = false;
	side->pid = fork();
	if (side->pid == 0) {
		setpgid(0, 0);
		execve("/proc/self/exe", arguments, environment);
		_exit(90);
	}
	assert_true(side->pid > 0);
	setpgid(side->pid, side->pid);
}

static void end_side(struct side *side, double end)
{
	int fd = (int)syscall(SYS_pidfd_open, side->pid, 0);
	struct pollfd wait = { fd, POLLIN, 0 };
	double left = end - now();

	if (fd < 0 || poll(&wait, 1, left < 0 ? 0 : (int)(left * 1000)) == 0)
		side->hung = true;
	/* All of its group, if anything is left: what outlived its root, when that was killed. */
	kill(-side->pid, SIGKILL);
	while (waitpid(side->pid, &side->status, 0) != side->pid)
		assert_int_equal(errno, EINTR);
	if (fd >= 0)
		close(fd);
}

static const struct entry *counterpart(const struct board *b, const struct entry *of)
{
	for (unsigned i = 0; i < b->used && i < MAX_ENTRIES; i++)
		if (b->entries[i].seed == of->seed && strcmp(b->entries[i].path, of->path) == 0)
			return &b->entries[i];
	return NULL;
}

/* It, or one from which it comes, was killed at some moment: what it said until then must agree, if it said anything. */
static bool may_be_short(const struct board *b, const struct entry *e)
{
	for (unsigned i = 0; i < b->used && i < MAX_ENTRIES; i++) {
		const struct entry *other = &b->entries[i];
		size_t length = strlen(other->path);
		if (length > 0 && other->seed == e->seed && other->doomed && strncmp(other->path, e->path, length) == 0 &&
		    (e->path[length] == '.' || e->path[length] == '\0'))
			return true;
	}
	return false;
}

struct difference {
	bool found;
	uint64_t seed;
	char path[PATH_SIZE];
	unsigned at; /* where in the text the line begins */
	char what[256];
};

static size_t line_length(const char *text, size_t at, size_t length)
{
	const char *end = at < length ? memchr(text + at, '\n', length - at) : NULL;

	return end == NULL ? length - at : (size_t)(end - text) - at;
}

/* Of whole lines: one that was killed may have begun another. */
static size_t whole_length(const struct entry *e, bool may_end)
{
	size_t length = e->length;

	while (may_end && length > 0 && e->text[length - 1] != '\n')
		length--;
	return length;
}

/* Up to the first line that is not the same. */
static bool texts_differ(const struct entry *a, const struct entry *b, bool may_end, unsigned *at)
{
	size_t a_length = whole_length(a, may_end), b_length = whole_length(b, may_end), common = less(a_length, b_length), i, line = 0;

	for (i = 0; i < common && a->text[i] == b->text[i]; i++)
		if (a->text[i] == '\n')
			line = i + 1;
	*at = (unsigned)line;
	if (i < common)
		return true;
	if (a_length == b_length)
		return memcmp(a->text + TEXT_SIZE - 64, b->text + TEXT_SIZE - 64, 64) != 0 && !may_end;
	return !may_end;
}

/* The one nearest to the root, in the first seed. */
static bool is_earlier(const struct entry *e, const struct difference *than)
{
	size_t length = strlen(e->path), other = strlen(than->path);

	if (!than->found || e->seed != than->seed)
		return !than->found || e->seed < than->seed;
	return length != other ? length < other : strcmp(e->path, than->path) < 0;
}

static void take_difference(struct difference *d, const struct entry *e, unsigned at, const char *what)
{
	if (!is_earlier(e, d))
		return;
	d->found = true;
	d->seed = e->seed;
	d->at = at;
	memcpy(d->path, e->path, sizeof d->path);
	snprintf(d->what, sizeof d->what, "%s", what);
}

static struct difference compare_sides(const struct side *heap, const struct side *plain)
{
	const struct board *boards[2] = { heap->board, plain->board };
	struct difference d = { 0 };
	unsigned at;

	for (int s = 0; s < 2; s++)
		for (unsigned i = 0; i < boards[s]->used && i < MAX_ENTRIES; i++) {
			const struct entry *e = &boards[s]->entries[i], *other = counterpart(boards[1 - s], e);
			bool may_end = may_be_short(boards[s], e) || may_be_short(boards[1 - s], e);
			if (e->path[0] == '\0')
				continue;
			if (other == NULL && !may_end)
				take_difference(&d, e, 0, s == 0 ? "exists with the heap only" : "exists without the heap only");
			else if (s == 0 && other != NULL && texts_differ(e, other, may_end, &at))
				take_difference(&d, e, at, "");
			else if (!e->done && !may_end)
				take_difference(&d, e, e->length, s == 0 ? "did not end with the heap" : "did not end without the heap");
		}
	if (!d.found && (heap->status != 0 || heap->hung || plain->status != 0 || plain->hung)) {
		d.found = true;
		d.path[0] = '\0';
		snprintf(d.what, sizeof d.what, "the run with the heap %s %#x, without it %s %#x", heap->hung ? "hung" : "ended with",
			 (unsigned)heap->status, plain->hung ? "hung" : "ended with", (unsigned)plain->status);
	}
	return d;
}

/* How the library is loaded is decided by the seed. */
enum mode { MODE_ON, MODE_AUTO, MODE_OFF };
static const char *const mode_names[] = { "on", "auto", "off" };

enum { BATCH = 8 };

static enum mode mode_of(uint64_t seed)
{
	const char *fixed = getenv("ODF_TEST_HEAP");
	uint64_t value = mix(seed / BATCH * 3 + 1) % 16;

	if (fixed != NULL)
		return strcmp(fixed, "auto") == 0 ? MODE_AUTO : strcmp(fixed, "off") == 0 ? MODE_OFF : MODE_ON;
	return value == 0 ? MODE_OFF : value < 4 ? MODE_AUTO : MODE_ON;
}

static bool noisy_of(uint64_t seed)
{
	return number_from("ODF_TEST_NOISE", mix(seed / BATCH * 7 + 5) % 6 == 0) != 0;
}

static bool goes_past(uint64_t seed)
{
	return number_from("ODF_TEST_PAST", mix(seed / BATCH * 11 + 3) % 2 == 0) != 0;
}

/* So many seeds, the first of which says how. */
static struct difference run_both(struct side *heap, struct side *plain, uint64_t first, uint64_t count)
{
	char preload[sizeof library + 16], setting[64];
	const char *const with[] = { preload, setting, NULL }, *const without[] = { NULL };
	double end = now() + (double)GUARD_SECONDS + 5;
	enum mode mode = mode_of(first);

	snprintf(preload, sizeof preload, "LD_PRELOAD=%s", library);
	snprintf(setting, sizeof setting, "ODFORK_HEAP=%s", mode_names[mode]);
	heap->board->grows = plain->board->grows = mode == MODE_AUTO;
	heap->board->off = mode == MODE_OFF;
	heap->board->noisy = plain->board->noisy = noisy_of(first);
	heap->board->past_the_library = plain->board->past_the_library = goes_past(first);
	start_side(heap, library[0] == '\0' ? without : with, first, 1, count);
	start_side(plain, without, first, 1, count);
	end_side(heap, end);
	end_side(plain, end);
	return compare_sides(heap, plain);
}

/* The lines of a text around one of its places, as comments. */
static void show_text(const char *title, const struct entry *e, unsigned at, size_t before)
{
	size_t from = at, length;

	if (e == NULL)
		return;
	while (from > 0 && before > 0)
		for (from--, before--; from > 0 && e->text[from - 1] != '\n'; from--)
			;
	for (; from < e->length; from += length + 1) {
		length = line_length(e->text, from, e->length);
		print_message("# %s %s %.*s\n", title, e->path, (int)length, e->text + from);
		if (from > at)
			break;
	}
}

static const struct entry *find_entry(const struct side *side, const struct difference *d)
{
	struct entry key;

	key.seed = d->seed;
	memcpy(key.path, d->path, sizeof key.path);
	return counterpart(side->board, &key);
}

static void show_difference(const struct side *heap, const struct side *plain, const struct difference *d, size_t before)
{
	const struct entry *h = find_entry(heap, d), *p = find_entry(plain, d);

	print_message("# seed %" PRIu64 " (ODFORK_HEAP=%s%s%s), process %s: %s\n", d->seed, mode_names[mode_of(d->seed)],
		      noisy_of(d->seed) ? ", with signals" : "", goes_past(d->seed) ? ", past the library" : "", d->path[0] == '\0' ? "?" : d->path,
		      d->what[0] == '\0' ? "not the same" : d->what);
	if (heap->hung || plain->hung)
		for (int s = 0; s < 2; s++) {
			const struct board *b = s == 0 ? heap->board : plain->board;
			for (unsigned i = 0; i < b->used && i < MAX_ENTRIES; i++)
				if (!b->entries[i].done)
					show_text(s == 0 ? "unfinished heap " : "unfinished plain", &b->entries[i], b->entries[i].length, 4);
		}
	show_text("plain", p, d->at, before);
	show_text("heap ", h, d->at, before > 0 ? 1 : 0);
	/* A line may be long. */
	if (p != NULL && h != NULL && d->what[0] == '\0') {
		size_t at = d->at, from;
		while (at < p->length && at < h->length && p->text[at] == h->text[at])
			at++;
		from = at - d->at > 60 ? at - 60 : d->at;
		print_message("# first: plain ...%.*s\n", (int)less(100, line_length(p->text, from, p->length)), p->text + from);
		print_message("# first: heap  ...%.*s\n", (int)less(100, line_length(h->text, from, h->length)), h->text + from);
	}
}

static void show_everything(const struct side *side, uint64_t seed)
{
	for (unsigned i = 0; i < side->board->used && i < MAX_ENTRIES; i++)
		if (side->board->entries[i].seed == seed)
			show_text(side->board->tested ? "heap " : "plain", &side->board->entries[i], side->board->entries[i].length, SIZE_MAX);
}

/* The word with which the line begins that is not the same. */
static void verb_of(const struct side *heap, const struct side *plain, const struct difference *d, char *verb, size_t size)
{
	const struct entry *e = find_entry(plain, d);
	const char *from, *end;

	if (e == NULL || d->at >= e->length)
		e = find_entry(heap, d);
	snprintf(verb, size, "%.32s", d->what);
	if (e == NULL || d->at >= e->length)
		return;
	from = e->text + d->at;
	from += strcspn(from, " ") + 1;
	end = from + strcspn(from, "( \n");
	snprintf(verb, less(size, (size_t)(end - from) + 1), "%s", from);
}

/* In the same operation as before, if that is given. */
static bool still_differs(struct side *heap, struct side *plain, uint64_t seed, uint64_t times, struct difference *d, const char *verb)
{
	char found[64];

	for (uint64_t i = 0; i < times; i++) {
		*d = run_both(heap, plain, seed, 1);
		if (!d->found)
			continue;
		verb_of(heap, plain, d, found, sizeof found);
		if (verb == NULL || strcmp(verb, found) == 0)
			return true;
	}
	return false;
}

/* All steps of a seed, by what the plain run says of them. */
static unsigned collect_steps(const struct board *b, uint64_t seed, struct skip *steps)
{
	unsigned count = 0;

	for (unsigned i = 0; i < b->used && i < MAX_ENTRIES; i++) {
		const struct entry *e = &b->entries[i];
		if (e->seed != seed)
			continue;
		for (size_t at = 0; at < e->length && count < MAX_SKIPS; at += line_length(e->text, at, e->length) + 1)
			if (e->text[at] == '@')
				steps[count++] = (struct skip){ mix_path(seed, e->path), (unsigned)strtoul(e->text + at + 1, NULL, 10) };
	}
	return count;
}

/* Leaves out what it can, in smaller and smaller parts. */
static void reduce(struct side *heap, struct side *plain, uint64_t seed, uint64_t times)
{
	static struct skip steps[MAX_SKIPS];
	static bool out[MAX_SKIPS];
	struct board *boards[2] = { heap->board, plain->board };
	struct difference d;
	unsigned count, left = 0;
	char verb[64];

	if (!still_differs(heap, plain, seed, 4 * times, &d, NULL)) {
		print_message("# does not differ again\n");
		return;
	}
	verb_of(heap, plain, &d, verb, sizeof verb);
	count = collect_steps(plain->board, seed, steps);
	memset(out, 0, sizeof out);
	boards[0]->skipping = boards[1]->skipping = 1;
	for (unsigned size = count / 2, again = 0; size > 0; size = again ? size : size / 2) {
		again = 0;
		for (unsigned from = 0; from < count; from += size) {
			bool tried[MAX_SKIPS], any = false;
			unsigned skipped = 0;
			memcpy(tried, out, sizeof tried);
			for (unsigned i = from; i < from + size && i < count; i++) {
				any = any || !tried[i];
				tried[i] = true;
			}
			if (!any)
				continue;
			for (unsigned i = 0; i < count; i++)
				if (tried[i]) {
					boards[0]->skips[skipped] = boards[1]->skips[skipped] = steps[i];
					skipped++;
				}
			boards[0]->skip_count = boards[1]->skip_count = skipped;
			if (still_differs(heap, plain, seed, times, &d, verb)) {
				memcpy(out, tried, sizeof out);
				again = size == 1;
			}
		}
	}
	boards[0]->skip_count = 0;
	for (unsigned i = 0; i < count; i++) {
		if (out[i]) {
			boards[0]->skips[boards[0]->skip_count++] = steps[i];
		}
		left += !out[i];
	}
	boards[1]->skip_count = boards[0]->skip_count;
	memcpy(boards[1]->skips, boards[0]->skips, sizeof boards[0]->skips);
	print_message("# reduced: %u of %u steps are left\n", left, count);
	if (still_differs(heap, plain, seed, 10 * times, &d, verb)) {
		show_difference(heap, plain, &d, 0);
		show_everything(plain, seed);
		show_everything(heap, seed);
	} else {
		print_message("# which do not differ again\n");
	}
	boards[0]->skipping = boards[1]->skipping = 0;
}

/* The seed alone, or the whole batch; how often it happens again. */
static void investigate(struct side *heap, struct side *plain, const struct difference *first)
{
	uint64_t times = number_from("ODF_TEST_REDUCE", 0);
	unsigned again = 0;

	if (number_from("ODF_TEST_ONCE", 0) != 0)
		return;
	if (number_from("ODF_TEST_GO_ON", 0) == 0 || times > 0) {
		for (int i = 0; i < 5; i++)
			again += run_both(heap, plain, first->seed, 1).found;
		print_message("# alone it differs %u times of 5; replay: test_heap_model %" PRIu64 " [TIMES]\n", again, first->seed);
	}
	if (again == 0 && number_from("ODF_TEST_GO_ON", 0) == 0) {
		for (int i = 0; i < 5; i++)
			again += run_both(heap, plain, first->seed / BATCH * BATCH, BATCH).found;
		print_message("# with its batch (ODF_TEST_WHOLE=1) %u times of 5\n", again);
	}
	if (times > 0)
		reduce(heap, plain, first->seed, times);
}

/* cmocka catches these to go on with the next test, which only its own process is to do. */
static void let_signals_kill(void)
{
	static const int signals[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS };

	for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
		signal(signals[i], SIG_DFL);
}

/* Batches first, first + step... of the seeds, until they are done or the time is over; step 0: one over and over. */
__attribute__((noreturn)) static void work(uint64_t first, uint64_t step, uint64_t count, double end)
{
	static struct side heap, plain;
	bool go_on = number_from("ODF_TEST_GO_ON", 0) != 0, whole = step > 0 || number_from("ODF_TEST_WHOLE", 0) != 0;
	int result = 0;

	let_signals_kill();
	make_side(&heap, true);
	make_side(&plain, false);
	for (uint64_t i = 0; i < count && (go_on || totals->differences == 0) && (end == 0 || now() < end); i++) {
		uint64_t seed = step > 0 ? (first + i * step) * BATCH : whole ? first / BATCH * BATCH : first;
		struct difference d = run_both(&heap, &plain, seed, whole ? BATCH : 1);
		totals->seeds += whole ? BATCH : 1;
		if (!d.found)
			continue;
		result = 1;
		if (d.path[0] == '\0')
			d.seed = seed;
		if (atomic_fetch_add(&totals->differences, 1) == 0 || go_on) {
			show_difference(&heap, &plain, &d, go_on ? number_from("ODF_TEST_GO_ON", 0) - 1 : 30);
			investigate(&heap, &plain, &d);
		}
	}
	totals->processes += heap.board->processes;
	totals->steps += heap.board->steps;
	totals->calls += heap.board->calls;
	totals->faults += heap.board->faults;
	totals->eligible += heap.board->eligible;
	totals->placed += heap.board->placed;
	totals->kills += heap.board->kills;
	fflush(NULL);
	_exit(result);
}

static void run_workers(uint64_t first, uint64_t count, uint64_t step, double end)
{
	uint64_t workers = number_from("ODF_TEST_WORKERS", 2);
	pid_t pids[64];
	bool fine = true;
	int status;

	if (workers == 0 || workers > 64)
		workers = 2;
	fflush(NULL);
	for (uint64_t i = 0; i < workers; i++) {
		pids[i] = fork();
		if (pids[i] == 0)
			work(first + i * step, workers * step, count / workers + (i < count % workers), end);
		assert_true(pids[i] > 0);
	}
	for (uint64_t i = 0; i < workers; i++) {
		while (waitpid(pids[i], &status, 0) != pids[i])
			assert_int_equal(errno, EINTR);
		fine = status == 0 && fine;
	}
	print_message("# %lu seeds; with the heap %lu processes, %lu steps, %lu calls, %lu faults, %lu kills; of %lu new mappings that were "
		      "looked at %lu were in a region\n",
		      (unsigned long)totals->seeds, (unsigned long)totals->processes, (unsigned long)totals->steps,
		      (unsigned long)totals->calls, (unsigned long)totals->faults, (unsigned long)totals->kills,
		      (unsigned long)totals->eligible, (unsigned long)totals->placed);
	if (!fine || totals->differences != 0)
		fail_msg("%d differences", totals->differences);
}

static void test_random_programs(void **state)
{
	uint64_t seconds = number_from("ODF_TEST_SECONDS", 0), first = number_from("ODF_TEST_FIRST_SEED", 1);

	(void)state;
	if (only_times > 0) {
		run_workers(only_seed, only_times, 0, 0);
	} else if (seconds > 0) {
		uint32_t fresh;
		assert_int_equal(getrandom(&fresh, sizeof fresh, 0), sizeof fresh);
		first = (uint64_t)fresh << 16;
		print_message("# seeds from %" PRIu64 "\n", first);
		run_workers(first / BATCH, UINT64_MAX / 2 / BATCH, 1, now() + (double)seconds);
	} else {
		run_workers(first / BATCH, number_from("ODF_TEST_SEEDS", 2000) / BATCH, 1, 0);
	}
	/* Otherwise nothing was shown. */
	if (library[0] != '\0' && only_times == 0 && totals->eligible > 20)
		assert_true(totals->placed > 0);
}

/* The library is preloaded by a program that is nobody from its start. */
static void be_nobody(char **argv)
{
	const gid_t nobody = 65534;

	if (number_from("ODF_TEST_NOBODY", 0) == 0 || geteuid() != 0)
		return;
	if (setgroups(0, NULL) != 0 || setgid(nobody) != 0 || setuid(nobody) != 0) {
		perror("cannot become nobody");
		exit(1);
	}
	execv("/proc/self/exe", argv);
	perror("cannot execute myself as nobody");
	exit(1);
}

static void find_library(void)
{
	const char *given = getenv("ODF_TEST_LIBRARY"), *build = getenv("ODF_BUILD");

	if (given != NULL)
		snprintf(library, sizeof library, "%s", given);
	else if (build != NULL)
		snprintf(library, sizeof library, "%s/libodfork.so.0", build);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_random_programs) };

	if (argc == 6 && strcmp(argv[1], "--run") == 0)
		run(argv + 2);
	be_nobody(argv);
	find_library();
	totals = mmap(NULL, sizeof *totals, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (totals == MAP_FAILED)
		return 1;
	if (argc > 1) {
		only_seed = strtoull(argv[1], NULL, 0);
		only_times = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
	}
	return cmocka_run_group_tests_name("heap_model", tests, NULL, NULL);
}
