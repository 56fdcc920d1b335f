#!/bin/sh
# SPDX-License-Identifier: MIT
# What odfork probe says if a user may not use userfaultfd: the test runs the commands that it prints, and they give the
# user access. A device that the user cannot open, or that is another file, does no harm if the system call is
# permitted. The test creates its own devices, in its own mount namespace.
set -u
build=${ODF_BUILD:?}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
must_work=${ODF_MUST_WORK:-0}
skip() {
	[ "$must_work" != 1 ] || { echo "Bail out! must not be skipped: $1"; exit 1; }
	echo "1..0 # SKIP $1"
	exit 0
}
[ "$(id -u)" = 0 ] || skip "needs root, to close a device to others"
[ "$(cat /proc/sys/vm/unprivileged_userfaultfd 2> /dev/null)" = 0 ] || skip "everybody may use userfaultfd here"
[ -c /dev/userfaultfd ] || skip "no /dev/userfaultfd (Linux 6.1)"
unshare -m true 2> /dev/null || skip "no mounts of one's own"
"$build/odfork" probe | grep -q '^kernel  *no' || skip "the kernel's own on-demand fork needs no userfaultfd"

chmod 755 "$work"
cp "$build/odfork" "$build/tests/region_limits" "$work/" && cp -L "$build/libodfork.so.0" "$work/"
# Another device node of the same number, whose owner and rights are this test's; not on a file system without devices.
numbers=$(stat -c '0x%t 0x%T' /dev/userfaultfd)
# shellcheck disable=SC2086
mknod -m 600 "$work/device" c $numbers && : < "$work/device" || skip "no devices in $work"
unset ODFORK_UFFD_FD LISTEN_FDS LISTEN_PID LISTEN_FDNAMES
export LD_LIBRARY_PATH="$work"
cat > "$work/common.sh" <<'END'
cd "$1" || exit 1
mount --bind "${2:-device}" /dev/userfaultfd || exit 1
fail() { echo "$*"; exit 1; }
nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
# As root, but for the right to pass by the modes of files.
bound() { setpriv --bounding-set=-dac_override,-dac_read_search "$@"; }
settles() { "$@" ./region_limits threads always 100 || fail "it does not settle: $*"; }
says() { grep -q "$1" said || { cat said; fail "does not say: $1"; }; }
END
count=0 failures=0
check() { # NAME TEXT [DEVICE]
	count=$((count + 1))
	printf '%s\n' '. "$1/common.sh"' "$2" > "$work/check.sh"
	if unshare -m sh "$work/check.sh" "$work" "${3:-device}" > "$work/log" 2>&1; then
		echo "ok $count - $1"
	else
		failures=$((failures + 1))
		echo "not ok $count - $1"
		sed 's/^/#   /' "$work/log"
	fi
}
echo 1..7

# Both ways to open it, by the tool that there is: one is hidden here.
opens='nobody ./odfork probe > said
says "^closed here: userfaultfd"
says "^uffd_minor  *no "
says "^    sysctl -w vm.unprivileged_userfaultfd=1$"
command=$(grep "/dev/userfaultfd$" said | sed "s/^    //")
case $command in "$tool "*) ;; *) cat said; fail "not $tool: $command" ;; esac
nobody ./region_limits threads at_fork 100 || fail "it is not closed"
nobody ./odfork probe --json > said
by_setting="sysctl -w vm.unprivileged_userfaultfd=1"
says "\"full_gain\":{\"closed\":true,\"by_device\":\"$command\",\"by_setting\":\"$by_setting\"}"
$command || fail "$command: $?"
nobody ./odfork probe > said
says "^uffd_minor  *yes "
grep closed said && fail "still closed"
nobody ./odfork probe --json > said
says "\"full_gain\":{\"closed\":false,\"by_device\":null,\"by_setting\":null}"
settles nobody'
if [ -x /usr/bin/setfacl ]; then
	check "to one user, by a list" "tool=setfacl; $opens"
	setfacl -b "$work/device"
	hide='mount --bind /dev/null /usr/bin/setfacl;'
else
	[ "$must_work" != 1 ] || { echo "Bail out! no setfacl"; exit 1; }
	echo "ok $((count = count + 1)) - to one user, by a list # SKIP no setfacl"
	hide=
fi
check "to one user, by the owner" "$hide tool=chown; $opens"
chown root:root "$work/device"
chmod 600 "$work/device"

# As packaging's rule for udev has it: a member of the group may, and others are told of the group.
check "to a group" 'chgrp 1 device && chmod 660 device
nobody ./odfork probe > said
says "^    usermod -a -G $(id -gn 1 2> /dev/null || getent group 1 | cut -d: -f1) nobody$"
says "who then logs in again"
settles setpriv --reuid=65534 --regid=65534 --groups 1'
chown root:root "$work/device"
chmod 600 "$work/device"

check "root needs nothing" './odfork probe > said
grep "closed here" said && fail "closed to root"
says "^uffd_minor  *yes "
settles env'

# Closed, and the system call is open.
chown 1 "$work/device"
check "the device answers EACCES, the call does not" 'bound ./odfork probe > said
says "^uffd_device  *no .*EACCES"; says "^uffd_kernel  *yes"; says "^uffd_minor  *yes "
settles bound'
check "another device at its name" 'says_no="^uffd_device  *no "
./odfork probe > said; says "$says_no"; says "^uffd_minor  *yes "; settles env
nobody ./odfork probe > said; says "$says_no"; says "^    sysctl "
grep "/dev/userfaultfd$" said && fail "a command that would not help"
nobody ./region_limits threads at_fork 100' /dev/null
: > "$work/file"
check "a file at its name" './odfork probe > said; says "^uffd_device  *no "; says "^uffd_minor  *yes "; settles env' \
	file
[ $failures -eq 0 ]
