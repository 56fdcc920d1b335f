#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   linux-perf 6.1.192-3 (Debian 12)
# Expected:  `perf stat PROGRAM` ends as PROGRAM ended, as time(1), strace and valgrind do; `perf stat sh -c 'exit 7'`
#            does give 7, and `perf record` of the same package gives 137 for SIGKILL. perf-stat(1) says nothing else.
# Behaviour: `perf stat` gives 0 for a program that a signal killed: a crashed run of a benchmark passes and its
#            counts are taken as good. Besides, the program starts with SIGWINCH blocked, under perf stat and perf
#            record, and so do all that it starts: an editor or pager under perf does not notice that its terminal was
#            resized.
# Seen:      perf stat: exit 7 gives 7, KILL gives 0, SEGV gives 0, SIGWINCH 1 / perf record: KILL gives 137, SIGWINCH
#            1
# Needs:     leave to use perf_event_open (root, or kernel.perf_event_paranoid low); software events suffice.
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
# The package under test is pinned; the libraries it links with are Debian 12's current ones.
apt-get -qq -o APT::Sandbox::User=root download linux-perf=6.1.192-3 libbabeltrace1 libdw1 libelf1 libnuma1 \
    libopencsd1 libperl5.36 libpython3.11 libslang2 libunwind8 libglib2.0-0 libexpat1
for f in *.deb; do dpkg -x "$f" .; done
ulimit -c 0
export LD_LIBRARY_PATH="$d/usr/lib/x86_64-linux-gnu:$d/lib/x86_64-linux-gnu"
try() {
    mode=$1
    shift
    status=0
    sh -c '"$@" > /dev/null 2>&1; exit $?' sh usr/bin/perf "$mode" -e task-clock -o out "$@" 2> /dev/null || status=$?
    echo $status
}
winch() {
    usr/bin/perf "$1" -e task-clock -o out cat /proc/self/status 2> /dev/null |
        perl -ne 'print hex($1) >> 27 & 1 if /^SigBlk:\s*([0-9a-f]+)/'
}
seen="perf stat: exit 7 gives $(try stat sh -c 'sleep 0.1; exit 7'), KILL gives $(try stat sh -c 'kill -KILL $$')"
seen="$seen, SEGV gives $(try stat sh -c 'kill -SEGV $$'), SIGWINCH $(winch stat)"
seen="$seen / perf record: KILL gives $(try record sh -c 'kill -KILL $$'), SIGWINCH $(winch record)"
echo "$seen"
[ "$seen" = "perf stat: exit 7 gives 7, KILL gives 0, SEGV gives 0, SIGWINCH 1 / \
perf record: KILL gives 137, SIGWINCH 1" ]
