#!/bin/sh
# SPDX-License-Identifier: MIT
#
# AArch64: cross-built with all warnings, and run under the user-mode emulator of qemu, whose clone does not share
# memory: the probe must say so, and what falls back on it must hold, in programs made for that and in the unit tests.
# Run by hand; it installs a compiler and qemu (Debian).
set -eu
cd "$(dirname "$0")/.."
. tests/packages.sh
packages_need gcc gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static meson ninja-build pkg-config \
	debian-archive-keyring
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
fail() { echo "$*"; exit 1; }
build=$work/build

# cmocka is of the release that the compilers here are of.
packages_beside "$work/beside" "$(. /etc/os-release && echo "$VERSION_CODENAME")" arm64 libcmocka0 libcmocka-dev ||
	fail "no cmocka"
cat > "$work/cross.ini" <<END
[binaries]
c = 'aarch64-linux-gnu-gcc'
ar = 'aarch64-linux-gnu-gcc-ar'
strip = 'aarch64-linux-gnu-strip'
objcopy = 'aarch64-linux-gnu-objcopy'
pkgconfig = 'pkg-config'
exe_wrapper = ['qemu-aarch64-static', '-L', '/usr/aarch64-linux-gnu']
[host_machine]
system = 'linux'
cpu_family = 'aarch64'
cpu = 'aarch64'
endian = 'little'
[properties]
sys_root = '$work/beside/root'
pkg_config_libdir = '$work/beside/root/usr/lib/aarch64-linux-gnu/pkgconfig'
END
version=$(sed -n "s/^  version: '\(.*\)',/\1/p" meson.build)
units="strategy text fd_map describe pinned_classes capability fork process spawn spawn_streams spawn_contract"
# shellcheck disable=SC2046,SC2086
meson setup "$build" --cross-file "$work/cross.ini" -Dwerror=true -Dc_args=-DODF_TEST_NO_VFORK -Dlibseccomp=disabled \
	-Dusdt=disabled > "$work/log" 2>&1 &&
	ninja -C "$build" "libodfork.so.$version" libodfork.a odfork $(printf 'tests/test_%s ' $units) \
		> "$work/log" 2>&1 ||
	{ tail -n 40 "$work/log"; fail "does not build"; }
echo "ok - it builds"

emulated() { qemu-aarch64-static -L /usr/aarch64-linux-gnu -E LD_LIBRARY_PATH="$build" "$@"; }
has() { readelf -nW "$1" | grep -q 'AArch64 feature: BTI, PAC'; }
has "$build/libodfork.a" || fail "libodfork.a lacks the notes for BTI and PAC"
echo "ok - its objects keep the notes"

# The probe has been told by the effect: refused, or not shared.
emulated "$build/odfork" probe > "$work/probe"
grep -q '^clone_vm  *no ' "$work/probe" && grep -q '^vfork  *no ' "$work/probe" &&
	grep -q '^fork  *yes' "$work/probe" || { cat "$work/probe"; fail "the probe"; }
echo "ok - the probe says that memory is not shared"

# Programs that are linked with it, in both ways.
cat > "$work/falls_back.c" <<'END'
#include <errno.h>
#include <odfork.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#define REQUIRE(what) \
	do { if (!(what)) { printf("line %d: %s (errno %d)\n", __LINE__, #what, errno); exit(1); } } while (0)
static int end_of(pid_t pid)
{
	int status;
	REQUIRE(waitpid(pid, &status, 0) == pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}
int main(void)
{
	char *argv[] = { (char[]){ "sh" }, (char[]){ "-c" }, (char[]){ "exit 7" }, NULL };
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	odf_report report = ODF_REPORT_INIT;
	pid_t pid;
	volatile int here = 1;

	REQUIRE(odf_spawn(&pid, "/bin/sh", argv, NULL, NULL, &report) == 0);
	REQUIRE(report.strategy == ODF_STRATEGY_FORK && end_of(pid) == 7);
	REQUIRE(odf_spawn(&pid, "/nonexistent", argv, NULL, NULL, &report) == ENOENT);
	REQUIRE(report.step == ODF_STEP_EXEC && report.error == ENOENT);
	REQUIRE(waitpid(-1, NULL, 0) == -1 && errno == ECHILD);
	options.flags = ODF_SPAWN_SEARCH_PATH | ODF_SPAWN_SETSID;
	options.cwd = "/nonexistent";
	REQUIRE(odf_spawn(&pid, "sh", argv, NULL, &options, &report) == ENOENT && report.step == ODF_STEP_CWD);
	options.cwd = "/";
	REQUIRE(odf_spawn(&pid, "sh", argv, NULL, &options, &report) == 0 && end_of(pid) == 7);
	for (int i = 0; i < 20; i++) {
		if ((pid = odf_fork()) == 0) {
			here = 2;
			_exit(here + i);
		}
		REQUIRE(pid > 0 && end_of(pid) == 2 + i && here == 1);
	}
	odf_region *region = odf_region_create((size_t)1 << 24, 0);
	if (region == NULL) {
		printf("no region: %s\n", strerror(errno));
	} else { /* whatever of it works, the bytes are right */
		int *words = odf_region_base(region);
		for (int i = 0; i < 20; i++) {
			words[1000 * i] = i + 1;
			if ((pid = fork()) == 0) {
				words[1000 * i] = -1;
				_exit(words[0] == 1 || i == 0 ? 5 : 6);
			}
			REQUIRE(pid > 0 && end_of(pid) == 5);
			for (int k = 0; k <= i; k++)
				REQUIRE(words[1000 * k] == k + 1);
		}
		REQUIRE(odf_region_destroy(region) == 0);
		puts("a region held");
	}
	return 0;
}
END
aarch64-linux-gnu-gcc -std=gnu11 -O1 -Wall -I include "$work/falls_back.c" "$build/libodfork.a" -pthread \
	-o "$work/static" &&
	aarch64-linux-gnu-gcc -std=gnu11 -O1 -Wall -I include "$work/falls_back.c" -L "$build" -lodfork \
	-o "$work/shared" || fail "falls_back.c"
for program in static shared; do
	emulated "$work/$program" > "$work/log" 2>&1 || { cat "$work/log"; fail "$program: $?"; }
	echo "ok - spawn and fork fall back, $program ($(cat "$work/log"))"
done

# System calls by their number: those that are the library's, those that are not, and a child that returns from one.
cat > "$work/by_number.c" <<'END'
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#define REQUIRE(what) \
	do { if (!(what)) { printf("line %d: %s (errno %d)\n", __LINE__, #what, errno); exit(1); } } while (0)
int main(void)
{
	int file = (int)syscall(SYS_memfd_create, "file", 0u), status;
	char byte = 0, *page;
	Dl_info about;
	long pid;

	REQUIRE(dladdr(dlsym(RTLD_DEFAULT, "syscall"), &about) != 0 && strstr(about.dli_fname, "libodfork") != NULL);
	REQUIRE(file >= 0 && ftruncate(file, 8192) == 0 && pwrite(file, "y", 1, 4096) == 1);
	page = (char *)syscall(SYS_mmap, NULL, 4096L, PROT_READ, MAP_PRIVATE, file, 4096L);
	REQUIRE(page != MAP_FAILED && *page == 'y' && syscall(SYS_munmap, page, 4096L) == 0);
	REQUIRE(syscall(SYS_mmap, NULL, 0L, PROT_READ, MAP_PRIVATE, file, 0L) == -1 && errno == EINVAL);
	REQUIRE(syscall(SYS_getpid) == getpid() && syscall(SYS_pread64, file, &byte, 1L, 4096L) == 1 && byte == 'y');
	pid = syscall(SYS_clone, (long)SIGCHLD, 0L, 0L, 0L, 0L);
	if (pid == 0)
		_exit(6);
	REQUIRE(pid > 0 && waitpid((pid_t)pid, &status, 0) == pid && WEXITSTATUS(status) == 6);
	return 0;
}
END
aarch64-linux-gnu-gcc -std=gnu11 -D_GNU_SOURCE -O1 -Wall "$work/by_number.c" -o "$work/by_number" || fail "by_number.c"
for heap in auto on; do
	emulated -E LD_PRELOAD="$build/libodfork.so.0" -E ODFORK_HEAP=$heap "$work/by_number" > "$work/log" 2>&1 ||
		{ cat "$work/log"; fail "system calls by number, ODFORK_HEAP=$heap: $?"; }
	echo "ok - system calls by number, ODFORK_HEAP=$heap"
done

# Preloaded, under a program that knows nothing of it and grows.
cat > "$work/plain.c" <<'END'
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void)
{
	size_t size = (size_t)64 << 20;
	char *memory = malloc(size);
	int status;
	memset(memory, 1, size);
	for (int i = 0; i < 5; i++) {
		pid_t pid = fork();
		if (pid == 0) {
			memset(memory, 9, size);
			_exit(memory[size / 2]);
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 9 ||
		    memory[size / 2] != 1)
			return 1;
		memset(memory, 1, size / 3);
	}
	return system("exit 4") >> 8 == 4 ? 0 : 2;
}
END
aarch64-linux-gnu-gcc -O1 "$work/plain.c" -o "$work/plain"
for heap in off auto on; do
	qemu-aarch64-static -L /usr/aarch64-linux-gnu -E LD_PRELOAD="$build/libodfork.so.0" -E ODFORK_HEAP=$heap \
		"$work/plain" > "$work/log" 2>&1 ||
		{ status=$?; cat "$work/log"; fail "preloaded, heap $heap: $status"; }
	echo "ok - preloaded, heap $heap"
done

# Pages of 16 and 64 KiB, as kernels for this processor may have: regions say why not, and the rest works.
for size in 16384 65536; do
	qemu-aarch64-static -p $size -L /usr/aarch64-linux-gnu "$build/odfork" probe > "$work/probe" ||
		fail "the probe with pages of $size bytes"
	grep -q "pages of $size bytes" "$work/probe" &&
		grep -q '^region  *no  *regions are for pages of 4096 bytes' "$work/probe" ||
		{ cat "$work/probe"; fail "pages of $size bytes"; }
	for heap in off on; do
		qemu-aarch64-static -p $size -L /usr/aarch64-linux-gnu -E LD_PRELOAD="$build/libodfork.so.0" \
			-E ODFORK_HEAP=$heap "$work/plain" > "$work/log" 2>&1 ||
			{ status=$?; cat "$work/log"; fail "preloaded, pages of $size bytes, heap $heap: $status"; }
	done
	qemu-aarch64-static -p $size -L /usr/aarch64-linux-gnu "$work/static" > "$work/log" 2>&1 ||
		{ cat "$work/log"; fail "pages of $size bytes: $?"; }
	echo "ok - pages of $size bytes"
done

# The unit tests, each engine of a spawn being fork. What they execute is this machine's: only its own programs run from
# under the emulator. A case that it does not let succeed is left out, with the reason; any other must hold.
left_out() { # TEST.CASE: why
	case $1 in
	capability.test_agrees_with_the_calls) echo "the emulator has no execveat" ;;
	capability.test_threads) echo "the emulator cannot execute the test itself" ;;
	process.test_run | spawn.test_choice) echo "which strategy is chosen: fork here" ;;
	spawn.test_search_errors | spawn.test_dumpable_with_threads) echo "asks for vfork" ;;
	spawn.test_map | spawn.test_swap | spawn.test_open | spawn.test_null)
		echo "the emulator opens files with O_LARGEFILE, which the helper sees"
		;;
	spawn.test_seccomp | spawn.test_engines_agree) echo "the emulator has no filters of system calls" ;;
	spawn.test_pre_exec) echo "the emulator has no PR_SET_CHILD_SUBREAPER" ;;
	*) return 1 ;;
	esac
}
mkdir "$work/units"
for helper in state exits; do
	gcc -D_GNU_SOURCE -O1 "tests/support/$helper.c" -o "$work/units/$helper"
done
for unit in $units; do
	status=0
	cp "$build/tests/test_$unit" "$work/units/"
	CMOCKA_MESSAGE_OUTPUT=TAP timeout 600 qemu-aarch64-static -L /usr/aarch64-linux-gnu \
		-E LD_LIBRARY_PATH="$work/beside/root/usr/lib/aarch64-linux-gnu" "$work/units/test_$unit" \
		> "$work/log" 2>&1 < /dev/null || status=$?
	planned=$(sed -n 's/^1\.\.//p' "$work/log")
	[ "$(grep -cE '^(not )?ok [0-9]+ - ' "$work/log")" = "${planned:-0}" ] ||
		{ tail -n 20 "$work/log"; fail "test_$unit did not come to its end: $status"; }
	echo "ok - $(grep -c '^ok [0-9]' "$work/log") of $planned cases of test_$unit"
	grep '^not ok [0-9]' "$work/log" > "$work/not" || :
	while read -r _ _ _ _ name; do
		why=$(left_out "$unit.$name") || { cat "$work/log"; fail "$unit.$name"; }
		echo "ok - $unit.$name # SKIP $why"
	done < "$work/not"
done
