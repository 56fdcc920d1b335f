/* SPDX-License-Identifier: MIT
 *
 * The memory of a worker (fork_worker.h), and how it is touched. Every page starts with its own number, which never
 * changes. Each touch checks the number, so a benchmark whose memory is wrong fails. Writes go to the word after it.
 */
#ifndef ODF_MEASURE_WORKER_MEMORY_H
#define ODF_MEASURE_WORKER_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fork_worker.h"
#include "odfork.h"

extern enum memory worker_kind;
extern char *worker_memory;
extern size_t worker_pages;
extern odf_region *worker_region; /* NULL: the memory is in no region */

/* Says what failed, with errno, and exits. */
_Noreturn void worker_fail(const char *what);
/* Exits if a page did not have its number. */
void worker_check(bool right);

void worker_get_memory(enum memory kind, size_t bytes);
/* The percentage of the memory that is in huge pages, as the kernel counts it. */
int worker_huge_percent(void);
/* The kernel splits huge pages of a parent that writes while its child lives. This collapses them before the next
 * measurement. */
void worker_restore_huge_pages(void);

/* A pseudo-random number. */
uint64_t worker_draw(void);
/* A percentage of the pages, as a number of pages. */
size_t worker_part(double percent);

/* Visits pages without repetition, by number or in pseudo-random order. For the latter a generator of full period runs
 * through the numbers below a power of two; each number is mixed by a reversible function, and those that are no page
 * are skipped. */
struct walk {
	bool in_order;
	uint64_t at, mask;
	unsigned shift;
};
struct walk walk_begin(bool in_order);
size_t walk_next(struct walk *walk);

static inline volatile uint64_t *word(size_t page)
{
	return (volatile uint64_t *)(void *)(worker_memory + page * PAGE);
}

/* Touches the page. True: its number is right. */
static inline bool touch(size_t page, bool writes)
{
	if (writes)
		word(page)[1] = page;
	return word(page)[0] == page + 1;
}

bool touch_many(struct walk *walk, size_t count, bool writes);
void write_at_random(size_t count);
#endif
