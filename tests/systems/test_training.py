"""Training: it runs as configured, learns, resumes to the same bits, and says what is wrong."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import diffmix
from diffmix import train
from diffmix._paths import conf_dir
from diffmix.balance import balanced
from diffmix.console import Console
from diffmix.data import audio
from diffmix.data.knowledge import THIRD_OCTAVES_HZ
from diffmix.data.recordings import Recordings
from diffmix.data.roles import LABELS, ROLES
from diffmix.errors import AudioError, CheckpointError, OutputError, SettingsError
from diffmix.estimators.features import band_hz
from diffmix.settings import Settings
from diffmix.systems.automix import Automix, HeldOutSongs, equal_loudness
from diffmix.systems.automixer import Automixer
from diffmix.systems.draws import Draws, _coloured, _transposed, collate
from diffmix.systems.intents import IntentCode, Vectors, on_console
from diffmix.systems.lessons import Lessons
from diffmix.systems.solos import Solos
from diffmix.systems.solos import prepare as prepare_solos
from diffmix.systems.training import weighted
from tests.systems.recorded import RATE
from tests.systems.runs import STEPS, TRAINER, broken_and_resumed, configured, same_weights

SONG = {"tracks": (4, 5)}
SMALL = (
    f"console.sample_rate={RATE}",
    "data.songs=2",
    "data.held_out_songs=1",
    "data.takes=2",
    "data.song_seconds=3",
    "data.song={tracks: [4, 5]}",
    "data.seconds=1",
    "data.batch_size=2",
    "data.workers=0",
    "estimator.width=32",
    "estimator.layers=1",
)
config = configured(*SMALL)


def songs_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all workers of this run of the tests, and for no other: a change of the code changes the songs."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "diffmix-songs"


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Songs are generated once for this file, away from the user's own cache."""
    monkeypatch.setenv("DIFFMIX_CACHE", str(songs_folder(tmp_path_factory)))


@pytest.fixture(scope="module")
def lessons(tmp_path_factory: pytest.TempPathFactory) -> Lessons:
    """Two songs, two takes each, on the console of the recipe."""
    layout = config()["console"]
    return Lessons(
        Console.from_layout(layout), Recordings(2, 2, 0, 3.0, RATE, song=SONG), songs_folder(tmp_path_factory)
    )


def test_a_lesson_is_what_the_engineer_wants_of_what_is_heard(lessons: Lessons) -> None:
    recording = list(lessons.recordings.of(1))[1]
    wanted = lessons.engineered(1, 1, recording)
    lesson = lessons[3]
    names = [track.name for track in recording.tracks]
    assert len(lesson.mel_db) == len(lesson.labels) == len(lesson.tracks) == len(names)
    assert lesson.labels.tolist() == [LABELS[str(track.role)] for track in recording.tracks]
    assert lesson.style.tolist() == pytest.approx(wanted.style.normalised)
    code = IntentCode(lessons.console)
    again = code.decode(
        Vectors(lesson.tracks, lesson.bus, lesson.master),
        names,
        [len(track.audio) for track in recording.tracks],
        torch.ones(len(names)),
    )
    for name in names:
        assert again.loudness_lu[name] == pytest.approx(max(wanted.intent.loudness_lu[name], -40), abs=1e-3)
        for stage, knobs in wanted.intent.settings["tracks"][name].items():
            for knob, value in knobs.items():
                found = again.settings["tracks"][name][stage][knob]
                assert found == pytest.approx(abs(value) if knob == "pan" else value, rel=2e-3, abs=2e-3)
    curve = code.response_db("tracks", lesson.tracks)
    assert curve is not None
    for row, name in zip(curve, names, strict=True):
        assert row[:22].tolist() == pytest.approx(wanted.eq_curve_db[name][:22].tolist(), abs=0.02)  # to 4 kHz


def test_songs_in_a_row_share_a_style(lessons: Lessons) -> None:
    assert lessons.alike(0) == [0, 2]
    assert torch.equal(lessons[0].style, lessons[2].style)
    assert not torch.equal(lessons[0].style, lessons[1].style)
    assert not torch.equal(lessons[0].tracks, lessons[1].tracks)


def test_lessons_are_the_same_whoever_makes_them(lessons: Lessons, tmp_path: Path) -> None:
    others = Lessons(lessons.console, Recordings(2, 2, 0, 3.0, RATE, song=SONG), tmp_path)
    others.prepare(workers=2)
    assert others.folder.name == lessons.folder.name
    for name, a, b in zip(lessons[2]._fields, lessons[2], others[2], strict=True):
        assert torch.allclose(a.float(), b.float(), rtol=1e-5, atol=1e-5), name  # sums in another order


def test_a_draw_is_a_function_of_its_number(lessons: Lessons) -> None:
    first, again, other = Draws(lessons, 1.0, 0)[5], Draws(lessons, 1.0, 0)[5], Draws(lessons, 1.0, 1)[5]
    assert torch.equal(first.lesson.mel_db, again.lesson.mel_db)
    assert torch.equal(first.labels, again.labels)
    assert first.lesson.mel_db.shape != other.lesson.mel_db.shape or not torch.equal(
        first.lesson.mel_db, other.lesson.mel_db
    )


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two recordings whose names tell what they are: noise and a tone."""
    folder = tmp_path_factory.mktemp("recordings")
    tone = 0.5 * torch.sin(2 * torch.pi * 500 * torch.arange(2 * RATE) / RATE)
    audio.write_wav(folder / "vox.wav", tone[None], RATE)
    audio.write_wav(folder / "snare.wav", 0.1 * torch.randn(1, RATE, generator=torch.Generator().manual_seed(0)), RATE)
    return folder


def test_solos_are_made_once(recordings: Path, tmp_path: Path) -> None:
    counted: list[int] = []

    def made(count: int) -> Solos:
        return prepare_solos((str(recordings),), count, 3.0, RATE, tmp_path, lambda done, _: counted.append(done))

    solos = made(6)
    assert counted == [1, 2, 3, 4, 5, 6]
    assert solos.mel_db.shape[:2] == (6, 64)
    assert set(solos.labels.tolist()) == {LABELS["lead_vocal"], LABELS["snare"]}
    again = made(6)
    assert len(counted) == 6
    assert all(torch.equal(a, b) for a, b in zip(solos, again, strict=True))
    assert torch.equal(made(7).labels[:6], solos.labels)
    audio.write_wav(recordings / "kick.wav", torch.ones(1, RATE) / 2, RATE)
    asked = len(counted)
    assert LABELS["kick"] in made(7).labels
    assert len(counted) == asked + 7
    (recordings / "kick.wav").unlink()


def test_solos_teach_roles_beside_lessons(lessons: Lessons, recordings: Path, tmp_path: Path) -> None:
    solos = prepare_solos((str(recordings),), 8, 3.0, RATE, tmp_path)
    plain, draws = Draws(lessons, 1.0, 0), Draws(lessons, 1.0, 0, solos, 3)
    assert torch.equal(plain[4].lesson.mel_db, draws[4].lesson.mel_db)  # the same lessons with and without
    assert torch.equal(draws[4].solos.mel_db, draws[4].solos.mel_db)  # type: ignore[union-attr]
    batch = collate([draws[k] for k in range(4)])
    assert batch.solos is not None
    assert len(batch.solos.mel_db) == len(batch.solos.measured) == len(batch.solos.labels) == 12
    assert collate([plain[k] for k in range(4)]).solos is None
    system = Automix(lessons.console, {"width": 32, "layers": 1}).eval()
    optimizer = torch.optim.Adam(system.mixer.estimator.parameters(), 3e-3)
    answer, losses = system(batch), []
    for _ in range(30):
        loss = system.losses(batch, *answer)["solo"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.1 * losses[0]
    resting = batch.solos._replace(labels=torch.zeros_like(batch.solos.labels))
    assert "solo" not in system.losses(batch._replace(solos=resting), *answer)


def test_a_run_with_solos(recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = ("data.solo_count=4", "data.solos_each=1", "trainer.max_steps=1")
    train.run(config(f"output={tmp_path / 'run'}", f"data.solos={recordings}", *told))
    assert " solo " in capsys.readouterr().err
    with pytest.raises(AudioError, match="no such folder of recordings"):
        train.run(config(f"output={tmp_path / 'none'}", f"data.solos={tmp_path / 'nowhere'}", *told))


def test_another_size_of_instrument_moves_every_other_track() -> None:
    bands = torch.arange(64.0)[None, :, None].expand(40, -1, 5) - 60
    moved = (_transposed(bands, np.random.default_rng(0)) - bands)[..., 0]
    inside = moved[:, 3:-3]
    assert torch.allclose(inside, inside[:, :1].expand_as(inside), atol=1e-4)  # a shift, exact for a straight line
    assert 0.3 < (inside[:, 0] != 0).float().mean() < 0.7
    assert 1.5 < inside.abs().amax() <= 2.5


def test_another_microphone_is_undone_where_the_track_sounds() -> None:
    mel_db = torch.full((40, 64, 50), -30.0)
    mel_db[:, 40:] = -120.0  # nothing above 4 kHz
    coloured, shift_db = _coloured(mel_db, np.random.default_rng(0))
    colour_db = (coloured - mel_db)[..., 0]
    plain = colour_db.abs().amax(1) == 0
    assert 0.2 < plain.float().mean() < 0.8
    assert torch.equal(shift_db.abs().amax(1) == 0, plain)
    at_1k, at_250 = (band_hz() - 1000).abs().argmin(), (band_hz() - 250).abs().argmin()
    points = torch.tensor(THIRD_OCTAVES_HZ)
    step = shift_db[:, (points - 1000).abs().argmin()] - shift_db[:, (points - 250).abs().argmin()]
    assert torch.allclose(step, -0.55 * (colour_db[:, at_1k] - colour_db[:, at_250]), atol=0.4)
    assert shift_db[:, -2:].abs().amax() < 0.2 * shift_db.abs().amax()


@torch.no_grad()
def test_the_terms_of_a_loss_count_by_their_weights() -> None:
    assert weighted({"a": torch.tensor(2.0), "b": torch.tensor(3.0)}, {"b": 2, "a": 0.5}) == 7


def test_padding_costs_nothing_and_the_truth_scores_best(lessons: Lessons) -> None:
    draws = Draws(lessons, 1.0, 0)
    batch = collate([draws[k] for k in range(6)])
    assert batch.mask.shape == batch.mel_db.shape[:2] == batch.wanted.tracks.shape[:2]
    system = Automix(lessons.console, {"width": 32, "layers": 1}).eval()
    true = batch._replace(shift_db=torch.zeros_like(batch.shift_db))
    certain = 100 * torch.nn.functional.one_hot((batch.true_labels - 1).clamp_min(0), len(ROLES)).float()
    best = system.losses(true, batch.wanted, certain)
    assert "role" in best
    assert all(float(v) < 1e-5 for v in best.values())
    answer = system(batch)
    alone = collate([draws[0]])
    mine = system(alone._replace(reference=None))
    n = len(draws[0].playing)
    with_others = system(batch._replace(reference=None))
    for a, b in zip((with_others[0].tracks, with_others[1]), (mine[0].tracks, mine[1]), strict=True):
        assert torch.allclose(a[0, :n], b[0], atol=1e-5)
    assert all(float(v.detach()) > 1e-3 for v in system.losses(batch, *answer).values())
    assert "role" not in system.losses(batch._replace(true_labels=0 * batch.labels), *answer)


def test_the_wanted_mix_scores_best(lessons: Lessons) -> None:
    recording, intent = HeldOutSongs(lessons)[0]
    system = Automix(lessons.console, {"width": 32, "layers": 1})
    wanted = balanced(lessons.console, recording, intent)
    plain = balanced(lessons.console, recording, equal_loudness(recording))
    perfect, rule = (system.scores(lessons.console, recording, s, wanted) for s in (wanted, plain))
    assert perfect["balance_error_db"] == 0
    assert perfect["pan_error"] == 0
    assert perfect["stft_distance"] < 1e-3
    assert rule["balance_error_db"] > 1


def test_a_run_leaves_a_model_and_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = train.run(config(f"output={tmp_path / 'run'}"))
    assert set(scores) >= {"model/balance_error_db", "equal_loudness/balance_error_db", "model/stft_distance"}
    assert json.loads((tmp_path / "run" / "scores.json").read_text()) == scores
    learned = Automixer.load(tmp_path / "run" / "model", 44100).state_dict()
    kept = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["state_dict"]
    assert int(kept["average.n_averaged"]) == STEPS
    assert all(torch.equal(kept[f"average.module.{name}"], weights) for name, weights in learned.items())
    assert "equal_loudness" in train.table(scores)
    # a second run does not overwrite the first, and equals it
    weights = (tmp_path / "run" / "model" / "model.safetensors").read_bytes()
    assert train.run(config(f"output={tmp_path / 'run'}")) == scores
    assert (tmp_path / "run" / "previous-1" / "model" / "model.safetensors").read_bytes() == weights
    assert (tmp_path / "run" / "model" / "model.safetensors").read_bytes() == weights
    assert "was kept in" in capsys.readouterr().err


def test_a_console_of_another_layout_is_trained_and_comes_back(tmp_path: Path) -> None:
    train.run(config(f"output={tmp_path}", "console=groups", "trainer.max_steps=1"))
    mixer = Automixer.load(tmp_path / "model", 44100)
    assert mixer.console.layout == Console.from_layout(config("console=groups")["console"]).layout
    noise = torch.randn(2, 44100).numpy() * 0.1
    mix = diffmix.automix({"kick": noise[0], "vox": noise}, sample_rate=44100, model=tmp_path / "model")
    assert set(mix.settings["buses"]) == {"reverb", "delay", "drums", "voices"}
    assert mix.report["tracks"]["kick"]["group"] == "drums"


def test_a_bare_console_is_trained(tmp_path: Path) -> None:
    bare = ["~console.buses.reverb", "~console.sends.send", "~console.strip.eq", "console.master={gain: Gain}"]
    pruned = ["~console.master.eq", "~console.master.compressor"]
    train.run(config(f"output={tmp_path}", "trainer.max_steps=1", *bare, *pruned))
    assert Automixer.load(tmp_path / "model", 44100).console.bus_spec.size == 0


def test_targets_suit_the_console() -> None:
    layout = {
        "strip": {"gate": "KneeGate", "trim": "Gain", "tone": "ParametricEQ", "squash": "KneeCompressor"},
        "sends": {"slap": "echo", "hall": "room"},
        "buses": {"echo": {"delay": "Delay"}, "room": {"cut": "HighpassFilter", "wet": "Reverb"}},
        "master": {"gain": "Gain"},
    }
    console = Console(44100, {"tone": {"peak1_gain_db": (-1, 1)}}, **layout)
    made = Settings(
        tracks={
            "a": {"eq": {"peak1_gain_db": -3.0}, "compressor": {"ratio": 3.0}, "send": {"gain_db": -12.0}},
            "b": {"highpass": {"cutoff_frequency_hz": 90.0}, "pan": {"pan": 0.3}},
        },
        buses={"reverb": {"reverb": {"room_size": 0.3}}},
        master={"eq": {"peak1_gain_db": 1.0}, "limiter": {"ceiling_db": -1.0}},
    )
    full = console.check(on_console(console, made))
    assert full["tracks"]["a"]["tone"]["peak1_gain_db"] == -1  # wants -3
    assert full["tracks"]["a"]["squash"]["ratio"] == 3
    assert full["tracks"]["a"]["gate"]["range_db"] == 0
    assert full["tracks"]["a"]["hall"]["gain_db"] == -12
    assert full["tracks"]["a"]["slap"]["gain_db"] == -60
    assert full["tracks"]["b"]["pan"]["pan"] == 0.3
    assert full["buses"]["room"]["wet"]["room_size"] == 0.3
    assert on_console(Console.from_layout(config()["console"]), made) == made


def test_a_stopped_run_resumes_to_the_same_weights_and_to_no_others(tmp_path: Path) -> None:
    models = broken_and_resumed(config, Automix, tmp_path)
    assert same_weights(*models)
    going_on = f"output={models[0].parent}", "resume=auto", "trainer.max_steps=5"
    with pytest.raises(CheckpointError, match=r"tracks.send.gain_db: low is -20.*stored -60"):
        train.run(config(*going_on, "console.ranges={send: {gain_db: [-20, 6]}}"))
    (models[0].parent / "last.ckpt").write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError, match="no usable checkpoint"):
        train.run(config(*going_on))


@pytest.mark.slow
def test_kill_9_and_resume(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    command = [sys.executable, "-m", "diffmix.train", *TRAINER, *SMALL, "trainer.max_steps=40", "data.workers=1"]
    subprocess.run([*command, f"output={whole}"], check=True, capture_output=True)
    running = subprocess.Popen([*command, f"output={killed}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (killed / "last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert not (killed / "model").exists(), "it ended before it was killed"
    done = subprocess.run([*command, f"output={killed}", "resume=auto"], check=True, capture_output=True, text=True)
    assert "Going on from" in done.stderr
    weights = [(folder / "model" / "model.safetensors").read_bytes() for folder in (whole, killed)]
    assert weights[0] == weights[1]


@pytest.mark.slow
def test_a_multirun_keeps_its_runs_apart(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "diffmix.train", *TRAINER, *SMALL, "trainer.max_steps=1", "-m", "seed=0,1"]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    models = sorted((tmp_path / "runs" / "automix" / "multirun").glob("*/model/model.safetensors"))
    assert len(models) == 2
    assert models[0].read_bytes() != models[1].read_bytes()


@pytest.mark.slow
def test_it_learns(tmp_path: Path) -> None:
    """On the demo's training: held-out balance and spectrum clearly better than equal loudness."""
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        demo = compose("train", [f"output={tmp_path}", "trainer.max_steps=240"])
    scores = train.run(OmegaConf.to_container(demo, resolve=True))  # type: ignore[arg-type]
    assert scores["model/balance_error_db"] < 0.75 * scores["equal_loudness/balance_error_db"]
    assert scores["model/stft_distance"] < 0.7 * scores["equal_loudness/stft_distance"]


@pytest.mark.parametrize(
    ("override", "error", "message"),
    [
        ("trainer.max_steps=0", SettingsError, r"trainer.max_steps=0: a whole number in 1\.\."),
        ("trainer.max_steps=many", SettingsError, "trainer.max_steps='many'"),
        ("data.seconds=-1", SettingsError, "data.seconds=-1"),
        ("trainer.threads=0", SettingsError, r"trainer.threads=0: a whole number in 1\.\.4096 is needed"),
        ("trainer.gradient_clip=-1", SettingsError, "trainer.gradient_clip=-1: a number in 0"),
        ("trainer.precision=64-true", SettingsError, "trainer.precision='64-true': one of 32-true, bf16-mixed"),
        ("trainer.accelerator=tpu", SettingsError, "trainer.accelerator='tpu': on this machine it is one of auto, cpu"),
        ("system.weights.pan=loud", SettingsError, "system.weights.pan='loud': a number"),
        ("system.weights=3", SettingsError, "system.weights=3: several are needed, each a number"),
        ("estimator.heads=3", SettingsError, "3 heads of attention do not divide a width of 32"),
        ("data.song=3", SettingsError, "arguments of generate_song are 3, names with values are expected"),
        ("+data.song.trcks=3", SettingsError, "generate_song takes no 'trcks'; it takes genre, engines, tracks"),
        ("console.sample_rate=100", SettingsError, "console.sample_rate=100"),
        ("console.ranges={eq: {peak1_gain_db: [-99, 99]}}", SettingsError, "console stage eq: peak1_gain_db"),
        (
            "~console.strip.trim",
            SettingsError,
            "recipe automix cannot train for this console: tracks are brought to one",
        ),
        ("~console.master.gain", SettingsError, "cannot train for this console: loudness is set by the master's gain"),
        ("+console.stirp=1", SettingsError, "a console has no 'stirp'; it has: sample_rate"),
        ("console.strip.eq=Eq", SettingsError, "console stage eq: there is no effect 'Eq'"),
        ("resume=/nowhere/x.ckpt", CheckpointError, "no usable checkpoint in /nowhere/x.ckpt"),
        ("data.root=/nowhere", AudioError, "/nowhere"),
    ],
)
def test_mistakes_are_named(override: str, error: type[Exception], message: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=message):
        train.run(config(f"output={tmp_path / 'run'}", override))


def test_an_unwritable_output_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write to"):
        train.run(config(f"output={tmp_path / 'file' / 'run'}"))


def test_the_command_names_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "console").mkdir()
    (tmp_path / "console" / "mine.yaml").write_text("strip: {trim: Gain")
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.chdir(tmp_path)
    for choice, message in (
        ("console=mine", "mine.yaml is no YAML: while"),
        ("console=x", "no console 'x'; there are: automix, "),
        ("trainer.max_step=2", "there is no setting 'trainer.max_step' here; did you mean 'trainer.max_steps'?"),
        ("data.song={trcks: 3}", "there is no setting 'data.song.trcks' here; did you mean 'data.song.tracks'?"),
        ("data.recording.held_out=true", "no 'held_out' as yet: +data.recording.held_out=... adds it"),
        ("data.tracks=[4,8]", "data.tracks is a setting of data=tracks alone"),
        ("data.root=${x", 'Error merging override data.root="${x": no viable alternative at'),
        ("output=", "output is empty: the name of the run's folder is needed"),
        ("seed=0,1", "seed=0,1: -m asks for several runs"),
        ("data.song.tracks.x=3", "one of these does not fit what it sets: data.song.tracks.x=3 (invalid literal"),
        ("~recipe", "one of these does not fit what it sets: ~recipe (MissingMandatoryValue"),
        ("a(\\", "a(\\ cannot be read: NAME=VALUE, +NAME=VALUE and ~NAME can"),
        (f"output={tmp_path}/console/mine.yaml/run", "cannot write to the run's folder: Not a directory"),
    ):
        monkeypatch.setattr(sys, "argv", ["diffmix.train", "--config-dir", str(tmp_path), choice])
        with pytest.raises(SystemExit, match="2"):
            train.main()
        told = capsys.readouterr().err
        assert message in told
        assert len(told.splitlines()) == 1


def test_data_of_another_recipe_is_refused() -> None:
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        other = compose("train", ["data=mixes"])
    with pytest.raises(SettingsError, match="automix is made for data=procedural; what was chosen lacks takes, song, "):
        train._complete(other, "automix")


def test_the_command_names_unknown_recipes() -> None:
    done = subprocess.run([sys.executable, "-m", "diffmix.train", "recipe=nosuch"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("diffmix: no recipe 'nosuch'; there are: automix, ")
    assert len(done.stderr.splitlines()) == 1


def test_help_and_config_need_no_run(tmp_path: Path) -> None:
    odd = "/Übung = (1), O'Brien"
    for flags, expected in ((["--help"], "resume=auto"), (["--cfg", "job", f"data.root={odd}"], f"root: {odd}")):
        done = subprocess.run(
            [sys.executable, "-m", "diffmix.train", *flags], capture_output=True, text=True, cwd=tmp_path, check=True
        )
        assert expected in done.stdout
        assert list(tmp_path.iterdir()) == []


def test_a_run_can_begin_with_weights(tmp_path: Path, lessons: Lessons) -> None:
    shape = {"width": 32, "layers": 1}
    first = Automix(lessons.console, shape, seed=3)
    with torch.no_grad():
        first.mixer.estimator.guess.weight.fill_(0.25)
    first.mixer.save(tmp_path / "first")
    begun = Automix(lessons.console, shape, start=str(tmp_path / "first"))
    for a, b, c in zip(
        *(m.state_dict().values() for m in (first.mixer, begun.mixer, begun.average.module)), strict=True
    ):
        assert torch.equal(a, b)
        assert torch.equal(a, c)
    with pytest.raises(CheckpointError, match=r"holds an estimator of .*32.* the run asks for .*64"):
        Automix(lessons.console, {"width": 64, "layers": 1}, start=str(tmp_path / "first"))
    with pytest.raises(CheckpointError, match="no usable model in"):
        Automix(lessons.console, shape, start=str(tmp_path / "nothing"))
