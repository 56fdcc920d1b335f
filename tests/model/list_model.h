/* SPDX-License-Identifier: MIT
 *
 * The list of extents alone (src/region/extent_list.c) against a plain array: what test_region_extents does not reach,
 * as thousands of extents in many blocks take no memory here. NULL, or what is wrong. */
#ifndef TESTS_LIST_MODEL_H
#define TESTS_LIST_MODEL_H

#include <stdint.h>

/* Random changes, which fill blocks, divide, join and empty them. */
const char *list_model_changes(uint64_t seed, unsigned rounds);
/* Who looks without the lock while one change is made sees what was there all the time. */
const char *list_model_readers(uint64_t seed, unsigned changes);
/* A child that a clone past the library makes amid changes has a sound list, and can change it. */
const char *list_model_clones(uint64_t seed, unsigned clones);
#endif
