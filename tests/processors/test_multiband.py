import math

import numpy as np
import pytest
import scipy.signal
import torch

from diffmix.errors import PresetError, SettingsError
from diffmix.kernels.biquad import frequency_response, linkwitz_riley
from diffmix.processors import DeEsser, KneeCompressor, MultibandCompressor
from diffmix.processors.multiband import BANDS

RATE = 44100
F64 = torch.float64


def settings(effect: torch.nn.Module, **changed: float) -> dict[str, torch.Tensor]:
    values = {name: p.default for name, p in effect.spec} | changed  # type: ignore[union-attr]
    return {name: torch.tensor([float(v)], dtype=F64) for name, v in values.items()}


def impulse(samples: int = 1 << 14) -> torch.Tensor:
    x = torch.zeros(1, 1, samples, dtype=F64)
    x[..., 0] = 1e-3  # below every threshold
    return x


def magnitude_db(response: torch.Tensor) -> np.ndarray:
    return 20 * np.log10(np.abs(np.fft.rfft(response.numpy() / 1e-3)) + 1e-12)


def test_the_crossover_is_linkwitz_rileys() -> None:
    frequency = torch.logspace(1, 4.3, 200, dtype=F64)
    low, high, all_pass = linkwitz_riley(torch.tensor([1000.0], dtype=F64), RATE)
    responses = [frequency_response(s, frequency, RATE)[0].numpy() for s in (low, high, all_pass)]
    np.testing.assert_allclose(responses[0] + responses[1], responses[2], atol=1e-12)
    np.testing.assert_allclose(np.abs(responses[2]), 1, atol=1e-12)
    for response, kind in zip(responses, ("low", "high"), strict=False):
        b, a = scipy.signal.butter(2, 1000, kind, fs=RATE)
        expected = scipy.signal.freqz(b, a, frequency.numpy(), fs=RATE)[1] ** 2
        np.testing.assert_allclose(response, expected, atol=1e-9)


@pytest.mark.parametrize(("low_hz", "high_hz"), [(200, 3000), (40, 16000), (800, 1000)])
def test_the_bands_add_up_to_an_all_pass(low_hz: float, high_hz: float) -> None:
    effect = MultibandCompressor(RATE)
    values = settings(effect, low_crossover_hz=low_hz, high_crossover_hz=high_hz)
    y = effect.process(impulse(), **values)[0, 0]
    assert np.abs(magnitude_db(y)[10:]).max() < 1e-3
    parts = effect.divided(impulse(), *(values[f"{band}_crossover_hz"] for band in ("low", "high")))[0, :, 0]
    hz = np.fft.rfftfreq(1 << 14, 1 / RATE)
    for band, inside in zip(
        parts, (hz < low_hz / 4, (hz > low_hz * 4) & (hz < high_hz / 4), hz > high_hz * 4), strict=True
    ):
        if inside[10:].any():
            assert np.abs(magnitude_db(band)[10:][inside[10:]]).max() < 0.1


def test_makeup_moves_its_band_only() -> None:
    effect = MultibandCompressor(RATE)
    hz = np.fft.rfftfreq(1 << 14, 1 / RATE)
    for band, middle in zip(BANDS, (50, 800, 12000), strict=True):
        level = magnitude_db(effect.process(impulse(), **settings(effect, **{f"{band}_makeup_db": 6}))[0, 0])
        assert level[np.argmin(np.abs(hz - middle))] == pytest.approx(6, abs=0.2)
        for other in {50, 800, 12000} - {middle}:
            assert level[np.argmin(np.abs(hz - other))] == pytest.approx(0, abs=0.2)


@pytest.mark.parametrize("detector", ["peak", "rms"])
def test_each_band_is_compressed_as_alone(detector: str) -> None:
    x = torch.randn(1, 2, 4000, dtype=F64) * torch.linspace(0, 1, 4000, dtype=F64)
    effect = MultibandCompressor(RATE, detector=detector)  # type: ignore[arg-type]
    alone = KneeCompressor(RATE, detector=detector)  # type: ignore[arg-type]
    own = [
        {"threshold_db": -30.0 - i, "ratio": 2.0 + i, "attack_ms": 1.0 + i, "release_ms": 20.0 + i, "makeup_db": i}
        for i in range(3)
    ]
    values = settings(effect, **{f"{b}_{name}": v for b, o in zip(BANDS, own, strict=True) for name, v in o.items()})
    divided = effect.divided(x, values["low_crossover_hz"], values["high_crossover_hz"]).unbind(1)
    expected = sum(alone.process(part, **settings(alone, **o)) for part, o in zip(divided, own, strict=True))
    torch.testing.assert_close(effect.process(x, **values), expected, rtol=0, atol=1e-13)


def test_multiband_gradcheck_with_a_moving_threshold() -> None:
    effect = MultibandCompressor(RATE)
    x = torch.randn(1, 2, 40, dtype=F64, requires_grad=True)
    values = settings(effect, **{f"{band}_ratio": 3 for band in BANDS}, **{f"{band}_release_ms": 5 for band in BANDS})
    moving = torch.full((1, 40), -25.0, dtype=F64, requires_grad=True)
    leaves = {name: v.requires_grad_() for name, v in values.items() if name != "mid_threshold_db"}

    def run(x: torch.Tensor, moving: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        return effect.process(x, mid_threshold_db=moving, **dict(zip(leaves, others, strict=True)))

    assert torch.autograd.gradcheck(run, (x, moving, *leaves.values()), eps=1e-7, atol=1e-5, fast_mode=True)


def test_de_esser_turns_down_sibilants_only() -> None:
    t = torch.arange(8000, dtype=F64) / RATE
    voice = 0.5 * torch.sin(2 * math.pi * 300 * t)
    sibilant = 0.2 * torch.sin(2 * math.pi * 9000 * t)
    x = (voice + sibilant)[None, None]
    spectrum = np.abs(np.fft.rfft(scipy.signal.windows.hann(4000) * x[0, 0, 4000:].numpy()))
    bins = [round(hz * 4000 / RATE) for hz in (300, 9000)]
    for mode, voice_db in (("split", 0.0), ("wide", -11.0)):
        effect = DeEsser(RATE, mode=mode)  # type: ignore[arg-type]
        v = settings(effect, frequency_hz=3000, threshold_db=-30, ratio=4, attack_ms=0.3, release_ms=50)
        y = effect.process(x, **v)[0, 0, 4000:].numpy()
        change = 20 * np.log10(np.abs(np.fft.rfft(scipy.signal.windows.hann(4000) * y))[bins] / spectrum[bins])
        assert change[1] == pytest.approx(-11, abs=1)  # 16 dB over at the peaks, less as the detector sees it
        assert change[0] == pytest.approx(voice_db, abs=1)
        untouched = effect.process(voice[None, None], **v)[0, 0]
        assert untouched[4000:].square().mean() == pytest.approx(voice[4000:].square().mean().item(), rel=0.01)


def test_wrong_choices_are_refused_and_nothing_is_exported() -> None:
    with pytest.raises(SettingsError, match="mode is 'split' or 'wide', got 'both'"):
        DeEsser(RATE, mode="both")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="detector is 'peak' or 'rms', got 'mean'"):
        MultibandCompressor(RATE, detector="mean")  # type: ignore[arg-type]
    for kind in (DeEsser, MultibandCompressor):
        with pytest.raises(PresetError, match="cannot be carried into Pedalboard"):
            kind(RATE).plugins({})
