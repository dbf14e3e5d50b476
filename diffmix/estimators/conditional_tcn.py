"""A temporal convolutional network whose layers follow knobs: as an imitation of an effect, or in the place of one.

C. J. Steinmetz and J. D. Reiss, "Efficient neural networks for real-time modeling of analog dynamic range compression"
(AES 152, 2022), as DeepAFx-ST uses it (J. Audio Eng. Soc. 70(9), 2022): four layers of 64 channels, kernels of 13
samples dilated by 1, 8, 64 and 512.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, pad

from diffmix.errors import SettingsError


class ConditionalTCN(nn.Module):
    """Mono audio with conditions to mono audio, causal.

    Each layer is a dilated convolution, normalised over the batch without a scale of its own, scaled and shifted by
    what one linear layer makes of the conditions (FiLM), bent, and added to its input times a factor per channel.

    Args:
        conditions: number of knobs, in [0, 1].
        channels, kernel, layers, growth: sizes; layer n is dilated by growth^n.

    Raises SettingsError for sizes below 1.
    """

    def __init__(self, conditions: int, channels: int = 64, kernel: int = 13, layers: int = 4, growth: int = 8) -> None:
        super().__init__()
        sizes = {"conditions": conditions, "channels": channels, "kernel": kernel, "layers": layers, "growth": growth}
        for name, size in sizes.items():
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                raise SettingsError(f"{name} of a conditional network: a whole number of 1 or more, got {size!r}")
        self.kernel, self.dilations = kernel, [growth**n for n in range(layers)]
        self.layers = nn.ModuleList(
            _Layer(conditions, channels if n else 1, channels, kernel, d) for n, d in enumerate(self.dilations)
        )
        self.output = nn.Conv1d(channels, 1, 1)
        with torch.no_grad():  # activations are about 1, audio is not
            self.output.weight *= 0.1

    @property
    def receptive_field(self) -> int:
        """How many samples an output sample depends on, its own included: 7021 at the paper's sizes."""
        return 1 + (self.kernel - 1) * sum(self.dilations)

    def forward(self, x: Tensor, u: Tensor) -> Tensor:
        """Audio x (B, C, T) with conditions u (B, P) to audio (B, C, T); channels are treated alike and apart."""
        h = x.reshape(-1, 1, x.shape[-1])
        each = u.repeat_interleave(x.shape[1], 0)
        for layer in self.layers:
            h = layer(h, each)
        return self.output(h).view(x.shape)


class _Layer(nn.Module):
    def __init__(self, conditions: int, inputs: int, channels: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.dilation, self.inputs = dilation, inputs
        self.convolve = nn.Conv1d(inputs, channels, kernel, dilation=dilation, bias=False)
        self.norm = nn.BatchNorm1d(channels, affine=False)
        self.modulate = nn.Linear(conditions, 2 * channels)
        self.bend = nn.PReLU(channels)
        self.past = nn.Conv1d(inputs, channels, 1, groups=inputs, bias=False)
        with torch.no_grad():  # from gains of about 1
            self.modulate.bias[:channels] += 1

    def forward(self, h: Tensor, u: Tensor) -> Tensor:
        reach = (self.convolve.kernel_size[0] - 1) * self.dilation
        y = conv1d(pad(h, (reach, 0)), self.convolve.weight, dilation=self.dilation)
        gain, shift = self.modulate(u).unsqueeze(-1).chunk(2, 1)
        return self.bend(gain * self.norm(y) + shift) + self.past(h)
