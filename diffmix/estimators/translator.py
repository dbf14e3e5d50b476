"""What was done to a reference, judged by listening: an ensemble that names the treatment, and how sure it is.

It hears the numbers of `style_features` of a recording and of a reference with other content, and says what would have
to be done to the recording so that it sounds as the reference does. Members learned from different songs; how far they
were off on songs that they had not heard is kept with them, and is what a posterior draws its samples from.
"""

import json
import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path as FilePath
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from diffmix.errors import CheckpointError, SettingsError, about
from diffmix.estimators import style_features
from diffmix.estimators.folder import CONFIG, WEIGHTS, described, read_model
from diffmix.estimators.treatment import EXTRAS, SIZE, Treatment
from diffmix.files import replacing
from diffmix.keeping import kept
from diffmix.types import Path

FORMAT, VERSION = "diffmix-translator", 1
DOMAINS = ("speech", "music")
LOWEST, HIGHEST = -4.0, 3.0
"""Bounds of the logarithm of a predicted scale, in standard deviations of what was to be predicted."""

FARTHEST = 6.0
"""Residuals, in predicted scales, are held within this many."""

CLIP = 5.0
"""Standardised numbers of a recording are held within this many."""


SPEECH_ODDS = math.log(2)
"""Logarithm of the odds from which on a recording is taken for speech."""


class Harm(NamedTuple):
    """How often the result was further from the truth than the input by 5 %, by expected ratio, on songs never heard.

    ``rate[k]`` holds for expected ratios from ``edge[k - 1]`` (0 for the first) to ``edge[k]``. ``cautious`` and
    ``default`` are the expected ratios below which acting did as little harm as these gates allow.
    """

    edge: tuple[float, ...]
    rate: tuple[float, ...]
    cautious: float = 0.6
    default: float = 0.8

    def at(self, expected: float) -> float:
        """The rate for an expected ratio: that of its interval, and of the last beyond it."""
        return next((rate for edge, rate in zip(self.edge, self.rate, strict=True) if expected <= edge), self.rate[-1])


GATED = ("cautious", "default")
"""Fields of `Harm` that are gates."""

UNKNOWN_HARM = Harm((1.0,), (0.5,))


class Posterior(NamedTuple):
    """What is believed of the treatment: its median, its scale and residuals (N, 51) in scales, whole as they occurred.

    ``domain`` is what the recording was taken for, ``harm`` what acting on such a belief led to before.
    """

    median: Treatment
    scale: Treatment
    residuals: Tensor
    domain: str = "music"
    harm: Harm = UNKNOWN_HARM

    def samples(self, count: int, seed: int = 0) -> Treatment:
        """Treatments (count, ...) that could have been: residuals as they were drawn, the same for the same seed."""
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randperm(max(count, len(self.residuals)), generator=generator)[:count] % len(self.residuals)
        residuals = self.residuals[drawn].clamp(-FARTHEST, FARTHEST)
        return Treatment.from_vector(self.median.to_vector() + self.scale.to_vector() * residuals)


class Translator(nn.Module):
    """An ensemble of small networks: 2 x 250 numbers in, the median and the scale of 51 numbers out.

    The numbers are standardised and projected to their principal components first: what varies little tells of
    contents more than of styles, and few recordings do not teach which is which.

    Args:
        members: networks, each with weights of its own.
        components: principal components that they hear.
        hidden: width of their two hidden layers.
        dropout: share of hidden numbers left out while training.

    Buffers hold what standardises numbers and answers, and residuals of left-out songs for each of `DOMAINS`.
    """

    center: Tensor
    spread: Tensor
    projection: Tensor
    target_center: Tensor
    target_spread: Tensor
    residuals_speech: Tensor
    residuals_music: Tensor

    def __init__(self, members: int = 4, components: int = 60, hidden: int = 160, dropout: float = 0.4) -> None:
        super().__init__()
        inputs = 2 * style_features.SIZE
        self.members = members
        self.shape = {"members": members, "components": components, "hidden": hidden, "dropout": dropout}
        sizes = (components, hidden, hidden, 2 * SIZE)
        self.layers = nn.ModuleList(_Layer(members, a, b) for a, b in pairwise(sizes))
        self.domain = nn.Linear(style_features.SIZE, 1)
        self.dropout = nn.Dropout(dropout)
        self.activation = nn.GELU()
        self.register_buffer("center", torch.zeros(inputs))
        self.register_buffer("spread", torch.ones(inputs))
        self.register_buffer("projection", torch.eye(inputs, components))
        self.register_buffer("target_center", torch.zeros(SIZE))
        self.register_buffer("target_spread", torch.ones(SIZE))
        for domain in DOMAINS:
            normal = torch.randn(64, SIZE, generator=torch.Generator().manual_seed(0))
            self.register_buffer(f"residuals_{domain}", normal)
        self.harm: dict[str, Harm] = {}
        self.about: dict[str, Any] = {}

    def standardised(self, input_features: Tensor, reference_features: Tensor) -> Tensor:
        """What the members hear, (..., 60), of numbers (..., 250) of recordings and of references."""
        both = torch.cat([reference_features, input_features], -1)
        return ((both - self.center) / self.spread).clamp(-CLIP, CLIP) @ self.projection

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Medians and log scales, (M, B, 51) each, standardised, of `standardised` numbers (B, 60) or (M, B, 60)."""
        h = z if z.ndim == 3 else z.expand(self.members, *z.shape)
        first, second, last = self.layers
        h = self.dropout(self.activation(first(h)))
        h = self.dropout(self.activation(second(h)))
        median, log_scale = last(h).chunk(2, -1)
        return median, log_scale.clamp(LOWEST, HIGHEST)

    @torch.no_grad()
    def predict(
        self,
        input_features: Tensor,
        reference_features: Tensor,
        weights: Tensor | None = None,
        domain: str = "auto",
    ) -> Posterior:
        """What to do to a recording so that it sounds as a reference.

        Args:
            input_features: `style_features` of the recording (250,), or of pieces of it (K, 250).
            reference_features: those of pieces of the reference, or of several references, (R, 250) or (250,).
            weights: how much each of the R counts, 0 or more; all the same by default.
            domain: "speech", "music", or "auto" to let the recording tell.

        Raises SettingsError for another domain, or weights that are not R numbers of which one is positive.
        """
        inputs, references = torch.atleast_2d(input_features), torch.atleast_2d(reference_features)
        shares = torch.ones(len(references)) if weights is None else torch.as_tensor(weights, dtype=torch.float32)
        if shares.shape != (len(references),) or not bool((shares >= 0).all()) or float(shares.sum()) <= 0:
            raise SettingsError(
                f"weights of {len(references)} references are as many numbers of 0 or more, one at least above 0; "
                f"got {shares.tolist()}"
            )
        if domain == "auto":
            domain = self.domain_of(inputs)
        if domain not in DOMAINS:
            raise SettingsError(f"there is no domain {domain!r}; there are auto, {', '.join(DOMAINS)}")
        pairs = [torch.stack([a, b]) for a in references for b in inputs]  # reference first
        z = self.standardised(*(torch.stack([pair[k] for pair in pairs]) for k in (1, 0)))
        median, log_scale = self(z)
        median = median * self.target_spread + self.target_center
        scale = log_scale.exp() * self.target_spread
        share = (shares / shares.sum()).repeat_interleave(len(inputs))[:, None] / len(inputs)
        median, scale = ((part.mean(0) * share).sum(0) for part in (median, scale))
        return Posterior(
            Treatment.from_vector(median),
            Treatment.from_vector(scale),
            getattr(self, f"residuals_{domain}"),
            domain,
            self.harm.get(domain, UNKNOWN_HARM),
        )

    def talks(self, input_features: Tensor) -> Tensor:
        """Log odds (...) that recordings with these numbers (..., 250) are speech."""
        size = style_features.SIZE
        return self.domain(((input_features - self.center[size:]) / self.spread[size:]).clamp(-CLIP, CLIP))[..., 0]

    @torch.no_grad()
    def domain_of(self, input_features: Tensor) -> str:
        """Whether the recording of these numbers, (250,) or (K, 250) of pieces of it, is speech or music.

        Speech has odds of 2:1 at least: a singer who is taken for a talker is judged too boldly.
        """
        return DOMAINS[0] if float(self.talks(input_features).mean()) > SPEECH_ODDS else DOMAINS[1]

    def save(self, folder: Path, **card: Any) -> None:
        """Write ``config.json`` (sizes, harm, ``card``) and ``model.safetensors`` in half precision."""
        from safetensors.torch import save

        folder = FilePath(folder)
        folder.mkdir(parents=True, exist_ok=True)
        weights = {k: v.detach().cpu().half().contiguous() for k, v in self.state_dict().items()}
        for name in ("center", "spread", "target_center", "target_spread"):
            weights[name] = getattr(self, name).detach().cpu().contiguous()
        config = {
            "format": FORMAT,
            "version": VERSION,
            "features": style_features.SIZE,
            "extras": list(EXTRAS),
            "shape": self.shape,
            "harm": {domain: harm._asdict() for domain, harm in self.harm.items()},
            **card,
        }
        with replacing(folder / WEIGHTS) as file:
            file.write_bytes(save(weights))
        with replacing(folder / CONFIG) as file:
            file.write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path | None = None) -> "Translator":
        """Read what `save` wrote; without a folder, the ensemble that ships with diffmix.

        Raises CheckpointError if a file is missing or broken, or of another format, version or set of numbers.
        """
        return _shipped() if folder is None else _read(FilePath(folder))


class _Layer(nn.Module):
    """One linear layer of every member at once."""

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(members, 1, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x, self.weight)


@kept(1)
def _shipped() -> Translator:
    return _read(FilePath(__file__).resolve().parent.parent / "weights" / "transfer")


@about("folder", CheckpointError)
def _read(folder: FilePath) -> Translator:
    config, weights = read_model(folder, "a translator", FORMAT, VERSION)
    numbers = {"features": style_features.SIZE, "extras": list(EXTRAS)}
    for name, mine in numbers.items():
        if config.get(name) != mine:
            raise CheckpointError(f"{folder} was trained for other {name}: {config.get(name)}, not {mine}")
    with described(folder):
        translator = Translator(**config["shape"])
        for domain in DOMAINS:
            translator.register_buffer(f"residuals_{domain}", weights[f"residuals_{domain}"].float())
        translator.load_state_dict({name: part.float() for name, part in weights.items()})
        translator.harm = {d: _harm(h) for d, h in config.get("harm", {}).items()}
    translator.about = config
    return translator.eval()


def _harm(stored: Mapping[str, Any]) -> Harm:
    return Harm(tuple(stored["edge"]), tuple(stored["rate"]), **{k: stored[k] for k in GATED if k in stored})
