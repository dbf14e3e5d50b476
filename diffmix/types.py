"""Names for types that appear in many signatures."""

from collections.abc import Mapping, Sequence
from os import PathLike

from torch import Tensor

Path = str | PathLike[str]
Values = Mapping[str, Tensor]
"""Physical values by parameter name, each of shape (B,)."""
Numbers = Mapping[str, float]
"""Physical values of one item by parameter name."""
Ranges = Mapping[str, Sequence[float]]
"""Narrower (low, high) or (low, high, default) by parameter name, in the parameter's unit."""
