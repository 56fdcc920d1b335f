# SPDX-License-Identifier: MIT
"""reach.py [DIRECTORY [heap]]: what regions, or the heap, reach of their aims, from the files that bench/fork.sh or
bench/heap.sh wrote. tables.py puts the same tables into bench/RESULTS.md."""
import csv
import os
import sys


def rows(directory, name):
    """The first line of a CSV file, which tells of the machine, and its rows; nothing if it was not measured."""
    path = os.path.join(directory, name)
    if not os.path.exists(path):
        return "", []
    with open(path, encoding="utf-8") as file:
        machine = file.readline().lstrip("# ").strip()
        return machine, list(csv.DictReader(file))


def duration(us):
    us = float(us)
    if us == 0:
        return "0"
    if us < 10:
        return "%.1f us" % us
    return "%.0f us" % us if us < 1000 else "%.1f ms" % (us / 1000) if us < 100000 else "%.0f ms" % (us / 1000)


def amount(mib):
    return "%d GiB" % (int(mib) // 1024) if int(mib) >= 1024 else "%d MiB" % int(mib)


def verdict(reached):
    return "reached" if reached else "**not reached**"


def held_aims(directory):
    held = {(int(r["mib"]), r["variant"]): r for r in rows(directory, "fork-held.csv")[1]}
    for mib, aim in ((1024, 65), (8192, 500)):
        if (mib, "p4k") not in held or (mib, "region") not in held:
            continue
        plain, region = (float(held[mib, v]["held_median_us"]) for v in ("p4k", "region"))
        yield ["caller held, %s: plain fork to region" % amount(mib), "at least %d" % aim, "%.0f (%s to %s)" % (
            plain / region, duration(plain), duration(region)), verdict(plain / region >= aim)]
    for variant, limit, what in (("region", "empty", "region"),
                                 ("region_next", "empty_next", "region forked again at once")):
        ratios = {m: float(held[m, variant]["held_median_us"]) / float(held[m, limit]["held_median_us"])
                  for m, v in held if v == variant and (m, limit) in held}
        if ratios:
            text = ", ".join("%.2f at %s" % (ratios[m], amount(m)) for m in sorted(ratios))
            yield ["caller held: %s to a process of nothing" % what, "at most 1.3", text,
                   verdict(max(ratios.values()) <= 1.3)]


def mix_name(row):
    return "%s, child %ss %s %% (%s), parent wrote %s %%" % (
        amount(row["mib"]), row["child"], row["child_percent"], row["order"], row["parent_percent"])


def mix_aims(directory):
    """Large mixes have four rounds, and one of them may meet other work: from fork to reaped, a mix is above plain's if
    it is by the median and by the fastest round. The file has no fastest round with the writes."""
    mixes = rows(directory, "fork-mix.csv")[1]
    least = {mix_name(r): float(r["total_min_us"]) for r in mixes if r["variant"] == "p4k" and r.get("total_min_us")}
    for variant, what in (("region", "region"), ("region_next", "region forked again at once")):
        for column, whole, has_fastest in (("total_to_p4k", "fork to reaped", bool(least)),
                                           ("round_to_p4k", "the parent's writes before it included", False)):
            found = [r for r in mixes if r["variant"] == variant and r[column]]
            if not found:
                continue

            def ratios(row):
                both = [float(row[column])]
                return both + ([float(row["total_min_us"]) / least[mix_name(row)]] if has_fastest else [])

            worst = max(found, key=lambda r: min(ratios(r)))
            above = sum(min(ratios(r)) > 1 for r in found)
            measured = "%s (%s); %d of %d above 1%s" % (
                ", ".join("%.2f" % ratio for ratio in ratios(worst)) + (" by the fastest round" if has_fastest else ""),
                mix_name(worst), above, len(found), ", by median and by the fastest round" if has_fastest else "")
            yield ["slowest mix, %s: %s to plain fork" % (whole, what), "at most 1", measured, verdict(above == 0)]


def steady_aims(directory):
    steady = {(r["mib"], r["parent_percent"], r["lives_us"], r["variant"]): r
              for r in rows(directory, "fork-steady.csv")[1]}
    for (mib, percent, lives, variant), region in steady.items():
        plain = steady.get((mib, percent, lives, "p4k"))
        if variant != "region" or plain is None:
            continue
        ratio = float(region["p4k_to_this"])
        yield ["forks without end, %s, %s %% written, child lives %s: plain fork to region" % (
                   amount(mib), percent, duration(lives)),
               "at least 20", "%.0f (%s to %s; 99th percentile %s to %s)" % (
                   ratio, duration(plain["held_median_us"]), duration(region["held_median_us"]),
                   duration(plain["held_p99_us"]), duration(region["held_p99_us"])), verdict(ratio >= 20)]


def close_aims(directory):
    for region in rows(directory, "fork-close.csv")[1]:
        if region["variant"] == "region":
            ratio = float(region["p4k_to_this"])
            yield ["forks without a rest from the first one on, %s, %s %% written, child reads 2000 pages: "
                   "plain fork to region" % (amount(region["mib"]), region["parent_percent"]), "at least 20",
                   "%.0f (%s, 90th percentile %s, longest %s)" % (
                       ratio, duration(region["held_median_us"]), duration(region["held_p90_us"]),
                       duration(region["held_max_us"])), verdict(ratio >= 20)]


def after_aims(directory):
    for region in rows(directory, "fork-after.csv")[1]:
        if region["variant"] == "region":
            wall, cpu = float(region["round_to_p4k"]), float(region["cpu_to_p4k"])
            yield ["parent that %s all of %s after each fork, child lives %s: time and CPU to plain" % (
                region["parent"], amount(region["mib"]), duration(region["lives_us"])), "at most 1.05",
                "%.2f and %.2f" % (wall, cpu),
                   verdict(max(wall, cpu) <= 1.05)]


def alive_aims(directory):
    for region in rows(directory, "fork-alive.csv")[1]:
        if region["variant"] == "region":
            ratio = float(region["p4k_to_this"])
            children = "1 child" if region["alive"] == "1" else region["alive"] + " children"
            what = "%s alive, %s, %s %% written between forks: " % (
                children, amount(region["mib"]), region["parent_percent"])
            yield [what + "plain fork to region", "at least 10", "%.1f (%s)" % (
                ratio, duration(region["held_median_us"])), verdict(ratio >= 10)]
            if region["memory_to_p4k"]:  # too few rounds else
                memory = float(region["memory_to_p4k"])
                yield [what + "memory of all, with page tables, to plain", "at most 1.1",
                       "%.2f (%s MiB)" % (memory, region["memory_mib"]), verdict(memory <= 1.1)]


def sparse_aims(directory):
    for row in rows(directory, "fork-sparse.csv")[1]:
        whole, one_percent = int(row["mib"]) * 1024, int(row["mib"]) * 256 // 100
        if row["variant"] == "region" and row["mib"] == "1024" \
                and int(row["width_kib"]) == whole and int(row["pages"]) == one_percent:
            yield ["fork of a region of which nothing is settled, 1 GiB, 1 %% written since, %s read"
                   % row["parent_reads"], "at most 1.5 ms",
                   duration(row["held_median_us"]), verdict(float(row["held_median_us"]) <= 1500)]


def median(values):
    values = sorted(values)
    middle = len(values) // 2
    return values[middle] if len(values) % 2 else (values[middle - 1] + values[middle]) / 2


def cost_aims(directory):
    """Beside a rate that misses its aim stands what plain's is to that of another plain process: the median, and
    between what half of the turns are."""
    every = rows(directory, "heap-cost.csv")[1]
    again = {(r["pages"], r["workload"]): r for r in every if r["variant"] == "again"}
    cost = [r for r in every if r["variant"] == "library"]

    def described(row, column):
        other, text = again.get((row["pages"], row["workload"])), "%s %.3f" % (row["workload"], float(row[column]))
        if other is None:
            return text
        if column != "ratio":
            return text + " (plain to plain %.3f)" % float(other[column])
        return text + " (plain to plain %.3f, half of the turns %.3f to %.3f)" % tuple(
            float(other[c]) for c in ("ratio", "ratio_low", "ratio_high"))

    for pages in dict.fromkeys(r["pages"] for r in cost):
        of = [r for r in cost if r["pages"] == pages]
        small = [r for r in of if r["workload"].startswith("stays small")]
        measured = [r for r in of if r["used_mib"]]
        large = [r for r in measured if float(r["used_mib"]) >= 16]
        for what, column, limit, found in (
                ("rate of a program that stays small", "ratio", 0.99, small),
                ("rate of a program that grows", "ratio", 0.99, [r for r in of if r not in small]),
                ("memory of 16 MiB or more", "used_to_plain", 1.02, large),
                ("memory of less", "used_to_plain", 1.02, [r for r in measured if r not in large])):
            if not found:
                continue
            rate = column == "ratio"
            missed = [r for r in found if (float(r[column]) < limit if rate else float(r[column]) > limit)]
            named = missed or [(min if rate else max)(found, key=lambda r: float(r[column]))]
            text = ", ".join(described(r, column) for r in named) + "; %d of %d beyond" % (len(missed), len(found))
            noise = [r for r in missed if (r["pages"], r["workload"]) in again]
            if rate and noise:
                within = sum(float(r["ratio"]) >= float(again[r["pages"], r["workload"]]["ratio_low"]) for r in noise)
                text += ", %d of them within half of plain's own turns" % within
            yield ["nobody forks, huge pages %s: %s, to plain" % (pages, what),
                   "at %s %.2f" % ("least" if rate else "most", limit), text, verdict(not missed)]


def saves_of(directory):
    """Medians and extremes over the saves: {(gib, variant, window): {column: (median, most)}}."""
    found = {}
    for row in rows(directory, "heap-saves.csv")[1]:
        found.setdefault((int(row["gib"]), row["variant"], row["window"]), []).append(row)
    columns = ("p50_us", "p99_us", "p999_us", "worst_us", "fork_us", "save_s")
    return {key: {c: (median([float(r[c]) for r in of]), max(float(r[c]) for r in of)) for c in columns if of[0][c]}
            for key, of in found.items()}


def save_aims(directory):
    found = saves_of(directory)
    for gib in sorted({key[0] for key in found}):
        if any((gib, v, w) not in found for v in ("plain", "library") for w in ("save", "after")):
            continue
        plain, ours = (found[gib, v, "save"] for v in ("plain", "library"))
        less = 100 * (1 - ours["fork_us"][0] / plain["fork_us"][0])
        limit = found.get((0, "plain", "save"))
        yield ["Redis, %d GiB: less time in the fork of BGSAVE" % gib, "at least 99 %", "%.1f %% (%s to %s%s)" % (
            less, duration(plain["fork_us"][0]), duration(ours["fork_us"][0]),
            "; of a server with no data: %s" % duration(limit["fork_us"][0]) if limit else ""), verdict(less >= 99)]
        for column, name in (("p99_us", "99 %"), ("p999_us", "99.9 %"), ("worst_us", "worst")):
            less = 100 * (1 - ours[column][0] / plain[column][0])
            yield ["Redis, %d GiB: less latency during a save, %s" % (gib, name), "at least 81.76 %",
                   "%.1f %% (%s to %s)" % (
                less, duration(plain[column][0]), duration(ours[column][0])), verdict(less >= 81.76)]
        plain, ours = (found[gib, v, "after"]["worst_us"] for v in ("plain", "library"))
        yield ["Redis, %d GiB: longest request in the seconds after a save" % gib, "at most 1 ms more",
               "%s to %s, median of the saves; %s to %s, all" % (
                   duration(plain[0]), duration(ours[0]), duration(plain[1]), duration(ours[1])),
               verdict(ours[0] <= plain[0] + 1000)]
        plain, ours = (found[gib, v, "after"]["p999_us"][0] for v in ("plain", "library"))
        yield ["Redis, %d GiB: requests in the seconds after a save, 99.9 %%" % gib, "at most 1 ms more",
               "%s to %s" % (duration(plain), duration(ours)), verdict(ours <= plain + 1000)]


def five_aims(directory):
    found = rows(directory, "heap-five.csv")[1]
    plain = [float(r["fork_us"]) for r in found if r["variant"] == "plain"]
    ours = [float(r["fork_us"]) for r in found if r["variant"] == "library"]
    if plain and ours:
        middle = median(plain)
        what = "Redis, %s MiB: five saves, each right after the last: each fork to plain's median"
        late = sum(fork > middle / 10 for fork in ours)
        yield [what % found[0]["mib"], "at most 0.1", "%.2f to %.2f (plain %s); %d of %d above" % (
            min(ours) / middle, max(ours) / middle, duration(middle), late, len(ours)), verdict(late == 0)]


def gives_aims(directory):
    every = rows(directory, "heap-gives.csv")[1]
    for writes in dict.fromkeys(r.get("writes", "0") for r in every):  # older files are without
        yield from gives_aims_of([r for r in every if r.get("writes", "0") == writes], writes)


def gives_aims_of(found, writes):
    def both(column):
        return [median([float(r[column]) for r in found if r["variant"] == v]) for v in ("plain", "library")]

    if len({r["variant"] for r in found}) < 2:
        return
    what = "Redis, %s MiB in values of %s bytes%s: " % (
        found[0]["mib"], found[0]["value"], ", under writes" if writes != "0" else "")
    plain, ours = both("cow_mib")
    yield [what + "rdb_last_cow_size of a save", "at most plain's", "%.2f to %.2f MiB" % (plain, ours),
           verdict(ours <= plain)]
    plain, ours = both("peak_mib")
    yield [what + "peak of the memory cgroup, to plain", "at most 1.02", "%.3f (%.1f to %.1f MiB)" % (
        ours / plain, plain, ours), verdict(ours <= 1.02 * plain)]
    for column, name in (("during_mib", "most in use during a save"), ("after_mib", "in use after it")):
        plain, ours = both(column)
        yield [what + name, "at most 16 MiB more", "%.1f to %.1f MiB" % (plain, ours), verdict(ours <= plain + 16)]


def written_aims(directory):
    of = {(float(r["percent"]), r["way"]): r for r in rows(directory, "heap-written.csv")[1]}
    for percent in sorted({key[0] for key in of}):
        plain, ours = of.get((percent, "plain")), of.get((percent, "preloaded"))
        if plain is None or ours is None:
            continue
        what = "ordinary user without userfaultfd, %s, %g %% written between forks: " % (amount(plain["mib"]), percent)
        ratio = float(ours["longest_us"]) / float(plain["longest_us"])
        yield [what + "longest fork, to plain's", "at most 1.5", "%.2f (%s to %s)" % (
            ratio, duration(plain["longest_us"]), duration(ours["longest_us"])), verdict(ratio <= 1.5)]
        ratio = float(plain["median_us"]) / float(ours["median_us"])
        aim = 3 if percent == 10 else 1
        yield [what + "median, plain fork to preloaded", "at least %d" % aim, "%.2f (%s to %s)" % (
            ratio, duration(plain["median_us"]), duration(ours["median_us"])), verdict(ratio >= aim)]


def first_aims(directory):
    found = rows(directory, "heap-first.csv")[1]
    for plain, ours in zip(found[::2], found[1::2]):
        for what, name in FIRSTS[1:]:
            times = tuple(duration(r[what + end]) for end in ("_median_us", "_most_us") for r in (plain, ours))
            yield ["%s: the parent's first %s after a fork" % (amount(plain["mib"]), name), "at most 50 us more",
                   "%s to %s, at most %s and %s" % times,
                   verdict(float(ours[what + "_median_us"]) <= float(plain[what + "_median_us"]) + 50)]


FIRSTS = (("held", "fork"), ("map", "mmap"), ("fresh", "write to what it mapped"), ("write", "write to a page"),
          ("read", "read of a page"), ("unmap", "munmap"))


PUBLISHED_MS, PUBLISHED_MS_PER_GB = 0.1, 0.005  # the fork of an idle Redis: more than that of an empty one


def idle_of(directory):
    """{gib: {variant: (milliseconds of the fork above that of an empty plain server, MiB saved a second)}}: medians,
    without the first save."""
    found = [r for r in rows(directory, "heap-rivals.csv")[1] if r["save"] != "0"]
    empty = [float(r["fork_us"]) for r in found if float(r["gib"]) == 0 and r["variant"] == "plain"]
    sizes = {}
    for gib in sorted({float(r["gib"]) for r in found} - {0.0} if empty else ()):
        for variant in ("plain", "library"):
            of = [r for r in found if float(r["gib"]) == gib and r["variant"] == variant]
            if of:
                sizes.setdefault(gib, {})[variant] = (
                    (median([float(r["fork_us"]) for r in of]) - median(empty)) / 1000,
                    median([float(r["held_mib"]) / float(r["save_s"]) for r in of]))
    return {gib: of for gib, of in sizes.items() if len(of) == 2}


def line_through(points):
    """Least squares: (at 0, for each 1)."""
    count = len(points)
    middle_x, middle_y = (sum(p[i] for p in points) / count for i in (0, 1))
    slope = sum((x - middle_x) * (y - middle_y) for x, y in points) / sum((x - middle_x) ** 2 for x, _ in points)
    return middle_y - slope * middle_x, slope


def rival_aims(directory):
    idle, gb = idle_of(directory), 1.073741824  # of a GiB
    for gib, of in idle.items():
        aim = PUBLISHED_MS + PUBLISHED_MS_PER_GB * gib * gb
        yield ["idle Redis, %g GiB: fork of BGSAVE above that of an empty server" % gib, "at most %.3f ms" % aim,
               "%.3f ms (plain %.1f ms)" % (of["library"][0], of["plain"][0]), verdict(of["library"][0] <= aim)]
    if len(idle) > 1:
        lines_of = [line_through([(gib * gb, of[v][0]) for gib, of in idle.items()]) for v in ("library", "plain")]
        yield ["idle Redis, %g to %g GiB: growth of that fork, least squares" % (min(idle), max(idle)),
               "at most %g ms a GB" % PUBLISHED_MS_PER_GB, "%.4f ms a GB (from %.3f ms at 0; plain %.2f, from %.1f)" % (
                   *lines_of[0][::-1], *lines_of[1][::-1]), verdict(lines_of[0][1] <= PUBLISHED_MS_PER_GB)]
    for gib, of in idle.items():
        ratio = of["library"][1] / of["plain"][1]
        yield ["idle Redis, %g GiB: throughput of a save, to plain" % gib, "at least 0.97",
               "%.2f (%.0f to %.0f MiB/s)" % (ratio, of["plain"][1], of["library"][1]), verdict(ratio >= 0.97)]
    found = rows(directory, "heap-recovery.csv")[1]
    if not found:
        return
    what = "Redis, %s GiB under load: " % found[0]["gib"]

    def middle(variant, column):
        return median([float(r[column] or "inf") for r in found if r["variant"] == variant])

    for column, name in (("p50", "50th"), ("p99", "99th")):
        figures = [middle(v, column + end) for end in ("_back_s", "_above_s") for v in ("library", "plain")]
        shown = ["never" if figure == float("inf") else "%.1f s" % figure for figure in figures]
        yield [what + "%s percentile back to what it was before the save" % name, "at most 4 s",
               "%s (plain %s); above it for %s in all (plain %s)" % tuple(shown), verdict(figures[0] <= 4)]
    plain, ours = (middle(v, "least_answered") for v in ("plain", "library"))
    yield [what + "least answered in 0.1 s of a save, of what was asked", "at least plain's", "%.2f (plain %.2f)" % (
        ours, plain), verdict(ours >= plain)]
    plain, ours = (median([float(r["held_mib"]) / float(r["save_s"]) for r in found if r["variant"] == v])
                   for v in ("plain", "library"))
    yield [what + "throughput of a save, to plain", "at least 0.97", "%.2f (%.0f to %.0f MiB/s)" % (
        ours / plain, plain, ours), verdict(ours >= 0.97 * plain)]


def job_aims(directory):
    for row in rows(directory, "heap-jobs.csv")[1]:
        if row["variant"] == "library":
            yield ["%s, %s: as many a second, to plain" % (row["job"], amount(row["mib"])), "more than 1",
                   row["rate_to_plain"],
                   verdict(float(row["rate_to_plain"]) > 1)]
    fuzz = [r for r in rows(directory, "heap-fuzz.csv")[1] if r["variant"] == "library"]
    for row in fuzz:
        aim = 9.35 if row is fuzz[-1] else 2.26
        yield ["AFL++, %s: executions a second, to plain" % amount(row["mib"]), "at least %s" % aim,
               row["rate_to_plain"],
               verdict(float(row["rate_to_plain"]) >= aim)]
    for row in rows(directory, "heap-asan.csv")[1]:
        if row["variant"] == "library":
            what = "AFL++, %s, sanitizer: %s: executions a second, to plain" % (amount(row["mib"]), row["sanitizer"])
            yield [what, "at least 1.0", row["rate_to_plain"], verdict(float(row["rate_to_plain"]) >= 1)]


HEADER = ["aim", "", "measured, medians", ""]


def lines(directory, heap=False):
    parts = (cost_aims, save_aims, five_aims, gives_aims, rival_aims, job_aims, first_aims, written_aims) if heap else (
        held_aims, mix_aims, steady_aims, close_aims, after_aims, alive_aims, sparse_aims)
    return [line for part in parts for line in part(directory)]


if __name__ == "__main__":
    found = lines(sys.argv[1] if len(sys.argv) > 1
                  else os.path.join(os.path.dirname(os.path.abspath(__file__)), "results"), sys.argv[2:] == ["heap"])
    for what, aim, measured, reached in found:
        print("%-15s %s (%s): %s" % (reached.strip("*"), what, aim, measured))
