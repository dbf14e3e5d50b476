"""Losses between a mix and its target."""

from diffmix.losses.imbalance import band_imbalance, imbalance_loss
from diffmix.losses.stft import SumDifferenceLoss

__all__ = ["SumDifferenceLoss", "band_imbalance", "imbalance_loss"]
