# SPDX-License-Identifier: MIT
"""tables.py: writes the tables of bench/RESULTS.md and README.md from the CSV files in bench/results, between the marks that stand there."""
import csv
import os
import re

here = os.path.dirname(os.path.abspath(__file__))


def rows(name):
    with open(os.path.join(here, "results", name), encoding="utf-8") as file:
        machine = file.readline().lstrip("# ").strip()
        return machine, list(csv.DictReader(file))


def duration(us):
    us = float(us)
    return "%.0f us" % us if us < 1000 else "%.1f ms" % (us / 1000) if us < 100000 else "%.0f ms" % (us / 1000)


def table(header, lines):
    return "\n".join(["| " + " | ".join(header) + " |", "|" + "---|" * len(header)] + ["| " + " | ".join(line) + " |" for line in lines])


def replace(path, mark, text):
    with open(path, encoding="utf-8") as file:
        old = file.read()
    begin, end = "<!-- %s -->\n" % mark, "\n<!-- end -->"
    at = old.index(begin) + len(begin)
    new = old[:at] + text + old[old.index(end, at):]
    with open(path, "w", encoding="utf-8") as file:
        file.write(new)


machine, spawn = rows("spawn.csv")
sizes = ["16", "1024", "8192"]
names = {"16": "16 MiB", "1024": "1 GiB", "8192": "8 GiB"}
found = {(row["threads"], row["way"], row["mib"]): row for row in spawn}
ways = list(dict.fromkeys(row["way"] for row in spawn))
results = os.path.join(here, "RESULTS.md")
text = []
for threads in ("1", "2"):
    lines = []
    for way in ways:
        line = [way]
        for size in sizes:
            row = found[threads, way, size]
            line.append("%s (99 %%: %s)" % (duration(row["median_us"]), duration(row["p99_us"])))
        line.append(" / ".join("%.2f" % float(found[threads, way, size]["to_floor"]) for size in sizes))
        lines.append(line)
    text.append("%s, %s:\n\n" % ("One thread" if threads == "1" else "Two threads at once", machine) +
                table(["way"] + ["from " + names[s] for s in sizes] + ["times the floor"], lines))
replace(results, "spawn", "\n\n".join(text))
floor = sorted(float(found[t, "odf_spawn", s]["to_floor"]) for t in "12" for s in sizes)
replace(results, "floor", "%.2f to %.2f times the floor" % (floor[0], floor[-1]))
machine, fork = rows("fork_overhead.csv")
replace(results, "fork", machine + "\n\n" + table(["caller", "fork", "odf_fork", "ratio"],
        [[r["what"], duration(r["fork_us"]), duration(r["odf_fork_us"]), r["ratio"]] for r in fork]))
machine, start = rows("start.csv")
replace(results, "start", machine + "\n\n" + table(["how", "median", "to plain"],
        [[r["how"], duration(r["median_us"]), r["ratio_to_plain"]] for r in start]))
lines = []
for way in ("fork+exec", "libuv uv_spawn", "glibc posix_spawn", "odf_spawn"):
    bold = "**" if way == "odf_spawn" else ""
    lines.append([bold + way + bold] + [bold + duration(found["1", way, s]["median_us"]) + bold for s in sizes])
replace(os.path.join(here, "..", "README.md"), "spawn", table(["caller held while it starts a program, median"] + ["from " + names[s] for s in sizes], lines))
