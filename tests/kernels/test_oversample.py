import itertools

import numpy as np
import pytest
import scipy.signal
import torch

from diffmix.kernels import oversample, stream
from diffmix.kernels.backend import backend
from diffmix.kernels.oversample import DELAY, downsample, filter_bank, latency_samples, oversampled, upsample

F64 = torch.float64
FACTORS = [2, 3, 4, 8]


@pytest.mark.parametrize("factor", FACTORS)
def test_the_filter_keeps_what_it_says(factor: int) -> None:
    h = oversample._filter(factor, torch.device("cpu")).numpy()
    frequency, response = scipy.signal.freqz(h / factor, worN=1 << 15, fs=factor)
    level = 20 * np.log10(np.abs(response) + 1e-12)
    assert np.abs(level[frequency <= 0.453]).max() < 1e-3
    assert level[frequency >= 0.547].max() < -90
    assert np.array_equal(h[1:], h[:0:-1])


@pytest.mark.parametrize("factor", FACTORS)
def test_equals_scipys_polyphase_filters(factor: int) -> None:
    h = oversample._filter(factor, torch.device("cpu")).numpy()
    x = torch.randn(2, 2, 1500, dtype=F64)
    expected = scipy.signal.upfirdn(h, x.numpy(), up=factor)[..., : factor * 1500]
    np.testing.assert_allclose(upsample(x, factor).numpy(), expected, atol=1e-13)
    v = torch.randn(2, 2, 1500 * factor, dtype=F64)
    expected = scipy.signal.upfirdn(h / factor, v.numpy(), down=factor)[..., :1500]
    np.testing.assert_allclose(downsample(v, factor).numpy(), expected, atol=1e-13)


def test_every_sample_is_passed_through() -> None:
    x = torch.randn(1, 2, 500)
    assert torch.equal(upsample(x, 4)[..., 4 * DELAY :: 4], x[..., :-DELAY])


def test_a_tone_comes_back_and_its_harmonics_do_not_fold() -> None:
    n = torch.arange(4096, dtype=F64)
    tone = torch.sin(2 * np.pi * (1300 / 4096) * n)[None, None]
    inner = slice(200, -200)
    assert (oversampled(tone, 4, lambda v: v) - tone)[..., inner].abs().max() < 1e-4
    # the third harmonic, 3900 of 4096 bins, folds to 196
    window = torch.hann_window(4096, dtype=F64)
    folded, clean = (
        torch.fft.rfft(f(tone)[0, 0] * window).abs()[196]
        for f in (lambda v: v**3, lambda v: oversampled(v, 4, lambda w: w**3))
    )
    assert clean < 1e-4 * folded


@pytest.mark.parametrize("factor", [1, 4])
@pytest.mark.parametrize("name", ["auto", "torch"])
def test_chunks_equal_the_whole(factor: int, name: str) -> None:
    x = torch.randn(1, 2, 3000)
    late = latency_samples(factor)
    with backend(name):  # type: ignore[arg-type]
        whole = oversampled(x, factor, torch.tanh)
        state, parts = None, []
        padded = torch.nn.functional.pad(x, (0, late))
        for a, b in itertools.pairwise((0, 1, 3, 70, 1500, 3000 + late)):
            with stream.streaming(state) as tape:
                parts.append(oversampled(padded[..., a:b], factor, torch.tanh))
            state = tuple(tape.after)
    streamed = torch.cat(parts, -1)[..., late:]
    assert torch.equal(streamed, whole) if name == "auto" else torch.allclose(streamed, whole, rtol=0, atol=3e-6)


def test_paths_agree() -> None:
    for factor, samples in itertools.product(FACTORS, (1, 40, 2500)):
        x = torch.randn(2, 2, samples)
        y = oversampled(x, factor, torch.tanh)
        with backend("torch"):
            torch.testing.assert_close(oversampled(x, factor, torch.tanh), y, rtol=0, atol=3e-6)


@pytest.mark.parametrize("name", ["auto", "torch"])
@pytest.mark.parametrize("samples", [1, 17, 1200])
def test_gradcheck(name: str, samples: int) -> None:
    x = torch.randn(1, 2, samples, dtype=F64, requires_grad=True)
    with backend(name):  # type: ignore[arg-type]
        assert torch.autograd.gradcheck(lambda v: oversampled(v, 3, torch.tanh), x, fast_mode=samples > 20)


def test_float32_gradient_equals_float64() -> None:
    x = torch.randn(1, 2, 2500, requires_grad=True)
    weight = torch.randn_like(x)
    (single,) = torch.autograd.grad(oversampled(x, 4, torch.tanh), x, weight)
    (double,) = torch.autograd.grad(oversampled(x.double(), 4, torch.tanh), x, weight.double())
    torch.testing.assert_close(single, double, rtol=0, atol=5e-6)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # opcheck's own
def test_the_operators_are_registered_properly() -> None:
    c = torch.randn(2, 1, 3 * 2 * 5, dtype=F64)
    for samples, dtype in ((600, torch.float32), (3, F64)):
        x = torch.randn(2, 2, samples, dtype=dtype, requires_grad=True)
        start = torch.zeros(2, 8, dtype=dtype)
        torch.library.opcheck(oversample._fir.overload, (x, c, start, 3, [5]))
        states = oversample._fir(x, c, start, 3, [5])[1].detach()
        arguments = (torch.randn(2, 3, samples, dtype=dtype), x.detach(), c, states, 3, [5])
        torch.library.opcheck(torch.ops.diffmix.fir_backward.default, arguments)


def test_a_bank_of_many_inputs_and_outputs() -> None:
    x, taps = torch.randn(2, 3, 50, dtype=F64), torch.randn(2, 3, 7, dtype=F64)
    y = filter_bank(x, taps)
    for r, o in itertools.product(range(2), range(2)):
        expected = sum(np.convolve(x[r, i].numpy(), taps[o, i].numpy())[:50] for i in range(3))
        np.testing.assert_allclose(y[r, o].numpy(), expected, atol=1e-12)
