# SPDX-License-Identifier: MIT
"""paper.py DIRECTORY: the page of bench/paper.sh, from the CSV files that it wrote there: paper.html, its plots as paper-*.svg, and all figures of its tables in
paper.csv. A part that was not measured is said to be missing."""
import csv
import html
import os
import sys

sys.dont_write_bytecode = True
import paper_plots as plots
from reach import amount, duration, rows, saves_of

NAMES = {"p4k": "fork, 4 KiB pages", "region": "fork, memory in a region", "region_next": "the same, forked again at once", "p2m": "fork, 2 MiB pages",
         "empty": "fork of a process with no memory"}
WAYS = {"p4k": "plain", "region": "ours", "region_next": "next", "p2m": "huge", "empty": "empty"}
VARIANTS = {"plain": ("plain", "plain"), "library": ("ours", "with libodfork"), "huge": ("huge", "plain, 2 MiB pages")}

# As published by others; nothing of it was measured here. MiB, milliseconds.
ON_DEMAND = "Zhao, Gong and Fonseca: On-demand-fork, EuroSys '21"
ASYNC = "reported for Async-fork (Pang and others, VLDB '23)"
ASYNC_MIB = (1536, 51200)
ASYNC_MS = {"plain": (8.39, 280), "async": (0.221, 0.459)}

CSS = """
:root{color-scheme:light dark;--ground:#fff;--text:#222;--weak:#555;--line:#ccc;--ours:#e7f1fa}
@media(prefers-color-scheme:dark){:root{--ground:#16181d;--text:#e6e6e6;--weak:#b0b0b0;--line:#444;--ours:#1d2b38}}
body{margin:0 auto;max-width:960px;padding:16px;background:var(--ground);color:var(--text);font:16px/1.5 sans-serif;overflow-wrap:break-word}
h1{font-size:1.6em;line-height:1.25}h2{font-size:1.25em;margin-top:2em}.weak{color:var(--weak);font-size:.9em}
.wide{overflow-x:auto}#published td,#published th{white-space:normal;text-align:left;min-width:7.5em}
table{border-collapse:collapse;margin:.5em 0}th,td{border:1px solid var(--line);padding:4px 10px;text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left;position:sticky;left:0;background:var(--ground)}td.text{text-align:left;white-space:normal;min-width:11em}tr.ours td,tr.ours td:first-child{background:var(--ours)}
.plots{display:flex;flex-wrap:wrap;gap:16px}.plots figure{margin:0;max-width:480px;flex:1 1 300px}.plots svg{width:100%;height:auto;display:block}
figcaption{font-weight:bold;margin-bottom:4px}
@media(max-width:640px){th:first-child,td:first-child{white-space:normal;min-width:7.5em}
#published thead{display:none}#published tr,#published td{display:block;border:0}#published tr{border-bottom:1px solid var(--line);padding:6px 0}
#published td{padding:2px 0}#published td:first-child{font-weight:bold;position:static}
#published td:not(:first-child)::before{content:attr(data-of) ": ";color:var(--weak)}}
"""


class Page:
    def __init__(self, directory):
        self.directory, self.parts, self.figures, self.machines = directory, [], [], []

    def rows(self, name):
        machine, found = rows(self.directory, name)
        if machine and machine not in self.machines:
            self.machines.append(machine)
        return found

    def text(self, text, weak=False):
        self.parts.append("<p%s>%s</p>" % (' class="weak"' if weak else "", text))

    def head(self, text):
        self.parts.append("<h2>%s</h2>" % html.escape(text))

    def table(self, name, header, lines):
        """A line is (way, cells); the first cell of all is the row's name. Cells are (figure for the CSV file, text) or text."""
        of = ["<table id=\"%s\">" % name, "<thead><tr>%s</tr></thead>" % "".join("<th>%s</th>" % html.escape(h) for h in header), "<tbody>"]
        for way, cells in lines:
            texts = [cell[1] if isinstance(cell, tuple) else cell for cell in cells]
            of.append("<tr%s>%s</tr>" % (' class="ours"' if way == "ours" else "", "".join(
                '<td data-of="%s"%s>%s</td>' % (html.escape(h), ' class="text"' if len(t) > 40 else "", html.escape(t)) for h, t in zip(header, texts))))
            for title, cell in zip(header[1:], cells[1:]):
                if isinstance(cell, tuple) or name == "published":
                    value, text = cell if isinstance(cell, tuple) else ("", cell)
                    self.figures.append({"table": name, "row": texts[0], "way": way, "what": title, "value": value, "text": text})
        self.parts.append('<div class="wide">%s</tbody></table></div>' % "\n".join(of))

    def plots(self, *named):
        """Each is (name of the file, caption, SVG)."""
        self.parts.append('<div class="plots">%s</div>' % "\n".join(
            "<figure><figcaption>%s</figcaption>%s</figure>" % (html.escape(caption), svg) for _, caption, svg in named))
        for name, _, svg in named:
            with open(os.path.join(self.directory, "paper-%s.svg" % name), "w", encoding="utf-8") as file:
                file.write(svg.replace("</title>", "</title><style>%s svg{background:#fff}@media(prefers-color-scheme:dark){svg{background:#16181d}}</style>"
                                       % plots.STYLE, 1))

    def missing(self, what):
        self.text("<em>%s was not measured.</em>" % html.escape(what))


def time_of(us):
    return (float(us), duration(us))


def times(plain, other):
    return (round(float(plain) / float(other), 3), "%.1f" % (float(plain) / float(other)))


def percent_more(rate, plain):
    """Nothing of plain itself."""
    if rate == plain:
        return ""
    more = 100 * (float(rate) / float(plain) - 1)
    return (round(more, 1), "%+.0f %%" % more)


# ---- The parts ----------------------------------------------------------------------------------------------------------------


def held(page):
    """The call, by size."""
    found = page.rows("fork-held.csv")
    page.head("The call, by size")
    if not found:
        return page.missing("The call")
    of = {(int(r["mib"]), r["variant"]): float(r["held_median_us"]) for r in found}
    sizes = sorted({mib for mib, _ in of})
    page.text("How long fork() holds a process that holds so much memory; medians. Each kind of memory is in a process of its own, and they take turns. A region "
              "is one that has come to rest, but in the row of forks that follow each other at once.")
    series = [(WAYS[v], NAMES[v], [(mib, of[mib, v]) for mib in sizes if (mib, v) in of]) for v in NAMES]
    series = [one for one in series if one[2]]
    series += [("published", "Async-fork as published, an idle Redis", list(zip(ASYNC_MIB, [ms * 1000 for ms in ASYNC_MS["async"]]))),
               ("published plain", "plain fork beside it, as published", list(zip(ASYNC_MIB, [ms * 1000 for ms in ASYNC_MS["plain"]])))]
    page.plots(("held", "Caller held in fork()", plots.lines("Caller held in fork(), by memory", series, amount_of, duration_of)))
    lines = []
    for variant in NAMES:
        if any((mib, variant) in of for mib in sizes):
            lines.append((WAYS[variant], [NAMES[variant]] + [time_of(of[mib, variant]) if (mib, variant) in of else "" for mib in sizes]))
    for variant, name in (("region", "plain to region: times as fast"), ("p2m", "plain to 2 MiB pages: times as fast")):
        lines.append((WAYS[variant], [name] + [times(of[mib, "p4k"], of[mib, variant]) if (mib, variant) in of and (mib, "p4k") in of else "" for mib in sizes]))
    page.table("held", ["memory"] + [amount(mib) for mib in sizes], lines)
    return None


def amount_of(mib):
    return amount(int(mib)) if mib >= 1 else "%.1f MiB" % mib


def duration_of(us):
    return "%.1f us" % us if us < 1 else "%.0f us" % us if us < 1000 else "%.0f ms" % (us / 1000) if us < 1e6 else "%.0f s" % (us / 1e6)


def fault(page):
    found = page.rows("fork-fault.csv")
    page.head("Faults after the fork")
    if not found:
        return page.missing("The faults")
    mib = max(found, key=lambda r: int(r["mib"]))["mib"]
    found = [r for r in found if r["mib"] == mib]
    page.text("The first access to each of many random pages of %s, while the other process lives: what a fork that copies on demand defers, it pays here. The worst "
              "are the machine's interruptions as well." % amount(mib))
    groups, lines = [], []
    for side, access in (("parent", "write"), ("child", "write"), ("parent", "read"), ("child", "read")):
        of = {r["variant"]: r for r in found if (r["side"], r["access"]) == (side, access)}
        ways = [(WAYS[v], NAMES[v], float(of[v]["mean_us"])) for v in ("p4k", "p2m", "region") if v in of]
        groups.append(("%s by the %s" % (access, side), ways))
        for v in ("p4k", "p2m", "region"):
            if v in of:
                lines.append((WAYS[v], ["%s by the %s, %s" % (access, side, NAMES[v])] + [
                    (float(of[v][c]), "%.2f us" % float(of[v][c]) if float(of[v][c]) < 100 else duration(of[v][c]))
                    for c in ("median_us", "mean_us", "p99_us", "p999_us", "worst_us")]))
    page.plots(("fault", "First access to a page after the fork, mean", plots.bars("First access after a fork", groups, lambda us: "%.2f us" % us)))
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
    page.text("A database in memory is made once; each test forks, changes some dozens of rows in the child, and compares what comes out. The program knows nothing of "
              "the library, which is preloaded. The talk ran tests of SQLite under a kernel of its own; this is a job of the same kind, not the same job.")
    groups, lines = [], []
    for mib in dict.fromkeys(r["mib"] for r in found):
        of = {r["variant"]: r for r in found if r["mib"] == mib}
        groups.append((amount(mib), [(*VARIANTS[v], float(of[v]["rate"])) for v in VARIANTS if v in of]))
        for v in VARIANTS:
            if v in of:
                huge = ", %s MiB of it" % of[v]["huge_mib"] if v == "huge" and of[v].get("huge_mib") else ""
                lines.append((VARIANTS[v][0], ["%s, %s%s" % (amount(mib), VARIANTS[v][1], huge), (float(of[v]["rate"]), of[v]["rate"]),
                                               percent_more(of[v]["rate"], of["plain"]["rate"]), time_of(of[v]["held_median_us"]), time_of(of[v]["held_p99_us"])]))
    page.plots(("sqlite", "Tests a second", plots.bars("Tests on SQLite a second", groups, lambda rate: "%.0f" % rate)))
    page.table("sqlite", ["database", "tests a second", "more than plain", "fork held, median", "99 %"], lines)
    return None


def redis(page):
    page.rows("heap-saves.csv")
    found = saves_of(page.directory)
    page.head("Redis: a snapshot")
    if not found:
        return page.missing("Redis's snapshot")
    page.text("BGSAVE of a server under writes that come on time whatever the server does: the fork as the server itself says it (latest_fork_usec), and the latency of the "
              "requests during the save. Redis keeps huge pages away from its memory by itself, so there is no column of them. Medians over the saves.")
    forks, latencies, lines = [], [], []
    for gib in sorted({key[0] for key in found if key[0] > 0}):
        of = {v: found[gib, v, "save"] for v in ("plain", "library") if (gib, v, "save") in found}
        forks.append(("%d GiB" % gib, [(*VARIANTS[v], of[v]["fork_us"][0]) for v in of]))
        latencies.append(("%d GiB" % gib, [(VARIANTS[v][0], "%s, %s" % (VARIANTS[v][1], name), of[v][c][0]) for c, name in (
            ("p99_us", "99 %"), ("p999_us", "99.9 %"), ("worst_us", "worst")) for v in of]))
        for v in of:
            less = 100 * (1 - of[v]["fork_us"][0] / of["plain"]["fork_us"][0])
            lines.append((VARIANTS[v][0], ["%d GiB, %s" % (gib, VARIANTS[v][1]), time_of(of[v]["fork_us"][0]),
                                           (round(less, 2), "%.1f %%" % less if v != "plain" else "")] +
                          [time_of(of[v][c][0]) for c in ("p50_us", "p99_us", "p999_us", "worst_us")]))
    limit = found.get((0, "plain", "save"))
    if limit:
        lines.append(("empty", ["no data, plain", time_of(limit["fork_us"][0]), "", "", "", "", ""]))
    page.plots(("redis-fork", "The fork of BGSAVE (logarithmic)", plots.bars("The fork of BGSAVE", forks, duration, logarithmic=True)),
               ("redis-latency", "Latency of requests during the save (logarithmic)", plots.bars("Latency of requests during the save", latencies, duration, logarithmic=True)))
    page.table("redis", ["data", "fork", "less", "requests: median", "99 %", "99.9 %", "worst"], lines)
    return None


def fuzz(page):
    found = page.rows("heap-fuzz.csv")
    page.head("AFL++")
    if not found:
        return page.missing("AFL++")
    page.text("A target that has opened a database in memory of so much before AFL++'s fork server starts, and executes its input as SQL; the library comes by AFL_PRELOAD.")
    of = {(int(r["mib"]), r["variant"]): float(r["rate"]) for r in found}
    sizes = sorted({mib for mib, _ in of})
    page.plots(("afl", "Executions a second", plots.lines("AFL++: executions a second", [
        (*VARIANTS[v], [(mib, of[mib, v]) for mib in sizes if (mib, v) in of]) for v in VARIANTS if (sizes[0], v) in of], amount_of, lambda rate: "%.0f" % rate)))
    lines = [(VARIANTS[v][0], [VARIANTS[v][1] + ", executions a second"] + [(of[mib, v], "%.0f" % of[mib, v]) if (mib, v) in of else "" for mib in sizes])
             for v in VARIANTS if (sizes[0], v) in of]
    lines.append(("ours", ["with libodfork: more than plain"] + [percent_more(of[mib, "library"], of[mib, "plain"]) for mib in sizes]))
    page.table("afl", ["memory of the target"] + [amount(mib) for mib in sizes], lines)
    return None


# ---- What was published --------------------------------------------------------------------------------------------------------


def nearest(values, aim):
    return min(values, key=lambda v: max(v / aim, aim / v)) if values else None


def published(page):
    """Beside each figure that was published, the one of this machine that comes nearest to it in kind."""
    of = {(int(r["mib"]), r["variant"]): float(r["held_median_us"]) for r in page.rows("fork-held.csv")}
    lines = []
    mib = nearest([m for m, v in of if v == "region" and (m, "p4k") in of], 1024)
    lines.append(["A call of fork at 1 GB of allocated memory", "65 times as fast as fork", ON_DEMAND, "a patched kernel (published for Linux 5.6.19)",
                  "%.0f times at %s (%s to %s); 2 MiB pages: %s" % (
                      of[mib, "p4k"] / of[mib, "region"], amount(mib), duration(of[mib, "p4k"]), duration(of[mib, "region"]),
                      "%.0f times" % (of[mib, "p4k"] / of[mib, "p2m"]) if (mib, "p2m") in of else "-") if mib else "not measured"])
    rates = []
    for what, found in (("tests on SQLite", tests_of(page)), ("AFL++", page.rows("heap-fuzz.csv"))):
        for size in dict.fromkeys(r["mib"] for r in found):
            rate = {r["variant"]: float(r["rate"]) for r in found if r["mib"] == size}
            rates.append("%s at %s: %s" % (what, amount(size), "%+.0f %%" % (100 * (rate["library"] / rate["plain"] - 1))))
    lines.append(["Throughput of testing and fuzzing (and snapshots) of well-known applications", "59 % to 226 % more", ON_DEMAND,
                  "the same kernel; SQLite, AFL, Redis and others", "; ".join(rates) or "not measured"])
    saves = saves_of(page.directory)
    gibs = sorted({g for g, v, w in saves if g > 0 and v == "library" and w == "save"})
    less = ["%.1f %% at %d GiB (%s to %s)" % (100 * (1 - saves[g, "library", "save"]["fork_us"][0] / saves[g, "plain", "save"]["fork_us"][0]), g,
                                             duration(saves[g, "plain", "save"]["fork_us"][0]), duration(saves[g, "library", "save"]["fork_us"][0])) for g in gibs]
    lines.append(["Latency of the call in applications", "up to 99 % less", ON_DEMAND, "the same kernel", "Redis's BGSAVE: " + "; ".join(less) if less else "not measured"])
    for mib, plain, found in zip(ASYNC_MIB, ASYNC_MS["plain"], ASYNC_MS["async"]):
        size = nearest([m for m, v in of if v == "region" and (m, "p4k") in of], mib)
        lines.append(["The fork of Redis with %s" % ("1.5 GB" if mib == 1536 else "50 GB"), "%g ms against %g ms: %.0f times" % (found, plain, plain / found), ASYNC,
                      "a kernel of a cloud's vendor, an idle Redis", "the call alone, at %s: %s against %s, %.0f times" % (
                          amount(size), duration(of[size, "region"]), duration(of[size, "p4k"]), of[size, "p4k"] / of[size, "region"]) if size else "not measured"])
    page.head("Published, and here")
    page.text("Others measured on other machines, with a kernel of their own; the machine here is named above. Ratios can be compared, microseconds cannot. "
              "Both sides of each ratio here are of one run, turn by turn.")
    page.table("published", ["what", "published", "here, without a patched kernel", "published by", "measured on"],
               [("", line[:2] + line[4:] + line[2:4]) for line in lines])


def make(directory):
    page = Page(directory)
    published(page)
    for part in (held, fault, sqlite, redis, fuzz):
        part(page)
    intro = ["<h1>On-demand fork: the tables of the talk, measured here</h1>",
             "<p>bench/paper.sh measured, on this machine, what the talk on on-demand-fork (EuroSys '21) shows: plain fork, fork with libodfork on the same kernel, and, "
             "where a program can have them, pages of 2 MiB beside.</p>"]
    for machine in page.machines:
        intro.append('<p class="weak">Measured on %s</p>' % html.escape(machine))
    document = ("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                "<title>On-demand fork, measured here</title>\n<style>%s%s</style>\n</head>\n<body>\n%s\n</body>\n</html>\n" % (
                    CSS, plots.STYLE, "\n".join(intro + page.parts)))
    with open(os.path.join(directory, "paper.html"), "w", encoding="utf-8") as file:
        file.write(document)
    with open(os.path.join(directory, "paper.csv"), "w", encoding="utf-8", newline="") as file:
        file.write("# %s\n" % " | ".join(page.machines))
        writer = csv.DictWriter(file, ["table", "row", "way", "what", "value", "text"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(page.figures)


if __name__ == "__main__":
    make(sys.argv[1])
