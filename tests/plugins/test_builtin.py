"""Pedalboard's plugins as nodes: the samples are its own, the gradients estimated."""

import numpy as np
import pedalboard
import pytest
import torch

from diffmix.errors import SettingsError
from diffmix.export import to_pedalboard
from diffmix.plugins import GSMFullRateCompressor, MP3Compressor, PedalboardNode, PitchShift, Resample
from diffmix.processors import Chain, Gain

RATE = 44100


def signals(channels: int, length: int = 6000) -> list[torch.Tensor]:
    noise = 0.2 * torch.randn(channels, length, generator=torch.Generator().manual_seed(channels))
    impulse = torch.zeros(channels, length)
    impulse[:, 100] = 1
    return [noise, impulse, torch.sin(torch.linspace(0, 60, length) ** 2).expand(channels, -1) / 2]


@pytest.mark.parametrize("kind", [PitchShift, Resample, GSMFullRateCompressor, MP3Compressor])
@pytest.mark.parametrize("channels", [1, 2])
def test_equals_pedalboard(kind: type[PedalboardNode], channels: int) -> None:
    for rate in (44100, 48000):
        effect = kind(rate)
        u = effect.spec.sample(3, torch.Generator().manual_seed(rate))
        x = torch.stack(signals(channels))
        for audio, out, values in zip(x, effect(x, u), effect.spec.physical(u), strict=True):
            named = dict(zip(effect.spec.names, values.tolist(), strict=True))
            theirs = getattr(pedalboard, kind.__name__)(**named)(audio.numpy(), rate)
            assert np.array_equal(out.numpy(), theirs), named


def test_qualities() -> None:
    x = signals(1)[0]
    for quality in ("ZeroOrderHold", "WindowedSinc8"):
        chosen = getattr(pedalboard.Resample.Quality, quality)
        y = Resample(RATE, quality=quality).process(x[None], target_sample_rate=torch.tensor([9000.0]))[0]
        assert np.array_equal(y.numpy(), pedalboard.Resample(9000, chosen)(x.numpy(), RATE))
        y = GSMFullRateCompressor(RATE, quality=quality).process(x[None])[0]
        assert np.array_equal(y.numpy(), pedalboard.GSMFullRateCompressor(chosen)(x.numpy(), RATE))
    with pytest.raises(SettingsError, match=r"quality is 'good', allowed are ZeroOrderHold, Linear"):
        Resample(RATE, quality="good")


def test_mp3_names_its_sample_rates() -> None:
    with pytest.raises(SettingsError, match="MP3Compressor at 96000 Hz: allowed are 32000, 44100 and 48000 Hz"):
        MP3Compressor(96000)


@pytest.mark.parametrize(
    "effect",
    [PitchShift(RATE), Resample(RATE, quality="Linear"), GSMFullRateCompressor(RATE), MP3Compressor(RATE)],
    ids=lambda e: type(e).__name__,
)
def test_presets_play_them(effect: PedalboardNode) -> None:
    strip = Chain(trim=Gain(RATE), effect=effect)
    u = strip.spec.sample(1, torch.Generator().manual_seed(2))
    values = {name: value.item() for name, value in strip.spec.denormalize(u).items()}
    entries = [{"type": kind, "params": arguments} for kind, arguments in strip.plugins(values)]
    node = {"name": "x", "source": {"files": ["x.wav"], "channels": 2}, "inputs": [], "plugins": entries}
    head = {"format": "diffmix-preset", "version": 1, "generator": "test", "pedalboard": ">=0.9.16"}
    preset = {**head, "sample_rate": RATE, "output": "x", "nodes": [node]}
    x = signals(2)[0]
    assert np.array_equal(to_pedalboard(preset).render({"x": x.numpy()}), strip(x[None], u)[0].numpy())


def log_spectrum(x: torch.Tensor) -> torch.Tensor:
    window = torch.hann_window(1024)
    return torch.stft(x[0], 1024, 256, window=window, return_complex=True).abs().clamp_min(1e-3).log()


def test_a_sample_rate_is_found_by_descent() -> None:
    effect, x = Resample(RATE), signals(1, 12000)[0][None]
    target = log_spectrum(effect.process(x, target_sample_rate=torch.tensor([8000.0])))
    logit = torch.logit(effect.spec.normalize({"target_sample_rate": 11000.0})).requires_grad_()
    optimizer = torch.optim.Adam([logit], 0.05)
    decay = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.95)
    for _ in range(60):
        optimizer.zero_grad()
        (log_spectrum(effect(x, logit.sigmoid()[None])) - target).abs().mean().backward()
        optimizer.step()
        decay.step()
    found = effect.spec.denormalize(logit.sigmoid())["target_sample_rate"].item()
    assert found == pytest.approx(8000, rel=0.05)


@pytest.mark.parametrize("effect", [Resample(RATE), PitchShift(RATE)], ids=lambda e: type(e).__name__)
def test_a_gain_in_front_learns(effect: PedalboardNode) -> None:
    """The gradient of a level in front of a linear effect is that of one behind it."""
    x = signals(1)[0][None]
    weight = torch.randn(x.shape, generator=torch.Generator().manual_seed(4))
    slopes = []
    for before in (True, False):
        gain = torch.tensor(0.7, requires_grad=True)
        u = effect.spec.sample(1, torch.Generator().manual_seed(5))
        y = effect(gain * x, u) if before else gain * effect(x, u)
        ((y - weight) ** 2).sum().backward()
        slopes.append(gain.grad.item())
    assert slopes[0] == pytest.approx(slopes[1], rel=0.05)
