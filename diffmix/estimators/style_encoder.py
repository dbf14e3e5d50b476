"""What DeepAFx-ST hears and answers: an encoder shared by a recording and its reference, and a controller of knobs.

C. J. Steinmetz, N. J. Bryan and J. D. Reiss, "Style transfer of audio effects with differentiable signal processing",
J. Audio Eng. Soc. 70(9), 2022.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, pad

from diffmix.errors import SettingsError
from diffmix.estimators.efficientnet import EfficientNet, Norm

COMPRESSION = 0.3
MEAN, DEVIATION = 0.322970, 0.278452
"""Of compressed magnitudes, as published."""


class StyleEncoder(nn.Module):
    """Mono audio at a peak of -12 dBFS to an embedding of length 1: spectrogram, `EfficientNet`, one linear layer.

    Args:
        width, depth, norm, drop: as for `EfficientNet`; the paper's are 1.1, 1.2, ``"batch"`` and 0.2.
        embedding: size of the answer, 1024 in the paper.
        n_fft, hop: samples of a frame and between frames.
        trainable_window: let the window of the spectrogram be learned too, as the published code does.
    """

    def __init__(
        self,
        width: float = 0.25,
        depth: float = 0.35,
        embedding: int = 128,
        norm: Norm = "group",
        n_fft: int = 4096,
        hop: int = 2048,
        drop: float = 0.0,
        trainable_window: bool = False,
    ) -> None:
        super().__init__()
        if embedding < 1 or not 1 <= hop <= n_fft:
            raise SettingsError(f"an encoder has embedding > 0 and 1 <= hop <= n_fft, got {embedding}, {hop}, {n_fft}")
        self.hop, self.size = hop, embedding
        self.network = EfficientNet(width, depth, norm, drop)
        self.project = nn.Linear(self.network.size, embedding)
        window = torch.hann_window(n_fft)
        self.window: Tensor
        if trainable_window:
            self.window = nn.Parameter(window)
        else:
            self.register_buffer("window", window, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Audio x (R, T) to (R, embedding); what is shorter than a frame is followed by silence."""
        n_fft = len(self.window)
        x = pad(x, (0, max(0, n_fft - x.shape[-1])))
        spectrum = torch.stft(x, n_fft, self.hop, window=self.window, return_complex=True)
        power = spectrum.real.square() + spectrum.imag.square()
        magnitude = power.clamp_min(1e-16).sqrt() + 1e-8  # the root has no slope at 0
        maps = (magnitude**COMPRESSION - MEAN) / DEVIATION
        return normalize(self.project(self.network(maps.mT.unsqueeze(1))), dim=1)


class PairController(nn.Module):
    """Embeddings of a recording and of its reference, (B, E) each, to controls (B, P) in [0, 1].

    Args:
        start: controls (P,) about which an untrained controller answers.
        embedding: E.
        hidden: width of the two layers between.
    """

    def __init__(self, start: Tensor, embedding: int, hidden: int = 256) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Linear(2 * embedding, hidden), nn.LeakyReLU(0.01)),
            *(nn.Linear(hidden, hidden), nn.LeakyReLU(0.01)),
            nn.Linear(hidden, len(start)),
        )
        last = self.layers[-1]
        assert isinstance(last, nn.Linear)
        with torch.no_grad():
            last.bias.copy_(torch.logit(start.clamp(0.02, 0.98)))

    def forward(self, recording: Tensor, reference: Tensor) -> Tensor:
        """Controls (B, P)."""
        return torch.sigmoid(self.layers(torch.cat([recording, reference], 1)))
