# SPDX-License-Identifier: MIT
"""Functions from which tables.py builds its tables."""


def table(header, lines):
    return "\n".join(["| " + " | ".join(header) + " |", "|" + "---|" * len(header)] +
                     ["| " + " | ".join(line) + " |" for line in lines])


def near_a_gibibyte(found):
    """The rows of one size; the others are in the file."""
    size = min((row["mib"] for row in found), key=lambda mib: max(int(mib) / 1024, 1024 / int(mib)))
    return [row for row in found if row["mib"] == size]


def by_variant(found, *key):
    """The rows that differ in their variant only, together: (values of the key, {variant: row})."""
    groups = {}
    for row in found:
        groups.setdefault(tuple(row[k] for k in key), {})[row["variant"]] = row
    return groups.items()


def by_rows(found, *key):
    """The rows with the same key together: (values of the key, rows)."""
    groups = {}
    for row in found:
        groups.setdefault(tuple(row[k] for k in key), []).append(row)
    return groups.items()


def emphasized(row, line):
    return ["**%s**" % cell if cell else cell for cell in line] if row["variant"] == "library" else line


def by_sizes(found, *key):
    groups = {}
    for row in found:
        groups.setdefault(tuple(row[k] for k in key), {})[row["mib"]] = row
    return groups.items()
