"""The automatic mixer: an estimator that says what a mix is to become."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool1d

from diffmix.console import Console
from diffmix.data.fullness import excerpts
from diffmix.data.knowledge import STYLE, Style, class_mean
from diffmix.data.knowledge.engineer import UNHEARD_LU
from diffmix.data.multitrack import Multitrack
from diffmix.data.roles import LABELS, ROLES
from diffmix.errors import CheckpointError
from diffmix.estimators import Estimator, Heard
from diffmix.estimators.features import FRAME_S, heard_mix, level_free, log_mel, measures
from diffmix.estimators.folder import described, fill, read_model, write_model
from diffmix.intent import Intent
from diffmix.kernels.loudness import HEARD_LUFS
from diffmix.params import ParamSpec
from diffmix.settings import Settings
from diffmix.systems.intents import QUIETEST_LU, IntentCode, Vectors
from diffmix.types import Path

FORMAT, VERSION = "diffmix-automixer", 4
LISTENINGS = 4

ACTIVE_DB = -30.0
"""A track plays where it is so much below its loudest frames."""

FAINT_DB = -45.0
"""So faint the first track may begin and the last one end."""

REST_S = 8.0
"""Longer rests of a track are heard as so long: what it plays counts, and not how seldom."""

EXCERPT_S = 20.0
LISTEN_S = 20.0
GUESSED_SHARE = 0.65

DECIDED = 3.0
"""Power of a guess's chances in what is usual: a favourite counts for nearly all, of two equals each for half."""


class Automixer(nn.Module):
    """Says what a console is to make of tracks: every knob, and how loud each track is to be in the mix.

    Three things it does not have to learn: what is usual for what tracks are, which is a table and measuring
    (`diffmix.data.knowledge`); trims and faders, which follow from measuring (`diffmix.balance`); and the sides of
    panned tracks, which are chosen so that the mix does not lean. Tracks may have roles, the mix a style and a
    reference, or none of these. The order of the tracks, their levels and silent tracks change nothing.
    """

    def __init__(self, console: Console, listen_seconds: float = LISTEN_S, **estimator: Any) -> None:
        """An untrained mixer; ``listen_seconds`` is what it hears at a time, ``estimator`` goes to `Estimator`.

        Longer pieces than those of training are better: what instruments are shows in statistics over time.
        """
        super().__init__()
        self.console, self.code = console, IntentCode(console)
        self.listen_seconds = listen_seconds
        self.shape = dict(estimator)
        self.parts = [part for part, spec in self.code.specs.items() if spec.size]
        specs = {part: self.code.specs[part] for part in self.parts}
        self.estimator = Estimator(specs, labels=len(LABELS), wishes=STYLE.size, **estimator)

    def forward(self, heard: Heard) -> tuple[Vectors, Tensor]:
        """What the estimator answers, and what it takes tracks for, (B, N, roles) in logits.

        A part without knobs has none.
        """
        controls, guess = self.estimator.decide(heard)
        answers = dict(zip(self.parts, controls, strict=True))
        none = answers["tracks"].new_zeros(len(answers["tracks"]), 0)
        return Vectors(*(answers.get(part, none) for part in self.code.specs)), guess

    @torch.no_grad()
    def intend(
        self,
        multitrack: Multitrack,
        *,
        roles: Mapping[str, str | None] | None = None,
        style: Style | None = None,
        reference: Tensor | None = None,
    ) -> Intent:
        """What a song is to become.

        Args:
            multitrack: its tracks, at the console's sample rate.
            roles: what tracks are, by name, of `diffmix.data.roles.ROLES`; the others are told by their sound.
            style: how it is to be mixed; otherwise as the network thinks best.
            reference: a finished mix (2, T) at the same rate, whose style is wanted.

        It listens to every track where it plays, up to ``LISTENINGS`` times, as if they all played there together:
        silence around the song and long rests are left out (`counting`).
        Effects, pans and sends are what is usual for a track's role and what its recording then needs in the
        style, expected over what it is likely to be; knobs that `class_mean` does not set are the network's. How loud
        a track of a told role is follows from what is usual as well; of a guessed one that counts ``GUESSED_SHARE``,
        and the network's answer the rest.
        """
        rate, names = multitrack.sample_rate, [track.name for track in multitrack.tracks]
        channels = [len(track.audio) for track in multitrack.tracks]
        sounding = [n for n, name in enumerate(names) if multitrack.loudness_lufs[name] > HEARD_LUFS]
        sounding = sorted(sounding or range(len(names)), key=lambda n: names[n])
        tracks = [multitrack.tracks[n] for n in sounding]
        mel_db = torch.cat([log_mel(track.audio[None], rate) for track in tracks])
        measured = torch.cat([measures(track.audio[None]) for track in tracks])
        heard = self._heard(mel_db, measured)
        told = {name: role for name, role in (roles or {}).items() if role and name in names}
        labels = torch.tensor([LABELS.get(told.get(track.name, ""), 0) for track in tracks])
        count = len(heard.mel)
        heard = heard._replace(labels=labels.expand(count, -1))
        if style is not None:
            heard = heard._replace(wishes=torch.tensor(style.normalised).expand(count, -1))
        if reference is not None:
            mel, scalars = level_free(*heard_mix(reference, rate))
            heard = heard._replace(reference=(mel.expand(count, *mel.shape), scalars.expand(count, *scalars.shape)))
        answers, guess = self(heard)
        vectors = Vectors(*(part.mean(0) for part in answers))
        chances = guess[0].softmax(-1)
        untold = [n for n, track in enumerate(tracks) if track.name not in told]
        found = {
            tracks[n].name: (ROLES[int(chances[n].argmax())], float(chances[n].max()))
            for n in untold
            if multitrack.loudness_lufs[tracks[n].name] > HEARD_LUFS
        }
        decided = chances**DECIDED / (chances**DECIDED).sum(1, keepdim=True)
        likely = {name: {role: 1.0} for name, role in told.items()}
        likely |= {tracks[n].name: dict(zip(ROLES, decided[n].tolist(), strict=True)) for n in untold}
        usual = class_mean(excerpts(multitrack, EXCERPT_S), style, likely)
        heard_names = [track.name for track in tracks]
        vectors = self.code.overlaid(vectors, usual, heard_names)
        intent = self._intent(vectors, heard.mel, sounding, names, channels)
        loudness = {}
        for name in heard_names:
            own, rule = intent.loudness_lu[name], usual.loudness_lu[name]
            share = 1.0 if name in told else GUESSED_SHARE
            loudness[name] = rule if rule == UNHEARD_LU else own + share * (rule - own)
        intent = intent._replace(taken_for=found)
        return intent._replace(loudness_lu={**intent.loudness_lu, **_summing_up(loudness)})

    def _heard(self, mel_db: Tensor, measured: Tensor) -> Heard:
        """Tracks (N, 64, F) as the estimator hears them, pieces side by side, and what all pieces sound like."""
        counts = counting(mel_db)
        frames = max(8, round(self.listen_seconds / FRAME_S))
        own = [telling(mel[:, where], frames) for mel, where in zip(mel_db, counts, strict=True)]
        sizes = max(len(pieces) for pieces in own), max(pieces.shape[2] for pieces in own)
        together = torch.stack([_repeated(pieces, *sizes) for pieces in own], 1)  # (K, N, 64, F')
        over_db = 10 * counts.float().mean(1).log10()  # what the crest factor is higher by in all of the song
        measured = torch.cat([measured[:, :1] + over_db[:, None] / 20, measured[:, 1:]], 1)
        mel, scalars = level_free(together.flatten(0, 1), measured.repeat(sizes[0], 1))
        chances = self.estimator.guesses(mel, scalars).softmax(-1).unflatten(0, (sizes[0], -1)).mean(0)
        guess = self.estimator.in_company(chances.clamp_min(1e-9).log()[None])
        mel, scalars = (part.unflatten(0, (sizes[0], -1)) for part in (mel, scalars))
        return Heard(mel, scalars, guess=guess.expand(sizes[0], -1, -1))

    def _intent(
        self, vectors: Vectors, mel: Tensor, sounding: Sequence[int], names: Sequence[str], channels: Sequence[int]
    ) -> Intent:
        """The intent for all tracks, in their order: sides chosen, energies adding up to one, silence left alone."""
        spec = self.code.specs["tracks"]
        loudness_lu = spec.physical(vectors.tracks)[:, self.code.loudness]
        mono = torch.tensor([channels[n] == 1 for n in sounding])
        amount = vectors.tracks[:, self.code.amount] * mono
        band_db = 20 * (mel.amax(0) - 1.5).mean(2)
        spectrum = (10 ** (band_db / 10)).unflatten(1, (8, -1)).sum(2)
        spectrum = (spectrum / spectrum.sum(1, keepdim=True)).sqrt()
        sides = balanced_sides(amount[:, None] * 10 ** (loudness_lu / 20)[:, None] * spectrum)
        own = [names[n] for n in sounding]
        found = self.code.decode(vectors, own, [channels[n] for n in sounding], sides)
        summed = _summing_up(found.loudness_lu)
        loudness = {name: summed.get(name, QUIETEST_LU) for name in names}
        tracks = {name: found.settings["tracks"].get(name, {}) for name in names}
        return Intent(Settings({**found.settings, "tracks": tracks}), loudness)

    def save(self, folder: Path, **card: Any) -> None:
        """Write ``config.json`` (sizes, specs, console, ``card``) and ``model.safetensors``, whole or not at all."""
        specs = {part: spec.to_dict() for part, spec in self.specs.items()}
        config = {"format": FORMAT, "version": VERSION, "estimator": self.shape, "specs": specs}
        config |= {"console": self.console.description, "listen_seconds": self.listen_seconds, **card}
        write_model(folder, self.estimator, config)

    @property
    def specs(self) -> dict[str, ParamSpec]:
        """What the estimator answers, by part, and the style that it is told: weights for others would be useless."""
        return {**self.code.specs, "style": STYLE}

    @classmethod
    def load(cls, folder: Path, sample_rate: float) -> "Automixer":
        """Read what `save` wrote, with the stored console at ``sample_rate`` Hz.

        Raises CheckpointError if a file is missing or broken, or if the stored parameters are not this console's.
        """
        config, weights = read_model(folder, "an automixer", FORMAT, VERSION)
        with described(folder):
            console = Console.from_layout(config.get("console", {}), sample_rate)
            mixer = cls(console, config.get("listen_seconds", LISTEN_S), **config["estimator"])
            refuse_other_specs(mixer.specs, config["specs"], folder)
        fill(mixer.estimator, weights, folder)
        return mixer.eval()


def _summing_up(loudness_lu: Mapping[str, float]) -> dict[str, float]:
    """The same balance, its energies adding up to one."""
    shift = 10 * math.log10(sum(10 ** (lu / 10) for lu in loudness_lu.values()))
    return {name: lu - shift for name, lu in loudness_lu.items()}


def balanced_sides(pull: Tensor) -> Tensor:
    """A side, -1 or 1, for each track (N,), so that left and right weigh about the same in every band.

    ``pull`` (N, K) is how much of each band a track draws away from the centre. The strongest goes left, each next one
    to the side that is lighter where it sounds: no track's side depends on its number, only on what it is.
    """
    side = torch.ones(len(pull)).to(pull)
    lean = torch.zeros_like(pull[0])
    for n in pull.norm(dim=1).argsort(descending=True, stable=True).tolist():
        side[n] = 1.0 if lean @ pull[n] < 0 else -1.0
        lean = lean + side[n] * pull[n]
    return side


def counting(mel_db: Tensor) -> Tensor:
    """Which frames of a song (N, 64, F) each track is listened to in, (N, F).

    Not in front of the song and behind it, nor in the middle of rests longer than ``REST_S``: over such silence
    instruments would sound alike.
    """
    level_db = _level_db(mel_db)
    reach = round(REST_S / FRAME_S / 2)
    near = max_pool1d((level_db > ACTIVE_DB).to(mel_db), 2 * reach + 1, 1, reach) > 0
    sounding = (level_db > FAINT_DB).any(0).nonzero()
    near[:, : sounding.min()] = False
    near[:, sounding.max() + 1 :] = False
    return near


def telling(mel_db: Tensor, frames: int) -> Tensor:
    """The fullest pieces (K, 64, frames) of a track (64, F), those at least half as full as the first; or all of it."""
    total = mel_db.shape[1]
    if total < 1.3 * frames:
        return mel_db[None]
    starts = torch.arange(0, total - frames + 1, max(1, frames // 12))
    full = (10 ** (_level_db(mel_db[None])[0] / 20)).unfold(0, frames, 1)[starts].mean(1)
    chosen: list[int] = []
    least = 0.5 * full.max()
    while len(chosen) < LISTENINGS and full.max() >= least:
        chosen.append(int(starts[full.argmax()]))
        full[(starts - chosen[-1]).abs() < frames] = -1
    return torch.stack([mel_db[:, start : start + frames] for start in chosen])


def _repeated(pieces: Tensor, count: int, frames: int) -> Tensor:
    """Pieces (K, 64, F) again and again, each and all of them, up to (count, 64, frames)."""
    again = -(-count // len(pieces)), 1, -(-frames // pieces.shape[2])
    return pieces.repeat(again)[:count, :, :frames]


def _level_db(mel_db: Tensor) -> Tensor:
    """Level of frames (N, F) over that of each track's ten loudest, half a second."""
    level_db = 10 * (10 ** (mel_db / 10)).sum(1).clamp_min(1e-12).log10()
    return level_db - level_db.topk(min(10, level_db.shape[1])).values.mean(1, keepdim=True)


def refuse_other_specs(mine: Mapping[str, ParamSpec], stored: Mapping[str, Mapping[str, Any]], where: Path) -> None:
    """Raise CheckpointError with the differing lines unless the stored parameters equal these."""
    lines: Sequence[str] = [
        f"{part}.{line}" for part, spec in mine.items() for line in spec.differences(stored.get(part, {}))
    ]
    if lines:
        shown = "; ".join(lines[:4]) + (f"; and {len(lines) - 4} more" if len(lines) > 4 else "")
        raise CheckpointError(f"{where} was trained for other parameters: {shown}")
