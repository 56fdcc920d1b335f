#!/bin/bash
# SPDX-License-Identifier: MIT
# The static probes: the shared and the static library have those that the manual page names, with the same number of
# arguments; and bpftrace sees them in programs under the library, with the right arguments.
set -eu
build=${ODF_BUILD:?} source=${ODF_SOURCE:?}
must_work=${ODF_MUST_WORK:-0}
work=$(mktemp -d)
tracer=
# shellcheck disable=SC2329 # by the trap
clean_up() {
	[ -z "$tracer" ] || kill "$tracer" 2> /dev/null || :
	rm -rf "$work"
}
trap clean_up EXIT
number=0 failures=0
result() { # STATUS NAME
	number=$((number + 1))
	[ "$1" = 0 ] && echo "ok $number - $2" && return
	echo "not ok $number - $2"
	failures=$((failures + 1))
}
leave_out() { # WHAT WHY
	[ "$must_work" = 1 ] && { echo "Bail out! $1 must work here, but: $2"; exit 1; }
	number=$((number + 1))
	echo "ok $number - $1 # SKIP $2"
}
finish() {
	echo "1..$number"
	exit $((failures > 0))
}

if ! grep -q '^#define HAVE_SDT 1' "$build/config.h"; then
	leave_out "probes" "built without sys/sdt.h (systemtap-sdt-dev)"
	finish
fi

# NAME COUNT-OF-ARGUMENTS, of the page and of the files.
sed -n '/^\.SH PROBES/,/^\.TE/s/^\\fB\([a-z]*\)\\fP	\([a-z_, ]*\)	T{$/\1 \2/p' "$source/man/odfork.7" |
	awk '{ print $1, NF - 1 }' | sort > "$work/page"
[ "$(wc -l < "$work/page")" = 6 ]
result $? "the page names six"
listed() { # FILE
	readelf -n "$1" 2> /dev/null |
		awk '$1 == "Provider:" { ours = $2 == "odfork" } ours && $1 == "Name:" { name = $2 }
		ours && $1 == "Location:" { for (i = 1; i <= NF; i++) if ($i ~ /^Semaphore/ &&
			$(i + 1) ~ /^0x0*$/) print name, "has no semaphore" }
		ours && $1 == "Arguments:" { print name, NF - 1 }' | sort -u
}
listed "$build/libodfork.so.0" > "$work/library"
diff -u "$work/page" "$work/library" | sed 's/^/# /'
cmp -s "$work/page" "$work/library" && status=0 || status=1
result $status "the library has those of the page, with as many arguments"
cat > "$work/program.c" <<'END'
#include <odfork.h>
int main(void) { return odf_fork() < 0; }
END
# shellcheck disable=SC2086
${ODF_CC:-cc} -pthread -I "$source/include" -o "$work/program" "$work/program.c" "$build/libodfork.a" -ldl \
	2> "$work/err" && status=0 || status=1
listed "$work/program" > "$work/linked"
cmp -s "$work/page" "$work/linked" || status=1
[ $status = 0 ] || sed 's/^/# /' "$work/err" "$work/linked"
result $status "and so has a program with the static library"

if [ "$(id -u)" != 0 ] || [ ! -e /sys/bus/event_source/devices/uprobe ]; then
	leave_out "watching" "needs root, and uprobes"
	finish
fi
command -v bpftrace > /dev/null || { leave_out "watching" "no bpftrace"; finish; }
library=$(readlink -f "$build/libodfork.so.0")
cat > "$work/watch.bt" <<END
usdt:$library:odfork:fork { printf("fork %d %s %d %d\n", arg0, str(arg1), arg2 > 0, arg3); }
usdt:$library:odfork:spawn { printf("spawn %d %s %s %d %d\n", arg0, str(arg1), str(arg2), arg3 > 0, arg4); }
usdt:$library:odfork:freeze { printf("freeze 0x%lx %d %d\n", arg0, arg1 > 0, arg2 > 0); }
usdt:$library:odfork:settle { printf("settle 0x%lx %d %d\n", arg0, arg1 < 1000000, arg2 < 1000000); }
usdt:$library:odfork:adopt { printf("adopt 0x%lx %lu %d\n", arg0, arg1, arg2); }
usdt:$library:odfork:leave { printf("leave 0x%lx %d %s\n", arg0, arg1 > 0, str(arg2)); }
END
bpftrace -B line "$work/watch.bt" > "$work/seen" 2> "$work/err" &
tracer=$!

# A program with 60 MiB that forks, waits for the settle, and starts programs; one whose heap leaves.
drive() {
	(echo "forks 2"; sleep 1; echo "spawns 2"; echo "spawns 1"; sleep 0.2) |
		LD_PRELOAD=$library ODFORK_HEAP=auto "$build/tests/inspected" private=20 private=40 > "$work/said"
	LD_PRELOAD=$library ODFORK_HEAP=auto "$build/tests/inspected" private=20 private=40 data=100000 < /dev/null \
		> "$work/said"
	LD_PRELOAD=$library ODFORK_HEAP=auto sh -c \
		'(exit 0); /usr/bin/python3 -c "import os; os.posix_spawn(\"/no/such\", [\"x\"], {})" 2> /dev/null; :'
}
# NAME: PATTERN
cat > "$work/wanted" << 'END'
a fork by regions: ^fork [1-9][0-9]* region 1 0$
a fork of a small program: ^fork [1-9][0-9]* fork 1 0$
a spawn: ^spawn [1-9][0-9]* /bin/sleep posix_spawn 1 0$
a spawn that fails: ^spawn -1 /no/such posix_spawn 1 2$
a freeze: ^freeze 0x[0-9a-f]+ 1 1$
a settle: ^settle 0x[0-9a-f]+ 1 1$
memory that is taken in: ^adopt 0x[0-9a-f]+000 [0-9]{6,} [01]$
a region that is given up, and why: ^leave 0x[0-9a-f]+ 1 heap_limit$
END
is_seen() { grep -qE -- "$1" "$work/seen"; }
all_is_seen() {
	while IFS= read -r line; do
		is_seen "${line#*: }" || return 1
	done < "$work/wanted"
}
for _ in $(seq 300); do
	grep -q '^Attaching' "$work/seen" || ! kill -0 $tracer 2> /dev/null && break
	sleep 0.2
done
# It takes a while until it is at it, and says nothing about that: the probes are attached one after the other.
for _ in $(seq 40); do
	drive
	kill -0 $tracer 2> /dev/null || break
	sleep 0.5
	all_is_seen && break
done
sleep 0.5
kill -INT $tracer 2> /dev/null && wait $tracer || :
tracer=
if ! grep -q '^Attaching' "$work/seen" || { [ "$(wc -l < "$work/seen")" -le 2 ] && grep -qi 'error' "$work/err"; }; then
	leave_out "watching" "bpftrace: $(head -n 1 "$work/err")"
	finish
fi
while IFS= read -r line; do
	is_seen "${line#*: }" && status=0 || status=1
	[ $status = 0 ] || sed 's/^/# /' "$work/seen"
	result $status "seen: ${line%%: *}"
done < "$work/wanted"
finish
