# SPDX-License-Identifier: MIT
"""heap_redis.py SERVER LIBRARY ODFORK: Redis with its data in the heap, in the current directory. LIBRARY may be empty:
a control run.

A snapshot must be the data at the moment of the fork, whatever the server does meanwhile. Three things say what that
is: a digest that the server computed while writing was paused; a model of some keys, kept here; and another server,
without the library, that loads the file.

ODF_TEST_SCALE=N: N times the data (56 MiB), and N times as long. ODF_TEST_SEED: the random numbers."""
import contextlib
import glob
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import heap_records  # noqa: E402 (it is beside this file)

server_program, library, odfork = sys.argv[1:4]
scale = float(os.environ.get("ODF_TEST_SCALE", "1"))
seed = int(os.environ.get("ODF_TEST_SEED", time.time_ns() % 1000000))
settling = os.environ.get("ODF_TEST_SETTLING") != "no"  # see heap.sh
mib = int(56 * scale)
seconds = 2 * scale
lazy = [word for what in ("eviction", "expire", "server-del", "user-del", "user-flush")
        for word in ("--lazyfree-lazy-" + what, "yes")]


class Failure(Exception):
    pass


class Refused(Exception):
    """The server's answer was an error."""


def must(condition, *what):
    if not condition:
        raise Failure(" ".join(str(word) for word in what))


class Client:
    """A connection. All bytes: keys, values and answers."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(120)
        self.socket.connect(path)
        self.file = self.socket.makefile("rb", 1 << 16)

    def close(self):
        self.file.close()
        self.socket.close()

    @staticmethod
    def _encoded(words):
        words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)

    def _answer(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the server is gone")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest
        if kind == b"-":
            return Refused(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            if rest == b"-1":
                return None
            data = self.file.read(int(rest) + 2)
            if len(data) != int(rest) + 2:
                raise ConnectionError("the server is gone")
            return data[:-2]
        if kind == b"*":
            return None if rest == b"-1" else [self._answer() for _ in range(int(rest))]
        raise Failure(f"not understood: {line}")

    def __call__(self, *words):
        answer, = self.many([words])
        return answer

    def many(self, commands):
        self.socket.sendall(b"".join(map(self._encoded, commands)))
        answers = [self._answer() for _ in commands]
        for answer in answers:
            if isinstance(answer, Refused):
                raise answer
        return answers


class Server:
    """A server of its own directory. Under the library unless it says otherwise, and then with the heap as users have
    it: it wakes by growth; or awake from the start."""

    def __init__(self, name, *options, under=True, awake=False, before=(), user=None):
        self.directory, self.socket = name, name + "/s"
        self.under = under and bool(library)
        self.awake = awake
        self.filled = 0  # MiB
        self.log = name + "/log"
        self.stats = name + "/stats"
        os.makedirs(name, exist_ok=True)
        if user:
            shutil.chown(name, user)
        environment = dict(os.environ)
        environment.pop("LD_PRELOAD", None)
        if self.under and not before:
            environment.update(LD_PRELOAD=library, ODFORK_STATS=os.path.abspath(self.stats))
        if self.under and awake:
            environment["ODFORK_HEAP"] = "on"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.socket)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([*before, server_program, "--port", "0", "--unixsocket", "s", "--save", "",
                                             "--daemonize", "no",
                                             "--enable-debug-command", "local", "--rdbcompression", "no",
                                             "--proto-max-bulk-len", "512mb",
                                             "--repl-diskless-sync-delay", "0", *options],
                                            cwd=name, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
                                            start_new_session=True)
        running.append(self)
        deadline = time.monotonic() + 60
        while True:
            try:
                self.ask = Client(self.socket)
                if self.ask("ping") == b"PONG":
                    break
            except (Refused, OSError):
                pass
            must(self.process.poll() is None, "the server ended:", self.log_end())
            must(time.monotonic() < deadline, "the server does not answer:", self.log_end())
            time.sleep(0.01)
        self.pid = self.process.pid

    def log_end(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()[-3000:]

    def client(self):
        return Client(self.socket)

    def information(self, section, field):
        for line in self.ask("info", section).decode().splitlines():
            if line.startswith(field + ":"):
                return line.partition(":")[2]
        raise Failure(f"no {field} in INFO {section}")

    def wait_for(self, section, field, value, limit=60):
        deadline = time.monotonic() + limit
        while self.information(section, field) != value:
            must(time.monotonic() < deadline, field, "is", self.information(section, field), "and not", value)
            time.sleep(0.01)

    def still_digest(self):
        """After a load that has been stopped: what it has sent may not all have been carried out."""
        before, now = None, self.digest()
        while now != before:
            before, now = now, self.digest()
        return now

    def digest(self):
        return self.ask("debug", "digest")

    def forks(self):
        return heap_records.forks(self.stats, self.pid) if os.path.exists(self.stats) else []

    def fork_in_region(self, count):
        """The last of `count` forks had most of the data in regions. The records are written after the child has gone
        its way."""
        if not self.under:
            return
        deadline = time.monotonic() + 10
        while len(self.forks()) < count and time.monotonic() < deadline:
            time.sleep(0.01)
        found = self.forks()
        must(len(found) == count, len(found), "forks are recorded, not", count)
        if not settling and (count > 1 or not self.awake):
            return
        must(found[-1]["strategy"] == "region" and found[-1]["error"] == 0, "the fork was not one with regions:",
             found[-1])
        held = found[-1]["region_bytes"] >> 20
        # What was there before the heap woke is not in it: 16 MiB, and what allocators take in advance.
        must(held >= (self.filled * 0.8 if self.awake else self.filled - 32), "only", held, "MiB of", self.filled,
             "MiB were in regions")

    def stop(self):
        with contextlib.suppress(ConnectionError, Refused):
            self.ask("shutdown", "nosave", "now")
        must(self.process.wait(60) == 0, "the server ended with status", self.process.returncode, self.log_end())
        running.remove(self)
        log = self.log_end().lower()
        must("bug report" not in log and "crashed" not in log and "odfork:" not in log, "in the server's log:", log)

    def kill(self, children=True):
        """As a power cut would end it: at once. With its children or without."""
        if children:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        running.remove(self)


running = []  # servers and loads, to be ended whatever comes


class Load:
    """redis-benchmark, some at a time, writing commands that give other data when they are carried out twice."""

    commands = (("set", "key:__rand_int__", "x" * 400), ("append", "key:__rand_int__", "tail"),
                ("lpush", "list:__rand_int__", "element of a list"),
                ("hincrby", "hash:__rand_int__", "field:__rand_int__", "3"), ("unlink", "list:__rand_int__"))

    def __init__(self, server, clients=2):
        environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
        self.processes = [subprocess.Popen(["redis-benchmark", "-s", server.socket, "-n", "1000000000", "-r", "20000",
                                            "-c", str(clients), "-q", *command],
                                           stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                           stderr=subprocess.DEVNULL, env=environment)
                          for command in self.commands]
        running.append(self)

    def stop(self):
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()
        running.remove(self)

    def kill(self):
        self.stop()


class Model:
    """Keys that only this test writes, in every kind, and what they must be."""

    def __init__(self, random_numbers, ask):
        self.random, self.ask = random_numbers, ask
        self.strings, self.hashes, self.lists = {}, {}, {}

    def change(self, count):
        commands = []
        for _ in range(count):
            number = self.random.randrange(300)
            what = self.random.randrange(8)
            data = self.random.randbytes(self.random.choice((8, 60, 500, 3000, 30000)))
            if what <= 1:
                self.strings[number] = data
                commands.append(("set", f"own:string:{number}", data))
            elif what == 2:
                self.strings[number] = self.strings.get(number, b"") + data
                commands.append(("append", f"own:string:{number}", data))
            elif what == 3:
                self.strings.pop(number, None)
                commands.append((self.random.choice(("del", "unlink")), f"own:string:{number}"))
            elif what == 4:
                self.hashes.setdefault(number, {})[data[:8]] = data
                commands.append(("hset", f"own:hash:{number}", data[:8], data))
            elif what == 5:
                self.hashes.pop(number, None)
                commands.append((self.random.choice(("del", "unlink")), f"own:hash:{number}"))
            elif what == 6:
                self.lists.setdefault(number, []).append(data)
                commands.append(("rpush", f"own:list:{number}", data))
            elif self.lists.get(number):
                self.lists[number].pop(0)
                commands.append(("lpop", f"own:list:{number}"))
        self.ask.many(commands)

    def forget(self):
        self.strings, self.hashes, self.lists = {}, {}, {}

    def copy(self):
        return (dict(self.strings), {key: dict(value) for key, value in self.hashes.items()},
                {key: list(value) for key, value in self.lists.items()})

    @staticmethod
    def check(copy, ask):
        strings, hashes, lists = copy
        numbers = range(300)
        for number, value in zip(numbers, ask.many([("get", f"own:string:{number}") for number in numbers])):
            must(value == strings.get(number), "own:string:%d is wrong" % number)
        for number, value in zip(numbers, ask.many([("hgetall", f"own:hash:{number}") for number in numbers])):
            must(dict(zip(value[::2], value[1::2])) == hashes.get(number, {}), "own:hash:%d is wrong" % number)
        for number, value in zip(numbers, ask.many([("lrange", f"own:list:{number}", 0, -1) for number in numbers])):
            must(value == lists.get(number, []), "own:list:%d is wrong" % number)


def fill(server, size=None):
    """Something of every kind, most of it in small objects."""
    server.filled = size or mib
    ask, target = server.ask, int(server.filled * 1048576)
    ask.many([("rpush", f"fixed:list:{number}", *(f"element {number} {index}" for index in range(200)))
              for number in range(50)] +
             [("zadd", f"fixed:sorted:{number}",
               *(word for index in range(200) for word in (index * 7 % 200, f"member {index}")))
               for number in range(50)] +
             [("hset", f"fixed:hash:{number}", *(f"{number} {index}" for index in range(400)))
              for number in range(50)] +
             [("sadd", f"fixed:set:{number}", *range(number, number + 300)) for number in range(50)] +
             [("set", f"fixed:large:{number}", bytes([number]) * 1000000) for number in range(10)] +
             [("xadd", "fixed:stream", f"1-{number + 1}", "field", number) for number in range(2000)])
    count = 0
    while (missing := target - int(server.information("memory", "used_memory"))) > 0:
        count += missing // 500 + 1000
        ask("debug", "populate", count, "fixed", 400)
    if server.information("persistence", "aof_enabled") == "1":  # populate leaves no trace in the log
        ask("bgrewriteaof")
        server.wait_for("persistence", "aof_rewrite_in_progress", "0")
    # What is bound to be given back in one piece, and taken again.
    ask.many([("setrange", f"bulk:{number}", 4000000, "end") for number in range(4)])


@contextlib.contextmanager
def quiet(server):
    """Nobody writes meanwhile; and what was acknowledged is in the log."""
    server.ask("client", "pause", 100000, "write")
    try:
        server.ask("ping")
        yield
    finally:
        server.ask("client", "unpause")


class Loader:
    """A server without the library, which loads the files that others have written."""

    def __init__(self):
        self.server = Server("loader", under=False)

    def digest_of(self, path):
        with contextlib.suppress(FileNotFoundError):
            os.unlink("loader/dump.rdb")
        shutil.copy(path, "loader/dump.rdb")
        self.server.ask("debug", "reload", "nosave")
        return self.server.digest()


def reload(name, digest, *options):
    """A server without the library finds that data in a directory that another one has left."""
    server = Server(name, *options, under=False)
    found = server.digest()
    server.stop()
    must(found == digest, "reloaded without the library, the data have another digest")


def defragmentation(server):
    try:
        server.ask("config", "set", "activedefrag", "yes")
    except Refused:
        return False
    for name, value in (("active-defrag-ignore-bytes", "1mb"), ("active-defrag-threshold-lower", "1"),
                        ("active-defrag-cycle-min", "20"),
                        ("active-defrag-cycle-max", "60")):
        server.ask("config", "set", name, value)
    return True


# ---- The checks ----

def snapshots():
    """BGSAVE again and again under load; lazy freeing, io-threads, defragmentation where the build has it, memory given
    back to the kernel."""
    random_numbers = random.Random(seed)
    server = Server("main", "--io-threads", "2", "--io-threads-do-reads", "yes", *lazy)
    defragments = defragmentation(server)
    fill(server)
    # At every 15th key a sleep, so that much happens meanwhile.
    server.ask("config", "set", "rdb-key-save-delay", "-15")
    loader = Loader()
    model = Model(random_numbers, server.client())
    load = Load(server)
    control = server.client()
    end = time.monotonic() + seconds
    rounds = forks = 0
    while time.monotonic() < end or rounds < 4:
        model.change(300)
        with quiet(server):
            right, copy = server.digest(), model.copy()
            must(server.ask("bgsave") == b"Background saving started", "BGSAVE was refused")
        rounds += 1
        forks += 1
        must(server.information("persistence", "rdb_bgsave_in_progress") == "1",
             "the save took no time, so nothing could change meanwhile")
        # All this while the child reads its snapshot.
        model.change(200)
        control.many([("unlink", "bulk:0", "fixed:large:1", "fixed:hash:2"), ("setrange", "bulk:0", 6000000, "again"),
                      ("memory", "purge")])
        if rounds % 3 == 2:
            control("flushdb", "async")  # flushall would end the child
            model.forget()
            model.change(100)
            control("debug", "populate", 5000, "fixed", 400)
        must(server.information("persistence", "rdb_bgsave_in_progress") == "1",
             "the save was over before the changes were")
        server.wait_for("persistence", "rdb_bgsave_in_progress", "0")
        must(server.information("persistence", "rdb_last_bgsave_status") == "ok", "BGSAVE failed:", server.log_end())
        server.fork_in_region(forks)
        must(loader.digest_of("main/dump.rdb") == right, "snapshot", rounds,
             "is not of the moment of the fork: its digest is another one")
        Model.check(copy, loader.server.ask)
        if rounds % 3 == 2:
            server.ask("bgsave")
            time.sleep(random_numbers.random() * 0.1)
            server.ask("flushall", "async")
            model.forget()
            server.wait_for("persistence", "rdb_bgsave_in_progress", "0")
            fill(server)
            forks += 1
    load.stop()
    Model.check(model.copy(), server.ask)
    right = server.still_digest()
    server.ask("save")  # no fork
    must(loader.digest_of("main/dump.rdb") == right, "what the server itself saved has another digest")
    must(int(server.information("memory", "lazyfreed_objects")) > 0, "nothing was freed lazily")
    must(int(server.information("stats", "io_threaded_writes_processed")) > 0, "no io-thread did anything")
    if defragments:
        deadline = time.monotonic() + 20
        while int(server.information("stats", "active_defrag_hits")) == 0 and time.monotonic() < deadline:
            time.sleep(0.1)
        must(int(server.information("stats", "active_defrag_hits")) > 0, "nothing was defragmented")
    if server.under:
        must(not settling or heap_records.resident_mib(server.pid) >= mib * 0.4, "little is in regions:",
             heap_records.mappings(server.pid))
    say_held(server)
    server.stop()
    loader.server.stop()
    say(rounds, "snapshots,", "defragmented" if defragments
        else "this build cannot defragment (its jemalloc is not Redis's)")


def rewrites():
    """BGREWRITEAOF under load, its base as a snapshot and as commands. The log carries out what came after the fork on
    top of the base, so a base that is not of that moment gives other data."""
    for preamble in "yes", "no":
        name = "log-" + preamble
        options = ("--appendonly", "yes", "--appendfsync", "no", "--aof-use-rdb-preamble", preamble,
                   "--auto-aof-rewrite-percentage", "0", *lazy)
        server = Server(name, *options, awake=True)
        fill(server, mib / 3)
        load = Load(server, clients=1)
        model = Model(random.Random(seed + 1), server.client())
        before = len(server.forks())
        for rewrite in range(1, 3):
            model.change(200)
            must(b"started" in server.ask("bgrewriteaof"), "BGREWRITEAOF was refused")
            if rewrite == 2:
                server.ask("flushall", "async")
                model.forget()
            while server.information("persistence", "aof_rewrite_in_progress") == "1":
                model.change(20)
            must(server.information("persistence", "aof_last_bgrewrite_status") == "ok", "BGREWRITEAOF failed:",
                 server.log_end())
            server.fork_in_region(before + rewrite)
        load.stop()
        right = server.still_digest()
        server.stop()
        again = Server(name, *options, under=False)
        must(again.digest() == right, "the rewritten log gives other data: preamble", preamble)
        Model.check(model.copy(), again.ask)
        again.stop()


def replicas():
    """A replica's first synchronisation is a snapshot as well: through a file, and straight into its socket. Both
    servers are under the library."""
    for diskless, load_how in (("no", "disabled"), ("yes", "swapdb")):
        name = "master-" + diskless
        # A master listens on no port here: the replica comes by a go-between from a port to its socket.
        with Bridge(name + "/s") as port:
            # What is written while a large snapshot is on its way would be too much to keep, and the replica would have
            # to ask again.
            limit = ("--client-output-buffer-limit", "replica 0 0 0")
            master = Server(name, "--repl-diskless-sync", diskless, *limit, *lazy, awake=True)
            fill(master, mib / 3)
            model = Model(random.Random(seed + 2), master.client())
            load = Load(master, clients=1)
            replica = Server("replica-" + diskless, "--repl-diskless-load", load_how, *lazy, awake=True)
            fill(replica, mib / 4)  # to be thrown away
            replica.ask("replicaof", "127.0.0.1", port)
            deadline = time.monotonic() + 60
            while replica.information("replication", "master_link_status") != "up":
                model.change(20)
                must(time.monotonic() < deadline, "the replica has not come:", replica.log_end())
            master.fork_in_region(1)
            # A snapshot of the replica's own, while its master goes on writing.
            must(replica.ask("bgsave") == b"Background saving started", "BGSAVE was refused")
            model.change(200)
            replica.wait_for("persistence", "rdb_bgsave_in_progress", "0")
            must(replica.information("persistence", "rdb_last_bgsave_status") == "ok", "BGSAVE failed")
            replica.fork_in_region(1)
            load.stop()
            master.still_digest()
            deadline = time.monotonic() + 60
            while master.information("replication",
                                     "master_repl_offset") != replica.information("replication", "master_repl_offset"):
                must(time.monotonic() < deadline, "the replica does not catch up")
                time.sleep(0.05)
            must(master.digest() == replica.digest(), "the replica has other data, diskless", diskless)
            Model.check(model.copy(), replica.ask)
            replica.stop()
            master.stop()


class Bridge:
    """Connections to a port of the loopback address go on to a socket with a name."""

    def __init__(self, path):
        self.path, self.open = path, []

    def __enter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self.accept, daemon=True).start()
        return self.listener.getsockname()[1]

    def __exit__(self, *_):
        for each in [self.listener, *self.open]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                one, other = self.listener.accept()[0], socket.socket(socket.AF_UNIX)
                other.connect(self.path)
                self.open += [one, other]
                threading.Thread(target=self.copy, args=(one, other), daemon=True).start()
                threading.Thread(target=self.copy, args=(other, one), daemon=True).start()

    @staticmethod
    def copy(source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


def killed_while_rewriting():
    """kill -9 at random moments of a save or a rewrite. With appendfsync always, what was acknowledged must be there
    when the log is loaded."""
    random_numbers = random.Random(seed + 3)
    options = ("--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0", *lazy)
    acknowledged, sent, stop = {}, {}, threading.Event()

    def write(server, writer):
        with contextlib.suppress(ConnectionError, OSError):
            ask = server.client()
            while not stop.is_set():
                value = sent.get(writer, 0) + 1
                sent[writer] = value
                must(ask("incr", f"writer:{writer}") == value, "a writer counts otherwise")
                must(ask("rpush", f"history:{writer}", value) == value, "a writer's history is of another length")
                acknowledged[writer] = value

    forked = 0
    rounds = max(4, int(3 * scale))
    for number in range(rounds):
        server = Server("killed", *options, under=number % 2 == 0, awake=True)
        if number == 0:
            fill(server, mib / 4)
        stop.clear()
        writers = [threading.Thread(target=write, args=(server, writer)) for writer in range(4)]
        for writer in writers:
            writer.start()
        forks_before = len(server.forks())
        time.sleep(random_numbers.random() * 0.1)
        server.ask("config", "set", "rdb-key-save-delay", "10")  # so that most moments are in the middle of it
        server.ask("bgrewriteaof" if number % 4 < 2 else "bgsave")
        if random_numbers.random() < 0.5:
            # The child only: the server says so and goes on.
            time.sleep(random_numbers.random() * 0.1)
            for child in children_of(server.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            server.wait_for("persistence", "aof_rewrite_in_progress", "0")
            server.wait_for("persistence", "rdb_bgsave_in_progress", "0")
            server.ask("bgrewriteaof")
        time.sleep(random_numbers.random() * 0.5)
        if server.under:
            must(len(server.forks()) > forks_before, "no fork")
            last = server.forks()[-1]
            must(last["strategy"] == "region" and last["region_bytes"] > mib << 17,
                 "the fork was not one with regions:", last)
            forked += 1
        stop_at_kill = acknowledged.copy()  # acknowledged before the kill, for sure
        server.kill(children=random_numbers.random() < 0.7)
        stop.set()
        for writer in writers:
            writer.join()
        left = children_of_group(server.pid)
        deadline = time.monotonic() + 60
        while left and time.monotonic() < deadline:  # a child that outlived its server goes on to its end
            time.sleep(0.05)
            left = children_of_group(server.pid)
        must(not left, "a child of the killed server does not end")
        again = Server("killed", *options, under=number % 2 == 1, awake=True)
        for writer in range(4):
            found = int(again.ask("get", f"writer:{writer}") or 0)
            history = [int(value) for value in again.ask("lrange", f"history:{writer}", 0, -1)]
            must(stop_at_kill.get(writer, 0) <= acknowledged.get(writer, 0) <= found <= sent.get(writer, 0),
                 "acknowledged:", acknowledged.get(writer),
                 "found:", found, "sent:", sent.get(writer))
            must(history == list(range(1, len(history) + 1)) and len(history) in (found, found - 1),
                 "the history of a writer has holes")
            must(len(history) >= acknowledged.get(writer, 0), "a part of the history of a writer is missing")
            # The next round goes on from what is there.
            if len(history) < found:
                again.ask("rpush", f"history:{writer}", found)
            sent[writer] = acknowledged[writer] = found
        must(again.ask("exists", "fixed:100", "fixed:stream") == 2, "what was there before is gone")
        again.stop()
    say(rounds, "times killed,", forked, "with regions;", sum(acknowledged.values()), "acknowledged writes found again")


def is_keeper(pid):
    with open(f"/proc/{pid}/comm", encoding="ascii") as file:
        return file.read().startswith("odfork-keeper")


def children_of(pid):
    """The server's own: the library's keeper is none that the server has made, or could wait for."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [child for child in map(int, file.read().split()) if not is_keeper(child)]
    return []


def children_of_group(group):
    found = []
    for path in glob.glob("/proc/[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            with open(path, encoding="utf-8", errors="replace") as file:
                pid, rest = path.split("/")[2], file.read().rpartition(")")[2].split()
                if rest[0] != "Z" and int(rest[2]) == group:
                    found.append(int(pid))
    return found


def killed_while_saving():
    """kill -9 at random moments of a BGSAVE: the file is the last good snapshot, or the one that was being written,
    whole."""
    random_numbers = random.Random(seed + 4)
    loader = Loader()
    good, kinds, saved = None, set(), 0
    for _ in range(max(3, int(3 * scale))):
        if good is None:
            server = Server("cut", *lazy, awake=True)
            fill(server, mib / 3)
        else:
            server = Server("cut", *lazy, awake=True)
            must(server.digest() == good, "reloaded under the library, the last good snapshot has another digest")
        load = Load(server, clients=1)
        # One save to its end, then one that is cut off.
        with quiet(server):
            good = server.digest()
            server.ask("bgsave")
        server.wait_for("persistence", "rdb_bgsave_in_progress", "0")
        must(server.information("persistence", "rdb_last_bgsave_status") == "ok", "BGSAVE failed")
        server.fork_in_region(len(server.forks()))
        took = time.monotonic()
        with quiet(server):
            begun = server.digest()
            server.ask("bgsave")
        took = time.monotonic() - took
        time.sleep(random_numbers.random() * (0.3 + took))
        server.kill()
        load.stop()
        found = loader.digest_of("cut/dump.rdb")
        must(found in (good, begun), "the file is neither the last good snapshot nor the new one")
        kinds.add("the last good one" if found == good else "the new one")
        saved += 1
        good = found
        for left in glob.glob("cut/temp-*.rdb"):
            os.unlink(left)
    loader.server.stop()
    say(saved, "times killed, and then the snapshot was", " or ".join(sorted(kinds)))


def unprivileged():
    """odfork run --user: the server is nobody's, and its keeper still settles while it runs."""
    before = [odfork, "run", "--user", "nobody", "--stats", os.path.abspath("service/stats"), "--"]
    if not library:
        before = ["setpriv", "--reuid=nobody", "--clear-groups"]
    server = Server("service", *lazy, before=before, user="nobody", awake=True)
    must(os.stat(f"/proc/{server.pid}").st_uid == pwd.getpwnam("nobody").pw_uid, "the server is not nobody's")
    fill(server, mib / 3)
    loader = Loader()
    model = Model(random.Random(seed + 5), server.client())
    load = Load(server, clients=1)
    end = time.monotonic() + seconds / 2
    rounds = settled = 0
    while time.monotonic() < end or rounds < 3:
        model.change(200)
        with quiet(server):
            right, copy = server.digest(), model.copy()
            server.ask("bgsave")
        rounds += 1
        model.change(200)
        server.wait_for("persistence", "rdb_bgsave_in_progress", "0")
        must(server.information("persistence", "rdb_last_bgsave_status") == "ok", "BGSAVE failed:", server.log_end())
        server.fork_in_region(rounds)
        must(loader.digest_of("service/dump.rdb") == right, "snapshot", rounds, "is not of the moment of the fork")
        Model.check(copy, loader.server.ask)
        if server.under:
            deadline = time.monotonic() + 30
            while not heap_records.is_live(server.pid):
                must(time.monotonic() < deadline, "nothing settles:", heap_records.mappings(server.pid))
                time.sleep(0.02)
            settled += 1
    load.stop()
    Model.check(model.copy(), server.ask)
    say_held(server)
    server.stop()
    loader.server.stop()
    say(rounds, "snapshots,", settled, "times settled while it went on writing")


# ---- TAP ----

def say(*what):
    print("#", *what, flush=True)


def say_held(server):
    if held := sorted(record["held_us"] for record in server.forks()):
        say(len(held), "forks, held", held[len(held) // 2], "us (median),", held[-1], "us (worst), regions of",
            max(record["region_bytes"] for record in server.forks()) >> 20, "MiB")


def main():
    checks = (snapshots, rewrites, replicas, killed_while_rewriting, killed_while_saving, unprivileged)
    wanted = os.environ.get("ODF_TEST_ONLY", "").split()
    print(f"1..{len(checks)}")
    say("seed", seed, "scale", scale, subprocess.run([server_program, "--version"], capture_output=True, text=True,
                                                     check=True).stdout.strip())
    failed = 0
    for number, function in enumerate(checks, 1):
        name = function.__name__.replace("_", " ")
        if wanted and function.__name__ not in wanted:
            print(f"ok {number} - {name} # SKIP not asked for", flush=True)
            continue
        if function is unprivileged and os.getuid() != 0:
            print(f"ok {number} - {name} # SKIP needs root, to become another user", flush=True)
            continue
        begun = time.monotonic()
        try:
            function()
            print(f"ok {number} - {name}", flush=True)
            say("%.1f s" % (time.monotonic() - begun))
        except Exception:
            failed += 1
            print(f"not ok {number} - {name}", flush=True)
            for line in traceback.format_exc().splitlines():
                say(" ", line)
            for each in running:
                if isinstance(each, Server):
                    say("  log of", each.directory, "(status %s):" % each.process.poll())
                    for line in each.log_end().splitlines()[-15:]:
                        say("   ", line)
        finally:
            for each in list(running):
                each.kill()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
