#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   gcc-12 and cpp-12 12.2.0-14+deb12u1 (Debian 12)
# Expected:  a compiler driver starts the compiler, the assembler and the linker with the resource limits that it was
#            given; gcc(1) has no word on limits.
# Behaviour: the driver raises the soft stack limit to 64 MiB for all that it starts (as far as the hard limit lets
#            it). By pthread_create(3) that limit is also the default stack of threads: each thread of a linker, of a
#            plugin or of a program run by -wrapper maps 64 MiB instead of 8. A limit set low on purpose (`ulimit -S
#            -s`, to find deep recursion) is undone too.
# Seen:      shell: 8192 KiB / child of gcc: 65536 KiB / shell with 1024: child of gcc: 65536 KiB
# Needs:     a hard stack limit of 64 MiB or more.
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
apt-get -qq -o APT::Sandbox::User=root download gcc-12=12.2.0-14+deb12u1 cpp-12=12.2.0-14+deb12u1
for f in *.deb; do dpkg -x "$f" .; done
# -wrapper puts a program of ours in the place of the compiler proper.
child() { usr/bin/x86_64-linux-gnu-gcc-12 -wrapper "sh,-c,ulimit -s >&2" -E -x c /dev/null 2>&1; }
ulimit -S -s 8192
seen="shell: $(ulimit -s) KiB / child of gcc: $(child) KiB"
ulimit -S -s 1024
seen="$seen / shell with $(ulimit -s): child of gcc: $(child) KiB"
echo "$seen"
[ "$seen" = "shell: 8192 KiB / child of gcc: 65536 KiB / shell with 1024: child of gcc: 65536 KiB" ]
