#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Sums up what gcov has counted: coverage.py BUILD LIST [PAGE]. A line of src/ is covered if it was run in one of the
objects into which it was compiled. Prints a table; the lines that were not go to LIST, as FILE: FROM-TO; and by folder,
with each file of which less than four fifths ran, into PAGE between its marks."""
import collections
import datetime
import glob
import json
import os
import re
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

if len(sys.argv) > 3:
    commit = subprocess.run(["git", "log", "-1", "--format=%h"], capture_output=True, text=True, check=True).stdout
    table = ["Of %s, %s:" % (commit.strip(), datetime.date.today()), "",
             "| folder, and its files below 80 % | lines | run |", "|---|---|---|"]
    for folder, (total, done) in sorted(folders.items(), key=lambda item: (item[0] == "all", item[0])):
        name = "`%s`" % folder if folder != "all" else folder
        table.append("| %s | %d | %.0f %% |" % (name, total, 100 * done / total))
        table += ["| - `%s` | %d | %.0f %% |" % (os.path.basename(path), lines, 100 * ran / lines)
                  for path, lines, ran in rows if os.path.dirname(path) == folder and ran < 0.8 * lines]
    with open(sys.argv[3], encoding="utf-8") as page:
        text = page.read()
    with open(sys.argv[3], "w", encoding="utf-8") as page:
        page.write(re.sub(r"(?s)(<!-- table -->\n).*(<!-- end -->)",
                          lambda found: found[1] + "\n".join(table) + "\n" + found[2], text))
