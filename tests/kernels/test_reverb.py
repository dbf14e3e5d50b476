import numpy as np
import pedalboard
import pytest
import torch
from torch import Tensor

from diffmix.errors import AudioError
from diffmix.kernels.backend import backend
from diffmix.kernels.reverb import TILE, _delays, _freeverb, freeverb
from diffmix.kernels.stream import streaming
from tests import reverb_reference

F64 = torch.float64
SETTINGS = [  # room_size, damping, wet_level, dry_level, width
    (0.5, 0.5, 0.33, 0.4, 1.0),
    (1.0, 0.0, 1.0, 0.0, 0.0),
    (0.0, 1.0, 0.2, 1.0, 0.3),
    (0.83, 0.27, 0.61, 0.13, 0.77),
]


def settings(*rows: tuple[float, ...], dtype: torch.dtype = torch.float32) -> list[Tensor]:
    return list(torch.tensor(rows, dtype=dtype).unbind(1))


def noise(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, dtype=dtype) * 0.2


def value_and_gradients(x: Tensor, values: list[Tensor], gy: Tensor, sample_rate: int) -> list[Tensor]:
    inputs = [t.clone().requires_grad_() for t in (x, *values)]
    y = freeverb(*inputs, sample_rate)
    return [y.detach(), *torch.autograd.grad(y, inputs, gy)]


@pytest.mark.parametrize("sample_rate", [8000, 22050, 44100, 48000, 96000])
@pytest.mark.parametrize("channels", [1, 2])
def test_equals_pedalboard_sample_for_sample(sample_rate: int, channels: int) -> None:
    for row, samples in zip(SETTINGS, (1, 7, 9001, 2 * TILE + 321), strict=True):
        x = noise(1, channels, samples)
        x[..., samples // 3 :: 2000] = 1.0
        y = freeverb(x, *settings(row), sample_rate)[0].numpy()
        # an array of one stereo sample would be read as two mono samples: give Pedalboard one silent sample more
        heard = pedalboard.Reverb(*row)(np.pad(x[0].numpy(), ((0, 0), (0, 2))), sample_rate)[:, :samples]
        assert np.array_equal(y, heard), (row, samples)


@pytest.mark.parametrize("channels", [1, 2])
def test_frozen_equals_pedalboard(channels: int) -> None:
    x = noise(1, channels, 5000)
    y = freeverb(x, *settings(SETTINGS[3]), 44100, freeze=True)[0].numpy()
    assert np.array_equal(y, pedalboard.Reverb(*SETTINGS[3], freeze_mode=1.0)(x[0].numpy(), 44100))


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_equals_the_readable_reference(dtype: torch.dtype) -> None:
    for channels in (1, 2):
        x = noise(1, channels, 1500, dtype=dtype)
        y = freeverb(x, *settings(SETTINGS[3], dtype=dtype), 8000)[0].numpy()
        expected = reverb_reference.freeverb(x[0].numpy(), *SETTINGS[3], 8000)
        if dtype == torch.float32:
            assert np.array_equal(y, expected)
        else:
            np.testing.assert_allclose(y, expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("name", ["auto", "torch"])
def test_gradients_equal_finite_differences(channels: int, name: str) -> None:
    # 2000 Hz: the shortest comb is 50 samples, so that 130 samples go round twice
    values = settings(SETTINGS[3], SETTINGS[0], dtype=F64)
    inputs = [t.requires_grad_() for t in (noise(2, channels, 130, dtype=F64), *values)]
    with backend(name):
        assert torch.autograd.gradcheck(lambda *a: freeverb(*a, 2000), inputs, fast_mode=True)


def test_double_backward_of_the_portable_path() -> None:
    inputs = [t.requires_grad_() for t in (noise(1, 2, 70, dtype=F64), *settings(SETTINGS[3], dtype=F64))]
    with backend("torch"):
        assert torch.autograd.gradgradcheck(lambda *a: freeverb(*a, 2000), inputs, fast_mode=True)


def test_backward_is_the_transpose() -> None:
    x, gy = noise(2, 2, 3 * TILE + 1000), noise(2, 2, 3 * TILE + 1000)
    values = settings(SETTINGS[0], SETTINGS[3])
    y, gx, *_ = value_and_gradients(x, values, gy, 44100)
    forwards, backwards = (gy.double() * y).sum((1, 2)), (gx.double() * x).sum((1, 2))
    scale = y.double().square().sum((1, 2)).sqrt() * gy.double().square().sum((1, 2)).sqrt()
    assert ((forwards - backwards).abs() / scale).max() < 1e-7


@pytest.mark.parametrize("channels", [1, 2])
def test_compiled_and_portable_paths_agree(channels: int) -> None:
    x, gy = noise(2, channels, TILE + 5000, dtype=F64), noise(2, channels, TILE + 5000, dtype=F64)
    values = settings(SETTINGS[3], SETTINGS[0], dtype=F64)
    ours = value_and_gradients(x, values, gy, 44100)
    single = value_and_gradients(x.float(), [v.float() for v in values], gy.float(), 44100)
    with backend("torch"):
        portable = value_and_gradients(x, values, gy, 44100)
    for a, b, c in zip(ours, single, portable, strict=True):
        scale = c.abs().max() + 1e-30
        assert (a - c).abs().max() / scale < 1e-10
        assert (b - c).abs().max() / scale < 1e-5  # float32, and Pedalboard's rounding to 2**-27 on the way forward


def test_an_item_of_a_batch_equals_it_alone() -> None:
    x, gy, values = noise(4, 2, 3000), noise(4, 2, 3000), settings(*SETTINGS)
    together = value_and_gradients(x, values, gy, 44100)
    for i in range(4):
        alone = value_and_gradients(x[i : i + 1], [v[i : i + 1] for v in values], gy[i : i + 1], 44100)
        for a, b in zip(together, alone, strict=True):
            assert torch.equal(a[i : i + 1], b)


def test_layout_of_memory_does_not_matter() -> None:
    x = noise(1000, 2, 2).permute(2, 1, 0)
    values = settings(*SETTINGS[:2])
    assert torch.equal(freeverb(x, *values, 8000), freeverb(x.contiguous(), *values, 8000))
    inputs = x.clone().requires_grad_()
    freeverb(inputs, *values, 8000).sum().backward()  # its gradient has stride 0
    assert inputs.grad.isfinite().all()


@pytest.mark.parametrize("row", [(0.0,) * 5, (1.0,) * 5, SETTINGS[0]])
def test_gradients_are_finite(row: tuple[float, ...]) -> None:
    impulse, full = torch.zeros(1, 2, 4000), torch.ones(1, 2, 4000)
    impulse[..., 0] = 1
    for x in (torch.zeros(1, 2, 4000), impulse, full):
        for result in value_and_gradients(x, settings(row), torch.ones_like(x), 8000):
            assert result.isfinite().all()


def test_input_is_not_modified() -> None:
    x, values = noise(1, 2, 500), settings(SETTINGS[0])
    before = x.clone()
    freeverb(x, *values, 8000)
    assert torch.equal(x, before)


def test_refuses_what_it_cannot_do() -> None:
    with pytest.raises(AudioError, match="3 channels"):
        freeverb(noise(1, 3, 10), *settings(SETTINGS[0]), 44100)
    with pytest.raises(AudioError, match="1000 Hz"):
        freeverb(noise(1, 2, 10), *settings(SETTINGS[0]), 1000)


def test_operator_is_well_formed() -> None:
    gains = torch.tensor([[[0.9, 0.1, 0.6, 0.2, 0.4]]], dtype=F64).requires_grad_()
    delays = _delays(8000, 2)
    arguments = noise(1, 2, 300).requires_grad_(), gains, torch.zeros(1, sum(delays) + 16), 2, delays
    checks = "test_schema", "test_autograd_registration", "test_faketensor"  # the slow test below compiles
    torch.library.opcheck(_freeverb.overload, arguments, test_utils=checks)


@pytest.mark.parametrize("channels", [1, 2])
def test_chunks_equal_the_whole(channels: int) -> None:
    x, values = noise(2, channels, TILE + 6000), settings(*SETTINGS[2:])
    state, parts = None, []
    for chunk in x.split([1, 6, 4096, 20_001, TILE + 6000 - 24_104], -1):
        with streaming(state) as tape:
            parts.append(freeverb(chunk, *values, 44100))
        state = tuple(tape.after)
    assert torch.equal(torch.cat(parts, -1), freeverb(x, *values, 44100))


@pytest.mark.parametrize("channels", [1, 2])
def test_levels_that_move_fade_between_constant_ones(channels: int) -> None:
    x, (low, high) = noise(1, channels, 5000, dtype=F64), (settings(row, dtype=F64) for row in SETTINGS[2:])
    fade = torch.linspace(0, 1, 5000, dtype=F64)
    for names in ((2,), (3,), (4,), (2, 3)):
        ends = [[low[i] if i not in names else side[i] for i in range(5)] for side in (low, high)]
        moving = [a[:, None] * (1 - fade) + b[:, None] * fade if i in names else a for i, (a, b) in
                  enumerate(zip(*ends, strict=True))]  # fmt: skip
        first, last = (freeverb(x, *side, 8000) for side in ends)
        torch.testing.assert_close(freeverb(x, *moving, 8000), first * (1 - fade) + last * fade, rtol=0, atol=1e-12)


def test_gradients_of_levels_that_move() -> None:
    values = settings(SETTINGS[3], dtype=F64)
    curves = [v[:, None] * torch.linspace(0.5, 1, 90, dtype=F64) for v in values[2:]]
    inputs = [t.requires_grad_() for t in (noise(1, 2, 90, dtype=F64), *values[:2], *curves)]
    assert torch.autograd.gradcheck(lambda *a: freeverb(*a, 2000), inputs, fast_mode=True)


@pytest.mark.parametrize("channels", [1, 2])
def test_portable_path_is_120_db_below_pedalboard(channels: int) -> None:
    x = noise(1, channels, 40_000)
    for row in SETTINGS[0], SETTINGS[2], SETTINGS[3]:
        heard = torch.from_numpy(pedalboard.Reverb(*row)(x[0].numpy(), 44100))
        with backend("torch"):
            ours = freeverb(x, *settings(row), 44100)[0]
        assert (ours - heard).square().mean() < 1e-12 * heard.square().mean()


@pytest.mark.slow
def test_compiles_to_the_same_samples() -> None:
    x, gy, values = noise(2, 2, 2000), noise(2, 2, 2000), settings(*SETTINGS[2:])
    inputs = [t.clone().requires_grad_() for t in (x, *values)]
    y = torch.compile(lambda *a: freeverb(*a, 44100), fullgraph=True)(*inputs)
    expected = value_and_gradients(x, values, gy, 44100)
    for a, b in zip([y.detach(), *torch.autograd.grad(y, inputs, gy)], expected, strict=True):
        assert torch.equal(a, b)
