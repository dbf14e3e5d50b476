"""A master: a result with everything that a mix can do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor

from diffmix.console import Console
from diffmix.data.knowledge.mastering import UNTOUCHED, Target
from diffmix.data.knowledge.spectrum import THIRD_OCTAVES_HZ
from diffmix.data.multitrack import Multitrack, Track
from diffmix.kernels.loudness import integrated_loudness, true_peak_db
from diffmix.mastering.measured import Measured, loudest, reach
from diffmix.metrics import crest_db
from diffmix.mix import Mix, render
from diffmix.settings import Settings
from diffmix.types import Path


@dataclass(frozen=True)
class Master(Mix):
    """A master and how it was made: a `diffmix.Mix` of one track, the recording, whose chain is the console's master.

    ``target`` is what was aimed at; ``reasons`` say by stage what was done and why, and are empty once settings are
    edited by hand. ``save`` writes master.wav besides what a mix has; all its other abilities are those of a mix.
    """

    AUDIO: ClassVar[str] = "master.wav"

    target: Target = UNTOUCHED
    amount: float = 1.0
    reasons: Mapping[str, str] = field(default_factory=dict)

    def rendered(
        self, settings: Settings | None = None, mute: str | Sequence[str] = (), solo: str | Sequence[str] = ()
    ) -> "Master":
        """The recording under other settings, exactly as given (no loudness target is applied)."""
        made = replace(self, reasons={}, notes=()) if settings is not None else self
        return cast(Master, super(Master, made).rendered(settings, mute, solo))

    @property
    def source(self) -> Tensor:
        """The recording as it came, (1, T) or (2, T)."""
        return self.multitrack.tracks[0].audio

    @cached_property
    def report(self) -> dict[str, Any]:
        """What was measured, as plain data.

        ``before`` and ``after``: the fields of `Measured`; ``target``: those of `Target`, its curve level with the
        master's; ``reasons``; ``bypass``: by stage how loudness, true peak and crest of the loudest seconds change when
        it is left out, in dB; ``notes``.
        """
        found = {
            "before": Measured.of(self.source, self.sample_rate),
            "after": Measured.of(torch.from_numpy(self.audio), self.sample_rate),
        }
        after = found["after"].spectrum_db
        curve = None
        if self.target.curve_db is not None:
            shift = np.average(after - self.target.curve_db, weights=reach(self.sample_rate))
            curve = (self.target.curve_db + shift).tolist()
        return {
            "name": self.multitrack.name,
            "sample_rate": self.sample_rate,
            "seconds": self.audio.shape[-1] / self.sample_rate,
            "frequency_hz": list(THIRD_OCTAVES_HZ),
            **{k: {**m._asdict(), "spectrum_db": m.spectrum_db.tolist()} for k, m in found.items()},
            "target": {**self.target._asdict(), "curve_db": curve, "spread_db": self.target.spread_db.tolist()},
            "reasons": dict(self.reasons),
            "bypass": _bypassed(self),
            "notes": [*self.notes, *([f"No preset: {self.unplayable}"] if self.unplayable else [])],
        }

    def write_report(self, folder: Path) -> None:
        """Write report.html, report.png and report.json into an existing folder."""
        from diffmix.mastering.report import write

        write(self, folder)


def _bypassed(made: Master) -> dict[str, dict[str, float]]:
    """How the loudest seconds change when a stage is left out."""
    excerpt = loudest(made.source, made.sample_rate)
    song = Multitrack("excerpt", made.sample_rate, (Track("mix", excerpt),))

    def levels(without: str) -> dict[str, float]:
        left = {name: effect for name, effect in made.console.layout["master"].items() if name != without}
        console = Console(made.sample_rate, made.console.ranges, **{**made.console.layout, "master": left})
        knobs = {name: values for name, values in made.settings["master"].items() if name != without}
        y = render(console, song, Settings({**made.settings, "master": knobs}))[None]
        return {
            "loudness_db": float(integrated_loudness(y, made.sample_rate)),
            "true_peak_db": float(true_peak_db(y, made.sample_rate)),
            "crest_db": float(crest_db(y)),
        }

    whole = levels("")
    return {
        stage: {name: value - whole[name] for name, value in levels(stage).items()} for stage in made.console.master
    }
