"""A neural effect learned from one pair: it learns, resumes to the same bits, and says what is wrong."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from diffmix import train
from diffmix.data.audio import write_wav
from diffmix.data.pairs import Crops, Pair, generated_pair, read_pair
from diffmix.errors import AudioError, CheckpointError, SettingsError
from diffmix.processors import NeuralEffect
from diffmix.systems.neural_effect import BlackBox
from tests.systems.recorded import RATE
from tests.systems.runs import TRAINER, broken_and_resumed, configured, stopping

SIZES = (
    "recipe=neural_effect",
    "data.batch_size=2",
    "data.seconds=0.5",
    "system.network.channels=6",
    "system.network.kernel=5",
    "system.network.dilations=[1,8]",
)
config = configured(*SIZES)


def pair(seconds: float = 4, channels: int = 1) -> Pair:
    """Noise, and the same bent by tanh and smoothed over two samples."""
    dry = 0.3 * torch.randn(channels, round(seconds * RATE), generator=torch.Generator().manual_seed(0))
    bent = torch.tanh(3 * dry)
    return Pair(dry, 0.5 * bent + 0.3 * torch.nn.functional.pad(bent, (1, -1)), RATE)


@pytest.fixture(name="files", scope="module")
def _files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder, made = tmp_path_factory.mktemp("pair"), pair()
    write_wav(folder / "dry.wav", made.dry.clamp(-1, 1), RATE)
    write_wav(folder / "wet.wav", made.wet, RATE)
    return f"dry={folder / 'dry.wav'}", f"wet={folder / 'wet.wav'}"


def test_a_run_learns_and_leaves_an_effect(tmp_path: Path, files: tuple[str, str]) -> None:
    scores = train.run(config(*files, f"output={tmp_path}", "trainer.max_steps=60", "system.learning_rate=0.02"))
    assert set(scores) == {f"{who}/{score}" for who in ("model", "dry") for score in ("esr", "stft_distance")}
    assert scores["model/esr"] < 0.3 * scores["dry/esr"]
    assert scores["model/stft_distance"] < 0.7 * scores["dry/stft_distance"]
    effect, held_out = NeuralEffect.load(tmp_path / "model" / "effect.safetensors"), pair().cut()[1]
    assert effect.sample_rate == RATE
    y = effect(held_out.dry[None], effect.spec.default()[None])[0]
    error = (y - held_out.wet).square().sum() / held_out.wet.square().sum()
    assert error.item() == pytest.approx(scores["model/esr"], rel=0.05)  # without what leads up to the held-out part
    assert "dry" in train.table(scores)


def test_a_stopped_run_resumes_to_the_same_weights(tmp_path: Path, files: tuple[str, str]) -> None:
    models = broken_and_resumed(config, BlackBox, tmp_path, *files)
    learned = [NeuralEffect.load(folder / "effect.safetensors").state_dict() for folder in models]
    assert all(torch.equal(learned[0][name], learned[1][name]) for name in learned[0])


@pytest.fixture
def own_signals() -> Iterator[None]:
    """Signals as a new process has them: commands that ran in this one leave one of theirs."""
    ours = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in ours.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("own_signals")
@pytest.mark.parametrize(
    ("signals", "message"),
    [
        ([signal.SIGINT], "stopped; step 3 of 4 is kept, the same command with resume=auto"),
        ([signal.SIGINT] * 2, "stopped; step 2 of 4 is kept"),
        ([signal.SIGTERM], "stopped; step 3 of 4 is kept"),
    ],
)
def test_a_run_that_is_stopped_keeps_what_it_learned(
    signals: list[signal.Signals], message: str, tmp_path: Path, files: tuple[str, str]
) -> None:
    def asked(_: BlackBox) -> None:
        for number in signals:
            signal.raise_signal(number)

    with stopping(BlackBox, 2, asked), pytest.raises(KeyboardInterrupt, match=message):
        train.run(config(*files, f"output={tmp_path / 'broken'}"))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    scores = train.run(config(*files, f"output={tmp_path / 'broken'}", "resume=auto"))
    assert scores == train.run(config(*files, f"output={tmp_path / 'whole'}"))


@pytest.mark.usefixtures("own_signals")
def test_ctrl_c_behind_the_last_step_stops_before_the_scores(
    tmp_path: Path, files: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    score, scored = BlackBox.validation_step, []

    def asked(self: BlackBox, crop: Any, number: int) -> None:
        scored.append(number)
        signal.raise_signal(signal.SIGINT)
        score(self, crop, number)

    monkeypatch.setattr(BlackBox, "validation_step", asked)
    few = *files, "trainer.max_steps=2", f"output={tmp_path}"
    with pytest.raises(KeyboardInterrupt, match="stopped; step 2 of 2 is kept"):
        train.run(config(*few, "trainer.validate_every=2"))
    assert scored == [0]
    with pytest.raises(KeyboardInterrupt, match="stopped; step 2 of 2 is kept"):
        train.run(config(*few, "resume=auto"))  # while it is scored
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(KeyboardInterrupt, match="stopped before the first step was kept"):  # in this folder
        train.run(config(*files, "trainer.max_steps=2", f"output={tmp_path / 'b'}", f"resume={tmp_path / 'last.ckpt'}"))


def test_weights_that_are_no_numbers_are_not_kept(tmp_path: Path, files: tuple[str, str]) -> None:
    def diverges(system: BlackBox) -> None:
        system.effect.output.data.fill_(torch.inf)

    with (
        stopping(BlackBox, 2, diverges),
        pytest.raises(SettingsError, match="no numbers any more by step 4, step 2 is kept"),
    ):
        train.run(config(*files, f"output={tmp_path}"))
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 2


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path, files: tuple[str, str]) -> None:
    train.run(config(*files, f"output={tmp_path}", "trainer.max_steps=1"))
    with pytest.raises(CheckpointError, match="the checkpoint is of another run"):
        train.run(config(*files, f"output={tmp_path}", "resume=auto", "system.network.channels=7"))


def test_mistakes_are_named(tmp_path: Path, files: tuple[str, str]) -> None:
    for overrides, error, message in (
        ((files[0],), SettingsError, "dry=FILE and wet=FILE come together"),
        (("dry=/nowhere.wav", files[1]), AudioError, "/nowhere.wav: no such file"),
        ((*files, "system.network.channels=0"), SettingsError, "channels of a neural effect"),
        (("data.generated_seconds=1",), SettingsError, r"data.generated_seconds=1: a number in 5\.\."),
    ):
        with pytest.raises(error, match=message):
            train.run(config(*overrides, f"output={tmp_path / 'run'}"))


def test_files_that_are_no_pair_are_refused(tmp_path: Path) -> None:
    made = pair(3)
    write_wav(tmp_path / "dry.wav", made.dry.clamp(-1, 1), RATE)
    wrong = {
        "one sample rate": (made.wet, RATE // 2),
        "and .* 2: a pair needs as many": (made.wet.expand(2, -1), RATE),
        "3.00 s and 2.50 s": (made.wet[:, : 5 * RATE // 2], RATE),
        "is silent": (torch.zeros_like(made.wet), RATE),
    }
    for message, (wet, rate) in wrong.items():
        write_wav(tmp_path / "wet.wav", wet, rate)
        with pytest.raises(AudioError, match=message):
            read_pair(tmp_path / "dry.wav", tmp_path / "wet.wav")
    write_wav(tmp_path / "dry.wav", made.dry[:, :RATE].clamp(-1, 1), RATE)
    write_wav(tmp_path / "wet.wav", made.wet[:, :RATE], RATE)
    with pytest.raises(AudioError, match="at least 2 s"):
        read_pair(tmp_path / "dry.wav", tmp_path / "wet.wav")


def test_crops_belong_together() -> None:
    made = Pair(torch.arange(1, 101.0)[None], -torch.arange(1, 101.0)[None], RATE)
    crops = Crops(made, 30, 20, seed=3)
    starts = set()
    for number in range(200):
        dry, wet = crops[number]
        assert dry.shape == (1, 50)
        assert torch.equal(dry[:, 20:], -wet)
        before = dry[0, :20][dry[0, :20] != 0]
        assert torch.equal(before, dry[0, 20] - torch.arange(len(before), 0, -1.0))  # silence, then what comes before
        starts.add(int(dry[0, 20]) - 1)
    assert min(starts) == 0
    assert max(starts) == 70
    assert torch.equal(crops[7].dry, Crops(made, 30, 20, seed=3)[7].dry)
    whole = Crops(made, 30, 20, seed=None)
    assert len(whole) == 4
    assert torch.equal(torch.cat([whole[k].wet for k in range(4)], 1)[:, :100], made.wet)


def test_the_generated_pair_is_one_and_does_not_change() -> None:
    made, again = (generated_pair(5, RATE) for _ in range(2))
    assert made.dry.shape == made.wet.shape == (1, 5 * RATE)
    assert torch.equal(made.wet, again.wet)
    assert made.dry.abs().max() <= 0.5
    assert 0.05 < made.wet.abs().max() < 1
    first, last = made.cut()
    assert torch.equal(torch.cat([first.dry, last.dry], 1), made.dry)
    assert last.wet.shape[1] == RATE


@pytest.mark.slow
def test_the_command(tmp_path: Path, files: tuple[str, str]) -> None:
    command = [sys.executable, "-m", "diffmix.train", *TRAINER, *SIZES, *files, f"output={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "stft_distance" in done.stdout
    assert (tmp_path / "model" / "effect.safetensors").is_file()
