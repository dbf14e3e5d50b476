"""Settings: nested named numbers in physical units. What a person reads, edits, saves and loads."""

import json
import math
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path as FilePath
from typing import Any

from diffmix.errors import SettingsError, about
from diffmix.files import check_format, read_json, write_text
from diffmix.types import Path

FORMAT, VERSION = "diffmix-settings", 1


def shortest(value: float) -> float:
    """The number with the fewest digits that rounds to the same float32, so that files stay readable and exact."""
    if not math.isfinite(value):
        return value
    single = struct.unpack("f", struct.pack("f", value))[0]
    return next(
        short
        for digits in range(1, 18)
        if struct.unpack("f", struct.pack("f", short := float(f"{single:.{digits}g}")))[0] == single
    )


class Settings(dict[str, Any]):
    """A nested dictionary of knobs: ``settings["tracks"]["vox"]["compressor"]["threshold_db"]``.

    Top level: ``tracks`` (by track name), ``buses`` (by bus name), ``master``; below, the stages of each strip and
    their parameters in Pedalboard's names and units. Those of a mix at a rate that was asked for, or with a tail, hold
    these as ``session`` when they are saved: ``sample_rate`` in Hz, ``tail_s`` in seconds; no console turns them. It is
    plain data: edit it, then render it again.
    """

    def flat(self) -> Iterator[tuple[tuple[str, ...], float]]:
        """Every knob as (path, value), in order."""

        def walk(node: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], float]]:
            for key, value in node.items():
                if isinstance(value, Mapping):
                    yield from walk(value, (*path, key))
                else:
                    yield (*path, key), value

        return walk(self, ())

    def to_json(self, path: Path | None = None) -> str:
        """JSON text with format and version; also written to ``path`` if given (OutputError if that cannot be)."""
        text = json.dumps({"format": FORMAT, "version": VERSION, **self}, indent=2, ensure_ascii=False) + "\n"
        if path is not None:
            write_text(FilePath(path), text)
        return text

    @classmethod
    @about("source")
    def from_json(cls, source: Path) -> "Settings":
        """Read a file written by `to_json`, or its text.

        Raises SettingsError if it is not JSON, another format, a later version, or holds anything but numbers.
        """
        data, name = read_json(source, "settings", SettingsError)
        data = check_format(data, name, "settings", FORMAT, VERSION, SettingsError)
        settings = cls({key: part for key, part in data.items() if key not in ("format", "version")})
        for where, value in settings.flat():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise SettingsError(f"{name}: {' / '.join(where)} is {value!r}, a number is expected")
        return settings

    def part(self, name: str) -> Mapping[str, Any]:
        """A part by its name, ``tracks``, empty if it was left out. Raises SettingsError if it is no mapping."""
        found = self.get(name, {})
        if not isinstance(found, Mapping):
            raise SettingsError(f"{name} is {found!r}; names, and what each stands for, are expected")
        return found

    def table(self) -> str:
        """The knobs as text, one line per stage."""
        stages: dict[tuple[str, ...], list[str]] = {}
        for path, value in self.flat():
            stages.setdefault(path[:-1], []).append(f"{path[-1]} {value:.4g}")
        return "\n".join(f"{' / '.join(stage)}: {', '.join(knobs)}" for stage, knobs in stages.items())
