"""Names in pictures: in fonts that hold their script where there are any, else by what can be written of them."""

import re
from functools import cache

OTHER_SCRIPTS = (
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans CJK KR", "Noto Sans JP", "Noto Sans SC", "Noto Sans KR"),
    *("Source Han Sans", "IPAexGothic", "IPAGothic", "VL Gothic", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei"),
    *("Droid Sans Fallback", "NanumGothic", "UnDotum"),
    *("Hiragino Sans", "PingFang SC", "PingFang HK", "Heiti TC", "Apple SD Gothic Neo"),
    *("Yu Gothic", "Meiryo", "MS Gothic", "Microsoft YaHei", "SimHei", "Malgun Gothic"),
    *("Arial Unicode MS", "Noto Sans Thai", "Noto Sans Devanagari", "Leelawadee UI", "Nirmala UI"),
)
"""Fonts of Linux, macOS and Windows for what matplotlib's own lacks: Chinese, Japanese, Korean and more."""


def families() -> list[str]:
    """The fonts to write in: those that are set, and behind them those of `OTHER_SCRIPTS` that are installed."""
    from matplotlib import rcParams

    return [*rcParams["font.family"], *(name for name in _installed() if name not in rcParams["font.family"])]


@cache
def _installed() -> tuple[str, ...]:
    from matplotlib.font_manager import fontManager

    there = {font.name for font in fontManager.ttflist}
    return tuple(name for name in OTHER_SCRIPTS if name in there)


def lettered(name: str, number: int | None = None, longest: int = 24) -> str:
    """A name as a picture can show it, with its middle left out if it is too long.

    What no font holds is left out; so that it can be told which it is, its ``number`` stands in front.
    """
    written = tuple(families())
    kept = re.sub("\0+", "…", "".join(letter if _holds(written, letter) else "\0" for letter in name))
    if kept != name:
        first = [] if number is None else [f"no. {number}"]
        kept = " ".join([*first, *([kept] if re.search(r"\w", kept) or not first else [])])
    return shortened(kept, longest).replace("$", r"\$")  # no mathematics in names


def shortened(name: str, longest: int = 24) -> str:
    """A name with its middle left out if it is too long for a label."""
    half = (longest - 1) // 2
    return name if len(name) <= longest else f"{name[:half]}…{name[-half:]}"


@cache
def _holds(written: tuple[str, ...], letter: str) -> bool:
    """Whether a font of these families has a letter."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    return any(get_font(findfont(FontProperties(family=[name]))).get_char_index(ord(letter)) for name in written)
