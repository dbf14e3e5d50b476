"""The filters as effects: bands as declared, in series, and in motion."""

import numpy as np
import pedalboard
import pytest
import torch
from torch import Tensor

from diffmix import processors
from diffmix.processors import ParametricEQ, PeakFilter

RATE = 44100


def test_the_bands_are_what_shipped_weights_were_trained_on() -> None:
    spec = ParametricEQ(RATE).spec
    kinds = ("cutoff_frequency_hz", "gain_db", "q")
    assert spec.names == tuple(f"{band}_{kind}" for band in ParametricEQ.BANDS for kind in kinds)
    limits = [(p.low, p.high, p.default, p.scale) for _, p in spec]
    assert limits[::3] == [
        (30, 500, 100, "log"), (40, 600, 200, "log"), (150, 2500, 600, "log"),
        (600, 8000, 2000, "log"), (2000, 16000, 5000, "log"), (1500, 18000, 8000, "log"),
    ]  # fmt: skip
    assert limits[1::3] == [(-18, 18, 0, "lin")] * 6
    assert limits[2::3] == [(0.3, 2, 0.70710678, "log"), *[(0.3, 8, 1, "log")] * 4, (0.3, 2, 0.70710678, "log")]


def values(eq: ParametricEQ, items: int, seed: int = 0) -> dict[str, Tensor]:
    return eq.spec.denormalize(eq.spec.sample(items, torch.Generator().manual_seed(seed)))


def test_six_bands_equal_their_plugins() -> None:
    eq, x = ParametricEQ(RATE), torch.randn(1, 2, 9000) / 8
    for seed in range(10):
        settings = values(eq, 1, seed)
        plugins = eq.plugins({k: v.item() for k, v in settings.items()})
        board = pedalboard.Pedalboard([getattr(pedalboard, name)(**arguments) for name, arguments in plugins])
        assert np.array_equal(eq.process(x, **settings)[0].numpy(), board(x[0].numpy(), RATE))


@pytest.mark.parametrize("moving", ["peak2_gain_db", "low_shelf_q", "high_shelf_cutoff_frequency_hz"])
def test_a_moving_band_is_its_filter_in_series(moving: str) -> None:
    """In float64, in which constant filters have the coefficients that moving ones have, too."""
    eq, x = ParametricEQ(RATE), torch.randn(2, 2, 1500, dtype=torch.float64)
    settings = {k: v.double() for k, v in values(eq, 2).items()}
    settings[moving] = settings[moving][:, None] * torch.linspace(0.5, 1.5, 7, dtype=torch.float64)
    expected = x
    for band, (name, _) in zip(eq.BANDS, eq.plugins(dict.fromkeys(eq.spec.names, 0.0)), strict=True):
        of_band = {k.removeprefix(f"{band}_"): v for k, v in settings.items() if k.startswith(f"{band}_")}
        expected = getattr(processors, name)(RATE).process(expected, **of_band)
    torch.testing.assert_close(eq.process(x, **settings), expected, rtol=0, atol=1e-9)


def test_a_sweep_is_found_by_gradient_descent() -> None:
    """The gain at each of three points of a curve, from the filtered noise."""
    peak, x = PeakFilter(RATE), torch.randn(1, 1, 3000)
    still = {"cutoff_frequency_hz": torch.tensor([1000.0]), "q": torch.tensor([1.0])}
    wanted = torch.tensor([[-6.0, 9.0, 3.0]])
    target = peak.process(x, gain_db=wanted, **still)
    guess = torch.zeros(1, 3, requires_grad=True)
    optimiser = torch.optim.Adam([guess], 1.0)
    for _ in range(90):
        optimiser.zero_grad()
        (peak.process(x, gain_db=guess, **still) - target).square().mean().backward()
        optimiser.step()
        optimiser.param_groups[0]["lr"] *= 0.96
    torch.testing.assert_close(guess.detach(), wanted, rtol=0, atol=0.1)
