import json
from pathlib import Path

import pytest
import torch

from diffmix.console import Console, track_loudness
from diffmix.errors import CheckpointError
from diffmix.systems.automixer import Automixer, balanced_sides

RATE = 22050


def mixer() -> Automixer:
    torch.manual_seed(0)
    made = Automixer(Console(RATE), width=32, layers=1)
    # an untrained head answers defaults; move it, so that tracks differ
    torch.nn.init.normal_(made.estimator.heads["tracks"].weight, std=0.5)
    return made.eval()


def song(n: int = 5) -> torch.Tensor:
    return 0.1 * torch.randn(1, n, 1, RATE, generator=torch.Generator().manual_seed(1)).cumsum(-1).tanh()


def test_sides_balance_and_follow_the_track() -> None:
    amount, weight = torch.rand(3, 7), torch.rand(3, 7)
    side = balanced_sides(amount, weight)
    pull = amount * weight
    assert ((side * pull).sum(1).abs() <= pull.max(1).values).all()
    order = torch.randperm(7)
    assert torch.equal(balanced_sides(amount[:, order], weight[:, order]), side[:, order])


def test_trims_follow_loudness_and_order_does_not_matter() -> None:
    made, x = mixer(), song()
    loudness = track_loudness(x, RATE)
    controls = made(x, loudness)
    trim = made.console.values(controls).tracks["trim.gain_db"]
    assert torch.allclose(trim + loudness, torch.tensor(-23.0), atol=1e-3)
    order = torch.tensor([4, 2, 0, 1, 3])
    again = made(x[:, order], loudness[:, order])
    assert torch.allclose(again.tracks, controls.tracks[:, order], atol=1e-5)


def test_a_quieter_recording_gets_the_same_mix() -> None:
    made, x = mixer(), song()
    quiet = x * torch.tensor([0.1, 1, 0.5, 1, 0.02])[None, :, None, None]
    mixes = [made.console(a, made(a, track_loudness(a, RATE))) for a in (x, quiet)]
    assert (mixes[0] - mixes[1]).square().mean() < 1e-5 * mixes[0].square().mean()


def test_save_and_load(tmp_path: Path) -> None:
    made, x = mixer(), song()
    made.save(tmp_path / "model", seed=3)
    again = Automixer.load(tmp_path / "model", RATE)
    loudness = track_loudness(x, RATE)
    for a, b in zip(made(x, loudness), again(x, loudness), strict=True):
        assert torch.equal(a, b)
    assert sorted(f.name for f in (tmp_path / "model").iterdir()) == ["config.json", "model.safetensors"]
    assert json.loads((tmp_path / "model" / "config.json").read_text())["seed"] == 3


def test_other_models_are_refused(tmp_path: Path) -> None:
    mixer().save(tmp_path / "model")
    config = tmp_path / "model" / "config.json"
    data = json.loads(config.read_text())
    data["specs"]["tracks"]["fader.gain_db"]["low"] = -90
    config.write_text(json.dumps(data))
    with pytest.raises(CheckpointError, match=r"tracks.fader.gain_db: low is -48, stored -90"):
        Automixer.load(tmp_path / "model", RATE)
    config.write_text(json.dumps({**data, "version": 9}))
    with pytest.raises(CheckpointError, match="has version 9, this diffmix reads version 1"):
        Automixer.load(tmp_path / "model", RATE)
    config.write_text("{}")
    with pytest.raises(CheckpointError, match="does not describe an automixer"):
        Automixer.load(tmp_path / "model", RATE)
    (tmp_path / "model" / "model.safetensors").write_bytes(b"pickle")
    with pytest.raises(CheckpointError, match="no usable model in"):
        Automixer.load(tmp_path / "model", RATE)
    with pytest.raises(CheckpointError, match="no usable model in"):
        Automixer.load(tmp_path / "nowhere", RATE)


def test_a_long_song_is_heard_where_its_tracks_play() -> None:
    """Silence before, between and behind changes little; each track is judged by its own loudest seconds."""
    made = mixer()
    made.listen_seconds = 1.0
    x = song(3)
    gap = torch.zeros_like(x)
    later = torch.stack([torch.cat([gap[0, n]] * (n + 1) + [x[0, n]] + [gap[0, n]] * (3 - n), -1) for n in range(3)])[
        None
    ]
    short, long = made.mix_controls(x), made.mix_controls(later)
    trim = made.console.track_spec.index("trim.gain_db")
    others = [k for k in range(short.tracks.shape[-1]) if k != trim]  # the gate of the loudness hears the edges
    assert torch.allclose(short.tracks[..., others], long.tracks[..., others], atol=1e-4)


def test_any_length_is_heard() -> None:
    made = mixer()
    for length in (1, 100, 5 * RATE):
        controls = made.mix_controls((song(2)[..., :1].expand(-1, -1, -1, length), torch.zeros(1, 0, 2, length)))
        assert torch.isfinite(controls.tracks).all()
