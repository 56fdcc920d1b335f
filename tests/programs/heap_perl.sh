#!/bin/sh
# SPDX-License-Identifier: MIT
# perl with a hash of 64 MiB, times ODF_TEST_SCALE: see heap_perl.pl.
# shellcheck source=heap.sh
. "$(dirname "$0")/heap.sh"
needs perl
perl -MDigest::MD5 -MIPC::Open3 -e 1 2>/dev/null || skip "perl is there without its modules"
plan 2
mib=$((64 * scale))
with "$plain" perl "$here/heap_perl.pl" $mib >right 2>messages || fail "it failed without the library: $(cat messages)"

# as_without HOW MIB [--all]: what malloc has is taken in after the first fork
as_without()
{
	with "$1" perl "$here/heap_perl.pl" $mib >found 2>complaints || fail "status $?: $(cat complaints)"
	same_as right found
	same_as messages complaints
	forks_seen --least 20 --mib "$2" ${3:+"$3"}
	ends_seen perl "$2"
}
check "a hash of $mib MiB" as_without "$under" $((mib / 4))
check "awake from the start" as_without "$awake" $((mib * 8 / 10)) --all
finish
