#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   ruby3.1 and libruby3.1 3.1.7+really3.1.2-0+deb12u1 (Debian 12)
# Expected:  an interpreter leaves the memory settings of the programs that it starts alone. ruby(1) and Ruby's
#            documentation of Process.spawn and Kernel#exec list what a child inherits or gets; huge pages are not
#            named.
# Behaviour: the interpreter calls prctl(PR_SET_THP_DISABLE, 1) as it starts and never takes it back. By prctl(2) the
#            setting is inherited over fork and kept over execve: every program that a Ruby program starts or becomes,
#            and all that descend from it, run without transparent huge pages, whatever the system's setting is.
# Seen:      shell: THP_enabled: 1 / child of ruby: THP_enabled: 0 / what ruby became by exec: THP_enabled: 0 /
#            grandchild: THP_enabled: 0
# Needs:     Linux 5.0 or later (the line THP_enabled in /proc/PID/status), started where THP_enabled is 1.
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
apt-get -qq -o APT::Sandbox::User=root download \
    ruby3.1=3.1.7+really3.1.2-0+deb12u1 libruby3.1=3.1.7+really3.1.2-0+deb12u1
for f in *.deb; do dpkg -x "$f" .; done
ruby() { LD_LIBRARY_PATH="$d/usr/lib/x86_64-linux-gnu" "$d/usr/bin/ruby3.1" --disable-gems "$@"; }

plain=$(grep THP_enabled /proc/self/status | tr -d '\t')
child=$(ruby -e 'print `grep THP_enabled /proc/self/status`' | tr -d '\t')
became=$(ruby -e 'exec "grep", "THP_enabled", "/proc/self/status"' | tr -d '\t')
grand=$(ruby -e 'system "sh", "-c", "sh -c \"grep THP_enabled /proc/self/status\"; :"' | tr -d '\t')
echo "shell: $plain / child of ruby: $child / what ruby became by exec: $became / grandchild: $grand"
[ "$plain $child $became $grand" = "THP_enabled:1 THP_enabled:0 THP_enabled:0 THP_enabled:0" ]
