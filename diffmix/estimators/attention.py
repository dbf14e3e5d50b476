"""Attention over tracks that knows how each two relate."""

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from diffmix.errors import SettingsError


class Block(nn.Module):
    """Pre-normalised self-attention (Vaswani et al., 2017; Xiong et al., 2020) with a given bias on its weights."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.further = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(2 * width, width),
        )

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Tokens ``x`` (B, M, width); ``bias`` (B, heads, M, M), -inf where a token may not look."""
        q, k, v = self.qkv(self.norm(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        heard = scaled_dot_product_attention(q, k, v, attn_mask=bias)
        x = x + self.out(heard.transpose(1, 2).flatten(2))
        return x + self.further(x)


class Context(nn.Module):
    """A set transformer: tokens of tracks, which stand in ``relations`` to each other, and further tokens behind.

    It is equivariant to the order of the tracks, and takes any number of them.
    """

    def __init__(self, width: int, layers: int, heads: int, relations: int, dropout: float = 0.1) -> None:
        super().__init__()
        if width % heads:
            raise SettingsError(f"{heads} heads of attention do not divide a width of {width}")
        self.relate = nn.Sequential(nn.Linear(relations, 16), nn.GELU(), nn.Linear(16, layers * heads))
        self.blocks = nn.ModuleList([Block(width, heads, dropout) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, relations: Tensor, present: Tensor) -> Tensor:
        """``tokens`` (B, M, width), the tracks first; ``relations`` (B, N, N, R); ``present`` (B, M) of bool."""
        more = tokens.shape[1] - relations.shape[1]
        bias = self.relate(relations).permute(0, 3, 1, 2)  # (B, layers * heads, N, N)
        bias = nn.functional.pad(bias, (0, more, 0, more))
        bias = bias.masked_fill(~present[:, None, None], -torch.inf)
        for block, part in zip(self.blocks, bias.chunk(len(self.blocks), 1), strict=True):
            tokens = block(tokens, part)
        return self.norm(tokens)
