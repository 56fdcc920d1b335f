#!/bin/sh
# SPDX-License-Identifier: MIT
# After unshare(CLONE_NEWPID) the next process is the first of the new namespace, which ends with it. That must be the
# program's child, and no process of the library's own. A preloaded shell makes one child there, with each way in which
# the heap wakes.
set -eu
build=${ODF_BUILD:?}
skip() { echo "$*"; [ "${ODF_MUST_WORK:-0}" != 1 ] || exit 1; exit 77; }
[ "$(id -u)" = 0 ] || skip "a pid namespace needs root"
unshare -p true 2> /dev/null || skip "no pid namespace can be made here"
child='(exit 7); echo "child $?"'
# Where an ordinary user can read it: the build may lie in a home directory that is closed to others.
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
library=$folder/libodfork.so.0
cp -L "$build/libodfork.so.0" "$library"
chmod 755 "$folder" "$library"

try() { # NAME COMMAND...
	name=$1
	shift
	said=$("$@" 2>&1) || { echo "$name: status $?: $said"; exit 1; }
	[ "$said" = "child 7" ] || { echo "$name: $said"; exit 1; }
}
try "plain" unshare -p sh -c "$child"
for heap in on auto off; do
	try "heap $heap" unshare -p env "LD_PRELOAD=$library" "ODFORK_HEAP=$heap" sh -c "$child"
	try "heap $heap, stats" unshare -p env "LD_PRELOAD=$library" "ODFORK_HEAP=$heap" \
		ODFORK_STATS=/dev/null sh -c "$child"
	# An ordinary user in a user namespace of its own; large pages are made in a further one.
	if setpriv --reuid 65534 --clear-groups unshare -Ur true 2> /dev/null; then
		try "heap $heap, ordinary user" setpriv --reuid 65534 --clear-groups unshare -Urp \
			env "LD_PRELOAD=$library" "ODFORK_HEAP=$heap" sh -c "$child"
	fi
done
try "odfork run" unshare -p "$build/odfork" run --heap=on -- sh -c "$child"
