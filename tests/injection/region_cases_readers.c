/* SPDX-License-Identifier: MIT
 *
 * Cases of region_cases: a process that reads the memory during a step of a settle does not block. This includes reads
 * by /proc/pid/mem, and by ptrace, which is the same to the kernel: the kernel does not let these wait for a
 * userfaultfd.
 */
#include "region_cases.h"

#define PROTECTS_FILES_AND_WHAT_IS_MISSING (1u << 12 | 1u << 13)

/* The pagemap entry of a page. The entry of a page that is protected and not present looks like that of a swapped
 * page. */
static uint64_t entry_of(const void *address)
{
	uint64_t entry = 0;
	int file = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	must(file >= 0);
	must(pread(file, &entry, sizeof entry, (off_t)((uintptr_t)address / PAGE * sizeof entry)) == sizeof entry);
	close(file);
	return entry;
}

static bool reads(int memory, size_t page, uint64_t generation)
{
	uint64_t read_there = 1;

	return pread(memory, &read_there, sizeof read_there, (off_t)(uintptr_t)(home + page * PAGE)) ==
		       sizeof read_there &&
	       read_there == (generation == 0 ? 0 : generation << 32 | page);
}

static bool is_protected_here(void)
{
	return (entry_of(home + 50 * PAGE) & (ENTRY_PRESENT | ENTRY_SWAPPED)) == ENTRY_SWAPPED;
}

/* Begins a step over pages that are private (0 to 40), in the file and not private (from 60 on), and neither. */
static int begin_a_step(void)
{
	int memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);

	need_userfaultfd();
	must(memory >= 0);
	make(TABLE + 5, ODF_REGION_MANUAL);
	fill(0, 30, 1);
	fill(60, pages, 1);
	fork_and_end(is_child);
	fill(0, 40, 2);
	settle_until(IN_A_STEP, 1);
	return memory;
}

/* Skips unless the kernel can protect file pages and pages that are not present, and shows this user what is protected:
 * the kernel then also shows frames. */
static void need_protection(void)
{
	struct uffdio_api api = { .api = UFFD_API, .features = PROTECTS_FILES_AND_WHAT_IS_MISSING };
	int file = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (file < 0 || ioctl(file, UFFDIO_API, &api) != 0 || (entry_of(&api) & ((1ull << 55) - 1)) == 0)
		cannot_be_done_here("the kernel does not protect files, or does not tell what is protected");
	close(file);
}

void readers_amid_a_step(void)
{
	pthread_t threads[3];
	int memory = begin_a_step();

	need_protection();
	must(is_protected_here());
	for (size_t page = 0; page < pages; page++)
		must(reads(memory, page, page < 40 ? 2 : page < 60 ? 0 : 1));
	must(holds(0, 40, 2) && holds(40, 60, 0) && holds(60, pages, 1));
	/* Pages that readers have brought in must be write-protected, too. */
	for (int i = 0; i < 3; i++)
		must(pthread_create(&threads[i], NULL, touch, (void *)(uintptr_t)&indices[i]) == 0);
	wait_ms(50);
	must(atomic_load(&touched) == 0);
	must(settle_on() == 0);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < 3; i++)
		must(reads(memory, meeting[i], 5) && holds(meeting[i], meeting[i] + 1, 5));
	must(holds(0, 3, 2) && holds(4, 40, 2) && holds(51, 60, 0) && holds(60, 80, 1) && holds(81, pages, 1));
}

/* The zero page is removed from home a moment before the file's pages are, which a reader would find there. */
static bool removed;

static bool must_be_zeros(const struct call *call, long *result)
{
	const char *start = (const char *)(uintptr_t)call->a;

	(void)result;
	if (ours || call->number != SYS_madvise || call->c != MADV_REMOVE)
		return false;
	for (long at = 0; at < call->b; at++)
		must(start[at] == 0);
	removed = true;
	return false;
}

void zeros_before_the_memory_goes(void)
{
	(void)begin_a_step();
	need_protection();
	must(settle_on() == 0);
	fill(0, pages, 1);
	fork_and_end(holds_all_1);
	must(odf_region_discard(region, home + 10 * PAGE, 2 * PAGE) == 0);
	must(odf_region_discard(region, home + 100 * PAGE, 40 * PAGE) == 0);
	memset(home + 200 * PAGE, 0, PAGE);
	fill(300, 340, 1); /* for fewer pages a step without page tables would protect nothing */
	hook = must_be_zeros;
	settle();
	hook = NULL;
	must(removed && holds(0, 10, 1) && holds(10, 12, 0) && holds(12, 100, 1) && holds(100, 140, 0) &&
	     holds(140, 200, 1) && holds(200, 201, 0));
}

/* A page that is protected and not present has no contents to merge. */
void steps_merge_what_is_private(void)
{
	(void)begin_a_step();
	need_protection();
	must(settle_on() == 0);
	must(info().merged_pages == 40);
}

/* After a step that failed, nothing is left that a fork would have to copy, or that a writer would wait for. */
void nothing_stays_protected(void)
{
	(void)begin_a_step();
	need_protection();
	must(settle_on() == 0);
	fork_and_end(is_child);
	fill(0, 40, 3);
	last_moves_to_fail = 1;
	hook = fails_last_move;
	must(odf_region_settle(region) == ENOMEM);
	hook = NULL;
	must(!is_protected_here());
	fill(0, pages, 1);
	must(holds_all_1());
	settle();
	must(holds_all_1());
}
