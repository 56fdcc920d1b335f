# SPDX-License-Identifier: MIT
"""What heap_redis.py and endurance_redis.py have in common: servers with the library and without, clients, loads, and a
model of what a server holds. The program's arguments: SERVER LIBRARY ODFORK; LIBRARY may be empty: a control run."""
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import heap_records  # it is beside this file

server_program, library, odfork = sys.argv[1:4]
scale = float(os.environ.get("ODF_TEST_SCALE", "1"))
settling = os.environ.get("ODF_TEST_SETTLING") != "no"  # see heap.sh
mib = int(56 * scale)
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
        deadline = time.monotonic() + 300
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

    def wait_for(self, section, field, value, limit=300):
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
        deadline = time.monotonic() + 300
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
        must(self.process.wait(300) == 0, "the server ended with status", self.process.returncode, self.log_end())
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


def is_keeper(pid):
    with open(f"/proc/{pid}/comm", encoding="ascii") as file:
        return file.read().startswith("odfork-keeper")
