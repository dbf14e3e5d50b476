"""The compander beyond what every effect keeps; tests/export/test_diffvox.py holds its recursion to torchcomp's."""

import pytest
import torch

from diffmix.errors import SettingsError
from diffmix.processors import Compander

RATE = 44100
SETTINGS = {
    "threshold_db": -20.0, "ratio": 4.0, "expander_threshold_db": -50.0, "expander_ratio": 2.0,
    "average_ms": 1.0, "attack_ms": 2.0, "release_ms": 20.0,
}  # fmt: skip


def play(x: torch.Tensor, **options: object) -> torch.Tensor:
    effect = Compander(RATE, precision="float64", **options)  # type: ignore[arg-type]
    return effect.process(x, **{name: torch.tensor([value]) for name, value in SETTINGS.items()})


def test_it_settles_on_the_curve() -> None:
    levels = torch.tensor([-90.0, -60.0, -40.0, -20.0, -10.0, 0.0])
    x = (10 ** (levels / 20))[:, None, None].expand(-1, 1, 20000)
    settled = 20 * torch.log10(play(x)[..., -1] / x[..., -1])[:, 0]
    assert settled.tolist() == pytest.approx([-30, -10, 0, 0, -7.5, -15], abs=1e-3)  # as if -90 dB were -80 dB
    assert Compander(RATE).gain_db(levels, SETTINGS).tolist() == pytest.approx(settled.tolist(), abs=1e-3)


def test_times_are_those_of_the_gain() -> None:
    """After 2 ms of a step it has fallen by 63 % of the factor, and after 20 ms risen by it; the mean hardly delays."""
    x = torch.cat([torch.full((1, 1, 6000), level) for level in (1e-2, 1.0, 1e-2)], -1)
    effect = Compander(RATE, precision="float64", ranges={"average_ms": (0.01, 0.01)})
    values = {name: torch.tensor([value]) for name, value in SETTINGS.items()} | {"average_ms": torch.tensor([0.01])}
    gain = (effect.process(x, **values) / x)[0, 0]
    low = 10 ** (-15 / 20)
    assert (1 - gain[6000 + 88]) / (1 - low) == pytest.approx(0.632, abs=0.01)
    assert (gain[12000 + 882] - low) / (1 - low) == pytest.approx(0.632, abs=0.01)


def test_linked_channels_share_a_gain_and_the_lookahead_is_a_shift() -> None:
    x = torch.randn(1, 2, 3000, generator=torch.Generator().manual_seed(0)) * torch.tensor([[[1.0], [0.05]]])
    linked, apart = play(x) / x, play(x, link=False) / x
    assert (linked[:, 0] - linked[:, 1]).abs().max() < 1e-5
    assert (apart[:, 0] - apart[:, 1]).abs().max() > 0.1
    ahead = play(x, lookahead_ms=1.0) / x
    assert torch.allclose(ahead[..., :-44], linked[..., 44:], atol=1e-5)
    with pytest.raises(SettingsError, match=r"lookahead_ms = 200 ms, allowed 0\.\.100 ms"):
        Compander(RATE, lookahead_ms=200)
