# SPDX-License-Identifier: MIT
"""The later forks of a process whose memory is mapped in one of several ways (shape.c), plain and with the library, in
turns.

SHAPES=NAME,...: only these. PAUSE_MS=N: the pause between two forks; a loaded machine may need a longer one to
settle."""
import os
import subprocess

from pairs import PATIENCE, VARIANTS, Failed, median, say, write_table

# The shape, and what it is called. "late" is another program: linked with the library, it wakes the heap when all is
# there.
SHAPES = (
    ("trimmed", "trimmed as Ruby does (64 KiB)"),
    ("trimmed_16", "the same, of 16 KiB (Ruby 3.1)"),
    ("hinted", "hints next to the last mapping"),
    ("low", "MAP_32BIT"),
    ("opened", "reserved, opened by mprotect"),
    ("fixed", "reserved, opened by MAP_FIXED"),
    ("mapped_16", "mappings of 16 KiB, side by side"),
    ("mapped_32", "mappings of 32 KiB, side by side"),
    ("alone_16", "mappings of 16 KiB, a gap between any two"),
    ("alone_32", "mappings of 32 KiB, a gap between any two"),
    ("guarded_32", "mappings of 32 KiB, a guard page between any two"),
    ("one_rwx", "one mapping with PROT_EXEC (SBCL)"),
    ("rwx", "mappings of 1 MiB with PROT_EXEC"),
    ("segment", "brk by itself"),
    ("malloc_1", "malloc of 72 bytes, 1 thread"),
    ("malloc_4", "malloc of 72 bytes, 4 threads"),
    ("malloc_blocks", "malloc of 1 MiB"),
    ("before", "all of it mapped before waking"),
    ("late malloc_1", "malloc of 72 bytes, odf_heap_enable late"),
    ("late fixed", "opened by MAP_FIXED, odf_heap_enable late"),
)
AIM = 20


def run_once(setting, shape, mib, variant, forks, pause_ms):
    words = shape.split()
    environment = setting.environment(variant, heap="auto")
    program = setting.program("shape")
    if words[0] == "late":
        program += "_late"
        environment.pop("LD_PRELOAD", None)
    try:
        done = subprocess.run([program, words[-1], str(mib), str(forks), str(pause_ms)], env=environment,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        raise Failed("%s (%s) does not end" % (shape, variant)) from None
    if done.returncode != 0:
        raise Failed("%s (%s) ended with %d: %s" % (shape, variant, done.returncode, done.stderr.strip()))
    return [tuple(map(float, line.split()[1:])) for line in done.stdout.splitlines() if line.startswith("held ")]


def measure(setting, shape, name, mib, pairs, forks, pause_ms):
    first, later, used = ({v: [] for v in VARIANTS} for _ in range(3))
    for pair in range(pairs):
        for variant in VARIANTS if pair % 2 == 0 else VARIANTS[::-1]:
            held = run_once(setting, shape, mib, variant, forks, pause_ms)
            first[variant].append(held[0][0])
            later[variant] += [wall for wall, _ in held[1:]]
            used[variant] += [cpu for _, cpu in held[1:]]
    row = {"shape": shape, "name": name, "mib": mib, "forks": pairs * forks, "pause_ms": pause_ms}
    for variant in VARIANTS:
        row["first_%s_us" % variant] = "%.1f" % median(first[variant])
        row["later_%s_us" % variant] = "%.1f" % median(later[variant])
        row["cpu_%s_us" % variant] = "%.1f" % median(used[variant])
    times, cpu_times = (median(of["plain"]) / median(of["library"]) for of in (later, used))
    row.update(times="%.1f" % times, cpu_times="%.1f" % cpu_times,
               load="%.1f" % os.getloadavg()[0])
    say("%-50s %4d MiB: first %8s us, %8s us; later %8s us, %8s us: %6.1f times (CPU %.1f)%s" % (
        name, mib, row["first_plain_us"], row["first_library_us"], row["later_plain_us"], row["later_library_us"],
        times, cpu_times,
        "" if times >= AIM else "  (aim: %d)" % AIM))
    return row


def run(setting):
    pairs, forks = (1, 6) if setting.quick else (3, 8)
    pause_ms = int(os.environ.get("PAUSE_MS", "300" if setting.quick else "500"))
    rows, failed, only = [], [], os.environ.get("SHAPES", "").split(",")
    for shape, name in SHAPES:
        if only != [""] and shape not in only:
            continue
        for mib in setting.sizes or ([256] if setting.quick else [512]):
            try:
                rows.append(measure(setting, shape, name, mib, pairs, forks, pause_ms))
            except Failed as failure:
                failed.append(str(failure))
                say("FAILED: %s" % failure)
    write_table(setting, "shapes", rows)
    if failed:
        raise Failed("; ".join(failed))
