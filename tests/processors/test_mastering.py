import numpy as np
import pyloudnorm
import pytest
import torch

from diffmix.errors import AudioError, SettingsError
from diffmix.kernels.loudness import integrated_loudness, true_peak_db
from diffmix.processors import LoudnessNormaliser, TruePeakLimiter

RATE = 44100


def programme(seconds: float = 2.0) -> torch.Tensor:
    t = torch.arange(int(seconds * RATE), dtype=torch.float64) / RATE
    tones = torch.stack([torch.sin(2 * torch.pi * hz * t) for hz in (110.0, 660.0)])
    return (0.1 * tones * (1 + (3 * t).sin()) + 0.02 * torch.randn(2, len(t), dtype=torch.float64))[None].float()


@pytest.mark.parametrize("target", [-30.0, -14.0])
def test_pyloudnorm_reads_the_target(target: float) -> None:
    y = LoudnessNormaliser(RATE).process(programme(), target_lufs=torch.tensor([target]))
    reading = pyloudnorm.Meter(RATE).integrated_loudness(y[0].double().numpy().T)
    assert reading == pytest.approx(target, abs=1e-3)


def test_items_are_normalised_each() -> None:
    x = torch.cat([programme(), 0.01 * programme()])
    y = LoudnessNormaliser(RATE).process(x, target_lufs=torch.tensor([-20.0, -10.0]))
    assert integrated_loudness(y, RATE).tolist() == pytest.approx([-20, -10], abs=1e-3)


def test_the_ceiling_comes_first() -> None:
    x, target = programme(), torch.tensor([-6.0])
    y = LoudnessNormaliser(RATE, ceiling_db=-1.0).process(x, target_lufs=target)
    assert true_peak_db(y, RATE).item() == pytest.approx(-1, abs=1e-3)
    assert integrated_loudness(y, RATE) < -6.5
    low = torch.tensor([-30.0])
    assert torch.equal(
        LoudnessNormaliser(RATE, ceiling_db=-1.0).process(x, target_lufs=low),
        LoudnessNormaliser(RATE).process(x, target_lufs=low),
    )


def test_silence_stays_silence_with_finite_gradients() -> None:
    for ceiling in (None, -1.0):
        x = torch.zeros(1, 2, 30000, requires_grad=True)
        target = torch.tensor([-14.0], requires_grad=True)
        y = LoudnessNormaliser(RATE, ceiling_db=ceiling).process(x, target_lufs=target)
        assert y.abs().max() == 0
        assert all(g.isfinite().all() for g in torch.autograd.grad(y.square().sum(), (x, target)))


def test_normaliser_gradcheck() -> None:
    x = programme()[..., :1500].double().requires_grad_()
    target = torch.tensor([-14.0], dtype=torch.float64, requires_grad=True)
    for ceiling in (None, -20.0):
        effect = LoudnessNormaliser(2000, ceiling_db=ceiling)
        assert torch.autograd.gradcheck(
            lambda a, b, effect=effect: effect.process(a, target_lufs=b), (x, target), fast_mode=True
        )


def test_the_whole_signal_is_needed() -> None:
    with pytest.raises(AudioError, match="needs the whole signal"):
        LoudnessNormaliser(RATE).process_chunk(programme(), None, target_lufs=torch.tensor([-14.0]))


def test_limiter_learns_its_ceiling() -> None:
    """Gradient descent from a wrong start finds both settings from the sound."""
    since = torch.arange(9000) % 3000 / RATE
    x = 2 * torch.exp(-40 * since) * torch.sin(600 * since) + 0.2 * programme(9000 / RATE)
    effect = TruePeakLimiter(RATE)
    wanted = effect.process(x, ceiling_db=torch.tensor([-9.0]), release_ms=torch.tensor([30.0]))
    u = effect.spec.normalize({"ceiling_db": -2.0, "release_ms": 100.0})[None].requires_grad_()
    optimizer = torch.optim.Adam([u], 0.02)
    for _ in range(150):
        optimizer.zero_grad()
        (effect(x, u) - wanted).square().mean().backward()
        optimizer.step()
    values = effect.spec.denormalize(u.detach())
    assert values["ceiling_db"].item() == pytest.approx(-9, abs=0.3)
    assert np.log(values["release_ms"].item() / 30) == pytest.approx(0, abs=0.3)


def test_wrong_choices_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"lookahead_ms = 0 ms, allowed 0.1..50 ms"):
        TruePeakLimiter(RATE, lookahead_ms=0)
    with pytest.raises(SettingsError, match=r"ceiling_db = 3 dB, allowed -60..0 dB, or None"):
        LoudnessNormaliser(RATE, ceiling_db=3)
