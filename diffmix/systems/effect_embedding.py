"""Training of an encoder of effects: recordings that went through the same chain come near, whatever they play."""

from collections.abc import Collection, Mapping
from typing import Any, Literal

import lightning
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from diffmix.data.effect_chains import EFFECTS
from diffmix.data.style_content import recordings_in
from diffmix.data.synthetic import VALIDATION_SEED
from diffmix.errors import SettingsError
from diffmix.estimators.effect_embedding import MIDDLE, EffectEncoder, Part, similarity
from diffmix.progress import progress
from diffmix.systems.effect_examples import PRESETS, EffectExamples, examples, rows
from diffmix.systems.training import Steps, Training, one_cycle, songs_left_out

Pretext = Literal["contrastive", "presets"]
PRETEXTS = ("contrastive", "presets")
DISTRACTORS = (1, 4, 9, 24)
ROUNDS = 40
SPREAD_FLOOR = 0.05
SHRINKAGE = 0.1
HELD_OUT_SEED = VALIDATION_SEED // 10_000
"""Of held-out pieces, so that their songs are those of validation."""


def prepare(config: Mapping[str, Any]) -> Training:
    """The training that ``conf/recipe/effect_embedding.yaml`` describes.

    Raises AudioError for a folder without recordings, SettingsError for a song to leave out that is not there.
    """
    data, options = config["data"], dict(config["system"])
    contents = recordings_in(data["recordings"]) if data["recordings"] else []
    with progress("Examples of effects", data["pieces"] + data["held_out_pieces"]) as advance:
        made = examples(contents, data["pieces"], config["seed"], data["root"], advance)

        def further(done: float, note: str) -> None:
            advance(data["pieces"] + done, note)

        held_out = examples([], data["held_out_pieces"], HELD_OUT_SEED, data["root"], further, "held_out")
    without = songs_left_out(data["without"], made.songs)
    torch.manual_seed(config["seed"])  # one start, whatever was made before
    steps = config["trainer"]["max_steps"]
    system = EffectLearner(made, held_out, without=without, seed=config["seed"], total_steps=steps, **options)
    return Training(system, Steps(), system.encoder.save)


class EffectLearner(lightning.LightningModule):
    """Learns places of effects: directions in closed form (`discriminant`), then their weights by one of two pretexts.

    ``"contrastive"``: of all recordings of a step those through the same chain, of other songs, are to be nearest (P.
    Khosla et al., "Supervised contrastive learning", 2020). ``"presets"``: from a recording and from another stretch of
    it through one effect, which effect it is and which of its presets (C. J. Steinmetz et al., "ST-ITO", 2024).

    Args:
        made: what to learn from.
        held_out: what to judge by.
        without: songs that are left out altogether.
        pretext: one of the two.
        size, hidden, dropout: of the `EffectEncoder`.
        noise: standard deviation of what is added to the standardised numbers.
        temperature: of the contrastive softmax.
        pieces: pieces of which all recordings make a step.
        learning_rate: highest of one cycle over ``total_steps``, with weight decay 0.01.

    Raises SettingsError for another pretext, or if no songs are left to learn from.
    """

    def __init__(
        self,
        made: EffectExamples,
        held_out: EffectExamples,
        *,
        without: Collection[str] = (),
        pretext: Pretext = "contrastive",
        size: int = 32,
        hidden: int = 96,
        dropout: float = 0.3,
        noise: float = 0.5,
        temperature: float = 0.2,
        pieces: int = 2,
        learning_rate: float = 2e-3,
        total_steps: int = 600,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if pretext not in PRETEXTS:
            raise SettingsError(f"there is no pretext {pretext!r}; there are {', '.join(PRETEXTS)}")
        self.made, self.held_out, self.pretext, self.seed = made, held_out, pretext, seed
        self.noise, self.temperature, self.pieces = noise, temperature, pieces
        self.learning_rate, self.total_steps = learning_rate, total_steps
        left = torch.tensor([song in set(without) for song in made.songs])
        kept = ~left[made.song] & (made.effect >= 0 if pretext == "presets" else True)
        if len(set(made.song[kept].tolist())) < 2:
            raise SettingsError(f"{len(made.songs) - int(left.sum())} songs are too few to learn from")
        every = torch.nonzero(kept)[:, 0]
        self.by_piece = [found for n in made.piece.unique() if len(found := every[made.piece[every] == n])]
        self.encoder = EffectEncoder(size, hidden, dropout)
        self.heads = Heads(4 * size) if pretext == "presets" else None
        self._begin(self.encoder.middle, made.wet.middle, every)
        self._begin(self.encoder.side, made.wet.side, every[made.wet.wide[every]])

    def _begin(self, part: Part, numbers: Tensor, chosen: Tensor) -> None:
        """Standardise numbers (N, F) by the chosen rows, and take the directions in which styles differ in them."""
        if len(chosen) > part.directions.shape[1]:
            part.center.copy_(numbers[chosen].mean(0))
            part.spread.copy_(numbers[chosen].std(0) + SPREAD_FLOOR)
            found, ratio = discriminant(part.standardised(numbers[chosen]), self.made.style[chosen])
            size = part.directions.shape[1]
            part.directions.copy_(found[:, :size])
            with torch.no_grad():
                part.weight.copy_((ratio / (1 + ratio)).sqrt()[:size])

    def drawn(self, step: int) -> Tensor:
        """The rows of a step: all of some pieces, in which the same recordings went through many chains."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        order = torch.randperm(len(self.by_piece), generator=generator)[: self.pieces]
        return torch.cat([self.by_piece[n] for n in order.tolist()])

    def loss(self, step: int) -> Tensor:
        """Loss of the rows of a step."""
        chosen, made = self.drawn(step), self.made
        place = self.encoder(rows(made.wet, chosen), self.noise)
        if self.heads is not None:
            before = self.encoder(rows(made.dry, made.before[chosen]), self.noise)
            return self.heads.loss(torch.cat([*before, *place], 1), made.effect[chosen], made.preset[chosen])
        style, song, wide = made.style[chosen], made.song[chosen], made.wet.wide[chosen]
        return nearest(place.middle, style, song, self.temperature) + nearest(
            place.side[wide], style[wide], song[wide], self.temperature
        )

    def training_step(self, number: Tensor, _: int) -> Tensor:
        """Loss of one step; what it draws depends on its number alone."""
        torch.manual_seed((self.seed << 32) + self.global_step)
        loss = self.loss(int(number))
        self.log("train/loss", loss.detach(), prog_bar=True, batch_size=1)
        return loss

    def configure_optimizers(self) -> Any:
        """AdamW, one cycle of the learning rate."""
        return one_cycle(self, self.learning_rate, self.total_steps)

    def on_fit_end(self) -> None:
        """Nothing is left out from here on."""
        self.encoder.eval()

    @torch.no_grad()
    def validation_step(self, _: Tensor, __: int) -> None:
        """How often the same effects on another, unheard song are found, beside the style features alone."""
        place, numbers = self.encoder(self.held_out.wet), self.held_out.wet
        plain = torch.cat([numbers.middle, numbers.side[:, MIDDLE:]], 1)
        plain = normalize((plain - plain.mean(0)) / (plain.std(0) + SPREAD_FLOOR), dim=1)
        for who, told in (("embedding", similarity(place, place)), ("style features", plain @ plain.T)):
            for count, share in found_among(told, self.held_out, self.seed).items():
                self.log(f"val/{who}/among {count + 1}", share, batch_size=1)


class Heads(nn.Module):
    """Which effect, and which of its presets, from the places (B, S) of a recording before and after."""

    def __init__(self, size: int, hidden: int = 256) -> None:
        super().__init__()
        self.effect = nn.Sequential(nn.Linear(size, hidden), nn.GELU(), nn.Linear(hidden, len(EFFECTS)))
        self.preset = nn.Sequential(nn.Linear(size + len(EFFECTS), hidden), nn.GELU(), nn.Linear(hidden, PRESETS))

    def loss(self, both: Tensor, effect: Tensor, preset: Tensor) -> Tensor:
        """Cross entropies of the two answers (B,)."""
        logits = self.effect(both)
        return cross_entropy(logits, effect) + cross_entropy(self.preset(torch.cat([both, logits], 1)), preset)


def discriminant(z: Tensor, style: Tensor, shrinkage: float = SHRINKAGE) -> tuple[Tensor, Tensor]:
    """Directions (F, F) in which styles (R,) differ most over what contents differ, best first, and the ratios (F,).

    R. A. Fisher's linear discriminant (1936) of numbers z (R, F): along the directions, recordings in one style vary by
    1 and are not correlated. ``shrinkage`` is how much of their covariance is replaced by the same variance for all.
    """
    label = style.unique(return_inverse=True)[1]
    count = torch.bincount(label).float()
    mean = torch.zeros(len(count), z.shape[1]).index_add_(0, label, z) / count[:, None]
    inside = z - mean[label]
    within = inside.T @ inside / max(1, len(z) - len(count))
    between = torch.cov(mean.T) - within / count.mean()
    held = (1 - shrinkage) * within + (shrinkage * within.diagonal().mean() + 1e-6) * torch.eye(len(within))
    white = torch.linalg.inv(torch.linalg.cholesky(held)).T
    ratio, vectors = torch.linalg.eigh(white.T @ between @ white)
    return white @ vectors.flip(1), ratio.flip(0).clamp_min(0)


def nearest(place: Tensor, style: Tensor, song: Tensor, temperature: float) -> Tensor:
    """How unlikely it is to meet the same style (R,) of another song (R,) first, near to unit vectors (R, E).

    Recordings of one song in one style count neither for nor against; 0 if none has a partner.
    """
    same, own = style[:, None] == style, song[:, None] == song
    partner = same & ~own
    logits = (place @ place.T / temperature).masked_fill(same & own, -torch.inf)
    some = partner.any(1)
    if not bool(some.any()):
        return place.sum() * 0
    log = logits[some].log_softmax(1)
    partner = partner[some]
    return -(log.masked_fill(~partner, 0).sum(1) / partner.sum(1)).mean()


def found_among(told: Tensor, made: EffectExamples, seed: int = 0) -> dict[int, float]:
    """How often the right one of n + 1 recordings is the most similar (N, N), for n of `DISTRACTORS`.

    The right one has the style of the query and another song; the wrong ones have other styles and, as far as there are
    such, other songs than the query too.
    """
    rng = np.random.default_rng([seed, 5])
    styles, songs = made.style.numpy(), made.song.numpy()
    right: dict[int, list[bool]] = {count: [] for count in DISTRACTORS}
    for _ in range(ROUNDS):
        pairs = [pair for style in rng.permutation(np.unique(styles)) if (pair := _pair(styles, songs, style, rng))]
        for query, answer in pairs[: DISTRACTORS[-1] + 1]:
            others = [other for _, other in pairs if other != answer and songs[other] != songs[query]]
            wrong = told[query, torch.tensor(others)]
            for count in DISTRACTORS:
                if len(others) >= count:
                    picked = torch.from_numpy(rng.permutation(len(others))[:count])
                    right[count].append(bool(told[query, answer] > wrong[picked].max()))
    return {count: float(np.mean(answers)) for count, answers in right.items() if answers}


def _pair(styles: np.ndarray, songs: np.ndarray, style: int, rng: np.random.Generator) -> tuple[int, int] | None:
    """Two recordings in one style, of different songs."""
    of_style = rng.permutation(np.nonzero(styles == style)[0])
    other = of_style[songs[of_style] != songs[of_style[0]]]
    return (int(of_style[0]), int(other[0])) if len(other) else None
