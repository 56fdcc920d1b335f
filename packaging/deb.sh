#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Builds the packages of Debian (libodfork0, libodfork-dev, odfork) from this source, and asks lintian; any of its
# errors and warnings is a failure. What it needs is installed if it is missing (Debian 12 or 13, as root or by sudo).
#
#   packaging/deb.sh [DIRECTORY]     where they go; else ./packages
#
# Then: apt install DIRECTORY/libodfork0_*.deb DIRECTORY/odfork_*.deb
set -eu
cd "$(dirname "$0")/.."
. tests/packages.sh
packages_need debhelper dpkg-dev fakeroot gcc libc6-dev meson ninja-build pkg-config systemtap-sdt-dev libseccomp-dev \
	lintian
mkdir -p "${1:-packages}"
result=$(cd "${1:-packages}" && pwd)
version=$(sed -n "s/^  version: '\(.*\)',/\1/p" meson.build)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# What is under version control, or, of a tarball, all; the recipe where dpkg looks for it.
tree=$work/libodfork-$version
mkdir "$tree"
if git rev-parse --git-dir > /dev/null 2>&1; then
	git ls-files -z --cached --others --exclude-standard | xargs -0 tar -cf - | tar -xf - -C "$tree"
else
	tar -cf - --exclude='./build*' --exclude=./packages . | tar -xf - -C "$tree"
fi
(cd "$work" && tar -cJf "libodfork_$version.orig.tar.xz" "libodfork-$version")
cp -R packaging/debian "$tree/debian"
cp packaging/60-odfork-userfaultfd.rules "$tree/debian/odfork.odfork-userfaultfd.udev"
cp packaging/odfork.sysusers "$tree/debian/odfork.sysusers"
# A changelog of one entry: the release and its date, from CHANGELOG.md.
date=$(sed -n "s/^## $version - \([0-9-]*\)$/\1/p" CHANGELOG.md)
[ -n "$date" ] || { echo "CHANGELOG.md has no date for $version" >&2; exit 1; }
cat > "$tree/debian/changelog" <<END
libodfork ($version-1) unstable; urgency=medium

  * Release $version; /usr/share/doc/libodfork0/changelog.gz tells what is new.

 -- The libodfork authors <libodfork@localhost.invalid>  $(LC_ALL=C date -R -u -d "$date")
END

(cd "$tree" && DEB_BUILD_OPTIONS="parallel=$(nproc)" dpkg-buildpackage -us -uc) > "$work/log" 2>&1 ||
	{ tail -n 60 "$work/log"; echo "dpkg-buildpackage failed" >&2; exit 1; }
# It is no upload to Debian, so it closes no request there.
lintian --fail-on error,warning --suppress-tags initial-upload-closes-no-bugs --allow-root --profile debian \
	"$work"/*.changes
cp "$work"/*.deb "$result/"
ls "$result"
