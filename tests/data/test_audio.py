import resource

import numpy as np
import pytest
import soundfile
import torch
from scipy import signal

from diffmix.data import audio
from diffmix.errors import AudioError, OutputError
from tests.fabricate import put, tone


@pytest.mark.parametrize(
    ("name", "subtype", "error"),
    [
        ("a.wav", "PCM_16", 2**-15),
        ("a.wav", "PCM_24", 2**-23),
        ("a.wav", "PCM_32", 2**-24),
        ("a.wav", "FLOAT", 0.0),
        ("a.aiff", "PCM_24", 2**-23),
        ("a.flac", "PCM_24", 2**-23),
        ("a.ogg", None, 0.05),
        ("a.mp3", None, 0.05),
    ],
)
def test_every_format_is_read(tmp_path, name, subtype, error):
    samples = tone(channels=2, sample_rate=44_100)
    path = put(tmp_path / name, samples, 44_100, subtype)
    x, rate = audio.read(path)
    assert (x.shape, x.dtype, rate) == ((2, len(samples)), torch.float32, 44_100)
    assert audio.info(path) == audio.AudioInfo(44_100, 2, len(samples))
    assert np.abs(x.numpy() - samples.T).max() <= error


def _cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def _written(path, text):
    path.write_bytes(text)
    return path


noise = np.random.default_rng(0).uniform(-0.1, 0.1, (8_000, 1)).astype("f4")
bad = noise.copy()
bad[[4_000, 4_001, 6_000, 7_900]] = [[np.nan], [np.inf], [-2e12], [2e12]]

BROKEN = {
    "missing": (lambda d: d / "gone.wav", "no such file"),
    "folder": (lambda d: d, "is a folder"),
    "text": (
        lambda d: _written(d / "a.wav", b"hello " * 99),
        "is not audio that can be read; it is broken, or of another format",
    ),
    "unknown": (lambda d: _written(d / "a.txt", b"hello " * 99), "is not audio that can be read; known are wav, "),
    "text mp3": (lambda d: _written(d / "a.mp3", b"hello " * 99), "is not audio"),
    "zero bytes": (lambda d: _written(d / "a.wav", b""), "is empty"),
    "no samples": (lambda d: put(d / "a.wav", noise[:0]), "holds no samples"),
    "cut flac": (lambda d: _cut(put(d / "a.flac", noise)), "cut short"),
    "cut wav": (lambda d: _cut(put(d / "a.wav", noise)), "cut short"),
    "cut mp3": (lambda d: _cut(put(d / "a.mp3", noise)), "cut short"),
    "nan": (
        lambda d: put(d / "a.wav", bad, subtype="FLOAT"),
        r"4 samples are NaN, infinite or beyond ±1e12, the first at 0\.500 s",
    ),
    "channels": (lambda d: put(d / "a.wav", np.repeat(noise, 6, 1)), r"6 channels; 1 \(mono\) or 2 \(stereo\)"),
    "slow": (lambda d: put(d / "a.wav", noise, 4_000), "sample rate is 4000 Hz; allowed are"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files_are_named_with_the_reason(tmp_path, case):
    make, reason = BROKEN[case]
    path = make(tmp_path)
    with pytest.raises(AudioError, match=reason) as error:
        audio.read(path)
    assert str(error.value).startswith(f"{path}: ")


def test_a_file_is_decoded_in_pieces(tmp_path, monkeypatch):
    whole, _ = audio.read(put(tmp_path / "a.flac", noise))
    broken = put(tmp_path / "bad.wav", bad, subtype="FLOAT")
    monkeypatch.setattr(audio, "_BLOCK", 100)  # pieces of 1600
    assert torch.equal(audio.read(tmp_path / "a.flac")[0], whole)
    with pytest.raises(AudioError, match=r"4 samples are NaN, infinite or beyond ±1e12, the first at 0\.500 s"):
        audio.read(broken)
    with pytest.raises(AudioError, match="cut short"):
        audio.read(_cut(put(tmp_path / "a.mp3", noise)))


def test_a_wav_written_into_a_pipe_is_not_called_cut_short(tmp_path):
    path = put(tmp_path / "a.wav", noise)
    content = path.read_bytes()
    at = content.index(b"data") + 4
    path.write_bytes(content[:at] + b"\xff\xff\xff\xff" + content[at + 4 :])
    assert audio.read(path)[0].shape == (1, 8_000)


def test_a_segment_is_the_slice_of_the_whole_and_silent_after_the_end(tmp_path):
    path = put(tmp_path / "a.flac", noise)
    whole, _ = audio.read(path)
    assert torch.equal(audio.read_segment(path, 0.25, 0.5)[0], whole[:, 2_000:6_000])
    late, rate = audio.read_segment(path, 0.9, 0.5)
    assert rate == 8_000
    assert torch.equal(late[:, :800], whole[:, 7_200:])
    assert late.shape == (1, 4_000)
    assert not late[:, 800:].any()
    assert not audio.read_segment(path, 5.0, 0.5)[0].any()
    with pytest.raises(AudioError, match="lasts longer than 0 s"):
        audio.read_segment(path, 0.0, 0.0)


def test_write_reads_back_within_half_a_step_and_overwrites(tmp_path):
    x = torch.from_numpy(tone(channels=2).T.copy())
    for bits in (16, 24):
        audio.write_wav(tmp_path / "a.wav", x * 4 if bits == 24 else x, 44_100, bits)
        y, rate = audio.read(tmp_path / "a.wav")
        assert soundfile.info(tmp_path / "a.wav").subtype == f"PCM_{bits}"
        assert rate == 44_100
        # libsndfile maps +1 to 2^(bits-1) - 1, so full scale may lose one more step
        assert (y - (x * 4 if bits == 24 else x)).abs().max() <= 2.0 ** (1 - bits) * 1.001
    assert [p.name for p in tmp_path.iterdir()] == ["a.wav"]


def test_write_refuses_rather_than_clips(tmp_path):
    path = tmp_path / "a.wav"
    with pytest.raises(OutputError, match=r"peak is \+6\.02 dBFS"):
        audio.write_wav(path, torch.full((1, 10), 2.0), 8_000)
    with pytest.raises(OutputError, match="NaN or infinite"):
        audio.write_wav(path, torch.full((1, 10), torch.nan), 8_000)
    with pytest.raises(OutputError, match=r"shape \(10,\)"):
        audio.write_wav(path, torch.zeros(10), 8_000)
    audio.write_wav(path, torch.tensor([[1 + 2**-22, -1 - 2**-22]]), 8_000)
    with pytest.raises(OutputError, match="NaN or infinite"):
        audio.write_recording(path, torch.full((1, 10), torch.nan), 8_000)
    assert audio.read(path)[0].abs().min() > 0.999  # a rounding above 1 must not wrap around


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = put(tmp_path / "a.wav", noise)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(audio.os, "fsync", full)
    with pytest.raises(OutputError, match="No space left on device"):
        audio.write_wav(path, torch.zeros(1, 10), 8_000)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(OutputError, match="does not exist"):
        audio.write_wav(tmp_path / "no" / "a.wav", torch.zeros(1, 10), 8_000)
    with pytest.raises(OutputError, match="is a folder"):
        audio.write_wav(tmp_path, torch.zeros(1, 10), 8_000)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="does not exist"):
        audio.write_wav(tmp_path / "file" / "a.wav", torch.zeros(1, 10), 8_000)


def test_a_full_disk_is_named_and_nothing_stays(tmp_path):
    path = put(tmp_path / "a.wav", noise)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for write in (audio.write_wav, audio.write_recording):
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        try:
            with pytest.raises(OutputError, match=r"a\.wav: cannot be written \(File too large\)"):
                write(path, torch.zeros(1, 100_000), 8_000)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert path.read_bytes() == before
        assert list(tmp_path.iterdir()) == [path]


def test_resample_agrees_with_scipy_and_keeps_equal_rates():
    x = torch.randn(2, 1_001, dtype=torch.float64)
    assert audio.resample(x, 48_000, 48_000) is x
    assert audio.resample(x, 44_100, 48_000).shape == (2, 1_090)  # ceil(1001 * 48000 / 44100)
    t = np.arange(8_820) / 44_100
    sine = torch.from_numpy(np.sin(2 * np.pi * 1_000 * t) * signal.windows.tukey(len(t)))
    expected = signal.resample(sine.numpy(), 9_600)  # exact for a signal that fades out at both ends
    assert np.abs(audio.resample(sine, 44_100, 48_000).numpy() - expected).max() < 2e-5
    with pytest.raises(AudioError, match="from 44101 to 48000 Hz"):
        audio.resample(x, 44_101, 48_000)
    assert audio.resample(torch.zeros(2, 3, 0), 44_100, 48_000).shape == (2, 3, 0)


def test_gradients_pass_through_resample():
    x, probe = torch.randn(2, 1, 2, 300, dtype=torch.float64)
    y = audio.resample(x.requires_grad_(), 44_100, 16_000)
    weights = torch.randn_like(y)
    (y * weights).sum().backward()
    assert (probe * x.grad).sum() == pytest.approx((audio.resample(probe, 44_100, 16_000) * weights).sum())
