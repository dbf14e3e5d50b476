"""The export of echoes; their sound is tested with the kernels'."""

import numpy as np
import pedalboard
import pytest
import torch

from diffmix.processors import Delay


@pytest.mark.parametrize("sample_rate", [44100, 48000, 96000])
def test_the_exported_time_is_cut_to_the_same_samples(sample_rate: int) -> None:
    """Also where it is a whole number of samples, but for a rounding; not even the preset's rounding changes it."""
    effect = Delay(sample_rate)
    impulse = torch.eye(1, 1200)
    for samples in (50, 99, 441, 480, 959, 1000):
        values = {"delay_seconds": samples / sample_rate, "feedback": 0.0, "mix": 1.0}
        ((_, arguments),) = effect.plugins(values)
        y = effect.process(impulse[None], **{name: torch.tensor([v]) for name, v in values.items()})
        for seconds in arguments["delay_seconds"] + np.array([-0.3, 0, 0.3]) / sample_rate:
            theirs = pedalboard.Delay(**arguments | {"delay_seconds": seconds})(impulse.numpy(), sample_rate)
            assert np.array_equal(y[0].numpy(), theirs), (samples, seconds)
