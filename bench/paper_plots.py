# SPDX-License-Identifier: MIT
"""The plots of bench/paper.py, as SVG that works inside a page and as a file.

Labels are below the axes or in a column of their own, where they cannot overlap a line or another label. A way has the
same colour and marker in all plots. The colours follow the reader's preference for light or dark."""
import math
import os
from xml.sax.saxutils import escape

# By way: class of colour.
CLASSES = {"plain": "a", "ours": "b", "huge": "c", "next": "d", "empty": "e", "published": "f", "published plain": "g"}
WIDTH, LEFT, RIGHT, TOP, LINE, TALL = 480, 64, 34, 14, 19, 220

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "paper_plots.css"), encoding="utf-8") as style:
    STYLE = style.read()
GROUND = "svg{background:#fff}@media(prefers-color-scheme:dark){svg{background:#16181d}}"


def mark(way, x, y):
    kind = CLASSES[way]
    if kind in "ae":
        return '<circle class="%s" cx="%.1f" cy="%.1f" r="4"/>' % (kind, x, y)
    if kind == "b":
        return '<rect class="b" x="%.1f" y="%.1f" width="7" height="7"/>' % (x - 3.5, y - 3.5)
    if kind == "c":
        return '<path class="c" d="M%.1f %.1fl5 8h-10z"/>' % (x, y - 5)
    if kind == "d":
        return '<path class="d" d="M%.1f %.1fl5 5-5 5-5-5z"/>' % (x, y - 5)
    return '<path class="%s" d="M%.1f %.1fl8 8m0-8l-8 8"/>' % (kind, x - 4, y - 4)


def label(x, y, text, anchor="start", kind=""):
    return '<text x="%.1f" y="%.1f" text-anchor="%s"%s>%s</text>' % (
        x, y, anchor, ' class="%s"' % kind if kind else "", escape(text))


def frame(height, title, body):
    return ('<svg xmlns="http://www.w3.org/2000/svg" class="plot" viewBox="0 0 %d %d" '
            'width="%d" height="%d" role="img"><title>%s</title>\n%s</svg>\n' % (
                WIDTH, height, WIDTH, height, escape(title), "\n".join(body)))


def alone(svg):
    """For a file of its own."""
    return svg.replace("</title>", "</title>\n<style>%s%s</style>" % (STYLE, GROUND), 1)


def powers(values):
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


class Axes:
    """Both logarithmic: y by powers of ten, x by powers of two, with half a step at each side."""

    def __init__(self, points):
        self.low, self.high = powers([y for _, y in points])
        self.first = math.log2(min(x for x, _ in points)) - 0.5
        self.last = math.log2(max(x for x, _ in points)) + 0.5

    def place(self, x, y):
        return (LEFT + (WIDTH - LEFT - RIGHT) * (math.log2(x) - self.first) / (self.last - self.first),
                TOP + TALL * (1 - (math.log10(y) - self.low) / (self.high - self.low)))

    def draw(self, x_label, y_label):
        across = 'x1="%d" x2="%d"' % (LEFT, WIDTH - RIGHT)
        for power in range(self.low, self.high + 1):
            _, y = self.place(2.0 ** self.first, 10.0 ** power)
            yield '<line class="grid" %s y1="%.1f" y2="%.1f"/>' % (across, y, y)
            yield label(LEFT - 6, y + 4, y_label(10.0 ** power), "end")
        yield '<line class="axis" %s y1="%d" y2="%d"/>' % (across, TOP + TALL, TOP + TALL)
        exponents = range(math.ceil(self.first), math.floor(self.last) + 1)
        every = math.ceil(len(exponents) * 62 / (WIDTH - LEFT - RIGHT))
        for exponent in exponents[::every]:
            x, _ = self.place(2.0 ** exponent, 10.0 ** self.low)
            yield label(x, TOP + TALL + 18, x_label(2 ** exponent), "middle")


def lines(title, series, x_label, y_label):
    """`series`: [(way, name, [(x, y)])]; a way of one point is a mark. `x_label`, `y_label`: a number's text."""
    axes = Axes([point for _, _, of in series for point in of])
    body = list(axes.draw(x_label, y_label))
    for number, (way, name, of) in enumerate(series):
        if len(of) > 1:
            line = "L".join("%.1f %.1f" % axes.place(*point) for point in of)
            body.append('<path class="%s l" d="M%s"/>' % (CLASSES[way], line))
        body += [mark(way, *axes.place(*point)) for point in of]
        y = TOP + TALL + 44 + number * LINE
        body += [mark(way, LEFT + 6, y - 4), label(LEFT + 20, y, name)]
    return frame(TOP + TALL + 44 + len(series) * LINE, title, body)


def bars(title, groups, text_of, logarithmic=False):
    """`groups`: [(name, [(way, name of the way, value)])]; each bar has its name at its left, its value right of it."""
    values = [value for _, of in groups for _, _, value in of]
    named, room = 170, 86
    low, high = powers(values) if logarithmic else (0, max(values))
    body, y = [], TOP
    for name, of in groups:
        body.append(label(8, y + 6, name, kind="h"))
        y += 16
        for way, text, value in of:
            part = (math.log10(value) - low) / (high - low) if logarithmic else value / high
            long = max(2, (WIDTH - named - room) * part)
            body += [label(named - 8, y + 11, text, "end", "v"),
                     '<rect class="%s" x="%d" y="%d" width="%.1f" height="12"/>' % (CLASSES[way], named, y, long),
                     label(named + long + 6, y + 11, text_of(value), kind="v")]
            y += 19
        y += 12
    return frame(y, title, body)
