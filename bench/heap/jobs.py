# SPDX-License-Identifier: MIT
"""Programs that hold 1 GiB and fork: SQLite tests, each in its own child; CPython's os.fork; perl's system; and AFL++'s
fork server."""
import os
import pty
import select
import shutil
import signal
import subprocess
import time

from pairs import PATIENCE, Failed, both, median, memory_of, say, spread, take_turns, write_table

HERE = os.path.dirname(os.path.abspath(__file__))


def pairs_of(setting, what, mib, arguments, turns, units, fields, heap="auto"):
    """Turns of a pair that lives all the time; one row for each variant: rates and held times as medians of the turns'
    own."""
    workers = both(setting, arguments, setting.variants, heap=heap)
    rows = []
    try:
        for worker in workers:
            worker.turn(max(2, units // 20))
        found = take_turns(workers, turns, units, fields, after_turn=lambda worker: time.sleep(0.2))
        for worker in workers:
            memory = worker.memory()
            row = {"job": what, "mib": mib, "variant": worker.variant, "turns": turns, "units": turns * units}
            for field in fields:
                values = found[worker.variant][field]
                low, high = spread(values)
                row.update({field: "%.1f" % median(values), field + "_low": "%.1f" % low,
                            field + "_high": "%.1f" % high})
            row.update({"used_mib": "%.0f" % memory["used"], "region_mib": "%.0f" % memory["region"],
                        "huge_mib": "%.0f" % memory["huge"]})
            rows.append(row)
            worker.close()
    finally:
        for worker in workers:
            worker.kill()
    plain, ours = (float(row["rate"]) for row in rows[:2])
    for row in rows:
        row["rate_to_plain"] = "%.3f" % (float(row["rate"]) / plain)
    say("%s, %d MiB: %.1f to %.1f a second, %.2f times; held %s us to %s us; in the region %s MiB" % (
        what, mib, plain, ours, ours / plain, rows[0]["held_median_us"], rows[1]["held_median_us"],
        rows[1]["region_mib"]))
    return rows


def sqlite(setting):
    for mib in setting.sizes or ([256] if setting.quick else [1024]):
        yield from pairs_of(setting, "SQLite test", mib, [setting.program("sqlite"), "tests", str(mib)],
                            4 if setting.quick else 8, 20 if setting.quick else 60,
                            ("rate", "held_median_us", "held_p99_us"))


def interpreters(setting):
    for mib in setting.sizes or ([256] if setting.quick else [1024]):
        for what, arguments in (("CPython os.fork", ["/usr/bin/python3", os.path.join(HERE, "hold.py"), str(mib)]),
                                ("perl system", ["perl", os.path.join(HERE, "hold.pl"), str(mib)])):
            yield from pairs_of(setting, what, mib, arguments, 4 if setting.quick else 8, 15 if setting.quick else 40,
                                ("rate", "held_median_us", "held_p99_us"))


def run(setting, which):
    rows = []
    for part in which:
        rows += part(setting)
    write_table(setting, "jobs", rows)


# ---- The threshold ----

SIZES = (4, 8, 16, 32, 64, 128, 256)


def threshold(setting):
    """Plain, and awake from the start: from which size on does the heap pay?"""
    rows = []
    fields = ("held_median_us", "held_p99_us", "reaped_median_us", "round_median_us")
    for percent in (0, 1, 10):
        for mib in setting.sizes or SIZES:
            workers = both(setting, [setting.program("size"), str(mib), str(percent)], heap="on")
            try:
                for worker in workers:
                    worker.turn(20)
                found = take_turns(workers, 4 if setting.quick else 10, max(10, min(100, 3000 // mib)), fields)
                for worker in workers:
                    memory = worker.memory()
                    row = {"mib": mib, "percent_written": percent, "variant": worker.variant}
                    row.update({field: "%.1f" % median(found[worker.variant][field]) for field in fields})
                    row.update({"used_mib": "%.1f" % memory["used"], "region_mib": "%.1f" % memory["region"]})
                    rows.append(row)
                    worker.close()
            finally:
                for worker in workers:
                    worker.kill()
            plain, ours = rows[-2:]
            say("%3d MiB, %2d %% written: held %s to %s us, round %s to %s us, in the region %s MiB" % (
                mib, percent, plain["held_median_us"], ours["held_median_us"], plain["round_median_us"],
                ours["round_median_us"], ours["region_mib"]))
    write_table(setting, "threshold", rows)


# ---- AFL++ ----

SEEDS = ("SELECT count(*) FROM item WHERE class = 7;",
         "UPDATE item SET name = 'x' WHERE id = 12; SELECT name FROM item WHERE id = 12;",
         "DELETE FROM item WHERE id < 5; INSERT INTO item VALUES(2, 3, 'y', NULL);",
         "SELECT class, max(id) FROM item WHERE id < 50 GROUP BY class LIMIT 9;")


def read_until(terminal, text, process):
    seen, end = "", time.monotonic() + PATIENCE
    while text not in seen:
        ready, _, _ = select.select([terminal], [], [], max(0, end - time.monotonic()))
        try:
            got = os.read(terminal, 65536) if ready else b""
        except OSError:  # how a terminal says that nobody is at its other end
            got = b""
        if not got:
            process.kill()
            raise Failed("afl-fuzz did not come to '%s':\n%s" % (text, seen[-3000:]))
        seen += got.decode(errors="replace")
    return time.monotonic()


def region_of_target(fuzzer, process_name):
    """MiB in the region's files of the fork server, a child of the fuzzer."""
    with open("/proc/%d/task/%d/children" % (fuzzer, fuzzer), encoding="ascii") as file:
        children = [int(pid) for pid in file.read().split()]
    for pid in children:
        if os.path.basename(os.readlink("/proc/%d/exe" % pid)) == process_name:
            return memory_of(pid)["region"]
    raise Failed("the fork server of afl-fuzz is gone")


def fuzz_once(setting, target, mib, variant, seconds, turn):
    """Executions a second from when the fork server is up until the fuzzer is told to end."""
    here = os.path.join(setting.work, "fuzz-%d-%s-%d" % (mib, variant, turn))
    os.makedirs(os.path.join(here, "in"))
    for number, seed in enumerate(SEEDS):
        with open(os.path.join(here, "in", str(number)), "w", encoding="ascii") as file:
            file.write(seed)
    environment = setting.environment("huge" if variant == "huge" else "plain")
    environment.update({"AFL_NO_UI": "1", "AFL_NO_COLOR": "1", "AFL_SKIP_CPUFREQ": "1",
                        "AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES": "1", "AFL_NO_ARITH": "1",
                        "AFL_FORKSRV_INIT_TMOUT": str(PATIENCE * 1000)})
    if variant == "library":
        environment["AFL_PRELOAD"], environment["ODFORK_HEAP"] = setting.library, "auto"
    ours, theirs = pty.openpty()
    process = subprocess.Popen(["afl-fuzz", "-i", here + "/in", "-o", here + "/out", "-m", "none", "-t", "10000", "-s",
                                "1", "--", target, str(mib)],
                               stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    try:
        start = read_until(ours, "fork server is up", process)
        end = start + seconds
        while time.monotonic() < end:  # its output is read, or it would stand still
            if select.select([ours], [], [], max(0, end - time.monotonic()))[0]:
                os.read(ours, 65536)
        region = region_of_target(process.pid, os.path.basename(target))
        end = time.monotonic()
        process.send_signal(signal.SIGINT)
        while process.poll() is None and time.monotonic() < end + 60:
            try:
                if select.select([ours], [], [], 0.2)[0]:
                    os.read(ours, 65536)
            except OSError:
                break
        if process.wait(60) != 0:
            raise Failed("afl-fuzz (%s) ended with status %d" % (variant, process.returncode))
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    with open(here + "/out/default/fuzzer_stats", encoding="utf-8") as file:
        stats = {key.strip(): value.strip() for key, value in (line.split(":", 1) for line in file)}
    shutil.rmtree(here)
    return int(stats["execs_done"]) / (end - start), region


def fuzz_pair(setting, target, what, mib):
    """The rows of all variants."""
    rounds, seconds = (1, 4) if setting.quick else (3, 6)
    rates, region = {v: [] for v in setting.variants}, 0
    for turn in range(rounds):
        for variant in setting.variants if turn % 2 == 0 else setting.variants[::-1]:
            rate, found = fuzz_once(setting, target, mib, variant, seconds, turn)
            rates[variant].append(rate)
            region = max(region, found)
    rows = []
    for variant in setting.variants:
        of = rates[variant]
        rows.append({"mib": mib, "variant": variant, "rounds": rounds, "rate": "%.1f" % median(of),
                     "rate_least": "%.1f" % min(of), "rate_most": "%.1f" % max(of),
                     "rate_to_plain": "%.2f" % (median(of) / median(rates["plain"])),
                     "region_mib": "%.0f" % (region if variant == "library" else 0)})
    say("AFL++%s, %d MiB: %s to %s executions a second, %s times; in the region %s MiB" % (
        what, mib, rows[0]["rate"], rows[1]["rate"], rows[1]["rate_to_plain"], rows[1]["region_mib"]))
    return rows


def fuzz(setting):
    rows = []
    # Smaller ones: fuzz_sanitized, so that no target is measured in two files.
    for mib in setting.sizes or ((128,) if setting.quick else (128, 512, 1024)):
        rows += fuzz_pair(setting, setting.target, "", mib)
        write_table(setting, "fuzz", rows)


def fuzz_sanitized(setting):
    rows = []
    for target, what, mib in (("", "", 16), ("-asan", ", address sanitizer", 16),
                              ("-asan", ", address sanitizer", 128)):
        for row in fuzz_pair(setting, setting.target + target, what, mib):
            rows.append({"sanitizer": "address" if target else "none", **row})
        write_table(setting, "asan", rows)
