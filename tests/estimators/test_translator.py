"""Style features, and the ensemble that names a treatment."""

import json
import math
from pathlib import Path

import pytest
import torch

from diffmix.errors import CheckpointError, SettingsError
from diffmix.estimators import style_features as features
from diffmix.estimators.style_features import style_features, windows
from diffmix.estimators.translator import Harm, Posterior, Translator
from diffmix.estimators.treatment import Treatment


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.1


def untrained() -> Translator:
    torch.manual_seed(0)
    return Translator(members=2, components=30, hidden=16).eval()


@pytest.mark.parametrize("rate", [8000, 44100, 192000])
@pytest.mark.parametrize("what", ["noise", "silence", "nan", "dc", "impulse", "one sample", "nothing"])
def test_features_are_finite_for_anything(what: str, rate: int) -> None:
    x = {
        "noise": noise(2, rate // 2),
        "silence": torch.zeros(1, rate // 2),
        "nan": torch.full((2, 1000), torch.nan),
        "dc": torch.ones(1, rate // 4),
        "impulse": torch.eye(1, rate),
        "one sample": torch.ones(1, 1),
        "nothing": torch.zeros(2, 0),
    }[what]
    found = style_features(x, rate)
    assert found.shape == (features.SIZE,)
    assert bool(found.isfinite().all())


def test_features_do_not_hear_the_level_and_hardly_the_sample_rate() -> None:
    x = noise(2, 48000 * 6)
    assert torch.allclose(style_features(x, 48000), style_features(x * 0.1, 48000), atol=0.02)
    low = features.at_rate(x, 48000, 24000)
    assert torch.allclose(style_features(x, 48000), style_features(low, 24000), atol=0.02)


def test_a_batch_is_its_items() -> None:
    x = noise(3, 2, 140_000)
    for one, row in zip(x, style_features(x, 24000), strict=True):
        assert torch.allclose(style_features(one, 24000), row, atol=1e-3)


def test_a_shelf_moves_the_bands_that_it_raises() -> None:
    x = noise(1, features.WINDOW)
    spectrum = torch.fft.rfft(x)
    spectrum[:, spectrum.shape[1] // 2 :] *= 10 ** (12 / 20)
    change = style_features(torch.fft.irfft(spectrum), 24000)[:40] - style_features(x, 24000)[:40]
    assert float(change[36:].mean() - change[:30].mean()) == pytest.approx(12, abs=1.5)


def test_resampling_keeps_a_sine() -> None:
    t = torch.arange(48000) / 48000
    y = features.at_rate(torch.sin(2 * torch.pi * 1000 * t), 48000)
    assert torch.allclose(y, torch.sin(2 * torch.pi * 1000 * torch.arange(24000) / 24000), atol=1e-3)


def test_windows_are_the_loudest_pieces_in_order() -> None:
    x = noise(1, 24000 * 60) * 0.01
    x[:, 24000 * 40 : 24000 * 50] *= 50
    x[:, 24000 * 10 : 24000 * 16] *= 20
    found = windows(x, 24000, 2)
    assert found.shape == (2, 1, features.WINDOW)
    levels = found.square().mean((1, 2)).sqrt()
    assert levels[1] > 1.2 * levels[0] > 10 * float(x[:, : 24000 * 9].square().mean().sqrt())
    assert windows(x[:, :1000], 24000).shape == (1, 1, 1000)


def test_a_prediction_has_the_shape_of_a_treatment_and_weights_references() -> None:
    translator = untrained()
    a, b = noise(2, features.SIZE)
    both = translator.predict(a, torch.stack([a, b]), torch.tensor([1.0, 0.0]), "music")
    alone = translator.predict(a, a, domain="music")
    assert torch.allclose(both.median.eq_db, alone.median.eq_db, atol=1e-5)
    assert both.median.eq_db.shape == (40,)
    assert bool((both.scale.to_vector() > 0).all())


@pytest.mark.parametrize("weights", [[1.0], [0.0, 0.0], [1.0, -1.0], [1.0, float("nan")]])
def test_weights_that_cannot_be(weights: list[float]) -> None:
    with pytest.raises(SettingsError, match="2 references"):
        untrained().predict(noise(features.SIZE), noise(2, features.SIZE), torch.tensor(weights))


def test_an_unknown_domain() -> None:
    with pytest.raises(SettingsError, match="no domain 'noise'"):
        untrained().predict(noise(features.SIZE), noise(features.SIZE), domain="noise")


def test_samples_are_whole_residuals_and_repeat() -> None:
    residuals = torch.arange(5.0)[:, None].expand(5, 51) - 2
    one = Treatment.from_vector(torch.ones(51))
    posterior = Posterior(Treatment.neutral(), one, residuals)
    drawn = posterior.samples(40, seed=1)
    assert drawn.eq_db.shape == (40, 40)
    assert torch.equal(drawn.eq_db.amax(1), drawn.eq_db.amin(1))
    assert set(drawn.eq_db[:, 0].tolist()) == {-2.0, -1.0, 0.0, 1.0, 2.0}
    assert bool((drawn.reduction_db >= 0).all())
    assert torch.equal(posterior.samples(40, seed=1).eq_db, drawn.eq_db)


@pytest.mark.parametrize(("odds", "domain"), [(0.5, "music"), (1.5, "music"), (2.5, "speech")])
def test_speech_is_what_is_twice_as_likely_to_be(odds: float, domain: str) -> None:
    translator = untrained()
    with torch.no_grad():
        translator.domain.weight.zero_()
        translator.domain.bias.fill_(math.log(odds))
    assert translator.domain_of(noise(3, features.SIZE)) == domain


def test_saved_and_loaded_it_predicts_the_same(tmp_path: Path) -> None:
    translator = untrained()
    translator.residuals_speech = noise(7, 51)
    translator.harm = {"music": Harm((0.5, 1.0), (0.03, 0.2), cautious=0.5)}
    translator.save(tmp_path / "model", seed=5)
    back = Translator.load(tmp_path / "model")
    a, b = noise(2, features.SIZE)
    mine, theirs = (t.predict(a, b, domain="speech") for t in (translator, back))
    assert torch.allclose(mine.median.eq_db, theirs.median.eq_db, atol=2e-3)
    assert theirs.residuals.shape == (7, 51)
    assert back.harm["music"].at(0.3) == 0.03
    assert back.harm["music"].at(1.4) == 0.2
    assert (back.harm["music"].cautious, back.harm["music"].default) == (0.5, 0.8)
    assert back.about["seed"] == 5


@pytest.mark.parametrize(
    "change", [{"format": "x"}, {"version": 99}, {"features": 3}, {"extras": ["a"]}, {"shape": {}}]
)
def test_another_model_is_refused(tmp_path: Path, change: dict) -> None:
    untrained().save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(CheckpointError):
        Translator.load(tmp_path)


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no usable model"):
        Translator.load(tmp_path / "nowhere")
