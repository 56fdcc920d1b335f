#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   libmimalloc2.0 2.0.9+ds-2, libtcmalloc-minimal4 2.10-1, libjemalloc2 5.3.0-1, libc6 2.36
#            (Debian 12; the installed one)
# Expected:  a large calloc gets fresh pages, which the kernel gives zeroed: memory is used as it is touched. Programs
#            rely on it for sparse tables (a calloc of much more than is ever used). With an allocator preloaded it
#            should stay so.
# Behaviour: mimalloc and tcmalloc write zeros over the whole block, so that all of it is resident at once: calloc of
#            256 MiB costs 256 MiB, and the time to write them; after fork it is all shared memory that can only be
#            copied. glibc and jemalloc leave it untouched.
# Seen:      glibc: 0 MiB of 256 / jemalloc: 0 MiB of 256 / tcmalloc: 256 MiB of 256 / mimalloc: 256 MiB of 256
# Needs:     gcc and the headers of the C library.
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
installed=$(dpkg-query -W -f '${Version}' libc6)
case $installed in 2.36-*) ;; *) echo "libc6 is $installed here"; exit 1 ;; esac
apt-get -qq -o APT::Sandbox::User=root download libmimalloc2.0=2.0.9+ds-2 libtcmalloc-minimal4=2.10-1 \
    libjemalloc2=5.3.0-1
for f in *.deb; do dpkg -x "$f" .; done
cat > t.c <<'C'
#include <stdio.h>
#include <stdlib.h>

static long resident(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%*d %ld", &pages) != 1)
        exit(1);
    fclose(f);
    return pages;
}

int main(void)
{
    long before = resident();
    volatile char *block = calloc(1, 256 << 20);
    if (!block)
        return 1;
    /* 16 MiB are left for what the allocator itself needs. */
    long grown = (resident() - before) / 256;
    printf("%d MiB of 256", grown < 16 ? 0 : grown > 240 ? 256 : (int)grown);
    return block[77];
}
C
gcc -O1 -fno-builtin -o t t.c
lib="$d/usr/lib/x86_64-linux-gnu"
seen="glibc: $(./t) / jemalloc: $(LD_PRELOAD=$lib/libjemalloc.so.2 ./t)"
seen="$seen / tcmalloc: $(LD_PRELOAD=$lib/libtcmalloc_minimal.so.4 ./t)"
seen="$seen / mimalloc: $(LD_PRELOAD=$(ls "$lib"/libmimalloc.so.2.*) ./t)"
echo "$seen"
[ "$seen" = "glibc: 0 MiB of 256 / jemalloc: 0 MiB of 256 / tcmalloc: 256 MiB of 256 / mimalloc: 256 MiB of 256" ]
