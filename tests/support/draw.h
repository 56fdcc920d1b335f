/* SPDX-License-Identifier: MIT
 *
 * Random numbers for a process of a model, from `self.random`, which the including file declares before the include.
 */
#ifndef ODF_TESTS_DRAW_H
#define ODF_TESTS_DRAW_H

#include <stdbool.h>
#include <stddef.h>

#include "model_support.h"

static inline uint64_t draw(void)
{
	self.random += 0x9e3779b97f4a7c15u;
	return mix(self.random);
}

static inline size_t below(size_t limit)
{
	return (size_t)(draw() % limit);
}

static inline bool one_in(size_t n)
{
	return below(n) == 0;
}
#endif
