/* SPDX-License-Identifier: MIT
 *
 * What the cases of region_cases share: the region under test, the points at which its keeper can be held, and the
 * routing of system calls.
 */
#ifndef TESTS_REGION_CASES_H
#define TESTS_REGION_CASES_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "../../src/region/internal.h"
#include "../support/real_call.h"

#define PAGE          ((size_t)4096)
#define TABLE         ((size_t)512) /* pages */
#define SCAN          _IOWR('f', 16, uint64_t[12])
#define ENTRY_SWAPPED (1ull << 62)
#define ENTRY_PRESENT (1ull << 63)

#define must(condition) ((condition) ? (void)0 : wrong(__FILE__, __LINE__, #condition))

struct call {
	long number, a, b, c, d, e, f;
};
/* Called before each system call of the library. True: the call is not made, and returns *result. */
typedef bool hook_function(const struct call *call, long *result);

/* Where the keeper can be held. */
enum place {
	NOWHERE,
	BETWEEN_STEPS, /* without the lock: before it computes how far the next step goes */
	IN_A_STEP      /* with the lock: no thread can write to home, and the keeper searches for private pages to
	                  merge */
};
struct halt {
	enum place place;
	atomic_int countdown; /* it is held when this reaches 0 */
	bool reached;
	sem_t arrived, resume;
};

/* A child that ends when told to. */
struct child {
	pid_t pid;
	int go;
};

typedef int range_function(struct odf_region *, size_t, size_t);

/* region_cases_common.c */
__attribute__((noreturn)) void wrong(const char *file, int line, const char *condition);
__attribute__((noreturn)) void cannot_be_done_here(const char *reason);
extern __thread bool ours;
extern hook_function *volatile hook;
extern struct halt halt;
bool merges(long number, long b, long c);
extern odf_region *region;
extern char *home;
extern size_t pages;
void make(size_t count, unsigned flags);
volatile uint64_t *word(size_t page);
void fill(size_t from, size_t end, uint64_t generation);
bool holds(size_t from, size_t end, uint64_t generation);
odf_region_info info(void);
void wait_ms(unsigned milliseconds);
bool holds_all_1(void);
struct child child_with(bool (*predicate)(void));
int status_of(pid_t pid);
void end(struct child child);
void fork_and_end(bool (*predicate)(void));
void settle(void);
void settle_until(enum place place, int countdown);
int settle_on(void);
pid_t raw_clone(void);
bool raw_child_reads(size_t page);
void need_userfaultfd(void);
bool is_child(void);

/* region_cases_descendants.c */
void settles(void);
void descendant_keeps_its_snapshot(void);
void younger_descendant(void);
void older_descendants_hold_the_file(void);
void given_back_once(void);
void must_be_given_up(void);
void doubt_is_given_up(void);
void fork_between_steps(void);
void dumps_end_with_the_capacity(void);
void no_part_waits_for_ever(void);
void steps_are_small(void);
void little_is_one_step(void);
void fork_waits_for_the_step(void);
void forks_of_libc(void);
void no_settling_amid_a_fork(void);
void handler_forks_while_the_lock_is_held(void);
void child_is_a_program_too(void);

/* region_cases_raw.c */
void raw_clone_while_live(void);
void raw_clone_amid_settle(void);
void raw_clone_while_frozen(void);
void raw_clone_while_the_lock_is_held(void);
void raw_clone_after_a_failed_fork(void);

/* region_cases_failures.c */
void fork_fails_in_its_first_step(void);
void fork_fails_in_its_second_step(void);
void fork_of_what_cannot_be_frozen(void);
void fork_by_the_keeper_is_tried_again(void);
void fork_that_is_refused(void);
void fork_loses_home(void);
extern char *foreign;
bool loses_aside(const struct call *call, long *result);
void foreign_memory_is_left_alone(void);
void foreign_memory_is_left_alone_amid_a_settle(void);
void fork_fails_between_two_halves(void);
extern int scans_to_fail;
bool fails_merging_scan(const struct call *call, long *result);
void pages_that_cannot_be_told_apart(void);
extern int last_moves_to_fail;
bool fails_last_move(const struct call *call, long *result);
void step_refused_in_the_end(void);
void page_tables_come_home(void);
void writes_to_the_file_fail(void);

/* region_cases_pages.c */
void swapped_pages_count(void);
void swapped_pages_are_asked_for(void);
bool fails_to_remove(const struct call *call, long *result);
void pages_of_zeros(void);
void discard_while_live(void);
void discard_while_frozen(void);
void discards_are_punched(void);
void written_after_a_discard(void);
void discard_is_forgotten(void);

/* region_cases_zeros.c */
void zeros_take_no_mapping(void);
void zeros_take_no_mapping_without_populate(void);

/* region_cases_threads.c */
extern atomic_int touched;
extern const size_t meeting[];
extern const size_t indices[];
void *touch(void *index);
void threads_amid_a_step(void);
void threads_after_a_failed_step(void);
void no_settling_beside_threads(void);
void settles_in_slices(void);

/* region_cases_readers.c */
void readers_amid_a_step(void);
void zeros_before_the_memory_goes(void);
void steps_merge_what_is_private(void);
void nothing_stays_protected(void);

/* region_cases_extents.c */
void make_bare(void);
int apply(range_function *function, size_t page, size_t count);
int take(size_t page, size_t count);
int give(size_t page, size_t count);
int cut(size_t page, size_t count);
void *lose(size_t page, size_t count);
bool is_all(size_t page, size_t count, enum region_kind kind);
bool can_be_read(size_t page);
void make_filled(void);
size_t settle_by_half(void);
bool holds_all_3(void);
void bare_region_is_hidden(void);
void own_memory_has_no_large_pages(void);
void sealed_beside_a_large_page(void);
void unmapped_amid_a_merge(void);
void holes_fault(void);
void memory_taken_again_is_zero(void);
void holes_taken_while_frozen(void);
void taken_amid_a_settle_is_hidden(void);
void over_the_end_of_what_is_live(void);
void what_waits_is_not_proposed(void);
void lost_memory_is_given_back(void);
void nothing_lost(void);
void list_is_full(void);
void list_in_blocks(void);
void list_beside_readers(void);
void list_of_raw_children(void);

/* region_cases_islands.c */
void islands_are_private(void);
void islands_amid_a_settle_are_inherited(void);
void islands_given_back(void);
void islands_given_back_late(void);
struct child raw_child_with_island(size_t page, size_t count);
void islands_of_raw_children(void);

/* region_cases_leave.c */
void child_of_one_just_given_up(void);
void leaves(void);
void leaves_a_raw_child_alone(void);
void foreign_memory_in_the_template(void);
void place_of_the_template_is_kept(void);
void nothing_is_moved_to_a_lost_place(void);
void fork_with_a_lost_place(void);
void lost_place_amid_a_settle(void);
void lost_place_of_a_hole_amid_a_settle(void);
void files_are_the_keepers(void);
void files_of_a_late_region(void);
#endif
