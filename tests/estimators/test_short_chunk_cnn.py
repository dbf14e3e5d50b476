"""The encoder of the differentiable mixing console."""

import pytest
import torch

from diffmix.errors import SettingsError
from diffmix.estimators.short_chunk_cnn import PAPER_WIDTH, ShortChunkCNN, log_mel, mel_weights


def noise(rows: int, length: int, channels: int = 1) -> torch.Tensor:
    return 0.1 * torch.randn(rows, channels, length, generator=torch.Generator().manual_seed(1))


def test_the_papers_width_has_the_papers_size() -> None:
    assert round(sum(p.numel() for p in ShortChunkCNN(PAPER_WIDTH).parameters()) / 1e6, 1) == 12.1


def test_any_length_channels_and_rate_make_an_embedding() -> None:
    encoder = ShortChunkCNN(4).eval()
    for length, channels, rate in ((1, 1, 44100), (3000, 2, 8000), (70000, 1, 96000)):
        assert encoder(noise(3, length, channels), rate).shape == (3, 16) == (3, encoder.size)


def test_a_track_is_heard_alone() -> None:
    """Training or not: what else is in the batch changes nothing."""
    encoder, x = ShortChunkCNN(8).train(), noise(4, 20000)
    alone = torch.cat([encoder(row[None], 22050) for row in x])
    assert torch.allclose(encoder(x, 22050), alone, atol=1e-6)


def test_level_is_heard() -> None:
    encoder, x = ShortChunkCNN(8).eval(), noise(1, 20000)
    assert (encoder(x, 22050) - encoder(0.1 * x, 22050)).abs().max() > 1e-4


def test_silence_has_finite_gradients() -> None:
    encoder, x = ShortChunkCNN(4), torch.zeros(2, 1, 5000, requires_grad=True)
    encoder(x, 16000).sum().backward()
    assert torch.isfinite(x.grad).all()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in encoder.parameters())


@pytest.mark.parametrize("rate", [16000, 44100, 96000])
def test_a_tone_reads_the_same_at_every_rate(rate: int) -> None:
    t = torch.arange(rate) / rate
    mel = log_mel(torch.sin(2 * torch.pi * 1000 * t)[None, None], rate, 8000).mean(2)[0]
    assert abs(int(mel.argmax()) - 45) <= 1  # 1000 mel of 2840, in 129 steps
    assert mel.max() == pytest.approx(-7.5, abs=0.3)  # half amplitude: -6 dB, and 1.5 dB beside the middle of its band
    assert mel[90:].max() < -55


def test_no_band_is_deaf() -> None:
    for rate in (16000, 44100, 96000):
        assert (mel_weights(2 * round(0.016 * rate), rate, 8000).sum(0) > 0).all()


@pytest.mark.parametrize(("sizes", "message"), [((1,), "whole numbers in 2..512"), ((8, 99), "hears up to 99 Hz")])
def test_sizes_that_cannot_be_are_named(sizes: tuple[int, ...], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        ShortChunkCNN(*sizes)
