#!/bin/sh
# SPDX-License-Identifier: MIT
# What odfork(7), SECURITY, says: who can see a region, what the keeper may do, what a privileged program takes from its
# environment, what a child and an executed program get, and what remains after a change of ids.
set -u
build=${ODF_BUILD:?} source=${ODF_SOURCE:?}
skip() {
	[ "${ODF_MUST_WORK:-0}" != 1 ] || { echo "Bail out! must not be skipped: $1"; exit 1; }
	echo "1..0 # SKIP $1"
	exit 0
}
[ "$(id -u)" = 0 ] || skip "needs root, to be two users"
"$build/odfork" probe | grep -q '^uffd_minor  *yes' || skip "nothing settles here, so there may be no keeper"
command -v strace > /dev/null || skip "no strace"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
cd "$work" || exit 1
cp -L "$build/libodfork.so.0" . || exit 1
unset LD_PRELOAD ODFORK_HEAP ODFORK_LOG ODFORK_STATS PYTHONPATH

cat > watched.py <<'END'
import os, re, subprocess, sys, time
data = bytearray(48 << 20)
data[::4096] = b"s" * (48 << 8)

def child():
    own = sorted(os.listdir("/proc/self/fd")) # with the one of the list itself
    pid = os.fork()
    if pid == 0:
        same = sorted(os.listdir("/proc/self/fd")) == own
        os._exit(0 if same and data[5 << 20] == ord("s") else 1)
    assert os.waitpid(pid, 0)[1] == 0

def keeper():
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = dict(line.rstrip("\n").split(":\t", 1) for line in open(f"/proc/{pid}/status") if ":\t" in line)
        except OSError:
            continue
        if words["Name"] == "odfork-keeper" and words["PPid"] == str(os.getpid()):
            return pid, words
    return None, None

child()
deadline = time.time() + 120
while keeper()[0] is None and time.time() < deadline:
    child()
pid, words = keeper()
assert pid is not None, "no keeper"

def confined(words):
    assert [int(words["Cap" + which], 16) for which in ("Inh", "Prm", "Eff", "Amb")] == [0] * 4, words
    assert words["NoNewPrivs"] == "1" and words["Seccomp"] == "2", words

if sys.argv[1] == "keeper":
    confined(words)
    # Nothing of the program's descriptors, and nobody else gets at its own, or at the memory by it.
    for link in os.listdir(f"/proc/{pid}/fd"):
        name = os.readlink(f"/proc/{pid}/fd/{link}")
        assert name.startswith(("/memfd:odfork", "/odfork-region", "anon_inode:[userfaultfd]", "/dev/null",
                                "/proc/")), name
    other = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    for path in (f"/proc/{pid}/fd", f"/proc/{pid}/map_files",
                 f"/proc/{os.getpid()}/fd", f"/proc/{os.getpid()}/map_files"):
        assert subprocess.run(other + ["ls", path], capture_output=True).returncode != 0, path
    for path in f"/proc/{pid}/mem", f"/proc/{pid}/maps", f"/proc/{os.getpid()}/mem":
        opened = ["sh", "-c", 'exec < "$0"', path]
        assert subprocess.run(opened, capture_output=True).returncode == 0, path # its own user may
        assert subprocess.run(other + opened, capture_output=True).returncode != 0, path
elif sys.argv[1] == "faults":
    # What it asks to serve page faults of lies in regions, and the descriptor for that is the keeper's alone.
    tracer = subprocess.Popen(["strace", "-qq", "-e", "trace=ioctl", "-o", "ioctls", "-p", pid])
    deadline, asked = time.time() + 25, []
    while not asked and time.time() < deadline:
        child()
        time.sleep(0.1)
        if os.path.exists("ioctls"):
            asked = [line for line in open("ioctls") if "UFFDIO_REGISTER" in line and line.endswith("\n")]
    regions = [[int(place, 16) for place in line.split()[0].split("-")]
               for line in open("/proc/self/maps") if "odfork-" in line]
    tracer.terminate()
    tracer.wait()
    assert asked, "nothing settled"
    for line in asked:
        found = re.search(r"start=(0x[0-9a-f]+), len=(0x[0-9a-f]+)", line)
        start, length = (int(number, 16) for number in found.groups())
        assert any(start < end and start + length > first for first, end in regions), (line, regions)
    for link in os.listdir("/proc/self/fd"):
        if os.path.lexists("/proc/self/fd/" + link):
            assert "userfaultfd" not in os.readlink("/proc/self/fd/" + link)
elif sys.argv[1] == "executed":
    # As without the library: no descriptor of its own, in a child as in what it executes.
    plain = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"} # else it has a heap of its own
    seen = subprocess.run([sys.executable, "-c",
                           "import os; print([os.readlink('/proc/self/fd/' + fd) for fd in os.listdir('/proc/self/fd')"
                           " if os.path.lexists('/proc/self/fd/' + fd)])"],
                          capture_output=True, text=True, close_fds=False, env=plain).stdout
    assert seen and "memfd" not in seen and "userfaultfd" not in seen, seen
    maps = subprocess.run(["cat", "/proc/self/maps"], capture_output=True, text=True, close_fds=False, env=plain).stdout
    assert maps and "memfd" not in maps, maps
elif sys.argv[1] == "ids":
    os.setgroups([]), os.setresgid(65534, 65534, 65534), os.setresuid(65534, 65534, 65534)
    for _ in range(3):
        child()
        data[5 << 20] = ord("s")
    found, after = keeper()
    if found is not None:
        confined(after)
    assert data.count(b"s") == 48 << 8
END
count=0 failed=0
result() { # STATUS NAME
	count=$((count + 1))
	if [ "$1" = 0 ]; then
		echo "ok $count - $2"
	else
		failed=$((failed + 1))
		echo "not ok $count - $2"
		sed 's/^/#   /' log
	fi
}
echo 1..6
under() {
	timeout 240 env LD_PRELOAD="$work/libodfork.so.0" ODFORK_HEAP=on /usr/bin/python3 watched.py "$1" > log 2>&1
}
under keeper
result $? "the keeper has no rights, no descriptors but its own, and neither it nor the program opens to another user"
under faults
result $? "page faults are served of regions only, by a descriptor that the program has not"
under executed
result $? "what is executed has nothing of it"
under ids
result $? "after a change of ids the keeper that is left is as confined, and the memory is right"

# A program that runs with privileges reads none of the variables. It is linked with the library, as the loader itself
# ignores LD_PRELOAD there.
cat > secure.c <<'END'
#include <odfork.h>
#include <stdio.h>
#include <sys/auxv.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void)
{
	pid_t pid = odf_fork();
	if (pid == 0)
		_exit(0);
	if (pid < 0 || waitpid(pid, NULL, 0) != pid)
		return 2;
	printf("secure %d\n", getauxval(AT_SECURE) != 0);
	return 0;
}
END
"${ODF_CC:-cc}" -O1 -I "$source/include" secure.c "$build/libodfork.a" -pthread -o secure > log 2>&1 ||
	{ cat log; echo "Bail out! secure.c"; exit 1; }
chmod 4755 secure
mkdir -m 777 records
as_other() { setpriv --reuid=65534 --regid=65534 --clear-groups env ODFORK_STATS="$work/records/$1" ODFORK_LOG=1 \
	ODFORK_HEAP=on ODFORK_NONSENSE=1 ./secure > log 2>&1; }
as_other secure
grep -qx 'secure 1' log && [ "$(wc -l < log)" = 1 ] && [ ! -e records/secure ]
result $? "secure execution: no variable is read"
chmod 755 secure
as_other plain
grep -qx 'secure 0' log && [ "$(wc -l < log)" -gt 1 ] && [ -s records/plain ]
result $? "the same program without privileges reads them"
[ $failed -eq 0 ]
