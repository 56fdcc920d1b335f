# SPDX-License-Identifier: MIT
"""count.py FAILED FILE...: adds up the test cases of JUnit files. FAILED more have failed already (to build). A file
that is missing is one failure. Names what failed and what was skipped, and ends with the count."""
import sys
import xml.etree.ElementTree as ElementTree

passed, failed, skipped = 0, int(sys.argv[1]), 0
for path in sys.argv[2:]:
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as problem:
        print("no results in", path, "-", problem)
        failed += 1
        continue
    for suite in root.iter("testsuite"):
        for case in suite.iter("testcase"):
            name = path.split("/")[0] + " " + suite.get("name", "") + " " + case.get("name", "")
            if case.find("failure") is not None or case.find("error") is not None:
                failed += 1
                print("failed:", name)
            elif case.find("skipped") is not None:
                skipped += 1
                print("skipped:", name)
            else:
                passed += 1
line = "%d passed, %d failed" % (passed, failed)
if skipped:
    line += ", %d skipped" % skipped
print(line)
sys.exit(1 if failed or not passed else 0)
