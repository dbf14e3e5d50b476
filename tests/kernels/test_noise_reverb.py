import numpy as np
import pytest
import torch
from torch import Tensor

from diffmix.kernels.noise_reverb import CENTRES_HZ, noise_bands, noise_response
from tests.jacobians import check_gradients
from tests.reverb_reference import decay_time

F64 = torch.float64


def test_bands_are_octaves_that_sum_to_the_noise() -> None:
    bands = noise_bands(44100, 44100, seed=3).double()
    assert bands.shape == (9, 2, 44100)
    generator = torch.Generator().manual_seed(3)
    white = torch.randn(2, 44100, generator=generator, dtype=F64)
    assert (bands.sum(0) - white).abs().max() < 1e-5
    power = torch.fft.rfft(bands).abs().square().sum(1)
    for k, centre in enumerate(CENTRES_HZ):
        inside = power[k, int(centre / 2**0.85) : int(centre * 2**0.85) + 1].sum()
        assert inside > 0.98 * power[k].sum() or k in (0, 8)  # the outermost reach to 0 Hz and to 22050 Hz
        total = power[:, round(centre)]
        assert total[k] > 0.999 * total.sum()


def test_noise_belongs_to_its_seed() -> None:
    assert torch.equal(noise_bands(8000, 500, 1), noise_bands(8000.0, 500, 1))
    assert not torch.equal(noise_bands(8000, 500, 1), noise_bands(8000, 500, 2))
    left, right = noise_bands(8000, 8001, 1).sum(0)
    assert abs(np.corrcoef(left, right)[0, 1]) < 0.05


@pytest.mark.parametrize("decay_s", [0.2, 0.7])
def test_decay_time_is_the_one_set(decay_s: float) -> None:
    bands = noise_bands(44100, int(1.2 * decay_s * 44100), seed=0, channels=12)
    ones = torch.ones(1, 9)
    response = noise_response(bands, decay_s * ones, 0 * ones, 44100)[0]
    assert decay_time(response.numpy(), 44100) == pytest.approx(decay_s, rel=0.02)
    for k in range(3, 9):  # in lower octaves chance moves the decay of twelve pieces of noise by more
        alone = noise_response(bands[k : k + 1], decay_s * ones[:, :1], 0 * ones[:, :1], 44100)[0]
        assert decay_time(alone.numpy(), 44100) == pytest.approx(decay_s, rel=0.05), CENTRES_HZ[k]


def reference(bands: Tensor, decay_s: Tensor, gain_db: Tensor, sample_rate: float) -> Tensor:
    t = torch.arange(bands.shape[-1], dtype=F64) / sample_rate
    envelopes = 10 ** (gain_db[..., None] / 20) * 10 ** (-3 * t / decay_s[..., None])
    return torch.einsum("bkt,kct->bct", envelopes, bands.double())


@pytest.mark.parametrize("samples", [1, 255, 256, 1000])
def test_response_is_the_formulas(samples: int) -> None:
    bands = noise_bands(8000, samples, seed=0)
    decay_s, gain_db = 0.1 + 2 * torch.rand(3, 9, dtype=F64), 12 * torch.randn(3, 9, dtype=F64)
    expected = reference(bands, decay_s, gain_db, 8000)
    torch.testing.assert_close(noise_response(bands, decay_s, gain_db, 8000), expected, rtol=0, atol=1e-12)
    single = noise_response(bands, decay_s.float(), gain_db.float(), 8000)
    assert (single - expected).abs().max() < 3e-6 * expected.abs().max()


def test_gradients_equal_finite_differences() -> None:
    bands = noise_bands(8000, 300, seed=0)
    inputs = (0.1 + torch.rand(2, 9, dtype=F64)).requires_grad_(), torch.randn(2, 9, dtype=F64).requires_grad_()
    check_gradients(lambda *a: noise_response(bands, *a, 8000), inputs)
