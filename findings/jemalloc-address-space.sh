#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   libjemalloc2 5.3.0-1 (Debian 12), preloaded under the installed perl-base 5.36
# Expected:  a program that holds one block at a time, and frees each before it asks for the next, needs as much
#            address space as the largest. malloc(3) of glibc maps a large block for itself and unmaps it at free. A
#            limit of address space (ulimit -v, RLIMIT_AS of a service) is chosen by what the program holds.
# Behaviour: jemalloc never unmaps on Linux (opt.retain): a block that is freed keeps its addresses, for later ones
#            that fit. Blocks that grow do not fit, so each takes new ones: after blocks of 100, 200, ... 800 MiB, one
#            at a time, the process has more than 4 GiB of address space, of which 7 MiB are resident. Under a limit
#            of 3 GiB the same program runs with glibc and is out of memory with jemalloc.
# Seen:      glibc: < 100 MiB of address space in the end / jemalloc: > 4000 MiB, resident < 100 MiB / under ulimit -v
#            3 GiB: glibc: status 0, jemalloc: fails
# Needs:     perl.
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
installed=$(dpkg-query -W -f '${Version}' perl-base)
case $installed in 5.36.*) ;; *) echo "perl-base is $installed here"; exit 1 ;; esac
apt-get -qq -o APT::Sandbox::User=root download libjemalloc2=5.3.0-1
for f in *.deb; do dpkg -x "$f" .; done
cat > t.pl <<'P'
for my $n (1 .. 8) { my $block = "x" x ($n * 100 << 20); undef $block; }
open my $f, "<", "/proc/self/status" or die;
my %kib = map { /^(VmSize|VmRSS):\s+(\d+)/ ? ($1, $2) : () } <$f>;
printf "%d %d\n", $kib{VmSize} >> 10, $kib{VmRSS} >> 10;
P
jemalloc="$d/usr/lib/x86_64-linux-gnu/libjemalloc.so.2"
glibc=$(perl t.pl)
other=$(LD_PRELOAD=$jemalloc perl t.pl)
limited_glibc=0
limited_other=0
(ulimit -v 3145728 && perl t.pl) > /dev/null 2>&1 || limited_glibc=$?
(ulimit -v 3145728 && LD_PRELOAD=$jemalloc perl t.pl) > /dev/null 2>&1 || limited_other=$?
echo "glibc: ${glibc% *} MiB / jemalloc: ${other% *} MiB, resident ${other#* } MiB /" \
    "under ulimit -v 3 GiB: glibc: status $limited_glibc, jemalloc: status $limited_other"
[ "${glibc% *}" -lt 100 ] && [ "${other% *}" -gt 4000 ] && [ "${other#* }" -lt 100 ] &&
    [ $limited_glibc = 0 ] && [ $limited_other != 0 ]
