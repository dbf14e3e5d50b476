"""Losses between audio and its target."""

from diffmix.losses.audio_features import AudioFeatureLoss, audio_features
from diffmix.losses.imbalance import band_imbalance, imbalance_loss
from diffmix.losses.stereo_invariant import StereoInvariantLoss
from diffmix.losses.stft import MixLoss, SumDifferenceLoss, multi_resolution_stft

__all__ = [
    "AudioFeatureLoss",
    "MixLoss",
    "StereoInvariantLoss",
    "SumDifferenceLoss",
    "audio_features",
    "band_imbalance",
    "imbalance_loss",
    "multi_resolution_stft",
]
