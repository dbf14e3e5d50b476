"""What a transfer is: the audio, every knob that made it, what was believed and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from diffmix.data.knowledge.spectrum import THIRD_OCTAVES_HZ
from diffmix.errors import SettingsError
from diffmix.estimators.treatment import EQ_HZ, Treatment
from diffmix.kernels.loudness import integrated_loudness
from diffmix.mastering.bypass import bypassed, shortened
from diffmix.mastering.measured import Measured
from diffmix.mastering.page import spectrum
from diffmix.metrics import width_db
from diffmix.mix import Mix, finished, render
from diffmix.report import further_notes
from diffmix.settings import Settings
from diffmix.transferring.comparing import level_matched, write_before
from diffmix.transferring.knobs import ASPECTS
from diffmix.transferring.report import write
from diffmix.transferring.style import Style
from diffmix.types import Path

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Belief(NamedTuple):
    """What was thought of the two recordings, and what it led to.

    Fields:
        route: "different-source", "same-source", "style" (a saved treatment, done again) or "text" (words).
        likeness: how alike the levels of input and reference move, 1 for one performance.
        domain: what the input was taken for, "speech" or "music".
        treatment: what was to be done, after all amounts and the guard.
        amounts: how much of each aspect was done, 0 to 1.
        confidence: by aspect the chance, 0.5 to 1, that it was to change in this direction.
        expected: distance to the reference's style that is expected, over the input's; 1 where nothing was done.
        harm: chance that it got worse by 5 % or more; how often that happened on songs never heard.
        acted: whether tone, dynamics, drive, width or space were touched.
    """

    route: str
    likeness: float
    domain: str
    treatment: Treatment
    amounts: Mapping[str, float]
    confidence: Mapping[str, float]
    expected: float
    harm: float
    acted: bool


NO_STYLE = Style(())
NOTHING = Belief("different-source", 0.0, "music", Treatment.neutral(), {}, {}, 1.0, 0.0, False)


@dataclass(frozen=True, repr=False)
class Transfer(Mix):
    """A recording in the style of another: a `diffmix.Mix` of one track whose chain is the console's master.

    ``style`` is what was heard and done, to be saved and used again; ``belief`` what was thought; ``candidates`` are
    other results that what was heard allows; ``loudness_lufs`` and ``ceiling_db`` were aimed at (None: no loudness).
    ``save`` writes transfer.wav, the input at its loudness as before.wav, and style.json, besides what a mix has.
    """

    AUDIO: ClassVar[str] = "transfer.wav"
    BESIDES: ClassVar[tuple[str, ...]] = ("before.wav",)
    PERHAPS: ClassVar[tuple[str, ...]] = (*Mix.PERHAPS, "style.json")

    style: Style = NO_STYLE  # type: ignore[assignment]  # a mix's is a text only
    belief: Belief = NOTHING
    loudness_lufs: float | None = None
    ceiling_db: float = -1.0
    candidates: tuple["Transfer", ...] = field(default=(), repr=False)

    def rendered(
        self, settings: Settings | None = None, mute: str | Sequence[str] = (), solo: str | Sequence[str] = ()
    ) -> "Transfer":
        """The recording under other settings, exactly as given (no loudness target is applied)."""
        return cast(Transfer, super().rendered(settings, mute, solo))

    def without(self, *stages: str) -> "Transfer":
        """The same with stages of the chain, or aspects, left out, as loud as before.

        Raises SettingsError for what the chain does not have.
        """
        left_out: set[str] = set()
        for name in stages:
            found = {name} & set(self.console.master) or set(ASPECTS.get(name, ())) & set(self.console.master)
            if not found:
                raise SettingsError(f"there is no {name!r} to leave out; the chain is {self._chain}")
            left_out |= found
        console, settings = shortened(self, left_out)
        if "gain" in console.master:
            loudness = float(integrated_loudness(torch.from_numpy(self.audio)[None], self.sample_rate))
            made = finished(console, self.multitrack, settings, max(-69.0, loudness), self.ceiling_db)
        else:
            audio = render(console, self.multitrack, settings).numpy()
            made = Mix(audio, self.sample_rate, settings, console, self.multitrack, self.multitrack.notes)
        return replace(self, **made.parts | {"style": self.style}, candidates=())

    @property
    def source(self) -> Tensor:
        """The recording as it came, (2, T); both channels of a mono one are equal."""
        return self.multitrack.tracks[0].audio

    @property
    def level_matched(self) -> tuple[np.ndarray, np.ndarray]:
        """Before and after, (2, T) each, equally loud, to compare: the louder one is turned down."""
        return level_matched(self.source, torch.from_numpy(self.audio), self.sample_rate)

    @cached_property
    def report(self) -> dict[str, Any]:
        """What was heard, believed, done and measured, as plain data.

        ``moves`` says in words what was done; ``aspects`` has the amount of each and how sure it is;
        ``expected_gain`` is the share by which the distance to the style is expected to fall, ``chance_of_harm`` how
        often such a result was worse than the input; ``before`` and ``after`` are measured; ``bypass`` says by stage
        how loudness, true peak, crest and width of the loudest seconds change without it, in dB; ``notes``.
        """
        from diffmix.transferring.words import moves

        belief = self.belief
        found = {"before": self.source, "after": torch.from_numpy(self.audio)}
        measured = {}
        for when, x in found.items():
            numbers = Measured.of(x, self.sample_rate)
            measured[when] = {
                **numbers._asdict(),
                "spectrum_db": numbers.spectrum_db.tolist(),
                "width_db": float(width_db(x[None])),
            }
        stages = self.console.layout["master"]
        return {
            "name": self.multitrack.name,
            "style": self.style.name,
            "references": [
                {"name": r.name, "weight": r.weight, "loudness_lufs": r.loudness_lufs, "band_hz": r.band_hz}
                for r in self.style.references
            ],
            "sample_rate": self.sample_rate,
            "seconds": self.audio.shape[-1] / self.sample_rate,
            "route": belief.route,
            "likeness": belief.likeness,
            "domain": belief.domain,
            "acted": belief.acted,
            "expected_gain": max(0.0, 1 - belief.expected) if belief.acted else 0.0,
            "chance_of_harm": belief.harm if belief.acted else 0.0,
            "aspects": {
                name: {"amount": belief.amounts.get(name, 0.0), "confidence": belief.confidence.get(name)}
                for name in ASPECTS
            },
            "moves": moves(self, measured),
            "curve_hz": list(EQ_HZ),
            "treatment": {name: part.tolist() for name, part in belief.treatment._asdict().items()},
            "frequency_hz": list(THIRD_OCTAVES_HZ),
            **measured,
            "stages": list(stages),
            "bypass": bypassed(self),
            "notes": [*self.notes, *further_notes(self)],
        }

    def plot(self) -> "Figure":
        """Spectra before and after."""
        return spectrum(self.report)

    def write_report(self, folder: Path) -> None:
        """Write report.html, report.png, report.json, before.wav and style.json into an existing folder."""
        write(self, folder)
        measured = self.report
        gain_db = measured["after"]["loudness_lufs"] - measured["before"]["loudness_lufs"]
        write_before(FilePath(folder, "before.wav"), self.source, gain_db, self.sample_rate)
        if self.style.references or self.style.treatment is not None:
            self.style.save(FilePath(folder, "style.json"))

    def save(self, folder: Path, stems: bool = False, daw: bool = False) -> dict[str, FilePath]:
        """Write the result and all that made it; with candidates, each into a folder ``2``, ``3``, ... of its own."""
        written = super().save(folder, stems, daw)
        for number, other in enumerate(self.candidates, 2):
            for name, file in other.save(FilePath(folder, str(number)), stems, daw).items():
                written[f"{number}/{name}"] = file
        return written

    @property
    def _chain(self) -> str:
        return ", ".join(self.console.master) or "empty"
