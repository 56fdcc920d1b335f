#!/bin/sh
# SPDX-License-Identifier: MIT
# What our binaries require of the machine: which version of glibc, and nothing that disables shadow stacks or indirect
# branch tracking in the program.
set -eu
build=${ODF_BUILD:?}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "$*"; exit 1; }
leave_out() { [ "${ODF_MUST_WORK:-0}" != 1 ] || fail "must not be left out: $1"; echo "$1"; exit 77; }
# The files of the build that are installed; of the static library, its object.
libraries="$build/libodfork.so.0 $build/odfork-follow.so"

# Built with glibc 2.34 to 2.37 they run with 2.34 and later: that is where libc took in libpthread, whose functions got
# new versions. Newer ones give strtol another name (2.38). Built with an older one they run with that.
have=$(ldd --version 2> /dev/null | sed -n '1s/.* 2\.\([0-9]*\)$/\1/p')
oldest=34
[ "${have:-34}" -ge 34 ] || oldest=$have
[ "${have:-0}" -lt 38 ] || oldest=38
if [ -n "$have" ]; then
	for file in $libraries "$build/odfork"; do
		objdump -T "$file" | grep -oE 'GLIBC_2\.[0-9.]+\)? .*' | sort -u > "$work/versions"
		[ -s "$work/versions" ] || fail "$file needs nothing of glibc"
		sed 's/^GLIBC_2\.\([0-9]*\).*/\1 &/' "$work/versions" |
			awk -v oldest=$oldest '$1 > oldest { print; new = 1 } END { exit new }' ||
			fail "$file needs the above of a glibc newer than 2.$oldest"
	done
fi

# The notes. A file has what all that is linked into it has; what libc's own start files lack is not asked of ours.
case $(uname -m) in
x86_64) notes='IBT, SHSTK' ;;
aarch64) notes='BTI, PAC' ;;
*) leave_out "no notes are known of this processor" ;;
esac
echo 'int main(void) { return 0; }' > "$work/main.c"
# shellcheck disable=SC2086
{
	[ "$(uname -m)" = x86_64 ] && flag=-fcf-protection || flag=-mbranch-protection=standard
	${ODF_CC:-cc} $flag -c "$work/main.c" -o "$work/main.o" 2> /dev/null || leave_out "the compiler has no $flag"
}
has() { readelf -nW "$1" 2> /dev/null | grep -q "feature: $notes"; }
has "$work/main.o" || fail "readelf does not show the notes of a compiler's object"
(cd "$work" && ar x "$build/libodfork.a")
has "$work/libodfork.o" || fail "libodfork.a: its object lacks the notes ($notes)"
# shellcheck disable=SC2086
${ODF_CC:-cc} $flag -shared -fPIC "$work/main.c" -o "$work/main.so"
if has "$work/main.so"; then
	for file in $libraries; do
		has "$file" || fail "$file lacks the notes ($notes), which other libraries have here"
	done
fi
# As if libc's start files had them: with only our objects in it, a library has them.
"${LD:-ld}" -r -o "$work/all.o" --whole-archive "$build/libodfork_parts.a" && has "$work/all.o" ||
	fail "an object of the library lacks the notes"
