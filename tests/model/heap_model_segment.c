/* SPDX-License-Identifier: MIT
 *
 * Operations of test_heap_model: the program break moves, by any number of bytes.
 *
 * libc's malloc moves it too, and puts its blocks at different places in the two runs. So the test uses a segment that
 * begins at the start of a page, and can grow and shrink until malloc may have moved the break. From then on its bytes
 * are only compared, and the next change begins a new segment. The log names all places relative to a segment's start.
 *
 * libc caches the break. A system call that bypasses libc does not change this cache, and the next sbrk starts from the
 * cached value, in both runs. Before malloc may use it, a call of brk corrects it.
 */
#include "heap_model.h"

enum { LARGE = 2600 * PAGE };

static struct segment *last_piece(void)
{
	return &self.segments[self.segment_count - 1];
}

static size_t page_end(size_t at)
{
	return (at + PAGE - 1) / PAGE * PAGE;
}

/* Calls brk, so that libc's cached break is right again. */
void end_segment(void)
{
	struct segment *s = last_piece();

	if (!self.segment_open)
		return;
	if (s->libcs != s->size) {
		say("brk(told)");
		errno = NO_ERROR;
		say_result(brk(s->base + s->size));
		say(" ");
	}
	self.segment_open = false;
}

static bool begin_segment(void)
{
	struct segment s = { 0 };
	unsigned char *end = sbrk(0);

	if (self.segment_count == MAX_SEGMENTS) { /* the oldest one is forgotten, and its memory stays */
		memmove(self.segments, self.segments + 1, sizeof self.segments - sizeof *self.segments);
		self.segment_count--;
	}
	say("segment begins");
	if (sbrk((intptr_t)(page_end((uintptr_t)end) - (uintptr_t)end)) == (void *)-1) {
		say(" in vain");
		return false;
	}
	s.base = (unsigned char *)page_end((uintptr_t)end);
	self.segments[self.segment_count++] = s;
	self.segment_open = true;
	if (board->trace)
		dprintf(2, "# %s %s @%u segment is at %p\n", board->tested ? "heap " : "plain", self.path, self.step,
			(void *)s.base);
	return true;
}

/* ---- Bytes ---- */

/* The rest of the last page keeps its old contents. */
static size_t readable(const struct segment *s)
{
	return self.segment_open && s == last_piece() ? page_end(s->size) : s->size;
}

static void look_at_bytes(const struct segment *s, size_t from)
{
	size_t end = less(from / PAGE * PAGE + PAGE, readable(s));
	char token[TOKEN];

	if (!can_read(s->base + from, buffer, end - from))
		fault_token(token, s->base + from, false);
	else
		token_of_bytes(token, buffer, end - from);
	row_add(token);
}

static void look_around(const struct segment *s, size_t at, size_t pages)
{
	size_t from = at / PAGE * PAGE > pages * PAGE ? at / PAGE * PAGE - pages * PAGE : 0;

	for (size_t end = less(at / PAGE * PAGE + (pages + 1) * PAGE, readable(s)); from < end; from += PAGE)
		look_at_bytes(s, from);
}

/* ---- Blocks that malloc took from there before the heap was awake ---- */

enum { OLD_BLOCKS = 200, OLD_WORDS = 5000 };

static size_t *old_blocks[OLD_BLOCKS];

void make_old_blocks(void)
{
	for (size_t i = 0; i < OLD_BLOCKS; i++) {
		old_blocks[i] = malloc(OLD_WORDS * sizeof(size_t));
		if (old_blocks[i] == NULL)
			_exit(89);
		for (size_t at = 0; at < OLD_WORDS; at += 250)
			old_blocks[i][at] = i + at;
	}
}

static void check_old_blocks(void)
{
	for (size_t i = 0; i < OLD_BLOCKS && old_blocks[i] != NULL; i++)
		for (size_t at = 0; at < OLD_WORDS; at += 250)
			if (old_blocks[i][at] != i + at) {
				say(" old block %zu BAD at %zu", i, at);
				return;
			}
}

void compare_segments(void)
{
	check_old_blocks();
	for (unsigned i = 0; i < self.segment_count; i++) {
		const struct segment *s = &self.segments[i];
		say(" s%u of %zu:", i, s->size);
		row_begin();
		look_around(s, s->size, 4);
		for (size_t at = 0; at < readable(s); at += at < 40 * PAGE ? PAGE : 61 * PAGE)
			look_at_bytes(s, at);
		row_end();
	}
}

static void fill(const struct segment *s, size_t from, size_t length)
{
	uint64_t tag = draw() | 1;

	if (from + length > s->size)
		length = s->size - from;
	say(" write %zu+%zu", from, length);
	if (length > 0 && !can_fill(s->base + from, (unsigned char)tag, length))
		say(" FAULT");
}

static void write_somewhere(const struct segment *s)
{
	size_t at = one_in(3) ? 0 : below(s->size + 1);

	switch (below(4)) {
	case 0: /* a few bytes in many pages */
		say(" write each");
		for (at %= PAGE; at < s->size; at += (1 + below(12)) * PAGE)
			if (!can_fill(s->base + at, (unsigned char)(at / PAGE + 1), less(s->size - at, 30)))
				say(" FAULT");
		break;
	case 1:
		at = s->size - less(s->size, 1 + below(3 * PAGE));
		fill(s, at, s->size - at);
		break;
	default:
		fill(s, at, 1 + below(one_in(4) ? 100 * PAGE : 2 * PAGE));
	}
}

/* ---- Moving the break ---- */

static size_t draw_target(const struct segment *s)
{
	size_t target;

	switch (below(12)) {
	case 0:
		target = s->size + 1 + below(PAGE);
		break;
	case 1:
		target = page_end(s->size + below(40 * PAGE));
		break;
	case 2:
		target = s->size + below(LARGE);
		break;
	case 3:
	case 4: /* enough to lie in a region at once, from the middle of a page */
		target = s->size + 16 * PAGE + below(40 * PAGE);
		break;
	case 5:
		target = s->size + 200 * PAGE + below(300 * PAGE);
		break;
	case 6:
		target = s->size - less(s->size, 1 + below(PAGE));
		break;
	case 7:
		target = s->size / 2 + below(s->size / 2 + 1);
		break;
	case 8:
		target = below(s->size + 1);
		break;
	case 9:
		target = s->size / PAGE * PAGE;
		break;
	case 10: /* where libc believes the break to be */
		target = s->libcs;
		break;
	default:
		target = s->size;
	}
	return less(target, 2 * LARGE);
}

static void fail_to_move(struct segment *s)
{
	size_t how = below(3);

	say(" bad %zu", how);
	errno = NO_ERROR;
	if (how == 0)
		say_result(sbrk((intptr_t)1 << 46) == (void *)-1 ? -1 : 0);
	else
		say_result(brk(how == 1 ? s->base + ((size_t)1 << 46) : (void *)1));
	s->libcs = s->size; /* libc stores what the kernel returns */
}

static void move_end(struct segment *s)
{
	size_t to = draw_target(s), via = below(8);
	unsigned char *result;

	/* sbrk after a call that bypassed libc: relative to libc's cached break. */
	errno = NO_ERROR;
	if (via < 3) {
		say(" sbrk(%zd) to %zu", (ssize_t)(to - s->libcs), to);
		if (to == s->libcs) {
			to = s->size; /* only asks, and returns libc's cached break */
			result = sbrk(0);
		} else {
			result = sbrk((intptr_t)(to - s->libcs));
			say(" from %zd", result - s->base);
			s->libcs = to;
		}
		say_result(result == (void *)-1 ? -1 : 0);
	} else if (via < 6 || number_from("ODF_TEST_PAST_LIBC", 0) == 0) {
		/* Calls that bypass libc leave it with a wrong break. Only with ODF_TEST_PAST_LIBC=1: of some 2000
		 * seeds with them one ended by SIGSEGV in free(), and did not in 70 repetitions; the cause is not
		 * known. */
		say(" brk(%zu)", to);
		say_result(brk(s->base + to));
		s->libcs = to;
	} else {
		say(" past libc, brk(%zu)", to);
		result = via == 6 || !board->past_the_library
				 ? (unsigned char *)syscall(SYS_brk, s->base + to)
				 : (unsigned char *)raw(SYS_brk, s->base + to, 0, 0, 0, 0, 0);
		say(" = %zd", result - s->base);
		board->calls++;
	}
	s->size = to;
}

/* Checks that nothing is mapped behind it. */
static void look_behind(const struct segment *s)
{
	char token[TOKEN];

	if (can_read(s->base + page_end(s->size), buffer, 1))
		memcpy(token, "there", 6);
	else
		fault_token(token, s->base + page_end(s->size), true);
	say(" behind %s", token);
}

static void treat_pages(const struct segment *s)
{
	size_t pages = s->size / PAGE, page = below(pages + 1), count = less(pages - page, 1 + below(40));
	unsigned char *at = s->base + page * PAGE;

	if (count == 0)
		return;
	say(" pages %zu*%zu", page, count);
	if (one_in(2)) {
		say_result(call_madvise(at, count * PAGE, MADV_DONTNEED));
		return;
	}
	say_result(mprotect(at, count * PAGE, PROT_READ));
	if (can_fill(at, 1, 1))
		say(" written");
	say_result(mprotect(at, count * PAGE, PROT_READ | PROT_WRITE));
}

static void use_segment(void)
{
	struct segment *s;

	if (!self.segment_open && self.segment_count > 0 && one_in(3)) {
		write_somewhere(&self.segments[below(self.segment_count)]);
		return;
	}
	if (!self.segment_open && !begin_segment())
		return;
	s = last_piece();
	say(" s%u", self.segment_count - 1);
	for (size_t i = 1 + below(4); i > 0; i--) {
		size_t was = s->size;
		if (one_in(24))
			fail_to_move(s);
		else
			move_end(s);
		row_begin();
		look_around(s, was, 2);
		look_around(s, s->size, 2);
		row_end();
		if (one_in(2))
			write_somewhere(s);
		if (one_in(6))
			look_behind(s);
		if (one_in(6))
			treat_pages(s);
	}
}

void take_segment_step(void)
{
	/* From a sequence of its own, so that the rest of the seed is the same as without these steps. */
	if (one_in(5)) {
		forget_holes_of_kernel();
		use_segment();
	}
	if (board->late && one_in(24)) {
		forget_all_holes();
		if (odf_heap_enable != NULL && board->tested && !board->off)
			(void)odf_heap_enable(0);
	}
}
