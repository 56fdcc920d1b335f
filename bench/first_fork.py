#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""first_fork.py PROGRAM LIBRARY OTHER_LIBRARY [ROUNDS]: runs first_fork (cc -O1 -fno-builtin bench/first_fork.c) preloaded with each of the two in
turn, and prints medians and those of the ratios of each pair."""
import os
import statistics
import subprocess
import sys


def run(program, library):
    result = subprocess.run([program], env={**os.environ, "LD_PRELOAD": library}, capture_output=True, text=True, check=True)
    return [float(value) for value in result.stdout.split()]


def main():
    program, libraries, rounds = sys.argv[1], sys.argv[2:4], int(sys.argv[4]) if len(sys.argv) > 4 else 150
    pairs = []
    for number in range(rounds):
        order = libraries if number % 2 else libraries[::-1]
        found = {library: run(program, library) for library in order}
        pairs.append([found[library] for library in libraries])
    for index, name in enumerate(("malloc that wakes", "first fork")):
        first, second = ([pair[side][index] for pair in pairs] for side in (0, 1))
        ratio = statistics.median(b / a for a, b in zip(first, second))
        print(f"{name}: {statistics.median(first):.0f} us, {statistics.median(second):.0f} us, ratio of pairs {ratio:.2f}")
    both = statistics.median(sum(pair[1]) / sum(pair[0]) for pair in pairs)
    print(f"both: ratio of pairs {both:.2f}")


if __name__ == "__main__":
    main()
