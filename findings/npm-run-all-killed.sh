#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   npm npm-run-all@4.1.5; dotenv-cli@11.0.0; compared with npm-run-all2@8.0.4
# Expected:  run-s stops at the first script that fails, so npm-run-all's documentation, and as a wrapper of `npm run`
#            it then fails as well. A script killed by a signal makes
#            `npm run` end with 128+N.
# Behaviour: run-s (one after another) and run-p (side by side) of 4.1.5 take a script that a signal killed for
#            success: the next script runs and the status is 0, silently. So `run-s build publish` publishes after the
#            out-of-memory killer ended the build. The successor npm-run-all2 gives 1. dotenv-cli, which passes
#            signals on, tells a program killed by SIGKILL (137) but ends with 0 when it was SIGTERM.
# Seen:      npm-run-all run-s: 0, next script run / run-p: 0 / npm-run-all2 run-s: 1, next script not run /
#            dotenv-cli: KILL 137, TERM 0
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
mkdir one two
cat > one/package.json <<'J'
{ "name": "x", "version": "1.0.0", "scripts": { "killed": "kill -KILL $$", "next": "touch next" } }
J
cp one/package.json two
fetch() { npm install --silent --no-audit --no-fund --ignore-scripts --cache "$d/cache" --prefix "$@"; }
fetch one npm-run-all@4.1.5 dotenv-cli@11.0.0
fetch two npm-run-all2@8.0.4
try() {
    status=0
    sh -c '"$@" > /dev/null 2>&1; exit $?' sh "$@" 2> /dev/null || status=$?
    echo $status
}
next() { if [ -e next ]; then echo 'next script run'; else echo 'next script not run'; fi; }
cd one
bin=node_modules/.bin
seen="npm-run-all run-s: $(try $bin/run-s -s killed next), $(next) / run-p: $(try $bin/run-p -s killed)"
dotenv="dotenv-cli: KILL $(try $bin/dotenv -- sh -c 'kill -KILL $$'), TERM $(try $bin/dotenv -- sh -c 'kill -TERM $$')"
cd ../two
seen="$seen / npm-run-all2 run-s: $(try $bin/run-s -s killed next), $(next) / $dotenv"
echo "$seen"
[ "$seen" = "npm-run-all run-s: 0, next script run / run-p: 0 / npm-run-all2 run-s: 1, next script not run / \
dotenv-cli: KILL 137, TERM 0" ]
