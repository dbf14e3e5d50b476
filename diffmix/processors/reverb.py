"""Reverberation."""

from typing import Literal

import torch
from torch import Tensor

from diffmix.errors import SettingsError
from diffmix.kernels.convolution import convolve, normalisation
from diffmix.kernels.feedback_delay_network import feedback_delay_network
from diffmix.kernels.noise_reverb import CENTRES_HZ, noise_bands, noise_response
from diffmix.kernels.reverb import freeverb
from diffmix.params import Param
from diffmix.processors.base import Plugin, Processor
from diffmix.processors.convolution import blended, convolution_plugin
from diffmix.types import Numbers, Ranges, Values


class Reverb(Processor):
    """Freeverb (Jezar, 2000; Schroeder-Moorer combs and all-passes). Twin of ``pedalboard.Reverb``.

    ``freeze`` is Pedalboard's ``freeze_mode``: it holds what the tail has and takes no new input, so that from a fresh
    start only the dry signal is left.
    """

    room_size = Param(0, 1, 0.5, "", doc="comb feedback 0.7..0.98")
    damping = Param(0, 1, 0.5, "", doc="loss of highs in the tail")
    wet_level = Param(0, 1, 0.33, "", doc="level of the tail", modulatable=True)
    dry_level = Param(0, 1, 0.4, "", doc="level of the input; 0.5 is unity", modulatable=True)
    width = Param(0, 1, 1, "", doc="0 mono tail, 1 wide; scales the tail of a mono signal", modulatable=True)

    def __init__(
        self,
        sample_rate: float,
        ranges: Ranges | None = None,
        precision: Literal["float32", "float64"] = "float32",
        freeze: bool = False,
    ) -> None:
        super().__init__(sample_rate, ranges, precision)
        self.freeze = freeze

    def process(
        self, x: Tensor, *, room_size: Tensor, damping: Tensor, wet_level: Tensor, dry_level: Tensor, width: Tensor
    ) -> Tensor:
        """Audio x (B, 1 or 2, T); each value (B,), or (B, T) where modulatable."""
        return freeverb(x, room_size, damping, wet_level, dry_level, width, self.sample_rate, self.freeze)

    def plugins(self, values: Numbers) -> list[Plugin]:
        """One ``Reverb``."""
        return [("Reverb", {**values, "freeze_mode": float(self.freeze)})]


class RoomReverb(Processor):
    """Freeverb with a desk's knobs: how large, how dark, how wide, how much. One ``pedalboard.Reverb``."""

    pedalboard = False
    neutral = True
    size = Param(0, 1, 0.5, "", doc="decay to -60 dB from 0.7 s over 1.4 s to 11 s")
    damping = Param(0, 1, 0.5, "", doc="loss of highs in the tail")
    width = Param(0, 1, 1, "", doc="0 mono tail, 1 wide; a mono signal stays mono", modulatable=True)
    mix = Param(0, 1, 0, "", doc="0 the input alone, 1 the tail alone", modulatable=True)

    def process(self, x: Tensor, *, size: Tensor, damping: Tensor, width: Tensor, mix: Tensor) -> Tensor:
        """Audio x (B, 1 or 2, T); each value (B,), or (B, T) where modulatable."""
        return freeverb(x, size, damping, *_levels(mix), width, self.sample_rate)

    def plugins(self, values: Numbers) -> list[Plugin]:
        """One ``Reverb``, its levels computed from ``mix``."""
        wet_level, dry_level = (level.item() for level in _levels(torch.tensor(values["mix"], dtype=torch.float32)))
        room = {"room_size": values["size"], "damping": values["damping"], "width": values["width"]}
        return [("Reverb", {**room, "wet_level": wet_level, "dry_level": dry_level, "freeze_mode": 0.0})]


def _levels(mix: Tensor) -> tuple[Tensor, Tensor]:
    """Freeverb's wet and dry level: the tail of noise is about as loud as the noise, the input passes at unity gain."""
    return mix * 0.75, (1 - mix) * 0.5


class NoiseReverb(Processor):
    """Noise that dies away at its own pace in each octave. Exported as one ``pedalboard.Convolution``.

    The noise is fixed by ``seed``: the same settings give the same room. Each channel has noise of its own, so that
    the tail is wide; mono audio gets the left one's. The impulse response, ``length_s`` long, always has the energy
    1/64 (Pedalboard's rule), so that only ``mix`` sets how loud the tail is, and the levels of the bands are relative.
    """

    pedalboard = False
    neutral = True
    exact_chunks = False
    mix = Param(0, 1, 0, "", doc="0 the input alone, 1 the tail alone", modulatable=True)
    bands = {  # noqa: RUF012
        f"{what}_{centre}_hz": param
        for what, param in (
            ("decay_s", Param(0.1, 4, 1, "s", "log", "time to -60 dB in this octave")),
            ("gain_db", Param(-24, 24, 0, "dB", doc="level of this octave beside the others")),
        )
        for centre in CENTRES_HZ
    }

    def __init__(
        self,
        sample_rate: float,
        ranges: Ranges | None = None,
        precision: Literal["float32", "float64"] = "float32",
        length_s: float = 2.0,
        seed: int = 0,
    ) -> None:
        """As `Processor`; ``length_s`` of the impulse response is 0.01..30 s, ``seed`` that of the noise."""
        super().__init__(sample_rate, ranges, precision)
        if not 0.01 <= length_s <= 30:
            raise SettingsError(f"length_s = {length_s:g} s, allowed 0.01..30 s")
        self.noise: Tensor
        self.register_buffer("noise", noise_bands(self.sample_rate, round(length_s * sample_rate), seed), False)

    def impulse_response(self, values: Values) -> Tensor:
        """The impulse response (B, 2, L) of values (B,), before its energy is made 1/64."""
        decay_s, gain_db = (
            torch.stack([values[f"{what}_{centre}_hz"] for centre in CENTRES_HZ], -1) for what in ("decay_s", "gain_db")
        )
        return noise_response(self.noise, decay_s, gain_db, self.sample_rate)

    def process(self, x: Tensor, *, mix: Tensor, **values: Tensor) -> Tensor:
        """Audio x (B, 1 or 2, T), mix (B,) or (B, T), the others (B,)."""
        response = self.impulse_response(values)
        scaled = response * normalisation(response)[:, None, None]
        return blended(x, convolve(x, scaled[:, : x.shape[1]]), mix)

    def plugins(self, values: Numbers) -> list[Plugin]:
        """One ``Convolution`` with the impulse response of these values."""
        tensors = {name: torch.tensor([value], dtype=torch.float32) for name, value in values.items()}
        return [convolution_plugin(self.impulse_response(tensors)[0], self.sample_rate, values["mix"])]


class FeedbackDelayNetwork(Processor):
    """Eight delay lines that feed each other: a smooth tail whose decay is set in seconds, at low and high frequencies.

    ``size``, a choice at construction, scales the lines' lengths, 30 to 67 ms at 1.
    """

    pedalboard = False
    neutral = True
    uncarried = "its one reverb with delay lines is Freeverb, whose decay cannot be set in seconds at two frequencies"
    decay_s = Param(0.1, 10, 1.5, "s", "log", "time to -60 dB at low frequencies")
    high_ratio = Param(0.1, 1, 0.5, "", "log", "decay time at the crossover as a part of that")
    crossover_hz = Param(1000, 16000, 4000, "Hz", "log", "where the ratio holds")
    width = Param(0, 1, 1, "", doc="0 mono tail, 1 wide; no effect on mono signals", modulatable=True)
    mix = Param(0, 1, 0, "", doc="0 the input alone, 1 the tail alone", modulatable=True)

    def __init__(
        self,
        sample_rate: float,
        ranges: Ranges | None = None,
        precision: Literal["float32", "float64"] = "float32",
        size: float = 1.0,
    ) -> None:
        """As `Processor`; ``size`` is 0.01..10, and no line may be shorter than 8 samples."""
        super().__init__(sample_rate, ranges, precision)
        if not 0.01 <= size <= 10:
            raise SettingsError(f"size = {size:g}, allowed 0.01..10")
        self.size = size

    def process(
        self, x: Tensor, *, decay_s: Tensor, high_ratio: Tensor, crossover_hz: Tensor, width: Tensor, mix: Tensor
    ) -> Tensor:
        """Audio x (B, 1 or 2, T); each value (B,), or (B, T) where modulatable."""
        tail = feedback_delay_network(x, decay_s, high_ratio.clamp_max(1), crossover_hz, self.sample_rate, self.size)
        centre = tail.mean(1, keepdim=True)
        return blended(x, blended(centre, tail, width), mix)
