"""The numbers of style transfer against auraloss' definitions, torchaudio, pyloudnorm and SciPy."""

import math

import numpy as np
import pyloudnorm
import pytest
import scipy.signal
import scipy.stats
import torch
import torchaudio
from torch import Tensor

from diffmix import metrics
from diffmix.metrics import style

RATE = 24_000


def noise(seed: int, *shape: int) -> Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("rate", [16_000, 24_000, 44_100])
def test_mel_bands_are_those_of_librosa(rate: int) -> None:
    theirs = torchaudio.functional.melscale_fbanks(8193, 0, rate / 2, 128, rate, norm="slaney", mel_scale="slaney")
    assert torch.allclose(style.mel_weights(16384, rate), theirs, atol=1e-4 * float(theirs.max()))


def test_mel_distance_as_defined() -> None:
    x, y = noise(0, 2, 1, 90_000), noise(1, 2, 1, 90_000)
    mel = torchaudio.functional.melscale_fbanks(32769, 0, RATE / 2, 128, RATE, norm="slaney", mel_scale="slaney")
    spectra = [
        torch.stft(a[:, 0], 65536, 65536, window=torch.hann_window(65536), return_complex=True).abs() for a in (x, y)
    ]
    bands = [mel.T @ s.square().clamp_min(1e-8).sqrt() for s in spectra]
    wanted = (bands[0] - bands[1]).abs().mean((1, 2)) + (bands[0].log() - bands[1].log()).abs().mean((1, 2))
    assert torch.allclose(metrics.mel_distance(x, y, RATE), wanted, rtol=1e-4)
    assert metrics.mel_error_db(2 * x, x, RATE).allclose(torch.tensor(20 * math.log10(2)), atol=0.01)
    assert metrics.mel_distance(x[..., :3000], x[..., :3000], RATE).abs().max() == 0  # shorter than half a window


def test_centroid_is_torchaudios_and_silence_does_not_count() -> None:
    x = noise(2, 1, 1, RATE)
    x = torch.from_numpy(scipy.signal.lfilter([0.1], [1, -0.9], x.numpy())).float()
    theirs = torchaudio.functional.spectral_centroid(x[0], RATE, 0, torch.hann_window(2048), 2048, 512, 2048).mean()
    assert metrics.spectral_centroid_hz(x, RATE).item() == pytest.approx(theirs.item(), rel=1e-3)
    longer = torch.cat([x, torch.zeros(1, 1, RATE)], -1)
    assert metrics.spectral_centroid_hz(longer, RATE).item() == pytest.approx(theirs.item(), rel=0.02)
    assert metrics.spectral_centroid_error_hz(x * 0, x * 0, RATE).item() == 0


def test_levels_in_decibels_and_in_the_published_units() -> None:
    x = noise(3, 2, 1, RATE)
    assert metrics.rms_error_db(2 * x, x).allclose(torch.tensor(6.0206), atol=1e-3)
    assert metrics.rms_error_db(2 * x, x, legacy=True).allclose(torch.tensor(20 * math.log(2)), atol=1e-3)
    squashed = (10 * x).tanh()
    ratio = [(a.abs().amax((1, 2)) / a.square().mean((1, 2)).sqrt()) for a in (squashed, x)]
    assert metrics.crest_error_db(squashed, x).allclose(20 * (ratio[1] / ratio[0]).log10(), atol=1e-3)
    assert metrics.crest_error_db(squashed, x, legacy=True).allclose(20 * (ratio[1] / ratio[0]).log(), atol=1e-3)


def test_loudness_error_is_pyloudnorms() -> None:
    x, y = noise(4, 1, 1, 3 * RATE), 0.3 * noise(5, 1, 1, 3 * RATE)
    meter = pyloudnorm.Meter(RATE)
    wanted = meter.integrated_loudness(x[0].T.numpy()) - meter.integrated_loudness(y[0].T.numpy())
    assert metrics.loudness_error_lu(x, y, RATE).item() == pytest.approx(abs(wanted), abs=1e-3)
    assert metrics.loudness_error_lu(x * 0, x * 0, RATE).item() == 0


def test_loudness_dynamics_as_defined() -> None:
    x, y = (noise(n, 1, 2, 2 * RATE) * torch.linspace(0.1, 1 + n, 2 * RATE) for n in range(2))
    wanted = 0.0
    for short, long in ((50, 1000), (100, 2000)):
        found = []
        for a in (x, y):
            power = a[0].double().square().clamp_min(1e-8).numpy()
            keep = [math.exp(-2200 / ms / RATE) for ms in (short, long)]
            s, slow = (scipy.signal.lfilter([1 - k], [1, -k], power) for k in keep)
            ahead = int(RATE * (long - short) * 0.0005)
            found.append(np.log(s[:, : s.shape[1] - ahead]) - np.log(slow[:, ahead:]))
        wanted += np.abs(found[0] - found[1]).mean()
    assert metrics.loudness_dynamics_error(x, y, RATE).item() == pytest.approx(wanted, rel=1e-4)


def test_erb_error_hears_a_shelf_but_no_gain_and_no_length() -> None:
    x = noise(6, 1, 1, 6 * RATE)
    assert metrics.erb_error_db(0.1 * x[..., : 3 * RATE], x, RATE).item() < 0.6
    b, a = scipy.signal.butter(1, 1000, fs=RATE)
    dull = torch.from_numpy(scipy.signal.lfilter(b, a, x.numpy())).float()
    hz, low = np.linspace(50, 10_800, 2000), 21.4 * np.log10(1 + 0.00437 * np.linspace(50, 10_800, 2000))
    response = 20 * np.log10(np.abs(scipy.signal.freqz(b, a, hz, fs=RATE)[1]))
    weight = np.gradient(low)
    order = np.argsort(response)
    median = response[order][np.searchsorted(weight[order].cumsum(), weight.sum() / 2)]
    wanted = (np.abs(response - median) * weight).sum() / weight.sum()
    assert metrics.erb_error_db(dull, x, RATE).item() == pytest.approx(wanted, abs=0.4)


def test_loudness_distribution_is_a_wasserstein_distance() -> None:
    x = noise(7, 1, 1, 6 * RATE) * torch.linspace(0.05, 1, 6 * RATE)
    y = noise(8, 1, 1, 8 * RATE)
    rows = []
    for a in (x, y):
        blocks = style.block_loudness(a, RATE)[0]
        rows.append((blocks - style.integrated_loudness(a, RATE)).numpy())
    wanted = scipy.stats.wasserstein_distance(*rows)
    found = metrics.loudness_distribution_error_lu(x, y, RATE).item()
    assert found == pytest.approx(wanted, rel=0.05)
    assert metrics.loudness_distribution_error_lu(x * 0, y, RATE).isfinite().all()


def test_band_crest_hears_where_peaks_are_cut() -> None:
    x = noise(9, 1, 1, 2 * RATE)
    x[..., ::4000] += 2
    assert metrics.band_crest_error_db(x, x, RATE).item() == 0
    assert metrics.band_crest_error_db(x.clamp(-0.3, 0.3), x, RATE).item() > 2


def test_all_at_once_are_those_alone_at_one_peak() -> None:
    x, y = noise(10, 2, 2, 70_000), 3 * noise(11, 2, 2, 70_000)
    found = metrics.style_errors(y, x, RATE)
    assert found.keys() == style.STYLE_ERRORS.keys()
    a, b = style.at_peak(y), style.at_peak(x)
    assert a.abs().amax((1, 2)).allclose(torch.tensor(10 ** (-12 / 20)))
    assert found["msd"].allclose(metrics.mel_distance(a, b, RATE))
    assert found["log_msd_db"].allclose(metrics.mel_error_db(a, b, RATE))
    assert all(v.abs().max() == 0 for v in metrics.style_errors(x, x, RATE).values())
    assert metrics.unaligned_errors(y, x[..., :40_000], RATE).keys() == style.UNALIGNED_ERRORS.keys()
    silent = metrics.style_errors(x * 0, x, RATE) | metrics.unaligned_errors(x * 0, x, RATE)
    assert all(v.isfinite().all() for v in silent.values())
