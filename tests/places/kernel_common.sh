# SPDX-License-Identifier: MIT
# shellcheck shell=sh disable=SC2034 # used by the scripts
#
# Shared by kernel.sh and kernel_async.sh: a program runs on a kernel that a seccomp filter emulates (emulate_kernel.c),
# and prints facts, one per line (kernel_facts.c).
set -u
build=${ODF_BUILD:?}
tests=$build/tests
facts=$tests/kernel_facts
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset ODFORK_STRATEGY ODFORK_KERNEL ODFORK_STATS ODFORK_LOG
number=0 failed=0

result() { # OK NAME
	number=$((number + 1))
	if [ "$1" = 0 ]; then
		echo "ok $number - $2"
	else
		failed=$((failed + 1))
		echo "not ok $number - $2"
		sed 's/^/#   /' "$work/out" "$work/err"
	fi
}

# NAME "FACT..." EMULATION... -- COMMAND...: runs the command and looks for each fact, a line of its output. A first
# fact "status=N" is the exit status.
expect() {
	name=$1 wanted=$2
	shift 2
	: > "$work/log"
	timeout -k 1 240 "$tests/emulate_kernel" --log="$work/log" "$@" > "$work/out" 2> "$work/err"
	status=$?
	verdict=0
	case $wanted in
	status=*) ;;
	*) [ $status = 0 ] || { echo "status $status" >> "$work/err"; verdict=1; } ;;
	esac
	for fact in $wanted; do
		case $fact in
		status=*) [ "$fact" = "status=$status" ] || { echo "status $status" >> "$work/err"; verdict=1; } ;;
		on_demand=*) [ "$(grep -c on_demand "$work/log")" = "${fact#*=}" ] ||
			{ echo "not $fact:" >> "$work/err"; cat "$work/log" >> "$work/err"; verdict=1; } ;;
		forks=*) [ "$(grep -c '^fork' "$work/log")" = "${fact#*=}" ] ||
			{ echo "not $fact:" >> "$work/err"; cat "$work/log" >> "$work/err"; verdict=1; } ;;
		*) grep -qxF -- "$fact" "$work/out" || { echo "no $fact" >> "$work/err"; verdict=1; } ;;
		esac
	done
	result $verdict "$name"
}

"$tests/emulate_kernel" -- /bin/true > "$work/out" 2>&1
if [ $? = 77 ]; then
	[ "${ODF_MUST_WORK:-0}" = 1 ] && { echo "not ok 1 - no filter can be installed here"; echo "1..1"; exit 1; }
	echo "1..0 # SKIP no filter can be installed here"
	exit 0
fi
unasked="effect=not_asked writes=not_asked discard=not_asked discard_neighbors=not_asked unmap_neighbors=not_asked"
unasked="$unasked end=not_asked"
passed="effect=passed writes=passed discard=passed discard_neighbors=passed unmap_neighbors=passed end=passed"

finish() {
	echo "1..$number"
	[ "$failed" = 0 ]
	exit
}
