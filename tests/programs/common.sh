# SPDX-License-Identifier: MIT
# shellcheck shell=sh
#
# Sourced by the tests of real programs. Each test compares a program's plain run with a run with libodfork.so
# preloaded.
#
# From the environment: ODF_BUILD, the absolute path of the build directory; ODF_MUST_WORK=1: what would be skipped is a
# failure; ODF_CC or CC; LD_PRELOAD, kept in front of ours (a sanitizer's runtime wants that). Exit status: 0 passed, 77
# skipped (one line on standard output says why), else failed.
set -u

test_name=$(basename "$0" .sh)
must_work=${ODF_MUST_WORK:-0}
left_out=

# The library names variables that it does not know, so none of the tests' own may reach it.
for variable in $(env | sed -n 's/^\(ODFORK_[A-Za-z0-9_]*\)=.*/\1/p'); do
	unset "$variable"
done
unset variable CDPATH ENV BASH_ENV MAKEFLAGS MAKELEVEL MFLAGS PYTHONPATH PERL5LIB PERL5OPT
export LC_ALL=C TZ=UTC
CC=${ODF_CC:-${CC:-cc}} # may have options
# shellcheck disable=SC2034 # used by the scripts
PYTHON=/usr/bin/python3 # Debian's, which the packaged tests belong to, whatever comes first in PATH

fail()
{
	printf '%s: %s\n' "$test_name" "$*" >&2
	exit 1
}

skip()
{
	[ "$must_work" != 1 ] || fail "must work here, but: $*"
	printf 'skipped: %s\n' "$*"
	exit 77
}

# A part of a script cannot run: the summary says so.
leave_out()
{
	[ "$must_work" != 1 ] || fail "must work here, but: $*"
	left_out="$left_out; left out: $*"
}

# The same for what only some users may do, which is no failure under ODF_MUST_WORK.
leave_out_for_user()
{
	left_out="$left_out; left out: $*"
}

needs()
{
	for program; do
		command -v "$program" >/dev/null 2>&1 || skip "$program is not installed"
	done
}

[ -n "${ODF_BUILD:-}" ] || fail "ODF_BUILD is not set"
library=$ODF_BUILD/libodfork.so.0
odfork=$ODF_BUILD/odfork
[ -f "$library" ] || fail "no such file: $library"
[ -x "$odfork" ] || fail "no such program: $odfork"
case $library in
/*[\ :]*) fail "the loader cannot preload a path with spaces or colons: $library" ;;
/*) ;;
*) fail "ODF_BUILD is not an absolute path" ;;
esac

temporary=$(mktemp -d) || exit 1
temporary=$(cd "$temporary" && pwd -P) || exit 1
# What tests as root start as other users must reach the library too, and root's home is closed to them.
if [ "$(id -u)" = 0 ] && ! setpriv --reuid=65534 --regid=65534 --clear-groups test -r "$library"; then
	mkdir "$temporary/built" && cp -L "$library" "$odfork" "$temporary/built" &&
		chmod 755 "$temporary" "$temporary/built" "$temporary/built/"* || exit 1
	library=$temporary/built/libodfork.so.0
	odfork=$temporary/built/odfork
fi
preload=${LD_PRELOAD:+$LD_PRELOAD:}$library
at_end=: # a script's own command, to end a server

clean_up()
{
	$at_end
	cd / && chmod -R u+rwx "$temporary" 2>/dev/null
	rm -rf "$temporary"
}
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
cd "$temporary" || exit 1

# Processes that work in our directory, this shell not counted.
processes_left()
{
	for process in /proc/[0-9]*; do
		case $(readlink "$process/cwd" 2>/dev/null) in
		"$temporary"*) [ "${process#/proc/}" = $$ ] || printf '%s\n' "${process#/proc/}" ;;
		esac
	done
}

# Fails if processes are left that are still there some time later.
no_processes_left()
{
	cd /
	tries=600
	left=$(processes_left)
	while [ -n "$left" ]; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] ||
			fail "processes left: $(for process in $left; do tr '\0' ' ' <"/proc/$process/cmdline"; done)"
		sleep 0.2
		left=$(processes_left)
	done
}

# The last line of every script that passed.
passed()
{
	no_processes_left
	printf '%s: passed, %s%s\n' "$test_name" "$*" "$left_out"
	exit 0
}

no_filter()
{
	cat
}

# Runs a command in a fresh directory, always of the same path: run_variant VARIANT COMMAND...
#   plain      without the library
#   preloaded  with it, and nothing for it to record: the shortest way through it
#   recorded   with it, and a record of each call
# Result: $temporary/NAME.VARIANT.{stdout,stderr,status}, .files with -t
run_variant()
{
	variant=$1
	result=$temporary/$name.$variant
	shift
	chmod -R u+rwx here 2>/dev/null
	rm -rf here "$result.stats"
	if [ -n "$from" ]; then cp -Rp "$from" here; else mkdir here; fi
	case $variant in
	preloaded) set -- env LD_PRELOAD="$preload" "$@" ;;
	recorded) set -- env LD_PRELOAD="$preload" ODFORK_STATS="$result.stats" "$@" ;;
	*) set -- env "$@" ;;
	esac
	(
		cd here || exit 125
		if [ "$input" = closed ]; then exec <&-; else exec <"$input"; fi
		exec timeout -k 5 $((4 * limit)) "$@" # of which it may have a part only
	) >"$result.out" 2>"$result.err"
	echo $? >"$result.status"
	$filter <"$result.out" >"$result.stdout"
	$filter <"$result.err" >"$result.stderr"
	if [ "$trees" = yes ]; then
		rm -rf "$result.files"
		mv here "$result.files"
	fi
}

# must_be_same WHAT FILE FILE
must_be_same()
{
	cmp -s "$2" "$3" && return
	{
		printf '%s: %s: %s differs:\n' "$test_name" "$name" "$1"
		diff -u "$2" "$3" | head -n 40
	} >&2
	exit 1
}

# compare_with_and_without [OPTION...] NAME COMMAND...
#   -i FILE       standard input, a file in $temporary (default: /dev/null)
#   -c            standard input closed
#   -d DIRECTORY  what the working directory starts with
#   -e STATUS     exit status that is right (default: 0)
#   -f FUNCTION   filter for standard output and error
#   -l SECONDS    limit of time
#   -t            compare the files in the working directory as well
#   -v VARIANTS   which to compare with plain (default: "preloaded recorded")
compare_with_and_without()
{
	input=/dev/null from='' expected=0 filter=no_filter limit=60 trees=no variants='preloaded recorded'
	OPTIND=1
	while getopts i:cd:e:f:l:tv: option; do
		case $option in
		i) input=$temporary/$OPTARG ;;
		c) input=closed ;;
		d) from=$OPTARG ;;
		e) expected=$OPTARG ;;
		f) filter=$OPTARG ;;
		l) limit=$OPTARG ;;
		t) trees=yes ;;
		v) variants=$OPTARG ;;
		*) fail "compare_with_and_without: wrong use" ;;
		esac
	done
	shift $((OPTIND - 1))
	name=$1
	shift
	run_variant plain "$@"
	read -r status <"$temporary/$name.plain.status"
	if [ "$status" != "$expected" ]; then
		tail -n 20 "$temporary/$name.plain.stdout" "$temporary/$name.plain.stderr" >&2
		fail "$name: without libodfork it ended with status $status, not $expected"
	fi
	for compared in $variants; do
		run_variant "$compared" "$@"
		must_be_same "exit status ($compared)" "$temporary/$name.plain.status" \
			"$temporary/$name.$compared.status"
		must_be_same "standard output ($compared)" "$temporary/$name.plain.stdout" \
			"$temporary/$name.$compared.stdout"
		must_be_same "standard error ($compared)" "$temporary/$name.plain.stderr" \
			"$temporary/$name.$compared.stderr"
		if [ "$trees" = yes ]; then
			diff -r "$temporary/$name.plain.files" "$temporary/$name.$compared.files" \
				>"$temporary/difference" 2>&1 || {
				head -n 40 "$temporary/difference" >&2
				fail "$name: files differ ($compared)"
			}
		fi
	done
	stats=$temporary/$name.recorded.stats
}

# Records of a call in the file of the last comparison, or in a file given: records CALL [FILE]
records()
{
	grep -c "\"call\":\"$1\"" "${2:-$stats}" 2>/dev/null || :
}

# must_have_records CALL [LEAST [FILE]]: the preload took effect, and every line is whole.
must_have_records()
{
	file=${3:-$stats}
	[ -f "$file" ] || fail "${name:-}: nothing was recorded: the library was not preloaded"
	count=$(records "$1" "$file")
	[ "$count" -ge "${2:-1}" ] || fail "${name:-}: $count records of $1, at least ${2:-1} expected"
	broken=$(grep -cv '^{"pid":[0-9]*,"child":-\{0,1\}[0-9]*,"call":"[^"]*",.*"error":[0-9]*}$' "$file")
	[ "$broken" -eq 0 ] || fail "${name:-}: $broken broken lines in the stats file"
}

# compile OUTPUT SOURCE [OPTION...]
compile()
{
	output=$1
	source=$2
	shift 2
	# shellcheck disable=SC2086
	$CC -D_GNU_SOURCE -O1 -g -o "$output" "$source" "$@" >compile.log 2>&1 || {
		cat compile.log >&2
		fail "cannot compile $source"
	}
}
