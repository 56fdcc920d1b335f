#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   cpulimit 2.8-1 (Debian 12)
# Expected:  with -f it waits for the program that it starts. A wrapper that waits for
#            its program hands on how it ended, as nice, timeout and timelimit do; cpulimit(1) says nothing of exit
#            statuses.
# Behaviour: the status is 0 whatever the program did, also when it was killed. A build or test slowed by `cpulimit -f
#            -l 50 -- make check` can not fail.
# Seen:      -f: exit 7 gives 0, KILL gives 0 / without -f: exit 7 gives 0
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
apt-get -qq -o APT::Sandbox::User=root download cpulimit=2.8-1
dpkg -x cpulimit_*.deb .
try() {
    status=0
    usr/bin/cpulimit "$@" > /dev/null 2>&1 || status=$?
    echo $status
}
seen="-f: exit 7 gives $(try -f -l 90 -- sh -c 'sleep 0.3; exit 7')"
seen="$seen, KILL gives $(try -f -l 90 -- sh -c 'sleep 0.3; kill -KILL $$')"
seen="$seen / without -f: exit 7 gives $(try -l 90 -- sh -c 'sleep 0.3; exit 7')"
echo "$seen"
[ "$seen" = "-f: exit 7 gives 0, KILL gives 0 / without -f: exit 7 gives 0" ]
