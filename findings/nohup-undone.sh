#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   libuv1 1.44.2-1+deb12u1 through cmake 3.25.1-1; tcl8.6 8.6.13+dfsg-2 (all Debian 12)
# Expected:  a signal that is ignored stays ignored over fork and exec (execve(2)): that is all that nohup(1) relies
#            on, and programs between nohup and the job are expected to keep it. cmake(1) says of `cmake -E env` only
#            that it runs the command in a modified environment, Tcl's exec(n) that it starts subprocesses.
# Behaviour: libuv's uv_spawn and Tcl's exec set *every* signal back to its default in the child. Under nohup the
#            launcher itself still ignores SIGHUP, but what it runs is killed by it when the terminal goes: `nohup
#            cmake -E env X ./job` loses the job. env(1) in the same place keeps it. (Node.js starts its children by
#            uv_spawn as well.)
# Seen:      env: HUP ignored, USR1 ignored / cmake -E env: HUP deadly, USR1 deadly / Tcl exec: HUP deadly, USR1
#            deadly
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
# The packages under test are pinned; the libraries they link with are Debian 12's current ones.
apt-get -qq -o APT::Sandbox::User=root download cmake=3.25.1-1 cmake-data=3.25.1-1 libuv1=1.44.2-1+deb12u1 \
    libarchive13 libjsoncpp25 librhash0 libcurl4 libnghttp2-14 librtmp1 libssh2-1 libpsl5 libldap-2.5-0 libsasl2-2 \
    libbrotli1 libxml2 libicu72 libgssapi-krb5-2 libkrb5-3 libk5crypto3 libkrb5support0 libkeyutils1 \
    tcl8.6=8.6.13+dfsg-2 libtcl8.6=8.6.13+dfsg-2
for f in *.deb; do dpkg -x "$f" .; done
export LD_LIBRARY_PATH="$d/usr/lib/x86_64-linux-gnu" TCL_LIBRARY="$d/usr/share/tcltk/tcl8.6"
cat > look <<'L'
#!/usr/bin/perl
open my $f, '<', '/proc/self/status' or die;
while (<$f>) { $ignored = hex $1 if /^SigIgn:\s*([0-9a-f]+)/ }
print 'HUP ', $ignored & 1 ? 'ignored' : 'deadly', ', USR1 ', $ignored >> 9 & 1 ? 'ignored' : 'deadly';
L
chmod 755 look
echo 'puts [exec ./look]' > run.tcl
trap '' HUP USR1
seen="env: $(env X=1 ./look) / cmake -E env: $(usr/bin/cmake -E env X=1 ./look) / Tcl exec: $(usr/bin/tclsh8.6 run.tcl)"
echo "$seen"
[ "$seen" = \
    "env: HUP ignored, USR1 ignored / cmake -E env: HUP deadly, USR1 deadly / Tcl exec: HUP deadly, USR1 deadly" ]
