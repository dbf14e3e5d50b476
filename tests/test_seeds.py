"""A seed that cannot be is refused in a sentence, wherever something is drawn."""

from pathlib import Path
from typing import Any

import pytest
import torch

import diffmix
from diffmix.errors import SettingsError
from diffmix.sweep import sweep


@pytest.mark.parametrize(("seed", "said"), [(-1, r"-1, allowed 0\.\."), (1.5, "1.5, a whole"), ("x", "'x', a number")])
def test_a_seed_that_cannot_be_is_refused(tmp_path: Path, seed: Any, said: str) -> None:
    with pytest.raises(SettingsError, match=f"the seed is {said}"):
        next(diffmix.automix_variants({"a": torch.zeros(1, 9)}, seed=seed, sample_rate=44100))
    with pytest.raises(SettingsError, match=f"the seed is {said}"):
        sweep("Gain", tmp_path, tmp_path / "out", count=1, seed=seed)
