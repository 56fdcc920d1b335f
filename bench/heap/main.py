# SPDX-License-Identifier: MIT
"""main.py: the parts of bench/heap.sh, which calls it and explains them."""
import argparse
import os
import shutil
import signal
import sys
import tempfile
import time

sys.dont_write_bytecode = True
import cost
import first
import jobs
import more_saves
import ordinary
import rivals
import saves
import shapes
from pairs import Failed, Setting, say

PARTS = {
    "cost": cost.run,
    "saves": saves.run,
    "five": more_saves.five,
    "gives": more_saves.gives,
    "sqlite": lambda setting: jobs.run(setting, (jobs.sqlite,)),  # of bench/paper.sh
    "jobs": lambda setting: jobs.run(setting, (jobs.sqlite, jobs.interpreters)),
    "fuzz": jobs.fuzz,
    "asan": jobs.fuzz_sanitized,
    "first": first.run,
    "threshold": jobs.threshold,
    "ordinary": ordinary.run,
    "shapes": shapes.run,
    "rivals": rivals.run,
}


def size(text):
    return int(text) if text.isdigit() else float(text)


def roomy():
    """A file system in memory, if there is one with room: Redis's snapshots are not to wait for a disk."""
    try:
        found = os.statvfs("/dev/shm")
    except OSError:
        return None
    return "/dev/shm" if found.f_bavail * found.f_frsize > 4 << 30 else None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", required=True, type=lambda text: text.split(","))
    parser.add_argument("--sizes", type=lambda text: [size(part) for part in text.split(",")])
    for name in ("library", "programs", "target", "results", "note", "pages"):
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--huge", action="store_true", help="huge pages beside, where the program's malloc is libc's")
    parser.add_argument("--again", action="store_true", help="adds to the file of results")
    options = parser.parse_args()
    if set(options.only) - set(PARTS):
        parser.error("parts are " + ", ".join(PARTS))
    failed = 0
    # By an exception, so that servers end and what they wrote goes.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    for name in options.only:
        say("%s:" % name)
        work, start = tempfile.mkdtemp(prefix="odfork-heap-", dir=roomy()), time.monotonic()
        try:
            PARTS[name](Setting(options, work))
        except Failed as failure:
            # The others can still be measured; this one is not passed over in silence.
            print("FAILED: %s: %s" % (name, failure), file=sys.stderr, flush=True)
            failed = 1
        finally:
            shutil.rmtree(work, ignore_errors=True)
        say("%s took %.0f s" % (name, time.monotonic() - start))
    return failed


if __name__ == "__main__":
    sys.exit(main())
