# SPDX-License-Identifier: MIT
"""Results of tests, one "TEST<tab>RESULT" a line.

compare.py A B                       what differs between two runs of the same kind
compare.py --names A B C             the tests whose result in C is neither that in A nor that in B
compare.py --again TEST PLAIN OTHER  of a test that was run several times its results, if none of OTHER is among PLAIN's
"""
import sys


def read(path):
    results = {}
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            name, _, result = line.rstrip("\n").partition("\t")
            results.setdefault(name, []).append(result)
    return results


def told(results):
    return ", ".join(results or ["nothing"])


def main(words):
    if words[0] == "--names":
        first, second, other = map(read, words[1:])
        for name in sorted(set(first) | set(second) | set(other)):
            if other.get(name) not in (first.get(name), second.get(name)):
                print(name)
    elif words[0] == "--again":
        plain, other = (read(path).get(words[1], []) for path in words[2:])
        if not set(plain) & set(other):
            print(f"{words[1]}: without the library {told(plain)}; with it {told(other)}")
    else:
        first, second = map(read, words)
        for name in sorted(set(first) | set(second)):
            if first.get(name) != second.get(name):
                print(name, told(first.get(name)), "and", told(second.get(name)))


main(sys.argv[1:])
