"""Two real VST3 plugins, where `build_vst3.py` has built them."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pedalboard
import pytest
import soundfile
import torch

from diffmix.cli import main
from diffmix.plugins import PluginNode, plugin
from diffmix.processors import Chain, Gain
from diffmix.transferring import through
from tests.plugins.build_vst3 import FOLDER, NAMES
from tests.transferring.stand_in import song, treatment

RATE = 44100

pytestmark = pytest.mark.skipif(
    not all((FOLDER / f"{name}.vst3").is_dir() for name in NAMES),
    reason=f"no VST3 plugins in {FOLDER}; to build them run: python tests/plugins/build_vst3.py",
)


@pytest.fixture(autouse=True)
def denormals() -> Iterator[None]:
    """These plugins are compiled so that loading one, as tests do for comparison, sets the processor to drop denormals.

    Nodes load them in other processes, and leave this one's arithmetic alone.
    """
    yield
    torch.set_flush_denormal(False)


@pytest.fixture(scope="module")
def equalizer() -> PluginNode:
    return PluginNode(FOLDER / "3BandEQ.vst3", RATE, workers=2, epsilon=1e-2, perturbations=2)


@pytest.fixture(scope="module")
def reverb() -> PluginNode:
    return PluginNode(FOLDER / "MVerb.vst3", RATE, workers=2, parameters=["decay", "size", "mix"])


def noise(items: int = 1, samples: int = 11025) -> torch.Tensor:
    return 0.1 * torch.randn(items, 2, samples, generator=torch.Generator().manual_seed(1))


def test_they_declare_what_they_are(equalizer: PluginNode, reverb: PluginNode) -> None:
    assert equalizer.name == "3 Band EQ"
    assert len(equalizer.spec.names) == 6  # without the program
    assert equalizer.spec.params["low_db"].doc == "Low: -24..24 dB"
    assert equalizer.inlets[0].channels == 2
    assert equalizer.resets
    assert not reverb.resets
    assert reverb.spec.names == ("decay", "size", "mix")
    assert np.float64(5e-324) * np.float64(1) > 0  # denormals are still numbers here


@pytest.mark.parametrize("name", ["equalizer", "reverb"])
def test_a_node_plays_as_a_new_plugin_does(name: str, request: pytest.FixtureRequest) -> None:
    node: PluginNode = request.getfixturevalue(name)
    u = node.spec.sample(3, torch.Generator().manual_seed(2))
    x = noise(3)
    y = node(x, u)
    assert torch.equal(node(x, u), y)
    for audio, out, values in zip(x, y, u, strict=True):
        theirs = pedalboard.load_plugin(node.path)
        for key, value in zip(node.spec.names, values.tolist(), strict=True):
            theirs.parameters[key].raw_value = value
        assert np.array_equal(out.numpy(), theirs(audio.numpy(), RATE))


def log_spectrum(x: torch.Tensor) -> torch.Tensor:
    window = torch.hann_window(1024)
    return torch.stft(x.flatten(0, 1), 1024, 256, window=window, return_complex=True).abs().clamp_min(1e-4).log()


def test_descent_finds_the_sound_of_an_equalizer(equalizer: PluginNode) -> None:
    """Of six parameters, whose gains are redundant: the sound is found, not each of the knobs."""
    x = noise(samples=4096)
    target = log_spectrum(equalizer(x, torch.tensor([[0.8, 0.3, 0.7, 0.5, 0.4, 0.2]])))
    logits = torch.logit(equalizer.spec.default())[None].requires_grad_()
    optimizer = torch.optim.Adam([logits], 0.15)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 60)
    losses = []
    for _ in range(60):
        loss = (log_spectrum(equalizer(x, logits.sigmoid())) - target).abs().mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay.step()
    assert losses[-1] < 0.35 * losses[0]


def test_a_gain_in_front_of_a_plugin_learns(equalizer: PluginNode) -> None:
    """The equaliser is linear, so that the estimated gradient of its input is the true one."""
    chain = Chain(trim=Gain(RATE), eq=equalizer)
    x, u = noise(), torch.rand(1, 7, generator=torch.Generator().manual_seed(3))
    weight = torch.randn(x.shape, generator=torch.Generator().manual_seed(4))
    v = u.clone().requires_grad_()
    (chain(x, v) * weight).sum().backward()
    h = torch.zeros_like(u)
    h[0, 0] = 1e-3
    slope = ((chain(x, u + h) - chain(x, u - h)) * weight).sum() / 2e-3
    assert v.grad[0, 0].item() == pytest.approx(slope.item(), rel=1e-3)


def test_a_sweep_plays_it(tmp_path: Path) -> None:
    x = noise()[0].numpy()
    soundfile.write(tmp_path / "dry.wav", x.T, RATE, "PCM_24")
    main(["sweep", str(FOLDER / "3BandEQ.vst3"), str(tmp_path / "dry.wav"), "-o", str(tmp_path / "out"), "--count=3"])
    for item in json.loads((tmp_path / "out" / "manifest.json").read_text())["items"]:
        theirs = pedalboard.load_plugin(str(FOLDER / "3BandEQ.vst3"))
        for name, value in item["values"].items():
            theirs.parameters[name].raw_value = value
        y, _ = soundfile.read(tmp_path / "out" / item["wet"], dtype="float32")
        assert np.abs(theirs(x, RATE).T * 10 ** (item["gain_db"] / 20) - y).max() < 1e-5


def test_the_state_travels(reverb: PluginNode) -> None:
    dark = pedalboard.load_plugin(reverb.path)
    dark.current_program = "Dark"
    node = plugin(reverb.path, RATE, parameters=["mix"], state=dark.raw_state, workers=1)
    y = node.process(noise(), mix=torch.tensor([0.5]))
    dark.parameters["mix"].raw_value = 0.5
    assert np.array_equal(y[0].numpy(), dark(noise()[0].numpy(), RATE))
    node.close()


def test_a_chain_of_them_is_searched_and_plays_on_a_board(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(through.GENERATIONS, "fast", 4)
    x = torch.from_numpy(song(1.0, RATE))
    chain = [(FOLDER / "3BandEQ.vst3", ["low_db", "high_db"]), "Gain"]
    where = RATE, treatment(8, ratio=1.0), -20.0, None, -1.0
    made = through.played(chain, x, x, *where, "fast", "cma-es", 0, lambda what, done: None)
    assert made.after < 0.8 * made.before
    assert list(made.settings) == ["3BandEQ"]
    assert made.from_files == {"3BandEQ": str(FOLDER / "3BandEQ.vst3")}
    assert str(made).startswith("3BandEQ (of 0 to 1 each): low_db 0.")
    assert np.allclose(made.to_pedalboard()(x.numpy(), RATE), made.audio, atol=1e-4)
