#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   cmake 3.25.1-1 (Debian 12); compared with `cmake -E env` of the same package
# Expected:  `cmake -E time COMMAND` runs COMMAND, prints how long it took, and fails when COMMAND fails: it does
#            hand on an exit status, as `cmake -E time false` gives 1.
# Behaviour: the status is 0 when the command was killed by a signal and when it could not be started at all. A timed
#            step of a build that crashes, or whose program is missing, counts as passed. `cmake -E env` gives 1 for
#            both.
# Seen:      time: false 1, killed 0, missing 0 / env: false 1, killed 1, missing 1
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
# The package under test is pinned; the libraries it links with are Debian 12's current ones.
apt-get -qq -o APT::Sandbox::User=root download cmake=3.25.1-1 cmake-data=3.25.1-1 libuv1=1.44.2-1+deb12u1 \
    libarchive13 libjsoncpp25 librhash0 libcurl4 libnghttp2-14 librtmp1 libssh2-1 libpsl5 libldap-2.5-0 libsasl2-2 \
    libbrotli1 libxml2 libicu72 libgssapi-krb5-2 libkrb5-3 libk5crypto3 libkrb5support0 libkeyutils1
for f in *.deb; do dpkg -x "$f" .; done
try() {
    status=0
    LD_LIBRARY_PATH="$d/usr/lib/x86_64-linux-gnu" usr/bin/cmake -E "$@" > /dev/null 2>&1 || status=$?
    echo $status
}
all() { echo "false $(try "$1" false), killed $(try "$1" sh -c 'kill -KILL $$'), missing $(try "$1" ./missing)"; }
seen="time: $(all time) / env: $(all env)"
echo "$seen"
[ "$seen" = "time: false 1, killed 0, missing 0 / env: false 1, killed 1, missing 1" ]
