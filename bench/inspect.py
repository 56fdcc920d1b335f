# SPDX-License-Identifier: MIT
# What odfork inspect says that a fork of a process costs, and what forks of it then cost: Redis, by its own account
# (latest_fork_usec), and CPython, around os.fork; and how much of the processor that took, which is what is said, and
# on a quiet machine the same. Neither runs under the library. Usage: inspect.py ODFORK GIB...
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

FORKS = 6

PYTHON = """
import os, sys, time
wanted = int(sys.argv[1]) << 20
def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE") >> 10
data, count = [], 0
while resident() < wanted:
    data.extend([str(number) for number in range(count, count + 100000)])
    count += 100000
print("ready", flush=True)
for line in sys.stdin:
    start, used = time.perf_counter(), time.thread_time()
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    used, held = time.thread_time() - used, time.perf_counter() - start
    os.waitpid(pid, 0)
    print(held * 1e6, used * 1e6, flush=True)
"""


def inspect(odfork, pid):
    return json.loads(subprocess.run([odfork, "inspect", "--json", str(pid)], check=True, capture_output=True).stdout)


def report(name, gib, found, forks):
    said = found["fork"]
    for what, which in ("held", 0), ("processor", 1):
        first, later = forks[0][which], statistics.median(fork[which] for fork in forks[1:])
        print("%-8s %2d GiB   %8.2f ms (%.2f to %.2f)   %-10s %8.2f ms   %8.2f ms   %+5.0f %%   %+5.0f %%" % (
            name, gib, said["us"] / 1e3, said["low_us"] / 1e3, said["high_us"] / 1e3, what, first / 1e3, later / 1e3,
            100 * (said["us"] / first - 1), 100 * (said["us"] / later - 1)), flush=True)


def python(odfork, gib):
    with subprocess.Popen(["/usr/bin/python3", "-c", PYTHON, str(gib)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        found = inspect(odfork, process.pid)
        forks = []
        for _ in range(FORKS):
            process.stdin.write("\n")
            process.stdin.flush()
            forks.append([float(word) for word in process.stdout.readline().split()])
        report("CPython", gib, found, forks)
        process.stdin.close()


def processor(pid):
    """Microseconds of its first thread, which does little else at that moment."""
    with open("/proc/%d/task/%d/schedstat" % (pid, pid)) as schedstat:
        return int(schedstat.read().split()[0]) / 1e3


def redis(odfork, gib):
    with tempfile.TemporaryDirectory() as folder:
        socket = folder + "/socket"
        server = subprocess.Popen([
            "redis-server", "--port", "0", "--unixsocket", socket, "--save", "", "--dir", folder, "--loglevel",
            "warning",
            "--enable-debug-command", "yes", "--rdbcompression", "no", "--rdbchecksum", "no"],
            stdout=subprocess.DEVNULL)

        def ask(*words):
            return subprocess.run(["redis-cli", "-s", socket, *words], check=True, capture_output=True,
                    text=True).stdout

        try:
            for _ in range(100):
                if os.path.exists(socket):
                    break
                time.sleep(0.1)
            # Values of 4 kB, keys and all that belongs to them.
            ask("debug", "populate", str(gib * 1024 * 1024 // 5), "key", "4096")
            found = inspect(odfork, server.pid)
            forks = []
            for _ in range(FORKS):
                used = processor(server.pid)
                ask("bgsave")
                used = processor(server.pid) - used
                fields = {}
                while fields.get("rdb_bgsave_in_progress") != "0":
                    time.sleep(0.1)
                    fields = dict(line.split(":") for line in ask("info", "persistence").splitlines() if ":" in line)
                fields = dict(line.split(":") for line in ask("info", "stats").splitlines() if ":" in line)
                forks.append((float(fields["latest_fork_usec"]), used))
            report("Redis", gib, found, forks)
        finally:
            server.kill()
            server.wait()


def main():
    print("load %.1f on %d processors" % (os.getloadavg()[0], os.cpu_count()))
    print("%-15s   %-30s   %-10s %11s   %11s   %s" % ("", "said", "", "first fork", "later forks",
            "said, against the first and the later ones"))
    for gib in map(int, sys.argv[2:]):
        python(sys.argv[1], gib)
        redis(sys.argv[1], gib)


main()
