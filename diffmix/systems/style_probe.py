"""What an encoder knows of styles: a linear probe on its frozen embeddings tells the five published styles apart.

C. J. Steinmetz, N. J. Bryan and J. D. Reiss, "Style transfer of audio effects with differentiable signal processing",
J. Audio Eng. Soc. 70(9), 2022. There each style has recordings of its own, so that a probe may tell the recordings
apart; here every recording comes in every style.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from diffmix.data.styles import FAMILIES, family
from diffmix.systems.style_pairs import Pieces, Recording

Embed = Callable[[Tensor], Tensor]
"""Audio (R, T) at a peak of -12 dBFS to features (R, E)."""


@torch.no_grad()
def styled(
    recordings: Sequence[Recording], count: int, *, sample_rate: int, seconds: float, seed: int, legacy: bool = False
) -> tuple[Tensor, Tensor]:
    """``count`` pieces in every style, (5 count, T), and which style it is, (5 count,).

    Pieces are drawn as `Pieces` are, from the same ``seed`` always the same. ``legacy``: "warm" raises the highs, as in
    the published code.
    """
    pieces = Pieces(recordings, sample_rate=sample_rate, seconds=seconds, seed=seed)
    rows, labels = [], []
    for number in range(count):
        piece, rng = pieces[number][None], np.random.default_rng([seed, number, 2])
        for label, name in enumerate(FAMILIES):
            rows.append(family(name, rng, legacy).render(piece, sample_rate, rng)[0, 0])
            labels.append(label)
    return torch.stack(rows).float(), torch.tensor(labels)


def probe_accuracy(embed: Embed, seen: tuple[Tensor, Tensor], held_out: tuple[Tensor, Tensor]) -> float:
    """Share of ``held_out`` recordings whose style a linear classifier of their features names.

    It learns from the features of ``seen`` recordings, both as `styled` gives them; the features are standardised, and
    its weights are kept small by a thousandth of their square.
    """
    with torch.no_grad():
        train, test = (torch.cat([embed(part) for part in x.split(16)]).float() for x, _ in (seen, held_out))
    mean, deviation = train.mean(0), train.std(0).clamp_min(1e-6)
    train, test = (train - mean) / deviation, (test - mean) / deviation
    probe = nn.Linear(train.shape[1], len(FAMILIES))
    nn.init.zeros_(probe.weight)
    nn.init.zeros_(probe.bias)
    solver = torch.optim.LBFGS(probe.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        solver.zero_grad()
        wrong = nn.functional.cross_entropy(probe(train), seen[1]) + 1e-3 * probe.weight.square().sum()
        wrong.backward()
        return wrong

    with torch.enable_grad():
        solver.step(loss)
    return float((probe(test).argmax(1) == held_out[1]).float().mean())
