# SPDX-License-Identifier: MIT
"""Reads the output of `python3 -m test -v` from standard input and prints "TEST<tab>RESULT" for each test; the names
have no blanks. The test's own output may stand between the dots and the result."""
import re
import sys

text = sys.stdin.buffer.read().decode(errors="replace")
test = re.compile(r"^(test\w* \([\w.]+\))")
end = re.compile(r"(?:^|\.\.\. )(ok|FAIL|ERROR|expected failure|unexpected success|skipped) ?.*$")
current, results = None, {}
for line in text.splitlines():
    if found := test.match(line):
        current = found[1].replace(" ", "_")
        results.setdefault(current, "no result")
    if current and (found := end.search(line)):
        results[current], current = found[1], None
for name in re.findall(r"^(?:FAIL|ERROR): (\w+ \([\w.]+\))", text, re.M):
    results[name.replace(" ", "_")] = "failed"
for name, result in sorted(results.items()):
    print(f"{name}\t{result}")
