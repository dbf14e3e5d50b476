"""Embeddings of tracks and of a reference mix to the controls of a console: the controller of Diff-MST."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from diffmix.errors import SettingsError


class StyleController(nn.Module):
    """A transformer over tracks, reference, buses and master, with a sigmoid head for each of the three parts.

    Every kind of token has a learned vector of its own and none a position, so that the answer is equivariant to the
    order of the tracks. Normalisation follows each layer, activations are ReLU.

    Args:
        sizes: how many controls each part has: ``tracks`` (each), ``bus``, ``master``.
        references: tokens of the reference.
        embedding: size of the tokens; with the rest as in the paper by default.
        layers, heads, feedforward: of the transformer.
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        references: int = 2,
        embedding: int = 512,
        layers: int = 12,
        heads: int = 8,
        feedforward: int = 2048,
    ) -> None:
        super().__init__()
        if embedding % heads:
            raise SettingsError(f"{heads} heads of attention do not divide an embedding of {embedding}")
        block = nn.TransformerEncoderLayer(embedding, heads, feedforward, dropout=0.0, batch_first=True)
        self.transformer = nn.TransformerEncoder(block, layers, enable_nested_tensor=False)
        self.track = nn.Parameter(torch.randn(1, 1, embedding))
        self.reference = nn.Parameter(torch.randn(1, references, embedding))
        self.bus = nn.Parameter(torch.randn(1, 1, embedding))
        self.master = nn.Parameter(torch.randn(1, 1, embedding))
        self.heads = nn.ModuleDict({part: nn.Linear(embedding, size) for part, size in sizes.items()})

    def forward(self, tracks: Tensor, reference: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        """Controls in [0, 1] by part: ``tracks`` (B, N, P), ``bus`` (B, Q), ``master`` (B, R).

        ``tracks`` (B, N, E) and ``reference`` (B, M, E) are embeddings; ``mask`` (B, N) is 0 where a track is padding.
        """
        batch, n = tracks.shape[:2]
        ends = [token.expand(batch, -1, -1) for token in (self.bus, self.master)]
        tokens = torch.cat([tracks + self.track, reference + self.reference, *ends], 1)
        ignore = None
        if mask is not None:
            ignore = torch.zeros(batch, tokens.shape[1], dtype=torch.bool, device=mask.device)
            ignore = torch.cat([mask < 0.5, ignore[:, n:]], 1)
        tokens = self.transformer(tokens, src_key_padding_mask=ignore)
        of = {"tracks": tokens[:, :n], "bus": tokens[:, -2], "master": tokens[:, -1]}
        return {part: torch.sigmoid(head(of[part])) for part, head in self.heads.items()}
