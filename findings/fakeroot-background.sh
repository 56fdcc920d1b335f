#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   fakeroot and libfakeroot 1.31-1.2 (Debian 12)
# Expected:  a job that a command leaves in the background goes on when the command has ended, under fakeroot as
#            without it; at most it no longer sees the pretended owners.
# Behaviour: fakeroot ends its daemon and removes its message queue and semaphore when the command that it was given
#            ends. Whatever is left ends with an error at the next file that it looks at: the library that fakeroot
#            preloads calls exit in the middle of stat, in a shell as in any program. A server that a package's build
#            or test starts under fakeroot is gone soon after the step that started it. fakeroot-tcp, of the same
#            package, has the daemon ended as well, and its job goes on.
# Seen:      without: begins, goes on / fakeroot-sysv: begins, ended by semop(1): encountered an error: Invalid argument
#            / fakeroot-tcp: begins, goes on
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
apt-get -qq -o APT::Sandbox::User=root download fakeroot=1.31-1.2 libfakeroot=1.31-1.2
for f in *.deb; do dpkg -x "$f" .; done
cat > job.sh <<'C'
(sleep 1; printf begins >> "$1"; test -e /etc/passwd; printf ', goes on' >> "$1") 2>> "$1" &
sleep 0.5
C
job() {
    : > "$1"
    if [ "$1" = without ]; then
        sh job.sh without
    else
        "usr/bin/fakeroot-$1" --lib "$d/usr/lib/x86_64-linux-gnu/libfakeroot/libfakeroot-$1.so" \
            --faked "$d/usr/bin/faked-$1" sh job.sh "$1"
    fi
    sleep 2
    sed 's/^begins\(semop\)/begins, ended by \1/' "$1" | tr -d '\n'
}
seen="without: $(job without) / fakeroot-sysv: $(job sysv) / fakeroot-tcp: $(job tcp)"
echo "$seen"
[ "$seen" = "without: begins, goes on / \
fakeroot-sysv: begins, ended by semop(1): encountered an error: Invalid argument / \
fakeroot-tcp: begins, goes on" ]
