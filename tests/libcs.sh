#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The C libraries that the library is for: glibc from the oldest (2.31, Debian 11) to the newest (Debian's testing), of
# Debian's packages, unpacked beside this system's; and musl, where there is the static library and the command, but
# nothing to preload. With each it is built, all warnings errors; needs no symbol of a newer glibc; and runs: odfork
# probe, a program that is linked, and one that is not, under the preload. Run by hand; it fetches packages and installs
# musl-tools (Debian, x86-64).
#
#   tests/libcs.sh [RELEASE|musl...]     of: bullseye bookworm trixie forky musl; without, all of them
#   ODF_DEBIAN_MIRROR                    where the packages come from
set -eu
cd "$(dirname "$0")/.."
. tests/packages.sh
[ "$(uname -m)" = x86_64 ] || { echo "this is for x86-64" >&2; exit 2; }
packages_need gcc meson ninja-build binutils musl-tools debian-archive-keyring
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
fail() { echo "not ok - $*"; exit 1; }

cat > "$work/plain.c" <<'C'
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void) /* knows nothing of the library, grows, and forks */
{
	size_t size = (size_t)96 << 20;
	char *memory = malloc(size);
	memset(memory, 1, size);
	for (int i = 0; i < 8; i++) {
		int status;
		pid_t pid = fork();
		if (pid == 0) {
			memset(memory, 9, size / 2);
			_exit(memory[size - 1] == 1 ? 5 : 6);
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 5 << 8 || memory[5] != 1)
			return 1;
		usleep(100000); /* the heap may wake */
	}
	return system("exit 4") >> 8 == 4 ? 0 : 2;
}
C
cat > "$work/linked.c" <<'C'
#include <odfork.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
static int twice(const void *argument, size_t length, odf_output *out)
{
	return odf_output_write(out, argument, length) != 0 || odf_output_write(out, argument, length) != 0;
}
int main(void)
{
	odf_region *region = odf_region_create((size_t)64 << 20, 0);
	unsigned char *base = region == NULL ? NULL : odf_region_base(region);
	char *argv[] = { (char[]){ "sh" }, (char[]){ "-c" }, (char[]){ "exit 7" }, NULL };
	int status;
	pid_t pid;
	if (base == NULL)
		return 9;
	for (int i = 1; i < 20; i++) {
		memset(base, i, 32 << 20);
		if ((pid = odf_fork()) == 0)
			_exit(base[0] == i && base[(32 << 20) - 1] == i ? 5 : 6);
		memset(base, 200, 1 << 20);
		if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 5 << 8)
			return 1;
	}
	if (odf_spawn(&pid, "/bin/sh", argv, NULL, NULL, NULL) != 0 || waitpid(pid, &status, 0) != pid ||
	    status != 7 << 8)
		return 2;
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT; /* descriptors go through the pool's channel */
	odf_fd_action fds[] = { ODF_FD_NULL(0) };
	odf_pool *pool = odf_pool_create(NULL);
	odf_task *task;
	void *result;
	size_t length;
	options.fds = fds;
	options.fd_count = 1;
	if (pool == NULL || odf_pool_spawn(pool, &pid, "/bin/sh", argv, NULL, &options, NULL) != 0 ||
	    waitpid(pid, &status, 0) != pid || status != 7 << 8)
		return 3;
	if (odf_pool_submit(pool, twice, &pid, sizeof pid, &task) != 0 ||
	    odf_task_wait(task, &result, &length, -1) != 0 || length != 2 * sizeof pid ||
	    memcmp(result, &pid, sizeof pid) != 0)
		return 4;
	odf_task_free(task);
	odf_pool_destroy(pool);
	return 0;
}
C

does_not_build() { # WHAT: with the errors of the log
	grep -E 'error:|undefined|ERROR' "$work/log" | head -n 10
	fail "$1 does not build"
}

of_glibc() { # RELEASE
	root=$work/$1/root
	packages_beside "$work/$1" "$1" amd64 libc6 libc6-dev linux-libc-dev || fail "$1: no packages"
	for merged in lib lib64; do # since Debian 13 they are links of another package's
		[ -e "$root/$merged" ] || ln -s "usr/$merged" "$root/$merged"
	done
	find "$root" -type l -lname '/*' | while read -r link; do ln -sfn "$root$(readlink "$link")" "$link"; done
	libraries=$(dirname "$(find "$root" -name libc.so.6 | head -n 1)") headers=$root/usr/lib/x86_64-linux-gnu
	loader=$(find "$libraries" -name 'ld-linux-x86-64.so.2' -o -name 'ld-2.*.so' | head -n 1)
	version=$("$loader" --library-path "$libraries" "$libraries/libc.so.6" |
		sed -n '1s/.*version \(2\.[0-9]*\).*/\1/p')
	compiler="gcc --sysroot=$root -B$headers -L$headers -L$libraries"
	build=$work/build-$1
	CC=$compiler meson setup "$build" -Dwerror=true -Dtests=false -Dbenchmarks=false -Dlibseccomp=disabled \
		-Dusdt=disabled > "$work/log" 2>&1 &&
		ninja -C "$build" > "$work/log" 2>&1 || does_not_build "glibc $version"
	# As tests/build/binaries.sh has it.
	case $version in
	2.3[4-7]) oldest=2.34 ;;
	2.3[0-3]) oldest=$version ;;
	*) oldest=2.38 ;;
	esac
	newest=$(objdump -T "$build/libodfork.so.0" "$build/odfork" "$build/odfork-follow.so" |
		grep -oE 'GLIBC_2\.[0-9]+' | sort -V | tail -n 1)
	[ "$(printf '%s\n' "GLIBC_$oldest" "$newest" | sort -V | tail -n 1)" = "GLIBC_$oldest" ] ||
		fail "glibc $version: needs $newest"
	$compiler -O1 "$work/plain.c" -o "$work/plain-$1"
	$compiler -D_GNU_SOURCE -O1 -Iinclude "$work/linked.c" -L"$build" -lodfork -o "$work/linked-$1"
	run="$loader --library-path $libraries:$build"
	$run "$build/odfork" probe | grep -q '^fork  *yes' || fail "glibc $version: the probe"
	$run "$work/linked-$1" || fail "glibc $version: a program that is linked: $?"
	for heap in off auto on; do
		env ODFORK_HEAP=$heap "$loader" --library-path "$libraries" --preload "$build/libodfork.so.0" \
			"$work/plain-$1" || fail "glibc $version: preloaded, heap $heap: $?"
	done
	echo "ok - glibc $version ($1), which needs $newest at most"
}

# As README has it: nothing is turned off. Meson says what there is not.
of_musl() {
	mkdir "$work/headers"
	ln -s /usr/include/linux /usr/include/asm-generic /usr/include/x86_64-linux-gnu/asm "$work/headers/"
	CC=musl-gcc CFLAGS="-idirafter $work/headers" meson setup "$work/build-musl" -Dwerror=true \
		--prefix="$work/prefix" --libdir=lib > "$work/log" 2>&1 || does_not_build musl
	grep -q 'not glibc: the static library and the command' "$work/log" || fail "musl: meson says nothing"
	meson install -C "$work/build-musl" > "$work/log" 2>&1 || does_not_build musl
	[ -z "$(find "$work/build-musl" "$work/prefix" -name '*.so*' -type f)" ] ||
		fail "musl: there is something to preload"
	"$work/prefix/bin/odfork" probe | grep -q '^fork  *yes' || fail "musl: the probe"
	for way in "" -static; do
		# shellcheck disable=SC2086
		musl-gcc $way -D_GNU_SOURCE -O1 -I"$work/prefix/include" "$work/linked.c" \
			-L"$work/prefix/lib" -lodfork -pthread -o "$work/linked-musl"
		"$work/linked-musl" || fail "musl ${way:-shared}: $?"
	done
	echo "ok - musl: the static library, in programs shared and static, and the command"
}

[ $# -gt 0 ] || set -- bullseye bookworm trixie forky musl
for one in "$@"; do
	case $one in musl) of_musl ;; *) of_glibc "$one" ;; esac
done
