# SPDX-License-Identifier: MIT
# shellcheck shell=sh
#
# Sourced by the tests that break the library one line at a time. The sourcing script has set `flags` for the compiler.
# This file sets the variables from the environment and `work`, a directory with a copy of src, and prints TAP.
set -u
# shellcheck disable=SC2034 # used by the sourcing script
build=${ODF_BUILD:?} source=${ODF_SOURCE:?}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
only=" $* "
number=0 failed=0 caught=0 skipped=0 later=0
cp -R "$source/src" "$work/src"

# A run tries every eighth mutant, and the others in the next seven days; with ODF_TEST_SCALE, or by name, all. Each run
# checks that all edits still apply.
asked=$(($(date +%s) / 86400))

# NAME: true if it is among the requested ones. in_turn: whether it is tried today.
wanted() {
	asked=$((asked + 1)) in_turn=1
	case $only in
	"  ") [ -n "${ODF_TEST_SCALE:-}" ] || in_turn=$((asked % 8 == 0)) ;;
	*" $1 "*) ;;
	*) return 1 ;;
	esac
	: > "$work/log"
}

compile() { # FILE OBJECT
	# shellcheck disable=SC2086 disable=SC2154
	${ODF_CC:-cc} $flags -c "$1" -o "$2" 2> "$work/log"
}

# NAME FILE (below src) EDIT (perl, on the whole file): compiles $work/mutant.o. False: that failed, and the result says
# so.
make_mutant() {
	[ -s "$source/src/$2" ] || { result 0 "$1: no file $2"; return 1; }
	perl -0777 -pe "$3" < "$source/src/$2" > "$work/src/$2" 2> "$work/log"
	if cmp -s "$source/src/$2" "$work/src/$2"; then
		result 0 "$1: the edit changes nothing in $2"
		return 1
	fi
	if [ "$in_turn" = 0 ]; then
		cp "$source/src/$2" "$work/src/$2"
		later=$((later + 1)) # no result: not tried
		return 1
	fi
	compile "$work/src/$2" "$work/mutant.o"
	compiled=$?
	cp "$source/src/$2" "$work/src/$2"
	[ "$compiled" = 0 ] || result 0 "$1: the edited $2 does not compile"
	return "$compiled"
}

# COMMAND...: a program that leads a process group, as timeout does. If it hangs, its children are not left behind.
in_group() {
	"$@" &
	group=$!
	wait "$group"
	status=$?
	kill -KILL -"$group" 2> /dev/null # usually no process is left
	return "$status"
}

result() { # OK TEXT
	number=$((number + 1))
	if [ "$1" = 1 ]; then
		echo "ok $number - $2"
	else
		failed=$((failed + 1))
		echo "not ok $number - $2"
		sed 's/^/# /' "$work/log" | head -n 20
	fi
}

finish() {
	echo "# $later more fit, and are tried in the next three days"
	echo "# $caught caught of $((number - skipped)), $skipped skipped"
	echo "1..$number"
	[ "$failed" = 0 ]
}
