#!/bin/sh
# SPDX-License-Identifier: MIT
#
# README's two commands in a fresh clone of what is committed here, on a release of Debian that has nothing but its
# smallest base: as root, who has the packages installed, and as an ordinary user. Run by hand, as root; it takes half
# an hour.
#
#   tests/debian.sh RELEASE [DIRECTORY]     RELEASE: bookworm or trixie. DIRECTORY: where the system lies; made by
#                                           debootstrap if it is not there, and kept.
#                                           Without, a temporary one.
#   ODF_DEBIAN_AS="root"                    the users to do it, of "root user"
#   ODF_DEBIAN_TEST="-t 3"                  arguments to tests/run.sh: longer, say, where the machine has more to do
#
# The system runs in mounts of its own, which end with its last process: nothing has to be unmounted, whatever happens.
set -eu
cd "$(dirname "$0")/.."
. tests/packages.sh
release=${1:?which release}
case $release in bookworm | trixie) ;; *) echo "not a release that this is meant for: $release" >&2; exit 2 ;; esac
[ "$(id -u)" = 0 ] || { echo "run as root" >&2; exit 2; }
packages_need debootstrap git
tree=${2:-}
if [ -z "$tree" ]; then
	tree=$(mktemp -d)
	trap 'rm -rf --one-file-system "$tree"' EXIT
	trap 'exit 130' INT TERM HUP
fi
[ -e "$tree/etc/debian_version" ] || debootstrap --variant=minbase "$release" "$tree" \
	"${ODF_DEBIAN_MIRROR:-http://deb.debian.org/debian}" > "$tree.log" 2>&1 ||
	{ tail -n 20 "$tree.log" >&2; exit 1; }
rm -f "$tree.log"
[ "$(. "$tree/etc/os-release" && echo "$VERSION_CODENAME")" = "$release" ] ||
	{ echo "$tree is another release" >&2; exit 2; }
cp /etc/resolv.conf "$tree/etc/resolv.conf"
chroot "$tree" sh -c 'id tester > /dev/null 2>&1 || useradd --create-home --shell /bin/sh tester'

inside() { # USER COMMAND: in the clone of that user
	# shellcheck disable=SC2016
	unshare --mount sh -c 'mount --bind "$1" "$1" || exit 1
		for place in proc sys dev; do mount --rbind "/$place" "$1/$place" || exit 1; done
		mount -t tmpfs -o mode=1777,size=75% tmpfs "$1/tmp" || exit 1
		# Its root, and not that of a chroot, in which there are no user namespaces.
		mkdir -p "$1/tmp/old" && cd "$1" && pivot_root . tmp/old &&
			cd / && umount -l /tmp/old && rmdir /tmp/old || exit 1
		unset TMPDIR; export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
		home=/root; [ "$2" = root ] || home=/home/$2
		user=$([ "$2" = root ] || echo --reuid "$2" --regid "$2" --init-groups --reset-env)
		exec setpriv --bounding-set +all $user \
			sh -c "cd $home/libodfork && $3"' sh "$tree" "$1" "$2"
}
status=0
for user in ${ODF_DEBIAN_AS:-root user}; do
	[ "$user" = root ] && name=root home=$tree/root || { name=tester home=$tree/home/tester; }
	rm -rf --one-file-system "$home/libodfork"
	git -c advice.detachedHead=false clone -q . "$home/libodfork"
	[ "$name" = root ] || chroot "$tree" chown -R tester:tester /home/tester/libodfork
	for command in bench/demo.sh "tests/run.sh ${ODF_DEBIAN_TEST:-}"; do
		echo "== $release, $user: $command"
		inside $name "$command" || { echo "== $release, $user: $command: status $?"; status=1; }
	done
done
exit $status
