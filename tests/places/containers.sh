#!/bin/sh
# SPDX-License-Identifier: MIT
# Containers and services: the default system call filters of Docker, Podman and systemd (containers/), for root without
# capabilities and for an ordinary user; the answers of gVisor and WSL1 that differ from Linux; /proc read-only, hidden
# or missing; no /dev; a user namespace. In each, programs must behave as without the library, with the heap asleep,
# woken by growth, and awake from the start; and where a region is possible, forks must use it.
set -u
build=${ODF_BUILD:?} source=${ODF_SOURCE:?}
skip() {
	[ "${ODF_MUST_WORK:-0}" != 1 ] || { echo "Bail out! must not be skipped: $1"; exit 1; }
	echo "1..0 # SKIP $1"
	exit 0
}
[ "$(id -u)" = 0 ] || skip "needs root, to be another user and to mount"
unshare -m true 2> /dev/null || skip "no mounts of one's own"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
cp "$build/tests/contained" "$build/odfork" "$work/" && cp -L "$build/libodfork.so.0" "$work/" &&
	cp "$source"/tests/places/containers/*.filter "$work/" || exit 1
cat > "$work/job.py" <<'END'
import os, subprocess, threading
data = bytearray(40 << 20)
for number in range(3):
    data[number << 20] = 7
    pid = os.fork()
    if pid == 0:
        os._exit(data[number << 20] + data[39 << 20])
    print("fork", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
print(subprocess.run(["sh", "-c", "echo out; exit 4"], capture_output=True))
print(subprocess.run(["sh", "-c", "exit 5"], preexec_fn=os.getpid, close_fds=False).returncode)
thread = threading.Thread(target=lambda: print(subprocess.run(["echo", "from a thread"], capture_output=True).stdout))
thread.start(), thread.join()
END
unset LD_PRELOAD ODFORK_HEAP ODFORK_LOG ODFORK_STATS ODFORK_UFFD_FD PYTHONPATH
count=0 failed=0
python=/usr/bin/python3
nobody='setpriv --reuid=65534 --regid=65534 --clear-groups'
bare='setpriv --bounding-set=-all --inh-caps=-all'
cd "$work" || exit 1

# same NAME REGION PLACE...: PLACE is a command that executes another one in the place. REGION, for a program like
# Redis: yes: its forks must use a region; no: they need not.
same() {
	name=$1 region=$2 wrong=
	shift 2
	for job in "./contained job" "$python job.py"; do
		# shellcheck disable=SC2086
		"$@" $job > plain 2> plain.errors
		echo "status $?" >> plain
		grep -q '^fork' plain || { wrong="$wrong; $job does not run plain: $(cat plain plain.errors)"; \
			continue; }
		for heap in off auto on; do
			rm -f stats && : > stats && chmod 666 stats
			# shellcheck disable=SC2086
			"$@" env LD_PRELOAD="$work/libodfork.so.0" ODFORK_HEAP=$heap ODFORK_STATS="$work/stats" $job \
				> under 2> under.errors
			echo "status $?" >> under
			cmp -s plain under && [ ! -s under.errors ] ||
				wrong="$wrong; $job, heap $heap: $(diff plain under | head -n 8
					head -n 5 under.errors)"
			[ "$heap" != on ] || [ "$region" = no ] || [ "$job" != "./contained job" ] ||
				grep -q '"call":"fork","strategy":"region"' stats ||
				wrong="$wrong; no fork by region: $(tail -n 1 stats)"
		done
	done
	# The command line tool: prints the capabilities, starts a program, and names the step that fails.
	"$@" ./odfork probe > probe 2>&1 && grep -q '^fork  *yes' probe || wrong="$wrong; probe: $(tail -n 3 probe)"
	"$@" ./odfork spawn -- /bin/sh -c 'exit 9' > spawned 2>&1
	[ $? = 9 ] && [ ! -s spawned ] || wrong="$wrong; spawn: $(cat spawned)"
	"$@" ./odfork spawn -- ./no-such-program > spawned 2>&1 && wrong="$wrong; no error"
	grep -qi 'no such file' spawned || wrong="$wrong; spawn says $(cat spawned)"
	count=$((count + 1))
	if [ -z "$wrong" ]; then
		echo "ok $count - $name"
	else
		failed=$((failed + 1))
		echo "not ok $count - $name"
		echo "$wrong" | sed 's/^/#   /'
	fi
}

echo 1..14
for filter in docker podman systemd; do
	# shellcheck disable=SC2086
	same "$filter, root without capabilities" yes $bare ./contained $filter.filter
	# shellcheck disable=SC2086
	same "$filter, another user" yes $nobody ./contained $filter.filter
done
# There need not be a region, and nothing may go wrong.
# shellcheck disable=SC2086
for kernel in gvisor wsl1; do
	same "what $kernel lacks" no $nobody ./contained $kernel.filter
done
in_mounts() { # COMMANDS COMMAND...
	commands=$1
	shift
	unshare -m sh -c "$commands"' || exit 101; exec "$@"' sh "$@"
}
# shellcheck disable=SC2086
{
	same "/proc is read-only" yes in_mounts 'mount -t proc -o ro proc /proc' $bare
	same "/proc shows own processes only" yes in_mounts 'mount -t proc -o hidepid=2 proc /proc' $nobody
	same "no /proc" no in_mounts 'mount -t tmpfs none /proc' $bare
	same "no /dev but null" yes in_mounts \
		'mkdir -p dev && mount -t tmpfs none dev && : > dev/null && mount --bind /dev/null dev/null &&
			mount --rbind dev /dev' $bare
	same "no /dev/shm" yes in_mounts \
		'{ [ ! -d /dev/shm ] || { mkdir -p empty && mount --bind -o ro empty /dev/shm; }; }' $nobody
	same "a user namespace, whose root is nobody outside" yes $nobody unshare -U -r
}
[ $failed -eq 0 ]
