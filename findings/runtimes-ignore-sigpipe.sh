#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   sbcl 2:2.2.9-1, swi-prolog-core 9.0.4+dfsg-2, expect 5.45.4-2+b1 (Debian 12)
# Expected:  a program started by SBCL's run-program, SWI-Prolog's process_create/3 or Expect's system dies by SIGPIPE
#            when its reader is gone, as under a shell; the documentation of none of them says that a signal is
#            ignored.
# Behaviour: each of the three ignores SIGPIPE for itself and hands that on: the program, and all that it starts, gets
#            EPIPE instead. `yes | head` in it prints "Broken pipe"; a filter that does not check its writes goes on
#            for ever. Expect differs in itself: what `spawn` and `exec` start has every signal at its default.
# Seen:      sbcl: ignored / swipl: ignored / expect system: ignored / expect exec: default
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
apt-get -qq -o APT::Sandbox::User=root download sbcl=2:2.2.9-1 swi-prolog-core=9.0.4+dfsg-2 \
    swi-prolog-core-packages=9.0.4+dfsg-2 libtcmalloc-minimal4=2.10-1 expect=5.45.4-2+b1 tcl-expect=5.45.4-2+b1 \
    tcl8.6=8.6.13+dfsg-2 libtcl8.6=8.6.13+dfsg-2
for f in *.deb; do dpkg -x "$f" .; done
export LD_LIBRARY_PATH="$d/usr/lib/x86_64-linux-gnu:$d/usr/lib" TCL_LIBRARY="$d/usr/share/tcltk/tcl8.6"
export SBCL_HOME="$d/usr/lib/sbcl"
cat > look <<'L'
#!/usr/bin/perl
open my $f, '<', '/proc/self/status' or die;
while (<$f>) { $ignored = hex $1 if /^SigIgn:\s*([0-9a-f]+)/ }
print $ignored >> 12 & 1 ? 'ignored' : 'default';
L
chmod 755 look
sbcl() {
    usr/bin/sbcl --noinform --non-interactive --no-sysinit --no-userinit --eval \
        '(sb-ext:run-program "./look" nil :output *standard-output*)'
}
swipl() {
    usr/bin/swipl --home="$d/usr/lib/swi-prolog" -t halt -g \
        "use_module(library(process)), process_create('./look', [], [process(P)]), process_wait(P, _)" < /dev/null
}
seen="sbcl: $(sbcl) / swipl: $(swipl) / expect system: $(usr/bin/expect -c 'system ./look')"
seen="$seen / expect exec: $(usr/bin/expect -c 'puts [exec ./look]')"
echo "$seen"
[ "$seen" = "sbcl: ignored / swipl: ignored / expect system: ignored / expect exec: default" ]
