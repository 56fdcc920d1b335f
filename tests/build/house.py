# SPDX-License-Identifier: MIT
"""Checks the rules of HACKING.md that can be read from the files: lines to column 120 (tabs of 8), files of some 500
lines, the licence in the first line, executable scripts, and no line breaks in wrong places. Needs a git checkout."""
import os
import re
import subprocess
import sys

COLUMNS, LINES = 120, 520
# What programs write, records of what was released, and the one header, which is one page of the manual.
MADE = ("bench/results/", "tests/build/abi/", "tests/fuzz/corpus/")
LONG = ("include/odfork.h", "tests/build/abi/odfork-first.h")
SOURCES = (".c", ".h", ".cc", ".sh", ".py", ".pl", ".js", ".build")
# A command whose last word before the break belongs to the word behind it.
TORN = re.compile(r" (?:\d?(?:>>?|<)|-o|echo|exit|return|fail) \\$")

wrong = 0


def complain(path, number, what):
    global wrong
    wrong += 1
    print("%s:%d: %s" % (path, number, what))


def look_at_lines(path, lines):
    title = False  # of a page: what follows is one line for whatis
    for number, line in enumerate(lines, 1):
        if len(line.expandtabs(8)) > COLUMNS and not title and not (path.endswith(".md") and line.startswith("|")):
            complain(path, number, "goes beyond column %d" % COLUMNS)
        title = line == ".SH NAME"
        before = lines[number - 2] if number > 1 else ""
        if path.endswith((".c", ".h")):
            if re.match(r" \* -{5}", line):
                complain(path, number, "the rule of a part is in two lines")
            elif len(before) > 90 and re.match(r" \* {2,}\S", before) and re.match(r" \* [a-z]", line):
                complain(path, number, "a row of a table goes on at the margin")
            elif len(before) > 100 and re.match(r" \* {1,6}[a-z]\S*(?: \S+){0,2}[\w,]$", line) and \
                    len(line) < 40 and number < len(lines) and re.match(r" \* +[a-z]", lines[number]):
                complain(path, number, "a line of some words in the middle of a paragraph")
        elif path.endswith(".sh") and TORN.search(line):
            complain(path, number, "the line is broken within what belongs together")


def main():
    os.chdir(os.environ["ODF_SOURCE"])
    listed = subprocess.run(["git", "ls-files", "--stage"], capture_output=True, text=True, check=False)
    if listed.returncode != 0 or not os.path.exists(".git"):
        print("skipped: no checkout of git's")
        return 77
    for entry in listed.stdout.splitlines():
        mode, path = entry[:6], entry.partition("\t")[2]
        if not os.path.isfile(path):
            continue
        try:
            with open(path, encoding="utf-8") as file:
                lines = file.read().split("\n")
        except UnicodeDecodeError:
            continue
        if not path.startswith(MADE):
            look_at_lines(path, lines)
        if path.endswith(SOURCES) and path not in LONG and len(lines) - 1 > LINES:
            complain(path, len(lines), "has more than some 500 lines")
        if path.endswith((".c", ".h", ".sh", ".py")):
            # Behind "#!" it is the second line.
            first = lines[1] if lines[0].startswith("#!") else lines[0]
            if not re.search(r"SPDX-License-Identifier: MIT(?: \*/)?$", first):
                complain(path, 1, "does not begin with the licence and nothing else")
        # The scripts of a package get their modes when it is made.
        if lines[0].startswith("#!") != (mode == "100755") and not path.startswith("packaging/debian/"):
            complain(path, 1, "begins with #! and has not the mode of a program, or the other way round")
    return 1 if wrong else 0


sys.exit(main())
