#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   libmimalloc2.0 2.0.9+ds-2, libtcmalloc-minimal4 2.10-1, libjemalloc2 5.3.0-1, libc6 2.36
#            (Debian 12; the installed one)
# Expected:  with vm.overcommit_memory at its default of 0 the kernel refuses a request beyond all the memory that
#            there is (its page on overcommit accounting): malloc of 32 TiB gives NULL on a machine that has less,
#            whoever provides malloc. Programs that size a cache by trying, or test their own error path so, rely on it.
# Behaviour: jemalloc and mimalloc ask the kernel with MAP_NORESERVE, which the default mode leaves uncounted: the
#            request succeeds, and the program meets the out-of-memory killer when it uses the block. glibc and
#            tcmalloc give NULL.
# Seen:      glibc: NULL / tcmalloc: NULL / jemalloc: a block / mimalloc: a block
# Needs:     gcc; vm.overcommit_memory at 0, no limit of address space, less than 32 TiB of memory and swap.
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

int main(void)
{
    volatile char *block = malloc((size_t)1 << 45);
    puts(block ? "a block" : "NULL");
    return 0;
}
C
gcc -O1 -fno-builtin -o t t.c
[ "$(cat /proc/sys/vm/overcommit_memory)" = 0 ] || echo "vm.overcommit_memory is not 0" >&2
lib="$d/usr/lib/x86_64-linux-gnu"
seen="glibc: $(./t) / tcmalloc: $(LD_PRELOAD=$lib/libtcmalloc_minimal.so.4 ./t 2> /dev/null)"
seen="$seen / jemalloc: $(LD_PRELOAD=$lib/libjemalloc.so.2 ./t)"
seen="$seen / mimalloc: $(LD_PRELOAD=$(ls "$lib"/libmimalloc.so.2.*) ./t)"
echo "$seen"
[ "$seen" = "glibc: NULL / tcmalloc: NULL / jemalloc: a block / mimalloc: a block" ]
