# SPDX-License-Identifier: MIT
"""cpython.py MIB ROUNDS THREADS: the measurement of bench/spawn.c for CPython's subprocess.Popen: a process that holds
MIB of memory starts /bin/true. CSV lines: mib,threads,way,median_us,p99_us,version."""
import mmap
import subprocess
import sys
import threading
import time

mib, rounds, threads = map(int, sys.argv[1:])
if mib:
    memory = mmap.mmap(-1, mib << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    for at in range(0, mib << 20, 4096):
        memory[at] = 1
samples = []


def call():
    for count in range(rounds + 3):
        start = time.perf_counter()
        child = subprocess.Popen(["/bin/true"])
        held = time.perf_counter() - start
        if child.wait() != 0:
            sys.exit("cpython.py: /bin/true failed")
        if count >= 3:
            samples.append(held * 1e6)


callers = [threading.Thread(target=call) for _ in range(threads)]
for caller in callers:
    caller.start()
for caller in callers:
    caller.join()
samples.sort()
print("%d,%d,CPython subprocess,%.1f,%.1f,%s" % (mib, threads, samples[len(samples) // 2],
                                                 samples[int(len(samples) * 0.99)],
                                                 ".".join(map(str, sys.version_info[:3]))))
