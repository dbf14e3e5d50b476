"""The effects of dasp-pytorch, the package many models were trained with, as processors: one adapter for all.

They are for models and comparisons that need those very effects. Their gradients are torch's, through dasp's code. What
is wrong in version 0.0.1 stays as it is, unless it stops an effect from working at all:

- ``compressor``: ``release_ms`` is not used, so that its gradient is zero; a level falls as fast as it rises. Its side
  chain is the sum of the channels: stereo in anti-phase is not compressed, and two equal channels count 6 dB more than
  one. At ``knee_db`` 0, the low end of its range, gradients are NaN.
- ``parametric_eq``: filtered by FFT of the next power of two beyond twice the length; what rings longer wraps around to
  the start. The frequency ranges of its bands are narrow, and two of them depend on the sample rate.
- ``noise_shaped_reverberation``: its noise is drawn anew at each call; here from ``seed``, the same for each item. A
  direct convolution with ``num_samples`` taps (65536) takes minutes on a CPU. The length of a decay is relative to
  ``num_samples``. Mono becomes stereo.
- ``distortion`` accepts mono only; here each channel is one. Its class names its parameter ``gain_db``, its function
  ``drive_db``, which is used here.
- ``stereo_widener`` accepts one item only; here each gets its width.
- ``stereo_panner`` has NaN gradients at both ends of its range.
- ``graphic_eq``, ``advanced_distortion`` and ``expander`` raise NotImplementedError and are not offered.
"""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from diffmix.errors import SettingsError
from diffmix.params import Param, ParamSpec
from diffmix.processors.base import Port, Processor
from diffmix.types import Ranges

# dasp's class with the ranges, where there is one, else the ranges
_RANGES: dict[str, str | dict[str, tuple[float, float]]] = {
    "gain": "Gain",
    "distortion": {"drive_db": (0.0, 24.0)},
    "parametric_eq": "ParametricEQ",
    "compressor": "Compressor",
    "noise_shaped_reverberation": "NoiseShapedReverb",
    "stereo_widener": {"width": (0.0, 1.0)},
    "stereo_panner": {"pan": (0.0, 1.0)},
}
_CHANNELS = {"noise_shaped_reverberation": (None, 2), "stereo_widener": (2, 2), "stereo_panner": (1, 2)}
_DEFAULTS = {
    "q_factor": 0.7071,
    "ratio": 1.0,
    "threshold_db": 0.0,
    "attack_ms": 10.0,
    "release_ms": 100.0,
    "knee_db": 6.0,
    "width": 0.5,
    "pan": 0.5,
    "gain": 0.5,
    "decay": 0.5,
}
"""By the end of a name; dasp declares none. Together they are neutral, but for the panner."""


class Dasp(Processor, abstract=True):
    """One of dasp-pytorch's effects; made by `dasp`."""

    pedalboard = False
    uncarried = "it is dasp-pytorch's effect; use Pedalboard's of the same kind."
    streams = False

    def __init__(self, name: str, sample_rate: float, ranges: Ranges | None, seed: int, options: Mapping[str, Any]):
        super().__init__(sample_rate)
        import dasp_pytorch

        self.effect = name
        self.seed = seed
        self.options = dict(options)
        self.function = getattr(dasp_pytorch.functional, name)
        found = _RANGES[name]
        limits = (
            getattr(dasp_pytorch.modules, found)(int(sample_rate)).param_ranges if isinstance(found, str) else found
        )
        self.spec = ParamSpec({key: _param(key, low, high) for key, (low, high) in limits.items()}).narrowed(
            ranges or {}
        )
        into, out = _CHANNELS.get(name, (None, None))
        self.inlets = (Port("in", into),)  # type: ignore[misc]
        self.outlets = (Port("out", out),)  # type: ignore[misc]

    def process(self, x: Tensor, **values: Tensor) -> Tensor:
        """Audio x (B, C, T); each value (B,). Mono becomes stereo in the panner and the reverberation."""
        if self.effect == "distortion":
            channels = x.reshape(-1, 1, x.shape[-1])
            drive = values["drive_db"].repeat_interleave(x.shape[1])
            return self.function(channels, self.sample_rate, drive, **self.options).reshape(x.shape)
        if self.effect == "stereo_widener":
            return self.function(x, self.sample_rate, values["width"][:, None], **self.options)
        if self.effect == "stereo_panner":
            return self.function(x, self.sample_rate, values["pan"], **self.options)[:, :, 0]
        if self.effect != "noise_shaped_reverberation":
            return self.function(x, self.sample_rate, **values, **self.options)
        items = []
        for i in range(len(x)):  # one by one, so that none hears another's noise
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(self.seed)  # dasp draws on the CPU; those of GPUs stay as they are
                one = {name: value[i : i + 1] for name, value in values.items()}
                items.append(self.function(x[i : i + 1], self.sample_rate, **one, **self.options))
        return torch.cat(items)

    def extra_repr(self) -> str:
        """Which effect."""
        return f"dasp_pytorch.functional.{self.effect}"


def _param(name: str, low: float, high: float) -> Param:
    unit = next((unit for end, unit in (("_db", "dB"), ("_ms", "ms"), ("_freq", "Hz")) if name.endswith(end)), "")
    if unit == "Hz":
        default = (low * high) ** 0.5
    else:
        default = next((value for end, value in _DEFAULTS.items() if name.endswith(end)), 0.0)
    return Param(low, high, min(max(default, low), high), unit)  # linear, as dasp maps its controls


def dasp(
    name: Literal[
        "gain",
        "distortion",
        "parametric_eq",
        "compressor",
        "noise_shaped_reverberation",
        "stereo_widener",
        "stereo_panner",
    ],
    sample_rate: float,
    ranges: Ranges | None = None,
    *,
    seed: int = 0,
    **options: Any,
) -> Dasp:
    """An effect of dasp-pytorch by the name of its function; the module's documentation lists what is wrong with them.

    Its parameters have dasp's names, ranges and linear scales, so that controls in [0, 1] mean what they mean there.

    Args:
        name: the function in ``dasp_pytorch.functional``.
        sample_rate: Hz.
        ranges: narrower ranges by parameter.
        seed: of the reverberation's noise.
        options: further arguments of the function, such as ``lookahead_samples`` or ``num_samples``.

    Raises SettingsError for an unknown name or range.
    """
    if name not in _RANGES:
        raise SettingsError(f"dasp-pytorch has no effect {name!r} that works; there are: {', '.join(_RANGES)}")
    return Dasp(name, sample_rate, ranges, seed, options)
