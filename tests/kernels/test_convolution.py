import itertools

import numpy as np
import pedalboard
import pytest
import torch
from scipy.signal import lfilter
from torch import Tensor

from diffmix.errors import AudioError
from diffmix.kernels.backend import backend
from diffmix.kernels.convolution import convolve, normalisation
from diffmix.kernels.stream import streaming
from diffmix.processors.convolution import Convolution
from tests.jacobians import check_gradients

F64 = torch.float64


def noise(*shape: int, dtype: torch.dtype = F64) -> Tensor:
    return torch.randn(*shape, dtype=dtype) * 0.2


def response(channels: int, samples: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(channels, samples, dtype=dtype) * torch.exp(-6 * torch.arange(samples) / samples).to(dtype)


@pytest.mark.parametrize(("samples", "length"), [(1, 1), (1, 9), (300, 1), (300, 7), (300, 300), (20, 500), (999, 70)])
def test_equals_scipys_filter(samples: int, length: int) -> None:
    x, h = noise(2, 2, samples), noise(2, 2, length)
    expected = np.stack([[lfilter(h[b, c], [1], x[b, c]) for c in range(2)] for b in range(2)])
    np.testing.assert_allclose(convolve(x, h), expected, rtol=0, atol=1e-14)
    assert (convolve(x.float(), h.float()) - torch.from_numpy(expected)).abs().max() < 1e-6


@pytest.mark.parametrize("shape", [(2, 2), (1, 2), (2, 1), (1, 1)])
@pytest.mark.parametrize("name", ["auto", "torch"])
def test_gradients_equal_finite_differences(shape: tuple[int, int], name: str) -> None:
    for samples, length in ((1, 1), (17, 6), (5, 14)):
        inputs = [noise(2, 2, samples).requires_grad_(), noise(*shape, length).requires_grad_()]
        with backend(name):
            if shape[0] == 2:
                check_gradients(convolve, inputs)
                check_gradients(convolve, (inputs[0], inputs[1].detach()))
            else:  # one response of all items
                assert torch.autograd.gradcheck(convolve, inputs)
                assert torch.autograd.gradcheck(convolve, (inputs[0], inputs[1].detach()))


@pytest.mark.parametrize("dtype", [F64, torch.float32])
@pytest.mark.parametrize("length", [1, 3, 100, 2047, 5000])
def test_compiled_transforms_equal_torchs(length: int, dtype: torch.dtype) -> None:
    for samples in (2048, 5001, 36000):  # several sizes of both transforms, all radices
        x, h = noise(3, 2, samples, dtype=dtype), noise(1, 2, min(length, samples), dtype=dtype)
        w = noise(3, 2, samples, dtype=dtype)
        found = []
        for name in ("auto", "torch"):
            inputs = [x.clone().requires_grad_(), h.clone().requires_grad_()]
            with backend(name):
                y = convolve(*inputs)
            found.append((y.detach(), *torch.autograd.grad(y, inputs, w)))
        for ours, theirs in zip(*found, strict=True):
            error = (ours - theirs).abs().max() / theirs.abs().max()
            assert error < (1e-14 if dtype == F64 else 2e-6)


def test_threads_change_no_bit() -> None:
    x, h = noise(5, 2, 3000, dtype=torch.float32), noise(5, 2, 800, dtype=torch.float32)
    threads = torch.get_num_threads()
    try:
        found = []
        for count in (1, 3):
            torch.set_num_threads(count)
            found.append(convolve(x, h))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*found)
    assert torch.equal(convolve(x[3:4, :1], h[3:4, :1]), found[0][3:4, :1])


def test_chunks_equal_the_whole() -> None:
    for length in (1, 5, 400):
        x, h = noise(1, 2, 1000), noise(1, 2, length)
        state, parts = None, []
        for a, b in itertools.pairwise((0, 1, 4, 600, 1000)):
            with streaming(state) as tape:
                parts.append(convolve(x[..., a:b], h))
            state = tuple(tape.after)
        torch.testing.assert_close(torch.cat(parts, -1), convolve(x, h), rtol=0, atol=1e-14)


def test_normalisation_is_scale_free_and_differentiable() -> None:
    h = noise(3, 2, 50)
    scaled = h * normalisation(h)[:, None, None]
    assert torch.allclose(scaled.square().sum(-1).amax(1), torch.full((3,), 1 / 64, dtype=F64))
    assert torch.equal(normalisation(torch.full((1, 2, 9), 1e-6)), torch.ones(1))
    assert torch.autograd.gradcheck(normalisation, h.requires_grad_())
    single = h.detach().float().requires_grad_()
    (ours,) = torch.autograd.grad(normalisation(single).sum(), single)
    (ideal,) = torch.autograd.grad(normalisation(h).sum(), h)
    assert (ours - ideal).abs().max() < 1e-5 * ideal.abs().max()


@pytest.mark.parametrize("sample_rate", [44100, 48000])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("response_channels", [1, 2])
def test_is_120_db_below_pedalboard(sample_rate: int, channels: int, response_channels: int) -> None:
    for samples, length, mix in ((20_000, 64, 1.0), (30_000, 20_001, 0.3), (9_000, 12_000, 0.8)):
        x, h = noise(1, channels, samples, dtype=torch.float32), 3 * response(response_channels, length)
        h[-1] *= 1.7  # the louder channel decides, heard or not
        x[..., samples // 3 :: 4000] = 1
        effect = Convolution(sample_rate, impulse_response=h)
        ((name, arguments),) = effect.plugins({"mix": mix})
        heard = torch.from_numpy(getattr(pedalboard, name)(**arguments)(x[0].numpy(), sample_rate))
        ours = effect.process(x, mix=torch.tensor([mix]))[0]
        assert (ours - heard).square().mean() < 1e-12 * heard.square().mean()


def test_a_quiet_response_is_not_normalised() -> None:
    x, h = noise(1, 1, 3000, dtype=torch.float32), 1e-6 * response(1, 500)
    heard = pedalboard.Convolution(h.numpy(), 1.0, 44100)(x[0].numpy(), 44100)
    ours = Convolution(44100, impulse_response=h).process(x, mix=torch.ones(1))[0].numpy()
    assert np.abs(ours - heard).max() < 1e-6 * np.abs(heard).max()


def test_refuses_what_does_not_fit() -> None:
    with pytest.raises(AudioError, match=r"got \(1, 3, 5\)"):
        convolve(noise(2, 2, 9), noise(1, 3, 5))
    with pytest.raises(AudioError, match="48000 Hz and the effect at 44100 Hz"):
        Convolution(44100, impulse_response=[1.0, 0.5], impulse_response_rate=48000)
    with pytest.raises(AudioError, match=r"got \(3, 4\)"):
        Convolution(44100, impulse_response=np.ones((3, 4)))
    with pytest.raises(AudioError, match="not finite"):
        Convolution(44100, impulse_response=[1.0, np.nan])
    with pytest.raises(AudioError, match="got 3 channels"):
        Convolution(44100).process(noise(1, 3, 9), mix=torch.ones(1))


def test_operators_are_well_formed() -> None:
    checks = "test_schema", "test_autograd_registration", "test_faketensor"
    x, h = noise(2, 2, 30).requires_grad_(), noise(1, 2, 7).requires_grad_()
    torch.library.opcheck(torch.ops.diffmix.convolve.default, (x, h), test_utils=checks)
    torch.library.opcheck(torch.ops.diffmix.energy.default, (h,), test_utils=checks)


@pytest.mark.slow
def test_compiles_to_the_same_gradients() -> None:
    inputs = noise(2, 2, 300).requires_grad_(), noise(1, 2, 40).requires_grad_()
    gy = noise(2, 2, 300)
    compiled = torch.compile(convolve, fullgraph=True)
    ours, theirs = (torch.autograd.grad(f(*inputs), inputs, gy) for f in (compiled, convolve))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-14)
