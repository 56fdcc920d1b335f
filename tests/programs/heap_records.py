# SPDX-License-Identifier: MIT
"""Whether the heap was in play. Exits with 1, and says why, where it was not.

heap_records.py forks STATS [--pid PID] [--least COUNT] [--mib MIB] [--all]
    in the records of ODFORK_STATS there are at least COUNT forks (of that process) with at least MIB in regions, none
    failed; --all: every fork is one, but for the first ones: what a process has grown by is taken in when it has grown
    old, or after a fork
heap_records.py ends FILE PROGRAM MIB [COUNT]
    in the file of libheap_seen.so there are at least COUNT processes that ended with at least MIB of regions resident
heap_records.py mapped PID MIB [live]
    the process has at least MIB of regions resident now; live: and none of it is a snapshot's
"""
import argparse
import json
import os
import re
import statistics
import sys


def records(path, pid=None):
    """The records of ODFORK_STATS. A line that is no record raises."""
    found = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            record = json.loads(line)
            if pid is None or record["pid"] == pid:
                found.append(record)
    return found


def forks(path, pid=None):
    return [record for record in records(path, pid) if record["call"] in ("fork", "_Fork")]


def mappings(pid):
    """The mappings of regions of a process: (permissions, KiB long, KiB resident). Of one that has gone: none."""
    found, inside = [], None
    try:
        with open(f"/proc/{pid}/smaps", encoding="utf-8", errors="replace") as file:
            for line in file:
                if header := re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+) ", line):
                    inside = None
                    if "odfork-region" in line:
                        inside = [header[3], (int(header[2], 16) - int(header[1], 16)) >> 10, 0]
                        found.append(inside)
                elif inside is not None and line.startswith("Rss:"):
                    inside[2] = int(line.split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [tuple(mapping) for mapping in found]


def resident_mib(pid):
    return sum(resident for _, _, resident in mappings(pid)) / 1024


def is_live(pid):
    """All that is resident of regions is seen through shared mappings: nothing is a snapshot's. To be asked of a
    process that goes on writing."""
    found = mappings(pid)
    return bool(found) and all(permissions[3] == "s" or resident == 0 for permissions, _, resident in found)


def refuse(*why):
    print(*why)
    sys.exit(1)


def main_forks(arguments):
    parser = argparse.ArgumentParser()
    parser.add_argument("stats")
    parser.add_argument("--pid", type=int)
    parser.add_argument("--least", type=int, default=1)
    parser.add_argument("--mib", type=float, default=1)
    parser.add_argument("--all", action="store_true")
    given = parser.parse_args(arguments)
    if os.environ.get("ODF_TEST_SETTLING") == "no":
        given.least, given.all = 1, False
    if not os.path.exists(given.stats):
        refuse("nothing was recorded")
    found = forks(given.stats, given.pid)
    failed = [record for record in found if record["error"] != 0]
    all_found = len(found)
    good = [record for record in found if record["strategy"] == "region"
            and record["region_bytes"] >= given.mib * 1048576]
    if failed:
        refuse(len(failed), "forks failed, such as", failed[0])
    while found and found[0] not in good:
        found.pop(0)
    if len(good) < given.least or given.all and len(good) != len(found):
        others = [record for record in found if record not in good]
        refuse(f"{len(good)} of {all_found} forks had {given.mib:g} MiB in regions; another is",
               others[0] if others else "not there")
    held = sorted(record["held_us"] for record in good)
    largest = max(record["region_bytes"] for record in good)
    print(f"# {len(good)} of {all_found} forks with regions of up to {largest >> 20} MiB, held "
          f"{statistics.median(held):.0f} us (median), {held[-1]:.0f} us (worst)")


def main_ends(arguments):
    path, program, mib = arguments[0], re.compile(arguments[1]), float(arguments[2])
    least = int(arguments[3]) if len(arguments) > 3 else 1
    if not os.path.exists(path):
        refuse("nothing was seen")
    found = []
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            _, _, resident, name = line.rstrip("\n").split(" ", 3)
            if program.fullmatch(os.path.basename(name)):
                found.append(int(resident) / 1024)
    good = [resident for resident in found if resident >= mib]
    if len(good) < least:
        refuse(f"{len(good)} of {len(found)} processes of {program.pattern} ended with {mib:g} MiB in regions;",
               f"the largest had {max(found, default=0):.1f}")
    print(f"# {len(good)} of {len(found)} processes of {program.pattern} ended with up to {max(good):.0f} MiB",
          "in regions")


def main_mapped(arguments):
    pid, mib = int(arguments[0]), float(arguments[1])
    resident = resident_mib(pid)
    if resident < mib:
        refuse(f"{resident:.1f} MiB of regions are resident, not {mib:g}: {mappings(pid)}")
    if "live" in arguments[2:] and not is_live(pid):
        refuse(f"not settled: {mappings(pid)}")
    print(f"# {resident:.0f} MiB of regions resident")


if __name__ == "__main__":
    {"forks": main_forks, "ends": main_ends, "mapped": main_mapped}[sys.argv[1]](sys.argv[2:])
