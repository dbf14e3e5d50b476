"""What losses take."""

from torch import Tensor, float32, promote_types

from diffmix.errors import AudioError


def heard(x: Tensor, least: int = 1) -> Tensor:
    """Audio (B, 2, T) in float32 at least: half precision has no spectra on a CPU, and too coarse ones elsewhere.

    Raises AudioError for other shapes, and for less than ``least`` samples.
    """
    if x.ndim != 3 or x.shape[1] != 2 or not x.numel() or not x.is_floating_point():
        raise AudioError(f"the audio is {tuple(x.shape)} {x.dtype}; allowed are floats (B, 2, T), at least one of each")
    if x.shape[-1] < least:
        raise AudioError(f"the audio has {x.shape[-1]} samples; at least {least} are needed")
    return x.to(promote_types(x.dtype, float32))


def pair(y: Tensor, target: Tensor, least: int = 1) -> tuple[Tensor, Tensor]:
    """Both of one shape, as `heard`; raises AudioError."""
    if y.shape != target.shape:
        raise AudioError(f"the audio is {tuple(y.shape)}, its target {tuple(target.shape)}; they have to be alike")
    return heard(y, least), heard(target, least)
