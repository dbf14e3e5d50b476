"""Plugins in processes of their own, held with a process that only pretends to have one."""

import contextlib
import copy
import io
import os
import pickle
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pedalboard
import pytest
import torch

from diffmix.errors import PluginError, PresetError, SettingsError
from diffmix.plugins import NamedPlugin, PluginNode, Resample, plugin, worker

RATE = 44100
LENGTH = len(b"factory")


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """Makes a node of a fake plugin of some kind; its processes end with the test."""
    monkeypatch.setattr(worker, "__file__", str(Path(__file__).with_name("fake_plugin.py")))
    nodes: list[PluginNode] = []

    def made(kind: str = "good", **options: Any) -> PluginNode:
        (tmp_path / f"{kind}.vst3").touch()
        nodes.append(PluginNode(tmp_path / f"{kind}.vst3", RATE, **{"workers": 1, **options}))
        return nodes[-1]

    yield made
    for node in nodes:
        node.close()


def x(batch: int = 1) -> torch.Tensor:
    return torch.randn(batch, 2, 50, generator=torch.Generator().manual_seed(1))


def test_a_plugin_declares_its_parameters(make: Any) -> None:
    node = make()
    assert node.spec.names == ("gain_db", "mode")
    assert node.spec.params["gain_db"].doc == "Gain: -12..12 dB"
    assert node.spec.params["mode"].doc == "Mode: warm, cold"
    assert node.spec.default().tolist() == [0.25, 0]
    assert make(parameters=["mode"]).spec.names == ("mode",)
    assert make(ranges={"gain_db": (0.2, 0.4)}).spec.params["gain_db"].high == 0.4
    with pytest.raises(SettingsError, match="Fake: no parameter 'pan'; there are: gain_db, mode"):
        make(parameters=["pan"])


def test_it_plays_and_its_gradient_is_estimated(make: Any) -> None:
    node = make(gradient="finite differences")
    u = torch.tensor([[0.5, 0], [0.1, 1]], requires_grad=True)
    signal = x(2).requires_grad_()
    y = node(signal, u)
    assert torch.allclose(y, LENGTH * signal * u[:, :1, None])
    y.sum().backward()
    assert torch.allclose(u.grad[:, 0], LENGTH * signal.detach().sum((1, 2)), rtol=1e-3)
    assert torch.allclose(signal.grad, LENGTH * u.detach()[:, :1, None].expand_as(signal), rtol=1e-5)


def test_a_plugin_that_does_not_reset_is_made_anew(make: Any) -> None:
    assert make().resets
    dirty = make("dirty")
    assert not dirty.resets
    assert torch.allclose(dirty(x(), torch.tensor([[0.5, 0]])), LENGTH * x())


def test_items_go_side_by_side(make: Any) -> None:
    node = make("who", workers=2)
    node(x(2), torch.rand(2, 2))  # both are up now
    owners = node(x(12), torch.rand(12, 2))[:, 0, 0]
    assert len(set(owners.tolist())) == 2
    assert os.getpid() % 2**20 not in owners


def test_a_crash_is_a_sentence_and_the_node_lives_on(make: Any) -> None:
    node = make("crash", workers=2)
    u = torch.tensor([[0.5, 0], [0.95, 0], [0.4, 0]])
    with pytest.raises(
        PluginError, match=r"crash.vst3: the plugin's process ended \(exit code 7\); its last words: out of tune"
    ):
        node(x(3), u)
    assert torch.allclose(node(x(), u[:1]), LENGTH * x() * 0.5)


def test_a_killed_process_is_a_sentence(make: Any) -> None:
    node = make()
    node(x(), torch.rand(1, 2))
    node._workers._members[0].process.kill()
    with pytest.raises(PluginError, match=r"the plugin's process ended \(signal 9\)"):
        node(x(), torch.rand(1, 2))


def test_mistakes_are_sentences(make: Any, tmp_path: Path) -> None:
    before = time.monotonic()
    with pytest.raises(PluginError, match=r"hang.vst3: the plugin did not answer within 0.5 s"):
        make("hang", timeout_s=0.5)(x(), torch.rand(1, 2))
    assert time.monotonic() - before < 15  # of the minute that it would take
    with pytest.raises(PluginError, match=r"raise.vst3: Cannot play that$"):
        make("raise")(x(), torch.rand(1, 2))
    with pytest.raises(PluginError, match=r"broken.vst3: the file is no plugin$"):
        make("broken")
    with pytest.raises(PluginError, match=r"nothing.vst3: no such plugin"):
        PluginNode(tmp_path / "nothing.vst3", RATE)
    with pytest.raises(PluginError, match=r"Convolution: no such file"):  # it needs more than numbers
        plugin("Convolution", 44100)
    with pytest.raises(PluginError, match=r"Corus: no such file, and no plugin of Pedalboard; those are: .*Compressor"):
        plugin("Corus", RATE)
    with pytest.raises(PresetError, match="a preset names Pedalboard's own plugins only"):
        make().plugins({"gain_db": 0.5, "mode": 0.0})


def test_the_state_is_saved_and_taken_up(make: Any) -> None:
    one, other = make(state=b"12"), make()
    buffer = io.BytesIO()
    torch.save(one.state_dict(), buffer)
    other.load_state_dict(torch.load(io.BytesIO(buffer.getvalue()), weights_only=True))
    assert other.state == b"12"
    assert torch.allclose(other(x(), torch.tensor([[0.5, 0]])), x())


def test_copies_have_processes_of_their_own(make: Any) -> None:
    node = make("who")
    u = torch.rand(1, 2)
    copies = [copy.deepcopy(node), pickle.loads(pickle.dumps(node))]
    owners = {n(x(), u)[0, 0, 0].item() for n in (node, *copies)}
    assert len(owners) == 3
    for each in copies:
        each.close()


def test_a_forked_process_has_processes_of_its_own(make: Any) -> None:
    """As a worker of a DataLoader has; the parent's go on undisturbed."""
    node, u = make(), torch.tensor([[0.5, 0]])
    expected = node(x(), u)
    jobs = [(x()[0].numpy(), u[0].numpy())]
    if (child := os.fork()) == 0:
        code = 1
        with contextlib.suppress(BaseException):
            code = int(not np.array_equal(node.render(jobs)[0], expected[0].numpy()))
            node.close()
        os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert torch.equal(node(x(), u), expected)


def test_processes_end_with_their_node(make: Any) -> None:
    node = copy.deepcopy(make())
    node(x(), torch.rand(1, 2))
    process = node._workers._members[0].process
    del node
    assert process.poll() is not None


def test_pedalboards_own_by_name() -> None:
    node = plugin("Compressor", RATE, parameters=["threshold_db", "ratio"], seed=4)
    assert isinstance(node, NamedPlugin)
    assert node.spec.names == ("threshold_db", "ratio")
    y = node.process(x(), threshold_db=torch.tensor([-30.0]), ratio=torch.tensor([4.0]))
    assert np.array_equal(y[0].numpy(), pedalboard.Compressor(-30, 4)(x()[0].numpy(), RATE))
    assert node.plugins({"threshold_db": -30.0, "ratio": 4.0}) == [("Compressor", {"threshold_db": -30, "ratio": 4})]
    assert isinstance(plugin("Resample", RATE), Resample)
    with pytest.raises(SettingsError, match="Compressor: no parameter 'knee'; there are: threshold_db"):
        plugin("Compressor", RATE, parameters=["knee"])


def test_what_a_plugin_says_of_itself() -> None:
    """Parameters that a host may not move, and those that are no part of the sound, are left out."""

    def parameter(name: str, **about: object) -> SimpleNamespace:
        fixed = {"raw_value": 0.5, "label": "dB", "range": (-12.0, 12.0, 0.1), "type": float, "valid_values": None}
        return SimpleNamespace(**{"name": name, "is_automatable": True, **fixed, **about})

    class Mono:
        name, raw_state, is_effect = "Mono", b"state", True
        parameters: ClassVar[dict[str, SimpleNamespace]] = {
            "gain_db": parameter("Gain"),
            "mode": parameter("Mode", type=str, label=None, range=None, valid_values=["warm", "cold"]),
            "meter": parameter("Meter", is_automatable=False),
            "bypass": parameter("Bypass"),
        }

        def process(self, audio: np.ndarray, sample_rate: float) -> np.ndarray:
            if len(audio) != 1:
                raise ValueError("mono only")
            return audio

    host = worker.Host()
    host.plugin = Mono()
    host.again = lambda: None
    about = host.describe(8000)
    assert about["parameters"] == {
        "gain_db": {"raw": 0.5, "label": "Gain", "unit": "dB", "range": [-12.0, 12.0], "choices": []},
        "mode": {"raw": 0.5, "label": "Mode", "unit": "", "range": [], "choices": ["warm", "cold"]},
    }
    assert (about["channels"], about["resets"], about["state"]) == ([1], True, b"state")
