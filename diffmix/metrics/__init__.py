"""Numbers that say how close one sound, or one mix, is to another."""

from diffmix.metrics.similarity import error_to_signal, residual_db
from diffmix.metrics.tracks import balance_error_db, pan_error, pan_width_error

__all__ = ["balance_error_db", "error_to_signal", "pan_error", "pan_width_error", "residual_db"]
