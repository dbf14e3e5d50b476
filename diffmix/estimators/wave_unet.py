"""Raw tracks to a mix without a console: a U-shaped network on waveforms."""

import itertools

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from diffmix.errors import SettingsError

KERNEL = 13
LAST_KERNEL = 5


class WaveUNet(nn.Module):
    """Inputs (B, I, T) in a fixed order to stereo (B, 2, T), for any T.

    The network of M. A. Martínez-Ramírez, D. Stoller and D. Moffat, "A deep learning approach to intelligent drum
    mixing with the Wave-U-Net" (JAES 69, 2021). On the way down, each level convolves by 13 taps to ``step`` channels
    more, and a second convolution halves the rate; on the way up, samples are doubled, the level's own join them, and a
    convolution goes back to ``step`` channels fewer. With 12 levels in steps of 24 and 8 inputs it has 17.8 M weights.
    """

    def __init__(self, inputs: int = 8, levels: int = 6, step: int = 8) -> None:
        """Raises SettingsError for sizes that are no whole numbers of 1..64, levels of 1..16."""
        super().__init__()
        for name, size, largest in (("inputs", inputs, 64), ("levels", levels, 16), ("step", step, 64)):
            if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= largest:
                raise SettingsError(f"{name} of a Wave-U-Net is {size!r}; allowed are whole numbers in 1..{largest}")
        self.inputs, self.levels = inputs, levels
        widths = [inputs, *(step * n for n in range(1, levels + 1))]
        self.down = nn.ModuleList(Level(a, b) for a, b in itertools.pairwise(widths))
        self.halve = nn.ModuleList(nn.Conv1d(c, c, KERNEL, 2, KERNEL // 2) for c in widths[1:])
        self.bottom = nn.Conv1d(widths[-1], widths[-1], 1)
        self.up = nn.ModuleList(Level(2 * c, max(c - step, step)) for c in reversed(widths[1:]))
        self.last = nn.Conv1d(inputs + step, 2, LAST_KERNEL, padding=LAST_KERNEL // 2)

    @property
    def multiple(self) -> int:
        """Lengths are padded to a multiple of this, and only chunks that start at one equal the whole."""
        return 1 << self.levels

    @property
    def reach(self) -> int:
        """How many samples away from it an output sample still depends on its input, on either side.

        A convolution of 13 taps at a rate of 1 / 2^n reaches 6 2^n samples, and each level has two on the way down
        (the second of which halves the rate) and one on the way up, where a doubled sample stands up to 2^n away.
        """
        side = KERNEL // 2
        return LAST_KERNEL // 2 + sum((3 * side + 1) << n for n in range(self.levels))

    def forward(self, x: Tensor) -> Tensor:
        """Audio (B, I, T) to (B, 2, T)."""
        length = x.shape[-1]
        x = pad(x, (0, -length % self.multiple))
        skips, h = [], x
        for level, halve in zip(self.down, self.halve, strict=True):
            h = level(h)
            skips.append(h)
            h = halve(h)
        h = self.bottom(h)
        for level in self.up:
            h = level(torch.cat([interpolate(h, scale_factor=2.0), skips.pop()], 1))
        return self.last(torch.cat([x, h], 1))[..., :length]


class Level(nn.Sequential):
    """A convolution that keeps the length, normalised over the batch, and a slope for each channel."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            nn.Conv1d(inputs, outputs, KERNEL, padding=KERNEL // 2), nn.BatchNorm1d(outputs), nn.PReLU(outputs)
        )
