"""A neural network as an effect: learned from recordings before and after a device, steered by a few knobs."""

import json
import math
from collections.abc import Sequence
from itertools import islice
from pathlib import Path as FilePath
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d

from diffmix.errors import CheckpointError, SettingsError, about
from diffmix.files import check_format, replacing
from diffmix.kernels import stream
from diffmix.params import Param, ParamSpec
from diffmix.processors.base import Processor
from diffmix.types import Path, Ranges

FORMAT, VERSION = "diffmix-neural-effect", 1
_HIDDEN = 16  # neurons between the conditions and the modulation of a layer
_LARGEST = {"conditions": 8, "channels": 256, "kernel": 255, "dilation": 65536, "layers": 32}


class NeuralEffect(Processor):
    r"""A causal temporal convolutional network whose layers follow up to eight conditions.

    With conditions c in [0, 1]^P and h_0 the audio, layer n of N computes

        h_n = h_{n-1} + f_n((1 + g_n) (w_n * h_{n-1}) + b_n),   (g_n, b_n) = V_n s(U (2c - 1) + u) + v_n,

    where * is a convolution dilated by d_n, s(z) = z / sqrt(1 + z^2), and f_n(z) = z (a_n + (1 - a_n) (1 + s(z)) / 2)
    is a PReLU without its corner: as good a learner, and smooth, as amplifiers are. The output mixes the channels of
    h_N. The modulation is FiLM (E. Perez et al., AAAI 2018); the network is that of C. J. Steinmetz and J. D. Reiss,
    "Efficient neural networks for real-time modeling of analog dynamic range compression", AES 152 (2022), and,
    steered by conditions that stood still in training, of their "Steerable discovery of neural audio effects" (2021):
    at c = 1/2 the layers are as trained, and away from it each condition shifts them along a direction of its own,
    which nothing but the ear chose.

    Channels are processed alike and apart. An untrained network, drawn from ``seed``, is no useful effect: see
    ``python -m diffmix.train recipe=neural_effect`` and `load`.
    """

    pedalboard = False
    uncarried = "it has no plugin that runs a neural network"
    exact_chunks = False  # convolutions of other lengths are summed in another order
    bands = {  # noqa: RUF012 as declared by Processor
        f"condition_{k}": Param(
            0, 1, 0.5, "", doc="a knob of the network; 0.5: as trained on one pair", modulatable=True
        )
        for k in range(1, _LARGEST["conditions"] + 1)
    }

    def __init__(
        self,
        sample_rate: float,
        ranges: Ranges | None = None,
        precision: Literal["float32", "float64"] = "float32",
        *,
        conditions: int = 2,
        channels: int = 16,
        kernel: int = 13,
        dilations: Sequence[int] = (1, 10, 100, 1000),
        seed: int = 0,
    ) -> None:
        """Arguments as for `Processor`, the sizes of the network, and the seed that its weights are drawn from.

        Raises SettingsError for sizes below 1 or beyond what is sensible.
        """
        super().__init__(sample_rate, {}, precision)
        self.shape: dict[str, Any] = {
            "conditions": conditions, "channels": channels, "kernel": kernel, "dilations": [*dilations],
        }  # fmt: skip
        _check(self.shape)
        self.spec = ParamSpec(dict(islice(self.declared.items(), conditions))).narrowed(ranges or {})
        generator = torch.Generator().manual_seed(seed)
        self.steering = _Affine(conditions, _HIDDEN, generator)
        self.layers = nn.ModuleList(
            _Layer(channels if n else 1, channels, kernel, d, generator) for n, d in enumerate(dilations)
        )
        self.output = nn.Parameter(torch.full((1, channels, 1), 1 / channels))

    @property
    def receptive_field(self) -> int:
        """How many samples an output sample depends on, its own included."""
        return 1 + sum((self.shape["kernel"] - 1) * d for d in self.shape["dilations"])

    def process(self, x: Tensor, **values: Tensor) -> Tensor:
        """Audio x (B, C, T) with each condition (B,) or (B, T) to audio (B, C, T)."""
        items, channels, samples = x.shape
        curves = [v if v.ndim == 2 else v[:, None] for v in (values[name] for name in self.spec.names)]
        conditions = torch.stack(torch.broadcast_tensors(*curves), 1)  # (B, P, 1 or T)
        hidden = _bent(self.steering(2 * conditions.to(x.dtype) - 1))
        h = x.reshape(items * channels, 1, samples)
        for layer in self.layers:
            h = layer(h, hidden, channels)
        return _convolved(h, self.output).reshape(x.shape).to(x.dtype)  # autocast's convolutions give half precision

    def save(self, path: Path, **card: Any) -> None:
        """Write the network as one safetensors file, whose header holds its sizes, sample rate and ``card`` as JSON.

        Raises OutputError if it cannot be written.
        """
        from safetensors.torch import save

        config = {"sample_rate": self.sample_rate, "network": self.shape, **card}
        header = {"format": FORMAT, "version": str(VERSION), "config": json.dumps(config)}
        weights = {name: weight.detach().cpu().contiguous() for name, weight in self.state_dict().items()}
        with replacing(FilePath(path)) as temporary:
            temporary.write_bytes(save(weights, header))

    @classmethod
    @about("path", CheckpointError)
    def load(
        cls, path: Path, ranges: Ranges | None = None, precision: Literal["float32", "float64"] = "float32"
    ) -> "NeuralEffect":
        """Read what `save` wrote; the effect runs at the sample rate it was trained at.

        Raises CheckpointError if the file is missing, broken, of another format, or holds other weights than its
        header says, SettingsError for ranges that the conditions do not have.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(FilePath(path), "pt") as file:
                header = file.metadata() or {}
                weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 not a dict
        except (OSError, ValueError, SafetensorError) as error:
            raise CheckpointError(f"no usable neural effect in {path}: {error}") from None
        check_format(header, str(path), "a neural effect", FORMAT, str(VERSION), CheckpointError)
        try:
            config = json.loads(header["config"])
            effect = cls(config["sample_rate"], None, precision, **config["network"])
            effect.load_state_dict(weights)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise CheckpointError(f"{path}: the header does not describe the weights ({reason})") from None
        effect.spec = effect.spec.narrowed(ranges or {})
        return effect


def _check(shape: dict[str, Any]) -> None:
    dilations = shape["dilations"]
    sizes = [(name, shape[name], _LARGEST[name]) for name in ("conditions", "channels", "kernel")]
    sizes += [("dilations", d, _LARGEST["dilation"]) for d in dilations]
    sizes += [("the number of dilations", len(dilations), _LARGEST["layers"])]
    for name, size, largest in sizes:
        if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= largest:
            raise SettingsError(f"{name} of a neural effect: whole numbers in 1..{largest}, got {size!r}")


def _uniform(shape: tuple[int, ...], inputs: int, generator: torch.Generator) -> nn.Parameter:
    """Weights of variance 1 / inputs, so that layers keep the level of their input."""
    bound = math.sqrt(3 / inputs)
    return nn.Parameter((2 * torch.rand(shape, generator=generator) - 1) * bound)


def _convolved(x: Tensor, weight: Tensor, dilation: int = 1) -> Tensor:
    """``conv1d`` in the dtype of x (R, I, T) with weight (O, I, K), to (R, O, T - (K - 1) dilation).

    The CPU's library chooses the order of summation by the number of rows: they go one by one, so that an item of a
    batch equals it alone.
    """
    w = weight.to(x.dtype)
    rows = x.split(1) if x.device.type == "cpu" else (x,)
    return torch.cat([conv1d(row, w, dilation=dilation) for row in rows])


def _bent(z: Tensor) -> Tensor:
    """From -1 to 1, of operations that round alike in vectors and alone, so that no row depends on its place."""
    return z / torch.sqrt(1 + z * z)


class _Affine(nn.Module):
    """``W x + b`` at every sample, from b = 0."""

    def __init__(self, inputs: int, outputs: int, generator: torch.Generator) -> None:
        super().__init__()
        self.weight = _uniform((outputs, inputs, 1), inputs, generator)
        self.bias = nn.Parameter(torch.zeros(outputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        """x (B, I, F) to (B, O, F)."""
        return _convolved(x, self.weight) + self.bias.to(x.dtype)


class _Layer(nn.Module):
    """A dilated causal convolution, modulated, bent, and added to its input."""

    def __init__(self, inputs: int, channels: int, kernel: int, dilation: int, generator: torch.Generator) -> None:
        super().__init__()
        self.dilation = dilation
        self.weight = _uniform((channels, inputs, kernel), inputs * kernel, generator)
        self.modulation = _Affine(_HIDDEN, 2 * channels, generator)
        self.slope = nn.Parameter(torch.full((channels, 1), 0.25))

    def forward(self, h: Tensor, hidden: Tensor, channels: int) -> Tensor:
        """h (B C, I, T) with hidden (B, H, 1 or T) to (B C, O, T)."""
        taps = self.weight.shape[-1]
        if not stream.is_streaming():  # what reaches back beyond the signal meets silence
            taps = min(taps, -(-h.shape[-1] // self.dilation))
        past = (taps - 1) * self.dilation
        padded = torch.cat([stream.memory((*h.shape[:2], past), h), h], -1)
        stream.keep(padded[..., padded.shape[-1] - past :])
        gain, bias = self.modulation(hidden).repeat_interleave(channels, 0).chunk(2, 1)
        z = (1 + gain) * _convolved(padded, self.weight[..., -taps:], self.dilation) + bias
        slope = self.slope.to(h.dtype)
        return h + z * (slope + (1 - slope) * (1 + _bent(z)) / 2)
