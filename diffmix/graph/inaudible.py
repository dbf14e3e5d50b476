"""What each node adds to a sound, and a graph without the nodes that add nothing one hears."""

import math
from collections.abc import Callable, Mapping

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
    return difference_from(reference)(y)


def difference_from(reference: Tensor) -> Callable[[Tensor], float]:
    """`difference_db` from one reference, whose spectra are made once for all that is compared with it."""
    wanted = [_power(reference, size) for size in FFT_SIZES]
    floors = [max(power.max().item(), 1e-20) * 10 ** (FLOOR_DB / 10) for power in wanted]
    levels = [10 * power.clamp_min(floor).log10() for power, floor in zip(wanted, floors, strict=True)]

    def difference(y: Tensor) -> float:
        total = 0.0
        for size, theirs, floor, level in zip(FFT_SIZES, wanted, floors, levels, strict=True):
            power = _power(y, size)
            heard = int(((power > floor) | (theirs > floor)).sum())
            # where neither is heard, both are at the floor
            total += (10 * power.clamp_min_(floor).log10_() - level).abs_().sum().item() / max(heard, 1)
        return total / len(FFT_SIZES)

    return difference


def _power(x: Tensor, size: int) -> Tensor:
    """The power of every bin of the spectrogram of a sound."""
    window = torch.hann_window(size, dtype=x.dtype, device=x.device)
    x = torch.nn.functional.pad(x.flatten(0, 1), (0, max(0, size - x.shape[-1])))
    spectrum = torch.stft(x, size, size // 2, window=window, return_complex=True)
    return spectrum.real.square() + spectrum.imag.square()


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
    now = session.render(graph)
    from_first = _apart_from(now)
    gone = True
    while gone:
        gone = False
        heard = _audibility(session, now)
        for name in sorted(heard, key=lambda name: (heard[name], session.graph[name].kind == "Sum")):
            if heard[name] >= least_db:
                break
            less, y = _without(session, name, now)
            if y and _apart_from(now)(y) < least_db and from_first(y) <= within_db:
                session.keep(less)
                now, gone = y, True
    return session.graph


def _audibility(session: Session, whole: Mapping[str, Tensor]) -> dict[str, float]:
    """`audibility` in a session whose graph has the outputs ``whole``."""
    found, apart = {}, _apart_from(whole)
    for node in session.graph:
        if y := _without(session, node.name, whole)[1]:
            found[node.name] = apart(y)
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


def _apart_from(reference: Mapping[str, Tensor]) -> Callable[[Mapping[str, Tensor]], float]:
    """The largest `difference_db` of any output from those of a reference."""
    differences = {name: difference_from(y) for name, y in reference.items()}
    return lambda y: max(difference(y[name]) for name, difference in differences.items())
