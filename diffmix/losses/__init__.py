"""Losses between audio and its target."""

from diffmix.losses.imbalance import band_imbalance, imbalance_loss
from diffmix.losses.stft import SumDifferenceLoss, multi_resolution_stft

__all__ = ["SumDifferenceLoss", "band_imbalance", "imbalance_loss", "multi_resolution_stft"]
