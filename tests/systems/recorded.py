"""Songs on disk for tests of training: a few notes, with or without a finished mix."""

from pathlib import Path

import torch

from diffmix.data.audio import write_wav
from diffmix.data.style_content import Content

RATE = 16000
PARTS = {"kick": (60.0, 1), "bass": (90.0, 1), "guitar": (400.0, 2), "lead vocal": (700.0, 1)}
GAINS = {"kick": (0.6, 0.6), "bass": (0.3, 0.3), "guitar": (0.02, 0.05), "lead vocal": (0.15, 0.15)}


def record(folder: Path, seed: int = 0, mixed: bool = True, seconds: float = 3.0) -> Path:
    """Four tracks of decaying tones and noise; the mix has them at gains of left and right that never change."""
    generator = torch.Generator().manual_seed(seed)
    t = torch.arange(round(seconds * RATE)) / RATE
    (folder / "tracks").mkdir(parents=True)
    total = torch.zeros(2, len(t))
    for name, (hz, channels) in PARTS.items():
        pitch = hz * (1 + 0.2 * float(torch.rand((), generator=generator)))
        tone = sum(torch.sin(2 * torch.pi * pitch * k * t) / k for k in (1, 2, 3))
        beat = torch.exp(-6 * ((t + 0.1 * len(name)) % 0.5))
        noise = 0.1 * torch.randn(channels, len(t), generator=generator)
        x = 0.2 * beat * (tone + noise)
        write_wav(folder / "tracks" / f"{name}.wav", x, RATE)
        total += x.expand(2, -1) * torch.tensor(GAINS[name])[:, None]
    if mixed:
        write_wav(folder / "mix.wav", total / total.abs().max(), RATE)
    return folder


def library(root: Path, songs: int = 3, mixed: bool = True) -> Path:
    """A folder of songs."""
    for number in range(songs):
        record(root / f"song {number}", number, mixed)
    return root


def beats(seed: int, kind: str = "drums", real: bool = False) -> Content:
    """Noise of its own colour that comes at its own pace."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, 150_000, generator=generator)
    pace = 4000 + 700 * (seed % 7)
    x = x * torch.exp(-(torch.arange(150_000) % pace) / (300 + 100 * (seed % 5)))
    colour = 1 / (1 + torch.fft.rfftfreq(150_000) * (5 + 20 * (seed % 3)))
    return Content(f"r{seed}", f"song {seed}", kind, 0.1 * torch.fft.irfft(torch.fft.rfft(x) * colour, 150_000), real)
