# SPDX-License-Identifier: MIT
"""pool.py MIB SECONDS WORKERS: the measurement of bench/pool_tasks.c for CPython's process pools: a process that holds
MIB of memory runs a small function, which doubles an int, in workers, with one task at a time and with up to 64. The
pools are created before the process takes its memory. CSV lines: mib,way,at_once,tasks_per_s,median_us."""
import collections
import concurrent.futures
import mmap
import multiprocessing
import sys
import time


def twice(value):
    return 2 * value


def measure(mib, way, start, end, at_once, seconds):
    under_way, samples, done, begun = collections.deque(), [], 0, 0
    first = now = time.perf_counter()
    while now < first + seconds or under_way:
        while len(under_way) < at_once and now < first + seconds:
            under_way.append((time.perf_counter(), begun, start(begun)))
            begun += 1
        began, value, task = under_way.popleft()
        if end(task) != 2 * value:
            sys.exit("pool.py: %s failed" % way)
        now = time.perf_counter()
        samples.append(now - began)
        done += 1
    samples.sort()
    print("%d,%s,%d,%.0f,%.1f" % (mib, way, at_once, done / (now - first), samples[len(samples) // 2] * 1e6),
          flush=True)


def mapped(mib, way, pool, seconds):
    """Pool.map with chunks of one, which is the least that it does for each task: many at once, and nothing is kept for
    each."""
    count, first = 0, time.perf_counter()
    while time.perf_counter() < first + seconds:
        if pool.map(twice, range(2000), chunksize=1) != [2 * value for value in range(2000)]:
            sys.exit("pool.py: %s failed" % way)
        count += 2000
    print("%d,%s,2000,%.0f," % (mib, way, count / (time.perf_counter() - first)), flush=True)


def main():
    mib, seconds, workers = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    ways = []
    for method in multiprocessing.get_all_start_methods():
        context = multiprocessing.get_context(method)
        pool = context.Pool(workers)
        ways.append(("CPython multiprocessing.Pool (%s)" % method,
                     lambda value, pool=pool: pool.apply_async(twice, (value,)),
                     lambda task: task.get(), pool))
        executor = concurrent.futures.ProcessPoolExecutor(workers, mp_context=context)
        executor.submit(twice, 1).result()
        ways.append(("CPython ProcessPoolExecutor (%s)" % method,
                     lambda value, executor=executor: executor.submit(twice, value),
                     lambda task: task.result(), None))
    if mib:
        memory = mmap.mmap(-1, mib << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        memory.madvise(mmap.MADV_NOHUGEPAGE)
        for at in range(0, mib << 20, 4096):
            memory[at] = 1
    for way, start, end, pool in ways:
        end(start(1))
        measure(mib, way, start, end, 1, seconds)
        measure(mib, way, start, end, 64, seconds)
        if pool is not None:
            mapped(mib, way + " map", pool, seconds)


if __name__ == "__main__":
    main()
