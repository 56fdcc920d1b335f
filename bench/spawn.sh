#!/bin/sh
# SPDX-License-Identifier: MIT
#
# bench/spawn.sh [MIB:ROUNDS...]: how long the caller is held while it starts /bin/true, from processes that hold so much memory; by fork and exec, libc's
# posix_spawn, odf_spawn, and raw vfork and execve. CSV on standard output; then what odf_fork costs beside fork, and what the preload costs a program's start.
set -eu
cd "$(dirname "$0")/.."
if [ ! -e build-demo/build.ninja ]; then
	meson setup build-demo --buildtype=release -Dtests=false > /dev/null
fi
ninja -C build-demo > /dev/null
[ $# -gt 0 ] || set -- 16:1000 1024:300 8192:60
echo "# $(uname -sr), $(nproc) CPUs, $(sed -n 's/^MemTotal: *//p' /proc/meminfo), $(date -u +%Y-%m-%d)"
for size in "$@"; do
	build-demo/bench/bench_launch "${size%:*}" "${size#*:}" > build-demo/launch.csv
	if [ "$size" = "$1" ]; then cat build-demo/launch.csv; else tail -n +2 build-demo/launch.csv; fi
done
echo
build-demo/bench/bench_overhead 20000
echo
build-demo/bench/bench_start "$PWD/build-demo/libodfork.so.0" "$PWD/build-demo/bench/libbench_empty.so" 1000
