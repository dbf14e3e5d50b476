"""A network from stems to a mix in the time domain: the one of FxNorm-automix ("CRAFx2").

M. A. Martinez-Ramirez et al., "Automatic music mixing with deep learning and out-of-domain data", ISMIR 2022, after
M. A. Martinez-Ramirez, E. Benetos and J. D. Reiss, "Deep learning for black-box modeling of audio effects", 2020.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, conv_transpose1d, interpolate, pad, softplus

from diffmix.errors import SettingsError


class CRAFx(nn.Module):
    """Stereo stems to a stereo mix: a filter bank whose bands a slow network turns up and down, and its transpose.

    p = bands of the stems (a convolution of ``kernel`` samples). What they do slowly, |p| smoothed and taken at every
    ``pool``-th sample, goes through a temporal convolutional network and a bidirectional LSTM to a mask for p; then
    each band is scaled by a squeeze-and-excitation, the transposed convolution with the *same* weights makes stems of
    them, and tanh of their sum is the mix. The defaults are the paper's: 2.75 million parameters.

    Args:
        stems: how many, in an order that must not change.
        filters: bands.
        kernel: samples of the filters.
        smoothing: samples over which |p| is smoothed.
        pool: samples per step of the slow network.
        bottleneck: channels between the blocks of the temporal network.
        skip: channels of its output.
        blocks: per repeat, the n-th dilated by 2^n.
        repeats: of the blocks.
        lstm_layers: of the LSTM.
        squeeze: hidden units of the squeeze-and-excitation.
        dropout: between layers of the LSTM.
    """

    def __init__(
        self,
        stems: int = 4,
        filters: int = 128,
        kernel: int = 64,
        smoothing: int = 128,
        pool: int = 64,
        bottleneck: int = 256,
        skip: int = 64,
        blocks: int = 6,
        repeats: int = 4,
        lstm_layers: int = 3,
        squeeze: int = 2048,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        sizes = (stems, filters, kernel, smoothing, pool, bottleneck, skip, blocks, repeats, lstm_layers, squeeze)
        if min(sizes) < 1 or filters % 2:
            raise SettingsError("sizes of the network are 1 or more, and filters an even number")
        self.stems, self.pool = stems, pool
        self.bank = nn.Conv1d(2 * stems, filters, kernel, bias=False)
        self.smooth = nn.Conv1d(filters, filters, smoothing, groups=filters)
        self.enter = nn.Sequential(nn.GroupNorm(1, filters), nn.Conv1d(filters, bottleneck, 1))
        self.tcn = nn.ModuleList(_Block(bottleneck, filters, skip, 2**n) for _ in range(repeats) for n in range(blocks))
        self.leave = nn.Sequential(nn.PReLU(), nn.Conv1d(skip, filters, 1), nn.Softplus())
        self.lstm = nn.LSTM(
            filters, filters // 2, lstm_layers, batch_first=True, bidirectional=True,
            dropout=dropout if lstm_layers > 1 else 0.0,
        )  # fmt: skip
        self.excite = nn.Sequential(nn.Linear(filters, squeeze), nn.ReLU(), nn.Linear(squeeze, filters), nn.Sigmoid())
        reach = sum(2**n for n in range(blocks)) * repeats
        self.guard = 2 * reach * pool + (kernel - 1) + (smoothing - 1)
        """Samples that convolutions hear around each: as many at either end of an example lack context."""
        self._remember(max(2, 2 * reach))

    def _remember(self, steps: int) -> None:
        """Gates of the LSTM for memories of up to so many steps (C. Tallec and Y. Ollivier, ICLR 2018)."""
        for name, bias in self.lstm.named_parameters():
            if name.startswith("bias"):
                with torch.no_grad():
                    bias.zero_()
                    if "_ih_" in name:
                        size = len(bias) // 4  # gates: input, forget, cell, output
                        bias[size : 2 * size] = torch.log(1 + (steps - 2) * torch.rand(size))
                        bias[:size] = -bias[size : 2 * size]

    def forward(self, x: Tensor) -> Tensor:
        """Stems x (B, 2 stems, T), left and right of each in turn, to a mix (B, 2, T) within -1..1."""
        p = self.bands(x)
        masked = p * self.mask(p)
        scale = self.excite(masked.abs().mean(2))
        return torch.tanh(self.audio(masked * scale[..., None]).unflatten(1, (self.stems, 2)).sum(1))

    def reconstruction(self, x: Tensor) -> Tensor:
        """Stems through the filter bank and back, (B, 2 stems, T): what the bank is trained with before all else."""
        return self.audio(self.bands(x))

    def bands(self, x: Tensor) -> Tensor:
        """The filter bank, (B, filters, T)."""
        return conv1d(_around(x, self.bank.kernel_size[0]), self.bank.weight)

    def mask(self, p: Tensor) -> Tensor:
        """How much of the bands p (B, filters, T) passes, of the same shape, positive."""
        smooth = softplus(self.smooth(_around(p.abs(), self.smooth.kernel_size[0])))
        slow = nn.functional.max_pool1d(smooth, min(self.pool, smooth.shape[-1]), self.pool, ceil_mode=True)
        hidden = self.enter(slow)
        total: Tensor | float = 0.0
        for block in self.tcn:
            hidden, skipped = block(hidden)
            total = total + skipped
        gate = softplus(self.lstm(self.leave(total).transpose(1, 2))[0]).transpose(1, 2)
        return interpolate(gate, scale_factor=float(self.pool), mode="nearest")[..., : p.shape[-1]]

    def audio(self, p: Tensor) -> Tensor:
        """Bands (B, filters, T) back to stems (B, 2 stems, T), with the weights of the filter bank."""
        kernel = self.bank.kernel_size[0]
        y = conv_transpose1d(p, self.bank.weight)
        return y[..., (kernel - 1) // 2 : (kernel - 1) // 2 + p.shape[-1]]


class _Block(nn.Module):
    """A block of Conv-TasNet (Y. Luo and N. Mesgarani, 2019)."""

    def __init__(self, channels: int, hidden: int, skip: int, dilation: int) -> None:
        super().__init__()
        self.inside = nn.Sequential(
            nn.Conv1d(channels, hidden, 1),
            nn.PReLU(),
            nn.GroupNorm(1, hidden),
            nn.Conv1d(hidden, hidden, 3, padding=dilation, dilation=dilation, groups=hidden),
            nn.PReLU(),
            nn.GroupNorm(1, hidden),
        )
        self.skip = nn.Conv1d(hidden, skip, 1)
        self.residual = nn.Conv1d(hidden, channels, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, channels, F) to the next block's input and this one's part of the output (B, skip, F)."""
        hidden = self.inside(x)
        return x + self.residual(hidden), self.skip(hidden)


def _around(x: Tensor, kernel: int) -> Tensor:
    """x with zeros at both ends, so that a convolution gives as many samples."""
    return pad(x, ((kernel - 1) // 2, kernel - 1 - (kernel - 1) // 2))
