#!/bin/sh
# SPDX-License-Identifier: MIT
# python3: each of its ways to create processes, and its own tests of processes (Debian: libpython3.N-testsuite).
# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"
[ -x "$PYTHON" ] || skip "$PYTHON is not installed"

cat >processes.py <<'END'
import contextlib, errno, fcntl, multiprocessing, os, pty, select, signal, subprocess, sys, threading, time, warnings
import concurrent.futures

warnings.simplefilter('ignore')  # newer versions warn of forks in programs with threads
python = sys.executable


def say(*what):
    print(*what, flush=True)


def status(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def fails(function, *arguments, **named):
    try:
        function(*arguments, **named)
    except OSError as e:
        return errno.errorcode[e.errno]
    except Exception as e:
        return type(e).__name__
    return None


def forks():
    for value in range(0, 256, 15):
        pid = os.fork()
        if pid == 0:
            os._exit(value)
        assert status(pid) == value
    parent = os.getpid()
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        own = f'{os.getppid() == parent} {os.getpid() != parent} {os.getpid()} {threading.active_count()}'
        os.write(write, own.encode())
        os.kill(os.getpid(), signal.SIGKILL)
    os.close(write)
    say('child says', os.read(read, 100).decode().replace(str(pid), 'PID'), status(pid))
    say(fails(os.wait), fails(os.waitpid, pid, 0))
    order = []
    os.register_at_fork(before=lambda: order.append('before'), after_in_parent=lambda: order.append('parent'),
                        after_in_child=lambda: order.append('child'))
    pid = os.fork()
    if pid == 0:
        os._exit(17 if order == ['before', 'child'] else 1)
    say(status(pid), order)
    got = []
    signal.signal(signal.SIGCHLD, lambda *a: got.append(1))
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    while not got:
        time.sleep(0.001)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    say(status(pid), len(got))
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    pid = os.fork()
    if pid == 0:
        os._exit(signal.SIGUSR1 in signal.pthread_sigmask(signal.SIG_BLOCK, ()))
    say('mask kept', status(pid), signal.SIGUSR1 in signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1}))
    state = lambda: (sorted(os.listdir('/proc/self/fd')),
                     [line for line in open('/proc/self/status') if line[:6] in ('SigBlk', 'SigIgn', 'SigCgt')],
                     os.getpgrp(), os.getsid(0), os.getcwd(), signal.getitimer(signal.ITIMER_REAL), os.nice(0))
    before = state()
    pid = os.fork()
    if pid == 0:
        os._exit(0 if state() == before else 1)
    say('state', status(pid), state() == before)
    for i in range(200):  # many at a time
        if os.fork() == 0:
            os._exit(i % 7)
    say(sum(os.waitstatus_to_exitcode(os.wait()[1]) for i in range(200)))


def subprocesses():
    run = lambda *a, **k: subprocess.run(*a, capture_output=True, text=True, timeout=300, **k)
    show = lambda r: say(r.returncode, repr(r.stdout), repr(r.stderr))
    show(run(['sh', '-c', 'echo out; echo err >&2; exit 3']))
    show(run('echo $((1 + 2)) && false', shell=True))
    show(run(['cat'], input='täxt\n' * 3, encoding='utf-8'))
    show(run(['pwd'], cwd='/'))
    show(run(['/bin/sh', '-c', 'echo $ONLY $HOME'], env={'ONLY': 'this'}))
    r, w = os.pipe()
    listing = [python, '-c',
               'import os; print([fd for fd in range(3, 64) if os.path.exists(f"/proc/self/fd/{fd}") and not'
               ' os.readlink(f"/proc/self/fd/{fd}").startswith("/proc")])']
    os.set_inheritable(w, True)
    for arguments in {'close_fds': True}, {'close_fds': False}, {'pass_fds': (w,)}, {'pass_fds': (r,)}:
        show(run(listing, **arguments))
    show(run([python, '-c', 'import os; print(os.getsid(0) == os.getpid() == os.getpgrp())'], start_new_session=True))
    show(run([python, '-c', 'import os; print(os.getpid() == os.getpgrp())'], preexec_fn=os.setpgrp))
    if sys.version_info >= (3, 11):
        show(run([python, '-c', 'import os; print(os.getpid() == os.getpgrp())'], process_group=0))
    show(run([python, '-c', 'import os; print(os.umask(0))'], umask=0o27))
    show(run(['sh', '-c', 'echo preexec'], preexec_fn=lambda: os.write(1, b'from preexec_fn\n')))
    say(fails(run, ['true'], preexec_fn=lambda: 1 / 0))
    for what in (['./no-such-program'], ['/'], ['./not-executable']):
        say(what, fails(run, what), fails(run, what, preexec_fn=lambda: None), fails(run, what, close_fds=False))
    say(fails(run, ['true'], cwd='/no-such-directory'))
    for kill in 'kill', 'terminate':
        with subprocess.Popen(['sleep', '60']) as p:
            say(p.poll())
            getattr(p, kill)()
            say(p.wait())
    try:
        subprocess.run(['sh', '-c', 'echo before; exec sleep 60'], timeout=5, stdout=subprocess.PIPE)
    except subprocess.TimeoutExpired as e:
        say('timeout', e.stdout)
    a = subprocess.Popen(['seq', '1000'], stdout=subprocess.PIPE)
    b = subprocess.Popen(['tail', '-n', '1'], stdin=a.stdout, stdout=subprocess.PIPE)
    a.stdout.close()
    say(b.communicate()[0], a.wait())
    with subprocess.Popen(['cat'], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as p:
        say(len(p.communicate(b'x' * 1000000)[0]))
    say(os.system('exit 5') >> 8, os.popen('echo popen').read(), subprocess.getstatusoutput('echo got; exit 4'))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        say(list(pool.map(lambda i: subprocess.run(['sh', '-c', f'exit {i}']).returncode, range(64))))
        say(list(pool.map(lambda i: subprocess.run(['sh', '-c', f'exit {i}'], preexec_fn=lambda: None).returncode,
                          range(32))))
    os.close(r), os.close(w)


def square(n):
    return n * n


def add(queue, n):
    queue.put(n)
    sys.exit(n)


def processes():
    for method in 'fork', 'forkserver', 'spawn':
        context = multiprocessing.get_context(method)
        queue = context.Queue()
        children = [context.Process(target=add, args=(queue, n)) for n in range(4)]
        [p.start() for p in children]
        values = sorted(queue.get() for p in children)
        [p.join() for p in children]
        say(method, values, [p.exitcode for p in children])
        with context.Pool(3) as pool:
            say(sum(pool.map(square, range(100))))
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        say(sum(pool.map(square, range(100))))


def spawns():
    shell = lambda text: ('/bin/sh', ['sh', '-c', text], os.environ)
    say(status(os.posix_spawn(*shell('exit 9'))))
    say(status(os.posix_spawnp('sh', ['sh', '-c', 'exit 8'], os.environ)))
    actions = [(os.POSIX_SPAWN_OPEN, 1, 'spawned', os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644),
               (os.POSIX_SPAWN_DUP2, 1, 2),
               (os.POSIX_SPAWN_CLOSE, 0)]
    say(status(os.posix_spawn(*shell('echo out; echo err >&2; test -e /proc/self/fd/0; echo $?'),
                              file_actions=actions)))
    say(open('spawned').read())
    say(status(os.posix_spawn(*shell('test $(ps -o pgid= $$ 2>/dev/null || cut -d" " -f5 /proc/$$/stat) = $$'),
                              setpgroup=0)))
    say(status(os.posix_spawn(*shell('test $(cut -d" " -f6 /proc/$$/stat) = $$'), setsid=True)))
    say(status(os.posix_spawn(*shell('kill -s USR1 $$; exit 4'), setsigmask=[signal.SIGUSR1])))
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    say(status(os.posix_spawn(*shell('kill -s USR2 $$; exit 5'))),
        status(os.posix_spawn(*shell('kill -s USR2 $$; exit 5'), setsigdef=[signal.SIGUSR2])))
    for function in os.posix_spawn, os.posix_spawnp:
        for file in './no-such-program', '/', './not-executable', './no-interpreter', 'no-such-program':
            say(function.__name__, file, fails(function, file, ['x'], os.environ))
    say(fails(os.posix_spawn, *shell('true'), file_actions=[(os.POSIX_SPAWN_OPEN, 1, '/no/such/file', os.O_RDONLY, 0)]))
    say(fails(os.posix_spawn, *shell('true'), file_actions=[(os.POSIX_SPAWN_DUP2, 60, 1)]))
    say(fails(os.wait))
    for i in range(50):
        os.posix_spawn(*shell(f'exit {i}'))
    say(sum(os.waitstatus_to_exitcode(os.wait()[1]) for i in range(50)))


def read_all(fd):
    data = b''
    with contextlib.suppress(OSError):
        while chunk := os.read(fd, 1000):
            data += chunk
    os.close(fd)
    return data


def terminals():
    for function in pty.fork, os.forkpty:
        pid, fd = function()
        if pid == 0:
            terminal = os.isatty(0) and os.getsid(0) == os.getpid() == os.tcgetpgrp(0)
            os.write(1, f'{function.__name__} {terminal}\n'.encode())
            os._exit(6)
        data = read_all(fd)
        say(data, status(pid))
    pid, fd = pty.fork()
    if pid == 0:
        os.execvp('sh', ['sh', '-c',
                         'stty size >/dev/null && read line && echo "read: $line" && tty >/dev/null && exit 7'])
    os.write(fd, b'typed\n')
    say(b'read: typed' in read_all(fd), status(pid))


def forks_in_threads():
    stop = threading.Event()
    wrong = []

    def forker(number):
        for i in range(25):
            pid = os.fork()
            if pid == 0:
                # Locks of malloc and stdio must be usable, and nobody else be here.
                junk = [bytes(n) for n in range(100, 5000, 100)]
                os._exit(number + 1 if threading.active_count() == 1 and len(junk) == 49 else 100)
            if status(pid) != number + 1:
                wrong.append(number)

    def allocator():
        while not stop.is_set():
            [bytearray(n) for n in range(1000, 300000, 10000)]
            open('/dev/null').close()

    others = [threading.Thread(target=allocator) for n in range(2)]
    threads = [threading.Thread(target=forker, args=(n,)) for n in range(6)]
    [t.start() for t in others + threads]
    [t.join() for t in threads]
    stop.set()
    [t.join() for t in others]
    say('wrong:', wrong)


if __name__ == '__main__':
    for file, text in ('not-executable', 'exit 1'), ('no-interpreter', 'exit 11'):
        open(file, 'w').write(text)
    os.chmod('no-interpreter', 0o755)
    for part in forks, subprocesses, spawns, terminals, forks_in_threads, processes:
        say('---', part.__name__)
        part()
END
compare_with_and_without -l 100 -v recorded processes "$PYTHON" ../processes.py
must_have_records fork 400
must_have_records posix_spawn 60
must_have_records posix_spawnp 5

# Python's own tests. Two runs at a time, since most of them wait; the statuses of single tests are compared, so that
# one that fails or is skipped here anyway is no difference.
version=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
tests='test_fork1 test_wait3 test_wait4 test_popen test_pty test_os test_posix test_subprocess'
summary="own tests of python$version not run"
if ! "$PYTHON" -c 'import test.libregrtest, test.test_fork1' 2>/dev/null; then
	leave_out "libpython$version-testsuite is not installed"
	passed "python $version"
fi

own_tests()
{
	mkdir -p "own.$1" && cd "own.$1" || exit 1
	shift
	# shellcheck disable=SC2086
	exec timeout -k 5 600 "$@" "$PYTHON" -m test -v -u none $tests </dev/null >log 2>&1
}
rm -rf here
own_tests plain env TMPDIR="$temporary/own.plain" &
plain=$!
own_tests preloaded env TMPDIR="$temporary/own.preloaded" LD_PRELOAD="$preload" ODFORK_STATS="$temporary/own.stats" &
preloaded=$!
wait $plain
echo $? >own.plain.status
wait $preloaded
echo $? >own.preloaded.status

# "test_x (test.test_y.Class.test_x) ... ok", where more output may stand between the dots and the result.
results()
{
	"$PYTHON" - "own.$1/log" <<'END'
import re, sys
text = open(sys.argv[1], errors='replace').read()
test = re.compile(r'^(test\w* \([\w.]+\))')
result = re.compile(r'(?:^|\.\.\. )(ok|FAIL|ERROR|expected failure|unexpected success|skipped .*)$')
current, results = None, {}
for line in text.splitlines():
    if found := test.match(line):
        current = found[1]
        results.setdefault(current, 'no result')
    if current and (found := result.search(line)):
        results[current], current = found[1], None
for name in re.findall(r'^(?:FAIL|ERROR): (.*)$', text, re.M):
    results[name] = 'failed'
for name, found in sorted(results.items()):
    print(name, found)
END
}
for variant in plain preloaded; do
	results $variant >own.$variant.results
	read -r status <own.$variant.status
	case $status in
	0 | 2) ;;
	*) tail -n 30 own.$variant/log >&2; fail "own tests ($variant): ended with status $status" ;;
	esac
done
name="own tests"
must_have_records fork 20 own.stats
count=$(wc -l <own.plain.results)
[ "$count" -gt 300 ] || fail "own tests: only $count were found in the log"
must_be_same_again="exit status"

# Some of them allow a child a second or three, which it does not get on each machine. Those that came out differently
# are asked again, by themselves, until they have come out alike twice in a row.
if ! cmp -s own.plain.results own.preloaded.results; then
	must_be_same_again=
	sort own.plain.results own.preloaded.results | uniq -u | sed 's/ .*//' | sort -u >asked
	echo "asked again: $(tr '\n' ' ' <asked)"
	tests="$(sed 's/^/-m /' asked) $tests"
	alike=0
	for round in 1 2 3 4 5 6; do
		(own_tests plain env TMPDIR="$temporary/own.plain")
		(own_tests preloaded env TMPDIR="$temporary/own.preloaded" LD_PRELOAD="$preload")
		for variant in plain preloaded; do
			results $variant >again.$variant
			[ -s again.$variant ] || fail "own tests ($variant): asked again they are not found"
			awk 'NR == FNR { asked[$1]; next } !($1 in asked)' asked own.$variant.results |
				sort - again.$variant >merged.$variant
		done
		alike=$((alike + 1))
		cmp -s merged.plain merged.preloaded || alike=0
		[ $alike -lt 2 ] || break
	done
	for variant in plain preloaded; do
		mv merged.$variant own.$variant.results
	done
fi
cmp -s own.plain.results own.preloaded.results || grep -h -A 25 -E '^(FAIL|ERROR):' own.preloaded/log >&2
must_be_same "results of tests" own.plain.results own.preloaded.results
[ -z "$must_be_same_again" ] || must_be_same "exit status" own.plain.status own.preloaded.status
summary="$(grep -c ' ok$' own.plain.results) tests of its own passed, \
$(grep -c skipped own.plain.results) were skipped and \
$(grep -cE '(FAIL|ERROR|failed|no result)$' own.plain.results) failed both ways"

passed "python $version, $summary"
