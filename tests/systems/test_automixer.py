"""The automatic mixer: what it is told, what it must not hear, and how it is kept."""

import json
import math
import pickle
from dataclasses import replace
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import pad

from diffmix.console import Console
from diffmix.data.knowledge import Style, class_mean
from diffmix.data.knowledge.classes import USUAL
from diffmix.data.knowledge.engineer import UNHEARD_LU
from diffmix.data.multitrack import Multitrack, Track
from diffmix.data.roles import ROLES
from diffmix.data.synthetic import generate_song
from diffmix.errors import CheckpointError
from diffmix.estimators.features import FRAME_S, log_mel, measures
from diffmix.intent import Intent
from diffmix.systems import automixer
from diffmix.systems.automix import SHIPPED
from diffmix.systems.automixer import REST_S, Automixer, balanced_sides, counting, telling
from diffmix.systems.intents import on_console

RATE = 22050
FRAME = round(FRAME_S * RATE)


def mixer() -> Automixer:
    torch.manual_seed(0)
    made = Automixer(Console(RATE), width=32, layers=1)
    # an untrained head answers defaults; move it, so that tracks differ
    torch.nn.init.normal_(made.estimator.heads["tracks"].weight, std=0.5)
    return made.eval()


def song(n: int = 5, seconds: float = 1.0, stereo: int = 1) -> Multitrack:
    generator = torch.Generator().manual_seed(1)
    x = 0.1 * torch.randn(n, 2, round(seconds * RATE), generator=generator).cumsum(-1).tanh()
    tracks = (Track(f"t{k}", x[k, : 2 if k == stereo else 1]) for k in range(n))
    return Multitrack("song", RATE, tuple(tracks))


def different(a: Intent, b: Intent) -> float:
    """The largest difference of any knob and any loudness."""
    here, there = ({**dict(i.settings.flat()), **i.loudness_lu} for i in (a, b))
    assert here.keys() == there.keys()
    return max(abs(v - there[k]) / (1 + abs(v)) for k, v in here.items())


def test_sides_balance_every_band_and_follow_the_track() -> None:
    pull = torch.rand(9, 4)
    side = balanced_sides(pull)
    assert ((side[:, None] * pull).sum(0).abs() <= 1.5 * pull.max(0).values).all()
    order = torch.randperm(9)
    assert torch.equal(balanced_sides(pull[order]), side[order])
    twins = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    assert balanced_sides(twins)[0] == -balanced_sides(twins)[2]


def test_energies_add_up_and_order_level_and_silence_do_not_matter() -> None:
    made, x = mixer(), song()
    intent = made.intend(x)
    assert sum(10 ** (lu / 10) for lu in intent.loudness_lu.values()) == pytest.approx(1, abs=1e-4)
    shuffled = replace(x, tracks=tuple(x.tracks[k] for k in (4, 2, 0, 1, 3)))
    assert different(intent, made.intend(shuffled)) < 1e-5
    quiet = replace(
        x, tracks=tuple(replace(t, audio=t.audio * 0.1**k) for k, t in enumerate(x.tracks[:3])) + x.tracks[3:]
    )
    assert different(intent, made.intend(quiet)) < 1e-2
    silence = Track("silence", torch.zeros(1, x.length))
    more = made.intend(replace(x, tracks=(silence, *x.tracks)))
    assert more.loudness_lu.pop("silence") < -39
    assert more.settings["tracks"].pop("silence") == {}
    assert different(intent, more) < 1e-5


def test_roles_style_and_reference_are_heard() -> None:
    made, x = mixer(), song()
    plain = made.intend(x)
    mix = torch.randn(2, 2 * RATE, generator=torch.Generator().manual_seed(3))
    for told in ({"roles": {"t0": "kick"}}, {"style": Style(width=1.0)}, {"style": Style()}, {"reference": mix}):
        assert different(plain, made.intend(x, **told)) > 1e-4
    assert different(plain, made.intend(x, roles={"t0": None, "other": "kick"})) == 0


def test_silence_is_taken_for_nothing() -> None:
    x = song()
    silent = replace(x, tracks=tuple(replace(t, audio=0 * t.audio) for t in x.tracks))
    assert mixer().intend(silent).taken_for == {}
    assert list(mixer().intend(replace(x, tracks=(*x.tracks[:2], *silent.tracks[2:]))).taken_for) == ["t0", "t1"]


def test_tracks_without_a_role_are_taken_for_what_they_sound_like() -> None:
    made, x = mixer(), song()
    taken_for = made.intend(x).taken_for
    assert list(taken_for) == [f"t{k}" for k in range(5)]
    assert all(role in ROLES and 1 / len(ROLES) < chance <= 1 for role, chance in taken_for.values())
    told = made.intend(x, roles={"t0": "kick"}).taken_for
    assert told == {name: found for name, found in taken_for.items() if name != "t0"}
    # to tell what is certain anyway changes nothing; a guess leans to what its logits say
    with torch.no_grad():
        made.estimator.guess.weight.zero_()
        made.estimator.guess.bias.copy_(100 * torch.nn.functional.one_hot(torch.tensor(6), len(ROLES)).float())
    assert {role for role, _ in made.intend(x).taken_for.values()} == {ROLES[6]}
    heard = made._heard(
        *(torch.cat([f(t.audio[None]) for t in x.tracks]) for f in (lambda x: log_mel(x, RATE), measures))
    )
    sure = made(heard)[0].tracks
    assert torch.allclose(made(heard._replace(labels=torch.full(heard.mel.shape[:2], 7)))[0].tracks, sure, atol=1e-6)
    assert not torch.allclose(
        made(heard._replace(labels=torch.full(heard.mel.shape[:2], 3)))[0].tracks, sure, atol=1e-6
    )


def test_what_is_usual_for_told_roles_decides_how_loud_they_are() -> None:
    made, x = mixer(), song()
    roles = {"t0": "lead_vocal", "t1": "bass", "t2": "hihat", "t3": "guitar", "t4": "keys"}
    told, usual = made.intend(x, roles=roles), USUAL["lead_vocal"].level_lu - USUAL["hihat"].level_lu
    step = told.loudness_lu["t0"] - told.loudness_lu["t2"]
    assert step == pytest.approx(usual, abs=1e-3)
    assert sum(10 ** (lu / 10) for lu in told.loudness_lu.values()) == pytest.approx(1, abs=1e-4)


def test_knobs_are_what_is_usual_for_the_role_and_what_rules_do_not_set_is_the_networks() -> None:
    made, x = mixer(), song()
    roles = {"t0": "lead_vocal", "t1": "bass", "t2": "hihat", "t3": "guitar", "t4": "keys"}
    style = Style(bright_db=2, reverb_db=4)
    found = made.intend(x, roles=roles, style=style).settings
    labelled = replace(x, tracks=tuple(replace(t, role=roles[t.name]) for t in x.tracks))
    wanted = class_mean(labelled, style).settings
    for path, value in on_console(made.console, wanted).flat():
        if "pan" not in path:  # whose side is free
            assert reduce(getitem, path, found) == pytest.approx(value, rel=1e-3, abs=1e-3), path
    layout = Console(RATE).layout
    strip = {"drive": "Distortion", **layout["strip"]}
    torch.manual_seed(0)
    other = Automixer(Console.from_layout({**layout, "strip": strip}, RATE), width=32, layers=1).eval()
    torch.nn.init.normal_(other.estimator.heads["tracks"].weight, std=0.5)
    settings = other.intend(x, roles=roles).settings["tracks"]
    assert len({settings[name]["drive"]["drive_db"] for name in roles}) == 5
    assert settings["t0"]["send"]["gain_db"] == pytest.approx(USUAL["lead_vocal"].send_db, abs=1e-4)


def test_a_console_with_little_on_it_gets_what_it_has() -> None:
    torch.manual_seed(0)
    console = Console(RATE, strip={"trim": "Gain"}, sends={}, buses={}, master={"gain": "Gain"})
    made = Automixer(console, width=32, layers=1).eval()
    found = made.intend(song(), roles={"t0": "kick"})
    assert set(found.settings["tracks"]["t0"]) == {"pan"}
    assert found.settings["buses"] == found.settings["master"] == {}


def test_what_is_usual_for_guessed_roles_has_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    made, x, its_share = mixer(), song(), automixer.GUESSED_SHARE
    plain = made.intend(x)
    intents = {}
    for share in (0.0, 1.0):
        monkeypatch.setattr(automixer, "GUESSED_SHARE", share)
        intents[share] = made.intend(x)

    def step(intent: Intent) -> float:
        return intent.loudness_lu["t0"] - intent.loudness_lu["t1"]

    both = (1 - its_share) * step(intents[0.0]) + its_share * step(intents[1.0])
    assert step(plain) == pytest.approx(both, abs=1e-6)
    assert abs(step(intents[0.0]) - step(intents[1.0])) > 0.1


def test_a_sure_guess_is_as_good_as_a_told_role_and_two_that_are_alike_count_by_half(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, x = mixer(), song()
    monkeypatch.setattr(automixer, "GUESSED_SHARE", 1.0)

    def hears(**chances: float) -> dict[str, float]:
        with torch.no_grad():
            made.estimator.guess.weight.zero_()
            made.estimator.guess.bias.copy_(torch.tensor([chances.get(role, 1e-30) for role in ROLES]).log())
        return dict(made.intend(x, roles={"t0": "lead_vocal"}).loudness_lu)

    others = [f"t{k}" for k in range(1, 5)]
    sure = hears(hihat=1.0)
    assert sure == pytest.approx(dict(made.intend(x, roles=dict.fromkeys(others, "hihat") | {"t0": "lead_vocal"})[1]))
    either, levels = hears(hihat=0.5, kick=0.5), [USUAL[role].level_lu for role in ("hihat", "kick")]
    # four tracks, each half of each: besides itself, one and a half more of each role
    wanted = sum(levels) / 2 - 10 * math.log10(2.5) - USUAL["lead_vocal"].level_lu
    assert either["t1"] - either["t0"] == pytest.approx(wanted, abs=1e-3)
    rather = hears(hihat=0.6, kick=0.4)
    sharper = [chance**3 / (0.6**3 + 0.4**3) for chance in (0.6, 0.4)]
    wanted = sum(q * (level - 10 * math.log10(1 + 3 * q)) for q, level in zip(sharper, levels, strict=True))
    assert rather["t1"] - rather["t0"] == pytest.approx(wanted - USUAL["lead_vocal"].level_lu, abs=1e-3)


def test_a_track_that_is_hardly_there_is_not_turned_up(monkeypatch: pytest.MonkeyPatch) -> None:
    made, x, usual = mixer(), song(), automixer.class_mean

    def but_one(*arguments: Any) -> Intent:
        found = usual(*arguments)
        return found._replace(loudness_lu={**found.loudness_lu, "t3": UNHEARD_LU})

    monkeypatch.setattr(automixer, "class_mean", but_one)
    for roles in ({}, {"t3": "lead_vocal"}):
        assert made.intend(x, roles=roles).loudness_lu["t3"] < -50


def test_stereo_tracks_have_an_image_and_mono_ones_a_pan() -> None:
    settings = mixer().intend(song()).settings
    assert {name: "pan" in s for name, s in settings["tracks"].items()} == {f"t{k}": k != 1 for k in range(5)}
    assert {name: "image" in s for name, s in settings["tracks"].items()} == {f"t{k}": k == 1 for k in range(5)}


def test_save_and_load(tmp_path: Path) -> None:
    made, x = mixer(), song()
    made.save(tmp_path / "model", seed=3)
    again = Automixer.load(tmp_path / "model", RATE)
    assert different(made.intend(x), again.intend(x)) == 0
    assert sorted(f.name for f in (tmp_path / "model").iterdir()) == ["config.json", "model.safetensors"]
    assert json.loads((tmp_path / "model" / "config.json").read_text())["seed"] == 3


def test_other_models_are_refused(tmp_path: Path) -> None:
    mixer().save(tmp_path / "model")
    config = tmp_path / "model" / "config.json"
    data = json.loads(config.read_text())
    data["specs"]["tracks"]["send.gain_db"]["low"] = -90
    config.write_text(json.dumps(data))
    with pytest.raises(CheckpointError, match=r"tracks.send.gain_db: low is -60, stored -90"):
        Automixer.load(tmp_path / "model", RATE)
    config.write_text(json.dumps({**data, "version": 9}))
    with pytest.raises(CheckpointError, match="has version 9, this diffmix reads version 4"):
        Automixer.load(tmp_path / "model", RATE)
    config.write_text("{}")
    with pytest.raises(CheckpointError, match="does not hold an automixer"):
        Automixer.load(tmp_path / "model", RATE)
    (tmp_path / "model" / "model.safetensors").write_bytes(b"pickle")
    with pytest.raises(CheckpointError, match="no usable model in"):
        Automixer.load(tmp_path / "model", RATE)
    with pytest.raises(CheckpointError, match=r"nowhere: there is no config\.json and no model\.safetensors$"):
        Automixer.load(tmp_path / "nowhere", RATE)


def test_it_listens_where_a_track_plays_most() -> None:
    rests = torch.full((64, 600), -90.0)
    rests[:, 130:190] = rests[:, 420:480] = -20.0
    rests[:, 550:570] = -20.0  # too little to listen to beside these
    pieces = telling(rests, 50)
    assert pieces.shape == (2, 64, 50)
    assert (pieces == -20).all()
    assert len(telling(torch.full((64, 600), -20.0), 50)) == 4
    whole = telling(rests[:, :60], 50)
    assert whole.shape == (1, 64, 60)


def test_silence_around_the_song_and_long_rests_are_not_listened_to() -> None:
    second = round(1 / FRAME_S)
    plays = torch.full((2, 64, 100 * second), -75.0)  # noise, 45 dB below the music
    plays[0, :, 20 * second : 80 * second] = -20.0
    plays[1, :, 30 * second : 31 * second] = plays[1, :, 60 * second : 61 * second] = -20.0
    counts = counting(plays - 20 * torch.rand(64, 1, generator=torch.Generator().manual_seed(0)))
    assert not counts[:, : 20 * second].any()
    assert not counts[:, 80 * second :].any()
    assert counts[0, 20 * second : 80 * second].all()
    assert int(counts[1].sum()) == 2 * second + 2 * round(REST_S / FRAME_S)  # each note with half a rest beside


def test_a_song_is_mixed_alike_with_silence_in_front_and_behind() -> None:
    made, made_up = Automixer.load(SHIPPED, RATE), generate_song(5, 4.0, RATE, tracks=(4, 5))
    tracks = [replace(track, role=None) for track in made_up.tracks]
    plain = made.intend(replace(made_up, tracks=tuple(tracks))).loudness_lu
    for before, after in ((160, 0), (400, 600)):
        longer = [pad(t.audio, (before * FRAME, after * FRAME)) for t in tracks]
        silent = replace(made_up, tracks=tuple(replace(t, audio=a) for t, a in zip(tracks, longer, strict=True)))
        assert made.intend(silent).loudness_lu == pytest.approx(plain, abs=0.4)  # 1.4 if silence were listened to


def test_a_track_is_taken_for_the_same_however_seldom_it_plays() -> None:
    made, x = mixer(), song(seconds=3.0)
    sure = {name: chance for name, (_, chance) in made.intend(x).taken_for.items()}
    longer = [torch.cat([t.audio] * 20, 1) for t in x.tracks]
    longer[0][:, : 54 * RATE] = 0.0
    seldom = made.intend(replace(x, tracks=tuple(replace(t, audio=a) for t, a in zip(x.tracks, longer, strict=True))))
    chances = {name: chance for name, (_, chance) in seldom.taken_for.items()}
    assert chances == pytest.approx(sure, abs=0.01)


@pytest.mark.parametrize("length", [1, 100, 30 * RATE])
def test_any_length_is_heard(length: int) -> None:
    long = song(2, length / RATE) if length > RATE else song(2)
    cut = Multitrack("cut", RATE, tuple(replace(t, audio=t.audio[:, :length]) for t in long.tracks))
    intent = mixer().intend(cut)
    assert all(abs(v) < 1e6 for _, v in intent.settings.flat())


def test_an_intent_goes_to_other_processes() -> None:
    intent = mixer().intend(song(2))
    assert pickle.loads(pickle.dumps(intent)) == intent
    plain = Intent(intent.settings, intent.loudness_lu)
    assert pickle.loads(pickle.dumps(plain)) == plain
