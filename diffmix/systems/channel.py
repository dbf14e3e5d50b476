"""A neural proxy of a console's strip: a network that imitates its effects, so that gradients flow through it.

The transformation network of "Automatic multitrack mixing with a differentiable mixing console of neural audio effects"
(C. J. Steinmetz et al., ICASSP 2021): trained on random settings of an equaliser, a compressor and a reverb, then
frozen. The effects here have exact gradients of their own, so that a proxy is something to compare with, and a way to
train through effects that have none.
"""

import json
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path as FilePath
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from diffmix.console import Console, DeskValues, Tracks, kinds
from diffmix.data.songs import Song
from diffmix.data.synthetic import VALIDATION_SEED
from diffmix.errors import AudioError, CheckpointError, SettingsError
from diffmix.kernels.units import db_to_gain
from diffmix.params import ParamSpec
from diffmix.processors import NeuralEffect
from diffmix.processors.chain import Chain
from diffmix.systems.mixes import SILENT_RMS, MixData, peak_gain_db, songs_of
from diffmix.systems.neural_effect import FILE, BlackBox
from diffmix.systems.training import Training
from diffmix.types import Path


def prepare(config: Mapping[str, Any]) -> Training:
    """The training that ``conf/recipe/dmc_proxy.yaml`` describes."""
    console, data = Console.from_layout(config["console"]), config["data"]
    options = dict(config["system"])
    rate, knobs = round(console.sample_rate), strip_knobs(console)
    network = {"conditions": knobs.size, **options.pop("network")}
    effect = NeuralEffect(console.sample_rate, **network, seed=config["seed"])
    lead_in = effect.receptive_field - 1
    train, held_out = (
        StripCrops(songs, console, data["seconds"], lead_in, seed)
        for songs, seed in zip(songs_of(data, rate), (config["seed"], VALIDATION_SEED), strict=True)
    )

    def save(folder: FilePath, **card: Any) -> None:
        folder.mkdir(exist_ok=True)
        effect.save(folder / FILE, console=description(console), knobs=knobs.to_dict(), **card)

    system = Imitation(effect, total_steps=config["trainer"]["max_steps"], **options)
    return Training(system, MixData.sized(data, train, held_out), save)


def strip_knobs(console: Console) -> ParamSpec:
    """The open knobs of the strip's effects, the trim's aside: what a proxy of them follows.

    Raises SettingsError if there are none, or more than 8, which is as many as a `NeuralEffect` has.
    """
    stages = tuple(f"{stage}." for stage in console.strip if stage != "trim")
    found = {name: p for name, p in console.track_spec if name.startswith(stages) and p.low < p.high}
    if not 1 <= len(found) <= 8:
        raise SettingsError(
            f"a proxy follows 1 to 8 knobs, the strip of this console has {len(found)}: lock or open some by its "
            "ranges, see conf/console/dmc_channel.yaml"
        )
    return ParamSpec(found)


def description(console: Console) -> dict[str, Any]:
    """The effects of the strip that a proxy imitates, with their ranges."""
    strip = {stage: made for stage, made in console.layout["strip"].items() if stage != "trim"}
    plain: dict[str, Any] = {"strip": strip, "ranges": {stage: console.ranges.get(stage) for stage in strip}}
    return dict(json.loads(json.dumps(plain)))


class StripCrop(NamedTuple):
    """A track and what leads up to it (1, before + T), the same through a strip (1, T), and the strip's knobs (P,)."""

    dry: Tensor
    wet: Tensor
    knobs: Tensor


class StripCrops(Dataset[StripCrop]):
    """Tracks of songs through a strip at random settings; crop number i of a seed is always the same."""

    def __init__(self, songs: Any, console: Console, seconds: float, before: int, seed: int) -> None:
        self.songs, self.before, self.seed, self.seconds = songs, before, seed, seconds
        self.rate = round(console.sample_rate)
        self.spec = strip_knobs(console)
        self.strip = Chain(**deepcopy({stage: effect for stage, effect in console.strip.items() if stage != "trim"}))

    def __getitem__(self, index: int) -> StripCrop:
        """Crop ``index``; silence is passed over."""
        rng = np.random.default_rng([self.seed, index])
        length = round(self.seconds * self.rate)
        for _ in range(50):
            song: Song = self.songs[int(rng.integers(len(self.songs)))]
            seconds = (length + self.before) / self.rate
            start_s = float(rng.uniform(0, max(song.seconds - seconds, 0)))
            tracks = song.segment(start_s, seconds, self.rate).tracks
            dry = tracks[int(rng.integers(len(tracks)))].audio[:1]
            if dry[:, self.before :].square().mean() > SILENT_RMS**2:
                break
        else:
            raise AudioError(f"no track that sounds for {self.seconds:g} s was found in {len(self.songs)} songs")
        dry = dry * db_to_gain(peak_gain_db(dry))
        knobs = torch.from_numpy(rng.random(self.spec.size)).float()
        given = {name: p.default for name, p in self.strip.spec} | self.spec.denormalize(knobs)
        with torch.no_grad():
            wet = self.strip.process(dry[None], **{name: torch.as_tensor(v).reshape(1) for name, v in given.items()})
        return StripCrop(dry, wet[0, :, self.before :], knobs)


class Imitation(BlackBox):
    """Learns to sound like a strip of effects at any setting: as `BlackBox`, but that the conditions are its knobs."""

    def forward(self, crop: StripCrop) -> Tensor:  # type: ignore[override]
        """The effect's (B, 1, T) of a batch, after what leads up to it."""
        return self.effect(crop.dry, crop.knobs)[..., -crop.wet.shape[-1] :]


class StripProxy(nn.Module):
    """A console in which a frozen network stands for the effects of the strips, the trim's aside."""

    def __init__(self, effect: NeuralEffect, console: Console) -> None:
        """Raises SettingsError for an effect of another sample rate or another number of knobs."""
        super().__init__()
        self.knobs = strip_knobs(console)
        if effect.sample_rate != console.sample_rate or effect.spec.size != self.knobs.size:
            raise SettingsError(
                f"the proxy runs at {effect.sample_rate:g} Hz and follows {effect.spec.size} knobs, the console runs "
                f"at {console.sample_rate:g} Hz and its strip has {self.knobs.size}"
            )
        self.effect = effect.eval().requires_grad_(False)
        rest = {name: values for name, values in console.ranges.items() if name not in console.strip}
        self.desk = Console(console.sample_rate, rest, **{**console.layout, "strip": {}})

    @classmethod
    def load(cls, path: Path, console: Console) -> "StripProxy":
        """Read what ``recipe=dmc_proxy`` wrote.

        Raises CheckpointError if it cannot be read, or if it imitates another strip than this console's.
        """
        from safetensors import safe_open

        strip_knobs(console)  # says so, if there can be no proxy of it
        effect = NeuralEffect.load(path)
        with safe_open(FilePath(path), "pt") as file:
            stored = json.loads(file.metadata()["config"]).get("console")
        if stored != (mine := description(console)):
            raise CheckpointError(f"{path} imitates the strip {stored}, this console's is {mine}")
        return cls(effect, console)

    def mix(self, tracks: Tracks, values: DeskValues, mask: Tensor | None = None) -> Tensor:
        """As `Console.mix`, (B, 2, T)."""
        u = self.knobs.normalize({name: values.tracks[name] for name in self.knobs.names})  # (B, N, P)
        gain = db_to_gain(values.tracks["trim.gain_db"])[..., None, None]
        heard, first = [], 0
        for x in kinds(tracks):
            part = slice(first, first + x.shape[1])
            y = (x * gain[:, part]).flatten(0, 1)
            heard.append(self.effect(y, u[:, part].flatten(0, 1)).view(x.shape) if x.shape[1] else x)
            first += x.shape[1]
        rest = {name: values.tracks[name] for name in self.desk.track_spec.names}
        wet = heard[0] if isinstance(tracks, Tensor) else (heard[0], heard[1])
        return self.desk.mix(wet, DeskValues(rest, values.bus, values.master), mask)
