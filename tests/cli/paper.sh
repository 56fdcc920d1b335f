#!/bin/sh
# SPDX-License-Identifier: MIT
# The page of bench/paper.sh, made from a tiny run of the benchmark and from the figures in bench/results;
# tests/cli/paper_check.py checks it. ODF_TEST_PAPER=DIRECTORY keeps the pages.
set -eu
build=${ODF_BUILD:?} source=${ODF_SOURCE:?}
[ -x "$build/bench/bench_fork" ] || { echo "built without benchmarks"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "$*"; exit 1; }
check() { python3 "$source/tests/cli/paper_check.py" "$@" > "$work/said" 2>&1 || fail "$(cat "$work/said")"; }
make() { python3 "$source/bench/paper.py" "$1" > "$work/said" 2>&1 || fail "$(cat "$work/said")"; }

# The calls and the faults measured here and now; the programs as they were measured.
mkdir "$work/tiny" "$work/none"
"$build/bench/bench_fork" --quick --sizes 16M,32M --only held,fault --csv "$work/tiny/fork" \
	--note "tests/cli/paper.sh" 2> "$work/err" ||
	fail "$(cat "$work/err")"
for name in heap-jobs heap-saves heap-fuzz; do
	cp "$source/bench/results/$name.csv" "$work/tiny"
done
make "$work/tiny"
check "$work/tiny" held fault sqlite redis afl
# The one that is kept, as it would be made today.
if [ -d "$source/bench/results/paper" ]; then
	cp -r "$source/bench/results/paper" "$work/kept"
	make "$work/kept"
	check "$work/kept" held fault sqlite redis afl
	cmp "$work/kept/paper.html" "$source/bench/results/paper/paper.html" ||
		fail "bench/results/paper/paper.html is not made from what lies beside it: bench/paper.sh --page"
fi
# Nothing was measured: said so, and no table is empty.
make "$work/none"
check "$work/none"
[ "$(grep -c 'was not measured' "$work/none/paper.html")" = 5 ] ||
	fail "what was not measured is not said: $(cat "$work/none/paper.html")"
# What the check is worth: it sees a figure that is none, a row that is gone, a tag that is open, and what comes from
# elsewhere.
for change in 's|>[0-9.]* us</td>|>nan us</td>|' '0,/<tr class="ours">.*/s///' 's|</table>||' \
	's|<h1>|<img src="https://example.org/x.png"><h1>|'; do
	rm -rf "$work/broken"
	cp -r "$work/tiny" "$work/broken"
	sed -i "$change" "$work/broken/paper.html"
	! cmp -s "$work/tiny/paper.html" "$work/broken/paper.html" ||
		fail "the page has nothing to be broken by $change"
	! python3 "$source/tests/cli/paper_check.py" "$work/broken" held fault sqlite redis afl > "$work/said" 2>&1 ||
		fail "the check does not see $change"
done
[ -z "${ODF_TEST_PAPER:-}" ] || cp -r "$work/tiny" "$ODF_TEST_PAPER"
