#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   dash 0.5.12-2, mksh 59c-28+deb12u1, posh 0.14.1, yash 2.52-2, ksh93u+m 1.0.4-3 (Debian 12)
# Expected:  sigprocmask(2) and execve(2): blocked signals stay blocked over fork and exec. The shell's language has
#            no word for the mask, so a shell between a program and its child hands it on; POSIX (2.11) speaks only of
#            ignored signals.
# Behaviour: the shells differ. dash (Debian's /bin/sh), mksh and ksh93 empty the mask, so a child started by way of
#            `sh -c` gets signals that its parent had blocked for it; posh and yash (bash and zsh as well) keep it. A
#            program that blocks SIGINT or SIGUSR1 around the start of a child, to let it set a handler first, works
#            or loses the child by who is /bin/sh.
# Seen:      no shell: blocked / dash: open / mksh: open / ksh93: open / posh: blocked / yash: blocked
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
apt-get -qq -o APT::Sandbox::User=root download dash=0.5.12-2 mksh=59c-28+deb12u1 posh=0.14.1 yash=2.52-2 \
    ksh93u+m=1.0.4-3
for f in *.deb; do dpkg -x "$f" .; done
cat > block.pl <<'P'
use POSIX;
sigprocmask(SIG_BLOCK, POSIX::SigSet->new(SIGUSR1));
exec @ARGV;
P
cat > look <<'L'
#!/usr/bin/perl
open my $f, '<', '/proc/self/status' or die;
while (<$f>) { $blocked = hex $1 if /^SigBlk:\s*([0-9a-f]+)/ }
print $blocked >> 9 & 1 ? 'blocked' : 'open';
L
chmod 755 look
seen="no shell: $(perl block.pl ./look)"
for shell in bin/dash bin/mksh bin/ksh93 usr/bin/posh usr/bin/yash; do
    [ -x $shell ] || shell=usr/$shell
    seen="$seen / ${shell##*/}: $(perl block.pl "$shell" -c './look; :')"
done
echo "$seen"
[ "$seen" = "no shell: blocked / dash: open / mksh: open / ksh93: open / posh: blocked / yash: blocked" ]
