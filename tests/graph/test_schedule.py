"""The order of work: what runs together, what is not done, what is freed, and how long deciding takes."""

import time
from collections import Counter
from itertools import pairwise

import pytest
import torch

from diffmix.graph import Edge, Endpoint, Graph, Node, Plan, Renderer, schedule
from diffmix.graph.plan import Batch, Inlet, Loop, Place, Sum
from diffmix.graph.run import Run

RATE = 44100
STRIP = ("HighpassFilter", "PeakFilter", "KneeCompressor", "Gain", "Pan")


def desk(tracks: int, strip: tuple[str, ...] = STRIP) -> Graph:
    nodes, edges = [Node("mix", "Sum"), Node("out", "Out")], [Edge(Endpoint("mix", "out"), Endpoint("out", "in"))]
    for t in range(tracks):
        row = [Node(f"in{t}", "In", options={"channels": 1}), *(Node(f"{kind}{t}", kind) for kind in strip)]
        nodes += row
        edges += _wires(row)
        edges.append(Edge(Endpoint(row[-1].name, "out"), Endpoint("mix", "in")))
    return Graph(nodes, edges)


def chain(kinds: tuple[str, ...], count: int) -> Graph:
    nodes = [Node("in", "In"), *(Node(f"n{k}", kinds[k % len(kinds)]) for k in range(count)), Node("out", "Out")]
    return Graph(nodes, _wires(nodes))


def _wires(nodes: list[Node]) -> list[Edge]:
    return [Edge(Endpoint(a.name, "out"), Endpoint(b.name, "in")) for a, b in pairwise(nodes)]


def batches(plan: Plan) -> list[Batch]:
    return [step for step in plan.steps if isinstance(step, Batch)]


def test_nodes_of_one_kind_run_together_and_neighbouring_filters_as_one() -> None:
    plan = schedule(desk(8))
    (filters, compressors, mix), (place,) = batches(plan), [s for s in plan.steps if isinstance(s, Place)]
    assert filters.runs == tuple((f"HighpassFilter{t}", f"PeakFilter{t}") for t in range(8))
    assert len(compressors.runs) == 8
    assert place.pans == tuple(f"Pan{t}" for t in range(8))
    assert place.faders == tuple(f"Gain{t}" for t in range(8))
    assert mix.runs == (("mix",),)
    assert plan.count == 4


def test_unlike_options_run_apart() -> None:
    graph = desk(4, ("KneeCompressor", "Pan")).replaced("KneeCompressor1", options={"detector": "rms"})
    assert sorted(len(b.runs) for b in batches(schedule(graph)) if "KneeC" in b.runs[0][0]) == [1, 3]
    assert sorted(
        len(b.runs) for b in batches(schedule(desk(4), own={"KneeCompressor2": None})) if "Knee" in b.runs[0][0]
    ) == [
        1,
        3,
    ]


def test_what_no_output_needs_is_not_done() -> None:
    graph = desk(2).add("dead", "Reverb").connect("Pan0", "dead").add("deaf", "LFO", channels=1)
    done = {name for b in batches(schedule(graph)) for run in b.runs for name in run}
    assert not done & {"dead", "deaf"}
    assert "dead" in {n for b in batches(schedule(graph, [Endpoint("dead", "out")])) for run in b.runs for n in run}
    with_given = schedule(graph, given=[Inlet("mix", "in")])
    assert with_given.count == 1


@pytest.mark.parametrize("graph", [desk(20), chain(STRIP[:4], 40)], ids=["desk", "chain"])
def test_every_value_is_made_once_before_it_is_read_and_freed_after(graph: Graph) -> None:
    plan = schedule(graph)
    there = {Endpoint(name, "out") for name in graph.sources}
    most = 0
    for step, spent in zip(plan.steps, plan.spent, strict=True):
        assert set(step.reads()) <= there
        there |= set(step.written())
        most = max(most, len(there))
        assert set(spent) <= there
        there -= set(spent)
    assert there == set(plan.targets)
    if len(graph.sources) == 1:
        assert most <= 2
    counts = Counter(value for step in plan.steps for value in step.written() if isinstance(value, Endpoint))
    assert max(counts.values()) == 1


def test_memory_does_not_grow_with_a_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    most, plain = 0, Run._batch

    def counted(self: Run, step: Batch, aligned: bool) -> None:
        nonlocal most
        plain(self, step, aligned)
        most = max(most, len(self.signals))

    monkeypatch.setattr(Run, "_batch", counted)
    with torch.no_grad():
        Renderer(chain(("KneeCompressor", "Distortion"), 50), RATE).render({"in": torch.zeros(1, 2, 50)})
    assert most == 2


def test_loops_are_one_step() -> None:
    graph = Graph().add("a", "In").add("m", "Sum").add("f", "LowpassFilter").add("fb", "Feedback").add("out", "Out")
    plan = schedule(graph.chained("a", "m", "f", "fb").connect("fb", "m", -6).connect("f", "out"))
    (loop,) = plan.steps
    assert isinstance(loop, Loop)
    assert loop.feedback == ("fb",)
    assert any(isinstance(step, Sum) for step in loop.inside.steps)


def test_sums_keep_the_order_of_their_edges() -> None:
    graph = desk(6, ("Pan",)).add("s", "In").add("f", "PeakFilter").chained("s", "f", "mix")
    order = [*(f"Pan{t}" for t in range(3)), "f", *(f"Pan{t}" for t in range(3, 6))]
    into = sorted(graph.into("mix"), key=lambda e: order.index(e.source.node))
    graph = Graph(graph, [*into, *(e for e in graph.edges if e.target.node != "mix")])
    added: list[str] = []
    for step in schedule(graph).steps:
        if isinstance(step, Place):
            added += step.pans
        elif isinstance(step, Sum):
            added += [e.source.node for e in step.edges]
    assert added == order


def test_deciding_is_quick_and_knows_no_depth() -> None:
    start = time.process_time()
    assert schedule(desk(160)).count < 60
    assert schedule(chain(("KneeCompressor", "PeakFilter"), 1000)).count == 1000
    assert time.process_time() - start < 1
    assert schedule(chain(("PeakFilter",), 3_000)).count == 1  # three times as deep as Python calls itself
    assert schedule(chain(("KneeCompressor", "PeakFilter"), 3_000)).count == 3_000
