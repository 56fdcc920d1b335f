#!/bin/sh
# SPDX-License-Identifier: MIT
#
# AArch64 on a kernel of its own: the tests are cross-built and run under the system emulator of qemu, on the kernel
# that Debian 13 has for that machine. Unlike tests/aarch64.sh, whose emulator passes system calls on to this
# machine's kernel, clone shares memory there, regions are frozen and settled, and a heap wakes. Run by hand; it
# installs a compiler and qemu (Debian), and takes an hour or more: each instruction is emulated.
#
# As of 0.2.0 these fail there, with Linux 6.12: test_moved (three cases: another part of a file, sealed memory, large
# pages), gives_back (small pieces that a child gives back each take a mapping), and, for want of programs and an idle
# processor in the emulated system, some of test_process and pool_workers.
#
#   tests/aarch64_system.sh [TEST...]     those only; without, all of the list below
#   ODF_PAGES=16k                         the kernel with pages of 16 KiB, where there are no regions: what is left must
#                                         hold
#   ODF_DEBIAN_MIRROR                     where the packages come from
set -eu
cd "$(dirname "$0")/.."
. tests/packages.sh
packages_need gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-system-arm cpio pkg-config meson ninja-build \
	debian-archive-keyring
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
fail() { echo "$*" >&2; exit 1; }

case ${ODF_PAGES:-4k} in
4k) kernel=linux-image-arm64 ;;
16k) kernel=linux-image-arm64-16k ;;
*) fail "ODF_PAGES: 4k or 16k" ;;
esac
[ $# -gt 0 ] || set -- test_capability test_fd_map test_text test_describe test_strategy test_fork test_process test_spawn \
	test_spawn_contract test_spawn_errors test_spawn_identity test_spawn_streams test_threads test_userfault test_region \
	test_region_extents test_region_model test_region_threads test_keeper test_keeper_looks keeper_seen keeper_ends \
	test_heap test_heap_tables test_heap_model test_moved outlives gives_back shapes aging ends_early in_place_edges \
	test_pool_spawn test_pool_tasks test_pool_workers fuzz fuzz_read

# ---- Packages of that machine, past this system's own list of packages ----
mkdir -p "$work/apt/lists/partial" "$work/apt/archives/partial" "$work/packages" "$work/target"
for release in bookworm trixie; do # the libraries of the release that the compiler's own are of, and the newer kernel
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
		"${ODF_DEBIAN_MIRROR:-http://deb.debian.org/debian} $release main"
done > "$work/apt/sources"
: > "$work/apt/status"
of_arm() {
	command=$1
	shift
	"$command" -q -o Dir::Etc::sourcelist="$work/apt/sources" -o Dir::Etc::sourceparts=/dev/null \
		-o Dir::State::lists="$work/apt/lists" -o Dir::State::status="$work/apt/status" -o Dir::Cache="$work/apt" \
		-o APT::Architecture=arm64 -o APT::Architectures::=arm64 -o APT::Sandbox::User=root "$@"
}
of_arm apt-get update > "$work/log" 2>&1 || { cat "$work/log"; fail "no list of packages"; }
image=$(of_arm apt-cache depends "$kernel" | sed -n 's/^ *Depends: \(linux-image-[^ ]*\)$/\1/p' | tail -n 1)
[ -n "$image" ] || fail "no kernel"
(cd "$work/packages" && of_arm apt-get download "$image" libcmocka0/bookworm libcmocka-dev/bookworm \
	busybox-static/bookworm) > "$work/log" 2>&1 ||
	{ cat "$work/log"; fail "the packages cannot be had"; }
for package in "$work"/packages/libcmocka*.deb "$work"/packages/busybox*.deb; do
	dpkg -x "$package" "$work/target"
done
dpkg-deb --fsys-tarfile "$work"/packages/linux-image-*.deb | tar -x -C "$work" --wildcards './boot/vmlinuz-*'

# ---- Build ----
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
sys_root = '$work/target'
pkg_config_libdir = '$work/target/usr/lib/aarch64-linux-gnu/pkgconfig'
END
meson setup "$work/build" --cross-file "$work/cross.ini" -Dwerror=true -Dlibseccomp=disabled -Dusdt=disabled \
	> "$work/log" 2>&1 &&
	ninja -C "$work/build" > "$work/log" 2>&1 || { tail -n 40 "$work/log"; fail "does not build"; }

# ---- A system of busybox, the compiler's libraries and what was built ----
root=$work/root
for directory in bin lib proc sys dev tmp root etc build/tests; do
	mkdir -p "$root/$directory"
done
cp "$work/target/bin/busybox" "$root/bin/"
for library in ld-linux-aarch64.so.1 libc.so.6 libm.so.6 libgcc_s.so.1; do
	cp -L "/usr/aarch64-linux-gnu/lib/$library" "$root/lib/"
done
cp -L "$work/target/usr/lib/aarch64-linux-gnu/libcmocka.so.0" "$root/lib/"
cp -L "$work/build/libodfork.so.0" "$work/build/odfork" "$root/build/"
for program in "$work"/build/tests/*; do
	[ ! -f "$program" ] || aarch64-linux-gnu-strip -o "$root/build/tests/${program##*/}" "$program" 2> /dev/null || :
done
echo "root:x:0:0:root:/root:/bin/sh" > "$root/etc/passwd"
echo "nobody:x:65534:65534:nobody:/:/bin/sh" >> "$root/etc/passwd"
printf '%s\n' "$@" > "$root/tests"
cat > "$root/init" <<'END'
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t tmpfs -o mode=1777 tmp /tmp
ip link set lo up
export PATH=/bin HOME=/root ODF_BUILD=/build ODF_SOURCE=/ ODF_TEST_SEEDS=16 ODF_TEST_SECONDS=20
uname -srm
/build/odfork probe
cd /build/tests
while read -r test; do
	timeout 600 ./"$test" > /tmp/said 2>&1 < /dev/null
	status=$?
	case $status in
	0 | 77) echo "ok - $test$([ $status = 0 ] || echo " # SKIP")" ;;
	*) grep -v '^ok' /tmp/said | tail -n 30 | sed 's/^/# /'; echo "not ok - $test: status $status" ;;
	esac
	rm -rf /tmp/odf* /tmp/tmp.*
done < /tests
echo "1..$(wc -l < /tests)"
poweroff -f
END
chmod +x "$root/init"
(cd "$root" && find . | cpio -o -H newc 2> /dev/null | gzip -1) > "$work/initrd.gz"

# ---- Run ----
timeout 7200 qemu-system-aarch64 -M virt -cpu max,pauth-impdef=on -smp 2 -m 4G -net none \
	-kernel "$work"/boot/vmlinuz-* -initrd "$work/initrd.gz" \
	-append "console=ttyAMA0 quiet panic=-1" -nographic -no-reboot < /dev/null 2>&1 | tr -d '\r' | tee "$work/out"
grep -q "^1\.\.$#\$" "$work/out" || fail "the emulated system did not come to its end"
! grep -q '^not ok' "$work/out"
