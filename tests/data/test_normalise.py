"""Effect normalisation: what is measured of a stem afterwards is the average of its class."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from diffmix.data.multitrack import Multitrack, Track
from diffmix.data.normalise import (
    CLASSES,
    MARGIN,
    TREATMENTS,
    averages,
    empty_averages,
    normalise,
    normalise_compression,
    normalise_eq,
    normalise_panning,
    onsets_of,
    reverberated,
    similarity_of,
    spectrum_of,
    stems_of,
)
from diffmix.errors import AudioError
from diffmix.kernels.loudness import integrated_loudness

RATE = 16000


def stem(tilt: float, width: float, decay_s: float, gain: float = 1.0, seconds: float = 3.0, seed: int = 0) -> Tensor:
    """Noise of a spectral slope, struck twice a second, with a side signal, (2, T)."""
    generator = torch.Generator().manual_seed(seed)
    length = round(seconds * RATE)
    spectrum = torch.fft.rfft(torch.randn(2, length, generator=generator))
    hz = torch.fft.rfftfreq(length, 1 / RATE).clamp_min(60)
    noise = torch.fft.irfft(spectrum * (hz / 1000) ** tilt, length)
    since = torch.arange(length) / RATE % 0.5
    middle, side = 0.05 * gain * noise * torch.exp(-since / decay_s)
    return torch.stack([middle + width * side, middle - width * side])


SONGS = [stem(-0.5, 0.1, 0.05, seed=1), stem(0.3, 0.5, 0.1, 0.3, seed=2), stem(-0.1, 0.2, 0.3, 2.0, seed=3)]
OTHER = stem(0.6, 0.02, 0.4, 0.1, seed=4)


def octaves_db(spectrum: Tensor) -> np.ndarray:
    """Levels of octaves from 125 Hz to 4 kHz about their mean."""
    hz = np.linspace(0, RATE / 2, len(spectrum))
    bands = [spectrum.numpy()[(hz >= f / 2**0.5) & (hz < f * 2**0.5)].mean() for f in (125, 250, 500, 1e3, 2e3, 4e3)]
    level = 20 * np.log10(bands)
    return level - level.mean()


def test_the_spectrum_becomes_the_averages() -> None:
    wanted = torch.stack([spectrum_of(x, RATE) for x in SONGS]).mean(0)
    before = np.abs(octaves_db(spectrum_of(OTHER, RATE)) - octaves_db(wanted))
    y = normalise_eq(OTHER, RATE, wanted)
    after = np.abs(octaves_db(spectrum_of(y, RATE)) - octaves_db(wanted))
    assert before.max() > 6
    assert after.max() < 0.7
    lag = int(torch.fft.irfft(torch.fft.rfft(y[0]) * torch.fft.rfft(OTHER[0]).conj()).argmax())
    assert lag == 0, "the filter delays"


def test_what_a_stem_lacks_is_raised_by_no_more_than_the_limit() -> None:
    dull = torch.fft.rfft(OTHER)
    dull[:, dull.shape[1] // 2 :] *= 1e-5
    y = normalise_eq(torch.fft.irfft(dull, OTHER.shape[1]), RATE, spectrum_of(OTHER, RATE))
    assert y.isfinite().all()
    faded = torch.hann_window(OTHER.shape[1])  # the ends are no part of it
    high, before = (torch.fft.rfft(faded * part)[:, -2000:].abs().mean() for part in (y, OTHER))
    high = high / before
    assert 20 * math.log10(high) < -100 + 24 + 3


def test_onsets_come_down_to_the_average() -> None:
    limit = torch.tensor([-14.0, 1.0])
    t = torch.arange(4 * RATE) / RATE
    loud = 0.4 * torch.sin(2 * torch.pi * 440 * t) * torch.exp(-6 * (t % 0.5)) * (20 * (t % 0.5)).clamp(max=1)
    loud = loud.expand(2, -1)
    assert onsets_of(loud, RATE)[0] > limit.sum()
    y = normalise_compression(loud, RATE, limit, TREATMENTS["drums"])
    peaks = torch.stack([p.abs().max() for p in y.tensor_split(8, 1)])
    level_db = float((20 * peaks.log10()).mean())
    assert level_db == pytest.approx(-13.0, abs=0.5), "just under mean plus spread"
    too_short = torch.zeros(2, RATE)
    too_short[:, :: RATE // 4] = 1.0
    clicks = normalise_compression(too_short, RATE, limit, TREATMENTS["drums"])
    assert torch.allclose(clicks / clicks.max(), too_short)
    # a stem that is not above stays as it is, but for its level
    untouched = normalise_compression(loud, RATE, torch.tensor([-9.0, 0.5]), TREATMENTS["drums"])
    assert torch.allclose(untouched / untouched.abs().max(), loud / loud.abs().max(), atol=1e-6)


@pytest.mark.parametrize("width", [0.0, 0.05, 1.0])
def test_the_similarity_of_the_channels_becomes_the_averages(width: float) -> None:
    wanted = torch.full((len(similarity_of(OTHER, RATE)),), 0.8)
    x = stem(0, width, 0.2, seed=5)
    y = normalise_panning(x, RATE, wanted)
    found = similarity_of(y, RATE)[8:-8]
    assert abs(float(found.mean()) - 0.8 * MARGIN) < 0.06  # random sides blur each other
    assert abs(float(y.square().sum() / x.square().sum()) - 1) < 0.1, "the energy is kept"


def test_panning_is_normalised_to_the_end_and_up_to_its_highest_frequency() -> None:
    """The authors' code lays the limit in frequency over the frames, and stops after some seconds."""
    x = stem(0, 0.0, 0.2, seconds=9, seed=6)
    wanted = torch.full((len(similarity_of(x, RATE)),), 0.8)
    y = normalise_panning(x, RATE, wanted, highest_hz=3000)
    edge = round(3000 / (RATE / 2) * (len(wanted) - 1))
    for part in (y[:, : 3 * RATE], y[:, -3 * RATE :]):
        similarity = similarity_of(part, RATE)
        assert float(similarity[8 : edge - 4].mean()) < 0.8
        assert float(similarity[edge + 4 :].mean()) > 0.99


def test_all_of_it_reaches_the_targets() -> None:
    treatment = TREATMENTS["other"]
    means = averages([*SONGS, torch.zeros(2, RATE)], RATE, treatment)  # a silent stem does not count
    y = normalise(OTHER, RATE, means, treatment)
    assert float(integrated_loudness(y[None], RATE)) == pytest.approx(float(means.loudness_lufs), abs=0.01)
    assert np.abs(octaves_db(spectrum_of(y, RATE)) - octaves_db(means.spectrum)).max() < 1.5
    assert (similarity_of(y, RATE) - MARGIN * means.similarity)[8:-8].abs().mean() < 0.04
    again = [normalise(x, RATE, means, treatment) for x in SONGS]
    spread = [float(integrated_loudness(x[None], RATE)) for x in again]
    assert max(spread) - min(spread) < 0.02


def test_silence_and_missing_classes_stay() -> None:
    means = averages(SONGS, RATE, TREATMENTS["vocals"])
    silence = torch.zeros(2, 2 * RATE)
    assert torch.equal(normalise(silence, RATE, means, TREATMENTS["vocals"]), silence)
    assert torch.equal(normalise(OTHER, RATE, empty_averages(RATE), TREATMENTS["vocals"]), OTHER)
    assert all(a.shape == b.shape for a, b in zip(means, empty_averages(RATE), strict=True))
    with pytest.raises(AudioError, match="not silent"):
        averages([silence], RATE, TREATMENTS["vocals"])


def test_short_stems_and_one_sided_ones_are_normalised() -> None:
    means = averages(SONGS, RATE, TREATMENTS["bass"])
    for x in (OTHER[:, :500], OTHER * torch.tensor([[1.0], [0.0]])):
        y = normalise(x, RATE, means, TREATMENTS["bass"])
        assert y.shape == x.shape
        assert y.isfinite().all()


def test_tracks_are_summed_by_role() -> None:
    names = {"k": "kick", "b": "bass", "v": "lead_vocal", "g": "guitar", "x": None}
    tracks = [Track(name, torch.full((1, 10), float(n + 1)), role) for n, (name, role) in enumerate(names.items())]
    stems = stems_of(Multitrack("song", RATE, tuple(tracks)))
    assert list(stems) == list(CLASSES)
    half = 2**-0.5
    expected = {"drums": half, "bass": 2 * half, "vocals": 3 * half, "other": 9 * half}
    assert {name: float(x[1, 0]) for name, x in stems.items()} == pytest.approx(expected)


def test_reverberation_outlasts_the_stem_and_is_a_function_of_its_seed() -> None:
    x = torch.zeros(2, RATE * 2)
    x[:, :200] = 0.3 * torch.randn(2, 200)
    y = reverberated(x, RATE, seed=1)
    assert torch.equal(y, reverberated(x, RATE, seed=1))
    assert not torch.equal(y, reverberated(x, RATE, seed=2))
    tail = y - x
    assert float(tail.square().mean() / x.square().mean()) == pytest.approx(1, rel=0.01)
    assert tail[:, RATE:].abs().max() > 1e-4
    assert torch.equal(reverberated(x, RATE, seed=1, wet=0), x)
