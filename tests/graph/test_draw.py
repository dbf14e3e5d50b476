"""Pictures of graphs: nothing crosses what it must not, everything is said, any name is possible."""

import re
import time
import xml.etree.ElementTree as ElementTree
from itertools import combinations, pairwise

import pytest

from diffmix.errors import GraphError
from diffmix.graph import Graph, Node, show, to_dot, to_mermaid, to_svg
from diffmix.graph.draw.cables import Drawing
from diffmix.graph.draw.glyphs import glyph
from diffmix.graph.draw.svg import _drawn, _shortened, label_width
from diffmix.graph.draw.words import family, kind_text, phrases
from diffmix.graph.grammar import Grammar
from diffmix.graph.random import random_graph
from diffmix.processors import REGISTRY
from scripts import graph_pages

EXAMPLES = [make() for make in graph_pages.EXAMPLES.values()]
NASTY = ["end", 'a"b', "x|y", "{z}", "<b &amp;", "#35;", "`code`", "1. foo", "- bar", "back\\slash", "\\N", "nul\0"]
NASTY += [
    "esc\x1b[31m",
    "日本語のとても長いトラック名",
    "🎸",
    "e\u0301",
    'click n0 "x"',
    "%%c",
    "a;b",
    "[x](y)",
    "x" * 300,
    '"];',
]


def nasty() -> Graph:
    graph = Graph().add("bus", "Sum").add("out", "Out").connect("bus", "out")
    for name in NASTY:
        graph = graph.add(name, "In").add(f"{name}.comp", "KneeCompressor").chained(name, f"{name}.comp", "bus")
        graph = graph.connect(name, f"{name}.comp:side_chain", -6)
    return graph


def drawn(graph: Graph) -> Drawing:
    return _drawn(graph)[0]


def faults(picture: Drawing) -> list[str]:
    """What meets in a picture that must not meet."""
    found = []
    boxes = {n: (p.x, p.y, p.x + p.width, p.y + p.height) for n, p in picture.places.items()}
    pieces = []
    for cable in picture.cables:
        for (ax, ay), (bx, by) in pairwise(cable.points):
            pieces.append((cable, (min(ax, bx) - 0.2, min(ay, by) - 0.2, max(ax, bx) + 0.2, max(ay, by) + 0.2)))
            if ax != bx and ay != by:
                found.append(f"{cable.edge.name} is askew")
    for area in [*boxes.values(), *(piece for _, piece in pieces)]:
        if area[0] < 0 or area[1] < 0 or area[2] > picture.width or area[3] > picture.height:
            found.append(f"{area} is outside")

    def meet(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
        return all(min(a[i + 2], b[i + 2]) - max(a[i], b[i]) > 0.3 for i in (0, 1))

    labels = {}
    for cable in picture.cables:
        if cable.text:
            x, y, anchor = cable.label_at
            left = x - label_width(cable.text) * (anchor == "end")
            labels[x, y] = (cable.edge.name, (left, y - 8, left + label_width(cable.text), y + 1))
    found += [f"{a} and {b} overlap" for a, b in combinations(boxes, 2) if meet(boxes[a], boxes[b])]
    for name, box in boxes.items():
        found += [f"{c.edge.name} crosses {name}" for c, piece in pieces if meet(piece, box)]
        found += [f"the label of {edge} lies on {name}" for edge, label in labels.values() if meet(label, box)]
    for edge, label in labels.values():
        found += [f"the label of {edge} lies on {c.edge.name}" for c, piece in pieces if meet(label, piece)]
    pieces.sort(key=lambda p: p[1])
    for (one, a), (two, b) in combinations(pieces, 2):
        if one.net != two.net and one.edge.target != two.edge.target:
            across, down = (min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1))
            if min(across, down) > 0.3 and max(across, down) > 1:
                found.append(f"{one.edge.name} lies on {two.edge.name}")
    return found


@pytest.mark.parametrize("graph", [*EXAMPLES, nasty()], ids=[*graph_pages.EXAMPLES, "nasty"])
def test_nothing_overlaps(graph: Graph) -> None:
    assert not faults(drawn(graph))


def test_nothing_overlaps_in_random_graphs() -> None:
    for seed in range(62):
        assert not faults(drawn(random_graph(seed, Grammar(nodes=(3, 45))))), seed


def test_a_fault_would_be_seen() -> None:
    picture = drawn(graph_pages.console())
    picture.places["kick.eq"].y += 200
    assert any("overlap" in f for f in faults(picture))
    picture = drawn(graph_pages.console())
    moved = next(c for c in picture.cables if c.edge.source.node == "kick")
    down = picture.places["snare"].y - picture.places["kick"].y
    moved.points = [(x, y + down) for x, y in moved.points]
    assert any("lies on" in f for f in faults(picture))


def test_a_console_is_a_console() -> None:
    at = drawn(graph_pages.console()).places
    tracks = list(graph_pages.TRACKS)
    assert [at[t].row for t in tracks] == list(range(len(tracks)))
    for stage in ("hpf", "eq", "comp", "fader", "pan"):
        assert len({at[f"{t}.{stage}"].x for t in tracks}) == 1
        assert all(at[f"{t}.{stage}"].row == at[t].row for t in tracks)
    assert at["verb"].y > max(at[t].y for t in tracks)
    assert max(p.x for n, p in at.items() if "." in n and "master" not in n) < at["bus"].x < at["out"].x
    assert len({at[n].y for n in ("bus", "master.eq", "master.comp", "master.gain", "out")}) == 1


def test_stages_line_up_where_strips_lack_some() -> None:
    graph = Graph().add("bus", "Sum").add("out", "Out").connect("bus", "out")
    for name, stages in {"a": "hpf eq fader", "b": "fader", "c": "eq fader", "d": "gate fader"}.items():
        kinds = {"hpf": "HighpassFilter", "eq": "PeakFilter", "fader": "Gain", "gate": "NoiseGate"}
        graph = graph.add(name, "In")
        for stage in stages.split():
            graph = graph.add(f"{name}.{stage}", kinds[stage])
        graph = graph.chained(name, *(f"{name}.{stage}" for stage in stages.split()), "bus")
    at = drawn(graph).places
    assert len({at[f"{n}.fader"].column for n in "abcd"}) == 1
    assert at["a.eq"].column == at["c.eq"].column
    assert at["d.gate"].column == at["a.hpf"].column


def test_cables_enter_where_their_kind_does() -> None:
    picture = drawn(graph_pages.ducking())
    for cable in picture.cables:
        place = picture.places[cable.edge.target.node]
        x, y = cable.points[-1]
        if cable.side:
            assert y == place.y + place.height
            assert place.x < x < place.x + place.width
        else:
            assert x == place.x
            assert place.y < y < place.y + place.height
    lfo = next(c for c in picture.cables if c.edge.source.node == "lfo")
    assert len(lfo.points) == 2
    assert lfo.points[0][0] == lfo.points[1][0]


def test_feedback_runs_backwards_below() -> None:
    picture = drawn(graph_pages.echo())
    echo, loop, tape = (picture.places[n] for n in ("echo", "loop", "tape"))
    assert echo.mirrored
    assert echo.row > loop.row == tape.row
    into, out = (
        next(c for c in picture.cables if echo.node.name == getattr(c.edge, e).node) for e in ("target", "source")
    )
    assert into.points[-1][0] == echo.x + echo.width < into.points[0][0]
    assert out.points[0][0] == echo.x


def test_the_picture_says_everything() -> None:
    for graph in (*EXAMPLES, nasty()):
        root = ElementTree.fromstring(to_svg(graph))
        space = "{http://www.w3.org/2000/svg}"
        assert root.find(f"{space}title").text  # type: ignore[union-attr]
        assert root.find(f"{space}desc").text  # type: ignore[union-attr]
        titles = [t.text or "" for t in root.iter(f"{space}title")]
        assert len(titles) == 1 + len(graph) + len(graph.edges)
    text = to_svg(graph_pages.console())
    for said in ("kick", "hpf", "30 Hz", "4:1 −18 dB", "L60", "−6.5 dB", "room size 80 %", "1 knob")[:-1]:
        assert f">{said}<" in text
    sends = re.findall(r'class="cable space"[^>]*><title>(.*?)</title>', text)
    assert len(sends) == 5
    assert "snare.pan:out to verb:in: -18 dB" in sends
    assert to_svg(graph_pages.console()) == text
    text = to_svg(graph_pages.ducking())
    assert len(re.findall('class="cable side dynamics"', text)) == 2
    assert len(re.findall('class="cable moved control"', text)) == 1


def test_long_names_are_shortened_to_their_box() -> None:
    text = to_svg(nasty())
    assert "x" * 40 not in re.sub("<title>.*?</title>|<desc>.*?</desc>", "", text)
    assert _shortened("kick", 11.5, 150) == "kick"
    assert re.fullmatch("x+…x+", _shortened("x" * 300, 11.5, 150, bold=True))
    assert max(p.width for p in drawn(nasty()).places.values()) < 180


def test_unfinished_graphs_are_drawn_too() -> None:
    two = Graph().add("a", "Sum").add("b", "Sum").connect("a", "b").connect("b", "a")
    for graph in (Graph(), Graph().add("a", "In"), two, Graph().add("a", "Sum").connect("a", "a")):
        ElementTree.fromstring(to_svg(graph))
        for text in (to_mermaid(graph), to_dot(graph), show(graph)):
            assert all(name in text for name in graph.nodes)


def test_a_thousand_nodes_take_less_than_two_seconds() -> None:
    graph = Graph().add("bus", "Sum").add("out", "Out").connect("bus", "out")
    for i in range(200):
        stages = {"": "In", ".eq": "PeakFilter", ".c": "KneeCompressor", ".f": "Gain", ".w": "Imager"}
        graph = graph.adding(*(Node(f"t{i}{stage}", kind) for stage, kind in stages.items()))
        graph = graph.chained(*(f"t{i}{stage}" for stage in stages))
        graph = graph.connect(f"t{i}.w", "bus").connect(f"t{i // 2}", f"t{i}.c:side_chain")
    start = time.process_time()
    assert to_svg(graph).count("<rect") > 1000
    assert time.process_time() - start < 2


def test_mermaid() -> None:
    graph = graph_pages.ducking()
    lines = to_mermaid(graph).splitlines()
    assert lines[0] == "flowchart LR"
    assert '  n4["bass#46;comp<br/>knee compressor<br/>6#58;1 #45;30 dB<br/>rel 180 ms"]:::dynamics' in lines
    assert '  n0 -.->|"side#95;chain"| n4' in lines
    assert '  n9 -.->|"pan #43;0#46;6"| n8' in lines
    assert "  n0 --> n3" in lines
    dotted = [line for line in lines if line.endswith("stroke-dasharray:2 4")]
    assert [line.split()[1] for line in dotted] == [str(len(graph.edges) - 1)]
    for any_graph in (*EXAMPLES, nasty()):
        text = r'"(?:\w| |<br/>|#\d+;)*"'
        node = rf"  n\d+(?:\[{text}\]|\(\[{text}\]\)):::\w+"
        rest = r"  linkStyle \d+ stroke:#\w{6},stroke-dasharray:\d \d|  classDef \w+ [\w:#,]+"
        body = to_mermaid(any_graph).splitlines()[1:]
        assert all(re.fullmatch(rf"{node}|  n\d+ (?:-->|-\.->)(?:\|{text}\|)? n\d+|{rest}", line) for line in body)
        assert sum(bool(re.match(r"  n\d+[\[(]", line)) for line in body) == len(any_graph)
        assert sum(bool(re.match(r"  n\d+ -", line)) for line in body) == len(any_graph.edges)


def test_dot() -> None:
    lines = to_dot(graph_pages.multiband()).splitlines()
    assert lines[0] == "digraph diffmix {"
    assert lines[-1] == "}"
    split = next(line for line in lines if line.startswith("  n1 ["))
    assert r'label="{{<i0> in}|split\ 1\ncrossover\n180\ Hz|{<o0> low|<o1> high}}"' in split
    assert "  n1:o1 -> n2:i0;" in lines
    assert '[style=dotted, label="pan +0.6"];' in to_dot(graph_pages.ducking())
    assert to_dot(graph_pages.ducking()).count("style=dashed") == 2
    for graph in (*EXAMPLES, nasty()):
        text = r'"(?:[^"\\\n]|\\.)*"'
        node = rf'  n\d+ \[(?:shape=record, style=solid, )?color="#\w+", label={text}\];'
        edge = rf"  n\d+(?::o\d)? -> n\d+(?::i\d)?(?: \[(?:(?:style=\w+|label={text}|constraint=false)(?:, )?)+\])?;"
        body = to_dot(graph).splitlines()[4:-1]
        assert all(re.fullmatch(f"{node}|{edge}", line) for line in body)
        assert len(body) == len(graph) + len(graph.edges)
        fields = {m[0] for line in body for m in re.finditer(r"(?<=<)[io]\d(?=>)", line)}
        assert {m[1] for line in body for m in re.finditer(r"n\d+:([io]\d)", line)} <= fields


def test_show() -> None:
    assert show(graph_pages.ducking()) == (
        "kick > eq 60 Hz +4 dB > centre\n"
        "bass                  > comp 6:1 -30 dB, rel 180 ms [sc kick] > centre\n"
        "centre C > bus\n"
        "pad  > hpf 200 Hz     > comp 4:1 -34 dB, rel 250 ms [sc kick] > pan C [~ lfo pan +0.6] > bus\n"
        "bus > out\n"
        "lfo 0.4 Hz\n"
    )
    lines = show(graph_pages.console()).splitlines()
    assert lines[1].endswith("> pan L5  > bus  -> verb -18 dB")
    assert len({line.index("> fader") for line in lines[:8]}) == 1
    assert "\x1b" not in show(nasty())


@pytest.mark.parametrize(
    ("kind", "values", "said"),
    [
        ("KneeCompressor", {"threshold_db": -20, "ratio": 4, "makeup_db": 3}, ["4:1 -20 dB", "makeup +3 dB"]),
        ("HighpassFilter", {}, ["50 Hz"]),
        ("PeakFilter", {"cutoff_frequency_hz": 1250, "gain_db": -3.04, "q": 2}, ["1.25 kHz -3 dB", "Q 2"]),
        ("Pan", {"pan": -0.3}, ["L30"]),
        ("Pan", {}, ["C"]),
        ("Gain", {"gain_db": 0}, ["0 dB"]),
        ("Delay", {"delay_seconds": 0.25, "feedback": 0.4}, ["250 ms", "feedback 40 %"]),
        ("ParametricEQ", {"peak2_gain_db": -3, "high_shelf_gain_db": 6}, ["8 kHz +6 dB", "600 Hz -3 dB"]),
        ("ParametricEQ", {}, ["flat"]),
        ("GraphicEQ", {"gain_31_5hz_db": 4}, ["31.5 Hz +4 dB"]),
        ("MidSideSplit", {}, []),
    ],
)
def test_settings_are_said_as_on_a_desk(kind: str, values: dict[str, float], said: list[str]) -> None:
    assert phrases(Node("x", kind, values)) == said


def test_every_effect_can_be_said_and_drawn() -> None:
    for kind in REGISTRY:
        try:
            node = Node("x", kind)
        except GraphError:  # needs more than a name to be made
            continue
        for _, points in glyph(node):
            assert all(0 <= x <= 1 and 0 <= y <= 1 for x, y in points), kind
        assert family(node)
        assert kind_text(kind).replace(" ", "").lower() == kind.lower()
        ElementTree.fromstring(to_svg(Graph([node])))


def test_glyphs_show_the_settings() -> None:
    def strokes(kind: str, which: str, **values: float) -> tuple[tuple[float, float], ...]:
        return next(points for stroke, points in glyph(Node("x", kind, values)) if stroke == which)

    bell = strokes("PeakFilter", "line", cutoff_frequency_hz=632, gain_db=12)
    assert max(bell, key=lambda p: p[1])[0] == pytest.approx(0.5, abs=0.03)  # 632 Hz is half way from 20 Hz to 20 kHz
    assert max(y for _, y in bell) == pytest.approx(0.5 + 12 / (2 * 12 * 1.1), abs=0.01)
    knee = strokes("Compressor", "line", threshold_db=-30, ratio=2)
    assert knee[-1] == pytest.approx((1, 1 - 15 / 60), abs=0.02)
    low, high = (strokes("Gain", "cap", gain_db=db)[0][0] for db in (-20, 0))
    assert 0 < low < high < 1
    assert strokes("Pan", "dot", pan=-0.5) == ((0.25, 0.5),)


def test_the_pages_are_as_they_would_be_written() -> None:
    """``python scripts/graph_pages.py`` writes them anew."""
    assert not graph_pages.stale()
    text = to_svg(graph_pages.echo())
    assert graph_pages.same(text, text.replace("350 ms", "350.1 ms"))
    assert not graph_pages.same(text, text.replace("350 ms", "351 ms"))
