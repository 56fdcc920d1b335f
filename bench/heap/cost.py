# SPDX-License-Identifier: MIT
"""The cost of the heap in programs that do not fork: the rate of programs that allocate much, and their memory at the
end. The plain variant runs twice, which shows by how much two equal runs differ on this machine."""
import csv
import os
import subprocess
import time

from pairs import (PATIENCE, VARIANTS, Failed, Redis, both, cpu_of, median, rotated, say, spread, take_turns,
                   write_table)

HERE = os.path.dirname(os.path.abspath(__file__))
KINDS = VARIANTS + ("again",)  # which is plain as well
INTERPRETERS = {"perl": ["perl"], "escript": ["escript"], "emacs": ["emacs", "-Q", "--batch", "-l"]}

# Name, program and arguments, unit, how often new processes of each kind, turns of each (of six orders), units of work
# in a turn; the same with --quick.
WORKERS = (
    ("stays small: perl", ("perl", "small.pl"), "rounds", (8, 20, 150), (3, 10, 100)),
    ("stays small: malloc and free", ("malloc", "small", "1"), "pairs", (8, 20, 1000), (3, 10, 1000)),
    ("malloc of mixed sizes (1 thread)", ("malloc", "mixed", "1"), "pairs", (3, 6, 1000), (1, 5, 400)),
    ("malloc of mixed sizes (4 threads)", ("malloc", "mixed", "4"), "pairs", (3, 6, 300), (1, 5, 150)),
    ("SQLite inserts in memory", ("sqlite", "insert"), "rows", (4, 6, 200), (1, 5, 100)),
    ("fresh memory kept", ("touch", "grow"), "MiB", (4, 4, 256), (1, 4, 256)),
    ("fresh memory mapped and unmapped", ("touch", "turnover"), "MiB", (3, 6, 512), (1, 5, 256)),
    ("buffers of 256 KiB to 16 MiB", ("touch", "buffers"), "MiB", (3, 6, 2048), (1, 5, 1024)),
    ("random access to 512 MiB", ("touch", "access"), "Mi words", (3, 6, 16), (1, 5, 8)),
    ("Erlang: 400 000 objects", ("escript", "grow.erl"), "objects", (3, 6, 150), (1, 3, 50)),
    ("Emacs: 400 000 objects", ("emacs", "grow.el"), "objects", (3, 6, 50), (1, 3, 10)),
)
REDIS = ("SET", "GET", "INCR", "LPUSH", "HSET", "LRANGE_100")


def rows_of(setting, what, unit, rates, memories, cpu=None):
    """One row for each kind. Ratios are to plain: the median of those of neighbouring turns, and what encloses half of
    them. `cpu_ratio` is the CPU time of all threads, which another program's load disturbs less."""
    for variant in KINDS:
        low, high = spread(rates[variant])
        row = {"pages": setting.pages, "workload": what, "unit": unit, "variant": variant, "turns": len(rates[variant]),
               "rate": "%.1f" % median(rates[variant]),
               "rate_low": "%.1f" % low, "rate_high": "%.1f" % high, "ratio": "1.0000", "ratio_low": "1.0000",
               "ratio_high": "1.0000"}
        if variant != "plain":
            neighbours = [ours / plain for ours, plain in zip(rates[variant], rates["plain"])]
            row["ratio"] = "%.4f" % median(neighbours)
            row["ratio_low"], row["ratio_high"] = ("%.4f" % ratio for ratio in spread(neighbours))
        row["cpu_ratio"] = "%.4f" % (median(cpu[variant]) / median(cpu["plain"])) if cpu else ""
        for field in ("used", "peak", "region"):
            row[field + "_mib"] = "%.1f" % median([m[field] for m in memories[variant]]) if memories else ""
        if memories:
            ours, plain = (median([m["used"] for m in memories[of]]) for of in (variant, "plain"))
            row["used_to_plain"] = "%.4f" % (ours / plain)
        else:
            row["used_to_plain"] = ""
        yield row


def measure_worker(setting, what, arguments, unit, plan):
    pairs, turns, units = plan
    rates, memories, cpu = ({v: [] for v in KINDS} for _ in range(3))
    program = [setting.program(arguments[0]), *arguments[1:]]
    if arguments[0] in INTERPRETERS:
        program = INTERPRETERS[arguments[0]] + [os.path.join(HERE, arguments[1])]
    for pair in range(pairs):
        workers = both(setting, program, rotated(KINDS, pair), heap="auto")
        try:
            for worker in workers:
                worker.turn(units // 10 + 1)  # the first touch of everything
            start = {worker.variant: cpu_of(worker.process.pid) for worker in workers}
            found = take_turns(workers, turns, units, ("rate",))
            for worker in workers:
                rates[worker.variant] += found[worker.variant]["rate"]
                cpu[worker.variant].append(cpu_of(worker.process.pid) - start[worker.variant])
                memories[worker.variant].append(worker.memory())
            # All are there until each was looked at: the last one would have for itself what they share.
            for worker in workers:
                worker.close()
        finally:
            for worker in workers:
                worker.kill()
    return list(rows_of(setting, what, unit, rates, memories, cpu))


def benchmark(server, test, requests):
    done = subprocess.run(["redis-benchmark", "-h", "127.0.0.1", "-p", str(server.port), "-t", test.lower(), "-n",
                           str(requests), "-r", "1000000",
                           "-d", "128", "-P", "16", "--csv"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           timeout=PATIENCE)
    found = list(csv.DictReader(done.stdout.decode().splitlines()))
    if done.returncode != 0 or not found:
        raise Failed("redis-benchmark (%s): %s" % (server.variant, done.stderr.decode()))
    # LRANGE_100 makes its list first, as a test of its own.
    return float(found[-1]["rps"])


def measure_redis(setting):
    """Each pair of servers is new: the first turn of SET and of the others that make keys is the growth."""
    pairs, turns, requests = (1, 2, 200000) if setting.quick else (2, 6, 300000)
    rates, memories = {test: {v: [] for v in KINDS} for test in REDIS}, {v: [] for v in KINDS}
    growth, grown = {v: [] for v in KINDS}, {v: [] for v in KINDS}
    cpu = {test: {v: [] for v in KINDS} for test in REDIS}
    keys = 200000 if setting.quick else 400000
    for pair in range(pairs):
        servers = [Redis(setting, variant, heap="auto") for variant in rotated(KINDS, pair)]
        try:
            for turn in range(4):
                for server in rotated(servers, turn):
                    start = time.monotonic()
                    server.command("DEBUG", "POPULATE", str(keys), "grown%d" % turn, "256")
                    growth[server.variant].append(keys / (time.monotonic() - start))
            for server in servers:
                grown[server.variant].append(server.memory())
            for test in REDIS:
                start = {server.variant: cpu_of(server.process.pid) for server in servers}
                for turn in range(turns):
                    for server in rotated(servers, turn):
                        count = requests if test != "LRANGE_100" else requests // 10
                        rates[test][server.variant].append(benchmark(server, test, count))
                for server in servers:
                    cpu[test][server.variant].append(cpu_of(server.process.pid) - start[server.variant])
            for server in servers:
                memories[server.variant].append(server.memory())
            for server in servers:
                server.close()
        finally:
            for server in servers:
                server.kill()
    yield from rows_of(setting, "Redis filled by DEBUG POPULATE", "keys", growth, grown)
    for test in REDIS:
        yield from rows_of(setting, "redis-benchmark " + test, "requests", rates[test],
                           memories if test == REDIS[-1] else None, cpu[test])


def report(rows):
    for plain, ours, again in zip(rows[::3], rows[1::3], rows[2::3]):
        memory = ", memory %s to %s MiB" % (plain["used_mib"], ours["used_mib"]) if plain["used_mib"] else ""
        say("%-40s %s (%s to %s), plain to plain %s (%s to %s), CPU time %s%s, in the region %s" % (
            plain["workload"], *(row[ratio] for row in (ours, again) for ratio in ("ratio", "ratio_low", "ratio_high")),
            ours["cpu_ratio"], memory, ours["region_mib"]))


def run(setting):
    rows = []
    for what, arguments, unit, full, quick in WORKERS:
        found = measure_worker(setting, what, arguments, unit, quick if setting.quick else full)
        report(found)
        rows += found
    found = list(measure_redis(setting))
    report(found)
    write_table(setting, "cost", rows + found, append=setting.again)
