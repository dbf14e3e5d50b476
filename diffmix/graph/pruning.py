"""Which effects and sends a mix needs: the rest is taken out, as long as what comes out stays as near to the target.

After "Searching for music mixing graphs: a pruning approach" (S.-H. Lee et al., DAFx 2024): a graph with everything is
fitted, then what is not missed goes, and what is left is fitted again. A trial there renders the song; here it renders
what the candidate touches, see `Session`, so that each is tried by itself, the least missed first.
"""

from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

from diffmix.errors import GraphError
from diffmix.graph.fitting import Excerpts, fit_graph
from diffmix.graph.graph import Graph
from diffmix.graph.inaudible import difference_from
from diffmix.graph.session import Session

ROUNDS = 6
"""At most so often what is left is fitted again, to see whether more can go."""

HOPELESS_DB = 0.5
"""A candidate that is missed by this much more than is allowed is not tried again in the same round."""


class Pruned(NamedTuple):
    """A graph with what is needed, and what was found on the way.

    Fields:
        graph: what is left, its knobs fitted.
        removed: effects and sources by name and sends as ``a>b``, in the order in which they went.
        away_db: how far its output is from the target, see `difference_db`.
        whole_db: how far that of the whole graph was, at the best it was fitted.
        trials: how many renders were tried, each of what a candidate touches.
    """

    graph: Graph
    removed: tuple[str, ...]
    away_db: float
    whole_db: float
    trials: int


def prune_graph(
    graph: Graph,
    heard: Excerpts,
    *,
    within_db: float = 0.1,
    refit: int = 60,
    learning_rate: float = 0.05,
    locked: Collection[str] = (),
    progress: Callable[[str, float], None] | None = None,
) -> Pruned:
    """Take out of a fitted graph the effects, sends and sources that its only output does without.

    Args:
        graph: the whole, its knobs as `fit_graph` left them.
        heard: sources and target.
        within_db: so much further than the best so far the output may be from the target, by `difference_db`.
        refit: steps of gradient descent after each round of trials.
        learning_rate: of these.
        locked: knobs that stay, named as by `Graph.spec`; an effect that has one is not taken out.
        progress: called with what is being done and the share done.

    Raises GraphError and AudioError as `Renderer`.
    """
    say = progress or (lambda what, done: None)
    output = graph.outputs[0]

    difference = difference_from(heard.target[..., heard.warm_up :])

    def render(session: Session, edited: Graph) -> float:
        return difference(session.render(edited)[output][..., heard.warm_up :])

    session = Session(graph, heard.sources, heard.sample_rate)
    whole = best = now = render(session, graph)
    removed: list[str] = []
    trials = 0
    for round_ in range(ROUNDS):
        missed = {}
        for name in candidates(session.graph, locked):
            trials += 1
            if (less := without(session.graph, name)) is not None:
                missed[name] = render(session, less)
            say("trying", (round_ + 0.5 * len(missed) / max(1, len(session.graph))) / ROUNDS)
        before = len(removed)
        for name in sorted(missed, key=lambda name: missed[name]):
            if missed[name] > best + within_db + HOPELESS_DB:
                break
            less = without(session.graph, name)
            if less is None:
                continue
            trials += 1
            after = render(session, less)
            if after <= best + within_db:
                session.keep(less)
                now = after
                removed.append(name)
        if len(removed) == before:
            break
        say("fitting again", (round_ + 0.6) / ROUNDS)
        fitted = fit_graph(session.graph, heard, steps=refit, learning_rate=learning_rate, locked=locked)
        again = render(session, fitted)
        if again < now:
            session.keep(fitted)
            now = again
        best = min(best, now)
    for less in _flatter(session, locked):
        trials += 1
        after = render(session, less)
        if after <= best + within_db:
            session.keep(less)
            now = after
    say("done", 1.0)
    return Pruned(session.graph, tuple(removed), now, whole, trials)


def _flatter(session: Session, locked: Collection[str]) -> Iterator[Graph]:
    """The session's graph with one band of an equaliser flat, one after the other, those that do least first."""
    bands = [
        (abs(node.setting(knob)), node.name, knob.removesuffix("_gain_db"))
        for node in session.graph
        for knob in node.params
        if knob.endswith("_gain_db") and node.setting(knob) and f"{node.name}.{knob}" not in locked
    ]
    for _, name, band in sorted(bands):
        node = session.graph[name]
        others = {knob: value for knob, value in node.values.items() if not knob.startswith(f"{band}_")}
        yield session.graph.replaced(name, values=others)


def candidates(graph: Graph, locked: Collection[str] = ()) -> list[str]:
    """The effects, sends and, of several, sources of a graph that may turn out not to be needed.

    What has a knob in ``locked`` is, and with it what its sound comes from, and the ends of a cable.
    """
    held = {name.rpartition(".")[0] for name in locked}
    for edge in graph.edges:
        if edge.name in held:
            held |= {edge.source.node, edge.target.node}
    sources = [name for name in graph.sources if len(graph.sources) > 1 and not held & _behind(graph, name)]
    return [name for name in (*effects(graph), *sources) if name not in held]


def _behind(graph: Graph, source: str) -> set[str]:
    """The effects that hear nothing but a source."""
    found, todo = {source}, [source]
    while todo:
        for edge in graph.out_of(todo.pop()):
            name = edge.target.node
            if name not in found and {e.source.node for e in graph.into(name)} <= found:
                found.add(name)
                todo.append(name)
    return found


def effects(graph: Graph) -> list[str]:
    """The effects of a graph, and its sends: cables with a gain beside others from the same outlet."""
    nodes = [node.name for node in graph if node.kind not in ("In", "Out", "Sum", "Feedback")]
    sends = [e.name for e in graph.edges if e.gain_db is not None and len(graph.out_of(e.source.node)) > 1]
    return [*nodes, *sends]


def without(graph: Graph, name: str) -> Graph | None:
    """The graph without an effect, a source or a cable, and what is not fed then; None if it is none, or not there."""
    try:
        if name in graph:
            less = graph.removed(name) if graph[name].kind == "In" else graph.without(name)
        else:
            edge = next((e for e in graph.edges if e.name == name), None)
            if edge is None:
                return None
            less = graph.disconnect(str(edge.source), str(edge.target))
        less = _fed(less)
        less.check()
    except GraphError:
        return None
    return less if _channels(less) == _channels(graph) else None


def _fed(graph: Graph) -> Graph:
    """The graph without sums and effects that nothing goes into."""
    while True:
        dry = [
            node.name
            for node in graph
            if node.kind not in ("In", "Out") and node.inlets and not graph.into(node.name, node.inlets[0].name)
        ]
        if not dry:
            return graph
        graph = graph.removed(*dry)


def _channels(graph: Graph) -> int:
    """How many channels come out."""
    channels = graph.check().channels
    return max(channels[edge.source] for edge in graph.into(graph.outputs[0]))
