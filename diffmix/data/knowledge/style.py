"""The style of a mix in six numbers that a person can say."""

import re
from typing import NamedTuple

import numpy as np

from diffmix.errors import SettingsError
from diffmix.params import Param, ParamSpec, within

STYLE = ParamSpec(
    {
        "vocal_db": Param(-4, 4, 0, "dB", doc="lead vocal louder than usual"),
        "bass_db": Param(-3, 3, 0, "dB", doc="bass louder than usual"),
        "width": Param(-1, 1, 0, "", doc="-1 half as wide as usual, 1 half as wide again"),
        "bright_db": Param(-4, 4, 0, "dB", doc="top octaves lifted against the bottom"),
        "dense": Param(-1, 1, 0, "", doc="compression: -1 hardly any, 1 twice the usual"),
        "reverb_db": Param(-8, 8, 0, "dB", doc="sends higher than usual"),
    }
)
"""What a style says; 0 is what is usual for the music, and the middle of every range."""

_SPREAD = 0.4  # standard deviation of a drawn style, as a part of a range's half

_WORDS = {
    "wider": ("width", 0.5),
    "narrower": ("width", -0.5),
    "drier": ("reverb_db", -4.0),
    "wetter": ("reverb_db", 4.0),
    "brighter": ("bright_db", 2.0),
    "darker": ("bright_db", -2.0),
    "denser": ("dense", 0.5),
    "punchier": ("dense", 0.5),
    "looser": ("dense", -0.5),
    "more open": ("dense", -0.5),
    "open": ("dense", -0.5),
}
_LEVEL = re.compile(r"(vocal|bass)\s*([+-]\s*\d+(?:\.\d*)?)\s*(?:db)?")


class Style(NamedTuple):
    """A style of mixing, in the units of `STYLE`; the default is the usual one."""

    vocal_db: float = 0.0
    bass_db: float = 0.0
    width: float = 0.0
    bright_db: float = 0.0
    dense: float = 0.0
    reverb_db: float = 0.0

    @property
    def normalised(self) -> tuple[float, ...]:
        """The six numbers in [-1, 1], in order; 0 stays 0."""
        return tuple(value / STYLE.params[name].high for name, value in self._asdict().items())

    def and_also(self, other: "Style") -> "Style":
        """Both together, as far as `STYLE` goes."""
        return Style(*(p.nearest(a + b) for a, b, (_, p) in zip(self, other, STYLE, strict=True)))

    @classmethod
    def from_normalised(cls, values: "np.ndarray | list[float] | tuple[float, ...]") -> "Style":
        """The style of six numbers in [-1, 1]; what lies beyond is cut off."""
        bounded = (min(max(float(v), -1.0), 1.0) for v in values)
        return cls(*(v * p.high for v, (_, p) in zip(bounded, STYLE, strict=True)))


def sample_style(rng: np.random.Generator) -> Style:
    """A style around the usual one; its numbers are independent, normally distributed and cut off at the limits."""
    return Style.from_normalised(rng.normal(0, _SPREAD, STYLE.size))


def parse_style(text: str) -> Style:
    """The style of some words: ``"wider,drier,vocal+2"``.

    Words are wider or narrower, drier or wetter, brighter or darker, denser (punchier) or looser (more open), and
    vocal or bass with a number of dB. Words that are repeated add up, to the limits of `STYLE`.

    Raises SettingsError for another word, for a level beyond these limits, and for words that undo each other.
    """
    total = dict.fromkeys(STYLE.names, 0.0)
    said: dict[str, str] = {}
    for word in filter(None, (" ".join(part.lower().split()) for part in text.split(","))):
        if level := _LEVEL.fullmatch(word):
            name, limit = f"{level[1]}_db", STYLE.params[f"{level[1]}_db"]
            amount = within(f"the style {word!r}", float(level[2].replace(" ", "")), limit.low, limit.high, "dB")
        elif word in _WORDS:
            name, amount = _WORDS[word]
        else:
            raise SettingsError(f"{word!r} is no style; there are: {', '.join(_WORDS)}, vocal+2, bass-1 (dB)")
        if total[name] * amount < 0:
            raise SettingsError(f"the style's {said[name]!r} and {word!r} undo each other; keep one")
        total[name] += amount
        said[name] = word
    return Style(**{name: p.nearest(total[name]) for name, p in STYLE})
