#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Sums up what gcov has counted: coverage.py BUILD LIST. A line of src/ is covered if it was run in one of the objects
into which it was compiled. Prints a table; the lines that were not go to LIST, as FILE: FROM-TO."""
import collections
import glob
import json
import os
import subprocess
import sys

build, listed = os.path.abspath(sys.argv[1]), sys.argv[2]
counts = collections.defaultdict(dict)  # file: line: how often
notes = [name for name in glob.glob(build + "/**/*.gcno", recursive=True) if "_src_" in name or "/src_" in name]
for start in range(0, len(notes), 50):
    answer = subprocess.run(["gcov", "--json-format", "--stdout"] + notes[start:start + 50], cwd=build,
                            capture_output=True, text=True, check=True).stdout
    for line in answer.splitlines():
        if not line.startswith("{"):
            continue
        for file in json.loads(line)["files"]:
            path = os.path.relpath(os.path.normpath(os.path.join(build, file["file"])))
            if path.startswith("src/"):
                for one in file["lines"]:
                    number = one["line_number"]
                    counts[path][number] = max(counts[path].get(number, 0), one["count"])

folders = collections.defaultdict(lambda: [0, 0])
rows = []
with open(listed, "w", encoding="utf-8") as out:
    for path in sorted(counts):
        lines = counts[path]
        done = sum(count > 0 for count in lines.values())
        rows.append((path, len(lines), done))
        for key in os.path.dirname(path), "all":
            folders[key][0] += len(lines)
            folders[key][1] += done
        run = []
        for number in sorted(lines) + [None]:
            if number is not None and lines[number] == 0:
                run.append(number)
            elif run:
                out.write("%s: %s\n" % (path, run[0] if run[0] == run[-1] else "%d-%d" % (run[0], run[-1])))
                run = []
for path, total, done in [(key + "/", *value) for key, value in sorted(folders.items()) if key != "all"] + rows + \
        [("all", *folders["all"])]:
    print("%-40s %6d lines %6d run %5.1f %%" % (path, total, done, 100 * done / total if total else 100))
