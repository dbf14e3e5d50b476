"""Vocal presets of DiffVox (C.-Y. Yu et al., 2025; MIT) as chains of effects.

They are published as a folder with ``raw_params.npy``, one row per preset, and ``info.json``, which names its columns;
one's own fits may be kept as the named tensors of a run in ``.safetensors``, ``.npz`` or ``.json``. Pickled
checkpoints are not read; with ``load`` from torch and ``save_file`` from safetensors.torch, one is made readable by

    save_file(load("checkpoint.ckpt", map_location="cpu", weights_only=True)["best_model"], "run.safetensors")

The layout and the ranges are those of the published ``fx_config.yaml``, at 44.1 kHz:

    two bells, two shelves, low-pass, high-pass -> compressor and expander -+-> pan ----------------+-> sum
                                                                            +-> ping-pong delay -+--+
                                                                            +-> network reverb <-+  |
                                                                                       +------------+
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffmix.errors import PresetError, about
from diffmix.kernels import biquad
from diffmix.kernels.convolution import normalisation
from diffmix.processors import (
    Chain,
    Compander,
    Convolution,
    Gain,
    HighShelfFilter,
    LowShelfFilter,
    Mix,
    Pan,
    PeakFilter,
    ResonantFilter,
)
from diffmix.types import Path

SAMPLE_RATE = 44100
DELAYS = (997, 1153, 1327, 1559, 1801, 2099)
"""Of the reverb's network, in samples."""

_BOTH_SIDES_DB = 20 * math.log10(math.sqrt(2))  # DiffVox's pan leaves the level as it is in the centre
_SHELF_Q = 0.707
_DECAY_S = 9.0  # to -60 dB, the longest of its reverb
_ECHOES_S = 4.0  # its delay renders the echoes that fit into this
_INSIDE = 1e-9, 1 - 1e-9  # of the ranges, at whose ends times and ratios are infinite
_LONGEST = 2**20  # samples of a response before it is cut: 24 s, so that nothing that matters wraps around


@dataclass(frozen=True)
class DiffVoxPreset:
    """A preset: ``chain(x, chain.spec.normalize(values)[None])`` takes mono x (1, 1, T) at 44.1 kHz to stereo.

    ``values`` are those of the chain by dotted name. ``parameters`` are DiffVox's own, in physical units; ``notes``
    name what sounds otherwise than there.
    """

    chain: Chain
    values: dict[str, float]
    parameters: dict[str, Any]
    notes: tuple[str, ...]


@about("path")
def read(path: Path, index: int = 0) -> DiffVoxPreset:
    """Read preset ``index`` of a published folder, or the named tensors of one file.

    All of it is DiffVox's to the precision of float32, but for what ``notes`` say: delay, reverb and the send between
    them are linear, so that together they are one impulse response, cut 80 dB below its energy.

    Raises PresetError if a file is missing, pickled or of another layout.
    """
    tensors = _tensors(FilePath(path), index)
    p = _parameters(tensors)
    notes = []
    response = _response(p)
    factor = normalisation(response[None].float()).item()
    d = p["dynamics"]

    chain = Chain(
        peak1=PeakFilter(SAMPLE_RATE),
        peak2=PeakFilter(SAMPLE_RATE),
        low_shelf=LowShelfFilter(SAMPLE_RATE),
        high_shelf=HighShelfFilter(SAMPLE_RATE),
        lowpass=ResonantFilter(SAMPLE_RATE, kind="lowpass"),
        highpass=ResonantFilter(SAMPLE_RATE, kind="highpass"),
        dynamics=Compander(SAMPLE_RATE, link=False, lookahead_ms=d["lookahead_ms"]),
        makeup=Gain(SAMPLE_RATE),
        out=Mix(
            direct=Chain(pan=Pan(SAMPLE_RATE), level=Gain(SAMPLE_RATE)),
            sends=Chain(
                pan=Pan(SAMPLE_RATE),
                room=Convolution(SAMPLE_RATE, impulse_response=response.float().numpy()),
                level=Gain(SAMPLE_RATE),
            ),
        ),
    )
    found = {f"{name}.{key}": value for name in ("peak1", "peak2") for key, value in _band(p[name]).items()}
    found |= {f"{name}.{key}": value for name in ("low_shelf", "high_shelf") for key, value in _band(p[name]).items()}
    for name in ("lowpass", "highpass"):
        found |= {f"{name}.cutoff_frequency_hz": p[name]["freq_hz"], f"{name}.q": p[name]["q"]}
    found |= {
        "dynamics.threshold_db": d["cmp_th_db"],
        "dynamics.ratio": d["cmp_ratio"],
        "dynamics.expander_threshold_db": d["exp_th_db"],
        "dynamics.expander_ratio": 1 / d["exp_ratio"],
        "dynamics.average_ms": -1000 / (SAMPLE_RATE * math.log1p(-d["avg_coef"])),
        "dynamics.attack_ms": d["attack_ms"] / 2.2,  # there a time is that from 10 to 90 percent
        "dynamics.release_ms": d["release_ms"] / 2.2,
        "makeup.gain_db": d["make_up_db"],
        "out.direct.pan.pan": 2 * p["pan"] - 1,
        "out.direct.level.gain_db": _BOTH_SIDES_DB,
        "out.sends.pan.pan": 0.0,
        "out.sends.room.mix": 1.0,
        "out.sends.level.gain_db": _BOTH_SIDES_DB - 20 * math.log10(factor),
    }
    values = {}
    for name, param in chain.spec:
        values[name] = param.nearest(found[name])
        if abs(values[name] - found[name]) > 1e-6 * max(1, abs(found[name])):
            notes.append(f"{name} is {values[name]:g} {param.unit} instead of {found[name]:g} {param.unit}")
    return DiffVoxPreset(chain, values, p, tuple(notes))


def _band(p: Mapping[str, float]) -> dict[str, float]:
    return {"cutoff_frequency_hz": p["freq_hz"], "gain_db": p["gain_db"], "q": p.get("q", _SHELF_Q)}


def _tensors(path: FilePath, index: int) -> dict[str, Tensor]:
    """The named raw tensors of a preset, float64."""
    try:
        if path.is_dir():
            about = json.loads((path / "info.json").read_text(encoding="utf-8"))
            rows = np.load(path / "raw_params.npy", allow_pickle=False)
            names, shapes = about["params_keys"], [tuple(shape) for shape in about["params_original_shapes"]]
            if rows.ndim != 2 or sum(math.prod(s) for s in shapes) != rows.shape[1] or len(names) != len(shapes):
                raise PresetError(f"{path}: raw_params.npy has shape {rows.shape}, which does not fit info.json")
            if not 0 <= index < len(rows):
                raise PresetError(f"{path}: has presets 0 to {len(rows) - 1}, not {index}")
            parts = torch.from_numpy(rows[index].astype(np.float64)).split([math.prod(s) for s in shapes])
            return {name: part.reshape(shape) for name, part, shape in zip(names, parts, shapes, strict=True)}
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return {name: value.double() for name, value in load_file(path).items()}
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return {name: torch.from_numpy(arrays[name].astype(np.float64)) for name in arrays}
        if path.suffix == ".json":
            data = json.loads(path.read_text(encoding="utf-8"))
            return {name: torch.tensor(value, dtype=torch.float64) for name, value in data.items()}
    except PresetError:
        raise
    except Exception as error:  # of json, NumPy and safetensors, each with errors of its own
        raise PresetError(f"{path}: cannot be read as a DiffVox preset ({error})") from None
    raise PresetError(
        f"{path}: is no DiffVox preset that is read; those are a folder with raw_params.npy and info.json, or named "
        "tensors in .safetensors, .npz or .json (a pickled checkpoint can be saved as one of these)"
    )


def _parameters(raw: Mapping[str, Tensor]) -> dict[str, Any]:
    """DiffVox's parameters in physical units, from the unbounded ones that it learns."""

    def get(name: str) -> Tensor:
        module, _, key = name.rpartition(".")
        for full in (f"{module}.params.{key}", f"{module}.params.parametrizations.{key}.original"):
            if full in raw:
                return raw[full]
        raise PresetError(f"a DiffVox preset needs the tensor {module}.params.{key}; there are: {', '.join(raw)}")

    def array(name: str, shape: tuple[int, ...] | None = None) -> Tensor:
        value = get(name)
        if not value.numel() or not value.isfinite().all() or shape not in (None, value.shape):
            allowed = "one number or more" if shape is None else f"{shape} numbers"
            raise PresetError(f"a DiffVox preset has {allowed} in {name}, all finite; got {value.flatten().tolist()}")
        return value

    def number(name: str, low: float | None = None, high: float | None = None) -> float:
        value = array(name).reshape(-1)[0]
        return float(value if low is None or high is None else low + (high - low) * value.sigmoid().clamp(*_INSIDE))

    def peak(at: str, low_hz: float, high_hz: float, low_q: float = 0.2, high_q: float = 20) -> dict[str, float]:
        return shelf(at, low_hz, high_hz) | {"q": number(f"{at}.Q", low_q, high_q)}

    def shelf(at: str, low_hz: float, high_hz: float) -> dict[str, float]:
        return {"freq_hz": number(f"{at}.freq", low_hz, high_hz), "gain_db": number(f"{at}.gain")}

    def passing(at: str, low_hz: float, high_hz: float, high_q: float = 10) -> dict[str, float]:
        return {"freq_hz": number(f"{at}.freq", low_hz, high_hz), "q": number(f"{at}.Q", 0.5, high_q)}

    def time_ms(name: str) -> float:
        return -2200 / (SAMPLE_RATE * math.log1p(-number(name, 0, 1)))

    echo, network = "7.effects.0", "7.effects.1"
    lines = len(DELAYS)
    upper = array(f"{network}.U", (lines, lines)).triu(1)
    slowest = 10 ** (-3 * min(DELAYS) / (SAMPLE_RATE * _DECAY_S))
    return {
        "peak1": peak("0", 33, 5400),
        "peak2": peak("1", 200, 17500),
        "low_shelf": shelf("2", 30, 200),
        "high_shelf": shelf("3", 750, 8300),
        "lowpass": passing("4", 200, 18000),
        "highpass": passing("5", 16, 5300),
        "dynamics": {
            "cmp_th_db": number("6.cmp_th"),
            "exp_th_db": number("6.exp_th"),
            "make_up_db": number("6.make_up"),
            "lookahead_ms": abs(number("6.lookahead")) % 15,
            "attack_ms": time_ms("6.at"),
            "release_ms": time_ms("6.rt"),
            "avg_coef": number("6.avg_coef", 0, 1),
            "cmp_ratio": number("6.cmp_ratio", 1, 20),
            "exp_ratio": number("6.exp_ratio", 0, 1),
        },
        "delay": {
            "delay_ms": number(f"{echo}.delay", 100, 1000),
            "feedback": number(f"{echo}.feedback", 0, 1),
            "gain": number(f"{echo}.gain", 0, 1),
            "lowpass": passing(f"{echo}.eq", 200, 16000, 2),
            "odd_pan": number(f"{echo}.odd_pan.pan", 0, 1),
            "even_pan": number(f"{echo}.even_pan.pan", 0, 1),
            "reverb_send": number("7.sends_0", 0, 1),
        },
        "reverb": {
            "in": array(f"{network}.b", (lines, 2)),
            "out": array(f"{network}.c", (2, lines)),
            "decay": slowest * array(f"{network}.gamma").sigmoid().flatten(),
            "feedback": torch.linalg.matrix_exp(upper - upper.T),
            "peak1": peak(f"{network}.eq.0", 200, 2500, 0.1, 3),
            "peak2": peak(f"{network}.eq.1", 600, 7000, 0.1, 3),
            "low_shelf": shelf(f"{network}.eq.2", 30, 450),
            "high_shelf": shelf(f"{network}.eq.3", 1500, 16000),
        },
        "pan": number("7.pan.pan", 0, 1),
    }


def _response(p: Mapping[str, Any]) -> Tensor:
    """Impulse response (2, L) float64 of the delay, the reverb and what one sends to the other, from mono."""
    w = torch.arange(_LONGEST // 2 + 1, dtype=torch.float64) * (2 * math.pi / _LONGEST)

    def filtered(kind: str, band: Mapping[str, float]) -> Tensor:
        f, q = (torch.tensor([v], dtype=torch.float64) for v in (band["freq_hz"], band.get("q", _SHELF_Q)))
        if kind == "lowpass":
            section = biquad.resonant("lowpass", f, q, SAMPLE_RATE)
        else:
            gain = torch.tensor([band["gain_db"]], dtype=torch.float64)
            section = {"peak": biquad.peak, "low": biquad.low_shelf, "high": biquad.high_shelf}[kind](
                f, gain, q, SAMPLE_RATE
            )
        return biquad.frequency_response(section[:, None], w * (SAMPLE_RATE / (2 * math.pi)), SAMPLE_RATE)[0]

    def place(pan: float) -> Tensor:
        return math.sqrt(2) * torch.tensor([math.cos(pan * math.pi / 2), math.sin(pan * math.pi / 2)])[:, None]

    d, r = p["delay"], p["reverb"]
    # echo k = 1, 2 ... is low-passed k times, at feedback^(k - 1); the odd ones and the even ones have their places
    once = filtered("lowpass", d["lowpass"]) * torch.exp(-1j * w * (d["delay_ms"] * SAMPLE_RATE / 1000))
    # as many as DiffVox renders: with a resonant low-pass they may grow, and all of them would have no finite sum
    count = int(SAMPLE_RATE * _ECHOES_S) // int(d["delay_ms"] * SAMPLE_RATE / 1000 + 1)
    again = d["feedback"] * once
    odd, even = (d["gain"] * once * _powers_of(again.square(), (count + 1 - start) // 2) for start in (0, 1))
    echoes = place(d["odd_pan"]) * odd + place(d["even_pan"]) * (again * even)
    # the network: lines s of the delays m with z^m s = A s + b x, A = U diag(decay^(m / shortest)), out c s
    lines = torch.tensor(DELAYS, dtype=torch.float64)
    decay = torch.nn.functional.interpolate(r["decay"][None, None], len(w), mode="linear", align_corners=True)[0, 0]
    sent = 1 + d["reverb_send"] * echoes
    entering = (r["in"].to(torch.complex128) @ sent).T[..., None]
    states = []
    for part in torch.arange(len(w)).split(2**15):  # in pieces: the matrices of all would take 300 MB
        loss = decay[part, None] ** (lines / min(DELAYS))
        matrix = torch.diag_embed(torch.exp(1j * w[part, None] * lines)) - r["feedback"] * loss[:, None]
        states.append(torch.linalg.solve(matrix, entering[part])[..., 0])
    room = r["out"].to(torch.complex128) @ torch.cat(states).T
    for kind, band in (("peak", "peak1"), ("peak", "peak2"), ("low", "low_shelf"), ("high", "high_shelf")):
        room = room * filtered(kind, r[band])
    h = torch.fft.irfft(echoes + room, _LONGEST)
    remaining = h.square().sum(0).flip(0).cumsum(0).flip(0)
    return h[:, : max(64, int((remaining > 1e-8 * remaining[0]).sum()))]


def _powers_of(z: Tensor, count: int) -> Tensor:
    """1 + z + ... + z^(count - 1), by Horner's rule."""
    total = torch.zeros_like(z)
    for _ in range(count):
        total = 1 + z * total
    return total
