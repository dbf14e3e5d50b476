"""Where a finished mix begins, measured against the tracks that it was made of."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

_WHITENING = 0.7  # 0: the plain cross-correlation, whose peaks repeat with every bar; 1: its phase alone, all hiss
_RUMBLE = 1e-4  # of the strongest bin; weaker ones count no more than this


class Lag(NamedTuple):
    """A mix is `samples` late (negative: early); `agreement` in [0, 1] is the correlation of the two at that place."""

    samples: int
    agreement: float


def lag(mix: Tensor, reference: Tensor, most: int) -> Lag:
    """Find by how many samples, at most `most`, `mix` (C, T) is later than `reference` (C, T'), say a sum of tracks.

    The place is the peak of the generalised cross-correlation (C. H. Knapp and G. C. Carter 1976), its spectra partly
    whitened, so that the equalisers and compressors of a mix do not matter; either polarity counts. Silence has no
    agreement.
    """
    x, y = (s.detach().double().mean(0) for s in (mix, reference))
    length = 1 << (len(x) + len(y)).bit_length()  # a fast one
    spectra = torch.fft.rfft(torch.stack([pad(s, (0, length - len(s))) for s in (x, y)]))
    cross = spectra[0] * spectra[1].conj()
    size = cross.abs()
    if not size.any():
        return Lag(0, 0.0)
    found = torch.fft.irfft(cross / size.clamp_min(_RUMBLE * size.max()) ** _WHITENING, length).abs()
    early = min(most, len(y) - 1)
    near = found.roll(early)[: early + 1 + min(most, len(x) - 1)]
    samples = int(near.argmax()) - early
    later, earlier = x[max(samples, 0) :], y[max(-samples, 0) :]
    shared = min(len(later), len(earlier))
    power = (later[:shared].square().sum() * earlier[:shared].square().sum()).sqrt()
    agreement = float((later[:shared] @ earlier[:shared]).abs() / power) if power > 0 else 0.0
    return Lag(samples, agreement)


def aligned(mix: Tensor, reference: Tensor, most: int | None = None) -> Tensor:
    """`mix` (C, T) moved to begin with `reference` (C', T') and as long as that: (C, T'), silent where it has ended.

    It is moved by at most `most` samples, half of the reference by default.
    """
    length = reference.shape[-1]
    return moved(mix, lag(mix, reference, length // 2 if most is None else most).samples, length)


def moved(mix: Tensor, samples: int, length: int) -> Tensor:
    """`mix` (C, T) so many `samples` earlier (negative: later), (C, length), silent where there is none of it."""
    found = pad(mix[..., max(samples, 0) :], (max(-samples, 0), 0))[..., :length]
    return pad(found, (0, length - found.shape[-1]))
