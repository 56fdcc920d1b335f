#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   findutils 4.9.0-4; compared with busybox-static 1:1.35.0-4+deb12u1+b1 (both Debian 12)
# Expected:  execve(2): a signal that is ignored stays ignored. xargs(1) uses SIGUSR1 and SIGUSR2 for itself, to
#            change the number of processes of a run with -P, and does not speak of those signals in the commands it
#            runs.
# Behaviour: GNU xargs gives every command the two signals at their default, with or without -P: a command that was
#            shielded by `trap '' USR1 USR2` is killed by the first SIGUSR1 sent to the process group (say, to tell
#            xargs to run more in parallel). SIGHUP stays ignored. find -exec of the same package and busybox's xargs
#            keep all three.
# Seen:      xargs: HUP ignored USR1 default USR2 default / find -exec: HUP ignored USR1 ignored USR2 ignored /
#            busybox xargs: HUP ignored USR1 ignored USR2 ignored
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
apt-get -qq -o APT::Sandbox::User=root download findutils=4.9.0-4 busybox-static=1:1.35.0-4+deb12u1+b1
for f in *.deb; do dpkg -x "$f" .; done
cat > look <<'L'
#!/usr/bin/perl
open my $f, '<', '/proc/self/status' or die;
while (<$f>) { $ignored = hex $1 if /^SigIgn:\s*([0-9a-f]+)/ }
my %n = (HUP => 1, USR1 => 10, USR2 => 12);
print join ' ', map { "$_ " . ($ignored >> $n{$_} - 1 & 1 ? 'ignored' : 'default') } sort keys %n;
L
chmod 755 look
trap '' HUP USR1 USR2
seen="xargs: $(echo x | usr/bin/xargs ./look) / find -exec: $(usr/bin/find look -exec ./look ';')"
seen="$seen / busybox xargs: $(echo x | bin/busybox xargs ./look)"
echo "$seen"
[ "$seen" = "xargs: HUP ignored USR1 default USR2 default / find -exec: HUP ignored USR1 ignored USR2 ignored / \
busybox xargs: HUP ignored USR1 ignored USR2 ignored" ]
