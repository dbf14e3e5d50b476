"""Sweeps over seeds, of which the quick suite runs the first ones and ``-m slow`` the others."""

from typing import Any

import pytest


def seeds(quick: int, every: int) -> list[Any]:
    """The numbers below ``every``; those from ``quick`` on are slow."""
    return [*range(quick), *(pytest.param(n, marks=pytest.mark.slow) for n in range(quick, every))]
