"""How much of a treatment, or nothing."""

import time

import pytest
import torch

from diffmix.errors import SettingsError
from diffmix.estimators.translator import Harm, Posterior
from diffmix.estimators.treatment import EQ_HZ, Knobs, Treatment
from diffmix.processors import Compressor, HighShelfFilter
from diffmix.transferring.decision import CROP, decide, judged, mel_distance, mel_magnitude, render
from diffmix.transferring.matching import _heard

RATE = 24_000


def song(seconds: float = 5.5, seed: int = 0) -> torch.Tensor:
    x = torch.randn(1, int(seconds * RATE), generator=torch.Generator().manual_seed(seed))
    return x * (1 + torch.sin(torch.arange(x.shape[1]) / 3000)) * 0.1


def believed(sure: float, dynamics: bool = True, extras: tuple[float, float, float] = (0, 0, 0)) -> Posterior:
    """A bright, compressed treatment; how much of each part was done is known up to ``sure`` times itself."""
    knobs = Knobs(*(torch.tensor(v) for v in (-30.0, 3.0 if dynamics else 1.0, 10.0, 100.0)))
    median = Treatment.of(torch.linspace(-10, 12, 40), knobs, torch.tensor(extras))
    drawn = torch.randn(64, 5, generator=torch.Generator().manual_seed(1))
    residuals = drawn.repeat_interleave(torch.tensor([40, 8, 1, 1, 1]), 1) * median.to_vector().sign()
    scale = Treatment.from_vector(sure * median.to_vector().abs())
    return Posterior(median, scale, residuals)


def test_pieces_are_judged_at_one_peak_whatever_their_level_and_length() -> None:
    x = song(4.0)[None] / 3
    (heard,) = judged(x, RATE)
    assert heard.shape == (CROP,)
    assert heard.abs().max() == pytest.approx(10 ** (-12 / 20), rel=1e-5)
    torch.testing.assert_close(judged(8 * x, RATE)[0], heard)
    short = judged(x[..., : RATE // 2], RATE)[0]
    assert torch.equal(short[: RATE // 2], short[RATE // 2 : RATE])
    torch.testing.assert_close(_heard(x + 0.5, RATE), _heard(x, RATE), atol=1e-5, rtol=0)


def test_what_is_known_is_done() -> None:
    decision = decide(song(), RATE, believed(0.02))
    assert decision.acted
    assert decision.amounts["tone"] == decision.amounts["dynamics"] == 1
    assert decision.expected < 0.2


def test_what_is_not_known_is_left_alone() -> None:
    decision = decide(song(), RATE, believed(5.0))
    assert not decision.acted
    assert not decision.treatment.to_vector().any()
    assert decision.expected > 0.6


@pytest.mark.parametrize(("gate", "acts"), [("bold", True), ("default", True), ("cautious", False), (0.3, False)])
def test_the_gate_decides(gate: str | float, acts: bool) -> None:
    assert decide(song(), RATE, believed(1.1, dynamics=False), gate=gate).acted == acts


def test_a_locked_aspect_is_left_alone() -> None:
    decision = decide(song(), RATE, believed(0.02, extras=(6.0, 0, 0)), aspects={"tone": 0.0, "width": 0.5})
    assert decision.amounts["tone"] == 0
    assert not decision.treatment.eq_db.any()
    assert 0 < decision.amounts["width"] <= 0.5
    decision = decide(song(), RATE, believed(0.02), aspects={"dynamics": 0.5})
    assert decision.amounts["tone"] > 0
    assert 0 < decision.amounts["dynamics"] <= 0.5


def test_extras_are_done_only_where_they_are_measurable() -> None:
    amounts = decide(song(), RATE, believed(0.1, extras=(6.0, 0.5, 12.0))).amounts
    assert amounts["width"] == amounts["space"] == 1
    assert amounts["drive"] == 0


def test_harm_is_what_was_seen_before() -> None:
    seen = believed(0.02)._replace(harm=Harm((0.5, 1.0), (0.01, 0.5)))
    assert decide(song(), RATE, seen).harm == 0.01


def test_a_gate_is_what_the_belief_knows_it_to_be() -> None:
    believing = believed(0.9, dynamics=False)
    expected = decide(song(), RATE, believing).expected
    for gate in ("cautious", "default"):
        low, high = (Harm((1.0,), (0.1,))._replace(**{gate: expected + d}) for d in (-0.01, 0.01))
        assert not decide(song(), RATE, believing._replace(harm=low), gate=gate).acted
        assert decide(song(), RATE, believing._replace(harm=high), gate=gate).acted
        assert decide(song(), RATE, believing._replace(harm=low), gate=expected + 0.01).acted  # a number is a number


@pytest.mark.parametrize("amount", [0.1, 0.5])
def test_wanting_less_of_what_is_measured_is_no_reason_against_it(amount: float) -> None:
    whole = decide(song(), RATE, believed(0.02))
    part = decide(song(), RATE, believed(0.02), aspects={"tone": amount, "dynamics": amount})
    assert part.acted
    assert part.amounts["tone"] == amount
    assert whole.expected < part.expected < 1
    assert part.harm == whole.harm
    assert not decide(song(), RATE, believed(5.0), aspects={"tone": amount}).acted


@pytest.mark.parametrize("x", [torch.zeros(2, 9000), torch.zeros(1, 0), torch.ones(1, 5), torch.eye(1, 48000)])
def test_any_excerpt(x: torch.Tensor) -> None:
    decision = decide(x, 48000, believed(0.3))
    assert decision.expected > 0
    assert decision.acted or decision.expected == 1


@pytest.mark.parametrize("wrong", [{"gate": "brave"}, {"gate": 0.0}, {"gate": float("nan")}, {"aspects": {"tune": 1}}])
def test_what_is_not_allowed(wrong: dict) -> None:
    with pytest.raises(SettingsError):
        decide(song(), RATE, believed(0.3), **wrong)


def test_rendering_is_that_of_the_effects() -> None:
    x = song(2.7307)[0, :65536]
    shelf, comp = HighShelfFilter(RATE), Compressor(RATE)
    settings = {"cutoff_frequency_hz": 2000.0, "gain_db": 9.0, "q": 0.7}
    knobs = Knobs(*(torch.tensor(v) for v in (-30.0, 3.0, 10.0, 100.0)))
    response = shelf.response_db(torch.tensor(EQ_HZ), settings)
    treatment = Treatment.of(response.float(), knobs)
    mine = render(x, Treatment(*(part[None] for part in treatment)))[0]
    wet = shelf.process(x[None, None], **{k: torch.tensor([v]) for k, v in settings.items()})
    wet = comp.process(wet, **{k: v[None] for k, v in knobs._asdict().items()})[0, 0]
    wet = wet * 10 ** (-12 / 20) / wet.abs().max()
    apart = mel_distance(*(mel_magnitude(y[None]) for y in (mine, wet)))
    assert float(apart) < 0.05 * float(mel_distance(*(mel_magnitude(y[None]) for y in (x, wet))))


def test_it_is_quick() -> None:
    posterior, x = believed(0.3), song()
    decide(x, RATE, posterior)
    begun = time.process_time()
    decide(x, RATE, posterior)
    assert time.process_time() - begun < 3
