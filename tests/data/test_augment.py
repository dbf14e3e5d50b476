"""Augmentations: what is drawn stays in its limits, pitch and tempo move apart, styles come at one peak."""

import math

import numpy as np
import pytest
import torch
from scipy import signal

from diffmix.data import augment
from diffmix.data.augment import Moved, compressed, equalised, expanded, faded, two_styles
from diffmix.data.stretch import pitched, sped_up, stretched
from diffmix.errors import AudioError

RATE = 24000


def tone(hz: float, seconds: float = 1.0) -> torch.Tensor:
    return 0.3 * torch.sin(2 * torch.pi * hz * torch.arange(round(seconds * RATE)) / RATE)[None]


def frequency_hz(x: torch.Tensor) -> float:
    spectrum = torch.fft.rfft(x[0] * torch.hann_window(x.shape[-1]), 1 << 18).abs()
    return spectrum.argmax().item() * RATE / (1 << 18)


@pytest.mark.parametrize("factor", [0.7, 1.0, 1.3])
def test_a_longer_tone_keeps_pitch_and_level(factor: float) -> None:
    x = torch.cat([tone(440), 0.5 * tone(440)])
    y = stretched(x, factor, RATE)
    assert y.shape == (2, round(RATE * factor))
    assert frequency_hz(y) == pytest.approx(440, rel=1e-3)
    middle = y[:, 2000:-2000]
    assert middle.square().mean(1).sqrt() == pytest.approx(x.square().mean(1).sqrt(), rel=0.02)
    if factor == 1:
        assert torch.allclose(y, x, atol=1e-6)
    with pytest.raises(AudioError, match="to 4 times as long"):
        stretched(x, 5.0, RATE)


def test_pitch_and_tempo_move_apart() -> None:
    assert frequency_hz(sped_up(tone(440), 1.5)) == pytest.approx(660, rel=1e-3)
    y = pitched(tone(440), 200, 0.8, RATE)
    assert frequency_hz(y) == pytest.approx(440 * 2 ** (2 / 12), rel=1e-3)
    assert y.shape[-1] == pytest.approx(RATE / 0.8, rel=1e-3)
    beats = tone(440, 2.0) * (tone(4, 2.0) > 0)  # four a second
    level = pitched(beats, 0.0, 1.25, RATE).abs()
    assert frequency_hz(level - level.mean()) == pytest.approx(5, rel=0.05)


def test_half_of_the_recordings_move_and_have_what_they_need() -> None:
    drawn = [Moved(np.random.default_rng(seed)) for seed in range(200)]
    assert 70 < sum(m.tempo != 1 for m in drawn) < 130
    for moved in drawn[:12]:
        x = torch.randn(1, moved.needed(12000))
        assert moved(x, 12000, RATE).shape == (1, 12000)


def test_an_equaliser_is_within_its_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[str, torch.Tensor]] = []
    for name in ("peak", "low_shelf", "high_shelf"):
        design = getattr(augment.biquad, name)

        def spied(hz, gain_db, q, rate, name=name, design=design):  # type: ignore[no-untyped-def]
            drawn.append((name, torch.stack([hz, gain_db, q], 1)))
            return design(hz, gain_db, q, rate)

        monkeypatch.setattr(augment.biquad, name, spied)
    x = torch.randn(1, 256)
    for seed in range(100):
        assert equalised(x, RATE, np.random.default_rng(seed)).isfinite().all()
    peaks = [rows for name, rows in drawn if name == "peak"]
    hz, gain_db, q = torch.cat(peaks).unbind(1)
    assert hz.min() >= 200
    assert hz.max() <= 0.45 * RATE
    assert gain_db.abs().max() > 24  # one that follows its opposite
    assert max(abs(rows[:, 1].cumsum(0)).max() for rows in peaks) < 24
    assert (q.min() > 0.1, q.max() < 10.1) == (True, True)
    for name, (low, high) in (("low_shelf", (20, 200)), ("high_shelf", (4000, 0.45 * RATE))):
        rows = torch.cat([rows for found, rows in drawn if found == name])
        assert 65 < len(rows) < 95  # four of five
        assert low <= rows[:, 0].min() <= rows[:, 0].max() <= high
        assert rows[:, 1].abs().max() < 24
    assert torch.equal(equalised(x, 8000, np.random.default_rng(0)).isfinite(), torch.ones_like(x).bool())


def test_what_was_left_out_counts_in_the_published_codes_sum() -> None:
    """With every gain positive the second peak of 20 dB is left out; the third fits only if it was forgotten."""

    class Drawn:
        def __init__(self) -> None:
            self.gains = iter((20.0, 20.0, -10.0, 3.0, 0.0, 0.0))

        def random(self) -> float:
            return 0.0

        def choice(self, _: tuple[int, int]) -> int:
            return 1

        def uniform(self, low: float, high: float) -> float:
            return next(self.gains) if (low, high) in ((0, 48), (0, 24)) else (low + high) / 2

    x = torch.nn.functional.pad(torch.ones(1, 1), (0, 8191))
    third = round(5000 * 8192 / RATE)
    made = [equalised(x, RATE, Drawn(), legacy) for legacy in (False, True)]  # type: ignore[arg-type]
    response_db = [20 * torch.fft.rfft(y[0]).abs()[third].log10().item() for y in made]
    assert response_db[0] < -7  # 20 - 10 dB in all
    assert response_db[1] > -3  # 20 + 20 - 10 dB would be too much


def test_shelves_have_the_slope_of_sox() -> None:
    """A cookbook shelf of slope S has 1/Q = sqrt((A + 1/A)(1/S - 1) + 2); at S = 1 that is 0.7071 at any gain."""
    assert augment._q_of_shelf(12.0, 1.0) == pytest.approx(math.sqrt(0.5))
    assert augment._q_of_shelf(0.0) == pytest.approx(0.5)
    assert augment._q_of_shelf(12.0) == augment._q_of_shelf(-12.0) < 0.5


def test_dynamics_do_what_they_are_called() -> None:
    quiet_then_loud = torch.cat([0.003 * torch.ones(RATE), torch.ones(RATE)])[None] * tone(500, 2.0) / 0.3

    def contrast(x: torch.Tensor) -> float:
        quiet, loud = x[0, RATE // 2 : RATE], x[0, -RATE // 2 :]
        return 10 * (loud.square().mean() / quiet.square().mean()).log10().item()

    before = contrast(quiet_then_loud)
    for seed in range(6):
        assert contrast(compressed(quiet_then_loud, RATE, np.random.default_rng(seed))) < before - 1
        assert contrast(expanded(quiet_then_loud, RATE, np.random.default_rng(seed))) > before - 0.01
    assert contrast(expanded(quiet_then_loud, RATE, np.random.default_rng(1))) > before + 5


def test_two_styles_are_two_and_peak_at_one_level() -> None:
    x = torch.from_numpy(signal.lfilter([1], [1, -0.9], np.random.default_rng(0).standard_normal(RATE)))[None].float()
    different = 0
    for seed in range(8):
        made = two_styles(x, RATE, np.random.default_rng(seed))
        again = two_styles(x, RATE, np.random.default_rng(seed))
        for one, same in zip(made, again, strict=True):
            assert torch.equal(one, same)
            assert 20 * one.abs().max().log10() == pytest.approx(-12, abs=1e-3)
            assert one[0, 0] == one[0, -1] == 0
        different += not torch.allclose(*made, atol=1e-3)
    assert different >= 6
    silent = two_styles(torch.zeros(1, RATE), RATE, np.random.default_rng(0))
    assert not any(part.any() for part in silent)
    short = faded(torch.ones(1, 10), 50)
    assert short.isfinite().all()
