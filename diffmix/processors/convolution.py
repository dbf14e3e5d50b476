"""Convolution with a recorded room, cabinet or device."""

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from diffmix.errors import AudioError
from diffmix.kernels.convolution import convolve, normalisation
from diffmix.params import Param
from diffmix.processors.base import Plugin, Processor
from diffmix.types import Numbers, Ranges


class Convolution(Processor):
    """Convolution with an impulse response, made as loud as any other. Twin of ``pedalboard.Convolution``.

    ``impulse_response`` is (L,), (1, L) or (2, L), at the processing rate: where ``impulse_response_rate`` says
    otherwise it is refused, since Pedalboard's own conversion smears it. One channel serves all; of two, mono audio
    takes the first. It is scaled to an energy of 1/64 in its louder channel, whatever its level was. Without one it is
    an impulse, which that rule makes 18 dB quieter than the input.
    """

    exact_chunks = False
    mix = Param(0, 1, 1, "", doc="0 the input alone, 1 the convolved signal alone", modulatable=True)
    impulse_response: Tensor
    scaled: Tensor

    def __init__(
        self,
        sample_rate: float,
        ranges: Ranges | None = None,
        precision: Literal["float32", "float64"] = "float32",
        impulse_response: Any = None,
        impulse_response_rate: float | None = None,
    ) -> None:
        super().__init__(sample_rate, ranges, precision)
        if impulse_response_rate not in (None, sample_rate):
            raise AudioError(
                f"the impulse response is at {impulse_response_rate:g} Hz and the effect at {sample_rate:g} Hz: "
                "resample it first"
            )
        given = _IMPULSE if impulse_response is None else impulse_response
        try:
            array = np.asarray(given.detach().cpu() if isinstance(given, Tensor) else given, np.float32)
        except (TypeError, ValueError):
            raise AudioError(
                f"an impulse response is an array of samples, got {given!r:.40}; "
                "diffmix.data.audio.read gives that of a file"
            ) from None
        response = torch.from_numpy(array.copy())
        response = response[None] if response.ndim == 1 else response
        if response.ndim != 2 or response.shape[0] not in (1, 2) or response.shape[1] == 0:
            raise AudioError(f"an impulse response is (1 or 2 channels, samples), got {tuple(response.shape)}")
        if not response.isfinite().all():
            raise AudioError("the impulse response holds values that are not finite")
        self.register_buffer("impulse_response", response, persistent=False)
        self.register_buffer("scaled", response * normalisation(response[None]), persistent=False)

    def process(self, x: Tensor, *, mix: Tensor) -> Tensor:
        """Audio x (B, 1 or 2, T), mix (B,) or (B, T)."""
        if x.shape[1] > 2:
            raise AudioError(f"Convolution takes mono or stereo audio (B, 1 or 2, T), got {x.shape[1]} channels")
        return blended(x, convolve(x, self.scaled[None, : x.shape[1]]), mix)

    def plugins(self, values: Numbers) -> list[Plugin]:
        """One ``Convolution`` with its samples."""
        return [convolution_plugin(self.impulse_response, self.sample_rate, values["mix"])]


_IMPULSE = [1.0] + 63 * [0.0]  # Pedalboard guesses the layout of shorter ones wrongly


def blended(x: Tensor, wet: Tensor, mix: Tensor) -> Tensor:
    """``(1 - mix) x + mix wet`` of audio (B, C or 1, T), mix (B,) or (B, T)."""
    share = mix[:, None, None] if mix.ndim == 1 else mix[:, None]
    return torch.lerp(x, wet, share.to(x.dtype))


def convolution_plugin(impulse_response: Tensor, sample_rate: float, mix: float) -> Plugin:
    """``pedalboard.Convolution`` with an impulse response (C, L)."""
    samples = impulse_response.detach().cpu().numpy().astype(np.float32)
    return ("Convolution", {"impulse_response_filename": samples, "sample_rate": sample_rate, "mix": mix})
