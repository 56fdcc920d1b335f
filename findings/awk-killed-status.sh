#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   gawk 1:5.2.1-2, mawk 1.3.4.20200120-3.1, original-awk 2022-09-12-1, busybox-static 1:1.35.0-4+deb12u1+b1
#            (Debian 12)
# Expected:  POSIX on awk's system() and close(): they give the exit status of the command, 0 only for success; four
#            awks of one distribution give the same for a command that SIGKILL ended. gawk's manual documents 256 plus
#            the signal's number.
# Behaviour: original-awk's close() and busybox's system() give 0, as for success, busybox's close() gives 9, as for
#            `exit 9`; gawk and mawk give 265 for both. It shows when the shell that awk starts is itself replaced by
#            the command (`exec`, or a /bin/sh that does so for the last command, as bash does): with dash in between
#            all give 137.
# Seen:      gawk: system 265 close 265 / mawk: system 265 close 265 / original-awk: system 265 close 0 / busybox:
#            system 0 close 9
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
apt-get -qq -o APT::Sandbox::User=root download gawk=1:5.2.1-2 libsigsegv2=2.14-1 mawk=1.3.4.20200120-3.1 \
    original-awk=2022-09-12-1 busybox-static=1:1.35.0-4+deb12u1+b1
for f in *.deb; do dpkg -x "$f" .; done
export LD_LIBRARY_PATH="$d/usr/lib/x86_64-linux-gnu"
printf '#!/bin/sh\nkill -KILL $$\n' > killed
chmod 755 killed
program='BEGIN {
    c = "exec ./killed"; s = system(c)
    while ((c | getline line) > 0);
    print "system", s, "close", close(c)
}'
seen="gawk: $(usr/bin/gawk "$program") / mawk: $(usr/bin/mawk "$program")"
seen="$seen / original-awk: $(usr/bin/original-awk "$program") / busybox: $(bin/busybox awk "$program")"
echo "$seen"
[ "$seen" = "gawk: system 265 close 265 / mawk: system 265 close 265 / original-awk: system 265 close 0 / \
busybox: system 0 close 9" ]
