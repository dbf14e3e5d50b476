"""The encoder of the differentiable mixing console: short-chunk residual convolutions on a mel spectrogram."""

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from diffmix.errors import SettingsError
from diffmix.estimators.features import mel_edges_hz, triangles_of_bins
from diffmix.keeping import kept

BANDS = 128
FRAME_S = 512 / 16000
FLOOR_DB = -80.0
PAPER_WIDTH = 128


class ShortChunkCNN(nn.Module):
    """Audio (R, C, T) at any sample rate to embeddings (R, 4 width).

    A mel spectrogram of 128 bands to ``high_hz``, seven residual blocks that halve time and frequency each, the maximum
    over time, one linear layer: ShortChunkCNN_Res of M. Won et al., "Evaluation of CNN-based automatic music tagging
    models" (SMC 2020). ``width`` 128 is theirs: blocks of 128, 128, 256, 256, 256, 256, 512 channels, 12.1 M weights.

    Two things differ from it. Frames last 32 ms at every sample rate, where they resample to 16 kHz: with ``high_hz``
    8000 the same is heard. And group normalisation stands where they normalise over the batch, so that a track's
    embedding depends neither on how many others there are nor on padding; it has as many weights.
    """

    def __init__(self, width: int = 16, high_hz: float = 8000.0) -> None:
        """Raises SettingsError for a width that is no whole number of 2..512, or ``high_hz`` outside 1000..24000."""
        super().__init__()
        if isinstance(width, bool) or not isinstance(width, int) or not 2 <= width <= 512:
            raise SettingsError(f"the width of the encoder is {width!r}; allowed are whole numbers in 2..512")
        if not 1000 <= high_hz <= 24000:
            raise SettingsError(f"the encoder hears up to {high_hz:g} Hz; allowed are 1000..24000 Hz")
        self.high_hz, self.size = high_hz, 4 * width
        channels = (1, width, width, 2 * width, 2 * width, 2 * width, 2 * width, 4 * width)
        self.scale = nn.Parameter(torch.ones(1))
        self.shift = nn.Parameter(torch.zeros(1))
        self.blocks = nn.Sequential(*(Residual(a, b) for a, b in itertools.pairwise(channels)))
        self.project = nn.Linear(self.size, self.size)

    def forward(self, x: Tensor, sample_rate: float) -> Tensor:
        """Embeddings (R, 4 width) of audio (R, C, T); the power of channels is averaged."""
        # Decibels around 0 of about unit size. The tracks come at one peak, so that their level means something here:
        # a normalisation per track would take it away.
        mel = log_mel(x, sample_rate, self.high_hz) / 20 + 2
        maps = self.blocks((mel * self.scale + self.shift).unsqueeze(1))  # (R, 4 width, 1, F / 128)
        return torch.relu(self.project(maps.squeeze(2).amax(2)))


class Residual(nn.Module):
    """Two convolutions and a shortcut, at half the resolution: (R, I, H, W) to (R, O, H / 2, W / 2)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        groups = math.gcd(8, outputs)

        def convolved(a: int, stride: int) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(a, outputs, 3, stride, 1), nn.GroupNorm(groups, outputs))

        self.first = convolved(inputs, 2)
        self.second = convolved(outputs, 1)
        self.shortcut = convolved(inputs, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Odd sizes are rounded up."""
        return torch.relu(self.second(torch.relu(self.first(x))) + self.shortcut(x))


def log_mel(x: Tensor, sample_rate: float, high_hz: float) -> Tensor:
    """Mel spectrogram in dB, (R, 128, F), of audio (R, C, T), above -80 dB; frames of 32 ms, half overlapped."""
    n_fft = 2 * round(FRAME_S * sample_rate / 2)
    rows, channels, length = x.shape
    x = pad(x.flatten(0, 1), (0, max(0, n_fft - length)))
    window = torch.hann_window(n_fft, device=x.device, dtype=x.dtype)
    spectrum = torch.stft(x, n_fft, n_fft // 2, window=window, center=False, return_complex=True)
    power = (spectrum.real.square() + spectrum.imag.square()) / window.sum().square()
    power = power.view(rows, channels, *power.shape[1:]).mean(1)
    mel = mel_weights(n_fft, float(sample_rate), high_hz).to(power).T @ power
    return 10 * mel.clamp_min(10 ** (FLOOR_DB / 10)).log10()


@kept(8)
def mel_weights(n_fft: int, sample_rate: float, high_hz: float) -> Tensor:
    """Triangles (n_fft // 2 + 1, 128), equally spaced in mel from 0 Hz to ``high_hz``, see `triangles_of_bins`."""
    return triangles_of_bins(mel_edges_hz(0.0, high_hz, BANDS), n_fft, sample_rate).float()
