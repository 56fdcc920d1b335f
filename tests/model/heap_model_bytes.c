/* SPDX-License-Identifier: MIT
 *
 * Operations of test_heap_model: the program and the kernel read, write and execute bytes.
 */
#include "heap_model.h"

unsigned char buffer[BUFFER + PAGE];

void token_of_bytes(char *token, const unsigned char *bytes, size_t length)
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

/* Reads one page, in this process. */
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

void read_pages(void)
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
			snprintf(token, sizeof token, "%u.", (unsigned)i);
			row_add(token);
		}
		last = i;
		look_at(a, i);
	}
	row_end();
}

void compare_all(void)
{
	say("compare");
	for (struct arena *a = self.arenas; a < self.arenas + MAX_ARENAS; a++)
		if (a->base != NULL)
			compare_arena(a);
	for (struct block *b = self.blocks; b < self.blocks + MAX_BLOCKS; b++)
		if (b->start != NULL)
			check_block(b);
	compare_segments();
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

void write_pages(void)
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
		size_t from = i == page && one_in(2) ? below(PAGE) : 0,
		       to = i + 1 == page + count && one_in(2) ? from + 1 + below(PAGE - from) : PAGE;
		write_page(a, i, from, less(to, PAGE), tag);
	}
	row_end();
}

void write_words(void)
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

/* Either an instruction that reads and writes, or an execution of code. */
void add_or_execute(void)
{
	struct arena *a;
	size_t page, count, at = below(PAGE / 8) * 8;
	unsigned char *bytes;
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
		unsigned char code;
		write_page(a, page, at, at + 1, 0xc3 - page); /* ret, if the page is writable */
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

/* The kernel reads from the arena (a write call), as far as it can. */
void kernel_reads(void)
{
	static const char *const names[] = {
		"write to a pipe", "process_vm_readv", "pwrite", "writev", "process_vm_writev",
	};
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
		count = how == 1 ? process_vm_readv(getpid(), &here, 1, &there, 1, 0)
				 : process_vm_writev(getpid(), &there, 1, &here, 1, 0);
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

void kernel_writes(void)
{
	static const char *const names[] = {
		"read from a pipe", "process_vm_readv", "pread", "readv", "process_vm_writev",
	};
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
	/* If the call fails, bytes that it did not report as read may have been written. */
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
		count = how == 1 ? process_vm_readv(getpid(), &there, 1, &here, 1, 0)
				 : process_vm_writev(getpid(), &here, 1, &there, 1, 0);
	}
	say_result(count);
	for (int i = 0; i < 2; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	note_kernel_wrote(a, page, at, count);
}
