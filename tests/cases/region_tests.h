/* SPDX-License-Identifier: MIT
 *
 * What the parts of test_region share.
 */
#ifndef TESTS_REGION_TESTS_H
#define TESTS_REGION_TESTS_H

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../support/support.h"

#define PAGE ((size_t)4096)
#define MIB  ((size_t)1 << 20)

/* test_region.c */
odf_region_info info_of(const odf_region *region);
uint64_t *word_at(const odf_region *region, size_t offset);
void fill(odf_region *region, uint64_t generation);
bool holds(const odf_region *region, uint64_t generation);
pid_t child_that(int (*code)(odf_region *), odf_region *region);
odf_region *make(size_t capacity);
int sees_generation_1(odf_region *region);

/* region_descendants.c */
extern int gate[2];
void wait_at_gate(void);
void open_gate(void);
void every_kind_of_descendant(void **state);
void raw_clone_of_frozen(void **state);
void raw_clone_of_live(void **state);
void in_another_pid_namespace(void **state);
void a_child_has_ordinary_memory(void **state);

/* region_overlap.c */
void overlapping_children_hold_nothing_twice(void **state);

/* region_discards.c */
void discard_live(void **state);
void discard_frozen(void **state);
void discard_again_and_again(void **state);
void zeros_take_no_memory(void **state);
void under_mlockall(void **state);
#endif
