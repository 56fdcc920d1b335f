#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   libtcmalloc-minimal4 2.10-1 (Debian 12), preloaded under the installed perl-base 5.36
# Expected:  a large block that is freed leaves the process: glibc unmaps it in free, and tcmalloc has a rate at which
#            it gives unused memory back to the system (TCMALLOC_RELEASE_RATE, 1 by default).
# Behaviour: a program that frees its last large block and then waits, or works with small ones, keeps all of it
#            resident: blocks of 100, 200, ... 800 MiB, one at a time, leave 800 MiB, with a release rate of 1 that
#            was set as well; and a second later nothing has changed. Of what the process holds nothing shows it.
#            Whoever forks then has the page tables of 800 MiB copied, for nothing.
# Seen:      glibc: < 50 MiB / tcmalloc: > 700 MiB, a second later > 700 MiB
# Needs:     perl.
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
installed=$(dpkg-query -W -f '${Version}' perl-base)
case $installed in 5.36.*) ;; *) echo "perl-base is $installed here"; exit 1 ;; esac
apt-get -qq -o APT::Sandbox::User=root download libtcmalloc-minimal4=2.10-1
for f in *.deb; do dpkg -x "$f" .; done
cat > t.pl <<'P'
sub mib { open my $f, "<", "/proc/self/statm" or die; (split / /, <$f>)[1] >> 8 }
for my $n (1 .. 8) { my $block = "x" x ($n * 100 << 20); undef $block; }
my $at_once = mib();
sleep 1;
my @small = map { "small $_" } 1 .. 1000;
print $at_once, " ", mib(), "\n";
P
glibc=$(perl t.pl)
other=$(TCMALLOC_RELEASE_RATE=1 LD_PRELOAD="$d/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4" perl t.pl)
echo "resident, when all is freed and a second later, in MiB: glibc: $glibc / tcmalloc: $other"
[ "${glibc#* }" -lt 50 ] && [ "${other% *}" -gt 700 ] && [ "${other#* }" -gt 700 ]
