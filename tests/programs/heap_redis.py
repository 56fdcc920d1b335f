# SPDX-License-Identifier: MIT
"""heap_redis.py SERVER LIBRARY ODFORK: Redis with its data in the heap, in the current directory. LIBRARY may be empty:
a control run.

A snapshot must contain the data at the moment of the fork, whatever the server does meanwhile. It is compared with a
digest that the server computes while writes are paused, and with a model of some keys, kept here; another server,
without the library, loads the file.

ODF_TEST_SCALE=N: N times the data (56 MiB), and N times as long. ODF_TEST_SEED: the random numbers."""
import contextlib
import glob
import os
import pwd
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback

import heap_records  # these two are beside this file
from redis_server import (Load, Loader, Model, Refused, Server, fill, is_keeper, lazy, library, mib, must, odfork,
                          quiet, running, scale, server_program, settling)

seed = int(os.environ.get("ODF_TEST_SEED", time.time_ns() % 1000000))
seconds = 2 * scale


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
    rounds = forks = meanwhile = 0
    # Of those that were over before the changes were there may be some, where others have most of the machine.
    while time.monotonic() < end or meanwhile < 4:
        must(rounds < 30, "of", rounds, "saves only", meanwhile, "lasted as long as the changes")
        model.change(300)
        with quiet(server):
            right, copy = server.digest(), model.copy()
            must(server.ask("bgsave") == b"Background saving started", "BGSAVE was refused")
        rounds += 1
        forks += 1
        # All this while the child reads its snapshot.
        model.change(200)
        control.many([("unlink", "bulk:0", "fixed:large:1", "fixed:hash:2"), ("setrange", "bulk:0", 6000000, "again"),
                      ("memory", "purge")])
        if rounds % 3 == 2:
            control("flushdb", "async")  # flushall would end the child
            model.forget()
            model.change(100)
            control("debug", "populate", 5000, "fixed", 400)
        meanwhile += server.information("persistence", "rdb_bgsave_in_progress") == "1"
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
        deadline = time.monotonic() + 120
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
            deadline = time.monotonic() + 300
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
            deadline = time.monotonic() + 300
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
        deadline = time.monotonic() + 300
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
            deadline = time.monotonic() + 300
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
