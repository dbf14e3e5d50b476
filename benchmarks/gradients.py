"""Are the gradients exact? Every effect's adjoint beside finite differences of its output, in float64.

For random settings and noise, a random direction of the input and each parameter in turn is moved a little both ways.
A difference quotient is itself wrong, by its step where that is large and by rounding where it is small, so that the
best of several steps is what is compared.
"""

import argparse
import statistics

import torch
from torch import Tensor

from benchmarks.common import Cell, publish, table
from diffmix.processors import REGISTRY, Processor

RATE = 44100
STEPS = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7)


def played(effect: Processor, x: Tensor, u: Tensor) -> Tensor:
    """All outlets under controls; further inlets hear the input backwards."""
    further = {p.name: x.flip(-1)[:, : p.channels or x.shape[1]] for p in effect.inlets[1:] if not p.optional}
    y = effect(x, u, **further)
    return torch.cat(y, 1) if isinstance(y, tuple) else y


def errors(effect: Processor, generator: torch.Generator, samples: int) -> dict[str, float]:
    """Relative error by what is moved: ``x`` and every parameter with a true gradient."""
    channels = effect.inlets[0].channels or 2
    x = 0.3 * torch.randn(1, channels, samples, generator=generator, dtype=torch.float64)
    u = (0.1 + 0.8 * effect.spec.sample(1, generator)).double()
    w = torch.randn(played(effect, x, u).shape, generator=generator, dtype=torch.float64)
    inputs = x.clone().requires_grad_(), u.clone().requires_grad_()
    gx, gu = torch.autograd.grad((played(effect, *inputs) * w).sum(), inputs, allow_unused=True)
    direction = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    moves = {"x": (direction, torch.zeros_like(u), (gx * direction).sum())} if "x" not in effect.surrogate else {}
    for i, name in enumerate(effect.spec.names):
        if name not in effect.surrogate:
            moves[name] = (torch.zeros_like(x), torch.eye(u.shape[1], dtype=torch.float64)[i : i + 1], gu[0, i])
    found = {}
    with torch.no_grad():
        for name, (dx, du, exact) in moves.items():
            slopes = [
                ((played(effect, x + h * dx, u + h * du) - played(effect, x - h * dx, u - h * du)) * w).sum() / (2 * h)
                for h in STEPS
            ]
            found[name] = min(((slope - exact).abs() / (exact.abs() + 1e-9)).item() for slope in slopes)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", type=int, default=12)
    parser.add_argument("--samples", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    rows: list[list[Cell]] = []
    for name, kind in sorted(REGISTRY.items()):
        if not kind.__module__.startswith("diffmix.processors.") or {"x", *kind.declared} <= kind.surrogate:
            continue  # estimated, and so said
        effect, generator = kind(RATE), torch.Generator().manual_seed(a.seed)
        found = [errors(effect, generator, a.samples) for _ in range(a.settings)]
        everything = sorted((error, what) for one in found for what, error in one.items())
        surrogate = ", ".join(n for n in ("x", *kind.declared) if n in kind.surrogate)
        rows.append([name, len(everything), statistics.median(e for e, _ in everything), *everything[-1], surrogate])
        print(*rows[-1])
    tables = [
        table(
            "Gradients",
            ["effect", "derivatives", "median error", "worst error", "of", "surrogates"],
            rows,
            f"{a.settings} random settings × the input and each parameter; {a.samples} samples of noise at {RATE} Hz; "
            "relative to the derivative. Surrogates are documented with their effect, and not compared.",
        )
    ]
    publish("gradients", "Exact gradients", tables, [], ("numba", "numpy"), a.seed)


if __name__ == "__main__":
    main()
