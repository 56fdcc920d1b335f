#!/bin/bash
# SPDX-License-Identifier: MIT
# odfork spawn: each flag by its effect in the child, statuses and signals handed through, failures with step and errno.
set -eu
PATH=/usr/bin:/bin:/usr/sbin:/sbin
build=${ODF_BUILD:?}
odfork=$build/odfork
unset LD_PRELOAD ODFORK_STATS ODFORK_LOG
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
cd "$work"
number=0 failures=0 root=0
[ "$(id -u)" = 0 ] && root=1

# NAME STATUS OUTPUT ERRORS COMMAND...: all of both, trimmed.
try() {
	local name=$1 wanted=$2 output=$3 errors=$4 status=0 word=ok
	shift 4
	number=$((number + 1))
	timeout -k 1 120 "$@" > out 2> err < /dev/null || status=$?
	[ "$status" = "$wanted" ] && [ "$(cat out)" = "$output" ] && [ "$(cat err)" = "$errors" ] || word="not ok"
	echo "$word $number - $name"
	[ "$word" = ok ] && return
	failures=$((failures + 1))
	echo "# status $status, expected $wanted; output and errors, expected '$output' and '$errors':"
	sed 's/^/#   /' out err
}
spawn() { # NAME STATUS OUTPUT ERRORS ARGUMENT...
	local name=$1 wanted=$2 output=$3 errors=$4
	shift 4
	try "$name" "$wanted" "$output" "$errors" "$odfork" spawn "$@"
}

# ---- How it ends ----
spawn "status 0" 0 "" "" true
spawn "status 42" 42 "" "" -- sh -c 'exit 42'
spawn "an option of the command's" 0 "--help" "" printf %s --help
spawn "not found" 127 "" "odfork: spawn: odfork-no-such-program: step exec: No such file or directory (ENOENT)" \
	odfork-no-such-program
spawn "cannot be executed" 126 "" "odfork: spawn: /etc/passwd: step exec: Permission denied (EACCES)" /etc/passwd
spawn "a step of the child's" 125 "" "odfork: spawn: true: step cwd: No such file or directory (ENOENT)" \
	--cwd=/nonexistent true
spawn "which of several" 125 "" "odfork: spawn: true: step fd (--dup=2:77): Bad file descriptor (EBADF)" --dup=1:1 \
	--dup=2:77 true
spawn "refused" 125 "" "odfork: spawn: true: step request: Invalid argument (EINVAL)" --setsid --pgroup true
spawn "refused, which of several" 125 "" "odfork: spawn: true: step request (--null=1): Invalid argument (EINVAL)" \
	--dup=1:2 --null=1 true
for bad in --nonsense --dup=1 --dup=x:1 --dup=1:-1 --open=1:q:file --open=1 --null=-1 --close=1:2 --umask=8 \
	--umask=1000 --nice=20 --nice=x --rlimit=nofile --rlimit=x=1 \
	--rlimit=nofile=1:x --affinity=x --affinity=3-1 --sched=x --sched=fifo:100 --sigmask=X --parent-death=65 \
	--busy-retry=-1 --allow=x --forgive=x --pgroup=x \
	--cwd-fd=x --tty-fd=x --ioprio=x --ioprio=idle:8 --oom-score-adj=1001 --ambient=x --sigdefault=x --env= \
	--env==1 --detach=1 --close-others=1; do
	case $bad in
	--nonsense) says="no such option: $bad" ;;
	*) says="no such value: $bad" ;;
	esac
	spawn "$bad" 125 "" "odfork: spawn: $says
Try 'odfork --help'." "$bad" true
done
spawn "no such user" 125 "" "odfork: spawn: no such user: odfork-no-such-user" --user=odfork-no-such-user true
spawn "no such group" 125 "" "odfork: spawn: no such group: odfork-no-such-group" --groups=0,odfork-no-such-group true
spawn "no such cgroup" 125 "" "odfork: spawn: --cgroup=/nonexistent: No such file or directory" --cgroup=/nonexistent \
	true
spawn "no such filter" 125 "" "odfork: spawn: --seccomp=/nonexistent: No such file or directory" \
	--seccomp=/nonexistent true
spawn "no command" 125 "" "odfork: spawn: no command
Try 'odfork --help'." --setsid
# Where the answers of others are unusual: the groups of a user cannot be had, and a kernel has pidfds that waitid does
# not know (Linux 5.2 and 5.3).
cat > unusual.c << 'END'
#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
int getgrouplist(const char *user, gid_t group, gid_t *groups, int *count)
{
	(void)user, (void)group, (void)groups;
	*count = 1 << 21;
	return -1;
}
int waitid(idtype_t type, id_t id, siginfo_t *info, int options)
{
	if (type == 3 /* P_PIDFD */) {
		errno = EINVAL;
		return -1;
	}
	return (int)syscall(SYS_waitid, type, id, info, options, NULL);
}
END
${ODF_CC:?} -shared -fPIC -o unusual.so unusual.c
try "groups that cannot be had" 125 "" \
	"odfork: spawn: the groups of user nobody cannot be looked up: Argument list too long" \
	env LD_PRELOAD="$work/unusual.so" "$odfork" spawn --user=nobody true
try "groups that cannot be had, of a user id" 125 "" \
	"odfork: spawn: the groups of user nobody cannot be looked up: Argument list too long" \
	env LD_PRELOAD="$work/unusual.so" "$odfork" spawn --uid=nobody true
try "a pidfd that cannot be waited for" 7 "" "" env LD_PRELOAD="$work/unusual.so" "$odfork" spawn --pidfd sh -c 'exit 7'
# The wait status itself: killed by the signal that killed the program.
python3 - "$odfork" << 'END' || { echo "not ok - killed as the program"; failures=$((failures + 1)); }
import os, signal, subprocess, sys, time
odfork = sys.argv[1]
signal.alarm(300)
for options in ([], ["--pidfd"]):
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV):
        got = subprocess.run([odfork, "spawn", *options, "sh", "-c", f"kill -{int(number)} $$"]).returncode
        assert got == -number, (options, number, got)
    # What is sent to the command reaches the program, which answers.
    for group in (["--pgroup"], []):
        process = subprocess.Popen([odfork, "spawn", *options, *group, "sh", "-c",
                                    "trap 'echo told; exit 7' TERM; echo ready; while :; do sleep 0.02; done"],
                                   stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == "told\n" and process.wait() == 7, (options, group)
# A terminal's job: it has the terminal while it runs, and the command has it back afterwards.
for option in ("", "--tty-fd=0"):
    pid, terminal = os.forkpty()
    if pid == 0:
        os.execlp("bash", "bash", "-c",
                  f'"{odfork}" spawn --pgroup --foreground {option} sh -c '
                  '\'[ "$(ps -o tpgid= -p $$)" -eq "$(ps -o pgid= -p $$)" ] && echo has it\'; '
                  'ps -o tpgid=,pgid= -p $$ | { read -r a b; [ "$a" = "$b" ] && echo has it back; }')
    text = b""
    try:
        while chunk := os.read(terminal, 1000):
            text += chunk
    except OSError:
        pass
    os.waitpid(pid, 0)
    assert text.split() == b"has it has it back".split(), text
END

# ---- Descriptors ----
echo text > file
spawn "--open r, --dup" 0 "text" "" --open=0:r:file --dup=2:1 cat
spawn "--open w" 0 "" "" --open=1:w:written --null=2 sh -c 'echo new; echo more >&2'
[ "$(cat written)" = new ] || { echo "not ok - written: $(cat written)"; failures=$((failures + 1)); }
spawn "--open a" 0 "" "" --open=1:a:written echo again
[ "$(wc -l < written)" = 2 ] || { echo "not ok - appended: $(cat written)"; failures=$((failures + 1)); }
spawn "--open rw" 0 "text" "" --open=7:rw:file sh -c 'cat <&7'
spawn "--null, --close" 0 "/dev/null none" "" --null=0 --close=5 bash -c \
	'exec 2> /dev/null; echo "$(readlink /proc/$$/fd/0)" $(readlink /proc/$$/fd/5 || echo none)' 5< file
exec 6< file 7< file
spawn "--close-others, --keep" 0 "6" "" --close-others --keep=6 sh -c 'cd /proc/$$/fd; echo [6-7]'
spawn "without" 0 "6 7" "" sh -c 'cd /proc/$$/fd; echo [6-7]'
exec 6<&- 7<&-

# ---- The process ----
spawn "--cwd" 0 "/usr" "" --cwd=/usr pwd
exec 8< /usr
spawn "--cwd-fd" 0 "/usr" "" --cwd-fd=8 pwd
exec 8< /usr/bin/printf
spawn "--exec-fd" 0 "by descriptor" "" --exec-fd=8 anything "by descriptor"
exec 8<&-
cp /usr/bin/echo no_path
spawn "--no-path" 127 "" "odfork: spawn: ls: step exec: No such file or directory (ENOENT)" --no-path ls
spawn "--no-path, there" 0 "1" "" --no-path no_path 1
ids='set -- $(ps -o sid=,pgid= -p $$); [ $1 = $$ ] && echo session; [ $2 = $$ ] && echo group; :'
spawn "--setsid" 0 "session
group" "" --setsid sh -c "$ids"
spawn "--pgroup" 0 "group" "" --pgroup sh -c "$ids"
spawn "--umask, --nice" 0 "0027 11" "" --umask=027 --nice=11 sh -c 'echo $(umask) $(nice)'
masks='sed -n "s/^Sig\(Blk\|Ign\):\t*0*//p" /proc/self/status'
spawn "--sigmask" 0 "4200
0" "" --sigmask=SIGTERM,usr1 --reset-signals sh -c "$masks | sed 's/^\$/0/'"
spawn "--sigmask none" 0 "" "" --sigmask=none --reset-signals sh -c "$masks | tr -d '\n'"
try "ignored signals stay" 0 "1" "" env --ignore-signal=USR1 "$odfork" spawn sh -c \
	'trap "" USR2; grep -c "^SigIgn:.*[2a]0\?$\|SigIgn:.*[2-7a-f][0-9a-f][0-9a-f]$" /proc/self/status'
try "--reset-signals" 0 "SigIgn:	0000000000000000" "" env --ignore-signal=USR1 "$odfork" spawn --reset-signals \
	grep SigIgn /proc/self/status
spawn "--rlimit" 0 "64 64 0 unlimited 524288" "" --rlimit=nofile=64 --rlimit=core=0:unlimited \
	--rlimit=stack=512MiB:512m \
	bash -c 'echo $(ulimit -n) $(ulimit -Hn) $(ulimit -c) $(ulimit -Hc) $(ulimit -s)'
spawn "--affinity, --sched" 0 "1 SCHED_BATCH" "" --affinity=0 --sched=batch sh -c \
	'echo $(taskset -p $$ | sed "s/.* //") $(chrt -p $$ | sed -n "s/.*policy: //p")'
spawn "--no-new-privs" 0 "NoNewPrivs:	1" "" --no-new-privs grep NoNewPrivs /proc/self/status
python3 -c 'import struct, sys; sys.stdout.buffer.write(struct.pack("=HBBI", 6, 0, 0, 0x7fff0000))' > filter
spawn "--seccomp" 0 "Seccomp:	2" "" --no-new-privs --seccomp=filter grep Seccomp: /proc/self/status
spawn "--parent-death" 0 "15" "" --parent-death=TERM python3 -c \
	'import ctypes; n = ctypes.c_int(); ctypes.CDLL(None).prctl(2, ctypes.byref(n)); print(n.value)'
spawn "--busy-retry" 126 "" "odfork: spawn: ./no_path: step exec: Text file busy (ETXTBSY)" --busy-retry=20 \
	--open=1:a:no_path --keep=9 ./no_path 9>> no_path
spawn "--forgive" 0 "" "" --forgive=rlimit,nice --rlimit=nofile=9999999999 true
spawn "--allow" 125 "" "odfork: spawn: true: step request: Operation not supported (EOPNOTSUPP)" --allow=posix_spawn \
	--umask=0 true
spawn "--env" 0 "2 unset" "" --env=ODF_TEST=1 --env=ODF_TEST=2 --env=HOME sh -c 'echo $ODF_TEST ${HOME-unset}'
mkdir other
printf '#!/bin/sh\necho found\n' > other/odfork-other
chmod 755 other/odfork-other
spawn "--child-path" 0 "found" "" --child-path "--env=PATH=$work/other" odfork-other
spawn "--child-path, not the caller's" 127 "" "odfork: spawn: ls: step exec: No such file or directory (ENOENT)" \
	--child-path "--env=PATH=$work/other" ls
spawn "--stderr-to-stdout" 0 "both" "" --stderr-to-stdout sh -c 'echo both >&2'
spawn "--ioprio" 0 "idle" "" --ioprio=idle sh -c 'ionice -p $$'
spawn "--ioprio, a level" 0 "best-effort: prio 6" "" --ioprio=best-effort:6 sh -c 'ionice -p $$'
spawn "--oom-score-adj" 0 "500" "" --oom-score-adj=500 cat /proc/self/oom_score_adj
try "--sigdefault" 0 "SigIgn:	0000000000000800" "" env --default-signal --ignore-signal=USR1 --ignore-signal=USR2 \
	"$odfork" spawn --sigdefault=USR1 grep SigIgn /proc/self/status
spawn "no such namespace" 125 "" "odfork: spawn: --namespace=/nonexistent: No such file or directory" \
	--namespace=/nonexistent true
spawn "no namespace" 125 "" "odfork: spawn: true: step namespace (--namespace=file): Invalid argument (EINVAL)" \
	--namespace=file true
number=$((number + 1))
"$odfork" spawn --report --allow=fork true 2> err && grep -q '^made by fork; held ' err &&
	echo "ok $number - --report" ||
	{ echo "not ok $number - --report: $(cat err)"; failures=$((failures + 1)); }
# What the kernel lacks is not left out in silence.
for flag in autoreap:--autoreap clone_nnp:--born-no-new-privs autokill:--kill-with-pidfd; do
	option=${flag##*:}
	if ! "$odfork" probe --json | grep -q "\"${flag%%:*}\":{\"answer\":true"; then
		spawn "$option, before Linux 7.1" 125 "" \
			"odfork: spawn: true: step request: Operation not supported (EOPNOTSUPP)" "$option" true
	elif [ "$option" = --autoreap ]; then
		spawn "$option" 0 "" "" "$option" sh -c 'exit 3'
	else
		spawn "$option" 3 "" "" --born-no-new-privs "$option" sh -c 'exit 3'
	fi
done
number=$((number + 1))
pid=$("$odfork" spawn --detach --print-pid --null=1 sleep 20) && [ "$(cat "/proc/$pid/comm")" = sleep ] &&
	kill "$pid" && echo "ok $number - --detach, --print-pid" ||
	{ echo "not ok $number - --detach, --print-pid"; failures=$((failures + 1)); }
if [ $root = 1 ]; then
	spawn "--user" 0 "uid=65534(nobody) gid=65534(nogroup) groups=65534(nogroup)" "" --user=nobody id
	spawn "--uid, --gid, --groups" 0 "7 8 8 1 2" "" --uid=7 --gid=8 --groups=1,2 sh -c \
		'echo $(id -u) $(id -g) $(id -G)'
	spawn "--groups none" 0 "7 8 8" "" --uid=7 --gid=8 --groups=none sh -c 'echo $(id -u) $(id -g) $(id -G)'
	try "--keep-groups" 0 "7 8 8 3 4" "" setpriv --groups 3,4 "$odfork" spawn --uid=7 --gid=8 --keep-groups sh -c \
		'echo $(id -u) $(id -g) $(id -G)'
	try "--user-groups" 0 "65534 65534 65534" "" setpriv --groups 3,4 "$odfork" spawn --uid=nobody --gid=nogroup \
		--user-groups sh -c 'echo $(id -u) $(id -g) $(id -G)'
	spawn "--ambient" 0 "CapAmb:	0000000000002400" "" --user=nobody --ambient=net_raw,CAP_NET_BIND_SERVICE grep \
		CapAmb /proc/self/status
	mkdir root
	cp "$build/tests/exits" root/
	spawn "--root" 23 "" "" --root="$work/root" /exits
	mkfifo named
	unshare -u sh -c 'echo odfork-name > /proc/sys/kernel/hostname; echo done > named; exec sleep 20' &
	keeper=$!
	read -r _ < named
	spawn "--namespace" 0 "odfork-name" "" --namespace="/proc/$keeper/ns/uts" uname -n
	kill "$keeper"
	group=$(awk '$3 == "cgroup2" { print $2 }' /proc/mounts | head -n 1)
	if [ -n "$group" ] && mkdir "$group/odfork-test-$$" 2> /dev/null; then
		spawn "--cgroup" 0 "0::/odfork-test-$$" "" "--cgroup=$group/odfork-test-$$" grep 0:: /proc/self/cgroup
		rmdir "$group/odfork-test-$$"
	else
		number=$((number + 1))
		echo "ok $number - --cgroup # SKIP no cgroup can be made here"
	fi
fi
echo "1..$number"
exit $((failures > 0))
