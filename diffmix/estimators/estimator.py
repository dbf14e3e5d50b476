"""Audio to controls: one encoder for every track, attention over the tracks, bounded heads."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from diffmix.estimators.attention import Context
from diffmix.estimators.encoder import TrackEncoder
from diffmix.estimators.features import RELATIONS, describe, relations
from diffmix.params import ParamSpec


class Heard(NamedTuple):
    """What an estimator is told of songs; all but the tracks may be left out.

    ``mel`` (B, N, 64, F) and ``scalars`` (B, N, 8) describe the tracks, ``mask`` (B, N) is 0 where one is padding;
    ``labels`` (B, N) are whole numbers, 0 unknown; ``wishes`` (B, W) in [-1, 1], of which ``wished`` (B, W) says with
    1 or 0 which count; ``reference`` (B, K, 64, F') and (B, K, 8) describe finished mixes. ``guess`` (B, N, labels), in
    logits, is what tracks sound like, where that is known better than from ``mel``.
    """

    mel: Tensor
    scalars: Tensor
    mask: Tensor | None = None
    labels: Tensor | None = None
    wishes: Tensor | None = None
    wished: Tensor | None = None
    reference: tuple[Tensor, Tensor] | None = None
    guess: Tensor | None = None


class Answer(NamedTuple):
    """``controls`` in [0, 1] of each part in the order of the specs; ``guess`` (B, N, labels), what tracks sound like.

    The guess is in logits, and does not know what was told.
    """

    controls: tuple[Tensor, ...]
    guess: Tensor


class Estimator(nn.Module):
    """Estimates a control vector for every track, and one each for further parts such as a bus and a master.

    It first guesses each track's label from its sound, with an encoder of its own, the ear, that can learn from single
    tracks without changing what is made of them; what follows knows the label that was told, else what the guess makes
    likely.

    It knows sizes and defaults only: ``specs`` maps a part's name to its parameters; the first part is per track, the
    others are one per song. Untrained, it answers the defaults. It is equivariant to the order of the tracks.
    """

    def __init__(
        self,
        specs: Mapping[str, ParamSpec],
        width: int = 128,
        layers: int = 3,
        heads: int = 4,
        labels: int = 0,
        wishes: int = 0,
        dropout: float = 0.1,
    ) -> None:
        """Args: sizes of the tokens and of the attention; how many labels and wishes there are; dropout in training."""
        super().__init__()
        self.encoder = TrackEncoder(width, dropout=dropout)
        generator = torch.Generator().manual_seed(0)
        self.kind = nn.Parameter(0.02 * torch.randn(len(specs) + 1, width, generator=generator))
        self.guess = nn.Linear(width, labels) if labels else None
        if labels:
            self.label = nn.Embedding(labels, width)
            nn.init.normal_(self.label.weight, std=0.02, generator=generator)
            self.ear = TrackEncoder(width, dropout=dropout)
            moved = nn.Linear(64, labels)
            nn.init.zeros_(moved.weight)
            nn.init.zeros_(moved.bias)
            self.company = nn.Sequential(nn.Linear(labels + 1, 64), nn.GELU(), moved)
        self.wish = nn.Sequential(nn.Linear(2 * wishes, width), nn.GELU(), nn.Linear(width, width)) if wishes else None
        self.wishes = wishes
        self.context = Context(width, layers, heads, RELATIONS, dropout)
        self.heads = nn.ModuleDict()
        for part, spec in specs.items():
            head = nn.Linear(width, spec.size)
            nn.init.normal_(head.weight, std=0.01)
            with torch.no_grad():
                # open knobs start well inside the range, where the sigmoid still learns
                head.bias.copy_(torch.logit(spec.default().clamp(0.1, 0.9)))
            self.heads[part] = head

    def forward(
        self, tracks: Tensor | tuple[Tensor, Tensor], sample_rate: float, mask: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Controls in [0, 1] of each part, in the order of the specs: (B, N, P), then (B, Q) for each further part.

        ``tracks``: (B, N, C, T), or mono (B, N1, 1, T) and stereo (B, N2, 2, T) together; ``mask`` (B, N) is 0 where
        a track is padding.
        """
        described = []
        for x in (tracks,) if isinstance(tracks, Tensor) else tracks:
            if x.shape[1]:
                batch, n = x.shape[:2]
                described.append(
                    [part.view(batch, n, *part.shape[1:]) for part in describe(x.flatten(0, 1), sample_rate)]
                )
        mel, scalars = (torch.cat(parts, 1) for parts in zip(*described, strict=True))
        return self.decide(Heard(mel, scalars, mask)).controls

    @staticmethod
    def _embedded(encoder: TrackEncoder, heard: Heard) -> Tensor:
        """Embeddings (B, N, width) of tracks; those of padding are zero and cost nothing."""
        batch, n = heard.mel.shape[:2]
        mel, scalars = heard.mel.flatten(0, 1), heard.scalars.flatten(0, 1)
        if heard.mask is None:
            return encoder(mel, scalars).view(batch, n, -1)
        there = (heard.mask.flatten() > 0.5).nonzero()[:, 0]
        found = encoder(mel[there], scalars[there])
        return found.new_zeros(len(mel), found.shape[1]).index_copy(0, there, found).view(batch, n, -1)

    def guesses(self, mel: Tensor, scalars: Tensor) -> Tensor:
        """What tracks (R, 64, F) and (R, 8) sound like, (R, labels) in logits, whatever plays beside them."""
        return self.guess(self.ear(mel, scalars)) if self.guess is not None else mel.new_zeros(len(mel), 0)

    def in_company(self, guess: Tensor, mask: Tensor | None = None) -> Tensor:
        """Guesses (B, N, labels) in logits, each moved by what the other tracks of its song were taken for."""
        likely = guess.softmax(-1) if mask is None else guess.softmax(-1) * mask[..., None]
        everyone = likely.sum(1, keepdim=True)
        size = everyone.sum(2, keepdim=True).clamp_min(1).log().expand(*guess.shape[:2], 1)
        return guess + self.company(torch.cat([(everyone - likely).clamp_min(0).log1p(), size], 2))

    def decide(self, heard: Heard) -> Answer:
        """As `forward`, from descriptions, and what the tracks were taken for."""
        batch, n = heard.mel.shape[:2]
        embedded = self._embedded(self.encoder, heard)
        guess = embedded.new_zeros(*embedded.shape[:2], 0)
        if self.guess is not None:
            alone = heard.guess if heard.guess is not None else self.guess(self._embedded(self.ear, heard))
            guess = alone if heard.guess is not None else self.in_company(alone, heard.mask)
            likely = guess.softmax(-1)
            if heard.labels is not None:
                told = torch.nn.functional.one_hot(heard.labels, guess.shape[-1] + 1)[..., 1:].to(likely)
                likely = torch.where(heard.labels[..., None] > 0, told, likely)
            embedded = embedded + likely @ self.label.weight
        # where to look stands in kind: 0 the tracks, 1... the further parts, the last one a reference
        parts = [embedded + self.kind[0], self.kind[1:-1].expand(batch, -1, -1)]
        if heard.reference is not None:
            mel, scalars = (part.flatten(0, 1) for part in heard.reference)
            parts.append(self.encoder(mel, scalars).view(batch, heard.reference[0].shape[1], -1) + self.kind[-1])
        tokens = torch.cat(parts, 1)
        if self.wish is not None and heard.wishes is not None:
            wished = torch.ones_like(heard.wishes) if heard.wished is None else heard.wished
            tokens = tokens + self.wish(torch.cat([heard.wishes * wished, wished], 1))[:, None]
        elif self.wish is not None:
            tokens = tokens + self.wish(tokens.new_zeros(batch, 2 * self.wishes))[:, None]
        present = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        if heard.mask is not None:
            present = torch.cat([heard.mask > 0.5, present[:, n:]], 1)
        tokens = self.context(tokens, relations(heard.mel), present)
        first, *others = self.heads.values()
        logits = [first(tokens[:, :n]), *(head(tokens[:, n + i]) for i, head in enumerate(others))]
        return Answer(tuple(torch.sigmoid(z.float()) for z in logits), guess)
