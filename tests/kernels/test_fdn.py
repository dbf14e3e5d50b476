import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffmix.errors import AudioError
from diffmix.kernels.feedback_delay_network import TILE, _network, damping, feedback_delay_network, line_lengths
from diffmix.kernels.stream import streaming
from tests.reverb_reference import decay_time

F64 = torch.float64
SETTINGS = [(1.0, 0.5, 4000.0), (0.3, 1.0, 1000.0), (6.0, 0.1, 16000.0)]  # decay_s, high_ratio, crossover_hz


def settings(*rows: tuple[float, ...], dtype: torch.dtype = F64) -> list[Tensor]:
    return list(torch.tensor(rows, dtype=dtype).unbind(1))


def noise(*shape: int, dtype: torch.dtype = F64) -> Tensor:
    return torch.randn(*shape, dtype=dtype) * 0.2


def readable(x: NDArray[np.float64], gain: Tensor, pole: Tensor, lengths: list[int]) -> NDArray[np.float64]:
    """The network of one item x (C, T), sample by sample, with its matrix written out."""
    matrix = np.eye(8) - 0.25
    lines, low = [np.zeros(n) for n in lengths], np.zeros(8)
    y = np.zeros_like(x)
    for n in range(x.shape[1]):
        v = np.array([line[n % len(line)] for line in lines])
        heard = np.stack([v[0::2].sum(), v[1::2].sum()]) / 2
        y[:, n] = heard if len(x) == 2 else heard.sum()
        low = gain.numpy() * v + pole.numpy() * low
        entering = matrix @ low + np.tile([x[0, n], x[-1, n]], 4) / 2
        for line, w in zip(lines, entering, strict=True):
            line[n % len(line)] = w
    return y


@pytest.mark.parametrize("channels", [1, 2])
def test_equals_the_readable_reference(channels: int) -> None:
    for samples in (1, 7, 8, 2500):
        x, values = noise(1, channels, samples), settings(SETTINGS[0])
        lengths = line_lengths(2000, 0.5)
        gain, pole = damping(*values, 2000, lengths)
        expected = readable(x[0].numpy(), gain[0], pole[0], lengths)
        y = feedback_delay_network(x, *values, 2000, 0.5)[0]
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-14)
        single = feedback_delay_network(x.float(), *values, 2000, 0.5)[0]
        np.testing.assert_allclose(single, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("samples", [1, 150])
def test_gradients_equal_finite_differences(channels: int, samples: int) -> None:
    inputs = [t.requires_grad_() for t in (noise(2, channels, samples), *settings(*SETTINGS[:2]))]
    assert torch.autograd.gradcheck(lambda *a: feedback_delay_network(*a, 2000, 0.3), inputs, fast_mode=samples > 1)


@pytest.mark.parametrize("channels", [1, 2])
def test_gradients_through_several_tiles(channels: int) -> None:
    samples = 2 * TILE + 500
    x, gy, values = noise(1, channels, samples), noise(1, channels, samples), settings((2.0, 0.4, 3000.0))
    inputs = [t.clone().requires_grad_() for t in (x, *values)]
    gradients = torch.autograd.grad(feedback_delay_network(*inputs, 8000), inputs, gy)
    y = feedback_delay_network(x, *values, 8000)
    assert (gy * y).sum().item() == pytest.approx((gradients[0] * x).sum().item(), rel=1e-9)  # the transpose
    for i, gradient in enumerate(gradients[1:]):
        sides = []
        for sign in (1, -1):
            moved = list(values)
            moved[i] = values[i] * (1 + sign * 1e-6)
            sides.append((gy * feedback_delay_network(x, *moved, 8000)).sum())
        slope = (sides[0] - sides[1]) / (2e-6 * values[i])
        assert gradient.item() == pytest.approx(slope.item(), rel=1e-5)
    single = [t.float().requires_grad_() for t in (x, *values)]
    for a, b in zip(
        torch.autograd.grad(feedback_delay_network(*single, 8000), single, gy.float()), gradients, strict=True
    ):
        assert (a - b).abs().max() < 2e-4 * b.abs().max()


@pytest.mark.parametrize("decay_s", [0.5, 1.5])
@pytest.mark.parametrize("high_ratio", [0.4, 1.0])
@pytest.mark.parametrize("sample_rate", [44100, 96000])
def test_decay_time_is_the_one_set(decay_s: float, high_ratio: float, sample_rate: int) -> None:
    impulse = torch.zeros(1, 2, int(1.2 * decay_s * sample_rate), dtype=F64)
    impulse[..., 0] = 1
    response = feedback_delay_network(impulse, *settings((decay_s, high_ratio, 4000)), sample_rate)[0].numpy()
    part_db = (-10, -50)  # before, the lines have been heard once or twice
    assert decay_time(response, sample_rate, 50, 250, part_db) == pytest.approx(decay_s, rel=0.03)
    if decay_s > 1:  # in a shorter decay the lower edge of any band that decays slower outlives its centre
        heard = decay_time(response, sample_rate, 3600, 4400, part_db)
        assert heard == pytest.approx(decay_s * high_ratio, rel=0.03)


def test_filters_have_the_gains_that_decay_needs() -> None:
    lengths, (decay, ratio, crossover) = line_lengths(48000, 1.3), settings(*SETTINGS)
    gain, pole = damping(decay, ratio, crossover, 48000, lengths)
    assert all(all(n % d for d in range(2, n)) for n in lengths)
    for frequency, seconds in ((torch.zeros_like(crossover), decay), (crossover, decay * ratio)):
        z = torch.exp(-2j * torch.pi * frequency / 48000)[:, None]
        expected = 10 ** (-3 * torch.tensor(lengths) / (48000 * seconds[:, None]))
        torch.testing.assert_close((gain / (1 - pole * z)).abs(), expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("channels", [1, 2])
def test_chunks_equal_the_whole(channels: int) -> None:
    x, values = noise(2, channels, 9000, dtype=torch.float32), settings(*SETTINGS[:2])
    state, parts = None, []
    for chunk in x.split([1, 6, 4096, 3, 4894], -1):
        with streaming(state) as tape:
            parts.append(feedback_delay_network(chunk, *values, 8000))
        state = tuple(tape.after)
    assert torch.equal(torch.cat(parts, -1), feedback_delay_network(x, *values, 8000))


def test_gradients_in_the_middle_of_a_stream() -> None:
    x, values = noise(1, 2, 400), settings(SETTINGS[0])
    with streaming(None) as tape:
        feedback_delay_network(x[..., :203], *values, 2000, 0.3)

    def second(*inputs: Tensor) -> Tensor:
        with streaming(tuple(tape.after)):
            return feedback_delay_network(*inputs, 2000, 0.3)

    inputs = [t.requires_grad_() for t in (x[..., 203:].clone(), *values)]
    assert torch.autograd.gradcheck(second, inputs, fast_mode=True)


def test_refuses_what_it_cannot_do() -> None:
    with pytest.raises(AudioError, match="got 3 channels"):
        feedback_delay_network(noise(1, 3, 9), *settings(SETTINGS[0]), 44100)
    with pytest.raises(AudioError, match=r"size 0.001 at 44100 Hz makes lines shorter than 8 samples"):
        feedback_delay_network(noise(1, 1, 9), *settings(SETTINGS[0]), 44100, 0.001)


def test_operator_is_well_formed() -> None:
    lengths = line_lengths(2000, 0.3)
    gains = torch.cat(damping(*settings(SETTINGS[0]), 2000, lengths), -1)[:, None].requires_grad_()
    arguments = noise(1, 2, 100).requires_grad_(), gains, torch.zeros(1, sum(lengths) + 8, dtype=F64), 2, lengths
    checks = "test_schema", "test_autograd_registration", "test_faketensor"
    torch.library.opcheck(_network.overload, arguments, test_utils=checks)
