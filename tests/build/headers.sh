#!/bin/sh
# SPDX-License-Identifier: MIT
# The public headers compile on their own, with warnings as errors, as strict C11, C17, GNU C, C++11 and C++17, and work
# in each.
set -eu
source=${ODF_SOURCE:?}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat > "$work/use.c" <<'USE'
#include <odfork.h>
#ifdef WITH_SECCOMP
#include <odfork-seccomp.h>
#endif
int use(int log, int flags, int mode, const char *path);
int use(int log, int flags, int mode, const char *path)
{
	odf_report report = ODF_REPORT_INIT;
	odf_fork_options fork_options = ODF_FORK_OPTIONS_INIT;
	odf_spawn_options options = ODF_SPAWN_OPTIONS_INIT;
	odf_capabilities capabilities = ODF_CAPABILITIES_INIT;
	odf_fd_action map[] = { ODF_FD_DUP(1, 5), ODF_FD_OPEN(2, "/dev/null", O_WRONLY, 0), ODF_FD_CLOSE(3),
		ODF_FD_NULL(0), ODF_FD_KEEP(9) };
	odf_fd_action assigned[] = { ODF_FD_OPEN(1, path, flags, mode), ODF_FD_DUP(log, 2) };
	odf_region_info region_info = ODF_REGION_INFO_INIT;
	odf_heap_info heap_info = ODF_HEAP_INFO_INIT;
	odf_kernel_verdict verdict = ODF_KERNEL_VERDICT_INIT;
	map[0].source = log;
	/* In assignments too. */
	report = ODF_REPORT_INIT;
	fork_options = ODF_FORK_OPTIONS_INIT;
	options = ODF_SPAWN_OPTIONS_INIT;
	capabilities = ODF_CAPABILITIES_INIT;
	region_info = ODF_REGION_INFO_INIT;
	heap_info = ODF_HEAP_INFO_INIT;
	verdict = ODF_KERNEL_VERDICT_INIT;
	assigned[0] = ODF_FD_NULL(0);
	assigned[1] = ODF_FD_OPEN(1, path, flags, mode);
	(void)region_info, (void)heap_info, (void)verdict, (void)assigned;
	options.fds = map;
	options.fd_count = sizeof map / sizeof *map;
	options.allow = ODF_ALLOW(ODF_STRATEGY_VFORK) | ODF_ALLOW(ODF_STRATEGY_FORK);
	return odf_capabilities_get(&capabilities) + odf_fork_with(&fork_options, &report) +
	       odf_spawn(0, "/bin/true", 0, 0, &options, &report);
}
USE
cp "$work/use.c" "$work/use.cc"
seccomp=
printf '#include <seccomp.h>\n' > "$work/probe.c"
cc -fsyntax-only "$work/probe.c" 2>/dev/null && seccomp=-DWITH_SECCOMP
flags="-Wall -Wextra -Werror -pedantic -I$source/include -fsyntax-only"
tried=0
for compiler in gcc clang; do
	command -v $compiler > /dev/null || continue
	for standard in c11 c17 gnu11; do
		# shellcheck disable=SC2086
		$compiler -std=$standard $flags "$work/use.c"
		tried=$((tried + 1))
	done
	# The companion needs memfd_create, so the GNU declarations.
	# shellcheck disable=SC2086
	$compiler -std=gnu11 -D_GNU_SOURCE $seccomp $flags "$work/use.c"
done
for compiler in g++ clang++; do
	command -v $compiler > /dev/null || continue
	for standard in c++11 c++17; do
		# shellcheck disable=SC2086
		$compiler -std=$standard $flags $seccomp "$work/use.cc"
		tried=$((tried + 1))
	done
done
[ "$tried" -ge 5 ] || { echo "only $tried combinations of compiler and standard were tried"; exit 1; }
