"""A renderer to compare with: node after node in float64, every rule written out once more."""

import math

import torch
from torch import Tensor

from diffmix.graph import Edge, Graph
from diffmix.graph.node import make


def naive(
    graph: Graph, sources: dict[str, Tensor], sample_rate: float, values: dict[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Outputs by name. Feedback starts as silence and the graph is rendered again until that changes nothing."""
    rendering = _Naive(graph, {n: x.double() for n, x in sources.items()}, sample_rate, values or {})
    return rendering.outputs()


def relative_db(y: Tensor, reference: Tensor) -> float:
    """Energy of the difference relative to that of the reference, in dB; of silence, absolute."""
    error, energy = ((a.double() ** 2).sum().item() for a in (y.double() - reference, reference))
    return 10 * math.log10(error / energy + 1e-40) if energy > 1e-20 else 10 * math.log10(error + 1e-40)


class _Naive:
    def __init__(self, graph: Graph, sources: dict[str, Tensor], sample_rate: float, values: dict[str, Tensor]):
        self.graph, self.sources, self.rate, self.values = graph, sources, sample_rate, values
        self.batch, _, self.samples = next(iter(sources.values())).shape
        self.effects = {
            n.name: make(n.kind, n.options, {}, sample_rate, precision="float64")
            for n in graph
            if n.kind not in ("In", "Out", "Sum", "Feedback")
        }
        self.order = self._order()

    def outputs(self) -> dict[str, Tensor]:
        moving = {n.name for n in self.graph if n.kind == "Feedback"}  # what feedback reaches
        while more := {e.target.node for e in self.graph.edges if e.source.node in moving} - moving:
            moving |= more
        found: dict[tuple[str, str], Tensor] = {}
        for n in self.graph:
            if n.kind == "Feedback":
                found[n.name, "out"] = torch.zeros(self.batch, n.option("channels"), self.samples).double()
        ready = [name for name in self.order if name not in moving]
        for name in ready:
            self._node(name, found)
        while True:
            for name in self.order:
                if name in moving:
                    self._node(name, found)
            changed = False
            for n in self.graph:
                if n.kind == "Feedback":
                    delay = max(1, round(n.option("delay_ms") * self.rate / 1000))
                    late = torch.nn.functional.pad(self._arriving(n.name, "in", found), (delay, 0))
                    late = late[..., : self.samples]
                    changed |= not torch.equal(late, found[n.name, "out"])
                    found[n.name, "out"] = late
            if not changed:
                return {name: self._arriving(name, "in", found) for name in self.graph.outputs}

    def _order(self) -> list[str]:
        order: list[str] = []
        waiting = {n.name for n in self.graph}
        while waiting:
            ready = sorted(
                name
                for name in waiting
                if self.graph[name].kind == "Feedback"
                or not any(e.source.node in waiting for e in self.graph.edges if e.target.node == name)
            )
            order += ready
            waiting -= set(ready)
        return order

    def _value(self, name: str, plain: float) -> Tensor:
        """(B,), or (B, T) where it is a curve."""
        given = self.values.get(name)
        if given is None:
            return torch.full((self.batch,), plain, dtype=torch.float32).double()
        given = given.double().expand(self.batch, *given.shape[1:])
        if given.ndim == 1:
            return given
        points = given.shape[1]
        at = torch.linspace(0, points - 1, self.samples, dtype=torch.float64)
        left = at.floor().long().clamp(max=max(points - 2, 0))
        right = (left + 1).clamp(max=points - 1)
        return given[:, left] + (given[:, right] - given[:, left]) * (at - left)

    def _edge(self, e: Edge, found: dict[tuple[str, str], Tensor]) -> Tensor:
        x = found[e.source]
        if e.gain_db is not None:
            gain = self._value(f"{e.name}.gain_db", e.gain_db)
            return x * (10 ** (gain / 20))[:, None, None if gain.ndim == 1 else slice(None)]
        if e.amount is not None:
            amount = self._value(f"{e.name}.amount", e.amount)
            return x * amount[:, None, None if amount.ndim == 1 else slice(None)]
        return x

    def _arriving(self, name: str, port: str, found: dict[tuple[str, str], Tensor]) -> Tensor | None:
        parts = [self._edge(e, found) for e in self.graph.edges if tuple(e.target) == (name, port)]
        return sum(parts[1:], parts[0]) if parts else None

    def _node(self, name: str, found: dict[tuple[str, str], Tensor]) -> None:
        node = self.graph[name]
        if node.kind in ("Out", "Feedback"):
            return
        if node.kind in ("In", "Sum"):
            found[name, "out"] = self.sources[name] if node.kind == "In" else self._arriving(name, "in", found)
            return
        signals = {port.name: self._arriving(name, port.name, found) for port in node.inlets}
        x = signals.pop(node.inlets[0].name)
        if x is None:
            x = torch.zeros(self.batch, 1, self.samples).double()
        knobs = {}
        for knob, p in node.params.items():
            value = self._value(f"{name}.{knob}", node.setting(knob))
            moved = self._arriving(name, knob, found)
            if moved is not None:
                base = value if value.ndim == 2 else value[:, None]
                value = base * 2 ** moved[:, 0] if p.scale == "log" else base + moved[:, 0]
                value = value.clamp(p.low, p.high)
            knobs[knob] = value
        y = self.effects[name].process(x, **{k: v for k, v in signals.items() if v is not None}, **knobs)
        for port, part in zip(node.outlets, y if isinstance(y, tuple) else (y,), strict=True):
            found[name, port.name] = part
