"""Filters beyond Pedalboard's own: resonant ones, a graphic equaliser, a crossover.

Sections are the Audio EQ Cookbook's (R. Bristow-Johnson, 1998).
"""

import math
from typing import Literal

import torch
from torch import Tensor

from diffmix.errors import PresetError, SettingsError
from diffmix.kernels import biquad
from diffmix.kernels.iir import sos_cascade
from diffmix.params import Param
from diffmix.processors.base import LinearFilter, Plugin, Port, Processor
from diffmix.types import Numbers, Ranges

Kind = Literal["lowpass", "bandpass", "highpass", "bandreject"]
KINDS = ("lowpass", "bandpass", "highpass", "bandreject")

# A Butterworth filter of order 4 is two sections at one cutoff with Q = 1/(2 cos(pi/8)) and 1/(2 cos(3 pi/8)), whose
# product is 1/sqrt(2), the Q of order 2. Divided by the root of that they multiply to 1.
_BUTTERWORTH_4 = tuple(2**0.25 / (2 * math.cos(k * math.pi / 8)) for k in (1, 3))


class ResonantFilter(LinearFilter):
    """A low-, band- or high-pass or a band-reject with a resonance.

    Order 2 is one section, 12 dB per octave. Order 4 is two at the same cutoff, 24 dB per octave, with the Qs of a
    Butterworth filter times (sqrt(2) q)^(1/2), so that in both orders ``q`` = 0.7071 is the Butterworth filter and
    ``q`` is the gain of a low- or high-pass at its cutoff. A band-pass has the gain 1 and a band-reject 0 there.

    Pedalboard has no such filter, but its bell and shelves have these as parts: see `plugins`.
    """

    pedalboard = False
    cutoff_frequency_hz = Param(20, 20000, 1000, "Hz", "log", "where it resonates", modulatable=True)
    q = Param(0.1, 18, 0.70710678, "", "log", "resonance: gain at the cutoff, narrowness of a band", modulatable=True)

    def __init__(
        self,
        sample_rate: float,
        ranges: Ranges | None = None,
        precision: Literal["float32", "float64"] = "float32",
        kind: Kind = "lowpass",
        order: Literal[2, 4] = 2,
    ) -> None:
        """Arguments as for `Processor`, and what passes and how steep it is."""
        super().__init__(sample_rate, ranges, precision)
        if kind not in KINDS:
            raise SettingsError(f"kind is one of {', '.join(KINDS)}, got {kind!r}")
        if order not in (2, 4):
            raise SettingsError(f"order is 2 or 4, got {order!r}")
        self.kind, self.order = kind, order

    def sections(self, twin: bool, *, cutoff_frequency_hz: Tensor, q: Tensor) -> Tensor:
        """One section or two, (..., K, 5), always ideal: Pedalboard has none."""
        qs = [q] if self.order == 2 else [part * q.double().sqrt() for part in _BUTTERWORTH_4]
        return torch.stack([biquad.resonant(self.kind, cutoff_frequency_hz, v, self.sample_rate) for v in qs], -2)

    def plugins(self, values: Numbers) -> list[Plugin]:
        r"""One ``Mix`` per section: the same filter, but for what float32 loses between parts that nearly cancel.

        Against noise at the input that is, at 44.1 kHz, -120 dB at 3 kHz, -100 dB at 400 Hz, -70 dB at 60 Hz (medians
        over the kinds at moderate q), and more where Pedalboard's own filters are rough; a tone or a sweep through the
        cutoff loses up to 20 dB more. Raises PresetError where it would be above -60 dB, by a rule fitted to the worst
        cases found with noise from 44.1 to 192 kHz: 37 dB more per decade of the sample rate over the cutoff, 16 dB per
        decade of q.

        With D = s^2 + s/q + 1, gains of A^2 = 2 and the frequencies scaled so that all have the denominator D,

            bell B = 1 + (s/q)/D,   low shelf = 1 + ((A - 1) s/q + 1)/D,   high shelf = 1 + (s^2 + (A - 1) s/q)/D,

        so that the band-pass is B - 1, the band-reject 2 - B, and the others a shelf - 1 - (A - 1)(B - 1).
        """
        q, cutoff_hz = values["q"], values["cutoff_frequency_hz"]
        lost_db = -82 + 37 * math.log10(self.sample_rate / 110 / cutoff_hz) + 16 * math.log10(max(q / 0.70710678, 1))
        if lost_db > -60:
            raise PresetError(
                f"ResonantFilter cannot be carried into Pedalboard at {cutoff_hz:g} Hz and q {q:g}: between filters in "
                f"float32 that nearly cancel an error of about {lost_db:.0f} dB would be heard; allowed is -60 dB"
            )
        qs = [q] if self.order == 2 else [part * math.sqrt(q) for part in _BUTTERWORTH_4]
        return [self._mix(cutoff_hz, v) for v in qs]

    def _mix(self, cutoff_hz: float, q: float) -> Plugin:
        double_db, a = 20 * math.log10(2), math.sqrt(2)
        bell: Plugin = ("PeakFilter", {"cutoff_frequency_hz": cutoff_hz, "gain_db": double_db, "q": q / a})
        invert: Plugin = ("Invert", {})

        def gain(factor: float) -> Plugin:
            return "Gain", {"gain_db": 20 * math.log10(factor)}

        if self.kind == "bandpass":
            return _sum([bell], [invert])
        if self.kind == "bandreject":
            return _sum([gain(2)], [bell, invert])
        name, scale = ("LowShelfFilter", a**0.5) if self.kind == "lowpass" else ("HighShelfFilter", a**-0.5)
        warped = scale * math.tan(math.pi * min(cutoff_hz, self.sample_rate / 2 - 100) / self.sample_rate)
        shelf_hz = math.atan(warped) * self.sample_rate / math.pi
        shelf: Plugin = (name, {"cutoff_frequency_hz": shelf_hz, "gain_db": double_db, "q": q})
        return _sum([shelf], [bell, gain(a - 1), invert], [gain(2 - a), invert])


def _sum(*branches: list[Plugin]) -> Plugin:
    return "Mix", {"plugins": [("Chain", {"plugins": branch}) for branch in branches]}


class Crossover(Processor):
    """Two bands that add up to the signal with all frequencies at their level: Linkwitz-Riley, 24 dB per octave.

    The bands meet at -6 dB and add up to an all-pass; see `diffmix.kernels.biquad.linkwitz_riley`.
    """

    outlets = (Port("low"), Port("high"))
    pedalboard = False
    uncarried = "its plugins have one output, and its low- and high-pass are of first order"
    cutoff_frequency_hz = Param(20, 20000, 1000, "Hz", "log", "where the bands meet", modulatable=True)

    def process(self, x: Tensor, *, cutoff_frequency_hz: Tensor) -> tuple[Tensor, Tensor]:
        """Audio x (B, C, T) to the band below the cutoff and the band above it, each (B, C, T)."""
        low, high, _ = biquad.linkwitz_riley(cutoff_frequency_hz, self.sample_rate)
        return sos_cascade(x, low), sos_cascade(x, high)


# Preferred numbers, ISO 3 and IEC 61260-1; the exact centres are 1000 * 10^(n/10) Hz.
_NOMINAL_HZ = (
    20, 25, 31.5, 40, 50, 63, 80, 100, 125, 160, 200, 250, 315, 400, 500, 630, 800, 1000, 1250, 1600, 2000, 2500, 3150,
    4000, 5000, 6300, 8000, 10000, 12500, 16000, 20000,
)  # fmt: skip
CENTRES_HZ = tuple(1000 * 10 ** (n / 10) for n in range(-17, 14))
"""The 31 third-octave bands from 20 Hz to 20 kHz."""

_PROTOTYPE_DB = 6.0  # gain at which the bands' influence on each other is measured
_HIGHEST = 0.46  # of the sample rate: above, the bilinear transform leaves too little of a band


def _third_octave_q(centre_hz: float, sample_rate: float) -> float:
    """The Q of a bell that has half its gain, in dB, a sixth of an octave below its centre.

    The bilinear transform takes a frequency to W = tan(pi f / sample_rate), where a bell has half its gain as
    |W/W0 - W0/W| = 1/Q. Far below the sample rate that is 4.318, and half the gain a sixth of an octave above too.
    """
    centre, edge = (math.tan(math.pi * hz / sample_rate) for hz in (centre_hz, centre_hz * 2 ** (-1 / 6)))
    return 1 / (centre / edge - edge / centre)


class GraphicEQ(LinearFilter):
    """31 third-octave bells in series, from 20 Hz to 20 kHz: one gain each, 31 Pedalboard plugins.

    A bell reaches into its neighbours' bands. With ``corrected`` the gains are the level at the bands' centres: the
    bells' own gains solve a linear system with the influence of each on each centre in dB, which hardly depends on the
    gain as bells of all gains have about the same shape (J. Liski and V. Välimäki, "The quest for the best graphic
    equalizer", DAFx-17). Otherwise they are the bells' own gains, which add up where neighbours are turned the
    same way.

    Bands centred above 0.46 times the sample rate are left out: at 44.1 kHz none, at 32 kHz the highest two.
    """

    pedalboard = False
    bands = {  # noqa: RUF012 as declared by Processor
        f"gain_{str(hz).replace('.', '_')}hz_db": Param(-12, 12, 0, "dB", doc=f"level at {hz} Hz") for hz in _NOMINAL_HZ
    }

    correction: Tensor

    def __init__(
        self,
        sample_rate: float,
        ranges: Ranges | None = None,
        precision: Literal["float32", "float64"] = "float32",
        corrected: bool = True,
    ) -> None:
        """Arguments as for `Processor`, and whether the curve passes through the gains."""
        super().__init__(sample_rate, ranges, precision)
        self.centres_hz = [hz for hz in CENTRES_HZ if hz <= _HIGHEST * self.sample_rate]
        self.qs = [_third_octave_q(hz, self.sample_rate) for hz in self.centres_hz]
        correction = torch.eye(len(self.qs), dtype=torch.float64)
        if corrected:
            centres = correction.new_tensor(self.centres_hz)
            bells = self._bells(torch.full_like(centres, _PROTOTYPE_DB), False)[:, None]
            level_db = 20 * biquad.frequency_response(bells, centres, self.sample_rate).abs().log10()
            correction = torch.linalg.inv(level_db.mT / _PROTOTYPE_DB)  # row: centre, column: bell
        self.register_buffer("correction", correction, persistent=False)

    def bell_gains_db(self, **values: Tensor) -> Tensor:
        """The gain of each bell (B, bands), float64."""
        wanted = torch.stack([values[name] for name in self.bands][: len(self.centres_hz)], -1)
        return (self.correction * wanted.double()[..., None, :]).sum(-1)

    def sections(self, twin: bool, **values: Tensor) -> Tensor:
        """One section per band, (B, 31, 5)."""
        return self._bells(self.bell_gains_db(**values), twin)

    def _bells(self, gain_db: Tensor, twin: bool) -> Tensor:
        centres, qs = (gain_db.new_tensor(v).expand_as(gain_db) for v in (self.centres_hz, self.qs))
        return biquad.peak(centres, gain_db, qs, self.sample_rate, twin)

    def plugins(self, values: Numbers) -> list[Plugin]:
        """One ``PeakFilter`` per band."""
        gains = self.bell_gains_db(**{name: torch.tensor([v]) for name, v in values.items()})[0].tolist()
        return [
            ("PeakFilter", {"cutoff_frequency_hz": hz, "gain_db": gain_db, "q": q})
            for hz, gain_db, q in zip(self.centres_hz, gains, self.qs, strict=True)
        ]
