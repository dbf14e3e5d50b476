"""Messy folders of audio, as they are found on real disks, written for one test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
import torch

from diffmix.data.multitrack import Multitrack, load

RATE = 8_000  # small files; the lowest rate that is accepted
SONG_RATE = 16_000


def tone(frequency_hz: float = 220.0, seconds: float = 0.5, sample_rate: int = RATE, channels: int = 1) -> np.ndarray:
    """A quiet sine, (T, C) float32; the second channel is an octave higher, so that stereo is not dual mono."""
    t = np.arange(round(seconds * sample_rate)) / sample_rate
    return np.stack([0.25 * np.sin(2 * np.pi * frequency_hz * (1 + c) * t) for c in range(channels)], 1).astype("f4")


def put(path: Path, samples: np.ndarray | None = None, sample_rate: int = RATE, subtype: str | None = None) -> Path:
    """Write an audio file (a tone by default), making its folder; the format follows from the extension."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = tone(sample_rate=sample_rate) if samples is None else samples
    soundfile.write(path, samples, sample_rate, subtype, format="AIFF" if path.suffix == ".aif" else None)
    return path


def stamped(path: Path, samples: int) -> Path:
    """Make a WAV file a Broadcast Wave that begins so many samples after midnight."""
    chunk = b"take".ljust(256) + b"DAW".ljust(64) + b"2024-01-0112:00:00" + samples.to_bytes(8, "little") + bytes(256)
    whole = path.read_bytes()
    whole = whole[:12] + b"bext" + len(chunk).to_bytes(4, "little") + chunk + whole[12:]
    path.write_bytes(whole[:4] + (len(whole) - 8).to_bytes(4, "little") + whole[8:])
    return path


def session(folder: Path) -> Path:
    """A band's session as it is handed over: mixed rates and channels, pairs, junk and a rough mix."""
    put(folder / "01_Kick.wav")
    put(folder / "2 Snare.flac")
    put(folder / "10_Bass DI.wav", tone(55.0, sample_rate=16_000), 16_000)
    put(folder / "11_Gtr.wav", np.repeat(tone(330.0), 2, axis=1))  # dual mono
    put(folder / "12_OH_L.wav", tone(1000.0))
    put(folder / "12_OH_R.wav", tone(1500.0))
    put(folder / "13_Piano.aif", tone(440.0, channels=2))
    put(folder / "14_Vöx & 'Lead'.wav", tone(250.0, seconds=0.3))
    put(folder / "15_Silence.wav", np.zeros((100, 1), "f4"))
    put(folder / "Song_MIX.wav", tone(channels=2))
    (folder / "._01_Kick.wav").write_bytes(b"\0\5\x16\7")
    (folder / ".DS_Store").write_bytes(b"\0")
    (folder / "empty.wav").touch()
    (folder / "tambourine.wav").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n")
    put(folder / "17_Nothing.wav", np.zeros((0, 1), "f4"))
    (folder / "notes.txt").write_text("drummer was late")
    return folder


def library(root: Path) -> Path:
    """Three songs in three layouts, and a folder that is none."""
    for name in ("kick.wav", "bass.wav"):
        put(root / "song 2" / name)
    for name in ("01.wav", "02.wav", "03.wav"):
        put(root / "song 10" / "tracks" / name)
    put(root / "Artist_Title" / "Artist_Title_MIX.wav")
    put(root / "Artist_Title" / "Artist_Title_STEMS" / "Artist_Title_STEM_01.wav")
    for number in (1, 3):
        put(root / "Artist_Title" / "Artist_Title_RAW" / f"Artist_Title_RAW_01_0{number}.wav")
    put(root / "one file only" / "kick.wav")
    (root / "papers").mkdir()
    return root


def song(seconds: float = 4.0, more: dict[str, torch.Tensor] | None = None) -> Multitrack:
    """Seven unlike tracks, one of them stereo."""
    generator = torch.Generator().manual_seed(0)
    t = torch.arange(round(seconds * SONG_RATE)) / SONG_RATE

    def noise(channels: int = 1) -> torch.Tensor:
        return torch.randn(channels, len(t), generator=generator)

    beat = torch.exp(-12 * (t % 0.5))[None]
    off = torch.exp(-20 * ((t + 0.25) % 0.5))[None]
    tracks = {
        "kick": 0.5 * beat * torch.sin(2 * torch.pi * 60 * t),
        "snare": 0.2 * off * noise(),
        "bass": 0.3 * torch.sin(2 * torch.pi * 82 * t)[None] + 0.01 * noise(),
        "vox": 0.1 * torch.sign(torch.sin(2 * torch.pi * 220 * t) + 0.3 * torch.sin(6 * t))[None] + 0.02 * noise(),
        "pad": 0.02 * noise(2) + 0.05 * torch.sin(2 * torch.pi * 440 * t),
        "gtr 1": 0.05 * noise() * (0.6 + 0.4 * torch.sin(9 * t)),
        "gtr 2": 0.05 * noise() * (0.6 + 0.4 * torch.sin(7 * t)),
    } | (more or {})
    return load(tracks, SONG_RATE)
