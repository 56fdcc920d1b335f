# SPDX-License-Identifier: MIT
"""Tests bench/reach.py and bench/tables.py with files of results, in today's format and in older ones, whose verdicts
are known. The tables in bench/RESULTS.md and README.md must be those of the files in bench/results. Output is TAP."""
import os
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
BENCH = os.path.join(os.environ["ODF_SOURCE"], "bench")
sys.path.insert(0, BENCH)
import reach

count = failed = 0


def check(name, right, said=""):
    global count, failed
    count += 1
    failed += not right
    print("%sok %d - %s" % ("" if right else "not ", count, name))
    if not right:
        print("".join("#   %s\n" % line for line in str(said).splitlines()), end="")


def aims(heap, **files):
    """The lines of reach.py for these files alone, by what they are about: {name: (measured, reached)}."""
    with tempfile.TemporaryDirectory() as directory:
        for name, text in files.items():
            with open(os.path.join(directory, name.replace("_", "-") + ".csv"), "w", encoding="utf-8") as file:
                file.write("# a machine\n" + text)
        found = reach.lines(directory, heap)
    lines = {what: (measured, reached == "reached") for what, _, measured, reached in found}
    check("one verdict for each aim", len(lines) == len(found), found)
    return lines


# A mix that one slow round made slower by the median, and one that is slower by both.
MIX = """mib,child,order,child_percent,parent_percent,variant,total_min_us,total_to_p4k,round_to_p4k
4096,write,random,50,0,p4k,1000,1.000,1.000
4096,write,random,50,0,region,900,3.460,0.900
"""
of = aims(False, fork_mix=MIX)
check("a mix that is slower by the median alone is not", of["slowest mix, fork to reaped: region to plain fork"][1], of)
SLOW = MIX + "64,read,random,10,0,p4k,100,1.000,1.000\n64,read,random,10,0,region,150,1.200,0.800\n"
of = aims(False, fork_mix=SLOW)
measured, reached = of["slowest mix, fork to reaped: region to plain fork"]
check("one that is slower by both is, and is named", not reached and "64 MiB" in measured and "1 of 2" in measured, of)
lines = [line.split(",") for line in MIX.splitlines()]
of = aims(False, fork_mix="".join(",".join(line[:6] + line[7:]) + "\n" for line in lines))
check("without fastest rounds, by the median", not of["slowest mix, fork to reaped: region to plain fork"][1], of)

of = aims(False, fork_alive="mib,alive,parent_percent,variant,held_median_us,p4k_to_this,memory_mib,memory_to_p4k\n"
          "512,1,1,region,10,12,500,\n512,8,1,region,10,12,500,\n")
check("one child, many children", [name.split(" alive")[0] for name in of] == ["1 child", "8 children"], of)

of = aims(True, heap_asan="sanitizer,mib,variant,rate_to_plain\nnone,16,library,1.55\naddress,16,library,0.9\n",
          heap_fuzz="mib,variant,rate_to_plain\n128,library,2.2\n1024,library,9.4\n")
check("AFL++: 16 MiB have one verdict", [of[name][1] for name in of] == [False, True, True, False] and
      sum("16 MiB, sanitizer: none" in name or "AFL++, 16 MiB:" in name for name in of) == 1, of)

GIVES = "mib,value,variant,cow_mib,during_mib,after_mib,peak_mib%s\n"
ROWS = ("360,10240,plain,1,440,440,440%s\n", "360,10240,library,1,440,440,440%s\n",
        "360,10240,library,1,480,440,480%s\n")
of = aims(True, heap_gives=GIVES % "" + ROWS[0] % "" + ROWS[1] % "")
check("a save of an older file is one without writes", len(of) == 4 and all(reached for _, reached in of.values()), of)
of = aims(True, heap_gives=GIVES % ",writes" + ROWS[0] % ",0" + ROWS[1] % ",0" + ROWS[0] % ",1000" + ROWS[2] % ",1000")
missed = [name for name in of if not of[name][1]]
check("saves under writes are on their own", len(of) == 8 and len(missed) == 2 and
      all(", under writes: " in name for name in missed), of)

of = aims(True, heap_written="""mib,percent,way,first_us,second_us,median_us,longest_us,all_us,end_mib
500,1,plain,10,10,100,1000,10,10
500,1,preloaded,10,10,101,1500,10,10
500,10,plain,10,10,300,1000,10,10
500,10,preloaded,10,10,100,1501,10,10
""")
check("without userfaultfd: 1.5 times plain's longest, 3 times as fast at 10 %",
      [of[name][1] for name in of] == [True, False, False, True] and all("500 MiB" in name for name in of), of)

with tempfile.TemporaryDirectory() as copy:
    shutil.copytree(BENCH, copy + "/bench")
    shutil.copy(BENCH + "/../README.md", copy)
    made = subprocess.run([sys.executable, copy + "/bench/tables.py"], capture_output=True, text=True, check=False)
    for name in "bench/RESULTS.md", "README.md":
        texts = []
        for top in copy, os.path.join(BENCH, ".."):
            with open(os.path.join(top, name), encoding="utf-8") as file:
                texts.append(file.read().split("\n"))
        other = [line for line in texts[0] if line not in texts[1]]
        check("the tables of %s are those of bench/results: bench/tables.py" % name,
              made.returncode == 0 and texts[0] == texts[1], "\n".join([made.stderr] + other[:3]))
    with open(copy + "/bench/results/runtimes.csv", "w", encoding="utf-8") as file:
        file.write("# a machine\nrow,mib,answers,first_off_us,first_us,later_off_us,later_us,wall_off_s,wall_s,"
                   "cpu_off_s,cpu_s,peak_off_mib,peak_mib,region_mib,load\n"
                   "slow,600,same,10,1,10,1,1,1,1,1.06,1,1,1,1\nfast,600,same,10,1,10,1,1,1,1,1.04,1,1,1,1\n")
    made = subprocess.run([sys.executable, copy + "/bench/tables.py"], capture_output=True, text=True, check=False)
    with open(copy + "/bench/RESULTS.md", encoding="utf-8") as file:
        found = [line.split(" | ") for line in file if line.startswith(("| slow |", "| fast |"))]
    check("a job that takes 1.06 times the CPU time misses an aim", made.returncode == 0 and
          [cells[-1] for cells in found] == ["CPU |\n", "none |\n"], made.stderr + str(found))
print("1..%d" % count)
sys.exit(failed > 0)
