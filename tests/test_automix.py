"""Automixing as a musician meets it: wishes kept, levels reached, songs in pieces, and every way to get it wrong."""

import json
from dataclasses import replace
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import pad

import diffmix
from diffmix import api
from diffmix.automixing import (
    Proposal,
    RuleMixer,
    _Settled,
    cautions,
    mixer_of,
    proposed,
    readable,
    reference_audio,
    styles,
)
from diffmix.cli import main
from diffmix.console import Console, shipped
from diffmix.data.audio import write_wav
from diffmix.data.inspection import without_mixes
from diffmix.data.knowledge import Style
from diffmix.data.multitrack import Multitrack, Track, load
from diffmix.errors import AudioError, OutputError, SettingsError
from diffmix.intent import Intent
from diffmix.kernels.loudness import LoudnessMeter, integrated_loudness, true_peak_db
from diffmix.mix import finished, render
from diffmix.playback import Player
from diffmix.processors import HighShelfFilter
from diffmix.refine import _Wanted, refine
from diffmix.settings import Settings
from diffmix.wishes import Wishes
from tests.fabricate import song

RATE = 16000


@pytest.fixture(scope="module")
def multitrack() -> Multitrack:
    return song(2.0)


@pytest.fixture(scope="module")
def console() -> Console:
    return Console.from_layout(shipped("automix"), RATE)


def flat(mix: diffmix.Mix) -> dict[str, float]:
    return {".".join(path[1:] if path[0] != "master" else path): v for path, v in mix.settings.flat()}


# ------------------------------------------------------------------ rendering in pieces, levels


def test_pieces_change_no_sample(multitrack: Multitrack, console: Console) -> None:
    generator = torch.Generator().manual_seed(1)
    player = Player(console, multitrack)
    settings = console.settings(console.sample(1, 7, generator), player.names, player.channels)
    whole = render(console, multitrack, settings)
    short = Player(console, multitrack, piece=8 * 5000)
    assert short.piece == 5000
    before = short.whole(settings, short.before_gain)
    assert torch.equal(before, player.whole(settings, player.before_gain))
    assert torch.equal(short.finished(before, settings), whole)
    assert torch.equal(short.finished(before, settings, piece=3000), whole)  # a limiter looks ahead across the cut


def test_a_meter_in_pieces_reads_the_same() -> None:
    x = torch.randn(2, 2, 50_001) * torch.linspace(0.001, 1, 50_001)
    meter = LoudnessMeter(RATE)
    for part in x.split(7001, -1):
        meter.add(part)
    torch.testing.assert_close(meter.loudness().float(), integrated_loudness(x, RATE), atol=1e-5, rtol=0)


@pytest.mark.parametrize("loudness", [-24.0, -14.0])
def test_loudness_and_true_peak_are_both_had(multitrack: Multitrack, console: Console, loudness: float) -> None:
    settings = proposed(RuleMixer(RATE), multitrack, Wishes()).settings
    mix = finished(console, multitrack, settings, loudness, -1.0)
    audio = torch.from_numpy(mix.audio)[None]
    assert float(integrated_loudness(audio, RATE)) == pytest.approx(loudness, abs=0.05)
    assert float(true_peak_db(audio, RATE)) <= -0.99
    assert torch.equal(render(console, multitrack, mix.settings), audio[0])
    locked = finished(console, multitrack, settings, loudness, -1.0, limits={"master.gain.gain_db": -9.0})
    assert locked.settings["master"]["gain"]["gain_db"] == -9
    assert any("the master's gain is locked" in note for note in locked.notes)


def test_what_cannot_be_had_is_said(multitrack: Multitrack, console: Console) -> None:
    mix = finished(console, multitrack, proposed(RuleMixer(RATE), multitrack, Wishes()).settings, -5.0, -1.0)
    assert any("instead of -5" in note for note in mix.notes)
    assert float(true_peak_db(torch.from_numpy(mix.audio)[None], RATE)) <= -0.9


# ------------------------------------------------------------------ wishes


def test_wishes_are_kept_and_the_rest_is_mixed(multitrack: Multitrack) -> None:
    plain = flat(api.automix(multitrack, model="rules"))
    mix = api.automix(
        multitrack,
        model="rules",
        lock=["vox.pan=0.25", "bass.eq", "kick.gain=-3"],
        bound=["gtr *.pan=-0.2..0.2", "drums.gain=±4", "*.send=-40..-20"],
    )
    found = flat(mix)
    assert found["vox.pan.pan"] == 0.25
    assert found["kick.fader.gain_db"] == -3
    assert all(found[name] == 0 for name in found if name.startswith("bass.eq") and name.endswith("gain_db"))
    assert abs(found["snare.fader.gain_db"]) <= 4
    assert all(-40 <= found[f"{track.name}.send.gain_db"] <= -20 for track in multitrack.tracks)
    assert found["gtr 1.pan.pan"] == pytest.approx(0.2 * plain["gtr 1.pan.pan"], abs=1e-6)  # mapped, not cut off
    assert found["gtr 1.pan.pan"] * plain["gtr 1.pan.pan"] > 0
    # the balance of the free tracks is that without wishes, shifted
    shift = found["pad.fader.gain_db"] - plain["pad.fader.gain_db"]
    assert found["gtr 2.fader.gain_db"] - plain["gtr 2.fader.gain_db"] == pytest.approx(shift, abs=0.3)


def test_only_some_kinds_of_knobs(multitrack: Multitrack) -> None:
    mix = api.automix(multitrack, model="rules", only="gain,pan")
    found = flat(mix)
    assert {v for k, v in found.items() if ".eq." in k and k.endswith("gain_db")} == {0.0}
    assert {v for k, v in found.items() if k.endswith("compressor.ratio")} == {1.0}
    assert {v for k, v in found.items() if k.endswith("send.gain_db")} == {-60.0}
    assert len({v for k, v in found.items() if k.endswith("fader.gain_db")}) > 3
    levels = flat(api.automix(multitrack, model="rules", only="eq"))
    kept = [levels[f"{t.name}.trim.gain_db"] + levels[f"{t.name}.fader.gain_db"] for t in multitrack.tracks]
    assert np.ptp(kept) < 0.01  # the balance stays as it was recorded


@pytest.mark.parametrize(
    ("wishes", "sentence"),
    [
        ({"lock": ["vox.pan=0", "v*.pan=0.5"]}, "two locks want vox.pan.pan at 0 and at 0.5"),
        ({"lock": ["vox.pan=0.5"], "bound": ["vox.pan=-0.2..0.2"]}, "'vox.pan=0.5' is outside of the bound"),
        ({"bound": ["drums.gain=±2", "kick.gain=3..5"]}, "leave kick.fader.gain_db no value"),
        ({"lock": ["voxx.pan=0"]}, "no track or strip is called 'voxx'; tracks: kick"),
        ({"lock": ["vox.shine=1"]}, "there is no such knob; say gain, pan"),
        ({"lock": ["vox.gain=90"]}, "vox.fader.gain_db has the range -48..12 dB"),
        ({"bound": ["vox.gain=3..1"]}, "3 is more than 1"),
        ({"bound": ["vox.gain"]}, "KNOB=LOW..HIGH or KNOB=±REACH"),
        ({"lock": ["vox.pan=middle"]}, "'middle' is no value"),
        ({"only": "gain,colour"}, "only 'colour': there are gain, pan"),
    ],
)
def test_wishes_that_cannot_be_had_are_one_sentence(
    multitrack: Multitrack, wishes: dict[str, object], sentence: str
) -> None:
    with pytest.raises(SettingsError, match=sentence):
        api.automix(multitrack, model="rules", **wishes)


def test_wishes_for_tracks_with_signs_in_their_names() -> None:
    noise = 0.1 * torch.randn(3, 1, RATE, generator=torch.Generator().manual_seed(0))
    names = ("Lead Vox [comp]", "gtr (L=R).v2", "Drums *loop*")
    session = load(dict(zip(names, noise, strict=True)), RATE)
    console = Console.from_layout(shipped("automix"), RATE)

    def limits(**wishes: list[str]) -> dict[str, tuple[float, float]]:
        return dict(Wishes.read(console, session, **wishes).limits)

    assert limits(lock=["Lead Vox [comp].pan=0.5"]) == {"Lead Vox [comp].pan.pan": (0.5, 0.5)}
    assert limits(lock=["*[comp].pan=0.5"]) == {"Lead Vox [comp].pan.pan": (0.5, 0.5)}
    assert limits(lock=["gtr (L=R).v2.pan=0.5"]) == {"gtr (L=R).v2.pan.pan": (0.5, 0.5)}
    assert limits(lock=["gtr (L=R).v2.pan"]) == {"gtr (L=R).v2.pan.pan": (0, 0)}
    assert limits(lock=["GTR (l=r).v2"]) == limits(lock=["gtr*"])
    effects = {name.removeprefix("gtr (L=R).v2.").partition(".")[0] for name in limits(lock=["gtr*"])}
    assert effects == {"highpass", "eq", "compressor", "pan"}, "its level and its send stay free"
    assert limits(bound=["gtr (L=R).v2.gain=±2"]) == {"gtr (L=R).v2.fader.gain_db": (-2, 2)}
    assert limits(bound=["Drums *loop*.gain=-2..1"]) == {"Drums *loop*.fader.gain_db": (-2, 1)}
    for knob, value, low, high in (
        ("fader.gain_db", "-3dB..-1 dB", -3, -1),
        ("fader.gain_db", "-3…-1dB", -3, -1),
        ("fader.gain_db", "-2:1", -2, 1),
        ("fader.gain_db", "±2 dB", -2, 2),
        ("pan.pan", "L30..r 20", -0.3, 0.2),
        ("pan.pan", "-30..20%", -0.3, 0.2),
        ("compressor.ratio", "2:1..4:1", 2, 4),
        ("compressor.ratio", "4:1", 4, 4),
        ("highpass.cutoff_frequency_hz", "0.1..0.2 kHz", 100, 200),
    ):
        found = limits(bound=[f"gtr*.{knob}={value}"])
        assert found == {f"gtr (L=R).v2.{knob}": (pytest.approx(low), pytest.approx(high))}
    for value, at in (("30%", 0.3), ("L30", -0.3), ("r 5", 0.05), ("-50 %", -0.5), ("left", -1), ("0.25", 0.25)):
        assert limits(lock=[f"gtr*.pan={value}"])["gtr (L=R).v2.pan.pan"] == pytest.approx((at, at))
    assert limits(lock=["gtr*.highpass=0.1 kHz"])["gtr (L=R).v2.highpass.cutoff_frequency_hz"] == pytest.approx(
        (100, 100)
    )
    with pytest.raises(SettingsError, match="'Lots' is no value"):
        limits(lock=["gtr*.pan=Lots"])


@pytest.mark.parametrize("channels", [1, 2])
def test_a_silent_track_keeps_its_locks(channels: int) -> None:
    session = song(1.0, {"late": 1e-7 * torch.randn(channels, RATE)})
    found = flat(api.automix(session, model="rules", lock=["late.pan=0.5", "late.send=-20"]))
    assert found["late.pan.pan" if channels == 1 else "late.image.balance"] == 0.5
    assert found["late.send.gain_db"] == -20
    assert "late.image.balance" not in found or channels == 2


def test_style_words_and_roles_are_checked(multitrack: Multitrack) -> None:
    with pytest.raises(SettingsError, match="wider"):
        api.automix(multitrack, model="rules", style="shinier")
    with pytest.raises(SettingsError, match="cannot have the role 'boss'"):
        api.automix(multitrack, model="rules", roles={"vox": "boss"})
    with pytest.raises(SettingsError, match="'voxx', which is no track"):
        api.automix(multitrack, model="rules", roles={"voxx": "lead_vocal"})


def test_styles_are_far_apart_and_repeatable() -> None:
    found = styles("vocal+2", 4, 3)
    assert found == styles("vocal+2", 4, 3)
    assert all(style is not None and style.vocal_db == 2 for style in found)
    points = np.array([style.normalised for style in found if style])
    apart = [np.linalg.norm(a - b) for n, a in enumerate(points) for b in points[:n]]
    assert min(apart) > 0.5


# ------------------------------------------------------------------ reference and refinement


def test_references(tmp_path: Path) -> None:
    tone = 0.3 * torch.sin(torch.arange(22050) * 0.1)[None]
    write_wav(tmp_path / "ref.wav", tone, 22050)
    assert reference_audio(tmp_path / "ref.wav", RATE).shape == (2, 16000)
    write_wav(tmp_path / "silent.wav", 0 * tone, 22050)
    with pytest.raises(AudioError, match=r"silent\.wav is silent"):
        reference_audio(tmp_path / "silent.wav", RATE)
    with pytest.raises(AudioError, match="no such file"):
        reference_audio(tmp_path / "none.wav", RATE)


def test_refinement_comes_nearer_and_keeps_locks(console: Console) -> None:
    multitrack = song(1.5)
    wishes = Wishes.read(console, multitrack, lock=["vox.pan=0.1"], bound=["*.eq=±3"])
    start = proposed(RuleMixer(RATE), multitrack, wishes).settings
    found = refine(console, multitrack, start, wishes, 3)
    assert found.after < found.before
    assert "moved most" in found.notes[0]
    assert found.settings["tracks"]["vox"]["pan"]["pan"] == 0.1
    assert found.settings["tracks"]["vox"]["trim"] == start["tracks"]["vox"]["trim"]
    gains = [v for path, v in found.settings.flat() if path[2:3] == ("eq",) and path[-1].endswith("gain_db")]
    assert max(map(abs, gains)) <= 3 + 1e-5
    centred = [n for n, stages in start["tracks"].items() if n != "vox" and stages.get("pan") == {"pan": 0}]
    assert centred
    assert {found.settings["tracks"][name]["pan"]["pan"] for name in centred} == {0}


def treble_db(x: torch.Tensor) -> float:
    power = torch.fft.rfft(x).abs().square().sum(0)
    return float(10 * (power[power.numel() * 2 // 8 :].sum() / power.sum()).log10())  # above 2 kHz


def test_refinement_goes_where_a_reference_is(console: Console) -> None:
    multitrack = song(1.0)
    start = proposed(RuleMixer(RATE), multitrack, Wishes()).settings
    plain = render(console, multitrack, start)
    shelf = {"cutoff_frequency_hz": 1500.0, "gain_db": -12.0, "q": 0.7}
    dark = HighShelfFilter(RATE).process(plain[None], **{k: torch.tensor([v]) for k, v in shelf.items()})[0]

    ends = []
    for reference in (dark, None):
        found = refine(console, multitrack, start, Wishes(), 6, reference, learning_rate=0.15)
        assert found.after < found.before
        ends.append(treble_db(render(console, multitrack, found.settings)))
    away = [abs(level - treble_db(dark)) for level in (treble_db(plain), *ends)]
    assert away[1] < 0.8 * away[0]
    assert away[1] < 0.8 * away[2]


def test_a_reference_does_not_bury_the_voice() -> None:
    rest, voice, reference = 0.1 * torch.randn(3, 1, 2, RATE // 2, generator=torch.Generator().manual_seed(0))
    wanted, plain = _Wanted(RATE, reference[0], 5), _Wanted(RATE, reference[0], 5)
    assert wanted(rest + voice, voice, rest) == plain(rest + voice)  # where it was in the beginning
    assert wanted(rest + 2 * voice, 2 * voice, rest) == plain(rest + 2 * voice)
    assert wanted(rest + 0.3 * voice, 0.3 * voice, rest) > plain(rest + 0.3 * voice) + 0.5
    soft, under = 0.5 * voice, _Wanted(RATE, reference[0], 5)
    assert under(rest + soft, soft, rest) == plain(rest + soft)  # there too if that was under all the rest
    assert under(rest + 0.5 * soft, 0.5 * soft, rest) > plain(rest + 0.5 * soft) + 0.3


def test_the_voice_is_compared_in_front_of_groups_and_master(monkeypatch: pytest.MonkeyPatch) -> None:
    group = {"voices": {"tracks": ["vox"], "stages": {"eq": "ParametricEQ"}}}
    console = Console.from_layout({**shipped("automix"), "groups": group}, RATE)
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    monkeypatch.setattr(_Wanted, "_masked", lambda _, *signals: seen.append(signals) or torch.tensor(0.0))
    start = proposed(RuleMixer(RATE), made := song(0.5), Wishes()).settings
    start["buses"]["voices"] = {"eq": {"peak2_gain_db": -12.0}}
    for gain_db in (0.0, -12.0):
        start["master"]["eq"]["peak3_gain_db"] = gain_db
        refine(console, made, start, Wishes(), 0)
    (vocals, others), _ = seen
    player = Player(console, made)
    ends = dict(zip(player.names, player.wired.ends, strict=True)) | player.wired.returns
    alone = {name: player.whole(start, end) for name, end in ends.items()}
    torch.testing.assert_close(vocals[0], alone.pop("vox"), atol=3e-4, rtol=0)  # knobs have been controls since
    torch.testing.assert_close(others[0], torch.stack(list(alone.values())).sum(0), atol=3e-4, rtol=0)
    assert all(map(torch.equal, *seen))  # an equaliser behind both changes nothing between them


def test_what_rests_where_the_song_is_heard_is_turned_down_with_the_others(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffmix.refine.WINDOW_S", 0.5)
    monkeypatch.setattr("diffmix.refine.WINDOWS", 1)
    late = {"vox", "gtr 1"}
    tracks = [replace(t, audio=pad(t.audio, (0, RATE))) for t in song(0.5).tracks if t.name not in late]
    tracks += [replace(t, audio=pad(t.audio, (RATE, 0))) for t in song(0.5).tracks if t.name in late]
    made = replace(song(0.5), tracks=tuple(tracks))
    start = proposed(RuleMixer(RATE), made, Wishes()).settings
    wishes = Wishes.read(console, made, lock=["gtr 1.gain=0"])
    found = refine(console, made, wishes.projected(console, start), wishes, 3)
    moved = {
        name: found.settings["tracks"][name]["fader"]["gain_db"] - start["tracks"][name]["fader"]["gain_db"]
        for name in made.loudness_lufs
    }
    assert moved["vox"] == pytest.approx(median(moved[t.name] for t in tracks if t.name not in late), abs=1e-4)
    assert abs(moved["vox"]) > 0.01
    assert found.settings["tracks"]["gtr 1"]["fader"]["gain_db"] == 0


def test_a_voice_alone_is_not_refined_into_a_full_mix(console: Console) -> None:
    alone = replace(made := song(0.5), tracks=tuple(t for t in made.tracks if t.role == "lead_vocal"))
    start = proposed(RuleMixer(RATE), alone, Wishes()).settings
    assert refine(console, alone, start, Wishes(), 0).before < 0.1  # from the spectrum of mixes it is 5 away


@pytest.mark.parametrize("model", ["rules", api.MODEL])
def test_proposed_knobs_have_three_digits_and_gains_two_decimals(model: Path) -> None:
    found = proposed(mixer_of(model, RATE), song(0.5), Wishes()).settings
    for path, value in found.flat():
        gain = path[2:3] in (("trim",), ("fader",))
        assert value == (round(value, 2) if gain else float(f"{value:.3g}")), path


def test_rounded_knobs_stay_in_ranges_of_more_digits() -> None:
    narrow = {
        "trim": {"gain_db": [-3.337, 7.777]},
        "fader": {"gain_db": [-6.666, 5.557]},
        "eq": {"peak1_q": [1.2345, 2]},
    }
    console = Console.from_layout({**shipped("automix"), "ranges": narrow}, RATE)
    ends = {"trim": {"gain_db": 7.777}, "fader": {"gain_db": -6.666}, "eq": {"peak1_q": 1.2345}}
    given = Settings(tracks={"a": ends})
    assert readable(console, given, Wishes()) == given


def test_a_reference_makes_a_mix_brighter_and_wider_and_says_so(tmp_path: Path) -> None:
    made, noise = song(1.0), torch.randn(2, 44100, generator=torch.Generator().manual_seed(0))
    write_wav(tmp_path / "bright.wav", 0.3 * noise.tanh(), made.sample_rate)
    write_wav(tmp_path / "dull.wav", 0.01 * noise[:1].cumsum(1).expand(2, -1).clamp(-90, 90), made.sample_rate)
    plain, bright, dull = (
        api.automix(made, model="rules", reference=reference)
        for reference in (None, tmp_path / "bright.wav", tmp_path / "dull.wav")
    )
    assert "After the reference: wider, brighter." in bright.notes
    assert "After the reference: narrower, darker." in dull.notes
    assert not any("reference" in note for note in plain.notes)
    names = [mix.settings["master"]["eq"]["high_shelf_gain_db"] for mix in (dull, plain, bright)]
    assert names == sorted(names)
    treble = [treble_db(torch.from_numpy(mix.audio)) for mix in (dull, plain, bright)]
    assert treble[0] < treble[1] - 0.5
    assert treble[2] > treble[1] + 0.5
    darker = api.automix(made, model="rules", reference=tmp_path / "bright.wav", style="darker")
    assert treble_db(torch.from_numpy(darker.audio)) < treble[2] - 0.5
    assert darker.style == "darker"


def test_a_reference_is_heard_beside_the_fullest_seconds_of_a_plain_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    class Told(RuleMixer):
        def intend(self, multitrack: Multitrack, **asked: Any) -> Intent:
            calls.append((multitrack, asked))
            return super().intend(multitrack, **asked)

    monkeypatch.setattr("diffmix.automixing.LISTENED_S", 1.0)
    late = replace(made := song(1.0), tracks=tuple(replace(t, audio=pad(t.audio, (RATE, 0))) for t in made.tracks))
    found = proposed(Told(RATE), late, Wishes(), style=Style(width=1), reference=0.1 * torch.randn(2, RATE))
    (part, plain), (whole, asked) = calls
    assert all(torch.equal(a.audio, b.audio) for a, b in zip(part.tracks, made.tracks, strict=True))
    assert plain == {"roles": asked["roles"]} == {"roles": {t.name: t.role for t in made.tracks if t.role}}
    assert whole is late
    usual = next(cautions(None, None, None, found._replace(heard=Style())))
    assert usual == "After the reference: about as bright and as wide as without it."


def test_a_mix_of_a_model_that_hears_no_reference_is_refined_towards_it(
    tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = song(0.5)
    settings = proposed(RuleMixer(RATE), made, Wishes()).settings
    deaf = _Settled(SimpleNamespace(console=console, settings_for=lambda _: settings))
    told = [next(cautions(deaf, *asked, Proposal(settings))) for asked in ((Style(width=1), None), (None, made))]
    assert [note[:17] for note in told] == ["This model knows ", "This model hears "]
    monkeypatch.setattr("diffmix.automixing.mixer_of", lambda *_: deaf)
    write_wav(tmp_path / "ref.wav", 0.1 * torch.randn(2, 22050).cumsum(-1).tanh(), 22050)
    mix = api.automix(made, reference=tmp_path / "ref.wav", refine=1, loudness_lufs=-20)
    for path, value in mix.settings.flat():
        gain = (path[-1] == "gain_db" and path[-2] in ("trim", "fader", "gain")) or path[-2:] == (
            "limiter",
            "ceiling_db",
        )
        assert value == (round(value, 2) if gain else float(f"{value:.3g}")), path
    assert any(note.startswith("Refined in") for note in mix.notes)
    assert not any("hears no reference" in note for note in mix.notes)


def test_a_reference_is_heard_once_for_all_variants(monkeypatch: pytest.MonkeyPatch) -> None:
    heard, made = [], song(0.5)
    monkeypatch.setattr("diffmix.automixing._plain_mix", lambda *_: heard.append(1) or 0.1 * torch.randn(2, RATE // 2))
    noise = torch.randn(2, RATE // 2, generator=torch.Generator().manual_seed(0))
    mixes = list(api.automix_variants(made, 3, model="rules", reference=noise))
    assert (len(mixes), len(heard)) == (3, 1)
    assert len({note for mix in mixes for note in mix.notes if note.startswith("After the reference")}) == 1


# ------------------------------------------------------------------ what is left out, and many tracks


def test_what_was_left_out_is_left_out_when_settings_are_rendered_and_a_role_has_it_in(tmp_path: Path) -> None:
    tracks = song(1.0).tracks[:6]
    total = torch.stack([t.audio.mean(0, keepdim=True) for t in tracks]).mean(0)
    for track in (*tracks, Track("Click", tracks[0].audio.flip(1)), Track("take 3", total)):
        write_wav(tmp_path / f"{track.name}.wav", track.audio, RATE)
    mix = api.automix(tmp_path, model="rules")
    assert not {"Click", "take 3"} & mix.settings["tracks"].keys()
    again = api.render(tmp_path, mix.settings)
    assert np.array_equal(again.audio, mix.audio)
    for notes in (mix.notes, again.notes):
        assert any("only the players hear" in note for note in notes)
        assert any("take 3: left out: it is a mix" in note for note in notes)
    whole = api.automix(tmp_path, model="rules", roles={"Click": "percussion", "take 3": "synth"})
    assert {"Click", "take 3"} <= whole.settings["tracks"].keys()
    assert np.array_equal(api.render(tmp_path, whole.settings).audio, whole.audio)


@pytest.mark.parametrize("samples", [1, 2, 3, 101, 1000])
def test_the_shortest_songs_are_looked_at(samples: int) -> None:
    """Mixes are looked for as far as 20 ms away, which is more than such a song lasts."""
    rng = np.random.default_rng(0)
    stems = {f"track {k}": rng.standard_normal(samples).astype(np.float32) for k in range(5)}
    assert without_mixes(load(stems, 48000))[0].length == samples


def test_many_tracks_and_copies() -> None:
    tone = torch.arange(RATE // 2) / RATE
    made = {f"t{n}": 0.1 * torch.sin(2 * torch.pi * (80 + 11 * n) * tone)[None] for n in range(100)}
    mix = api.automix(made | {"t0 copy": made["t0"]}, sample_rate=RATE, model="rules")
    assert np.isfinite(mix.audio).all()
    assert len(mix.settings["tracks"]) == 101


# ------------------------------------------------------------------ the command


@pytest.mark.usefixtures("sketched")
def test_the_command_writes_everything(
    multitrack: Multitrack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stems = tmp_path / "song" / "stems"
    stems.mkdir(parents=True)
    for track in song(1.0).tracks[2:6]:
        write_wav(stems / f"{track.name}.wav", track.audio, RATE)
    out = tmp_path / "out"
    command = ["automix", str(stems), "-o", str(out), "--model", "rules", "--lock", "vox.pan=0.5", "--variants", "2"]
    main([*command, "--style", "wider"])
    printed = capsys.readouterr().out
    assert "1: wider" in printed
    for number in ("1", "2"):
        files = {f.relative_to(out / number).as_posix() for f in (out / number).rglob("*") if f.is_file()}
        assert {"mix.wav", "settings.json", "preset.json", "report.html", "stems/gtr 1.wav"} <= files
        settings = json.loads((out / number / "settings.json").read_text(encoding="utf-8"))
        assert settings["tracks"]["vox"]["pan"]["pan"] == 0.5
    report = json.loads((out / "1" / "report.json").read_text(encoding="utf-8"))
    vox = report["tracks"]["vox"]
    assert all(vox[part] for part in ("done", "why", "bypass"))
    assert 0 <= vox["masked"]["share"] <= 1
    with pytest.raises(OutputError, match="holds the tracks themselves"):
        api.automix(stems, model="rules").save(tmp_path / "song", stems=True)
    with pytest.raises(SystemExit):
        main(["automix", str(tmp_path / "nothing"), "-o", str(out)])
    assert "no such folder" in capsys.readouterr().err
