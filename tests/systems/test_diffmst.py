"""Mix style transfer: sizes, order of tracks, what is learned and kept, and that a stopped run goes on."""

import json
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir

from diffmix import train
from diffmix._paths import conf_dir
from diffmix.console import Console, shipped
from diffmix.data.multitrack import load
from diffmix.errors import AudioError, CheckpointError, SettingsError
from diffmix.estimators.cnn14 import SpectrogramEncoder
from diffmix.estimators.style_controller import StyleController
from diffmix.losses import AudioFeatureLoss, audio_features
from diffmix.mix import render
from diffmix.systems import diffmst
from diffmix.systems.diffmst import DiffMST, StyleExamples, collate
from diffmix.systems.mix_style_transfer import MixStyleTransfer, informative
from tests.systems.recorded import RATE, library
from tests.systems.runs import DATA, broken_and_resumed, configured, same_weights

config = configured(
    "recipe=diffmst",
    f"console.sample_rate={RATE}",
    "data.seconds=0.5",
    "data.max_tracks=3",
    *DATA,
    "system.encoder={width: 2, embedding: 16, norm: group, n_fft: 512, hop: 256}",
    "system.controller={layers: 1, heads: 2, feedforward: 16}",
)


@pytest.fixture(name="root", scope="module")
def _root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"data.root={library(tmp_path_factory.mktemp('songs'), 2, mixed=False)}"


def model(norm: str = "group") -> MixStyleTransfer:
    torch.manual_seed(0)
    encoder = {"width": 2, "embedding": 16, "norm": norm, "n_fft": 512, "hop": 256}
    controller = {"layers": 1, "heads": 2, "feedforward": 16}
    console = Console.from_layout(shipped("diffmst"), RATE)
    return MixStyleTransfer(console, 0.5, encoder=encoder, controller=controller).eval()


def test_the_networks_have_the_papers_sizes() -> None:
    with torch.device("meta"):
        encoder, controller = SpectrogramEncoder(), StyleController({"tracks": 27, "bus": 25, "master": 26})
    counts = [sum(p.numel() for p in part.parameters()) for part in (encoder, controller)]
    assert counts[0] == pytest.approx(76.5e6, rel=0.001)
    assert counts[1] == pytest.approx(37.9e6, rel=0.001)
    assert 2 * counts[0] + counts[1] == pytest.approx(191e6, rel=0.001)
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        system = compose("train", ["recipe=diffmst", "system=diffmst_paper"]).system
    with torch.device("meta"):
        assert sum(p.numel() for p in SpectrogramEncoder(**system.encoder).parameters()) == counts[0]
    assert (system.controller.layers, system.method) == (12, "self-supervised")


def test_a_track_has_27_knobs_and_the_master_26() -> None:
    knobs = {part: len(names) for part, names in model().knobs.items()}
    assert knobs == {"tracks": 27, "bus": 18, "master": 26}


def test_the_order_of_tracks_and_padding_change_nothing() -> None:
    style = model()
    mono, stereo = 0.1 * torch.randn(2, 3, 1, 8000), 0.1 * torch.randn(2, 2, 2, 8000)
    loudness, reference = torch.full((2, 5), -20.0), 0.1 * torch.randn(2, 2, 8000)
    first = style((mono, stereo), loudness, reference)
    order = [2, 0, 1]
    turned = style((mono[:, order], stereo[:, [1, 0]]), loudness, reference)
    assert torch.allclose(turned.tracks, first.tracks[:, [*order, 4, 3]], atol=1e-5)
    assert torch.allclose(turned.master, first.master, atol=1e-5)
    more = torch.cat([mono, torch.randn(2, 1, 1, 8000)], 1)
    mask = torch.tensor([[1.0, 1, 1, 0, 1, 1]] * 2)
    padded = style(
        (more, stereo), torch.cat([loudness[:, :3], loudness[:, :1] * torch.nan, loudness[:, 3:]], 1), reference, mask
    )
    assert torch.allclose(padded.tracks[:, [0, 1, 2, 4, 5]], first.tracks, atol=1e-5)
    assert torch.allclose(padded.bus, first.bus, atol=1e-5)
    quieter = style((0.01 * mono, stereo), loudness - torch.tensor([40.0] * 3 + [0] * 2), reference)
    trim = style.console.track_spec.index("trim.gain_db")
    kept = [n for n in range(first.tracks.shape[-1]) if n != trim]
    assert torch.allclose(quieter.tracks[..., kept], first.tracks[..., kept], atol=1e-4)


def test_the_reference_matters_and_can_be_heard_as_sum_and_difference() -> None:
    style = model()
    tracks, loudness = 0.1 * torch.randn(1, 2, 1, 8000), torch.full((1, 2), -20.0)
    one, two = (style(tracks, loudness, scale * torch.randn(1, 2, 8000).cumsum(-1)) for scale in (1e-3, 1e-3))
    assert not torch.allclose(one.master, two.master, atol=1e-6)
    style.sum_and_difference = True
    assert style(tracks, loudness, 0.1 * torch.randn(1, 2, 8000)).tracks.isfinite().all()


def test_batch_statistics_see_no_padding() -> None:
    style = model("batch").train()
    tracks, mask = 0.1 * torch.randn(1, 3, 1, 8000), torch.tensor([[1.0, 1, 0]])
    loudness, reference = torch.full((1, 3), -20.0), 0.1 * torch.randn(1, 2, 8000)
    answers = []
    for scale in (1.0, 100.0):
        heard = torch.cat([tracks[:, :2], scale * tracks[:, 2:]], 1)
        answers.append(style(heard, loudness, reference, mask).tracks[:, :2])
    assert torch.equal(*answers)


def test_features_are_what_they_say() -> None:
    x = 0.1 * torch.randn(2, 2, 20000)
    x[:, 1] *= 0.5
    found = audio_features(x, RATE, legacy=True)
    power = x.square().mean(-1)
    assert torch.allclose(found["rms"], power.sqrt())
    assert torch.allclose(found["crest_db"], 20 * torch.log10(x.abs().amax(-1) / power.sqrt()), atol=1e-4)
    assert torch.allclose(found["imbalance"][:, 0], (power[:, 1] - power[:, 0]) / power.sum(1))
    assert float(found["imbalance"][0]) == pytest.approx(-0.6, abs=0.03)
    assert float(found["width"][0]) == pytest.approx(1, abs=0.1)
    distance = AudioFeatureLoss(RATE)
    assert float(distance(x, x)) == 0
    terms = distance.terms(x, 2 * x)
    assert terms["rms"] > 0
    assert float(terms["bark"]) == pytest.approx(torch.log(torch.tensor(2.0)).square().item(), rel=1e-3)
    assert max(float(terms[name]) for name in ("crest_db", "width", "imbalance")) < 1e-6
    with pytest.raises(SettingsError, match="no feature 'loud'"):
        AudioFeatureLoss(RATE, {"loud": 1})


def test_a_missing_side_costs_no_more_than_its_floor() -> None:
    x = 0.1 * torch.randn(1, 2, 40000)
    mono = x.mean(1, keepdim=True).expand(-1, 2, -1)
    legacy, floored = (AudioFeatureLoss(RATE, legacy=legacy).terms(mono, x)["bark"] for legacy in (True, False))
    assert float(legacy) > 5 * float(floored)
    silent = torch.zeros(1, 2, 40000, requires_grad=True)
    AudioFeatureLoss(RATE)(silent, x).backward()
    assert silent.grad is not None
    assert silent.grad.isfinite().all()


def test_the_telling_window_is_where_most_plays() -> None:
    x = torch.zeros(1, 3, 1, 1000)
    x[0, 0], x[0, 1, :, 500:700], x[0, 2, :, 550:800] = 1, 0.1, 0.01
    found = informative(x, 200)
    assert torch.equal(found, x[..., 500:700])
    assert informative(x, 2000).shape == (1, 3, 1, 2000)


def test_it_learns_a_batch(root: str) -> None:
    torch.manual_seed(0)
    made = diffmst.prepare(config(root))
    system, data = made.system, made.data.train
    assert isinstance(system, DiffMST)
    batch = collate([data[k] for k in range(2)])
    optimizer = torch.optim.Adam(system.model.parameters(), 3e-3)
    losses = []
    for _ in range(12):
        loss = system.loss(batch, system(batch))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]


def test_examples_are_functions_of_their_number(root: str) -> None:
    data = diffmst.prepare(config(root)).data.train
    assert isinstance(data, StyleExamples)
    first, again, other = data[3], data[3], data[4]
    assert torch.equal(first.target, again.target)
    assert first.target.shape == first.reference.shape == (2, RATE // 2)
    assert not torch.equal(first.target, other.target)
    engineered = diffmst.prepare(config(root, "data.mixes=engineered")).data.train[3]
    assert not torch.equal(engineered.target, first.target)
    with pytest.raises(SettingsError, match=r"data\.mixes is one of random, engineered"):
        diffmst.prepare(config(root, "data.mixes=good"))


def test_a_stopped_run_resumes_to_the_same_model(tmp_path: Path, root: str) -> None:
    whole, broken = broken_and_resumed(config, DiffMST, tmp_path, root)
    assert same_weights(whole, broken)
    names = ("model", "equal_loudness", "plain_sum")
    assert set(json.loads((broken.parent / "scores.json").read_text())) == {
        f"{who}/{what}" for who in names for what in ("stft_distance", "audio_features")
    }
    narrower = "console.ranges.input.gain_db=[-20,20,0]"
    with pytest.raises(CheckpointError, match=r"tracks.input.gain_db: low is -20"):
        train.run(config(root, f"output={broken.parent}", "resume=auto", narrower))


def test_a_real_reference_is_learned_from(tmp_path: Path, root: str) -> None:
    songs = root.removeprefix("data.root=")
    run = ["system.method=reference", f"data.references={songs}", "trainer.max_steps=1"]
    train.run(config(root, f"output={tmp_path}", *run))
    with pytest.raises(AudioError, match="no folder with audio files"):
        train.run(config(root, f"output={tmp_path}", "system.method=reference", f"data.references={tmp_path}/model"))
    with pytest.raises(SettingsError, match="method is one of"):
        train.run(config(root, f"output={tmp_path}", "system.method=3"))


def test_a_saved_model_mixes_a_song(tmp_path: Path) -> None:
    style = model()
    style.save(tmp_path / "model", seed=0)
    loaded = MixStyleTransfer.load(tmp_path / "model", RATE)
    song = load({"kick": 0.1 * torch.randn(20000), "keys": 0.1 * torch.randn(2, 20000)}, RATE)
    reference = 0.1 * torch.randn(2, 30000)
    settings = style.settings_for(song, reference)
    assert loaded.settings_for(song, reference) == settings
    assert list(settings["tracks"]) == ["kick", "keys"]
    assert "pan" in settings["tracks"]["kick"]
    assert "image" in settings["tracks"]["keys"]
    assert render(loaded.console, song, settings).isfinite().all()
    with pytest.raises(AudioError, match="the reference is silent"):
        style.settings_for(song, torch.zeros(2, 9000))
    with pytest.raises(AudioError, match="the model works at 16000 Hz"):
        style.settings_for(load({"a": torch.randn(5000)}, 44100), reference)
    (tmp_path / "model" / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="does not hold a mix style transfer"):
        MixStyleTransfer.load(tmp_path / "model")


@pytest.mark.parametrize("name", ["diffmst", "pymixconsole"])
def test_the_consoles_load_and_render(name: str) -> None:
    console = Console.from_layout(shipped(name), RATE)
    tracks = 0.1 * torch.randn(1, 2, 1, 4000), 0.1 * torch.randn(1, 1, 2, 4000)
    plain = console(tracks, console.default(1, 3))
    opened = console.values(console.default(1, 3))
    for send in console.sends:
        low = console.track_spec.params[f"{send}.gain_db"]
        assert low.default == low.low, "sends are closed"
        opened.tracks[f"{send}.gain_db"].fill_(0.0)
    assert plain.isfinite().all()
    assert not torch.allclose(console.mix(tracks, opened), plain, atol=1e-3)
    wild = console(tracks, console.sample(1, 3, torch.Generator().manual_seed(0)))
    assert wild.isfinite().all()


def test_pymixconsoles_structure_plays_in_pedalboard() -> None:
    console = Console.from_layout(shipped("pymixconsole"), RATE)
    song = load({"a": 0.1 * torch.randn(8000), "b": 0.1 * torch.randn(2, 8000)}, RATE)
    strip = {"compressor": {"threshold_db": -30, "ratio": 3}, "send-0": {"gain_db": -10}, "send-1": {"gain_db": -6}}
    settings = console.check({"tracks": {"a": strip, "b": strip}})  # type: ignore[arg-type]
    from diffmix.mix import finished

    mix = finished(console, song, settings, -16, -1)
    assert not mix.unplayable
    played = mix.to_pedalboard().render({t.name: t.audio.numpy() for t in song.tracks})
    assert abs(played - mix.audio).max() < 1e-6
