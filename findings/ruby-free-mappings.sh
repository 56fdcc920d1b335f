#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   ruby3.1 and libruby3.1 3.1.7+really3.1.2-0+deb12u1 (Debian 12)
# Expected:  a process that frees memory has fewer mappings, or as many: limits of them (vm.max_map_count, 65530) are
#            met by those that grow.
# Behaviour: Ruby maps the pages of its heap side by side, so that the kernel has few mappings of them; and unmaps
#            each that is empty after a collection, one by one. A list of a million strings, collected, leaves
#            hundreds of mappings more than when it was there, and most of the memory: a page in which one object
#            lives on stays. A process comes nearer to the limit of mappings by freeing.
# Seen:      with the list: about 160 mappings / after it was collected: > 150 more, and more than half is resident
# Needs:     the libraries of Debian's ruby3.1 (libgmp10, zlib1g, libyaml-0-2).
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
apt-get -qq -o APT::Sandbox::User=root download \
    ruby3.1=3.1.7+really3.1.2-0+deb12u1 libruby3.1=3.1.7+really3.1.2-0+deb12u1
for f in *.deb; do dpkg -x "$f" .; done
cat > t.rb <<'R'
def seen
  [File.readlines("/proc/self/maps").size, File.read("/proc/self/statm").split[1].to_i / 256]
end
list = (1..1_000_000).map { |i| "element number #{i} of a list" }
full = seen
list = nil
GC.start
GC.start
puts (full + seen).join(" ")
R
set -- $(LD_LIBRARY_PATH="$d/usr/lib/x86_64-linux-gnu" usr/bin/ruby3.1 --disable-gems t.rb)
echo "with the list: $1 mappings, $2 MiB / collected: $3 mappings, $4 MiB"
[ "$3" -gt $(($1 + 150)) ] && [ "$4" -gt $(($2 / 2)) ]
