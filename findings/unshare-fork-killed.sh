#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   util-linux 2.38.1-5+deb12u3 (Debian 12)
# Expected:  `unshare --fork PROGRAM` ends as PROGRAM ended: for a deadly signal it kills itself by the same one, so
#            that the shell sees 128+N (143 for SIGTERM). SIGKILL, the signal of the out-of-memory killer, should give
#            137.
# Behaviour: for SIGKILL the status is 1, with the message "sigprocmask unblock failed: Invalid argument": it first
#            sets the signal's action to the default, which no process may do for SIGKILL. A program that ran out of
#            memory looks like one that failed with 1, or like a fault of unshare.
# Seen:      TERM 143, SEGV 139, KILL 1 (unshare: sigprocmask unblock failed: Invalid argument)
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
apt-get -qq -o APT::Sandbox::User=root download util-linux=2.38.1-5+deb12u3
dpkg -x util-linux_*.deb .
ulimit -c 0
try() {
    status=0
    sh -c 'LC_ALL=C usr/bin/unshare --fork sh -c "kill -$1 \$\$" 2> err; exit $?' sh "$1" 2> /dev/null || status=$?
    echo "$1 $status"
}
seen="$(try TERM), $(try SEGV), $(try KILL) ($(sed 's,^[^ ]*/,,' err))"
echo "$seen"
[ "$seen" = "TERM 143, SEGV 139, KILL 1 (unshare: sigprocmask unblock failed: Invalid argument)" ]
