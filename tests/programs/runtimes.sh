#!/bin/sh
# SPDX-License-Identifier: MIT
# Programs of many languages that fork (bench/runtimes/job.*), in a small form: they must give the same answers and
# messages as without the library, and at the later forks the memory that they have grown by must be in regions.
# ODF_TEST_ROWS='*' runs all rows of bench/runtimes.sh.
# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"
jobs=$(cd "$ODF_SOURCE/bench/runtimes" && pwd) || exit 1
rows='Ruby, long;Ruby, hash;PHP, strings;CPython, objects;Perl, hash;Lua;Tcl;SWI-Prolog;Guile;zsh;gawk'
rows="$rows;C++, glibc;C++, jemalloc;C++, mimalloc"
only=${ODF_TEST_ROWS:-$rows}
[ "$only" != '*' ] || only=
set --
# Where nothing settles regions beside a program they are given back between forks.
"$odfork" probe | awk '$1 == "uffd_minor" && $2 == "yes" { minor = 1 }
	($1 == "uffd_kernel" || $1 == "uffd_device") && $2 == "yes" { kernel = 1 }
	END { exit !(minor && kernel) }' || set -- --answers-only
[ "$must_work" != 1 ] || set -- "$@" --must-work "$rows"
"$PYTHON" "$jobs/main.py" answers --library "$library" --mib "$((40 * ${ODF_TEST_SCALE:-1}))" --forks 3 --pause 0.05 \
	--only "$only" "$@"
status=$?
(no_processes_left) || { echo "Bail out! processes are left"; exit 1; }
exit $status
