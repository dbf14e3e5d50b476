"""Arguments that several commands take, and what their texts mean."""

import argparse
from pathlib import Path
from typing import Any

from diffmix.errors import SettingsError

Parser = argparse.ArgumentParser


def stems(parser: Parser) -> None:
    """The tracks to mix."""
    parser.add_argument("stems", nargs="+", type=path, help="a folder of audio files, or files and folders")


def one_or_several(paths: list[Path]) -> Any:
    """A single path by itself, as the calls of `diffmix` take it."""
    return paths[0] if len(paths) == 1 else paths


def stems_of(paths: list[Path]) -> Any:
    """A folder by itself, or the files, be it a single one."""
    return paths if len(paths) == 1 and paths[0].is_file() else one_or_several(paths)


def output(parser: Parser) -> None:
    """The folder of the results."""
    parser.add_argument("-o", "--output", type=path, required=True, metavar="FOLDER", help="where the results go")


def path(text: str) -> Path:
    """A file or folder by its name; an empty one is most likely a variable of a shell that was not set."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the name is empty")
    return Path(text)


def console(parser: Parser) -> None:
    """A console of one's own; `layout` reads it."""
    text = "another console: a layout as in conf/console/*.yaml, or a mix's console.json"
    parser.add_argument("--console", type=path, metavar="FILE", help=text)


def layout(path: Path | None) -> dict[str, Any] | None:
    """A console's layout from a file; its sample rate is the stems'. Raises SettingsError."""
    if path is None:
        return None
    from omegaconf import OmegaConf

    found: Any
    try:
        found = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    except Exception as error:  # OmegaConf's and PyYAML's errors have no base of their own
        reason = " ".join((getattr(error, "strerror", None) or str(error)).split())
        raise SettingsError(f"{path} cannot be read as a console: {reason}") from None
    if not isinstance(found, dict):
        raise SettingsError(f"{path} holds no console: strip, sends, buses, groups and master are expected")
    return {str(name): part for name, part in found.items() if name != "sample_rate"}


def knobs(parser: Parser, lock: str, bound: str) -> None:
    """Knobs that a person holds, with examples of a lock and of a bound."""
    text = f"hold a knob, e.g. {lock} (without a value it changes nothing)"
    parser.add_argument("--lock", action="append", default=[], metavar="KNOB[=VALUE]", help=text)
    text = f"keep a knob in a range, e.g. {bound}"
    parser.add_argument("--bound", action="append", default=[], metavar="KNOB=RANGE", help=text)


def ceiling(parser: Parser) -> None:
    """The true peak of the result."""
    parser.add_argument("--ceiling", type=float, default=-1.0, metavar="DBTP", help="highest true peak (default -1)")


def sample_rate(parser: Parser, default: str = "what most files have") -> None:
    """The rate of a session."""
    parser.add_argument("--sample-rate", type=int, metavar="HZ", help=f"default: {default}")


def tail(parser: Parser, default: float | None = 0.0) -> None:
    """How long the mix goes on; None is for what settings say."""
    usual = "as the settings say" if default is None else f"{default:g}"
    text = f"seconds that the mix goes on after the longest track, so that its reverb rings out (default {usual})"
    parser.add_argument("--tail", type=float, default=default, metavar="SECONDS", help=text)


def daw(parser: Parser) -> None:
    """Whether a project for a DAW is written."""
    text = "write mix.dawproject too: the tracks with their knobs for Bitwig Studio, Studio One or Cubase"
    parser.add_argument("--daw", action="store_true", help=text)


def quality(parser: Parser) -> None:
    """How thoroughly is looked."""
    parser.add_argument("--quality", default="balanced", metavar="QUALITY", help="fast, balanced (default) or best")


def seed(parser: Parser) -> None:
    """What makes a result repeatable."""
    parser.add_argument("--seed", type=_seed, default=0, help="of whatever is drawn (default 0)")


def _seed(text: str) -> int:
    if not (text.isdecimal() and int(text) < 2**31):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 to {2**31 - 1}")
    return int(text)


def number(text: str, where: str) -> float:
    """A number. Raises SettingsError that begins with ``where``, the option."""
    try:
        return float(text)
    except ValueError:
        raise SettingsError(f"{where}: {text.strip()!r} is no number") from None
