#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   npm shelljs@0.10.0
# Expected:  exec() returns an object whose code is the exit code of the program (shelljs' README), and with
#            `config.fatal` set (`set('-e')`) a command that fails throws. A command killed by a signal has failed.
# Behaviour: for a command that a signal killed (SIGKILL of the out-of-memory killer, SIGSEGV of a crash, SIGTERM)
#            synchronous exec() returns code 0, and set('-e') does not throw. Asynchronous exec() hands null to its
#            callback, which most take for 0. An ordinary failure is told rightly.
# Seen:      exit 7: code 7 / KILL: code 0, set -e passes / TERM: code 0, set -e passes / async KILL: code null
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$d" --cache "$d/cache" shelljs@0.10.0
cat > look.js <<'J'
const sh = require('shelljs');
sh.config.silent = true;
const strict = cmd => {
    sh.set('-e');
    try { sh.exec(cmd); return 'passes'; } catch (e) { return 'throws'; } finally { sh.set('+e'); }
};
const told = name => `${name}: code ${sh.exec(`kill -${name} $$`).code}, set -e ${strict(`kill -${name} $$`)}`;
const first = `exit 7: code ${sh.exec('exit 7').code} / ${told('KILL')} / ${told('TERM')}`;
sh.exec('kill -KILL $$', { async: true }, code => console.log(`${first} / async KILL: code ${code}`));
J
seen=$(node look.js)
echo "$seen"
[ "$seen" = \
    "exit 7: code 7 / KILL: code 0, set -e passes / TERM: code 0, set -e passes / async KILL: code null" ]
