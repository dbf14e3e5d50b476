"""The loss of FxNorm-automix: weighted by the ear, of sum and difference, so that a swap of the channels costs nothing.

M. A. Martinez-Ramirez, W.-H. Liao, G. Fabbro, S. Uhlich, C. Nagashima and Y. Mitsufuji, "Automatic music mixing with
deep learning and out-of-domain data", ISMIR 2022.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d

from diffmix.errors import SettingsError
from diffmix.keeping import kept
from diffmix.kernels.backend import uncast
from diffmix.losses._audio import pair

TAPS = 101
N_FFT, HOP = 4096, 1024
_LOW_PASS = (1.0, 0.85, 0.0)


class StereoInvariantLoss(nn.Module):
    """Distance of the A-weighted, slightly dulled sums and differences of two stereo signals.

    With X and Y the magnitudes of their spectra (4096 samples every 1024, root of a Hann window), for the sum and the
    difference each: ``kind="La"`` ||Y - X||_F / ||Y||_F + mean |log Y - log X|, ``kind="Lb"`` mean (Y - X)^2 + the same
    second term. Like every such loss it hardly hears which side a single track is on.

    ``guard`` samples at either end of the signals do not count: there a network lacks context.
    """

    def __init__(self, sample_rate: float, kind: Literal["La", "Lb"] = "Lb", guard: int = 0) -> None:
        super().__init__()
        if kind not in ("La", "Lb"):
            raise SettingsError(f"kind is 'La' or 'Lb', got {kind!r}")
        self.kind, self.guard = kind, guard
        self.register_buffer("taps", prefilter(sample_rate), persistent=False)
        self.register_buffer("window", torch.hann_window(N_FFT).sqrt(), persistent=False)
        self.taps: Tensor
        self.window: Tensor

    def forward(self, y: Tensor, target: Tensor) -> Tensor:
        """Scalar distance of audio (B, 2, T) to its target; T is at least 4096 samples more than both guards.

        Raises AudioError for other shapes, SettingsError for a guard that leaves too little.
        """
        y, target = pair(y, target)
        if y.shape[-1] - 2 * self.guard < N_FFT:
            raise SettingsError(
                f"{y.shape[-1]} samples without a guard of {self.guard} at either end leave less than {N_FFT}: "
                "longer examples are needed"
            )
        mine, theirs = self._magnitudes(y), self._magnitudes(target)
        distance = (mine.log() - theirs.log()).abs().mean((0, 2, 3))
        if self.kind == "La":
            error, size = ((m.square().sum((2, 3)) + 1e-12).sqrt() for m in (mine - theirs, theirs))
            distance = distance + (error / size).mean(0)
        else:
            distance = distance + (mine - theirs).square().mean((0, 2, 3))
        return distance.sum()

    def _magnitudes(self, x: Tensor) -> Tensor:
        """Of sum and difference, (B, 2, bins, frames)."""
        x = x[..., self.guard : x.shape[-1] - self.guard]
        turned = torch.stack([x[:, 0] + x[:, 1], x[:, 0] - x[:, 1]], 1).flatten(0, 1)
        with uncast(x):
            heard = conv1d(turned[:, None], self.taps.to(x), padding=self.taps.shape[-1] // 2)[:, 0]
        spectrum = torch.stft(heard, N_FFT, HOP, window=self.window.to(x), return_complex=True)
        power = spectrum.real.square() + spectrum.imag.square()
        return (power + 1e-8).sqrt().unflatten(0, (-1, 2))  # a log of at least 1e-4, far below what is heard


@kept(4)
def prefilter(sample_rate: float) -> Tensor:
    """A-weighting (IEC 61672-1, 0 dB at 1 kHz) as a linear-phase filter of 101 taps, then the low-pass [1, 0.85, 0].

    As many taps follow the curve down to about 300 Hz at 44.1 kHz; below they take away less than it does.
    """
    import numpy as np
    from scipy.signal import firwin2

    hz = np.linspace(0, sample_rate / 2, 1025)
    square = hz**2
    weight = 12194**2 * square**2 / ((square + 20.6**2) * (square + 12194**2))
    weight /= np.sqrt((square + 107.7**2) * (square + 737.9**2)) * 10 ** (-2.0 / 20)
    weight[-1] = weight[-2]
    taps = np.convolve(firwin2(TAPS, hz, weight, fs=sample_rate), _LOW_PASS)
    return torch.from_numpy(taps).float()[None, None]
