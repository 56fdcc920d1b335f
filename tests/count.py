# SPDX-License-Identifier: MIT
"""count.py FAILED BUILD:STATUS...: adds up what the tests of each build said (meson-logs/testlog.junit.xml) and how
each program ended (testlog.json), which the former leaves out where a program has said anything. FAILED more have
failed already (to build); STATUS is that of `meson test`. Logs that are missing are one failure. Names what failed and
what was skipped, and ends with the count. Under ODF_MUST_WORK=1 what was skipped has failed."""
import json
import os
import re
import sys
import xml.etree.ElementTree as ElementTree

MUST_WORK = os.environ.get("ODF_MUST_WORK") == "1"
GOOD = ("OK", "SKIP", "EXPECTEDFAIL")


class Count:
    def __init__(self, failed):
        self.passed, self.failed, self.skipped = 0, failed, 0

    def fail(self, what):
        self.failed += 1
        print("failed:", what)

    def skip(self, what, why):
        text = what + (": " + why if why else "")
        if MUST_WORK:
            self.fail("must not be skipped: " + text)
        else:
            self.skipped += 1
            print("skipped:", text)


def skipped_by_cmocka(said):
    """Those that passed and said before that they were skipped, as skip_because does, with the reasons: what cmocka's
    own skip() says comes out as a failure."""
    found, reasons = {}, []
    for line in said.splitlines():
        result = re.match(r"(not )?ok \d+ - (.*)$", line)
        if line.startswith("# skipped: "):
            reasons.append(line[len("# skipped: "):])
        elif result:
            if reasons and not result[1]:
                found[result[2]] = "; ".join(dict.fromkeys(reasons))
            reasons = []
    return found


def read_logs(build):
    logs = build + "/meson-logs/testlog"
    with open(logs + ".json", encoding="utf-8") as log:
        ends = [json.loads(line) for line in log]
    return ElementTree.parse(logs + ".junit.xml").getroot(), ends


def count_build(build, status, count):
    failed_before = count.failed
    try:
        root, ends = read_logs(build)
    except (OSError, ValueError, ElementTree.ParseError) as problem:
        count.fail("%s: no results: %s" % (build, problem))
        return
    bad = {test["name"]: test for test in ends if test["result"] not in GOOD}
    told = set()  # bad ones of which a failure was counted
    for suite in root.iter("testsuite"):
        test = suite.get("name", "").partition(".")[2]  # empty: tests with one result each
        skipped = skipped_by_cmocka(suite.findtext("system-out") or "")
        for case in suite.iter("testcase"):
            name = case.get("name", "")
            what = " ".join((build, test, name)) if test else build + " " + name
            said = (case.findtext("system-out") or "").strip()
            if case.find("failure") is not None or case.find("error") is not None:
                count.fail(what)
                told.add(test or name)
            elif case.find("skipped") is not None:
                count.skip(what, re.sub(r"1\.\.0 *# *SKIP *", "", said.split("\n")[-1]))
            elif not test and name in bad:
                pass  # is counted below: one that was out of time looks here like one that passed
            elif name.partition(" - ")[2] in skipped:
                count.skip(what, skipped[name.partition(" - ")[2]])
            else:
                count.passed += 1
            for part in [] if test else re.findall(r"; left out: ([^;\n]*)", said):
                print("left out: %s: %s" % (what, part))
    # All that it said may be good, and still it hung, was killed, or found a leak at its end.
    for name, test in bad.items():
        if name not in told:
            count.fail("%s %s: %s, exit status %s" % (build, name, test["result"], test["returncode"]))
    if status != 0 and count.failed == failed_before:
        count.fail("%s: meson test ended with status %d" % (build, status))


def main():
    count = Count(int(sys.argv[1]))
    for argument in sys.argv[2:]:
        build, status = argument.rsplit(":", 1)
        count_build(build, int(status), count)
    line = "%d passed, %d failed" % (count.passed, count.failed)
    if count.skipped:
        line += ", %d skipped" % count.skipped
    print(line)
    return 1 if count.failed or not count.passed else 0


sys.exit(main())
