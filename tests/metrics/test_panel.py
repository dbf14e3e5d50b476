"""The panel as a whole: what is free, what costs, and what is refused."""

import math

import pytest
import torch
from torch import Tensor

from diffmix.errors import AudioError
from diffmix.metrics import PANEL, evaluate, feature_mape

RATE = 44_100


def noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def mixed(seed: int, seconds: float = 4.0, count: int = 4) -> tuple[Tensor, Tensor]:
    """A mix (2, T) of noises of moving level at different places, and its tracks (N, 2, T)."""
    length = round(seconds * RATE)
    time = torch.arange(length) / RATE
    tracks = []
    for n in range(count):
        envelope = 0.05 + 0.5 * torch.sin(2 * math.pi * (0.5 + 0.7 * n) * time + seed).abs() ** 4
        angle = math.pi / 4 * (1 + [0.0, -0.6, 0.8, 0.3][n])
        x = noise(10 * seed + n, length) * envelope * 0.1 * 2**-n
        tracks.append(torch.stack([math.cos(angle) * x, math.sin(angle) * x]))
    stacked = torch.stack(tracks)
    return stacked.sum(0), stacked


@pytest.fixture(scope="module")
def judged() -> dict[str, dict[str, float]]:
    """Scores of the target itself, its mirror image, a quieter copy, and another mix."""
    target, tracks = mixed(1)
    gains = torch.tensor([1.0, 2.0, 0.5, 1.0])[:, None, None]
    curves = noise(5, 4, 28)

    def scores(mix: Tensor, of: Tensor, eq: Tensor = curves) -> dict[str, float]:
        return evaluate(
            mix, target, RATE, tracks=of, target_tracks=tracks, foreground=[0], eq_db=eq, target_eq_db=curves
        )

    turned = tracks * gains
    turned[2] = turned[2].mean(0, keepdim=True)
    return {
        "itself": scores(target, tracks),
        "mirrored": scores(target.flip(0), tracks.flip(1)),
        "quieter": scores(0.1 * target, 0.1 * tracks, curves + 3),
        "other": scores(turned.sum(0).tanh(), turned, noise(6, 4, 28)),
    }


def test_a_mix_costs_nothing_against_itself(judged: dict[str, dict[str, float]]) -> None:
    assert set(judged["itself"]) == set(PANEL)
    assert max(judged["itself"].values()) < 1e-5


@pytest.mark.parametrize("name", PANEL)
def test_a_mirrored_mix_costs_nothing_where_the_panel_says_so(name: str, judged: dict[str, dict[str, float]]) -> None:
    assert (judged["mirrored"][name] < 1e-4) == PANEL[name].mirrors


def test_the_level_of_a_mix_costs_loudness_only(judged: dict[str, dict[str, float]]) -> None:
    assert judged["quieter"].pop("lufs_error") == pytest.approx(20, abs=1e-3)
    assert max(judged["quieter"].values()) < 1e-3


@pytest.mark.parametrize("name", PANEL)
def test_another_mix_costs_something_in_every_number(name: str, judged: dict[str, dict[str, float]]) -> None:
    assert judged["other"][name] > 1e-3


def test_only_what_is_asked_for_is_computed() -> None:
    target, tracks = mixed(2, 1.0)
    assert list(evaluate(target, target, RATE, only=["width_error_db"])) == ["width_error_db"]
    without = evaluate(target, target, RATE)
    assert without.keys().isdisjoint({"balance_error_db", "pan_error", "masking_error", "eq_error_db"})
    assert "masking_error" not in evaluate(target, target, RATE, tracks=tracks, target_tracks=tracks)


def test_a_silent_mix_is_no_good_one_and_raises_nothing() -> None:
    target, tracks = mixed(3, 1.0)
    scores = evaluate(0 * target, target, RATE, tracks=0 * tracks, target_tracks=tracks, foreground=[0])
    assert all(math.isfinite(value) for value in scores.values())
    assert scores["sd_mrstft"] > 2
    assert scores["ltas_error_db"] > 20
    assert scores["lufs_error"] > 20


def test_tracks_that_are_silent_in_the_target_do_not_count() -> None:
    target, tracks = mixed(4, 1.0)
    silent = torch.cat([tracks, torch.zeros(1, 2, tracks.shape[-1])])
    loud = torch.cat([tracks, tracks[:1].flip(1)])
    scores = evaluate(target, target, RATE, tracks=loud, target_tracks=silent)
    assert scores["balance_error_db"] < 1e-5
    assert scores["pan_error_01"] < 1e-5


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mix": torch.zeros(1, 100)}, r"mix has shape \(1, 100\)"),
        ({"target": torch.zeros(2, 100)}, "the target mix is silent"),
        ({"target": torch.ones(2, 99)}, "99"),
        ({"mix": torch.full((2, 100), torch.nan)}, "not finite"),
        ({"sample_rate": 0}, "sample_rate"),
        ({"tracks": torch.ones(2, 2, 100), "target_tracks": torch.ones(3, 2, 100)}, "tracks are 2"),
        ({"tracks": torch.ones(2, 100), "target_tracks": torch.ones(2, 100)}, r"\(N, 2, 100\)"),
        ({"eq_db": torch.ones(2, 3), "target_eq_db": torch.ones(2, 4)}, "eq_db"),
        ({"only": ["balance"]}, "no metric 'balance'"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, object], said: str) -> None:
    given = {"mix": torch.ones(2, 100), "target": torch.ones(2, 100), "sample_rate": RATE} | change
    with pytest.raises(AudioError, match=said):
        evaluate(**given)


def test_the_percentages_of_earlier_work() -> None:
    target, _ = mixed(1, 2.5)
    same = evaluate(target, target, RATE, only=["lufs_error"], legacy=True)
    assert {"mape", "mape_loudness", "mape_spectrum", "mape_panning", "mape_dynamics"} < same.keys()
    assert max(same.values()) == 0
    # 1 dB at -20 dB is five percent, at -40 dB half of that: the reason not to rely on them
    loud, soft = (feature_mape(target * g * 10**0.05, target * g, RATE) for g in (1.0, 0.1))
    assert loud["mape_lufs"] > 1.5 * soft["mape_lufs"] > 0
    assert loud["mape_centroid"] < 1e-6
    padded = torch.nn.functional.pad(target, (RATE, RATE))
    assert feature_mape(padded * 1.1, padded, RATE)["mape_lufs"] == pytest.approx(
        feature_mape(target * 1.1, target, RATE)["mape_lufs"], rel=0.02
    )
    with pytest.raises(AudioError, match="silent"):
        feature_mape(target, 0 * target, RATE)
