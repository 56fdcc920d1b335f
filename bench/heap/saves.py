# SPDX-License-Identifier: MIT
"""Redis: how long BGSAVE's fork takes, as Redis reports it, and how long requests take before, during and after a save.
Requests are sent on schedule, however slow the server is (requests.c)."""
import csv
import os
import subprocess
import time

from pairs import PATIENCE, VARIANTS, Failed, Redis, median, say, write_table

VALUE = 1024
RATE, WRITES, CONNECTIONS = 10000, 50, 50
TIMELINE = ("save", "since_bgsave_ms", "since_end_ms", "worst_us")
# GiB: rounds (a new server each), saves of each server, seconds after each, in which a library settles beside the
# requests.
FULL = {1: (2, 3, 4), 4: (1, 3, 8), 8: (1, 2, 14)}
QUICK = {1: (1, 3, 4)}


def requests_of(setting, server, options, saves):
    """The program's table."""
    arguments = [setting.program("requests"), "--port", server.port, "--server", server.process.pid] + options
    # On the CPU of the saving child, before which it goes; the server has the others.
    last = str(os.cpu_count() - 1)
    done = subprocess.run(["taskset", "-c", last] + [str(a) for a in arguments], stdout=subprocess.PIPE,
                          timeout=PATIENCE + saves * PATIENCE)
    if done.returncode != 0:
        server.fail("under load: status %d" % done.returncode)
    return list(csv.DictReader(done.stdout.decode().splitlines()))


def load_options(keys, saves):
    return ["--keys", keys, "--value", VALUE, "--rate", RATE, "--writes", WRITES, "--connections", CONNECTIONS,
            "--saves", saves]


def load(setting, server, keys, saves, after, timeline, *others):
    more = ["--before", 1.5, "--after", after, "--timeline", timeline, *others]
    return requests_of(setting, server, load_options(keys, saves) + more, saves)


def one_server(setting, gib, variant, turn, saves, after, timelines):
    server = Redis(setting, variant, heap="auto")
    try:
        keys = server.fill(gib, VALUE)
        timeline = os.path.join(setting.work, "timeline")
        windows = load(setting, server, keys, saves, after, timeline)
        records = server.records()
        memory = server.memory()
        server.close()
    finally:
        server.kill()
    if variant == "library" and len(records) != saves:
        raise Failed("%d saves left %d records" % (saves, len(records)))
    if turn == 0:
        # One save, not the first, is enough to look at.
        with open(timeline, encoding="utf-8") as file:
            timelines += [{"gib": gib, "variant": variant, **{name: row[name] for name in TIMELINE}}
                          for row in csv.DictReader(file) if row["save"] == "1"]
    rows = []
    for window in windows:
        record = records[int(window["save"])] if records else {"strategy": "", "held_us": "", "region_bytes": 0}
        rows.append({"gib": gib, "variant": variant, "round": turn, **window, "strategy": record["strategy"],
                     "held_us": record["held_us"],
                     "region_mib": "%.0f" % (record["region_bytes"] / 1048576), "used_mib": "%.0f" % memory["used"],
                     "peak_mib": "%.0f" % memory["peak"]})
    return rows


def available():
    with open("/proc/meminfo", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("MemAvailable")) / (1 << 20)


def report(rows):
    for gib in dict.fromkeys(row["gib"] for row in rows):
        for field, window in (("fork_us", "save"), ("p99_us", "before"), ("p99_us", "save"), ("p999_us", "save"),
                              ("worst_us", "save"), ("p99_us", "after"),
                              ("p999_us", "after"), ("worst_us", "after")):
            both = [median([float(r[field]) for r in rows if r["gib"] == gib and r["variant"] == v
                            and r["window"] == window]) for v in VARIANTS]
            say("%d GiB, %-8s %-6s: %9.0f us plain, %9.0f us with the library" % (gib, field[:-3], window, *both))
        ways = [r["strategy"] for r in rows if r["gib"] == gib and r["variant"] == "library" and r["window"] == "save"]
        counted = ["%s %d times" % (way, ways.count(way)) for way in dict.fromkeys(ways)]
        say("%d GiB, strategies: %s" % (gib, ", ".join(counted)))


def nothing(setting):
    """The limit: the fork of a server that has next to nothing, with the same rests."""
    server = Redis(setting, "plain")
    rows = []
    try:
        for save in range(3 if setting.quick else 8):
            time.sleep(1.5)
            server.command("BGSAVE")
            while server.info("persistence", "rdb_bgsave_in_progress") != "0":
                time.sleep(0.05)
            rows.append({"gib": 0, "variant": "plain", "round": 0, "save": save, "window": "save",
                         "fork_us": server.info("stats", "latest_fork_usec")})
        server.close()
    finally:
        server.kill()
    return rows


def run(setting):
    rows, timelines = [], []
    plans = QUICK if setting.quick else FULL
    limit = nothing(setting)
    say("an empty server: fork %.0f us" % median([float(row["fork_us"]) for row in limit]))
    for gib in setting.sizes or plans:
        # The data, copies of what is written during a save, the snapshot.
        if available() < 2 * gib + 1:
            say("%d GiB: left out, as only %.1f GiB of memory are available" % (gib, available()))
            continue
        rounds, saves, after = plans.get(gib, (1, 2, 2 * gib))
        for turn in range(rounds):
            for variant in VARIANTS if turn % 2 == 0 else VARIANTS[::-1]:
                rows += one_server(setting, gib, variant, turn, saves, after, timelines)
        # After each size: a long run that fails later has left what it had.
        write_table(setting, "saves", rows + limit)
        write_table(setting, "saves-timeline", timelines)
    report(rows)
