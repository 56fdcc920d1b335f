# SPDX-License-Identifier: MIT
"""heap_python.py MIB [PART...]: CPython that holds much, in small objects (its own arenas) and in larger ones (malloc),
and makes processes in each of its ways. Every process checks what it sees of the data, and what it prints must be the
same whatever the memory is in."""
import concurrent.futures
import ctypes
import gc
import hashlib
import mmap
import multiprocessing
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
import zlib

warnings.simplefilter("ignore")  # newer versions warn of forks in programs with threads
mib = int(sys.argv[1])
fork = multiprocessing.get_context("fork")
records, blocks, index = [], [], {}


def say(*what):
    print(*what, flush=True)


def text(number):
    return "record %d of %x" % (number, number * 2654435761)


def block(number):
    return bytearray(random.Random(number).randbytes(97) * (30 + number % 3000))


def build():
    """Half of it in records of some small objects each, the other half in blocks of 3 to 300 KB."""
    for number in range(mib * 1024 * 1024 // 2 // 340):
        record = [number, text(number), {number: float(number)}]
        records.append(record)
        if number % 4 == 0:
            index[record[1]] = record
    size = 0
    while size < mib << 19:
        blocks.append(block(len(blocks)))
        size += len(blocks[-1])


def check_record(number):
    record = records[number]
    assert record[0] == number and record[1] == text(number) and record[2] == {number: float(number)}, record
    assert number % 4 != 0 or index[record[1]] is record


def check(seed=None):
    """Everything, or a sample."""
    if seed is None:
        for number in range(len(records)):
            check_record(number)
        for number, found in enumerate(blocks):
            assert found == block(number), number
    else:
        numbers = random.Random(seed)
        for _ in range(2000):
            check_record(numbers.randrange(len(records)))
        for _ in range(20):
            number = numbers.randrange(len(blocks))
            assert blocks[number] == block(number), number


def spoil(seed):
    """Changes and frees here and there. For a child, whose data nobody sees."""
    numbers = random.Random(seed)
    for _ in range(3000):
        number = numbers.randrange(len(records))
        records[number][1] = "spoilt"
        records[number][2][seed] = "x" * numbers.randrange(300)
    for _ in range(30):
        number = numbers.randrange(len(blocks))
        blocks[number][:] = b"spoilt" * 10
    del records[len(records) // 2:len(records) // 2 + 5000]


def status(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def in_child(function, *arguments):
    """os.fork; 0 if the function came to its end. Its traceback goes to standard error, where nothing is expected."""
    pid = os.fork()
    if pid == 0:
        try:
            function(*arguments)
            os._exit(0)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            sys.stderr.flush()
        os._exit(1)
    return pid


# ---- The parts ----

def forks():
    def child(number):
        check(number)
        spoil(number)
        if number == 3:
            gc.collect()  # writes to every object that it looks at
        if number % 5 == 4:  # a child's child, with what the child has spoilt
            inner = random.Random(number).randrange(len(blocks))
            blocks[inner] = bytearray(b"seen by my child")
            assert status(in_child(lambda: None if blocks[inner] == b"seen by my child" else 1 / 0)) == 0
        if number % 7 == 6:  # grows a lot itself, and forks then
            mine = [block(n + 5000) for n in range(400)]
            more = [[n, text(n)] for n in range(200000)]
            assert status(in_child(check_own, mine, more)) == 0
            mine[3][:] = b""

    def check_own(mine, more):
        assert all(mine[n] == block(n + 5000) for n in range(0, 400, 7))
        assert all(more[n] == [n, text(n)] for n in range(0, 200000, 11))
        mine[5][:] = b"mine"

    say("statuses", [status(in_child(child, number)) for number in range(10)])
    many = [in_child(child, number) for number in range(6)]
    check(99)
    for number in range(0, len(records), 97):  # while they run
        records[number].append("parent")
    say("at once", [status(pid) for pid in many])
    for number in range(0, len(records), 97):
        assert records[number].pop() == "parent"
    check(100)


def crc_of(part):
    data = zlib.crc32(pickle.dumps(records[part * 1000:part * 1000 + 1000]))
    return zlib.crc32(blocks[part % len(blocks)], data)


def add(counter, array, queue, number):
    for _ in range(500):
        with counter.get_lock():
            counter.value += number
    array[number] = number * number
    queue.put((number, crc_of(number)))
    sys.exit(number)


def pools():
    right = [crc_of(part) for part in range(60)]
    with fork.Pool(3, maxtasksperchild=7) as pool:
        assert pool.map(crc_of, range(60), chunksize=1) == right
        blocks[0][0] ^= 1  # workers made later see it, those made before do not: neither is an error of theirs
        blocks[0][0] ^= 1
        assert pool.map(crc_of, range(60)) == right
    with concurrent.futures.ProcessPoolExecutor(3, mp_context=fork) as pool:
        assert list(pool.map(crc_of, range(60))) == right
        failing = pool.submit(divmod, 1, 0)
        say("in a worker:", type(failing.exception()).__name__)
    counter, array, queue = fork.Value("l", 0), fork.Array("l", 10), fork.Queue()
    children = [fork.Process(target=add, args=(counter, array, queue, number)) for number in range(5)]
    for child in children:
        child.start()
    got = dict(queue.get() for _ in children)
    for child in children:
        child.join()
    assert got == {number: right[number] for number in range(5)}
    say("shared counter", counter.value, list(array), [child.exitcode for child in children])
    here, there = fork.Pipe()
    child = fork.Process(target=lambda: there.send([record for record in records[:100]]))
    child.start()
    assert here.recv() == records[:100]
    child.join()
    with fork.Manager() as manager:
        kept = manager.dict()
        children = [fork.Process(target=kept.__setitem__, args=(number, crc_of(number))) for number in range(3)]
        for child in children:
            child.start()
        for child in children:
            child.join()
        assert dict(kept) == {number: right[number] for number in range(3)}
    killed = fork.Process(target=time.sleep, args=(100,))
    killed.start()
    killed.kill()
    killed.join()
    say("killed", killed.exitcode)


def subprocesses():
    run = lambda *a, **k: subprocess.run(*a, capture_output=True, timeout=300, **k)
    for result in (run(["sh", "-c", "echo out; echo err >&2; exit 3"]),
                   run("echo $((1 + 2)) | cat && false", shell=True),
                   run(["cat"], input=b"text" * 3),
                   run(["sh", "-c", "echo preexec"], preexec_fn=lambda: os.write(1, b"from preexec_fn\n")),
                   run(["pwd"], cwd="/", start_new_session=True), run(["sh", "-c", "kill -9 $$"])):
        say(result.returncode, result.stdout, result.stderr)
    assert run(["cat"], input=bytes(blocks[7]) * 20).stdout == bytes(blocks[7]) * 20
    say(hashlib.sha256(run([sys.executable, "-c", "print('x' * 10 ** 7)"]).stdout).hexdigest())
    try:
        run(["./no-such-program"])
    except FileNotFoundError as error:
        say(error.strerror)
    try:
        run(["true"], preexec_fn=lambda: 1 / 0)
    except subprocess.SubprocessError as error:
        say(error)
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        say(sum(pool.map(lambda number: run(["sh", "-c", f"exit {number}"]).returncode, range(30))),
            sum(pool.map(lambda number: run(["sh", "-c", f"exit {number}"], preexec_fn=lambda: None).returncode,
                         range(12))))
    say(os.system("exit 5") >> 8, os.popen("echo popen").read(),
        status(os.posix_spawnp("sh", ["sh", "-c", "exit 8"], os.environ)))


def mappings():
    """Anonymous memory of its own: shared is shared with children, private is not; given back, it reads as zeros."""
    shared, private = mmap.mmap(-1, 1 << 22), mmap.mmap(-1, 1 << 25, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    shared[5], private[5], private[1 << 24] = 1, 1, 7

    def child():
        assert (shared[5], private[5], private[1 << 24]) == (1, 1, 7)
        shared[5], private[5] = 2, 2
        private.madvise(mmap.MADV_DONTNEED, 1 << 24, 1 << 20)
        assert private[1 << 24] == 0 and private[5] == 2
        private.close()

    assert status(in_child(child)) == 0
    say(shared[5], private[5], private[1 << 24])
    private.madvise(mmap.MADV_DONTNEED, 0, 1 << 20)
    say(private[5], private[1 << 24])
    private.resize(1 << 26)
    private[(1 << 26) - 1] = 9
    assert status(in_child(lambda: None if private[1 << 24] == 7 and private[(1 << 26) - 1] == 9
                           and private[1 << 25] == 0 else 1 / 0)) == 0
    private.resize(1 << 20)
    private.close()
    shared.close()


def collector():
    gc.collect()
    gc.freeze()
    say("frozen", gc.get_freeze_count() > len(records))

    def child():
        gc.collect()
        check(3)
        gc.unfreeze()
        spoil(3)

    say([status(in_child(child)) for _ in range(3)])
    gc.unfreeze()
    # Given back, and taken again.
    kept = len(blocks)
    more = [bytearray(number % 7 * 100000 + 10) for number in range(200)]
    del more[::2]
    ctypes.CDLL(None).malloc_trim(0)
    blocks.sort(key=bytes)
    blocks.sort(key=lambda found: (len(found), bytes(found[:97])))
    assert len(blocks) == kept and status(in_child(gc.collect)) == 0
    blocks[:] = [block(number) for number in range(kept)]
    check(4)


def threads():
    """Threads write all the time, while the first one forks."""
    stop, wrong = threading.Event(), []

    def worker(seed):
        numbers = random.Random(seed)
        own = {}
        while not stop.is_set():
            for _ in range(50):
                number = numbers.randrange(300)
                if number in own and own[number] != bytes([number % 256]) * (10 + number * 97):
                    wrong.append(number)
                own[number] = bytearray([number % 256]) * (10 + number * 97)
                own.pop(numbers.randrange(300), None)
            time.sleep(0.002)

    def child(number):
        # Of the other threads nothing is here but their memory.
        check(number)
        spoil(number)
        assert threading.active_count() == 1

    workers = [threading.Thread(target=worker, args=(number,)) for number in range(3)]
    for each in workers:
        each.start()
    statuses = []
    for number in range(10):
        statuses.append(status(in_child(child, number)))
        records[number][1] = records[number][1][:]
        time.sleep(0.01)
    stop.set()
    for each in workers:
        each.join()
    say("statuses", statuses, "wrong", wrong)
    check(5)


def signals():
    """Forks in a handler; and signals while forks are made."""
    statuses, got = [], []

    def handler(*_):
        statuses.append(status(in_child(check, 6)))
        if len(statuses) < 5:
            signal.setitimer(signal.ITIMER_REAL, 0.01)

    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    while len(statuses) < 5:
        check(7)
    say("in a handler", statuses)
    signal.signal(signal.SIGALRM, lambda *_: got.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
    statuses = [status(in_child(check, 8)) for _ in range(5)]
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    say("interrupted", statuses, len(got) > 0)


def arrays():
    """numpy: large arrays, in place in children, grown, and given to a pool."""
    import numpy
    numbers = numpy.random.default_rng(1)
    large = numbers.integers(0, 1 << 40, size=(mib << 20) // 8 // 4)
    right = int(large.sum() & 0xffffffff)
    matrix = numbers.random((300, 300))
    product = matrix @ matrix

    def child(number):
        assert int(large.sum() & 0xffffffff) == right
        large[:] = number
        large.sort()
        more = numpy.concatenate([large, large])
        assert int(more.sum()) == number * 2 * len(large)
        assert numpy.array_equal(matrix @ matrix, product)

    say([status(in_child(child, number)) for number in range(5)])
    many = [in_child(child, number) for number in range(2)]
    large += 1
    large -= 1
    say([status(pid) for pid in many], int(large.sum() & 0xffffffff) == right, right)
    large.resize(len(large) * 2, refcheck=False)
    say(int(large.sum() & 0xffffffff) == right,
        status(in_child(lambda: None if int(large[len(large) // 2:].sum()) == 0 else 1 / 0)))
    global part_of
    part_of = lambda part: float(numpy.sqrt(large[part * 100000:(part + 1) * 100000]).sum())
    with fork.Pool(2) as pool:
        say(sum(pool.map(sum_of, range(20))) == sum(sum_of(part) for part in range(20)))


def sum_of(part):
    return part_of(part)


build()
check()
parts = {part.__name__: part for part in (forks, pools, subprocesses, mappings, collector, threads, signals, arrays)}
for name in sys.argv[2:] or parts:
    say("---", name)
    begun = time.monotonic()
    parts[name]()
    if "HEAP_PYTHON_TIMES" in os.environ:
        print(name, "%.2f" % (time.monotonic() - begun), file=sys.stderr)
check()
say("the data are as they were:", len(records), len(blocks))
