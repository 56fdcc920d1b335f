# SPDX-License-Identifier: MIT
# Sourced by the benchmark scripts, from the top directory.
#
# bench_prepare PACKAGE...: installs what is missing, builds into build-demo, and waits until no other benchmark runs
# there. Then bench_machine.
#
# bench_machine: sets `machine`, the line that each file of results starts with; the load is what other work there was.

. tests/packages.sh

bench_prepare() {
	packages_need gcc libc6-dev meson ninja-build pkg-config python3 "$@"
	if [ ! -e build-demo/build.ninja ]; then
		meson setup build-demo --buildtype=release -Dtests=false > /dev/null
	fi
	meson setup --reconfigure build-demo > /dev/null
	ninja -C build-demo > /dev/null
	exec 9> build-demo/benchmark.lock
	flock -n 9 || { echo "Waiting for another benchmark to end" >&2; flock 9; }
	bench_machine
}

bench_machine() {
	machine="$(uname -sr), $(nproc) CPUs, $(awk '/^MemTotal:/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo)"
	machine="$machine, glibc $(getconf GNU_LIBC_VERSION | cut -d' ' -f2), $(date -u +%Y-%m-%d)"
	machine="$machine, load $(cut -d' ' -f1 /proc/loadavg) when it began"
}
