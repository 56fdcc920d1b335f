#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Others' own tests as clients: what they say must be the same with the library preloaded as without, test by test. Each
# list of tests runs twice without (what differs there is unsteady by itself, and named), and once with ODFORK_HEAP=off,
# auto and on. What differs then is run again, three times each way; it is a fault if the library's results are never
# among those without it.
#
#   tests/peers.sh [PEER...]     of: cpython stress-ng redis postgresql perl git ltp posix; without: all of them
#   ODF_BUILD=DIRECTORY          the library's build (build-gcc)
#   ODF_PEERS_HEAP="off on"      which settings ("off auto on")
#   ODF_PEERS_TESTS="NAME..."    only those of a peer's tests, as its file in tests/peers takes them
#   ODF_PEERS_KEEP=DIRECTORY     where what each run said is left, and what is there is not run again; without, a
#                                temporary folder
#   LTPROOT=DIRECTORY            for ltp and posix: a Linux Test Project that is built there, with its Open POSIX suite;
#                                Debian does not ship it any more, and nothing is fetched for it
#
# Run by hand, as root: together these take hours. What they need is fetched by apt: packages, and sources for the tests
# alone; the programs are Debian's. Not part of the run of all tests, as each peer takes more than all of its room; of
# CPython's the parts about processes are in it (tests/programs/python.sh).
set -u
cd "$(dirname "$0")/.." || exit 1
. tests/packages.sh
tests=$PWD/tests
build=${ODF_BUILD:-$PWD/build-gcc}
library=$build/libodfork.so.0
[ -f "$library" ] || { echo "no such file: $library" >&2; exit 2; }
[ "$(id -u)" = 0 ] || { echo "run as root" >&2; exit 2; }
packages_need python3 procps
export LC_ALL=C TZ=UTC
unset LD_PRELOAD ODFORK_HEAP
if [ -n "${ODF_PEERS_KEEP:-}" ]; then
	mkdir -p "$ODF_PEERS_KEEP" && work=$(cd "$ODF_PEERS_KEEP" && pwd) || exit 2
else
	work=$(mktemp -d) || exit 2
	trap 'rm -rf --one-file-system "$work"' EXIT
	trap 'exit 130' INT TERM HUP
fi
# Where every user can read it.
cp -L "$library" "$work/libodfork.so.0.$$" && mv "$work/libodfork.so.0.$$" "$work/libodfork.so.0" || exit 2
library=$work/libodfork.so.0
chmod 755 "$work" "$library" || exit 2
settings=${ODF_PEERS_HEAP:-off auto on}

apt_of_sources() {
	program=$1
	shift
	$program -o Dir::Etc::sourcelist="$work/apt/list" -o Dir::Etc::sourceparts=/dev/null \
		-o Dir::State::lists="$work/apt/lists" -o APT::Sandbox::User=root "$@"
}

# source_of PACKAGE: its source, unpacked in the current directory; its folder is told. Of the versions that apt knows
# the newest that is there.
source_of() {
	if [ ! -e "$work/apt/list" ]; then
		packages_need dpkg-dev >&2
		mkdir -p "$work/apt/lists/partial"
		# shellcheck disable=SC2016 # apt's own variables
		apt-get indextargets --format 'deb-src $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
			grep '/debian' | sort -u > "$work/apt/list"
		apt_of_sources apt-get update >&2 || return 1
	fi
	for version in $(apt_of_sources apt-cache showsrc --only-source "$1" | sed -n 's/^Version: //p' | sort -urV); do
		apt_of_sources apt-get source "$1=$version" >&2 || continue
		for folder in "$1"-*/; do
			echo "$PWD/${folder%/}"
			return 0
		done
	done
	return 1
}

# under WAY COMMAND...: WAY is plain, plain-again, or a value of ODFORK_HEAP
under() {
	case $1 in
	plain*) shift && "$@" ;;
	*) way=$1 && shift && env LD_PRELOAD="$library" ODFORK_HEAP="$way" "$@" ;;
	esac
}

# one_run WAY FOLDER [TEST...]: a peer's tests in a new folder
one_run() (
	one=$1 place=$2
	shift 2
	rm -rf "$place" && mkdir -p "$place" && chmod 755 "$place" && cd "$place" || exit 1
	: > results
	run "$one" "$@" > log 2>&1
	sort -u -o results results
)

# Each peer is a file with up to three functions: prepare, in a folder of its own, which says why there is nothing to
# run if it fails; run WAY [TEST...], in a new folder inside of that one, which writes "TEST<tab>RESULT" to the file
# results, where no TEST has a blank; and words_of TEST, what run takes to have the result of that test.
words_of() { printf '%s\n' "$1"; }

run_peer() {
	peer=$1
	folder=$work/$peer
	mkdir -p "$folder" && chmod 755 "$folder" && cd "$folder" || return 1
	. "$tests/peers/$peer.sh"
	if [ ! -e prepared ]; then
		prepare > prepare.log 2>&1 || { tail -n 3 prepare.log; echo "== $peer: not run"; return 1; }
		: > prepared
	fi
	for one in plain plain-again $settings; do
		if [ ! -e "$one/done" ]; then
			# shellcheck disable=SC2086
			one_run "$one" "$folder/$one" ${ODF_PEERS_TESTS:-}
			: > "$one/done"
		fi
		echo "== $peer, $one: $(wc -l < "$one/results") tests: $(cut -f 2 "$one/results" | sort | uniq -c |
			sort -rn | head -n 4 | sed 's/^ *//' | paste -s -d ';')"
	done
	[ -s plain/results ] || { echo "== $peer: no results"; tail -n 5 plain/log; return 1; }
	python3 "$tests/peers/compare.py" plain/results plain-again/results |
		sed 's/^/   unsteady without the library: /'
	different=0
	for one in $settings; do
		names=$(python3 "$tests/peers/compare.py" --names plain/results plain-again/results "$one/results")
		for name in $names; do
			again "$one" "$name" && continue
			if grep -qxF "$peer $name" "$tests/peers/known"; then
				echo "   $one: known, see tests/peers/known"
			else
				different=$((different + 1))
			fi
		done
	done
	[ $different = 0 ] || { echo "== $peer: $different results DIFFER"; return 1; }
	echo "== $peer: the same"
}

# again WAY TEST: whether one of that way's results is among those without the library, when each is run three times
# more.
again() {
	rm -rf "$folder/again" && mkdir -p "$folder/again"
	for times in 1 2 3; do
		for each in plain "$1"; do
			# shellcheck disable=SC2046
			one_run "$each" "$folder/again/run" $(words_of "$2")
			cat "$folder/again/run/results" >> "$folder/again/all.$each"
		done
	done
	cat plain/results plain-again/results >> again/all.plain
	cat "$1/results" >> "again/all.$1"
	python3 "$tests/peers/compare.py" --again "$2" again/all.plain "again/all.$1" | sed "s/^/   $1: /"
	python3 "$tests/peers/compare.py" --again "$2" again/all.plain "again/all.$1" > again/said
	[ ! -s again/said ]
}

failed=0
for peer in ${*:-cpython stress-ng redis postgresql perl git ltp posix}; do
	[ -e "$tests/peers/$peer.sh" ] || { echo "no such peer: $peer" >&2; exit 2; }
	(run_peer "$peer") || failed=$((failed + 1))
done
exit $((failed > 0))
