#!/bin/sh
# SPDX-License-Identifier: MIT
# The library against what it promised when it was last released: abi/libodfork-VERSION.abi (abigail-tools, x86-64).
# Functions may be added, structures may grow at their end, names of values before their count; nothing else. That the
# comparison sees other changes is tried out.
#
#   tests/build/abi.sh            compares
#   tests/build/abi.sh --record   writes the file, for a release: after the version was set, and the first time only
set -eu
build=${ODF_BUILD:?} source=${ODF_SOURCE:?}
leave_out() { [ "${ODF_MUST_WORK:-0}" != 1 ] || { echo "must not be left out: $1"; exit 1; }; echo "$1"; exit 77; }
command -v abidw > /dev/null || leave_out "no abidw (abigail-tools)"
case $(uname -m) in x86_64) ;; *) leave_out "recorded for x86-64" ;; esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$source/tests/build/abi.suppressions" "$work/suppressions"

describe() { # LIBRARY HEADERS
	abidw --suppr "$work/suppressions" --headers-dir "$2" --drop-private-types --no-show-locs --no-corpus-path \
		--no-comp-dir-path \
		--type-id-style hash --exported-interfaces-only "$1" | sed "s|path='[^']*/src/|path='src/|g"
}
compare() { # OLD NEW
	abidiff --suppr "$work/suppressions" --drop-private-types --no-added-syms --leaf-changes-only "$1" "$2" \
		> "$work/said" 2>&1 && return 0
	# Structures say their size, and grow at their end; names of values are added before the one that counts them.
	# Nothing may be said but that: each new member lies where the structure ended, and of the values that were
	# there only a count is another.
	awk '/^$|^Leaf changes summary|^Changed leaf types summary/ { next }
		/^(Removed|Functions|Variables)\/?.* summary: 0 Removed, 0 Changed/ { next }
		/changed:$/ && /(struct|enum) odf_/ { grown = 1; end = 0; next }
		grown && /type size hasn.t changed|[0-9]+ enumerator (insertion|change)s?:/ { next }
		grown && /::ODF_[A-Z_]*. value|_COUNT. from value/ { next }
		grown && match($0, /type size changed from [0-9]+/) {
			split(substr($0, RSTART), word, " ")
			end = word[5]
			next
		}
		grown && /[0-9]+ data member insertions?:/ { next }
		grown && end > 0 && match($0, /at offset [0-9]+/) {
			split(substr($0, RSTART), word, " ")
			if (word[3] >= end)
				next
		}
		grown && /[0-9]+ impacted interfaces?/ { next }
		{ other = 1 } END { exit other || !grown }' "$work/said"
}
describe "$build/libodfork.so.0" "$source/include" > "$work/now.abi"

version=$(sed -n 's/^#define ODF_VERSION  *"\([0-9]*\.[0-9]*\)\..*/\1/p' "$source/include/odfork.h")
if [ "${1:-}" = --record ]; then
	cp "$work/now.abi" "$source/tests/build/abi/libodfork-$version.abi"
	exit 0
fi
# The record of a release is the one that its tag has.
release=v$(sed -n 's/^#define ODF_VERSION  *"\([0-9.]*\)".*/\1/p' "$source/include/odfork.h")
if git -C "$source" rev-parse -q --verify "$release^{commit}" > /dev/null 2>&1; then
	git -C "$source" show "$release:tests/build/abi/libodfork-$version.abi" > "$work/tagged.abi" &&
		cmp "$work/tagged.abi" "$source/tests/build/abi/libodfork-$version.abi" || exit 1
fi
records=0
for record in "$source"/tests/build/abi/libodfork-*.abi; do
	[ "$(grep -c "<elf-symbol name='odf_" "$record")" -ge 53 ] || { echo "$record has too few functions"; exit 1; }
	compare "$record" "$work/now.abi" || { echo "not as in $record:"; cat "$work/said"; exit 1; }
	records=$((records + 1))
done
[ -e "$source/tests/build/abi/libodfork-$version.abi" ] && [ "$records" -gt 0 ] ||
	{ echo "no record of $version: tests/build/abi.sh --record"; exit 1; }

# Another promise: each of these has to be seen, or to be allowed.
try() { # seen|allowed EDIT-OF-THE-HEADER
	rm -rf "$work/other" && mkdir -p "$work/other"
	sed -E "$2" "$source/include/odfork.h" > "$work/other/odfork.h"
	! cmp -s "$source/include/odfork.h" "$work/other/odfork.h" || { echo "the edit changes nothing: $2"; exit 1; }
	for header in "$source/include" "$work/other"; do
		{
			echo '#include <odfork.h>'
			echo 'int odf_region_info_get(const odf_region *region, odf_region_info *info)'
			echo '{ (void)region; return info->size == 0; }'
			echo 'int odf_spawn(pid_t *pid, const char *file, char *const argv[], char *const envp[],'
			echo '	const odf_spawn_options *options, odf_report *report)'
			echo '{ (void)pid, (void)file, (void)argv, (void)envp;'
			echo '	return options == NULL || report->strategy == 0; }'
		} > "$work/other/small.c"
		"${ODF_CC:-cc}" -std=gnu11 -D_GNU_SOURCE -g -w -shared -fPIC -I "$header" "$work/other/small.c" \
			-o "$work/other/small.so"
		mv "$work/other/small.so" "$work/other/$([ "$header" = "$work/other" ] && echo new || echo old).so"
	done
	describe "$work/other/old.so" "$source/include" > "$work/other/old.abi"
	describe "$work/other/new.so" "$work/other" > "$work/other/new.abi"
	if compare "$work/other/old.abi" "$work/other/new.abi"; then
		[ "$1" = allowed ] || { echo "not seen: $2"; exit 1; }
	else
		[ "$1" = seen ] || { echo "should be allowed: $2"; cat "$work/said"; exit 1; }
	fi
}
try allowed 's/^\} odf_region_info;$/\tuint64_t next_member;\n&/'
try allowed 's/^\tODF_STRATEGY_COUNT$/\tODF_STRATEGY_NEXT,\n&/'
try seen 's/^\} odf_report;$/\tuint64_t next_member;\n&/
	/^typedef struct odf_report \{/,/^\}/s/^\tsize_t size;.*/&\n\tuint64_t first;/'
try seen '/^typedef struct odf_region_info \{/,/^\}/s/^\todf_region_state state;/\tuint64_t state;/'
try seen 's/^\tODF_STRATEGY_FORK[ ,].*/\tODF_STRATEGY_BEFORE,\n&/'
