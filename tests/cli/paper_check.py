# SPDX-License-Identifier: MIT
"""paper_check.py DIRECTORY TABLE...: the page that bench/paper.py made there is well-formed, has these tables (and the
one of what was published) with all their rows, shows numbers where there should be, needs nothing from elsewhere, and
has no text on another in its plots."""
import csv
import glob
import html.parser
import os
import re
import sys
import xml.etree.ElementTree as tree

VOID = {"meta", "br", "img", "link", "hr"}
directory, wanted = sys.argv[1], sys.argv[2:]
with open(os.path.join(directory, "paper.html"), encoding="utf-8") as file:
    page = file.read()


class Reader(html.parser.HTMLParser):
    """What is open, and the cells of each table's rows."""

    def __init__(self):
        super().__init__()
        self.open, self.tables, self.rows, self.texts = [], {}, None, []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        for name in ("src", "href", "srcset", "data"):
            assert name not in attributes, "<%s %s=%s>: the page is to stand alone" % (tag, name, attributes[name])
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.rows = self.tables.setdefault(attributes["id"], [])
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, "</%s> where %s is open" % (tag, self.open[-3:])
        self.open.pop()

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data
        if self.open and self.open[-1] not in ("style", "title"):
            self.texts.append(data)


def check_plot(name, plot):
    """Every text within the frame, and none on another, by what its letters take at most."""
    svg = "{http://www.w3.org/2000/svg}"
    width, height = (float(number) for number in plot.get("viewBox").split()[2:])
    boxes = []
    for text in plot.iter(svg + "text"):
        long = len(text.text) * (8.5 if text.get("class") == "h" else 6.6 if text.get("class") == "v" else 7.2)
        x = float(text.get("x")) - {"end": long, "middle": long / 2}.get(text.get("text-anchor"), 0)
        boxes.append((x, float(text.get("y")) - 10, x + long, float(text.get("y")) + 2, text.text))
    assert len(boxes) > 1, name + " has no texts"
    for i, (left, top, right, bottom, text) in enumerate(boxes):
        inside = left >= 0 and top >= 0 and right <= width and bottom <= height
        assert inside, "%s: '%s' is outside" % (name, text)
        for left2, top2, right2, bottom2, other in boxes[:i]:
            apart = right <= left2 or right2 <= left or bottom <= top2 or bottom2 <= top
            assert apart, "%s: '%s' lies on '%s'" % (name, text, other)


reader = Reader()
reader.feed(page)
reader.close()
assert not reader.open, "not closed: %s" % reader.open
elsewhere = re.search(r"https?://(?!www\.w3\.org/2000/svg)|url\(|@import|<script", page)
assert not elsewhere, "something comes from elsewhere: %s" % elsewhere
for text in reader.texts:
    assert not re.search(r"\b(nan|inf|None)\b", text), text
assert set(reader.tables) == set(wanted) | {"published"}, "tables: %s" % sorted(reader.tables)

# The tables and the file of all figures agree.
with open(os.path.join(directory, "paper.csv"), encoding="utf-8") as file:
    assert file.readline().startswith("# "), "no first line"
    figures = list(csv.DictReader(file))
for name in reader.tables:
    header, *rows = reader.tables[name]
    assert len(rows) >= (5 if name == "published" else 2), "%s has %d rows" % (name, len(rows))
    assert all(len(row) == len(header) for row in rows), "%s: rows of other lengths" % name
    cells = {(row[0], what): cell for row in rows for what, cell in zip(header[1:], row[1:])}
    of = [figure for figure in figures if figure["table"] == name]
    named = {row[0] for row in rows}
    assert {figure["row"] for figure in of} == named, "%s: rows %s" % (name, sorted(named))
    for figure in of:
        assert cells[figure["row"], figure["what"]] == figure["text"], figure
        if name != "published":
            float(figure["value"])
# Both sides are there, and huge pages where they belong.
for name in wanted:
    ways = {figure["way"] for figure in figures if figure["table"] == name}
    assert {"plain", "ours"} <= ways, "%s: %s" % (name, ways)
    assert "huge" in ways or name not in ("held", "fault"), "%s: no huge pages" % name
published = " ".join(figure["text"] for figure in figures if figure["table"] == "published")
for figure in ("65 times", "59 % to 226 %", "99 % less", "0.221 ms", "8.39 ms", "0.459 ms", "280 ms"):
    assert figure in published, "published: no " + figure

inline = re.findall(r"<svg.*?</svg>", page, re.S)
files = glob.glob(os.path.join(directory, "paper-*.svg"))
assert len(inline) == len(files) and (len(files) >= 6) == bool(wanted), "%d plots, %d files" % (len(inline), len(files))
for number, text in enumerate(inline):
    check_plot("plot %d" % number, tree.fromstring(text))
for path in files:
    check_plot(os.path.basename(path), tree.parse(path).getroot())
