#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   clisp 1:2.49.20210628.gitde01f0f-3, libffcall1b 2.4-2, libsigsegv2 2.14-1 (Debian 12)
# Expected:  a runtime that wants its heap to grow at its end passes the address to mmap, and looks where it got memory;
#            or, since Linux 4.17, asks by MAP_FIXED_NOREPLACE, which fails where something lies. Either is one call,
#            whatever the size.
# Behaviour: before each growth CLISP asks for every page of the place by a mincore of its own whether something is
#            there (ENOMEM: nothing), and then maps by MAP_FIXED, which replaces what lies there, were it mapped between
#            the two by another thread or a library. A heap that grows by 31 MiB makes nearly 9000 calls of mincore;
#            and a tool that looks at what a program asks of mincore, or places memory between, must know of it.
# Seen:      mincore calls > 7000, of one page each: all; MAP_FIXED at places that mincore found free: > 30, with
#            NOREPLACE: 0
# Needs:     strace, libreadline8.
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
apt-get -qq -o APT::Sandbox::User=root download clisp=1:2.49.20210628.gitde01f0f-3 libffcall1b=2.4-2 \
    libsigsegv2=2.14-1
for f in *.deb; do dpkg -x "$f" .; done
cat > grow.lisp <<'L'
(defvar *l* nil)
(dotimes (i 40) (push (make-array 100000 :initial-element i) *l*))
(format t "~a~%" (length *l*))
L
lisp=$(echo usr/lib/clisp-*)
printed=$(LD_LIBRARY_PATH=$d/usr/lib/x86_64-linux-gnu strace -e trace=mmap,mincore -o calls \
    "$lisp/base/lisp.run" -B "$lisp" -M "$lisp/base/lispinit.mem" -q -norc grow.lisp)
[ "$printed" = 40 ] || { echo "it printed: $printed"; exit 1; }
awk '/^mincore/ { asked++; if ($2 == "4096,") one++; if (/ENOMEM/) { split($1, a, "[(,]"); free[a[2]] = 1 } }
    /^mmap/ && /MAP_FIXED/ { split($1, a, "[(,]"); if (a[2] in free) fixed++; if (/NOREPLACE/) noreplace++ }
    END {
        printf "mincore: %d calls, of one page: %d; ", asked, one
        printf "MAP_FIXED where it found nothing: %d, with NOREPLACE: %d\n", fixed, noreplace
        exit !(asked > 7000 && one == asked && fixed > 30 && noreplace == 0)
    }' calls
