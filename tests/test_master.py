"""Mastering: targets reached, knobs kept, the same in Pedalboard, and every way to ask for it wrongly."""

import json
from pathlib import Path

import numpy as np
import pyloudnorm
import pytest
import soundfile
import torch
from numpy.typing import NDArray

import diffmix
from diffmix.cli import main
from diffmix.data.audio import read
from diffmix.data.knowledge.mastering import GENRES, mixed, nearest
from diffmix.data.knowledge.spectrum import THIRD_OCTAVES_HZ, long_term_spectrum_db
from diffmix.errors import AudioError, SettingsError
from diffmix.mastering import Master, Measured
from diffmix.mastering.measured import reach
from diffmix.settings import Settings

RATE = 22050
HZ = np.array(THIRD_OCTAVES_HZ)
Audio = NDArray[np.float32]


def coloured(
    curve_db: NDArray[np.float64], seconds: float = 4.0, rate: int = RATE, seed: int = 0, beat: float = 1.0
) -> Audio:
    """Stereo noise (2, T) of a third-octave spectrum, with beats, about -20 LUFS."""
    rng = np.random.default_rng(seed)
    samples = round(seconds * rate)
    spectrum = np.fft.rfft(rng.standard_normal((2, samples)))
    hz = np.fft.rfftfreq(samples, 1 / rate)
    density_db = curve_db - 10 * np.log10(HZ)  # a third octave is as wide as its centre is high
    spectrum *= 10 ** (np.interp(np.log(np.maximum(hz, 1)), np.log(HZ), density_db) / 20) * (hz > 20)
    x = np.fft.irfft(spectrum, samples)
    t = np.arange(samples) / rate
    x *= 0.4 + beat * np.exp(-8 * (t % 0.5))
    found: Audio = (0.1 * x / x.std()).astype(np.float32)
    return found


def away_db(x: Audio, genre: str, rate: int = RATE) -> float:
    """Root mean square distance of the spectrum from a genre's, levels aside."""
    curve, weight = GENRES[genre].curve_db, reach(rate)
    assert curve is not None
    away = long_term_spectrum_db(torch.from_numpy(x), rate) - curve
    return float(np.sqrt(np.average((away - np.average(away, weights=weight)) ** 2, weights=weight)))


@pytest.fixture(scope="module")
def dull() -> Audio:
    """A pop spectrum with too much bass and too few highs."""
    curve = GENRES["pop"].curve_db
    assert curve is not None
    return coloured(curve - 3.5 * np.clip(np.log2(HZ / 700) / 3, -1, 1))


@pytest.fixture(scope="module")
def made(dull: Audio) -> Master:
    return diffmix.master(dull, "pop", sample_rate=RATE, loudness_lufs=-12.5)


def test_spectrum_loudness_and_true_peak_reach_the_target(dull: Audio, made: Master) -> None:
    assert away_db(dull, "pop") > 2.5
    assert away_db(made.audio, "pop") < 1.2
    assert pyloudnorm.Meter(RATE).integrated_loudness(made.audio.T) == pytest.approx(-12.5, abs=0.06)
    assert made.report["after"]["true_peak_db"] <= -0.99
    assert abs(made.audio).max() < 10 ** (-1 / 20)
    assert set(made.reasons) == {"eq", "dynamics", "limiter"}
    assert made.plot().axes


def test_pedalboard_plays_the_same(dull: Audio, made: Master) -> None:
    assert not made.unplayable
    assert np.array_equal(made.to_pedalboard().render({"mix": dull}), made.audio)


def test_settings_render_the_same_again_and_can_be_edited(made: Master) -> None:
    again = made.rendered()
    assert np.array_equal(again.audio, made.audio)
    assert again.reasons == made.reasons
    assert repr(made).startswith("Master(peak -1.")
    assert repr(made).endswith("dBFS, 0 notes, of Multitrack('mix', 4.0 s at 22050 Hz: mix))")
    edited = json.loads(json.dumps(made.settings))
    edited["master"]["gain"]["gain_db"] -= 6
    softer = made.rendered(Settings(edited))
    assert softer.report["after"]["loudness_lufs"] < -16
    assert softer.reasons == {}


def test_its_settings_are_rendered_on_the_recording(dull: Audio, made: Master, tmp_path: Path) -> None:
    settings = tmp_path / "settings.json"  # as `Master.save` leaves it
    made.settings.to_json(settings)
    (tmp_path / "console.json").write_text(json.dumps(made.console.description))
    soundfile.write(tmp_path / "Song MASTER.wav", dull.T, RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "mono.wav", dull[0], RATE, subtype="FLOAT")
    assert np.array_equal(diffmix.render(dull, settings, sample_rate=RATE).audio, made.audio)
    assert np.array_equal(diffmix.render(str(tmp_path / "Song MASTER.wav"), settings).audio, made.audio)
    mono = diffmix.render(tmp_path / "mono.wav", settings)
    both = diffmix.render(np.stack([dull[0]] * 2), settings, sample_rate=RATE)
    assert np.array_equal(mono.audio, both.audio)
    assert diffmix.render([tmp_path / "mono.wav"], settings, sample_rate=48000).audio.shape[1] > dull.shape[1]
    for stems in ({"song": dull}, tmp_path):  # named tracks and folders are stems
        with pytest.raises(SettingsError, match="no settings for track"):
            diffmix.render(stems, settings, sample_rate=RATE)
    for of_stem in ({"pan": {"pan": 0}}, 3):
        with pytest.raises(AudioError, match="stems are a folder, "):
            diffmix.render(dull, {"tracks": {"mix": of_stem}}, sample_rate=RATE)


def test_what_is_on_target_stays(dull: Audio) -> None:
    curve = GENRES["rock"].curve_db
    assert curve is not None
    x = coloured(curve, beat=0.1)
    loudness = pyloudnorm.Meter(RATE).integrated_loudness(x.T)
    found = diffmix.master(x, "rock", sample_rate=RATE, loudness_lufs=loudness)
    knobs = found.settings["master"]
    assert [v for name, v in knobs["eq"].items() if name.endswith("gain_db")] == [0] * 6
    assert knobs["compressor"]["ratio"] == 1
    assert abs(knobs["gain"]["gain_db"]) < 0.05
    quiet = diffmix.master(dull, "pop", sample_rate=RATE, amount=0.0)
    assert [v for name, v in quiet.settings["master"]["eq"].items() if name.endswith("gain_db")] == [0] * 6


def test_a_number_is_a_loudness_alone(dull: Audio) -> None:
    told: list[tuple[str, float]] = []
    found = diffmix.master(dull, -18, sample_rate=RATE, progress=lambda *now: told.append(now))
    assert told[-2:] == [("setting the level", 1.0), ("done", 1.0)]
    assert sorted(told, key=lambda now: now[1]) == told
    assert pyloudnorm.Meter(RATE).integrated_loudness(found.audio.T) == pytest.approx(-18, abs=0.06)
    assert set(found.settings["master"]) == {"eq", "compressor", "gain", "limiter"}
    assert found.settings["master"]["compressor"]["ratio"] == 1
    gain = 10 ** (found.settings["master"]["gain"]["gain_db"] / 20)
    np.testing.assert_allclose(found.audio, dull * gain, atol=2e-6)


def test_a_loud_target_is_come_near_by_a_quicker_limiter(dull: Audio) -> None:
    loud = diffmix.master(dull, -10, sample_rate=RATE)
    assert pyloudnorm.Meter(RATE).integrated_loudness(loud.audio.T) == pytest.approx(-10, abs=0.06)
    assert loud.settings["master"]["limiter"]["release_ms"] == 30
    most = diffmix.master(dull, -7, sample_rate=RATE)
    assert pyloudnorm.Meter(RATE).integrated_loudness(most.audio.T) > -9.5
    assert most.settings["master"]["limiter"]["release_ms"] == 10
    assert any("instead of -7: the limiter gives no more" in note for note in most.notes)


def test_a_reference_at_another_rate(dull: Audio, tmp_path: Path) -> None:
    curve = GENRES["jazz"].curve_db
    assert curve is not None
    soundfile.write(tmp_path / "song.wav", coloured(curve, rate=32000, seed=1).T, 32000)
    found = diffmix.master(dull, tmp_path / "song.wav", sample_rate=RATE)
    reference = Measured.of(torch.from_numpy(soundfile.read(tmp_path / "song.wav", dtype="float32")[0].T), 32000)
    assert found.report["after"]["loudness_lufs"] == pytest.approx(reference.loudness_lufs, abs=0.06)
    away = long_term_spectrum_db(torch.from_numpy(found.audio), RATE) - reference.spectrum_db
    inside = (HZ > 60) & (HZ < 8000)
    assert np.std(away[inside]) < 1.2
    assert found.target.name == "song"


def test_dynamics_are_taken_where_peaks_stand_out_and_left_where_dense(dull: Audio) -> None:
    rng = np.random.default_rng(0)
    t = np.arange(6 * RATE) / RATE
    hits = rng.standard_normal((2, t.size)) * (0.03 + 0.6 * np.exp(-25 * (t % 0.5)))
    loose = diffmix.master(hits.astype(np.float32) * 0.3, "metal", sample_rate=RATE, only="dynamics,limiter")
    knobs = loose.settings["master"]["compressor"]
    assert 1.5 <= knobs["ratio"] <= 2.5
    assert loose.report["bypass"]["compressor"]["loudness_db"] + 1e-3 > 0.2 or knobs["threshold_db"] < 0
    assert "eq" not in loose.settings["master"]
    dense = np.clip(10 * dull, -0.2, 0.2)
    assert diffmix.master(dense, "jazz", sample_rate=RATE).settings["master"]["compressor"]["ratio"] == 1


def test_only_locks_and_bounds(dull: Audio) -> None:
    lock = ["eq.peak3_gain_db=-2", "compressor"]
    found = diffmix.master(dull, "pop", sample_rate=RATE, lock=lock, bound=["eq=±2.5"]).settings["master"]
    assert found["eq"]["peak3_gain_db"] == -2
    assert all(abs(v) <= 2.5 for name, v in found["eq"].items() if name.endswith("gain_db"))
    assert found["compressor"]["ratio"] == 1
    level = diffmix.master(dull, "pop", sample_rate=RATE, only="eq")
    assert list(level.settings["master"]) == ["eq"]
    loudness = [pyloudnorm.Meter(RATE).integrated_loudness(x.T) for x in (dull, level.audio)]
    assert loudness[0] == pytest.approx(loudness[1], abs=3)


@pytest.mark.usefixtures("sketched")
def test_what_is_locked_is_named_as_a_wish() -> None:
    x = coloured(GENRES["pop"].curve_db, 0.5, RATE)
    lock = ["eq.peak1_gain_db=-2", "compressor.ratio=2", "compressor.threshold_db=-20"]
    asked = (-14, 1.0), ("pop", 0.0)
    for target, amount in asked:
        reasons = diffmix.master(x, target, sample_rate=RATE, lock=lock, amount=amount).reasons
        assert reasons["eq"].startswith("As you wish: -2.0 dB at ")
        assert reasons["dynamics"].startswith("As you wish: 2.0:1 above -20 dB: ")
    assert diffmix.master(x, -14, sample_rate=RATE).reasons["eq"] == "Left alone: the target is a loudness."
    held = diffmix.master(x, "metal", sample_rate=RATE, lock=["eq"]).reasons["eq"]
    assert held.startswith("Left alone, as you wish; the mix is ")


def test_without_a_limiter_the_level_stays_and_is_said(dull: Audio, tmp_path: Path) -> None:
    hot = dull * np.float32(1.4 / abs(dull).max())
    made = diffmix.master(hot, "pop", sample_rate=RATE, only="dynamics", amount=0.0)
    assert any("it is the limiter's stage that would keep it below -1." in note for note in made.notes)
    assert any("+2.9 dBFS: the file is in floating point" in note for note in made.report["notes"])
    made.save(tmp_path)
    stored, _ = read(tmp_path / "master.wav")
    assert np.array_equal(stored.numpy(), hot)
    assert not diffmix.master(0.1 * hot, "pop", sample_rate=RATE, only="dynamics", amount=0.0).notes
    faulty = diffmix.master(np.clip(hot + 0.2, -1, 1), -20, sample_rate=RATE, only="limiter")
    assert [note[:23] for note in faulty.notes[:2]] == ["mix: it is clipped, at ", "mix: it has a DC offset"]


@pytest.mark.parametrize(("rate", "seconds"), [(8000, 2.0), (96000, 0.5), (44100, 0.05)])
def test_any_rate_and_length_and_mono(rate: int, seconds: float) -> None:
    curve = GENRES["pop"].curve_db
    assert curve is not None
    mono = coloured(curve, seconds, rate)[0]
    found = diffmix.master(mono, sample_rate=rate)
    assert found.audio.shape == (2, mono.size)
    assert np.array_equal(found.audio[0], found.audio[1])
    assert np.isfinite(found.audio).all()
    before = Measured.of(torch.from_numpy(np.stack([mono, mono])), rate)  # as it is heard
    assert found.report["before"]["loudness_lufs"] == pytest.approx(before.loudness_lufs, abs=1e-3)
    assert found.report["before"]["plr_db"] == pytest.approx(before.plr_db, abs=1e-3)
    assert found.report["after"]["true_peak_db"] < -0.9


def test_level_in_front_does_not_matter(dull: Audio, made: Master) -> None:
    faint = diffmix.master(dull * np.float32(10 ** (-45 / 20)), "pop", sample_rate=RATE, loudness_lufs=-12.5)
    assert faint.settings["tracks"]["mix"]["trim"]["gain_db"] > 30
    assert faint.report["after"]["loudness_lufs"] == pytest.approx(-12.5, abs=0.06)
    gains = [[v for k, v in m.settings["master"]["eq"].items() if k.endswith("gain_db")] for m in (made, faint)]
    np.testing.assert_allclose(gains[0], gains[1], atol=0.05)


def test_long_recordings_in_pieces_are_the_same(dull: Audio, made: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffmix.playback.PIECE", 1 << 14)
    monkeypatch.setattr("diffmix.data.knowledge.spectrum._FRAMES", 8)
    pieces = diffmix.master(dull, "pop", sample_rate=RATE, loudness_lufs=-12.5)
    assert pieces.settings == made.settings
    assert np.array_equal(pieces.audio, made.audio)


@pytest.mark.parametrize("genre", GENRES)
def test_every_genre_is_nearest_to_itself(genre: str) -> None:
    curve = GENRES[genre].curve_db
    assert curve is not None
    shares = nearest(curve, reach(44100), float(np.mean(GENRES[genre].plr_db)))
    assert next(iter(shares)) == genre
    assert sum(shares.values()) == pytest.approx(1)
    assert mixed({genre: 1.0}).name == genre


def test_the_command_writes_everything(dull: Audio, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soundfile.write(tmp_path / "My Song.wav", dull.T, RATE)
    arguments = [str(tmp_path / "My Song.wav"), "-o", str(tmp_path / "out"), "--target", "streaming"]
    main(["master", *arguments, "--amount", "0.5", "--only", "eq,limiter", "--bound", "eq=±3"])
    files = {file.name for file in (tmp_path / "out").iterdir()}
    assert {"master.wav", "settings.json", "preset.json", "preset.py", "report.html", "report.png"} <= files
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["after"]["loudness_lufs"] == pytest.approx(-14, abs=0.06)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "My Song" in page
    assert "What was done, and why" in page
    assert "<b>−14.0</b> LUFS<small>before " in page
    assert "-14.0 LUFS" in capsys.readouterr().out.replace("\N{MINUS SIGN}", "-")
    audio, rate = soundfile.read(tmp_path / "out" / "master.wav")
    assert (rate, len(audio)) == (RATE, dull.shape[1])


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        ({"target": "polka"}, SettingsError, "no target is called 'polka'"),
        ({"target": ""}, SettingsError, "no target is called ''; there are auto"),
        ({"target": " , "}, SettingsError, "no target is called ' , '"),
        ({"target": "gone.wav"}, AudioError, "gone.wav"),
        ({"target": np.zeros((2, RATE), np.float32)}, AudioError, "reference is silent"),
        ({"target": None}, AudioError, "^the reference: not an array of numbers"),
        ({"target": -3}, SettingsError, "allowed -40..-5 LUFS"),
        ({"loudness_lufs": 0.0}, SettingsError, "allowed -40..-5 LUFS"),
        ({"ceiling_db": 1.0}, SettingsError, "allowed -20..0 dBTP"),
        ({"amount": 2.0}, SettingsError, "allowed 0..1"),
        ({"amount": "much"}, SettingsError, "the amount is 'much', a number is expected"),
        ({"ceiling_db": None}, SettingsError, "the ceiling is None, a number is expected"),
        ({"loudness_lufs": "loud"}, SettingsError, "the loudness is 'loud', a number is expected"),
        ({"bound": {"eq": (1,)}}, SettingsError, r"bound 'master.eq': \(1,\) is no range"),
        ({"mix": 3e4 * np.sin(np.arange(RATE, dtype=np.float32))}, AudioError, "between -1 and 1 are expected"),
        ({"only": "reverb"}, SettingsError, "no stage of a master"),
        ({"only": "eq", "loudness_lufs": -14.0}, SettingsError, "add limiter"),
        ({"lock": ["eq.gain_dB_of_nothing"]}, SettingsError, "no such knob"),
        ({"sample_rate": None}, AudioError, "sample_rate"),
        ({"sample_rate": "44100"}, AudioError, "the sample rate is '44100'; allowed are whole numbers"),
        ({"sample_rate": float("nan")}, AudioError, "the sample rate is nan Hz"),
        ({"mix": np.zeros((2, RATE), np.float32)}, AudioError, "silent: there is nothing to master"),
        ({"mix": np.full((2, RATE), np.nan, np.float32)}, AudioError, "NaN"),
        ({"mix": Path("nowhere.wav")}, AudioError, "nowhere.wav"),
    ],
)
def test_mistakes_are_one_sentence(dull: Audio, asked: dict[str, object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as raised:
        diffmix.master(**({"mix": dull, "sample_rate": RATE} | asked))  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)
