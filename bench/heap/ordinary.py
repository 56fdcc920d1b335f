# SPDX-License-Identifier: MIT
"""A single-threaded program of a user without access to userfaultfd: runs bench/written.sh, which writes the file of
results."""
import csv
import os
import subprocess

from pairs import PATIENCE, Failed, say

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "written.sh")
# MiB, forks, pairs.
FULL, QUICK = (500, 100, 3), (128, 20, 1)


def run(setting):
    mib, *others = QUICK if setting.quick else FULL
    path = os.path.abspath(os.path.join(setting.results, "heap-written.csv"))
    arguments = ["--csv", path, "--note", setting.note] + [
        str(a) for a in ((setting.sizes or [mib])[0], *others, setting.library)]
    process = subprocess.Popen([SCRIPT] + arguments, env={**os.environ, "PERCENTS": "0 1 10 100"})
    try:
        status = process.wait(4 * PATIENCE)
    except subprocess.TimeoutExpired:
        raise Failed("bench/written.sh does not end")
    finally:
        if process.poll() is None:
            process.terminate()  # its trap removes what it made
            process.wait()
    if status != 0:
        raise Failed("bench/written.sh: status %d" % status)
    with open(path, encoding="utf-8") as file:
        for row in csv.DictReader(line for line in file if not line.startswith("#")):
            say("%s %% written, %-9s: median %6.0f us, longest %6.0f us" % (
                row["percent"], row["way"], float(row["median_us"]), float(row["longest_us"])))
