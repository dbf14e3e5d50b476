"""The benchmark of style transfer at work: its styles, its trials, its systems and what it makes of them."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import torch

from benchmarks import (
    transfer_checks,
    transfer_content,
    transfer_features,
    transfer_pesq,
    transfer_scores,
    transfer_styles,
    transfer_systems,
    transfer_truth,
)
from benchmarks.transfer_content import RATE, Recording, Trial
from benchmarks.transfer_search import chain, cma_es, gradient_search, statistics
from benchmarks.transfer_styles import Style
from diffmix.estimators.effect_embedding import EffectEncoder
from diffmix.kernels import biquad
from diffmix.metrics import mel_distance

FLAT = ((100.0, 0.0), (1000.0, 0.0), (8000.0, 0.0))


def hits(seed: int, seconds: float = 3.0) -> torch.Tensor:
    """Noise that comes in beats, (1, T)."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE))
    x = rng.standard_normal(len(t)) * np.exp(-(t % (RATE // (2 + seed % 3))) / (0.1 * RATE))
    b, a = scipy.signal.butter(1, 500 * (1 + seed), fs=RATE)
    return torch.from_numpy(scipy.signal.lfilter(b, a, x)[None] * 0.1).float()


@pytest.fixture(scope="module")
def recordings() -> list[Recording]:
    kinds = ("mix", "mix", "mix", "mix", "drums", "drums", "speech", "speech")
    return [Recording(f"r{n}", f"song {n}", kind, hits(n, 8.0)) for n, kind in enumerate(kinds)]


def test_bands_are_the_cookbooks() -> None:
    hz = torch.tensor([50.0, 1000.0, 9000.0])
    style = Style("x", "x", ((100.0, 0.0), (1000.0, 9.0), (8000.0, 0.0)))
    values = (torch.tensor([v]) for v in (1000.0, 9.0, 0.707))
    theirs = biquad.frequency_response(biquad.peak(*values, RATE)[:, None], hz, RATE)
    wanted = 20 * theirs.abs().log10().flatten()
    assert style.response_db(hz.double().numpy(), RATE) == pytest.approx(wanted.numpy(), abs=1e-3)
    shelves = Style("x", "x", ((200.0, 12.0), (1000.0, 0.0), (6000.0, -9.0)))
    assert shelves.response_db(np.array([10.0, 11_990.0]), RATE) == pytest.approx([12, -9], abs=0.2)


def test_the_compressor_settles_where_it_should() -> None:
    x = np.full((1, RATE), 0.5)  # -6.02 dB
    y = transfer_styles.compress(x, -20, 4, 0.005, 0.05, RATE)
    assert 20 * math.log10(y[0, -1]) == pytest.approx(-20 + (20 - 6.02) / 4, abs=0.02)
    after = 20 * np.log10(x[0] / y[0])  # the reduction goes from 10 to 90 % in 5 ms
    rise = np.searchsorted(after, 0.9 * after[-1]) - np.searchsorted(after, 0.1 * after[-1])
    assert rise == pytest.approx(0.005 * RATE, rel=0.02)


def test_styles_are_as_drawn() -> None:
    rng = np.random.default_rng(0)
    warm = [transfer_styles.family("warm", rng) for _ in range(20)]
    assert all(20 <= s.bands[0][1] <= 26 and 14 <= s.bands[2][1] <= 20 and s.ratio == 1 for s in warm)
    half = warm[0].scaled(0.5)
    assert half.bands[0][1] == warm[0].bands[0][1] / 2
    x = hits(1).double().numpy()
    for name in transfer_styles.EXTRAS:
        y = transfer_styles.extra_style(name, rng).render(np.concatenate([x, 0.5 * x]), RATE)
        assert y.shape == (2, x.shape[1])
        assert np.abs(y).max() == pytest.approx(10 ** (-12 / 20))
    assert Style("none", "x", FLAT).render(x, RATE) == pytest.approx(transfer_styles.at_peak(x), abs=1e-9)


@pytest.mark.parametrize(
    ("name", "song", "kind"),
    [
        ("arovane_beat_a", "arovane", "drums"),
        ("198_209_0000", "198", "speech"),
        ("loop_tabla", "loop_tabla", "drums"),
        ("cello-phrase", "cello", "harmony"),
        ("singing-female", "singing", "vocals"),
    ],
)
def test_files_are_sorted_by_name(name: str, song: str, kind: str) -> None:
    assert (transfer_content.song_of(name), transfer_content.kind_of(name)) == (song, kind)


def test_trials_keep_songs_apart(recordings: list[Recording]) -> None:
    fold = transfer_content.folds(recordings)
    assert fold["song 6"] == fold["song 7"] == "A"  # two speakers are not split
    trials = list(transfer_content.cross_trials(recordings, 3, 1))
    assert {t.group for t in trials} == {"speech", "mix", "any"}  # each fold has drums of one song only
    for trial in trials:
        assert trial.song != trial.reference_song
        assert fold[trial.song] == fold[trial.reference_song] == trial.fold
    again = next(iter(transfer_content.cross_trials(recordings, 3, 1)))
    assert torch.equal(again.truth, trials[0].truth)
    same = list(transfer_content.same_trials(recordings, 2, 1))
    assert [t.group for t in same] == ["speech", "speech", "music", "music"]


def row(trial: str, system: str, song: str, msd: float, **more: object) -> transfer_scores.Row:
    errors = dict.fromkeys(transfer_scores.MORE.values(), 1.0)
    return {"trial": trial, "system": system, "song": song, "group": "mix", "msd": msd, **errors, **more}


def test_scores_by_hand(tmp_path: Path) -> None:
    rows = [row(str(n), "input", f"s{n % 2}", 4.0) for n in range(4)]
    rows += [row(str(n), "x", f"s{n % 2}", msd, expected=msd / 4) for n, msd in enumerate((2.0, 2.0, 4.1, 8.0))]
    assert transfer_scores.ratio_of_means(rows, "x") == pytest.approx(16.1 / 16)
    assert transfer_scores.harm_rate(rows, "x") == 0.25
    mine, theirs, songs = transfer_scores.paired(rows, "x")
    low, high = transfer_scores.interval(mine, theirs, songs)["ratio"]
    assert low == pytest.approx(6.1 / 8)  # song s0 twice
    assert high == pytest.approx(10 / 8)
    assert transfer_scores.frontier(rows, "x", [0.6, 9])[0] == (0.6, 0.75, 0.0, 0.5)
    table = transfer_scores.main_rows(rows)
    assert [len(line) for line in table] == [len(transfer_scores.main_columns(rows))] * 2
    for line, score in zip(rows[4:], (3.0, None, 4.0), strict=False):
        line["pesq"] = score
    assert transfer_scores.main_columns(rows)[-2:] == ["PESQ", "of"]
    assert [line[-2:] for line in transfer_scores.main_rows(rows)] == [[None, 0], [3.5, 2]]
    assert transfer_scores.by(rows, "song")[1][1] == ["x", "0.76 / 0 %", "1.25 / 50 %"]
    kept = transfer_scores.Rows(tmp_path / "rows.jsonl")
    kept.add(rows[0])
    assert transfer_scores.Rows(tmp_path / "rows.jsonl").missing("0", ["input", "x"]) == ["x"]


def made(seed: int, seconds: float = 3.0) -> Trial:
    x, style = hits(seed, seconds).double().numpy(), transfer_styles.family("telephone", np.random.default_rng(seed))
    signals = transfer_content._signals(x, hits(seed, seconds + 1).double().numpy(), style, 0)
    return Trial(0, "mix", "A", *signals, style=style, song="a", reference_song="a")


@pytest.mark.parametrize("name", list(transfer_systems.baselines()))
def test_baselines_answer_audio(name: str) -> None:
    trial = made(3)
    system = transfer_systems.baselines()[name]
    y = system(trial.x, trial.reference, RATE, np.random.default_rng(0))
    assert y.shape == trial.x.shape
    assert y.isfinite().all()
    error, untouched = (float(mel_distance(a[None], trial.truth[None], RATE)) for a in (y, trial.x))
    if name in ("rule-based (DeepAFx-ST)", "matchering-like"):
        assert error < 0.8 * untouched  # of the same noise, these are right


def test_matching_keeps_stereo_and_the_level_of_the_reference() -> None:
    x = torch.cat([hits(1), hits(2)])
    y = transfer_systems.matching(x, 0.5 * x, RATE, np.random.default_rng(0))
    assert y.shape == x.shape
    assert float((y.square().mean() / (0.5 * x).square().mean()).log10().abs()) < 0.05


def test_local_lines_keep_a_line() -> None:
    line = np.linspace(1, 5, 400)
    assert transfer_systems.local_lines(line, 0.05) == pytest.approx(line)


def test_the_nearest_preset_is_the_right_one_of_two(recordings: list[Recording]) -> None:
    library = transfer_systems.NearestPreset.of(recordings[:2], 2)
    trial = made(4)
    assert library(trial.x, trial.reference, RATE, np.random.default_rng(0)).shape == trial.x.shape


def test_searches_come_nearer() -> None:
    trial = made(5, 1.0)
    y = gradient_search(trial.x, trial.reference, RATE, np.random.default_rng(0), steps=6)
    wanted = statistics(peaked(trial.reference), RATE)
    before, after = ((statistics(peaked(a), RATE) - wanted).abs().mean() for a in (trial.x, y))
    assert after < 0.9 * before
    assert chain(RATE).spec.size == 40 - 18
    target = np.linspace(0.2, 0.8, 6)
    found = cma_es(lambda p: np.square(p - target).sum(1), np.full(6, 0.5), 0.33, 12, 40, np.random.default_rng(0))
    assert found == pytest.approx(target, abs=0.02)


def peaked(x: torch.Tensor) -> torch.Tensor:
    from diffmix.metrics import at_peak

    return at_peak(x[None])


def test_pesq_is_a_program_beside_and_what_it_refuses_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pesq.py").write_text(
        "class PesqError: RETURN_VALUES = 1\n"
        "def pesq(rate, truth, y, band, on_error): return -1 if abs(y).max() == 0 else 4 - abs(y - truth).mean()\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    truth = hits(1, 0.5)
    listener = transfer_pesq.Pesq(Path(sys.executable))
    good, bad, refused = listener(torch.stack([truth, 2 * truth, 0 * truth]), truth, RATE)
    assert good == 4 > bad
    assert refused is None
    listener.close()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "none"))
    with pytest.raises(RuntimeError, match="cannot import pesq"):
        transfer_pesq.Pesq(Path(sys.executable))


def test_the_truths_curves_are_nearly_the_truth() -> None:
    trial = made(6)
    y = transfer_systems.oracle(trial.style)(trial.x, trial.reference, RATE, np.random.default_rng(0))
    mine, untouched = (float(mel_distance(a[None], trial.truth[None], RATE)) for a in (y, trial.x))
    assert mine < 0.3 * untouched


def test_what_is_done_is_measured() -> None:
    x = hits(7)
    assert transfer_checks.change(x, 0.3 * x) == pytest.approx((0, 0), abs=0.01)
    b, a = scipy.signal.butter(1, 1000, fs=RATE)
    dull = torch.from_numpy(scipy.signal.lfilter(b, a, x.numpy())).float()
    assert transfer_checks.change(x, dull)[0] > 5
    assert transfer_checks.response_error_db(x, 2 * dull, dull) < 0.01
    assert transfer_checks.response_error_db(x, x, dull) > 2


def test_features_find_the_same_style() -> None:
    clips = torch.stack([hits(n, 4.0) for n in range(3)])
    b, a = scipy.signal.butter(2, [300, 3000], "band", fs=RATE)
    phone = torch.from_numpy(scipy.signal.lfilter(b, a, clips.numpy())).float()
    query, answers = torch.cat([phone[:1], clips[1:2]]), torch.cat([phone[2:], clips[2:]])
    told = transfer_features.similar(query, answers)
    assert told.keys() == transfer_features.features().keys()
    right = [name for name, t in told.items() if t[0].argmax() == 0]
    assert len(right) >= len(told) - 1, right


def test_an_encoder_of_effects_is_asked_too() -> None:
    clips = torch.stack([hits(n, 6.0) for n in range(2)])
    encoder = EffectEncoder(size=8, hidden=0).eval()
    encoder.middle.spread.fill_(20.0)
    told = transfer_features.similar(clips, clips, encoder)[transfer_features.OURS]
    assert told.diagonal().tolist() == pytest.approx([1, 1], abs=1e-5)
    assert float(told[0, 1]) < 0.999


def test_chains_of_plugins_are_the_same_for_a_seed() -> None:
    x = hits(1).double().numpy()
    for count in transfer_features.LENGTHS:
        y, again, other = (transfer_features.plugins(count, np.random.default_rng(n))(x) for n in (1, 1, 2))
        assert np.array_equal(y, again)
        assert y.shape == x.shape
        assert np.abs(y - other).max() > 0.01
        assert np.abs(y).max() == pytest.approx(10 ** (-12 / 20))


def test_the_frontier_is_drawn(tmp_path: Path) -> None:
    curve = [(1.0, 0.6, 0.3, 1.0), (0.8, 0.62, 0.1, 0.6)]
    transfer_truth.plot_frontier({"music": curve}, tmp_path / "f.svg")
    first = (tmp_path / "f.svg").read_text()
    transfer_truth.plot_frontier({"music": curve}, tmp_path / "f.svg")
    assert first == (tmp_path / "f.svg").read_text()
