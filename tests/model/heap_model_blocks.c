/* SPDX-License-Identifier: MIT
 *
 * Operations of test_heap_model: libc's malloc and related functions.
 */
#include "heap_model.h"

void forget_all_holes(void)
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

/* Whether the first `size` bytes are what was written there. */
static bool block_is(const struct block *b, size_t size, size_t *where)
{
	for (size_t at = 0; at + 8 <= size; at += b->stride) {
		uint64_t word = block_word(b, at);
		if (at + 8 >= b->size && at < b->size) /* the last byte is different */
			break;
		if (memcmp(b->start + at, &word, 8) != 0) {
			*where = at;
			return false;
		}
	}
	return true;
}

void check_block(struct block *b)
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

void free_block(struct block *b)
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
	/* volatile, so that the compiler neither warns nor optimizes the calls away */
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

/* What memory allocators do with the whole pages within a large block. */
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
		result = process_vm_readv(getpid(), &(struct iovec){ from + 5, 3 * PAGE }, 1,
					  &(struct iovec){ buffer, 3 * PAGE }, 1, 0);
		say_result(result);
	}
	fill_block(b);
}

void use_malloc(void)
{
	struct block *b = draw_block(true);
	size_t how = below(12);

	end_segment(); /* malloc may move the program break */
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
