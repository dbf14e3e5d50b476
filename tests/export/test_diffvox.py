"""DiffVox presets, made here in the published layout, held against its equations played sample by sample."""

import json
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.linalg import expm
from scipy.signal import lfilter

from diffmix.errors import PresetError
from diffmix.export import diffvox

RATE = 44100
SHAPES = {"b": (6, 2), "c": (2, 6), "gamma": (49, 1), "U": (6, 6), "lookahead": (1,), "sends_0": (1,)}
PLAIN = ("gain", "cmp_th", "exp_th", "make_up", "b", "c")  # without a parametrization


def logit(value: float, low: float = 0, high: float = 1) -> float:
    part = (value - low) / (high - low)
    return math.log(part / (1 - part))


# what a preset says, as unbounded numbers, None for random ones; the network decays equally at all frequencies
WANTED: dict[str, float | None] = {
    "0.gain": 4.0, "0.freq": logit(700, 33, 5400), "0.Q": logit(1.5, 0.2, 20),
    "1.gain": -3.0, "1.freq": logit(3000, 200, 17500), "1.Q": logit(0.9, 0.2, 20),
    "2.gain": 2.0, "2.freq": logit(120, 30, 200), "3.gain": -5.0, "3.freq": logit(5000, 750, 8300),
    "4.freq": logit(9000, 200, 18000), "4.Q": logit(0.8, 0.5, 10),
    "5.freq": logit(90, 16, 5300), "5.Q": logit(0.7, 0.5, 10),
    "6.cmp_th": -20.0, "6.exp_th": -50.0, "6.make_up": 3.0, "6.lookahead": -17.0,
    "6.at": logit(1 - math.exp(-2200 / (11 * RATE))), "6.rt": logit(1 - math.exp(-2200 / (110 * RATE))),
    "6.avg_coef": logit(0.3), "6.cmp_ratio": logit(4, 1, 20), "6.exp_ratio": logit(0.5),
    "7.sends_0": logit(0.3), "7.effects.0.delay": logit(1000 * 4500 / RATE, 100, 1000),
    "7.effects.0.feedback": logit(0.5), "7.effects.0.gain": logit(0.4),
    "7.effects.0.eq.freq": logit(4000, 200, 16000), "7.effects.0.eq.Q": logit(0.9, 0.5, 2),
    "7.effects.0.odd_pan.pan": logit(0.2), "7.effects.0.even_pan.pan": logit(0.9),
    "7.effects.1.eq.0.gain": 2.0, "7.effects.1.eq.0.freq": logit(800, 200, 2500),
    "7.effects.1.eq.0.Q": logit(1, 0.1, 3),
    "7.effects.1.eq.1.gain": -2.0, "7.effects.1.eq.1.freq": logit(4000, 600, 7000),
    "7.effects.1.eq.1.Q": logit(1.2, 0.1, 3),
    "7.effects.1.eq.2.gain": -4.0, "7.effects.1.eq.2.freq": logit(150, 30, 450),
    "7.effects.1.eq.3.gain": 1.5, "7.effects.1.eq.3.freq": logit(8000, 1500, 16000), "7.pan.pan": logit(0.4),
    "7.effects.1.gamma": 0.0, "7.effects.1.b": None, "7.effects.1.c": None, "7.effects.1.U": None,
}  # fmt: skip


def tensors(**changed: float) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    made = {}
    for column, value in {**WANTED, **changed}.items():
        module, _, key = column.rpartition(".")
        name = f"{module}.params.{key}" if key in PLAIN else f"{module}.params.parametrizations.{key}.original"
        shape = SHAPES.get(key, ())
        made[name] = (0.3 * rng.standard_normal(shape) if value is None else np.full(shape, value)).astype(np.float32)
    return made


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diffvox, "_LONGEST", 2**17)  # these responses die away within a second


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [np.concatenate([v.ravel() for v in tensors(**change).values()]) for change in ({}, {"6.make_up": -2.0})]
    np.save(tmp_path / "raw_params.npy", np.stack(rows))
    about = {"params_keys": list(tensors()), "params_original_shapes": [v.shape for v in tensors().values()]}
    (tmp_path / "info.json").write_text(json.dumps(about))
    return tmp_path


def cookbook(kind: str, f: float, q: float, gain_db: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """R. Bristow-Johnson's formulas."""
    w, a = 2 * math.pi * f / RATE, 10 ** (gain_db / 40)
    c, alpha = math.cos(w), math.sin(w) / (2 * q)
    if kind == "peak":
        return np.array([1 + alpha * a, -2 * c, 1 - alpha * a]), np.array([1 + alpha / a, -2 * c, 1 - alpha / a])
    if kind in ("lowpass", "highpass"):
        s = 1 if kind == "highpass" else -1
        return np.array([(1 + s * c) / 2, -s * (1 + s * c), (1 + s * c) / 2]), np.array([1 + alpha, -2 * c, 1 - alpha])
    s, root = (1 if kind == "low" else -1), 2 * math.sqrt(a) * alpha
    up, down = a + 1, a - 1
    b = a * np.array([up - s * down * c + root, 2 * s * (down - s * up * c), up - s * down * c - root])
    return b, np.array([up + s * down * c + root, -2 * s * (down + s * up * c), up + s * down * c - root])


def sides(x: np.ndarray, pan: float) -> np.ndarray:
    return math.sqrt(2) * np.stack([math.cos(pan * math.pi / 2) * x, math.sin(pan * math.pi / 2) * x])


def sends(x: np.ndarray) -> np.ndarray:
    """Delay and reverb of mono x, echo by echo and sample by sample."""
    echoes, echo = np.zeros((2, len(x))), 0.4 * x
    for k in range(1, len(x) // 4500 + 1):
        echo = np.concatenate([np.zeros(4500), lfilter(*cookbook("lowpass", 4000, 0.9), echo)[:-4500]])
        echoes += sides(echo, 0.2 if k % 2 else 0.9) * 0.5 ** (k - 1)
    named = {name.split(".")[-2 if name.endswith("original") else -1]: v for name, v in tensors().items()}
    u = np.triu(named["U"].astype(float), 1)
    shortest = min(diffvox.DELAYS)
    gamma = 0.5 * 10 ** (-60 / RATE / 9 * shortest / 20)
    matrix = expm(u - u.T) * gamma ** (np.array(diffvox.DELAYS) / shortest)
    entering = named["b"].astype(float) @ (x + 0.3 * echoes)
    lines = np.zeros((6, len(x)))
    for t in range(len(x)):
        for j, d in enumerate(diffvox.DELAYS):
            lines[j, t] = matrix[j] @ lines[:, t - d] + entering[j, t - d] if t >= d else 0
    room = named["c"].astype(float) @ lines
    for section in (("peak", 800, 1, 2), ("peak", 4000, 1.2, -2), ("low", 150, 0.707, -4), ("high", 8000, 0.707, 1.5)):
        room = lfilter(*cookbook(*section), room)
    return echoes + room


def test_values_are_in_physical_units(folder: Path) -> None:
    preset = diffvox.read(folder)
    d = preset.parameters["dynamics"]
    assert (d["cmp_th_db"], d["make_up_db"], d["lookahead_ms"]) == (-20, 3, 2)
    assert (d["attack_ms"], d["release_ms"]) == (pytest.approx(11, rel=1e-3), pytest.approx(110, rel=1e-3))
    assert preset.values["peak1.cutoff_frequency_hz"] == pytest.approx(700, rel=1e-4)
    assert preset.values["dynamics.attack_ms"] == pytest.approx(5, rel=1e-3)
    assert preset.values["dynamics.release_ms"] == pytest.approx(50, rel=1e-3)
    assert preset.values["dynamics.expander_ratio"] == pytest.approx(2, rel=1e-4)
    assert preset.parameters["delay"]["reverb_send"] == pytest.approx(0.3, rel=1e-4)
    assert diffvox.read(folder, 1).values["makeup.gain_db"] == -2
    assert preset.notes == ()


def played_at_rest(folder: Path, x: np.ndarray, **changed: float) -> tuple[np.ndarray, np.ndarray]:
    """Mono x through the chain without compression and expansion; and through what is before its sends, by SciPy."""
    resting = {"6.cmp_ratio": -40.0, "6.exp_ratio": 40.0, "6.lookahead": 0.0}
    save_file({n: torch.from_numpy(v) for n, v in tensors(**resting, **changed).items()}, folder / "run.safetensors")
    preset = diffvox.read(folder / "run.safetensors")
    y = preset.chain(torch.from_numpy(x)[None, None].float(), preset.chain.spec.normalize(preset.values)[None])[0]
    for section in (("peak", 700, 1.5, 4), ("peak", 3000, 0.9, -3), ("low", 120, 0.707, 2), ("high", 5000, 0.707, -5),
                    ("lowpass", 9000, 0.8), ("highpass", 90, 0.7)):  # fmt: skip
        x = lfilter(*cookbook(*section), x)
    return y.numpy(), x * 10 ** (3 / 20)


def test_the_chain_sounds_as_diffvox_does(tmp_path: Path) -> None:
    x = np.zeros(12000)
    x[0] = 0.5
    y, z = played_at_rest(tmp_path, x)
    expected = sides(z, 0.4) + sends(z)
    assert np.abs(expected[:, 4500:]).max() > 1e-2
    assert np.abs(y - expected).max() < 1e-4 * np.abs(expected).max()


def test_echoes_that_grow_are_as_many_as_diffvox_renders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resonant low-pass in the loop may amplify: 0.9 by feedback, more than 1.5 at its cutoff."""
    monkeypatch.setattr(diffvox, "_ECHOES_S", 1.0)
    x = np.zeros(60000)
    x[0] = 0.5
    resonant = {"7.effects.0.feedback": logit(0.9), "7.effects.0.eq.Q": logit(1.5, 0.5, 2)}
    y, z = played_at_rest(tmp_path, x, **resonant, **{"7.effects.1.c": 0.0})
    echo, expected = 0.4 * z, sides(z, 0.4)
    for k in range(1, RATE // 4501 + 1):
        echo = np.concatenate([np.zeros(4500), lfilter(*cookbook("lowpass", 4000, 1.5), echo)[:-4500]])
        expected += sides(echo, 0.2 if k % 2 else 0.9) * 0.9 ** (k - 1)
    assert np.abs(expected[:, 36000:]).max() > 2 * np.abs(expected[:, 4500:9000]).max()
    # nine delays in a row, each as float32 as a preset is
    assert np.abs(y - expected).max() < 1e-3 * np.abs(expected).max()


def torchcomp_gain(x: np.ndarray, d: dict[str, float]) -> np.ndarray:
    """Of the mean power's static curve, smoothed as a factor: sample by sample, as torchcomp does."""
    mean, gain, out = 0.0, 1.0, np.empty(len(x))
    for t, power in enumerate(np.maximum(x**2, 1e-8)):
        mean += d["avg_coef"] * (power - mean)
        level = 10 * math.log10(mean)
        compressed = (1 - 1 / d["cmp_ratio"]) * (d["cmp_th_db"] - level)
        target = 10 ** (min(0, compressed, (1 - 1 / d["exp_ratio"]) * (d["exp_th_db"] - level)) / 20)
        time_ms = d["attack_ms"] if target < gain else d["release_ms"]
        gain += (1 - math.exp(-2200 / time_ms / RATE)) * (target - gain)
        out[t] = gain
    return out


@pytest.mark.parametrize("thresholds", [(-20.0, -50.0), (-40.0, -30.0)])
def test_the_dynamics_are_diffvoxs(thresholds: tuple[float, float], tmp_path: Path) -> None:
    """Compressor and expander at work, also where both are at once; the gain is 2 ms ahead."""
    np.savez(tmp_path / "run.npz", **tensors(**{"6.cmp_th": thresholds[0], "6.exp_th": thresholds[1]}))
    preset = diffvox.read(tmp_path / "run.npz")
    rng, t = np.random.default_rng(1), np.arange(9000)
    x = np.sin(t * 0.03) * 10 ** (np.interp(t, np.arange(0, 9500, 500), rng.uniform(-70, 0, 19)) / 20)
    values = {n.removeprefix("dynamics."): v for n, v in preset.values.items() if n.startswith("dynamics.")}
    values = {name: torch.tensor([value], dtype=torch.float64) for name, value in values.items()}
    played = preset.chain.stages["dynamics"].process(torch.from_numpy(x)[None, None], **values)[0, 0].numpy()
    expected = x[:-88] * torchcomp_gain(x, preset.parameters["dynamics"])[88:]
    assert np.ptp(torchcomp_gain(x, preset.parameters["dynamics"])) > 0.5
    assert np.abs(played[:-88] - expected).max() < 1e-9


@pytest.mark.parametrize("suffix", ["safetensors", "npz", "json"])
def test_one_run_in_a_file(suffix: str, folder: Path) -> None:
    path, data = folder / f"run.{suffix}", tensors()
    if suffix == "safetensors":
        save_file({name: torch.from_numpy(value) for name, value in data.items()}, path)
    elif suffix == "npz":
        np.savez(path, **data)
    else:
        path.write_text(json.dumps({name: value.tolist() for name, value in data.items()}))
    found, published = diffvox.read(path), diffvox.read(folder)
    assert found.values == pytest.approx(published.values, rel=1e-6)


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "loud.npz", **tensors(**{"0.gain": 31.0}))
    assert diffvox.read(tmp_path / "loud.npz").notes == ("peak1.gain_db is 24 dB instead of 31 dB",)


@pytest.mark.parametrize("extreme", [-1000.0, 1000.0])
def test_numbers_far_out_are_the_ends_of_their_ranges(extreme: float, tmp_path: Path) -> None:
    names = ("6.at", "6.rt", "6.avg_coef", "6.cmp_ratio", "6.exp_ratio")
    np.savez(tmp_path / "far.npz", **tensors(**dict.fromkeys(names, extreme)))
    preset = diffvox.read(tmp_path / "far.npz")
    assert all(p.low <= preset.values[name] <= p.high for name, p in preset.chain.spec)
    assert preset.values["dynamics.ratio"] == pytest.approx(1 if extreme < 0 else 20)
    assert preset.values["dynamics.attack_ms"] == (500 if extreme < 0 else 0.05)


def test_mistakes_end_in_a_sentence(folder: Path) -> None:
    def fails(sentence: str, *arguments: Any) -> None:
        with pytest.raises(PresetError, match=sentence):
            diffvox.read(*arguments)

    fails("has presets 0 to 1, not 2", folder, 2)
    fails(r"checkpoint.ckpt: is no DiffVox preset that is read; .*a pickled checkpoint can be saved", "checkpoint.ckpt")
    (folder / "few.json").write_text('{"0.params.gain": 1}')
    fails("needs the tensor 7.effects.1.params.U; there are: 0.params.gain", folder / "few.json")
    for name, wrong in (("0.gain", float("nan")), ("7.effects.1.U", 1.0), ("6.at", [])):
        data = tensors()
        key = next(k for k in data if k.startswith(name.rpartition(".")[0]) and name.rpartition(".")[2] in k.split("."))
        np.savez(folder / "odd.npz", **data | {key: np.float32(wrong)})
        fails(rf"in {name}, all finite; got", folder / "odd.npz")
    (folder / "broken.json").write_text("{")
    fails("broken.json: cannot be read as a DiffVox preset", folder / "broken.json")
    np.save(folder / "raw_params.npy", np.zeros((2, 7)))
    fails(r"raw_params.npy has shape \(2, 7\), which does not fit info.json", folder)
    (folder / "raw_params.npy").write_bytes(pickle.dumps([1]))
    fails("cannot be read as a DiffVox preset", folder)
