"""One pass over a plan: signals passed from step to step, knobs gathered for nodes that run together.

Nodes that run side by side make one tensor, and a `Signal` is a row of it: what the next step runs side by side in the
same order is passed on without a copy.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from diffmix.errors import GraphError
from diffmix.graph.node import Edge, Endpoint
from diffmix.graph.plan import Batch, Loop, Place, Plan, Sum, Value, source_of
from diffmix.graph.text.vocabulary import nearest
from diffmix.kernels import stream
from diffmix.kernels.backend import compiled
from diffmix.kernels.ballistics import delayed
from diffmix.kernels.mixing import add_tracks
from diffmix.kernels.stream import streaming
from diffmix.kernels.units import db_to_gain
from diffmix.processors.base import Processor, curve

if TYPE_CHECKING:
    from diffmix.graph.render import Renderer

Sources = Mapping[str | tuple[str, ...], Tensor]
"""Audio (B, C, T) by the name of an ``In`` node, or of several stacked ones (B, N, C, T) by their names in order."""

Overrides = Mapping[str | tuple[str, ...], Tensor]
"""Physical values (B,), or curves (B, F), by names as in `Graph.spec`; of several (B, N), (B, N, F) by their names."""


class Signal(NamedTuple):
    """One node's signal: a row of what several nodes made together, (B, n, C, T)."""

    rows: Tensor
    at: int
    part: Tensor | None = None  # one of ``rows.unbind(1)``, whose gradients are joined in one piece

    @property
    def audio(self) -> Tensor:
        """(B, C, T)."""
        return self.rows[:, self.at] if self.part is None else self.part


Signals = dict[Value, Signal]


def spread(values: Iterable[Value], rows: Tensor) -> Signals:
    """Rows (B, n, C, T) as the signals of n values."""
    return {value: Signal(rows, n, part) for n, (value, part) in enumerate(zip(values, rows.unbind(1), strict=True))}


def together(signals: Sequence[Signal]) -> Tensor:
    """Signals as (B, n, C, T); without a copy where they are neighbours already."""
    first = signals[0]
    if all(s.rows is first.rows and s.at == first.at + k for k, s in enumerate(signals)):
        count = len(signals)
        return first.rows if count == first.rows.shape[1] else first.rows[:, first.at : first.at + count]
    found = neighbours(signals)
    return found[0] if len(found) == 1 else torch.stack([s.audio for s in signals], 1)


def neighbours(signals: Sequence[Signal]) -> list[Tensor]:
    """Signals as views (B, n, C, T) of those that follow each other in memory, in order; with gradients one by one."""
    parts = [s.audio for s in signals]
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or not compiled(parts[0]):
        return [part[:, None] for part in parts]
    groups: list[list[Tensor]] = []
    for part in parts:
        if groups:
            before = groups[-1][-1]
            behind = before.storage_offset() + before.shape[1] * before.stride(1) == part.storage_offset()
            alike = before.stride() == part.stride() and before.shape == part.shape
            if behind and alike and before.untyped_storage().data_ptr() == part.untyped_storage().data_ptr():
                groups[-1].append(part)
                continue
        groups.append([part])
    return [
        first.as_strided((shape[0], len(group), *shape[1:]), (step[0], shape[1] * step[1], *step[1:]))
        for group in groups
        for first, shape, step in [(group[0], group[0].shape, group[0].stride())]
    ]


def linear(level: Tensor) -> Tensor:
    """Gains of levels in dB (B, n), or (B, n, T) where they move, of the same shape.

    Steady ones are passed on in one dimension, which has them as Pedalboard computes them.
    """
    return db_to_gain(level.flatten(0, 1)).unflatten(0, level.shape[:2])


def heard(step: Batch, number: int) -> list[Value]:
    """What one run of a step reads."""
    moved = [e.source for edges in step.moved.values() for e in edges[number]]
    return [values[number] for values in step.signals.values()] + moved


class Run:
    """One pass over a plan: its signals and the values of its knobs."""

    def __init__(self, renderer: "Renderer", signals: Signals, values: Overrides) -> None:
        self.renderer, self.graph = renderer, renderer.graph
        self.signals = signals
        self.like = next(iter(signals.values())).rows
        self.batch, self.samples = self.like.shape[0], self.like.shape[-1]
        self.given: dict[str, tuple[Tensor, int]] = {}
        for key, value in values.items():
            names = key if isinstance(key, tuple) else (key,)
            if not isinstance(value, Tensor):
                raise GraphError(f"the value of {names[0]!r} is {value!r}; a tensor with one for each item is expected")
            rows = value if isinstance(key, tuple) or not value.ndim else value[:, None]
            if rows.ndim not in (2, 3) or rows.shape[0] not in (1, self.batch) or rows.shape[1] != len(names):
                count = f", {len(names)}" if isinstance(key, tuple) else ","
                raise GraphError(
                    f"values of {names[0]!r} {'and so on ' if isinstance(key, tuple) else ''}are {tuple(value.shape)}; "
                    f"allowed are ({self.batch}{count}), one for each item, or (1{count}) for all"
                )
            self.given |= {name: (rows, n) for n, name in enumerate(names)}
        self._check_names()

    def _check_names(self) -> None:
        if unknown := [name for name in self.given if name not in self.renderer.knobs]:
            hint = nearest(unknown[0], self.renderer.knobs) or (
                "; knobs are named node.knob, or source:port>target:port.gain_db"
            )
            raise GraphError(f"there is no knob {unknown[0]!r}{hint}")

    def through(self, plan: Plan, aligned: bool = False, keep: bool = False) -> Signals:
        """Run every step; the plan's targets, or if ``keep`` everything that was made.

        ``aligned`` delays what is early, as chunks need it.
        """
        for step, spent in zip(plan.steps, plan.spent, strict=True):
            if isinstance(step, Batch):
                self._batch(step, aligned)
            elif isinstance(step, Sum):
                self._sum(step, aligned)
            elif isinstance(step, Place):
                self._place(step)
            else:
                self._loop(step, aligned)
            for value in () if keep else spent:
                self.signals.pop(value, None)
        return self.signals if keep else {value: self.signals[value] for value in plan.targets}

    # -- knobs -----------------------------------------------------------------------------------------------------

    def column(self, owners: Sequence[str], knob: str, constants: Sequence[float]) -> Tensor:
        """A knob of several nodes or edges, (B, n), or (B, n, F) where it is a curve."""
        names = [f"{owner}.{knob}" for owner in owners]
        given = [self.given.get(name) for name in names]
        first = given[0]
        if first is not None and all(
            g is not None and g[0] is first[0] and g[1] == first[1] + k for k, g in enumerate(given)
        ):
            rows = first[0][:, first[1] : first[1] + len(names)]
            return rows.expand(self.batch, *rows.shape[1:])
        key = (knob, tuple(constants), self.like.device)
        plain = self.renderer._constants.get(key)
        if plain is None:
            plain = torch.tensor(constants, dtype=torch.float32, device=self.like.device)
            if self.renderer.precision == "float64":
                plain = plain.double()
            self.renderer._constants[key] = plain
        if not any(given):
            return plain.expand(self.batch, -1)
        parts = [plain[k].expand(self.batch) if g is None else g[0][:, g[1]] for k, g in enumerate(given)]
        if counts := {p.shape[1] for p in parts if p.ndim == 2}:  # unlike curves meet at every sample
            points = counts.pop() if len(counts) == 1 else self.samples
            parts = [curve(p if p.ndim == 2 else p[:, None], points) for p in parts]
        return torch.stack([p.expand(self.batch, *p.shape[1:]) for p in parts], 1)

    def over_time(self, column: Tensor) -> Tensor:
        """A column (B, n) as (B, n, 1), one of curves (B, n, F) as (B, n, T)."""
        if column.ndim == 2:
            return column[..., None]
        return curve(column.flatten(0, 1), self.samples).unflatten(0, column.shape[:2])

    def knob(self, names: Sequence[str], knob: str) -> Tensor:
        """A knob of several nodes, (B n,) or (B n, F)."""
        return self.column(names, knob, [self.graph[n].setting(knob) for n in names]).flatten(0, 1)

    def moved(
        self, names: Sequence[str], knob: str, edges: Sequence[Sequence[Edge]], aligned: bool, late: Sequence[int]
    ) -> Tensor:
        """A modulated knob of several nodes as curves (B n, T).

        A linear knob p becomes p + sum(amount c), a logarithmic one p 2^sum(amount c), kept inside its range.
        """
        params = [self.graph[n].params[knob] for n in names]
        base = self.over_time(self.column(names, knob, [self.graph[n].setting(knob) for n in names]))
        reach: Tensor | None = None
        for column in zip(*edges, strict=True):
            signals = self._aligned([e.source for e in column], aligned, late)
            amount = self.column([e.name for e in column], "amount", [e.amount or 0.0 for e in column])
            part = self.over_time(amount) * together(signals)[:, :, 0]
            reach = part if reach is None else reach + part
        assert reach is not None
        low, high = (
            torch.tensor([getattr(p, end) for p in params], device=base.device)[:, None] for end in ("low", "high")
        )
        if params[0].scale == "log":
            # no range spans 64 octaves, and what is beyond the largest number has no gradient; float32 powers differ
            # with the place of a sample in memory, and chunks would
            y = (base * torch.exp2(reach.double().clamp(-64, 64))).to(torch.promote_types(base.dtype, reach.dtype))
        else:
            y = base + reach
        return torch.maximum(torch.minimum(y, high.to(y)), low.to(y)).flatten(0, 1)

    # -- steps -----------------------------------------------------------------------------------------------------

    def _aligned(self, values: Sequence[Value], aligned: bool, late: Sequence[int]) -> list[Signal]:
        signals = [self.signals[v] for v in values]
        if not aligned:
            return signals
        behind = [most - self.renderer.latency.get(v, 0) for v, most in zip(values, late, strict=True)]
        return [Signal(delayed(s.audio, n)[:, None], 0) if n else s for s, n in zip(signals, behind, strict=True)]

    def _batch(self, step: Batch, aligned: bool) -> None:
        late = [self.renderer._late(step, k) for k in range(len(step.runs))]
        inputs = {port: together(self._aligned(values, aligned, late)) for port, values in step.signals.items()}
        first = self.graph[step.runs[0][0]]
        if first.kind == "Sum":
            self._write(step.writes[0], inputs["in"])
            return
        effect = self.renderer.effect_of(step)
        main = inputs.pop(first.inlets[0].name, None)
        if main is None:  # a generator reads no sample of it
            main = self.like.new_zeros(()).expand(self.batch, len(step.runs), 1, self.samples)
        values: dict[str, Tensor] = {}
        for place in range(len(step.runs[0])):
            names = [run[place] for run in step.runs]
            prefix = f"s{place}." if len(step.runs[0]) > 1 else ""
            for knob in self.graph[names[0]].params:
                if knob in step.moved:
                    values[knob] = self.moved(names, knob, step.moved[knob], aligned, late)
                else:
                    values[prefix + knob] = self.knob(names, knob)
        signals = {port: x.flatten(0, 1) for port, x in inputs.items()}

        def process(skip: int) -> tuple[Tensor, ...]:
            begun = {port: x[..., skip:] for port, x in signals.items()}
            moving = {k: curve(v, self.samples)[:, skip:] if skip and v.ndim == 2 else v for k, v in values.items()}
            y = effect.process(main.flatten(0, 1)[..., skip:], **begun, **moving)
            return y if isinstance(y, tuple) else (y,)

        first_heard = late[0] if aligned else 0
        for outlet, rows in zip(step.writes, self._begin_late(first_heard, process), strict=True):
            self._write(outlet, rows.unflatten(0, (self.batch, len(step.runs))))

    def _begin_late(self, late: int, process: Callable[[int], Iterable[Tensor]]) -> list[Tensor]:
        """What ``process(skip)`` makes of all but the first samples, which come before the signal: silence.

        In chunks, behind an effect that looks ahead, oscillators and averages inside of an effect must begin with the
        first sample, however late it comes.
        """
        if not late:
            return list(process(0))
        before = stream.resumed()
        left, state = (late, None) if before is None else (int(before[0]), before[1:])
        skip = min(left, self.samples)
        with streaming(None if left else state) as tape:  # of a chunk of silence only the shapes count
            made = list(process(skip if skip < self.samples else 0))
        stream.put_away((torch.tensor(left - skip), *tape.after))
        if skip:
            made = [nn.functional.pad(y[..., : self.samples - skip], (skip, 0)) for y in made]
        return made

    def _write(self, values: Sequence[Value], rows: Tensor) -> None:
        self.signals |= spread(values, rows)

    def gains(self, edges: Sequence[Edge]) -> Tensor:
        """Linear gains (B, n) of edges, or (B, n, T) where they are curves; a wire's is 1."""
        if all(e.gain_db is None for e in edges):
            return self.like.new_ones(self.batch, len(edges))
        level = self.column([e.name for e in edges], "gain_db", [e.gain_db or 0.0 for e in edges])
        return linear(level if level.ndim == 2 else self.over_time(level))

    def carried(self, edge: Edge, x: Tensor) -> Tensor:
        """What leaves an edge that x (B, C, T) enters."""
        if edge.amount is not None:
            return x * self.over_time(self.column([edge.name], "amount", [edge.amount])).to(x.dtype)
        if edge.gain_db is None:
            return x
        gain = self.gains([edge])
        return x * (gain[..., None] if gain.ndim == 2 else gain).to(x.dtype)

    def _sum(self, step: Sum, aligned: bool) -> None:
        late = self.renderer.latency.get(step.into, 0)
        signals = self._aligned([e.source for e in step.edges], aligned, [late] * len(step.edges))
        total = self.signals[step.into].audio if step.begun else None
        ours = False  # whether it may be written over, which is twice as fast as another one
        for edge, signal in zip(step.edges, signals, strict=True):
            x = self.carried(edge, signal.audio)
            if total is None:
                total = x
            elif ours and x.shape == total.shape and x.dtype == total.dtype:
                total += x
            else:
                total, ours = total + x, not torch.is_grad_enabled()
        assert total is not None
        self.signals[step.into] = Signal(total[:, None], 0)

    def _place(self, step: Place) -> None:
        signals = [self.signals[v] for v in step.signals]
        count, y = len(step.pans), signals[0].audio
        level: Tensor | None = None
        if step.faders is not None:
            level = self.column(step.faders, "gain_db", [self.graph[n].setting("gain_db") for n in step.faders])
        places = {knob: self.knob(step.pans, knob) for knob in self.graph[step.pans[0]].params}
        sends = [self.gains(edges) for edges in step.sends]
        pan = self.renderer.effect_of(step)
        if any(v.ndim == 3 for v in (level, *sends) if v is not None) or any(v.ndim == 2 for v in places.values()):
            return self._place_moving(step, together(signals), level, pan, places)
        fader = y.new_ones(self.batch, count) if level is None else linear(level)
        matrix = pan.gains(**places).to(y.device)
        matrix = matrix.expand(self.batch * count, -1, -1).unflatten(0, (self.batch, count))
        send = torch.stack(sends, -1) if sends else y.new_zeros(self.batch, count, 0)
        total, at = self._begun(step, y), 0
        # the sums are the same, however many tracks come at once
        for y in [together(signals)] if torch.is_grad_enabled() else neighbours(signals):
            part = slice(at, at := at + y.shape[1])
            total = add_tracks(total, y, fader[:, part], matrix[:, part], send[:, part])
        for n, inlet in enumerate(step.into):
            self.signals[inlet] = Signal(total.unflatten(1, (-1, 2)), n)

    def _place_moving(
        self, step: Place, y: Tensor, level: Tensor | None, pan: Processor, places: Mapping[str, Tensor]
    ) -> None:
        """As `_place`, where a fader, a pan or a send is a curve: track after track."""
        if level is not None:
            y = y * linear(self.over_time(level))[:, :, None].to(y.dtype)
        placed = pan.process(y.flatten(0, 1), **places).unflatten(0, y.shape[:2])
        for n, (inlet, begun) in enumerate(zip(step.into, step.begun, strict=True)):
            total = self.signals[inlet].audio if begun else None
            for k in range(len(step.pans)):
                x = self.carried(step.sends[n - 1][k], placed[:, k]) if n else placed[:, k]
                total = x if total is None else total + x
            assert total is not None
            self.signals[inlet] = Signal(total[:, None], 0)

    def _begun(self, step: Place, y: Tensor) -> Tensor:
        """What the sums hold so far, (B, 2 n, T), as long as y."""
        if not any(step.begun):
            return y.new_zeros(()).expand(self.batch, 2 * len(step.into), y.shape[-1])
        parts = [
            self.signals[inlet] if begun else Signal(y.new_zeros(self.batch, 1, 2, y.shape[-1]), 0)
            for inlet, begun in zip(step.into, step.begun, strict=True)
        ]
        return together(parts).flatten(1, 2)

    # -- loops -----------------------------------------------------------------------------------------------------

    def _loop(self, step: Loop, aligned: bool) -> None:
        late = max((self.renderer.latency.get(v, 0) for v in step.outside), default=0) if aligned else 0
        signals = self._aligned(step.outside, aligned, [late] * len(step.outside))
        outside = dict(zip(step.outside, signals, strict=True))
        if late:

            def process(skip: int) -> list[Tensor]:
                later = {value: Signal(s.rows[..., skip:], s.at) for value, s in outside.items()}
                found, _ = self._from(skip, self.samples - skip)._in_blocks(step, later)
                return [found[value].audio for value in step.writes]

            for value, audio in zip(step.writes, self._begin_late(late, process), strict=True):
                self.signals[value] = Signal(audio[:, None], 0)
            return
        parts = [*(s.rows for s in signals), *(rows for rows, _ in self.given.values())]
        parts += [p for effect in self.renderer.effects for p in effect.parameters()]
        if torch.is_grad_enabled() and any(p.requires_grad for p in parts) and not stream.is_streaming():
            with torch.no_grad():
                _, fed = self._in_blocks(step, outside)
            found = self._inside(step, outside, self._with_gradient(step, outside, fed))
        else:
            found, _ = self._in_blocks(step, outside)
        self.signals |= {value: found[value] for value in step.writes}

    def _inside(self, step: Loop, outside: Signals, fed: Sequence[Tensor], start: int = 0) -> Signals:
        """The signals inside a loop, given those around it and what comes out of each feedback, from ``start`` on."""
        run = self._from(start, fed[0].shape[-1])
        cut = slice(start, start + run.samples)
        run.signals = {value: Signal(s.rows[..., cut], s.at) for value, s in outside.items()}
        run.signals |= {Endpoint(n, "out"): Signal(z[:, None], 0) for n, z in zip(step.feedback, fed, strict=True)}
        return run.through(step.inside)

    def _from(self, start: int, samples: int) -> "Run":
        """A run over a part of the signal, without signals yet."""
        run = object.__new__(Run)
        run.__dict__ |= self.__dict__
        run.signals, run.samples = {}, samples
        run.like = self.like[..., start : start + samples]
        if samples < self.samples:  # curves span the whole signal
            cut = slice(start, start + samples)
            run.given = {
                n: (curve(r[:, k], self.samples)[:, None, cut], 0) if r.ndim == 3 else (r, k)
                for n, (r, k) in self.given.items()
            }
        return run

    def _returned(self, step: Loop, found: Signals) -> list[Tensor]:
        return [found[source_of(self.graph, name, "in")].audio for name in step.feedback]

    def _delays(self, step: Loop) -> list[int]:
        rate = self.renderer.sample_rate
        return [max(1, round(self.graph[name].option("delay_ms") * rate / 1000)) for name in step.feedback]

    def _in_blocks(self, step: Loop, outside: Signals) -> tuple[Signals, list[Tensor]]:
        """The signals of a loop and what comes out of its feedbacks, block after block no longer than any delay."""
        delays = self._delays(step)
        before = stream.resumed()
        if before is None:
            channels = [self.graph[name].option("channels") for name in step.feedback]
            lines = [self.like.new_zeros(self.batch, c, d) for c, d in zip(channels, delays, strict=True)]
            state = None
        else:
            lines, state = list(before[: len(delays)]), before[len(delays) :]
        blocks: list[Signals] = []
        fed: list[list[Tensor]] = []
        for start in range(0, self.samples, min(delays)):
            length = min(min(delays), self.samples - start)
            fed.append([line[..., :length] for line in lines])
            with streaming(state) as tape:
                blocks.append(self._inside(step, outside, fed[-1], start))
            state = tuple(tape.after)
            back = self._returned(step, blocks[-1])
            lines = [torch.cat([line[..., length:], y], -1) for line, y in zip(lines, back, strict=True)]
        stream.put_away((*(line.detach() for line in lines), *(state or ())))
        whole: Signals = {
            value: Signal(torch.cat([block[value].audio for block in blocks], -1)[:, None], 0) for value in step.writes
        }
        return whole, [torch.cat(parts, -1) for parts in zip(*fed, strict=True)]

    def _with_gradient(self, step: Loop, outside: Signals, fed: Sequence[Tensor]) -> list[Tensor]:
        r"""What comes out of the feedbacks, ``fed``, with a gradient.

        They solve z = f(z, theta), where f delays what the loop returns. With J = df/dz the gradient of a loss to
        theta is that of f under the cotangent l = g + J^T l. As f only looks back by a delay d, (J^T)^n is zero for
        n d beyond the end, and the iteration ends with the exact l.
        """
        delays, channels = self._delays(step), [z.shape[1] for z in fed]
        at_rest = torch.cat(list(fed), 1).detach().requires_grad_()
        found = self._inside(step, outside, at_rest.split(channels, 1))
        back = self._returned(step, found)
        length = self.samples
        late = [nn.functional.pad(y, (d, 0))[..., :length] for y, d in zip(back, delays, strict=True)]
        z = torch.cat(late, 1)
        if not z.requires_grad:
            return list(fed)

        def solved(g: Tensor) -> Tensor:
            total = part = g
            for _ in range(-(-length // min(delays))):
                (part,) = torch.autograd.grad(z, at_rest, part, retain_graph=True)
                total = total + part
            return total

        again = z * 1  # the hook must not meet the cotangents it makes itself
        again.register_hook(solved)
        return list(again.split(channels, 1))
