#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   tmux 3.3a-3 (Debian 12); compared with script(1) of bsdutils 1:2.38.1-5+deb12u3
# Expected:  a background process that reads from its terminal is stopped by SIGTTIN (POSIX, 11.1.4; termios(3)), also
#            when the terminal is a window of tmux: tmux(1) says nothing of signals that the window's command ignores.
# Behaviour: the tmux server ignores SIGTTIN and SIGTTOU for itself and sets other signals back in its children, but
#            not these two. What `tmux new-session COMMAND` runs, and all that it starts, has both ignored: a
#            background read gives EIO instead of stopping, and background writes are not stopped by `stty tostop`.
#            (An interactive shell that sets its job control signals anew hides this from the jobs typed there.)
# Seen:      script: stopped / tmux: read failed with EIO, SIGTTIN and SIGTTOU ignored
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
apt-get -qq -o APT::Sandbox::User=root download tmux=3.3a-3 libevent-core-2.1-7=2.1.12-stable-8 libutempter0=1.2.1-3
for f in *.deb; do dpkg -x "$f" .; done
cat > job.pl <<'J'
use Errno;
open my $out, '>', "$ARGV[0].new" or die;
$out->autoflush(1);
my $pid = fork // die;
if (!$pid) {
    setpgrp 0, 0;
    my $n = sysread STDIN, my $byte, 1;
    print $out 'read failed with ', $!{EIO} ? 'EIO' : $! unless defined $n;
    exit 0;
}
select undef, undef, undef, 0.7;
open my $f, '<', "/proc/$pid/status" or die;
my ($state, $ignored) = ('', 0);
while (<$f>) { $state = $1 if /^State:\s*(\S)/; $ignored = hex $1 if /^SigIgn:\s*([0-9a-f]+)/; }
print $out 'stopped' if $state eq 'T';
print $out ', SIGTTIN and SIGTTOU ignored' if ($ignored >> 20 & 3) == 3;
kill 'KILL', $pid;
close $out;
rename "$ARGV[0].new", $ARGV[0];
J
script -qc "perl $d/job.pl $d/script.out" /dev/null < /dev/null > /dev/null 2>&1
LD_LIBRARY_PATH="$d/usr/lib/x86_64-linux-gnu" TMUX_TMPDIR="$d" \
    "$d/usr/bin/tmux" -f /dev/null new-session -d "perl $d/job.pl $d/tmux.out"
i=0
while [ ! -e tmux.out ] && [ $i -lt 50 ]; do sleep 0.2; i=$((i + 1)); done
seen="script: $(cat script.out) / tmux: $(cat tmux.out)"
echo "$seen"
[ "$seen" = "script: stopped / tmux: read failed with EIO, SIGTTIN and SIGTTOU ignored" ]
