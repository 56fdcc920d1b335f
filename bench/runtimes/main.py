# SPDX-License-Identifier: MIT
"""Programs of many languages with data as is typical of them, which fork: plain and under the library, in turns.

main.py answers --library FILE [--mib N] [--only ROW;...]
    TAP: the same answers, and memory in regions at the forks
main.py measure --library FILE --csv FILE --note TEXT [--mib N] [--pairs N] [--only ROW;...] [--add]
    CSV, a line a pair of runs

Each program (job.*) takes MB, FORKS and PAUSE from its environment. It writes sums of its data: of a child that has
changed some of it, of the parent after that, at the end.
"""
import argparse
import csv
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
PATIENCE = 300
SETTINGS = {"LC_ALL": "C", "TZ": "UTC", "PYTHONHASHSEED": "0", "PERL_HASH_SEED": "0", "GUILE_AUTO_COMPILE": "0",
            "OCTAVE_HISTFILE": "/dev/null"}
NOWHERE = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
LIBRARIES = "/usr/lib/%s-linux-gnu/" % os.uname().machine


class Row:
    def __init__(self, name, command, needs=(), build=None, inside=True, trial=None):
        self.name, self.command, self.build, self.trial = name, command, build, trial
        self.needs = list(needs)  # programs, or files
        self.inside = inside      # whether its memory is known to be in regions after a fork

    def missing(self):
        for need in self.needs:
            if not (os.path.exists(need) if "/" in need else shutil.which(need)):
                return need + " is not there"
        if self.trial and subprocess.run(self.trial, **NOWHERE).returncode != 0:
            return "does not run: " + " ".join(self.trial)
        return None


def chosen(row, names):
    return any(row.name.startswith(name) for name in names.split(";") if name)


def job(ending):
    return os.path.join(HERE, "job." + ending)


def several(name, program, ending, kinds, *options, **more):
    return [Row("%s, %s" % (name, kind), [program, *options, job(ending), kind], [program], **more) for kind in kinds]


def cpp(name, library):
    link = [LIBRARIES + library] if library else []
    build = ["g++", "-std=c++17", "-O2", "-pthread", "-o", "cc-" + name, job("cc")] + link
    return [Row("C++, " + name, ["./cc-" + name], ["g++"] + link, build),
            Row("C++, %s, threads at the forks" % name, ["./cc-" + name, "wait"], ["g++"] + link, build)]


PYTHON = "/usr/bin/python3"
ROWS = (
    several("R", "Rscript", "R", ("numbers", "strings"), "--vanilla") +
    several("Ruby", "ruby", "rb", ("short", "aged", "long", "hash"), trial=["ruby", "-e", "exit"]) +
    several("PHP", "php", "php", ("integers", "strings", "objects"),
            trial=["php", "-r", "exit(function_exists('pcntl_fork') ? 0 : 1);"]) +
    several("CPython", PYTHON, "py", ("objects", "pool")) +
    several("CPython", PYTHON, "py", ("numpy",), trial=[PYTHON, "-c", "import numpy"]) +
    several("CPython", PYTHON, "py", ("pandas",), trial=[PYTHON, "-c", "import pandas"]) +
    [Row("CPython, gunicorn --preload",
         [PYTHON, "-m", "gunicorn", "-c", os.path.join(HERE, "job_gunicorn.py"), "job_gunicorn:application"], [PYTHON],
         trial=[PYTHON, "-c", "import gunicorn"]),
     Row("CPython, uWSGI", [PYTHON, os.path.join(HERE, "job_uwsgi.py")], [PYTHON, "uwsgi_python3"])] +
    several("Perl", "perl", "pl", ("array", "hash")) +
    [Row("Lua", ["lua5.3", job("lua")], ["lua5.3"], trial=["lua5.3", "-e", "require 'posix.unistd'"]),
     Row("LuaJIT", ["luajit", job("lua")], ["luajit"]),
     Row("Tcl", ["tclsh", job("tcl")], ["tclsh"], trial=["sh", "-c", "echo package require Tclx | tclsh"]),
     Row("OCaml", ["./ml"], ["ocamlopt"], build=["ocamlopt", "-I", "+unix", "unix.cmxa", "ml.ml", "-o", "ml"]),
     Row("GHC", ["./hs"], ["ghc"],
         build=["ghc", "-O1", "-package", "unix", "-package", "containers", "-outputdir", "o", "-o", "hs", job("hs")]),
     Row("SBCL", ["sbcl", "--dynamic-space-size", "4GB", "--script", job("lisp")], ["sbcl"]),
     Row("Guile", ["guile", job("scm")], ["guile"]),
     Row("SWI-Prolog", ["swipl", job("prolog")], ["swipl"]),
     Row("Chicken", ["./chicken"], ["csc"], build=["csc", "-O2", "-o", "chicken", job("scm")]),
     Row("Racket", ["racket", job("rkt")], ["racket"]),
     Row("Octave", ["octave-cli", "--norc", "--no-history", job("m")], ["octave-cli"]),
     Row("zsh", ["zsh", "-f", job("zsh")], ["zsh"]),
     Row("gawk", ["gawk", "-f", job("awk")], ["gawk"])] +
    cpp("glibc", None) + cpp("tcmalloc", "libtcmalloc_minimal.so.4") + cpp("jemalloc", "libjemalloc.so.2") +
    cpp("mimalloc", "libmimalloc.so." + ("3" if os.path.exists(LIBRARIES + "libmimalloc.so.3") else "2")))


class Failed(Exception):
    pass


# ---- Memory of a job: of all its processes together ----------------------------------------------------------------


def own_group():
    """A memory cgroup below this process's, whose peak is that of the job; None where there cannot be one."""
    paths = {}
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            paths[controllers] = path
    for top, path, peak in (("/sys/fs/cgroup/memory", paths.get("memory"), "memory.max_usage_in_bytes"),
                            ("/sys/fs/cgroup", paths.get(""), "memory.peak")):
        if path is None:
            continue
        group = "%s%s/runtimes-%d" % (top, path.rstrip("/"), os.getpid())
        try:
            os.mkdir(group)
        except OSError:
            continue
        if os.path.exists(os.path.join(group, peak)):
            return group, os.path.join(group, peak)
        os.rmdir(group)
    return None


def tree(pid):
    found = [pid]
    for process in found:
        try:
            for thread in os.listdir("/proc/%d/task" % process):
                with open("/proc/%d/task/%s/children" % (process, thread), encoding="ascii") as file:
                    found += map(int, file.read().split())
        except OSError:
            continue
    return found


def share(pid):
    """Not of what shares the memory of another, whose share is counted there."""
    try:
        with open("/proc/%d/comm" % pid, encoding="utf-8", errors="replace") as file:
            if file.read() == "odfork-keeper\n":
                return 0
        with open("/proc/%d/smaps_rollup" % pid, encoding="ascii") as file:
            return next((int(line.split()[1]) for line in file if line.startswith("Pss:")), 0)
    except OSError:
        return 0


class Sampled(threading.Thread):
    """The sum of the shares of all, twenty times a second, where there is no cgroup."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.peak, self.over = pid, 0, threading.Event()

    def run(self):
        while not self.over.wait(0.05):
            self.peak = max(self.peak, sum(map(share, tree(self.pid))))


# ---- One run of a job ----------------------------------------------------------------------------------------------


class Run:
    """mode: plain (nothing preloaded), or what ODFORK_HEAP is."""

    def __init__(self, row, options, mode, memory=False):
        stats = os.path.join(options.work, "stats")
        environment = {k: v for k, v in os.environ.items() if not k.startswith("ODFORK_")}
        environment.update(SETTINGS, MB=str(options.mib), FORKS=str(options.forks), PAUSE=str(options.pause))
        if mode != "plain":
            preload = ":".join(filter(None, (environment.get("LD_PRELOAD"), options.library)))
            environment.update(LD_PRELOAD=preload, ODFORK_HEAP=mode, ODFORK_STATS=stats)
        if os.path.exists(stats):
            os.unlink(stats)
        group = own_group() if memory else None
        start = time.perf_counter()
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            # Its own process group, so that all of it can be ended.
            process = subprocess.Popen(row.command, cwd=options.work, env=environment, stdin=subprocess.DEVNULL,
                                       stdout=out, stderr=err, process_group=0,
                                       preexec_fn=(lambda: enter(group[0])) if group else None)
            sampled = Sampled(process.pid) if memory and not group else None
            if sampled:
                sampled.start()
            hang = threading.Timer(PATIENCE, os.killpg, (process.pid, signal.SIGKILL))
            hang.start()
            _, status, used = os.wait4(process.pid, 0)
            hang.cancel()
            self.wall = time.perf_counter() - start
            process.returncode = status  # it has been waited for
            self.cpu = used.ru_utime + used.ru_stime
            if self.wall >= PATIENCE:
                status = "a hang"
            out.seek(0)
            err.seek(0)
            self.out, self.err = out.read(), err.read()
        self.peak = 0
        if sampled:
            sampled.over.set()
            sampled.join()
            self.peak = sampled.peak * 1024
        if group:
            with open(group[1], encoding="ascii") as file:
                self.peak = int(file.read())
            remove(group[0])
        if status != 0:
            raise Failed("%s: ended with %s: %s" % (mode, status, text(self.err + self.out)[-600:]))
        self.forks = []
        if mode != "plain":
            if not os.path.exists(stats):
                raise Failed("%s: nothing was recorded" % mode)
            with open(stats, encoding="utf-8") as file:
                records = [json.loads(line) for line in file]
            self.forks = [r for r in records if r["pid"] == process.pid and r["call"] in ("fork", "_Fork") and
                          not r["program"].endswith(("/dash", "/bash"))]


def text(output):
    return output.decode("utf-8", "replace")


def enter(group):
    with open(os.path.join(group, "cgroup.procs"), "w", encoding="ascii") as file:
        file.write("0")


def remove(group):
    for _ in range(100):
        try:
            return os.rmdir(group)
        except OSError:
            time.sleep(0.05)
    raise Failed("processes are left in " + group)


def same(first, second):
    if first.out != second.out:
        ours, theirs = text(first.out).splitlines(), text(second.out).splitlines()
        differing = [(a, b) for a, b in zip(ours, theirs) if a != b]
        raise Failed("other answers: %s" % (differing[:3] or "%d lines, %d lines" % (len(ours), len(theirs))))


def build(row, options):
    if row.build and not os.path.exists(os.path.join(options.work, row.command[0])):
        if row.build[0] == "ocamlopt":  # it writes beside its source
            shutil.copy(job("ml"), os.path.join(options.work, "ml.ml"))
        done = subprocess.run(row.build, cwd=options.work, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            raise Failed("cannot be built: " + done.stdout[-600:])


# ---- The two uses --------------------------------------------------------------------------------------------------


def regions(run):
    """MiB in regions at the later forks: the median."""
    return statistics.median(f["region_bytes"] for f in run.forks[1:]) / 1048576 if len(run.forks) > 1 else 0


def answers(rows, options):
    failed = False
    print("1..%d" % len(rows))
    for number, row in enumerate(rows, 1):
        missing = row.missing()
        if missing:
            needed = chosen(row, options.must_work)
            failed = failed or needed
            verdict = "not ok %d - %s: %s" if needed else "ok %d - %s # SKIP %s"
            print(verdict % (number, row.name, missing))
            continue
        try:
            build(row, options)
            plain, ours = Run(row, options, "plain"), Run(row, options, "auto")
            same(plain, ours)
            # What there was is taken in beside the program, as far as it has come when it forks again.
            for pause in 1.0, 4.0:
                if not row.inside or options.answers_only or regions(ours) >= options.mib / 4:
                    break
                ours = Run(row, argparse.Namespace(**{**vars(options), "pause": pause}), "auto")
                same(plain, ours)
            if plain.err != ours.err:
                raise Failed("it complains: " + text(ours.err)[-600:])
            if len(ours.forks) < 2 or any(f["error"] for f in ours.forks):
                raise Failed("%d forks: %s" % (len(ours.forks), ours.forks[:1]))
            # 16 MiB were there before it woke.
            if row.inside and not options.answers_only and regions(ours) < options.mib / 4:
                raise Failed("%.1f MiB are in regions at the later forks: %s" % (regions(ours), ours.forks[-1]))
            print("ok %d - %s" % (number, row.name))
            print("# %d forks, %.1f MiB in regions, %.1f s plain, %.1f s" %
                  (len(ours.forks), regions(ours), plain.wall, ours.wall))
        except Failed as failure:
            failed = True
            print("not ok %d - %s" % (number, row.name))
            print("\n".join("#   " + line for line in str(failure).splitlines()))
        sys.stdout.flush()
    return 1 if failed else 0


# A line a pair. Pauses are not counted; the CPU's time is that of the program and its children.
HEADER = ("row", "mib", "answers", "first_off_us", "first_us", "later_off_us", "later_us", "wall_off_s", "wall_s",
          "cpu_off_s", "cpu_s", "peak_off_mib", "peak_mib", "region_mib", "load")


def pair(row, options, ours_first):
    runs = {mode: Run(row, options, mode, memory=True) for mode in (("auto", "off") if ours_first else ("off", "auto"))}
    off, ours = runs["off"], runs["auto"]
    same(off, ours)
    for run in off, ours:
        if len(run.forks) < 2 or any(f["error"] for f in run.forks):
            raise Failed("%d forks are recorded: %s" % (len(run.forks), run.forks[:1]))
    result = {"answers": "same", "region_mib": regions(ours), "load": os.getloadavg()[0]}
    for name, run in ("_off", off), ("", ours):
        result.update({"first%s_us" % name: run.forks[0]["held_us"],
                       "later%s_us" % name: statistics.median(f["held_us"] for f in run.forks[1:]),
                       "wall%s_s" % name: run.wall - options.forks * options.pause,
                       "cpu%s_s" % name: run.cpu, "peak%s_mib" % name: run.peak / 1048576})
    return {k: "%.3f" % v if isinstance(v, float) else v for k, v in result.items()}


def measure(rows, options):
    failed, lines = False, []
    if options.add:
        with open(options.csv, encoding="utf-8") as file:
            lines = list(csv.DictReader(line for line in file if not line.startswith("#")))
    for turn in range(options.pairs):
        for row in rows:
            line = {"row": row.name, "mib": options.mib, "answers": row.missing()}
            if not line["answers"]:
                try:
                    build(row, options)
                    line.update(pair(row, options, turn % 2 == 1))
                except Failed as failure:
                    failed = True
                    line["answers"] = "WRONG: " + " ".join(str(failure).split())
            elif turn > 0:
                continue
            print("  " + ", ".join("%s %s" % (k, v) for k, v in line.items()), file=sys.stderr, flush=True)
            lines.append(line)
            order = {row.name: i for i, row in enumerate(ROWS)}
            with open(options.csv + ".new", "w", encoding="utf-8", newline="") as file:
                file.write("# %s\n" % options.note)
                writer = csv.DictWriter(file, HEADER, lineterminator="\n")
                writer.writeheader()
                writer.writerows(sorted(lines, key=lambda line: order.get(line["row"], len(order))))
            os.replace(options.csv + ".new", options.csv)
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("use", choices=("answers", "measure"))
    parser.add_argument("--library", required=True)
    parser.add_argument("--mib", type=int, default=600)
    parser.add_argument("--forks", type=int, default=5)
    parser.add_argument("--pause", type=float, default=0.1)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--only", default="", help="rows, or how they start, between semicolons")
    parser.add_argument("--csv")
    parser.add_argument("--add", action="store_true", help="to the lines that the file has")
    parser.add_argument("--note", default="")
    parser.add_argument("--answers-only", action="store_true", help="where nothing settles regions beside a program")
    parser.add_argument("--must-work", default="", help="rows, or how they start, that must not be left out")
    options = parser.parse_args()
    rows = [row for row in ROWS if not options.only or chosen(row, options.only)]
    with tempfile.TemporaryDirectory() as options.work:
        return {"answers": answers, "measure": measure}[options.use](rows, options)


if __name__ == "__main__":
    sys.exit(main())
