# SPDX-License-Identifier: MIT
"""CPython: a dict of lists and strings, arrays, tables, multiprocessing's pools. job.py objects|numpy|pandas|pool"""
import multiprocessing
import os
import sys
import time

kind = sys.argv[1]
mib, forks, pause = int(os.environ.get("MB", 600)), int(os.environ.get("FORKS", 5)), float(os.environ.get("PAUSE", 0.1))
sys.dont_write_bytecode = True
if kind == "numpy":
    import numpy
    # Half of it one array, the rest small ones.
    data = [numpy.arange(mib << 16, dtype=float)] + [numpy.arange(1 << 15, dtype=float) * i for i in range(mib * 2)]

    def change(shift):
        for array in data:
            array[shift::4096] += shift + 1

    def check():
        return sum(float(array[::3].sum()) for array in data)
elif kind == "pandas":
    import pandas
    count = mib * 9000
    data = pandas.DataFrame({"key": range(count), "value": [i / 7 for i in range(count)],
                             "text": ["text of %d" % i for i in range(count)]})

    def change(shift):
        data.loc[data.index[shift::4096], "value"] += shift + 1

    def check():
        return float(data["value"].sum()) + int(data["key"][::3].sum()) + int(data["text"][::31].str.len().sum())
else:
    count = mib * 3300
    data = {i: [i, "value of %d" % i, (i, i + 1)] for i in range(count)}

    def change(shift):
        for i in range(shift, count, 2000):
            data[i] = [i + shift, "changed %d" % shift, (shift, i)]

    def part(first, step):
        return sum(data[i][0] + len(data[i][1]) + data[i][2][1] for i in range(first, count, step))

    def check():
        return part(0, 31)


def in_pool(number):
    return part(number, 16)


if __name__ == "__main__":
    for turn in range(forks):
        if kind == "pool":
            with multiprocessing.get_context("fork").Pool(2) as pool:
                print("children", turn, pool.map(in_pool, range(16)), flush=True)
        else:
            pid = os.fork()
            if pid == 0:
                change(turn + 100)
                print("child", turn, check(), flush=True)
                os._exit(turn)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            if status != turn:
                sys.exit("child ended with %d" % status)
        change(turn)
        print("parent", turn, check(), flush=True)
        time.sleep(pause)
    print("end", check())
