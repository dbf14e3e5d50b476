import pytest
import torch

from diffmix.console import Console
from diffmix.estimators import Estimator, features
from diffmix.estimators.features import BANDS, describe, log_mel, mel_weights

RATE = 44100


def song(batch: int = 2, n: int = 4, channels: int = 1, length: int = 22050, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, n, channels, length, generator=generator)
    return torch.cumsum(x, -1) * 0.01 * torch.rand(batch, n, 1, 1, generator=generator)


def test_long_recordings_in_pieces_are_described_as_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(2, 2, 3 * RATE + 777, generator=torch.Generator().manual_seed(0)) * torch.tensor([[[1.0], [0.3]]])
    whole = features.log_mel(x, RATE), features.measures(x)
    monkeypatch.setattr(features, "_PIECE_FRAMES", 7)
    monkeypatch.setattr(features, "_PIECE", 10_000)
    for pieces, expected in zip((features.log_mel(x, RATE), features.measures(x)), whole, strict=True):
        torch.testing.assert_close(pieces, expected, atol=1e-5, rtol=0)


def test_a_sine_is_loudest_in_its_band() -> None:
    t = torch.arange(RATE) / RATE
    for hz in (100.0, 1000.0, 8000.0):
        mel = log_mel(torch.sin(2 * torch.pi * hz * t)[None, None], RATE).mean(2)[0]
        weights = mel_weights(2048, float(RATE))
        heard = (weights[:, mel.argmax()] * torch.arange(1025)).sum() * RATE / 2048
        assert abs(heard - hz) < 0.06 * hz + 25


def test_filters_cover_every_band_at_every_rate() -> None:
    for rate in (8000, 16000, 44100, 96000):
        weights = mel_weights(2 * round(2048 / 44100 * rate / 2), float(rate))
        assert weights.shape[1] == BANDS
        sums = weights.sum(0)
        assert torch.all((sums - 1).abs()[: BANDS // 2] < 1e-5)
        assert torch.all((sums < 1e-6) | ((sums - 1).abs() < 1e-5))


def test_level_and_polarity_are_not_heard() -> None:
    x = song(1, 3)[0]
    for scaled in (x * 0.03, -x):
        for a, b in zip(describe(x, RATE), describe(scaled, RATE), strict=True):
            assert torch.allclose(a, b, atol=2e-3)


def test_short_and_silent_tracks_are_described() -> None:
    for x in (torch.zeros(1, 1, 100), torch.zeros(1, 2, RATE), torch.ones(1, 1, 1)):
        assert all(torch.isfinite(part).all() for part in describe(x, RATE))


def test_sizes_defaults_and_bounds() -> None:
    console = Console(RATE)
    estimator = Estimator(console.specs, width=32)
    tracks, bus, master = estimator(song(), RATE)
    assert tracks.shape == (2, 4, console.track_spec.size)
    assert bus.shape == (2, console.bus_spec.size)
    assert master.shape == (2, console.master_spec.size)
    assert tracks.min() > 0
    assert tracks.max() < 1
    # untrained, it answers about the defaults
    assert (tracks - console.track_spec.default().clamp(0.1, 0.9)).abs().max() < 0.15


def test_order_and_padding_do_not_matter() -> None:
    torch.manual_seed(0)
    estimator = Estimator(Console(RATE).specs, width=32).eval()
    x = song(1, 5)
    tracks, bus, _ = estimator(x, RATE)
    order = torch.tensor([2, 0, 4, 1, 3])
    again, bus_again, _ = estimator(x[:, order], RATE)
    assert torch.allclose(again, tracks[:, order], atol=1e-6)
    assert torch.allclose(bus_again, bus, atol=1e-6)
    padded = torch.cat([x, song(1, 2, seed=9)], 1)
    mask = torch.tensor([[1.0, 1, 1, 1, 1, 0, 0]])
    with_padding, bus_padded, _ = estimator(padded, RATE, mask)
    assert torch.allclose(with_padding[:, :5], tracks, atol=1e-6)
    assert torch.allclose(bus_padded, bus, atol=1e-6)


def test_context_is_heard() -> None:
    torch.manual_seed(0)
    estimator = Estimator(Console(RATE).specs, width=32).eval()
    x = song(1, 3)
    other = torch.cat([x[:, :2], song(1, 1, seed=4) ** 3], 1)
    assert (estimator(x, RATE)[0][:, 0] - estimator(other, RATE)[0][:, 0]).abs().max() > 1e-6


def test_mono_and_stereo_together() -> None:
    estimator = Estimator(Console(RATE).specs, width=32).eval()
    tracks, _, _ = estimator((song(1, 2), song(1, 3, 2)), RATE)
    assert tracks.shape[1] == 5
