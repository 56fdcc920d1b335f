#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The tests on a kernel of Debian's own under the system emulator of qemu: what this machine's kernel has and older ones
# lack, what they do otherwise, and AArch64, for which the tests are cross-built. (Unlike tests/aarch64.sh, whose
# emulator passes system calls on to this machine's kernel: clone shares memory here, regions are frozen and settled,
# and a heap wakes.) Run by hand; it installs qemu, and a compiler for AArch64 (Debian). Each instruction is emulated:
# all of the list takes hours.
#
#   tests/system.sh MACHINE RELEASE [TEST...]
#
#   MACHINE                 x86_64 or aarch64
#   RELEASE                 whose kernel: bookworm (Linux 6.1: no PAGEMAP_SCAN) or trixie (6.12)
#   TEST                    a test's program or script by its name; without, all of the list below
#   ODF_SYSTEM_AS="root"    the users to run each as, of "root nobody"
#   ODF_SYSTEM_SECONDS=900  for each, and ODF_SYSTEM_LIMIT=28800 for all of them
#   ODF_SYSTEM_DIRECTORY    where the packages and the build lie, and are kept; without, a temporary one
#   ODF_SYSTEM_BUILD        a build for that machine that there is; it is brought up to date
#   ODF_PAGES=16k           aarch64 of trixie: the kernel with pages of 16 KiB, where there are no regions: what is left
#                           must hold
#   ODF_DEBIAN_MIRROR       where the packages come from
set -eu
cd "$(dirname "$0")/.."
. tests/packages.sh
fail() { echo "$*" >&2; exit 1; }
[ $# -ge 2 ] || fail "which machine (x86_64 or aarch64), and whose kernel (bookworm or trixie)?"
machine=$1 release=$2
shift 2
case $release in bookworm | trixie) ;; *) fail "no release that this is meant for: $release" ;; esac
case $machine in
x86_64)
	packages="qemu-system-x86 libcmocka-dev libseccomp-dev" architecture=amd64 kernel=linux-image-cloud-amd64
	emulator="qemu-system-x86_64 -cpu max" console=ttyS0
	;;
aarch64)
	packages="qemu-system-arm gcc-aarch64-linux-gnu libc6-dev-arm64-cross" architecture=arm64
	kernel=linux-image-arm64
	emulator="qemu-system-aarch64 -M virt -cpu max,pauth-impdef=on" console=ttyAMA0
	;;
*) fail "no machine that this is meant for: $machine" ;;
esac
case $machine-$release-${ODF_PAGES:-4k} in
*-4k) ;;
aarch64-trixie-16k) kernel=linux-image-arm64-16k ;;
*) fail "ODF_PAGES: 16k is of aarch64 and trixie" ;;
esac
# shellcheck disable=SC2086
packages_need $packages cpio pkg-config meson ninja-build debian-archive-keyring
# The libraries are of the release that the compilers here are of.
here=$(. /etc/os-release && echo "$VERSION_CODENAME")
work=${ODF_SYSTEM_DIRECTORY:-}
if [ -z "$work" ]; then
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	trap 'exit 130' INT TERM HUP
fi
[ $# -gt 0 ] || set -- test_capability test_fd_map test_text test_describe test_strategy test_fork test_process \
	test_spawn test_spawn_contract test_spawn_errors test_spawn_identity test_spawn_streams test_threads \
	test_userfault test_region test_region_extents test_region_model test_region_threads region_cases \
	region_limits region_forks test_keeper test_keeper_looks keeper_seen keeper_ends test_heap \
	test_heap_tables test_heap_model heap_limits test_moved outlives gives_back shapes aging ends_early \
	in_place_edges malloc_in_place maps_read core_dumps test_injection test_region_injection \
	test_robust_forks test_sandbox test_pool_spawn test_pool_tasks test_pool_workers fuzz fuzz_read

# ---- Packages of that machine, past this system's own list of packages ----
mkdir -p "$work/apt/lists/partial" "$work/apt/archives/partial" "$work/packages" "$work/target"
for of in "$here" "$release"; do
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
		"${ODF_DEBIAN_MIRROR:-http://deb.debian.org/debian} $of main"
done | sort -u > "$work/apt/sources"
: > "$work/apt/status"
of_it() {
	command=$1
	shift
	"$command" -q -o Dir::Etc::sourcelist="$work/apt/sources" -o Dir::Etc::sourceparts=/dev/null \
		-o Dir::State::lists="$work/apt/lists" -o Dir::State::status="$work/apt/status" \
		-o Dir::Cache="$work/apt" \
		-o APT::Architecture="$architecture" -o APT::Architectures::="$architecture" \
		-o APT::Sandbox::User=root -o APT::Default-Release="$here" "$@"
}
if [ ! -e "$work/root/etc/passwd" ] || [ ! -e "$work/kernel-$release-${ODF_PAGES:-4k}" ]; then
	of_it apt-get update > "$work/log" 2>&1 || { cat "$work/log"; fail "no list of packages"; }
	image=$(of_it apt-cache show "$kernel/$release" |
		sed -n 's/^Depends: \(linux-image-[^ ,]*\).*/\1/p' | head -n 1)
	[ -n "$image" ] || fail "no kernel"
	{ of_it apt-get -y --download-only --no-install-recommends install libcmocka0 libcmocka-dev libseccomp2 \
		libgcc-s1 busybox-static dash coreutils findutils grep sed mawk procps util-linux &&
		(cd "$work/packages" && of_it apt-get download "$image"); } > "$work/log" 2>&1 ||
		{ cat "$work/log"; fail "the packages cannot be had"; }
	dpkg-deb --fsys-tarfile "$work/packages/${image}_"*.deb | tar -x -C "$work" --wildcards './boot/vmlinuz-*'
	mv "$work"/boot/vmlinuz-* "$work/kernel-$release-${ODF_PAGES:-4k}"
fi

# ---- A small system of these ----
root=$work/root
rm -rf "$root"
mkdir -p "$root/usr/bin" "$root/usr/sbin" "$root/usr/lib" "$root/usr/lib64"
for directory in bin sbin lib lib64; do
	ln -s "usr/$directory" "$root/$directory"
done
for package in "$work"/apt/archives/*.deb; do
	dpkg-deb --fsys-tarfile "$package" | tar -x -C "$root" --keep-directory-symlink \
		--exclude './usr/share/*' --exclude './usr/lib/*/gconv' --exclude './usr/lib/*/perl*' \
		--exclude './var/*'
done
mkdir -p "$root/proc" "$root/sys" "$root/dev" "$root/tmp" "$root/root" "$root/build/tests" "$root/source"
ln -sf dash "$root/usr/bin/sh"
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n' > "$root/etc/passwd"
printf 'root:x:0:\nnobody:x:65534:\n' > "$root/etc/group"

# ---- Build ----
case $machine in
aarch64)
	cat > "$work/cross.ini" <<END
[binaries]
c = 'aarch64-linux-gnu-gcc'
ar = 'aarch64-linux-gnu-gcc-ar'
strip = 'aarch64-linux-gnu-strip'
objcopy = 'aarch64-linux-gnu-objcopy'
pkgconfig = 'pkg-config'
[host_machine]
system = 'linux'
cpu_family = 'aarch64'
cpu = 'aarch64'
endian = 'little'
[properties]
sys_root = '$root'
pkg_config_libdir = '$root/usr/lib/aarch64-linux-gnu/pkgconfig'
END
	set_up="--cross-file $work/cross.ini -Dlibseccomp=disabled" strip=aarch64-linux-gnu-strip
	;;
x86_64) set_up=-Dlibseccomp=enabled strip=strip ;;
esac
build=${ODF_SYSTEM_BUILD:-$work/build}
# shellcheck disable=SC2086
[ -e "$build/build.ninja" ] || CC=gcc meson setup "$build" $set_up -Dwerror=true -Dusdt=disabled > "$work/log" 2>&1 ||
	{ tail -n 40 "$work/log"; fail "cannot be set up"; }
ninja -C "$build" > "$work/log" 2>&1 || { tail -n 40 "$work/log"; fail "does not build"; }
cp -L "$build/libodfork.so.0" "$build/odfork" "$root/build/"
for program in "$build"/tests/*; do
	[ ! -f "$program" ] || $strip -o "$root/build/tests/${program##*/}" "$program" 2> /dev/null || :
done
cp -R tests "$root/source/"

# ---- What runs there ----
printf '%s\n' "$@" > "$root/tests"
printf '%s\n' "seconds=${ODF_SYSTEM_SECONDS:-900}" "users='${ODF_SYSTEM_AS:-root}'" \
	"export ODF_CASE_SECONDS=600 ODF_TEST_SEEDS=${ODF_TEST_SEEDS:-16} ODF_TEST_SECONDS=${ODF_TEST_SECONDS:-20}" \
	> "$root/settings"
cat > "$root/init" <<'END'
#!/bin/sh
export PATH=/usr/local/bin:/usr/bin:/usr/sbin:/rest HOME=/tmp ODF_BUILD=/build ODF_SOURCE=/source
busybox mount -t proc proc /proc
mkdir -p /rest
busybox --install -s /rest
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm /dev/pts
mount -t devpts -o ptmxmode=0666 pts /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t tmpfs -o mode=1777 tmp /tmp
mount -t cgroup2 cgroup /sys/fs/cgroup
ln -s /proc/self/fd /dev/fd
ip link set lo up
hostname emulated
. /settings
uname -srm
/build/odfork probe
echo "# large pages: $(cat /sys/kernel/mm/transparent_hugepage/enabled)"
count=0
while read -r test; do
	for user in $users; do
		count=$((count + 1))
		become=
		[ "$user" = root ] || become="setpriv --reuid $user --regid $user --clear-groups"
		program=$(find /source/tests -mindepth 2 -name "$test.sh") # which runs the program of that name
		[ -n "$program" ] || program=/build/tests/$test
		read -r before _ < /proc/uptime
		(cd /tmp && exec setsid -w $become timeout "$seconds" "$program") > /tmp/.said 2>&1 < /dev/null
		status=$?
		read -r after _ < /proc/uptime
		took="$((${after%.*} - ${before%.*})) s"
		case $status in
		0) echo "ok - $test, $user ($took)"; grep '# SKIP\|skipped' /tmp/.said | head -n 20 | sed 's/^/#   /' ;;
		77) echo "ok - $test, $user # SKIP $(grep -v '^ok' /tmp/.said | head -n 1)" ;;
		*) grep -v '^ok' /tmp/.said | tail -n 40 | sed 's/^/# /'
			echo "not ok - $test, $user: status $status ($took)" ;;
		esac
		find /tmp /dev/shm -mindepth 1 ! -name .said -delete
	done
done < /tests
echo "1..$count"
poweroff -f
END
chmod 755 "$root/init" "$root" "$root/build" "$root/build/tests"
(cd "$root" && find . | cpio -o -H newc -R 0:0 2> /dev/null | gzip -1) > "$work/initrd"

# ---- Run ----
expected=$(($# * $(echo "${ODF_SYSTEM_AS:-root}" | wc -w)))
timeout "${ODF_SYSTEM_LIMIT:-28800}" $emulator -smp 2 -m 3G -net none -kernel "$work/kernel-$release-${ODF_PAGES:-4k}" \
	-initrd "$work/initrd" -append "console=$console quiet panic=-1" -nographic -no-reboot < /dev/null 2>&1 |
	sed -u 's/\r//g' | tee "$work/out"
grep -q "^1\.\.$expected\$" "$work/out" || fail "the emulated system did not come to its end"
! grep -q '^not ok' "$work/out"
