"""Style transfer as a musician meets it: what is done, what is refused, what is kept, and bad input."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import diffmix
from diffmix.cli import main
from diffmix.cli.transfer import _told
from diffmix.data.audio import write_wav
from diffmix.data.knowledge.spectrum import long_term_spectrum_db
from diffmix.errors import AudioError, SettingsError
from diffmix.estimators.style_features import style_features
from diffmix.estimators.treatment import EQ_HZ
from diffmix.kernels.loudness import integrated_loudness, true_peak_db
from diffmix.transferring import Style, Transfer
from diffmix.transferring.job import _advice
from diffmix.transferring.listening import Recording
from tests.transferring.stand_in import RATE, Audio, StandIn, song, treatment

Believing = Callable[..., StandIn]


def loudness(x: Audio, rate: int = RATE) -> float:
    return float(integrated_loudness(torch.from_numpy(np.ascontiguousarray(x))[None], rate))


def transfer(*given: Any, **asked: Any) -> Any:
    """`diffmix.transfer`, quickly."""
    return diffmix.transfer(*given, **{"quality": "fast", **asked})


@pytest.fixture(scope="module")
def x() -> Audio:
    return song(4.0)


@pytest.fixture(scope="module")
def reference() -> Audio:
    return 0.4 * song(5.0, seed=5)


def test_tone_dynamics_and_loudness_follow_and_pedalboard_plays_the_same(
    x: Audio, reference: Audio, believing: Believing
) -> None:
    believing(treatment(6, extras=(2.0, 6.0, 14.0)))
    made = diffmix.transfer(x, reference, sample_rate=RATE)
    assert isinstance(made, Transfer)
    assert made.belief.route == "different-source"
    assert made.audio.shape == x.shape
    assert list(made.settings["master"]) == ["eq", "compressor", "saturation", "imager", "reverb", "gain", "limiter"]
    before, after = (long_term_spectrum_db(torch.from_numpy(y), RATE) for y in (x, made.audio))
    change = after - before
    assert change[20:25].mean() - change[4:9].mean() > 5  # brighter
    assert loudness(made.audio) == pytest.approx(loudness(reference), abs=0.1)
    assert np.array_equal(made.to_pedalboard().render({"mix": x}), made.audio)
    assert np.array_equal(made.rendered().audio, made.audio)


def test_what_is_believed_without_certainty_is_not_done(x: Audio, reference: Audio, believing: Believing) -> None:
    believing(treatment(1.0, ratio=1.05), scale=12.0)
    made = transfer(x, reference, sample_rate=RATE)
    assert not made.belief.acted
    assert np.array_equal(made.audio, x)
    assert made.settings["master"] == {}
    assert np.array_equal(made.rendered().audio, x)
    loud = dataclasses.replace(made, audio=2 * made.audio / abs(made.audio).max())
    assert any("+6.0 dBFS: the file is in floating point" in note for note in loud.report["notes"])
    assert any("could not be measured" in note for note in made.notes)
    assert made.report["moves"] == ["Nothing: the recording is as it came."]
    hardly = dataclasses.replace(made, audio=made.audio * np.float32(1.001))
    assert hardly.report["moves"][0].startswith("Next to nothing: ")
    told = _advice(made.belief._replace(expected=0.8, harm=0.25))
    assert "20 % nearer" in told
    assert "25 % of cases; a bold gate" in told
    assert not _advice(made.belief._replace(expected=1.0))
    louder = transfer(x, reference, sample_rate=RATE, amount={"loudness": 1})
    assert loudness(louder.audio) == pytest.approx(loudness(reference), abs=0.05)
    assert list(louder.settings["master"]) == ["gain", "limiter"]


def test_amounts_only_and_locks_are_kept(x: Audio, reference: Audio, believing: Believing) -> None:
    believing(treatment(6))

    def tilt(made: Transfer) -> float:
        hz = torch.tensor([150.0, 4000.0], dtype=torch.float64)
        low, high = made.console.master["eq"].response_db(hz, made.settings["master"]["eq"]).tolist()
        return float(high - low)

    whole = transfer(x, reference, sample_rate=RATE, only="tone")
    assert list(whole.settings["master"]) == ["eq", "gain", "limiter"]
    assert loudness(whole.audio) == pytest.approx(loudness(x), abs=0.1)
    half = transfer(x, reference, sample_rate=RATE, only="tone", amount=0.5, gate="bold")
    assert tilt(half) == pytest.approx(tilt(whole) / 2, abs=0.7)
    believing(treatment(0, -45, 6))
    aspects = transfer(x, reference, sample_rate=RATE, amount={"tone": 0, "loudness": 0})
    assert list(aspects.settings["master"]) == ["compressor", "gain", "limiter"]
    believing(treatment(6))
    locked = transfer(x, reference, sample_rate=RATE, lock=["compressor", "eq.high_shelf_gain_db=3"])
    knobs = locked.settings["master"]
    assert knobs["eq"]["high_shelf_gain_db"] == 3
    assert knobs.get("compressor", {"ratio": 1})["ratio"] == 1
    bound = transfer(x, reference, sample_rate=RATE, bound=["eq=±2"])
    assert max(abs(v) for k, v in bound.settings["master"]["eq"].items() if k.endswith("gain_db")) <= 2


def test_the_reference_itself_leaves_the_recording_alone(x: Audio, believing: Believing) -> None:
    believing(treatment(8))
    for gain, asked in ((1.0, {}), (0.98, {}), (1.0, {"gate": 2.0, "amount": {"tone": 0.5}})):
        made = transfer(x, gain * x, sample_rate=RATE, **asked)
        assert made.belief.route == "same-source"
        assert np.array_equal(made.audio, x)


def test_candidates_differ_and_a_seed_repeats(x: Audio, reference: Audio, believing: Believing) -> None:
    believing(treatment(6), scale=1.5)
    made = transfer(x, reference, sample_rate=RATE, candidates=3)
    assert len(made.candidates) == 2
    others = [made, *made.candidates]
    assert len({one.report["expected_gain"] for one in others}) == 3  # each has its own
    assert all(one.belief.expected > made.belief.expected for one in made.candidates)
    told = _told(made).splitlines()[-2:]
    assert [line[:3] for line in told] == ["2: ", "3: "]
    assert all("Expected to come" in line for line in told)
    assert len({json.dumps(one.settings) for one in others}) == 3
    again = transfer(x, reference, sample_rate=RATE, candidates=3.0, seed=0.0)
    for one, two in zip(others, [again, *again.candidates], strict=True):
        assert np.array_equal(one.audio, two.audio)


def test_a_stage_left_out_leaves_the_loudness(x: Audio, reference: Audio, believing: Believing) -> None:
    believing(treatment(6))
    made = transfer(x, reference, sample_rate=RATE)
    less = made.without("dynamics")
    assert less.style is made.style
    assert "compressor" not in less.settings["master"]
    assert loudness(less.audio) == pytest.approx(loudness(made.audio), abs=0.1)
    with pytest.raises(SettingsError, match="no 'reverb' to leave out; the chain is eq, compressor"):
        made.without("reverb")


def test_before_and_after_are_compared_at_one_loudness(x: Audio, reference: Audio, believing: Believing) -> None:
    believing()
    before, after = transfer(x, reference, sample_rate=RATE).level_matched
    assert loudness(before) == pytest.approx(loudness(after), abs=0.01)


def test_a_style_is_saved_and_done_again(x: Audio, reference: Audio, believing: Believing, tmp_path: Path) -> None:
    believing(treatment(6))
    made = transfer(x, reference, sample_rate=RATE)
    file = made.style.save(tmp_path / "bright.json")
    other = song(6.0, 44_100, seed=9)
    again = transfer(other, file, sample_rate=44_100)
    assert again.belief.route == "style"
    assert loudness(again.audio, 44_100) == pytest.approx(loudness(reference), abs=0.1)
    knobs, repeated = (one.settings["master"]["compressor"] for one in (made, again))
    assert knobs == repeated
    loaded = Style.load(file)
    assert torch.allclose(loaded.references[0].features, made.style.references[0].features, atol=1e-4)
    anew = transfer(other, loaded, sample_rate=44_100, mode="different-source")
    assert anew.belief.route == "different-source"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "x"}, "does not hold a style"),
        ({"version": 9}, "version 9"),
        ({"extras": ["a"]}, "names the numbers"),
        ({"references": []}, "neither a reference nor a treatment"),
        ({"treatment": {"eq_db": [1]}}, "damaged"),
        ({"treatment": {"eq_db": [10**20], "reduction_db": [], "times": [], "extras": []}}, "damaged"),
        ({"references": [{"name": "a"}]}, "damaged"),
    ],
)
def test_files_that_hold_no_style_are_refused(change: dict[str, object], message: str, tmp_path: Path) -> None:
    data = {**Style.of(song(6.0), RATE, pieces=1).to_dict(), **change}
    (tmp_path / "style.json").write_text(json.dumps(data))
    with pytest.raises(SettingsError, match=message):
        Style.load(tmp_path / "style.json")
    with pytest.raises(SettingsError, match="cannot be read"):
        Style.load(tmp_path / "none.json")


def test_several_references_count_by_their_weights(x: Audio, reference: Audio, believing: Believing) -> None:
    heard = believing(treatment(6))
    quiet = (0.25 * reference).astype(np.float32)
    made = transfer(x, [reference, quiet], sample_rate=RATE, weights=[1, 3])
    assert heard.asked[0][2] is not None
    assert heard.asked[0][2].tolist() == [1, 3]
    wanted = 0.25 * loudness(reference) + 0.75 * loudness(quiet)
    assert loudness(made.audio) == pytest.approx(wanted, abs=0.1)
    assert made.report["aspects"]["loudness"]["amount"] == 1
    both = transfer(x, [made.style, reference], sample_rate=RATE, weights=[4, 2])  # a style shares its weight
    assert [r.weight for r in both.style.references] == [1, 3, 2]
    narrow = np.repeat(np.repeat(reference[:, ::8], 8, 1)[:1], 2, 0)  # what weighs nothing narrows nothing
    one, alone = (
        transfer(x, several, sample_rate=RATE, weights=weights, quality="fast")
        for several, weights in (([narrow, reference], [0, 1]), (reference, None))
    )
    assert np.array_equal(one.audio, alone.audio)
    assert [r.name for r in one.style.references] == [r.name for r in alone.style.references]
    for weights in ([1.0], [0.0, 0.0], [-1.0, 2.0], [float("nan"), 1.0]):
        with pytest.raises(SettingsError, match="weights of 2 references"):
            transfer(x, [reference, quiet], sample_rate=RATE, weights=weights)


def test_a_loud_reference_keeps_the_true_peak(x: Audio, believing: Believing) -> None:
    believing(treatment(3))
    loud = np.tanh(8 * song(6.0, seed=3)).astype(np.float32) * np.float32(0.95)
    made = transfer(x, loud, sample_rate=RATE, ceiling_db=-2)
    assert float(true_peak_db(torch.from_numpy(made.audio)[None], RATE)) <= -1.98
    assert loudness(made.audio) > loudness(x) + 3


@pytest.mark.parametrize("rate", [8000, 96_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_any_rate_and_any_channels(rate: int, channels: int, believing: Believing) -> None:
    believing(treatment(4, extras=(3.0, 0.0, 0.0)))
    y = song(3.0, rate, channels=channels)
    other = song(4.0, 48_000, seed=2, channels=3 - channels)
    made = transfer(y, other, sample_rate=rate, reference_rate=48_000)
    assert made.sample_rate == rate
    assert made.audio.shape == (2, y.shape[1])
    assert "imager" not in made.settings["master"]
    assert np.isfinite(made.audio).all()
    if channels == 1:
        assert np.array_equal(made.audio[0], made.audio[1])


def test_half_a_second_is_judged_with_a_warning(believing: Believing, reference: Audio) -> None:
    believing(treatment(4))
    made = transfer(song(0.5), reference, sample_rate=RATE)
    assert made.audio.shape == (2, RATE // 2)
    assert any("The input lasts 0.5 s only" in note for note in made.notes)
    made = transfer(reference, song(0.5), sample_rate=RATE)
    assert any("The reference lasts 0.5 s only" in note for note in made.notes)


def test_what_is_clipped_offset_or_cut_by_a_codec_is_said_and_its_band_left(x: Audio, believing: Believing) -> None:
    translator = believing(treatment(9, extras=(0.0, 9.0, 0.0)))
    clipped = np.clip(6 * song(6.0, seed=4), -0.9, 0.9)
    made = transfer(x, clipped, sample_rate=RATE)
    assert "saturation" not in made.settings["master"]
    assert any("is clipped" in note for note in made.notes)
    spectrum = np.fft.rfft(song(6.0, 44_100, seed=6))
    spectrum[:, round(5000 * 6.0) :] = 0
    cut = np.fft.irfft(spectrum).astype(np.float32)
    made = transfer(x, cut, sample_rate=RATE, reference_rate=44_100)
    assert made.style.references[0].band_hz == pytest.approx(5000, rel=0.08)
    mine, theirs, _ = translator.asked[-1]  # both are heard whole
    for features, audio, rate in ((mine, x, RATE), (theirs, cut, 44_100)):
        assert torch.equal(features, style_features(Recording.of(audio, rate, "it").pieces(3), rate))
    eq_db = made.belief.treatment.eq_db
    known = int((torch.tensor(EQ_HZ) <= 0.95 * made.style.references[0].band_hz).sum())
    assert torch.allclose(eq_db[known:], eq_db[known - 1])  # as it is below, at most
    shifted = transfer(x + np.float32(0.1), clipped, sample_rate=RATE)
    assert any("offset (DC) of -20 dBFS" in note for note in shifted.notes)


def test_sides_that_cancel_each_other_out_are_said(x: Audio, reference: Audio, believing: Believing) -> None:
    believing(treatment(6))
    made = transfer(x, x[:1] * np.float32([[1], [-1]]), sample_rate=RATE, quality="fast", only="tone")
    assert any(note.startswith("The reference has sides that cancel each other out") for note in made.notes)
    assert not any("cancel" in note for note in transfer(x, reference, sample_rate=RATE, quality="fast").notes)


def test_noise_and_nothing_are_not_raised(reference: Audio, believing: Believing) -> None:
    believing(treatment(16, ratio=1.0))
    spectrum = np.fft.rfft(song(6.0))
    spectrum[:, round(3000 * 6.0) :] *= 1e-5
    dull = np.fft.irfft(spectrum).astype(np.float32)
    made = transfer(dull, reference, sample_rate=RATE, gate="bold")
    hiss, voice = (made.belief.treatment.eq_db[k] for k in (36, 22))
    assert float(hiss) <= 0.1 < float(voice)
    assert any("Boosts of what is not there" in note for note in made.notes)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"amount": 2}, SettingsError, "amount of tone is 2, allowed 0..1"),
        ({"amount": {"bass": 1}}, SettingsError, "no aspect 'bass'"),
        ({"amount": None}, SettingsError, "amount of tone is None, a number is expected"),
        ({"amount": {"tone": "half"}}, SettingsError, "amount of tone is 'half', a number is expected"),
        ({"ceiling_db": "low"}, SettingsError, "the ceiling is 'low', a number is expected"),
        ({"gate": None}, SettingsError, "a gate is 'cautious', 'default', 'bold', or a number above 0"),
        ({"seed": -1}, SettingsError, r"seed is -1, allowed 0\.\."),
        ({"only": "tone,eq"}, SettingsError, "no aspect 'eq'"),
        ({"only": 3}, SettingsError, "only names aspects, as 'tone,loudness'; got 3"),
        ({"quality": ["best"]}, SettingsError, r"quality is one of .*, got \['best'\]"),
        ({"chain": 3}, SettingsError, "the chain holds 3; names"),
        ({"gate": True}, SettingsError, "a gate is 'cautious', 'default', 'bold', or a number above 0.*; got True"),
        ({"mode": "near"}, SettingsError, "mode is one of"),
        ({"quality": "good"}, SettingsError, "quality is one of"),
        ({"gate": "open"}, SettingsError, "no gate 'open'"),
        ({"ceiling_db": 3}, SettingsError, "the ceiling is 3 dBTP"),
        ({"candidates": 0}, SettingsError, "candidates is 0, allowed 1..20"),
        ({"candidates": 1.5}, SettingsError, "candidates is 1.5, a whole number is expected"),
        ({"weights": "2"}, SettingsError, "a weight is '2', a number is expected"),
        ({"weights": 2}, SettingsError, "weights of 1 references are as many numbers of 0 or more.*; got 2"),
        ({"reference_rate": "fast"}, AudioError, "the sample rate is 'fast'; allowed"),
        ({"lock": ["flanger"]}, SettingsError, "flanger"),
        ({"console": {}}, SettingsError, "a console mixes stems"),
        ({"sample_rate": None}, AudioError, "needs sample_rate"),
        ({"reference": "none.wav"}, AudioError, "no such file"),
        ({"reference": ""}, AudioError, "the name of the reference is empty"),
        ({"input": ""}, AudioError, "the name of the input is empty"),
        ({"reference": []}, AudioError, "list of references is empty"),
        ({"reference": np.zeros((2, RATE), np.float32)}, AudioError, "the reference is silent"),
        ({"input": np.zeros((2, RATE), np.float32)}, AudioError, "the input is silent"),
        ({"reference": np.full((2, RATE), 0.3, np.float32)}, AudioError, "the reference is silent"),
        ({"input": song(0.05)}, AudioError, "the input lasts 0.050 s"),
        ({"input": np.zeros((2, RATE), np.int16)}, AudioError, "^the input: samples are torch.int16; floating-point"),
    ],
)
def test_a_mistake_is_told_in_one_sentence(
    x: Audio, reference: Audio, change: dict[str, object], error: type[Exception], message: str, believing: Believing
) -> None:
    believing()
    asked = {"input": x, "reference": reference, "sample_rate": RATE, **change}
    with pytest.raises(error, match=message) as found:
        transfer(**asked)
    assert "\n" not in str(found.value)


def test_the_command_writes_all_and_says_what_was_done(
    x: Audio, reference: Audio, believing: Believing, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    believing(treatment(6))
    write_wav(tmp_path / "song.wav", torch.from_numpy(x[:1]), RATE)
    write_wav(tmp_path / "like.wav", torch.from_numpy(reference), RATE)
    main(["transfer", str(tmp_path / "song.wav"), str(tmp_path / "like.wav"), "-o", str(tmp_path / "out"),
          "--amount", "tone=0.8,dynamics=1", "--quality", "fast"])  # fmt: skip
    out = capsys.readouterr().out
    assert "Brighter" in out
    assert "like like, heard as another recording" in out
    for name in (
        "transfer.wav",
        "before.wav",
        "style.json",
        "report.html",
        "report.json",
        "settings.json",
        "preset.json",
    ):
        assert (tmp_path / "out" / name).is_file()
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["aspects"]["dynamics"]["amount"] == 1
    assert 0.5 <= report["aspects"]["tone"]["confidence"] <= 1
    assert set(report["bypass"]) == {"eq", "compressor", "gain", "limiter"}
    assert report["expected_gain"] > 0.2
    with pytest.raises(SystemExit):
        main(["transfer", str(tmp_path / "song.wav"), str(tmp_path / "like.wav"), "-o", "x", "--amount", "much"])
    assert "--amount: 'much' is no number" in capsys.readouterr().err
