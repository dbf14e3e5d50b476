"""A style as a file: what was heard of references, and what was done to a recording to sound as they do."""

import json
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import Any, NamedTuple

import torch
from torch import Tensor

from diffmix.errors import AudioError, SettingsError, about
from diffmix.estimators.style_features import SIZE as FEATURES
from diffmix.estimators.style_features import style_features
from diffmix.estimators.treatment import EXTRAS, SIZE, Treatment
from diffmix.files import check_format, read_json, write_text
from diffmix.params import number
from diffmix.transferring.listening import Recording
from diffmix.types import Path

FORMAT, VERSION = "diffmix-style", 1


class Reference(NamedTuple):
    """What was heard of one reference: `style_features` of its pieces (K, 250), level, band, channels, faults."""

    name: str
    features: Tensor
    loudness_lufs: float
    band_hz: float
    mono: bool = False
    clipped: bool = False
    weight: float = 1.0

    @classmethod
    def of(cls, heard: Recording, pieces: int, weight: float = 1.0) -> "Reference":
        """Listen to a recording."""
        found = style_features(heard.pieces(pieces), heard.sample_rate)
        return cls(heard.name, found, heard.loudness_lufs, heard.band_hz, heard.mono, heard.clipped, weight)


@dataclass(frozen=True)
class Style:
    """How references sound, and how to get there.

    ``references`` are what was heard, none if words were; ``treatment``, if there is one, is what was done to a
    recording, and is done again to another one by ``diffmix.transfer(other, style)``.
    """

    references: tuple[Reference, ...]
    treatment: Treatment | None = None
    domain: str = "auto"
    words: str = ""

    @classmethod
    def of(
        cls, reference: Any, sample_rate: int | None = None, weights: Sequence[float] | None = None, pieces: int = 8
    ) -> "Style":
        """The style of a recording, or of a list of them with weights: paths, arrays with their rate, other styles.

        Raises AudioError and SettingsError.
        """
        given = [heard_of(one, sample_rate) for one in listed(reference)]
        return cls(references_of(given, weights, pieces))

    @property
    def name(self) -> str:
        """The names of its references, or the words that it was described by."""
        return self.words or ", ".join(dict.fromkeys(reference.name for reference in self.references))

    @property
    def loudness_lufs(self) -> float:
        """Mean loudness of the references, of which there has to be one, by their weights."""
        return sum(r.weight * r.loudness_lufs for r in self.references) / sum(r.weight for r in self.references)

    def __str__(self) -> str:
        return f"like {self.name}"

    def with_treatment(self, treatment: Treatment, domain: str) -> "Style":
        """It with what was done."""
        return replace(self, treatment=treatment, domain=domain)

    def to_dict(self) -> dict[str, Any]:
        """Plain data; see ``style.schema.json`` beside this module."""
        references = [
            {**r._asdict(), "features": [[round(v, 4) for v in row] for row in r.features.tolist()]}
            for r in self.references
        ]
        treatment = self.treatment and {
            name: [round(v, 4) for v in part.tolist()] for name, part in self.treatment._asdict().items()
        }
        return {
            "format": FORMAT,
            "version": VERSION,
            "domain": self.domain,
            "extras": list(EXTRAS),
            "references": references,
            "treatment": treatment,
            **({"words": self.words} if self.words else {}),
        }

    @classmethod
    def from_dict(cls, data: Any, where: str = "the style") -> "Style":
        """The inverse of `to_dict`. Raises SettingsError, which begins with ``where``."""
        check_format(data, where, "a style", FORMAT, VERSION, SettingsError)
        if data.get("extras") != list(EXTRAS):
            raise SettingsError(f"{where} names the numbers {data.get('extras')}; here they are {list(EXTRAS)}")
        try:
            references = tuple(_reference(one) for one in data["references"])
            treatment = data["treatment"] and _treatment(data["treatment"])
            domain, words = str(data["domain"]), str(data.get("words", ""))
        except (KeyError, TypeError, ValueError) as error:
            raise SettingsError(f"{where} is damaged: {error}") from None
        if not references and treatment is None:
            raise SettingsError(f"{where} has neither a reference nor a treatment")
        if references and not sum(reference.weight for reference in references) > 0:
            raise SettingsError(f"{where} has no reference that counts: all weights are 0")
        return cls(references, treatment, domain, words)

    def save(self, path: Path) -> FilePath:
        """Write it as JSON. Raises OutputError."""
        file = FilePath(path)
        write_text(file, json.dumps(self.to_dict(), ensure_ascii=False) + "\n")
        return file

    @classmethod
    @about("path")
    def load(cls, path: Path) -> "Style":
        """Read what `save` wrote, a file or its text. Raises SettingsError."""
        return cls.from_dict(*read_json(path, "a style", SettingsError))


def listed(reference: Any) -> list[Any]:
    """A reference, or several, as a list. A list of numbers is audio."""
    if isinstance(reference, list | tuple) and reference and not isinstance(reference[0], int | float):
        return list(reference)
    if isinstance(reference, list | tuple) and not reference:
        raise AudioError("the list of references is empty")
    return [reference]


def shares_of(given: Sequence[Any], weights: Sequence[float] | None) -> list[float]:
    """A weight for each of the references. Raises SettingsError."""
    if weights is None:
        return [1.0] * len(given)
    found = [number("a weight", w) for w in weights] if isinstance(weights, Iterable) else []
    if len(found) != len(given) or not all(math.isfinite(w) and w >= 0 for w in found) or not sum(found) > 0:
        raise SettingsError(
            f"weights of {len(given)} references are as many numbers of 0 or more, one at least above 0; got "
            f"{found or weights}"
        )
    return found


def heard_of(one: Any, sample_rate: int | None) -> Recording | Style:
    """One of several references: a recording, or a style, of which its references count."""
    style = style_in(one)
    if style is None:
        return Recording.of(one, sample_rate, "the reference", whole=False)
    refuse_words(style)
    return style


def references_of(
    given: Sequence[Recording | Style], weights: Sequence[float] | None, pieces: int
) -> tuple[Reference, ...]:
    """What is heard of references, those of a style sharing its weight; what weighs nothing has no say in anything.

    Raises SettingsError for other weights.
    """
    found: list[Reference] = []
    for one, share in zip(given, shares_of(given, weights), strict=True):
        if isinstance(one, Style):
            whole = sum(r.weight for r in one.references)
            found += [r._replace(weight=share * r.weight / whole) for r in one.references]
        elif share:
            found.append(Reference.of(one, pieces, share))
    return tuple(reference for reference in found if reference.weight)


def refuse_words(style: Style) -> None:
    """Raise SettingsError for a style without references, of which nothing was heard."""
    if not style.references:
        raise SettingsError(f"the style of {style.name!r} was made of words and tells no reference: give a recording")


def style_in(reference: Any) -> Style | None:
    """The style that a reference is or names, a ``.json`` file, or None."""
    if isinstance(reference, Style):
        if reference.treatment is None:
            refuse_words(reference)
        return reference
    if isinstance(reference, str | os.PathLike) and FilePath(reference).suffix.casefold() == ".json":
        return Style.load(reference)
    return None


def _reference(data: Any) -> Reference:
    heard = torch.tensor(data["features"], dtype=torch.float32)
    if heard.ndim != 2 or heard.shape[1] != FEATURES or not torch.isfinite(heard).all():
        raise ValueError(f"features are rows of {FEATURES} numbers, got {tuple(heard.shape)}")
    numbers = {name: float(data[name]) for name in ("loudness_lufs", "band_hz", "weight")}
    if not all(map(math.isfinite, numbers.values())) or numbers["band_hz"] <= 0 or numbers["weight"] < 0:
        raise ValueError(f"loudness, band above 0 Hz and weight from 0 are numbers, got {numbers}")
    return Reference(str(data["name"]), heard, mono=bool(data["mono"]), clipped=bool(data["clipped"]), **numbers)


def _treatment(data: Any) -> Treatment:
    vector = torch.cat([torch.tensor(data[name], dtype=torch.float32) for name in Treatment._fields])
    if vector.shape != (SIZE,) or not torch.isfinite(vector).all():
        raise ValueError(f"a treatment is {SIZE} numbers, got {tuple(vector.shape)}")
    return Treatment.from_vector(vector)
