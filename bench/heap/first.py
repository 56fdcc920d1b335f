# SPDX-License-Identifier: MIT
"""How long a parent waits in its first calls and faults after a fork: mmap, page faults, munmap (first.c)."""
from pairs import both, median, say, take_turns, write_table
from saves import available

WHATS = ("held", "map", "fresh", "write", "read", "unmap")


def run(setting):
    rows = []
    fields = [what + end for what in WHATS for end in ("_median_us", "_most_us")]
    for mib in setting.sizes or ([1024] if setting.quick else [4096, 8192]):
        if available() < 2 * mib / 1024 + 2:
            say("%d MiB, twice: left out, as only %.1f GiB of memory are available" % (mib, available()))
            continue
        workers = both(setting, [setting.program("first"), str(mib)], heap="auto")
        try:
            for worker in workers:
                worker.turn(2)
            found = take_turns(workers, 2 if setting.quick else 4, 10 if setting.quick else 20, fields)
            for worker in workers:
                row = {"mib": mib, "variant": worker.variant}
                for what in WHATS:
                    row[what + "_median_us"] = "%.2f" % median(found[worker.variant][what + "_median_us"])
                    row[what + "_most_us"] = "%.2f" % max(found[worker.variant][what + "_most_us"])
                row["region_mib"] = "%.0f" % worker.memory()["region"]
                rows.append(row)
                worker.close()
        finally:
            for worker in workers:
                worker.kill()
        for what in WHATS:
            say("%d MiB, %-5s: %s us plain, %s us with the library; at most %s and %s" % (
                mib, what, *(row[what + end] for end in ("_median_us", "_most_us") for row in rows[-2:])))
    write_table(setting, "first", rows)
