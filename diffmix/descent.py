"""Gradient descent on a few unknowns, without torch.optim: it imports torch._dynamo, which takes two seconds."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


class Adam:
    """D. P. Kingma and J. Ba's method (ICLR 2015): on the CPU the very numbers of ``torch.optim.Adam``.

    With ``steps`` the rate falls to ``least`` along half a cosine, as that of ``CosineAnnealingLR``; else it stays.
    """

    EPSILON = 1e-8

    def __init__(
        self,
        unknowns: Sequence[Tensor],
        rate: float,
        betas: tuple[float, float] = (0.9, 0.999),
        steps: int = 0,
        least: float = 0.0,
    ) -> None:
        self.unknowns, self.rate, self.betas, self.steps, self.least = list(unknowns), rate, betas, steps, least
        self._mean = [torch.zeros_like(one) for one in self.unknowns]
        self._square = [torch.zeros_like(one) for one in self.unknowns]
        self._taken = 0

    @torch.no_grad()
    def step(self) -> None:
        """Move the unknowns against their gradients, which are gone then."""
        self._taken += 1
        fast, slow = (1 - beta**self._taken for beta in self.betas)
        for one, mean, square in zip(self.unknowns, self._mean, self._square, strict=True):
            if one.grad is None:
                continue
            mean.lerp_(one.grad, 1 - self.betas[0])
            square.mul_(self.betas[1]).addcmul_(one.grad, one.grad, value=1 - self.betas[1])
            deviation = (square.sqrt() / slow**0.5).add_(self.EPSILON)
            one.addcdiv_(mean, deviation, value=-(self.rate / fast))
            one.grad = None
        if self.steps:
            after, before = (1 + math.cos(math.pi * n / self.steps) for n in (self._taken, self._taken - 1))
            self.rate = after / before * (self.rate - self.least) + self.least
