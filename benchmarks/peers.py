"""The same console out of dasp-pytorch's functions and as a grafx graph, and settings in their units."""

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from diffmix.processors import ParametricEQ

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # grafx and torchcomp import deprecated parts of torch
    import dasp_pytorch.functional as dasp
    from grafx.data import GRAFX, NodeConfigs, convert_to_tensor
    from grafx.processors import Compressor as GrafxCompressor
    from grafx.processors import ParametricEqualizer, StereoGain, STFTMaskedNoiseReverb
    from grafx.render import prepare_render, render_grafx, reorder_for_fast_render

SAMPLE_RATE = 44100
TRACKS = 16
BANDS = ParametricEQ.BANDS
Values = dict[str, Tensor]
Rendering = Callable[[], tuple[Tensor, list[Tensor]]]


def eq_values(items: int, generator: torch.Generator) -> Values:
    """Physical values (items,) of the EQ, each band in its own region, gains within 9 dB."""
    centre = dict(zip(BANDS, (90.0, 180.0, 500.0, 1500.0, 4000.0, 9000.0), strict=True))

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(items, generator=generator)

    values = {}
    for band in BANDS:
        values[f"{band}_cutoff_frequency_hz"] = centre[band] * uniform(0.8, 1.25)
        values[f"{band}_gain_db"] = uniform(-9, 9)
        values[f"{band}_q"] = uniform(0.5, 1.4)
    return values


def compressor_values(items: int, generator: torch.Generator) -> Values:
    """Physical values (items,): threshold -30..-12 dB, ratio 2..6, attack 5..30 ms, release 50..200 ms."""
    limits = {"threshold_db": (-30, -12), "ratio": (2, 6), "attack_ms": (5, 30), "release_ms": (50, 200)}
    return {n: low + (high - low) * torch.rand(items, generator=generator) for n, (low, high) in limits.items()}


def leaves(values: Mapping[str, Tensor]) -> Values:
    """Fresh tensors that ask for a gradient."""
    return {name: v.clone().requires_grad_() for name, v in values.items()}


class _FftForVmap:
    """torch, but for the ``vmap`` of a 65 536-tap direct convolution, which becomes the same one by FFT."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    @staticmethod
    def vmap(_: object, in_dims: int) -> Callable[[Tensor, Tensor], Tensor]:
        def correlate(x: Tensor, taps: Tensor) -> Tensor:
            n, size = taps.shape[-1], x.shape[-1] + taps.shape[-1] - 1
            full = torch.fft.irfft(torch.fft.rfft(x, size) * torch.fft.rfft(taps.squeeze(-2).flip(-1), size), size)
            return full[..., n - 1 : x.shape[-1]]

        return correlate


def dasp_eq(x: Tensor, values: Values) -> Tensor:
    """Audio (B, C, T) through dasp-pytorch's parametric EQ with our values, each (B,)."""
    ordered = (values[f"{band}_{name}"] for band in BANDS for name in ("gain_db", "cutoff_frequency_hz", "q"))
    return dasp.parametric_eq(x, SAMPLE_RATE, *ordered)


def dasp_compressor(x: Tensor, values: Values, knee_db: Tensor, makeup_db: Tensor) -> Tensor:
    """Audio (B, C, T) through dasp-pytorch's compressor with our values, each (B,)."""
    knobs = (values[name] for name in ("threshold_db", "ratio", "attack_ms", "release_ms"))
    return dasp.compressor(x, SAMPLE_RATE, *knobs, knee_db, makeup_db)


def dasp_reverb(x: Tensor, values: Values) -> Tensor:
    """Audio (B, 2, T) through dasp-pytorch's noise reverb, its convolution by FFT; bands and mix (B, 1) each."""
    mix = values.get("mix", torch.ones(len(x), 1))
    bands = {n: v for n, v in values.items() if n != "mix"}
    with mock.patch.object(dasp, "torch", _FftForVmap()):
        return dasp.noise_shaped_reverberation(x, SAMPLE_RATE, **bands, mix=mix)


def dasp_console(x: Tensor, seed: int) -> Rendering:
    """dasp-pytorch's functions; stereo tracks take gains as placement, since its panner takes mono only."""
    generator = torch.Generator().manual_seed(seed)
    eq, compressor = leaves(eq_values(TRACKS, generator)), leaves(compressor_values(TRACKS, generator))
    master_eq, master_compressor = leaves(eq_values(1, generator)), leaves(compressor_values(1, generator))
    gain_db, knee_db, makeup_db = (leaves({"": torch.full((TRACKS,), v)})[""] for v in (0.0, 1.0, 0.0))
    pan = torch.full((1, TRACKS), 0.5).requires_grad_()
    send_db = torch.full((1, TRACKS, 1), -12.0).requires_grad_()
    bands = {
        f"band{n}_{kind}": torch.full((1, 1), 0.5).requires_grad_() for n in range(12) for kind in ("gain", "decay")
    }
    mix = torch.ones(1, 1).requires_grad_()
    tracks = x.clone().requires_grad_()

    def compress(y: Tensor, v: Values) -> Tensor:
        return dasp_compressor(y, v, knee_db[: len(y)], makeup_db[: len(y)])

    def run() -> tuple[Tensor, list[Tensor]]:
        y = compress(dasp_eq(dasp.gain(tracks, SAMPLE_RATE, gain_db), eq), compressor)
        if y.shape[1] == 1:
            y = dasp.stereo_panner(y.transpose(0, 1), SAMPLE_RATE, pan)
        else:
            angle = pan[0] * math.pi / 2
            y = (y * torch.stack([angle.cos(), angle.sin()], -1)[..., None]).transpose(0, 1)[None]
        wet = dasp_reverb(dasp.stereo_bus(y, SAMPLE_RATE, send_db), {**bands, "mix": mix})
        mixed = compress(dasp_eq(y.sum(2) + wet, master_eq), master_compressor)
        knobs = [v for part in (eq, compressor, master_eq, master_compressor, bands) for v in part.values()]
        return mixed, [tracks, gain_db, knee_db, makeup_db, pan, send_db, mix, *knobs]

    return run


def grafx_eq(values: Values, sample_rate: float = SAMPLE_RATE) -> Values:
    """Our units to grafx's unconstrained ones, (B, 1, 6) each."""

    def stacked(name: str) -> Tensor:
        return torch.stack([values[f"{band}_{name}"] for band in BANDS], -1)[:, None]

    return {
        "w0": torch.logit(stacked("cutoff_frequency_hz") / (sample_rate / 2)),
        "q_inv": -torch.log(stacked("q")),
        "log_gain": stacked("gain_db") * math.log(10) / 40,
    }


def grafx_compressor(values: Values) -> Values:
    """Our units to grafx's, (B, 1) or (B, 2) each, so that it starts at the threshold and settles at the ratio.

    It lowers the threshold, a log energy, by a constant 6; and it applies to the amplitude a gain meant for the energy,
    which doubles the slope: 2 (1 - 1/R') = 1 - 1/R gives R' = 2R / (R + 1).
    """
    times_ms = torch.stack([values["attack_ms"], values["release_ms"]], -1)
    ratio = 2 * values["ratio"] / (values["ratio"] + 1)
    return {
        "log_threshold": values["threshold_db"][:, None] * math.log(10) / 10 + 6,
        "log_ratio": torch.log(ratio - 1)[:, None],
        "z_alpha_pre": torch.logit(1 - torch.exp(-1000 / (SAMPLE_RATE * times_ms))),
    }


def grafx_dynamics(values: Values, sample_rate: float, gate: bool = False) -> Values:
    """As `grafx_compressor`, for a compressor or a gate with a quadratic knee and one time, of the attack.

    A gate's slope is doubled too: 2 (R' - 1) = R - 1.
    """
    ratio = values["ratio"]
    memory = torch.exp(-1000 / (sample_rate * values["attack_ms"]))
    return {
        "log_threshold": values["threshold_db"][:, None] * math.log(10) / 10 + 6,
        "log_ratio": torch.log((ratio - 1) / 2 if gate else (ratio - 1) / (ratio + 1))[:, None],
        "log_knee": torch.log(values["knee_db"] * math.log(10) / 10)[:, None],
        "z_alpha_pre": torch.logit(memory)[:, None],
    }


def grafx_processors() -> dict[str, torch.nn.Module]:
    """Exact filters and ballistics: the settings at which grafx is right where it can be."""
    return {
        "eq": ParametricEqualizer(num_filters=6, backend="lfilter"),
        "compressor": GrafxCompressor(energy_smoother="ballistics", knee="hard", flashfftconv=False),
        "place": StereoGain(),
        "send": StereoGain(),
        "reverb": STFTMaskedNoiseReverb(flashfftconv=False),
    }


def grafx_console(x: Tensor, seed: int) -> Rendering:
    """grafx's graph renderer; all its nodes are stereo, since one render has one channel count."""
    generator = torch.Generator().manual_seed(seed)
    processors = grafx_processors()
    graph = GRAFX(config=NodeConfigs(list(processors)))

    def chained(source: int, kinds: list[str]) -> int:
        for kind in kinds:
            node = graph.add(kind)
            graph.connect(source, node)
            source = node
        return source

    inputs = [graph.add("in") for _ in range(TRACKS)]
    placed = [chained(node, ["eq", "compressor", "place"]) for node in inputs]
    sum_node, send_sum = graph.add("mix"), graph.add("mix")
    for node in placed:
        graph.connect(node, sum_node)
        graph.connect(chained(node, ["send"]), send_sum)
    graph.connect(chained(send_sum, ["reverb"]), sum_node)
    graph.connect(chained(sum_node, ["eq", "compressor"]), graph.add("out"))
    plan = prepare_render(convert_to_tensor(reorder_for_fast_render(graph, method="beam")))
    bins = processors["reverb"].num_bins
    parameters = {
        "eq": leaves(grafx_eq(eq_values(TRACKS + 1, generator))),
        "compressor": leaves(grafx_compressor(compressor_values(TRACKS + 1, generator))),
        "place": leaves({"log_gain": torch.full((TRACKS, 2), -0.35)}),
        "send": leaves({"log_gain": torch.full((TRACKS, 2), -1.4)}),
        "reverb": leaves({n: torch.full((1, 2, bins), -1.0) for n in ("init_log_magnitude", "delta_log_magnitude")}),
    }
    tracks = x.clone().requires_grad_()
    knobs = [v for part in parameters.values() for v in part.values()]

    def run() -> tuple[Tensor, list[Tensor]]:
        y, _, _ = render_grafx(processors, tracks, parameters, plan, input_signal_grad=torch.is_grad_enabled())
        return y, [tracks, *knobs]

    return run
