"""Searches that need no gradients, for plugins whose insides are unknown: separable CMA-ES and SPSA.

R. Ros and N. Hansen, "A simple modification in CMA-ES achieving linear time and space complexity" (2008): each
generation is drawn around a mean with a deviation of its own in each direction, which follows those that were best.

J. C. Spall, "Multivariate stochastic approximation using a simultaneous perturbation gradient approximation" (1992):
all numbers are moved at once, up and down at random, and what that changes estimates the slope.
"""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Score = Callable[[Tensor], Tensor]
"""Distances (N,) of N points (N, D) in [0, 1]; the whole generation at once."""


DEVIATION, REACH = 0.2, 0.12
"""How far from the middle the first generation is: the standard deviation of `evolve`, the distance of `perturb`."""


def _population(size: int) -> int:
    """Points of a generation in so many directions."""
    return max(8, 4 + int(3 * math.log(size)))


def evolve(
    score: Score,
    start: Tensor,
    *,
    generations: int = 30,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> tuple[Tensor, float]:
    """The best point of [0, 1]^D that was found, and its distance.

    Args:
        score: what is made small.
        start: where to begin, (D,); it is scored too, so that nothing worse comes back.
        generations: how many.
        seed: of the draws.
        progress: called with the share that is done.
    """
    size = len(start)
    count = _population(size)
    parents = count // 2
    weights = math.log(parents + 0.5) - torch.arange(1, parents + 1, dtype=torch.float64).log()
    weights = weights / weights.sum()
    mass = float(1 / weights.square().sum())
    step_rate = (mass + 2) / (size + mass + 3)
    damping = 1 + 2 * max(0.0, math.sqrt((mass - 1) / (size + 1)) - 1) + step_rate
    path_rate = 4 / (size + 4)
    full = 2 / (mass * (size + math.sqrt(2)) ** 2) + (1 - 1 / mass) * min(1, (2 * mass - 1) / ((size + 2) ** 2 + mass))
    rate = min(1.0, full * (size + 2) / 3)
    expected = math.sqrt(size) * (1 - 1 / (4 * size) + 1 / (21 * size**2))
    generator = torch.Generator().manual_seed(seed)
    mean, sigma = start.double().clone(), DEVIATION
    variance, path, step_path = torch.ones(size).double(), torch.zeros(size).double(), torch.zeros(size).double()
    best, least = start.double().clone(), float(score(start[None].float())[0])
    for number in range(generations):
        drawn = torch.randn(count, size, generator=generator, dtype=torch.float64) * variance.sqrt()
        points = mean + sigma * drawn
        inside = points.clamp(0, 1)
        found = torch.nan_to_num(score(inside.float()).double(), nan=math.inf)
        fitness = found + 0.1 * (points - inside).square().sum(1) * found.abs().clamp_max(1e6)  # outside costs
        order = fitness.argsort()
        if float(found.min()) < least:
            least, best = float(found.min()), inside[int(found.argmin())].clone()
        chosen = drawn[order[:parents]]
        move = weights @ chosen
        mean = (mean + sigma * move).clamp(0, 1)
        step_path = (1 - step_rate) * step_path + math.sqrt(step_rate * (2 - step_rate) * mass) * move / variance.sqrt()
        long = float(step_path.norm()) < (1.4 + 2 / (size + 1)) * expected * math.sqrt(
            1 - (1 - step_rate) ** (2 * (number + 1))
        )
        path = (1 - path_rate) * path + long * math.sqrt(path_rate * (2 - path_rate) * mass) * move
        spread = weights @ chosen.square()
        variance = (1 - rate) * variance + rate / mass * path.square() + rate * (1 - 1 / mass) * spread
        sigma = min(sigma * math.exp(step_rate / damping * (float(step_path.norm()) / expected - 1)), 0.5)
        if progress:
            progress((number + 1) / generations)
    return best.float(), least


def perturb(
    score: Score,
    start: Tensor,
    *,
    generations: int = 30,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> tuple[Tensor, float]:
    """As `evolve`, by simultaneous perturbation: as many points of a generation, half of them opposite the others.

    These are `REACH` from the middle at first, and less with the sixth root of the generation, as Spall advises. The
    slopes of a generation are averaged, and Adam takes the step.
    """
    size = len(start)
    pairs = _population(size) // 2
    generator = torch.Generator().manual_seed(seed)
    middle = start.double().clone()
    best, least = middle.clone(), float(score(start[None].float())[0])
    slope, square = torch.zeros(size).double(), torch.zeros(size).double()
    for number in range(generations):
        reach = REACH / (number + 1) ** (1 / 6)
        sign = (torch.randint(0, 2, (pairs, size), generator=generator) * 2 - 1).double()
        points = torch.cat([middle + reach * sign, middle - reach * sign]).clamp(0, 1)
        found = torch.nan_to_num(score(points.float()).double(), nan=1e6, posinf=1e6)
        if float(found.min()) < least:
            least, best = float(found.min()), points[int(found.argmin())].clone()
        apart = points[:pairs] - points[pairs:]  # less than twice the reach at a limit
        change = (found[:pairs] - found[pairs:])[:, None]
        estimate = torch.where(apart == 0, 0.0, change / torch.where(apart == 0, 1.0, apart)).mean(0)
        slope, square = 0.8 * slope + 0.2 * estimate, 0.95 * square + 0.05 * estimate.square()
        whole = (slope / (1 - 0.8 ** (number + 1))) / (square / (1 - 0.95 ** (number + 1))).sqrt().clamp_min(1e-12)
        length = 0.05 * (1 + math.cos(math.pi * number / generations))
        middle = (middle - length * whole).clamp(0, 1)
        if progress:
            progress((number + 1) / generations)
    if (last := float(torch.nan_to_num(score(middle[None].float()), nan=math.inf)[0])) < least:
        best, least = middle, last
    return best.float(), least


SEARCHES: Mapping[str, Callable[..., tuple[Tensor, float]]] = {"cma-es": evolve, "spsa": perturb}
"""The searches by name."""
