"""Rendering: a graph's plan run on tensors.

A `Renderer` is a graph at a sample rate. Its step list is made once; running it passes tensors from step to step, node
of one kind beside node, and frees each after its last reader. Everything is differentiable: audio, knobs, the gains of
edges and the reach of modulations.
"""

import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from diffmix.errors import AudioError, GraphError
from diffmix.graph.graph import Graph
from diffmix.graph.node import Endpoint, Node, learns, make
from diffmix.graph.plan import Batch, Inlet, Loop, Place, Plan, Step, Value, source_of
from diffmix.graph.run import Overrides, Run, Signal, Signals, Sources, heard, spread
from diffmix.graph.schedule import schedule
from diffmix.kernels import stream
from diffmix.kernels.ballistics import delayed
from diffmix.kernels.stream import State, streaming
from diffmix.params import ParamSpec
from diffmix.processors.base import REGISTRY, Processor
from diffmix.processors.chain import Chain
from diffmix.processors.named import Named
from diffmix.settings import shortest


class Renderer(nn.Module):
    """A graph at a sample rate, ready to render.

    ``renderer(sources, u)`` takes controls in [0, 1] as `spec` orders them; `render` physical values. Both give a dict
    of (B, C, T) by the name of the ``Out`` node.
    """

    def __init__(
        self,
        graph: Graph,
        sample_rate: float,
        precision: Literal["float32", "float64"] = "float32",
        processors: Mapping[str, Processor] | None = None,
        targets: Iterable[Value] = (),
        given: Iterable[Value] = (),
    ) -> None:
        """A renderer at ``sample_rate`` Hz.

        Args:
            graph: what to render.
            sample_rate: Hz.
            precision: of the effects, as for `Processor`.
            processors: an effect to use for a node instead of a new one of its class: one that was trained. Where there
                is none, an effect with weights of its own is made for its node alone. ``live`` holds all of these.
            targets: signals to make besides or instead of the outputs, see `schedule`.
            given: signals that will come with the sources.

        Raises GraphError where the graph breaks a rule, or where an effect that looks ahead or needs the whole signal
        stands in a loop.
        """
        super().__init__()
        if not 0 < sample_rate < float("inf"):
            raise AudioError(f"sample_rate is {sample_rate:g} Hz, allowed is more than 0 Hz")
        self.graph, self.sample_rate, self.precision = graph, float(sample_rate), precision
        targets, given = tuple(targets), tuple(given)
        self.given = frozenset(given)
        self.live = dict(processors or {})
        self.live |= {node.name: self._made(node) for node in learning(graph) if node.name not in self.live}
        one_by_one = precision == "float64"  # what is placed and added in one pass is rounded once less
        self.plan = schedule(graph, targets, given, one_by_one, self.live)
        for name, processor in self.live.items():
            if graph[name].kind != type(processor).__name__:
                raise GraphError(
                    f"node {name!r} is a {graph[name].kind}, the effect given is a {type(processor).__name__}"
                )
            self._check_rate(name, processor)
        self.effects = nn.ModuleList()
        self._of: dict[int, int] = {}  # effects by the key of the step that runs them
        self._prepare(self.plan)
        self.chunks, self.latency = self.plan, {}
        if any(isinstance(step, Batch) and self._looks_ahead(step) for step in self.plan.steps):
            late = schedule(graph, targets, given, late=True, own=self.live)
            self._prepare(late)
            self.latency = self._latencies(late)
            self.chunks = self._by_latency(late)
        self._constants: dict[tuple[Any, ...], Tensor] = {}

    @property
    def spec(self) -> ParamSpec:
        """Every knob: `Graph.spec`."""
        return self.graph.spec()

    @functools.cached_property
    def knobs(self) -> frozenset[str]:
        """The names of all knobs."""
        return frozenset(self.spec.names)

    def _prepare(self, plan: Plan) -> None:
        """Make the effects of every step; those of nodes that run together are one."""
        for step in plan.steps:
            if isinstance(step, Loop):
                self._prepare(step.inside)
                self._check_loop(step)
            elif isinstance(step, Place):
                self._keep(step, self._effect(step.pans[0]))
            elif isinstance(step, Batch) and self.graph[step.runs[0][0]].kind != "Sum":
                effects = [self._effect(name) for name in step.runs[0]]
                one = effects[0] if len(effects) == 1 else Chain(**{f"s{k}": e for k, e in enumerate(effects)})
                self._keep(step, one)

    def _keep(self, step: Batch | Place, effect: Processor) -> None:
        self._of[step.key] = len(self.effects)
        self.effects.append(effect)

    def _effect(self, name: str) -> Processor:
        if name in self.live:
            return self.live[name]
        made = self._made(self.graph[name])
        self._check_rate(name, made)
        return made

    def _made(self, node: Node) -> Processor:
        return make(node.kind, node.options, {}, self.sample_rate, precision=self.precision)

    def _check_rate(self, name: str, effect: Processor) -> None:
        """Raise GraphError for an effect that came from elsewhere and runs at another rate, as a trained one may."""
        mine, its = self.sample_rate, effect.sample_rate
        if its != mine:
            raise GraphError(f"node {name!r}: the effect given runs at {its:g} Hz, the graph at {mine:g} Hz")

    def effect_of(self, step: Batch | Place) -> Any:
        """The effect that a step runs, None for a sum."""
        return self.effects[self._of[step.key]] if step.key in self._of else None

    def _check_loop(self, loop: Loop) -> None:
        for step in loop.inside.steps:
            if not isinstance(step, Batch) or (effect := self.effect_of(step)) is None:
                continue
            name = step.runs[0][0]
            if not effect.streams:
                raise GraphError(f"node {name!r}: {self.graph[name].kind} needs the whole signal, and stands in a loop")
            if self._looks_ahead(step):
                raise GraphError(f"node {name!r}: {self.graph[name].kind} looks ahead, and stands in a loop")

    def _looks_ahead(self, step: Batch) -> bool:
        return any(self._own(step, k) for k in range(len(step.runs)))

    def _own(self, step: Batch, number: int) -> int:
        """How much later than its input one run of a step is."""
        effect = self.effect_of(step)
        if effect is None:
            return 0
        run = step.runs[number]
        if len(run) == 1:
            return effect.latency_samples(self.graph[run[0]].settings)
        numbers = {f"s{k}.{knob}": v for k, n in enumerate(run) for knob, v in self.graph[n].settings.items()}
        return effect.latency_samples(numbers)

    def _latencies(self, plan: Plan) -> dict[Value, int]:
        """How many samples later each signal is in chunks; everything is as late as the latest it is made of.

        A sum that several steps add to is so late from its first step on.
        """
        late: dict[Value, int] = {}
        for step in plan.steps:
            if isinstance(step, Batch):
                for number in range(len(step.runs)):
                    most = max((late.get(v, 0) for v in heard(step, number)), default=0) + self._own(step, number)
                    late |= {outlet[number]: most for outlet in step.writes}
            else:
                most = max((late.get(v, 0) for v in step.reads()), default=0)
                late |= dict.fromkeys(step.written(), most)
        return late

    def _late(self, step: Batch, number: int) -> int:
        """How late one run of a step hears what it hears."""
        return max((self.latency.get(v, 0) for v in heard(step, number)), default=0)

    def _by_latency(self, plan: Plan) -> Plan:
        """The plan with runs together only if they begin at one time."""
        steps: list[Step] = []
        spent: list[tuple[Value, ...]] = []
        for step, gone in zip(plan.steps, plan.spent, strict=True):
            parts: list[Step] = [step]
            if isinstance(step, Batch):
                runs: dict[int, list[int]] = {}
                for number in range(len(step.runs)):
                    runs.setdefault(self._late(step, number), []).append(number)
                if len(runs) > 1:
                    parts = [step.only(numbers) for numbers in runs.values()]
                    if step.key in self._of:
                        self._of |= {part.key: self._of[step.key] for part in parts if isinstance(part, Batch)}
            steps += parts
            spent += [()] * (len(parts) - 1) + [gone]
        return Plan(plan.graph, tuple(steps), plan.targets, tuple(spent))

    # -- calls -----------------------------------------------------------------------------------------------------

    def forward(self, sources: Sources, u: Tensor) -> dict[str, Tensor]:
        """Outputs from audio and controls u (B, P) in [0, 1]."""
        spec = self.spec.to(u.device)
        return self.render(sources, {spec.names: spec.physical(u)})

    def turned(self, u: Tensor, item: int = 0) -> Graph:
        """The graph with its knobs where controls u (B, P) have them for one item of a batch, to read and to save."""
        values = self.spec.denormalize(u.detach()[item].cpu())
        return self.graph.at({name: shortest(value.item()) for name, value in values.items()})

    def render(self, sources: Sources, values: Overrides | None = None) -> dict[str, Tensor]:
        """Outputs (B, C, T) by name, with knobs as the graph has them but for ``values``.

        Raises AudioError for a source that is missing, has another number of channels or another length, and
        GraphError for values that the graph does not have.
        """
        found = self.signals(sources, values)
        return {name: found[source_of(self.graph, name, "in")] for name in self.graph.outputs}

    def signals(
        self, sources: Sources | Mapping[Value, Tensor], values: Overrides | None = None, keep: bool = False
    ) -> dict[Value, Tensor]:
        """The signals the plan was made for, each (B, C, T); if ``keep``, whatever it makes on the way.

        The sources may hold given signals too.
        """
        run = Run(self, self._sources(sources), values or {})
        if stream.is_streaming():
            found = run.through(self.chunks, aligned=bool(self.latency))
        else:
            found = run.through(self.plan, keep=keep)
        return {value: signal.audio for value, signal in found.items()}

    def process_chunk(
        self, sources: Sources, state: State | None, values: Overrides | None = None
    ) -> tuple[dict[str, Tensor], State]:
        """One chunk: ``(outputs, state for the next one)``, as `Processor.process_chunk`; `latency_samples` later."""
        for effect in self.effects:
            if not effect.streams:
                raise AudioError(f"{type(effect).__name__} needs the whole signal: this graph cannot run in chunks")
        with streaming(state) as tape:
            y = self.render(sources, values)
            late = self.latency_samples
            for name in y:
                behind = late - self.latency.get(source_of(self.graph, name, "in"), 0)
                y[name] = delayed(y[name], behind)
        return y, tuple(tape.after)

    @property
    def latency_samples(self) -> int:
        """How many samples later `process_chunk` is than `render`, which compensates every path."""
        return max((self.latency.get(source_of(self.graph, name, "in"), 0) for name in self.graph.outputs), default=0)

    def _sources(self, sources: Any) -> Signals:
        found: Signals = {}
        for key, audio in sources.items():
            if not isinstance(audio, Tensor) or audio.dtype not in (torch.float32, torch.float64) or not audio.numel():
                got = f"{tuple(audio.shape)} {audio.dtype}" if isinstance(audio, Tensor) else type(audio).__name__
                raise AudioError(f"source {key!r} is {got}; at least one sample of float32 or float64 is expected")
            if isinstance(key, Endpoint | Inlet):
                found[key] = Signal(audio[:, None], 0)
            elif isinstance(key, tuple):
                if audio.ndim != 4 or audio.shape[1] != len(key):
                    raise AudioError(f"{len(key)} sources come as (B, {len(key)}, C, T), got {tuple(audio.shape)}")
                found |= spread([Endpoint(name, "out") for name in key], audio)
            else:
                if audio.ndim != 3:
                    raise AudioError(f"source {key!r} has shape {tuple(audio.shape)}; (B, C, T) is expected")
                found[Endpoint(key, "out")] = Signal(audio[:, None], 0)
        self._check_sources(found)
        return found

    def _check_sources(self, found: Signals) -> None:
        needed = {v for step in self.plan.steps for v in step.reads()} | set(self.plan.targets)
        first: Tensor | None = None
        for name in self.graph.sources:
            end = Endpoint(name, "out")
            if end not in found:
                if end in needed:
                    given = ", ".join(value.node for value in found) or "none"
                    raise AudioError(
                        f"source {name!r} is missing; the graph needs {', '.join(self.graph.sources)}, given: {given}"
                    )
                continue
            shape = found[end].audio.shape
            if shape[1] != self.graph[name].option("channels"):
                raise AudioError(
                    f"source {name!r} has {shape[1]} channel(s), the graph says {self.graph[name].option('channels')}, "
                    f"which in({shape[1]}) in its text would change"
                )
            first = found[end].rows if first is None else first
            if first.dtype != found[end].rows.dtype:
                raise AudioError(f"source {name!r} is {found[end].rows.dtype}, another one {first.dtype}")
            if (shape[0], shape[-1]) != (first.shape[0], first.shape[-1]):
                raise AudioError(
                    f"source {name!r} has {shape[0]} items of {shape[-1]} samples, "
                    f"another one {first.shape[0]} of {first.shape[-1]}"
                )
        allowed = {Endpoint(name, "out") for name in self.graph.sources} | set(self.given)
        if strangers := [value.node for value in found if value not in allowed]:
            raise AudioError(f"there is no source {strangers[0]!r}; the graph has {', '.join(self.graph.sources)}")
        if not found:
            raise AudioError("a graph is rendered for as long as its sources are, and none were given")


def learning(graph: Graph) -> list[Node]:
    """The nodes whose kind has weights that no name stands for: each needs an effect of its own."""
    kinds = {node.kind: node for node in graph if node.kind in REGISTRY}
    found = {kind for kind, node in kinds.items() if learns(node.effect) and not issubclass(REGISTRY[kind], Named)}
    return [node for node in graph if node.kind in found]


def render(graph: Graph, sources: Sources, sample_rate: float, values: Overrides | None = None) -> Tensor:
    """The only output of a graph, (B, C, T), for sources at ``sample_rate`` Hz; see `Renderer` for more.

    Raises GraphError if the graph breaks a rule or has several outputs, AudioError for sources that do not fit.
    """
    if len(graph.outputs) > 1:
        raise GraphError(
            f"the graph has the outputs {', '.join(graph.outputs)}: use Renderer, which returns them by name"
        )
    return Renderer(graph, sample_rate).render(sources, values)[graph.outputs[0]]


def streamed(
    renderer: Renderer, blocks: Iterable[Sources], values: Overrides | None = None
) -> Iterator[dict[str, Tensor]]:
    """Outputs block by block, in constant memory: joined they equal one call of `Renderer.render`.

    ``blocks`` are sources cut into consecutive pieces of any length; effects that look ahead are compensated, so that
    the first pieces are shorter and one more may follow. What looks ahead hears silence and echoes behind the end,
    where one call hears nothing: the last `latency_samples` may differ. No gradient is kept. Raises GraphError for
    curves, which span a whole signal.
    """
    for key, value in (values or {}).items():
        if value.ndim > (2 if isinstance(key, tuple) else 1):
            name = key[0] if isinstance(key, tuple) else key
            raise GraphError(f"the value of {name!r} is a curve: blocks do not tell how long it is")
    state: State | None = None
    skip = late = renderer.latency_samples
    last: Sources | None = None
    with torch.no_grad():
        for block in blocks:
            y, state = renderer.process_chunk(block, state, values)
            last = block
            length = next(iter(y.values())).shape[-1]
            cut, skip = min(skip, length), max(skip - length, 0)
            if cut < length:
                yield {name: part[..., cut:] for name, part in y.items()}
        if last is not None and late > skip:
            silence = {key: x.new_zeros(()).expand(*x.shape[:-1], late) for key, x in last.items()}
            y, _ = renderer.process_chunk(silence, state, values)
            yield {name: part[..., skip:] for name, part in y.items()}
