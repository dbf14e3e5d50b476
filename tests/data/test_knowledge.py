"""The knowledge mixer: sensible, repeatable, and a function of what the tracks are, not of how they are filed."""

import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from diffmix.balance import balanced
from diffmix.console import Console
from diffmix.data.knowledge import (
    STYLE,
    THIRD_OCTAVES_HZ,
    Style,
    class_mean,
    engineer,
    long_term_spectrum_db,
    parse_style,
    sample_style,
    style_like,
)
from diffmix.data.knowledge.classes import BAND_Q, USUAL, expected
from diffmix.data.knowledge.hearing import hear
from diffmix.data.knowledge.placing import Seat, groups, placed
from diffmix.data.knowledge.spectrum import drawn, equaliser_db, fit_equaliser
from diffmix.data.knowledge.strips import master
from diffmix.data.multitrack import Multitrack, Track
from diffmix.data.roles import ROLES
from diffmix.errors import SettingsError
from diffmix.mix import render

RATE = 44100
HZ = np.array(THIRD_OCTAVES_HZ)
LAYOUT = yaml.safe_load((Path(__file__).parents[2] / "conf/console/automix.yaml").read_text(encoding="utf-8"))


def noise(seed, low_hz, high_hz, channels=1, seconds=1.0, decay_s=0.0, pink=True):
    """Noise between two frequencies; with a decay it is struck twice a second."""
    generator = torch.Generator().manual_seed(seed)
    spectrum = torch.fft.rfft(torch.randn(channels, round(seconds * RATE), generator=generator))
    hz = torch.fft.rfftfreq(round(seconds * RATE), 1 / RATE)
    inside = (hz > low_hz) & (hz < high_hz)
    x = torch.fft.irfft(spectrum * inside / (hz.clamp_min(20).sqrt() if pink else 1), round(seconds * RATE))
    if decay_s:
        x = x * torch.exp(-(torch.arange(x.shape[1]) / RATE % 0.5) / decay_s)
    return 0.3 * x / x.abs().max()


@pytest.fixture(scope="module")
def band():
    tracks = (
        Track("Kick", noise(0, 40, 3000, decay_s=0.08), "kick"),
        Track("Snare", noise(1, 120, 12000, decay_s=0.1), "snare"),
        Track("Hat", noise(2, 3000, 16000, decay_s=0.05), "hihat"),
        Track("Overheads", noise(3, 80, 16000, 2, decay_s=0.3), "overhead"),
        Track("Bass", noise(4, 45, 1500), "bass"),
        Track("Gtr 1", noise(5, 100, 5000), "guitar"),
        Track("Gtr 2", noise(6, 100, 5000), "guitar"),
        Track("Pad", noise(7, 120, 8000, 2), "synth"),
        Track("Tambourine", noise(8, 4000, 16000, decay_s=0.04), "percussion"),
        Track("Vox", noise(9, 150, 9000, decay_s=0.6), "lead_vocal"),
        Track("Whatever", noise(10, 300, 3000), None),
    )
    return Multitrack("band", RATE, tracks)


def only(multitrack, *names):
    return replace(multitrack, tracks=tuple(t for t in multitrack.tracks if t.name in names))


def changed(multitrack, name, **values):
    return replace(multitrack, tracks=tuple(replace(t, **values) if t.name == name else t for t in multitrack.tracks))


# ------------------------------------------------------------------ style


def test_a_style_is_zero_when_nothing_is_said_and_survives_its_normalised_form():
    assert parse_style("") == Style()
    assert Style().normalised == (0.0,) * 6
    for _, param in STYLE:
        assert param.default == 0
        assert param.low == -param.high
    style = sample_style(np.random.default_rng(1))
    assert Style.from_normalised(style.normalised) == pytest.approx(style)
    assert STYLE.check(style._asdict())
    assert style != sample_style(np.random.default_rng(2))


def test_words_of_style_add_up_to_their_limits():
    style = parse_style("wider, drier , vocal+2,vocal + 1.5 dB, Bass-1")
    assert style == Style(vocal_db=3.5, bass_db=-1, width=0.5, reverb_db=-4)
    assert parse_style("brighter,brighter,brighter").bright_db == 4
    assert parse_style("punchier") == parse_style("denser")
    assert parse_style("more open") == parse_style("looser")


@pytest.mark.parametrize(
    "pair", ["wider,narrower", "drier,wetter", "darker,brighter", "punchier,more open", "bass+2,bass-1"]
)
def test_words_of_style_that_undo_each_other_are_refused(pair):
    one, other = pair.split(",")
    with pytest.raises(SettingsError, match=f"{re.escape(one)}' and '{re.escape(other)}' undo each other; keep one"):
        parse_style(f"vocal+1,{one},{other}")


@pytest.mark.parametrize("text", ["louder", "vocal2", "vocal+", "snare+2"])
def test_other_words_are_refused(text):
    with pytest.raises(SettingsError, match=r"is no style; there are: wider.*vocal\+2"):
        parse_style(text)
    with pytest.raises(SettingsError, match=r"the style 'vocal\+200' is 200 dB, allowed -4\.\.4 dB"):
        parse_style("wider,vocal+200")


# ------------------------------------------------------------------ spectra and equalisers


def test_pink_noise_is_flat_in_third_octaves_and_level_does_not_matter():
    x = noise(3, 20, 20000, seconds=8)
    found = long_term_spectrum_db(x, RATE)
    assert len(found) == len(THIRD_OCTAVES_HZ) == 28
    assert np.abs(found[3:] + 10 * np.log10(28)).max() < 1.5  # above 63 Hz, where many periods were heard
    paused = torch.cat([0.01 * x, torch.zeros(1, 5 * RATE)], 1)
    assert np.abs(long_term_spectrum_db(paused, RATE) - found).max() < 0.3
    assert np.isfinite(long_term_spectrum_db(torch.zeros(2, 100), RATE)).all()


def test_a_sine_is_in_its_third_octave_at_any_rate():
    for rate in (44100, 96000):
        x = torch.sin(2 * torch.pi * 1000 * torch.arange(rate) / rate)[None]
        found = long_term_spectrum_db(x, rate)
        assert found[15] > -0.1
        assert THIRD_OCTAVES_HZ[15] == 1000
        assert np.delete(found, 15).max() < -25


def test_an_equaliser_is_found_again_from_its_response():
    hz, q = np.array([[100, 250, 600, 1600, 3500, 9000.0]]), np.array([BAND_Q])
    gains = np.array([[4, -5, 3, 0, -6, 5.0]])
    wanted = equaliser_db(hz, gains, q, RATE)
    found = fit_equaliser(wanted, np.ones((1, 28)), hz, q, RATE)
    assert np.abs(equaliser_db(hz, found, q, RATE) - wanted).max() < 0.7


# ------------------------------------------------------------------ laws


def test_equal_arguments_give_equal_mixes_whatever_the_order(band):
    mix = engineer(band, [1, 2])
    backwards = engineer(replace(band, tracks=band.tracks[::-1]), [1, 2])
    assert mix.intent.settings == backwards.intent.settings
    assert mix.style == backwards.style
    assert mix.intent.loudness_lu == backwards.intent.loudness_lu
    assert list(backwards.intent.loudness_lu) == [t.name for t in band.tracks[::-1]]
    other = engineer(band, [1, 3])
    assert other.style != mix.style
    assert other.intent.loudness_lu != mix.intent.loudness_lu
    assert engineer(band, [1, 2, 0]).style != mix.style


def test_level_and_silent_tracks_change_nothing(band):
    mix = engineer(band, [5]).intent
    silent = Track("Gtr 3", torch.zeros(1, band.length), "guitar")
    more = engineer(replace(band, tracks=(*band.tracks, silent)), [5]).intent
    assert more.settings["tracks"].pop("Gtr 3") == {}
    assert more.settings == mix.settings
    assert {n: v for n, v in more.loudness_lu.items() if n != "Gtr 3"} == mix.loudness_lu
    quiet = engineer(changed(band, "Vox", audio=0.05 * band.tracks[9].audio), [5]).intent
    assert quiet.loudness_lu == mix.loudness_lu
    for path, value in quiet.settings.flat():
        where = mix.settings
        for key in path:
            where = where[key]
        assert value == pytest.approx(where, abs=1e-3, rel=1e-4), path


def test_silence_alone_is_mixed_without_complaint():
    silence = Multitrack("nothing", RATE, (Track("a", torch.zeros(1, 3000), "bass"), Track("b", torch.zeros(2, 3000))))
    mix = engineer(silence, [0])
    Console.from_layout(LAYOUT, RATE).check(mix.intent.settings)
    assert all(np.isfinite(v) for _, v in mix.intent.settings.flat())
    assert not np.any(mix.eq_curve_db["a"])


@pytest.mark.parametrize("role", [*ROLES, None, "kazoo"])
def test_every_role_and_unknown_ones_have_a_treatment(band, role):
    alone = changed(only(band, "Whatever", "Vox"), "Whatever", role=role)
    intent = engineer(alone, [3]).intent
    assert -40 < intent.loudness_lu["Whatever"] < 0
    Console.from_layout(LAYOUT, RATE).check(intent.settings)
    assert set(USUAL) == {*ROLES, None}


def test_few_tracks_are_not_made_to_sound_like_a_full_mix(band):
    def gains_db(made):
        return np.array([gain for knob, gain in made["eq"].items() if knob.endswith("gain_db")])

    spectrum, usual = hear(band.tracks[9], RATE).spectrum_db, defaultdict(float)
    one, two, three, many = (gains_db(master(spectrum, Style(), usual, RATE, n)) for n in (1, 2, 3, 10))
    assert one == pytest.approx(0, abs=1e-6)
    assert two == pytest.approx(three / 2, abs=0.3)
    assert abs(three).max() > 3
    assert (many == three).all()
    assert gains_db(class_mean(only(band, "Vox")).settings["master"]) == pytest.approx(0, abs=1e-6)
    assert gains_db(class_mean(only(band, "Vox"), Style(bright_db=2)).settings["master"])[5] > 0.2  # as it is asked for


@pytest.mark.parametrize("length", [1, 500, 5000])
def test_short_audio_is_mixed(band, length):
    cut = replace(band, tracks=tuple(replace(t, audio=t.audio[:, 900 : 900 + length]) for t in band.tracks))
    assert all(np.isfinite(v) for _, v in engineer(cut, [1]).intent.settings.flat())


@pytest.mark.parametrize("seed", range(6))
def test_knobs_fit_the_console_and_energies_add_up_to_one(band, seed):
    style = Style.from_normalised([(-1.0, 1.0)[seed % 2]] * 6) if seed < 2 else None
    mix = engineer(band, [seed], style)
    Console.from_layout(LAYOUT, RATE).check(mix.intent.settings)
    assert sum(10 ** (v / 10) for v in mix.intent.loudness_lu.values()) == pytest.approx(1)
    for name, strip in mix.intent.settings["tracks"].items():
        hz, gains, q = (
            np.array([[v for k, v in strip["eq"].items() if k.endswith(end)]])
            for end in ("frequency_hz", "gain_db", "_q")
        )
        assert np.allclose(equaliser_db(hz, gains, q, RATE)[0], mix.eq_curve_db[name])


# ------------------------------------------------------------------ what an engineer does


def test_the_usual_balance_has_the_vocal_far_above_the_hat(band):
    usual = class_mean(band).loudness_lu
    assert max(usual, key=lambda n: usual[n]) == "Vox"
    assert usual["Vox"] - usual["Hat"] > 15
    both, one = usual["Gtr 1"] - usual["Bass"], class_mean(replace(band, tracks=band.tracks[:6])).loudness_lu
    assert one["Gtr 1"] - one["Bass"] - both == pytest.approx(10 * np.log10(2))


def test_what_is_usual_is_expected_over_what_tracks_may_be(band):
    sure = {t.name: {t.role: 1.0} for t in band.tracks}
    assert class_mean(band, None, sure) == class_mean(band)
    hat, drum = (class_mean(band, None, {"Hat": {role: 1.0}}) for role in ("hihat", "tom"))
    between = class_mean(band, None, {"Hat": {"hihat": 0.6, "tom": 0.4}})
    far, near = (
        usual.loudness_lu["Hat"] - usual.loudness_lu["Bass"] - hat.loudness_lu["Hat"] + hat.loudness_lu["Bass"]
        for usual in (drum, between)
    )
    assert near == pytest.approx(0.4 * far, abs=1e-9)
    assert far > 1
    silent = replace(band, tracks=(*band.tracks, Track("nothing", torch.zeros_like(band.tracks[0].audio))))
    assert class_mean(silent, None, sure).loudness_lu.items() > class_mean(band).loudness_lu.items()
    high, low, middle = (i.settings["tracks"]["Hat"] for i in (hat, drum, between))
    for stage, knob in (("send", "gain_db"), ("eq", "peak2_cutoff_frequency_hz"), ("compressor", "ratio")):
        ends = sorted((high[stage][knob], low[stage][knob]))
        assert ends[0] < middle[stage][knob] < ends[1]
    assert middle["send"]["gain_db"] == pytest.approx(0.6 * high["send"]["gain_db"] + 0.4 * low["send"]["gain_db"])
    hz = [np.log(k["eq"]["peak2_cutoff_frequency_hz"]) for k in (high, low, middle)]
    assert hz[2] == pytest.approx(0.6 * hz[0] + 0.4 * hz[1])
    low = hear(Track("Low", noise(1, 40, 100), "synth"), RATE, {"bass": 0.5, "synth": 0.25, "keys": 0.25})
    assert low is not None
    assert low.chances == {"bass": 1.0}  # of that much bottom
    unsure = hear(band.tracks[0], RATE, {"tom": 0.3, "snare": 0.7})
    assert unsure is not None
    assert unsure.role == "snare"
    usual = [USUAL["hihat"], USUAL["tom"], expected({"hihat": 0.6, "tom": 0.4})]
    for what in ("highpass_hz", "ratio", "attack_ms", "release_ms"):
        ends = [np.log(getattr(u, what)) for u in usual]
        assert ends[0] != ends[1]
        assert ends[2] == pytest.approx(0.6 * ends[0] + 0.4 * ends[1])


def test_second_microphones_are_told_by_their_sound_where_no_name_says_it():
    """The kick from outside is duller, the snare from below thinner; each is 4 dB under the other of its drum."""

    def within(x, low_hz, high_hz):
        spectrum, hz = torch.fft.rfft(x), torch.fft.rfftfreq(x.shape[1], 1 / RATE)
        return torch.fft.irfft(spectrum * ((hz > low_hz) & (hz < high_hz)), x.shape[1]).roll(60, 1)

    kick, snare = noise(0, 40, 12000, decay_s=0.08), noise(1, 120, 12000, decay_s=0.1)
    rest = (Track("bass", noise(4, 45, 1500), "bass"), Track("room far", noise(3, 80, 16000, decay_s=0.3), "room"))

    def difference_lu(one, other, role, names=("a", "b"), mixed=class_mean):
        tracks = tuple(Track(name, x, role) for name, x in zip(names, (one, other), strict=True))
        found = mixed(Multitrack("song", RATE, (*tracks, *rest))).loudness_lu
        return found[names[0]] - found[names[1]]

    outside, below = within(kick, 30, 2500), -within(snare, 600, 20000)
    assert difference_lu(kick, outside, "kick") == pytest.approx(4)
    assert difference_lu(outside, kick, "kick") == pytest.approx(-4)
    assert difference_lu(snare, below, "snare") == pytest.approx(4)
    assert difference_lu(outside, kick, "kick", ("kick in", "kick out")) == pytest.approx(4), "names count for more"
    for other in (noise(9, 40, 3000, decay_s=0.08), kick.roll(3, 1), within(kick, 30, 300), outside.repeat(2, 1)):
        assert difference_lu(kick, other, "kick") == pytest.approx(0), "another drum, a copy, a sub, in stereo"
    assert difference_lu(kick, outside, "tom") == pytest.approx(0)

    def taught(song):
        return engineer(song, [0]).intent

    beside = difference_lu(kick, kick.roll(3, 1), "kick", mixed=taught)
    assert difference_lu(kick, outside, "kick", mixed=taught) == pytest.approx(beside), "lessons go by names alone"


def test_a_reference_shows_how_bright_and_how_wide_it_is_beside_a_mix(band):
    console = Console.from_layout(LAYOUT, RATE)

    def made(style):
        return render(console, band, balanced(console, band, class_mean(band, style)))

    plain = made(Style())
    assert style_like(plain, plain, RATE) == Style()
    for wanted in (Style(bright_db=2), Style(bright_db=-2), Style(width=0.5), Style(width=-0.5)):
        found = np.array(style_like(made(wanted), plain, RATE).normalised)
        half = 0.5 * np.array(wanted.normalised)
        assert np.abs(found - half).max() < 0.08  # of the half of a style's range
    mono, noise_like = plain.mean(0, keepdim=True).expand(2, -1), noise(0, 20, 20000, 2, pink=False)
    assert style_like(mono, plain, RATE).width == -1
    assert style_like(noise_like, plain, RATE).bright_db == 4
    narrow = mono + 0.01 * torch.tensor([[1.0], [-1.0]]) * mono  # nobody hears that, nor what is below 45 Hz
    assert style_like(mono, narrow, RATE).width == 0
    rumble = 0.1 * torch.sin(2 * torch.pi * 25 * torch.arange(plain.shape[1]) / RATE)
    assert abs(style_like(plain + rumble, plain, RATE).bright_db) < 0.05
    assert Style(width=0.4, vocal_db=1).and_also(Style(width=0.8, bright_db=1)) == Style(1, 0, 1, 1)


def test_engineers_differ_about_as_much_as_people_do(band):
    def error_db(a, b):
        difference = np.array([a[name] - b[name] for name in a])
        return np.abs(difference - np.median(difference)).mean()

    mixes = [engineer(band, [k]).intent.loudness_lu for k in range(16)]
    assert 0.8 < np.mean([error_db(a, b) for a, b in zip(mixes[::2], mixes[1::2], strict=True)]) < 1.5
    assert np.mean([error_db(m, class_mean(band).loudness_lu) for m in mixes]) < 1
    assert np.mean([error_db(m, dict.fromkeys(m, 0.0)) for m in mixes]) > 2


def test_a_style_is_heard_where_it_says(band):
    def measured(**values):
        intent = class_mean(band, Style(**values))
        tracks, levels = intent.settings["tracks"], intent.loudness_lu
        eq = intent.settings["master"]["eq"]
        return {
            "vocal_db": levels["Vox"] - levels["Snare"],
            "bass_db": levels["Bass"] - levels["Snare"],
            "width": abs(tracks["Gtr 1"]["pan"]["pan"]) + tracks["Pad"]["image"]["width"],
            "bright_db": eq["high_shelf_gain_db"] - eq["low_shelf_gain_db"],
            "dense": -tracks["Vox"]["compressor"]["threshold_db"],
            "reverb_db": tracks["Vox"]["send"]["gain_db"],
        }

    neutral = measured()
    for name, param in STYLE:
        changes = {n: v - neutral[n] for n, v in measured(**{name: param.high / 2}).items()}
        assert changes[name] > 0
        apart = {n: v for n, v in changes.items() if n != name and {name, n} != {"bass_db", "bright_db"}}
        assert all(abs(v) < 0.35 for v in apart.values()), (name, apart)
    assert measured(vocal_db=2)["vocal_db"] - neutral["vocal_db"] == pytest.approx(2)


@pytest.mark.parametrize("seed", range(8))
def test_centre_stays_centre_pairs_face_each_other_and_nothing_leans(band, seed):
    mix = engineer(band, [seed])
    tracks, levels = mix.intent.settings["tracks"], mix.intent.loudness_lu
    pans = {name: strip["pan"]["pan"] for name, strip in tracks.items() if "pan" in strip}
    assert [pans[name] for name in ("Kick", "Snare", "Bass", "Vox")] == [0, 0, 0, 0]
    assert pans["Gtr 1"] == -pans["Gtr 2"]
    assert abs(pans["Gtr 1"]) > 0.3
    lean = sum(10 ** (levels[name] / 10) * np.sin(pan * np.pi / 2) for name, pan in pans.items())
    assert abs(lean) < 0.12
    assert set(tracks["Pad"]["image"]) == {"balance", "width"}
    assert abs(tracks["Pad"]["image"]["balance"]) < 0.1


def test_songs_are_mirrored_at_random(band):
    sides = [engineer(band, [k]).intent.settings["tracks"]["Gtr 1"]["pan"]["pan"] > 0 for k in range(24)]
    assert 4 < sum(sides) < 20


def test_tracks_that_sound_different_are_no_pair(band):
    tracks = [*only(band, "Gtr 1", "Gtr 2").tracks, Track("Gtr 3", noise(11, 1500, 3000), "guitar")]
    seats = [Seat(t.name, "guitar", long_term_spectrum_db(t.audio, RATE), 1, (0.5, 1), (0.5, 1), False) for t in tracks]
    assert [[s.name for s in unit] for unit in groups(seats)] == [["Gtr 1", "Gtr 2"], ["Gtr 3"]]
    assert placed([], 0.0, None) == {}


def test_numbered_names_are_a_pair_unless_everything_is_called_so():
    flat, hz = np.zeros(len(HZ)), (0.5, 1.0)
    names = {"Gtr 1": flat, "Gtr 2": flat + 10.0 * (HZ > 500), "Vox 1": flat}

    def units(called):
        roles = dict(zip(called, ("guitar", "guitar", "lead_vocal"), strict=True))
        seats = [Seat(n, roles[n], s, 1, hz, hz, False) for n, s in zip(called, names.values(), strict=True)]
        return [[s.name for s in unit] for unit in groups(seats)]

    assert units(tuple(names)) == [["Gtr 1", "Gtr 2"], ["Vox 1"]]
    assert units(("Audio 1", "Audio 2", "Audio 3")) == [["Audio 1"], ["Audio 2"], ["Audio 3"]]


def test_a_dull_recording_is_brightened_and_a_good_one_left_alone(band):
    bright = band.tracks[9]
    spectrum = torch.fft.rfft(bright.audio)
    hz = torch.fft.rfftfreq(bright.audio.shape[1], 1 / RATE)
    dull = torch.fft.irfft(spectrum / (1 + (hz / 2500) ** 2).sqrt(), bright.audio.shape[1])

    def curve(audio):
        return engineer(changed(band, "Vox", audio=audio), [4], Style()).eq_curve_db["Vox"]

    change = curve(dull) - curve(bright.audio)
    assert change[HZ > 6000].mean() - change[HZ < 1500].mean() > 2


def test_accompaniment_makes_room_for_a_lead_vocal_only(band):
    presence = (HZ > 1900) & (HZ < 4100)
    names = [t.name for t in band.tracks]

    def curve(*without):
        return engineer(only(band, *(n for n in names if n not in without)), [2], Style()).eq_curve_db["Pad"]

    assert (curve("Vox") - curve())[presence].mean() > 0.8
    assert np.allclose(curve("Hat"), curve())


def test_a_recording_that_jumps_about_is_compressed_more(band):
    steady = noise(12, 45, 1500)
    jumping = steady * (1 + 3 * (torch.arange(steady.shape[1]) / RATE % 0.5 < 0.1))

    def depth_db(audio):
        changed_band = changed(band, "Bass", audio=audio)
        strip = engineer(changed_band, [2], Style()).intent.settings["tracks"]["Bass"]
        return hear(changed_band.tracks[4], RATE).peak_db - strip["compressor"]["threshold_db"]

    assert depth_db(jumping) > depth_db(steady) + 1


def test_a_synth_of_nothing_but_bottom_plays_the_bass():
    low = Multitrack("low", RATE, (Track("Synth", noise(1, 40, 100), "synth"), Track("Vox", noise(2, 150, 9000))))
    intent = engineer(low, [1]).intent
    assert intent.settings["tracks"]["Synth"]["pan"]["pan"] == 0
    assert intent.settings["tracks"]["Synth"]["highpass"]["cutoff_frequency_hz"] < 45
    assert drawn((100, 0), (1000, 10))[0] == 0


def test_a_mix_can_be_heard(band):
    console = Console.from_layout(LAYOUT, RATE)
    settings = balanced(console, band, engineer(band, [1]).intent)
    y = render(console, band, settings)
    assert y.isfinite().all()
    left, right = y.square().sum(1)
    assert abs(float((right - left) / (right + left))) < 0.2
    assert (y[0] - y[1]).square().sum() > 0.005 * (y[0] + y[1]).square().sum()
