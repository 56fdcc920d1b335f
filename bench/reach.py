# SPDX-License-Identifier: MIT
"""reach.py [DIRECTORY]: what regions reach of their aims, from the files that bench/fork.sh wrote. tables.py puts the same table into bench/RESULTS.md."""
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
    for variant, limit, what in (("region", "empty", "region"), ("region_next", "empty_next", "region forked again at once")):
        ratios = {m: float(held[m, variant]["held_median_us"]) / float(held[m, limit]["held_median_us"])
                  for m, v in held if v == variant and (m, limit) in held}
        if ratios:
            text = ", ".join("%.2f at %s" % (ratios[m], amount(m)) for m in sorted(ratios))
            yield ["caller held: %s to a process of nothing" % what, "at most 1.3", text, verdict(max(ratios.values()) <= 1.3)]


def mix_name(row):
    return "%s, child %ss %s %% (%s), parent wrote %s %%" % (
        amount(row["mib"]), row["child"], row["child_percent"], row["order"], row["parent_percent"])


def mix_aims(directory):
    mixes = rows(directory, "fork-mix.csv")[1]
    for variant, what in (("region", "region"), ("region_next", "region forked again at once")):
        for column, whole in (("total_to_p4k", "fork to reaped"), ("round_to_p4k", "the parent's writes before it included")):
            found = [r for r in mixes if r["variant"] == variant and r[column]]
            if not found:
                continue
            worst = max(found, key=lambda r: float(r[column]))
            slower = sum(float(r[column]) > 1 for r in found)
            yield ["slowest mix, %s: %s to plain fork" % (whole, what), "at most 1", "%.2f (%s); %d of %d above 1" % (
                float(worst[column]), mix_name(worst), slower, len(found)), verdict(float(worst[column]) <= 1)]


def steady_aims(directory):
    steady = {(r["mib"], r["parent_percent"], r["lives_us"], r["variant"]): r for r in rows(directory, "fork-steady.csv")[1]}
    for (mib, percent, lives, variant), region in steady.items():
        plain = steady.get((mib, percent, lives, "p4k"))
        if variant != "region" or plain is None:
            continue
        ratio = float(region["p4k_to_this"])
        yield ["forks without end, %s, %s %% written, child lives %s: plain fork to region" % (amount(mib), percent, duration(lives)),
               "at least 20", "%.0f (%s to %s; 99th percentile %s to %s)" % (
                   ratio, duration(plain["held_median_us"]), duration(region["held_median_us"]),
                   duration(plain["held_p99_us"]), duration(region["held_p99_us"])), verdict(ratio >= 20)]


HEADER = ["aim", "", "measured, medians", ""]


def lines(directory):
    return [line for part in (held_aims, mix_aims, steady_aims) for line in part(directory)]


if __name__ == "__main__":
    found = lines(sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "results"))
    for what, aim, measured, reached in found:
        print("%-15s %s (%s): %s" % (reached.strip("*"), what, aim, measured))
