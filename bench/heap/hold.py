# SPDX-License-Identifier: MIT
"""hold.py MIB: CPython with MIB of small objects; turns (turns.h) of N forks. Each child exits at once and is
reaped."""
import os
import sys
import time

aim, held = int(sys.argv[1]) << 20, {}


def resident():
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


while resident() < aim:
    for number in range(len(held), len(held) + 20000):
        held[number] = [number, "value %d" % number, bytes(200)]
for line in sys.stdin:
    count, times = int(line.split()[1]), []
    start = time.perf_counter()
    for _ in range(count):
        before = time.perf_counter()
        child = os.fork()
        if child == 0:
            os._exit(0)
        times.append(time.perf_counter() - before)
        assert os.waitpid(child, 0)[1] == 0
    start = time.perf_counter() - start
    times.sort()
    late = times[min(count - 1, int(count * 0.99))]
    print("rate %.2f held_median_us %.1f held_p99_us %.1f" % (count / start, times[count // 2] * 1e6, late * 1e6),
          flush=True)
