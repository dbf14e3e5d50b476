"""The stages of a transfer, each alone: knobs from curves, kinship, statistics, matching, the guard, stems."""

from pathlib import Path

import numpy as np
import pytest
import torch

import diffmix
from diffmix.console import Console
from diffmix.estimators.treatment import EQ_HZ, Treatment
from diffmix.kernels.biquad import frequency_response, high_shelf, low_shelf, peak
from diffmix.processors import Compressor, ParametricEQ
from diffmix.processors.base import REGISTRY
from diffmix.transferring.guard import guarded
from diffmix.transferring.kinship import Kinship, kinship
from diffmix.transferring.knobs import CHAIN, knobs_of, treatment_of
from diffmix.transferring.listening import Recording
from diffmix.transferring.matching import Search, _on_grid, matched
from diffmix.transferring.statistics import SIZE, learned, statistics, whitening
from tests.transferring.stand_in import RATE, Audio, song, treatment

HZ = torch.tensor(EQ_HZ, dtype=torch.float64)


def through(x: Audio, gain_db: float, ratio: float, rate: int = RATE) -> Audio:
    """A tilt and a compressor, by the effects themselves."""
    eq, compressor = ParametricEQ(rate), Compressor(rate)
    knobs = {name: torch.tensor([p.default]) for name, p in eq.spec.params.items()}
    knobs |= {"low_shelf_gain_db": torch.tensor([-gain_db]), "high_shelf_gain_db": torch.tensor([gain_db])}
    y = eq.process(torch.from_numpy(x)[None], **knobs)
    times = {"threshold_db": -30.0, "ratio": ratio, "attack_ms": 10.0, "release_ms": 120.0}
    y = compressor.process(y, **{name: torch.tensor([value]) for name, value in times.items()})
    found: Audio = y[0].numpy()
    return found


@pytest.mark.parametrize("rate", [8000, 24_000, 44_100])
def test_an_equaliser_is_found_from_its_response(rate: int) -> None:
    params = Console(rate, strip={"trim": "Gain"}, sends={}, buses={}, master=dict(CHAIN)).master_spec.params
    rng = np.random.default_rng(3)
    heard = 0.48 * rate > HZ
    for _ in range(4):
        one = torch.ones(1, dtype=torch.float64)
        bands = [kind(one * rng.uniform(*hz), one * rng.uniform(-15, 15), one * 0.707, 24_000.0)
                 for kind, hz in ((low_shelf, (80, 400)), (peak, (400, 3000)), (high_shelf, (4000, 9000)))]  # fmt: skip
        curve = 20 * frequency_response(torch.stack(bands, 1), HZ, 24_000).abs().log10()[0]
        fitted = knobs_of(treatment(0, ratio=1.0)._replace(eq_db=curve.float()), rate, params)
        assert set(fitted.knobs) <= {"highpass", "eq"}
        response = ParametricEQ(rate).response_db(HZ.clamp_max(0.49 * rate), fitted.knobs["eq"])
        away = (response + fitted.offset_db - curve)[heard]
        assert float(away.square().mean().sqrt()) < 0.6


def test_a_response_is_fitted_up_to_half_the_rate() -> None:
    params = Console(24_000, strip={"trim": "Gain"}, sends={}, buses={}, master=dict(CHAIN)).master_spec.params
    curve = torch.zeros(40)
    curve[-5:] = torch.tensor([1.7, 3.6, 7.6, 14.4, 14.4])
    fitted = knobs_of(treatment(0, ratio=1.0)._replace(eq_db=curve), 24_000, params)
    response = ParametricEQ(24_000).response_db(HZ, fitted.knobs["eq"]) + fitted.offset_db
    assert float((response - curve)[-1].abs()) < 1


def test_knobs_stay_inside_and_what_does_nothing_is_left_out() -> None:
    params = Console(RATE, strip={"trim": "Gain"}, sends={}, buses={}, master=dict(CHAIN)).master_spec.params
    assert knobs_of(Treatment.neutral(), RATE, params).knobs == {}
    wild = Treatment.from_vector(torch.full((51,), 60.0))
    for stage, values in knobs_of(wild, RATE, params).knobs.items():
        for name, value in values.items():
            param = params[f"{stage}.{name}"]
            assert param.low <= value <= param.high
    rolled = 20 * (HZ / torch.sqrt(HZ**2 + 120**2)).log10()
    steep = knobs_of(Treatment.neutral()._replace(eq_db=rolled.float()), RATE, params)
    assert steep.error_db < 0.3


def test_one_performance_is_known_through_effects_and_delay() -> None:
    x = song(8.0)
    y = through(x, 10.0, 4.0)[:, round(1.5 * RATE) :]
    found = kinship(torch.from_numpy(x), RATE, torch.from_numpy(y), RATE)
    assert found.same
    assert found.delay_s == pytest.approx(1.5, abs=0.021)
    assert not kinship(torch.from_numpy(x), RATE, torch.from_numpy(song(8.0, 44_100, seed=1)), 44_100).same
    assert not kinship(torch.from_numpy(x), RATE, torch.zeros(1, RATE), RATE).same
    assert not kinship(torch.from_numpy(x), RATE, torch.ones(1, 900), RATE).same


def test_the_same_song_elsewhere_is_matched_through_the_twins(believing: object) -> None:
    x, truth = song(6.0), (8.0, 3.0)
    believing(Treatment.neutral())  # type: ignore[operator]
    reference = through(x, *truth)
    made = diffmix.transfer(x, reference, sample_rate=RATE, quality="fast")
    assert made.belief.route == "same-source"
    assert made.belief.expected < 0.5
    before, after = (statistics(torch.from_numpy(y).mean(0)[None]) for y in (x, made.audio))
    wanted = statistics(torch.from_numpy(reference).mean(0)[None])
    assert float((after - wanted).abs().mean()) < 0.5 * float((before - wanted).abs().mean())
    half = diffmix.transfer(x, reference, sample_rate=RATE, quality="fast", amount={"tone": 0.3, "dynamics": 0.3})
    assert made.belief.expected + 0.2 < half.belief.expected < 1


def test_statistics_know_no_level_and_have_gradients() -> None:
    x = torch.from_numpy(song(3.0))[:1].requires_grad_()
    found = statistics(x)
    assert found.shape == (1, SIZE)
    assert torch.allclose(found, statistics(0.1 * x), atol=0.01)
    found.sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    assert torch.isfinite(statistics(torch.zeros(1, 65_536))).all()
    y, way = x.detach()[:, :5000].double().requires_grad_(), torch.randn(1, 5000).double()
    weights = torch.randn(SIZE).double()
    (statistics(y) @ weights).sum().backward()
    assert y.grad is not None
    after, before = (statistics(y.detach() + sign * 1e-7 * way) @ weights for sign in (1, -1))
    assert float((y.grad * way).sum()) == pytest.approx(float(after - before) / 2e-7, rel=1e-5)


def test_statistics_are_the_same_on_any_number_of_threads() -> None:
    x, found, threads = 0.1 * torch.randn(6, 65_536), [], torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            y = x.clone().requires_grad_()
            found.append((statistics(y), *torch.autograd.grad(statistics(y).square().sum(), y)))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_a_response_is_drawn_between_few_frequencies() -> None:
    q = torch.tensor([8.0])
    bell = torch.cat([peak(torch.tensor([hz]), torch.tensor([12.0]), q, 24_000) for hz in (90.0, 900.0, 9000.0)])
    exact = frequency_response(bell[None], torch.fft.rfftfreq(65_536, 1 / 24_000), 24_000)
    drawn = _on_grid(bell[None], 65_536)
    assert drawn.shape == exact.shape
    assert float((20 * (drawn.abs() / exact.abs()).log10()).abs().max()) < 0.12


def test_a_start_that_falls_far_behind_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    search = Search(0.1 * torch.randn(1, 65_536), torch.zeros(1, SIZE), torch.eye(SIZE), treatment(8.0), True, True)
    with torch.no_grad():
        search.aim = search.heard(search.starts()[:1])[0]
    heard, counts = search.heard, []
    monkeypatch.setattr(search, "heard", lambda z: counts.append(len(z)) or heard(z))
    _, untouched, left = search.run(3, lambda what, done: None)
    assert counts == [2, 2, 1, 1, 1]
    assert left < 0.1 * untouched
    search.median = Treatment.neutral()  # both begin there
    counts.clear()
    search.run(3, lambda what, done: None)
    assert counts == [2, 2, 2, 2, 1]


def test_what_is_learned_makes_differences_unit_numbers() -> None:
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(SIZE, SIZE, generator=generator) / 3
    differences = torch.randn(4000, SIZE, generator=generator) @ mixing
    white = learned(differences, ["a", "b"] * 2000)
    made = differences @ white
    covariance = made.T @ made / len(made)
    assert 0.5 < float(covariance.diagonal().mean()) < 1.5
    assert float((covariance - covariance.diagonal().diag()).abs().mean()) < 0.1
    assert whitening().shape == (SIZE, SIZE)
    assert torch.isfinite(whitening()).all()


def test_an_hour_long_reference_is_heard_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from diffmix.data.audio import write_wav
    from diffmix.transferring import listening

    monkeypatch.setattr(listening, "LONG_S", 8.0)
    monkeypatch.setattr(listening, "PIECES", 3)
    monkeypatch.setattr(listening, "PIECE_S", 2.0)
    x = song(12.0, 8000)
    write_wav(tmp_path / "long.wav", torch.from_numpy(x), 8000)
    found = Recording.of(tmp_path / "long.wav", None, "the reference", whole=False)
    assert found.audio.shape == (2, 6 * 8000)
    assert any("is long" in fault for fault in found.faults)
    assert Recording.of(tmp_path / "long.wav", None, "the input").audio.shape == x.shape


def test_stems_are_mixed_like_a_reference() -> None:
    stems = {"kick": song(2.0, seed=1, channels=1), "keys": song(2.0, seed=2), "bass": 0.1 * song(2.0, seed=3)}
    reference = through(song(2.0, seed=7), 8.0, 1.0)
    layout = {"strip": {"trim": "Gain", "eq": "ParametricEQ"}, "sends": {}, "buses": {}}
    made = diffmix.transfer(stems, reference, sample_rate=RATE, console=layout, quality="fast")
    assert set(made.settings["tracks"]) == set(stems)
    assert any(note.startswith("Refined") for note in made.notes)
    heard = diffmix.kernels.loudness.integrated_loudness(torch.from_numpy(made.audio)[None], RATE)
    wanted = diffmix.kernels.loudness.integrated_loudness(torch.from_numpy(reference)[None], RATE)
    peak_db = diffmix.kernels.loudness.true_peak_db(torch.from_numpy(made.audio)[None], RATE)
    assert float(peak_db) <= -0.9
    assert float(heard) <= float(wanted) + 0.1


def test_knobs_and_treatments_are_each_others_inverse() -> None:
    params = {f"{stage}.{n}": p for stage in CHAIN for n, p in REGISTRY[CHAIN[stage]](44_100).spec.params.items()}
    given = treatment(6, -24, 3.0, extras=(4.0, 8.0, 12.0))
    knobs = knobs_of(given, 44_100, params).knobs
    found = treatment_of(knobs, 44_100)
    shape = found.eq_db - given.eq_db
    assert float((shape - shape.mean()).abs().max()) < 1
    assert torch.allclose(found.reduction_db, given.reduction_db, atol=0.1)
    assert torch.allclose(found.extras, given.extras, atol=0.2)
    louder = treatment_of(knobs, 44_100, over_db=6.0)
    assert float(louder.reduction_db[0] - found.reduction_db[0]) == pytest.approx(6 * (1 - 1 / 3), abs=0.1)


def test_a_band_that_holds_the_whole_response_is_known_whole() -> None:
    pieces = torch.from_numpy(song(3.0))[None]
    raised = Treatment.neutral()._replace(eq_db=-torch.linspace(0, 9, 40))
    assert torch.equal(guarded(raised, pieces, RATE, 12_000.0)[0].eq_db, raised.eq_db)
    cut = guarded(raised, pieces, RATE, 8000.0)[0].eq_db
    known = HZ <= 7600
    assert torch.equal(cut[known], raised.eq_db[known])
    assert torch.unique(cut[~known]).tolist() == [float(raised.eq_db[known][-1])]


@pytest.mark.parametrize(
    ("gate", "untouched", "left", "share"),
    [
        ("default", 0.19, 0.02, 0.0),  # as unlike as parts of a song are
        ("default", 0.25, 0.02, 0.5),
        ("default", 1.5, 0.7, 1.0),
        ("default", 1.5, 0.8, 0.0),  # more than a half is left
        ("default", 2.5, 0.8, 0.5),  # no effect explains what is left
        ("cautious", 1.5, 0.7, 0.0),
        ("cautious", 1.5, 0.5, 1.0),
        ("bold", 2.5, 2.0, 1.0),
        (0.7, 1.5, 0.8, 0.5),
    ],
)
def test_parts_of_a_song_are_matched_as_far_as_effects_explain_their_difference(
    monkeypatch: pytest.MonkeyPatch, gate: str | float, untouched: float, left: float, share: float
) -> None:
    monkeypatch.setattr(Search, "run", lambda self, steps, say: (treatment(), untouched, left))
    heard = Recording.of(song(3.0), RATE, "it")
    allowed = {"tone": 1.0, "dynamics": 1.0, "width": 0.0}
    kin = Kinship(0.0, 0.0)
    made = matched(heard, heard, kin, treatment(), allowed, "fast", gate, lambda what, done: None)
    assert made.amounts["tone"] == pytest.approx(share)
    assert made.acted == (share > 0)
