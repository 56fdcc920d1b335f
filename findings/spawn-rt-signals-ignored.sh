#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   libc6 2.36-9+deb12u14, seen through mawk 1.3.4.20200120-3.1 (Debian 12)
# Expected:  posix_spawn(3): signals that the caller ignores stay ignored in the new program, all others get their
#            default action. A program started by posix_spawn, system or popen begins as one started by fork and exec.
# Behaviour: glibc's posix_spawn, and with it system(3) and popen(3), leaves the signals 32 and 33 ignored in the new
#            program and so in all that descend from it. They are glibc's own, so its sigaction(2) refuses to look at
#            them or set them back; only the raw system call can. What compares, saves or restores the signal state of
#            processes meets it, and so does a program of another C library or runtime that counts its real-time
#            signals from 32. In one awk, system() (which is system(3)) and a pipe (fork and exec) differ.
# Seen:      pipe of awk: 32 default, 33 default / system() of awk: 32 ignored, 33 ignored / its grandchild: 32
#            ignored, 33 ignored
# Needs:     a start where both are at their default: the script sets them so by itself.
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
apt-get -qq -o APT::Sandbox::User=root download libc6=2.36-9+deb12u14 mawk=1.3.4.20200120-3.1
for f in *.deb; do dpkg -x "$f" .; done
cat > look <<'L'
#!/usr/bin/perl
open my $f, '<', '/proc/self/status' or die;
while (<$f>) { $ignored = hex $1 if /^SigIgn:\s*([0-9a-f]+)/ }
print join(', ', map { "$_ " . ($ignored >> $_ - 1 & 1 ? 'ignored' : 'default') } 32, 33), "\n";
L
cat > default.pl <<'P'
# rt_sigaction(2) of x86-64 with an action of zeros, for the two signals; then PROGRAM.
syscall 13, $_ + 0, my $action = "\0" x 32, 0, 8 for @{[32, 33]};
exec @ARGV;
P
chmod 755 look
awk() {
    perl default.pl "$d/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2" --library-path "$d/lib/x86_64-linux-gnu" \
        "$d/usr/bin/mawk" "$1"
}
seen="pipe of awk: $(awk 'BEGIN { "./look" | getline x; print x }')"
seen="$seen / system() of awk: $(awk 'BEGIN { system("./look") }')"
seen="$seen / its grandchild: $(awk 'BEGIN { system("sh -c \"./look; :\"; :") }')"
echo "$seen"
[ "$seen" = "pipe of awk: 32 default, 33 default / system() of awk: 32 ignored, 33 ignored / \
its grandchild: 32 ignored, 33 ignored" ]
