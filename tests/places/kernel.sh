#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The kernel's on-demand fork: both published interfaces, sound and with their faults; with the library linked
# statically, into a static program, shared and preloaded. What the kernel offers, what the library checks, what it then
# uses, and what it reports.
. "$ODF_SOURCE/tests/places/kernel_common.sh"

# ---- The trap: what must never be issued kills -----------------------------------------------------------------------
expect "the filter kills for 439" status=159 -- "$facts" forbidden 439
expect "the filter kills for prctl 65" status=159 -- "$facts" forbidden 65
expect "the filter kills for prctl 0x4000" status=159 -- "$facts" forbidden 16384

# ---- Offered ---------------------------------------------------------------------------------------------------------
for kind in kernel_facts kernel_facts_shared kernel_facts_static; do
	expect "$kind: a stock kernel" \
		"interface=none reason=kernel_not_offered effect=not_asked end=not_asked forks=0" \
		-- "$tests/$kind" verify
	expect "$kind: held until cleared" "error=0 interface=use_odf_held reason=none $passed tables=few bit=0" \
		--kernel=held -- "$tests/$kind" verify
	expect "$kind: armed, and nothing forked" \
		"error=0 interface=use_odf_armed reason=kernel_loses_neighbors $unasked tables=unknown bit=0 forks=1
			on_demand=0" --kernel=armed -- "$tests/$kind" verify
done
for kernel in held armed; do
	expect "on already, $kernel: nothing is tried" \
		"error=16 interface=use_odf reason=kernel_not_verified $unasked bit=1 forks=0" --kernel=$kernel --on \
		-- "$facts" verify
done
for error in 1 13 30; do # EPERM, EACCES, EROFS
	expect "not writable, error $error" "interface=none reason=kernel_not_writable end=not_asked" --kernel=held \
		--deny=$error -- "$facts" verify
	expect "not writable, error $error, by name" "strategy=fork kernel=kernel_not_writable on_demand=0" \
		--kernel=held --deny=$error -- "$facts" fork 32 kernel
done
expect "a write that fails" "interface=use_odf reason=kernel_refused end=not_asked" --kernel=held --refuse \
	-- "$facts" verify
expect "a write that fails, in a fork" "strategy=fork kernel=kernel_refused on_demand=0 child_keeps=1" --kernel=held \
	--refuse -- "$facts" fork 32
expect "a write that fails, by name" "strategy=fork kernel=kernel_refused on_demand=0 child_keeps=1" --kernel=held \
	--refuse -- "$facts" fork 32 kernel
expect "a write that fails, nothing else allowed" \
	"strategy=none kernel=kernel_refused error=95 step=request on_demand=0" --kernel=held --refuse \
	-- "$facts" fork 32 only

# ---- Safe ------------------------------------------------------------------------------------------------------------
expect "5.6.19: discards do nothing" \
	"interface=use_odf_held reason=kernel_loses_discards discard=failed discard_neighbors=passed
		unmap_neighbors=passed" \
	--kernel=held --fault=discard -- "$facts" verify
expect "discards wipe neighbors" \
	"interface=use_odf_held reason=kernel_loses_neighbors discard=passed discard_neighbors=failed
		unmap_neighbors=passed" \
	--kernel=held --fault=discard_neighbors -- "$facts" verify
expect "so does munmap" \
	"interface=use_odf_held reason=kernel_loses_neighbors discard_neighbors=passed unmap_neighbors=failed" \
	--kernel=held --fault=unmap_neighbors -- "$facts" verify
expect "6.0.6 as it is" "interface=use_odf_armed reason=kernel_loses_neighbors $unasked forks=1 on_demand=0" \
	--kernel=armed --fault=discard_neighbors --fault=unmap_neighbors --fault=end -- "$facts" verify
expect "6.0.6, when the library is loaded" "strategy=fork kernel=kernel_loses_neighbors forks=2 on_demand=0" \
	--kernel=armed --fault=discard_neighbors --fault=unmap_neighbors --fault=end -- "$facts" fork 32
expect "children die" "reason=kernel_dies end=failed" --kernel=held --fault=end -- "$facts" verify
expect "a switch without effect" "reason=kernel_no_effect effect=failed writes=passed tables=copied" --kernel=held \
	--no-effect -- "$facts" verify
for kind in kernel_facts kernel_facts_shared kernel_facts_static; do
	ODFORK_STRATEGY=fork expect "$kind: asked for, it disturbs nothing" "undisturbed=1 forks=2 on_demand=1" \
		--kernel=held -- "$tests/$kind" undisturbed
	ODFORK_STRATEGY=fork expect "$kind: nor where the switch is for good" "undisturbed=1 forks=1 on_demand=0" \
		--kernel=armed -- "$tests/$kind" undisturbed
done
expect "tried out once" "undisturbed=1 forks=2" --kernel=held -- "$facts" undisturbed
ODFORK_STRATEGY=fork expect "not where it will not be used" "forks=1 strategy=fork kernel=not_allowed" --kernel=held \
	-- "$facts" fork 32
ODFORK_STRATEGY=kernel expect "where it will be, by name" "forks=3 strategy=kernel despite=none" --kernel=held \
	-- "$facts" fork 32
expect "not by itself in a sandbox" "forks=1 strategy=fork kernel=kernel_not_verified" --kernel=held --filtered \
	-- "$facts" fork 32
expect "asked for, in a sandbox too" "reason=none forks=2" --kernel=held --filtered -- "$facts" verify
expect "in the capabilities" "interface=use_odf_held kernel=none" --kernel=held -- "$facts" capabilities
expect "in the capabilities, what is known" "interface=use_odf_armed kernel=kernel_loses_neighbors on_demand=0" \
	--kernel=armed -- "$facts" capabilities
expect "in the capabilities, what it loses" "interface=use_odf_held kernel=kernel_loses_discards" --kernel=held \
	--fault=discard -- "$facts" capabilities

# ---- Used ------------------------------------------------------------------------------------------------------------
# A trial makes two processes, one of them on demand.
for kind in kernel_facts kernel_facts_shared kernel_facts_static; do
	expect "$kind: held, by itself" \
		"strategy=kernel kernel=chosen despite=none child_tables=few child_bit=0 child_keeps=1 keeps=1 bit=0
			forks=3 on_demand=2" \
		--kernel=held -- "$tests/$kind" fork 32
	expect "$kind: armed, not by itself" \
		"strategy=fork kernel=kernel_loses_neighbors child_tables=copied child_bit=0 child_keeps=1 keeps=1
			bit=0 forks=2 on_demand=0" \
		--kernel=armed -- "$tests/$kind" fork 32
	expect "$kind: armed, by name" \
		"strategy=kernel kernel=chosen despite=kernel_loses_neighbors child_tables=few child_bit=1
			child_keeps=1 keeps=1 bit=1 forks=2 on_demand=1" \
		--kernel=armed -- "$tests/$kind" fork 32 kernel
done
# A switch that is on is reported, whatever was requested; and no check is made, as its own forks would be on demand.
for how in auto kernel only plain; do
	expect "what was on stays on and is reported, $how" \
		"strategy=kernel kernel=chosen despite=kernel_not_verified child_tables=few bit=1 child_bit=1 forks=1" \
		--kernel=held --on -- "$facts" fork 32 $how
	expect "small as well, $how" "strategy=kernel kernel=chosen bit=1 child_bit=1 forks=1" --kernel=armed --on \
		-- "$facts" fork 1 $how
done
ODFORK_KERNEL=safe expect "on, and said to be safe" "strategy=kernel kernel=chosen despite=none bit=1 forks=1" \
	--kernel=held --on -- "$facts" fork 32
expect "on without effect is not on" "strategy=fork kernel=kernel_no_effect" --kernel=held --no-effect \
	-- "$facts" again 32
expect "after one by name it stays on" \
	"strategy=kernel again=kernel again_despite=kernel_loses_discards again_kernel=chosen bit=1 on_demand=3" \
	--kernel=held --fault=discard -- "$facts" again 32
expect "where data is kept it is put back" \
	"strategy=kernel again=fork again_despite=none again_kernel=not_allowed bit=0 on_demand=2" --kernel=held \
	-- "$facts" again 32
expect "too small" "strategy=fork kernel=too_small bit=0 on_demand=1" --kernel=held -- "$facts" fork 1
expect "too small, by name" "strategy=fork kernel=too_small despite=none on_demand=1" --kernel=held -- "$facts" fork 1 \
	kernel
expect "too small, nothing else allowed" "strategy=kernel kernel=chosen on_demand=2" --kernel=held -- "$facts" fork 1 \
	only
expect "not allowed" "strategy=fork kernel=not_allowed on_demand=1" --kernel=held -- "$facts" fork 32 plain
for kernel in held armed; do
	for fault in discard discard_neighbors; do
		reason=kernel_loses_neighbors
		[ $kernel$fault = helddiscard ] && reason=kernel_loses_discards
		tried=0
		[ $kernel = held ] && tried=1
		expect "$kernel with $fault: not by itself" \
			"strategy=fork kernel=$reason on_demand=$tried child_tables=copied bit=0" \
			--kernel=$kernel --fault=$fault -- "$facts" fork 32
		expect "$kernel with $fault: by name" \
			"strategy=kernel kernel=chosen despite=$reason on_demand=$((tried + 1)) child_tables=few
			child_keeps=1 child_bit=1 bit=1" \
			--kernel=$kernel --fault=$fault -- "$facts" fork 32 kernel
		ODFORK_STRATEGY=kernel expect "$kernel with $fault: by the variable" \
			"strategy=kernel kernel=chosen despite=$reason child_tables=few bit=1" \
			--kernel=$kernel --fault=$fault -- "$facts" fork 32
	done
done
expect "in a sandbox, by name" "strategy=kernel kernel=chosen despite=kernel_not_verified" --kernel=held --filtered \
	-- "$facts" fork 32 kernel
expect "without effect, not even by name" "strategy=fork kernel=kernel_no_effect" --kernel=held --no-effect \
	-- "$facts" fork 32 kernel
grep -q "^text=made by fork" "$work/out"
result $? "and the report says so"
expect "in a signal handler, nothing is tried out" "strategy=fork kernel=kernel_not_verified forks=1" --kernel=held \
	--filtered -- "$facts" handler 32
expect "in a signal handler, what is known is used" "strategy=kernel forks=3" --kernel=held -- "$facts" handler 32
expect "threads, held" "by_kernel=1 by_fork=1 wrong=0 all=80 bit=0" --kernel=held -- "$facts" threads 0
expect "threads, armed" "by_kernel=1 by_fork=1 wrong=0 all=80 bit=1" --kernel=armed -- "$facts" threads 1

# ---- Somebody's word -------------------------------------------------------------------------------------------------
ODFORK_KERNEL=safe expect "said to be safe" "strategy=kernel kernel=chosen despite=none forks=1 on_demand=1" \
	--kernel=held -- "$facts" fork 32
ODFORK_KERNEL=unsafe expect "said to be unsafe" "strategy=fork kernel=kernel_unsafe forks=1" --kernel=held \
	-- "$facts" fork 32
ODFORK_KERNEL=unsafe expect "said to be unsafe, by name" "strategy=kernel despite=kernel_unsafe forks=1" --kernel=held \
	-- "$facts" fork 32 kernel
ODFORK_KERNEL=kernel_loses_discards expect "said what it loses" "strategy=fork kernel=kernel_loses_discards forks=1" \
	--kernel=held -- "$facts" fork 32
ODFORK_KERNEL=kernel_no_effect expect "said to have no effect" "strategy=fork kernel=kernel_no_effect forks=1" \
	--kernel=held -- "$facts" fork 32 kernel
ODFORK_KERNEL=safe expect "a word is not believed when asked" "reason=kernel_loses_discards discard=failed" \
	--kernel=held --fault=discard -- "$facts" verify
ODFORK_KERNEL=safe expect "a word offers nothing" "strategy=fork kernel=kernel_not_offered" -- "$facts" fork 32
ODFORK_KERNEL=perhaps expect "a word that is not understood" "strategy=kernel" --kernel=held -- "$facts" fork 32
grep -qx "odfork: value not understood, ignored: ODFORK_KERNEL=perhaps" "$work/err"
result $? "is named"
expect "odfork run passes it on" "ODFORK_KERNEL=safe forks=2" --kernel=held -- "$build/odfork" run -- /usr/bin/env
expect "odfork run passes on what it loses" "ODFORK_KERNEL=kernel_loses_discards forks=2" --kernel=held \
	--fault=discard -- "$build/odfork" run -- /usr/bin/env
expect "odfork run passes on what is known" "ODFORK_KERNEL=kernel_loses_neighbors forks=1 on_demand=0" --kernel=armed \
	-- "$build/odfork" run -- /usr/bin/env
# With --strategy=kernel the switch is on before the program starts, if the kernel keeps it across exec.
expect "odfork run --strategy=kernel, held" "child_tables=few child_bit=1 child_keeps=1 bit=1" --kernel=held \
	--fault=discard \
	-- "$build/odfork" run --log --strategy=kernel -- "$facts" libc 32
grep -q "by kernel, held .* us (despite: .* is not zero)" "$work/err"
result $? "and says so"
expect "odfork run --strategy=kernel: what its child executes" "child_bit=1 bit=1" --kernel=held --fault=discard \
	-- "$build/odfork" run --strategy=kernel -- "$facts" execs 32
expect "odfork run --strategy=kernel, a small program" "child_bit=1 bit=1" --kernel=held --fault=discard \
	-- "$build/odfork" run --strategy=kernel -- "$facts" libc 1
expect "odfork run --strategy=kernel, armed: exec forgets" "child_bit=0 bit=0 on_demand=0" --kernel=armed \
	-- "$build/odfork" run --strategy=kernel -- "$facts" libc 1
expect "odfork run does not without" "child_bit=0 bit=0" --kernel=held --fault=discard -- "$build/odfork" run \
	-- "$facts" libc 1
ODFORK_KERNEL=unsafe expect "but not against a word" "ODFORK_KERNEL=unsafe forks=0" --kernel=held \
	-- "$build/odfork" run -- /usr/bin/env
expect "and nothing on a stock kernel" "forks=0" -- "$build/odfork" run -- /usr/bin/env
grep -q ODFORK_KERNEL "$work/out"
result $((! $?)) "not even the variable"

# The library decides whether there is a heap, whatever odfork run prints.
for log in "" --log; do
	expect "odfork run $log: no heap beside the kernel's" "heap=off heap_reason=heap_kernel" --kernel=held \
		-- "$build/odfork" run $log -- "$tests/kernel_facts_shared" heap 32
	[ -z "$log" ] || grep -q "no heap: the kernel's on-demand fork needs none" "$work/err"
	result $? "and says so, if it is to"
	expect "odfork run $log: nor by name" "heap=off heap_reason=heap_kernel" --kernel=held --fault=discard \
		-- "$build/odfork" run $log --strategy=kernel -- "$tests/kernel_facts_shared" heap 32
	[ -z "$log" ] || grep -q "no heap: the kernel's on-demand fork needs none" "$work/err"
	result $? "which it says"
	for strategy in region fork; do
		expect "odfork run $log --strategy=$strategy" "bit=0" --kernel=held -- "$build/odfork" run $log \
			--strategy=$strategy -- "$tests/kernel_facts_shared" heap 32
		! grep -q 'heap_kernel\|heap_off' "$work/out" && ! grep -q "no heap: the kernel" "$work/err"
		result $? "is not the kernel's, and so a heap is not in its place"
	done
done

# ---- Preloaded -------------------------------------------------------------------------------------------------------
preload() { # LIKE expect, the program preloaded
	ODFORK_STATS=$work/stats ODFORK_LOG=1
	rm -f "$work/stats"
	export ODFORK_STATS ODFORK_LOG
	name=$1 wanted=$2
	shift 2
	emulation=
	while [ "$1" != -- ]; do
		emulation="$emulation $1"
		shift
	done
	shift
	# shellcheck disable=SC2086
	expect "$name" "$wanted" $emulation -- /usr/bin/env LD_PRELOAD="$build/libodfork.so.0" "$@"
	unset ODFORK_STATS ODFORK_LOG
}
preload "preloaded, held" "child_tables=few child_bit=0 child_keeps=1 keeps=1 bit=0" --kernel=held -- "$facts" libc 32
grep -q '"call":"fork","strategy":"kernel",.*"reason":"chosen"' "$work/stats"
result $? "and recorded"
preload "preloaded, armed" "child_tables=copied child_bit=0 bit=0" --kernel=armed -- "$facts" libc 32
preload "preloaded, loses data" "child_tables=copied child_bit=0 bit=0" --kernel=armed --fault=unmap_neighbors \
	-- "$facts" libc 32
# The heap has woken instead, where it can.
grep -qE '"strategy":"(fork|region)",.*"reason":"kernel: kernel_loses_neighbors[",]' "$work/stats"
result $? "and recorded with the reason"
ODFORK_STRATEGY=kernel
export ODFORK_STRATEGY
preload "preloaded, loses data, by the variable" "child_tables=few child_bit=1 bit=1" --kernel=held --fault=discard \
	-- "$facts" libc 32
grep -q '"strategy":"kernel",.*"reason":"despite: kernel_loses_discards"' "$work/stats"
result $? "recorded with what it loses"
lost='after an on-demand fork of this kernel, memory given back by MADV_DONTNEED is not zero'
grep -q "by kernel, held .* us (despite: $lost)" "$work/err"
result $? "and logged"
preload "on for the child, and for what it executes" "child_bit=1 child_keeps=1 bit=1" --kernel=held --fault=discard \
	-- "$facts" execs 32
preload "or on for good" "child_bit=1 bit=1" --kernel=armed -- "$facts" execs 32
unset ODFORK_STRATEGY

# ---- Regions ---------------------------------------------------------------------------------------------------------
expect "with regions" "region=none strategy=kernel second=made" --kernel=held -- "$facts" regions 20
for kernel in held armed; do
	expect "$kernel: with regions, not sound" "region=none strategy=fork kernel=kernel_regions second=made" \
		--kernel=$kernel --fault=discard_neighbors -- "$facts" regions 20
	expect "$kernel: a region after one that is not sound" \
		"strategy=kernel region=refused reason=region_kernel bit=1" \
		--kernel=$kernel --fault=discard_neighbors -- "$facts" region_after
done
expect "a region after a fork on demand" "strategy=kernel region=made reason=none bit=0" --kernel=held \
	-- "$facts" region_after
expect "regions share page tables with nobody" layout=apart -- "$facts" layout

# ---- Linux 5.6, and a static program ---------------------------------------------------------------------------------
for kind in kernel_facts_static kernel_facts; do
	expect "5.6, $kind: verify" "error=0 interface=use_odf_held reason=none $passed" --linux-5.6 --kernel=held \
		-- "$tests/$kind" verify
	expect "5.6, $kind: fork" "strategy=kernel child_tables=few child_keeps=1 keeps=1 bit=0" --linux-5.6 \
		--kernel=held -- "$tests/$kind" fork 32
	expect "5.6, $kind: loses data" "strategy=fork kernel=kernel_loses_discards child_keeps=1" --linux-5.6 \
		--kernel=held --fault=discard -- "$tests/$kind" fork 32
	expect "5.6, $kind: by name" "strategy=kernel despite=kernel_loses_discards child_keeps=1" --linux-5.6 \
		--kernel=held --fault=discard -- "$tests/$kind" fork 32 kernel
	ODFORK_STRATEGY=fork expect "5.6, $kind: undisturbed" "undisturbed=1" --linux-5.6 --kernel=held \
		-- "$tests/$kind" undisturbed
	expect "5.6, $kind: threads" "wrong=0 all=80" --linux-5.6 --kernel=held -- "$tests/$kind" threads 0
	expect "5.6, $kind: regions are refused" "region=region_no_remap" --linux-5.6 --kernel=held \
		-- "$tests/$kind" regions 20
	expect "5.6, $kind: capabilities" "interface=use_odf_held kernel=none region=region_no_remap" --linux-5.6 \
		--kernel=held -- "$tests/$kind" capabilities
	expect "5.6, $kind: programs" "spawned=1" --linux-5.6 --kernel=held -- "$tests/$kind" spawn
	expect "5.6, $kind: stock" "strategy=fork kernel=kernel_not_offered" --linux-5.6 -- "$tests/$kind" fork 32 \
		kernel
done

# ---- The command -----------------------------------------------------------------------------------------------------
for kernel in held armed none; do
	expect "probe --verify, $kernel" "" --kernel=$kernel -- "$build/odfork" probe --verify
	grep -q "^plain .* the child begins with [0-9]* kB of page tables" "$work/out"
	result $? "measures a plain fork"
	[ $kernel = none ] && { [ ! -s "$work/err" ]; result $? "and warns of nothing"; continue; }
	[ "$(grep -c "kernels have been seen to crash after it" "$work/err")" = 1 ]
	result $? "warns"
	if [ $kernel = armed ]; then
		! grep -q "^on demand" "$work/out"
		result $? "and does not measure what loses data"
		continue
	fi
	grep -q "^on demand .* the child begins with [0-9]* kB of page tables" "$work/out"
	result $? "and one on demand"
	grep -qx "verdict            keeps data, and is used by itself" "$work/out"
	result $? "and says that it may be used"
done
# Before any fork: the first output is the warning.
: > "$work/both"
timeout 240 "$tests/emulate_kernel" --kernel=held --log="$work/both" -- /bin/sh -c 'exec "$0" probe --verify 2>> "$1"' \
	"$build/odfork" "$work/both" > "$work/out" 2> "$work/err"
head -n 1 "$work/both" | grep -q "kernels have been seen to crash"
result $? "the warning comes before any process"
expect "probe --verify, what is lost" "" --kernel=held --fault=discard -- "$build/odfork" probe --verify
grep -q "^discard  *FAILED" "$work/out" && grep -q "^kernel  *no .*MADV_DONTNEED is not zero" "$work/out"
result $? "is named"
expect "probe --verify --json" "" --kernel=held --fault=discard_neighbors -- "$build/odfork" probe --json --verify
python3 - "$work/out" 2>> "$work/err" <<'CHECK'
import json, sys
found = json.load(open(sys.argv[1]))
verification = found["verification"]
assert found["kernel_interface"] == verification["interface"] == "use_odf_held", found
assert found["strategies"]["kernel"]["reason"] == verification["reason"] == "kernel_loses_neighbors", found
assert verification["checks"] == {"effect": True, "writes": True, "discard": True, "discard_neighbors": False,
                                  "unmap_neighbors": True, "end": True}, verification
assert verification["table_kb"] > 2 * verification["child_table_kb"] > 0, verification
assert verification["plain"]["fork_us"] > 0 and verification["on_demand"] is None, verification
assert verification["remedy"] is None, verification
CHECK
result $? "for machines"
expect "probe --verify --json, sound" "" --kernel=held -- "$build/odfork" probe --json --verify
python3 - "$work/out" 2>> "$work/err" <<'CHECK'
import json, sys
verification = json.load(open(sys.argv[1]))["verification"]
assert verification["reason"] == "none", verification
assert verification["plain"]["child_table_kb"] > 2 * verification["on_demand"]["child_table_kb"], verification
assert verification["plain"]["fork_us"] > 0 and verification["on_demand"]["fork_us"] > 0, verification
CHECK
result $? "measures for machines"
expect "probe --verify --json, stock" "" -- "$build/odfork" probe --json --verify
python3 - "$work/out" 2>> "$work/err" <<'CHECK'
import json, sys
verification = json.load(open(sys.argv[1]))["verification"]
assert verification["interface"] == "none" and verification["on_demand"] is None, verification
assert set(verification["checks"].values()) == {None}, verification
CHECK
result $? "says nothing that it does not know"

# ---- /proc -----------------------------------------------------------------------------------------------------------
in_namespace() { # NAME FACTS MOUNTS: as root of a mount and process namespace
	if ! unshare -m -p -f --mount-proc true 2> /dev/null; then
		[ "${ODF_MUST_WORK:-0}" = 1 ]
		result $((! $?)) "$1 # SKIP no mount namespace"
		return
	fi
	unshare -m -p -f --mount-proc sh -c "$3"' && exec "$@"' sh "$facts" fork 32 kernel > "$work/out" 2> "$work/err"
	verdict=$?
	for fact in $2; do
		grep -qxF -- "$fact" "$work/out" || { echo "no $fact" >> "$work/err"; verdict=1; }
	done
	result $verdict "$1"
}
mkdir "$work/empty"
in_namespace "no /proc" "strategy=fork kernel=no_proc" "mount --bind $work/empty /proc"
in_namespace "hidepid" "strategy=fork kernel=kernel_not_offered" "mount -t proc -o hidepid=2 proc /proc"
in_namespace "/proc read-only" "strategy=fork kernel=kernel_not_offered" "mount -o remount,ro,bind /proc"

finish
