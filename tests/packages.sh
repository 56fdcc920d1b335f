# SPDX-License-Identifier: MIT
# Sourced by tests/run.sh and bench/demo.sh: installs what is missing, on Debian and its kin.
#
# packages_need PACKAGE...: installs those that are not installed, as root or by sudo; otherwise names them and exits
# with 1. ONE|OTHER: either will do, and the first that there is in this release is installed.
#
# packages_beside DIRECTORY RELEASE ARCHITECTURE PACKAGE...: unpacks these, of any release of Debian and for any
# machine, into DIRECTORY/root, past this system's own lists, and installs nothing. The mirror: ODF_DEBIAN_MIRROR.

packages_missing() {
	for package in "$@"; do
		# shellcheck disable=SC2046
		dpkg-query -W -f '${db:Status-Status}\n' $(echo "$package" | tr '|' ' ') 2> /dev/null |
			grep -qx installed || printf '%s ' "$package"
	done
}

packages_of_this_release() {
	for package in "$@"; do
		chosen=${package%%|*}
		for one in $(echo "$package" | tr '|' ' '); do
			! LC_ALL=C apt-cache policy "$one" | grep -q 'Candidate: [^(]' || { chosen=$one; break; }
		done
		printf '%s ' "$chosen"
	done
}

packages_need() {
	if ! command -v dpkg-query > /dev/null; then
		echo "This is no Debian: make sure that these are installed: $*" >&2
		return 0
	fi
	missing=$(packages_missing "$@")
	[ -n "$missing" ] || return 0
	if [ "$(id -u)" = 0 ]; then
		as_root=
	elif command -v sudo > /dev/null && sudo -n true 2> /dev/null; then
		as_root=sudo
	else
		echo "These packages are missing, and neither root nor sudo is at hand to install them:" >&2
		# shellcheck disable=SC2086
		echo "    apt-get install $(packages_of_this_release $missing)" >&2
		exit 1
	fi
	echo "Installing $missing"
	log=$(mktemp)
	# Services that come with a package (redis-server) are not started: what is needed is the program.
	policy=
	if [ ! -e /usr/sbin/policy-rc.d ]; then
		policy=/usr/sbin/policy-rc.d
		trap '$as_root rm -f $policy' EXIT
		trap 'exit 130' INT TERM HUP
		printf '#!/bin/sh\nexit 101\n' | $as_root tee $policy > /dev/null && $as_root chmod 755 $policy
	fi
	# shellcheck disable=SC2086
	if ! { $as_root apt-get update && missing=$(packages_of_this_release $missing) &&
		$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing; } \
		> "$log" 2>&1; then
		cat "$log" >&2
		rm -f "$log"
		echo "apt-get could not install: $missing" >&2
		exit 1
	fi
	rm -f "$log"
	if [ -n "$policy" ]; then
		$as_root rm -f $policy
		trap - EXIT INT TERM HUP
	fi
}

packages_beside() {
	beside=$1 release=$2 architecture=$3
	shift 3
	mkdir -p "$beside/root" "$beside/apt/lists/partial"
	: > "$beside/apt/status"
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
		"${ODF_DEBIAN_MIRROR:-http://deb.debian.org/debian} $release main" > "$beside/apt/sources"
	for command in update "download $*"; do
		# shellcheck disable=SC2086
		(cd "$beside/apt" && apt-get -q -o Dir::Etc::sourcelist="$beside/apt/sources" \
			-o Dir::Etc::sourceparts=/dev/null -o Dir::State::lists="$beside/apt/lists" \
			-o Dir::State::status="$beside/apt/status" -o Dir::Cache="$beside/apt" \
			-o APT::Architecture="$architecture" -o APT::Architectures::="$architecture" \
			-o APT::Sandbox::User=root $command) > "$beside/log" 2>&1 ||
			{ tail -n 5 "$beside/log"; return 1; }
	done
	for package in "$beside/apt"/*.deb; do dpkg -x "$package" "$beside/root" || return 1; done
}
