#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   elvish 0.19.2-1+b1 (Debian 12)
# Expected:  `elvish -c 'PROGRAM'` runs PROGRAM as other shells do with -c: with the signal actions that the shell
#            itself was given. SIGTSTP from the terminal's ^Z stops it.
# Behaviour: every program started by Elvish, also by -c and with no terminal, begins with SIGTSTP, SIGTTIN and
#            SIGTTOU ignored; and a signal that Elvish was started with as ignored is set back to its default (so
#            `nohup elvish -c PROGRAM` gives PROGRAM a deadly SIGHUP). It cannot be suspended, and its children
#            inherit that.
# Seen:      sh: TSTP stops, HUP ignored / elvish: TSTP does not stop, HUP not ignored
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
apt-get -qq -o APT::Sandbox::User=root download elvish=0.19.2-1+b1
dpkg -x elvish_*.deb .
cat > look <<'L'
#!/usr/bin/perl
open my $f, '<', '/proc/self/status' or die;
while (<$f>) { $ignored = hex $1 if /^SigIgn:\s*([0-9a-f]+)/ }
print $ignored >> 19 & 1 ? 'TSTP does not stop, ' : 'TSTP stops, ', $ignored & 1 ? 'HUP ignored' : 'HUP not ignored';
L
chmod 755 look
export HOME="$d"
seen="sh: $(nohup sh -c ./look 2> /dev/null) / elvish: $(nohup usr/bin/elvish -c ./look 2> /dev/null)"
echo "$seen"
[ "$seen" = "sh: TSTP stops, HUP ignored / elvish: TSTP does not stop, HUP not ignored" ]
