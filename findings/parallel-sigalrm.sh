#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   parallel 20221122+ds-2 (Debian 12)
# Expected:  a job run by GNU parallel behaves as when a shell runs it; parallel(1) says nothing of changed signals,
#            and alarm(2) with the default action ends a program.
# Behaviour: every job starts with SIGALRM ignored. A program that bounds itself with alarm(2) and leaves the signal's
#            action alone (the usual `perl -e 'alarm 10; exec @ARGV'` as a time limit) runs on without limit.
# Seen:      shell: status 142 / parallel: survived the alarm, SIGALRM ignored
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
apt-get -qq -o APT::Sandbox::User=root download parallel=20221122+ds-2
dpkg -x parallel_*.deb .
cat > job <<'J'
#!/usr/bin/perl
alarm 1;
select undef, undef, undef, 2.5;
print "survived the alarm";
open my $f, '<', '/proc/self/status' or die;
while (<$f>) { print ', SIGALRM ignored' if /^SigIgn:\s*([0-9a-f]+)/ and hex($1) >> 13 & 1; }
J
chmod 755 job
status=0
shell=$(sh -c './job; exit $?' 2> /dev/null) || status=$?
par=$(HOME="$d" perl -I usr/share/perl5 usr/bin/parallel -n0 ./job ::: 1 2> /dev/null) || true
echo "shell: ${shell:-status $status} / parallel: $par"
[ -z "$shell" ] && [ "$status" = 142 ] && [ "$par" = "survived the alarm, SIGALRM ignored" ]
