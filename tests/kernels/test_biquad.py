from collections.abc import Callable

import numpy as np
import pedalboard
import pytest
import torch
from torch import Tensor

from diffmix.kernels import _arithmetic, biquad
from tests import reference

SHELVES = {
    biquad.peak: pedalboard.PeakFilter,
    biquad.low_shelf: pedalboard.LowShelfFilter,
    biquad.high_shelf: pedalboard.HighShelfFilter,
}
FIRST_ORDER = {biquad.lowpass: pedalboard.LowpassFilter, biquad.highpass: pedalboard.HighpassFilter}


def settings(number: int) -> tuple[Tensor, Tensor, Tensor]:
    """Random cutoffs (10 Hz to above 20 kHz), gains and Qs, rounded to float32 as a plugin would."""
    u = torch.rand(3, number)
    return 10 ** (1 + 3.35 * u[0]), 40 * u[1] - 20, 10 ** (2 * u[2] - 0.7)


@pytest.mark.parametrize("sample_rate", [44100, 48000, 96000])
def test_twin_coefficients_are_pedalboards(sample_rate: int) -> None:
    """An impulse response of 5 samples fixes five coefficients; noise after it would show any difference in them."""
    x = torch.randn(64).numpy()
    x[:5] = 1, 0, 0, 0, 0
    f, g, q = settings(40)
    for design, plugin in SHELVES.items():
        for sos, *values in zip(design(f, g, q, sample_rate, twin=True), f, g, q, strict=True):
            expected = plugin(*map(float, values))(x, sample_rate)
            assert np.array_equal(reference.sos_cascade(x[None], sos[None].numpy())[0], expected), values
    for design1, plugin1 in FIRST_ORDER.items():
        for sos, cutoff in zip(design1(f, sample_rate, twin=True), f, strict=True):
            expected = plugin1(float(cutoff))(x, sample_rate)
            if cutoff < 0.49 * sample_rate:  # above, diffmix clamps and Pedalboard does not
                assert np.array_equal(reference.sos_cascade(x[None], sos[None].numpy())[0], expected), cutoff


@pytest.mark.parametrize("design", SHELVES)
def test_shelves_and_peak_meet_their_definition(design: Callable[..., Tensor]) -> None:
    """Gain at 0 Hz, at the cutoff and at the Nyquist frequency, from the cookbook's analogue prototypes."""
    f, g, q = (torch.tensor([v], dtype=torch.float64) for v in (1000.0, 9.0, 0.9))
    sos = design(f, g, q, 48000)[:, None]
    h = biquad.frequency_response(sos, torch.tensor([0.0, 1000.0, 24000.0]), 48000)
    gains = {biquad.peak: (0, 9, 0), biquad.low_shelf: (9, None, 0), biquad.high_shelf: (0, None, 9)}[design]
    for level_db, expected in zip((20 * h.abs().log10())[0].tolist(), gains, strict=True):
        if expected is not None:
            assert level_db == pytest.approx(expected, abs=1e-9)
    if design is not biquad.peak:  # |H(jw0)|^2 of a shelf is A^2, at every Q: half the gain in dB
        assert float(20 * h[0, 1].abs().log10()) == pytest.approx(4.5, abs=1e-9)


def test_first_order_filters_meet_at_minus_three_db() -> None:
    f = torch.tensor([200.0], dtype=torch.float64)
    low, high = biquad.lowpass(f, 48000), biquad.highpass(f, 48000)
    at = torch.tensor([200.0, 100.0])
    for sos in (low, high):
        assert biquad.frequency_response(sos[:, None], at, 48000)[0, 0].abs() == pytest.approx(0.5**0.5, abs=1e-12)
    total = biquad.frequency_response(low[:, None], at, 48000) + biquad.frequency_response(high[:, None], at, 48000)
    torch.testing.assert_close(total, torch.ones_like(total))


def test_frequency_response_is_scipys() -> None:
    signal = pytest.importorskip("scipy.signal")
    f, g, q = (v.reshape(2, 3) for v in settings(6))
    sos = biquad.peak(f, g, q, 48000)
    frequency_hz = torch.logspace(1, 4.3, 50, dtype=torch.float64)
    h = biquad.frequency_response(sos, frequency_hz, 48000)
    for item, sections in zip(h, sos, strict=True):
        _, expected = signal.sosfreqz(np.insert(sections.numpy(), 3, 1, axis=1), frequency_hz.numpy(), fs=48000)
        np.testing.assert_allclose(item.numpy(), expected, rtol=1e-9)


@pytest.mark.parametrize("twin", [False, True])
def test_gradients_are_those_of_the_ideal_formula(twin: bool) -> None:
    f, g, q = (v.double().requires_grad_() for v in settings(6))
    weight = torch.randn(6, 5, dtype=torch.float64)
    got = torch.autograd.grad((biquad.peak(f, g, q, 48000, twin) * weight).sum(), (f, g, q))
    want = torch.autograd.grad((biquad.peak(f, g, q, 48000) * weight).sum(), (f, g, q))
    assert all(map(torch.equal, got, want))


def test_ideal_designs_pass_gradcheck() -> None:
    f, g, q = (
        v.double().requires_grad_() for v in (torch.tensor([120.0, 3e3]), torch.tensor([-7.0, 4.0]), torch.ones(2))
    )
    for design in SHELVES:
        assert torch.autograd.gradcheck(lambda *p, d=design: d(p[0] * 1e3, *p[1:], 48000), (f / 1e3, g, q))
    for design1 in FIRST_ORDER:
        assert torch.autograd.gradcheck(lambda p, d=design1: d(p * 1e3, 48000), (f / 1e3,))


def test_gradients_of_log_frequency_are_finite_at_every_frequency() -> None:
    log_f = torch.tensor([1e-6, 1.0, 10, 2e4, 24000, 1e6], dtype=torch.float64).log().requires_grad_()
    for design in SHELVES:
        (gradient,) = torch.autograd.grad(
            design(log_f.exp(), torch.tensor(6.0), torch.tensor(0.7), 48000, True).sum(), log_f
        )
        assert gradient.isfinite().all()
        assert (gradient != 0).tolist() == [False, False, True, True, False, False]  # clamped outside
    for design1 in FIRST_ORDER:
        (gradient,) = torch.autograd.grad(design1(log_f.exp(), 48000, True).sum(), log_f)
        assert gradient.isfinite().all()


def test_designs_keep_the_shape_of_their_parameters() -> None:
    f, g, q = settings(6)
    for shape in ((), (6,), (2, 3)):
        values = [v[:1].reshape(shape) if shape == () else v.reshape(shape) for v in (f, g, q)]
        for twin in (False, True):
            sos = biquad.low_shelf(*values, 44100, twin)
            assert sos.shape == (*shape, 5)
            assert sos.dtype == torch.float64
    assert torch.equal(biquad.peak(f, g, q, 44100, True)[2], biquad.peak(f[2], g[2], q[2], 44100, True))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # opcheck's own
def test_the_twin_operator_is_registered_properly() -> None:
    f, g, q = settings(3)
    ideal = biquad.peak(f, g, q, 44100).requires_grad_()
    torch.library.opcheck(
        _arithmetic._twin_coefficients.overload, (ideal, torch.stack([f, g, q]).double(), 44100.0, "_peak")
    )


@pytest.mark.parametrize("kind", ["lowpass", "highpass", "bandpass", "bandreject"])
def test_resonant_sections_meet_their_definition(kind: str) -> None:
    """Gain at 0 Hz, at the cutoff and at the Nyquist frequency, from the cookbook's analogue prototypes."""
    q = torch.tensor([0.3, 0.5**0.5, 8.0], dtype=torch.float64)
    sos = biquad.resonant(kind, torch.tensor([1000.0]), q, 48000)
    assert sos.shape == (3, 5)
    h = biquad.frequency_response(sos[:, None], torch.tensor([0.0, 1000.0, 24000.0]), 48000).abs()
    one, zero = torch.ones(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    expected = {
        "lowpass": (one, q, zero),
        "highpass": (zero, q, one),
        "bandpass": (zero, one, zero),
        "bandreject": (one, zero, one),
    }[kind]
    torch.testing.assert_close(h, torch.stack(expected, -1), rtol=1e-9, atol=1e-12)


def test_resonant_sections_are_scipys() -> None:
    signal = pytest.importorskip("scipy.signal")
    cutoff, q = torch.tensor([3000.0], dtype=torch.float64), torch.tensor([0.5**0.5], dtype=torch.float64)
    for kind, name in (("lowpass", "low"), ("highpass", "high")):
        b, a = signal.butter(2, 3000, name, fs=48000)
        np.testing.assert_allclose(biquad.resonant(kind, cutoff, q, 48000)[0], [*b, *a[1:]], rtol=1e-12)
    for kind, design in (("bandpass", signal.iirpeak), ("bandreject", signal.iirnotch)):
        # SciPy's bandwidth is warped otherwise: the same Q only far below the sample rate
        b, a = design(100, 5, fs=48000)
        got = biquad.resonant(kind, torch.tensor([100.0]), torch.tensor([5.0]), 48000)[0]
        np.testing.assert_allclose(got, [*b, *a[1:]], rtol=1e-4, atol=1e-9)


def test_resonant_designs_pass_gradcheck() -> None:
    f, q = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in ([0.12, 3.0], [0.5, 6.0]))
    for kind in ("lowpass", "highpass", "bandpass", "bandreject"):
        assert torch.autograd.gradcheck(lambda *p, k=kind: biquad.resonant(k, p[0] * 1e3, p[1], 48000), (f, q))


def test_a_twins_coefficients_are_the_same_with_and_without_gradients() -> None:
    settings = [torch.rand(50, generator=torch.Generator().manual_seed(5)) * s + 1 for s in (5000, 10, 3)]
    learned = biquad.peak(*(s.clone().requires_grad_() for s in settings), 44100, twin=True)
    assert learned.requires_grad
    assert torch.equal(biquad.peak(*settings, 44100, twin=True), learned)
