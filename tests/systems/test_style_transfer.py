"""Style transfer of recordings: pairs, every gradient method, proxies, what is learned and kept, whole recordings."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from diffmix import train
from diffmix._paths import conf_dir
from diffmix.console import Console
from diffmix.data.audio import write_wav
from diffmix.errors import AudioError, CheckpointError, PresetError, SettingsError
from diffmix.kernels.loudness import integrated_loudness
from diffmix.metrics import stft_distance
from diffmix.systems import deepafx, style_pairs
from diffmix.systems.deepafx import DeepAFx
from diffmix.systems.rule_based import rule_based
from diffmix.systems.style_pairs import Pieces, StylePair, StylePairs, files_by_entry, recordings_of
from diffmix.systems.style_probe import probe_accuracy, styled
from diffmix.systems.style_proxy import load_proxies
from diffmix.systems.style_rendering import METHODS, BlackChain, Networks, effect_parts, strip_chain
from diffmix.systems.style_transfer import StyleTransfer
from tests.systems.recorded import RATE, library
from tests.systems.runs import DATA, broken_and_resumed, configured, same_weights

SIZES = {"channels": 2, "kernel": 5, "layers": 2, "growth": 8}
ENCODER = {"width": 0.1, "depth": 0.1, "embedding": 8, "n_fft": 512, "hop": 512}
SMALL = (
    *DATA,
    f"data.sample_rate={RATE}",
    "data.seconds=0.5",
    "system.network={channels: 2, kernel: 5, layers: 2, growth: 8}",
)
imitations = configured("recipe=style_proxy", *SMALL)
config = configured(
    "recipe=style_transfer",
    *SMALL,
    "system.encoder={width: 0.1, depth: 0.1, embedding: 8, n_fft: 512, hop: 512}",
    "system.hidden=16",
    "system.fft_sizes=[64,512]",
)


def layout(**ranges: dict[str, tuple[float, float]]) -> dict[str, Any]:
    given: Any = OmegaConf.to_container(OmegaConf.load(Path(conf_dir()) / "console" / "deepafx.yaml"), resolve=True)
    for stage, values in ranges.items():
        given["ranges"][stage] |= values
    return dict(given)


def model(method: str = "ad", rate: float = RATE, **ranges: dict[str, tuple[float, float]]) -> StyleTransfer:
    torch.manual_seed(0)
    console = Console.from_layout(layout(**ranges), rate)
    return StyleTransfer(console, RATE, 0.5, method=method, encoder=ENCODER, hidden=16, network=SIZES).eval()


def pair(items: int = 2, length: int = 8000) -> StylePair:
    generator = torch.Generator().manual_seed(0)
    x, reference = (0.06 * torch.randn(items, 1, length, generator=generator) for _ in range(2))
    low = torch.nn.functional.avg_pool1d(x, 8, 1, 4)[..., :length]
    return StylePair(x, 2 * torch.nn.functional.avg_pool1d(reference, 8, 1, 4)[..., :length], 2 * low)


@pytest.fixture(name="root", scope="module")
def _root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"data.root={library(tmp_path_factory.mktemp('songs'), 2, mixed=False)}"


@pytest.fixture(name="proxy", scope="module")
def _proxy(tmp_path_factory: pytest.TempPathFactory, root: str) -> Path:
    folder = tmp_path_factory.mktemp("proxy")
    scores = train.run(imitations(root, f"output={folder}"))
    assert set(scores) == {
        f"{who}/{score}"
        for who in ("eq", "compressor", "eq_left_out", "compressor_left_out")
        for score in ("esr", "stft_distance")
    }
    assert "compressor_left_out" in train.table(scores)
    return folder / "model"


# ------------------------------------------------------------------ what is learned from


def test_a_pair_is_two_halves_of_two_styles(monkeypatch: pytest.MonkeyPatch) -> None:
    """With styles that only mark a recording, all that happens besides is seen."""
    ramp = torch.linspace(0.5, 1, 4000)[None]
    monkeypatch.setattr(style_pairs, "two_styles", lambda x, rate, rng, legacy: (x, -x))
    pairs = StylePairs([lambda rate, length, rng: ramp[:, :length]], sample_rate=2000, seconds=0.5, seed=0)
    monkeypatch.setattr(style_pairs, "Moved", lambda rng: Still())
    firsts = set()
    for number in range(12):
        x, reference, target = pairs[number]
        assert x.shape == reference.shape == target.shape == (1, 1000)
        assert torch.equal(target, -x)
        assert not set(reference.abs()[0].tolist()) & set(x.abs()[0].tolist())
        assert torch.equal(x, pairs[number].input)
        firsts.add(bool(x[0, 0] < -reference[0, 0]))
    assert firsts == {False, True}
    with pytest.raises(AudioError, match="no 1 s that sound were found in 1 recordings"):
        StylePairs([lambda rate, length, rng: torch.zeros(1, length)], sample_rate=2000, seconds=0.5, seed=0)[0]


class Still:
    def needed(self, length: int) -> int:
        return length

    def __call__(self, x: torch.Tensor, length: int, rate: int) -> torch.Tensor:
        return x


def test_what_lies_together_is_held_out_together(tmp_path: Path) -> None:
    for name in ("a/one.wav", "a/two.wav", "b.wav", "c/deep/er.wav"):
        (tmp_path / "all" / name).parent.mkdir(parents=True, exist_ok=True)
        write_wav(tmp_path / "all" / name, 0.1 * torch.randn(2, 4000), RATE)
    assert [[f.name for f in group] for group in files_by_entry(tmp_path)] == [
        ["one.wav", "two.wav"],
        ["b.wav"],
        ["er.wav"],
    ]
    train_set, held_out = recordings_of({"root": str(tmp_path)})
    assert (len(train_set), len(held_out)) == (2, 2)
    x = held_out[0](8000, 1000, np.random.default_rng(0))
    assert x.shape == (1, 1000)
    longer = held_out[0](8000, 4000, np.random.default_rng(0))
    assert longer[:, 2100:].abs().max() < 1e-6  # silence behind the end
    with pytest.raises(AudioError, match="no folder with audio files"):
        files_by_entry(tmp_path / "nowhere")


# ------------------------------------------------------------------ gradient methods


def test_the_chain_has_24_knobs_and_a_locked_one_is_not_answered() -> None:
    plain, hard = model(), model(compressor={"knee_db": (0, 0)})
    assert (len(plain.open), len(hard.open)) == (24, 23)
    u = hard(*pair()[:2])
    values = hard.chain.spec.denormalize(u)
    assert torch.equal(values["compressor.knee_db"], torch.zeros(2))
    assert torch.equal(values["compressor.makeup_db"], torch.zeros(2))
    assert hard.play(pair().input, u).isfinite().all()


def test_proxies_give_the_gradient_and_effects_the_sound() -> None:
    style = model("np_fh")
    proxies = Networks(style.chain, effect_parts(style.chain), **SIZES)
    system, batch = DeepAFx(style, proxies).train(), pair()
    u = style(*batch[:2]).detach().requires_grad_()
    seed = torch.randn_like(batch.input)
    y = system.rendered(batch.input, u)
    assert torch.allclose(y, style.chain(batch.input, u), atol=1e-6)
    (mine,) = torch.autograd.grad(y, u, seed)
    (theirs,) = torch.autograd.grad(proxies(batch.input, u), u, seed)
    assert torch.allclose(mine, theirs, atol=1e-5)
    style.method = "np_hh"
    assert torch.equal(system.rendered(batch.input, u), proxies(batch.input, u))
    assert not proxies.training
    assert not any(p.requires_grad for p in proxies.parameters())
    makeup = style.chain.spec.index("makeup.gain_db")  # is no part of a network, and exact
    louder = u.detach().clone()
    louder[:, makeup] += 6 / 96
    assert torch.allclose(proxies(batch.input, louder), 10 ** (6 / 20) * proxies(batch.input, u), rtol=1e-4, atol=1e-6)


def test_perturbations_find_the_gradient_of_the_effects() -> None:
    style, batch = model(), pair(1, 4000)
    spec = style.chain.spec
    u = spec.default()[None].clamp(0.1, 0.9).requires_grad_()
    box = BlackChain(style.chain, epsilon=1e-3, perturbations=400)
    found = []
    for play in (style.chain, box):
        y = play(batch.input, u)
        loss = stft_distance(y, batch.target, (128, 512), "magnitude").sum()
        found.append(torch.autograd.grad(loss, u)[0][0])
    assert torch.nn.functional.cosine_similarity(*found, dim=0) > 0.9


@pytest.mark.parametrize(("method", "rate"), [("ad", 0.01), ("spsa", 0.03), ("tcn1", 0.05)])
def test_steps_towards_a_target_bring_it_nearer(method: str, rate: float) -> None:
    batch = pair(1, 4000)
    options: dict[str, Any] = {"warmup_steps": 0, "fft_sizes": (64, 512), "spsa": {"slower": 1.0}}
    system = DeepAFx(model(method), learning_rate=rate, **options).train()
    optimizer = system.configure_optimizers()["optimizer"]
    history = []
    for _ in range(15):
        losses = system.losses(batch, system(batch))
        total = losses["stft"] + 100 * losses["l1"]
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        history.append(total.item())
    assert min(history[-3:]) < 0.9 * history[0]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_and_is_kept(
    tmp_path: Path, root: str, proxy: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if method != "ad":
        monkeypatch.setattr(deepafx, "rule_based", lambda x, reference, rate: x)
    overrides = [root, f"output={tmp_path}", "trainer.max_steps=1", f"system.method={method}", f"proxy={proxy}"]
    scores = train.run(config(*overrides))
    assert {name.split("/")[0] for name in scores} == {"model", "rule_based", "input"}
    assert all(np.isfinite(value) for value in scores.values())
    assert {"msd", "stft", "sce_hz", "rms_db", "lufs"} <= {name.split("/")[1] for name in scores}
    kept = StyleTransfer.load(tmp_path / "model")
    assert kept.method == method
    x = pair().input
    assert torch.equal(kept.play(x, kept(x, x)), kept.play(x, kept(x, x)))
    if method == "np":  # the networks are as they were
        stored = load_proxies(proxy, kept.console).state_dict()
        assert kept.networks is not None
        assert all(torch.equal(stored[name], part) for name, part in kept.networks.state_dict().items())


def test_a_stopped_run_resumes_to_the_same_weights(tmp_path: Path, root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With SPSA and its schedule, and dropped blocks: all that a run remembers."""
    monkeypatch.setattr(deepafx, "rule_based", lambda x, reference, rate: x)
    overrides = [root, "system.method=spsa", "system.spsa.patience=1", "system.spsa.epoch=1", "system.encoder.drop=0.5"]
    models = broken_and_resumed(config, DeepAFx, tmp_path, *overrides)
    assert same_weights(*models)
    states = [torch.load(folder.parent / "last.ckpt", weights_only=True)["spsa"] for folder in models]
    assert states[0] == states[1]
    with pytest.raises(CheckpointError, match="the checkpoint is of method spsa"):
        train.run(config(root, f"output={models[1].parent}", "resume=auto", "system.method=ad"))


def test_mistakes_are_named(tmp_path: Path, root: str, proxy: Path) -> None:
    output = f"output={tmp_path / 'run'}"
    for overrides, error, message in (
        (("system.method=magic",), SettingsError, "method is one of ad, spsa, np, np_hh, np_fh, tcn1, tcn2"),
        (("system.method=np",), SettingsError, "needs proxy=FOLDER"),
        (("system.method=np_fh", "proxy=/nowhere"), CheckpointError, "no usable model in /nowhere"),
        (
            ("system.method=np_fh", f"proxy={proxy}", "console.ranges.peak1.gain_db=[-6,6]"),
            CheckpointError,
            "imitates the strip",
        ),
        (("system.method=np", f"proxy={proxy}", "data.sample_rate=8000"), CheckpointError, "imitates effects at 16000"),
    ):
        with pytest.raises(error, match=message):
            train.run(config(root, output, *overrides))
    plain: dict[str, Any] = {"sends": {}, "buses": {}}
    for strip, message in (({"low": "LowShelfFilter"}, "trim"), ({"trim": "Gain", "eq": "ParametricEQ"}, "imitate")):
        with pytest.raises(SettingsError, match=message):
            StyleTransfer(Console(RATE, strip=strip, **plain), method="tcn2", encoder=ENCODER)


# ------------------------------------------------------------------ whole recordings


def test_a_whole_stereo_recording_at_another_rate(tmp_path: Path) -> None:
    rate = 44100
    model("ad", compressor={"knee_db": (0, 0)}).save(tmp_path / "model")
    style = StyleTransfer.load(tmp_path / "model", rate)
    x = 0.3 * torch.randn(2, 2 * rate + 1)
    reference = 0.02 * torch.randn(1, RATE).cumsum(1)
    write_wav(tmp_path / "reference.wav", reference / reference.abs().max() / 4, RATE)
    made = style.transferred(x, tmp_path / "reference.wav")
    assert made.audio.shape == (2, 2 * rate + 1)
    wanted = integrated_loudness(reference[None] / reference.abs().max() / 4, RATE)
    assert integrated_loudness(torch.from_numpy(made.audio)[None], rate) == pytest.approx(wanted, abs=0.1)
    knobs = made.settings["tracks"]["recording"]
    assert knobs["trim"]["gain_db"] == pytest.approx(-12 - 20 * x.abs().max().log10().item(), abs=1e-3)
    again = made.rendered(made.settings)
    assert np.array_equal(again.audio, made.audio)
    u = style.knobs(x, style_reference := torch.from_numpy(made.audio)[:1])
    assert torch.equal(u, style.knobs(x, style_reference))
    chosen = style.console.settings(style.console.encode(made.settings), ["recording"], [2])["tracks"]["recording"]
    played = style.chain.process(
        x[None] * 10 ** (chosen["trim"]["gain_db"] / 20),
        **{n: torch.tensor([knobs[n.partition(".")[0]][n.partition(".")[2]]]) for n in style.chain.spec.names},
    )[0]
    scale = made.audio.ravel() @ played.numpy().ravel() / (played.numpy().ravel() @ played.numpy().ravel())
    assert np.abs(made.audio - scale * played.numpy()).max() < 1e-4 * np.abs(made.audio).max()
    assert {node["name"] for node in made.preset()["nodes"]}  # a hard knee is Pedalboard's own compressor


def test_what_a_recording_is_heard_as() -> None:
    style = model()
    x, reference = 0.1 * torch.randn(1, 8000), 0.1 * torch.randn(1, 8000)
    once = style.knobs(x, reference)
    assert torch.allclose(style.knobs(0.1 * x.expand(2, -1), reference), once, atol=1e-5)  # level and copies
    quiet = torch.cat([x, torch.zeros(1, 40000)], 1)
    part = style.knobs(quiet, reference)
    assert torch.allclose(part, once, atol=0.02)  # silence says nothing
    assert not torch.allclose(style.knobs(x, x.cumsum(1)), once, atol=1e-4)
    assert style.knobs(torch.randn(1, 300), reference).isfinite().all()
    longest = style.knobs(torch.randn(1, 8000).repeat(1, 60), reference)
    assert longest.isfinite().all()


def test_recordings_that_cannot_be_are_refused(tmp_path: Path) -> None:
    style, x = model(), 0.1 * torch.randn(1, RATE)
    write_wav(tmp_path / "slow.wav", x, 8000)
    for given, error, message in (
        ((x, torch.zeros(1, RATE)), AudioError, "the reference is silent"),
        ((torch.zeros(1, RATE), x), AudioError, "the recording is silent"),
        ((torch.randn(3, 100), x), AudioError, r"the recording is \(3, 100\)"),
        ((x, x * torch.nan), AudioError, "finite samples"),
        ((tmp_path / "slow.wav", x), AudioError, "load the model with sample_rate=8000"),
    ):
        with pytest.raises(error, match=message):
            style.settings_for(*given)
    with pytest.raises(SettingsError, match="sets no knobs"):
        model("tcn1").settings_for(x, x)
    assert style.settings_for(x, tmp_path / "slow.wav")["master"]["gain"] == {"gain_db": 0.0}
    with pytest.raises(PresetError, match="knee"):
        style.transferred(x, x).preset()


def test_models_of_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no usable model"):
        StyleTransfer.load(tmp_path / "none")
    model().save(tmp_path / "model")
    text = (tmp_path / "model" / "config.json").read_text()
    for old, new, message in (
        ("diffmix-style-transfer-of-recordings", "other", "does not hold a style transfer of recordings"),
        ('"method": "ad"', '"method": "magic"', "describes a model that cannot be"),
        ('"hidden": 16', '"hidden": 17', "size mismatch"),
    ):
        (tmp_path / "model" / "config.json").write_text(text.replace(old, new))
        with pytest.raises(CheckpointError, match=message):
            StyleTransfer.load(tmp_path / "model")


# ------------------------------------------------------------------ what it is measured by


def test_the_rule_matches_spectrum_and_loudness() -> None:
    """Dull noise in the style of bright, dense noise; nothing else is brought to it."""
    generator = torch.Generator().manual_seed(1)
    white = torch.randn(1, 24000, generator=generator)
    dull = torch.nn.functional.avg_pool1d(white[None], 2, 1)[0]
    beats = (
        dull
        * (1.05 + torch.sin(torch.arange(dull.shape[1]) / 1500))
        * torch.linspace(0, 20, dull.shape[1]).clamp_max(1)
    )
    dense = 0.1 * torch.randn(1, 24000, generator=generator)
    y = rule_based(beats, dense, 24000)
    assert y.shape == beats.shape
    assert 20 * y.abs().max().log10() == pytest.approx(-12, abs=1e-3)

    def levels(x: torch.Tensor) -> torch.Tensor:
        power = torch.fft.rfft(x[0]).abs().square()
        bands = torch.stack([part.mean() for part in power[1000:10000].split(1000)])
        return 10 * (bands / bands.mean()).log10()

    assert (levels(y) - levels(dense)).abs().max() < 0.3 * (levels(beats) - levels(dense)).abs().max()
    untouched = rule_based(dense, dense, 24000)
    assert (levels(untouched) - levels(dense)).abs().max() < 0.5
    peaked = dense / dense.abs().max() * 10 ** (-12 / 20)
    loudness = [integrated_loudness(part[None], 24000).item() for part in (beats / beats.abs().max() / 4, y, peaked)]
    assert loudness[0] + 1 < loudness[1] < loudness[2] + 0.1
    assert torch.isfinite(rule_based(beats, dense, 24000, legacy=True)).all()
    assert rule_based(torch.zeros(1, 3000), dense, 24000).isfinite().all()


def test_a_probe_tells_styles_apart_where_features_do(root: str) -> None:
    recordings, _ = recordings_of({"root": root.partition("=")[2]})
    x, labels = styled(recordings, 6, sample_rate=RATE, seconds=0.5, seed=0)
    again, _ = styled(recordings, 6, sample_rate=RATE, seconds=0.5, seed=0)
    assert torch.equal(x, again)
    assert labels.tolist() == list(range(5)) * 6
    piece = Pieces(recordings, sample_rate=RATE, seconds=0.5, seed=0)[0][0]
    alike = torch.fft.rfft(x[:5]).abs() * torch.fft.rfft(piece).abs()
    assert (alike.sum(1) > 0).all()  # one piece in five styles
    told = torch.nn.functional.one_hot(labels).float()
    named = {row.numpy().tobytes(): told[n] for n, row in enumerate(x)}
    perfect = probe_accuracy(
        lambda part: torch.stack([named[row.numpy().tobytes()] for row in part]), (x, labels), (x, labels)
    )
    assert perfect == 1
    generator = torch.Generator().manual_seed(0)
    blind = probe_accuracy(lambda part: torch.randn(len(part), 3, generator=generator), (x, labels), (x, labels))
    assert blind < 0.7


def test_copies_learn_apart() -> None:
    """A checkpoint's copy of a frozen network stays frozen, and of a black box has its own chain."""
    style = model("np")
    assert style.networks is not None
    copy = deepcopy(style).train()
    assert copy.networks is not None
    assert not copy.networks.training
    box = deepcopy(BlackChain(strip_chain(style.console)))
    x = torch.randn(1, 1, 500)
    u = box.spec.default()[None]
    assert torch.allclose(box(x, u), style.chain(x, u))


def test_the_papers_sizes_are_there() -> None:
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        system = compose("train", ["recipe=style_transfer", "system=style_transfer_paper"]).system
    console = Console.from_layout(layout(), 24000)
    paper = StyleTransfer(console, encoder=dict(system.encoder), hidden=system.hidden)
    assert sum(p.numel() for p in paper.parameters()) == 7_700_418 + 1408 * 1024 + 1024 + 4096 + (
        2048 * 256 + 256 + 256 * 256 + 256 + 256 * 24 + 24
    )
    assert deepafx.DROPS == (0.8, 0.95)
