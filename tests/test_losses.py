"""What every loss between audio and its target keeps to."""

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from torch import Tensor

import diffmix
from diffmix.errors import AudioError
from diffmix.kernels.loudness import true_peak_db
from diffmix.kernels.mixing import add_tracks
from diffmix.losses import (
    AudioFeatureLoss,
    StereoInvariantLoss,
    SumDifferenceLoss,
    imbalance_loss,
    multi_resolution_stft,
)
from diffmix.metrics import mel_error_db, mid_side_bark_db, spectral_centroid_hz, third_octaves_db
from diffmix.processors import NeuralEffect

RATE = 44100
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "sum and difference": SumDifferenceLoss(),
    "features": AudioFeatureLoss(RATE),
    "La": StereoInvariantLoss(RATE, "La"),
    "Lb": StereoInvariantLoss(RATE),
    "imbalance": lambda y, target: imbalance_loss(y, target, RATE),
}


def noise(seed: int, *shape: int) -> Tensor:
    return 0.1 * torch.randn(shape or (2, 2, 6000), generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=LOSSES, name="loss")
def _loss(request: pytest.FixtureRequest) -> Callable[[Tensor, Tensor], Tensor]:
    return LOSSES[request.param]


def test_autocast_rounds_nothing(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    """A network in half precision beside it leaves the loss, and its gradient, what they are."""
    found = []
    for half in (False, True):
        y = noise(0).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            distance = loss(y, noise(1))
        distance.backward()
        found.append((distance.detach(), y.grad))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_heard_in_float32(loss: Callable[[Tensor, Tensor], Tensor], dtype: torch.dtype) -> None:
    y, target = noise(0).to(dtype), noise(1).to(dtype)
    assert torch.equal(loss(y, target), loss(y.float(), target.float()))


@pytest.mark.parametrize("shape", [(2, 6000), (2, 1, 6000), (0, 2, 6000), (2, 2, 0)])
def test_other_shapes_are_refused(loss: Callable[[Tensor, Tensor], Tensor], shape: tuple[int, ...]) -> None:
    with pytest.raises(AudioError, match=r"allowed are floats \(B, 2, T\)"):
        loss(noise(0, *shape), noise(1, *shape))


def test_too_little_audio_is_refused() -> None:
    short = noise(0, 1, 2, 100)
    with pytest.raises(AudioError, match="has 100 samples; at least 4097 are needed"):
        SumDifferenceLoss()(short, short)
    with pytest.raises(AudioError, match=r"the audio is \(1, 2, 100\), its target \(2, 2, 6000\)"):
        SumDifferenceLoss()(short, noise(0))
    with pytest.raises(AudioError, match="at least 4 are needed"):
        AudioFeatureLoss(RATE)(short[..., :3], short)
    with pytest.raises(AudioError, match="at least 2 are needed"):
        imbalance_loss(short[..., :1], short[..., :1], RATE)
    with pytest.raises(AudioError, match="at least 4097 are needed"):
        diffmix.fit({"a": short[0]}, short[0], sample_rate=RATE, steps=1)


def desk(x: Tensor) -> Tensor:
    weights = torch.tensor([[[[0.3], [0.7]], [[0.9], [0.1]]]]).expand(2, -1, -1, -1)
    with diffmix.backend("torch"):
        return add_tracks(torch.zeros(2, 2, 6000), x[:, :, None], torch.ones(2, 2), weights, torch.ones(2, 2, 0))


def true_peak(x: Tensor) -> Tensor:
    with diffmix.backend("torch"):
        return true_peak_db(x, RATE)


@pytest.mark.parametrize(
    "measure",
    [
        desk,
        true_peak,
        lambda x: mel_error_db(x, noise(1), RATE),
        lambda x: mid_side_bark_db(x, RATE),
        lambda x: spectral_centroid_hz(x, RATE),
        lambda x: third_octaves_db(x, RATE),
    ],
    ids=["desk", "true peak", "mel", "bark", "centroid", "octaves"],
)
def test_autocast_rounds_no_audio_and_no_metric(measure: Callable[[Tensor], Tensor]) -> None:
    whole = measure(noise(0))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(measure(noise(0)), whole)


def test_a_neural_effect_under_autocast_gives_audio_of_the_dtype_it_got() -> None:
    effect = NeuralEffect(RATE)
    with torch.autocast("cpu", torch.bfloat16):
        assert effect(noise(0), effect.spec.default().expand(2, -1)).dtype == torch.float32


def test_spectra_are_those_of_auraloss_without_their_phases(monkeypatch: pytest.MonkeyPatch) -> None:
    from auraloss.freq import MultiResolutionSTFTLoss

    y, target = noise(0)[:, :1].requires_grad_(), noise(1)[:, :1]
    theirs = MultiResolutionSTFTLoss([64, 256], [32, 128], [64, 256])(y, target)
    monkeypatch.delattr(torch, "angle")
    ours = deepcopy(multi_resolution_stft((64, 256)))(y, target)
    assert torch.equal(ours, theirs)
    assert torch.equal(*(torch.autograd.grad(loss, y)[0] for loss in (ours, theirs)))
