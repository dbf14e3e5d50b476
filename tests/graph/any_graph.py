"""Graphs of anything that can be made, for tests of what must hold for all of them."""

import random
from typing import Any

import diffmix.processors  # noqa: F401  registers every effect
from diffmix.graph import Edge, Endpoint, Graph, Node
from diffmix.graph.node import BUILT_IN
from diffmix.graph.text import vocabulary as words
from diffmix.processors import REGISTRY

EXAMPLE = """
kick: in(1) > gate(-35dB) > pan > mix
vox: in(1) > hpf(80Hz) > comp(4:1, -20dB, sc=kick) > pan(-30) > mix   # thirty percent to the left
vox.pan -> hall(-12dB); hall: verb(room_size=0.8, dry_level=0) > mix
wobble: lfo(5Hz, mono) ~> vox.pan:pan(0.3)
mix: sum > limiter(-6dB) > out
"""

KINDS = [*BUILT_IN, *words.SHORT.values(), "Compressor", "NoiseGate"]
OPTIONS: dict[str, dict[str, list[Any]]] = {
    "In": {"channels": [1, 2]},
    "Feedback": {"channels": [1, 2], "delay_ms": [30, 12.5, 1e3]},
    "LFO": {"channels": [1, 2], "shape": ["saw", "sine"]},
    "Pan": {"law": ["linear", "-4.5 dB", "constant power"]},
    "KneeCompressor": {
        "detector": ["peak", "rms"],
        "link": [True, False],
        "lookahead_ms": [5, 2.5, 0.0],
        "hold_ms": [1e-5],
    },
    "Reverb": {"freeze": [True, False]},
    "ResonantFilter": {"kind": ["bandpass", "highpass"], "order": [2, 4]},
    "LoudnessNormaliser": {"ceiling_db": [None, -1.0]},
    "NoiseReverb": {"seed": [0, 3], "length_s": [0.5]},
    "NeuralEffect": {"conditions": [1, 3], "dilations": [[1, 2], [1, 10]], "channels": [2], "kernel": [3]},
}
NAMES = ["vox", "vox.eq", "Lead Vox 2", "Übersteuerung", "808.kick", "a\"b\\c", "#1", "out", "in", "hpf", "vox.hpf",
         "comp", "comp2", "x;y", "(z)", "a-b", "a-",
         "mono", "null", "Infinity", "sc", "4", "a.", ".a", "a..b", "é=ü", "鼓",
         "verb", "vox.out", "vox.hpf2", "mix.sum", "mix", "\u2028x\t.", "ab,c"]  # fmt: skip


def anything(seed: int, most: int = 14) -> Graph:
    """A graph of any nodes and edges that can be made, most of them without sense."""
    dice = random.Random(seed)
    names = dice.sample(NAMES, len(NAMES)) + [f"n{k}" for k in range(most)]
    names = [name for name in names if ">" not in name and name == name.strip()]
    nodes: list[Node] = []
    for number in range(dice.randint(0, most)):
        kind = dice.choice(KINDS)
        name = names[number]
        if nodes and dice.random() < 0.5:  # called as the reader calls them
            owner = dice.choice(nodes).name
            name = f"{owner}.{words.word_of(kind)}{dice.choice(['', '', '2', '3'])}"
            if any(node.name == name for node in nodes):
                continue
        options = {o: dice.choice(values) for o, values in OPTIONS.get(kind, {}).items() if dice.random() < 0.5}
        ranges, values = {}, {}
        for knob, p in Node(name, kind, {}, options).params.items():
            if dice.random() < 0.3:
                low, high = sorted((dice.uniform(p.low, p.high), dice.uniform(p.low, p.high)))
                ranges[knob] = dice.choice([(low, high), (low, low), (p.low, p.high)])
            if dice.random() < 0.5:
                low, high = ranges.get(knob, (p.low, p.high))
                value = min(max(dice.uniform(low, high), low), high)
                rounded = float(f"{value:.2g}")
                values[knob] = rounded if low <= rounded <= high and dice.random() < 0.7 else value
        nodes.append(Node(name, kind, values, options, ranges))
    graph = Graph(nodes)
    ways: dict[bool, list[tuple[Endpoint, Endpoint]]] = {}
    for target in nodes:
        knobs = [k for k, p in target.params.items() if p.modulatable]
        inlets = [p.name for p in target.inlets] + dice.sample(knobs, min(1, len(knobs)))
        for inlet in inlets:
            for source in nodes:
                for outlet in source.outlets:
                    control = outlet.kind == "control"
                    if control == (target.inlet(inlet).kind == "control"):
                        ends = Endpoint(source.name, outlet.name), Endpoint(target.name, inlet)
                        ways.setdefault(control, []).append(ends)
    edges = []
    for control, pairs in ways.items():
        for start, end in dice.sample(pairs, min(len(pairs), dice.randint(0, 2 * len(nodes)))):
            gain = None if control or dice.random() < 0.6 else dice.choice([0.0, -12.0, dice.uniform(-120, 40)])
            edges.append(
                Edge(start, end, gain, dice.choice([1.0, -0.3, dice.uniform(-9, 9), 1e-7]) if control else None)
            )
    dice.shuffle(edges)
    return Graph(graph, edges)


def strips(seed: int) -> Graph:
    """Chains as they are on a desk, with sends and side chains."""
    dice = random.Random(seed)
    kinds = [
        k
        for k in KINDS
        if k in REGISTRY and len(REGISTRY[k].outlets) == 1 and not k.startswith(("MidSide", "LFO", "Env"))
    ]
    graph = Graph().add("bus", "Sum").add("out", "Out").connect("bus", "out")
    for track in range(dice.randint(1, 5)):
        names = [f"t{track}"]
        graph = graph.add(names[0], "In", channels=1)
        for number in range(dice.randint(0, 5)):
            kind = dice.choice(kinds)
            names.append(f"t{track}.{words.word_of(kind)}{'' if dice.random() < 0.5 else number}")
            if names[-1] in graph:
                names.pop()
            else:
                graph = graph.add(names[-1], kind)
        graph = graph.chained(*names)
        graph = graph.connect(names[-1], "bus", dice.choice([None, -3.0]))
    return graph
