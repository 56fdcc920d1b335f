# SPDX-License-Identifier: MIT
"""endurance_redis.py SERVER LIBRARY ODFORK: Redis that saves again and again under load, in the current directory.
LIBRARY may be empty: a control run.

What has to stay what it is, from the beginning to the end: the server's memory beyond its data, its mappings, its
descriptors and the keeper's, how long a fork holds it, and how long a request takes. The last save is loaded by a
server without the library.

ODF_TEST_SECONDS (2): how long; hours by hand. ODF_TEST_SCALE=N: N times 56 MiB. Times are told always, and compared
from 10 minutes on."""
import contextlib
import os
import re
import time
import traceback

import redis_server as redis  # beside this file

seconds = float(os.environ.get("ODF_TEST_SECONDS", "2"))
compares_times = seconds >= 600
# Growth that says something: more than this beyond what there was.
drifts = {"memory_mib": 16, "mappings": 40, "descriptors": 0, "keeper_descriptors": 2}


class SteadyLoad(redis.Load):
    """Of values that come, grow and go, and are not more in the end."""

    commands = (("set", "key:__rand_int__", "x" * 400), ("append", "key:__rand_int__", "tail"),
                ("lpush", "list:__rand_int__", "element of a list"), ("unlink", "list:__rand_int__"),
                ("setrange", "block:1", "3000000", "end"), ("unlink", "block:1"))


def entries(path):
    return len(os.listdir(path))


def keeper_descriptors(pid):
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as file:
            for child in file.read().split():
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                    if redis.is_keeper(int(child)):
                        return entries(f"/proc/{child}/fd")
    return 0


def memory_mib(server):
    """The process's share of all that it sees, without what its allocator has for data."""
    with open(f"/proc/{server.pid}/smaps_rollup", encoding="ascii") as file:
        held = int(re.search(r"^Pss: +(\d+) kB", file.read(), re.M)[1]) >> 10
    return held - (int(server.information("memory", "allocator_active")) >> 20)


def requests_us(client):
    """The median and the worst of some, in microseconds."""
    times = []
    for number in range(200):
        begun = time.perf_counter()
        client("set", f"asked:{number}", number)
        times.append((time.perf_counter() - begun) * 1e6)
    times.sort()
    return times[len(times) // 2], times[-1]


def look(server, client):
    median, worst = requests_us(client)
    with open(f"/proc/{server.pid}/maps", encoding="ascii") as file:
        mappings = sum(1 for _ in file)
    return {"memory_mib": memory_mib(server), "mappings": mappings, "descriptors": entries(f"/proc/{server.pid}/fd"),
            "keeper_descriptors": keeper_descriptors(server.pid),
            "fork_us": int(server.information("stats", "latest_fork_usec")), "request_us": median, "worst_us": worst}


def save(server):
    redis.must(server.ask("bgsave") == b"Background saving started", "BGSAVE was refused")
    server.wait_for("persistence", "rdb_bgsave_in_progress", "0")
    redis.must(server.information("persistence", "rdb_last_bgsave_status") == "ok", "BGSAVE failed:", server.log_end())


def must_not_grow(samples):
    """The least of the last quarter beside the most of the second."""
    quarter = len(samples) // 4
    for name in samples[0]:
        most = max(sample[name] for sample in samples[quarter:2 * quarter])
        least = min(sample[name] for sample in samples[-quarter:])
        if name in drifts:
            redis.must(least <= most + drifts[name], name, "at least", least, "in the end and at most", most, "before")
        elif compares_times:
            redis.must(least <= 3 * most, name, "at least", least, "in the end and at most", most, "before")


def endure():
    server = redis.Server("endurance", *redis.lazy, awake=True)
    redis.fill(server)
    load = SteadyLoad(server, clients=1)
    client = server.client()
    begun = time.monotonic()
    told, samples = 0, []
    print("#  seconds saves memory-MiB mappings descriptors keeper's fork-us request-us worst-us")
    while (passed := time.monotonic() - begun) < seconds or len(samples) < 8:
        save(server)
        samples.append(look(server, client))
        if passed >= told * seconds / 20:
            told += 1
            print("# %8.0f %5d %10d %8d %11d %8d %7d %10.0f %8.0f" % (passed, len(samples), *samples[-1].values()))
        time.sleep(min(2, seconds / 100))
    load.stop()
    must_not_grow(samples)
    if server.under:
        last = server.forks()[-1]
        redis.must(not redis.settling or last["strategy"] == "region", "the heap was not in play:", last)
    right = server.still_digest()
    save(server)
    server.stop()
    redis.reload("endurance", right)
    return len(samples) + 1


def main():
    print("1..1")
    try:
        print("ok 1 -", endure(), "saves under load: nothing grows", flush=True)
        return 0
    except Exception:
        print("not ok 1 - saves under load: nothing grows")
        for line in traceback.format_exc().splitlines():
            print("# ", line)
        return 1
    finally:
        for each in list(redis.running):
            each.kill()


raise SystemExit(main())
