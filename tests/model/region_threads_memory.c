/* SPDX-License-Identifier: MIT
 *
 * The memory of test_region_threads: its layout, and which value belongs to which slot.
 */
#include "region_threads.h"

static const size_t region_pages[REGIONS] = { 10 * 1024 + 1, 1536 + 3, 3ul << 18 };

struct outcome *outcome;

__attribute__((format(printf, 1, 2))) void failure(const char *format, ...)
{
	va_list arguments;

	if (atomic_fetch_add(&outcome->failures, 1) != 0)
		return;
	va_start(arguments, format);
	vsnprintf(outcome->text, sizeof outcome->text, format, arguments);
	va_end(arguments);
}

pid_t test_process;

struct memory regions[REGIONS];

_Atomic uint64_t *slots[VECTORS][SLOTS], *shared[SHARED];
unsigned char *blocks[KERNEL_WRITERS];

struct guarded *guarded[GUARDED];

/* Each value names its slot, so that a misplaced page is detected. */
uint64_t value_of(int vector, int slot, uint64_t round)
{
	return (uint64_t)(1 + vector * SLOTS + slot) << 48 | round;
}

const uint64_t round_mask = (1ull << 48) - 1;

/* The load pauses half of the time, so that there are more forks and settles; while it runs everything is slow. */
bool load_rests(void)
{
	return (uint64_t)(now() * 1.3) % 2 != 0;
}

size_t below(uint64_t *random, size_t limit)
{
	*random = mix(*random);
	return (size_t)(*random % limit);
}

/* Hands out the pages of the counters one by one, scattered: a prime stride reaches each once. */
static unsigned char *next_page(int region, size_t *turn)
{
	size_t page = 11 + *turn * 1000003 % regions[region].counter_pages;

	(*turn)++;
	return regions[region].base + page % regions[region].counter_pages * PAGE;
}

void lay_out(void)
{
	size_t turns[REGIONS] = { 0 };

	for (int r = 0; r < REGIONS; r++) {
		regions[r].region = odf_region_create(region_pages[r] * PAGE, 0);
		assert_non_null(regions[r].region);
		regions[r].base = odf_region_base(regions[r].region);
		regions[r].pages = region_pages[r];
		regions[r].counter_pages = region_pages[r] * 3 / 4;
	}
	for (int slot = 0; slot < SLOTS; slot++) {
		int r = slot % REGIONS;
		unsigned char *page = NULL;
		/* Some slots have a page of their own, some share one: then other writers write to a page while it is
		 * merged. */
		for (int v = 0; v < VECTORS; v++) {
			if (page == NULL || slot / REGIONS % 2 == 0)
				page = next_page(r, &turns[r]);
			slots[v][slot] = (_Atomic uint64_t *)(void *)(page + 64 * (v + slot % 32));
			*slots[v][slot] = value_of(v, slot, 0);
		}
	}
	for (int i = 0; i < SHARED; i++)
		shared[i] = (_Atomic uint64_t *)(void *)(next_page(i % REGIONS, &turns[i % REGIONS]) + i * 8);
	for (int i = 0; i < GUARDED; i++) {
		pthread_mutexattr_t attributes;
		guarded[i] = (struct guarded *)(void *)next_page(i % REGIONS, &turns[i % REGIONS]);
		assert_int_equal(pthread_mutexattr_init(&attributes), 0);
		if (i % 2 == 0)
			assert_int_equal(pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT), 0);
		assert_int_equal(pthread_mutex_init(&guarded[i]->mutex, &attributes), 0);
		assert_int_equal(pthread_cond_init(&guarded[i]->changed, NULL), 0);
		pthread_mutexattr_destroy(&attributes);
	}
	/* The last pages of the second region, beyond those that are discarded. */
	for (int i = 0; i < KERNEL_WRITERS; i++)
		blocks[i] = regions[1].base + (regions[1].pages - (size_t)(i + 1) * BLOCK_PAGES) * PAGE;
}

void discard_range(int region, size_t *first, size_t *count)
{
	size_t left = regions[region].pages - regions[region].counter_pages -
		      (region == 1 ? KERNEL_WRITERS * BLOCK_PAGES : 0);

	*first = regions[region].counter_pages;
	*count = left < DISCARD_PAGES ? left : DISCARD_PAGES;
}
