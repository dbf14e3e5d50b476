"""Features of a mix that say how it sounds without saying what plays, and the distance of two mixes by them.

After the audio feature loss of Diff-MST (S. S. Vanka, C. J. Steinmetz, J.-B. Rolland, J. D. Reiss and G. Fazekas,
"Diff-MST: differentiable mixing style transfer", ISMIR 2024), which compares a mix with a reference song.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from diffmix.errors import SettingsError
from diffmix.keeping import kept
from diffmix.kernels.backend import uncast
from diffmix.losses._audio import heard

BARK_BANDS = 24
LOW_HZ, HIGH_HZ = 20.0, 20000.0
N_FFT = 32768
SIDE_FLOOR_DB = -60.0
"""Where, in decibels below the middle's mean band, a band of the middle or the side counts as empty."""

WEIGHTS = {"rms": 0.1, "crest_db": 0.001, "width": 1.0, "imbalance": 1.0, "bark": 0.1}
"""The paper's."""

_EPSILON = 1e-8


def audio_features(x: Tensor, sample_rate: float, *, legacy: bool = False) -> dict[str, Tensor]:
    """Five features of mixes x (B, 2, T).

    With P the mean power, M = L + R and S = L - R:

    - ``rms`` (B, 2): sqrt(P) of each channel;
    - ``crest_db`` (B, 1): peak over RMS in dB, the mean of both channels;
    - ``width`` (B, 1): P(S) / P(M);
    - ``imbalance`` (B, 1): (P(R) - P(L)) / (P(R) + P(L)), positive to the right;
    - ``bark`` (B, 2, 24): log of the mean magnitude in 24 bands of one Bark each from 20 Hz to 20 kHz, of M and S.

    Each band of ``bark`` stands on a floor 60 dB below the mean band of M: without it a mix without side, whose log is
    that of nothing, is farther from every stereo mix than two songs are from each other. ``legacy=True`` gives the
    paper's own form: the crest of each channel (B, 2), and a floor of 1e-8 whatever the level.

    Raises AudioError for other shapes, and for less than 4 samples.
    """
    x = heard(x, 4)
    left, right = x.unbind(1)
    middle, side = left + right, left - right
    power = x.square().mean(-1)
    rms = power.clamp_min(_EPSILON).sqrt()
    crest_db = 20 * torch.log10(x.abs().amax(-1).clamp_min(_EPSILON) / rms)
    width = side.square().mean(-1) / middle.square().mean(-1).clamp_min(_EPSILON)
    bands = _bark_magnitudes(torch.stack([middle, side], 1), sample_rate)
    floor = _EPSILON if legacy else 10 ** (SIDE_FLOOR_DB / 20) * bands[:, :1].mean(-1, keepdim=True) + _EPSILON
    return {
        "rms": rms,
        "crest_db": crest_db if legacy else crest_db.mean(1, keepdim=True),
        "width": width[:, None],
        "imbalance": ((power[:, 1] - power[:, 0]) / power.sum(1).clamp_min(_EPSILON))[:, None],
        "bark": torch.log(bands + floor),
    }


class AudioFeatureLoss(nn.Module):
    """Weighted sum of the mean squared differences of `audio_features`, for mixes that need not be of one song.

    Args:
        sample_rate: Hz.
        weights: of single features, in place of those in `WEIGHTS`.
        legacy: the paper's exact form, see `audio_features`.
    """

    def __init__(self, sample_rate: float, weights: Mapping[str, float] | None = None, legacy: bool = False) -> None:
        super().__init__()
        if unknown := sorted((weights or {}).keys() - WEIGHTS.keys()):
            raise SettingsError(f"no feature {unknown[0]!r}; there are: {', '.join(WEIGHTS)}")
        self.sample_rate, self.legacy = sample_rate, legacy
        self.weights = WEIGHTS | dict(weights or {})

    def forward(self, y: Tensor, reference: Tensor) -> Tensor:
        """Scalar distance of y (B, 2, T) to a reference (B, 2, any length)."""
        return torch.stack([self.weights[name] * term for name, term in self.terms(y, reference).items()]).sum()

    def terms(self, y: Tensor, reference: Tensor) -> dict[str, Tensor]:
        """The features' mean squared differences, unweighted."""
        mine, theirs = (audio_features(x, self.sample_rate, legacy=self.legacy) for x in (y, reference))
        return {name: (mine[name] - theirs[name]).square().mean() for name in WEIGHTS}


def _bark_magnitudes(x: Tensor, sample_rate: float) -> Tensor:
    """Mean magnitude spectrum of x (B, C, T) in 24 bands, (B, C, 24)."""
    n_fft = min(N_FFT, 1 << (x.shape[-1].bit_length() - 1))
    window = torch.hann_window(n_fft, dtype=x.dtype, device=x.device)
    spectrum = torch.stft(x.flatten(0, 1), n_fft, n_fft // 4, window=window, return_complex=True)
    # |X| with a gradient at zero
    magnitude = (spectrum.real.square() + spectrum.imag.square() + 1e-16).sqrt().mean(-1)
    with uncast(magnitude):
        return (magnitude @ bark_weights(n_fft, sample_rate).to(magnitude)).view(*x.shape[:2], -1)


@kept(4)
def bark_weights(n_fft: int, sample_rate: float) -> Tensor:
    """Triangles (n_fft // 2 + 1, 24) equally spaced from 20 Hz to 20 kHz on Traunmueller's Bark scale (JASA 1990).

    z = 26.81 f / (1960 + f) - 0.53, below 2 Bark plus 0.15 (2 - z), above 20.1 Bark plus 0.22 (z - 20.1).
    """
    low, high = (_bark(torch.tensor(hz, dtype=torch.float64)) for hz in (LOW_HZ, HIGH_HZ))
    edges = torch.linspace(float(low), float(high), BARK_BANDS + 2, dtype=torch.float64)
    z = _bark(torch.arange(n_fft // 2 + 1, dtype=torch.float64) * sample_rate / n_fft)[:, None]
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    return torch.minimum((z - left) / (centre - left), (right - z) / (right - centre)).clamp_min(0).float()


def _bark(hz: Tensor) -> Tensor:
    z = 26.81 * hz / (1960 + hz) - 0.53
    z = torch.where(z < 2, z + 0.15 * (2 - z), z)
    return torch.where(z > 20.1, z + 0.22 * (z - 20.1), z)
