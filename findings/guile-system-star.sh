#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   guile-3.0 and guile-3.0-libs 3.0.8-2 (Debian 12)
# Expected:  Guile's manual describes (system* PROGRAM ARGUMENT ...) as system without a shell: each string is one
#            argument. It names no other difference.
# Behaviour: Guile ignores SIGINT and SIGQUIT while it waits, as system(3) does. system gives the child the former
#            actions back, system* does not: the program, and all that it starts, ignores both signals. Ctrl-C at the
#            terminal reaches neither Guile nor the program that it waits for. system* also closes descriptors from 3
#            up in the child, system leaves them open.
# Seen:      system: SIGINT 0 SIGQUIT 0 descriptor 7 open / system*: SIGINT 1 SIGQUIT 1 descriptor 7 closed
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
apt-get -qq -o APT::Sandbox::User=root download guile-3.0=3.0.8-2 guile-3.0-libs=3.0.8-2 libgc1=1:8.2.2-3
for f in *.deb; do dpkg -x "$f" .; done
cat > look <<'L'
#!/bin/sh
mask=$(sed -n 's/^SigIgn:[^0-9a-f]*[0-9a-f]\{8\}/0x/p' /proc/$$/status)
fd=closed
[ -e /proc/$$/fd/7 ] && fd=open
echo "SIGINT $(( mask >> 1 & 1 )) SIGQUIT $(( mask >> 2 & 1 )) descriptor 7 $fd"
L
chmod 755 look
lib="$d/usr/lib/x86_64-linux-gnu"
run() {
    GUILE_AUTO_COMPILE=0 GUILE_LOAD_PATH="$d/usr/share/guile/3.0" \
        GUILE_LOAD_COMPILED_PATH="$lib/guile/3.0/ccache" LD_LIBRARY_PATH="$lib" \
        "$lib/guile/3.0/bin/guile" -c "($1 \"./look\")" 7< /dev/null
}
seen="system: $(run system) / system*: $(run 'system*')"
echo "$seen"
[ "$seen" = "system: SIGINT 0 SIGQUIT 0 descriptor 7 open / system*: SIGINT 1 SIGQUIT 1 descriptor 7 closed" ]
