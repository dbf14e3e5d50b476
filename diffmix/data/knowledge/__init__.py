"""What mixing engineers know, as rules with a spread: sensible mixes of any song, to learn from and to compare with.

A song draws a style, each role of it its usual treatment, each track its departure from that; equaliser, compressor and
pan are worked out from the recordings. After B. De Man and J. D. Reiss, "A knowledge-engineered autonomous mixing
system" (AES 135, 2013); every number is our own.
"""

from diffmix.data.knowledge.engineer import Engineered, class_mean, engineer
from diffmix.data.knowledge.likeness import style_like
from diffmix.data.knowledge.spectrum import THIRD_OCTAVES_HZ, long_term_spectrum_db
from diffmix.data.knowledge.style import STYLE, Style, parse_style, sample_style

__all__ = [
    "STYLE",
    "THIRD_OCTAVES_HZ",
    "Engineered",
    "Style",
    "class_mean",
    "engineer",
    "long_term_spectrum_db",
    "parse_style",
    "sample_style",
    "style_like",
]
