"""A recording made to sound as words say: knobs searched towards a text in an embedding of both texts and sounds.

After Text2FX (A. Chu et al., ICASSP 2025). The embedding is anyone's that keeps to `Embedding`; `Clap` reads one of the
CLAP models of ``transformers`` from a folder. Nothing is ever downloaded.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from diffmix.errors import CheckpointError, SettingsError, about
from diffmix.estimators.style_features import at_rate
from diffmix.kernels.loudness import integrated_loudness
from diffmix.kernels.units import db_to_gain
from diffmix.params import Param, ParamSpec, within
from diffmix.playback import Progress
from diffmix.processors.base import REGISTRY
from diffmix.transferring.evolution import evolve
from diffmix.transferring.job import Job, job_of
from diffmix.transferring.knobs import CHAIN, NEUTRAL
from diffmix.transferring.result import Transfer
from diffmix.types import Path

RANGES: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "eq": {f"{band}_gain_db": (-9, 9) for band in ("low_shelf", "peak1", "peak2", "peak3", "peak4", "high_shelf")},
    "compressor": {"threshold_db": (-40, 0), "ratio": (1, 6)},
    "saturation": {"drive_db": (-24, 18)},
    "imager": {"width": (0.3, 2)},
    "reverb": {"wet_level": (0, 0.3), "room_size": (0.1, 0.9), "damping": (0, 1)},
}
"""The knobs that words move, and how far."""

GENERATIONS = {"fast": 15, "balanced": 40, "best": 120}
PRIOR = 0.02
"""Weight of how far knobs are moved, beside the cosine."""

LEVEL_LUFS = -20.0


@runtime_checkable
class Embedding(Protocol):
    """Sounds and texts as points of one space; ``sample_rate`` is what it hears at, in Hz."""

    sample_rate: int

    def audio(self, x: Tensor) -> Tensor:
        """Points (N, E) of mono sounds (N, T)."""
        ...

    def text(self, words: Sequence[str]) -> Tensor:
        """Points (M, E) of texts."""
        ...


class Clap:
    """A CLAP model of ``transformers``, from a folder on disk. Needs ``pip install diffmix[text]``.

    Equal sounds have equal points: what ``transformers`` draws at random (of a long sound which part is heard, and of a
    batch which sound counts as long) is settled, the part being the first.
    """

    @about("folder", CheckpointError)
    def __init__(self, folder: Path) -> None:
        """Load the model and its processor. Raises CheckpointError if they are not there, or the package is not."""
        if not FilePath(folder).is_dir():
            raise CheckpointError(f"{folder} is no folder with a CLAP model")
        try:
            from transformers import AutoTokenizer, ClapFeatureExtractor, ClapModel
        except ImportError:
            raise CheckpointError("CLAP models need transformers: pip install 'diffmix[text]'") from None
        try:
            self.model = ClapModel.from_pretrained(str(folder), local_files_only=True).eval()
            self.hears = ClapFeatureExtractor.from_pretrained(str(folder), local_files_only=True)
            self.reads = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"no usable CLAP model in {folder}: {' '.join(str(error).split())}") from None
        self.sample_rate = int(self.hears.sampling_rate)

    @torch.no_grad()
    def audio(self, x: Tensor) -> Tensor:
        """Points (N, E) of mono sounds (N, T), of which 10 s are heard."""
        heard = list(x[:, : self.hears.nb_max_samples].numpy())
        given = self.hears(heard, sampling_rate=self.sample_rate, return_tensors="pt")
        given["is_longer"] = torch.zeros(len(x), 1, dtype=torch.bool)
        return _points(self.model.get_audio_features(**given), len(x))

    @torch.no_grad()
    def text(self, words: Sequence[str]) -> Tensor:
        """Points (M, E) of texts."""
        given = self.reads(list(words), return_tensors="pt", padding=True)
        return _points(self.model.get_text_features(**given), len(words))


class _Effects:
    """The stages of the chain that words move, and their knobs as points in [0, 1]: ``spec``, neutral by default."""

    def __init__(self, sample_rate: float) -> None:
        self.stages = {stage: REGISTRY[CHAIN[stage]](sample_rate) for stage in RANGES}
        self.plain = {
            stage: {n: NEUTRAL.get(stage, {}).get(n, p.default) for n, p in effect.spec}
            for stage, effect in self.stages.items()
        }
        self.spec = ParamSpec(
            {
                f"{stage}.{n}": _knob(self.stages[stage].spec.params[n], *ends, self.plain[stage][n])
                for stage, ranges in RANGES.items()
                for n, ends in ranges.items()
            }
        )

    def play(self, x: Tensor, points: Tensor) -> Tensor:
        """Audio (C, T) as each of the points (N, P) has it, (N, C, T)."""
        y = x.expand(len(points), -1, -1)
        for stage, values in self._settings(points).items():
            y = self.stages[stage].process(y, **values)
        return y

    def heard(self, point: Tensor) -> dict[str, dict[str, float]]:
        """The settings of the stages that a point (P,) moves enough to be heard."""
        found = {
            stage: {n: float(v[0]) for n, v in values.items()} for stage, values in self._settings(point[None]).items()
        }
        return {stage: values for stage, values in found.items() if _acts(stage, values, self.plain[stage])}

    def _settings(self, points: Tensor) -> dict[str, dict[str, Tensor]]:
        moved = self.spec.denormalize(points)
        return {
            stage: {n: moved.get(f"{stage}.{n}", torch.full((len(points),), v)) for n, v in values.items()}
            for stage, values in self.plain.items()
        }


def describe(
    input: Any,
    words: str,
    embedding: Embedding | Path,
    *,
    sample_rate: int | None = None,
    amount: float = 1.0,
    quality: str = "balanced",
    ceiling_db: float = -1.0,
    seed: int = 0,
    progress: Progress | None = None,
) -> Transfer:
    """Make a recording sound as words say, as far as an embedding understands them; the loudness stays.

    Args:
        input: a path, or an array (T,), (C, T) or (T, C) with ``sample_rate``.
        words: ``"warm and close"``.
        embedding: an `Embedding`, or a folder with a CLAP model.
        sample_rate: Hz of an array.
        amount: how far the knobs that were found are turned, 0..1.
        quality: "fast", "balanced" or "best": how long is looked.
        ceiling_db: true peak that the result keeps below, -20..0 dBTP.
        seed: of the search.
        progress: called with what is being done and the share done.

    Raises AudioError, SettingsError and CheckpointError, each in one sentence.
    """
    if not isinstance(words, str) or not words.strip():
        raise SettingsError(
            f"there are no words to go by, got {words!r}: describe the sound, for example 'warm and close'"
        )
    if isinstance(embedding, type) or not isinstance(embedding, Embedding | str | os.PathLike):
        raise SettingsError(
            f"the embedding is {embedding!r}; a folder with a CLAP model, or an object with sample_rate, audio and text"
        )
    within("the amount", amount, 0, 1)
    job = job_of(input, sample_rate, amount=amount, quality=quality, ceiling_db=ceiling_db, seed=seed)
    aim = _Aim(words.strip(), embedding if isinstance(embedding, Embedding) else Clap(embedding), job)
    say = progress or (lambda what, done: None)
    found = aim.searched(GENERATIONS[quality], seed, lambda done: say("searching", 0.5 * done))
    point = aim.start + amount * (found - aim.start)
    distances = aim.away(aim.start), aim.away(point)
    used = aim.effects.heard(point)
    return job.by_hand(used, words.strip(), distances, aim.peak_db, lambda what, done: say(what, 0.5 + 0.5 * done))


class _Aim:
    """Words, and how far from them an embedding hears a piece of a recording under the knobs of `_Effects`."""

    def __init__(self, words: str, hears: Embedding, job: Job) -> None:
        self.hears, self.rate, self.effects = hears, job.rate, _Effects(job.rate)
        self.start = self.effects.spec.default().flatten()
        self.piece = self._at_level(job.loudest.expand(1, 2, -1))[0]
        self.wanted = _points(hears.text([f"this sound is {words}"]), 1)

    @property
    def peak_db(self) -> float:
        """Peak of the piece's middle, dBFS."""
        return float(20 * self.piece.mean(0).abs().max().clamp_min(1e-6).log10())

    @torch.no_grad()
    def distances(self, points: Tensor) -> Tensor:
        """Of points (N, P): one less the cosine, and a little for how far the knobs are moved, (N,)."""
        y = self._at_level(self.effects.play(self.piece, points))
        heard = _points(self.hears.audio(at_rate(y.mean(1), self.rate, self.hears.sample_rate)), len(y))
        if heard.shape[1] != self.wanted.shape[1]:
            raise SettingsError(
                f"the embedding has sounds as {heard.shape[1]} numbers and texts as {self.wanted.shape[1]}; "
                "as many are needed"
            )
        return 1 - cosine_similarity(heard, self.wanted) + PRIOR * (points - self.start).abs().mean(1)

    def away(self, point: Tensor) -> float:
        """The distance of one point (P,)."""
        return float(self.distances(point[None])[0])

    def searched(self, generations: int, seed: int, progress: Callable[[float], None]) -> Tensor:
        """The best point (P,) that is found, without the stages that hardly help."""
        point, least = evolve(self.distances, self.start, generations=generations, seed=seed, progress=progress)
        for stage in RANGES:  # a width of what is mono, a threshold that nothing reaches: drawn, not found
            own = torch.tensor([name.startswith(f"{stage}.") for name in self.effects.spec.names])
            tried = torch.where(own, self.start, point)
            if (without := self.away(tried)) <= least:
                point, least = tried, without
        return point

    def _at_level(self, y: Tensor) -> Tensor:
        """Audio (N, C, T) at `LEVEL_LUFS`."""
        return y * db_to_gain(LEVEL_LUFS - integrated_loudness(y, self.rate))[:, None, None]


def _points(found: Any, count: int) -> Tensor:
    """Points (N, E) of an embedding, which later versions of ``transformers`` wrap. Raises SettingsError."""
    points = torch.as_tensor(getattr(found, "pooler_output", found))
    if points.dim() != 2 or len(points) != count:
        raise SettingsError(f"the embedding gave points of shape {tuple(points.shape)}, ({count}, E) is expected")
    if not bool(points.isfinite().any()):
        raise SettingsError("the embedding gave no finite number")
    return points


def _knob(param: Param, low: float, high: float, default: float) -> Param:
    return param.narrowed(low, high, min(max(default, low), high))


def _acts(stage: str, values: Mapping[str, float], plain: Mapping[str, float]) -> bool:
    """Whether a stage is moved enough to be heard."""
    if stage == "saturation":
        return values["drive_db"] > -6
    if stage == "reverb":
        return values["wet_level"] > 0.01
    if stage == "compressor":
        return values["ratio"] > 1.05
    return max(abs(values[n] - plain[n]) for n in values) > 0.05
