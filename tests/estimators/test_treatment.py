"""What a chain does, in curves and numbers."""

import pytest
import torch

from diffmix.estimators.treatment import ASPECTS, EQ_HZ, LEVELS_DB, SIZE, Knobs, Treatment
from diffmix.kernels.dynamics import static_curve_db


def some(threshold_db: float = -24.0, ratio: float = 3.0) -> Treatment:
    knobs = Knobs(*(torch.tensor(v) for v in (threshold_db, ratio, 8.0, 120.0)))
    return Treatment.of(torch.linspace(-9, 6, 40), knobs, torch.tensor([3.0, 6.0, 12.0]))


def test_a_vector_and_back() -> None:
    treatment = some()
    assert treatment.to_vector().shape == (SIZE,)
    for mine, back in zip(treatment, Treatment.from_vector(treatment.to_vector()), strict=True):
        assert torch.equal(mine, back)


def test_the_reduction_is_that_of_the_static_curve() -> None:
    levels = torch.tensor(LEVELS_DB)
    wanted = levels - static_curve_db(levels, torch.tensor(-24.0), torch.tensor(3.0))
    assert torch.allclose(some().reduction_db, wanted, atol=1e-5)


@pytest.mark.parametrize(("threshold_db", "ratio"), [(-40.0, 1.5), (-24.0, 3.0), (-18.0, 5.0)])
def test_knobs_come_back(threshold_db: float, ratio: float) -> None:
    knobs = some(threshold_db, ratio).compressor()
    wanted = (threshold_db, ratio, 8.0, 120.0)
    for found, value in zip(knobs, wanted, strict=True):
        assert float(found) == pytest.approx(value, rel=0.02)


def test_half_the_dynamics_is_half_the_reduction_with_the_same_times() -> None:
    half = some().scaled(dynamics=0.5)
    assert torch.allclose(half.reduction_db, some().reduction_db / 2)
    assert float(half.compressor().attack_ms) == pytest.approx(8.0, rel=0.02)
    assert float(half.compressor().ratio) == pytest.approx(1.5, rel=0.01)


@pytest.mark.parametrize("aspect", ASPECTS)
def test_an_amount_of_nothing_leaves_only_the_others(aspect: str) -> None:
    left = some().scaled(**{aspect: 0.0})
    for name, value in zip(("tone", "dynamics", "width", "drive", "space"), parts(left), strict=True):
        assert bool((value == 0).all()) == (name == aspect)


def parts(t: Treatment) -> list[torch.Tensor]:
    return [t.eq_db, t.reduction_db, *t.extras.unbind(-1)]


def test_amounts_may_differ_within_a_batch() -> None:
    pair = Treatment(*(part.expand(2, -1) for part in some())).scaled(tone=torch.tensor([0.0, 1.0]))
    assert not pair.eq_db[0].any()
    assert torch.equal(pair.eq_db[1], some().eq_db)


def test_what_is_left_to_do_of_a_treatment() -> None:
    whole, half = some(), some().scaled(tone=0.5, dynamics=0.5, width=0.5, drive=0.5, space=0.5)
    assert not whole.beyond(whole).to_vector().any()
    for left, wanted in zip(parts(whole.beyond(half)), parts(half), strict=True):
        assert torch.allclose(left, wanted)
    assert float(whole.beyond(half).compressor().attack_ms) == pytest.approx(8.0, rel=0.02)
    back = half.beyond(whole)  # only the equaliser can be taken back
    assert torch.allclose(back.eq_db, -half.eq_db)
    assert not torch.cat([back.reduction_db, back.times, back.extras]).any()


def test_a_response_is_read_between_its_points_and_held_beyond() -> None:
    t = some()
    middle = (EQ_HZ[3] * EQ_HZ[4]) ** 0.5
    read = t.response_db(torch.tensor([1.0, EQ_HZ[7], middle, 20000.0]))
    wanted = torch.stack([t.eq_db[0], t.eq_db[7], (t.eq_db[3] + t.eq_db[4]) / 2, t.eq_db[-1]])
    assert torch.allclose(read, wanted, atol=1e-4)


def test_nothing_is_done_by_a_neutral_treatment() -> None:
    assert float(Treatment.neutral(3).compressor().ratio.max()) == 1
