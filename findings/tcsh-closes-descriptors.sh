#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   tcsh 6.24.07-1 (Debian 12); compared with sh, mksh 59c-28+deb12u1 and yash 2.52-2
# Expected:  `SHELL -c 'PROGRAM' 7< FILE` gives descriptor 7 to PROGRAM: descriptors without close-on-exec pass
#            through exec, and a shell has no reason to touch those it does not know. tcsh(1) does not say otherwise.
# Behaviour: tcsh closes every descriptor above 2 as it starts. Whatever is passed by number does not get through a
#            tcsh wrapper: make's jobserver, flock's lock, systemd's LISTEN_FDS, a bash process substitution
#            (/dev/fd/63). A lock that was held through such a descriptor only is let go.
# Seen:      sh: open / mksh: open / yash: open / tcsh: closed
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
apt-get -qq -o APT::Sandbox::User=root download tcsh=6.24.07-1 mksh=59c-28+deb12u1 yash=2.52-2
for f in *.deb; do dpkg -x "$f" .; done
printf '%s\n' '#!/bin/sh' 'if [ -e /proc/$$/fd/7 ]; then echo open; else echo closed; fi' > look
chmod 755 look
seen="sh: $(sh -c ./look 7< /dev/null) / mksh: $(bin/mksh -c ./look 7< /dev/null)"
seen="$seen / yash: $(usr/bin/yash -c ./look 7< /dev/null) / tcsh: $(bin/tcsh -f -c ./look 7< /dev/null)"
echo "$seen"
[ "$seen" = "sh: open / mksh: open / yash: open / tcsh: closed" ]
