"""Training of the automatic mixer's ear: to tell from single tracks, and from who plays together, what they are."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import partial
from typing import Any, cast

import lightning
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot
from torch.utils.data import DataLoader

from diffmix.data.composition import compose
from diffmix.data.recordings import Recordings
from diffmix.data.roles import ROLES
from diffmix.data.solos import HIT
from diffmix.data.synthetic import VALIDATION_SEED
from diffmix.estimators.features import level_free
from diffmix.progress import progress
from diffmix.systems.automix import beginning
from diffmix.systems.automixer import Automixer
from diffmix.systems.draws import SoloDraws
from diffmix.systems.solos import Solos, joined, of_songs
from diffmix.systems.solos import prepare as prepare_solos
from diffmix.systems.training import AveragedMixer, Training, averaged, loader, numbers_ahead, optimizers

CAST_TRACKS = (4, 64)
CASTS_EACH = 8
"""Casts in a step."""

MISTAKEN = 0.2
"""Share of the roles in a cast that are taken for others, drums for drums and instruments for instruments."""

SURE = 5.0
"""Logit of what a track in a cast is taken for."""

BELIEVED = 0.5
"""How far what company tells is followed, as a factor of its logits."""


def prepare(config: Mapping[str, Any]) -> Training:
    """The training that ``conf/recipe/roles.yaml`` describes."""
    options = dict(config["system"])
    mixer = beginning(options.pop("start"), config["console"]["sample_rate"])
    names = casts(config["data"]["casts"], CAST_TRACKS)
    system = Roles(mixer, names, seed=config["seed"], total_steps=config["trainer"]["max_steps"], **options)
    data = RolesData(config["data"], config["console"]["sample_rate"], config["seed"])
    return Training(system, data, cast(Automixer, system.average.module).save)


class Roles(AveragedMixer):
    """Learns what tracks are, and nothing else: told their roles, the mixer mixes as before.

    Loss: cross entropy of what the ear takes tracks for, five hundredths of the truth spread over all roles; and, from
    casts alone, of what the others' roles tell of a track's, which is then believed by half: real songs are less alike
    than generated ones. What is kept is an exponential average of the weights.
    """

    def __init__(
        self,
        mixer: Automixer,
        casts: Sequence[Tensor],
        *,
        learning_rate: float = 6e-4,
        warmup_steps: int = 50,
        weight_decay: float = 0.02,
        average: float = 0.995,
        total_steps: int = 1000,
        seed: int = 0,
    ) -> None:
        """The ear of ``mixer`` goes on learning, beside it from ``casts``: the roles of songs, whole numbers from 0."""
        super().__init__()
        self.mixer, self.casts, self.seed = mixer, casts, seed
        often = torch.bincount(torch.cat(list(casts)), minlength=len(ROLES)) + 1
        self.usual = (often / often.sum()).log()
        self.average = averaged(mixer, average)
        self.begun = deepcopy(mixer)
        self.learning_rate, self.warmup_steps, self.total_steps = learning_rate, warmup_steps, total_steps
        self.weight_decay = weight_decay

    def training_step(self, batch: Solos, _: int) -> Tensor:
        """Loss of one batch; what dropout leaves out follows from the seed and the step, also in a resumed run."""
        torch.manual_seed(self.seed + 1_000_003 * self.global_step)
        self.mixer.train()  # it was loaded to be used
        wanted, there = batch.labels - 1, (batch.labels > 0).sum().clamp_min(1)  # -1: it rests
        guess = self.mixer.estimator.guesses(*level_free(batch.mel_db, batch.measured))
        losses = {
            "role": cross_entropy(guess, wanted, ignore_index=-1, label_smoothing=0.05, reduction="sum") / there,
            "company": self.company_loss(np.random.default_rng([self.seed, self.global_step])),
        }
        self.log_losses(losses, 1)
        return losses["role"] + losses["company"]

    def company_loss(self, rng: np.random.Generator) -> Tensor:
        """How well what others were taken for tells what a track is, on some casts, every other one incomplete."""
        total, count = torch.zeros((), device=self.device), 0
        for which in rng.integers(len(self.casts), size=CASTS_EACH):
            roles = self.casts[which]
            if rng.random() < 0.5:
                roles = roles[torch.from_numpy(rng.permutation(len(roles))[: rng.integers(1, len(roles) + 1)])]
            taken_for = torch.tensor([_mistaken(role, rng) for role in roles.tolist()])
            guess = SURE * one_hot(taken_for, len(ROLES)).float().to(self.device)[None]
            told = (self.mixer.estimator.in_company(guess) - guess)[0]
            usual = self.usual.to(told)
            total = total + cross_entropy(usual + told / BELIEVED, roles.to(told.device), reduction="sum")
            count += len(roles)
        return total / count

    @torch.no_grad()
    def validation_step(self, batch: Solos, _: int) -> None:
        """The share of tracks that are taken for what they are, in percent, now and at the beginning."""
        heard = level_free(batch.mel_db.float(), batch.measured)
        for name, who in (("model", cast(Automixer, self.average.module)), ("start", self.begun)):
            guess = who.eval().estimator.guesses(*heard)
            right = 100 * (guess.argmax(1) == batch.labels - 1).float().mean()
            self.log_scores(name, {"right_percent": right}, 1)

    def configure_optimizers(self) -> Any:
        """AdamW on the ear alone, with a linear warm-up and a cosine decay over ``total_steps``."""
        estimator = self.mixer.estimator
        ear = nn.ModuleList([estimator.ear, cast(nn.Module, estimator.guess), estimator.company])
        return optimizers(ear, self.learning_rate, self.warmup_steps, self.total_steps, self.weight_decay)


def casts(count: int, tracks: tuple[int, int]) -> list[Tensor]:
    """The roles (N,) of generated songs, numbers in `ROLES`; who plays needs no sound."""
    scores = (compose(seed, 8.0, None, tracks) for seed in range(count))
    return [torch.tensor([ROLES.index(part.role) for part in score.parts]) for score in scores]


def _mistaken(role: int, rng: np.random.Generator) -> int:
    if rng.random() >= MISTAKEN:
        return role
    like = [k for k, name in enumerate(ROLES) if (name in HIT) == (ROLES[role] in HIT)]
    return like[int(rng.integers(len(like)))]


class RolesData(lightning.LightningDataModule):
    """Tracks of generated songs, beside them single recordings if there are any; scored by held-out instruments."""

    def __init__(self, config: Mapping[str, Any], sample_rate: int, seed: int) -> None:
        super().__init__()
        length, names = float(config["song_seconds"]), config["solos"] or ()
        count, given = config["songs"], config["engines"]
        engines = [given] if isinstance(given, str) else given
        self.song = {"tracks": list(config["tracks"])}
        sources, counts = [], []
        if names:
            with progress("Making solos", config["solo_count"]) as advance:
                folders = [names] if isinstance(names, str) else names
                told = partial(_further, advance, 0)
                sources.append(prepare_solos(folders, config["solo_count"], length, sample_rate, progress=told))
            counts.append(config["solos_each"])
        parts, done = [], 0
        with progress("Making tracks", count) as advance:
            for part, one in enumerate(engines):  # songs 0, 1, 2... by the first engines, the next ones by the next
                some = len(range(part, count, len(engines)))
                recordings = Recordings(
                    some, 1, config["first_song"] + done, length, sample_rate, song=self.song | {"engines": one}
                )
                parts.append(of_songs(recordings, progress=partial(_further, advance, done)))
                done += some
        sources, counts = [joined(parts), *sources], [config["tracks_each"], *counts]
        self.train = SoloDraws(sources, counts, config["seconds"], seed)
        self.held_out = Recordings(
            config["held_out_songs"],
            1,
            VALIDATION_SEED,
            length,
            sample_rate,
            song=self.song | {"engines": "held_out"},
            recording={"held_out": True},
        )
        self.batch_size, self.workers = config["batch_size"], config["workers"]

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches from the trainer's step on."""
        return loader(self.train, numbers_ahead(self, self.batch_size), self.batch_size, joined, self.workers)

    def val_dataloader(self) -> DataLoader[Any]:
        """All tracks of songs whose instruments and flaws training does not have."""
        return DataLoader([of_songs(self.held_out)], batch_size=None)  # type: ignore[arg-type]


def _further(advance: Callable[[int, str], None], before: int, done: int, total: int) -> None:
    advance(before + done, "")
