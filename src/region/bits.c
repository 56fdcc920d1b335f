/* SPDX-License-Identifier: MIT */
#include "bits.h"

#include "internal.h"

#define WORD_BITS 64u

static bool is_set(const uint64_t *bits, size_t page)
{
	return bits[page / WORD_BITS] >> page % WORD_BITS & 1;
}

size_t bits_size(size_t length)
{
	size_t bytes = length / REGION_PAGE / 8 + sizeof(uint64_t);

	return (bytes + REGION_PAGE - 1) / REGION_PAGE * REGION_PAGE;
}

size_t bits_run(const uint64_t *bits, size_t page, size_t limit, bool *set)
{
	*set = is_set(bits, page);
	for (page++; page < limit; page++) {
		/* Skips words in which all bits are alike. */
		uint64_t same = *set ? ~0ull : 0;
		if (page % WORD_BITS == 0)
			while (page + WORD_BITS <= limit && bits[page / WORD_BITS] == same)
				page += WORD_BITS;
		if (page >= limit || is_set(bits, page) != *set)
			break;
	}
	return page < limit ? page : limit;
}

void bits_put(uint64_t *bits, size_t page, size_t end, bool set)
{
	for (; page < end; page++) {
		uint64_t bit = 1ull << page % WORD_BITS, *word = &bits[page / WORD_BITS];
		if (page % WORD_BITS == 0 && page + WORD_BITS <= end && *word == (set ? 0 : ~0ull)) {
			*word = ~*word;
			page += WORD_BITS - 1;
		} else if (set) {
			*word |= bit;
		} else if (*word & bit) { /* a read of memory that was never written allocates no page */
			*word &= ~bit;
		}
	}
}
