#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   runit 2.1.2-54 and daemontools 1:0.76-8.1 (Debian 12)
# Expected:  chpst(8) describes -P as giving the program a process group of its own. Such a group stays in its session,
#            so the program keeps its terminal, and job control there still reaches it.
# Behaviour: `chpst -P`, and daemontools' pgrphack that it stands for, call setsid(2): the program leads a new
#            *session* and has no controlling terminal. ^C and ^Z do not reach it, opening /dev/tty fails with ENXIO,
#            and `kill %1` or fg from the shell that started it work no longer.
# Seen:      plain: session kept, tty opens / chpst -P: session new, tty fails / pgrphack: session new, tty fails
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
apt-get -qq -o APT::Sandbox::User=root download runit=2.1.2-54 daemontools=1:0.76-8.1
for f in *.deb; do dpkg -x "$f" .; done
cat > look.pl <<'L'
open my $f, '<', '/proc/self/stat' or die;
my ($pid, $sid) = (split ' ', <$f>)[0, 5];
print $pid == $sid ? 'session new, ' : 'session kept, ', open(my $t, '<', '/dev/tty') ? 'tty opens' : 'tty fails';
L
# script(1) gives each run a terminal; the trailing ":" keeps the shell as the session's leader.
look() { script -qc "$1 perl $d/look.pl; :" /dev/null < /dev/null | tr -d '\r\n\004\010^D'; }
seen="plain: $(look env) / chpst -P: $(look "$d/usr/bin/chpst -P") / pgrphack: $(look "$d/usr/bin/pgrphack")"
echo "$seen"
[ "$seen" = "plain: session kept, tty opens / chpst -P: session new, tty fails / pgrphack: session new, tty fails" ]
