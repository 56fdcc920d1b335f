/* SPDX-License-Identifier: MIT
 *
 * The memory of a worker (fork_worker.h), and how it is touched. Every page starts with its own number, which nothing
 * changes; who touches a page looks whether it is there. So a benchmark of memory that is not what it should be fails.
 * What is written is the word after it.
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
extern odf_region *worker_region; /* NULL: the memory is in none */

/* Says what failed, with errno, and ends the worker. */
_Noreturn void worker_fail(const char *what);
/* Ends the worker if a page was not what it should be. */
void worker_check(bool right);

void worker_get_memory(enum memory kind, size_t bytes);
/* How much of the memory is in huge pages, by the kernel's own account. */
int worker_huge_percent(void);
/* A parent that writes beside its child gets small pages in return: back to huge ones before the next measurement. */
void worker_restore_huge_pages(void);

/* A pseudo-random number. */
uint64_t worker_draw(void);
/* So many pages. */
size_t worker_part(double percent);

/* Pages in an order without repetition: by number, or a pseudo-random one. For that a generator of full period runs
 * through the numbers below a power of two, each is mixed reversibly, and those that are no page are left out. */
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

/* Whether the page is what it should be. */
static inline bool touch(size_t page, bool writes)
{
	if (writes)
		word(page)[1] = page;
	return word(page)[0] == page + 1;
}

bool touch_many(struct walk *walk, size_t count, bool writes);
void write_at_random(size_t count);
#endif
