"""Single effects out of other packages, at the settings at which they are right and fastest.

A competitor is a pair of functions of the audio (B, C, T): ``forward`` gives the output of each item without a graph,
``both`` the gradients to the audio and to every setting, for a given gradient of the output. Packages that are not
installed, or do not run, are named with the reason.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pedalboard
import scipy.signal
import torch
from torch import Tensor

from benchmarks.peers import (
    BANDS,
    SAMPLE_RATE,
    GrafxCompressor,
    ParametricEqualizer,
    STFTMaskedNoiseReverb,
    Values,
    dasp_compressor,
    dasp_eq,
    dasp_reverb,
    grafx_compressor,
    grafx_eq,
    leaves,
)
from diffmix.export import standalone
from diffmix.export.preset import entry
from diffmix.kernels import biquad
from diffmix.processors import Processor

Gradients = dict[str, np.ndarray]


@dataclass(frozen=True)
class Competitor:
    """An effect set up for one signal; ``both`` is None where there is no gradient."""

    forward: Callable[[], Sequence[np.ndarray]]
    both: Callable[[], Gradients] | None = None


def differentiable(effect: Callable[[Tensor, Values], Tensor], x: Tensor, values: Values, w: Tensor) -> Competitor:
    """A competitor in torch; w (B, C, T) is the gradient of the output."""

    def forward() -> np.ndarray:
        with torch.no_grad():
            return effect(x, values).numpy()

    def both() -> Gradients:
        tensors = {"x": x.detach().requires_grad_(), **leaves(values)}
        y = effect(tensors["x"], {n: v for n, v in tensors.items() if n != "x"})
        found = torch.autograd.grad(y, list(tensors.values()), w.expand_as(y), allow_unused=True)
        return {n: g.numpy() for n, g in zip(tensors, found, strict=True) if g is not None}

    return Competitor(forward, both)


def ours(effect: Processor, x: Tensor, values: Values, w: Tensor) -> Competitor:
    """One of this project's effects."""
    return differentiable(lambda audio, v: effect.process(audio, **v), x, values, w)


def pedalboards(effect: Processor, x: Tensor, values: Values) -> Competitor:
    """Pedalboard's plugins for each item in turn; reset, since the next call shall not hear the last one."""
    numbers = [{n: v[i].item() for n, v in values.items()} for i in range(len(x))]
    boards = [
        pedalboard.Pedalboard([standalone.live(entry(*plugin), SAMPLE_RATE) for plugin in effect.plugins(v)])
        for v in numbers
    ]
    audio = x.numpy()
    return Competitor(lambda: [b(a, SAMPLE_RATE) for b, a in zip(boards, audio, strict=True)])


def sections(values: Values) -> Tensor:
    """The six bands as sections (B, 6, 5) in the dtype of the values: what packages without a design get."""
    designs = {"low_shelf": biquad.low_shelf, "high_shelf": biquad.high_shelf}
    bands = (
        designs.get(band, biquad.peak)(
            *(values[f"{band}_{n}"] for n in ("cutoff_frequency_hz", "gain_db", "q")), SAMPLE_RATE
        )
        for band in BANDS
    )
    return torch.stack(list(bands), 1).to(values["peak1_q"].dtype)


def through_torchaudio(x: Tensor, values: Values) -> Tensor:
    """torchaudio's lfilter, a section at a time, in the dtype of x."""
    from torchaudio.functional import lfilter

    sos = sections(values)
    rows = x
    for k in range(sos.shape[1]):
        b, a = sos[:, k, :3], torch.cat([torch.ones_like(sos[:, k, :1]), sos[:, k, 3:]], -1)
        # lfilter pairs filters with the dimension before time: items as filters, channels in front
        rows = lfilter(rows.transpose(0, 1), a, b, clamp=False, batching=True).transpose(0, 1)
    return rows


def through_torchlpc(x: Tensor, values: Values) -> Tensor:
    """torchlpc's all-pole recursion behind the zeros of each section."""
    from torchlpc import sample_wise_lpc

    sos, (items, channels, samples) = sections(values).repeat_interleave(x.shape[1], 0), x.shape
    y = x.reshape(-1, samples)
    for b0, b1, b2, a1, a2 in (section.split(1, -1) for section in sos.unbind(1)):
        padded = torch.nn.functional.pad(y, (2, 0))
        y = b0 * padded[:, 2:] + b1 * padded[:, 1:-1] + b2 * padded[:, :-2]
        y = sample_wise_lpc(y, torch.cat([a1, a2], -1)[:, None].expand(-1, samples, -1))
    return y.view(items, channels, samples)


def through_fluxion(x: Tensor, values: Values) -> Tensor:
    """fluxion-dsp's cascade, which takes one channel a call."""
    from fluxion.torch import sos_filter

    sos = sections(values).flatten(1)
    return torch.stack(
        [torch.stack([sos_filter(channel, c) for channel in item]) for item, c in zip(x, sos, strict=True)]
    )


def through_difffx_eq(x: Tensor, values: Values) -> Tensor:
    """difffx-pytorch's parametric equaliser with four peaks."""
    from diffFx_pytorch.processors.eq import ParametricEqualizer as Equalizer

    names = {"low_shelf": "low_shelf", "high_shelf": "high_shelf", **{f"peak{n}": f"peak_{n}" for n in range(1, 5)}}
    terms = {"cutoff_frequency_hz": "frequency", "gain_db": "gain_db", "q": "q_factor"}
    knobs = {f"{names[b]}_{terms[n]}": values[f"{b}_{n}"] for b in BANDS for n in terms}
    return Equalizer(SAMPLE_RATE, num_peak_filters=4).process(x, dsp_params=knobs)


def torchfx_eq(x: Tensor, values: Values) -> Competitor:
    """torchfx's fused cascade of the first item's filters: one set for all rows, no gradient; it doubles every gain."""
    from torchfx.filter import FusedSOSCascade, HiShelving, LoShelving, ParametricEQ

    def made(band: str) -> Any:
        cutoff, q, gain = (values[f"{band}_{n}"][0].item() for n in ("cutoff_frequency_hz", "q", "gain_db"))
        if band.startswith("peak"):
            return ParametricEQ(cutoff, q, gain / 2, fs=SAMPLE_RATE)
        return (LoShelving if band == "low_shelf" else HiShelving)(cutoff, q, gain / 2, "db", fs=SAMPLE_RATE)

    cascade = FusedSOSCascade(*map(made, BANDS))
    return Competitor(lambda: cascade(x.flatten(0, 1)).reshape(x.shape).numpy())


def faustax_eq(x: Tensor, values: Values, w: Tensor) -> Competitor:
    """faustax's lfilter with its own gradient, six times over all rows; compiled by XLA before it is timed."""
    import jax
    from faustax.ops import lfilter

    def filtered(row: Any, sos: Any) -> Any:
        for k in range(len(BANDS)):
            row = lfilter(sos[k, :3], sos[k, 3:], row)
        return row

    run = jax.vmap(filtered)
    forward = jax.jit(run)
    both = jax.jit(lambda rows, sos, weight: jax.vjp(run, rows, sos)[1](weight))
    rows, weight = (t.reshape(-1, t.shape[-1]).numpy() for t in (x, w))

    def designed() -> Any:
        with torch.no_grad():
            return sections(values).repeat_interleave(x.shape[1], 0).numpy()

    def gradients() -> Gradients:
        tensors = leaves(values)
        sos = sections(tensors).repeat_interleave(x.shape[1], 0)
        gx, gs = both(rows, sos.detach().numpy(), weight)
        found = torch.autograd.grad(sos, list(tensors.values()), torch.from_numpy(np.array(gs)))
        return {"x": np.array(gx).reshape(x.shape), **{n: g.numpy() for n, g in zip(tensors, found, strict=True)}}

    return Competitor(lambda: np.array(forward(rows, designed())).reshape(x.shape), gradients)


def through_torchcomp(x: Tensor, values: Values) -> Tensor:
    """torchcomp: the gain, not the level, is smoothed; every channel on its own."""
    from torchcomp import compexp_gain, ms2coef

    level = x.abs().flatten(0, 1).clamp_min(1e-6)
    v = {n: t.repeat_interleave(x.shape[1]) for n, t in values.items()}
    at, rt = (ms2coef(v[n], SAMPLE_RATE) for n in ("attack_ms", "release_ms"))
    gain = compexp_gain(level, v["threshold_db"], v["ratio"], -120.0, 0.5, at, rt)
    return x * gain.view(x.shape)


def through_difffx_compressor(x: Tensor, values: Values) -> Tensor:
    """difffx-pytorch: gain in dB smoothed, the signed mean of the channels as side-chain."""
    from diffFx_pytorch.processors.dynamics import Compressor

    zero = torch.zeros_like(values["ratio"])
    return Compressor(SAMPLE_RATE).process(x, dsp_params={**values, "knee_db": zero + 1e-3, "makeup_db": zero})


def faustax_compressor(x: Tensor, values: Values, w: Tensor) -> Competitor:
    """faustax's compexp_gain with its own gradient over all rows; compiled by XLA before it is timed."""
    import jax
    from faustax.dynamics import compexp_gain, ms2coef
    from jax import numpy as jnp

    def compressed(row: Any, threshold: Any, ratio: Any, attack: Any, release: Any) -> Any:
        times = ms2coef(attack, SAMPLE_RATE), ms2coef(release, SAMPLE_RATE)
        return row * compexp_gain(jnp.maximum(abs(row), 1e-6), threshold, ratio, -120.0, 0.5, *times)

    run = jax.vmap(compressed)
    forward = jax.jit(run)
    both = jax.jit(lambda rows, *v: jax.vjp(run, rows, *v[:-1])[1](v[-1]))
    rows, weight = (t.reshape(-1, t.shape[-1]).numpy() for t in (x, w))
    knobs = [v.repeat_interleave(x.shape[1]).numpy() for v in values.values()]

    def gradients() -> Gradients:
        found = both(rows, *knobs, weight)
        return {n: np.array(g) for n, g in zip(("x", *values), found, strict=True)}

    return Competitor(lambda: np.array(forward(rows, *knobs)).reshape(x.shape), gradients)


def scipys(x: Tensor, values: Values, dtype: Any) -> Competitor:
    """SciPy's sosfilt in a dtype: the reference in float64."""
    exact = sections({n: v.double() for n, v in values.items()})
    sos = np.insert(exact.numpy(), 3, 1.0, axis=-1).astype(dtype)
    audio = x.numpy().astype(dtype)
    return Competitor(lambda: np.stack([scipy.signal.sosfilt(s, a) for s, a in zip(sos, audio, strict=True)]))


def available(makers: Mapping[str, Callable[[], Competitor]]) -> tuple[dict[str, Competitor], list[str]]:
    """The competitors that run on this machine, and a sentence about each that does not."""
    found, missing = {}, []
    for name, make in makers.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                competitor = make()
                competitor.forward()
            found[name] = competitor
        except ImportError as error:
            missing.append(f"{name} is not installed here ({error}).")
        except RuntimeError as error:
            missing.append(f"{name} does not run here: {str(error).splitlines()[0]}.")
    return found, missing


def equalizers(effect: Processor, x: Tensor, values: Values, w: Tensor) -> dict[str, Callable[[], Competitor]]:
    """All six-band equalisers, ours first."""

    def grafx(kind: str) -> Callable[[], Competitor]:
        peer = ParametricEqualizer(num_filters=6, backend=kind, flashfftconv=False)
        return lambda: differentiable(lambda a, v: peer(a, **grafx_eq(v)), x, values, w)

    def torched(function: Callable[[Tensor, Values], Tensor]) -> Callable[[], Competitor]:
        return lambda: differentiable(function, x, values, w)

    return {
        "diffmix (Pedalboard's float32)": lambda: ours(effect, x, values, w),
        "diffmix, float64": lambda: ours(type(effect)(SAMPLE_RATE, precision="float64"), x, values, w),
        "Pedalboard, six plugins": lambda: pedalboards(effect, x, values),
        "SciPy sosfilt, float64": lambda: scipys(x, values, np.float64),
        "SciPy sosfilt, float32": lambda: scipys(x, values, np.float32),
        "torchaudio lfilter": torched(through_torchaudio),
        "torchlpc": torched(through_torchlpc),
        "fluxion-dsp": torched(through_fluxion),
        "difffx-pytorch": torched(through_difffx_eq),
        "grafx, lfilter": grafx("lfilter"),
        "dasp-pytorch": torched(dasp_eq),
        "faustax.ops": lambda: faustax_eq(x, values, w),
        "torchfx": lambda: torchfx_eq(x, values),
    }


def compressors(effect: Processor, x: Tensor, values: Values, w: Tensor) -> dict[str, Callable[[], Competitor]]:
    """All compressors, ours first."""
    grafx = GrafxCompressor(energy_smoother="ballistics", knee="hard", flashfftconv=False)
    knee, makeup = torch.full((len(x),), 1e-3), torch.zeros(len(x))

    def torched(function: Callable[[Tensor, Values], Tensor]) -> Callable[[], Competitor]:
        return lambda: differentiable(function, x, values, w)

    return {
        "diffmix": lambda: ours(effect, x, values, w),
        "Pedalboard": lambda: pedalboards(effect, x, values),
        "torchcomp": torched(through_torchcomp),
        "difffx-pytorch": torched(through_difffx_compressor),
        "grafx, ballistics": torched(lambda a, v: grafx(a, **grafx_compressor(v))),
        "faustax.dynamics": lambda: faustax_compressor(x, values, w),
        "dasp-pytorch (one time constant)": torched(lambda a, v: dasp_compressor(a, v, knee, makeup)),
    }


def reverbs(effect: Processor, x: Tensor, values: Values, w: Tensor) -> dict[str, Callable[[], Competitor]]:
    """Reverbs, ours first; only Pedalboard's is the same algorithm."""
    grafx = STFTMaskedNoiseReverb(flashfftconv=False)
    masks = {n: torch.full((len(x), 2, grafx.num_bins), -1.0) for n in ("init_log_magnitude", "delta_log_magnitude")}
    bands = {f"band{n}_{kind}": torch.full((len(x), 1), 0.5) for n in range(12) for kind in ("gain", "decay")}
    return {
        "diffmix Freeverb": lambda: ours(effect, x, values, w),
        "Pedalboard Freeverb": lambda: pedalboards(effect, x, values),
        "grafx, noise masked in the STFT": lambda: differentiable(lambda a, v: grafx(a, **v), x, masks, w),
        "dasp-pytorch, shaped noise by FFT": lambda: differentiable(dasp_reverb, x, bands, w),
    }
