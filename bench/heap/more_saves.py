# SPDX-License-Identifier: MIT
"""Redis: five saves under writes, each right after the last; and the memory that a save of large values takes, in which
the child releases the values that it has saved."""
import contextlib
import os
import threading
import time

from pairs import VARIANTS, Failed, Redis, median, say, write_table
from saves import VALUE, load_options, requests_of

# ---- Five saves ------------------------------------------------------------------------------------------------------

GIB, SAVES = 1.4, 5


def five(setting):
    rows = []
    for turn in range(1 if setting.quick else 3):
        for variant in VARIANTS if turn % 2 == 0 else VARIANTS[::-1]:
            # Not compressed: what is tried is the fork, and the snapshot is all the sooner done.
            server = Redis(setting, variant, ["--rdbcompression", "no"], heap="auto")
            try:
                keys = server.fill(GIB, VALUE)
                windows = requests_of(setting, server, load_options(keys, SAVES) + ["--before", 0, "--after", 0], SAVES)
                server.close()
            finally:
                server.kill()
            for window in windows:
                row = {"mib": int(GIB * 1024), "variant": variant, "round": turn}
                row.update({name: window[name] for name in ("save", "fork_us", "save_s", "p999_us", "worst_us")})
                rows.append(row)
    write_table(setting, "five", rows)
    for variant in VARIANTS:
        forks = [row["fork_us"] for row in rows if row["variant"] == variant]
        say("five saves, %s: forks of %s us" % (variant, ", ".join(forks)))


# ---- Memory of a save ------------------------------------------------------------------------------------------------

MIB, LARGE = 360, 10240
# SETs a second of values as large, at random, during the save. With them a child waits so long after each key that a
# save takes some seconds, as to a disk: what is written meanwhile amounts to something.
WRITES, DELAY_US = (0, 1000), 100


class Group:
    """A memory cgroup for one server; of either version, where one can be made."""

    def __init__(self):
        self.path = self.unified = None
        with open("/proc/self/cgroup", encoding="ascii") as file:
            groups = [line.rstrip("\n").split(":", 2) for line in file]
        for _, names, path in sorted(groups, key=lambda group: "memory" not in group[1]):
            if "memory" not in names.split(",") and names:
                continue
            tops = ["/sys/fs/cgroup/memory"] if names else ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"]
            top = next((found for found in tops if os.path.exists(found + "/cgroup.procs")), "")
            self.path, self.unified = "%s%s/odfork-bench-%d" % (top, path.rstrip("/"), os.getpid()), not names
            try:
                os.mkdir(self.path)
            except OSError:
                self.path = None
                continue
            if os.path.exists(os.path.join(self.path, self.name("memory.peak", "memory.max_usage_in_bytes"))):
                return
            self.remove()
        raise Failed("no memory cgroup can be made here")

    def name(self, unified, older):
        return unified if self.unified else older

    def read(self, name):
        with open(os.path.join(self.path, name), encoding="ascii") as file:
            return file.read()

    def take(self, pid):
        with open(os.path.join(self.path, "cgroup.procs"), "w", encoding="ascii") as file:
            file.write(str(pid))

    def in_use(self):
        """MiB of memory of processes and of files in memory."""
        stat = dict(line.split() for line in self.read("memory.stat").splitlines())
        return (int(stat[self.name("anon", "rss")]) + int(stat["shmem"])) / (1 << 20)

    def peak(self):
        return int(self.read(self.name("memory.peak", "memory.max_usage_in_bytes"))) / (1 << 20)

    def remove(self):
        if self.path is not None:
            with contextlib.suppress(OSError):
                os.rmdir(self.path)
            self.path = None


class Watch(threading.Thread):
    """What the group has in use, every 5 ms, without as much of the snapshot as there is."""

    def __init__(self, group, directory):
        super().__init__(daemon=True)
        self.group, self.directory, self.most, self.ends = group, directory, 0.0, threading.Event()
        self.snapshot = 0.0

    def grown(self):
        """MiB. The file gets another name at its end, and a look at the directory may then miss it."""
        with contextlib.suppress(FileNotFoundError), os.scandir(self.directory) as found:
            size = sum(entry.stat().st_size for entry in found if entry.name.endswith(".rdb"))
            self.snapshot = max(self.snapshot, size / (1 << 20))
        return self.snapshot

    def run(self):
        while not self.ends.wait(0.005):
            in_use = self.group.in_use()  # before the file, which grows meanwhile
            self.most = max(self.most, in_use - self.grown())

    def end(self):
        self.ends.set()
        self.join()
        return self.most


def save_under(setting, server, keys, writes):
    """Returns the seconds from BGSAVE until the child has ended."""
    if writes:
        options = ["--keys", keys, "--value", LARGE, "--rate", writes, "--writes", 100, "--connections", 10,
                   "--saves", 1, "--before", 0, "--after", 0]
        seconds = float(requests_of(setting, server, options, 1)[0]["save_s"])
    else:
        start = time.monotonic()
        server.command("BGSAVE")
    while server.info("persistence", "rdb_bgsave_in_progress") != "0":
        time.sleep(0.02)
    return seconds if writes else time.monotonic() - start


def one_save(setting, variant, group, writes):
    more = ["--rdb-key-save-delay", str(DELAY_US)] if writes else []
    server = Redis(setting, variant, ["--rdbcompression", "no", *more], heap="auto")
    try:
        group.take(server.process.pid)
        keys = MIB * (1 << 20) // LARGE
        server.command("DEBUG", "POPULATE", str(keys), "key", str(LARGE))
        time.sleep(1)
        before = group.in_use()
        watch = Watch(group, server.directory)
        watch.start()
        seconds = save_under(setting, server, keys, writes)
        most = watch.end()
        if server.info("persistence", "rdb_last_bgsave_status") != "ok":
            server.fail("did not save")
        snapshot = os.stat(os.path.join(server.directory, "dump.rdb")).st_size / (1 << 20)
        cow = int(server.info("persistence", "rdb_last_cow_size")) / (1 << 20)
        time.sleep(2)  # in which a library settles
        after = group.in_use()
        # The snapshot lies in memory, is charged to the group and in the peak of both.
        row = {"mib": MIB, "value": LARGE, "writes": writes, "variant": variant, "save_s": "%.2f" % seconds,
               "cow_mib": "%.2f" % cow, "before_mib": "%.1f" % before, "during_mib": "%.1f" % most,
               "after_mib": "%.1f" % (after - snapshot), "peak_mib": "%.1f" % (group.peak() - snapshot)}
        server.close()
    finally:
        server.kill()
    return row


def gives(setting):
    if not setting.work.startswith("/dev/shm"):
        raise Failed("no room in /dev/shm for the snapshot: what is subtracted would not be charged")
    rows = []
    for writes in WRITES:
        for turn in range(1 if setting.quick else 3):
            for variant in VARIANTS if turn % 2 == 0 else VARIANTS[::-1]:
                group = Group()
                try:
                    rows.append({**one_save(setting, variant, group, writes), "round": turn})
                finally:
                    group.remove()
        write_table(setting, "gives", rows)
        for field in ("cow_mib", "before_mib", "during_mib", "after_mib", "peak_mib"):
            both = [median([float(row[field]) for row in rows if row["variant"] == v and row["writes"] == writes])
                    for v in VARIANTS]
            say("a save of large values, %4d SETs a second, %-6s: %6.2f MiB plain, %6.2f with the library" % (
                writes, field[:-4], *both))
