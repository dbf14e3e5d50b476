import math

import numpy as np
import pyloudnorm
import pytest
import scipy.signal
import torch
from torch import Tensor

from diffmix.errors import AudioError
from diffmix.kernels.backend import backend
from diffmix.kernels.loudness import LoudnessMeter, block_loudness, integrated_loudness, true_peak_db

F64 = torch.float64


def programme(channels: int, seconds: float, sample_rate: int) -> Tensor:
    """Chords with a beat, loud and quiet passages and a pause, so that both gates have work to do."""
    t = torch.arange(int(seconds * sample_rate), dtype=F64) / sample_rate
    tones = sum(torch.sin(2 * math.pi * f * t + f) / f**0.5 for f in (55.0, 220.0, 331.0, 1250.0, 5100.0))
    beat = torch.exp(-8 * (t % 0.5))
    level = 10 ** (-1.5 * (t / seconds * 7 % 2).floor() - 4.0 * ((t > 0.6 * seconds) & (t < 0.75 * seconds)))
    x = level * (tones * 0.3 + beat * torch.randn(channels, len(t), dtype=F64))
    return 0.2 * x[None]


@pytest.mark.parametrize("sample_rate", [44100, 48000, 96000])
@pytest.mark.parametrize("channels", [1, 2])
def test_equals_pyloudnorm(sample_rate: int, channels: int) -> None:
    for seconds in (0.4, 0.93, 4.0):
        x = programme(channels, seconds, sample_rate)
        expected = pyloudnorm.Meter(sample_rate).integrated_loudness(x[0].numpy().T)
        assert integrated_loudness(x, sample_rate).item() == pytest.approx(expected, abs=1e-9)
        assert integrated_loudness(x.float(), sample_rate).item() == pytest.approx(expected, abs=1e-4)


def test_blocks_equal_pyloudnorms() -> None:
    x = programme(2, 3.0, 44100)
    meter = pyloudnorm.Meter(44100)
    meter.integrated_loudness(x[0].numpy().T)
    expected = np.maximum(meter.blockwise_loudness, -70)
    np.testing.assert_allclose(block_loudness(x, 44100)[0].numpy(), expected, atol=1e-6)


def test_the_gates_matter() -> None:
    x = programme(2, 4.0, 44100)
    with_pause = torch.cat([x, torch.zeros_like(x), 1e-3 * x], -1)
    assert abs(integrated_loudness(with_pause, 44100) - integrated_loudness(x, 44100)) < 0.5
    ungated = 10 * torch.log10((10 ** (block_loudness(with_pause, 44100) / 10)).mean())
    assert ungated < integrated_loudness(x, 44100) - 3


def test_sine_of_the_standard() -> None:
    # BS.1770-4: 997 Hz at 0 dBFS in one channel reads -3.01 LUFS
    x = torch.sin(2 * math.pi * 997 * torch.arange(96000, dtype=F64) / 48000)[None, None]
    assert integrated_loudness(x, 48000).item() == pytest.approx(-3.01, abs=0.05)
    assert integrated_loudness(torch.cat([x, x], 1), 48000).item() == pytest.approx(0.0, abs=0.05)


def test_silence_and_short_signals() -> None:
    x = torch.zeros(2, 2, 44100, requires_grad=True)
    loudness = integrated_loudness(x, 44100)
    assert loudness.tolist() == pytest.approx([-70, -70], abs=1e-5)
    loudness.sum().backward()
    assert x.grad.isfinite().all()
    for samples in (1, 17, 5000):
        short = torch.full((1, 1, samples), 0.5, requires_grad=True)
        value = integrated_loudness(short, 44100)
        value.sum().backward()
        assert value.isfinite().all()
        assert short.grad.isfinite().all()
    tone = torch.sin(2 * math.pi * 997 * torch.arange(14400, dtype=F64) / 48000)[None, None]
    assert integrated_loudness(tone, 48000).item() == pytest.approx(-3.01, abs=0.2)


def test_gradients_equal_finite_differences() -> None:
    x = programme(2, 1.0, 2000)[..., :1500]
    x = torch.cat([x, 0.3 * x]).requires_grad_()
    for name in ("auto", "torch"):
        with backend(name):
            assert torch.autograd.gradcheck(lambda a: integrated_loudness(a, 2000), x, fast_mode=True)
            assert torch.autograd.gradcheck(lambda a: block_loudness(a, 2000), x, fast_mode=True)
    assert torch.autograd.gradcheck(lambda a: true_peak_db(a, 2000), x, fast_mode=True)


def test_paths_agree() -> None:
    x = programme(2, 2.0, 44100)
    with backend("torch"):
        portable = integrated_loudness(x, 44100)
    torch.testing.assert_close(integrated_loudness(x, 44100), portable, rtol=0, atol=1e-9)


def test_an_item_of_a_batch_equals_it_alone() -> None:
    x = torch.cat([programme(2, 1.0, 44100), 0.1 * programme(2, 1.0, 44100)])
    for measure in (integrated_loudness, true_peak_db):
        assert torch.equal(measure(x, 44100)[1:], measure(x[1:], 44100))


def test_true_peak_between_the_samples() -> None:
    n = torch.arange(2000, dtype=F64)
    x = torch.sin(math.pi / 2 * n + math.pi / 4)[None, None]
    assert x.abs().max() < 0.7072
    assert true_peak_db(x, 48000).item() == pytest.approx(0.0, abs=0.1)  # the sample peak is -3.01 dBFS
    for frequency in (0.01, 0.08, 0.19):  # of the sample rate, where the standard's filter is flat to 0.25 dB
        tone = torch.sin(2 * math.pi * frequency * n + 0.3)[None, None]
        assert true_peak_db(tone, 48000).item() == pytest.approx(0.0, abs=0.25)


def test_true_peak_follows_an_oversampled_waveform() -> None:
    sos = scipy.signal.butter(8, 0.4, output="sos")
    x = scipy.signal.sosfilt(sos, np.random.default_rng(0).standard_normal((4, 2, 6000)))
    expected = 20 * np.log10(np.abs(scipy.signal.resample_poly(x, 16, 1, axis=-1)).max((1, 2)))
    np.testing.assert_allclose(true_peak_db(torch.from_numpy(x), 44100).numpy(), expected, atol=0.3)


def test_true_peak_of_extremes() -> None:
    click = torch.zeros(1, 1, 50)
    click[..., 20] = -1.0
    assert true_peak_db(click, 44100).item() >= 0.0
    silence = torch.zeros(1, 2, 100, requires_grad=True)
    level = true_peak_db(silence, 44100)
    level.sum().backward()
    assert level.item() == pytest.approx(-120, abs=1e-4)
    assert silence.grad.isfinite().all()


def test_true_peak_of_a_long_signal_is_that_of_its_parts() -> None:
    x = torch.randn(1, 1, (1 << 18) + 3000) * 0.1
    x[..., (1 << 18) - 2 : (1 << 18) + 2] = torch.tensor([1.0, 1.0, -1.0, -1.0])  # across the seam
    assert torch.equal(true_peak_db(x, 44100), true_peak_db(x[..., (1 << 18) - 1500 :], 44100))


def test_compiles() -> None:
    x = programme(2, 0.6, 8000)
    for measure in (integrated_loudness, true_peak_db):
        compiled = torch.compile(measure, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(x, 8000), measure(x, 8000), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("items", "channels"), [(1, 2), (9, 1), (5, 2)])
def test_what_is_only_measured_equals_what_has_gradients(items: int, channels: int) -> None:
    x = torch.cat([0.3**n * programme(channels, 1.37, 44100) for n in range(items)])
    for dtype, bound in ((F64, 1e-9), (torch.float32, 2e-5)):
        y = x.to(dtype)
        for measure in (integrated_loudness, true_peak_db, block_loudness):
            watched = measure(y.clone().requires_grad_(), 44100).detach()
            torch.testing.assert_close(measure(y, 44100), watched, rtol=0, atol=bound)
    short = x[..., :300]
    torch.testing.assert_close(
        integrated_loudness(short, 44100), integrated_loudness(short.clone().requires_grad_(), 44100).detach()
    )


def test_a_meter_hears_pieces_of_any_length() -> None:
    x = programme(2, 2.3, 44100).repeat(3, 1, 1) * torch.tensor([1.0, 0.1, -0.4])[:, None, None]
    meter = LoudnessMeter(44100)
    for piece in x.split([1, 7, 4409, 1, 30000, 5, x.shape[-1] - 34423], -1):
        meter.add(piece)
    torch.testing.assert_close(meter.loudness(), integrated_loudness(x, 44100), rtol=0, atol=1e-9)
    assert torch.equal(meter.peaks(), x.abs().amax((1, 2)))
    with pytest.raises(AudioError, match=r"2 items of 2 channels, before 3 of 2"):
        meter.add(x[:2])


def test_what_is_not_a_number_is_not_measured() -> None:
    x = torch.zeros(2, 1, 20000)
    x[1, 0, 777] = math.nan
    meter = LoudnessMeter(44100)
    for piece in x.split(9000, -1):
        meter.add(piece)
    for found in (true_peak_db(x, 44100), meter.peaks()):
        assert found[0].isfinite()
        assert found[1].isnan()


def test_true_peaks_are_found_wherever_they_are() -> None:
    generator = torch.Generator().manual_seed(0)
    for samples in (1, 5, 127, 128, 129, 1000):
        x = torch.randn(40, 1, samples, generator=generator, dtype=F64) * torch.rand(40, 1, samples, dtype=F64) ** 8
        watched = true_peak_db(x.clone().requires_grad_(), 44100).detach()
        torch.testing.assert_close(true_peak_db(x, 44100), watched, rtol=0, atol=1e-9)
    click = torch.zeros(1, 1, 128, dtype=F64)
    click[..., -2:] = torch.tensor([1.0, 1.0])  # its true peak lies behind the last block
    assert true_peak_db(click, 44100) == true_peak_db(torch.nn.functional.pad(click, (70, 70)), 44100)
