"""A master: a result with everything that a mix can do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor

from diffmix.data.knowledge.mastering import UNTOUCHED, Target
from diffmix.data.knowledge.spectrum import THIRD_OCTAVES_HZ
from diffmix.mastering.bypass import bypassed
from diffmix.mastering.measured import Measured, reach
from diffmix.mastering.page import spectrum
from diffmix.mastering.report import write
from diffmix.mix import Mix
from diffmix.report import further_notes
from diffmix.settings import Settings
from diffmix.types import Path

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, repr=False)
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
        """The recording as it came, (2, T); both channels of a mono one are equal."""
        return self.multitrack.tracks[0].audio

    @cached_property
    def report(self) -> dict[str, Any]:
        """What was measured, as plain data.

        ``before`` and ``after``: the fields of `Measured`; ``target``: those of `Target`, its curve level with the
        master's; ``reasons``; ``bypass``: by stage how loudness, true peak, crest and width of the loudest seconds
        change when it is left out, in dB; ``notes``.
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
            "bypass": bypassed(self),
            "notes": [*self.notes, *further_notes(self)],
        }

    def plot(self) -> "Figure":
        """Spectra before and after, over the target."""
        return spectrum(self.report)

    def write_report(self, folder: Path) -> None:
        """Write report.html, report.png and report.json into an existing folder."""
        write(self, folder)
