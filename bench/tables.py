# SPDX-License-Identifier: MIT
"""tables.py: writes the tables of bench/RESULTS.md and README.md from the CSV files in bench/results, between the marks
that stand there."""
import os
import statistics
import sys
import textwrap

sys.dont_write_bytecode = True  # nothing is left beside the sources
import reach
from reach import amount, duration
from table_parts import by_rows, by_sizes, by_variant, emphasized, near_a_gibibyte, table

here = os.path.dirname(os.path.abspath(__file__))
directory = os.path.join(here, "results")


def rows(name):
    return reach.rows(directory, name)


def filled(text):
    """The lines that are no table's, at most 120 columns long."""
    filler = textwrap.TextWrapper(120, break_long_words=False, break_on_hyphens=False)
    return "\n".join(line if line.startswith("|") or len(line) <= 120 else filler.fill(line)
                     for line in text.split("\n"))


def replace(path, mark, text):
    with open(path, encoding="utf-8") as file:
        old = file.read()
    # Whoever fills lines may have joined a mark with what comes after it. A mark amid a line has its text there.
    begin = "<!-- %s -->" % mark
    start = old.index(begin)
    at = start + len(begin)
    gap = "\n" if start == 0 or old[start - 1] == "\n" else " "
    new = old[:at] + gap + filled(text) + gap + old[old.index("<!-- end -->", at):]
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
        # The peers with their versions.
        version = found[threads, way, sizes[0]].get("version") if not way.startswith("odf_") else None
        line = ["%s, %s" % (way, version) if version else way]
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
machine, edges = rows("spawn-edges.csv")
EDGES = {"user": "as another user and group", "cgroup": "in another cgroup",
         "missing": "no such program: until it is known",
         "step": "no such working directory: until it is known"}
if edges:
    lines = []
    for row in edges:
        way = row["way"]
        if row["version"] and not way.startswith("odf_"):
            way += ", " + row["version"]
        line = [amount(row["mib"]), EDGES[row["edge"]], way, duration(row["held_median_us"]),
                duration(row["held_p99_us"]), duration(row["reaped_median_us"]),
                row["to_odf"]]
        lines.append(["**%s**" % cell for cell in line] if row["way"].startswith("odf_") else line)
    replace(results, "spawn edges", machine + "\n\n" +
            table(["caller", "case", "way", "held, median", "99 %", "until reaped", "to odf_spawn"], lines))
machine, newer = rows("spawn-newer-libuv.csv")
if newer:
    lines = []
    for row in newer:
        way = row["way"]
        if row["version"] and not way.startswith("odf_"):
            way += ", " + row["version"]
        lines.append([way, duration(row["median_us"]), duration(row["p99_us"]), row["to_floor"]])
    replace(results, "spawn newer", machine + "\n\n" + table(["way", "held, median", "99 %", "times the floor"], lines))
elif any(row.get("version") and row["way"] == "newer libuv uv_spawn" for row in spawn):
    replace(results, "spawn newer", "(In the tables above.)")
machine, published = rows("paper/paper.csv")
published = [row for row in published if row["table"] == "published"]
if published:
    lines = {}
    for row in published:
        lines.setdefault(row["row"], [row["row"]]).append(row["text"])
    header = ["what"] + list(dict.fromkeys(row["what"] for row in published))
    replace(results, "paper", machine + "\n\n" + table(header, list(lines.values())))
machine, fork = rows("fork_overhead.csv")
replace(results, "fork", machine + "\n\n" + table(["caller", "fork", "odf_fork", "ratio"],
        [[r["what"], duration(r["fork_us"]), duration(r["odf_fork_us"]), r["ratio"]] for r in fork]))
machine, start = rows("start.csv")
replace(results, "start", machine + "\n\n" + table(["how", "median", "to plain"],
        [[r["how"], duration(r["median_us"]), r["ratio_to_plain"]] for r in start]))
# The front page: what both benchmarks have in common.
columns = [("1024", "holds 1 GiB"), ("8192", "8 GiB")]
lines = [[way] + [duration(found["1", way, s]["median_us"]) for s, _ in columns]
         for way in ("fork+exec", "libuv uv_spawn", "glibc posix_spawn")]
lines.append(["**odf_spawn**"] + ["**%s**" % duration(found["1", "odf_spawn", s]["median_us"]) for s, _ in columns])
held = {(row["mib"], row["variant"]): row for row in rows("fork-held.csv")[1]}
for variant, name in (("p4k", "fork, to go on in the child"), ("region", "**the same, memory in a snapshot region**")):
    cells_of = [held.get((s, variant)) for s, _ in columns]
    if all(cells_of):
        bold = "**" if variant == "region" else ""
        lines.append([name] + [bold + duration(cell["held_median_us"]) + bold for cell in cells_of])
saves = reach.saves_of(directory)
for variant, name in (("plain", "Redis at BGSAVE"), ("library", "**the same, preloaded**")):
    of = [saves.get((int(mib) // 1024, variant, "save")) for mib, _ in columns]
    if all(of):
        bold = "**" if variant == "library" else ""
        lines.append([name] + [bold + duration(save["fork_us"][0]) + bold for save in of])
replace(os.path.join(here, "..", "README.md"), "gains",
        table(["caller held, median; the caller"] + [name for _, name in columns], lines))

NAMES = {"p4k": "fork, 4 KiB pages", "p2m": "fork, 2 MiB pages", "region": "region",
         "region_next": "region, forked again at once",
         "empty": "fork, no memory", "empty_next": "fork, no memory, again at once"}


def fork_section(mark, make):
    """Fills a mark from the file of that name, as far as it was measured. The table is of the rows."""
    machine, found = rows("fork-%s.csv" % mark)
    if found:
        replace(results, "fork " + mark, machine + "\n\n" + make(found))


def ours(variant, line):
    return ["**%s**" % cell if cell else cell for cell in line] if variant == "region" else line


def cells(of, variants, field, show=duration):
    return [show(of[v][field]) if v in of and of[v][field] else "" for v in variants]


def held_tables(found):
    sizes = list(by_variant(found, "mib"))
    parts = []
    for what, measure in (("Caller held", "held"), ("Fork until the child, which ends at once, is reaped", "reaped")):
        lines = [ours(v, [NAMES[v]] + ["%s (%s)" % (duration(of[v][measure + "_median_us"]),
                                                    duration(of[v][measure + "_p99_us"]))
                                       if v in of else "" for _, of in sizes]) for v in NAMES]
        parts.append(what + ", median (99 %):\n\n" + table([""] + [amount(mib) for (mib,), _ in sizes], lines))
    return "\n\n".join(parts)


def mix_table(found):
    lines = []
    variants = ("p4k", "p2m", "region", "region_next")
    for (child, order, percent, parent), of in by_variant(near_a_gibibyte(found), "child", "order", "child_percent",
                                                          "parent_percent"):
        lines.append(["ends at once" if percent == "0" else "%ss %s %%, %s" % (child, percent, order), parent + " %"] +
                     cells(of, variants, "total_median_us") + cells(of, ["region"], "total_to_p4k", str) +
                     cells(of, ["region"], "total_to_p2m", str) + cells(of, ["region_next"], "total_to_p4k", str) +
                     cells(of, ["region_next"], "round_to_p4k", str))
    return amount(near_a_gibibyte(found)[0]["mib"]) + ":\n\n" + table(
        ["child", "parent writes"] + [NAMES[v] for v in variants] +
        ["region to 4 KiB", "region to 2 MiB", "again at once to 4 KiB", "with the parent's writes"], lines)


def steady_table(found):
    return table(
        ["memory", "parent writes", "child lives", "", "held, median", "99 %", "longest", "rounds a second",
         "keeper's CPU a round", "times as fast"],
        [ours(r["variant"], [amount(r["mib"]), r["parent_percent"] + " %", duration(r["lives_us"]),
                             NAMES[r["variant"]]] +
              [duration(r[c]) for c in ("held_median_us", "held_p99_us", "held_max_us")] +
              [r["rounds_per_s"], duration(r["keeper_us_per_round"]), r["p4k_to_this"]]) for r in found])


def close_table(found):
    return table(["memory", "parent writes", "child reads", "", "held, median", "90 %", "longest", "the writes",
                  "round", "times as fast"],
                 [ours(r["variant"], [amount(r["mib"]), r["parent_percent"] + " %", r["child_percent"] + " %",
                                      NAMES[r["variant"]]] +
                       [duration(r[c]) for c in ("held_median_us", "held_p90_us", "held_max_us", "write_median_us",
                                                 "round_median_us")] +
                       [r["p4k_to_this"]]) for r in found])


def after_table(found):
    return table(["memory", "parent", "child lives", "", "held", "round", "CPU, all", "of it the keeper's",
                  "round to plain", "CPU to plain"],
                 [ours(r["variant"], [amount(r["mib"]), r["parent"] + " all", duration(r["lives_us"]),
                                      NAMES[r["variant"]]] +
                       [duration(r[c]) for c in ("held_median_us", "round_median_us", "cpu_median_us",
                                                 "keeper_median_us")] +
                       [r["round_to_p4k"], r["cpu_to_p4k"]]) for r in found])


def alive_table(found):
    return table(["memory", "children alive", "parent writes", "", "held, median", "90 %", "longest", "the writes",
                  "times as fast", "memory", "to plain"],
                 [ours(r["variant"], [amount(r["mib"]), r["alive"], r["parent_percent"] + " %", NAMES[r["variant"]]] +
                       [duration(r[c]) for c in ("held_median_us", "held_p90_us", "held_max_us", "write_median_us")] +
                       [r["p4k_to_this"], r["memory_mib"] + " MiB", r["memory_to_p4k"]]) for r in found])


def fault_table(found):
    return table(["memory", "first", "", "median", "mean", "99 %", "99.9 %", "worst"],
                 [ours(r["variant"], [amount(r["mib"]), "%s by the %s" % (r["access"], r["side"]),
                                      NAMES[r["variant"]]] +
                       [duration(r[c]) for c in ("median_us", "mean_us", "p99_us", "p999_us", "worst_us")])
                       for r in found])


def sparse_table(found):
    lines = []
    for (reads, width, pages), of in by_variant(near_a_gibibyte(found), "parent_reads", "width_kib", "pages"):
        area = "%s KiB" % width if int(width) < 1024 else amount(int(width) // 1024)
        lines.append([reads, area, pages] + cells(of, ("p4k", "region"), "held_median_us"))
    return amount(near_a_gibibyte(found)[0]["mib"]) + ":\n\n" + table(
        ["read before", "area", "pages written", NAMES["p4k"], NAMES["region"]], lines)


fork_section("held", held_tables)
fork_section("mix", mix_table)
fork_section("steady", steady_table)
fork_section("close", close_table)
fork_section("after", after_table)
fork_section("alive", alive_table)
fork_section("fault", fault_table)
fork_section("sparse", sparse_table)
if reach.lines(directory):
    replace(results, "fork reach", table(reach.HEADER, reach.lines(directory)))


def heap_section(mark, name, make):
    machine, found = rows("heap-%s.csv" % name)
    if found:
        replace(results, "heap " + mark, machine + "\n\n" + make(found))


def shapes_table(found):
    lines = [[row["name"], duration(row["first_plain_us"]) + " / " + duration(row["first_library_us"]),
              duration(row["later_plain_us"]) + " / " + duration(row["later_library_us"]), row["times"],
              duration(row["cpu_plain_us"]) + " / " + duration(row["cpu_library_us"]), row["cpu_times"], row["load"]]
             for row in found]
    return amount(found[0]["mib"]) + " each, " + found[0]["pause_ms"] + " ms between forks, or more:\n\n" + table(
        ["shape", "first fork: plain / preloaded", "later ones", "times faster", "later ones, CPU", "times less",
         "load"], lines)


heap_section("shapes", "shapes", shapes_table)


def cost_table(found):
    """Both settings of huge pages beside each other."""
    settings = list(dict.fromkeys(r["pages"] for r in found))
    of = {(r["pages"], r["workload"], r["variant"]): r for r in found}

    def rate(row):
        return "%.3f (%.3f to %.3f)" % tuple(float(row[c]) for c in ("ratio", "ratio_low", "ratio_high")) if row else ""

    lines = []
    for workload in dict.fromkeys(r["workload"] for r in found):
        line = [workload]
        for pages in settings:
            plain, row, again = (of.get((pages, workload, v)) for v in ("plain", "library", "again"))
            memory = "%.3f (%.0f to %.0f MiB)" % tuple(map(float, (
                row["used_to_plain"], plain["used_mib"], row["used_mib"]))) if row and row["used_to_plain"] else ""
            line += [rate(row), rate(again), memory]
        lines.append(line)
    header = ["program"]
    for pages in settings:
        header += ["rate to plain, huge pages: " + pages, "plain to plain", "memory to plain"]
    return table(header, lines)


def saves_table(_):
    lines = []
    for gib in sorted({key[0] for key in saves}):
        for variant, name in (("plain", "plain"), ("library", "preloaded")):
            of = {w: saves.get((gib, variant, w)) for w in ("before", "save", "after")}
            if not all(of.values()):
                continue
            line = ["%d GiB" % gib, name, duration(of["save"]["fork_us"][0]), "%.1f s" % of["save"]["save_s"][0]]
            for window in of:
                line.append(" / ".join(duration(of[window][c][0]) for c in ("p50_us", "p99_us", "p999_us", "worst_us")))
            lines.append(emphasized({"variant": variant}, line))
    return table(["memory", "", "fork", "save", "before: 50 % / 99 % / 99.9 % / worst", "during the save", "after it"],
                 lines)


def five_table(found):
    lines = []
    for (mib, turn), of in by_rows(found, "mib", "round"):
        for variant, name in (("plain", "plain"), ("library", "preloaded")):
            forks = [duration(r["fork_us"]) for r in of if r["variant"] == variant]
            lines.append(emphasized({"variant": variant}, ["%s MiB" % mib, name] + forks))
    return table(["memory", "", "first save's fork", "second", "third", "fourth", "fifth"], lines)


def gives_table(found):
    """Older files are without writes, and do not say how long a save takes."""
    lines = []
    for (writes, variant), of in by_rows([{"writes": "0", "save_s": "", **r} for r in found], "writes", "variant"):
        columns = ("cow_mib", "before_mib", "during_mib", "after_mib", "peak_mib")
        middles = [statistics.median(float(r[c]) for r in of) for c in columns]
        seconds = "%.1f s" % statistics.median(float(r["save_s"]) for r in of) if of[0]["save_s"] else ""
        lines.append(emphasized({"variant": variant}, [
            "nobody" if writes == "0" else writes + " SETs a second", "preloaded" if variant == "library" else "plain",
            seconds] + ["%.1f MiB" % middle for middle in middles]))
    return table(["who writes", "", "a save", "rdb_last_cow_size", "in use before", "most during the save", "after it",
                  "peak of the group"], lines)


def first_table(found):
    return table(["memory", ""] + ["%s: median, most" % name for _, name in reach.FIRSTS],
                 [emphasized(r, [amount(r["mib"]), "preloaded" if r["variant"] == "library" else "plain"] +
                             ["%s, %s" % (duration(r[w + "_median_us"]), duration(r[w + "_most_us"]))
                              for w, _ in reach.FIRSTS]) for r in found])


def rivals_table(found):
    lines = []
    for (gib, variant), of in by_rows(found, "gib", "variant"):
        forks = [duration(r["fork_us"]) for r in of]
        middle = statistics.median(float(r["fork_us"]) for r in of[1:])
        seconds = statistics.median(float(r["save_s"]) for r in of[1:])
        lines.append(emphasized({"variant": variant}, [
            gib + " GiB", "preloaded" if variant == "library" else "plain", forks[0], duration(middle),
            ", ".join(forks[1:]), "%.1f s" % seconds]))
    return table(["memory", "", "first save's fork", "the others, median", "each", "a save"], lines)


def recovery_table(found):
    return table(["memory", "", "fork", "save"] + ["%s %%: %s" % (percent, what) for percent in (50, 99) for what in (
                     "highest before", "back after", "above it in all")] + ["least answered in 0.1 s"],
                 [emphasized(r, [r["gib"] + " GiB", "preloaded" if r["variant"] == "library" else "plain",
                                 duration(r["fork_us"]), "%.1f s" % float(r["save_s"])] +
                             [cell for p in ("p50", "p99") for cell in (
                                 duration(r[p + "_level_us"]), r[p + "_back_s"] + " s" if r[p + "_back_s"] else "never",
                                 r[p + "_above_s"] + " s")] + [r["least_answered"]]) for r in found])


def asan_table(found):
    return table(["sanitizer", "memory", "plain, executions a second", "preloaded", "times as many"],
                 [[sanitizer, amount(mib)] + ["%s (%s to %s)" % (of[v]["rate"], of[v]["rate_least"], of[v]["rate_most"])
                                              for v in ("plain", "library")] +
                  [of["library"]["rate_to_plain"]] for (sanitizer, mib), of in by_variant(found, "sanitizer", "mib")])


def jobs_table(found):
    return table(["job", "memory", "", "a second", "half of the turns", "held, median", "99 %", "times as many"],
                 [emphasized(r, [r["job"], amount(r["mib"]), "preloaded" if r["variant"] == "library" else "plain",
                                 r["rate"],
                                 "%s to %s" % (r["rate_low"], r["rate_high"]), duration(r["held_median_us"]),
                                 duration(r["held_p99_us"]), r["rate_to_plain"]])
                  for r in found])


def fuzz_table(found):
    return table(["memory", "plain, executions a second", "preloaded", "times as many"],
                 [[amount(mib)] + ["%s (%s to %s)" % (of[v]["rate"], of[v]["rate_least"], of[v]["rate_most"])
                                   for v in ("plain", "library")] +
                  [of["library"]["rate_to_plain"]] for (mib,), of in by_variant(found, "mib")])


def threshold_table(found):
    lines = []
    for (mib, percent), of in by_variant(found, "mib", "percent_written"):
        line = [amount(mib), percent + " %"]
        for column in ("held_median_us", "held_p99_us", "reaped_median_us", "round_median_us"):
            line += ["%s / %s" % tuple(duration(of[v][column]) for v in ("plain", "library"))]
        awake, plain = (float(of[v]["round_median_us"]) for v in ("library", "plain"))
        lines.append(line + ["%.2f" % (awake / plain)])
    return table(["memory", "written between forks", "held, median: plain / awake", "99 %", "until reaped",
                  "all, with the writes", "awake to plain"], lines)


def written_table(found):
    lines = []
    for r in found:
        times = ["%.2f" % (float(r[c + "_us"]) / 1000) for c in ("first", "second", "median", "longest", "all")]
        lines.append(emphasized({"variant": "plain" if r["way"] == "plain" else "library"},
                                [r["percent"] + " %", r["way"]] + times + [r["end_mib"]]))
    return table(["written between forks", "way", "first fork, ms", "second", "median of the others",
                  "longest but the first", "all but the first", "MiB at the end"], lines)


heap_section("cost", "cost", cost_table)
heap_section("saves", "saves", saves_table)
heap_section("jobs", "jobs", jobs_table)
heap_section("fuzz", "fuzz", fuzz_table)
heap_section("five", "five", five_table)
heap_section("gives", "gives", gives_table)
heap_section("rivals", "rivals", rivals_table)
heap_section("recovery", "recovery", recovery_table)
heap_section("asan", "asan", asan_table)
heap_section("first", "first", first_table)
heap_section("threshold", "threshold", threshold_table)
heap_section("written", "written", written_table)
if reach.lines(directory, heap=True):
    replace(results, "heap reach", table(reach.HEADER, reach.lines(directory, heap=True)))


def pool_held_table(found):
    lines = []
    for (threads, way), of in by_sizes(found, "threads", "way"):
        lines.append([way, threads] + ["%s (%s)" % (duration(of[m]["held_median_us"]), duration(of[m]["held_p99_us"]))
                                       for m in of] +
                     [of[m]["processes_per_s"] for m in of])
    sizes = list(dict.fromkeys(r["mib"] for r in found))
    return table(["way", "threads"] + ["held, %s" % amount(m) for m in sizes] +
                 ["a second, %s" % amount(m) for m in sizes], lines)


def pool_tasks_table(found):
    sizes = list(dict.fromkeys(r["mib"] for r in found))
    lines = []
    for (way, at_once), of in by_sizes(found, "way", "at_once"):
        lines.append([("**%s**" % way) if way == "odf_pool_submit" else way, at_once] +
                     [of[m]["tasks_per_s"] if m in of else "" for m in sizes] +
                     [duration(of[m]["median_us"]) if m in of and of[m]["median_us"] else "" for m in sizes])
    return table(["way", "at once"] + ["tasks a second, %s" % amount(m) for m in sizes] +
                 ["from start to result, %s" % amount(m) for m in sizes], lines)


def pool_reach(held, tasks):
    """The aims, from the medians and rates of the files."""
    rate = {}
    for row in tasks:
        rate[row["mib"], row["way"]] = max(rate.get((row["mib"], row["way"]), 0), float(row["tasks_per_s"]))
    lines = []
    for mib in dict.fromkeys(r["mib"] for r in held):
        of = {r["way"]: float(r["held_median_us"]) for r in held if r["mib"] == mib and r["threads"] == "1"}
        part = of["pool (returns at once)"] / of["glibc posix_spawn"]
        lines.append(["caller held, %s: pool without waiting for exec to posix_spawn" % amount(mib), "at most 0.2",
                      "%.2f (%s to %s)" % (part, duration(of["pool (returns at once)"]),
                                           duration(of["glibc posix_spawn"])),
                      "reached" if part <= 0.2 else "**not reached**"])
    for mib in dict.fromkeys(r["mib"] for r in tasks):
        ours_rate, forks = rate[mib, "odf_pool_submit"], rate[mib, "fork for each"]
        name, best = max(((way, r) for (m, way), r in rate.items() if m == mib and way.startswith("CPython")),
                         key=lambda pair: pair[1])
        if int(mib) >= 1024:
            lines.append(["tasks a second, %s: worker tasks to a fork for each" % amount(mib), "at least 20",
                          "%.0f (%.0f to %.1f)" % (ours_rate / forks, ours_rate, forks),
                          "reached" if ours_rate >= 20 * forks else "**not reached**"])
        lines.append(["tasks a second, %s: worker tasks to the best of CPython's pools" % amount(mib), "at least 3",
                      "%.1f (%.0f to %.0f, %s)" % (ours_rate / best, ours_rate, best, name),
                      "reached" if ours_rate >= 3 * best else "**not reached**"])
    return table(["aim", "", "measured", ""], lines)


pool_machine, pool_held = rows("pool-spawn.csv")
tasks_machine, pool_tasks = rows("pool-tasks.csv")
if pool_held and pool_tasks:
    replace(results, "pool spawn", pool_machine + "\n\n" + pool_held_table(pool_held))
    replace(results, "pool tasks", tasks_machine + "\n\n" + pool_tasks_table(pool_tasks))
    replace(results, "pool reach", pool_reach(pool_held, pool_tasks))


# Languages: medians over the pairs of a row.
def runtimes_table(found):
    aims = {"times": ("forks", lambda v: v >= 10), "rate": ("job", lambda v: v >= 0.97),
            "cpu": ("CPU", lambda v: v >= 1 / 1.05), "memory": ("memory", lambda v: v <= 1.03)}
    lines = []
    for name in dict.fromkeys(row["row"] for row in found):
        pairs = [row for row in found if row["row"] == name]
        good = [row for row in pairs if row["answers"] == "same"]
        if len(good) < len(pairs):
            lines.append([name, next(row["answers"] for row in pairs if row not in good)] + [""] * 9)
            continue

        def median(column, over=None):
            return statistics.median(float(row[column]) / (float(row[over]) if over else 1) for row in good)

        of = {"times": median("later_off_us", "later_us"), "rate": median("wall_off_s", "wall_s"),
              "cpu": median("cpu_off_s", "cpu_s"), "memory": median("peak_mib", "peak_off_mib")}
        lines.append([name, "same", str(len(good)), "%.0f MiB" % median("region_mib")] +
                     ["%s / %s" % (duration(median(when + "_off_us")), duration(median(when + "_us")))
                      for when in ("first", "later")] +
                     ["%.1f" % of["times"], "%.2f" % of["rate"], "%.2f" % of["cpu"], "%.2f" % of["memory"],
                      ", ".join(what for key, (what, reached) in aims.items() if not reached(of[key])) or "none"])
    return table(["program, data", "answers", "pairs", "in regions", "first fork held: off / on", "later forks, median",
                  "times faster", "job, rate", "CPU, rate",
                  "peak memory", "aims missed"], lines)


for name in ("runtimes", "runtimes-rest"):
    machine, found = rows(name + ".csv")
    if found:
        load = sorted(float(row["load"]) for row in found if row["load"])
        replace(results, name.replace("-", " "),
                "%s; load %.0f to %.0f:\n\n" % (machine, load[0], load[-1]) + runtimes_table(found))
