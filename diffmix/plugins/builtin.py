"""Pedalboard's own plugins as black boxes: those whose insides no twin can have."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from diffmix.errors import SettingsError
from diffmix.params import Param
from diffmix.processors.base import Plugin
from diffmix.processors.black_box import Audio, BlackBox, Job, side_by_side
from diffmix.types import Numbers, Ranges


class PedalboardNode(BlackBox, abstract=True):
    """A plugin of Pedalboard by the name of the class: `render` is that plugin, made anew for each job.

    In a preset it plays the same, unless another of these comes before it on the same board: Pedalboard makes up for
    latency at the end of a board, so that the frames of the second then begin elsewhere in the audio.
    """

    pedalboard = True
    uncarried = ""
    plugin_name: str = ""

    def __init_subclass__(cls, abstract: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(abstract, **kwargs)
        cls.plugin_name = cls.__name__

    def choices(self) -> dict[str, str]:
        """Arguments of the plugin that are no parameters."""
        return {}

    def render(self, jobs: Sequence[Job]) -> list[Audio]:
        """The plugin's own output."""
        import pedalboard

        kind = getattr(pedalboard, self.plugin_name)
        fixed: dict[str, Any] = {
            key: getattr(pedalboard.Resample.Quality, value) for key, value in self.choices().items()
        }

        def play(job: Job) -> Audio:
            audio, values = job
            named = dict(zip(self.spec.names, values.tolist(), strict=True))
            return np.asarray(kind(**named, **fixed)(audio, self.sample_rate))

        return side_by_side(play, jobs)

    def plugins(self, values: Numbers) -> list[Plugin]:
        """The plugin itself."""
        return [(self.plugin_name, {**values, **self.choices()})]


class PitchShift(PedalboardNode):
    """Move every frequency by ``semitones`` and keep the length (Rubber Band). Is ``pedalboard.PitchShift``.

    The estimated gradient is little more than a guess: the least change of ``semitones`` moves the phase of every
    partial, so that waveforms a hundredth of a semitone apart hardly resemble each other. Find a shift by a search.
    """

    input_gradient = "level"
    epsilon = 2e-2
    semitones = Param(-24, 24, 0, "semitones", doc="12 are an octave")


class _WithQuality(PedalboardNode, abstract=True):
    """A plugin that resamples, in one of Pedalboard's qualities."""

    def __init__(
        self,
        sample_rate: float,
        ranges: Ranges | None = None,
        precision: Literal["float32", "float64"] = "float32",
        quality: str = "WindowedSinc32",
        **options: Any,
    ) -> None:
        """See `BlackBox` for the options; ``quality`` is a name from ``pedalboard.Resample.Quality``."""
        super().__init__(sample_rate, ranges, precision, **options)
        from pedalboard import Resample

        known = Resample.Quality.__members__
        if quality not in known:
            raise SettingsError(f"quality is {quality!r}, allowed are {', '.join(known)}")
        self.quality = quality

    def choices(self) -> dict[str, str]:
        """The quality."""
        return {"quality": self.quality}


class Resample(_WithQuality):
    """Down to another sample rate and back. Is ``pedalboard.Resample``."""

    epsilon = 1e-2
    target_sample_rate = Param(2000, 48000, 8000, "Hz", "log", "sample rate in between")


class GSMFullRateCompressor(_WithQuality):
    """The speech codec of GSM telephones: mono, 8 kHz. Is ``pedalboard.GSMFullRateCompressor``; has no parameters.

    Its input gradient is that of its output, as if it gave back what it gets.
    """

    input_gradient = "through"

    def __init__(
        self,
        sample_rate: float,
        ranges: Ranges | None = None,
        precision: Literal["float32", "float64"] = "float32",
        quality: str = "WindowedSinc8",
        **options: Any,
    ) -> None:
        """See `BlackBox` for the options; ``quality`` is that of the resampling to 8 kHz and back."""
        super().__init__(sample_rate, ranges, precision, quality, **options)


class MP3Compressor(PedalboardNode):
    """MP3 and back (LAME, variable bit rate). Is ``pedalboard.MP3Compressor``; 32, 44.1 and 48 kHz only.

    Its input gradient is that of its output, as if it gave back what it gets. The output jumps with the quality,
    hence the large step of the estimate, which shows where to go but not how far.
    """

    input_gradient = "through"
    epsilon = 0.02
    vbr_quality = Param(0, 9.9, 2, "", doc="0 best, 9.9 smallest")

    def __init__(
        self,
        sample_rate: float,
        ranges: Ranges | None = None,
        precision: Literal["float32", "float64"] = "float32",
        **options: Any,
    ) -> None:
        """See `BlackBox` for the options. Raises SettingsError for a sample rate that MP3 does not have."""
        if sample_rate not in (32000, 44100, 48000):
            raise SettingsError(f"MP3Compressor at {sample_rate:g} Hz: allowed are 32000, 44100 and 48000 Hz")
        super().__init__(sample_rate, ranges, precision, **options)
