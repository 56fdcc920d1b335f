#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Breaks, one at a time, lines that make the heap's memory behave like the kernel's and libc's. A case of test_heap,
# malloc_in_place or test_moved, or a number of seeds of test_heap_model, must detect each. Only the broken file is
# compiled; the library is linked from it and the build's other objects. If a change to the heap makes an edit fail to
# apply, the test fails: the edit must be updated.
#
#   tests/injection/heap_mutations.sh [NAME...]     those only; without a name an eighth of them, and the others in the
#                                                   next seven days; or all, with ODF_TEST_SCALE
#
# Not here, since a program cannot see the change: giving back at once what a move copies (memory only); check_pieces
# and the alignment of large mappings (cost only).
# shellcheck disable=SC2016
flags="-std=gnu11 -O1 -w -fPIC -fvisibility=hidden -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64"
flags="$flags -include ${ODF_BUILD:?}/config.h -I${ODF_SOURCE:?}/include"
# shellcheck source=mutants.sh
. "$(dirname "$0")/mutants.sh"

# test_heap finds the library and its own binary there.
mkdir -p "$work/broken/tests"
for program in test_heap test_heap_linked test_heap_static; do
	ln -s "$build/tests/$program" "$work/broken/tests/$program"
done

objects=$(ls "$build"/libcore.a.p/*.o "$build"/libregion.a.p/*.o "$build"/libbetween_clone_and_exec.a.p/*.o \
	"$build"/libodfork.so.0.*.p/*.o)

link() { # FILE OBJECT: links the library with this object in place of the file's
	own=src_$(echo "${1%.c}" | tr / _).c.o others=
	for object in $objects; do
		[ "${object##*/}" = "$own" ] || others="$others $object"
	done
	# shellcheck disable=SC2086
	${ODF_CC:-cc} -shared -Wl,-S -o "$work/broken/libodfork.so.0" "$2" $others -pthread -Wl,-soname,libodfork.so.0 \
		"-Wl,--version-script=$build/libodfork.map" -Wl,-z,now,-z,nodelete,-z,defs 2> "$work/log"
}

notice() { # TEST [SECONDS [SECONDS-FOR-GOOD]]: true if it passes
	export ODF_CASE_SECONDS="${2:-60}"
	case $1 in
	model_*)
		in_group env ODF_TEST_LIBRARY="$work/broken/libodfork.so.0" ODF_TEST_SEEDS="${1#model_}" \
			ODF_TEST_ONCE=1 timeout -s KILL "${3:-150}" \
			"$build/tests/test_heap_model" > "$work/out" 2>&1
		;;
	malloc_*) in_group env ODF_BUILD="$work/broken" timeout -s KILL "${3:-100}" "$build/tests/malloc_in_place" "" \
		"${1#malloc_}" > "$work/out" 2>&1 ;;
	moved_*) in_group env ODF_BUILD="$work/broken" timeout -s KILL "${3:-100}" "$build/tests/test_moved" \
		"${1#moved_}" > "$work/out" 2>&1 ;;
	*) in_group env ODF_BUILD="$work/broken" timeout -s KILL "${3:-100}" "$build/tests/test_heap" "$1" \
		> "$work/out" 2>&1 ;;
	esac
}

# TEST: true if it passes. A test that takes too long counts as hanging if the sound library does not take so long now;
# otherwise it gets more time. In the model each step has a limit of its own.
passes() {
	case $1 in model_*) notice "$1"; return ;; esac
	begun=$(date +%s)
	notice "$1" 10 30 && return 0
	[ $(($(date +%s) - begun)) -ge 9 ] || return 1
	mv "$work/broken/libodfork.so.0" "$work/mutant.so"
	cp "$build/libodfork.so.0" "$work/broken/libodfork.so.0"
	notice "$1" 10 30
	sound_in_time=$?
	mv "$work/mutant.so" "$work/broken/libodfork.so.0"
	[ "$sound_in_time" != 0 ] && notice "$1"
}

# TEST: true if it passes with the library as built; the result is cached. Of the model only a few seeds are run: the
# test heap_model runs all.
sound() {
	if [ ! -e "$work/passes-$1" ]; then
		cp "$build/libodfork.so.0" "$work/broken/libodfork.so.0"
		notice "$(echo "$1" | sed 's/^model_.*/model_16/')" 300 600 && grep -q '^ok\|^# .*seeds;' "$work/out" &&
			! grep -q "^ok.*$1 # SKIP" "$work/out"
		echo $? > "$work/passes-$1"
	fi
	[ "$(cat "$work/passes-$1")" = 0 ]
}

# NAME FILE TEST EDIT (perl, on the whole file)
mutant() {
	name=$1 file=$2 test=$3 edit=$4
	wanted "$name" || return 0
	[ "$in_turn" = 1 ] || { make_mutant "$name" "$file" "$edit" || return 0; }
	if ! sound "$test"; then
		cp "$work/out" "$work/log"
		result 0 "$name: $test fails with the sound library, or cannot be done here"
		return 0
	fi
	make_mutant "$name" "$file" "$edit" || return 0
	if ! link "$file" "$work/mutant.o"; then
		result 0 "$name: the edited $file cannot be linked"
		return 0
	fi
	# The effect of a mutant may depend on chance.
	if passes "$test" && passes "$test" && passes "$test"; then
		result 0 "$name survives $test"
	else
		caught=$((caught + 1))
		result 1 "$name caught by $test"
	fi
}

# Mutants of code that does not run for a region that stays FROZEN.
mutant_of_settling() {
	if "$build/odfork" probe | grep -q '^uffd_minor *yes'; then
		mutant "$@"
	elif wanted "$1"; then
		skipped=$((skipped + 1))
		result 1 "$1 # SKIP nothing settles beside a program here"
	fi
}

# ---- munmap and mmap -------------------------------------------------------------------------------------------------
mutant length_not_rounded_up heap/mapping.c model_160 \
	's/span_unmap\(address, \(char \*\)address \+ span_round_up\(length\)\)/'\
'span_unmap(address, (char *)address + length \/ HEAP_PAGE * HEAP_PAGE)/'
mutant hole_not_given_back heap/span.c model_160 \
	's/return -region_give\(span->region, span_offset\(span\), span->length\);/return 0;/'
mutant noreplace_replaces heap/mapping.c model_160 's/if \(!span_is_all_hole\(address, end\)\)/if (false)/'
mutant mapped_over_not_lost heap/span.c model_160 's/region_lose_end\(home->region, offset, size\);/(void)0;/'
mutant refused_mapping_is_lost heap/span.c moved_mapping_refused \
	's/if \(pass == 1 && result < 0 && result >= -4095\) \{/if (false) {/'

# ---- Rights, advice, locks -------------------------------------------------------------------------------------------
mutant gap_written_to region/discard.c moved_moved_away_dropped_around 's/error == -ENOMEM \|\| //'
mutant dontneed_keeps_memory heap/advice.c model_160 \
	's/return -region_discard_unlocked\(span->region, span_offset\(span\), span->length\);/return 0;/'
mutant_of_settling dontneed_keeps_islands heap/span.c mappings \
	's/if \(!region_map_zeros\(span->start, span->length, span->protection\)\)/if (false)/'
mutant zeros_without_rights heap/span.c model_160 \
	's/region_map_zeros\(span->start, span->length, span->protection\)/'\
'region_map_zeros(span->start, span->length, PROT_READ | PROT_WRITE)/'
mutant zeros_without_advice heap/span.c mappings \
	's/(if \(!region_map_zeros\(span->start, span->length, span->protection\)\)\s*'\
'return -ENOMEM;\s*)span_keep_advice\(span->start, span->length, span->advice\);/$1/s'
mutant advice_ends_at_a_hole heap/advice.c model_160 \
	's/return advice != MADV_POPULATE_READ && advice != MADV_POPULATE_WRITE;/return false;/'
mutant guards_on_a_file heap/advice.c model_160 \
	's/if \(advice == MADV_WIPEONFORK \|\| advice == MADV_GUARD_INSTALL \|\| '\
'advice == MADV_GUARD_REMOVE\)/if (false)/'
mutant anonymous_without_rights heap/span.c mappings \
	's/(long span_make_anonymous.*?)if \(error == 0 && protection != \(PROT_READ \| PROT_WRITE\)\)/$1if (false)/s'
mutant anonymous_is_zero heap/span.c model_160 's/\(void\)span_copy\(\(char \*\)copy, from, length\);/;/'
mutant children_remember_locks heap/span.c mappings \
	's/else if \(run.kind == REGION_ISLAND && \(run.advice & KEPT_LOCKED\)\)/else if (false)/'
mutant locks_not_noted heap/known.c mappings 's/note_locks\(start, at, flags\);//'
mutant locked_up_to_the_first_failure heap/known.c mappings \
	's/error = span.kind == REGION_HOLE \? -ENOMEM : span_cut\(&span\);/'\
'error = span.kind == REGION_HOLE ? -ENOMEM : span_cut(\&span); error = error == 0 ? lock_all(span.start, '\
'span.length, flags) : error;/'

# ---- mremap ----------------------------------------------------------------------------------------------------------
mutant move_loses_the_tail heap/remap.c model_160 \
	's/copy_out\(\(char \*\)place, span, common, !stays\);/'\
'copy_out((char *)place, span, common - HEAP_PAGE, !stays);/'
mutant moved_from_stays heap/remap.c model_160 's/\(void\)span_unmap\(span->start, span->start \+ span->length\);//'
mutant move_loses_rights heap/remap.c model_160 \
	's/if \(protection != \(PROT_READ \| PROT_WRITE\)\)\s*\(void\)sys_call3\(SYS_mprotect, place, length, '\
'protection\);[^\n]*//'
mutant move_loses_advice heap/remap.c mappings 's/span_keep_advice\(\(char \*\)place, length, span->advice\);//'
mutant not_unmapped_keeps_content heap/remap.c model_160 's/\(void\)span_zero\(&part\);//'
mutant growth_without_advice heap/remap.c mappings 's/while \(advice != 0 && at < end\)/while (false)/'
mutant shrinks_to_nothing_less heap/remap.c model_160 \
	's/(if \(stays\) \{\n\t\t)long error = span_unmap\(old \+ length, old \+ old_length\);/$1long error = 0;/'
mutant hole_can_be_resized heap/remap.c mappings \
	's/long error = sys_call5\(SYS_mremap, old, HEAP_PAGE, HEAP_PAGE, 0, 0\);/long error = 0;/'
mutant several_mappings_are_one heap/remap.c mappings \
	's/ &&\s*next.protection == span->protection &&\s*next.advice == span->advice;/;/'

# ---- What is done past the library, and rare calls -------------------------------------------------------------------
mutant frozen_without_a_look region/freeze.c moved_mapped_over \
	's/error = region_verify\(region, maps, at, end - at, &changed\);/error = 0;/'
mutant_of_settling settled_without_a_look region/settle.c moved_rights_taken_while_frozen \
	's/error = region_verify\(region, &maps, from, length, &changed\);/error = 0; changed = false;/'
mutant strays_left_alone region/verify.c moved_moved_away 's/error = region_bring_in_strays\(region, check->maps\);/;/'
mutant gaps_not_seen region/extent.c moved_moved_away_unmapped_around \
	's/if \(!region->gaps_seen &&.*?ENOMEM\)\s*return EAGAIN;//s'
mutant not_looked_past heap/span.c model_320 \
	's/\(void\)region_check\(home->region, \(size_t\)\(from - home->start\), \(size_t\)\(to - from\)\);/;/'
mutant gone_not_looked_for region/verify.c moved_moved_away_mapped_into \
	's/\(void\)region_bring_in_strays\(region, &maps\);/;/'
mutant text_of_mappings_misread region/maps.c model_80 \
	's/found->offset = number\(maps, 16/found->offset = number(maps, 10/'
mutant_of_settling strays_not_left_to_the_keeper region/hooks.c moved_moved_away_beside_a_thread \
	's/region_leave_strays\(region_keeper_settling\(\) == ODF_REGION_SETTLES_ALWAYS &&\s*\(tries < '\
'TRIES_TO_FREEZE[^;]*;/'\
'region_leave_strays(false);/'
mutant_of_settling strays_forgotten region/freeze.c moved_moved_away_beside_a_thread \
	's/known = error == 0 \|\| maps == NULL;/known = true;/'
mutant rights_not_seen region/verify.c moved_rights_taken \
	's/mapping->protection == region->rights \? OURS : RIGHTS/OURS/'
mutant_of_settling not_compared region/verify.c moved_without_a_descriptor \
	's/if \(compare\(region->home \+ from, length\) != -EINVAL\)/if (true)/'
mutant own_is_taken_away region/own.c moved_own_unmapped 's/return look.found;/return false;/'
mutant own_is_moved_over heap/remap.c moved_own_moved_over 's/&& own_meets\(fixed, length\)/\&\& false/'
mutant planned_is_free region/memory.c moved_own_crowded \
	's/return region->in_place && \(meets/return false \&\& (meets/'
mutant place_of_a_view region/memory.c moved_own_crowded_once \
	's/\(!for_view && has_a_view\(region, place\)\)/false/'
mutant lock_of_other_memory heap/remap.c moved_locked_before_it_grew \
	's/\tspan_forget_ended_locks\(old, old \+ old_length\);/\t;/'
mutant lock_forgotten_once heap/span.c moved_locked_before_it_grew_twice \
	's/span_note_advice\(&span, 0, KEPT_LOCKED \| KEPT_ONFAULT\);/;/'
mutant views_are_advised heap/own.c moved_own_advised 's/bool views = length >= OWN_WIDE/bool views = false/'
mutant other_part_of_ours heap/attach.c moved_other_parts_of_a_file \
	's/result = span.kind == REGION_FOREIGN \? 0 : -EINVAL;/result = 0;/'
mutant sealed_in_the_region heap/attach.c moved_sealed 's/result = prepare_to_seal\(start, end\);/result = 0;/'
mutant seal_forgotten heap/attach.c moved_sealed 's/\t\t\tregion_seal\(/\t\t\tif (false)\n\t\t\t\tregion_seal(/'
mutant no_large_pages heap/advice.c moved_large_pages_asked 's/span_make_large\(span, advice == MADV_COLLAPSE\);/;/'
mutant large_pages_over_data region/fresh.c moved_large_pages_beside_data \
	's/if \(is_zero_table\(region->home \+ at\)\)/if (true)/; s/save_late_pages\(region, at\);/;/'

# ---- Whose it is -----------------------------------------------------------------------------------------------------
mutant guests_wake_it heap/state.c guests_do_not_wake_it 's/if \(heap_is_guest\(\)\)/if (false)/'
mutant children_are_guests heap/process.c children_wake_for_themselves \
	's/, MADV_WIPEONFORK\) < 0/, MADV_NORMAL) < 0/; s/(void heap_note_process_quietly\(void\)\n\{)/$1\n\treturn;/'

# ---- malloc ----------------------------------------------------------------------------------------------------------
mutant_of_settling malloc_not_seen preload/within.c malloc_small_blocks \
	's/written = write_all\(memory, changes, count\);/written = true;/'
mutant_of_settling segment_not_noted preload/brk.c malloc_small_blocks \
	's/heap_note_grown\(\(void \*\)own_from/if (own_from == 0)\n\t\t\theap_note_grown((void *)own_from/'
mutant segment_not_given_back preload/brk.c malloc_small_blocks \
	's/long error = first < end \? heap_give_back\(\(void \*\)first, end - first, move_down, &move\) : /'\
'long error = /; s/\tuintptr_t first = .*\n//; s/, end = \(from \+ PAGE - 1\) \/ PAGE \* PAGE;/;/'
mutant segments_end_not_kept preload/brk.c malloc_small_blocks 's/\*libcs_end = is;/;/'
mutant_of_settling rights_never_looked_at region/young.c malloc_four_threads \
	's/if \(atomic_exchange\(&region->rights_changed, false\)\)/if (false)/'
mutant_of_settling growth_before_waking_forgotten heap/window.c malloc_small_blocks \
	's/heap_note_early_growth\(address, length\);/;/'
mutant_of_settling moved_before_waking_forgotten heap/remap.c malloc_one_that_grows \
	's/if \(early && old_length > 0\)/if (false)/'
mutant wakes_not_by_growth heap/remap.c wakes_by_growing_requests 's/heap_grows\(length - old_length\);/;/'
mutant wakes_not_by_the_segment heap/window.c wakes_by_small_requests 's/\theap_grows\(length\);\n//'

finish
