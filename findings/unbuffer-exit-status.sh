#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   expect and tcl-expect 5.45.4-2+b1 (Debian 12): the script unbuffer
# Expected:  `unbuffer PROGRAM` ends as PROGRAM ended: it does hand on an exit status, `unbuffer sh -c 'exit 7'` gives
#            7. unbuffer(1) describes -p only as a way to read from standard input.
# Behaviour: a program killed by a signal gives 0, and with -p every program gives 0. The cause is a line found in
#            many Expect scripts, `exit [lindex [wait] 3]`: for a killed program element 3 is 0, and CHILDKILLED with
#            the signal follows it.
# Seen:      unbuffer: exit 7 gives 7, KILL gives 0, SEGV gives 0 / unbuffer -p: exit 7 gives 0 / wait: 0 0
#            CHILDKILLED SIGKILL
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
apt-get -qq -o APT::Sandbox::User=root download expect=5.45.4-2+b1 tcl-expect=5.45.4-2+b1 tcl8.6=8.6.13+dfsg-2 \
    libtcl8.6=8.6.13+dfsg-2
for f in *.deb; do dpkg -x "$f" .; done
export LD_LIBRARY_PATH="$d/usr/lib/x86_64-linux-gnu" TCL_LIBRARY="$d/usr/share/tcltk/tcl8.6"
ulimit -c 0
script=$(ls usr/bin/expect_unbuffer usr/bin/unbuffer 2> /dev/null | head -n 1)
try() {
    status=0
    usr/bin/expect "$script" "$@" > /dev/null 2>&1 < /dev/null || status=$?
    echo $status
}
wait=$(usr/bin/expect -c 'log_user 0; spawn sh -c {kill -KILL $$}; expect eof; puts [lrange [wait] 2 5]' < /dev/null)
seen="unbuffer: exit 7 gives $(try sh -c 'exit 7'), KILL gives $(try sh -c 'kill -KILL $$')"
seen="$seen, SEGV gives $(try sh -c 'kill -SEGV $$') / unbuffer -p: exit 7 gives $(try -p sh -c 'exit 7') / wait: $wait"
echo "$seen"
[ "$seen" = "unbuffer: exit 7 gives 7, KILL gives 0, SEGV gives 0 / unbuffer -p: exit 7 gives 0 / \
wait: 0 0 CHILDKILLED SIGKILL" ]
