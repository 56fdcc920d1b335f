#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   sqlite3 3.40.1-2+deb12u2 and libsqlite3-0 3.40.1-2+deb12u2 (Debian 12)
# Expected:  the shell's `.import "|command" table` tells when the command failed: what was imported may be a part only.
#            With -bail the shell stops at an error and ends with another status than 0.
# Behaviour: the command's status is not looked at. Rows that it wrote before it ended with 3, or was killed, are the
#            table; nothing is printed, the next command runs, the shell ends with 0, with -bail too. `.once "|command"`
#            is silent about it in the same way. (`.shell command` prints what the command returned.)
# Seen:      ended with 3: 2 rows, status 0, no message / killed: 2 rows, status 0, no message / output: status 0, no
#            message
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
apt-get -qq -o APT::Sandbox::User=root download sqlite3=3.40.1-2+deb12u2 libsqlite3-0=3.40.1-2+deb12u2
for f in *.deb; do dpkg -x "$f" .; done
sqlite() { LD_LIBRARY_PATH=$d/usr/lib/$(uname -m)-linux-gnu "$d/usr/bin/sqlite3" -bail :memory: "$@" < /dev/null; }
told() { [ -s said ] && echo "a message" || echo "no message"; }
import() {
	rows=$(sqlite 'create table t(a);' ".import \"|echo 1; echo 2; $1\" t" 'select count(*) from t' 2> said) &&
		status=0 || status=$?
	echo "$rows rows, status $status, $(told)"
}
output() {
	sqlite '.once "|cat > out; exit 3"' 'select 1' 2> said && status=0 || status=$?
	echo "status $status, $(told)"
}
seen="ended with 3: $(import 'exit 3') / killed: $(import 'kill -9 $$') / output: $(output)"
echo "$seen"
silent="status 0, no message"
[ "$seen" = "ended with 3: 2 rows, $silent / killed: 2 rows, $silent / output: $silent" ]
