"""The dynamics of a mixing desk: compressor, expander and gate with knee, linked channels, side chain and look-ahead.

Their times are time constants: after ``attack_ms`` a step of the level has been followed to 63 %.
"""

import math
from typing import ClassVar, Literal

from torch import Tensor
from torch.nn.functional import pad

from diffmix.errors import AudioError, PresetError, SettingsError
from diffmix.kernels import stream
from diffmix.kernels.ballistics import (
    ballistics,
    delayed,
    detected,
    expansion_db,
    gain_computer,
    gate_db,
    held,
    memory,
    sliding_maximum,
)
from diffmix.kernels.gain_curve import amplitude, followed, shaped
from diffmix.kernels.units import per_sample
from diffmix.params import Param
from diffmix.processors.base import Plugin, Port, Processor
from diffmix.types import Numbers, Ranges

Detector = Literal["peak", "rms"]


def measured(x: Tensor, detector: Detector, link: bool, hold: int, attack: Tensor, release: Tensor) -> Tensor:
    """Level of x (B, C, T), smoothed by the memories given: (B, 1, T) if channels are linked, else (B, C, T).

    The peak detector smooths |x|, of the loudest channel if they are linked; the RMS detector x^2, of the mean channel.
    Neither depends on the channels' polarity. ``hold`` is for how many samples an unsmoothed level stays.
    """
    power = detector == "rms"
    if hold == 0:
        return detected(x, attack, release, power, link)
    each = x.square() if power else x.abs()
    one = each.mean(1, keepdim=True) if power else each.amax(1, keepdim=True)
    return ballistics(sliding_maximum(one if link else each, hold + 1), attack, release)


class _Dynamics(Processor, abstract=True):
    """A gain that follows the level of the input or of a side chain: feed-forward, smoothed before the curve."""

    inlets: ClassVar[tuple[Port, ...]] = (Port("in"), Port("side_chain", None, "side chain", optional=True))
    neutral = True
    pedalboard = False

    def __init__(
        self,
        sample_rate: float,
        ranges: Ranges | None = None,
        precision: Literal["float32", "float64"] = "float32",
        detector: Detector = "peak",
        link: bool = True,
        lookahead_ms: float = 0.0,
        hold_ms: float = 0.0,
    ) -> None:
        """An effect at ``sample_rate`` in Hz.

        Args:
            sample_rate: in Hz.
            ranges: narrower ranges by parameter name.
            precision: of the computation.
            detector: ``"peak"`` measures the amplitude, ``"rms"`` the power.
            link: one gain for all channels, which keeps the stereo image, or one for each.
            lookahead_ms: by how much the gain is ahead of the signal, rounded to samples, 0..100 ms.
            hold_ms: how long a level stays before it is released, rounded to samples, 0..1000 ms.
        """
        super().__init__(sample_rate, ranges, precision)
        if detector not in ("peak", "rms"):
            raise SettingsError(f"detector is 'peak' or 'rms', got {detector!r}")
        if not 0 <= lookahead_ms <= 100:
            raise SettingsError(f"lookahead_ms = {lookahead_ms:g} ms, allowed 0..100 ms")
        if not 0 <= hold_ms <= 1000:
            raise SettingsError(f"hold_ms = {hold_ms:g} ms, allowed 0..1000 ms")
        self.detector: Detector = detector
        self.link = link
        self.lookahead = round(lookahead_ms * sample_rate / 1000)
        self.hold = round(hold_ms * sample_rate / 1000)

    def latency_samples(self, values: Numbers) -> int:
        """The look-ahead."""
        return self.lookahead

    def controlled(
        self,
        x: Tensor,
        side_chain: Tensor | None,
        attack_ms: Tensor,
        release_ms: Tensor,
        curve: str,
        *settings: Tensor,
    ) -> Tensor:
        """Audio x (B, C, T) with the gain that a `gain_curve` makes of its level, or of the side chain's."""
        if side_chain is None and self.lookahead == self.hold == 0:
            attack, release = (memory(v, self.sample_rate) for v in (attack_ms, release_ms))
            return followed(x, attack, release, curve, *settings, power=self.detector == "rms", link=self.link)
        heard = x if side_chain is None else side_chain
        if heard.shape[1] not in (1, x.shape[1]) and not self.link:
            raise AudioError(
                f"{type(self).__name__} without link takes a side chain of 1 or {x.shape[1]} channels, "
                f"got {heard.shape[1]}"
            )
        late = 0 if stream.is_streaming() else self.lookahead
        attack, release = (memory(held(v, late), self.sample_rate) for v in (attack_ms, release_ms))
        heard = pad(heard, (0, late)) if late else heard
        level = measured(heard, self.detector, self.link, self.hold, attack, release)[..., late:]
        moved = [v if v.ndim == 1 else held(v, late)[:, late:] for v in settings]
        x = delayed(x, self.lookahead) if stream.is_streaming() else x
        return shaped(x, level, curve, *moved, power=self.detector == "rms")

    def gain_db(self, level_db: Tensor, values: Numbers) -> Tensor:
        """Gain in dB at a steady level in dB, same shape."""
        raise NotImplementedError

    def curve_db(self, level_db: Tensor, values: Numbers) -> Tensor:
        """Output level in dB of a steady input level in dB, same shape."""
        return level_db + self.gain_db(level_db, values)


class KneeCompressor(_Dynamics):
    """Compressor with a quadratic knee and make-up gain.

    With a knee of 0 dB, the peak detector and channels not linked it is Pedalboard's ``Compressor`` with 2 pi times the
    times, and exports as that; the make-up follows as a ``Gain``.
    """

    threshold_db = Param(-60, 0, 0, "dB", doc="level in the middle of the knee", modulatable=True)
    ratio = Param(1, 20, 1, ":1", "log", "input dB per output dB above the threshold", modulatable=True)
    knee_db = Param(0, 24, 6, "dB", doc="width of the transition to the ratio", modulatable=True)
    attack_ms = Param(0.1, 200, 5, "ms", "log", "time constant of a rising level", modulatable=True)
    release_ms = Param(5, 2000, 100, "ms", "log", "time constant of a falling level", modulatable=True)
    makeup_db = Param(0, 24, 0, "dB", doc="gain after the compression", modulatable=True)

    def process(
        self,
        x: Tensor,
        *,
        side_chain: Tensor | None = None,
        threshold_db: Tensor,
        ratio: Tensor,
        knee_db: Tensor,
        attack_ms: Tensor,
        release_ms: Tensor,
        makeup_db: Tensor,
    ) -> Tensor:
        """Audio x (B, C, T), side_chain (B, 1 or C, T); each value (B,) or (B, T)."""
        settings = threshold_db, ratio, knee_db, makeup_db
        return self.controlled(x, side_chain, attack_ms, release_ms, "compression", *settings)

    def gain_db(self, level_db: Tensor, values: Numbers) -> Tensor:
        """Gain in dB at a steady level in dB, same shape."""
        names = "threshold_db", "ratio", "knee_db"
        return gain_computer(level_db, *(level_db.new_tensor(values[n]) for n in names)) + values["makeup_db"]

    def plugins(self, values: Numbers) -> list[Plugin]:
        """A ``Compressor``, and a ``Gain`` if there is make-up."""
        lost = [
            what
            for what, present in (
                (f"a knee of {values['knee_db']:g} dB (0 dB can be)", values["knee_db"] != 0),
                ("an RMS detector", self.detector != "peak"),
                ("linked channels", self.link),
                ("look-ahead", self.lookahead > 0),
                ("hold", self.hold > 0),
            )
            if present
        ]
        if lost:
            raise PresetError(f"KneeCompressor cannot be carried into Pedalboard, which lacks {', '.join(lost)}.")
        times = {name: 2 * math.pi * values[name] for name in ("attack_ms", "release_ms")}
        compressor = "Compressor", {"threshold_db": values["threshold_db"], "ratio": values["ratio"], **times}
        makeup = [("Gain", {"gain_db": values["makeup_db"]})] if values["makeup_db"] != 0 else []
        return [compressor, *makeup]


class Expander(_Dynamics):
    """Downward expander: what is under the threshold becomes quieter by the ratio, by no more than the range."""

    uncarried = "its NoiseGate has another detector, no knee and no range."
    threshold_db = Param(-80, 0, -40, "dB", doc="level in the middle of the knee", modulatable=True)
    ratio = Param(1, 20, 1, ":1", "log", "output dB per input dB below the threshold", modulatable=True)
    knee_db = Param(0, 24, 6, "dB", doc="width of the transition to the ratio", modulatable=True)
    attack_ms = Param(0.1, 200, 1, "ms", "log", "time constant of a rising level", modulatable=True)
    release_ms = Param(5, 2000, 100, "ms", "log", "time constant of a falling level", modulatable=True)
    range_db = Param(0, 90, 40, "dB", doc="the most that is taken away", modulatable=True)

    def process(
        self,
        x: Tensor,
        *,
        side_chain: Tensor | None = None,
        threshold_db: Tensor,
        ratio: Tensor,
        knee_db: Tensor,
        attack_ms: Tensor,
        release_ms: Tensor,
        range_db: Tensor,
    ) -> Tensor:
        """Audio x (B, C, T), side_chain (B, 1 or C, T); each value (B,) or (B, T)."""
        settings = threshold_db, ratio, knee_db, range_db
        return self.controlled(x, side_chain, attack_ms, release_ms, "expansion", *settings)

    def gain_db(self, level_db: Tensor, values: Numbers) -> Tensor:
        """Gain in dB at a steady level in dB, same shape."""
        names = "threshold_db", "ratio", "knee_db", "range_db"
        return expansion_db(level_db, *(level_db.new_tensor(values[n]) for n in names))


class KneeGate(_Dynamics):
    """Gate: what is under the threshold is lowered by the range, with a smooth transition over the knee."""

    uncarried = "its NoiseGate has another detector, no knee and no range."
    threshold_db = Param(-80, 0, -40, "dB", doc="level at which it is half open", modulatable=True)
    range_db = Param(0, 90, 0, "dB", doc="what is taken away when it is closed", modulatable=True)
    knee_db = Param(1, 24, 6, "dB", doc="width of the transition from closed to open", modulatable=True)
    attack_ms = Param(0.1, 200, 1, "ms", "log", "time constant of a rising level", modulatable=True)
    release_ms = Param(5, 2000, 100, "ms", "log", "time constant of a falling level", modulatable=True)

    def process(
        self,
        x: Tensor,
        *,
        side_chain: Tensor | None = None,
        threshold_db: Tensor,
        range_db: Tensor,
        knee_db: Tensor,
        attack_ms: Tensor,
        release_ms: Tensor,
    ) -> Tensor:
        """Audio x (B, C, T), side_chain (B, 1 or C, T); each value (B,) or (B, T)."""
        settings = threshold_db, knee_db, range_db
        return self.controlled(x, side_chain, attack_ms, release_ms, "gate", *settings)

    def gain_db(self, level_db: Tensor, values: Numbers) -> Tensor:
        """Gain in dB at a steady level in dB, same shape."""
        names = "threshold_db", "knee_db", "range_db"
        return gate_db(level_db, *(level_db.new_tensor(values[n]) for n in names))


class EnvelopeFollower(Processor):
    """The level of a signal as a control signal: its loudest channel, smoothed and amplified."""

    outlets = (Port("envelope", 1, "control"),)
    pedalboard = False
    uncarried = "it has no control signals."
    attack_ms = Param(0.1, 500, 10, "ms", "log", "time constant of a rising level", modulatable=True)
    release_ms = Param(1, 5000, 100, "ms", "log", "time constant of a falling level", modulatable=True)
    gain_db = Param(-40, 40, 0, "dB", doc="amplification of the envelope", modulatable=True)

    def process(self, x: Tensor, *, attack_ms: Tensor, release_ms: Tensor, gain_db: Tensor) -> Tensor:
        """Audio x (B, C, T) to an envelope (B, 1, T), the amplitude at 0 dB; each value (B,) or (B, T)."""
        attack, release = (memory(v, self.sample_rate) for v in (attack_ms, release_ms))
        return detected(x, attack, release) * per_sample(amplitude(gain_db)).to(x.dtype)


_FASTEST_MS, _SHORTEST_MS = 1.0, 20.0  # attack and release of the envelope that the others follow


class TransientShaper(Processor):
    """Louder or softer onsets and tails, whatever their level; what is steady stays as it is.

    The loudest channel's envelope e rises in 1 ms and falls in 20 ms. Two others follow it: s rises with ``attack_ms``
    and falls as e does, l rises as e does and falls with ``release_ms``. The gain in dB is

        attack_db max(e - s, 0)/e + sustain_db max(l - e, 0)/l,

    the first part while an onset lasts, the second in a tail; each fraction lies in [0, 1]. (After the differential
    envelopes of SPL's Transient Designer, 1998.)
    """

    neutral = True
    pedalboard = False
    uncarried = "no plugin of it follows differences of envelopes."
    attack_db = Param(-24, 24, 0, "dB", doc="gain of onsets", modulatable=True)
    sustain_db = Param(-24, 24, 0, "dB", doc="gain of tails", modulatable=True)
    attack_ms = Param(2, 200, 20, "ms", "log", "how long an onset is", modulatable=True)
    release_ms = Param(25, 2000, 300, "ms", "log", "how long a tail is", modulatable=True)

    def process(
        self, x: Tensor, *, attack_db: Tensor, sustain_db: Tensor, attack_ms: Tensor, release_ms: Tensor
    ) -> Tensor:
        """Audio x (B, C, T); each value (B,) or (B, T)."""
        slow, long = memory(attack_ms, self.sample_rate), memory(release_ms, self.sample_rate)
        fast, short = (memory(x.new_full((x.shape[0],), ms), self.sample_rate) for ms in (_FASTEST_MS, _SHORTEST_MS))
        envelope = detected(x, fast, short)
        behind, beyond = ballistics(envelope, slow, short), ballistics(envelope, fast, long)
        onset = (envelope - behind).clamp_min(0) / envelope.clamp_min(1e-7)
        tail = (beyond - envelope).clamp_min(0) / beyond.clamp_min(1e-7)
        return x * amplitude(per_sample(attack_db) * onset + per_sample(sustain_db) * tail)
