import numpy as np
import pedalboard
import pytest
import torch

from diffmix.kernels.backend import backend
from diffmix.kernels.units import db_to_gain, gain, gain_to_db

LEVELS_DB = [-300.0, -100.0, -99.999, -60.0, -3.3, -0.0, 0.0, 0.1, 6.0, 24.0, 60.0]


def test_gain_is_pedalboards_sample_for_sample() -> None:
    g = torch.Generator().manual_seed(0)
    levels = torch.cat([torch.tensor(LEVELS_DB), torch.empty(200).uniform_(-110, 40, generator=g)])
    x = torch.randn(len(levels), 2, 257, generator=g)
    y = gain(x, levels)
    for i, level in enumerate(levels.tolist()):
        assert np.array_equal(y[i].numpy(), pedalboard.Gain(level)(x[i].numpy(), 44100)), level


def test_silence_is_exact_and_keeps_a_gradient() -> None:
    for dtype in (torch.float32, torch.float64):
        for name in ("auto", "torch"):
            db = torch.tensor([-100.0, -250.0, -99.0], dtype=dtype, requires_grad=True)
            with backend(name):
                g = db_to_gain(db)
            g.sum().backward()
            assert g[:2].tolist() == [0.0, 0.0]
            assert g[2] > 0
            torch.testing.assert_close(db.grad, np.log(10) / 20 * 10 ** (db.detach() / 20), rtol=1e-5, atol=0)
            assert (db.grad > 0).all()


def test_gradients() -> None:
    db = torch.tensor([-90.0, -12.0, 0.0, 7.5], dtype=torch.float64, requires_grad=True)
    x = torch.randn(4, 2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    assert torch.autograd.gradcheck(gain, (x, db))
    assert torch.autograd.gradgradcheck(gain, (x, db))


def test_portable_agrees_with_the_twin() -> None:
    db = torch.linspace(-99, 40, 500)
    with backend("torch"):
        portable = db_to_gain(db)
    # the twin rounds 0.05 * dB to float32 first: up to 5 * ln(10) * 2**-24 relative
    torch.testing.assert_close(db_to_gain(db), portable, rtol=8e-7, atol=0)


def test_level_of_a_gain() -> None:
    g = torch.tensor([1.0, -0.5, 0.0, 1e-9, 2.0], dtype=torch.float64, requires_grad=True)
    level = gain_to_db(g)
    torch.testing.assert_close(
        level.detach(), torch.tensor([0.0, 20 * np.log10(0.5), -120.0, -120.0, 20 * np.log10(2)], dtype=torch.float64)
    )
    level.sum().backward()
    assert g.grad.isfinite().all()
    torch.testing.assert_close(gain_to_db(db_to_gain(torch.tensor([-7.0]))), torch.tensor([-7.0]))
    assert gain_to_db(torch.zeros(1), floor_db=-90.0).item() == pytest.approx(-90.0, abs=1e-4)


def test_dtype_is_that_of_the_audio() -> None:
    assert gain(torch.zeros(1, 1, 3), torch.zeros(1, dtype=torch.float64)).dtype == torch.float32
    assert gain(torch.zeros(1, 1, 3, dtype=torch.float64), torch.zeros(1)).dtype == torch.float64


def test_compiles_to_the_same_samples() -> None:
    x, db = torch.randn(2, 2, 64, generator=torch.Generator().manual_seed(2)), torch.tensor([-3.3, 7.1])
    grads = []
    outputs = []
    for f in (gain, torch.compile(gain, fullgraph=True, backend="aot_eager")):
        level = db.clone().requires_grad_()
        y = f(x, level)
        y.square().sum().backward()
        grads.append(level.grad)
        outputs.append(y.detach())
    assert torch.equal(*outputs)
    assert torch.equal(*grads)


def test_a_gain_that_is_only_computed_equals_one_with_gradients() -> None:
    db = torch.cat([torch.linspace(-130, 60, 1001), torch.tensor([-100.0, -99.9999])])
    assert torch.equal(db_to_gain(db), db_to_gain(db.clone().requires_grad_()).detach())
    assert db_to_gain(db[0]).shape == ()
    assert db_to_gain(db.half()).dtype == torch.float16
