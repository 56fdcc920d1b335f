#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Breaks, one at a time, lines of the region code that keep an invariant (src/region/internal.h). A case of region_cases
# must detect each. Only the broken file is compiled; everything else is linked from the build. If a change to the
# region code makes an edit fail to apply, the test fails: the edit must be updated.
#
#   tests/injection/mutations.sh [NAME...]     those only; without a name an eighth of them, and the others in the next
#                                              seven days; or all, with ODF_TEST_SCALE
#
# Not here, since a program cannot see the change: the epoch in region_settle's check (a fork makes the region visible
# as well), within_file (no process can have a page beyond the file), drop_template and unstage (cost only), the wake in
# attach (UNREGISTER wakes too).
# shellcheck disable=SC2016
flags="-std=gnu11 -O1 -w -D_GNU_SOURCE -DODF_INJECT_FAILURES -fno-stack-protector"
flags="$flags -include ${ODF_BUILD:?}/config.h -I${ODF_SOURCE:?}/include"
# shellcheck source=mutants.sh
. "$(dirname "$0")/mutants.sh"
archive=$build/tests/libinjected.a

link() { # PROGRAM OBJECT...: objects precede the archive and replace its members of the same names
	program=$1
	shift
	# shellcheck disable=SC2086
	${ODF_CC:-cc} $cases "$@" "$archive" -pthread -o "$program" 2> "$work/log"
}

compile_cases() { # each of the cases' files
	cases=
	for part in "$source"/tests/injection/region_cases*.c "$source"/tests/model/list_model.c; do
		object=$work/$(basename "$part" .c).o
		compile "$part" "$object" || return 1
		cases="$cases $object"
	done
}

if ! compile_cases || ! link "$work/sound"; then
	cat "$work/log"
	echo "Bail out! it does not compile"
	exit 1
fi

try_case() { # PROGRAM SECONDS SECONDS-FOR-GOOD
	in_group env ODF_CASE_SECONDS="$2" timeout -s KILL "$3" "$1" "$case" 2> "$work/log" > "$work/out"
}

# NAME INVARIANT FILE CASE EDIT (perl, on the whole file)
mutant() {
	name=$1 invariant=$2 file=$3 case=$4 edit=$5
	wanted "$name" || return 0
	[ "$in_turn" = 1 ] || { make_mutant "$name" "region/$file" "$edit" || return 0; }
	# The case passes with the sound library; the result is cached.
	if [ ! -e "$work/passes-$case" ]; then
		ODF_CASE_SECONDS=240 "$work/sound" "$case" 2> "$work/log"
		echo $? > "$work/passes-$case"
	fi
	case $(cat "$work/passes-$case") in
	0) ;;
	77) skipped=$((skipped + 1)); result 1 "$name # SKIP $case cannot be done here"; return 0 ;;
	*) result 0 "$name: $case fails on the sound library"; return 0 ;;
	esac
	make_mutant "$name" "region/$file" "$edit" || return 0
	if ! link "$work/mutant" "$work/mutant.o"; then
		result 0 "$name: the edited $file cannot be linked"
		return 0
	fi
	try_case "$work/mutant" 2 8
	# Slow is not broken: if the sound library does not end in that time now either, the mutant gets more time.
	case $status in
	137 | 142) late=$status
		try_case "$work/sound" 2 8
		if [ "$status" = 0 ]; then status=$late; else try_case "$work/mutant" 20 60; fi ;;
	esac
	# Whether threads meet depends on chance: a mutant that survives is tried again.
	for again in 2 3; do
		[ "$status" != 0 ] || try_case "$work/mutant" 20 60
	done
	case $status in
	0 | 77) how= ;;
	142) how="it hangs" ;;
	137) how="it hangs for good" ;;
	1) how=$(tail -n 1 "$work/log" | cut -c 1-90) ;;
	*) how="signal $((status - 128))" ;;
	esac
	if [ -n "$how" ]; then
		caught=$((caught + 1))
		result 1 "$name (invariant $invariant) caught by $case: $how"
	else
		result 0 "$name (invariant $invariant) survives $case"
	fi
}

# Mutants of code that runs only if a settle runs beside the program.
mutant_of_settling() {
	wanted "$1" || return 0
	"$work/sound" fork_waits_for_the_step 2> "$work/log"
	if [ $? = 77 ]; then
		skipped=$((skipped + 1))
		result 1 "$1 # SKIP nothing settles beside a program here"
	else
		mutant "$@"
	fi
}

# ---- 1: a frozen file is never written -------------------------------------------------------------------------------
mutant settles_although_busy 1 token.c descendant_keeps_its_snapshot \
	's/if \(sealed == 0\)/if (sealed == 0 || sealed == -EBUSY)/'
mutant token_not_asked 1 token.c descendant_keeps_its_snapshot \
	's/sealed = sys_call3\(SYS_fcntl, region->token_file[^;]*;/sealed = 0;/'
mutant older_not_asked 1 older.c older_descendants_hold_the_file \
	's/\? region_token_ask_older\(region\) : EAGAIN/? 0 : EAGAIN/'
mutant older_not_told_apart 1 older.c older_descendants_hold_the_file \
	's/error = region_token_renew\(region\)/error = 0/'
mutant older_forgotten 2 token.c older_descendants_hold_the_file \
	's/region->older_file = region->token_file;/sys_close(region->token_file);/'
mutant nothing_dropped - older.c older_descendants_hold_the_file 's/sys_call4\(SYS_fallocate[^;]*;/true;/'
mutant step_after_a_fork 1 settle.c fork_between_steps 's/if \(region->epoch != epoch.*?lost\)\n/if (false)\n/s'
mutant forks_not_counted 1 pending.c no_settling_amid_a_fork 's/region_forks_pending\+\+;/;/'
mutant counted_forks_ignored 1 settle.c no_settling_amid_a_fork 's/region_has_pending_forks\(\)/false/g'
mutant fork_leaves_the_verdict 1 freeze.c descendant_keeps_its_snapshot 's/region->vacant = false;//g'
mutant show_gives_the_verdict 1 token.c fork_between_steps \
	's/(region->visible = true;\n\tregion->vacant = )false;/$1true;/'
mutant discard_punches_frozen 1 discard.c discard_while_frozen \
	's/(char \*start = region->home \+ from;)/'\
'$1 if (!region->inherited) sys_call3(SYS_madvise, region->aside + from, length, MADV_REMOVE);/'

# ---- 2: the token ----------------------------------------------------------------------------------------------------
mutant token_private 2 token.c descendant_keeps_its_snapshot 's/MAP_SHARED \| MAP_FIXED/MAP_PRIVATE | MAP_FIXED/'
mutant token_not_inherited 2 token.c descendant_keeps_its_snapshot \
	's/(static int map_token.*?\n\{.*?\n\treturn )(.*?);\n\}/'\
'$1($2) || sys_call3(SYS_madvise, page, REGION_PAGE, MADV_DONTFORK);\n}/s'
mutant token_not_mapped 2 token.c descendant_keeps_its_snapshot \
	's/return map_token\(region, 1 - region->token, region->spare_file\)/return 0/'
mutant token_not_put_back 2 token.c younger_descendant \
	's/\tfor \(unsigned tries = 0; map_token\(region, region->token, region->token_file\) != 0;.*?\n\t\}\n//s'
mutant own_token_kept 2 token.c settles 's/error = unmap_token\(region, region->token\);/error = 0;/'

# ---- 3: children that came past us -----------------------------------------------------------------------------------
mutant home_visible_when_made 3 keeper_orders.c raw_clone_while_live 's/ \|\|\s*region_hide\(region\) != 0\)/)/'
mutant step_comes_home_visible 3 settle.c raw_clone_amid_settle \
	's/(region->live_length \+= step->length;)/$1 sys_call3(SYS_madvise, step->home, step->length, MADV_DOFORK);/'
mutant not_hidden_before_settling 3 token.c raw_clone_amid_settle \
	's/error = region->left \? 0 : region_hide\(region\);/region->visible = false;/'
mutant zeros_visible_amid_settle 3 discard.c raw_clone_amid_settle \
	's/sys_call3\(SYS_madvise, start, length, MADV_DONTFORK\)/0/'
mutant child_not_met 3 hooks.c raw_clone_while_frozen 's/(void region_meet_child\(void\)\n\{)/$1 return;/'
mutant child_owns_the_region 3 hooks.c child_is_a_program_too 's/region->inherited = true;//'
mutant child_keeps_the_list 3 hooks.c child_is_a_program_too 's/region_list = NULL;[^\n]*//'
mutant child_has_a_keeper 3 hooks.c child_is_a_program_too 's/\tregion_keeper_forget\(\);//'
mutant rest_not_shown 3 freeze.c fork_between_steps \
	's/\} else if \(region_show\(region\) != 0\) \{/'\
'} else if ((region->visible = true, region->vacant = false, false)) {/'
mutant no_handlers 3 hooks.c forks_of_libc \
	's/\(void\)pthread_atfork\(prepare, parent, child\);/(void)prepare, (void)parent, (void)child;/'

# ---- 4: all or nothing -----------------------------------------------------------------------------------------------
mutant lost_home_not_brought_back 4 freeze.c fork_loses_home 's/if \(region_is_mapped\(home, size\)\)/if (true)/'
mutant second_step_failed_unseen 4 freeze.c fork_fails_in_its_second_step \
	's/(if \(region_is_mapped\(home, size\)\)\s*return )ENOMEM;/${1}0;/'
mutant freeze_error_ignored 4 freeze.c fork_fails_in_its_first_step \
	's/(int region_freeze_all.*)return error;/$1return 0;/s'
mutant fork_error_ignored 4 hooks.c raw_clone_after_a_failed_fork \
	's/(int region_fork_begin.*?)return error;/$1return 0;/s'
mutant lost_place_used 4 freeze.c foreign_memory_is_left_alone \
	's/if \(region->aside_lost && region->live_length > 0\)\s*return ENOMEM;//'
mutant lost_place_unmapped 4 folded.c nothing_is_moved_to_a_lost_place \
	's/if \(region->aside_lost \|\| region->aside == NULL\)/if (region->aside == NULL)/'
mutant lost_place_unmapped_when_given_up 4 leave.c foreign_memory_is_left_alone \
	's/region_aside_drop\(region\);(\s*region->aside = NULL)/'\
'(void)region_unmap(region->aside, region->length);$1/'
mutant lost_place_used_when_given_up 4 leave.c foreign_memory_is_left_alone \
	's/if \(!region->aside_lost\)[^\n]*(\s*\(void\)region_move_aside)/$1/'

# ---- 5: doubt --------------------------------------------------------------------------------------------------------
mutant doubt_not_raised 5 token.c doubt_is_given_up 's/region->doubt = true;/;/'
mutant doubt_ignored 5 keeper.c doubt_is_given_up 's/facts->lost = region->doubt \|\| /facts->lost = /'
mutant doubt_not_told 5 create.c doubt_is_given_up 's/doubt = region->doubt \|\| region->left;/doubt = false;/'
mutant scan_error_is_none 5 merge.c pages_that_cannot_be_told_apart \
	's/if \(count < 0\)\s*return \(int\)-count;/if (count < 0) break;/'
mutant_of_settling failed_step_not_undone 5 settle.c pages_that_cannot_be_told_apart_taken_out \
	's/if \(!quiet\)\s*step_let_go\(region, settler, step\);//'
mutant_of_settling failed_step_copies_nothing_back 5 hold.c pages_that_cannot_be_told_apart_taken_out \
	's/copy_back\(settler, page, [^;]*;/;/'
mutant refusal_in_the_end_unseen 5 settle.c step_refused_in_the_end \
	's/if \(!bring_home\(step\)\)/if ((bring_home(step), false))/'
mutant failed_step_counts 5 settle.c pages_that_cannot_be_told_apart \
	's/(unstage\(region, step\);\s*)return error;(\s*\}\s*\/\* Invariant 3)/$1return 0;$2/'

# ---- 6: discards -----------------------------------------------------------------------------------------------------
mutant_of_settling discard_not_remembered 6 discard.c discards_are_punched \
	's/bits_put\(region->discarded, from \/ REGION_PAGE, \(from \+ length\) \/ REGION_PAGE, true\);//'
mutant discard_not_punched 6 merge.c discards_are_punched \
	's/if \(discarded && !give_back\(region[^;]*;/(void)offset, (void)length;/'
mutant discard_small_ignored 6 discard.c discard_while_frozen 's/\tmemset\(start, 0, length\);//'
mutant discard_live_ignored 6 discard.c discard_while_live \
	's/if \(sys_call3\(SYS_madvise, region->home \+ from, length, MADV_REMOVE\) < 0\)[^;]*;//'
mutant discard_in_child_ignored 6 discard.c child_is_a_program_too \
	's/\tlay_zeros\(region, from, length\);/if (!region->inherited) lay_zeros(region, from, length);/'
mutant discard_not_forgotten 6 settle.c discard_is_forgotten \
	's/region_discard_forget\(region, step->from, step->length\);//'
mutant merged_before_the_punch 6 merge.c written_after_a_discard \
	's/(\twhile \(page < end\) \{ \/\* discarded.*?\n\t\}\n)(\twhile \(at < stop\) \{.*?\n\t\}\n)/$2$1/s'

# ---- Pages -----------------------------------------------------------------------------------------------------------
mutant swapped_not_asked_for - private.c swapped_pages_are_asked_for \
	's/SCAN_IS_PRESENT \| SCAN_IS_SWAPPED,/SCAN_IS_PRESENT,/'
mutant swapped_not_counted - private.c swapped_pages_count 's/ENTRY_PRESENT \| ENTRY_SWAPPED\)/ENTRY_PRESENT)/'
mutant zeros_not_merged - merge.c pages_of_zeros \
	's/if \(zeros > 0 && !give_back\(region, step, offset \+ at, zeros\)\)\s*memset[^;]*;//'
mutant zeros_not_removed_not_written - merge.c pages_of_zeros_taken_out 's/memset\(to \+ at, 0, zeros\);/;/'
mutant punch_failed_not_written 6 merge.c discards_are_punched_taken_out \
	's/memset\(step->into \+ offset, 0, length\);/;/'
mutant cut_before_it_was_written - zero.c zeros_take_no_mapping 's/if \(!has_been_written\(start\)\)/if (false)/'
mutant only_first_page_of_a_run - merge.c settles \
	's/(merge_run\(region, step, runs\[i\].start, \(size_t\)\(runs\[i\].start - source\), )length\)/'\
'${1}REGION_PAGE)/'

# ---- Threads ---------------------------------------------------------------------------------------------------------
mutant not_registered - hold.c threads_amid_a_step_taken_out \
	's/int error = \(int\)sys_call3\(SYS_ioctl, settler->userfault, UFFDIO_REGISTER, &request\);/'\
'int error = ((void)request, 0);/'
mutant present_pages_not_registered - hold.c threads_amid_a_step_taken_out \
	's/UFFDIO_REGISTER_MODE_MISSING \| \(zeros \? 0 : UFFDIO_REGISTER_MODE_MINOR\)/UFFDIO_REGISTER_MODE_MISSING/'
mutant missing_pages_not_registered - hold.c threads_amid_a_step_taken_out \
	's/UFFDIO_REGISTER_MODE_MISSING \| \(zeros \? 0 : UFFDIO_REGISTER_MODE_MINOR\)/UFFDIO_REGISTER_MODE_MINOR/'
mutant not_woken - settle.c threads_amid_a_step 's/if \(!quiet\)\s*step_wake\(settler, step\);\s*(region->counters)/$1/'
mutant not_unregistered - hold.c threads_after_a_failed_step_taken_out \
	's/(step->home \+ \(page - step->scratch\)\);\s*\})\s*unregister\(settler, step->home, '\
'step->length\);\s*step_wake\(settler, step\);/$1/'
mutant not_unprotected - hold.c nothing_stays_protected \
	's/(return;\s*\})\s*unregister\(settler, step->home, step->length\);/$1/'
mutant not_protected - hold.c readers_amid_a_step \
	's/while \(\(error = \(int\)sys_call3\(SYS_ioctl, settler->userfault, UFFDIO_WRITEPROTECT, '\
'&request\)\)[^;]*;/(void)request;/'
mutant always_taken_out - hold.c readers_amid_a_step \
	's/return protection.marker != 0 && !region_take_out_always;/return false;/'
mutant markers_are_pages - private.c steps_merge_what_is_private \
	's/ \|\|\s+entries\[i\] == marker//'
mutant removed_before_it_is_zeros - merge.c zeros_before_the_memory_goes \
	's/if \(step->is_protected\)\s*write_zeros[^;]*;//'
mutant settles_beside_threads - hooks.c no_settling_beside_threads 's/tasks_count\(\) == 1;/tasks_count() >= 1;/'

# ---- The lock --------------------------------------------------------------------------------------------------------
mutant fork_does_not_lock - lock.c fork_waits_for_the_step 's/(void region_lock\(uint64_t \*mask\).*?)\ttake\(\);/$1/s'
mutant signals_not_blocked - lock.c handler_forks_while_the_lock_is_held \
	's/\(void\)sys_sigprocmask\(SIG_BLOCK, &all, mask\);/(void)all; *mask = 0;/'
mutant lock_not_renewed - lock.c raw_clone_while_the_lock_is_held 's/(void region_lock_renew\(void\)\n\{)/$1 return;/'

# ---- The next freeze -------------------------------------------------------------------------------------------------
mutant template_not_made - settle.c settles 's/if \(error == 0\)\s*error = region_template_make\(region\);//'
mutant_of_settling fresh_steps_move_tables - pace.c page_tables_come_home \
	's/return settler->userfault >= 0;/return false;/'
mutant_of_settling failed_write_unseen - merge.c writes_to_the_file_fail 's/ == \(long\)length;/ > 0;/'
mutant circle_does_not_turn - freeze.c no_part_waits_for_ever \
	's/region->live_from = \(region->live_from \+ done\) % region->length;//'

# ---- Holes and islands -----------------------------------------------------------------------------------------------
mutant bare_home_visible 3 keeper_orders.c bare_region_is_hidden \
	's/sys_call3\(SYS_madvise, region->home, region->length, MADV_DONTFORK\) < 0/false/'
mutant hole_keeps_its_pages - extent.c memory_taken_again_is_zero \
	's/run.stale = !viewed \|\| !region_punch\(region, run.from, run.length\);/run.stale = false;/'
mutant hole_not_punched_not_stale - extent.c memory_taken_again_is_zero \
	's/run.stale = !viewed \|\| !region_punch\(region, run.from, run.length\);/'\
'(void)region_punch(region, run.from, run.length); run.stale = false;/'
mutant hole_can_be_read - extent.c holes_fault \
	's/bool viewed = region_map_view\(region, home, run.from, run.length\);/bool viewed = true;/'
mutant frozen_hole_can_be_read - extent.c holes_fault \
	's/region_map_zeros\(start, length, PROT_NONE\)/region_map_zeros(start, length, PROT_READ | PROT_WRITE)/'
mutant hole_not_stale 6 extent.c memory_taken_again_is_zero \
	's/(REGION_HOLE,\s*\.stale = )true \}/$1false }/'
mutant hole_taken_by_halves 4 extent.c islands_given_back 's/if \(run.stale\)\s*return EAGAIN;//'
mutant hole_without_aside - extent.c holes_taken_while_frozen \
	's/if \(!region_map_view\(region, region->aside \+ run.from, run.from, run.length\)\)/if (false)/'
mutant aside_of_a_hole_without_rights - extent.c holes_taken_while_frozen \
	's/!region_open_view\(region, region->aside \+ run.from, run.length\)/false/'
mutant taken_not_discarded 6 extent.c memory_taken_again_is_zero \
	's/region_discard_mark\(region, run.from, run.length\);//'
mutant taken_visible_amid_settle 3 extent.c taken_amid_a_settle_is_hidden \
	's/if \(!region_hide_zeros\(region, home, run.length\)\)\s*region->doubt = true;//'
mutant border_of_live_ignored - extent.c over_the_end_of_what_is_live \
	's/(bool live = region_is_live\(region, at, &end\);)\n\t\trun.length = end - at;/$1 end = at + run.length;/'
mutant given_island_leaves_verdict 1 extent.c islands_of_raw_children \
	's/if \(run.kind == REGION_ISLAND\)\s*region->vacant = false;//g'
mutant lost_island_leaves_verdict 1 extent_lose.c islands_of_raw_children \
	's/(region_discard_forget\(region, run.from, run.length\);\n\t\t)region->vacant = false;/$1/'
mutant answer_shows_what_is_live 3 token.c islands_of_raw_children \
	's/region->live_length == 0 && region_show/region_show/'
mutant island_shared 3 extent.c islands_are_private 's/error = cover_for_good\(region, run.from, run.length\);//'
mutant island_hidden - extent.c islands_amid_a_settle_are_inherited \
	's/sys_call3\(SYS_madvise, region->home \+ run.from, run.length, MADV_DOFORK\) < 0/false/'
mutant waiting_hole_proposed - extent_list.c what_waits_is_not_proposed \
	's/if \(region_is_live\(region, extent->from, &until\) \|\| until != limit\)\s*start = end;//'
mutant hole_proposed_too_small - extent_list.c what_waits_is_not_proposed \
	's/end - aligned >= length\)/end - aligned + REGION_PAGE >= length)/'
mutant hole_proposed_not_aligned - extent_list.c what_waits_is_not_proposed \
	's/aligned = \(size_t\)\(\(\(uintptr_t\)region->home.*?;/aligned = start;/s'
mutant lost_memory_kept - extent_lose.c lost_memory_is_given_back \
	's/(\t)stale = !region_punch\(region, run.from, run.length\);/$1stale = false;/g'
mutant lost_memory_not_stale - extent_lose.c lost_memory_is_given_back \
	's/(region->vacant = false;\n\t\tregion->given_back \+= run.length;\n\t\t)stale = true;/$1stale = false;/'
mutant list_overflows - extent_room.c list_is_full \
	's/(was->count \+ more > REGION_EXTENTS\)\s*return) false/$1 true/'
# The list in blocks.
mutant blocks_not_joined - extent_list.c list_in_blocks 's/if \(first.index == 0 && gone.from > 0\)\s*gone.from--;//'
mutant small_blocks_stay - extent_list.c list_in_blocks \
	's/most < REGION_BLOCK_LEAST \+ JOINS && gone.(end < was->blocks|from > 0)/false/g'
mutant blocks_filled_unequally - extent_list.c list_in_blocks \
	's/\(most \+ count - 1\) \/ count : 0/REGION_BLOCK_MOST : 0/'
mutant pieces_not_taken_off - extent_list.c list_in_blocks \
	's/ - count_pieces\(was, first, past\) \+ out.pieces/ + out.pieces/'
mutant piece_behind_forgotten - extent_list.c list_in_blocks \
	's/return pieces \+ \(extent != NULL && extent->from > end\)/return pieces/'
mutant blocks_lost - extent_list.c list_in_blocks \
	's/for \(size_t i = gone.from; i < gone.end; i\+\+\)\s*set_order\(is, known\+\+, was->order\[i\]\);//'
mutant next_block_not_found - extent_list.c list_in_blocks 's/if \(low == count_of\(block\)\)\s*place = [^;]*;//'
mutant blocks_seen_half_written - extent_list.c list_beside_readers \
	's/set_order\(is, known\+\+, i < taken \? /$&i < gone.end - gone.from ? was->order[gone.from + i] : /'
mutant list_published_early - extent_list.c list_of_raw_children \
	's/\t__atomic_store_n\(&region->extents, is, __ATOMIC_RELEASE\);//;
		s/(\tfresh = replace_blocks[^;]*;)/$1 __atomic_store_n(&region->extents, is, __ATOMIC_RELEASE);/'
mutant index_changed_in_place - extent_room.c list_in_blocks \
	's/extents->behind == INDEXES \? index \+ REGION_PAGE\s*: index - REGION_PAGE/index/'
mutant blocks_copied_in_disorder - extent_room.c list_in_blocks 's/from->order\[i\]\), sizeof/i), sizeof/'
mutant blocks_too_few - extent_room.c list_in_blocks \
	's/\(most\) \/ REGION_BLOCK_LEAST \+/(most) \/ REGION_BLOCK_MOST +/'
mutant losses_overflow - extent_lose.c list_is_full \
	's/if \(!region_makes_room\(region, 2 \* runs\)\)\s*return ENOMEM;//'
mutant stale_not_punched 6 settle.c memory_taken_again_is_zero 's/if \(extent != NULL && extent->stale\) \{/if (0) {/'
mutant clean_punches_nothing 6 extent.c memory_taken_again_is_zero \
	's/if \(!region_has_room\(region\) \|\| !region_punch\(region, at, length\)\)/if (!region_has_room(region))/'
mutant clean_leaves_another_mapping 3 extent.c memory_taken_again_is_zero \
	's/run.kind == REGION_HOLE && !region_map_view\(region, region->home \+ at, at, length\)/false/'
mutant steps_over_islands 3 settle.c islands_are_private \
	's/ &&\s*region_extent_at\(region, step.from, step.from \+ step.length, '\
'&end\) == NULL\) \{\s*step.length = end - step.from;/) {/'
mutant step_over_the_next_island 3 settle.c islands_are_private 's/step.length = end - step.from;//'
mutant freezes_islands - freeze.c islands_are_private \
	's/if \(region_extent_at\(region, at, limit, &end\) != NULL\)/if (end = limit, false)/'
mutant template_place_given_up - extent.c place_of_the_template_is_kept \
	's/done > 0 && !region->shed && [^;]*?!region_reserve_again\(region->template \+ from, done\)/false/'
mutant template_place_not_known_lost - extent.c foreign_memory_in_the_template 's/region->template_lost = true;/;/'
mutant template_unmapped_though_lost - freeze.c foreign_memory_in_the_template 's/if \(!region->template_lost\)//'
mutant cuts_to_a_lost_place - extent.c nothing_is_moved_to_a_lost_place \
	's/if \(region_has_aside\(region\)\)(\s*aside = region_move_aside)/$1/'
mutant cut_clears_a_lost_place - folded.c nothing_is_moved_to_a_lost_place \
	's/else if \(!region->aside_lost && /else if (/'
mutant loses_to_a_lost_place - extent_lose.c nothing_is_moved_to_a_lost_place \
	's/if \(live && !region_has_aside\(region\)\)\s*return ENOMEM;//'
mutant takes_to_a_lost_place - extent.c lost_place_of_a_hole_amid_a_settle \
	's/if \(!region_has_aside\(region\)\)\s*return ENOMEM;(\s*if \(!region_map_view)/$1/'
mutant settles_with_a_lost_place - settle.c lost_place_amid_a_settle 's/\s*\|\|\s*region->aside_lost\)/)/'

# ---- The keeper's files ----------------------------------------------------------------------------------------------
mutant files_in_the_programs_table - keeper_start.c files_are_the_keepers \
	's/error = leave_descriptors\(device\);/error = 0;/'

# ---- At a fork -------------------------------------------------------------------------------------------------------
mutant_of_settling given_up_long_ago - keeper_freezes.c fork_by_the_keeper_is_tried_again \
	's/ && !region->left\)/)/'
mutant settles_without_limit - settle.c settles_in_slices 's/region->length && settler->until_ns != 0/false/'
mutant_of_settling fault_ends_the_keeper - merge.c unmapped_amid_a_merge \
	's/keeper_try\(merge, &merging\)/merge(\&merging)/'

finish
