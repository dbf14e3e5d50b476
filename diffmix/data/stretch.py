"""Faster, slower, higher, lower: the tempo and the pitch of a recording, each without the other."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffmix.errors import AudioError

FRAME_S, SEARCH_S = 0.06, 0.008


def stretched(x: Tensor, factor: float, sample_rate: float) -> Tensor:
    """Audio x (C, T) made ``factor`` times as long at the same pitch, (C, round(factor T)).

    Frames of 60 ms overlap by half; each is taken from within 8 ms of its place, where it is most like what followed
    the one before (WSOLA: W. Verhelst and M. Roelands, ICASSP 1993). All channels move together.
    Raises AudioError for a factor outside 0.25..4.
    """
    if not 0.25 <= factor <= 4:
        raise AudioError(f"audio can be made 0.25 to 4 times as long, got {factor:g}")
    if factor == 1:
        return x.clone()
    length = round(x.shape[-1] * factor)
    hop, reach = max(1, round(FRAME_S * sample_rate / 2)), round(SEARCH_S * sample_rate)
    frame = 2 * hop
    window = np.hanning(frame + 1)[:-1]
    given: NDArray[np.float64] = x.double().numpy()
    padded = np.pad(given, ((0, 0), (hop + reach, 2 * frame + reach)))
    mono = padded.mean(0)
    count = -(-length // hop) + 1
    y = np.zeros((len(given), count * hop + frame))
    expected = reach  # of the padded signal: where the first frame lies, half of it before the beginning
    for n in range(count):
        wanted = min(round(n * hop / factor), given.shape[1]) + reach
        at = wanted
        if n:
            likeness = np.correlate(mono[wanted - reach : wanted + reach + frame], mono[expected : expected + frame])
            at += int(likeness.argmax()) - reach
        y[:, n * hop : n * hop + frame] += window * padded[:, at : at + frame]
        expected = min(at + hop, padded.shape[1] - frame)
    return torch.from_numpy(y[:, hop : hop + length]).to(x.dtype)


def sped_up(x: Tensor, factor: float) -> Tensor:
    """Audio x (C, T) played ``factor`` times as fast, higher by as much, (C, round(T / factor)).

    The spectrum of the whole is cut off or filled up, so that the ends are taken for neighbours.
    """
    length = round(x.shape[-1] / factor)
    spectrum = torch.fft.rfft(x.double())
    return (torch.fft.irfft(spectrum[..., : length // 2 + 1], length) * (length / x.shape[-1])).to(x.dtype)


def pitched(x: Tensor, cents: float, tempo: float, sample_rate: float) -> Tensor:
    """Audio x (C, T) higher by ``cents`` and ``tempo`` times as fast, (C, about T / tempo)."""
    ratio = 2 ** (cents / 1200)
    return stretched(sped_up(x, ratio), ratio / tempo, sample_rate)
