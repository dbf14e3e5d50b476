"""dasp-pytorch's effects are dasp-pytorch's, called directly; and its faults are what we say they are."""

import dasp_pytorch
import pytest
import torch
from dasp_pytorch import functional
from torch import Tensor

from diffmix.errors import PresetError, SettingsError
from diffmix.processors import Chain, Gain
from diffmix.processors.dasp import Dasp, dasp

RATE = 44100
SHORT = {"noise_shaped_reverberation": {"num_samples": 2000, "num_bandpass_taps": 101}}
NAMES = ("gain", "distortion", "parametric_eq", "compressor", "stereo_widener", "stereo_panner", *SHORT)


def made(name: str, **options: object) -> Dasp:
    return dasp(name, RATE, **SHORT.get(name, {}), **options)


def audio(effect: Dasp, items: int = 2) -> Tensor:
    shape = items, effect.inlets[0].channels or 2, 1500
    return 0.3 * torch.randn(shape, generator=torch.Generator().manual_seed(1))


def controls(effect: Dasp, items: int = 2) -> Tensor:
    return effect.spec.sample(items, torch.Generator().manual_seed(2))


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("gain", dasp_pytorch.modules.Gain),
        ("parametric_eq", dasp_pytorch.modules.ParametricEQ),
        ("compressor", dasp_pytorch.modules.Compressor),
    ],
)
def test_equals_dasp(name: str, theirs: type) -> None:
    """Controls in [0, 1] too mean what they mean there."""
    effect = made(name)
    x, u = audio(effect), controls(effect)
    found = effect(x, u)
    assert torch.allclose(found, theirs(RATE).process_normalized(x, u), rtol=1e-4, atol=1e-6)
    values = effect.spec.denormalize(u)
    assert torch.equal(found, getattr(functional, name)(x, RATE, **values))


def test_what_dasp_takes_only_one_by_one_equals_it_one_by_one() -> None:
    for name in ("distortion", "stereo_widener", "stereo_panner", "noise_shaped_reverberation"):
        effect = made(name)
        x, u = audio(effect), controls(effect)
        for item, out, values in zip(x, effect(x, u), effect.spec.physical(u), strict=True):
            named = {n: v[None] for n, v in zip(effect.spec.names, values, strict=True)}
            theirs = getattr(functional, name)
            if name == "distortion":
                expected = torch.cat([theirs(channel[None, None], RATE, **named)[0] for channel in item])
            else:
                torch.manual_seed(0)
                expected = theirs(item[None], RATE, **named, **SHORT.get(name, {}))[0]
                expected = expected[:, 0] if name == "stereo_panner" else expected
            assert torch.equal(out, expected), name


@pytest.mark.parametrize("name", NAMES)
def test_laws(name: str) -> None:
    effect = made(name)
    x, u = audio(effect), controls(effect).requires_grad_()
    kept = x.clone()
    before = torch.random.get_rng_state()
    y = effect(x, u)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert y.shape == (2, effect.outlets[0].channels or 2, 1500)
    assert torch.equal(effect(x, u), y)
    assert torch.equal(x, kept)
    assert torch.allclose(effect(x[1:], u[1:]), y[1:], atol=1e-6)
    (y * torch.randn(y.shape)).sum().backward()
    assert torch.isfinite(u.grad).all()
    dead = [n for n, g in zip(effect.spec.names, u.grad.abs().amax(0).tolist(), strict=True) if g == 0]
    assert dead == (["release_ms"] if name == "compressor" else [])


@pytest.mark.parametrize("name", NAMES)
def test_defaults_are_neutral(name: str) -> None:
    effect = made(name)
    x = audio(effect)
    y = effect(x, effect.spec.default().expand(2, -1))
    if name == "stereo_panner":
        assert torch.allclose(y[:, 0], y[:, 1], rtol=1e-5)
    elif name == "distortion":
        assert torch.equal(y, torch.tanh(x))
    else:
        assert torch.allclose(y, x, atol=1e-4)


def test_faults_that_are_documented() -> None:
    effect = made("compressor")
    x = audio(effect)
    values = {n: torch.tensor([p.default] * 2) for n, p in effect.spec} | {
        "threshold_db": torch.full((2,), -40.0), "ratio": torch.full((2,), 8.0)
    }  # fmt: skip
    y = effect.process(x, **values)
    assert torch.equal(effect.process(x, **{**values, "release_ms": torch.full((2,), 5.0)}), y)
    opposite = torch.stack([x[:, 0], -x[:, 0]], 1)
    assert torch.allclose(effect.process(opposite, **values), opposite, atol=1e-6)
    assert not torch.allclose(
        effect.process(x[:, :1].expand(-1, 2, -1), **values), x[:, :1].expand(-1, 2, -1), atol=0.1
    )
    knee = torch.zeros(2, requires_grad=True)
    effect.process(x, **{**values, "knee_db": knee}).sum().backward()
    assert knee.grad.isnan().any()
    pan = torch.tensor([0.0, 1.0], requires_grad=True)
    made("stereo_panner").process(x[:, :1], pan=pan).sum().backward()
    assert pan.grad.isnan().any()
    with pytest.raises(RuntimeError):
        functional.distortion(x, RATE, torch.ones(2))
    with pytest.raises(RuntimeError):
        functional.stereo_widener(x, RATE, torch.ones(2))


def test_in_a_chain_and_in_presets() -> None:
    chain = Chain(trim=Gain(RATE), squeeze=dasp("compressor", RATE, {"knee_db": (1, 6)}))
    assert chain.spec.params["squeeze.knee_db"].low == 1
    x = torch.randn(1, 2, 100)
    assert chain(x, chain.spec.default()[None]).shape == x.shape
    with pytest.raises(PresetError, match="it is dasp-pytorch's effect"):
        chain.plugins({n: p.default for n, p in chain.spec})
    with pytest.raises(SettingsError, match="has no effect 'expander' that works; there are: gain, distortion"):
        dasp("expander", RATE)
