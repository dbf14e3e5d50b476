"""What each node adds to a sound, and a graph without the nodes that add nothing one hears."""

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
    whole = session.render(graph)
    found = {}
    for node in graph:
        if node.kind in ("In", "Out"):
            continue
        try:
            less = _less(graph, node.name)
            less.check()
        except GraphError:
            continue
        y = session.render(less)
        if any(y[name].shape != whole[name].shape for name in whole):
            continue
        found[node.name] = max(difference_db(y[name], whole[name]) for name in whole)
    return found


def audible_graph(graph: Graph, sources: Sources, sample_rate: float, least_db: float = 1.0) -> Graph:
    """The graph without nodes that change the outputs by less than ``least_db``, the least audible first.

    Nodes mask each other, so that after every one that goes the others are heard again. What only one cable enters
    and nothing is done to, a sum, goes as well.
    """
    while True:
        heard = audibility(graph, sources, sample_rate)
        least = min(heard, key=lambda name: heard[name], default=None)
        if least is None or heard[least] >= least_db:
            return graph
        quiet = [name for name in heard if graph[name].kind != "Sum" and heard[name] == 0.0] or [least]
        graph = _less(graph, quiet[0])


def _less(graph: Graph, name: str) -> Graph:
    """Without a node; of a feedback nothing comes back."""
    return graph.removed(name) if graph[name].kind == "Feedback" else graph.without(name)
