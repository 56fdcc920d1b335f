# SPDX-License-Identifier: MIT
# shellcheck shell=sh
#
# Sourced by the tests that break the library one line at a time. Who sources it has set `flags` for the compiler; from
# here come the variables of the environment, `work`, a directory with a copy of src, and the rest of TAP.
set -u
# shellcheck disable=SC2034 # used by who sources it
build=${ODF_BUILD:?} source=${ODF_SOURCE:?}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
only=" $* "
number=0 failed=0 caught=0 skipped=0 later=0
cp -R "$source/src" "$work/src"

# A run tries every eighth one, and the others in the next seven days; with ODF_TEST_SCALE, or by name, all. That the
# edits fit is looked at each time.
asked=$(($(date +%s) / 86400))

# NAME: it is among those that were asked for. in_turn: and it is to be tried today
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

# NAME FILE (below src) EDIT (perl, on the whole file): $work/mutant.o. False: it cannot be, which the result says.
make_mutant() {
	[ -s "$source/src/$2" ] || { result 0 "$1: no file $2"; return 1; }
	perl -0777 -pe "$3" < "$source/src/$2" > "$work/src/$2" 2> "$work/log"
	if cmp -s "$source/src/$2" "$work/src/$2"; then
		result 0 "$1: the edit changes nothing in $2"
		return 1
	fi
	if [ "$in_turn" = 0 ]; then
		cp "$source/src/$2" "$work/src/$2"
		later=$((later + 1)) # no result: nothing was tried
		return 1
	fi
	compile "$work/src/$2" "$work/mutant.o"
	compiled=$?
	cp "$source/src/$2" "$work/src/$2"
	[ "$compiled" = 0 ] || result 0 "$1: the edited $2 does not compile"
	return "$compiled"
}

# COMMAND...: a program that leads a process group, as timeout does, whose children are not left behind when it hangs
in_group() {
	"$@" &
	group=$!
	wait "$group"
	status=$?
	kill -KILL -"$group" 2> /dev/null # nobody is left, as a rule
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
