import itertools

import numpy as np
import pytest
import scipy.signal
import torch
from torch import Tensor

from diffmix.kernels import limiter as family
from diffmix.kernels import stream
from diffmix.kernels.limiter import limiter, limiter_latency, true_peaks
from diffmix.kernels.loudness import true_peak_db
from diffmix.kernels.oversample import DELAY

RATE = 44100
LOOKAHEAD = 220


def below_19_khz(samples: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((2, samples))
    return scipy.signal.sosfilt(scipy.signal.butter(8, 19000, fs=RATE, output="sos"), noise)


def hits(samples: int) -> np.ndarray:
    t = np.arange(samples) / RATE
    since = t % 0.25
    return np.stack(
        [np.exp(-30 * since) * np.sin(2 * np.pi * 60 * since + 0.5), np.exp(-60 * since) * below_19_khz(samples)[0]]
    )


def tones(samples: int) -> np.ndarray:
    n = np.arange(samples)
    return np.stack([np.sin(np.pi / 2 * n + np.pi / 4), np.sin(2 * np.pi * 18900 / RATE * n)]) * np.linspace(
        0.5, 4, samples
    )


SIGNALS = {"noise": below_19_khz, "hits": hits, "tones": tones}


def oversampled_peak_db(y: np.ndarray) -> float:
    """By sixteen times oversampling: a long Kaiser filter of our own making, and the spectrum extended by zeros."""
    taps = scipy.signal.firwin(2 * 16 * 200 + 1, 1, window=("kaiser", 9.0), fs=2 * 16)
    faded = y * scipy.signal.windows.tukey(y.shape[-1], 0.05)  # a tone cut off is not band-limited
    by_filter = np.abs(scipy.signal.resample_poly(faded, 16, 1, axis=-1, window=taps)).max()
    by_spectrum = np.abs(scipy.signal.resample(faded, 16 * y.shape[-1], axis=-1)).max()
    return float(20 * np.log10(max(by_filter, by_spectrum)))


def limited(x: np.ndarray, drive: float, ceiling: float = -1.0, lookahead: int = LOOKAHEAD) -> np.ndarray:
    audio = torch.tensor(drive * x, dtype=torch.float32)[None]
    return limiter(audio, torch.tensor([ceiling]), torch.tensor([50.0]), RATE, lookahead)[0].double().numpy()


@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize(("drive", "lookahead"), [(1, 220), (8, 220), (8, 44)])
def test_the_true_peak_is_the_ceiling(name: str, drive: float, lookahead: int) -> None:
    y = limited(SIGNALS[name](12000), drive, lookahead=lookahead)
    assert -1.35 < oversampled_peak_db(y) < -0.95
    assert true_peak_db(torch.tensor(y)[None], RATE).item() <= -0.999  # what the standard's meter reads


def test_full_band_noise_and_clicks_by_the_standards_meter() -> None:
    noise = np.random.default_rng(1).standard_normal((2, 20000))
    clicks = np.zeros((1, 6000))
    clicks[:, ::1000] = 5
    for x in (noise, clicks):
        y = limited(x, 1)
        assert -1.05 < true_peak_db(torch.tensor(y)[None], RATE).item() <= -0.999
        assert np.abs(scipy.signal.resample_poly(y, 8, 1, axis=-1)).max() < 10 ** (-0.9 / 20)


def test_the_shortest_lookahead_is_enough() -> None:
    """As the gain is low already some samples before a peak, and still after it, it bends no wave between them."""
    rng = np.random.default_rng(1)
    noise = rng.standard_normal((2, 8000)) * np.exp(2 * rng.standard_normal(40)).repeat(200)
    audio = torch.tensor(noise)[None]
    y = limiter(audio, torch.tensor([-6.0]), torch.tensor([1.0]), RATE, 2)[0].numpy()
    assert np.abs(scipy.signal.resample_poly(y, 16, 1, axis=-1)).max() < 10 ** (-5.8 / 20)


def test_what_is_under_the_ceiling_is_left_alone() -> None:
    x = torch.tensor(0.1 * hits(5000), dtype=torch.float32)[None]
    assert torch.equal(limiter(x, torch.tensor([-1.0]), torch.tensor([50.0]), RATE, LOOKAHEAD), x)


def test_one_gain_for_all_channels_ready_before_the_peak_and_released_after_it() -> None:
    x = torch.full((1, 2, 9000), 0.1)
    x[:, 0, 4000] = 1.0
    y = limiter(x, torch.tensor([-12.0]), torch.tensor([20.0]), RATE, LOOKAHEAD)
    gain_db = 20 * (y / x).log10()
    torch.testing.assert_close(gain_db[0, 0], gain_db[0, 1], rtol=0, atol=1e-5)
    assert gain_db[0, 0, 4000] == pytest.approx(-12, abs=0.01)
    assert gain_db[0, 0, : 4000 - LOOKAHEAD - 20].abs().max() == 0
    falling = gain_db[0, 0, 4000 - LOOKAHEAD : 4000]
    assert (falling.diff() <= 1e-5).all()
    later = gain_db[0, 0, 4400 : 4400 + 882 + 1]  # one time constant: 20 ms
    assert float(later[-1] / later[0]) == pytest.approx(np.exp(-1), rel=1e-3)


def test_true_peaks_of_a_tone() -> None:
    for frequency in (0.05, 0.2, 0.25, 0.43):
        n = torch.arange(3000, dtype=torch.float64)
        tone = torch.sin(2 * torch.pi * frequency * n + 1)[None, None]
        inner = true_peaks(torch.cat([tone, 0.3 * tone], 1))[..., 200:]
        assert inner.max() == pytest.approx(1.0, abs=0.03)  # the standard's filter has ripple
        assert inner.max() > 0.995


def test_true_peaks_lag_by_the_delay() -> None:
    x = torch.zeros(1, 1, 200)
    x[..., 100] = -1.0
    assert true_peaks(x).argmax() == 100 + DELAY


def test_chunks_equal_the_whole() -> None:
    x = torch.tensor(3 * hits(3000), dtype=torch.float32)[None]
    settings = torch.tensor([-6.0]), torch.tensor([30.0]), RATE, 60
    late = limiter_latency(60)
    padded = torch.nn.functional.pad(x, (0, late))
    state, parts = None, []
    for a, b in itertools.pairwise((0, 1, 50, 2049, 3000 + late)):
        with stream.streaming(state) as tape:
            parts.append(limiter(padded[..., a:b], *settings))
        state = tuple(tape.after)
    assert torch.equal(torch.cat(parts, -1)[..., late:], limiter(x, *settings))


@pytest.mark.parametrize("moving", [False, True])
def test_gradcheck(moving: bool) -> None:
    x = torch.randn(1, 2, 60, dtype=torch.float64, requires_grad=True)
    shape = (1, 60) if moving else (1,)
    ceiling = (-4 - torch.rand(shape, dtype=torch.float64)).requires_grad_()
    release = torch.full(shape, 1.0, dtype=torch.float64, requires_grad=True)

    def effect(x: Tensor, ceiling: Tensor, release: Tensor) -> Tensor:
        return limiter(x, ceiling, release, RATE, 20)

    assert torch.autograd.gradcheck(effect, (x, ceiling, release), eps=1e-7, atol=1e-5, fast_mode=moving)


def test_gradients_are_finite() -> None:
    for x in (torch.zeros(1, 2, 300), torch.ones(1, 2, 300), torch.ones(1, 1, 1)):
        leaves = (
            x.clone().requires_grad_(),
            torch.tensor([-3.0]).requires_grad_(),
            torch.tensor([50.0]).requires_grad_(),
        )
        gradients = torch.autograd.grad(limiter(*leaves, RATE, LOOKAHEAD).square().sum(), leaves)
        assert all(g.isfinite().all() for g in gradients)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # opcheck's own
def test_the_operator_is_registered_properly() -> None:
    x = torch.randn(2, 8, 60, requires_grad=True)
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    arguments = x, torch.zeros(2, 1, 1, dtype=torch.float64), torch.zeros(2, 4), 1, [4]
    torch.library.opcheck(family._peaks.overload, arguments, test_utils=tests)
