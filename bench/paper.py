# SPDX-License-Identifier: MIT
"""paper.py DIRECTORY: makes the page of bench/paper.sh from the CSV files in DIRECTORY: paper.html, its plots as
paper-*.svg, and all figures of its tables as paper.csv. The page names each part that was not measured."""
import csv
import html
import os
import sys

sys.dont_write_bytecode = True
import paper_plots as plots
from reach import amount, duration, rows, saves_of

NAMES = {"p4k": "fork, 4 KiB pages", "region": "fork, memory in a region",
         "region_next": "the same, forked again at once", "p2m": "fork, 2 MiB pages",
         "empty": "fork of a process with no memory"}
WAYS = {"p4k": "plain", "region": "ours", "region_next": "next", "p2m": "huge", "empty": "empty"}
VARIANTS = {"plain": ("plain", "plain"), "library": ("ours", "with libodfork"), "huge": ("huge", "plain, 2 MiB pages")}

# As published by others; nothing of it was measured here. MiB, milliseconds.
ON_DEMAND = "Zhao, Gong and Fonseca: On-demand-fork, EuroSys '21"
ASYNC = "reported for Async-fork (Pang and others, VLDB '23)"
ASYNC_MIB = (1536, 51200)
ASYNC_MS = {"plain": (8.39, 280), "async": (0.221, 0.459)}

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "paper.css"), encoding="utf-8") as style:
    STYLE = style.read()


# ---- The page and what it is made of -------------------------------------------------------------------------------


def cell_html(title, text):
    return '<td data-of="%s">%s</td>' % (html.escape(title), html.escape(text))


class Page:
    def __init__(self, directory):
        self.directory, self.parts, self.figures, self.machines = directory, [], [], []

    def rows(self, name):
        machine, found = rows(self.directory, name)
        if machine and machine not in self.machines:
            self.machines.append(machine)
        return found

    def text(self, text):
        self.parts.append("<p>%s</p>" % html.escape(text))

    def head(self, text):
        self.parts.append("<h2>%s</h2>" % html.escape(text))

    def missing(self, what):
        self.parts.append("<p><em>%s was not measured.</em></p>" % html.escape(what))

    def table(self, name, header, lines):
        """A line is (way, cells). A cell is text, or (figure for the CSV file, text); the first is the row's name."""
        titles = "".join("<th>%s</th>" % html.escape(title) for title in header)
        of = ['<table id="%s">' % name, "<thead><tr>%s</tr></thead>" % titles, "<tbody>"]
        for way, cells in lines:
            cells = [cell if isinstance(cell, tuple) else ("", cell) for cell in cells]
            shown = "".join(cell_html(title, text) for title, (_, text) in zip(header, cells))
            of.append("<tr%s>%s</tr>" % (' class="ours"' if way == "ours" else "", shown))
            for title, (value, text) in list(zip(header, cells))[1:]:
                if value != "" or name == "published":
                    row = cells[0][1]
                    figure = {"table": name, "row": row, "way": way, "what": title, "value": value, "text": text}
                    self.figures.append(figure)
        self.parts.append('<div class="wide">%s</tbody></table></div>' % "\n".join(of))

    def plots(self, *named):
        """Each is (name of the file, caption, SVG)."""
        figure = "<figure><figcaption>%s</figcaption>%s</figure>"
        figures = "\n".join(figure % (html.escape(caption), svg) for _, caption, svg in named)
        self.parts.append('<div class="plots">%s</div>' % figures)
        for name, _, svg in named:
            with open(os.path.join(self.directory, "paper-%s.svg" % name), "w", encoding="utf-8") as file:
                file.write(plots.alone(svg))

    def write(self, title, intro):
        machines = "\n".join('<p class="weak">Measured on %s</p>' % html.escape(machine) for machine in self.machines)
        head = ['<meta charset="utf-8">', '<meta name="viewport" content="width=device-width, initial-scale=1">',
                "<title>%s</title>" % html.escape(title), "<style>", STYLE + plots.STYLE + "</style>"]
        body = ["<h1>%s</h1>" % html.escape(title), "<p>%s</p>" % html.escape(intro), machines] + self.parts
        with open(os.path.join(self.directory, "paper.html"), "w", encoding="utf-8") as file:
            file.write('<!DOCTYPE html>\n<html lang="en">\n<head>\n%s\n</head>\n<body>\n%s\n</body>\n</html>\n' % (
                "\n".join(head), "\n".join(body)))
        with open(os.path.join(self.directory, "paper.csv"), "w", encoding="utf-8", newline="") as file:
            file.write("# %s\n" % " | ".join(self.machines))
            writer = csv.DictWriter(file, ["table", "row", "way", "what", "value", "text"], lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.figures)


# ---- Figures and their texts ---------------------------------------------------------------------------------------


def time_of(us):
    return (float(us), duration(us))


def fine_time(us):
    us = float(us)
    return (us, "%.2f us" % us if us < 100 else duration(us))


def times(plain, other):
    return (round(float(plain) / float(other), 3), "%.1f" % (float(plain) / float(other)))


def percent_more(rate, plain):
    """Nothing of plain itself."""
    if rate == plain:
        return ""
    more = 100 * (float(rate) / float(plain) - 1)
    return (round(more, 1), "%+.0f %%" % more)


def axis_amount(mib):
    return amount(int(mib))


def axis_duration(us):
    if us < 1000:
        return "%g us" % us
    return "%.0f ms" % (us / 1000) if us < 1e6 else "%.0f s" % (us / 1e6)


# ---- The parts -----------------------------------------------------------------------------------------------------


def held_of(page):
    return {(int(r["mib"]), r["variant"]): float(r["held_median_us"]) for r in page.rows("fork-held.csv")}


def held(page):
    """The call, by size."""
    of = held_of(page)
    page.head("The call, by size")
    if not of:
        return page.missing("The call")
    sizes = sorted({mib for mib, _ in of})
    page.text("How long fork() holds a process that holds so much memory; medians. Each kind of memory is in a "
              "process of its own, and they take turns. A region is one that has come to rest, but in the row of "
              "forks that follow each other at once.")
    series = [(WAYS[v], NAMES[v], [(mib, of[mib, v]) for mib in sizes if (mib, v) in of]) for v in NAMES]
    series = [one for one in series if one[2]]
    for way, name, which in (("published", "Async-fork as reported, an idle Redis", "async"),
                             ("published plain", "plain fork beside it, as reported", "plain")):
        series.append((way, name, [(mib, ms * 1000) for mib, ms in zip(ASYNC_MIB, ASYNC_MS[which])]))
    svg = plots.lines("Caller held in fork(), by memory", series, axis_amount, axis_duration)
    page.plots(("held", "Caller held in fork()", svg))
    lines = []
    for v in NAMES:
        if any((mib, v) in of for mib in sizes):
            cells = [time_of(of[mib, v]) if (mib, v) in of else "" for mib in sizes]
            lines.append((WAYS[v], [NAMES[v]] + cells))
    for v, name in (("region", "plain to region: times as fast"), ("p2m", "plain to 2 MiB pages: times as fast")):
        cells = [times(of[mib, "p4k"], of[mib, v]) if (mib, v) in of and (mib, "p4k") in of else "" for mib in sizes]
        lines.append((WAYS[v], [name] + cells))
    page.table("held", ["memory"] + [amount(mib) for mib in sizes], lines)
    return None


def fault(page):
    found = page.rows("fork-fault.csv")
    page.head("Faults after the fork")
    if not found:
        return page.missing("The faults")
    mib = max(found, key=lambda r: int(r["mib"]))["mib"]
    page.text("The first access to each of many random pages of %s, while the other process lives: what a fork that "
              "copies on demand defers, it pays here. The worst are the machine's interruptions as well." % amount(mib))
    groups, lines = [], []
    for side, access in (("parent", "write"), ("child", "write"), ("parent", "read"), ("child", "read")):
        of = {r["variant"]: r for r in found if (r["mib"], r["side"], r["access"]) == (mib, side, access)}
        what, there = "%s by the %s" % (access, side), [v for v in ("p4k", "p2m", "region") if v in of]
        groups.append((what, [(WAYS[v], NAMES[v], float(of[v]["mean_us"])) for v in there]))
        for v in there:
            cells = [fine_time(of[v][c]) for c in ("median_us", "mean_us", "p99_us", "p999_us", "worst_us")]
            lines.append((WAYS[v], ["%s, %s" % (what, NAMES[v])] + cells))
    svg = plots.bars("First access after a fork", groups, lambda us: "%.2f us" % us)
    page.plots(("fault", "First access to a page after the fork, mean", svg))
    page.table("fault", ["first access", "median", "mean", "99 %", "99.9 %", "worst"], lines)
    return None


def tests_of(page):
    """bench/heap.sh's file has other jobs as well."""
    return [r for r in page.rows("heap-jobs.csv") if r["job"] == "SQLite test"]


def sqlite(page):
    found = tests_of(page)
    page.head("Tests on SQLite, each in a child of its own")
    if not found:
        return page.missing("The tests on SQLite")
    page.text("A database in memory is made once; each test forks, changes some dozens of rows in the child, and "
              "compares what comes out. The program knows nothing of the library, which is preloaded. The talk ran "
              "tests of SQLite under a kernel of its own; this is a job of the same kind, not the same job.")
    groups, lines = [], []
    for mib in dict.fromkeys(r["mib"] for r in found):
        of = {r["variant"]: r for r in found if r["mib"] == mib}
        there = [v for v in VARIANTS if v in of]
        groups.append((amount(mib), [(*VARIANTS[v], float(of[v]["rate"])) for v in there]))
        for v in there:
            huge = " (%s MiB of it)" % of[v]["huge_mib"] if v == "huge" and of[v].get("huge_mib") else ""
            lines.append((VARIANTS[v][0], [
                "%s, %s%s" % (amount(mib), VARIANTS[v][1], huge), (float(of[v]["rate"]), of[v]["rate"]),
                percent_more(of[v]["rate"], of["plain"]["rate"]),
                time_of(of[v]["held_median_us"]), time_of(of[v]["held_p99_us"])]))
    page.plots(("sqlite", "Tests a second", plots.bars("Tests on SQLite a second", groups, lambda rate: "%.0f" % rate)))
    page.table("sqlite", ["database", "tests a second", "more than plain", "fork held, median", "99 %"], lines)
    return None


def redis(page):
    page.rows("heap-saves.csv")
    found = saves_of(page.directory)
    page.head("Redis: a snapshot")
    if not found:
        return page.missing("Redis's snapshot")
    page.text("BGSAVE of a server under writes that come on time whatever the server does: the fork as the server "
              "itself says it (latest_fork_usec), and the latency of the requests during the save. Redis keeps huge "
              "pages away from its memory by itself, so there is no column of them. Medians over the saves.")
    forks, latencies, lines = [], [], []
    for gib in sorted({key[0] for key in found if key[0] > 0}):
        of = {v: found[gib, v, "save"] for v in ("plain", "library") if (gib, v, "save") in found}
        forks.append(("%d GiB" % gib, [(*VARIANTS[v], of[v]["fork_us"][0]) for v in of]))
        latencies.append(("%d GiB" % gib, [
            (VARIANTS[v][0], "%s, %s" % (VARIANTS[v][1], name), of[v][column][0])
            for column, name in (("p99_us", "99 %"), ("p999_us", "99.9 %"), ("worst_us", "worst")) for v in of]))
        for v in of:
            less = 100 * (1 - of[v]["fork_us"][0] / of["plain"]["fork_us"][0])
            lines.append((VARIANTS[v][0], [
                "%d GiB, %s" % (gib, VARIANTS[v][1]), time_of(of[v]["fork_us"][0]),
                (round(less, 2), "%.1f %%" % less) if v != "plain" else ""] +
                [time_of(of[v][c][0]) for c in ("p50_us", "p99_us", "p999_us", "worst_us")]))
    limit = found.get((0, "plain", "save"))
    if limit:
        lines.append(("empty", ["no data, plain", time_of(limit["fork_us"][0])] + [""] * 5))
    page.plots(
        ("redis-fork", "The fork of BGSAVE (logarithmic)",
         plots.bars("The fork of BGSAVE", forks, duration, logarithmic=True)),
        ("redis-latency", "Latency of requests during the save (logarithmic)",
         plots.bars("Latency of requests during the save", latencies, duration, logarithmic=True)))
    page.table("redis", ["data", "fork", "less", "requests: median", "99 %", "99.9 %", "worst"], lines)
    return None


def fuzz(page):
    found = page.rows("heap-fuzz.csv")
    page.head("AFL++")
    if not found:
        return page.missing("AFL++")
    page.text("A target that has opened a database in memory of so much before AFL++'s fork server starts, and "
              "executes its input as SQL; the library comes by AFL_PRELOAD.")
    of = {(int(r["mib"]), r["variant"]): float(r["rate"]) for r in found}
    sizes = sorted({mib for mib, _ in of})
    there = [v for v in VARIANTS if (sizes[0], v) in of]
    series = [(*VARIANTS[v], [(mib, of[mib, v]) for mib in sizes if (mib, v) in of]) for v in there]
    svg = plots.lines("AFL++: executions a second", series, axis_amount, lambda rate: "%g" % rate)
    page.plots(("afl", "Executions a second", svg))
    lines = []
    for v in there:
        cells = [(of[mib, v], "%.0f" % of[mib, v]) if (mib, v) in of else "" for mib in sizes]
        lines.append((VARIANTS[v][0], [VARIANTS[v][1] + ", executions a second"] + cells))
    cells = [percent_more(of[mib, "library"], of[mib, "plain"]) for mib in sizes]
    lines.append(("ours", ["with libodfork: more than plain"] + cells))
    page.table("afl", ["memory of the target"] + [amount(mib) for mib in sizes], lines)
    return None


# ---- What was published --------------------------------------------------------------------------------------------


def nearest(values, aim):
    return min(values, key=lambda v: max(v / aim, aim / v)) if values else None


def call_here(of):
    mib = nearest([m for m, v in of if v == "region" and (m, "p4k") in of], 1024)
    if mib is None:
        return "not measured"
    plain, ours = of[mib, "p4k"], of[mib, "region"]
    text = "%.0f times at %s (%s to %s)" % (plain / ours, amount(mib), duration(plain), duration(ours))
    return text + ("; 2 MiB pages: %.0f times" % (plain / of[mib, "p2m"]) if (mib, "p2m") in of else "")


def throughput_here(page):
    texts = []
    for what, found in (("tests on SQLite", tests_of(page)), ("AFL++", page.rows("heap-fuzz.csv"))):
        for size in dict.fromkeys(r["mib"] for r in found):
            rate = {r["variant"]: float(r["rate"]) for r in found if r["mib"] == size}
            texts.append("%s at %s: %+.0f %%" % (what, amount(size), 100 * (rate["library"] / rate["plain"] - 1)))
            if "huge" in rate:
                texts[-1] += " (2 MiB pages: %+.0f %%)" % (100 * (rate["huge"] / rate["plain"] - 1))
    return "; ".join(texts) or "not measured"


def latency_here(page):
    saves, texts = saves_of(page.directory), []
    for gib in sorted({g for g, v, w in saves if g > 0 and v == "library" and w == "save"}):
        plain, ours = (saves[gib, v, "save"]["fork_us"][0] for v in ("plain", "library"))
        texts.append("%.1f %% at %d GiB (%s to %s)" % (100 * (1 - ours / plain), gib, duration(plain), duration(ours)))
    return "Redis's BGSAVE: " + "; ".join(texts) if texts else "not measured"


def async_here(page, name, mib):
    """Redis's fork beside Redis's fork, of the size that was measured and comes nearest."""
    saves = saves_of(page.directory)
    gib = nearest([g for g, v, w in saves if g > 0 and v == "library" and w == "save"], mib / 1024)
    if gib is None:
        return "not measured"
    plain, ours = (saves[gib, v, "save"]["fork_us"][0] for v in ("plain", "library"))
    text = "Redis's BGSAVE at %d GiB: %s against %s, %.0f times" % (gib, duration(ours), duration(plain), plain / ours)
    return text if gib * 1024 * 2 > mib else text + " (no server of %s was measured)" % name


def published(page):
    """Beside each figure that was published, the one of this machine that comes nearest to it in kind."""
    of = held_of(page)
    lines = [
        ["A call of fork at 1 GB of allocated memory", "65 times as fast as fork", call_here(of), ON_DEMAND,
         "a patched kernel (published for Linux 5.6.19)"],
        ["Throughput of testing, fuzzing and snapshotting of well-known applications", "59 % to 226 % more",
         throughput_here(page), ON_DEMAND, "the same kernel; SQLite, AFL, Redis and others"],
        ["Latency of the call in applications", "up to 99 % less", latency_here(page), ON_DEMAND, "the same kernel"]]
    for name, mib, plain, found in zip(("1.5 GB", "50 GB"), ASYNC_MIB, ASYNC_MS["plain"], ASYNC_MS["async"]):
        figures = "%g ms against %g ms: %.0f times" % (found, plain, plain / found)
        lines.append(["The fork of Redis with " + name, figures,
                      async_here(page, name, mib), ASYNC, "a kernel of a cloud's vendor, an idle Redis"])
    page.head("Published, and here")
    page.text("Others measured on other machines, with a kernel of their own; the machine here is named above. "
              "Ratios can be compared, microseconds cannot. Both sides of each ratio here are of one run, turn by "
              "turn.")
    page.table("published", ["what", "published", "here, without a patched kernel", "published by", "measured on"],
               [("", line) for line in lines])


def make(directory):
    page = Page(directory)
    for part in (published, held, fault, sqlite, redis, fuzz):
        part(page)
    page.write("On-demand fork: the tables of the talk, measured here",
               "bench/paper.sh measured, on this machine, what the talk on on-demand-fork (EuroSys '21) shows: plain "
               "fork, fork with libodfork on the same kernel, and pages of 2 MiB beside where a program can have them.")


if __name__ == "__main__":
    make(sys.argv[1])
