"""Networks that estimate control vectors from audio; they read sizes from a spec and name no effect."""

from diffmix.estimators.encoder import TrackEncoder
from diffmix.estimators.estimator import Estimator, Heard

__all__ = ["Estimator", "Heard", "TrackEncoder"]
