# SPDX-License-Identifier: MIT
"""Shared by the parts of bench/heap.sh: runs a program plain and under the library at the same time, in turns, and
writes the results as CSV."""
import csv
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time

VARIANTS = ("plain", "library")
PATIENCE = 300  # seconds, for anything that is waited for: a benchmark that hangs ends, and says where


class Setting:
    """Of this run."""

    def __init__(self, options, work):
        self.quick, self.library, self.programs = options.quick, options.library, options.programs
        self.results, self.note, self.pages, self.work = options.results, options.note, options.pages, work
        self.sizes, self.again, self.target = options.sizes, options.again, options.target
        # "huge" is plain as well; libc's malloc asks for huge pages.
        self.variants = VARIANTS + (("huge",) if options.huge else ())

    def environment(self, variant, **more):
        """ODFORK_* of the caller do not reach either side. `more` names variables of the library: heap="on"."""
        found = {k: v for k, v in os.environ.items() if not k.startswith("ODFORK_") and k != "LD_PRELOAD"}
        if variant == "library":
            found["LD_PRELOAD"] = self.library
            found.update({"ODFORK_" + k.upper(): str(v) for k, v in more.items()})
        if variant == "huge":
            found["GLIBC_TUNABLES"] = ":".join(filter(None, (found.get("GLIBC_TUNABLES"), "glibc.malloc.hugetlb=1")))
        return found

    def program(self, name):
        return os.path.join(self.programs, "bench_heap_" + name)


def say(text):
    print("  " + text, file=sys.stderr, flush=True)


# ---- Processes ----


class Failed(Exception):
    pass


def ended(process):
    """Says how a process ended, which should not have."""
    try:
        status = process.wait(10)
    except subprocess.TimeoutExpired:
        return "does not answer"
    return "ended by " + signal.Signals(-status).name if status < 0 else "ended with status %d" % status


class Worker:
    """A program that works in turns (turns.h)."""

    def __init__(self, setting, variant, arguments, **more):
        self.variant, self.arguments = variant, arguments
        self.process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        env=setting.environment(variant, **more))
        self.text = b""

    def turn(self, units):
        try:
            self.process.stdin.write(b"go %d\n" % units)
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # the read below says it
        end = time.monotonic() + PATIENCE
        while b"\n" not in self.text:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, end - time.monotonic()))
            got = os.read(self.process.stdout.fileno(), 65536) if ready else b""
            if not got:
                raise Failed("%s (%s): %s" % (" ".join(self.arguments), self.variant, ended(self.process)))
            self.text += got
        line, self.text = self.text.split(b"\n", 1)
        words = line.decode().split()
        return {name: float(value) for name, value in zip(words[::2], words[1::2])}

    def memory(self):
        return memory_of(self.process.pid)

    def close(self):
        self.process.stdin.close()
        try:
            status = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            status = None
        if status != 0:
            self.kill()
            raise Failed("%s (%s): %s" % (" ".join(self.arguments), self.variant,
                                          "does not end" if status is None else "its end has the status %d" % status))

    def kill(self):
        self.process.kill()
        self.process.wait()


def both(setting, arguments, variants=VARIANTS, **more):
    """The pair, plain first; or as many as there are variants."""
    return [Worker(setting, variant, arguments, **more) for variant in variants]


def rotated(workers, turn):
    """Another order each time, so that a machine whose speed drifts does so for all, and what one leaves behind does
    not always meet the same one: of three all six orders."""
    first = turn // 2 % len(workers)
    order = workers[first:] + workers[:first]
    return order if turn % 2 == 0 else order[::-1]


def take_turns(workers, turns, units, fields, after_turn=None):
    """Each worker its turn. The figures by variant."""
    figures = {worker.variant: {field: [] for field in fields} for worker in workers}
    for turn in range(turns):
        for worker in rotated(workers, turn):
            got = worker.turn(units)
            for field in fields:
                figures[worker.variant][field].append(got[field])
            if after_turn:
                after_turn(worker)
    return figures


def cpu_of(pid):
    """Seconds of CPU time of all its threads, from its beginning. (clock_getcpuclockid(3) is this.)"""
    return time.clock_gettime((~pid << 3) | 2)


def memory_of(pid):
    """What a process takes, in MiB: `used` is what its mappings hold by its share, with the region's files as a whole,
    mapped or not, and page tables; `peak` is the kernel's greatest RSS; `region` is the region's files alone; `huge` is
    what the kernel has on huge pages."""
    for _ in range(100):
        try:
            return look_at_memory(pid)
        except FileNotFoundError:  # the library's keeper has just moved what was read of
            if not os.path.exists("/proc/%d" % pid):
                raise
            time.sleep(0.05)
    raise Failed("the mappings of process %d do not come to rest" % pid)


def look_at_memory(pid):
    found = {"used": 0.0, "region": 0.0, "peak": 0.0, "huge": 0.0}
    files, of_region, kb = {}, False, 0
    with open("/proc/%d/smaps" % pid, encoding="utf-8") as file:
        for line in file:
            head = re.match(r"([0-9a-f]+-[0-9a-f]+) \S+ \S+ \S+ (\d+) *(.*)", line)
            if head:
                of_region = "odfork-region" in head[3]
                if of_region and head[2] not in files:
                    files[head[2]] = head[1]
            elif line.startswith("Pss:" if not of_region else "Anonymous:"):
                kb += int(line.split()[1])
            elif line.startswith("AnonHugePages:"):
                found["huge"] += int(line.split()[1]) / 1024
    for range_of_file in files.values():
        kb_of_file = os.stat("/proc/%d/map_files/%s" % (pid, range_of_file)).st_blocks / 2
        found["region"] += kb_of_file / 1024
        kb += kb_of_file
    with open("/proc/%d/status" % pid, encoding="utf-8") as file:
        status = dict(line.split(":", 1) for line in file)
    found["used"] = (kb + int(status["VmPTE"].split()[0])) / 1024
    found["peak"] = int(status["VmHWM"].split()[0]) / 1024
    return found


class Redis:
    """A server with a port of its own, without automatic saves. Background saves run on the last CPU, by Redis's own
    option, where the load's client is as well: what is compared is what the fork and the settling do to the server, not
    who of the three gets one of two CPUs."""

    def __init__(self, setting, variant, more_options=(), **more):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.variant, self.directory = variant, os.path.join(setting.work, "redis-%s-%d" % (variant, self.port))
        os.mkdir(self.directory)
        self.stats, self.log = os.path.join(self.directory, "stats"), os.path.join(self.directory, "log")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.directory, "--save", "",
                 "--appendonly", "no",
                 "--enable-debug-command", "local", "--bgsave_cpulist", str(os.cpu_count() - 1)] + list(more_options),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=setting.environment(variant, stats=self.stats, **more))
        end = time.monotonic() + 30
        while self.command("PING", may_fail=True) != "PONG":
            if self.process.poll() is not None or time.monotonic() > end:
                self.fail("does not start")
            time.sleep(0.05)

    def fail(self, what):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            sys.stderr.writelines(log.readlines()[-30:])
        self.process.kill()
        raise Failed("redis-server (%s) %s" % (self.variant, what))

    def command(self, *words, may_fail=False):
        done = subprocess.run(["redis-cli", "-h", "127.0.0.1", "-p", str(self.port), *words], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, timeout=PATIENCE)
        if done.returncode != 0 and not may_fail:
            self.fail("did not answer " + " ".join(words))
        return done.stdout.decode(errors="replace").strip()

    def info(self, section, name):
        return re.search(r"^%s:([^\r\n]*)" % name, self.command("INFO", section), re.M)[1]

    def fill(self, gib, value):
        """With so much that used_memory says it. Returns the number of keys, key:0 and so on."""
        sample = 20000
        before = int(self.info("memory", "used_memory"))
        self.command("DEBUG", "POPULATE", str(sample), "key", str(value))
        # The table of the keys is made for each power of two: it is counted as half full.
        each = (int(self.info("memory", "used_memory")) - before) / sample
        keys = int(gib * (1 << 30) / each)
        self.command("DEBUG", "POPULATE", str(keys), "key", str(value))
        return keys

    def records(self):
        """Of the library: one for each fork."""
        if not os.path.exists(self.stats):
            return []
        with open(self.stats, encoding="utf-8") as file:
            return [record for record in map(json.loads, file) if record["call"] == "fork"]

    def memory(self):
        return memory_of(self.process.pid)

    def close(self):
        self.command("SHUTDOWN", "NOSAVE", may_fail=True)
        try:
            status = self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.fail("does not end")
        if status != 0:
            self.fail("ended with status %d" % status)
        for name in os.listdir(self.directory):
            if name.endswith(".rdb"):
                os.unlink(os.path.join(self.directory, name))

    def kill(self):
        self.process.kill()
        self.process.wait()


# ---- Figures ----


def quantile(values, part):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * part))]


def median(values):
    values = sorted(values)
    middle = len(values) // 2
    return values[middle] if len(values) % 2 else (values[middle - 1] + values[middle]) / 2


def spread(values):
    """Half of the values are between these."""
    return quantile(values, 0.25), quantile(values, 0.75)


def write_table(setting, name, rows, append=False):
    """bench/results/heap-NAME.csv."""
    if not rows:
        return
    path = os.path.join(setting.results, "heap-%s.csv" % name)
    append = append and os.path.exists(path)
    with open(path, "a" if append else "w", encoding="utf-8", newline="") as file:
        if not append:
            file.write("# %s\n" % setting.note)
        writer = csv.DictWriter(file, list(rows[0]), restval="", lineterminator="\n")
        if not append:
            writer.writeheader()
        writer.writerows(rows)
