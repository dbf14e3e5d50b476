"""The convolution effect; its sound is tested with the kernel's and by the laws."""

import numpy as np
import pytest
import torch

from diffmix.errors import AudioError
from diffmix.processors import Convolution

RATE = 44100


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor, lambda v: torch.tensor(v, requires_grad=True)])
def test_an_impulse_response_is_any_array_of_samples(kind: type) -> None:
    samples = [1.0, 0.5, 0.25]
    effect = Convolution(RATE, impulse_response=kind(samples))
    assert effect.impulse_response.tolist() == [samples]
    assert not effect.impulse_response.requires_grad
    x = torch.randn(1, 2, 20)
    ideal = np.apply_along_axis(lambda c: np.convolve(c, samples)[:20], -1, x.numpy()) * (
        0.125 / np.hypot(1, 0.5590170)
    )
    np.testing.assert_allclose(effect.process(x, mix=torch.ones(1)), ideal, atol=1e-6)


def test_its_samples_are_its_own() -> None:
    given = np.ones(4, np.float32)
    effect = Convolution(RATE, impulse_response=given)
    given[:] = 0
    assert effect.impulse_response.tolist() == [[1, 1, 1, 1]]


@pytest.mark.parametrize("wrong", ["room.wav", [[1, 2], [3]], {"a": 1}])
def test_what_is_no_array_is_refused(wrong: object) -> None:
    with pytest.raises(AudioError, match=r"an impulse response is an array of samples, got"):
        Convolution(RATE, impulse_response=wrong)
