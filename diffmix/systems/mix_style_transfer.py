"""Mix style transfer: a network that sets a console so that tracks sound like a reference mix (Diff-MST)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from diffmix.console import Console, Controls, Tracks, kinds, track_loudness
from diffmix.data import audio
from diffmix.data.multitrack import Multitrack
from diffmix.errors import AudioError
from diffmix.estimators.cnn14 import SpectrogramEncoder
from diffmix.estimators.folder import described, fill, read_model, write_model
from diffmix.estimators.style_controller import StyleController
from diffmix.kernels.loudness import HEARD_LUFS, SILENCE_LUFS, integrated_loudness
from diffmix.kernels.units import db_to_gain
from diffmix.mix import grouped, ordered
from diffmix.settings import Settings
from diffmix.systems.automixer import refuse_other_specs
from diffmix.types import Path

FORMAT, VERSION = "diffmix-style-transfer", 1

TRACK_LUFS = -48.0
"""Loudness of a track in front of encoder and console."""

REFERENCE_LUFS = -16.0
"""Loudness of a reference in front of its encoder, and at which mixes are compared."""


class MixStyleTransfer(nn.Module):
    """Tracks and a reference mix to controls of a console (S. S. Vanka et al., "Diff-MST", ISMIR 2024).

    Two encoders of one shape hear the tracks (stereo ones as their mono sum) and the channels of the reference; a
    transformer answers every knob that is free. Not its business are the strip's trim, which follows from the track's
    loudness, and the image of a stereo track, whose balance is the pan.

    Args:
        console: any whose strip has a ``trim`` and whose master has a ``gain``.
        listen_seconds: what it hears at a time.
        encoder: arguments of `SpectrogramEncoder`; ``embedding`` is the controller's too.
        controller: further arguments of `StyleController`.
        sum_and_difference: hear the reference's middle and side instead of its left and right.

    Raises SettingsError for a console without those stages.
    """

    def __init__(
        self,
        console: Console,
        listen_seconds: float = 3.0,
        *,
        encoder: Mapping[str, Any] | None = None,
        controller: Mapping[str, Any] | None = None,
        sum_and_difference: bool = False,
    ) -> None:
        super().__init__()
        console.trims_db(torch.zeros(1))
        _ = console.loudness_knob
        self.console, self.listen_seconds, self.sum_and_difference = console, listen_seconds, sum_and_difference
        self.shape = {"encoder": dict(encoder or {}), "controller": dict(controller or {})}
        self.knobs = {part: _answered(console, part) for part in console.specs}
        self.track_encoder, self.mix_encoder = (SpectrogramEncoder(**self.shape["encoder"]) for _ in range(2))
        sizes = {part: len(names) for part, names in self.knobs.items()}
        embedding = self.track_encoder.project.out_features
        self.controller = StyleController(sizes, 2, embedding, **self.shape["controller"])
        for part, spec in console.specs.items():
            at = {name: n for n, name in enumerate(self.knobs[part])}
            at |= {name: len(at) + n for n, name in enumerate(spec.names) if name not in at}
            if part == "tracks":
                at["image.balance"] = at["pan.pan"]
            self.register_buffer(f"{part}_columns", torch.tensor([at[n] for n in spec.names], dtype=torch.long), False)

    def forward(self, tracks: Tracks, loudness_lufs: Tensor, reference: Tensor, mask: Tensor | None = None) -> Controls:
        """Controls for ``tracks`` of loudness (B, N) in LUFS, in the style of ``reference`` (B, 2, any length).

        ``mask`` (B, N) is 0 where a track is padding.
        """
        with torch.no_grad():
            gain_db = self.trim_db(loudness_lufs)
            heard = torch.cat([x.mean(2) for x in kinds(tracks)], 1)
            heard = heard * db_to_gain(gain_db)[..., None]
            level_db = REFERENCE_LUFS - integrated_loudness(reference, self.console.sample_rate)
            channels = reference * db_to_gain(level_db.clamp(-40, 40))[:, None, None]
            if self.sum_and_difference:
                left, right = channels.unbind(1)
                channels = torch.stack([left + right, left - right], 1) / 2
        embedded = self._encoded(heard, mask)
        style = self.mix_encoder(channels.flatten(0, 1)).unflatten(0, (-1, 2))
        answers = self.controller(embedded, style, mask)
        parts = []
        for part, spec in self.console.specs.items():
            answer = answers[part].float()
            default = spec.default().expand(*answer.shape[:-1], -1)
            parts.append(torch.cat([answer, default], -1)[..., getattr(self, f"{part}_columns")])
        return self.console.with_trims(Controls(*parts), gain_db)

    def _encoded(self, heard: Tensor, mask: Tensor | None) -> Tensor:
        """Embeddings (B, N, E) of tracks (B, N, T); padding is not encoded, so that no batch statistics see it."""
        if mask is None:
            return self.track_encoder(heard.flatten(0, 1)).unflatten(0, heard.shape[:2])
        present = torch.nonzero(mask.flatten() > 0.5)[:, 0]
        found = self.track_encoder(heard.flatten(0, 1)[present])
        return found.new_zeros(mask.numel(), found.shape[1]).index_add(0, present, found).unflatten(0, mask.shape)

    def trim_db(self, loudness_lufs: Tensor) -> Tensor:
        """The gains that bring tracks of these loudnesses to ``TRACK_LUFS``, as far as the trim reaches; 0 for silence.

        A loudness that is not a number is silence.
        """
        trim = self.console.strip["trim"].spec
        loudness = loudness_lufs.nan_to_num(SILENCE_LUFS)
        wanted = (TRACK_LUFS - loudness).clamp(trim.low.item(), trim.high.item())
        return torch.where(loudness > HEARD_LUFS, wanted, 0.0)

    @torch.no_grad()
    def settings_for(self, multitrack: Multitrack, reference: Tensor | Path) -> Settings:
        """Settings that mix a song in the style of a reference: an audio file, or (1 or 2, T) at the model's rate.

        One setting for the song, from the seconds of it in which most plays and the loudest ones of the reference;
        `diffmix.mix.render` plays the whole song with it, from beginning to end.
        Raises AudioError for tracks at another rate or a silent reference.
        """
        rate = round(self.console.sample_rate)
        if multitrack.sample_rate != rate:
            raise AudioError(f"the model works at {rate} Hz, the tracks are at {multitrack.sample_rate} Hz")
        if not isinstance(reference, Tensor):
            x, own = audio.read(reference)
            reference = audio.resample(x, own, rate)
        if float(integrated_loudness(reference[None], rate)) <= HEARD_LUFS:
            raise AudioError("the reference is silent: nothing can be mixed like it")
        length = round(self.listen_seconds * rate)
        tracks, order = grouped(multitrack)
        heard, style = informative(tracks, length), informative(reference.expand(2, -1)[None, None], length)
        assert isinstance(style, Tensor)
        controls = self(heard, track_loudness(heard, rate), style[:, 0])
        controls = self.console.with_trims(controls, self.trim_db(track_loudness(tracks, rate)))
        names = [multitrack.tracks[n].name for n in order]
        found = self.console.settings(controls, names, [len(multitrack.tracks[n].audio) for n in order])
        return ordered(found, [track.name for track in multitrack.tracks])

    def save(self, folder: Path, **card: Any) -> None:
        """Write ``config.json`` (sizes, specs, console, ``card``) and ``model.safetensors``, whole or not at all."""
        config = {"format": FORMAT, "version": VERSION, **self.description, **card}
        write_model(folder, self, config)

    @property
    def description(self) -> dict[str, Any]:
        """Plain data of which the untrained model is made."""
        return {
            "console": self.console.description,
            "specs": {part: spec.to_dict() for part, spec in self.console.specs.items()},
            "listen_seconds": self.listen_seconds,
            "sum_and_difference": self.sum_and_difference,
            **self.shape,
        }

    @classmethod
    def load(cls, folder: Path, sample_rate: float = 44100.0) -> "MixStyleTransfer":
        """Read what `save` wrote, with the stored console at ``sample_rate`` Hz.

        Raises CheckpointError if a file is missing or broken, or if the stored parameters are not this console's.
        """
        config, weights = read_model(folder, "a mix style transfer", FORMAT, VERSION)
        with described(folder):
            model = cls(
                Console.from_layout(config["console"], sample_rate),
                config["listen_seconds"],
                encoder=config["encoder"],
                controller=config["controller"],
                sum_and_difference=config["sum_and_difference"],
            )
            refuse_other_specs(model.console.specs, config["specs"], folder)
        fill(model, weights, folder)
        return model.eval()


def _answered(console: Console, part: str) -> list[str]:
    """The knobs that the network answers: all but locked ones, the trim, and the image, whose balance is the pan."""
    ours = ("trim.gain_db", "image.balance", "image.width") if part == "tracks" else ()
    return [name for name, p in console.specs[part] if p.low < p.high and name not in ours]


def informative(tracks: Tracks, length: int) -> Tracks:
    """The ``length`` samples of (B, N, C, T) in which most tracks play; of those with as many, the loudest.

    A track plays where it is at most 12 dB below its own loudest window; windows overlap by half. Shorter songs are
    followed by silence.
    """
    padded = [pad(x, (0, max(0, length - x.shape[-1]))) for x in kinds(tracks)]
    hop = max(1, length // 2)
    energy = torch.cat([x.unfold(-1, length, hop).square().sum((2, 4)) for x in padded], 1)  # (B, N, windows)
    loudest = energy.amax(-1, keepdim=True)
    playing = ((energy >= 0.06 * loudest) & (loudest > 0)).sum(1).double()
    share = (energy / loudest.clamp_min(1e-30)).double().mean(1)  # below one: decides between equals only
    first = (playing + 0.5 * share).argmax(-1) * hop  # (B,)
    index = first[:, None, None, None] + torch.arange(length, device=first.device)
    cut = tuple(x.gather(-1, index.expand(*x.shape[:3], -1)) for x in padded)
    return cut[0] if isinstance(tracks, Tensor) else (cut[0], cut[1])
