"""Freeverb as one reads it, one sample at a time: the oracle where Pedalboard cannot serve (float64, gradients)."""

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

COMBS = (1116, 1188, 1277, 1356, 1422, 1491, 1557, 1617)
ALLPASSES = (556, 441, 341, 225)


def freeverb(
    x: NDArray[np.floating],
    room_size: float,
    damping: float,
    wet_level: float,
    dry_level: float,
    width: float,
    sample_rate: int,
) -> NDArray[np.floating]:
    """``x`` (C, T) in float32 with Pedalboard's rounding, or in float64 without."""
    f = x.dtype.type
    guard = f(0.1) if f is np.float32 else f(0)
    feedback, damp = f(room_size) * f(0.28) + f(0.7), f(damping) * f(0.4)
    wet, dry = f(wet_level) * f(3), f(dry_level) * f(2)
    wet1, wet2 = f(0.5) * wet * (f(1) + f(width)), f(0.5) * wet * (f(1) - f(width))
    source = (x[0] + x[1] if len(x) == 2 else x[0]) * f(0.015)

    def rounded(value: np.floating) -> np.floating:
        return (value + guard) - guard

    wets = []
    for channel in range(len(x)):
        o = np.zeros(x.shape[1], f)
        for delay in COMBS:
            line, low = np.zeros(sample_rate * (delay + 23 * channel) // 44100, f), f(0)
            for n in range(len(o)):
                v = line[n % len(line)]
                low = rounded(v * (f(1) - damp) + low * damp)
                line[n % len(line)] = rounded(source[n] + low * feedback)
                o[n] = o[n] + v
        for delay in ALLPASSES:
            line = np.zeros(sample_rate * (delay + 23 * channel) // 44100, f)
            for n in range(len(o)):
                v = line[n % len(line)]
                line[n % len(line)] = rounded(o[n] + v * f(0.5))
                o[n] = v - o[n]
        wets.append(o)
    if len(x) == 1:
        return (wets[0] * wet1 + x[0] * dry)[None]
    left, right = wets
    return np.stack([(left * wet1 + right * wet2) + x[0] * dry, (right * wet1 + left * wet2) + x[1] * dry])


def decay_time(
    response: NDArray[np.floating],
    sample_rate: float,
    low_hz: float = 0,
    high_hz: float = np.inf,
    part_db: tuple[float, float] = (-5, -25),
) -> float:
    """Seconds to -60 dB of an impulse response (C, T), or of a part of its spectrum.

    A straight line through a part of the energy still to come, from -5 to -25 dB unless told, after M. R. Schroeder,
    "New method of measuring reverberation time", JASA 37, 1965.
    """
    if low_hz > 0 or high_hz < np.inf:
        sos = butter(4, [low_hz, high_hz], "bandpass", fs=sample_rate, output="sos")
        response = sosfilt(sos, response)
    energy = np.sum(np.square(response.astype(np.float64)), 0)[::-1].cumsum()[::-1]
    level_db = 10 * np.log10(energy / energy[0])
    part = np.flatnonzero((level_db < part_db[0]) & (level_db > part_db[1]))
    slope = np.polyfit(part / sample_rate, level_db[part], 1)[0]
    return float(-60 / slope)
