"""What the laws of every effect do not see: recovered settings, choices, exports."""

import itertools
from collections.abc import Callable
from typing import get_args

import numpy as np
import pedalboard
import pytest
import torch
from torch import Tensor
from torch.nn.functional import pad

from diffmix.errors import PresetError, SettingsError
from diffmix.kernels.ladder import MODES, Mode
from diffmix.kernels.waveshape import Antialiasing
from diffmix.processors import Bitcrush, Clipping, Distortion, Invert, LadderFilter, Processor, Waveshaper

RATE = 44100
METHODS = get_args(Antialiasing)


def tone() -> Tensor:
    t = torch.arange(8000) / RATE
    return (0.4 * torch.sin(2 * torch.pi * 220 * t) + 0.2 * torch.sin(2 * torch.pi * 577 * t))[None, None]


def recover(
    effect: Processor, name: str, starts: list[float], losses: Callable[[Tensor], Tensor], rate: float
) -> list[float]:
    """Where Adam brings a setting from each start, side by side: its steps are those of each alone."""
    value = torch.tensor(starts, requires_grad=True)
    x = tone().expand(len(starts), -1, -1)
    optimiser = torch.optim.Adam([value], rate)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimiser, 0.98)
    for _ in range(250):
        optimiser.zero_grad()
        losses(effect.process(x, **{name: value})).sum().backward()
        optimiser.step()
        schedule.step()
    return value.tolist()


@pytest.mark.parametrize(
    ("kind", "name", "truths", "starts"),
    [(Distortion, "drive_db", [18.0, 3.0], [3.0, 15.0]), (Clipping, "threshold_db", [-14.0], [-6.0])],
)
def test_a_setting_is_recovered(kind: type[Processor], name: str, truths: list[float], starts: list[float]) -> None:
    effect = kind(RATE)
    target = effect.process(tone().expand(len(truths), -1, -1), **{name: torch.tensor(truths)})
    found = recover(effect, name, starts, lambda y: (y - target).square().mean((1, 2)), 1.0)
    assert found == pytest.approx(truths, abs=0.05)


def test_the_bit_depth_is_recovered() -> None:
    """By the spectrum, in which the noise between the partials tells the bits."""
    truths, starts = [6.0, 10.0, 7.5], [11.0, 4.0, 5.0]

    def noise(y: Tensor) -> Tensor:
        frames = torch.stft(y[:, 0], 1024, window=torch.hann_window(1024), return_complex=True)
        return (frames.abs().square() + 1e-9).log().mean((1, 2))

    target = noise(Bitcrush(RATE).process(tone().expand(3, -1, -1), bit_depth=torch.tensor(truths)))
    found = recover(Bitcrush(RATE), "bit_depth", starts, lambda y: (noise(y) - target).square(), 0.4)
    assert found == pytest.approx(truths, abs=0.25)


def test_polarity_and_curves_equal_pedalboard() -> None:
    x = torch.randn(1, 2, 3000)
    assert np.array_equal(Invert(RATE).process(x)[0].numpy(), pedalboard.Invert()(x[0].numpy(), RATE))
    values = {"gain_db": torch.tensor([17.0]), "hardness": torch.zeros(1), "asymmetry": torch.zeros(1)}
    y = Waveshaper(RATE).process(x, **values)[0].numpy()
    ((name, arguments),) = Waveshaper(RATE).plugins({n: v.item() for n, v in values.items()})
    assert np.array_equal(y, getattr(pedalboard, name)(**arguments)(x[0].numpy(), RATE))


@pytest.mark.parametrize("mode", MODES)
def test_modes_of_the_ladder(mode: Mode) -> None:
    x, effect = torch.randn(1, 2, 3000) / 4, LadderFilter(RATE, mode=mode)
    values = {name: p.default for name, p in effect.spec}
    y = effect.process(x, **{n: torch.tensor([v]) for n, v in values.items()})[0].numpy()
    ((_, arguments),) = effect.plugins(values)
    arguments["mode"] = getattr(pedalboard.LadderFilter, arguments["mode"])
    assert np.array_equal(y, pedalboard.LadderFilter(**arguments)(x[0].numpy(), RATE))


@pytest.mark.parametrize("method", METHODS)
def test_waveshapers_stream(method: Antialiasing) -> None:
    effect = Waveshaper(RATE, antialiasing=method)
    x = torch.randn(2, 2, 900)
    values = {
        "gain_db": torch.tensor([9.0, 0]),
        "hardness": torch.tensor([0.5, 1]),
        "asymmetry": torch.tensor([0, 0.4]),
    }
    late = effect.latency_samples({})
    state, parts = None, []
    for a, b in itertools.pairwise((0, 1, 300, 301, 900 + late)):
        y, state = effect.process_chunk(pad(x, (0, late))[..., a:b], state, **values)
        parts.append(y)
    assert torch.equal(torch.cat(parts, -1)[..., late:], effect.process(x, **values))


@pytest.mark.parametrize("method", METHODS)
def test_the_gain_of_a_waveshaper_may_move(method: Antialiasing) -> None:
    effect = Waveshaper(RATE, antialiasing=method)
    x, rest = torch.randn(1, 1, 2000), {"hardness": torch.tensor([0.2]), "asymmetry": torch.tensor([0.1])}
    step = torch.where(torch.arange(2000) < 1000, 0.0, 20.0)[None]
    moved = effect.process(x, gain_db=step, **rest)
    for part, gain_db in ((slice(100, 900), 0.0), (slice(1100, 1900), 20.0)):
        still = effect.process(x, gain_db=torch.tensor([gain_db]), **rest)
        assert (moved - still)[..., part].abs().max() < 1e-5


def test_what_pedalboard_lacks_is_said() -> None:
    values = {"gain_db": 3.0, "hardness": 0.5, "asymmetry": 0.0}
    with pytest.raises(PresetError, match=r"Distortion is tanh without antialiasing; here hardness is 0\.5"):
        Waveshaper(RATE).plugins(values)
    with pytest.raises(PresetError, match="antialiasing 'oversampling'"):
        Waveshaper(RATE, antialiasing="oversampling").plugins(values | {"hardness": 0.0})


def test_choices_are_checked() -> None:
    with pytest.raises(
        SettingsError, match="antialiasing is one of 'none', 'antiderivative', 'oversampling', got 'all'"
    ):
        Waveshaper(RATE, antialiasing="all")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="mode is one of LPF12, HPF12, BPF12, LPF24, HPF24, BPF24, got 'LPF'"):
        LadderFilter(RATE, mode="LPF")  # type: ignore[arg-type]
