import itertools
import subprocess
import sys

import numpy as np
import pedalboard
import pytest
import torch
from scipy.signal import sosfilt
from torch import Tensor

from diffmix.errors import AudioError
from diffmix.kernels import biquad, iir, stream
from diffmix.kernels._iir_numba import WIDTHS
from diffmix.kernels.backend import backend
from diffmix.kernels.iir import sos_cascade
from diffmix.processors import PeakFilter
from diffmix.processors.base import curve
from tests import reference

RATES = (44100, 48000, 96000)


def board(items: int, sample_rate: int, twin: bool, low_hz: float = 30) -> tuple[Tensor, list[pedalboard.Pedalboard]]:
    """Random six-filter boards, as sections (B, 6, 5) and as plugins."""
    f = low_hz * (15000 / low_hz) ** torch.rand(items, 6)
    g, q = 30 * torch.rand(items, 6) - 15, 10 ** (1.3 * torch.rand(items, 6) - 0.5)
    kinds = [("low_shelf", "LowShelfFilter"), *[("peak", "PeakFilter")] * 4, ("high_shelf", "HighShelfFilter")]
    sections = [getattr(biquad, k)(f[:, i], g[:, i], q[:, i], sample_rate, twin) for i, (k, _) in enumerate(kinds)]
    plugins = [
        pedalboard.Pedalboard(
            [getattr(pedalboard, p)(float(f[b, i]), float(g[b, i]), float(q[b, i])) for i, (_, p) in enumerate(kinds)]
        )
        for b in range(items)
    ]
    return torch.stack(sections, 1), plugins


def played(plugin: pedalboard.Pedalboard, x: Tensor, sample_rate: int) -> np.ndarray:
    """Channel by channel, as these filters run anyway: Pedalboard takes (2, 1) for one channel of two samples."""
    return np.stack([plugin(channel, sample_rate) for channel in x.numpy()])


def signals(samples: int, channels: int) -> dict[str, Tensor]:
    impulse = torch.zeros(channels, samples)
    impulse[..., 0] = 1
    return {"noise": torch.randn(channels, samples) / 8, "impulse": impulse, "silence": torch.zeros(channels, samples)}


@pytest.mark.parametrize("samples", [1, 2, 511, 513, 30000])
@pytest.mark.parametrize("sample_rate", RATES)
def test_six_filters_equal_six_plugins(sample_rate: int, samples: int) -> None:
    """30000 samples hold three block ends, where Pedalboard zeroes tiny states: an impulse's tail shows them."""
    for channels in (1, 2):
        for name, x in signals(samples, channels).items():
            sos, plugins = board(2, sample_rate, twin=True)
            y = sos_cascade(x.expand(2, channels, samples), sos)
            for item, plugin in zip(y, plugins, strict=True):
                assert np.array_equal(item.numpy(), played(plugin, x, sample_rate)), (name, channels)


@pytest.mark.parametrize("sample_rate", RATES)
def test_single_filters_equal_their_plugins(sample_rate: int) -> None:
    f, g, q = 10 ** (1.3 + 2.9 * torch.rand(8)), 40 * torch.rand(8) - 20, 10 ** (1.5 * torch.rand(8) - 0.7)
    for x in signals(20000, 2).values():
        for kind, plugin in (("peak", "Peak"), ("low_shelf", "LowShelf"), ("high_shelf", "HighShelf")):
            y = sos_cascade(x.expand(8, 2, -1), getattr(biquad, kind)(f, g, q, sample_rate, True)[:, None])
            for item, *values in zip(y, f, g, q, strict=True):
                twin = getattr(pedalboard, f"{plugin}Filter")(*map(float, values))
                assert np.array_equal(item.numpy(), twin(x.numpy(), sample_rate)), (kind, values)
        for kind in ("lowpass", "highpass"):
            y = sos_cascade(x.expand(8, 2, -1), getattr(biquad, kind)(f, sample_rate, True)[:, None])
            for item, cutoff in zip(y, f, strict=True):
                twin = getattr(pedalboard, f"{kind.capitalize()}Filter")(float(cutoff))
                assert np.array_equal(item.numpy(), twin(x.numpy(), sample_rate)), (kind, cutoff)


def test_the_zeroing_of_tiny_states_is_the_references() -> None:
    """Without it this decaying tail differs, so the equality above is one of blocks, too."""
    f, g, q = torch.tensor([3000.0]), torch.tensor([12.0]), torch.tensor([40.0])
    sos = biquad.peak(f, g, q, 44100, twin=True)[:, None]
    x = signals(10000, 1)["impulse"][None]
    y = sos_cascade(x, sos)[0].numpy()
    assert np.array_equal(y, reference.sos_cascade(x[0].numpy(), sos[0].numpy(), block=8192))
    assert not np.array_equal(y, reference.sos_cascade(x[0].numpy(), sos[0].numpy()))


@pytest.mark.parametrize("samples", [1, 127, 128, 129, 5000])
def test_float64_equals_scipy_on_both_paths(samples: int) -> None:
    sos, _ = board(3, 44100, twin=False, low_hz=60)
    x = torch.randn(3, 2, samples, dtype=torch.float64)
    y = sos_cascade(x, sos)
    with backend("torch"):
        portable = sos_cascade(x, sos)
    for b in range(3):
        expected = sosfilt(np.insert(sos[b].numpy(), 3, 1, axis=1), x[b].numpy())
        scale = np.abs(expected).max()
        assert np.abs(y[b].numpy() - expected).max() <= 1e-13 * scale  # the same operations in the same order
        assert np.abs(portable[b].numpy() - expected).max() <= 1e-9 * scale  # other sums; low poles amplify roundoff


def test_ten_sections_equal_scipy() -> None:
    """More sections than one pass takes."""
    sos = torch.cat([board(1, 44100, False)[0], board(1, 44100, False)[0][:, :4]], 1)
    x = torch.randn(1, 1, 2000, dtype=torch.float64)
    expected = sosfilt(np.insert(sos[0].numpy(), 3, 1, axis=1), x[0].numpy())
    np.testing.assert_allclose(sos_cascade(x, sos)[0].numpy(), expected, rtol=0, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["auto", "torch"])
def test_gradcheck(name: str) -> None:
    sos = board(2, 44100, twin=False, low_hz=500)[0][:, :2].requires_grad_()
    x = torch.randn(2, 2, 5, dtype=torch.float64, requires_grad=True)
    with backend(name):  # type: ignore[arg-type]
        assert torch.autograd.gradcheck(sos_cascade, (x, sos), fast_mode=name == "torch")


def test_gradcheck_over_several_tiles() -> None:
    sos = board(1, 44100, twin=False, low_hz=500)[0][:, :2].requires_grad_()
    x = torch.randn(1, 2, 1100, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(sos_cascade, (x, sos), fast_mode=True)


def test_few_rows_cut_into_segments_have_the_same_gradients() -> None:
    """Many rows lie side by side whole; few are cut at multiples of the tile, with a remainder."""
    rows, samples = WIDTHS[1] // 2 + 1, WIDTHS[1] * 8192 + 700
    sos = board(rows, 44100, twin=True)[0].requires_grad_()
    for dtype, tolerance in ((torch.float32, 1e-8), (torch.float64, 1e-11)):
        x = torch.randn(rows, 1, samples, dtype=dtype, requires_grad=True)
        w = torch.randn_like(x)
        whole = torch.autograd.grad(sos_cascade(x, sos), (x, sos), w)
        for items in (1, 2):
            part = torch.autograd.grad(sos_cascade(x[:items], sos[:items]), (x, sos), w[:items])
            for a, b in zip(part, whole, strict=True):
                assert (a[:items] - b[:items]).abs().max() <= tolerance * b.abs().max()


def test_segments_have_block_ends_of_their_own() -> None:
    """In a chunk that starts inside a block, and segments of no whole blocks, tiny states become zero at other places.

    Each block ends when an impulse's tail has just become that small. Zeroed elsewhere, the signals that the gradients
    are taken from would differ from those that were heard.
    """
    sos = biquad.peak(torch.tensor([3000.0]), torch.tensor([12.0]), torch.tensor([40.0]), 44100, twin=True)[:, None]
    first, x = torch.zeros(1, 1, 700), torch.zeros(1, 1, WIDTHS[1] * 9216 + 300)
    x[..., 8192 - 700 - 3700 :: 8192] = 1
    w = torch.randn_like(x)
    found = []
    for rows in (1, WIDTHS[1]):
        c = sos.expand(rows, -1, -1).clone().requires_grad_()
        with stream.streaming(None) as tape:
            sos_cascade(first.expand(rows, -1, -1), c)
        with stream.streaming(tuple(tape.after)):
            y = sos_cascade(x.expand(rows, -1, -1), c)
        found.append((y[0], torch.autograd.grad(y, c, w.expand(rows, -1, -1))[0][0]))
    (alone, few), (among, many) = found
    assert torch.equal(alone, among)
    torch.testing.assert_close(few, many, rtol=1e-9, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_chunks_equal_the_whole(dtype: torch.dtype) -> None:
    """Also where Pedalboard zeroes its states, which an impulse's tail shows."""
    sos, x = board(2, 44100, twin=True)[0], signals(20000, 2)["impulse"].to(dtype).expand(2, 2, -1)
    moving = sos[:, None] * (1 + 0.1 * torch.rand(2, 20000, 1, 1) * torch.tensor([1.0, 1, 1, 0, 0]))
    whole = sos_cascade(x, sos), sos_cascade(x, moving)
    state: stream.State | None = None
    parts = []
    for a, b in itertools.pairwise((0, 1, 700, 8191, 8192, 16400, 20000)):
        with stream.streaming(state) as tape:
            parts.append((sos_cascade(x[..., a:b], sos), sos_cascade(x[..., a:b], moving[:, a:b])))
        state = tuple(tape.after)
    for k in range(2):
        assert torch.equal(torch.cat([p[k] for p in parts], -1), whole[k])


def test_sections_that_change_each_sample() -> None:
    """A step between two filters carries the states over; what does not change equals the constant sections."""
    sos = board(2, 44100, twin=False, low_hz=500)[0]
    x = torch.randn(2, 2, 1300, dtype=torch.float64)
    still = sos[:, None].expand(-1, 1300, -1, -1)
    torch.testing.assert_close(sos_cascade(x, still), sos_cascade(x, sos), rtol=0, atol=1e-12)
    assert sos_cascade(x.float(), still).dtype == torch.float32
    stepped = torch.cat(
        [sos.expand(2, -1, -1)[:, None].repeat(1, 700, 1, 1), sos.flip(0)[:, None].repeat(1, 600, 1, 1)], 1
    )
    with stream.streaming(None) as tape:
        first = sos_cascade(x[..., :700], sos[:, None].expand(-1, 700, -1, -1))
    with stream.streaming(tuple(tape.after)):
        second = sos_cascade(x[..., 700:], sos.flip(0)[:, None].expand(-1, 600, -1, -1))
    assert torch.equal(sos_cascade(x, stepped), torch.cat([first, second], -1))


@pytest.mark.parametrize("samples", [1, 9])
def test_gradcheck_of_moving_sections(samples: int) -> None:
    sos = board(2, 44100, twin=False, low_hz=500)[0][:, None, :2] * (1 + 0.1 * torch.rand(2, samples, 1, 1))
    x = torch.randn(2, 2, samples, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(sos_cascade, (x, sos.requires_grad_()))


def test_gradcheck_of_moving_sections_over_several_tiles() -> None:
    sos = board(1, 44100, twin=False, low_hz=500)[0][:, None, :2] * (1 + 0.01 * torch.rand(1, 1100, 1, 1))
    x = torch.randn(1, 2, 1100, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(sos_cascade, (x, sos.requires_grad_()), fast_mode=True)


def test_second_derivatives_on_the_portable_path() -> None:
    sos = board(1, 44100, twin=False, low_hz=2000)[0][:, :2].requires_grad_()
    x = torch.randn(1, 1, 12, dtype=torch.float64, requires_grad=True)
    with backend("torch"):
        assert torch.autograd.gradgradcheck(sos_cascade, (x, sos), fast_mode=True)


def test_float32_gradients_of_settings_match_float64_differences() -> None:
    """Through the design: central differences of the ideal filter, one parameter of one band at a time."""
    f, g, q = torch.tensor([[200.0, 4000.0]]), torch.tensor([[6.0, -9.0]]), torch.tensor([[1.0, 2.0]])
    x, target = torch.randn(2, 1, 2, 4000) / 4

    def loss(f: Tensor, g: Tensor, q: Tensor, exact: bool) -> Tensor:
        dtype = torch.float64 if exact else torch.float32
        y = sos_cascade(x.to(dtype), biquad.peak(f, g, q, 44100, twin=not exact))
        return (y - target.to(dtype)).square().double().sum()

    leaves = [v.clone().requires_grad_() for v in (f, g, q)]
    gradients = torch.autograd.grad(loss(*leaves, exact=False), leaves)
    for i, band in itertools.product(range(3), range(2)):
        ends = []
        for sign in (1, -1):
            values = [v.double() for v in (f, g, q)]
            values[i][0, band] *= 1 + sign * 1e-5
            ends.append(loss(*values, exact=True))
        expected = float(ends[0] - ends[1]) / (2e-5 * float((f, g, q)[i][0, band]))
        assert float(gradients[i][0, band]) == pytest.approx(expected, rel=2e-3)


def test_the_backward_is_the_adjoint() -> None:
    """<H x, w> = <x, H* w>, with float64 adjoint states: to float32's rounding of the outputs."""
    sos, _ = board(2, 44100, twin=True)
    x, w = torch.randn(2, 2, 2, 6000)
    x.requires_grad_()
    y = sos_cascade(x, sos)
    (back,) = torch.autograd.grad(y, x, w)
    forward = (y.detach().double() * w.double()).sum()
    assert float((x.detach().double() * back.double()).sum()) == pytest.approx(float(forward), rel=1e-3)
    x64 = x.detach().double().requires_grad_()
    y64 = sos_cascade(x64, sos)
    (back64,) = torch.autograd.grad(y64, x64, w.double())
    assert float((x64.detach() * back64).sum()) == pytest.approx(float((y64.detach() * w).sum()), rel=1e-11)
    torch.testing.assert_close(back, back64.float(), rtol=1e-6, atol=1e-6 * float(back64.abs().max()))


def test_paths_agree_in_value_and_gradient() -> None:
    """Float64 against float64: only the order of summation differs."""
    sos = board(2, 48000, twin=False, low_hz=100)[0].requires_grad_()
    x = torch.randn(2, 2, 3000, dtype=torch.float64, requires_grad=True)
    w = torch.randn_like(x)
    y = sos_cascade(x, sos)
    expected = y, *torch.autograd.grad(y, (x, sos), w)
    with backend("torch"):
        y = sos_cascade(x, sos)
        got = y, *torch.autograd.grad(y, (x, sos), w)
    for a, b in zip(got, expected, strict=True):
        assert (a - b).abs().max() <= 1e-8 * b.abs().max()


def test_an_item_alone_equals_itself_in_a_batch() -> None:
    sos = board(3, 44100, twin=True)[0].requires_grad_()
    x = torch.randn(3, 2, 700, requires_grad=True)
    y = sos_cascade(x, sos)
    gx, gs = torch.autograd.grad(y.square().sum(), (x, sos))
    for b in range(3):
        alone = sos_cascade(x[b : b + 1], sos[b : b + 1])
        one_x, one_s = torch.autograd.grad(alone.square().sum(), (x, sos))
        assert torch.equal(alone[0], y[b])
        assert torch.equal(one_x[b], gx[b])
        assert torch.equal(one_s[b], gs[b])


def test_layout_and_dtype_of_the_input_do_not_matter() -> None:
    sos = board(2, 44100, twin=True)[0].requires_grad_()
    x = torch.randn(2, 600, 2).transpose(1, 2)
    flipped = x.contiguous().flip(-1).flip(-1)
    assert torch.equal(sos_cascade(x, sos), sos_cascade(flipped, sos))
    y = sos_cascade(x, sos)
    (from_sum,) = torch.autograd.grad(y.sum(), sos, retain_graph=True)  # a gradient of stride 0
    (from_ones,) = torch.autograd.grad(y, sos, torch.ones_like(y))
    assert torch.equal(from_sum, from_ones)
    half = x.to(torch.float16)
    assert torch.equal(sos_cascade(half, sos), sos_cascade(half.float(), sos).half())


@pytest.mark.parametrize("name", ["auto", "torch"])
def test_gradients_are_finite_on_extreme_signals(name: str) -> None:
    sos = board(1, 44100, twin=True)[0].requires_grad_()
    for x in (*signals(600, 1).values(), torch.ones(1, 600), -torch.ones(1, 1)):
        x = x[None].clone().requires_grad_()
        with backend(name):  # type: ignore[arg-type]
            gradients = torch.autograd.grad(sos_cascade(x, sos).square().sum(), (x, sos))
        assert all(g.isfinite().all() for g in gradients)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # opcheck's own
def test_the_operators_are_registered_properly() -> None:
    c = board(2, 44100, twin=True)[0][:, None, :2].flatten(2).clone().requires_grad_()
    for samples, dtype in ((600, torch.float32), (3, torch.float64)):
        x = torch.randn(2, 1, samples, dtype=dtype, requires_grad=True)
        start = torch.zeros(2, 5, dtype=dtype)
        torch.library.opcheck(iir._cascade.overload, (x, c, start, 1, []))
        states = iir._cascade(x, c, start, 1, [])[1].detach()
        arguments = (torch.randn_like(x), x.detach(), c.detach(), states, 1, [])
        torch.library.opcheck(torch.ops.diffmix.sos_cascade_backward.default, arguments)
    moving, start = c.detach().expand(-1, 3, -1).clone().requires_grad_(), torch.zeros(2, 4, dtype=torch.float64)
    torch.library.opcheck(iir._moving_cascade.overload, (x, moving, start, 1, []))


@pytest.mark.slow
def test_the_first_call_does_not_import_the_compiler() -> None:
    """torch._dynamo takes seconds to import, and torch.library.custom_op or torch.optim would import it."""
    program = """
import sys, torch
from diffmix.descent import Adam
from diffmix.errors import AudioError
from diffmix.kernels import biquad, iir, stream
hz = torch.tensor([100.0], requires_grad=True)
sos = biquad.lowpass(hz, 44100, twin=True)
iir.sos_cascade(torch.ones(1, 1, 9), sos[:, None]).sum().backward()
Adam([hz], 0.1).step()
sys.exit("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(("name", "compiler"), [("auto", "inductor"), ("torch", "aot_eager")])
def test_compiles_as_one_graph(name: str, compiler: str) -> None:
    def loss(x: Tensor, f: Tensor, g: Tensor, q: Tensor) -> Tensor:
        return sos_cascade(x, biquad.peak(f, g, q, 44100, twin=True)).square().sum()

    x = torch.randn(2, 2, 600, requires_grad=True)
    values = [v.requires_grad_() for v in (100 + 1000 * torch.rand(2, 2), torch.randn(2, 2), 0.5 + torch.rand(2, 2))]
    torch._dynamo.reset()
    with backend(name):  # type: ignore[arg-type]
        eager = torch.autograd.grad(loss(x, *values), (x, *values))
        together = torch.compile(loss, fullgraph=True, backend=compiler)
        compiled = torch.autograd.grad(together(x, *values), (x, *values))
    torch.testing.assert_close(compiled, eager)


def test_graphs_on_disk_of_another_tile_are_others() -> None:
    assert iir._cascade.overload.name() == f"diffmix::sos_cascade_{iir._TILE}"
    assert iir._moving_cascade.overload.name() == f"diffmix::moving_sos_cascade_{iir._TILE}"


@pytest.mark.parametrize("name", ["auto", "torch"])
def test_other_shapes_are_refused(name: str) -> None:
    x, sos = torch.randn(2, 3, 9), 0.1 * torch.randn(2, 2, 5, generator=torch.Generator().manual_seed(1))
    with backend(name):  # type: ignore[arg-type]
        for wrong in (torch.ones(2, 2, 6), sos[0], sos[:, :0]):  # six: SciPy's, with a0
            with pytest.raises(AudioError, match=r"allowed are \(B, K, 5\), or \(B, T, K, 5\)"):
                sos_cascade(x, wrong)
        with pytest.raises(AudioError, match="settings are of 3 items"):
            sos_cascade(x, sos[:1].expand(3, -1, -1))
        with pytest.raises(AudioError, match=r"torch.int64; allowed are floats \(B, C, T\)"):
            sos_cascade(x.long(), sos)
        for empty in (x[..., :0], x[:0], x[:, :0]):
            assert sos_cascade(empty, sos[: len(empty)]).shape == empty.shape
        assert torch.allclose(sos_cascade(x, sos[:, None]), sos_cascade(x, sos), atol=1e-6)  # (B, 1, K, 5): one for all


def test_what_moves_in_one_chunk_is_a_curve_in_all() -> None:
    effect = PeakFilter(44100)
    x = torch.randn(1, 2, 3000, generator=torch.Generator().manual_seed(1))
    values = {"cutoff_frequency_hz": torch.tensor([900.0]), "q": torch.tensor([1.0])}
    still, moving = torch.tensor([[3.0]]), torch.tensor([[3.0, -6.0]])
    first, state = effect.process_chunk(x[..., :1000], None, gain_db=still, **values)
    second, _ = effect.process_chunk(x[..., 1000:], state, gain_db=moving, **values)
    points = torch.cat([still.expand(1, 1000), curve(moving, 2000)], 1)
    assert torch.allclose(torch.cat([first, second], -1), effect.process(x, gain_db=points, **values), atol=1e-6)
    _, state = effect.process_chunk(x[..., :1000], None, gain_db=still[0], **values)
    with pytest.raises(AudioError, match="or of settings that stood still"):
        effect.process_chunk(x[..., 1000:], state, gain_db=moving, **values)
