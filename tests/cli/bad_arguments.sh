#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Bad pointers and odd arguments: a preloaded program gets the same results as from the kernel and libc, in each state
# of the heap; as root and as another user, and with records, which name what was asked for. bad_arguments.c makes the
# calls.
set -u
build=${ODF_BUILD:?}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
# Where another user can read them.
cp "$build/tests/bad_arguments" "$work/program"
cp "$build/libodfork.so.0" "$work/libodfork.so.0"
: > "$work/stats"
chmod 666 "$work/stats"
number=0 failed=0

result() { # OK NAME
	number=$((number + 1))
	if [ "$1" = 0 ]; then
		echo "ok $number - $2"
	else
		failed=$((failed + 1))
		echo "not ok $number - $2"
		sed 's/^/# /' "$work/difference"
	fi
}

# NAME WHO STATES SIZE VARIABLE...
same() {
	name=$1 who=$2 states=$3 size=$4
	shift 4
	# shellcheck disable=SC2086
	$who "$work/program" "$size" > "$work/plain" 2> "$work/states"
	[ "$? $(paste -sd' ' "$work/states")" = "0 plain plain" ] || { cat "$work/states" "$work/plain"; exit 1; }
	# shellcheck disable=SC2086
	$who env LD_PRELOAD="$work/libodfork.so.0" "$@" "$work/program" "$size" > "$work/preloaded" 2> "$work/states"
	status=$?
	verdict=0
	diff "$work/plain" "$work/preloaded" > "$work/difference" || verdict=1
	[ $status = 0 ] || { echo "status $status" >> "$work/difference"; verdict=1; }
	[ "$(paste -sd' ' "$work/states")" = "$states $states" ] || {
		echo "the heap was:" | cat - "$work/states" >> "$work/difference"
		verdict=1
	}
	result $verdict "$name"
}

users=
[ "$(id -u)" = 0 ] && command -v setpriv > /dev/null && users="setpriv --reuid=65534 --regid=65534 --clear-groups"
for who in "" "$users"; do
	[ "$number" != 0 ] && [ -z "$who" ] && continue
	of=${who:+" as another user"}
	same "without a heap$of" "$who" off large ODFORK_HEAP=off
	same "asleep$of" "$who" asleep small ODFORK_HEAP=auto
	same "woken$of" "$who" awake large ODFORK_HEAP=auto
	same "awake from the start$of" "$who" awake large ODFORK_HEAP=on
	same "with records$of" "$who" awake large ODFORK_HEAP=auto ODFORK_STATS="$work/stats"
done
grep -q '"call":"posix_spawn","file":"",' "$work/stats" && grep -q '"file":"/nowhere"' "$work/stats"
verdict=$?
cat "$work/stats" > "$work/difference"
result $verdict "a name that cannot be read is not recorded, others are"
echo "1..$number"
[ "$failed" = 0 ]
