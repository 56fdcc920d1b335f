#!/bin/sh
# SPDX-License-Identifier: MIT
# odfork probe: its output; and, with strace, that it, odfork run and a preloaded program never issue system call 439,
# prctl 65 or prctl 0x4000, the numbers of on-demand-fork kernels that mainline gave other meanings.
set -eu
build=${ODF_BUILD:?}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "$*"; exit 1; }

"$build/odfork" probe > "$work/text"
"$build/odfork" probe --json > "$work/json"
python3 - "$work/json" <<'CHECK'
import json, os, platform, sys
found = json.load(open(sys.argv[1]))
assert found["kernel_release"] == platform.release(), found
assert found["page_size"] == os.sysconf("SC_PAGESIZE"), found
assert set(found["strategies"]) == {"kernel", "region", "fork", "vfork", "posix_spawn", "pool"}, found
offered = os.path.exists("/proc/self/use_odf")
interface = found["kernel_interface"]
assert interface.startswith("use_odf") if offered else interface in ("none", "async_fork"), found
kernel = found["strategies"]["kernel"]
assert kernel["available"] is (kernel["reason"] == "none") and kernel["text"], kernel
if not offered:
    assert found["kernel_interface"] == "async_fork" or kernel["reason"] == "kernel_not_offered", kernel
    assert found["probes"]["use_odf"] == {"answer": False, "error": 2}, found
assert found["strategies"]["fork"]["available"] is True
gain = found["full_gain"]
assert gain["closed"] is True or gain == {"closed": False, "by_device": None, "by_setting": None}, gain
assert not gain["closed"] or found["probes"]["uffd_minor"]["answer"] is False, found
CHECK
[ -e /proc/self/use_odf ] || grep -q '^kernel  *no ' "$work/text" ||
	fail "probe does not say that there is no kernel on-demand fork"
"$build/odfork" probe --nonsense 2> /dev/null && fail "an unknown option is accepted"
[ "$("$build/odfork" probe --nonsense 2>&1 > /dev/null | head -n 1)" = "odfork: probe: no such option: --nonsense" ] ||
	fail "wrong message"
"$build/odfork" probe > /dev/full 2> /dev/null && fail "a full disk goes unnoticed"

command -v strace > /dev/null || { [ "${ODF_MUST_WORK:-0}" = 1 ] && fail "no strace"; echo "no strace"; exit 77; }
strace -f -o /dev/null true 2> /dev/null || { [ "${ODF_MUST_WORK:-0}" = 1 ] &&
	fail "strace may not trace here"; echo "strace may not trace here"; exit 77; }
trace() {
	# A leak check cannot run under strace.
	strace -f -n -o "$work/trace" -E ASAN_OPTIONS=detect_leaks=0 "$@" > /dev/null 2>&1 || fail "strace $* failed"
	# -n prints the number of each call: [ 439] faccessat2(...)
	if grep -E '\[ *439\]|prctl\((65|0x41|PR_SET_MDWE|16384|0x4000)' "$work/trace"; then
		fail "$*: issues a number of the on-demand-fork kernels"
	fi
	grep -q '/proc/self/use_odf' "$work/trace" || fail "$*: does not look at /proc/self/use_odf"
}
trace "$build/odfork" probe
trace "$build/odfork" probe --json
trace "$build/odfork" probe --verify
if [ "${ODF_SANITIZED:-0}" = 0 ]; then
	trace "$build/odfork" run -- /bin/true
	trace -E LD_PRELOAD="$build/libodfork.so.0" -E ODFORK_STRATEGY=kernel "$build/tests/interposed"
fi
