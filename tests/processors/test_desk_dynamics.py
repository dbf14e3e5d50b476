import math

import numpy as np
import pedalboard
import pytest
import torch
from torch import Tensor

from diffmix.errors import AudioError, PresetError, SettingsError
from diffmix.processors import EnvelopeFollower, Expander, KneeCompressor, KneeGate, TransientShaper
from tests.jacobians import check_gradients

RATE = 44100
F64 = torch.float64


def music(samples: int = 3000, channels: int = 2) -> Tensor:
    """Decaying noise, twice, at two levels."""
    since = torch.arange(samples, dtype=F64) % (samples // 2)
    level = torch.exp(-since / 400) * torch.where(torch.arange(samples) < samples // 2, 0.2, 0.9)
    return (torch.randn(1, channels, samples, dtype=F64) * level).float()


def settings(effect: torch.nn.Module, **changed: float) -> dict[str, Tensor]:
    values = {name: p.default for name, p in effect.spec} | changed  # type: ignore[union-attr]
    return {name: torch.tensor([v]) for name, v in values.items()}


COMPRESSION = {"threshold_db": -24, "ratio": 4, "knee_db": 6, "attack_ms": 2, "release_ms": 40, "makeup_db": 3}


def textbook_gain_db(level: np.ndarray, kind: str, v: dict[str, float]) -> np.ndarray:
    """Static curves, case by case."""
    t, w = v["threshold_db"], v["knee_db"]
    if kind == "gate":
        u = np.clip((level - t) / w + 0.5, 0, 1)
        return -v["range_db"] * (1 - u * u * (3 - 2 * u))
    out = []
    for x in level:
        over = x - t if kind == "compressor" else t - x
        q = (over + w / 2) ** 2 / (2 * w) if w > 0 and 2 * abs(over) <= w else max(over, 0)
        out.append((1 / v["ratio"] - 1) * q if kind == "compressor" else max((1 - v["ratio"]) * q, -v["range_db"]))
    return np.array(out)


def textbook(x: np.ndarray, heard: np.ndarray, kind: str, v: dict[str, float], detector: str, link: bool) -> np.ndarray:
    """The effect in float64, one sample at a time; x and heard (C, T)."""
    level = np.abs(heard) if detector == "peak" else heard**2
    if link:
        level = (level.max(0) if detector == "peak" else level.mean(0))[None]
    attack, release = (math.exp(-1 / (RATE * v[f"{name}_ms"] / 1000)) for name in ("attack", "release"))
    y = np.empty_like(x)
    for c in range(len(x)):
        row, e = level[c % len(level)], 0.0
        envelope = np.empty(len(row))
        for n, r in enumerate(row):
            k = attack if r > e else release
            envelope[n] = e = k * e + (1 - k) * r
        decibels = (20 if detector == "peak" else 10) * np.log10(np.maximum(envelope, 1e-30))
        y[c] = x[c] * 10 ** ((textbook_gain_db(np.maximum(decibels, -140), kind, v) + v.get("makeup_db", 0)) / 20)
    return y


CASES = {
    "compressor": (KneeCompressor, COMPRESSION),
    "hard": (KneeCompressor, COMPRESSION | {"knee_db": 0}),
    "expander": (
        Expander,
        {"threshold_db": -30, "ratio": 3, "knee_db": 8, "attack_ms": 1, "release_ms": 30, "range_db": 40},
    ),
    "gate": (KneeGate, {"threshold_db": -30, "knee_db": 6, "attack_ms": 1, "release_ms": 10, "range_db": 60}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("detector", ["peak", "rms"])
@pytest.mark.parametrize("link", [True, False])
@pytest.mark.parametrize("keyed", [False, True])
def test_equals_the_textbook(case: str, detector: str, link: bool, keyed: bool) -> None:
    kind, v = CASES[case]
    effect = kind(RATE, detector=detector, link=link)
    x, key = music(), music().flip(-1)
    expected = textbook(
        x[0].double().numpy(),
        (key if keyed else x)[0].double().numpy(),
        "compressor" if kind is KneeCompressor else case,
        v,
        detector,
        link,
    )
    values = settings(effect, **v)
    exact = effect.process(
        x.double(), side_chain=key.double() if keyed else None, **{n: s.double() for n, s in values.items()}
    )
    np.testing.assert_allclose(exact[0].numpy(), expected, atol=2e-7)
    single = effect.process(x, side_chain=key if keyed else None, **values)
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single[0].numpy(), expected, atol=2e-5 * np.abs(expected).max())


def test_exports_as_pedalboards_compressor() -> None:
    effect = KneeCompressor(RATE, link=False)
    x = music(20000)
    for seed in range(10):
        u = effect.spec.sample(1, torch.Generator().manual_seed(seed))
        values = {n: v.item() for n, v in effect.spec.denormalize(u).items()} | {"knee_db": 0.0}
        y = effect.process(x, **{n: torch.tensor([v]) for n, v in values.items()})
        plugins = effect.plugins(values)
        assert [name for name, _ in plugins] == ["Compressor", "Gain"]
        board = pedalboard.Pedalboard([getattr(pedalboard, name)(**arguments) for name, arguments in plugins])
        expected = board(x[0].numpy(), RATE)
        error = np.abs(y[0].numpy() - expected).max() / np.abs(expected).max()
        assert 20 * math.log10(error + 1e-12) < -90  # theirs rounds the memories to float32


def test_what_pedalboard_lacks_is_named() -> None:
    values = {name: p.default for name, p in KneeCompressor.declared.items()}
    with pytest.raises(PresetError, match=r"lacks a knee of 6 dB .*, an RMS detector, linked channels, look-ahead"):
        KneeCompressor(RATE, detector="rms", lookahead_ms=1).plugins(values)
    assert len(KneeCompressor(RATE, link=False).plugins(values | {"knee_db": 0})) == 1
    for kind in (Expander, KneeGate, EnvelopeFollower, TransientShaper):
        with pytest.raises(PresetError, match="cannot be carried into Pedalboard"):
            kind(RATE).plugins({})


@pytest.mark.parametrize("detector", ["peak", "rms"])
def test_stereo_out_of_phase_is_compressed_as_in_phase(detector: str) -> None:
    x = music(channels=1)
    effect = KneeCompressor(RATE, detector=detector)  # type: ignore[arg-type]
    values = settings(effect, **COMPRESSION)
    together = effect.process(torch.cat([x, x], 1), **values)
    apart = effect.process(torch.cat([x, -x], 1), **values)
    assert torch.equal(together[:, 0], apart[:, 0])
    assert torch.equal(together[:, 1], -apart[:, 1])
    assert torch.equal(effect.process(x, **values)[:, 0], together[:, 0])  # two equal channels are no louder than one


def test_link_and_side_chain() -> None:
    x = music()
    x[:, 1] = 0.5 * x[:, 0]
    linked, free = KneeCompressor(RATE), KneeCompressor(RATE, link=False)
    values = settings(linked, **COMPRESSION)
    y = linked.process(x, **values)
    torch.testing.assert_close(y[:, 1] / x[:, 1], y[:, 0] / x[:, 0], rtol=1e-5, atol=0)
    assert torch.equal(free.process(x, **values)[:, :1], free.process(x[:, :1], **values))
    key = x[:, :1]
    assert torch.equal(free.process(x, side_chain=key, **values), y)  # the first channel is the louder one
    with pytest.raises(AudioError, match="takes a side chain of 1 or 2 channels, got 3"):
        free.process(x, side_chain=torch.zeros(1, 3, 3000), **values)
    silent = linked.process(x, side_chain=torch.zeros_like(x), **values)
    torch.testing.assert_close(silent, x * 10 ** (3 / 20), rtol=1e-5, atol=0)


def test_lookahead_comes_before_the_sound() -> None:
    x = torch.full((1, 1, 2000), 0.01)
    x[..., 1000:] = 1.0
    v = COMPRESSION | {"attack_ms": 1, "makeup_db": 0, "knee_db": 0}
    late, early = KneeCompressor(RATE), KneeCompressor(RATE, lookahead_ms=8)
    assert early.latency_samples({}) == 353
    gains = [effect.process(x, **settings(effect, **v)) / x for effect in (late, early)]
    assert gains[0][..., 1000] > 0.8
    assert gains[1][..., 1000] == pytest.approx(10 ** (-18 / 20), rel=1e-3)
    torch.testing.assert_close(gains[1][..., :-353], gains[0][..., 353:], rtol=1e-6, atol=0)


def test_hold_keeps_a_gate_open() -> None:
    x = torch.full((1, 1, 6000), 1e-4)
    x[..., :1000] = 0.5
    v = {"threshold_db": -40, "range_db": 60, "attack_ms": 0.1, "release_ms": 5}
    closing, holding = KneeGate(RATE), KneeGate(RATE, hold_ms=50)
    hold = round(0.05 * RATE)
    gains = [effect.process(x, **settings(effect, **v)) / x for effect in (closing, holding)]
    assert gains[1][..., 1000 : 1000 + hold].min() > 0.999
    torch.testing.assert_close(gains[1][..., 1000 + hold :], gains[0][..., 1000:-hold], rtol=1e-5, atol=1e-6)
    assert gains[0][..., -1] == pytest.approx(1e-3, rel=1e-3)


def test_settings_that_move() -> None:
    x = music()
    effect = KneeCompressor(RATE, lookahead_ms=1)
    values = settings(effect, **COMPRESSION)
    steps = torch.where(torch.arange(3000) < 1500, 0.0, -40.0)[None]
    y = effect.process(x, **values | {"threshold_db": steps})
    before = effect.process(x, **values | {"threshold_db": torch.tensor([0.0])})
    after = effect.process(x, **values | {"threshold_db": torch.tensor([-40.0])})
    torch.testing.assert_close(y[..., :1400], before[..., :1400], rtol=0, atol=1e-6)
    torch.testing.assert_close(y[..., 1500:], after[..., 1500:], rtol=0, atol=1e-6)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("options", [{}, {"detector": "rms", "link": False}, {"lookahead_ms": 0.5, "hold_ms": 0.5}])
def test_gradcheck(case: str, options: dict[str, object]) -> None:
    kind, v = CASES[case]
    effect = kind(RATE, **options)
    v = v | {"release_ms": 5, "attack_ms": 0.3}
    x, key = (music(40).double().requires_grad_() for _ in range(2))
    frozen = {"knee_db"} if v["knee_db"] == 0 else set()
    leaves = {n: torch.tensor([float(s)], dtype=F64, requires_grad=n not in frozen) for n, s in v.items()}

    def run(x: Tensor, key: Tensor, *values: Tensor) -> Tensor:
        return effect.process(x, side_chain=key, **dict(zip(leaves, values, strict=True)))

    check_gradients(run, (x, key, *leaves.values()), eps=1e-8, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("kind", [KneeCompressor, Expander, KneeGate])
def test_gradients_are_finite_at_the_ends_of_every_range(kind: type[KneeCompressor]) -> None:
    effect = kind(RATE)
    for x in (torch.zeros(1, 2, 300), torch.ones(1, 2, 300), music(300), torch.full((1, 2, 300), 1e-12)):
        for u in (torch.zeros(1, effect.spec.size), torch.ones(1, effect.spec.size)):
            leaves = x.clone().requires_grad_(), u.clone().requires_grad_()
            gradients = torch.autograd.grad(effect(*leaves).square().sum(), leaves)
            assert all(g.isfinite().all() for g in gradients)


def test_curves_are_those_of_steady_levels() -> None:
    level_db = torch.arange(-60.0, 1, 5)
    x = (10 ** (level_db / 20))[:, None, None].expand(-1, 1, 9000)
    for kind, v in CASES.values():
        effect = kind(RATE)
        values = {n: s.expand(len(level_db)) for n, s in settings(effect, **v).items()}
        reached = 20 * effect.process(x, **values)[:, 0, -1].log10()
        torch.testing.assert_close(reached, effect.curve_db(level_db, v), rtol=0, atol=2e-3)


def test_wrong_choices_are_refused() -> None:
    for options, message in (
        ({"detector": "mean"}, "detector is 'peak' or 'rms', got 'mean'"),
        ({"lookahead_ms": 200.0}, "lookahead_ms = 200 ms, allowed 0..100 ms"),
        ({"hold_ms": -1.0}, "hold_ms = -1 ms, allowed 0..1000 ms"),
    ):
        with pytest.raises(SettingsError, match=message):
            KneeGate(RATE, **options)  # type: ignore[arg-type]


def test_envelope_follower() -> None:
    x = torch.zeros(1, 2, 4410)
    x[:, 0, :2205], x[:, 1, :2205] = 0.25, -0.5
    effect = EnvelopeFollower(RATE)
    envelope = effect.process(x, **settings(effect, attack_ms=10, release_ms=20, gain_db=6))
    assert envelope.shape == (1, 1, 4410)
    assert [port.kind for port in effect.outlets] == ["control"]
    factor = 0.5 * 10 ** (6 / 20)
    assert envelope[0, 0, 440].item() == pytest.approx(factor * (1 - math.exp(-1)), rel=1e-3)
    assert (envelope[0, 0, 2205 + 882] / envelope[0, 0, 2205]).item() == pytest.approx(math.exp(-1), rel=1e-3)


def test_transient_shaper_treats_onsets_and_tails_at_any_level() -> None:
    t = torch.arange(12000) / RATE
    x = (torch.sin(2 * math.pi * 500 * t) * torch.exp(-15 * t) * (t > 0))[None, None]
    effect = TransientShaper(RATE)
    for name, place in (("attack_db", slice(20, 200)), ("sustain_db", slice(6000, 12000))):
        louder = effect.process(x, **settings(effect, **{name: 12}))
        gain_db = 20 * torch.log10(louder.abs().sum(-1) / x.abs().sum(-1))
        there = 20 * torch.log10(louder[..., place].abs().sum() / x[..., place].abs().sum())
        assert there > gain_db + 0.5
        assert there > 5
        assert there < 12.001
        quiet = effect.process(x * 0.01, **settings(effect, **{name: 12}))
        torch.testing.assert_close(quiet, louder * 0.01, rtol=1e-3, atol=1e-7)
    noise = torch.randn(1, 1, 12000, generator=torch.Generator().manual_seed(0)) * 0.1
    for name, sound, place in (("attack_db", x, slice(4000, 12000)), ("sustain_db", x, slice(0, 400))):
        for heard, where in ((sound, place), (noise, slice(4000, 12000))):  # neither the other part nor what is steady
            louder = effect.process(heard, **settings(effect, **{name: 12}))
            assert abs(20 * torch.log10(louder[..., where].abs().sum() / heard[..., where].abs().sum())) < 1
