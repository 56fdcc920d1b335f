/* SPDX-License-Identifier: MIT
 *
 * Compares the list of extents alone (src/region/extent_list.c) with a plain array. test_region_extents cannot reach
 * the thousands of extents in many blocks that this uses, which take no memory here. Each function returns NULL, or
 * what is wrong.
 */
#ifndef TESTS_LIST_MODEL_H
#define TESTS_LIST_MODEL_H

#include <stdint.h>

/* Makes random changes, which fill, split, merge and empty blocks. */
const char *list_model_changes(uint64_t seed, unsigned rounds);
/* A reader without the lock during a change sees all that is not changed. */
const char *list_model_readers(uint64_t seed, unsigned changes);
/* A child made by clone, unseen by the library, in the middle of a change has a valid list, and can change it. */
const char *list_model_clones(uint64_t seed, unsigned clones);
#endif
