"""Each metric by itself, against what others wrote or what can be said beforehand."""

import math
import warnings

import numpy as np
import pyloudnorm
import pytest
import scipy.signal
import torch
from torch import Tensor

from diffmix import metrics
from diffmix.errors import AudioError
from diffmix.metrics.spectrum import power_spectrum
from diffmix.metrics.tracks import AUDIBLE_DB

RATE = 44_100


def noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("length", [20_000, 3000])
@pytest.mark.parametrize(("linear", "weights"), [("convergence", (1, 1, 0)), ("magnitude", (0, 1, 1))])
def test_stft_distance_is_that_of_auraloss(linear: str, weights: tuple[int, ...], length: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from auraloss.freq import MultiResolutionSTFTLoss, SumAndDifferenceSTFTLoss
    sizes = [512, 2048, 8192]
    windows = {"fft_sizes": sizes, "hop_sizes": [n // 2 for n in sizes], "win_lengths": sizes}
    terms = dict(zip(("w_sc", "w_log_mag", "w_lin_mag"), weights, strict=True))
    x, y = 0.1 * noise(0, 2, 2, length), 0.1 * noise(1, 2, 2, length)
    far = torch.nn.functional.pad(x, (0, max(0, 4097 - length))), torch.nn.functional.pad(y, (0, max(0, 4097 - length)))
    theirs = MultiResolutionSTFTLoss(**windows, **terms)
    ours = metrics.stft_distance(x, y, linear=linear)
    for n in range(2):
        wanted = np.mean([theirs(far[0][n, None, c : c + 1], far[1][n, None, c : c + 1]).item() for c in range(2)])
        assert ours[n].item() == pytest.approx(wanted, rel=1e-5)
    both = SumAndDifferenceSTFTLoss(**windows, **terms)
    for n in range(2):
        mine = metrics.sum_difference_distance(x, y, linear=linear)[n].item()
        assert mine == pytest.approx(both(far[0][n : n + 1], far[1][n : n + 1]).item(), rel=1e-5)


def test_left_right_distance_takes_the_nearer_side_for_each_item() -> None:
    x = 0.1 * noise(0, 2, 2, 20_000)
    y = torch.stack([x[0], x[1].flip(0)])
    assert metrics.left_right_distance(x, y).max() == 0
    assert metrics.stft_distance(x, y)[1] > 0.1


@pytest.mark.parametrize("rate", [22_050, 44_100, 96_000])
def test_third_octaves_hold_the_power_between_their_edges(rate: int) -> None:
    x = noise(0, 1, 2, 4 * rate)
    x[:, 1] *= 0.5
    hz, density = scipy.signal.welch(x[0].double().numpy(), rate, nperseg=rate // 2)
    density = density.sum(0)
    found = metrics.third_octaves_db(x, rate)[0]
    centres = 1000 * 10 ** (np.arange(-13, 13) / 10)
    centres = centres[centres * 10**0.05 <= rate / 2]
    assert len(found) == len(centres)
    for level, centre in zip(found[6:], centres[6:], strict=True):  # narrower ones hold too few of scipy's bins
        inside = (hz >= centre * 10**-0.05) & (hz < centre * 10**0.05)
        share = 10 * np.log10(density[inside].sum() / density.sum())
        whole = 10 * math.log10(power_spectrum(x, 1 << round(math.log2(rate / 5.4))).mean(-1).sum())
        assert level - whole == pytest.approx(share, abs=0.6)


def test_a_filter_shows_in_the_spectrum_as_it_is() -> None:
    x = noise(0, 1, 2, 10 * RATE)
    sos = scipy.signal.butter(2, 2000, fs=RATE, output="sos")
    y = torch.from_numpy(scipy.signal.sosfilt(sos, x.numpy())).float()
    hz = 1000 * 10 ** (np.arange(-13, 13) / 10)
    wanted = 20 * np.log10(np.abs(scipy.signal.sosfreqz(sos, hz, fs=RATE)[1]))
    found = metrics.third_octaves_db(y, RATE) - metrics.third_octaves_db(x, RATE)
    np.testing.assert_allclose(found[0, 4:22], wanted[4:22], atol=1.0)
    assert metrics.ltas_error_db(y, x, RATE).item() == pytest.approx(float(found.abs().mean()))


def test_a_faint_side_is_no_difference() -> None:
    x = noise(0, 1, 1, RATE).expand(1, 2, -1)
    faint = x + 1e-5 * torch.tensor([1.0, -1.0])[:, None] * noise(1, 1, 1, RATE)
    assert metrics.bark_error_db(faint, x, RATE) < 0.05
    assert metrics.width_error_db(faint, x) < 0.05
    assert metrics.width_db(x).item() == -60
    wide = x * torch.tensor([1.0, -1.0])[:, None]
    assert metrics.width_db(wide).item() == 60


def test_width_is_side_over_middle() -> None:
    middle, side = noise(0, RATE), 0.1 * noise(1, RATE)
    x = torch.stack([middle + side, middle - side])[None]
    wanted = 10 * math.log10(side.square().sum() / middle.square().sum())
    assert metrics.width_db(x).item() == pytest.approx(wanted, abs=1e-3)
    levels = metrics.mid_side_bark_db(x, RATE)[0]
    assert (levels[1] - levels[0]).median().item() == pytest.approx(-20, abs=1.5)


def test_panning_spectrum_of_one_source() -> None:
    x = noise(0, RATE)
    for gain, wanted in [(1.0, 0.0), (0.5, 1 - 2 * 0.5 / 1.25), (0.0, 1.0)]:
        found = metrics.panning_rms(torch.stack([x, gain * x])[None], RATE)
        assert found.shape[1] == 4
        torch.testing.assert_close(found, torch.full_like(found, wanted), atol=2e-3, rtol=0)
    left, centre = (torch.stack([x, g * x])[None] for g in (0.0, 1.0))
    assert metrics.panning_error(left, centre, RATE).item() == pytest.approx(1, abs=2e-3)
    assert metrics.panning_mape(centre, left, RATE).item() == pytest.approx(1, abs=2e-3)
    assert metrics.panning_mape(left, centre, RATE).item() == 0


def test_crest_and_peak_to_loudness() -> None:
    time = torch.arange(4 * RATE) / RATE
    sine = torch.sin(2 * math.pi * 997 * time)
    square = torch.sign(sine)
    x = torch.stack([torch.stack([sine, sine]), torch.stack([square, sine])])
    torch.testing.assert_close(metrics.crest_db(x), torch.tensor([3.0103, 1.505]), atol=0.01, rtol=0)
    # BS.1770: a sine of 997 Hz at 0 dBFS in both channels reads 0 LUFS
    assert metrics.peak_to_loudness_db(x[:1], RATE).item() == pytest.approx(0, abs=0.1)
    assert metrics.crest_db(torch.zeros(1, 2, 100)).item() == 0
    long = torch.cat([x[:1], 0.5 * x[:1].repeat(1, 1, 8)], 2)  # longer than the pieces that it is measured in
    crest_db = float(20 * (long[0].abs().amax(1) / long[0].double().square().mean(1).sqrt()).log10().mean())
    assert metrics.crest_db(long).item() == pytest.approx(crest_db, abs=1e-3)
    assert metrics.width_db(long).item() == metrics.width_db(x[:1]).item() == -60


def test_loudness_range_is_that_of_pyloudnorm() -> None:
    rng = np.random.default_rng(0)
    level = np.repeat(10 ** (rng.uniform(-40, -10, 20) / 20), 2 * RATE)
    x = (rng.standard_normal((len(level), 2)) * level[:, None]).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = pyloudnorm.Meter(RATE).loudness_range(x.astype(np.float64))
    tail = torch.nn.functional.pad(torch.from_numpy(x.T), (0, 3 * RATE // 2))  # as theirs has it
    assert metrics.loudness_range(tail[None], RATE).item() == pytest.approx(theirs, abs=0.2)
    steady = noise(0, 1, 2, 5 * RATE)
    assert metrics.loudness_range(steady, RATE).item() < 0.3
    assert metrics.loudness_range(steady[..., :RATE], RATE).item() == 0


def test_two_levels_have_the_loudness_range_between_them() -> None:
    x = 0.1 * noise(0, 1, 2, 40 * RATE)
    x[..., : 20 * RATE] *= 10**-0.5
    assert metrics.loudness_range(x, RATE).item() == pytest.approx(10, abs=0.2)


def test_dynamics_see_what_a_compressor_does_and_no_gain() -> None:
    envelope = 0.1 + (torch.arange(4 * RATE) % (RATE // 2) < RATE // 20).float()
    x = 0.1 * noise(0, 1, 2, 4 * RATE) * envelope
    squashed = 0.1 * noise(0, 1, 2, 4 * RATE) * envelope.sqrt()
    assert metrics.dynamics_error_db(0.5 * x, x, RATE) < 1e-3
    small, large = (metrics.dynamics_db(y, RATE, 50, 1000).abs().mean() for y in (squashed, x))
    assert small < 0.7 * large
    # a square-rooted envelope has half the decibels
    assert metrics.dynamics_error_db(squashed, x, RATE).item() == pytest.approx(float(large - small), rel=0.4)


def test_balance_is_indifferent_to_a_common_shift() -> None:
    loudness = torch.tensor([[-20.0, -25.0, -30.0, -70.0]])
    mask = torch.tensor([[1.0, 1.0, 1.0, 0.0]])
    assert metrics.balance_error_db(loudness + 3, loudness, mask).item() == 0
    moved = loudness + torch.tensor([[0.0, 0.0, 6.0, 9.0]])
    assert metrics.balance_error_db(moved, loudness, mask).item() == pytest.approx(2)


def test_pans_may_be_mirrored_all_together_only() -> None:
    target = torch.tensor([[-0.5, 0.5, 0.0, 0.2]])
    mask = torch.ones(1, 4)
    assert metrics.pan_error(-target, target, mask).item() == 0
    one_side = torch.tensor([[0.5, 0.5, 0.0, 0.2]])
    assert metrics.pan_error(one_side, target, mask).item() == pytest.approx(0.25)
    assert metrics.pan_width_error(one_side, target, mask).item() == 0
    weight = torch.tensor([[0.1, 0.0, 0.0, 0.1]])
    assert metrics.pan_error(one_side, target, weight).item() == pytest.approx(0.2)  # mirrored: 0 and 0.4


@pytest.mark.parametrize("pan", [-1.0, -0.3, 0.0, 0.7, 1.0])
def test_position_is_the_pan_knob(pan: float) -> None:
    from diffmix.processors import Pan

    placed = Pan(RATE).process(noise(0, 1, 1, 1000), pan=torch.tensor([pan]))
    assert metrics.pan_position(placed).item() == pytest.approx(pan, abs=1e-3)
    assert metrics.pan_position(torch.zeros(3, 2, 10)).tolist() == [0, 0, 0]


def test_ten_units_more_weigh_twice() -> None:
    weight = metrics.loudness_weight(torch.tensor([[-20.0, -30.0, -70.0]]), torch.tensor([[1.0, 1.0, 0.0]]))
    assert weight.tolist() == [[1.0, 0.5, 0.0]]


def test_the_fader_is_no_equaliser() -> None:
    curve = noise(0, 1, 3, 28)
    mask = torch.tensor([[1.0, 1.0, 0.0]])
    assert metrics.eq_error_db(curve + 6, curve, mask).item() == pytest.approx(0, abs=1e-6)
    tilted = curve + torch.linspace(-3, 3, 28)
    assert metrics.eq_error_db(tilted, curve, mask).item() == pytest.approx(1.5, rel=0.05)


def test_what_is_audible_through_the_rest() -> None:
    x, rest = noise(0, 1, 2, RATE), noise(1, 1, 2, RATE)
    assert metrics.audible_share(x, 0 * rest, RATE).item() == 1
    assert metrics.audible_share(0 * x, rest, RATE).item() == 0
    assert metrics.audible_share(x, 30 * rest, RATE).item() < 0.01
    at_limit = rest * 10 ** (-AUDIBLE_DB / 20)
    assert metrics.audible_share(x, at_limit, RATE).item() == pytest.approx(0.5, abs=0.08)
    spectrum = torch.fft.rfft(x)
    low = torch.fft.irfft(torch.where(torch.arange(spectrum.shape[-1]) < 1000, spectrum, 0), RATE)  # below 1 kHz
    shares = metrics.audible_share(torch.cat([x, low]), 10 * torch.cat([low, x - low]), RATE)
    assert 0.5 < shares[0] < 0.7  # 14 of the 24 bands are free
    assert shares[1] > 0.7  # what the rest has is elsewhere


def test_spectral_features_of_earlier_work_are_what_they_should_be() -> None:
    from diffmix.metrics.legacy import _dynamics, _spectrum

    time = torch.arange(RATE, dtype=torch.float64) / RATE
    sine = torch.sin(2 * math.pi * 100 * RATE / 4096 * time)  # in the middle of a bin
    white = noise(0, RATE).double()
    found = _spectrum(torch.stack([sine, white]), RATE)
    assert found["centroid"][0].mean().item() == pytest.approx(100 * RATE / 4096, rel=0.02)
    assert found["centroid"][1].mean().item() == pytest.approx(RATE / 4, rel=0.02)
    assert found["bandwidth"][1].mean().item() == pytest.approx(RATE / 2 / math.sqrt(12), rel=0.03)
    assert found["rolloff"][1].mean().item() == pytest.approx(0.85 * RATE / 2, rel=0.03)
    # the flatness of exponentially distributed power is exp(-Euler's constant)
    assert found["flatness"][1].mean().item() == pytest.approx(1 + 10 * 0.5772 * math.log10(math.e), abs=0.15)
    assert found["flatness"][0].mean() > 30
    magnitudes = np.sort(np.random.default_rng(0).rayleigh(size=(500, 1864)))  # bins of 2 kHz to the top
    peak, valley = magnitudes[:, -37:].mean(), magnitudes[:, :37].mean()
    assert found["contrast_highs"][1].mean().item() == pytest.approx(10 * math.log10(peak / valley), abs=0.3)
    level = _dynamics(torch.stack([sine, sine]))
    assert level["rms"].mean().item() == pytest.approx(1 + 3.01, abs=0.01)


def test_what_would_be_broadcast_is_refused() -> None:
    rate, x = 16000, 0.1 * torch.randn(3, 2, 400, generator=torch.Generator().manual_seed(1))
    plain = ["stft_distance", "sum_difference_distance", "left_right_distance", "error_to_signal"]
    rated = ["panning_error", "panning_mape", "dynamics_error_db", "loudness_dynamics_error", "style_errors"]
    for name in [*plain, *rated, "mel_distance", "mel_error_db"]:
        for other in (x[:1], x[:, :1], x[..., :-1]):
            with pytest.raises(AudioError, match="they have to be alike"):
                getattr(metrics, name)(x, other, *[rate] * (name not in plain))
    for distance in (metrics.stft_distance, metrics.sum_difference_distance):
        assert torch.equal(distance(x.half(), x.half() / 2), distance(x.half().float(), x.half().float() / 2))


STEREO = ("mid_side_bark_db", "panning_rms", "width_db", "matched")
ANY = ("crest_db", "erb_levels_db", "loudness_range", "peak_to_loudness_db", "spectral_centroid_hz", "third_octaves_db")


@pytest.mark.parametrize("name", [*STEREO, *ANY, "at_peak", "dynamics_db"])
def test_one_signal_is_looked_at_before_it_is_measured(name: str) -> None:
    metric, x = getattr(metrics, name), 0.1 * noise(0, 1, 2, 8192)
    rest: list[float] = [] if name in ("at_peak", "crest_db", "width_db") else [16000]
    rest += [5, 500] if name == "dynamics_db" else []
    wrong = [x[0], x[..., :0], (100 * x).int(), x.numpy(), *([x[:, :1]] if name in STEREO else [])]
    for other in wrong:
        with pytest.raises(AudioError, match=r"the audio is .*; allowed are "):
            metric(other, *rest)
    torch.testing.assert_close(metric(x.half(), *rest).float(), metric(x.half().float(), *rest), rtol=1e-3, atol=1e-3)


def test_what_has_no_sides_has_no_place_between_them() -> None:
    with pytest.raises(AudioError, match=r"allowed are floats \(\.\.\., 2, T\)"):
        metrics.pan_position(noise(0, 1, 1, 100))
    with pytest.raises(AudioError, match="at least 4096 are needed"):
        metrics.feature_mape(noise(0, 2, 100), noise(0, 2, 100), RATE)
    with pytest.raises(AudioError, match="allowed are floats"):
        metrics.feature_mape(noise(0, 1, 2, 5000), noise(0, 1, 2, 5000), RATE)


def test_no_number_is_no_silence() -> None:
    x = torch.randn(1, 2, 22050, generator=torch.Generator().manual_seed(1))
    x[..., 100] = torch.nan
    for value in (metrics.crest_db(x), metrics.loudness_error_lu(x, x.nan_to_num(0), 44100)):
        assert value.isnan().all()


def test_a_short_sound_has_a_centre() -> None:
    x = torch.randn(2, 1, 100, generator=torch.Generator().manual_seed(1))
    found = metrics.spectral_centroid_hz(x, 16000)
    assert torch.equal(found, metrics.spectral_centroid_hz(torch.nn.functional.pad(x, (0, 925)), 16000))
