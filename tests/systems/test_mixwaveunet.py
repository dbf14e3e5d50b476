"""The Mix-Wave-U-Net: any length in any chunks, it learns, resumes to the same bits."""

from pathlib import Path

import pytest
import torch

from diffmix import train
from diffmix.data.multitrack import Multitrack, Track, load
from diffmix.errors import AudioError, CheckpointError, SettingsError
from diffmix.kernels.loudness import integrated_loudness
from diffmix.systems.mixes import Mixed, MixLoss
from diffmix.systems.mixwaveunet import BlackBoxMixer, MixWaveUNet, in_chunks, inputs_of, stacked
from tests.systems.recorded import RATE, library
from tests.systems.runs import DATA, broken_and_resumed, configured, same_weights

config = configured(
    "recipe=mixwaveunet",
    f"data.sample_rate={RATE}",
    "data.seconds=0.5",
    *DATA,
    "system.network.levels=3",
    "system.network.step=4",
)


def model(**sizes: int) -> MixWaveUNet:
    torch.manual_seed(0)
    made = MixWaveUNet(RATE, **{"inputs": 4, "levels": 3, "step": 4} | sizes)
    for _ in range(3):
        made(torch.randn(2, made.network.inputs, 500))  # so that its normalisation has seen something
    return made.eval()


def song(length: int = 3000, sample_rate: int = RATE) -> Multitrack:
    x = 0.1 * torch.randn(4, length, generator=torch.Generator().manual_seed(2))
    tracks = Track("gtr", x[:2], "guitar"), Track("vox", x[2:3], "lead_vocal"), Track("b", x[3:], "bass")
    return Multitrack("song", sample_rate, tracks)


@pytest.fixture(name="root", scope="module")
def _root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"data.root={library(tmp_path_factory.mktemp('songs'))}"


def test_chunks_make_the_whole() -> None:
    network, x = model().network.double(), torch.randn(1, 4, 2999, dtype=torch.float64)
    with torch.no_grad():
        whole = network(x)
        for chunk in (1, 100, 333, 1024, 5000):
            assert torch.allclose(in_chunks(network, x, chunk), whole, atol=1e-12)
        wrong = torch.cat([network(part) for part in x.split(1000, -1)], -1)
    assert (wrong - whole).abs().max() > 1e-3


def test_a_song_is_mixed_at_its_own_rate() -> None:
    made = model()
    for multitrack in (song(), song(3000, 8000), song(4410, 44100)):
        mix = made.mix(multitrack)
        assert mix.shape == (2, multitrack.length)
        assert float(integrated_loudness(mix[None], multitrack.sample_rate)) == pytest.approx(-16, abs=0.1)
    assert torch.allclose(made.mix(song(), chunk_s=0.05), made.mix(song()), atol=1e-5)


def test_the_order_of_tracks_is_that_of_their_roles() -> None:
    made, multitrack = model(), song()
    turned = Multitrack("song", RATE, multitrack.tracks[::-1])
    assert torch.equal(made.mix(turned), made.mix(multitrack))


def test_inputs_come_at_one_peak_and_the_rest_is_silent() -> None:
    x = inputs_of([0.5 * torch.randn(1, 100), 0.01 * torch.randn(2, 100)], 5)
    assert x.abs().amax(1).tolist() == pytest.approx([10 ** (-12 / 20)] * 3 + [0, 0], abs=1e-4)


def test_too_many_channels_are_named() -> None:
    with pytest.raises(AudioError, match="song: 4 channels, of which a stereo track has two; this network takes 3"):
        model(inputs=3).mix(song())


def test_it_fits_one_mix() -> None:
    made = MixWaveUNet(RATE, inputs=2, levels=2, step=4)
    x = inputs_of(list(0.1 * torch.randn(2, 1, 4000)), 2)[None]
    target = torch.stack([x[:, 0], 0.3 * x[:, 1]], 1)
    loss, optimizer = MixLoss({"l1": 1}, (256,), RATE), torch.optim.Adam(made.parameters(), 1e-2)
    history = []
    for _ in range(60):
        value = loss.total(loss(made(x), target))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        history.append(float(value.detach()))
    assert min(history[-5:]) < 0.3 * history[0]


def test_batches_hold_the_rule_to_beat() -> None:
    example = Mixed((0.1 * torch.randn(1, RATE), torch.randn(2, RATE)), torch.randn(2, RATE), torch.zeros(2))
    batch = stacked([example, example], inputs=4, sample_rate=RATE)
    assert [part.shape for part in batch] == [(2, 4, RATE), (2, 2, RATE), (2, 2, RATE)]


def test_save_and_load(tmp_path: Path) -> None:
    made, x = model(), torch.randn(1, 4, 700)
    made.save(tmp_path / "model", seed=1)
    again = MixWaveUNet.load(tmp_path / "model")
    assert again.sample_rate == RATE
    assert torch.equal(made(x), again(x))
    file = tmp_path / "model" / "config.json"
    file.write_text(file.read_text().replace('"levels": 3', '"levels": 4'))
    with pytest.raises(CheckpointError, match="Missing key"):
        MixWaveUNet.load(tmp_path / "model")
    file.write_text(file.read_text().replace('"levels": 4', '"levels": 99'))
    with pytest.raises(CheckpointError, match="describes a model that cannot be: levels of a Wave-U-Net is 99"):
        MixWaveUNet.load(tmp_path / "model")


def test_a_run_learns_and_leaves_a_model(tmp_path: Path, root: str) -> None:
    first = train.run(config(root, f"output={tmp_path}", "trainer.max_steps=1"))
    scores = train.run(config(root, f"output={tmp_path}", "trainer.max_steps=20"))
    assert set(scores) == {"model/stft_distance", "equal_loudness/stft_distance"}
    assert scores["model/stft_distance"] < first["model/stft_distance"]
    mix = MixWaveUNet.load(tmp_path / "model").mix(load(Path(root.partition("=")[2]) / "song 0"))
    assert torch.isfinite(mix).all()


def test_a_stopped_run_resumes_to_the_same_weights(tmp_path: Path, root: str) -> None:
    whole, broken = broken_and_resumed(config, BlackBoxMixer, tmp_path, root)
    assert same_weights(whole, broken)
    with pytest.raises(CheckpointError, match="the checkpoint is of another run"):
        train.run(config(root, f"output={broken.parent}", "resume=auto", "system.network.levels=2"))


def test_mistakes_are_named(tmp_path: Path, root: str) -> None:
    for override, message in (
        ("system.network.levels=0", "levels of a Wave-U-Net is 0"),
        ("system.weights.l1=0", "not all 0"),
        ("data.sample_rate=100", "data.sample_rate=100"),
    ):
        with pytest.raises(SettingsError, match=message):
            train.run(config(root, f"output={tmp_path}", override))
