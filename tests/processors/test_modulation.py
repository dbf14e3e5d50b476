"""Moving effects, echoes and the oscillator that moves them, as a user meets them."""

import itertools
import math

import numpy as np
import pedalboard
import pytest
import torch
from torch import Tensor

from diffmix.errors import AudioError, SettingsError
from diffmix.processors import (
    LFO,
    Chorus,
    Delay,
    FilteredDelay,
    Flanger,
    ModulatedChorus,
    ModulatedPhaser,
    Phaser,
    PingPongDelay,
    Processor,
    Vibrato,
)
from tests.jacobians import check_gradients

RATE = 44100


def values_of(effect: Processor, **changed: float) -> dict[str, Tensor]:
    return {name: torch.tensor([float(changed.get(name, p.default))]) for name, p in effect.spec}


def smooth_noise(samples: int, cutoff_hz: float) -> Tensor:
    spectrum = torch.fft.rfft(torch.randn(samples))
    x = torch.fft.irfft(spectrum / (1 + (torch.arange(len(spectrum)) * RATE / samples / cutoff_hz) ** 4), samples)
    return (x / x.std() / 4)[None, None]


def fitted(
    effect: Processor, x: Tensor, aim: dict[str, float], start: dict[str, float], steps: int
) -> dict[str, float]:
    """Where Adam on the controls arrives from wrong settings; the rest of the parameters keeps the aim's values."""
    target = effect.process(x, **values_of(effect, **aim))
    u = effect.spec.normalize(values_of(effect, **{**aim, **start})).requires_grad_()
    free = torch.tensor([name in start for name in effect.spec.names])
    optimizer = torch.optim.Adam([u], lr=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        (effect(x, u.clamp(0, 1)) - target).square().mean().backward()
        assert u.grad is not None
        u.grad *= free
        optimizer.step()
        schedule.step()
    return {n: float(v.detach()) for n, v in effect.spec.denormalize(u).items() if n in start}


def test_chorus_settings_are_found() -> None:
    aim = {"rate_hz": 4.0, "depth": 0.6, "feedback": 0.5, "mix": 0.4, "centre_delay_ms": 9.0}
    start = {"depth": 0.3, "feedback": 0.0, "mix": 0.6, "centre_delay_ms": 10.0}
    found = fitted(Chorus(RATE), smooth_noise(8000, 200), aim, start, 120)
    assert found == pytest.approx({n: aim[n] for n in start}, rel=0.02)


def test_phaser_settings_are_found() -> None:
    aim = {"rate_hz": 4.0, "depth": 0.4, "feedback": 0.5, "mix": 0.4, "centre_frequency_hz": 900.0}
    start = {"depth": 0.2, "feedback": 0.0, "mix": 0.6, "centre_frequency_hz": 2000.0}
    found = fitted(Phaser(RATE), smooth_noise(8000, 8000), aim, start, 120)
    assert found == pytest.approx({n: aim[n] for n in start}, rel=0.02)


@pytest.mark.parametrize("kind", [Flanger, ModulatedChorus, Vibrato, ModulatedPhaser])
@pytest.mark.parametrize("channels", [1, 2])
def test_what_moves_gets_a_true_gradient(kind: type[Processor], channels: int) -> None:
    effect = kind(4000, {"delay_ms": (5, 7)}) if kind is ModulatedChorus else kind(4000)
    x, modulation = torch.randn(2, 1, 2, 40, dtype=torch.float64)
    modulation = torch.tanh(modulation[:, :channels]).requires_grad_()
    u = (0.3 + 0.4 * torch.rand(1, effect.spec.size, dtype=torch.float64)).requires_grad_()

    def play(x: Tensor, modulation: Tensor, u: Tensor) -> Tensor:
        return effect(x, u, modulation=modulation)

    inputs = x.requires_grad_(), modulation, u
    check_gradients(play, inputs, eps=1e-7, atol=1e-6, rtol=1e-5)
    # depth counts, and only with a modulation; a modulation of nothing is none
    for signal, alive in ((modulation, True), (torch.zeros_like(modulation), False), (None, False)):
        (gradient,) = torch.autograd.grad(effect(x, u, modulation=signal).square().sum(), u)
        column = [name.startswith("depth") for name in effect.spec.names].index(True)
        assert (gradient[0, column] != 0) == alive
    silent = play(x, torch.zeros_like(modulation), u)
    torch.testing.assert_close(effect(x, u), silent, rtol=0, atol=1e-12)


def test_a_vibrato_moves_the_pitch() -> None:
    """An upward ramp of the delay by 10 ms in a second makes a tone 1 % lower."""
    t = torch.arange(RATE) / RATE
    x = torch.sin(2 * math.pi * 1000 * t)[None, None]
    vibrato = Vibrato(RATE)
    ramp = (2 * t - 1)[None, None]
    y = vibrato.process(x, modulation=ramp, **values_of(vibrato, delay_ms=10, depth_ms=5))
    spectrum = torch.fft.rfft(y[0, 0] * torch.hann_window(RATE)).abs()
    assert int(spectrum.argmax()) == 990


@pytest.mark.parametrize("kind", [Flanger, ModulatedPhaser])
def test_a_moved_effect_streams_with_its_oscillator(kind: type[Processor]) -> None:
    effect, lfo = kind(RATE), LFO(RATE, channels=1)
    x = torch.randn(1, 2, 5000)
    motion = lfo.process(x, **values_of(lfo, rate_hz=3, phase=0.2))
    whole = effect.process(x, modulation=motion, **values_of(effect, feedback=0.5))
    state = moved = None
    parts = []
    for a, b in itertools.pairwise((0, 1, 700, 5000)):
        part, moved = lfo.process_chunk(x[..., a:b], moved, **values_of(lfo, rate_hz=3, phase=0.2))
        y, state = effect.process_chunk(x[..., a:b], state, modulation=part, **values_of(effect, feedback=0.5))
        parts.append(y)
    assert torch.equal(torch.cat(parts, -1), whole)


def test_a_modulation_that_does_not_fit_is_refused() -> None:
    flanger, x = Flanger(RATE), torch.randn(1, 2, 100)
    for wrong in ((1, 3, 100), (1, 1, 99)):
        with pytest.raises(AudioError, match="modulation"):
            flanger.process(x, modulation=torch.zeros(wrong), **values_of(flanger))


@pytest.mark.parametrize("shape", ["sine", "triangle", "saw", "square"])
def test_the_oscillator_makes_what_it_says(shape: str) -> None:
    lfo = LFO(RATE, shape=shape)  # type: ignore[arg-type]
    x = torch.full((1, 3, 2000), math.nan)  # its samples are not read
    values = values_of(lfo, rate_hz=15, phase=0.1, stereo_offset=0.3)
    y = lfo.process(x, **values)
    cycles = (15 * np.arange(2000) / RATE + 0.1 + np.array([[0], [0.3]])) % 1
    expected = {
        "sine": np.sin(2 * np.pi * cycles),
        "triangle": 2 / np.pi * np.arcsin(np.sin(2 * np.pi * cycles)),
        "saw": 2 * cycles - 1,
        "square": np.where(cycles < 0.5, 1, -1),
    }[shape]
    assert y.shape == (1, 2, 2000)
    np.testing.assert_allclose(y[0].numpy(), expected, rtol=0, atol=2e-5)
    mono = LFO(RATE, shape=shape, channels=1)  # type: ignore[arg-type]
    assert torch.equal(mono.process(x, **(values | {"stereo_offset": torch.zeros(1)})), y[:, :1])


def test_an_oscillators_phase_is_found() -> None:
    lfo, x = LFO(RATE, channels=1), torch.zeros(1, 1, 8000)
    assert lfo.spec.params["stereo_offset"].range_text() == "0..0 cycles"
    aim = {"rate_hz": 8.0, "phase": 0.4}
    found = fitted(lfo, x, aim, {"rate_hz": 7.0, "phase": 0.25}, 150)
    assert found == pytest.approx(aim, rel=0.01)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LFO(RATE, shape="circle"), "shape is one of sine, triangle, saw, square, got 'circle'"),  # type: ignore[arg-type]
        (lambda: LFO(RATE, channels=3), "1 or 2 channels, got 3"),  # type: ignore[arg-type]
        (lambda: ModulatedPhaser(RATE, stages=13), "2 to 12 stages, got 13"),
        (lambda: FilteredDelay(RATE, loop="notch"), "loop is 'low-pass' or 'band-pass', got 'notch'"),  # type: ignore[arg-type]
    ],
)
def test_wrong_choices_are_named(make: object, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        make()  # type: ignore[operator]


@pytest.mark.parametrize("sample_rate", [22050, 44100, 48000, 96000])
def test_an_exported_delay_has_the_same_samples(sample_rate: int) -> None:
    """Pedalboard cuts to whole samples, so that 0.7 s may be one less than 0.7 sample_rate: it must be the same one."""
    delay, x = Delay(sample_rate), torch.randn(1, 2, sample_rate)
    times = [0.7, 0.1, 0.3, 0.001, 1 / 3, *(n / sample_rate for n in (4800, 33600, 100.999999, 101.000001))]
    for seconds in times:
        values = values_of(delay, delay_seconds=seconds, feedback=0.3)
        ((name, arguments),) = delay.plugins({n: float(v) for n, v in values.items()})
        expected = getattr(pedalboard, name)(**arguments)(x[0].numpy(), sample_rate)
        assert np.array_equal(delay.process(x, **values)[0].numpy(), expected), seconds


@pytest.mark.parametrize("kind", [Delay, FilteredDelay, PingPongDelay])
def test_every_parameter_of_an_echo_counts(kind: type[Processor]) -> None:
    """With delays that fit the signal several times."""
    effect = kind(RATE, {"delay_seconds": (0.005, 0.02)})
    x, w = torch.randn(2, 2, 2, 3000)
    u = torch.rand(2, effect.spec.size).requires_grad_()
    (effect(x, u) * w).sum().backward()
    assert u.grad is not None
    assert (u.grad.abs() > 1e-4).all()


def test_a_ping_pong_starts_left() -> None:
    effect, x = PingPongDelay(RATE), torch.zeros(1, 2, 4000)
    x[..., 0] = 1
    y = effect.process(x, **values_of(effect, delay_seconds=1000 / RATE, mix=1, stereo_offset=0.2))[0].abs()
    left, right = (torch.nonzero(side > 0.02).ravel() for side in y)
    assert 800 <= int(left[0]) < 810
    assert 2000 <= int(right[0]) < 2010  # 800 to the left, 1200 on to the right
