#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   catatonit 0.1.7-1+b2; compared with tini 0.19.0-1+b3 (both Debian 12)
# Expected:  a container's init starts the program with the signal mask that it was given itself: both packages
#            describe themselves as init programs that only forward signals and reap.
# Behaviour: under catatonit the program starts with SIGTSTP, SIGTTIN and SIGTTOU blocked, and hands that on to all
#            that it starts. ^Z and `kill -TSTP` stay pending for ever; a background write to a `stty tostop` terminal
#            passes. A blocked signal is harder to see than an ignored one: programs set handlers, few empty the mask.
# Seen:      tini: TSTP 0 TTIN 0 TTOU 0 / catatonit: TSTP 1 TTIN 1 TTOU 1
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
apt-get -qq -o APT::Sandbox::User=root download catatonit=0.1.7-1+b2 tini=0.19.0-1+b3
for f in *.deb; do dpkg -x "$f" .; done
blocked() {
    mask=0x$("$@" sed -n 's/^SigBlk:[^0-9a-f]*//p' /proc/self/status 2> /dev/null)
    echo "TSTP $(( mask >> 19 & 1 )) TTIN $(( mask >> 20 & 1 )) TTOU $(( mask >> 21 & 1 ))"
}
seen="tini: $(blocked usr/bin/tini -s --) / catatonit: $(blocked usr/bin/catatonit --)"
echo "$seen"
[ "$seen" = "tini: TSTP 0 TTIN 0 TTOU 0 / catatonit: TSTP 1 TTIN 1 TTOU 1" ]
