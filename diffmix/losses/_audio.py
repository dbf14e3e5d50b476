"""What losses and metrics take."""

from torch import Tensor, float32, promote_types

from diffmix.errors import AudioError


def heard(x: Tensor, least: int = 1, channels: int | None = 2) -> Tensor:
    """Audio (B, C, T) in float32 at least: half precision has no spectra on a CPU, and too coarse ones elsewhere.

    Raises AudioError for other shapes, for less than ``least`` samples, and for what is no tensor.
    """
    if not isinstance(x, Tensor):
        raise AudioError(f"the audio is {type(x).__name__}; allowed are tensors (B, {channels or 'C'}, T)")
    if x.ndim != 3 or channels not in (None, x.shape[1]) or not x.numel() or not x.is_floating_point():
        raise AudioError(
            f"the audio is {tuple(x.shape)} {x.dtype}; allowed are floats (B, {channels or 'C'}, T), "
            "at least one of each"
        )
    if x.shape[-1] < least:
        raise AudioError(f"the audio has {x.shape[-1]} samples; at least {least} are needed")
    return x.to(promote_types(x.dtype, float32))


def alike(y: Tensor, target: Tensor) -> None:
    """Raise AudioError unless both have one shape: what is broadcast would be compared all the same."""
    if y.shape != target.shape:
        raise AudioError(f"the audio is {tuple(y.shape)}, its target {tuple(target.shape)}; they have to be alike")


def pair(y: Tensor, target: Tensor, least: int = 1, channels: int | None = 2) -> tuple[Tensor, Tensor]:
    """Both of one shape, as `heard`; raises AudioError."""
    alike(y, target)
    return heard(y, least, channels), heard(target, least, channels)
