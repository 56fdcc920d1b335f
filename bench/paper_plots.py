# SPDX-License-Identifier: MIT
"""Pictures for bench/paper.py, as SVG that can stand in a page or alone. Names stand below the axes or in a column of their own, never where a line or another
text can be; colours and marks are the same for each way in all pictures, and follow the reader's preference for light or dark."""
import math
from xml.sax.saxutils import escape

# By way: class of colour.
CLASSES = {"plain": "a", "ours": "b", "huge": "c", "next": "d", "empty": "e", "published": "f", "published plain": "g"}
STYLE = (".plot text{font:13px sans-serif;fill:#222}.plot .v{font-size:12px}.plot .grid{stroke:#ddd}.plot .axis{stroke:#888}.plot .l{fill:none;stroke-width:2}"
         ".plot .a{stroke:#c0392b;fill:#c0392b}.plot .b{stroke:#0072b2;fill:#0072b2}.plot .c{stroke:#a86a00;fill:#a86a00}.plot .d{stroke:#5a4fcf;fill:#5a4fcf}"
         ".plot .e{stroke:#777;fill:#777}.plot .f{stroke:#00795a;fill:none;stroke-width:2}.plot .g{stroke:#c0392b;fill:none;stroke-width:2}.plot .l{fill:none}"
         "@media(prefers-color-scheme:dark){.plot text{fill:#e6e6e6}.plot .grid{stroke:#33373f}.plot .a,.plot .g{stroke:#ff7b6b}.plot .a{fill:#ff7b6b}"
         ".plot .b{stroke:#5cb8ff;fill:#5cb8ff}.plot .c{stroke:#f0b04a;fill:#f0b04a}.plot .d{stroke:#b5aaff;fill:#b5aaff}.plot .e{stroke:#aaa;fill:#aaa}"
         ".plot .f{stroke:#4fd0a5}.plot .l{fill:none}}")
WIDTH, LEFT, RIGHT, TOP, LINE = 480, 64, 34, 14, 19


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


def frame(height, title, body):
    return ('<svg xmlns="http://www.w3.org/2000/svg" class="plot" viewBox="0 0 %d %d" width="%d" height="%d" role="img"><title>%s</title>\n%s</svg>\n' % (
        WIDTH, height, WIDTH, height, escape(title), "\n".join(body)))


def powers(values):
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def lines(title, series, x_label, y_label):
    """`series`: [(way, name, [(x, y)])], both axes logarithmic, x by powers of two; a way of one point is a mark. `x_label`, `y_label`: a number's text."""
    points = [point for _, _, of in series for point in of]
    low, high = powers([y for _, y in points])
    first, last = math.log2(min(x for x, _ in points)), math.log2(max(x for x, _ in points))
    first, last = (first - 0.5, last + 0.5)
    tall = 220

    def place(x, y):
        return (LEFT + (WIDTH - LEFT - RIGHT) * (math.log2(x) - first) / (last - first),
                TOP + tall * (1 - (math.log10(y) - low) / (high - low)))
    body = []
    for power in range(low, high + 1):
        _, y = place(2 ** first, 10.0 ** power)
        body.append('<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/><text x="%d" y="%.1f" text-anchor="end">%s</text>' % (
            LEFT, WIDTH - RIGHT, y, y, LEFT - 6, y + 4, escape(y_label(10.0 ** power))))
    body.append('<line class="axis" x1="%d" x2="%d" y1="%d" y2="%d"/>' % (LEFT, WIDTH - RIGHT, TOP + tall, TOP + tall))
    exponents = range(math.ceil(first), math.floor(last) + 1)
    every = math.ceil(len(exponents) * 62 / (WIDTH - LEFT - RIGHT))
    for exponent in exponents[::every]:
        x, _ = place(2.0 ** exponent, 10.0 ** low)
        body.append('<text x="%.1f" y="%d" text-anchor="middle">%s</text>' % (x, TOP + tall + 18, escape(x_label(2 ** exponent))))
    for number, (way, name, of) in enumerate(series):
        if len(of) > 1:
            body.append('<path class="l %s" d="M%s"/>' % (CLASSES[way], "L".join("%.1f %.1f" % place(*point) for point in of)))
        body += [mark(way, *place(*point)) for point in of]
        y = TOP + tall + 44 + number * LINE
        body.append('%s<text x="%d" y="%d">%s</text>' % (mark(way, LEFT + 6, y - 4), LEFT + 20, y, escape(name)))
    return frame(TOP + tall + 44 + len(series) * LINE, title, body)


def bars(title, groups, label, logarithmic=False):
    """`groups`: [(name, [(way, name of the way, value)])]; each bar has its name at its left and its value at its right."""
    values = [value for _, of in groups for _, _, value in of]
    named, room = 170, 86
    low, high = powers(values) if logarithmic else (0, max(values))
    body, y = [], TOP
    for name, of in groups:
        if name:
            body.append('<text x="8" y="%d" style="font-weight:bold">%s</text>' % (y + 6, escape(name)))
            y += 16
        for way, text, value in of:
            part = (math.log10(value) - low) / (high - low) if logarithmic else value / high if high else 0
            long = max(2, (WIDTH - named - room) * part)
            body.append('<text class="v" x="%d" y="%d" text-anchor="end">%s</text><rect class="%s" x="%d" y="%d" width="%.1f" height="12"/>'
                        '<text class="v" x="%.1f" y="%d">%s</text>' % (named - 8, y + 11, escape(text), CLASSES[way], named, y, long, named + long + 6, y + 11,
                                                                        escape(label(value))))
            y += 19
        y += 12
    return frame(y, title, body)
