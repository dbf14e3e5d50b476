import numpy as np
import pedalboard
import pytest
import torch
from torch import Tensor

from diffmix.errors import SettingsError
from diffmix.kernels.feedback_delay_network import feedback_delay_network
from diffmix.processors import FeedbackDelayNetwork, NoiseReverb, Processor, RoomReverb

RATE = 44100


def noise(channels: int, samples: int) -> Tensor:
    x = 0.2 * torch.randn(1, channels, samples)
    x[..., samples // 3 :: 3000] = 1
    return x


def settings(effect: Processor, seed: int) -> dict[str, Tensor]:
    return effect.spec.denormalize(effect.spec.sample(1, torch.Generator().manual_seed(seed)))


def exported(effect: Processor, x: Tensor, values: dict[str, Tensor]) -> np.ndarray:
    ((name, arguments),) = effect.plugins({n: v.item() for n, v in values.items()})
    return np.asarray(getattr(pedalboard, name)(**arguments)(x[0].numpy(), effect.sample_rate))


@pytest.mark.parametrize("sample_rate", [44100, 48000, 96000])
@pytest.mark.parametrize("channels", [1, 2])
def test_room_reverb_equals_its_export(sample_rate: int, channels: int) -> None:
    effect = RoomReverb(sample_rate)
    for seed in range(5):
        x, values = noise(channels, 9000), settings(effect, seed)
        assert np.array_equal(effect.process(x, **values)[0].numpy(), exported(effect, x, values))


@pytest.mark.parametrize("sample_rate", [44100, 48000, 96000])
@pytest.mark.parametrize("channels", [1, 2])
def test_noise_reverb_is_120_db_below_its_export(sample_rate: int, channels: int) -> None:
    effect = NoiseReverb(sample_rate, length_s=0.4, seed=5)
    for seed in range(4):
        x, values = noise(channels, 20_000), settings(effect, seed)
        ours, heard = effect.process(x, **values)[0].numpy().astype(np.float64), exported(effect, x, values)
        assert np.square(ours - heard).mean() < 1e-12 * np.square(heard).mean()


def test_noise_reverb_is_always_as_loud() -> None:
    effect = NoiseReverb(RATE, length_s=0.5)
    impulse = torch.zeros(1, 2, RATE // 2)
    impulse[..., 0] = 1
    for seed in range(3):
        values = settings(effect, seed) | {"mix": torch.ones(1)}
        energy = effect.process(impulse, **values).square().sum(-1)
        assert energy.max().item() == pytest.approx(1 / 64, rel=1e-3)


def test_decay_is_found_from_audio() -> None:
    effect = NoiseReverb(RATE, length_s=0.2)
    x, target = noise(2, 12_000), settings(effect, 1) | {"mix": torch.full((1,), 0.6)}
    goal = effect.process(x, **target)
    u = torch.full((1, effect.spec.size), 0.5, requires_grad=True)
    optimiser = torch.optim.Adam([u], lr=0.03)
    losses = []
    for _ in range(50):
        optimiser.zero_grad()
        loss = (effect(x, u.clamp(0, 1)) - goal).square().mean() / goal.square().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.02 * losses[0]


@pytest.mark.parametrize("wrong", [-1.0, 0.0, 1e9, float("nan")])
def test_sizes_beyond_reason_are_refused(wrong: float) -> None:
    with pytest.raises(SettingsError, match=r"length_s = .* s, allowed 0.01..30 s"):
        NoiseReverb(RATE, length_s=wrong)
    with pytest.raises(SettingsError, match=r"size = .*, allowed 0.01..10"):
        FeedbackDelayNetwork(RATE, size=wrong)


def test_the_networks_width_goes_from_mono_to_its_own_tail() -> None:
    effect, x = FeedbackDelayNetwork(RATE), noise(2, 6000)
    values = {name: torch.tensor([float(p.default)]) for name, p in effect.spec} | {"mix": torch.ones(1)}
    tail = feedback_delay_network(x, *(values[n] for n in ("decay_s", "high_ratio", "crossover_hz")), RATE)
    assert (tail[:, 0] - tail[:, 1]).abs().max() > 0.1 * tail.abs().max()
    assert torch.equal(effect.process(x, **values), tail)
    mono = effect.process(x, **values | {"width": torch.zeros(1)})
    torch.testing.assert_close(mono, tail.mean(1, keepdim=True).expand(-1, 2, -1))
