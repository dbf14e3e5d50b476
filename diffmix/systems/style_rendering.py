"""Ways to play a chain of effects so that a gradient reaches its knobs: the methods that DeepAFx-ST compares.

C. J. Steinmetz, N. J. Bryan and J. D. Reiss, "Style transfer of audio effects with differentiable signal processing",
J. Audio Eng. Soc. 70(9), 2022.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from diffmix.console import Console
from diffmix.errors import SettingsError
from diffmix.estimators.conditional_tcn import ConditionalTCN
from diffmix.processors import Chain, Gain
from diffmix.processors.base import LinearFilter
from diffmix.processors.black_box import Audio, BlackBox, Job

METHODS = {
    "ad": "automatic differentiation through the effects",
    "spsa": "simultaneous perturbation of the knobs",
    "np": "through frozen networks that imitate the effects, which also play in the end",
    "np_hh": "through the networks in training, the effects play in the end",
    "np_fh": "the effects play always, the networks give the gradient",
    "tcn1": "no effects: one network that follows the knobs, trained with them",
    "tcn2": "no effects: two such networks in series",
}
"""Every method and what it is."""

Parts = Mapping[str, Sequence[str]]
"""Names of stages of a chain, for which one network stands, by the network's name."""


def strip_chain(console: Console) -> Chain:
    """The effects of a console's strip, its trim aside."""
    return Chain(**{stage: effect for stage, effect in console.strip.items() if stage != "trim"})


def effect_parts(chain: Chain) -> dict[str, list[str]]:
    """The stages that are imitated: ``eq``, the filters in front, and ``compressor``, the first that is no filter.

    Raises SettingsError for a chain without the two.
    """
    names = list(chain.stages)
    first = next((n for n, stage in enumerate(chain.stages.values()) if not isinstance(stage, LinearFilter)), 0)
    if not first or any(isinstance(chain.stages[name], Gain) for name in names[:first]):
        raise SettingsError(
            f"networks imitate filters with a compressor behind them; the strip of this console has {', '.join(names)}"
        )
    return {"eq": names[:first], "compressor": [names[first]]}


def network_parts(method: str, chain: Chain) -> dict[str, list[str]]:
    """What the networks of a method stand for: of proxies the effects, of end-to-end networks all stages."""
    if method == "tcn1":
        return {"all": list(chain.stages)}
    parts = effect_parts(chain)
    if method == "tcn2":
        parts["compressor"] = [name for name in chain.stages if name not in parts["eq"]]
    return parts


class Networks(nn.Module):
    """A chain in which networks stand for its first stages; what is left of it plays as it is."""

    def __init__(self, chain: Chain, parts: Parts, **sizes: Any) -> None:
        """``sizes`` are those of `ConditionalTCN`."""
        super().__init__()
        self.is_frozen = False
        self.parts, self.sizes = {name: list(stages) for name, stages in parts.items()}, sizes
        self.columns = {name: columns_of(chain, stages, moving=True) for name, stages in parts.items()}
        self.networks = nn.ModuleDict({n: ConditionalTCN(len(c), **sizes) for n, c in self.columns.items()})
        imitated = [stage for stages in parts.values() for stage in stages]
        rest = {name: stage for name, stage in chain.stages.items() if name not in imitated}
        self.rest = Chain(**rest) if rest else None
        self.rest_columns = columns_of(chain, list(rest))

    def forward(self, x: Tensor, u: Tensor) -> Tensor:
        """Audio x (B, C, T) with the chain's controls u (B, P) to audio (B, C, T)."""
        for name, network in self.networks.items():
            x = network(x, u[:, self.columns[name]])
        return x if self.rest is None else self.rest(x, u[:, self.rest_columns])

    def freeze(self) -> "Networks":
        """Itself, which learns no more, whatever it is a part of."""
        self.is_frozen = True
        return self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "Networks":
        """As of any module, but that a frozen one stays as it is."""
        return super().train(mode and not self.is_frozen)


def columns_of(chain: Chain, stages: Sequence[str], moving: bool = False) -> list[int]:
    """Where the knobs of some stages lie in a chain's controls; ``moving``: of those whose range is not a point."""
    return [
        n
        for n, (name, param) in enumerate(chain.spec)
        if name.partition(".")[0] in stages and (param.low < param.high or not moving)
    ]


class BlackChain(BlackBox, abstract=True):
    """A chain whose gradients are estimated by playing it, as if nothing were known of it; see `BlackBox`."""

    input_gradient = "none"

    def __init__(self, chain: Chain, **options: Any) -> None:
        """``options`` are those of `BlackBox`: gradient, epsilon, perturbations, seed."""
        super().__init__(chain.sample_rate, **options)
        self.chain, self.spec = chain, chain.spec

    @torch.no_grad()
    def render(self, jobs: Sequence[Job]) -> list[Audio]:
        """The outputs of the chain, in one batch."""
        x = torch.from_numpy(np.stack([audio for audio, _ in jobs]))
        values = torch.from_numpy(np.stack([row for _, row in jobs])).unbind(1)
        return list(self.chain.process(x, **dict(zip(self.spec.names, values, strict=True))).numpy())
