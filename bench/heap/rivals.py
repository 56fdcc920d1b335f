# SPDX-License-Identifier: MIT
"""Redis, measured as in publications about replacements of fork: idle servers of several sizes, ten saves each; and
under load, the time until latencies after a save are back to those before it."""
import csv
import os
import time

from pairs import VARIANTS, Failed, Redis, median, say, write_table
from saves import VALUE, available, load_options, requests_of

# GiB; saves of each server, of which the first is left out.
SIZES, SAVES = (1.5, 3, 6, 12), 10
# GiB under load; seconds before a save, and after its child's end for each GiB; a slice of the latencies.
LOADED, BEFORE_S, AFTER_S, SLICE_MS = 4, 4, 2, 100
# So many slices together, by their median, are what is compared: one percentile of one slice is noise.
TOGETHER = 5


def idle_server(setting, gib, variant, saves):
    """The fork of each save by Redis's own account, and how long the child took. Nobody asks anything meanwhile."""
    server, rows = Redis(setting, variant, heap="auto"), []
    try:
        if gib > 0:
            server.fill(gib, VALUE)
        held = int(server.info("memory", "used_memory")) / (1 << 20)
        for save in range(saves):
            time.sleep(1.5)
            start = time.monotonic()
            server.command("BGSAVE")
            while server.info("persistence", "rdb_bgsave_in_progress") != "0":
                time.sleep(0.05)
            spent = time.monotonic() - start
            if server.info("persistence", "rdb_last_bgsave_status") != "ok":
                server.fail("did not save")
            rows.append({"gib": gib, "variant": variant, "save": save, "held_mib": "%.0f" % held,
                         "fork_us": server.info("stats", "latest_fork_usec"), "save_s": "%.2f" % spent})
        ways = [record["strategy"] for record in server.records()]
        server.close()
    finally:
        server.kill()
    for row, way in zip(rows, ways or [""] * saves):
        row["strategy"] = way
    return rows


def idle(setting):
    saves, rows = 3 if setting.quick else SAVES, []
    for turn, gib in enumerate((0, *(setting.sizes or ((0.5, 1) if setting.quick else SIZES)))):
        # The data, with what the allocator and the tables take; snapshots of such values are small.
        if available() < 1.3 * gib + 1:
            say("%g GiB: left out, as only %.1f GiB of memory are available" % (gib, available()))
            continue
        for variant in VARIANTS if turn % 2 == 0 else VARIANTS[::-1]:
            rows += idle_server(setting, gib, variant, saves)
            say("idle, %g GiB, %s: forks of %s us; a save takes %s s" % (
                gib, variant, ", ".join(row["fork_us"] for row in rows[-saves:]), rows[-1]["save_s"]))
        write_table(setting, "rivals", rows)  # a long run that fails later has left what it had


def together(slices, column):
    """(When it begins, the median) of each few slices that follow one another; milliseconds since BGSAVE."""
    return [(float(slices[i]["since_bgsave_ms"]), median([float(s[column]) for s in slices[i:i + TOGETHER]]))
            for i in range(len(slices) - TOGETHER + 1)]


def recovery(slices, column):
    """Of one save: the level, which is the highest before it, when the level is there again, and for how long in all it
    was exceeded, both in seconds. The fork itself holds one slice or two, of which no median tells."""
    spans = together(slices, column)
    level = max(value for at, value in spans if at + TOGETHER * SLICE_MS <= 0)
    later = [(at, value) for at, value in spans if at >= 0]
    if not later:
        raise Failed("the save was over at once")
    back = next((at for at, value in later if value <= level), None)
    return {"level_us": "%.1f" % level, "back_s": "%.1f" % abs(back / 1000) if back is not None else "",
            "above_s": "%.1f" % (sum(value > level for _, value in later) * SLICE_MS / 1000)}


def loaded_server(setting, gib, variant, turn, saves):
    server, timeline = Redis(setting, variant, heap="auto"), os.path.join(setting.work, "timeline")
    try:
        keys = server.fill(gib, VALUE)
        held = int(server.info("memory", "used_memory")) / (1 << 20)
        more = ["--before", BEFORE_S, "--after", max(2, AFTER_S * gib), "--timeline", timeline, "--slice", SLICE_MS]
        windows = requests_of(setting, server, load_options(keys, saves) + more, saves)
        server.close()
    finally:
        server.kill()
    with open(timeline, encoding="utf-8") as file:
        slices = list(csv.DictReader(file))
    rows = []
    for window in windows:
        if window["window"] != "save":
            continue
        of = [s for s in slices if s["save"] == window["save"]]
        during = [s for s in of if float(s["since_bgsave_ms"]) >= -SLICE_MS and float(s["since_end_ms"]) < -SLICE_MS]
        row = {"gib": gib, "variant": variant, "round": turn, "save": window["save"], "held_mib": "%.0f" % held,
               "fork_us": window["fork_us"], "save_s": window["save_s"]}
        for column in ("p50", "p99"):
            row.update({"%s_%s" % (column, name): value for name, value in recovery(of, column + "_us").items()})
        row["least_answered"] = "%.3f" % min(int(s["answers"]) / int(s["requests"]) for s in during)
        rows.append(row)
    return rows


def loaded(setting):
    sizes = [gib for gib in setting.sizes or [1 if setting.quick else LOADED] if gib > 0]
    gib, rows = min(sizes, key=lambda size: abs(size - LOADED)), []
    if available() < 2 * gib + 1:
        raise Failed("%g GiB under load do not fit: %.1f GiB of memory are available" % (gib, available()))
    for turn in range(1 if setting.quick else 2):
        for variant in VARIANTS if turn % 2 == 0 else VARIANTS[::-1]:
            rows += loaded_server(setting, gib, variant, turn, 2)
            write_table(setting, "recovery", rows)
    for variant in VARIANTS:
        of = [row for row in rows if row["variant"] == variant]
        say("under load, %g GiB, %s: back after %s s (50 %%), %s s (99 %%); above for %s s, %s s in all" % (
            gib, variant, *(", ".join(row[c] or "never" for row in of)
                            for c in ("p50_back_s", "p99_back_s", "p50_above_s", "p99_above_s"))))


def run(setting):
    idle(setting)
    loaded(setting)
