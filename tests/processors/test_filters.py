from typing import Any

import numpy as np
import pedalboard
import pytest
import torch
from torch import Tensor

from diffmix.errors import PresetError, SettingsError
from diffmix.kernels.biquad import frequency_response
from diffmix.processors import Crossover, GraphicEQ, ResonantFilter
from diffmix.processors.filters import CENTRES_HZ, KINDS

F64 = torch.float64


def level_db(y: Tensor) -> Tensor:
    """The spectrum of an impulse response (..., T) in dB."""
    return 20 * torch.fft.rfft(y.double()).abs().clamp_min(1e-15).log10()


def impulse(length: int, channels: int = 1) -> Tensor:
    x = torch.zeros(1, channels, length, dtype=F64)
    x[..., 0] = 1
    return x


@pytest.mark.parametrize("kind", ["lowpass", "highpass"])
def test_order_four_is_scipys_butterworth(kind: str) -> None:
    signal = pytest.importorskip("scipy.signal")
    effect = ResonantFilter(48000, kind=kind, order=4)
    at = torch.logspace(1, 4.3, 60, dtype=F64)
    values = {"cutoff_frequency_hz": 700.0, "q": 0.5**0.5}
    sos = signal.butter(4, 700, kind.removesuffix("pass"), fs=48000, output="sos")
    _, expected = signal.sosfreqz(sos, at.numpy(), fs=48000)
    np.testing.assert_allclose(effect.response_db(at, values), 20 * np.log10(np.abs(expected)), atol=1e-7)


@pytest.mark.parametrize("order", [2, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_resonance_is_the_gain_at_the_cutoff(kind: str, order: int) -> None:
    effect = ResonantFilter(44100, kind=kind, order=order)
    for q in (0.2, 1.0, 10.0):
        (level,) = effect.response_db(torch.tensor([2000.0]), {"cutoff_frequency_hz": 2000.0, "q": q}).tolist()
        if kind == "bandreject":
            assert level <= -190
        else:
            assert level == pytest.approx(0 if kind == "bandpass" else 20 * np.log10(q), abs=1e-9)


def test_float32_audio_follows_the_ideal_filter() -> None:
    x = torch.randn(2, 2, 3000)
    for kind in KINDS:
        effect = ResonantFilter(44100, kind=kind, order=4)
        values = {"cutoff_frequency_hz": torch.tensor([400.0, 9000.0]), "q": torch.tensor([4.0, 0.3])}
        error = effect.process(x, **values).double() - effect.process(x.double(), **values)
        assert error.abs().max() < 1e-4


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(SettingsError, match="kind is one of lowpass, bandpass, highpass, bandreject, got 'notch'"):
        ResonantFilter(44100, kind="notch")
    with pytest.raises(SettingsError, match="order is 2 or 4, got 3"):
        ResonantFilter(44100, order=3)


def board(plugins: list[tuple[str, dict[str, Any]]]) -> list[pedalboard.Plugin]:
    """Plugins as a processor names them, as Pedalboard's."""
    inner = [
        (kind, {k: board(v) if k == "plugins" else v for k, v in arguments.items()}) for kind, arguments in plugins
    ]
    return [
        getattr(pedalboard, kind)(arguments["plugins"])
        if "plugins" in arguments
        else getattr(pedalboard, kind)(**arguments)
        for kind, arguments in inner
    ]


@pytest.mark.parametrize("order", [2, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_a_mix_of_pedalboards_filters_is_the_resonant_one(kind: str, order: int) -> None:
    """Noise through both, at cutoffs over the whole range: the difference is the rounding of the parts.

    It is worst where Pedalboard's own float32 coefficients are: far below the sample rate, which is refused. 400 Hz at
    44.1 kHz are as rough as 871 Hz at 96 kHz.
    """
    x = 0.2 * torch.randn(1, 1, 20000)
    for sample_rate in (44100, 96000, 192000):
        effect = ResonantFilter(sample_rate, kind=kind, order=order)
        with pytest.raises(PresetError, match="allowed is -60 dB"):
            effect.plugins({"cutoff_frequency_hz": 0.002 * sample_rate, "q": 0.5})
        rough_hz, smooth_hz = (hz * sample_rate / 44100 for hz in (400.0, 3000.0))
        for cutoff_hz, allowed_db in ((60.0, None), (rough_hz, -62), (smooth_hz, -88), (19900.0, -93)):
            for q in (0.3, 0.7, 6.0):
                values = {"cutoff_frequency_hz": cutoff_hz, "q": q}
                if allowed_db is None:
                    with pytest.raises(PresetError, match=r"at 60 Hz and q .*; allowed is -60 dB"):
                        effect.plugins(values)
                    continue
                y = effect.process(x.double(), **{name: torch.tensor([v]) for name, v in values.items()})[0].numpy()
                played = pedalboard.Pedalboard(board(effect.plugins(values)))(x[0].numpy(), sample_rate)
                loudest = max(np.square(y).mean(), float(x.square().mean()))
                error_db = 10 * np.log10(np.square(played - y).mean() / loudest)
                assert error_db < allowed_db, (sample_rate, cutoff_hz, q)


def test_what_pedalboard_lacks_is_said() -> None:
    with pytest.raises(PresetError, match="Crossover cannot be carried into Pedalboard: its plugins have one output"):
        Crossover(44100).plugins({"cutoff_frequency_hz": 1000.0})


@pytest.mark.parametrize("cutoff_hz", [100.0, 1500.0, 15000.0])
def test_the_bands_of_a_crossover_add_up_to_an_all_pass(cutoff_hz: float) -> None:
    low, high = Crossover(44100).process(impulse(1 << 16), cutoff_frequency_hz=torch.tensor([cutoff_hz], dtype=F64))
    assert level_db(low + high).abs().max() < 1e-6
    at = round(cutoff_hz * (1 << 16) / 44100)
    for band in (low, high):
        assert level_db(band)[..., at].item() == pytest.approx(-6.02, abs=0.05)
    octave = max(1, at // 2)
    assert level_db(high)[..., octave].item() < -24 < level_db(low)[..., octave].item()


def gains(effect: GraphicEQ, generator: torch.Generator) -> dict[str, float]:
    return {name: float(24 * torch.rand((), generator=generator) - 12) for name in effect.spec.names}


def test_there_are_31_bands_with_their_nominal_names() -> None:
    names = GraphicEQ(44100).spec.names
    assert len(names) == 31
    assert names[:3] == ("gain_20hz_db", "gain_25hz_db", "gain_31_5hz_db")
    for name, exact in zip(names, CENTRES_HZ, strict=True):
        assert float(name.removeprefix("gain_").removesuffix("hz_db").replace("_", ".")) == pytest.approx(
            exact, rel=0.02
        )


@pytest.mark.parametrize("sample_rate", [44100, 96000])
def test_the_corrected_curve_passes_through_the_gains(sample_rate: int) -> None:
    generator = torch.Generator().manual_seed(0)
    at = torch.tensor(CENTRES_HZ, dtype=F64)
    worst = {True: 0.0, False: 0.0}
    for corrected in worst:
        effect = GraphicEQ(sample_rate, corrected=corrected)
        settings = [gains(effect, generator) for _ in range(10)]
        settings.append(dict.fromkeys(effect.spec.names, 6.0))
        for values in settings:
            missed = effect.response_db(at, values) - torch.tensor(list(values.values()), dtype=F64)
            worst[corrected] = max(worst[corrected], float(missed.abs().max()))
    assert worst[True] < 1.5
    assert worst[False] > 3


@pytest.mark.parametrize("sample_rate", [44100, 48000, 96000])
def test_equal_gains_are_a_level(sample_rate: int) -> None:
    effect = GraphicEQ(sample_rate)
    at = torch.logspace(np.log10(20), np.log10(20000), 500, dtype=F64)
    level = effect.response_db(at, dict.fromkeys(effect.spec.names, 6.0))
    assert 4.3 < level.min() <= level.max() < 6.1


def test_a_single_band_is_a_third_of_an_octave_wide() -> None:
    effect = GraphicEQ(96000, corrected=False)
    values = dict.fromkeys(effect.spec.names, 0.0) | {"gain_1000hz_db": 12.0}
    edges = torch.tensor([2 ** (-1 / 6), 1, 2 ** (1 / 6)], dtype=F64) * 1000
    # the cookbook's bandwidth lies between the points of half the gain in dB
    assert effect.response_db(edges, values).tolist() == pytest.approx([6, 12, 6], abs=0.02)


def test_flat_gains_leave_the_signal_as_it_is() -> None:
    effect = GraphicEQ(44100)
    x = torch.randn(1, 2, 4000)
    y = effect.process(x, **{name: torch.zeros(1) for name in effect.spec.names})
    assert (y - x).abs().max() <= 4e-6  # a rounding per band


@pytest.mark.parametrize("corrected", [True, False])
@pytest.mark.parametrize("sample_rate", [22050, 44100, 48000])
def test_the_exported_plugins_play_the_same_samples(corrected: bool, sample_rate: int) -> None:
    effect = GraphicEQ(sample_rate, corrected=corrected)
    values = gains(effect, torch.Generator().manual_seed(3))
    values = {name: float(np.float32(value)) for name, value in values.items()}
    plugins = effect.plugins(values)
    assert len(plugins) == {22050: 28, 44100: 31, 48000: 31}[sample_rate]
    x = 0.1 * torch.randn(2, 3000)
    played = pedalboard.Pedalboard(board(plugins))(x.numpy(), sample_rate)
    y = effect.process(x[None], **{name: torch.tensor([value]) for name, value in values.items()})[0]
    assert np.array_equal(y.numpy(), played)


def test_bands_beyond_the_sample_rate_are_left_out() -> None:
    effect = GraphicEQ(22050)
    assert effect.centres_hz[-1] == pytest.approx(10000)
    x = torch.randn(1, 1, 500)
    flat = {name: torch.zeros(1) for name in effect.spec.names}
    boosted = flat | {"gain_16000hz_db": torch.full((1,), 12.0)}
    assert torch.equal(effect.process(x, **flat), effect.process(x, **boosted))


def test_sections_answer_as_frequency_response() -> None:
    effect = ResonantFilter(48000, kind="bandpass", order=4)
    values = {"cutoff_frequency_hz": torch.tensor([1000.0]), "q": torch.tensor([2.0])}
    y = effect.process(impulse(1 << 14), **values)
    at = torch.fft.rfftfreq(1 << 14, 1 / 48000, dtype=F64)
    h = frequency_response(effect.sections(False, **values), at, 48000)
    torch.testing.assert_close(torch.fft.rfft(y[0, 0]), h[0], rtol=0, atol=1e-9)
