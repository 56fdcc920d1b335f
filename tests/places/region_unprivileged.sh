#!/bin/sh
# SPDX-License-Identifier: MIT
# Snapshot regions of a multi-threaded program without privileges. With a descriptor of /dev/userfaultfd handed in, in
# each of the ways, its keeper settles while the program runs; without one, or with another file in its place, regions
# settle only by a call. The program runs as another user, so the script needs root.
# shellcheck disable=SC2016 # what is in single quotes is for another shell
set -u
build=${ODF_BUILD:?}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
skip() { # REASON
	[ "${ODF_MUST_WORK:-0}" = 1 ] && { echo "must not be skipped: $1"; exit 1; }
	echo "skipped: $1"
	exit 77
}
[ "$(id -u)" = 0 ] || skip "needs root, to become somebody else with an open descriptor"
command -v setpriv > /dev/null || skip "no setpriv"
[ "$(cat /proc/sys/vm/unprivileged_userfaultfd 2> /dev/null)" != 1 ] ||
	skip "everybody may use userfaultfd here (vm.unprivileged_userfaultfd)"
[ -c /dev/userfaultfd ] || skip "no /dev/userfaultfd (Linux 6.1)"

# The other user may have no access to the build directory.
chmod 755 "$work"
cp "$build/tests/region_limits" "$work/"
cp -L "$build/libodfork.so.0" "$work/"
for program in odfork tests/test_region_threads; do
	[ -x "$build/$program" ] && cp "$build/$program" "$work/"
done
LD_LIBRARY_PATH=$work
export LD_LIBRARY_PATH
limits=$work/region_limits
unset ODFORK_UFFD_FD LISTEN_FDS LISTEN_PID LISTEN_FDNAMES
nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
nobody test -x "$limits" || skip "another user cannot execute what is in $work"
failures=0

# OUTPUT NAME COMMAND...: OUTPUT is a pattern for the messages, "" for none.
try() {
	pattern=$1 name=$2
	shift 2
	"$@" > "$work/out" 2> "$work/err"
	status=$?
	if [ "$status" != 0 ] || { [ -z "$pattern" ] && [ -s "$work/err" ]; } || { [ -n "$pattern" ] &&
		! grep -q "$pattern" "$work/err"; }; then
		echo "not ok: $name, status $status"
		sed 's/^/    /' "$work/out" "$work/err"
		failures=$((failures + 1))
	else
		echo "ok: $name"
		sed 's/^/    /' "$work/out"
	fi
}

try "" "nothing handed in" nobody "$limits" threads at_fork 700

# By number. Descriptor 9 is open in all programs executed from here on.
exec 9<> /dev/userfaultfd
export ODFORK_UFFD_FD=9
try "" "ODFORK_UFFD_FD" nobody "$limits" threads always 1000
try "" "taken over" nobody "$limits" descriptor 9 open
try "" "the number is another descriptor's by now" nobody "$limits" number_taken 9
if [ -x "$work/test_region_threads" ]; then
	try "" "ODFORK_UFFD_FD, threads" nobody env ODF_TEST_SECONDS=4 CMOCKA_MESSAGE_OUTPUT=TAP \
		"$work/test_region_threads"
	grep -q '[1-9][0-9]* settles' "$work/out" ||
		{ echo "not ok: it does not say that it settles"; failures=$((failures + 1)); }
fi
# The variable outlives the descriptor, across an exec: this is no error.
try "" "not open any more" nobody sh -c 'exec 9>&-; exec "$0" threads at_fork 300' "$limits"
try "" "executed by a program that took it" nobody env LD_PRELOAD="$work/libodfork.so.0" ODFORK_FOLLOW=1 \
	env "$limits" descriptor 9 closed
# Root needs no descriptor, and the descriptor works as well.
try "" "root" "$limits" threads always 300
ODFORK_UFFD_FD=1000
try "" "a number that is not open" nobody "$limits" threads at_fork 300
ODFORK_UFFD_FD=2147483647
try "" "the highest number" nobody "$limits" threads at_fork 200

# A value that is no number is reported once.
refused="^odfork: value not understood, ignored: ODFORK_UFFD_FD=$ODFORK_UFFD_FD\$"
for value in nine "" -1 9x " 9" 0x9 99999999999999999999; do
	ODFORK_UFFD_FD=$value
	refused="^odfork: value not understood, ignored: ODFORK_UFFD_FD=$value\$"
	try "$refused" "ODFORK_UFFD_FD=$value" nobody "$limits" threads at_fork 200
done
echo text > "$work/file"
exec 8< "$work/file" 7< /dev/null
for value in 8 7; do
	ODFORK_UFFD_FD=$value
	# The variable outlives the descriptor. That the number is another file's now is no error, and is not reported.
	try "" "ODFORK_UFFD_FD=$value, a file or another device" nobody "$limits" threads at_fork 200
	# It is not the library's own: it stays as it was, in the program and in those that it executes.
	nobody sh -c 'test -e /proc/self/fd/$1 && exec "$0" works' "$limits" "$value" > /dev/null 2>&1 || {
		echo "not ok: descriptor $value is not left alone"
		failures=$((failures + 1))
	}
done
exec 7<&- 8<&-
# Another device with the same major number ("misc"). The kernel refuses it later, without harm.
if [ -c /dev/hwrng ] || [ -c /dev/net/tun ]; then
	for device in /dev/hwrng /dev/net/tun; do
		[ -c "$device" ] && (exec 7<> "$device") 2> /dev/null && exec 7<> "$device" && break
	done
	if [ -e /proc/self/fd/7 ]; then
		ODFORK_UFFD_FD=7
		try "" "ODFORK_UFFD_FD is another device ($device)" nobody "$limits" threads at_fork 300
		exec 7<&-
	fi
fi

# A service manager's way: descriptors from 3 on, with names, for one process.
unset ODFORK_UFFD_FD
listen='export LISTEN_PID=$$ LISTEN_FDS=3 LISTEN_FDNAMES=$2
	exec 3< /dev/null 4<&9 5< /dev/null 9<&-; exec setpriv --reuid=65534 --regid=65534 --clear-groups "$0" $1'
try "" "LISTEN_FDNAMES" sh -c "$listen" "$limits" "threads always 700" "first:userfaultfd:last"
try "" "LISTEN_FDNAMES, taken over" sh -c "$listen" "$limits" "descriptor 4 open" "first:userfaultfd:last"
try "" "LISTEN_FDNAMES without it" sh -c "$listen" "$limits" "threads at_fork 300" "first:userfaultfdx:"
try "" "LISTEN_FDNAMES names something else" sh -c "$listen" "$limits" "threads at_fork 300" "userfaultfd:first:last"
try "" "LISTEN_FDNAMES, the second of that name" sh -c "$listen" "$limits" "threads always 300" \
	"userfaultfd:userfaultfd"
try "" "LISTEN_FDNAMES of another process" sh -c "export LISTEN_PID=1; $(echo "$listen" | sed 's/LISTEN_PID=\$\$//')" \
	"$limits" \
	"threads at_fork 300" "first:userfaultfd:last"
exec 9>&-

# odfork run opens the device, and then becomes the user.
if "$work/odfork" run --help | grep -q -e --user && id nobody > /dev/null 2>&1; then
	try "" "odfork run --user" "$work/odfork" run --user nobody -- "$limits" threads always 700
fi

# If ordinary memory gets large pages by default, a region gets them too: by a file system that needs a privilege, or a
# user namespace to have that privilege in; but never in a sandbox, which may kill for the attempt. Only this script
# sees the setting: a file is mounted over the kernel's, in a mount namespace.
setting=/sys/kernel/mm/transparent_hugepage/enabled
in_mounts='mount --bind "$1" '$setting' || exit 77; shift; exec "$@"'
echo "[always] madvise never" > "$work/always"
chmod 644 "$work/always"
large() { # WANTED NAME COMMAND...: the size of the region's pages, in a sandbox and outside one
	wanted=$1 whose=$2
	shift 2
	try "" "huge pages always, $whose" unshare -m sh -c "$in_mounts" sh "$work/always" "$@" large open "$wanted"
	try "" "huge pages always, $whose, in a sandbox" unshare -m sh -c "$in_mounts" sh "$work/always" "$@" large \
		sandbox small
}
become="setpriv --reuid=65534 --regid=65534 --clear-groups"
if [ -f $setting ] && unshare -m sh -c "$in_mounts" sh "$work/always" true 2> /dev/null; then
	large large "root" "$limits"
	# shellcheck disable=SC2086
	if nobody unshare -Urm true 2> /dev/null; then
		large large "another user" $become "$limits"
	else
		large small "another user, no user namespaces" $become "$limits"
	fi
	large small "an id that is nobody's" unshare -U "$limits"
	try "" "huge pages not always" "$limits" large open \
		"$(grep -q '\[always\]' $setting && echo large || echo small)"
else
	echo "left out: huge pages (no $setting, or no mounts of one's own)"
fi

echo "$failures failed"
[ "$failures" = 0 ]
