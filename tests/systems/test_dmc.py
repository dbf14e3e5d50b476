"""The differentiable mixing console: it sets knobs for any tracks, learns, resumes to the same bits."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from diffmix import train
from diffmix.automixing import mixer_of
from diffmix.console import Console
from diffmix.data.audio import write_wav
from diffmix.data.multitrack import Multitrack, Track, load
from diffmix.errors import CheckpointError, SettingsError
from diffmix.mix import finished, render
from diffmix.processors import NeuralEffect
from diffmix.systems.channel import StripCrops, StripProxy, description, strip_knobs
from diffmix.systems.dmc import DMC, MixingConsole, open_knobs, peak_trims_db, telling_windows
from diffmix.systems.mixes import Batch, as_strong_as
from tests.systems.recorded import RATE, library
from tests.systems.runs import DATA, broken_and_resumed, configured, same_weights

SONGS = (f"console.sample_rate={RATE}", "data.seconds=1", *DATA)
config = configured(
    "recipe=dmc", *SONGS, "system.network.width=4", "system.network.hidden=16", "system.fft_sizes=[1024,256]"
)


def layout(name: str, *overrides: str) -> Console:
    return Console.from_layout(config(f"console={name}", *overrides)["console"])


def model(console: Console | None = None, **sizes: Any) -> DMC:
    """A network whose answers differ from track to track."""
    torch.manual_seed(0)
    made = DMC(console or layout("dmc"), **{"width": 4, "hidden": 16, "listen_seconds": 1.0} | sizes)
    torch.nn.init.normal_(made.post[-1].weight, std=2)
    return made.eval()


def song(n: int = 4, channels: int = 1, seconds: float = 1.0) -> torch.Tensor:
    x = torch.randn(1, n, channels, round(seconds * RATE), generator=torch.Generator().manual_seed(n))
    colours = torch.linspace(0.0, 0.98, n)[None, :, None, None]
    return 0.1 * (x - colours * x.roll(1, -1)) * torch.linspace(0.2, 1, n)[None, :, None, None]


def knobs(made: DMC, controls: Any) -> torch.Tensor:
    at = [made.console.track_spec.index(name) for name in made.knobs]
    return controls.tracks[..., at]


@pytest.fixture(name="root", scope="module")
def _root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"data.root={library(tmp_path_factory.mktemp('songs'))}"


# ------------------------------------------------------------------ the model


def test_the_papers_network() -> None:
    made = DMC(layout("dmc"), width=128)
    assert made.knobs == ["fader.gain_db", "pan.pan"]
    assert round(sum(p.numel() for p in made.encoder.parameters()) / 1e6, 1) == 12.1
    assert round(sum(p.numel() for p in made.post.parameters()) / 1e6, 2) == 0.33
    fader = made.console.track_spec.params["fader.gain_db"]
    assert (fader.low, fader.high) == (-48, 24)


def test_order_does_not_matter_and_context_does() -> None:
    made, x = model(), song()
    order = torch.tensor([2, 0, 3, 1])
    assert torch.allclose(made(x[:, order]).tracks, made(x).tracks[:, order], atol=1e-6)
    assert (knobs(made, made(x))[:, 0] - knobs(made, made(x[:, :2]))[:, 0]).abs().max() > 1e-4


@pytest.mark.parametrize("training", [False, True])
def test_padding_adds_nothing(training: bool) -> None:
    made, x = model(dropout=0.0).train(training), song()
    padded = torch.cat([x, torch.zeros_like(x[:, :2])], 1)
    mask = torch.tensor([[1.0, 1, 1, 1, 0, 0]])
    alone, among = made(x), made(padded, mask)
    assert torch.allclose(among.tracks[:, :4], alone.tracks, atol=1e-6)
    mixes = made.console(x, alone), made.console(padded, among, mask)
    assert torch.allclose(*mixes, atol=1e-6)
    # nor does what stands in a track that is masked
    filled = made(torch.cat([x, song(2)], 1), mask)
    assert torch.allclose(filled.tracks[:, :4], alone.tracks, atol=1e-6)


def test_levels_of_recordings_do_not_matter() -> None:
    made, x = model(), song()
    quiet = x * torch.tensor([0.1, 1, 0.5, 0.02])[None, :, None, None]
    a, b = (made.console(tracks, made(tracks)) for tracks in (x, quiet))
    assert (a - b).square().mean() < 1e-8 * a.square().mean()
    assert torch.allclose(peak_trims_db(made.console, torch.full((1, 1, 1, 9), 0.25)), torch.tensor(0.041), atol=1e-2)


def test_a_stereo_track_is_balanced_as_a_mono_one_is_panned() -> None:
    made = model()
    controls = made((song(2), song(2, channels=2)))
    values = made.console.values(controls).tracks
    assert torch.equal(values["pan.pan"], values["image.balance"])
    assert (values["image.width"] == 1).all()


def test_every_weight_gets_a_gradient_from_the_sound() -> None:
    made = model().train()
    system = MixingConsole(made, fft_sizes=(256,))
    mono, stereo = song(3), song(2, channels=2)
    batch = Batch(mono, stereo, torch.tensor([[1.0, 1, 0, 1, 1]]), song(1, 2)[:, 0], torch.full((1, 5), torch.nan))
    losses = system.losses(batch, system(batch))
    assert set(losses) == {"sum_difference", "imbalance"}
    system.loss.total(losses).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in made.parameters())
    assert all(p.grad.abs().max() > 0 for name, p in made.named_parameters() if "bias" not in name)


def test_the_level_of_a_mix_gets_no_gradient() -> None:
    """So that faders do not drift together."""
    target, gain = song(1, 2)[:, 0], torch.ones((), requires_grad=True)
    mix = as_strong_as(gain * song(2)[:, :, 0], target)
    assert torch.allclose(mix.square().mean(), target.square().mean(), rtol=1e-4)
    MixingConsole(model(), fft_sizes=(256,)).loss(mix, target)["sum_difference"].backward()
    assert gain.grad is not None
    assert abs(float(gain.grad)) < 1e-4


def test_it_fits_one_mix() -> None:
    """A tiny overfit: gains far apart and a panned track are found from the sound of the mix."""
    console, x = layout("dmc"), song(3, seconds=0.25)
    made = DMC(console, width=8, hidden=32, dropout=0.0)
    with torch.no_grad():
        wanted = console.values(made(x))
    wanted.tracks["fader.gain_db"] = torch.tensor([[0.0, -20.0, -10.0]])
    wanted.tracks["pan.pan"] = torch.tensor([[0.0, 0.0, 0.9]])
    system = MixingConsole(made, fft_sizes=(1024, 256))
    batch = Batch(x, x[:, :0], torch.ones(1, 3), console.mix(x, wanted), torch.zeros(1, 3))
    optimizer = torch.optim.Adam(made.parameters(), 1e-3)
    history = []
    for _ in range(80):
        loss = system.loss.total(system.losses(batch, system(batch)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(float(loss.detach()))
    assert min(history[-5:]) < 0.3 * history[0]
    found = console.values(made.eval()(x)).tracks["fader.gain_db"][0].detach()
    assert float(found[0] - found[2]) == pytest.approx(10, abs=3)
    assert found[0] - found[1] > 15


# ------------------------------------------------------------------ whole songs


def named(*tracks: torch.Tensor) -> Multitrack:
    return Multitrack("song", RATE, tuple(Track(f"t{n}", x) for n, x in enumerate(tracks)))


@pytest.mark.usefixtures("sketched")
def test_settings_are_those_of_the_song_and_can_be_played(tmp_path: Path) -> None:
    made, x = model(), song(3)[0]
    multitrack = named(x[0], x[1].expand(2, -1) * torch.tensor([[1.0], [0.5]]), x[2])
    settings = made.settings_for(multitrack)
    assert list(settings["tracks"]) == ["t0", "t1", "t2"]
    assert "image" in settings["tracks"]["t1"]
    assert render(made.console, multitrack, settings).shape == (2, RATE)
    mix = finished(made.console, multitrack, settings, -20.0, -1.0)
    assert {"preset.json", "settings.json"} <= set(mix.save(tmp_path))
    controls = made((x[None, ::2], multitrack.tracks[1].audio[None, None]))
    expected = made.console.settings(controls, ["t0", "t2", "t1"], [1, 1, 2])
    for name, strip in expected["tracks"].items():
        assert settings["tracks"][name]["fader"]["gain_db"] == pytest.approx(strip["fader"]["gain_db"], abs=1e-3)


def test_a_song_is_heard_where_its_tracks_play() -> None:
    x, gap = song(3)[0], torch.zeros(1, RATE)
    later = [torch.cat([*[gap] * n, x[n], *[gap] * (5 - n)], -1) for n in range(3)]
    starts, plays = telling_windows((torch.stack(later)[None], torch.zeros(1, 0, 2, 6 * RATE)), RATE)
    assert sorted(starts[:3]) == [0, RATE, 2 * RATE]
    for n in range(3):
        assert [s // RATE for s, there in zip(starts, plays[n], strict=True) if there] == [n]


def test_a_quiet_passage_does_not_make_a_track_louder() -> None:
    """What counts is the level that the fader makes, at the time that was heard."""
    made, x = model(), song(2)[0]
    soft = torch.cat([0.3 * x, 0 * x], -1)
    click = torch.zeros_like(soft)
    click[..., -1] = x.abs().amax((1, 2))[:, None]
    plain, clicked = (made.settings_for(named(*tracks)) for tracks in (soft, soft + click))

    def level(settings: Any, name: str) -> float:
        strip = settings["tracks"][name]
        return strip["trim"]["gain_db"] + strip["fader"]["gain_db"]

    for name in ("t0", "t1"):
        assert plain["tracks"][name]["trim"] != clicked["tracks"][name]["trim"]
        assert level(plain, name) == pytest.approx(level(clicked, name), abs=1e-3)


def test_silence_and_short_songs_are_answered() -> None:
    made = model()
    settings = made.settings_for(named(torch.zeros(1, 50), song(1)[0, 0, :, :50]))
    made.console.check(settings)
    assert settings["tracks"]["t0"]["trim"]["gain_db"] == 0
    with pytest.raises(SettingsError, match="the console runs at 16000 Hz, the tracks at 8000 Hz"):
        made.settings_for(Multitrack("m", 8000, named(song(1)[0, 0]).tracks))


# ------------------------------------------------------------------ folders


def test_save_and_load(tmp_path: Path) -> None:
    made, x = model(), song()
    made.save(tmp_path / "model", seed=3)
    again = mixer_of(tmp_path / "model", RATE).model
    assert isinstance(again, DMC)
    assert torch.equal(made(x).tracks, again(x).tracks)
    assert sorted(f.name for f in (tmp_path / "model").iterdir()) == ["config.json", "model.safetensors"]
    assert json.loads((tmp_path / "model" / "config.json").read_text())["seed"] == 3
    assert DMC.load(tmp_path / "model", 48000).console.sample_rate == 48000


def test_other_models_are_refused(tmp_path: Path) -> None:
    model().save(tmp_path / "model")
    file = tmp_path / "model" / "config.json"
    data = json.loads(file.read_text())
    for change, message in (
        ({"network": {"width": 8}}, "size mismatch"),
        ({"network": {"size": 8}}, "describes a model that cannot be"),
        ({"specs": 3}, "describes a model that cannot be: 'int' object"),
        ({"listen_seconds": "x"}, "describes a model that cannot be: could not convert"),
        ({"version": 9}, "has version 9, this diffmix reads version 1"),
        ({"format": "x"}, "does not hold a differentiable mixing console"),
    ):
        file.write_text(json.dumps(data | change))
        with pytest.raises(CheckpointError, match=message):
            DMC.load(tmp_path / "model", RATE)
    for form in ("x", [3]):
        file.write_text(json.dumps(data | {"format": form}))
        with pytest.raises(CheckpointError, match=rf"its format is {re.escape(repr(form))}, of diffmix-automixer, dif"):
            mixer_of(tmp_path / "model", RATE)
    file.write_text(json.dumps({name: value for name, value in data.items() if name != "specs"}))
    with pytest.raises(CheckpointError, match="its config has no 'specs'"):
        DMC.load(tmp_path / "model", RATE)
    data["specs"]["tracks"]["fader.gain_db"]["low"] = -90
    file.write_text(json.dumps(data))
    with pytest.raises(CheckpointError, match=r"fader.gain_db: low is -48, stored -90"):
        DMC.load(tmp_path / "model", RATE)
    with pytest.raises(CheckpointError, match="no usable model in"):
        mixer_of(tmp_path / "nowhere", RATE)


# ------------------------------------------------------------------ training


def test_a_run_on_finished_mixes_leaves_a_model(tmp_path: Path, root: str) -> None:
    scores = train.run(config(root, f"output={tmp_path}", "trainer.max_steps=2"))
    assert set(scores) == {"model/stft_distance", "equal_loudness/stft_distance"}
    song_folder = Path(root.partition("=")[2]) / "song 1"
    settings = DMC.load(tmp_path / "model", RATE).settings_for(load(song_folder))
    assert set(settings["tracks"]) == {"kick", "bass", "guitar", "lead vocal"}


@pytest.mark.slow
def test_it_learns_from_finished_mixes(tmp_path: Path, root: str) -> None:
    scores = train.run(config(root, f"output={tmp_path}", "trainer.max_steps=200", "system.learning_rate=0.003"))
    assert scores["model/stft_distance"] < 0.8 * scores["equal_loudness/stft_distance"]


def test_a_stopped_run_resumes_to_the_same_weights(tmp_path: Path, root: str) -> None:
    """With dropout, whose choices follow from the step."""
    assert same_weights(*broken_and_resumed(config, MixingConsole, tmp_path, root))


def test_songs_without_a_mix_are_mixed_and_balance_is_scored(tmp_path: Path) -> None:
    songs = library(tmp_path / "songs", 2, mixed=False)
    scores = train.run(config(f"data.root={songs}", f"output={tmp_path / 'run'}", "trainer.max_steps=1"))
    assert {"model/balance_error_db", "equal_loudness/balance_error_db"} < set(scores)
    assert scores["equal_loudness/balance_error_db"] > 0.3


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("~console.strip.trim", "brought to one level by a trim"),
        (
            "system.weights.sum_difference=0 system.weights.imbalance=0",
            "weights of the losses are 0 or more and not all 0",
        ),
        ("system.weights.sum_difference=-1", r"system\.weights\.sum_difference=-1: a number in 0\.\."),
        ("system.network.width=0", "width of the encoder is 0"),
        ("system.network.dropout=1", "dropout in"),
        ("console.ranges.fader.gain_db=[0,0] +console.ranges.pan={pan:[0,0]}", "every knob of this console's strip"),
        ("proxy=/nowhere.safetensors", "a proxy follows 1 to 8 knobs"),
    ],
)
def test_mistakes_are_named(overrides: str, message: str, root: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=message):
        train.run(config(root, f"output={tmp_path}", *overrides.split()))


def test_a_checkpoint_of_other_parameters_is_refused(root: str, tmp_path: Path) -> None:
    train.run(config(root, f"output={tmp_path}", "trainer.max_steps=1"))
    narrower = "console.ranges={fader: {gain_db: [-20, 6]}}"
    with pytest.raises(CheckpointError, match=r"tracks.fader.gain_db: low is -20.*stored -48"):
        train.run(config(root, f"output={tmp_path}", "resume=auto", "trainer.max_steps=2", narrower))


# ------------------------------------------------------------------ the proxy


def test_a_console_with_effects_is_set_whole() -> None:
    console = layout("dmc_channel")
    assert len(open_knobs(console)) == 10
    assert strip_knobs(console).size == 8
    settings = model(console).settings_for(named(*song(2)[0]))
    assert settings["tracks"]["t0"]["low"]["cutoff_frequency_hz"] == 120
    assert settings["tracks"]["t0"]["compressor"]["ratio"] != 1


def test_a_proxy_carries_gradients_to_every_knob_and_stays_as_it_is() -> None:
    console = layout("dmc_channel")
    effect = NeuralEffect(RATE, conditions=8, channels=4, kernel=3, dilations=(1, 4))
    made = model(console).train()
    system = MixingConsole(made, proxy=StripProxy(effect, console), fft_sizes=(256,))
    batch = Batch(song(2), song(1, 2), torch.ones(1, 3), song(1, 2)[:, 0], torch.full((1, 3), torch.nan))
    controls = system(batch)
    controls.tracks.retain_grad()
    system.loss.total(system.losses(batch, controls)).backward()
    assert (knobs(made, controls._replace(tracks=controls.tracks.grad)).abs().amax((0, 1)) > 0).all()
    assert all(p.grad is None for p in effect.parameters())
    trained = {id(p) for group in system.configure_optimizers()["optimizer"].param_groups for p in group["params"]}
    assert not trained & {id(p) for p in effect.parameters()}


def test_a_perfect_proxy_is_the_console(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the effects themselves in the network's place, the mix is that of the console."""
    console = layout("dmc_channel")
    proxy = StripProxy(NeuralEffect(RATE, conditions=8, channels=2, kernel=3, dilations=(1,)), console)
    spec = strip_knobs(console)

    def exact(x: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        stages = {name: effect for name, effect in console.strip.items() if name != "trim"}
        values = {name: torch.full((len(x),), p.default) for name, p in console.track_spec} | spec.denormalize(u)
        for stage, effect in stages.items():
            x = effect.process(x, **{k: values[f"{stage}.{k}"] for k in effect.spec.names})
        return x

    monkeypatch.setattr(proxy, "effect", None)
    del proxy._modules["effect"]
    object.__setattr__(proxy, "effect", exact)
    tracks = song(2), song(1, 2)
    values = console.values(model(console)(tracks))
    with torch.no_grad():
        assert torch.allclose(proxy.mix(tracks, values), console.mix(tracks, values), atol=1e-5)


def test_the_proxys_examples_are_the_strips(root: str) -> None:
    from diffmix.data.datasets import open_dataset

    console = layout("dmc_channel")
    songs = open_dataset(root.partition("=")[2])
    crops = StripCrops(songs, console, 0.25, 100, 0)
    crop, again = crops[3], StripCrops(songs, console, 0.25, 100, 0)[3]
    assert torch.equal(crop.wet, again.wet)
    assert crop.dry.shape[1] == crop.wet.shape[1] + 100 == RATE // 4 + 100
    given = {name: p.default for name, p in crops.strip.spec} | crops.spec.denormalize(crop.knobs)
    wet = crops.strip.process(crop.dry[None], **{k: torch.as_tensor(v).reshape(1) for k, v in given.items()})
    assert torch.equal(wet[0, :, 100:], crop.wet)
    assert not torch.equal(crops[4].knobs, crop.knobs)


def test_a_proxy_is_trained_and_then_used(root: str, tmp_path: Path) -> None:
    sizes = ["system.network.channels=4", "system.network.kernel=3", "system.network.dilations=[1,8]"]
    proxy = configured("recipe=dmc_proxy", *SONGS, *sizes)
    scores = train.run(proxy(root, f"output={tmp_path / 'proxy'}"))
    assert set(scores) == {f"{who}/{score}" for who in ("model", "dry") for score in ("esr", "stft_distance")}
    file = tmp_path / "proxy" / "model" / "effect.safetensors"
    with_proxy = ["console=dmc_channel", root, f"proxy={file}", "trainer.max_steps=1"]
    train.run(config(*with_proxy, f"output={tmp_path / 'dmc'}"))
    assert DMC.load(tmp_path / "dmc" / "model", RATE).knobs == open_knobs(layout("dmc_channel"))
    console = layout("dmc_channel")
    assert description(StripProxy.load(file, console).desk)["strip"] == {}
    other = layout("dmc_channel", "console.ranges.low.gain_db=[-6,6]")
    with pytest.raises(CheckpointError, match="imitates the strip"):
        StripProxy.load(file, other)
    with pytest.raises(SettingsError, match="the proxy runs at 16000 Hz and follows 8 knobs, the console runs at 8000"):
        StripProxy.load(file, layout("dmc_channel", "console.sample_rate=8000"))


def test_the_mix_of_a_folder_is_no_track(tmp_path: Path) -> None:
    folder = library(tmp_path, 1) / "song 0"
    write_wav(folder / "tracks" / "extra.wav", torch.zeros(1, 100), RATE)
    settings = model().settings_for(load(folder))
    assert set(settings["tracks"]) == {"kick", "bass", "guitar", "lead vocal", "extra"}
