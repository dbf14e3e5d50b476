"""The difference of two graphs: done again it is exact, it is said in words, and what it changes is measured."""

import json
import random
from dataclasses import replace

import pytest
import torch

from diffmix.errors import AudioError, GraphError
from diffmix.graph import Edge, Endpoint, Graph, Node
from diffmix.graph.difference import Difference, difference
from diffmix.graph.difference.audible import audible, effects, undone
from diffmix.graph.difference.edits import Moved
from diffmix.graph.text import parse
from tests.graph.any_graph import EXAMPLE, anything, strips
from tests.sweeps import seeds

MIX = parse(EXAMPLE)
RATE = 44_100


def changed(*pairs: tuple[str, str]) -> Graph:
    """The example with some of its text exchanged."""
    text = EXAMPLE
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return parse(text)


def edited(graph: Graph, dice: random.Random) -> Graph:
    """A graph with a few edits."""
    for _ in range(dice.randint(1, 4)):
        names = list(graph.nodes)
        if not names:
            return graph
        name = dice.choice(names)
        way = dice.randint(0, 5)
        if way == 0:
            graph = graph.without(name)
        elif way == 1:
            graph = graph.removed(name)
        elif way == 2:
            edges = list(graph.edges)
            dice.shuffle(edges)
            graph = Graph(graph, edges[1:])
        elif way == 3 and f"{name}'" not in graph:
            graph = graph.renamed({name: f"{name}'"})
        elif way == 4:
            knobs = {knob: dice.uniform(p.low, p.high) for knob, p in graph[name].params.items() if dice.random() < 0.3}
            graph = graph.turned(name, **knobs)
        elif way == 5:
            edges = [replace(e, gain_db=-6.0) if e.amount is None and dice.random() < 0.2 else e for e in graph.edges]
            graph = Graph(graph, edges)
    return graph


@pytest.mark.parametrize("block", seeds(2, 8))
def test_the_difference_makes_the_one_of_the_other(block: int) -> None:
    for seed in range(20 * block, 20 * block + 20):
        dice = random.Random(seed)
        for make in (anything, strips):
            before = make(seed)
            for after in (edited(before, dice), make(seed + 1000)):
                found = difference(before, after)
                assert found.apply(before) == after
                assert Difference.from_dict(json.loads(json.dumps(found.to_dict()))) == found
                assert len(str(found).splitlines()) == len(found)
                assert not difference(after, after).edits


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        ([("-20dB", "-23dB")], ["vox.comp: threshold down by 3 dB, to -23 dB"]),
        ([("80Hz", "160Hz")], ["vox.hpf: frequency up by 1 octave, to 160 Hz"]),
        ([("80Hz", "90Hz")], ["vox.hpf: frequency up by 2.04 semitones, to 90 Hz"]),
        ([("4:1", "8:1")], ["vox.comp: ratio 2 times higher, to 8:1"]),
        ([("4:1", "4:1, 20ms, knee=3dB")],
         ["vox.comp: knee down by 3 dB, to 3 dB", "vox.comp: attack 4 times longer, to 20 ms"]),
        ([("pan(-30)", "pan(20)")], ["vox.pan: pan from 30 % left to 20 % right"]),
        ([("pan(-30)", "pan")], ["vox.pan: pan from 30 % left to the centre"]),
        ([("pan(-30)", "pan(pan=-0.3[-0.5..0])")], ["vox.pan: pan kept between -0.5 and 0"]),
        ([("pan(-30)", "pan(-30, law=linear)")], ["vox.pan: law from its default to linear"]),
        ([("4:1", "4:1, lookahead_ms=5")], ["vox.comp: lookahead from its default to 5 ms"]),
        ([(", sc=kick", "")], ["kick no longer ducks vox.comp"]),
        ([("hall(-12dB)", "hall(-9.5dB)")], ["send of vox.pan to hall up by 2.5 dB, to -9.5 dB"]),
        ([("pan(0.3)", "pan(0.5)")], ["wobble moves the pan of vox.pan by 0.5, not 0.3"]),
        ([(" ~> vox.pan:pan(0.3)", " ~> kick.pan:pan(0.3)")],
         ["wobble no longer moves the pan of vox.pan", "wobble now moves the pan of kick.pan by 0.3"]),
        ([("gate(-35dB)", "gate=comp(-35dB)"), ("kick:", "kick:")], None),
        ([("> gate(-35dB)", "")], ["kick.gate (knee gate) removed"]),
        ([("> pan(-30)", "> delay(400ms) > pan(-30)")], ["vox.delay (delay) added behind vox.comp"]),
        ([("hpf(80Hz) > comp(4:1, -20dB, sc=kick)", "comp(4:1, -20dB, sc=kick) > hpf(80Hz)")],
         ["vox.hpf moved behind vox.comp"]),
        ([("hall", "plate")], ["hall is now called plate"]),
        ([("verb(room_size=0.8, dry_level=0)", "room(size=0.8)")], ["hall is a room reverb now, no reverb"]),
        ([("room_size=0.8", "room_size=0.6")], ["hall: room size from 80 % to 60 %"]),
        ([("pan > mix", "pan > mix; kick -> hall(-20dB)")], ["kick now sends to hall at -20 dB"]),
    ],
)  # fmt: skip
def test_an_edit_is_said_as_an_engineer_would(pairs: list[tuple[str, str]], said: list[str] | None) -> None:
    after = changed(*pairs)
    found = difference(MIX, after)
    assert found.apply(MIX) == after
    if said is not None:
        assert str(found).splitlines() == said


def test_the_gain_of_a_band_is_said_with_its_frequency() -> None:
    before = parse("vox: in > eq=peak(3kHz, +3dB) > geq1=eq > out")
    after = parse("vox: in > eq=peak(3kHz, +5dB, q=2) > geq1=eq(peak1_gain=-3dB) > out")
    assert str(difference(before, after)).splitlines() == [
        "eq: bell at 3 kHz up by 2 dB, to +5 dB",
        "eq: bell at 3 kHz: Q from 0.707 to 2",
        "geq1: peak 1 at 200 Hz down by 3 dB, to -3 dB",
    ]


def test_a_strip_that_is_called_otherwise_is_renamed() -> None:
    after = changed(("vox", "lead"))
    found = difference(MIX, after)
    assert {str(edit) for edit in found} == {
        f"vox{n} is now called lead{n}" for n in ("", ".hpf", ".comp", ".pan")
    }  # fmt: skip


def test_the_best_mover_moves() -> None:
    before = parse("a: in > n1=hpf > n2=lpf > n3=comp > n4=gain > n5=invert > out")
    after = parse("a: in > n2=lpf > n3=comp > n4=gain > n1=hpf > n5=invert > out")
    (edit,) = difference(before, after)
    assert isinstance(edit, Moved)
    assert str(edit) == "n1 moved behind n4"


def test_edits_are_done_to_another_song() -> None:
    edits = difference(MIX, changed(
        ("hpf(80Hz) > comp(4:1, -20dB, sc=kick)", "comp(4:1, -23dB, sc=kick) > hpf(80Hz) > delay"),
        ("gate(-35dB) > ", ""),
    ))  # fmt: skip
    song = parse("""
    kick: in(1) > peak(60Hz, 3dB) > gate(-30dB) > pan > out
    vox: in(1) > hpf(100Hz) > deess > comp(2:1) > width=gain > pan > out
    """)
    again = parse("""
    kick: in(1) > peak(60Hz, 3dB) > pan > out
    vox: in(1) > deess > comp(2:1, -23dB) > hpf(100Hz) > delay > width=gain > pan > out
    """)
    assert edits.apply(song) == again
    keyed = parse("vox: in(1) > hpf > gain > pan > out\npad: in > comp(sc=vox.hpf) > out")
    sweeter = difference(parse("vox: in(1) > hpf > out"), parse("vox: in(1) > hpf > delay > out")).apply(keyed)
    assert [str(edge.target) for edge in sweeter.out_of("vox.hpf")] == ["pad.comp:side_chain", "vox.delay:in"]
    with pytest.raises(GraphError, match=r"about the node 'vox.comp', which this graph does not have"):
        edits.apply(song.without("vox.comp"))
    with pytest.raises(GraphError, match=r"'vox.delay', which this graph has already"):
        edits.apply(song.add("vox.delay", "Delay"))
    quiet = difference(MIX, changed(("hall(-12dB)", "hall(-9dB)")))
    with pytest.raises(GraphError, match=r"the cable vox.pan:out>hall:in, which this graph does not have"):
        quiet.apply(song.add("hall", "Reverb"))
    lost = Moved((Edge(Endpoint("x", "out"), Endpoint("y", "in")),), (), "kick.pan", "vox")
    with pytest.raises(GraphError, match=r"moves 'kick.pan' behind 'vox' without a cable from there"):
        Difference((lost,)).apply(song)
    gone = difference(parse("g: gain; in > g > out"), parse("in > out"))
    far = parse("a: in -> g(-100dB); g: gain -> out(-100dB)")
    assert gone.apply(far) == far.without("g") == parse("a: in -> out(-120dB)")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"format": "x"}, "its format is not 'diffmix-difference'"),
        ({"version": 2}, "has version 2, this diffmix reads version 1"),
        ({"edits": 3}, "edits is int, a list is expected"),
        ({"edits": [{"edit": "painted"}]}, r"edits\[0\] is no edit: its edit is one of renamed"),
        ({"edits": [{"edit": "renamed", "node": "a"}]}, "renamed needs 'name'"),
        ({"edits": [{"edit": "renamed", "node": "a", "name": 3}]}, "name is int, text is expected"),
        ({"edits": [{"edit": "renamed", "node": "a", "name": "b", "x": 3}]}, "holds 'x', which no renamed has"),
        (
            {"edits": [{"edit": "disconnected", "edge": {"from": "a", "to": "b:in"}, "kind": "Sum"}]},
            "'a' is no endpoint",
        ),
        ({"edits": [{"edit": "disconnected", "edge": 3, "kind": "Sum"}]}, r"edges\[0\] needs from and to as text"),
        ({"edits": [{"edit": "removed", "cut": [], "laid": [], "nodes": [{"name": "a", "kind": "Nope"}]}]}, "Nope"),
    ],
)
def test_what_is_no_difference_is_refused(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(GraphError, match=sentence):
        Difference.from_dict({"format": "diffmix-difference", "version": 1, "edits": []} | change)
    with pytest.raises(GraphError, match="does not hold a difference"):
        Difference.from_dict([])


def test_a_thousand_edits() -> None:
    names = [f"n{k}" for k in range(1000)]
    ends = zip(["i", *names], [*names, "out"], strict=True)
    edges = [Edge(Endpoint(a, "out"), Endpoint(b, "in")) for a, b in ends]
    before = Graph([Node("i", "In"), *(Node(n, "Gain") for n in names), Node("out", "Out")], edges)
    after = Graph([Node("i", "In"), *(Node(n, "Gain", {"gain_db": 2}) for n in names), Node("out", "Out")], edges)
    assert len(difference(before, after)) == 1000
    other = Graph([replace(n, name=n.name + "x") if n.name in names[:300] else n for n in after], [
        replace(e, source=Endpoint(e.source.node + "x" * (e.source.node in names[:300]), "out"),
                target=Endpoint(e.target.node + "x" * (e.target.node in names[:300]), "in")) for e in edges
    ])  # fmt: skip
    assert difference(before, other).apply(before) == other


def test_each_edit_is_undone_alone() -> None:
    after = changed(("-20dB", "-40dB"), ("hall(-12dB)", "hall(-3dB)"), ("pan(-30)", "pan(80)"))
    trials = undone(MIX, after)
    assert [str(edits[0]) for edits, _ in trials] == str(difference(MIX, after)).splitlines()
    for edits, trial in trials:
        assert len(edits) == 1
        assert difference(trial, after).edits == edits
    swapped = changed(("gate(-35dB)", "peak(3kHz, +9dB)"))
    ((edits, trial),) = undone(MIX, swapped)
    assert [str(edit) for edit in edits] == [
        "kick.gate (knee gate) removed",
        "kick.peak (peak filter) added behind kick",
    ]
    assert trial == MIX


def test_what_an_edit_changes_for_the_ear() -> None:
    sources: dict[str | tuple[str, ...], torch.Tensor] = {
        ("kick", "vox"): 0.1 * torch.randn(1, 2, 1, RATE, generator=torch.Generator().manual_seed(1))
    }
    before = parse("kick: in(1) > pan > mix; vox: in(1) > peak(1kHz) > pan > mix; mix: sum > out")
    after = parse(
        """
        kick: in(1) > gain(-100dB) > pan > mix
        vox: in(1) > peak(1kHz, +9dB) > pan(30) > mix
        mix: sum > gain(0) > out
        """
    )
    found = audible(before, after, sources, RATE)
    by_node = {next(iter(edits)).touched: effect for edits, effect in found}
    peak = by_node[frozenset(["vox.peak"])]
    assert peak.band_hz == 1000
    assert 5 < peak.band_db < 9
    assert 0.5 < peak.loudness_lu < 6
    kick = by_node[frozenset(["kick", "kick.gain", "kick.pan"])]
    assert kick.loudness_lu < -1
    pan = by_node[frozenset(["vox.pan"])]
    assert pan.width_percent > 1
    assert abs(pan.loudness_lu) < 0.05
    nothing = by_node[frozenset(["mix", "mix.gain", "out"])]
    assert (nothing.loudness_lu, nothing.distance, str(nothing)) == (0, 0, "not heard")
    assert [effect.distance for _, effect in found] == sorted((e.distance for _, e in found), reverse=True)
    assert all(effect.output == "out" for _, effect in found)


def test_an_edit_that_takes_a_source_away_needs_its_audio_to_be_undone() -> None:
    before, after = parse("a: in(1) > mix; b: in(1) > mix; mix: sum > out"), parse("a: in(1) > mix; mix: sum > out")
    x = 0.1 * torch.randn(1, 1, RATE, generator=torch.Generator().manual_seed(3))
    ((edits, found),) = audible(before, after, {"a": x, "b": x}, RATE)
    assert [str(edit) for edit in edits] == ["b removed"]
    assert found.loudness_lu == pytest.approx(-6.02, abs=0.01)
    with pytest.raises(AudioError, match="b"):
        audible(before, after, {"a": x}, RATE)


def test_effects_of_doubling_are_six_decibels() -> None:
    x = 0.1 * torch.randn(2, 2, RATE, generator=torch.Generator().manual_seed(2))
    found = effects("out", 2 * x, x, RATE)
    assert found.loudness_lu == pytest.approx(6.02, abs=0.01)
    assert found.band_db == pytest.approx(6.02, abs=0.01)
    assert found.width_percent == pytest.approx(0)
    mono = x[:, :1].expand(-1, 2, -1)
    assert effects("out", x, mono, RATE).width_percent == pytest.approx(50, abs=1)
    silent = effects("out", torch.zeros(1, 1, 100), torch.zeros(1, 1, 100), RATE)
    assert silent == ("out", 0, 0, 0, silent.band_hz, 0)
    assert effects("out", x[..., :100], torch.zeros(2, 2, 100), RATE).distance > 0
