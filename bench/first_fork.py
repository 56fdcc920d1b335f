#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""first_fork.py PROGRAM ROUNDS LIBRARY...: runs first_fork (cc -O1 -fno-builtin bench/first_fork.c) in turns: plain,
and with each library preloaded and ODFORK_HEAP=auto and =on. The memory is from malloc or from mmap and written just
before the fork, or from malloc and written 3 s before it. Prints medians in microseconds, of the caller's processor
time and by the clock; and for the forks the medians of the ratios to plain, and to the first library, of the same
turn."""
import os
import statistics
import subprocess
import sys


def run(program, rest, kind, library, heap):
    environment = dict(os.environ)
    if library is not None:
        environment.update(LD_PRELOAD=library, ODFORK_HEAP=heap)
    command = [program, str(rest)] + (["mapped"] if kind == "mmap" else [])
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return [float(value) for value in result.stdout.split()]


def main():
    program, rounds, libraries = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    ways = [("plain", None, "")] + [(f"{number} {heap}", library, heap) for number, library in enumerate(libraries, 1)
                                   for heap in ("auto", "on")]
    print(f"load {os.getloadavg()[0]:.0f} at the start")
    print("| memory | way | CPU: the call | first writes | fork | clock: the call | first writes | fork |"
          " fork, CPU, of plain's | of the first library's |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for kind, rest in (("malloc", 0), ("mmap", 0), ("malloc", 3000)):
        turns = []
        for number in range(rounds if rest == 0 else (rounds + 3) // 4):
            order = ways if number % 2 else ways[::-1]
            turns.append({way[0]: run(program, rest, kind, *way[1:]) for way in order})
        for name, _, heap in ways:
            clock, processor = ([statistics.median(turn[name][column] for turn in turns) for column in columns]
                                for columns in ((0, 1, 2), (3, 4, 5)))
            ratios = [statistics.median(turn[name][5] / turn[other][5] for turn in turns)
                      for other in ("plain", f"1 {heap}" if heap else "plain")]
            memory = f"{kind}, {rest // 1000} s before" if rest else kind
            print("|", " | ".join([memory, name] + [f"{value:.0f}" for value in processor + clock] +
                                  [f"{ratio:.2f}" for ratio in ratios]), "|")


if __name__ == "__main__":
    main()
