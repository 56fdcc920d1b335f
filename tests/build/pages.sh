#!/bin/sh
# SPDX-License-Identifier: MIT
# The man pages: free of warnings, complete (each exported function has a page), and they name each environment
# variable, flag, step and reason; and each of those reasons and steps has a test.
set -eu
source=${ODF_SOURCE:?}
work=$(mktemp)
trap 'rm -f "$work"' EXIT
fail() { echo "$*"; exit 1; }
command -v mandoc > /dev/null || { [ "${ODF_MUST_WORK:-0}" = 1 ] && fail "no mandoc"; echo "no mandoc"; exit 77; }

for page in "$source"/man/*.[1-9]; do
	if read -r first < "$page" && [ "${first#.so man3/}" != "$first" ]; then
		[ -s "$source/man/${first#.so man3/}" ] || fail "$page leads nowhere"
	else
		mandoc -T lint -W warning "$page" || fail "$page is not clean"
	fi
done
sed -n 's/^\t\t\(odf_[a-z_0-9]*\);/\1/p' "$source/src/libodfork.map.in" | while read -r name; do
	[ -s "$source/man/$name.3" ] || fail "no man page for $name"
done
says() { # PAGE PATTERN-OF-WORDS FILE
	words=$(grep -oE "$2" "$source/$3" | grep -v '_COUNT$' | sort -u)
	[ -n "$words" ] || fail "nothing like $2 in $3"
	text=$(sed 's/\\-/-/g; s/\\&//g' "$source/man/$1")
	for word in $words; do
		case $text in *"$word"*) ;; *) fail "$1 does not say $word" ;; esac
	done
}
says odf_spawn.3 '\bODF_SPAWN_[A-Z_]*[A-Z]\b' include/odfork.h
says odf_spawn.3 '\bODF_FD_(DUP|OPEN|CLOSE|NULL|KEEP)\b' include/odfork.h
says odf_report_format.3 '\bODF_STEP_[A-Z_]*[A-Z]\b' include/odfork.h
sed -n 's/^\t\[ODF_REASON_[A-Z_]*\] = { "\([a-z_]*\)".*/\1/p' "$source/src/strategy/names.c" | while read -r reason; do
	grep -q "^$reason	" "$source/man/odf_report_format.3" ||
		{ echo "odf_report_format.3 does not say $reason"; exit 1; }
done
# Each that src/ gives a test asks for, but for those of a build or machine of another kind.
grep -rhoE '\bODF_(REASON|STEP)_[A-Z_0-9]*[A-Z0-9]\b' "$source/src" --include='*.c' --exclude=names.c | sort -u |
	grep -vxE '.*_COUNT|ODF_REASON_(NOT_BUILT|REGION_PAGE_SIZE)' | while read -r name; do
	word=$(echo "${name#ODF_*_}" | tr '[:upper:]' '[:lower:]')
	grep -rqwE -e "$name|$word" --include='*.c' --include='*.sh' --include='*.py' --exclude-dir=abi \
		"$source/tests" || { echo "no test asks for $name"; exit 1; }
done
says odf_capabilities_get.3 '\bODF_PROBE_[A-Z_]*[A-Z0-9]\b' include/odfork.h
says odfork.7 '\bODFORK_[A-Z_]*[A-Z]\b' src/record/settings.c
# The options of the command: tests/cli/completion.sh.
sed 's/\\-/-/g; s/\\&//g; s/\\~/ /g; s/^\.[BIR]* //' "$source/man/odfork.1" > "$work"
grep -oE '\\"[a-z_0-9]+\\":|\{ "[a-z_0-9]+", memory->' "$source/src/cli/inspect_print.c" | tr -dc 'a-z_0-9\n' |
	sed 's/memory$//' | sort -u | while read -r member; do
	grep -qwF -- "$member" "$work" || { echo "odfork.1 does not say $member, of inspect --json"; exit 1; }
done
says odf_kernel_verify.3 '\bODF_KERNEL_(CHECK|INTERFACE)_[A-Z_]*[A-Z]\b' include/odfork.h
sed -n 's/^\t\[ODF_KERNEL_[A-Z_]*\] = { *"\([a-z_]*\)".*/\1/p; s/^\t\[ODF_KERNEL_[A-Z_]*\] = "\([a-z_]*\)".*/\1/p' \
	"$source/src/strategy/names.c" | while read -r name; do
	grep -q "	$name	" "$source/man/odf_kernel_verify.3" ||
		{ echo "odf_kernel_verify.3 does not say $name"; exit 1; }
done
# How large a program is when its heap wakes.
threshold=$(sed -n 's/^#define HEAP_THRESHOLD ((size_t)\([0-9]*\) << 20).*/\1/p' "$source/src/heap/internal.h")
grep -qF "grown past $threshold\\~MiB" "$source/man/odfork.1" &&
	grep -qF "has $threshold\\~MiB of private memory" "$source/man/odfork.7" &&
	grep -qF "has $threshold\\~MiB of private memory" "$source/man/odfork_heap.7" ||
	fail "the pages do not say that a heap wakes at $threshold MiB"

# Where the pages send a reader: to pages that exist and are installed, and to titles that they have.
for page in "$source"/man/*.[1-9]; do
	name=${page##*/}
	grep -qF "'man/$name'" "$source/meson.build" || fail "$name is not installed"
	case $name in
	*.7) grep -qx "usr/share/man/man7/$name" "$source"/packaging/debian/*.install ||
		fail "$name is in no package" ;;
	esac
	sed 's/\\f[BIPR]//g; s/^\.[BIR]* //' "$page" | grep -oE '\bodf[a-z_0-9]* ?\([1-9]\)' | tr -d ' ' | sort -u |
		while read -r to; do
			[ -s "$source/man/$(echo "$to" | sed 's/(\(.\))/.\1/')" ] ||
				fail "$name refers to $to, which is no page"
		done
	# A title in bold stands for a part of this page, or, where "in" and a page follow, of that one.
	sed 's/\\f[BP]//g' "$page" | awk -v own="$name" '
		/^in$/ && title != "" { is_in = 1; next }
		is_in && $1 == ".BR" { print title "\t" $2 "." substr($3, 2, 1); title = ""; is_in = 0; next }
		{ if (title ~ / /) print title "\t" own; title = ""; is_in = 0; is_label = was ~ /^\.T[PQ]/; was = $0 }
		!is_label && /^\.(B|BR|RB) [( ]*"?[A-Z][A-Za-z]+( [a-z]+)*("|$)/ {
			title = $0; sub(/^\.(BR|B|RB) [( ]*"?/, "", title); sub(/".*/, "", title) }' |
		while IFS="$(printf '\t')" read -r title to; do
			grep -qxE "\.S[HS] $title" "$source/man/$to" ||
				fail "$name refers to '$title' in $to, which is no part of it"
		done
done
