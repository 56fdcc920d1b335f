/* SPDX-License-Identifier: MIT
 *
 * One case for each line of the region code without which something goes wrong. mutations.sh removes the line and runs
 * the case that must detect it. The library's system calls pass through this program, so that threads meet at the one
 * moment that matters, and not by chance.
 *
 *   region_cases              all, each in a process of its own, as TAP
 *   region_cases NAME         that case; exits with 0, 1, or 77 if it cannot run here
 *
 * ODF_CASE_SECONDS: how long a case may take (20).
 */
#include "../support/case_seconds.h"
#include "region_cases.h"

long sys_call6(long number, long a, long b, long c, long d, long e, long f);

/* ---- All cases --------------------------------------------------------------------------------------------------- */

#define CASE(name)           { #name, name, false, false }
#define WITHOUT_TABLES(name) { #name "_without_tables", name, true, false }
#define TAKEN_OUT(name)      { #name "_taken_out", name, false, true }
static const struct {
	const char *name;
	void (*run)(void);
	bool fresh;     /* steps do not move page tables home, as when forks come in quick succession */
	bool taken_out; /* steps take pages out, as on a kernel that cannot protect them */
} cases[] = {
	CASE(settles),
	CASE(descendant_keeps_its_snapshot),
	CASE(younger_descendant),
	CASE(older_descendants_hold_the_file),
	CASE(given_back_once),
	CASE(doubt_is_given_up),
	CASE(fork_between_steps),
	CASE(dumps_end_with_the_capacity),
	CASE(no_part_waits_for_ever),
	CASE(steps_are_small),
	CASE(little_is_one_step),
	CASE(fork_waits_for_the_step),
	CASE(forks_of_libc),
	CASE(no_settling_amid_a_fork),
	CASE(handler_forks_while_the_lock_is_held),
	CASE(child_is_a_program_too),
	CASE(raw_clone_while_live),
	CASE(raw_clone_amid_settle),
	CASE(raw_clone_while_frozen),
	CASE(raw_clone_while_the_lock_is_held),
	CASE(raw_clone_after_a_failed_fork),
	CASE(fork_fails_in_its_first_step),
	CASE(fork_fails_in_its_second_step),
	CASE(fork_of_what_cannot_be_frozen),
	CASE(fork_by_the_keeper_is_tried_again),
	CASE(fork_that_is_refused),
	CASE(fork_loses_home),
	CASE(foreign_memory_is_left_alone),
	CASE(foreign_memory_is_left_alone_amid_a_settle),
	CASE(fork_fails_between_two_halves),
	CASE(pages_that_cannot_be_told_apart),
	CASE(step_refused_in_the_end),
	CASE(swapped_pages_count),
	CASE(swapped_pages_are_asked_for),
	CASE(pages_of_zeros),
	CASE(discard_while_live),
	CASE(discard_while_frozen),
	CASE(discards_are_punched),
	CASE(written_after_a_discard),
	CASE(discard_is_forgotten),
	CASE(zeros_take_no_mapping),
	CASE(zeros_take_no_mapping_without_populate),
	CASE(threads_amid_a_step),
	CASE(threads_after_a_failed_step),
	CASE(no_settling_beside_threads),
	CASE(settles_in_slices),
	CASE(bare_region_is_hidden),
	CASE(own_memory_has_no_large_pages),
	CASE(sealed_beside_a_large_page),
	CASE(unmapped_amid_a_merge),
	CASE(holes_fault),
	CASE(memory_taken_again_is_zero),
	CASE(holes_taken_while_frozen),
	CASE(taken_amid_a_settle_is_hidden),
	CASE(over_the_end_of_what_is_live),
	CASE(islands_are_private),
	CASE(islands_amid_a_settle_are_inherited),
	CASE(islands_given_back),
	CASE(islands_given_back_late),
	CASE(what_waits_is_not_proposed),
	CASE(islands_of_raw_children),
	CASE(lost_memory_is_given_back),
	CASE(nothing_lost),
	CASE(list_is_full),
	CASE(list_in_blocks),
	CASE(list_beside_readers),
	CASE(list_of_raw_children),
	CASE(child_of_one_just_given_up),
	CASE(leaves),
	CASE(leaves_a_raw_child_alone),
	CASE(foreign_memory_in_the_template),
	CASE(place_of_the_template_is_kept),
	CASE(nothing_is_moved_to_a_lost_place),
	CASE(fork_with_a_lost_place),
	CASE(lost_place_amid_a_settle),
	CASE(lost_place_of_a_hole_amid_a_settle),
	CASE(files_are_the_keepers),
	CASE(files_of_a_late_region),
	CASE(page_tables_come_home),
	CASE(writes_to_the_file_fail),
	WITHOUT_TABLES(settles),
	WITHOUT_TABLES(fork_between_steps),
	WITHOUT_TABLES(raw_clone_amid_settle),
	WITHOUT_TABLES(pages_that_cannot_be_told_apart),
	WITHOUT_TABLES(step_refused_in_the_end),
	WITHOUT_TABLES(pages_of_zeros),
	WITHOUT_TABLES(discards_are_punched),
	WITHOUT_TABLES(written_after_a_discard),
	WITHOUT_TABLES(threads_amid_a_step),
	WITHOUT_TABLES(threads_after_a_failed_step),
	WITHOUT_TABLES(lost_place_amid_a_settle),
	CASE(readers_amid_a_step),
	WITHOUT_TABLES(readers_amid_a_step),
	CASE(zeros_before_the_memory_goes),
	WITHOUT_TABLES(zeros_before_the_memory_goes),
	CASE(steps_merge_what_is_private),
	CASE(nothing_stays_protected),
	TAKEN_OUT(settles),
	TAKEN_OUT(fork_between_steps),
	TAKEN_OUT(raw_clone_amid_settle),
	TAKEN_OUT(pages_that_cannot_be_told_apart),
	TAKEN_OUT(step_refused_in_the_end),
	TAKEN_OUT(pages_of_zeros),
	TAKEN_OUT(discards_are_punched),
	TAKEN_OUT(written_after_a_discard),
	TAKEN_OUT(threads_amid_a_step),
	TAKEN_OUT(threads_after_a_failed_step),
	TAKEN_OUT(lost_place_amid_a_settle),
};
#define CASES (sizeof cases / sizeof *cases)

enum { PATIENCE_S = 20 };

static __attribute__((noreturn)) void run(size_t which)
{
	odf_capabilities capabilities = ODF_CAPABILITIES_INIT;

	signal(SIGPIPE, SIG_IGN);
	alarm(case_seconds(PATIENCE_S));
	must(odf_capabilities_get(&capabilities) == 0);
	if (capabilities.strategy[ODF_STRATEGY_REGION] != ODF_REASON_NONE)
		cannot_be_done_here(odf_reason_text(capabilities.strategy[ODF_STRATEGY_REGION]));
	region_fresh_always = cases[which].fresh;
	region_take_out_always = cases[which].taken_out;
	cases[which].run();
	_exit(0);
}

static volatile pid_t running;

/* In the parent, since the library may have signals blocked. */
static void end_of_patience(int unused)
{
	(void)unused;
	kill(running, SIGKILL);
}

int main(int argc, char **argv)
{
	int failed = 0;

	ours = true;
	region_zero_pages_never = true; /* gives_back, and every second seed of the models, give them back */
	unsetenv("ODFORK_UFFD_FD");
	for (size_t i = 0; argc == 2 && i < CASES; i++)
		if (strcmp(argv[1], cases[i].name) == 0)
			run(i);
	if (argc != 1) {
		fprintf(stderr, "no such case\n");
		return 2;
	}
	printf("1..%zu\n", CASES);
	for (size_t i = 0; i < CASES; i++) {
		int status;
		pid_t pid;
		fflush(stdout);
		pid = fork();
		if (pid == 0)
			run(i);
		running = pid;
		signal(SIGALRM, end_of_patience);
		alarm(case_seconds(PATIENCE_S) + 2);
		status = status_of(pid);
		alarm(0);
		signal(SIGALRM, SIG_DFL);
		if (WIFSIGNALED(status))
			printf("# %s\n", WTERMSIG(status) == SIGALRM || WTERMSIG(status) == SIGKILL
						 ? "hangs"
						 : strsignal(WTERMSIG(status)));
		failed += status != 0 && status != 77 << 8;
		printf("%s %zu - %s%s\n", status == 0 || status == 77 << 8 ? "ok" : "not ok", i + 1, cases[i].name,
		       status == 77 << 8 ? " # SKIP not here" : "");
	}
	return failed > 0;
}
