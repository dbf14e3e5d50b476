"""The knobs of a graph, set by gradient descent so that what comes out is like a target."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffmix.descent import Adam
from diffmix.graph.graph import Graph
from diffmix.graph.inaudible import difference_from
from diffmix.graph.node import Node
from diffmix.graph.render import Renderer
from diffmix.graph.run import Sources
from diffmix.graph.session import Session
from diffmix.losses.stft import MixLoss

SEND_DB = (-60.0, 12.0)
"""Within this the gains of cables are looked for."""

AJAR = 0.02
"""So far from the ends of its range a knob begins: at the very end it has no gradient."""

EFFORT = 5e-4
"""Weight of a decibel that a knob adds or takes: what one effect behind a sum can do, those before it do not share out,
and do not undo each other."""

EFFORT_RATIO = 0.01
"""Weight of a compressor that lets nothing pass above its threshold."""

TIME = "delay_seconds"
"""The knob of a delay that descent leaves alone: from one echo to another no gradient leads."""

TOGETHER = 2
"""Excerpts that are heard in a step."""


@dataclass(frozen=True)
class Excerpts:
    """Pieces of sources (B, C, T) by name and of the target (B, 2, T), one a row, compared behind ``warm_up`` samples.

    What comes before is heard by the effects, so that echoes and detectors are where they would be, and not compared.
    """

    sources: Sources
    target: Tensor
    warm_up: int
    sample_rate: float

    @classmethod
    def of(
        cls,
        sources: Sources,
        target: Tensor,
        sample_rate: float,
        starts: Sequence[int],
        length: int,
        warm_up: int,
    ) -> "Excerpts":
        """Pieces of ``length`` samples from ``starts`` of sources (1, C, T) and a target (1, 2, T)."""

        def cut(x: Tensor) -> Tensor:
            padded = torch.nn.functional.pad(x[0], (warm_up, max(0, max(starts) + length - x.shape[-1])))
            return torch.stack([padded[:, start : start + warm_up + length] for start in starts])

        return cls({name: cut(x) for name, x in sources.items()}, cut(target), warm_up, sample_rate)

    def __len__(self) -> int:
        return len(self.target)

    def some(self, rows: Sequence[int]) -> "Excerpts":
        """Some of the pieces."""
        index = torch.tensor(rows)
        sources = {name: x[index] for name, x in self.sources.items()}
        return Excerpts(sources, self.target[index], self.warm_up, self.sample_rate)


def fit_graph(
    graph: Graph,
    heard: Excerpts,
    *,
    steps: int = 200,
    learning_rate: float = 0.1,
    locked: Collection[str] = (),
    progress: Callable[[int, float], None] | None = None,
) -> Graph:
    """The graph with knobs that make its only output near to the target of ``heard``, by Adam from where they are.

    Each knob moves on the logit of its control, so that it stays in its range; gains of cables stay within -60..12 dB.
    Knobs in ``locked``, named as by `Graph.spec`, stay, and the times of delays: see `retimed`. The distance is
    `diffmix.losses.MixLoss`, of two of the excerpts a step, in turn, and a little of the decibels that knobs add and
    take. Raises GraphError and AudioError as `Renderer`.
    """
    renderer = Renderer(graph, heard.sample_rate)
    sends = {name: p for name, p in renderer.spec if ">" in name.rpartition(".")[0] and name.endswith(".gain_db")}
    low, high = SEND_DB
    within = {name: (min(low, p.default), max(high, p.default)) for name, p in sends.items()}
    spec = renderer.spec.narrowed(within)
    start = spec.default()
    stays = [name in locked or p.low == p.high or name.endswith(f".{TIME}") for name, p in spec]
    held = torch.tensor(stays)
    logits = torch.logit(start.clamp(AJAR, 1 - AJAR)).requires_grad_()
    adam = Adam([logits], learning_rate, steps=max(1, steps), least=learning_rate / 20)
    distance = MixLoss(heard.sample_rate)
    output = graph.outputs[0]
    own = [n for n in spec.names if ">" not in n]
    gains = [spec.index(n) for n in own if n.endswith("gain_db")]
    ratios = [spec.index(n) for n in own if n.endswith(".ratio")]
    for step in range(steps):
        rows = [(TOGETHER * step + k) % len(heard) for k in range(min(TOGETHER, len(heard)))]
        part = heard.some(rows)
        u = torch.where(held, start, torch.sigmoid(logits))
        values = spec.physical(u)
        sources = {name: x for name, x in part.sources.items() if name in graph}
        y = renderer.render(sources, {spec.names: values.expand(len(part), -1)})[output]
        loss = distance(y[..., part.warm_up :], part.target[..., part.warm_up :])
        effort = EFFORT * values[gains].abs().sum() + EFFORT_RATIO * (1 - 1 / values[ratios]).sum()
        (loss + effort).backward()
        adam.step()
        if progress:
            progress(step + 1, float(loss.detach()))
    with torch.no_grad():
        found = spec.physical(torch.where(held, start, torch.sigmoid(logits)))
    knobs = {n: p.readable(v) for (n, p), v, h in zip(spec, found.tolist(), held.tolist(), strict=True) if not h}
    return graph.at(knobs)


OPEN_SEND_DB = -24.0
"""Where the gain of a cable begins that was all but shut."""

OPEN_RATIO = 3.0
LOUD, QUIET = 0.7, 0.1
"""Shares of the moments that stay below where the threshold of a compressor, and of a gate, begins."""


def opened(graph: Graph, sources: Sources, sample_rate: float, locked: Collection[str] = ()) -> Graph:
    """The graph with every effect and send a little open: what does nothing at all has no gradient to begin with.

    Compressors begin at the levels that arrive at them, gates below these, both at 3:1; cables that were turned down
    at -24 dB; what is mixed in, at a tenth. Knobs in ``locked`` stay.
    """
    session = Session(graph, sources, sample_rate)
    for name in graph.check().order:
        node = session.graph[name]
        turned: dict[str, float] = {}
        if {"threshold_db", "ratio"} <= node.params.keys() and _idle(node):
            (edge, *_) = session.graph.into(name, node.inlets[0].name)
            level_db = _level_db(session.signal(edge.source.node, edge.source.port), QUIET if _gates(node) else LOUD)
            aims = {"threshold_db": level_db, "ratio": OPEN_RATIO}
            turned = {knob: node.params[knob].nearest(aim) for knob, aim in aims.items()}
        elif "mix" in node.params and node.setting("mix") == 0:
            turned = {"mix": node.params["mix"].nearest(0.1)}
        turned = {knob: value for knob, value in turned.items() if f"{name}.{knob}" not in locked}
        if turned:
            session.keep(session.graph.turned(name, **turned))
    found = session.graph
    for edge in found.edges:
        if edge.gain_db is not None and edge.gain_db < OPEN_SEND_DB and f"{edge.name}.gain_db" not in locked:
            found = found.turned(edge.name, gain_db=OPEN_SEND_DB)
    return found


ECHO_S = 1.0
"""Delays are tried up to here."""

STEPS_S = (0.008, 0.001, 0.0001)
"""Steps between the times of delays that are tried, the finer ones about the best so far."""


def retimed(graph: Graph, heard: Excerpts, locked: Collection[str] = ()) -> Graph:
    """The graph with delays at the times that bring its only output nearest to the target, by `difference_db`.

    They are tried one by one, each costs what depends on the delay. What is locked stays, and what none brings nearer.
    """
    session = Session(graph, heard.sources, heard.sample_rate)
    difference = difference_from(heard.target[..., heard.warm_up :])
    found = graph

    def away(edited: Graph) -> float:
        return difference(session.render(edited)[graph.outputs[0]][..., heard.warm_up :])

    best = away(graph)
    for name, limits in ((node.name, node.params.get(TIME)) for node in graph):
        if limits is None or f"{name}.{TIME}" in locked:
            continue
        for step, reach in zip(STEPS_S, (ECHO_S, *STEPS_S), strict=False):
            middle = 0.0 if reach == ECHO_S else found[name].setting(TIME)
            for n in range(-round(reach / step), round(reach / step) + 1):
                if limits.low <= (time_s := middle + n * step) <= limits.high:
                    edited = found.turned(name, **{TIME: limits.readable(time_s)})
                    if (apart := away(edited)) < best:
                        best, found = apart, edited
    return found


PARTS = (0.25, 0.25, 0.5)
"""Shares of the steps of a descent, between which delays are tried at other times."""


def fit_anew(
    graph: Graph,
    heard: Excerpts,
    *,
    steps: int = 200,
    learning_rate: float = 0.1,
    locked: Collection[str] = (),
    progress: Callable[[int, float], None] | None = None,
) -> Graph:
    """`fit_graph` of a graph that nobody set: `opened` first, and `retimed` on the way."""
    found, taken = opened(graph, heard.sources, heard.sample_rate, locked), 0
    parts = PARTS if any(TIME in node.params and f"{node.name}.{TIME}" not in locked for node in graph) else (1.0,)
    for n, part in enumerate(parts, 1):
        ends = steps if n == len(parts) else taken + round(part * steps)
        begun = taken

        def say(step: int, loss: float, begun: int = begun) -> None:
            if progress:
                progress(begun + step, loss)

        if taken:
            found = retimed(found, heard, locked)
        found = fit_graph(found, heard, steps=ends - taken, learning_rate=learning_rate, locked=locked, progress=say)
        taken = ends
    return found


def _idle(node: Node) -> bool:
    """Whether what has a threshold and a ratio does nothing at all, by either."""
    return node.setting("ratio") == 1 or node.setting("threshold_db") == node.params["threshold_db"].default


def _gates(node: Node) -> bool:
    """Whether an effect turns down what is below its threshold."""
    return node.kind in ("NoiseGate", "Expander")


def _level_db(x: Tensor, share: float) -> float:
    """The level in dBFS, of 2048 samples, that ``share`` of the moments in which there is sound stay below."""
    size = min(2048, x.shape[-1])
    power = x.square().mean(1).unfold(-1, size, size).mean(-1).flatten()
    power = power[power > 1e-4 * power.max()]
    return float(10 * power.quantile(share).log10()) if len(power) else -120.0
