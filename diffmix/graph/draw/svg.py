"""A graph as an SVG picture of its signal flow, without any other library."""

import unicodedata
from collections.abc import Iterable
from html import escape

from diffmix.graph.draw.cables import FIRST, PORT, Drawing, drawing
from diffmix.graph.draw.glyphs import Stroke, glyph
from diffmix.graph.draw.layout import Cable, Place, front
from diffmix.graph.draw.words import family, kind_text, own_name, phrases, plain, said
from diffmix.graph.graph import Graph
from diffmix.graph.node import Node

PAD, LINE, HEAD, GLYPH = 9.0, 12.0, 23.0, 30.0
NARROW, WIDE = 84.0, 168.0

INK = {"light": "#1f2933", "dark": "#e4e9ef"}
MUTED = {"light": "#5f6b7a", "dark": "#9aa7b5"}
GRID = {"light": "#c9d0d8", "dark": "#4a5563"}
PAPER = {"light": "#ffffff", "dark": "#14181d"}
BOX = {"light": "#ffffff", "dark": "#1c2229"}
COLOURS = {
    "filter": {"light": "#2463d6", "dark": "#6fa0ff"},
    "dynamics": {"light": "#c9571b", "dark": "#f0935f"},
    "space": {"light": "#0b7f83", "dark": "#3fc1c4"},
    "distortion": {"light": "#bd2b52", "dark": "#f0718f"},
    "modulation": {"light": "#7a46cf", "dark": "#b08cf2"},
    "control": {"light": "#2f7d32", "dark": "#77c77a"},
    "utility": {"light": "#52606d", "dark": "#a5b2c0"},
    "plate": {"light": "#1f2933", "dark": "#e4e9ef"},
}
"""A colour per family, for a light and a dark background; each has a contrast of 4.5 or more to boxes."""

FONT = "Inter,'Segoe UI','Helvetica Neue',Arial,'DejaVu Sans',sans-serif"


def to_svg(graph: Graph) -> str:
    """A picture of a graph's signal flow, from left to right, a lane per source.

    Boxes are coloured by family and show their name, effect and main settings, with a small curve where there is one.
    Cables carry their gains; sends have the colour of where they go, side chains are dashed and control signals dotted
    and enter from below. The text is SVG 1.1 that follows a light or dark background, with a title for each box and
    cable; it is the same for equal graphs.
    """
    picture, texts = _drawn(graph)
    body = [*_cables(graph, picture), *(line for p in picture.places.values() for line in texts[p.node.name].drawn(p))]
    families = dict.fromkeys(family(node) for node in graph)
    title, description = _told(graph)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{picture.width:.0f}" height="{picture.height:.0f}" '
            f'viewBox="0 0 {picture.width:.0f} {picture.height:.0f}" role="img" font-family="{FONT}">',
            f"<title>{_xml(title)}</title>",
            f"<desc>{_xml(description)}</desc>",
            f"<style>{_style(families)}</style>",
            f'<rect class="paper" width="{picture.width:.0f}" height="{picture.height:.0f}"/>',
            *body,
            "</svg>",
            "",
        ]
    )


def _drawn(graph: Graph) -> tuple[Drawing, dict[str, "_Text"]]:
    texts = {node.name: _Text(node) for node in graph}
    picture = drawing(graph, lambda place: texts[place.node.name].measured(place), label_width)
    return picture, texts


def label_width(text: str) -> float:
    """Width of what is written at a cable."""
    return _width(text, 9.5, bold=True)


def _told(graph: Graph) -> tuple[str, str]:
    effects = sum(family(node) != "plate" for node in graph)
    sources, outputs = graph.sources, graph.outputs
    title = f"Signal flow: {len(sources)} source{'s'[: len(sources) != 1]}, {effects} node{'s'[: effects != 1]}"
    description = f"From {_listed(sources)} to {_listed(outputs)}."
    sides = [e for e in graph.edges if graph[e.target.node].inlet(e.target.port).kind != "audio"]
    if sides:
        moved = _listed([f"{e.source.node} to {e.target.node} {e.target.port}" for e in sides])
        description += f" Side chains and control: {moved}."
    return title, description


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return (", ".join(names[:8]) + more) or "nothing"


def _style(families: Iterable[str]) -> str:
    def theme(name: str) -> str:
        rules = [
            f".paper{{fill:{PAPER[name]}}}.box{{fill:{BOX[name]}}}",
            f".halo{{stroke:{PAPER[name]}}}.name,.what{{fill:{INK[name]}}}.quiet{{fill:{MUTED[name]}}}",
            f".axis{{stroke:{GRID[name]}}}.on{{fill:{PAPER[name]}}}.wire{{stroke:{INK[name]}}}.tip{{fill:{INK[name]}}}",
        ]
        rules += [
            f".{f}{{stroke:{COLOURS[f][name]}}}.{f}-f{{fill:{COLOURS[f][name]}}}"
            for f in dict.fromkeys((*families, "dynamics", "control"))
        ]
        return "".join(rules)

    fixed = (
        ".name{font-size:11.5px;font-weight:600}.what{font-size:10px}.quiet{font-size:9.5px}"
        ".cable,.halo,.line,.axis{fill:none;stroke-linejoin:round}.cable{stroke-width:1.6}.halo{stroke-width:5}"
        ".box{stroke-width:1.2}.line{stroke-width:1.5;stroke-linecap:round}.axis{stroke-width:1}.fill{opacity:.14}"
        ".head{opacity:.13}.side{stroke-dasharray:6 3}.moved{stroke-dasharray:1.5 3.5;stroke-linecap:round}"
        ".label{font-size:9.5px;font-weight:600}"
    )
    return f"{fixed}{theme('light')}@media(prefers-color-scheme:dark){{{theme('dark')}}}"


class _Text:
    """What a box says, how much room that takes, and how it is drawn."""

    def __init__(self, node: Node) -> None:
        self.node, self.family = node, family(node)
        self.strokes = glyph(node)

    def measured(self, place: Place) -> tuple[float, float]:
        """Least width and height with these ports and notes."""
        self.name = plain(own_name(self.node.name, place.chain))
        kind = kind_text(self.node.kind)
        self.kind = "" if kind.replace(" ", "") in self.name.lower().replace("_", " ") or kind == "in" else kind
        said_first = phrases(self.node)[: 2 if self.strokes else 3]
        self.phrases = [text.replace("-", "−") for text in said_first + place.notes]
        ins, outs = front(self.node), [port.name for port in self.node.outlets]
        self.ins = ins if len(ins) > 1 else []
        self.outs: dict[str, int] = {}
        for slot, (outlet, _) in enumerate(place.exits):
            if len(outs) > 1:
                self.outs.setdefault(outlet, slot)
        self.before = max((_width(t, 9.5) + 5 for t in self.ins), default=0.0)
        self.after = max((_width(t, 9.5) + 5 for t in self.outs), default=0.0)
        room = WIDE - 2 * PAD
        self.name = _shortened(self.name, 11.5, room, True)
        self.phrases = [_shortened(text, 10, room) for text in self.phrases]
        inner = [_width(self.name, 11.5, True), _width(self.kind, 9.5), *(_width(t, 10) for t in self.phrases)]
        width = max(NARROW, *inner) if self.strokes else max(inner)
        slots = max(len(place.exits), len(self.ins), 1)
        text = 24 + LINE * bool(self.kind) + (GLYPH + 6) * bool(self.strokes) + LINE * len(self.phrases)
        return width + 2 * PAD + self.before + self.after, max(text + 6, FIRST + PORT * (slots - 1) + 10)

    def drawn(self, place: Place) -> list[str]:
        """The lines of SVG."""
        colour, on = self.family, self.family == "plate"
        x, y, width, height = place.x, place.y, place.width, place.height
        lines = [f"<g><title>{_xml(_everything(self.node))}</title>"]
        shape = f'x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" rx="5"'
        if on:
            lines.append(f'<rect class="{colour}-f" {shape} height="{_n(height)}"/>')
        else:
            lines.append(f'<rect class="box {colour}" {shape} height="{_n(height)}"/>')
            top = f"M{_n(x)} {_n(y + HEAD)}v{_n(5 - HEAD)}q0 -5 5 -5h{_n(width - 10)}q5 0 5 5v{_n(HEAD - 5)}z"
            lines.append(f'<path class="head {colour}-f" d="{top}"/>')
        left = x + PAD + self.before
        at = y + 19 - 3.5
        lines.append(_label(left, at + 0.5, self.name, "name on" if on else "name"))
        if self.kind:
            at += LINE + 2
            lines.append(_label(left, at + 1, self.kind, "quiet on" if on else "quiet"))
        if self.strokes:
            inner = width - 2 * PAD - self.before - self.after
            lines += _strokes(self.strokes, colour, left, at + 10, inner, GLYPH)
            at += GLYPH + 8
        for text in self.phrases:
            at += LINE
            lines.append(_label(left, at + 3, text, "what on" if on else "what"))
        for slot, port in enumerate(self.ins):
            lines.append(_label(x + 5, y + FIRST + PORT * slot + 3, plain(port), "quiet"))
        for port, slot in self.outs.items():
            lines.append(_label(x + width - 5, y + FIRST + PORT * slot + 3, plain(port), "quiet", "end"))
        return [*lines, "</g>"]


def _everything(node: Node) -> str:
    """Name, effect and every setting."""
    knobs = [f"{knob} {said(knob, value, node.params[knob].unit)}" for knob, value in node.settings.items()]
    options = [f"{key} {value}" for key, value in node.options.items()]
    return ": ".join(filter(None, [f"{node.name} ({node.kind})", ", ".join(options + knobs)]))


def _strokes(strokes: Iterable[Stroke], colour: str, x: float, y: float, width: float, height: float) -> list[str]:
    """A glyph in a rectangle."""
    lines = []
    for kind, points in strokes:
        at = [(x + width * px, y + height * (1 - py)) for px, py in points]
        if kind == "dot":
            lines.append(f'<circle class="{colour}-f" cx="{_n(at[0][0])}" cy="{_n(at[0][1])}" r="4"/>')
        elif kind == "cap":
            corner = f'x="{_n(at[0][0] - 4)}" y="{_n(at[0][1] - 8)}"'
            lines.append(f'<rect class="{colour}-f" {corner} width="8" height="16" rx="2"/>')
        else:
            path = "M" + "L".join(f"{_n(px)} {_n(py)}" for px, py in at)
            look = {"fill": f"fill {colour}-f", "axis": "axis", "line": f"line {colour}"}[kind]
            lines.append(f'<path class="{look}" d="{path}{"Z" if kind == "fill" else ""}"/>')
    return lines


def _cables(graph: Graph, picture: Drawing) -> list[str]:
    """All cables, net by net, each net on a halo that sets it apart from what it crosses; then their labels."""
    nets: dict[tuple[str, ...], list[Cable]] = {}
    for cable in picture.cables:
        nets.setdefault(cable.net, []).append(cable)
    lines, labels = [], {}
    for cables in nets.values():
        halos = dict.fromkeys(_path(c.points) for c in cables)
        lines += [f'<path class="halo" d="{path}"/>' for path in halos]
        for cable in cables:
            look, tip = _look(graph, cable)
            edge = cable.edge
            title = f"{edge.source} to {edge.target}" + (f": {cable.text}" if cable.text else "")
            lines.append(f'<path class="cable {look}" d="{_path(cable.points)}"><title>{_xml(title)}</title></path>')
            lines.append(f'<path class="{tip}" d="{_tip(cable)}"/>')
            if cable.text:
                x, y, anchor = cable.label_at
                labels[x, y] = _label(x, y, cable.text.replace("-", "−"), f"label {tip}", anchor)
    return lines + list(labels.values())


def _look(graph: Graph, cable: Cable) -> tuple[str, str]:
    """Classes of a cable and of its tip."""
    if cable.edge.amount is not None:
        return "moved control", "control-f"
    if cable.side:
        return "side dynamics", "dynamics-f"
    where = family(graph[cable.edge.target.node])
    if cable.edge.gain_db is None or where in ("utility", "plate"):
        return "wire", "tip"
    return where, f"{where}-f"


def _tip(cable: Cable) -> str:
    """The arrow at a cable's end."""
    (x0, y0), (x, y) = cable.points[-2:]
    if abs(x - x0) < 1e-6:
        back = 7 if y0 > y else -7
        return f"M{_n(x)} {_n(y)}L{_n(x - 3.5)} {_n(y + back)}H{_n(x + 3.5)}Z"
    back = -7 if x0 < x else 7
    return f"M{_n(x)} {_n(y)}L{_n(x + back)} {_n(y - 3.5)}V{_n(y + 3.5)}Z"


def _path(points: list[tuple[float, float]], radius: float = 7) -> str:
    """A line through points, its corners round."""
    corners = [points[0]]
    for i in range(1, len(points) - 1):
        (x0, y0), (x1, y1), (x2, y2) = corners[-1], points[i], points[i + 1]
        if not (abs(x0 - x1) < 1e-6 and abs(x1 - x2) < 1e-6) and not (abs(y0 - y1) < 1e-6 and abs(y1 - y2) < 1e-6):
            corners.append(points[i])
    corners.append(points[-1])
    parts = [f"M{_n(corners[0][0])} {_n(corners[0][1])}"]
    for before, at, after in zip(corners, corners[1:], corners[2:], strict=False):
        (ax, ay), (bx, by) = (_towards(at, end, radius) for end in (before, after))
        parts.append(f"L{_n(ax)} {_n(ay)}Q{_n(at[0])} {_n(at[1])} {_n(bx)} {_n(by)}")
    return "".join(parts) + f"L{_n(corners[-1][0])} {_n(corners[-1][1])}"


def _towards(start: tuple[float, float], end: tuple[float, float], radius: float) -> tuple[float, float]:
    length = abs(end[0] - start[0]) + abs(end[1] - start[1])
    part = min(radius, length / 2) / length if length else 0
    return start[0] + (end[0] - start[0]) * part, start[1] + (end[1] - start[1]) * part


def _label(x: float, y: float, text: str, look: str, anchor: str = "start") -> str:
    ends = f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f'<text class="{look}" x="{_n(x)}" y="{_n(y)}"{ends}>{_xml(text)}</text>'


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _xml(text: str) -> str:
    return escape(plain(text))


def _width(text: str, size: float, bold: bool = False) -> float:
    """Width of text in px, in the widest of the usual fonts."""
    return size * sum(map(_em, text)) * (1.1 if bold else 1.0)


def _em(char: str) -> float:
    if char in "ijl.,:;|!'` ":
        return 0.36
    if char in "ftrI()[]/\\-":
        return 0.45
    if char in "mwMW%@−+=~<>":
        return 0.98
    if char.isascii():
        return 0.7 if char.isupper() else 0.64
    if unicodedata.combining(char):
        return 0.0
    return 1.05 if unicodedata.east_asian_width(char) in "WF" or ord(char) > 0xFFFF else 0.85


def _shortened(text: str, size: float, room: float, bold: bool = False) -> str:
    """Text with its middle left out if it does not fit."""
    if _width(text, size, bold) <= room:
        return text
    keep = len(text) - 1
    while keep > 2 and _width(text[: (keep + 1) // 2] + "…" + text[-(keep // 2) :], size, bold) > room:
        keep -= 1
    return text[: (keep + 1) // 2] + "…" + text[-(keep // 2) :]
