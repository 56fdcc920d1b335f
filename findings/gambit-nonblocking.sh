#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   gambc and libgambit4 4.9.3-1.2+b1 (Debian 12)
# Expected:  an interpreter that reads or writes its standard streams leaves them as they were. O_NONBLOCK belongs to
#            the open file, which the caller and all its children share, not to one process.
# Behaviour: Gambit's gsi sets O_NONBLOCK on all three of its standard streams as it starts, pipes and files too, and
#            does not set it back, neither for what it starts (`shell-command`) nor when it ends. What a script runs
#            next, or beside it, writes to a stream that refuses: most programs take that for an error and lose the
#            rest, once the pipe's 64 KiB are full.
# Seen:      after true 1000000 bytes arrive / after gsi 65536 bytes arrive (Resource temporarily unavailable) / below
#            gsi 65536 bytes arrive (Resource temporarily unavailable)
# Needs:     libssl3 (a library of gsi's).
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
apt-get -qq -o APT::Sandbox::User=root download gambc=4.9.3-1.2+b1 libgambit4=4.9.3-1.2+b1
for f in *.deb; do dpkg -x "$f" .; done
export HOME="$d" LC_ALL=C
gsi() { LD_LIBRARY_PATH="$d/usr/lib/x86_64-linux-gnu:$d/usr/lib" "$d/usr/bin/gsi" "$@"; }
million() { head -c 1000000 /dev/zero 2> err || true; }
arrive() {
    : > err
    bytes=$("$@" < /dev/null 2> /dev/null | { sleep 1; wc -c; })
    sed -n "s/.*: \(Resource.*\)/ (\1)/p" err > why
    echo "$bytes bytes arrive$(cat why)"
}
after() { "$@"; million; }
# A reader that comes late: the pipe is full by then.
seen="after true $(arrive after true) / after gsi $(arrive after gsi -e '(+ 1 1)')"
seen="$seen / below gsi $(arrive gsi -e '(shell-command "head -c 1000000 /dev/zero 2> err")')"
echo "$seen"
[ "$seen" = "after true 1000000 bytes arrive / after gsi 65536 bytes arrive (Resource temporarily unavailable) / \
below gsi 65536 bytes arrive (Resource temporarily unavailable)" ]
