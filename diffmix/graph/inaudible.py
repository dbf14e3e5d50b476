"""What each node adds to a sound, and a graph without the nodes that add nothing one hears."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from diffmix.errors import GraphError
from diffmix.graph.graph import Graph
from diffmix.graph.run import Sources
from diffmix.graph.session import Session

FFT_SIZES = (512, 2048, 8192)
FLOOR_DB = -60.0
"""What lies this far below the loudest bin of a spectrogram is not heard beside it."""


def difference_db(y: Tensor, reference: Tensor) -> float:
    """Mean difference of two sounds (B, C, T) in dB, over the bins of spectrograms of three resolutions.

    It is that of |20 log10 |Y| - 20 log10 |R||, of levels no lower than 60 dB below the reference's loudest bin, over
    the bins where either lies above that, averaged over the resolutions. 0 for equal sounds.
    """
    total = 0.0
    for size in FFT_SIZES:
        window = torch.hann_window(size, dtype=y.dtype, device=y.device)
        spectra = []
        for x in (y, reference):
            x = torch.nn.functional.pad(x.flatten(0, 1), (0, max(0, size - x.shape[-1])))
            spectra.append(torch.stft(x, size, size // 2, window=window, return_complex=True).abs())
        floor = max(spectra[1].max().item(), 1e-10) * 10 ** (FLOOR_DB / 20)
        levels = [20 * torch.log10(s.clamp_min(floor)) for s in spectra]
        heard = (spectra[0] > floor) | (spectra[1] > floor)
        total += ((levels[0] - levels[1]).abs() * heard).sum().item() / max(int(heard.sum()), 1)
    return total / len(FFT_SIZES)


def audibility(graph: Graph, sources: Sources, sample_rate: float) -> dict[str, float]:
    """By how many dB each node changes the outputs, as `difference_db` of the graph with and `Graph.without` it.

    The largest change of any output. Sources, outputs and nodes that the graph is none without (a pan, a split, the
    only way of a signal) are left out. Each node costs what depends on it.
    """
    session = Session(graph, sources, sample_rate)
    return _audibility(session, session.render(graph))


def audible_graph(
    graph: Graph, sources: Sources, sample_rate: float, least_db: float = 1.0, within_db: float = math.inf
) -> Graph:
    """The graph without nodes that change the outputs by less than ``least_db``, the least audible first.

    Nodes mask each other, so that each is heard again before it goes: what is left changes the outputs by ``least_db``
    or more. What only one cable enters and nothing is done to, a sum, goes as well. Many that go, each a little, may
    change much together: none goes that would lead the outputs further than ``within_db`` from those of ``graph``.
    """
    session = Session(graph, sources, sample_rate)
    first = now = session.render(graph)
    gone = True
    while gone:
        gone = False
        heard = _audibility(session, now)
        for name in sorted(heard, key=lambda name: (heard[name], session.graph[name].kind == "Sum")):
            if heard[name] >= least_db:
                break
            less, y = _without(session, name, now)
            if y and _apart(y, now) < least_db and _apart(y, first) <= within_db:
                session.keep(less)
                now, gone = y, True
    return session.graph


def _audibility(session: Session, whole: Mapping[str, Tensor]) -> dict[str, float]:
    """`audibility` in a session whose graph has the outputs ``whole``."""
    found = {}
    for node in session.graph:
        if y := _without(session, node.name, whole)[1]:
            found[node.name] = _apart(y, whole)
    return found


def _without(session: Session, name: str, whole: Mapping[str, Tensor]) -> tuple[Graph, dict[str, Tensor]]:
    """The graph without a node, and its outputs: none if it is no graph then or has outputs of other channels."""
    graph = session.graph
    if graph[name].kind in ("In", "Out"):
        return graph, {}
    try:  # of a feedback nothing comes back
        less = graph.removed(name) if graph[name].kind == "Feedback" else graph.without(name)
        y = session.render(less)
    except GraphError:
        return graph, {}
    return less, y if all(y[output].shape == whole[output].shape for output in whole) else {}


def _apart(y: Mapping[str, Tensor], reference: Mapping[str, Tensor]) -> float:
    """The largest `difference_db` of any output."""
    return max(difference_db(y[name], reference[name]) for name in reference)
