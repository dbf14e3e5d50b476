"""The full console of grafx-prune, for diffmix and for grafx: every track and every group has one of each effect.

    16 x (in -> eq -> compressor -> gate -> imager -> gain -> delay -> reverb) -> 4 x (sum -> the same seven) -> out

(S.-H. Lee et al., "Searching for music mixing graphs: a pruning approach", DAFx 2024: 3.8 s at 30 kHz.)
"""

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import scipy.fft
import torch
from torch import Tensor, nn

from benchmarks.peers import Rendering, Values, eq_values, grafx_dynamics, grafx_eq, leaves
from diffmix.graph import Edge, Endpoint, Graph, Node, Renderer
from diffmix.graph.node import make
from diffmix.processors import BalanceWidth

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # grafx and torchcomp import deprecated parts of torch
    import grafx.processors as peers
    from grafx.data import GRAFX, NodeConfigs, convert_to_tensor
    from grafx.processors import delay as grafx_delay
    from grafx.processors import eq as grafx_eqs
    from grafx.processors.core import convolution as grafx_convolution
    from grafx.render import prepare_render, render_grafx, reorder_for_fast_render

SAMPLE_RATE = 30000
SAMPLES = 114000
RESPONSE = 60000
"""Length of the reverbs' impulse responses."""
LONGEST = 16384
"""More than the longest delay in samples."""

KINDS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "eq": ("ParametricEQ", {}),
    "compressor": ("KneeCompressor", {"detector": "rms"}),
    "gate": ("Expander", {"detector": "rms"}),
    "imager": ("Imager", {}),
    "gain": ("BalanceWidth", {}),
    "delay": ("Delay", {}),
    "reverb": ("NoiseReverb", {"length_s": RESPONSE / SAMPLE_RATE}),
}


def settings(nodes: int, generator: torch.Generator) -> dict[str, Values]:
    """Physical values (nodes,) of every effect."""

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(nodes, generator=generator)

    time_ms = uniform(10, 60)  # grafx has one time for attack and release where it is fast
    gate_ms = uniform(10, 60)
    return {
        "eq": eq_values(nodes, generator),
        "compressor": {
            "threshold_db": uniform(-30, -12),
            "ratio": uniform(2, 6),
            "knee_db": uniform(3, 12),
            "attack_ms": time_ms,
            "release_ms": time_ms,
        },
        "gate": {
            "threshold_db": uniform(-45, -35),
            "ratio": uniform(1.5, 3),
            "knee_db": uniform(3, 12),
            "attack_ms": gate_ms,
            "release_ms": gate_ms,
            "range_db": torch.full((nodes,), 90.0),
        },
        "imager": {"width": uniform(0.5, 1.5)},
        "gain": {"balance": uniform(-0.5, 0.5)},
        "delay": {"delay_seconds": uniform(0.05, 0.5), "mix": uniform(0.1, 0.4)},
        "reverb": {"mix": uniform(0.1, 0.4)},
    }


def names(tracks: int, groups: int) -> tuple[list[str], list[str]]:
    """Tracks and groups by name."""
    return [f"track {n + 1}" for n in range(tracks)], [f"group {n + 1}" for n in range(groups)]


def full_graph(tracks: int, groups: int, seed: int) -> Graph:
    """Our graph, its knobs set."""
    sources, sums = names(tracks, groups)
    values = settings(tracks + groups, torch.Generator().manual_seed(seed))
    nodes, edges = [Node(name, "Sum") for name in sums], []
    for number, strip in enumerate((*sources, *sums)):
        if number < tracks:
            nodes.append(Node(strip, "In", {}, {"channels": 2}))
        before = Endpoint(strip, "out")
        for stage, (kind, options) in KINDS.items():
            knobs = {knob: value[number].item() for knob, value in values[stage].items()}
            nodes.append(Node(f"{strip}.{stage}", kind, knobs, options))
            edges.append(Edge(before, Endpoint(f"{strip}.{stage}", "in")))
            before = Endpoint(f"{strip}.{stage}", "out")
        end = sums[number * groups // tracks] if number < tracks else "out"
        edges.append(Edge(before, Endpoint(end, "in")))
    return Graph([*nodes, Node("out", "Out")], edges)


def ours_full(x: Tensor, groups: int, seed: int, dtype: torch.dtype = torch.float32) -> Rendering:
    """diffmix's console on tracks x (N, 2, T)."""
    sources, sums = names(len(x), groups)
    graph = full_graph(len(x), groups, seed)
    renderer = Renderer(graph, SAMPLE_RATE)
    knobs: dict[str | tuple[str, ...], Tensor] = {}
    for stage in KINDS:
        owners = [f"{strip}.{stage}" for strip in (*sources, *sums)]
        for knob in graph[owners[0]].params:
            column = torch.tensor([[graph[name].setting(knob) for name in owners]], dtype=dtype)
            knobs[tuple(f"{name}.{knob}" for name in owners)] = column.requires_grad_()
    tracks = x.to(dtype)[None].requires_grad_()
    return lambda: (renderer.render({tuple(sources): tracks}, knobs)["out"], [tracks, *knobs.values()])


# -- grafx ---------------------------------------------------------------------------------------------------------


def exact_convolve(x: Tensor, h: Tensor, mode: str = "zerophase", pad_mode: str = "min") -> Tensor:
    """grafx's convolution, of the right length (its own inverse transform stretches odd lengths) and of a fast one."""
    length = scipy.fft.next_fast_len(x.shape[-1] + h.shape[-1] - 1, real=True)
    y = torch.fft.irfft(torch.fft.rfft(x, length) * torch.fft.rfft(h, length), length)
    start = h.shape[-1] // 2 if mode == "zerophase" else 0
    return y[..., start : start + x.shape[-1]]


@contextmanager
def exact_convolutions() -> Iterator[None]:
    """Let grafx convolve by `exact_convolve`."""
    with ExitStack() as stack:
        for module in (grafx_convolution, grafx_eqs, grafx_delay):
            stack.enter_context(mock.patch.object(module, "convolve", exact_convolve))
        yield


def own_processors() -> dict[str, nn.Module]:
    """The processors of grafx-prune."""
    return {
        "eq": peers.ZeroPhaseFIREqualizer(),
        "compressor": peers.Compressor(flashfftconv=False),
        "gate": peers.NoiseGate(flashfftconv=False),
        "imager": peers.SideGainImager(),
        "gain": peers.StereoGain(),
        "delay": peers.MultitapDelay(flashfftconv=False),
        "reverb": peers.STFTMaskedNoiseReverb(ir_len=RESPONSE, flashfftconv=False),
    }


class OneTap(nn.Module):
    """grafx's delay with one uncoloured tap for both channels, blended with its input."""

    def __init__(self) -> None:
        super().__init__()
        options = {"num_segments": 1, "zp_filter_per_tap": False, "flashfftconv": False, "processor_channel": "mono"}
        self.blend = peers.DryWet(peers.MultitapDelay(segment_len=LONGEST, **options), external_param=False)

    def forward(self, x: Tensor, drywet_weight: Tensor, delay_z: Tensor) -> Tensor:
        y, _ = self.blend(x, drywet_weight, delay_z=delay_z)
        return y


def like_ours() -> dict[str, nn.Module]:
    """grafx's processors that do what ours do, as near as there are any."""
    reverb = peers.STFTMaskedNoiseReverb(ir_len=RESPONSE, flashfftconv=False)
    return own_processors() | {
        "eq": peers.ParametricEqualizer(num_filters=6, backend="lfilter"),
        "delay": OneTap(),
        "reverb": peers.DryWet(reverb, external_param=False),
    }


def grafx_values(nodes: int, generator: torch.Generator) -> dict[str, Values]:
    """The values of `settings` in grafx's units, for `like_ours`."""
    values = settings(nodes, generator)
    angle = -2 * math.pi * (values["delay"]["delay_seconds"] * SAMPLE_RATE).floor() / LONGEST
    width = BalanceWidth(SAMPLE_RATE).gains(**values["gain"], width=torch.ones(nodes)).diagonal(dim1=-2, dim2=-1)
    bins = torch.full((nodes, 2, 193), -1.0)
    return {
        "eq": grafx_eq(values["eq"], SAMPLE_RATE),
        "compressor": grafx_dynamics(values["compressor"], SAMPLE_RATE),
        "gate": grafx_dynamics(values["gate"], SAMPLE_RATE, gate=True),
        "imager": {"log_gain": values["imager"]["width"][:, None].log()},
        "gain": {"log_gain": width.log()},
        "delay": {
            "delay_z": 4 * torch.stack([angle.cos(), angle.sin()], -1)[:, None],
            "drywet_weight": values["delay"]["mix"],
        },
        "reverb": {
            "init_log_magnitude": bins,
            "delta_log_magnitude": bins.clone(),
            "drywet_weight": values["reverb"]["mix"],
        },
    }


def own_values(processors: Mapping[str, Any], nodes: int, generator: torch.Generator) -> dict[str, Values]:
    """The values that grafx-prune begins with: near zero in grafx's units."""

    def small(size: Any) -> Tensor:
        return 0.01 * torch.randn(nodes, *(size if isinstance(size, tuple) else (size,)), generator=generator)

    return {stage: {n: small(s) for n, s in p.parameter_size().items()} for stage, p in processors.items()}


def grafx_full(x: Tensor, groups: int, seed: int, own: bool = False, exact: bool = True) -> Rendering:
    """grafx's console on tracks x (N, 2, T): with its ``own`` processors, or `like_ours`."""
    generator = torch.Generator().manual_seed(seed)
    tracks, strips = len(x), len(x) + groups
    processors = own_processors() if own else like_ours()
    graph = GRAFX(config=NodeConfigs(list(KINDS)))

    def chained(source: int) -> int:
        for kind in KINDS:
            node = graph.add(kind)
            graph.connect(source, node)
            source = node
        return source

    inputs = [graph.add("in") for _ in range(tracks)]
    ends = [chained(node) for node in inputs]
    sums = [graph.add("mix") for _ in range(groups)]
    for number, end in enumerate(ends):
        graph.connect(end, sums[number * groups // tracks])
    out = graph.add("out")
    for node in sums:
        graph.connect(chained(node), out)
    plan = prepare_render(convert_to_tensor(reorder_for_fast_render(graph, method="beam")))
    values = own_values(processors, strips, generator) if own else grafx_values(strips, generator)
    parameters = {stage: leaves(part) for stage, part in values.items()}
    audio = x.clone().requires_grad_()

    def run() -> tuple[Tensor, list[Tensor]]:
        with exact_convolutions() if exact else ExitStack():
            y, _, _ = render_grafx(processors, audio, parameters, plan, input_signal_grad=torch.is_grad_enabled())
        return y, [audio, *(v for part in parameters.values() for v in part.values())]

    return run


def pairs(x: Tensor, seed: int) -> dict[str, tuple[str, str, Tensor | None, Tensor | None]]:
    """By stage our effect and grafx's by name, and what the two make of audio x (1, 2, T) if they mean alike."""
    values = settings(1, torch.Generator().manual_seed(seed))
    theirs, processors = grafx_values(1, torch.Generator().manual_seed(seed)), like_ours()
    found: dict[str, tuple[str, str, Tensor | None, Tensor | None]] = {}
    for stage, (kind, options) in KINDS.items():
        peer = processors[stage]
        name = {"delay": "MultitapDelay, one tap", "reverb": "STFTMaskedNoiseReverb"}.get(stage, type(peer).__name__)
        if stage == "reverb":
            found[stage] = (kind, name, None, None)
            continue
        effect = make(kind, options, {}, SAMPLE_RATE, precision="float64")
        unset = {n: torch.full((1,), float(p.default)) for n, p in effect.declared.items()}
        with exact_convolutions(), torch.no_grad():
            found[stage] = (kind, name, effect.process(x, **unset | values[stage]), peer(x, **theirs[stage]))
    return found
