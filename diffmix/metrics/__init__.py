"""Numbers that say how close one sound, or one mix, is to another.

`evaluate` gives all of them for a mix and its target; `PANEL` says what each means. Functions work on batches of mixes
(B, 2, T) and return (B,).
"""

from diffmix.metrics.dynamics import (
    crest_db,
    dynamics_db,
    dynamics_error_db,
    loudness_range,
    peak_to_loudness_db,
)
from diffmix.metrics.legacy import feature_mape
from diffmix.metrics.panel import PANEL, Metric, evaluate, matched
from diffmix.metrics.similarity import error_to_signal, residual_db
from diffmix.metrics.spectrum import (
    bark_bands,
    bark_error_db,
    left_right_distance,
    ltas_error_db,
    mid_side_bark_db,
    stft_distance,
    sum_difference_distance,
    third_octaves_db,
)
from diffmix.metrics.stereo import panning_error, panning_mape, panning_rms, width_db, width_error_db
from diffmix.metrics.style import (
    at_peak,
    band_crest_error_db,
    crest_error_db,
    erb_error_db,
    erb_levels_db,
    loudness_distribution_error_lu,
    loudness_dynamics_error,
    loudness_error_lu,
    mel_distance,
    mel_error_db,
    rms_error_db,
    spectral_centroid_error_hz,
    spectral_centroid_hz,
    style_errors,
    unaligned_errors,
)
from diffmix.metrics.tracks import (
    audible_share,
    balance_error_db,
    eq_error_db,
    loudness_weight,
    pan_error,
    pan_position,
    pan_width_error,
)

__all__ = [
    "PANEL",
    "Metric",
    "at_peak",
    "audible_share",
    "balance_error_db",
    "band_crest_error_db",
    "bark_bands",
    "bark_error_db",
    "crest_db",
    "crest_error_db",
    "dynamics_db",
    "dynamics_error_db",
    "eq_error_db",
    "erb_error_db",
    "erb_levels_db",
    "error_to_signal",
    "evaluate",
    "feature_mape",
    "left_right_distance",
    "loudness_distribution_error_lu",
    "loudness_dynamics_error",
    "loudness_error_lu",
    "loudness_range",
    "loudness_weight",
    "ltas_error_db",
    "matched",
    "mel_distance",
    "mel_error_db",
    "mid_side_bark_db",
    "pan_error",
    "pan_position",
    "pan_width_error",
    "panning_error",
    "panning_mape",
    "panning_rms",
    "peak_to_loudness_db",
    "residual_db",
    "rms_error_db",
    "spectral_centroid_error_hz",
    "spectral_centroid_hz",
    "stft_distance",
    "style_errors",
    "sum_difference_distance",
    "third_octaves_db",
    "unaligned_errors",
    "width_db",
    "width_error_db",
]
