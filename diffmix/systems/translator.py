"""Training of what style transfer ships: an ensemble that hears what was done to a reference, and how far to trust it.

Members learn from different songs. What each says of the songs it never heard tells how far off it is, and how often
acting on it does harm.
"""

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import lightning
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from diffmix.data.style_content import recordings_in
from diffmix.errors import SettingsError
from diffmix.estimators.translator import CLIP, DOMAINS, FARTHEST, GATED, Harm, Posterior, Translator
from diffmix.estimators.treatment import Treatment
from diffmix.progress import progress
from diffmix.systems.style_examples import Examples, examples
from diffmix.systems.training import Steps, Training, one_cycle, songs_left_out
from diffmix.transferring.decision import (
    HARM,
    SAMPLES,
    mel_distance,
    outcomes,
)

MOST_RESIDUALS = 1500
FEWEST = 100
"""Pairs of recorded songs from which on they alone tell how far to trust an ensemble."""

UNLIKE = 1.5
"""By how much residuals of recordings exceed those of generated ones, where too few recordings tell."""

TRIALS = 400
"""Trials on unheard songs by which harm is counted, in each domain."""

HARMFUL = {"cautious": 0.02, "default": 0.05}
"""Share of transfers between left-out songs that may come out worse at these gates; of new ones about twice as many."""

LIMITS = tuple(k / 100 for k in range(30, 96))
"""Expected ratios that a gate can be."""

EDGES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
SPREAD_FLOOR = 0.05
SAMPLE = 6000
"""Pairs from which the principal components are taken."""


class Pairs(NamedTuple):
    """Recordings and references, of one group and of different songs: rows of examples, ``dry`` and ``styled`` (P,)."""

    dry: Tensor
    styled: Tensor
    same: Tensor
    """The row of the dry recording itself in that style: the truth."""


def prepare(config: Mapping[str, Any]) -> Training:
    """The training that ``conf/recipe/transfer.yaml`` describes.

    Raises AudioError for a folder without recordings, SettingsError for a song to leave out that is not there.
    """
    data, options = config["data"], dict(config["system"])
    contents = recordings_in(data["recordings"]) if data["recordings"] else []
    with progress("Examples of styles", data["pieces"]) as advance:
        made = examples(contents, data["pieces"], config["seed"], data["root"], advance, data["engines"])
    without = songs_left_out(data["without"], made.songs)
    steps = config["trainer"]["max_steps"]
    system = StyleLearner(made, without=without, seed=config["seed"], total_steps=steps, **options)
    return Training(system, Steps(), system.translator.save)


def learn(
    made: Examples, without: Collection[str] = (), *, steps: int = 1500, seed: int = 0, **options: Any
) -> Translator:
    """A translator from examples, those of some songs left out; ``options`` go to `StyleLearner`.

    For judging on songs that had no part in learning: ``learn(made, without=songs)`` has not heard, seen or counted
    them in any way.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        system = StyleLearner(made, without=without, seed=seed, total_steps=steps, **options)
        plan = system.configure_optimizers()
        optimizer, cycle = plan["optimizer"], plan["lr_scheduler"]["scheduler"]
        for step in range(steps):
            optimizer.zero_grad()
            system.loss(step).backward()
            optimizer.step()
            cycle.step()
        system.on_fit_end()
    return system.translator


class StyleLearner(lightning.LightningModule):
    """Learns treatments by their absolute error in units of a scale that is learned too (a Laplace distribution).

    Args:
        made: what to learn from.
        without: songs that are left out altogether.
        members, components, hidden, dropout: of the `Translator`.
        batch: pairs of a step, for each member others; half of the references are real where there are any.
        noise: standard deviation of what is added to the components.
        done, treated: shares of pairs whose recording is in the reference's own style already, so that nothing is left
            to do, and in another, of which the difference is.
        learning_rate: highest of one cycle over ``total_steps``, with weight decay 0.01.
        trials: transfers between unheard songs, by which harm is counted.
    """

    def __init__(
        self,
        made: Examples,
        *,
        without: Collection[str] = (),
        members: int = 8,
        components: int = 120,
        hidden: int = 160,
        dropout: float = 0.25,
        batch: int = 384,
        noise: float = 0.3,
        done: float = 0.1,
        treated: float = 0.15,
        learning_rate: float = 3e-3,
        total_steps: int = 1500,
        trials: int = TRIALS,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.made, self.seed = made, seed
        self.batch, self.noise, self.trials = batch, noise, trials
        self.done, self.treated = done, treated
        self.learning_rate, self.total_steps = learning_rate, total_steps
        self.translator = Translator(members, components, hidden, dropout)
        self.fold = fold_of(made.songs, members)
        left = torch.tensor([song in set(without) for song in made.songs])
        pairs = pairs_of(made)
        inside = ~(left[made.song[pairs.dry]] | left[made.song[made.of[pairs.styled]]])
        self.pairs = Pairs(*(column[inside] for column in pairs))
        if not bool(inside.any()):
            raise SettingsError(f"{len(made.songs) - int(left.sum())} songs are too few to learn from")
        self._standardise()

    def _standardise(self) -> None:
        """Take centres and spreads from the pairs, and see which pairs each member may learn from."""
        made, pairs, translator = self.made, self.pairs, self.translator
        columns = torch.cat([made.features[pairs.styled], made.dry[pairs.dry]], 1)
        translator.center.copy_(columns.mean(0))
        translator.spread.copy_(columns.std(0) + SPREAD_FLOOR)
        some = torch.randperm(len(columns), generator=torch.Generator().manual_seed(self.seed))[:SAMPLE]
        z = ((columns[some] - translator.center) / translator.spread).clamp(-CLIP, CLIP)
        components = torch.linalg.svd(z, full_matrices=False)[2][: translator.projection.shape[1]].T
        translator.projection[:, : components.shape[1]] = components / (z @ components).std(0).clamp_min(SPREAD_FLOOR)
        target = made.target[pairs.styled]
        translator.target_center.copy_(target.mean(0))
        translator.target_spread.copy_(target.std(0) + SPREAD_FLOOR)
        self.styles_of = made.of.argsort(stable=True)  # rows of styled recordings, those of one dry recording together
        self.count = torch.bincount(made.of, minlength=len(made.song))
        self.first = self.count.cumsum(0) - self.count
        self.own = self.fold[made.song[pairs.dry]], self.fold[made.song[made.of[pairs.styled]]]
        real = made.real[made.of[pairs.styled]]
        self.pools: list[list[Tensor]] = []
        for member in range(translator.members):
            heard = (self.own[0] != member) & (self.own[1] != member)
            pools = [torch.nonzero(heard & (real == kind))[:, 0] for kind in (True, False)]
            self.pools.append([pool for pool in pools if len(pool)])
            if not self.pools[-1]:
                songs = len(made.songs)
                raise SettingsError(f"{songs} songs are too few for {translator.members} members that leave some out")

    def drawn(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Rows of recordings (M, B), what is heard of pairs (M, B, 120), and targets (M, B, 51), standardised."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        rows = []
        for pools in self.pools:
            share = self.batch // len(pools)
            rows.append(torch.cat([p[torch.randint(len(p), (share,), generator=generator)] for p in pools]))
        chosen = torch.stack(rows)
        made, translator = self.made, self.translator
        dry, styled = self.pairs.dry[chosen], self.pairs.styled[chosen]
        kind = torch.rand(dry.shape, generator=generator)
        any_style = (torch.rand(dry.shape, generator=generator) * self.count[dry]).long()
        before = torch.where(kind < self.done, self.pairs.same[chosen], self.styles_of[self.first[dry] + any_style])
        untouched = (kind >= self.done + self.treated)[..., None]
        z = translator.standardised(torch.where(untouched, made.dry[dry], made.features[before]), made.features[styled])
        z = z + self.noise * torch.randn(z.shape, generator=generator)
        wanted, had = made.target[styled], made.target[before]
        left = Treatment.from_vector(wanted).beyond(Treatment.from_vector(had)).to_vector()
        target = (torch.where(untouched, wanted, left) - translator.target_center) / translator.target_spread
        return dry, z, target

    def loss(self, step: int) -> Tensor:
        """Loss of the batches of a step."""
        dry, z, target = self.drawn(step)
        median, log_scale = self.translator(z)
        speech = (self.made.kind[dry] == 0).float()
        laplace = ((target - median).abs() * (-log_scale).exp() + log_scale).mean()
        return laplace + binary_cross_entropy_with_logits(self.translator.talks(self.made.dry[dry]), speech)

    def training_step(self, number: Tensor, _: int) -> Tensor:
        """Loss of one step."""
        loss = self.loss(int(number))
        self.log("train/loss", loss.detach(), prog_bar=True, batch_size=self.batch)
        return loss

    def configure_optimizers(self) -> Any:
        """AdamW, one cycle of the learning rate."""
        return one_cycle(self, self.learning_rate, self.total_steps)

    def on_fit_end(self) -> None:
        """Ask each member about the songs it never heard."""
        self.translator.eval()
        calibrate(self.translator, self.made, self.pairs, self.own, self.trials, self.seed)

    @torch.no_grad()
    def validation_step(self, _: Tensor, __: int) -> None:
        """Trials on songs that the member who judges had not heard; other trials than those that were counted."""
        for domain in DOMAINS:
            found = trials(self.translator, self.made, self.pairs, self.own, domain, self.trials // 4, self.seed + 1)
            for name, value in scores(found, self.translator.harm[domain].default).items():
                self.log(f"val/{domain}/{name}", value, batch_size=1)


# -- pairs and folds ---------------------------------------------------------------------------------------------------


def pairs_of(made: Examples) -> Pairs:
    """All ordered pairs of different songs within groups."""
    dry, styled, same = [], [], []
    song = made.song[made.of]
    order = made.group.argsort(stable=True)
    for rows in order.split(torch.bincount(made.group).tolist()):
        a, b = torch.meshgrid(rows, rows, indexing="ij")
        other = song[a] != song[b]
        dry.append(made.of[a[other]])
        styled.append(b[other])
        same.append(a[other])
    return Pairs(torch.cat(dry), torch.cat(styled), torch.cat(same))


def fold_of(songs: Sequence[str], members: int) -> Tensor:
    """Which member leaves each song out (S,): in turn, generated songs, talkers and recordings each for themselves."""
    counts: dict[str, int] = {}
    folds = []
    for song in songs:
        maker = song.split()[0] if song.split()[0] in ("generated", "talker") else "real"
        folds.append(counts.get(maker, 0) % members)
        counts[maker] = counts.get(maker, 0) + 1
    return torch.tensor(folds)


# -- what unheard songs tell -------------------------------------------------------------------------------------------


class Trial(NamedTuple):
    """A transfer between two unheard songs: what was expected of the best amounts, distances before and after."""

    expected: float
    before: float
    after: float

    @property
    def harmed(self) -> bool:
        """Whether the best amounts made it worse."""
        return self.after > HARM * self.before


@torch.no_grad()
def trials(
    translator: Translator, made: Examples, pairs: Pairs, own: tuple[Tensor, Tensor], domain: str, count: int, seed: int
) -> list[Trial]:
    """Transfers between recorded songs of a domain, by the member who had not heard either of them."""
    rows, member = _left_out(made, pairs, own, domain)
    chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:count]
    median, scale = _said(translator, made, pairs, rows[chosen], member[chosen])
    residuals = getattr(translator, f"residuals_{domain}")
    results = []
    for row, said, sure in zip(rows[chosen].tolist(), median, scale, strict=True):
        answer = Treatment.from_vector(said * translator.target_spread + translator.target_center)
        posterior = Posterior(answer, Treatment.from_vector(sure * translator.target_spread), residuals, domain)
        piece = made.crop[pairs.dry[row]].float()
        found = outcomes(piece, posterior.median, posterior.samples(SAMPLES, row))
        ends = mel_distance(found.spectra[[0, found.best]], made.truth[pairs.same[row]].float())
        results.append(Trial(float(found.expected[found.best]), *ends.tolist()))
    return results


@torch.no_grad()
def calibrate(
    translator: Translator, made: Examples, pairs: Pairs, own: tuple[Tensor, Tensor], count: int, seed: int
) -> None:
    """Give a translator its residuals and its tables of harm, from songs that its members had not heard.

    Where no talkers were recorded, generated ones tell, their residuals made as much larger as those of recorded music
    exceed those of generated music.
    """
    for domain in DOMAINS:
        rows, member = _left_out(made, pairs, own, domain)
        if not len(rows):
            continue
        chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:MOST_RESIDUALS]
        residuals = _residuals(translator, made, pairs, rows[chosen], member[chosen])
        if not bool(made.real[pairs.dry[rows]].any()):
            residuals = residuals * _unlike(translator, made, pairs, own)
        setattr(translator, f"residuals_{domain}", residuals.clamp(-FARTHEST, FARTHEST))
        told = trials(translator, made, pairs, own, domain, count, seed)
        cautious, default = (limit_of(told, HARMFUL[gate]) for gate in GATED)
        translator.harm[domain] = _harm_table(told)._replace(cautious=cautious, default=default)


def scores(found: Sequence[Trial], limit: float) -> dict[str, float]:
    """The ratio of mean distances after and before, the shares that were made worse, and touched, at a gate."""
    done = [t for t in found if t.expected < limit]
    before = sum(t.before for t in found)
    after = before - sum(t.before - t.after for t in done)
    count = max(len(found), 1)
    return {
        "distance_ratio": after / max(before, 1e-9),
        "harm": sum(t.harmed for t in done) / count,
        "acted": len(done) / count,
    }


def limit_of(told: Sequence[Trial], harm: float) -> float:
    """The largest of `LIMITS` below which acting harmed at most a share ``harm`` of all trials, or else the least."""
    fits = [limit for limit in LIMITS if sum(t.harmed for t in told if t.expected < limit) <= harm * len(told)]
    return max(fits, default=LIMITS[0])


def _left_out(made: Examples, pairs: Pairs, own: tuple[Tensor, Tensor], domain: str) -> tuple[Tensor, Tensor]:
    """Pairs of songs both left out by one member, their rows and that member.

    Of recorded songs, or of a recorded and a generated talker; of generated ones if too few were recorded.
    """
    speech = made.kind[pairs.dry] == 0
    fitting = (own[0] == own[1]) & (speech if domain == "speech" else ~speech)
    real = made.real[pairs.dry], made.real[made.of[pairs.styled]]
    recorded = fitting & (real[0] | real[1] if domain == "speech" else real[0] & real[1])
    fitting = recorded if int(recorded.sum()) >= FEWEST else fitting
    rows = torch.nonzero(fitting)[:, 0]
    return rows, own[0][rows]


def _said(translator: Translator, made: Examples, pairs: Pairs, rows: Tensor, member: Tensor) -> tuple[Tensor, Tensor]:
    """Medians and scales (R, 51), standardised, of the member that is asked for each of some pairs."""
    z = translator.standardised(made.dry[pairs.dry[rows]], made.features[pairs.styled[rows]])
    median, log_scale = translator(z)
    one = torch.arange(len(rows))
    return median[member, one], log_scale[member, one].exp()


def _residuals(translator: Translator, made: Examples, pairs: Pairs, rows: Tensor, member: Tensor) -> Tensor:
    """By how much members are wrong of some pairs, in units of the scales they tell (R, 51)."""
    median, scale = _said(translator, made, pairs, rows, member)
    target = (made.target[pairs.styled[rows]] - translator.target_center) / translator.target_spread
    return (target - median) / scale


def _unlike(translator: Translator, made: Examples, pairs: Pairs, own: tuple[Tensor, Tensor]) -> float:
    """By how much residuals of recorded music exceed those of generated music, at least 1; `UNLIKE` if none tell."""
    music = (own[0] == own[1]) & (made.kind[pairs.dry] > 0)
    real = made.real[pairs.dry], made.real[made.of[pairs.styled]]
    rows = [torch.nonzero(music & both)[:, 0] for both in (real[0] & real[1], ~real[0] & ~real[1])]
    if min(map(len, rows)) < FEWEST:
        return UNLIKE
    recorded, generated = (float(_residuals(translator, made, pairs, r, own[0][r]).abs().median()) for r in rows)
    return max(1.0, recorded / generated)


def _harm_table(told: Sequence[Trial]) -> Harm:
    """How often it got worse by expected ratio; an interval with few trials takes in its neighbour below."""
    rates: list[float] = []
    inside: list[bool] = []
    for low, high in pairwise((0.0, *EDGES)):
        new = [t.harmed for t in told if low < t.expected <= high]
        inside = new if len(new) >= 15 else inside + new
        rates.append((sum(inside) + 0.5) / (len(inside) + 1))
    return Harm(EDGES, tuple(round(rate, 3) for rate in rates))
