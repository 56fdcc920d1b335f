#!/bin/sh
# SPDX-License-Identifier: MIT
# Snapshot regions while a resource is short or missing: limits, mappings, /proc, memory of a cgroup, strict overcommit.
# Each case of region_limits runs in a process, a mount namespace or a cgroup of its own. Changes to the whole machine
# are made only on request, as root: ODF_TEST_SYSCTL=1 (vm.overcommit_memory), ODF_TEST_SWAP=1 (a swap file in the
# scratch directory).
# shellcheck disable=SC2016 # what is in single quotes is for another shell
set -u
build=${ODF_BUILD:?}
limits=$build/tests/region_limits
work=$(mktemp -d)
chmod 755 "$work"
undo=
trap 'eval "$undo"; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
failures=0 skipped=0

# NAME COMMAND...: status 0 passes, 77 is a skip, any other is a failure. Status $also passes, too, for a case that may
# be killed.
also=0
try() {
	name=$1
	shift
	"$@" > "$work/out" 2>&1
	status=$?
	case $status in
	0 | "$also")
		echo "ok: $name"
		sed 's/^/    /' "$work/out"
		;;
	77) not_here "$name" "$(sed -n 's/^skipped: //p' "$work/out" | head -n 1)" ;;
	*)
		echo "not ok: $name, status $status"
		sed 's/^/    /' "$work/out"
		failures=$((failures + 1))
		;;
	esac
}
not_here() { # NAME REASON
	if [ "${ODF_MUST_WORK:-0}" = 1 ]; then
		echo "not ok: $1 must not be skipped: $2"
		failures=$((failures + 1))
	else
		echo "skipped: $1: $2"
		skipped=$((skipped + 1))
	fi
}

"$limits" works > "$work/out" 2>&1 || { "$limits" refused region_no_remap > /dev/null 2>&1 &&
	{ echo "this kernel has no regions"; exit 77; }; }

for name in as_create as_lowered data_lowered nofile_create nofile_lowered fsize nproc mappings huge; do
	try "$name" "$limits" "$name"
done
# The limit holds from the program's start, also for a program that only probes.
try "fsize, probe" sh -c 'ulimit -f 0; "$0/odfork" probe | cat > /dev/null
	test -n "$("$0/odfork" probe --json | grep "\"region\"")"' "$build"

# ---- Namespaces
if ! unshare -m true 2> /dev/null; then
	not_here "namespaces" "no mount namespace may be made here"
else
	mkdir "$work/empty"
	printf '2\n' > "$work/two"
	namespace() { # NAME PREPARATION CASE...
		title=$1 prepare=$2
		shift 2
		try "$title" unshare -m sh -c \
			"mount --make-rprivate / && $prepare"' 2> /dev/null ||
			{ echo "skipped: no such mount may be made"; exit 77; }
			exec "$@"' "$work" "$@"
	}
	namespace "strict overcommit" 'mount --bind "$0/two" /proc/sys/vm/overcommit_memory' "$limits" refused \
		region_overcommit
	LD_LIBRARY_PATH=$build # the loader, too, would read /proc
	export LD_LIBRARY_PATH
	namespace "no /proc" 'mount --bind "$0/empty" /proc' "$limits" no_proc
	unset LD_LIBRARY_PATH
	# The user sees no other users' processes, only its own.
	if [ "$(id -u)" = 0 ] && command -v setpriv > /dev/null && unshare -m -p -f --mount-proc true 2> /dev/null; then
		cp "$limits" "$work/" && cp -L "$build/libodfork.so.0" "$work/"
			try "hidepid" unshare -m -p -f --mount-proc sh -c \
				'mount -o remount,hidepid=2 /proc || { echo "skipped: no hidepid"; exit 77; }
			LD_LIBRARY_PATH=$0 setpriv --reuid=65534 --regid=65534 --clear-groups \
				"$0/region_limits" works' "$work"
	else
		not_here "hidepid" "needs root, setpriv and a namespace for processes"
	fi
fi

# ---- Memory of a cgroup: a region of 64 MiB. The process's own is a few.
# MIB: makes a cgroup with that limit, and prints its directory.
make_cgroup() { # MIB
	if [ -w /sys/fs/cgroup/memory/memory.limit_in_bytes ] ||
		[ -e /sys/fs/cgroup/memory/memory.limit_in_bytes ]; then
		top=/sys/fs/cgroup/memory file=memory.limit_in_bytes
	elif grep -qw memory /sys/fs/cgroup/cgroup.subtree_control 2> /dev/null; then
		top=/sys/fs/cgroup file=memory.max
	elif grep -qw memory /sys/fs/cgroup/unified/cgroup.subtree_control 2> /dev/null; then
		top=/sys/fs/cgroup/unified file=memory.max
	else
		return 1
	fi
	group=$top/odfork-test-$$-$1
	mkdir "$group" 2> /dev/null || return 1
	echo $(($1 << 20)) > "$group/$file" 2> /dev/null || { rmdir "$group"; return 1; }
	# Without swap, in v2 and v1.
	echo 0 2> /dev/null > "$group/memory.swap.max" ||
		echo $(($1 << 20)) 2> /dev/null > "$group/memory.memsw.limit_in_bytes" || :
	echo "$group"
}
# Tries for 20 s: processes in the cgroup, such as a keeper, may still be about to end.
remove_cgroup() { # DIRECTORY
	for _ in $(seq 2000); do
		rmdir "$1" 2> /dev/null && return
		[ -d "$1" ] || return 0
		sleep 0.01
	done
	echo "not ok: $1 is left"
	failures=$((failures + 1))
}
in_cgroup() { # NAME MIB CASE...
	title=$1
	group=$(make_cgroup "$2") || { not_here "$title" "no memory cgroup may be made here"; return; }
	undo="$undo remove_cgroup $group;"
	shift 2
	try "$title" sh -c 'echo $$ > "$0/cgroup.procs" ||
		{ echo "skipped: nothing may be put into a cgroup here"; exit 77; }
		exec "$@"' "$group" "$@"
	remove_cgroup "$group"
}
if [ "$(id -u)" != 0 ]; then
	not_here "cgroups" "needs root"
else
	in_cgroup "below the limit" 112 "$limits" memory 64 55
	in_cgroup "just below the limit" 152 "$limits" memory 64 100
	# Above the limit the kernel kills the process, like any that needs more memory than there is.
	also=137
	in_cgroup "over the limit" 100 "$limits" memory 64 100
	also=0
fi

# ---- The machine itself
if [ "${ODF_TEST_SYSCTL:-0}" != 1 ] || [ "$(id -u)" != 0 ]; then
	echo "left out: vm.overcommit_memory (ODF_TEST_SYSCTL=1, as root)"
else
	mode=$(cat /proc/sys/vm/overcommit_memory)
	undo="$undo echo $mode > /proc/sys/vm/overcommit_memory;"
	echo 2 > /proc/sys/vm/overcommit_memory
	try "strict overcommit, the real one" "$limits" refused region_overcommit
	echo "$mode" > /proc/sys/vm/overcommit_memory
	mkfifo "$work/there" "$work/back"
	try "strict overcommit, later" sh -c '
		"$1" changed_later < "$0/there" > "$0/back" & exec 3> "$0/there" 4< "$0/back"
		read -r _ <&4 && echo 2 > /proc/sys/vm/overcommit_memory && echo x >&3
		read -r _ <&4; echo "$2" > /proc/sys/vm/overcommit_memory; echo x >&3; wait $!' "$work" "$limits" \
			"$mode"
	echo "$mode" > /proc/sys/vm/overcommit_memory
fi
if [ "$(wc -l < /proc/swaps)" -gt 1 ]; then
	try "swapped pages" "$limits" swap
elif [ "${ODF_TEST_SWAP:-0}" != 1 ] || [ "$(id -u)" != 0 ]; then
	echo "left out: swapped pages (ODF_TEST_SWAP=1, as root)"
elif dd if=/dev/zero of="$work/swap" bs=1M count=96 2> /dev/null && chmod 600 "$work/swap" &&
	mkswap "$work/swap" > /dev/null &&
	swapon "$work/swap" 2> /dev/null; then
	undo="$undo swapoff $work/swap 2> /dev/null;"
	try "swapped pages" "$limits" swap
	swapoff "$work/swap"
else
	not_here "swapped pages" "no swap can be turned on in $work"
fi

echo "$failures failed, $skipped skipped"
[ "$failures" = 0 ]
