#!/bin/sh
# SPDX-License-Identifier: MIT
# The tarball of a release (meson dist), as a project of others has it: unpacked into their subprojects/, linked from
# there, shared and static, and installed into a prefix with what they build. There a consumer is built with pkg-config,
# shared and static; and both, the installed command, and man are tried.
set -eu
build=${ODF_BUILD:?} source=${ODF_SOURCE:?}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { cat "$work/log"; echo "$*"; exit 1; }

# Of what is committed; of a source that is no repository, what is there.
version=$(sed -n "s/^  version: '\(.*\)',/\1/p" "$source/meson.build")
mkdir -p "$work/user/subprojects"
if git -C "$source" rev-parse --git-dir > /dev/null 2>&1; then
	meson dist -C "$build" --no-tests --formats gztar --allow-dirty > "$work/log" 2>&1 || fail "meson dist fails"
	tarball=$build/meson-dist/libodfork-$version.tar.gz
	[ -s "$tarball" ] || fail "meson dist did not make $tarball"
	tar -xf "$tarball" -C "$work/user/subprojects"
else
	[ "${ODF_MUST_WORK:-0}" != 1 ] || { echo "no repository of git"; exit 1; }
	mkdir "$work/user/subprojects/libodfork-$version"
	(cd "$source" && tar -cf - --exclude='./build*' .) | tar -xf - -C "$work/user/subprojects/libodfork-$version"
fi
for file in meson.build LICENSE README.md SECURITY.md CHANGELOG.md packaging/deb.sh man/odfork.7; do
	[ -e "$work/user/subprojects/libodfork-$version/$file" ] || { echo "the tarball lacks $file"; exit 1; }
done

printf '[wrap-file]\ndirectory = libodfork-%s\n' "$version" > "$work/user/subprojects/odfork.wrap"
cat > "$work/user/meson.build" <<'END'
project('user', 'c')
odfork = subproject('odfork', default_options: ['tests=false', 'benchmarks=false', 'udev=true', 'sysctl=true'])
executable('shared', 'user.c', dependencies: odfork.get_variable('libodfork_dep'))
executable('static', 'user.c', dependencies: odfork.get_variable('libodfork_static_dep'))
END
cat > "$work/user/user.c" <<'CONSUMER'
#include <odfork.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void)
{
	char *argv[] = { (char[]){ "true" }, NULL };
	odf_report report = ODF_REPORT_INIT;
	int status;
	pid_t pid = odf_fork();
	if (pid == 0)
		_exit(0);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
		return 1;
	if (odf_spawn(&pid, "/bin/true", argv, NULL, NULL, &report) != 0 || waitpid(pid, &status, 0) != pid ||
	    status != 0)
		return 2;
	printf("%s %s\n", odf_version(), odf_strategy_name(report.strategy));
	return strcmp(odf_version(), ODF_VERSION) != 0;
}
CONSUMER
# Quickly, as it is about where things lie; of all that is built, only two programs are the user's.
CC=${ODF_CC:-cc} meson setup "$work/build" "$work/user" --prefix="$work/prefix" -Doptimization=0 -Ddebug=false \
	> "$work/log" 2>&1 &&
	meson install -C "$work/build" > "$work/log" 2>&1 ||
	fail "a project that has it as its subproject cannot be built and installed"
for program in shared static; do
	"$work/build/$program" > "$work/log" 2>&1 || fail "the project's $program program fails"
done

pc=$(find "$work/prefix" -name libodfork.pc)
PKG_CONFIG_PATH=$(dirname "$pc")
export PKG_CONFIG_PATH
libraries=$(pkg-config --variable=libdir libodfork)

cc=${ODF_CC:-cc}
# shellcheck disable=SC2046
$cc -Wall -Werror "$work/user/user.c" -o "$work/shared" $(pkg-config --cflags --libs libodfork)
# shellcheck disable=SC2046
$cc -Wall -Werror -static "$work/user/user.c" -o "$work/static" $(pkg-config --static --cflags --libs libodfork)
shared=$(LD_LIBRARY_PATH=$libraries "$work/shared")
static=$("$work/static")
[ "$shared" = "$static" ] && [ "$shared" = "$(pkg-config --modversion libodfork) vfork" ] ||
	{ echo "shared says '$shared', static says '$static'"; exit 1; }
readelf -d "$work/shared" | grep -q 'NEEDED.*libodfork.so.0' ||
	{ echo "the consumer does not need libodfork.so.0"; exit 1; }

# The installed command finds the installed library.
"$work/prefix/bin/odfork" run --stats "$work/stats" -- sh -c '(exit 0); exit 0' &&
	grep -q '"call":"fork"' "$work/stats" ||
	{ echo "odfork run from the prefix left no record"; exit 1; }
[ "$("$work/prefix/bin/odfork" --version)" = "odfork $(pkg-config --modversion libodfork)" ]
for page in "$source"/man/*.[1-9]; do
	file=$(find "$work/prefix" -name "${page##*/}*")
	[ -s "$file" ] || { echo "no man page ${page##*/}"; exit 1; }
done
[ -e "$libraries/odfork-follow.so" ] || { echo "no odfork-follow.so beside the library"; exit 1; }

# What completes it.
for file in bash-completion/completions/odfork zsh/site-functions/_odfork; do
	[ -s "$work/prefix/share/$file" ] || { echo "$file is not installed"; exit 1; }
done

# What opens userfaultfd: udev finds no fault, the group is one of the rule's, and sysctl reads it.
rule=$work/prefix/lib/udev/rules.d/60-odfork-userfaultfd.rules
[ -s "$rule" ] || { echo "no rule for udev"; exit 1; }
if command -v udevadm > /dev/null && udevadm verify --help > /dev/null 2>&1; then # since systemd 254
	udevadm verify "$rule"
fi
group=$(sed -n 's/.*GROUP="\([a-z]*\)".*/\1/p' "$rule")
grep -qx "g $group -" "$work/prefix/lib/sysusers.d/odfork.conf" || { echo "nobody makes the group '$group'"; exit 1; }
grep -qx 'vm.unprivileged_userfaultfd = 1' "$work/prefix/lib/sysctl.d/60-odfork.conf" ||
	{ echo "no drop-in for sysctl"; exit 1; }
