# SPDX-License-Identifier: MIT
# shellcheck shell=sh
# CPython's own tests of processes, signals, threads and memory (Debian: libpython3.N-testsuite, of the same version as
# python3).
cpython_tests='test_subprocess test_os test_posix test_fork1 test_wait3 test_wait4 test_popen test_pty test_signal
	test_threadsignals test_threading test_mmap test_multiprocessing_fork'

prepare() {
	packages_need "libpython$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')-testsuite"
	/usr/bin/python3 -c 'import test.libregrtest'
}

run() {
	which=$1
	shift
	mkdir temporary && chmod 1777 temporary
	# shellcheck disable=SC2086
	TMPDIR=$PWD/temporary under "$which" timeout -k 10 3000 \
		/usr/bin/python3 -m test -v -u none ${*:-$cpython_tests} < /dev/null
	/usr/bin/python3 "$tests/peers/python_results.py" < log > results
}

# "test_x_(test.test_y.Class.test_x)": the method alone, in its file.
words_of() {
	printf '%s\n' "$1" | sed -n 's/.*(test\.\([a-zA-Z0-9_]*\)\..*\.\([a-zA-Z0-9_]*\))$/\1 -m \2/p'
}
