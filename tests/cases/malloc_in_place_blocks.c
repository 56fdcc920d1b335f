/* SPDX-License-Identifier: MIT
 *
 * The base of the cases of malloc_in_place: blocks that are filled, checked in children, changed and freed.
 */
#include "malloc_in_place.h"

void wait_ms(long milliseconds)
{
	struct timespec time = { milliseconds / 1000, milliseconds % 1000 * 1000000 };

	while (nanosleep(&time, &time) != 0)
		;
}

/* ---- The library, if it is loaded ---- */

bool is_preloaded(void)
{
	static int known = -1; /* asked once: if it is not loaded, the loader's error message takes memory */

	if (known < 0)
		known = dlsym(RTLD_DEFAULT, "odf_heap_info_get") != NULL;
	return known;
}

odf_heap_info info(void)
{
	odf_heap_info found = ODF_HEAP_INFO_INIT;
	int (*get)(odf_heap_info *);

	*(void **)&get = dlsym(RTLD_DEFAULT, "odf_heap_info_get");
	must(get != NULL && get(&found) == 0);
	return found;
}

/* What the keeper adopts beside the program is inside sooner or later. */
void wait_for_inside(size_t least, size_t most)
{
	odf_heap_info found = { 0 };

	if (!is_preloaded() || geteuid() != 0) /* without userfaultfd nothing is adopted beside a program */
		return;
	for (int tries = 0; tries < 6000; tries++) {
		found = info();
		if (found.inside_bytes >= least && found.inside_bytes <= most)
			return;
		wait_ms(10);
	}
	dprintf(2, "state %d, reason %d, door %d, %zu MiB inside, %zu outside, and not %zu to %zu\n", (int)found.state,
		(int)found.reason, (int)found.malloc_door, found.inside_bytes / MIB, found.outside_bytes / MIB,
		least / MIB, most / MIB);
	wrong(__FILE__, __LINE__, "inside");
}

void fill(struct block *block, size_t size, unsigned value)
{
	must(block->memory != NULL && malloc_usable_size(block->memory) >= size);
	block->size = size;
	block->value = value;
	memset(block->memory, (int)value, size);
}

bool is_right(const struct block *block)
{
	for (size_t i = 0; i < block->size; i += i + 509 < block->size ? 509 : 1)
		if (block->memory[i] != (unsigned char)block->value)
			return false;
	return true;
}

/* Blocks of `each` bytes, `whole` in all. */
struct blocks make(size_t each, size_t whole)
{
	struct blocks made = { NULL, whole / each, each };

	made.list = calloc(made.count, sizeof *made.list);
	must(made.list != NULL);
	for (size_t i = 0; i < made.count; i++) {
		made.list[i].memory = malloc(each);
		fill(&made.list[i], each, (unsigned)(i % 250 + 1));
	}
	return made;
}

void check(const struct blocks *blocks)
{
	for (size_t i = 0; i < blocks->count; i++)
		must(is_right(&blocks->list[i]));
}

static void change(struct blocks *blocks, unsigned by)
{
	for (size_t i = by; i < blocks->count; i += 7)
		fill(&blocks->list[i], blocks->each, blocks->list[i].value + by + 1);
}

void unmake(struct blocks *blocks, size_t but_each)
{
	for (size_t i = 0; i < blocks->count; i++)
		if (but_each == 0 || i % but_each != 0)
			free(blocks->list[i].memory);
}

/* A child has all blocks, changes them, allocates and frees, while the parent does the same. */
void fork_once(struct blocks *blocks, unsigned count)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		struct blocks more;
		for (unsigned i = 0; i < count; i++) {
			check(&blocks[i]);
			change(&blocks[i], 3);
			check(&blocks[i]);
		}
		more = make(blocks->each, 4 * MIB);
		check(&more);
		unmake(&more, 0);
		for (unsigned i = 0; i < count; i++) {
			unmake(&blocks[i], 0);
			free(blocks[i].list);
		}
		_exit(0);
	}
	must(pid > 0);
	for (unsigned i = 0; i < count; i++)
		change(&blocks[i], 2);
	while (waitpid(pid, &status, 0) != pid)
		must(errno == EINTR);
	must(status == 0);
	for (unsigned i = 0; i < count; i++)
		check(&blocks[i]);
}

void go_through(struct blocks *blocks, unsigned count)
{
	for (int round = 0; round < 3; round++) {
		fork_once(blocks, count);
		wait_for_inside(AMOUNT - 4 * MIB, SIZE_MAX);
	}
	for (unsigned i = 0; i < count; i++)
		check(&blocks[i]);
}
