#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   libopenblas0-pthread 0.3.21+ds-4, with libgfortran5 and libquadmath0 12.2.0-14+deb12u1 (Debian 12)
# Expected:  a library of numerical functions makes threads when it computes something large. A program that is merely
#            linked with it, or loads it as a plugin, has the one thread that it started with.
# Behaviour: the library's constructor makes a thread for each further processor before main: the program is never
#            single-threaded. unshare(CLONE_NEWUSER) and setns to a user or time namespace fail with EINVAL or EUSERS,
#            Python 3.12 and later warns at os.fork, and constructors of preloaded libraries, which come after, find
#            threads. OPENBLAS_NUM_THREADS=1 keeps it from that.
# Seen:      linked, nothing computed: more than one thread, unshare: Invalid argument / with OPENBLAS_NUM_THREADS=1:
#            one thread, unshare: works
# Needs:     gcc, the headers of the C library, two processors, and user namespaces that may be made.
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
apt-get -qq -o APT::Sandbox::User=root download libopenblas0-pthread=0.3.21+ds-4 libgfortran5=12.2.0-14+deb12u1 \
    libquadmath0=12.2.0-14+deb12u1
for f in *.deb; do dpkg -x "$f" .; done
cat > t.c <<'C'
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

int main(void)
{
    struct stat tasks;
    if (stat("/proc/self/task", &tasks) != 0)
        return 1;
    printf("%s, unshare: ", tasks.st_nlink > 3 ? "more than one thread" : "one thread");
    printf("%s", unshare(CLONE_NEWUSER) == 0 ? "works" : strerror(errno));
    return 0;
}
C
lib=$d/usr/lib/x86_64-linux-gnu
gcc -o t t.c -Wl,--no-as-needed "$lib/openblas-pthread/libopenblas.so.0" -Wl,--allow-shlib-undefined
export LD_LIBRARY_PATH="$lib/openblas-pthread:$lib" LC_ALL=C
seen="linked, nothing computed: $(./t) / with OPENBLAS_NUM_THREADS=1: $(OPENBLAS_NUM_THREADS=1 ./t)"
echo "$seen"
[ "$seen" = "linked, nothing computed: more than one thread, unshare: Invalid argument / with \
OPENBLAS_NUM_THREADS=1: one thread, unshare: works" ]
