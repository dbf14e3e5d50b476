"""A seed that cannot be is refused in a sentence, wherever something is drawn."""

from pathlib import Path

import pytest
import torch

import diffmix
from diffmix.errors import SettingsError
from diffmix.sweep import sweep


def test_a_seed_below_zero_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="the seed is -1, allowed is 0 or more"):
        next(diffmix.automix_variants({"a": torch.zeros(1, 9)}, seed=-1, sample_rate=44100))
    with pytest.raises(SettingsError, match="the seed is -2, allowed is 0 or more"):
        sweep("Gain", tmp_path, tmp_path / "out", count=1, seed=-2)
