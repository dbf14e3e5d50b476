"""Networks that estimate control vectors from audio; they read sizes from a spec and name no effect."""

from diffmix.estimators.estimator import Estimator, TrackEncoder

__all__ = ["Estimator", "TrackEncoder"]
