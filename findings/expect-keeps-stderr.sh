#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   expect and tcl-expect 5.45.4-2+b1 (Debian 12)
# Expected:  spawn connects the program's three standard streams to Expect, by a terminal of its own (expect(1)).
#            Nothing of what Expect itself was started with should be left in it.
# Behaviour: the program also inherits a copy of Expect's own standard error (descriptor 4, not close-on-exec). A
#            server that an Expect script starts by spawn and leaves running holds it for its life: `out=$(expect
#            script 2>&1)`, a CI runner or an ssh that waits for the end of the stream waits for the server, not for
#            the script.
# Seen:      spawned program: copies of expect's stderr 1 / expect done, stream open for 2 s more
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
apt-get -qq -o APT::Sandbox::User=root download expect=5.45.4-2+b1 tcl-expect=5.45.4-2+b1 tcl8.6=8.6.13+dfsg-2 \
    libtcl8.6=8.6.13+dfsg-2
for f in *.deb; do dpkg -x "$f" .; done
export LD_LIBRARY_PATH="$d/usr/lib/x86_64-linux-gnu" TCL_LIBRARY="$d/usr/share/tcltk/tcl8.6"
usr/bin/expect -c 'spawn -noecho ls -l /proc/self/fd; expect eof' > list 2> err < /dev/null
copies=$(grep -c ' [0-9]* -> .*/err' list || true)
# The server outlives the hang-up of its terminal, and takes 2 seconds.
cat > server.exp <<'X'
log_user 0
spawn -noecho sh -c {trap "" HUP; echo up; sleep 2}
expect up
X
start=$(date +%s%N)
(usr/bin/expect server.exp 2>&1 > /dev/null < /dev/null; date +%s%N > done) | cat
end=$(date +%s%N)
open=$(( (end - $(cat done)) / 1000000 ))
ran=$(( ($(cat done) - start) / 1000000 ))
if [ $open -ge 1000 ] && [ $ran -lt 1900 ]; then s=2; else s=0; fi
seen="spawned program: copies of expect's stderr $copies / expect done, stream open for $s s more"
echo "$seen"
[ "$seen" = "spawned program: copies of expect's stderr 1 / expect done, stream open for 2 s more" ]
