"""Effects that saturate, clip or quantise, each sample on its own."""

from typing import ClassVar, Literal, get_args

from torch import Tensor

from diffmix.errors import PresetError, SettingsError
from diffmix.kernels import oversample, waveshape
from diffmix.params import Param
from diffmix.processors.base import Plugin, Processor
from diffmix.types import Numbers, Ranges


class Clipping(Processor):
    """Cut off what exceeds a threshold. Twin of ``pedalboard.Clipping``."""

    threshold_db = Param(-60, 24, -6, "dB", doc="the largest level that passes", modulatable=True)

    def process(self, x: Tensor, *, threshold_db: Tensor) -> Tensor:
        """Audio x (B, C, T), threshold_db (B,) or (B, T)."""
        return waveshape.clip(x, threshold_db)


class Distortion(Processor):
    """Soft saturation by tanh. Twin of ``pedalboard.Distortion``.

    The slope of tanh falls by 17 dB for each unit of G x: to learn the drive, start low.
    """

    drive_db = Param(-24, 60, 25, "dB", doc="gain in front of tanh", modulatable=True)

    def process(self, x: Tensor, *, drive_db: Tensor) -> Tensor:
        """Audio x (B, C, T), drive_db (B,) or (B, T)."""
        return waveshape.distortion(x, drive_db)


class Bitcrush(Processor):
    """Quantise to steps of 2^-bit_depth. Twin of ``pedalboard.Bitcrush``.

    The gradients are surrogates, see `diffmix.kernels.waveshape.bitcrush`: the input's passes through, and
    the bit depth's scales the noise.
    """

    surrogate: ClassVar[frozenset[str]] = frozenset({"x", "bit_depth"})
    bit_depth = Param(1, 24, 8, "bits", doc="whole or not; the sign is one more")

    def process(self, x: Tensor, *, bit_depth: Tensor) -> Tensor:
        """Audio x (B, C, T), bit_depth (B,)."""
        return waveshape.bitcrush(x, bit_depth)


class Waveshaper(Processor):
    """Saturation between soft and hard, symmetrical or not, with a choice of means against aliasing.

    The curve is straight up to ``hardness`` and follows tanh from there to the clip level. ``asymmetry`` moves the
    signal along the curve, which adds even harmonics, and takes the offset off again: silence stays silence. Loud
    passages keep an offset, which a `HighpassFilter` removes.
    """

    pedalboard = False
    gain_db = Param(-24, 60, 12, "dB", doc="gain in front of the curve", modulatable=True)
    hardness = Param(0, 1, 0, "", doc="from tanh to clipping")
    asymmetry = Param(-1, 1, 0, "", doc="offset on the curve, in clip levels")

    def __init__(
        self,
        sample_rate: float,
        ranges: Ranges | None = None,
        precision: Literal["float32", "float64"] = "float32",
        antialiasing: waveshape.Antialiasing = "none",
    ) -> None:
        """As any effect; ``antialiasing`` as in `diffmix.kernels.waveshape.waveshaper`."""
        super().__init__(sample_rate, ranges, precision)
        if antialiasing not in get_args(waveshape.Antialiasing):
            allowed = ", ".join(map(repr, get_args(waveshape.Antialiasing)))
            raise SettingsError(f"antialiasing is one of {allowed}, got {antialiasing!r}")
        self.antialiasing = antialiasing

    def process(self, x: Tensor, *, gain_db: Tensor, hardness: Tensor, asymmetry: Tensor) -> Tensor:
        """Audio x (B, C, T), gain_db (B,) or (B, T), the others (B,)."""
        return waveshape.waveshaper(x, gain_db, hardness, asymmetry, self.antialiasing)

    def latency_samples(self, values: Numbers) -> int:
        """That of the oversampling filters; the half sample of the antiderivative method is not counted."""
        return oversample.latency_samples(waveshape.OVERSAMPLING if self.antialiasing == "oversampling" else 1)

    def plugins(self, values: Numbers) -> list[Plugin]:
        """``Distortion``, which is this with hardness 0, asymmetry 0 and no antialiasing.

        Raises PresetError for anything else.
        """
        if self.antialiasing != "none" or values["hardness"] != 0 or values["asymmetry"] != 0:
            raise PresetError(
                f"Waveshaper cannot be carried into Pedalboard: its Distortion is tanh without antialiasing; "
                f"here hardness is {values['hardness']:g}, asymmetry {values['asymmetry']:g} and antialiasing "
                f"{self.antialiasing!r}"
            )
        return [("Distortion", {"drive_db": values["gain_db"]})]
