"""How wide a mix is, as a whole and over frequency."""

import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d

from diffmix.losses._audio import heard, pair
from diffmix.metrics.spectrum import FLOOR_DB, SIDE_FLOOR_DB

SPS_BANDS_HZ = ((0.0, None), (0.0, 250.0), (250.0, 2500.0), (2500.0, None))
"""Low and high end of the bands of the stereo panning spectrum; None is half the sample rate."""

RUNNING_FRAMES = 40


def width_db(x: Tensor) -> Tensor:
    """Power of the side over that of the middle, (B,) dB of mixes (B, 2, T), between -60 (mono) and 60."""
    x = heard(x)
    power = cross = torch.zeros((), dtype=torch.float64, device=x.device)
    for piece in (part.double() for part in x.split(1 << 20, -1)):  # for the memory of long mixes
        power = power + piece.square().sum(-1)
        cross = cross + (piece[:, 0] * piece[:, 1]).sum(-1)
    both = power.sum(1)
    floor = both * 1e-12 + 1e-20
    middle, side = (both + 2 * cross).clamp_min(0) + floor, (both - 2 * cross).clamp_min(0) + floor
    return (10 * torch.log10(side / middle)).clamp(SIDE_FLOOR_DB, -SIDE_FLOOR_DB).to(x.dtype)


def width_error_db(y: Tensor, target: Tensor) -> Tensor:
    """Difference (B,) dB of `width_db` of mixes (B, 2, T)."""
    return (width_db(y) - width_db(target)).abs()


def panning_rms(x: Tensor, sample_rate: float) -> Tensor:
    """Stereo panning spectrum of mixes (B, 2, T): its RMS (B, 4, frames) over the bins of four bands.

    The spectrum is ``1 - 2 |L| |R| / (|L|^2 + |R|^2)`` for every bin of windows of 4096 samples, every 1024: 0 in the
    centre, 1 on one side (G. Tzanetakis, R. Jones, K. McNally, "Stereo panning features for classifying recording
    production style", ISMIR 2007). Which side does not count. Bins more than 80 dB below the loudest of the mix are
    in the centre.
    """
    x, n_fft, hop = heard(x), 4096, 1024
    window = torch.hann_window(n_fft, device=x.device, dtype=x.dtype).sqrt()
    if x.shape[-1] < n_fft:
        x = torch.nn.functional.pad(x, (0, n_fft - x.shape[-1]))
    spectrum = torch.stft(x.flatten(0, 1), n_fft, hop, window=window, center=False, return_complex=True)
    power = spectrum.real.square() + spectrum.imag.square()
    left, right = power.view(len(x), 2, *power.shape[1:]).unbind(1)
    both = left + right
    floor = both.amax((1, 2), keepdim=True) * 10 ** (FLOOR_DB / 10) + 1e-20
    away = torch.where(both > floor, 1 - 2 * (left * right).sqrt() / both.clamp_min(1e-30), 0.0)
    bands = []
    for low_hz, high_hz in SPS_BANDS_HZ:
        low, high = (int((sample_rate / 2 if f is None else f) * n_fft / sample_rate) for f in (low_hz, high_hz))
        bands.append(away[:, low:high].square().mean(1).sqrt())
    return torch.stack(bands, 1)


def panning_error(y: Tensor, target: Tensor, sample_rate: float) -> Tensor:
    """Mean difference (B,), from 0 to 1, of `panning_rms` over the four bands and over time (running mean of ~1 s)."""
    y, target = pair(y, target)
    mine, theirs = _running(panning_rms(y, sample_rate)), _running(panning_rms(target, sample_rate))
    return (mine - theirs).abs().mean((1, 2))


def panning_mape(y: Tensor, target: Tensor, sample_rate: float) -> Tensor:
    """As `panning_error`, but each difference relative to the target's value: mean absolute percentage error / 100.

    Frames in which the target is mono are left out; a mono target gives 0.
    """
    y, target = pair(y, target)
    mine, theirs = panning_rms(y, sample_rate), panning_rms(target, sample_rate)
    error = mine.new_zeros(len(y))
    for k, (a, b) in enumerate(zip(mine, theirs, strict=True)):
        wide = b.amin(0) > 1e-4
        if wide.any():
            a, b = _running(a[None, :, wide]), _running(b[None, :, wide])
            error[k] = ((a - b).abs() / b).mean()
    return error


def _running(x: Tensor) -> Tensor:
    """Means over 40 frames in a row, or over all if there are fewer."""
    return avg_pool1d(x, min(RUNNING_FRAMES, x.shape[-1]), 1)
