"""Audio files and sample rates: the only module of diffmix that reads or writes sound."""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffmix.errors import AudioError, OutputError, about
from diffmix.files import replacing

EXTENSIONS = (".wav", ".wave", ".aif", ".aiff", ".aifc", ".flac", ".ogg", ".oga", ".mp3")
"""File name extensions that are read."""

SAMPLE_RATE_RANGE = (8_000, 192_000)
"""Sample rates that are accepted, in Hz."""

FULL_SCALE = 1 + 2**-22
"""The highest magnitude that files of whole numbers hold; 1 may come out of a normalisation two roundings too high."""

_BLOCK = 65_536  # frames per call: libsndfile's encoders overflow the stack on very long single writes
_MOST = 1e12  # what is beyond is no sound at any scale, and the squares of a song of it add up to infinity
_BEXT_STAMP = slice(338, 346)  # behind description, originator, its reference, date and time
_UNKNOWN_LENGTH = 0x7FFF_0000  # writers into a pipe leave a data size near 2³¹ or 2³² in the header


class NoSamplesError(AudioError):
    """An audio file is whole and holds no sample, as an empty track is exported."""


@dataclass(frozen=True)
class AudioInfo:
    """What the header of an audio file says: sample_rate in Hz, channels (1 or more), frames (samples per channel)."""

    sample_rate: int
    channels: int
    frames: int

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.frames / self.sample_rate


def check_sample_rate(sample_rate: int, where: str) -> int:
    """Return `sample_rate` as an int, or raise an AudioError that starts with `where`."""
    low, high = SAMPLE_RATE_RANGE
    number = isinstance(sample_rate, Real) and not isinstance(sample_rate, bool)
    if not number or not low <= sample_rate <= high or sample_rate % 1:
        came = f"{sample_rate} Hz" if number else repr(sample_rate)
        raise AudioError(f"{where}: the sample rate is {came}; allowed are whole numbers from {low} to {high} Hz")
    return int(sample_rate)


@about("path")
def info(path: str | os.PathLike[str]) -> AudioInfo:
    """Read the header of an audio file; no samples are decoded.

    Raises AudioError when the file is missing, empty, not audio, cut short, holds no samples, has more than
    two channels, or a sample rate outside 8 to 192 kHz.
    """
    with _open(path) as file:
        return AudioInfo(file.samplerate, file.channels, file.frames)


def time_stamp(path: str | os.PathLike[str]) -> int | None:
    """Samples after midnight at which a file begins on the clock of its recorder or session; None if it does not say.

    It stands in the `bext` chunk of Broadcast Wave files (EBU Tech 3285), which recorders and DAWs write.
    """
    with contextlib.suppress(OSError), open(path, "rb") as file:
        head = file.read(12)
        if head[:4] not in (b"RIFF", b"RF64", b"BW64") or head[8:] != b"WAVE":
            return None
        while len(head := file.read(8)) == 8:
            size = int.from_bytes(head[4:], "little")
            if head[:4] == b"bext":
                found = file.read(min(size, _BEXT_STAMP.stop))[_BEXT_STAMP]
                return int.from_bytes(found, "little") if len(found) == 8 else None
            file.seek(size + size % 2, os.SEEK_CUR)
    return None


@about("path")
def read(path: str | os.PathLike[str]) -> tuple[Tensor, int]:
    """Read a whole audio file (WAV, AIFF, FLAC, Ogg or MP3; integer samples are scaled to ±1).

    Returns the samples, float32 of shape (C, T) with C 1 or 2, and the sample rate in Hz.
    Raises AudioError as `info` does, and when the data cannot be decoded or holds samples that are NaN,
    infinite or beyond ±1e12, which other numbers look like when they are taken for sound.
    """
    with _open(path) as file:
        return _decode(file, Path(path), file.frames), file.samplerate


@about("path")
def read_segment(path: str | os.PathLike[str], start_s: float, seconds: float) -> tuple[Tensor, int]:
    """Read `seconds` seconds from `start_s` on without decoding the rest; silence follows the end of the file.

    Returns float32 (C, round(seconds · sample_rate)) and the sample rate in Hz; errors are those of `read`.
    """
    if start_s < 0 or seconds <= 0:
        raise AudioError(
            f"{path}: a segment starts at 0 s or later and lasts longer than 0 s; asked: {start_s}, {seconds}"
        )
    with _open(path) as file:
        frames = round(seconds * file.samplerate)
        start = min(round(start_s * file.samplerate), file.frames)
        found = min(frames, file.frames - start)
        if found == 0:
            return torch.zeros(file.channels, frames), file.samplerate
        file.seek(start)
        audio = _decode(file, Path(path), found, start)
        return torch.nn.functional.pad(audio, (0, frames - found)), file.samplerate


def from_array(value: Any, where: str) -> Tensor:
    """An array or tensor of floating-point numbers, (T,), (C, T) or (T, C) with C 1 or 2, as float32 (C, T).

    Raises AudioError, which begins with ``where``, for what is none, for other shapes and for samples that are none.
    """
    try:
        x = value.detach().cpu() if isinstance(value, Tensor) else torch.from_numpy(_owned(np.asarray(value)))
    except (TypeError, ValueError) as error:
        raise AudioError(f"{where}: not an array of numbers ({type(value).__name__})") from error
    if not x.is_floating_point():
        raise AudioError(f"{where}: samples are {x.dtype}; floating-point numbers around ±1 are needed")
    shape = tuple(x.shape)
    if x.dim() == 1:
        x = x[None]
    elif x.dim() == 2 and x.shape[0] > 2 and x.shape[1] <= 2:
        x = x.T
    if x.dim() != 2 or x.shape[0] not in (1, 2) or x.shape[1] == 0:
        raise AudioError(f"{where}: shape {shape} is not audio; (T,), (C, T) or (T, C) with C 1 or 2 is needed")
    x = x.to(torch.float32)
    if bad := int((~(x.abs() <= _MOST)).any(dim=0).sum()):
        raise AudioError(f"{where}: {bad} samples are NaN, infinite or beyond ±1e12")
    return x


def _owned(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """An array as torch takes it: its numbers in the machine's byte order, one after the other, and ours to write."""
    return np.require(array, array.dtype.newbyteorder("="), ["C", "W"])


@about("path", OutputError)
def write_wav(path: str | os.PathLike[str], audio: Tensor, sample_rate: int, bits: int = 24) -> None:
    """Write a PCM WAV file: all of it or nothing.

    `audio` is (C, T) with C 1 or 2 and at most ±1; `bits` is 16 or 24. The samples go to a temporary file in the
    same folder, which takes the name `path` once it is complete on disk.
    Raises OutputError when the folder cannot be written to, or when samples are not finite or above 0 dBFS (nothing
    is ever clipped).
    """
    import soundfile

    path = Path(path)
    audio = audio.detach().to("cpu", torch.float32)
    if audio.dim() != 2 or audio.shape[0] not in (1, 2):
        raise OutputError(f"{path}: audio of shape {tuple(audio.shape)} cannot be written; (1, T) or (2, T) is needed")
    peak = audio.abs().max().item() if audio.numel() else 0.0
    if not math.isfinite(peak):
        raise OutputError(f"{path}: not written, because the audio holds NaN or infinite samples")
    if peak > FULL_SCALE:
        raise OutputError(
            f"{path}: not written, because the peak is {20 * math.log10(peak):+.2f} dBFS; at most 0 dBFS fits"
        )
    frames = audio.clamp(-1, 1).T.numpy()
    with replacing(path) as temporary:
        try:
            with soundfile.SoundFile(
                temporary, "w", sample_rate, audio.shape[0], subtype=f"PCM_{bits}", format="WAV"
            ) as file:
                for start in range(0, len(frames), _BLOCK):
                    file.write(frames[start : start + _BLOCK])
        except soundfile.SoundFileError as error:
            raise _refused(path, temporary, error) from error


class WavWriter:
    """A WAV file that is written piece by piece, in 24 bits, or in floating point where a piece passes 0 dBFS.

    ``path`` holds the file only once `close` was called. Raises OutputError when the file cannot be written, and leaves
    nothing of it then.
    """

    def __init__(self, path: str | os.PathLike[str], sample_rate: int, channels: int, loudest: float = 1.0) -> None:
        """``loudest`` is the highest magnitude that will come: above 1 the file is 32-bit floating point."""
        import soundfile

        self.path = Path(path)
        self._part = self.path.with_name(f".{self.path.name}.part")
        kind = "PCM_24" if loudest <= 1 else "FLOAT"
        try:
            self._file = soundfile.SoundFile(self._part, "w", sample_rate, channels, subtype=kind, format="WAV")
        except soundfile.SoundFileError as error:
            raise _refused(self.path, self._part, error) from error

    def write(self, audio: Tensor) -> None:
        """Append (C, T)."""
        import soundfile

        frames = audio.detach().to("cpu", torch.float32).T.numpy()
        try:
            for start in range(0, len(frames), _BLOCK):
                self._file.write(frames[start : start + _BLOCK])
        except soundfile.SoundFileError as error:
            raise _refused(self.path, self._part, error) from error

    def close(self) -> None:
        """End the file and give it its name."""
        import soundfile

        try:
            self._file.close()
        except soundfile.SoundFileError as error:
            raise _refused(self.path, self._part, error) from error
        os.replace(self._part, self.path)


@about("path", OutputError)
def write_recording(path: str | os.PathLike[str], audio: Tensor, sample_rate: int) -> None:
    """Write (C, T) at whatever level: in 24 bits, or in floating point if a sample passes 0 dBFS.

    Raises OutputError when the file cannot be written, or when samples are not finite.
    """
    loudest = max(abs(float(end)) for end in audio.aminmax())
    if not math.isfinite(loudest):
        raise OutputError(f"{path}: not written, because the audio holds NaN or infinite samples")
    writer = WavWriter(path, sample_rate, len(audio), loudest)
    writer.write(audio)
    writer.close()


def resample(x: Tensor, from_rate: int, to_rate: int) -> Tensor:
    """Change the sample rate with a windowed-sinc filter (Kaiser, β = 14.77, 64 zero crossings: below −120 dB alias).

    Shape: x (..., T) to (..., ceil(T · to_rate / from_rate)); equal rates return x itself. Its settings are the
    "kaiser_best" ones of J. O. Smith's resampling method (resampy). Recordings are filtered as the player of presets
    does, to the same samples; what asks for gradients, or is not on the CPU, by torchaudio, which differs in last bits.
    Raises AudioError for rates whose ratio is too odd.
    """
    if from_rate == to_rate:
        return x
    from diffmix.export import standalone

    if max(from_rate, to_rate) // math.gcd(from_rate, to_rate) > standalone.ODDEST:
        raise AudioError(f"resampling from {from_rate} to {to_rate} Hz is not possible: their ratio is too odd")
    if x.device.type != "cpu" or (x.requires_grad and torch.is_grad_enabled()):
        return _resampled_with_gradients(x, from_rate, to_rate)
    exact = torch.float64 if x.dtype == torch.float64 else torch.float32
    channels = x.detach().to(exact).reshape(math.prod(x.shape[:-1]), x.shape[-1]).numpy()
    y = standalone.resample(channels, from_rate, to_rate)
    return torch.from_numpy(y).reshape(*x.shape[:-1], y.shape[1]).to(x)


def _resampled_with_gradients(x: Tensor, from_rate: int, to_rate: int) -> Tensor:
    try:
        from torchaudio import functional
    except (ImportError, OSError, RuntimeError) as error:
        raise AudioError(
            f"resampling from {from_rate} to {to_rate} Hz needs a torchaudio that fits the installed torch ({error})"
        ) from error
    # in float64, since torchaudio builds its filter in the signal's precision: in float32 that costs 20 dB of accuracy
    y = functional.resample(
        x.double(),
        from_rate,
        to_rate,
        lowpass_filter_width=64,
        rolloff=0.9475937167399596,
        resampling_method="sinc_interp_kaiser",
        beta=14.769656459379492,
    ).to(x.dtype)
    length = -(-x.shape[-1] * to_rate // from_rate)  # torchaudio rounds this in float32, a sample short now and then
    return torch.nn.functional.pad(y, (0, length - y.shape[-1]))


@contextlib.contextmanager
def _open(path: str | os.PathLike[str]) -> Iterator[Any]:
    """Open a sound file for reading and check its header; yields a soundfile.SoundFile."""
    import soundfile

    path = Path(path)
    if not path.exists():
        raise AudioError(f"{path}: no such file")
    if path.is_dir():
        raise AudioError(f"{path}: is a folder, not an audio file")
    try:
        if path.stat().st_size == 0:
            raise AudioError(f"{path}: the file is empty (0 bytes)")
        with open(path, "rb"):  # libsndfile would call a missing permission "unknown format"
            pass
        file = soundfile.SoundFile(path)
    except soundfile.SoundFileError as error:
        why = "it is broken, or of another format than its name says"
        if path.suffix.lower() not in EXTENSIONS:
            why = f"known are {', '.join(e[1:] for e in EXTENSIONS)}"
        raise AudioError(f"{path}: is not audio that can be read; {why}") from error
    except OSError as error:
        raise AudioError(f"{path}: cannot be read ({error.strerror})") from error
    with file:
        check_sample_rate(file.samplerate, str(path))
        if file.channels > 2:
            raise AudioError(f"{path}: has {file.channels} channels; 1 (mono) or 2 (stereo) are allowed")
        promised = re.search(r"^ *(?:data|SSND) : (\d+) \(should be (\d+)\)", file.extra_info, re.MULTILINE)
        if promised and int(promised[2]) + 64 < int(promised[1]) < _UNKNOWN_LENGTH:
            raise AudioError(f"{path}: is cut short ({promised[2]} bytes of sound where the header says {promised[1]})")
        if file.frames <= 0:
            raise NoSamplesError(f"{path}: holds no samples")
        yield file


def _decode(file: Any, path: Path, frames: int, start: int = 0) -> Tensor:
    """Decode `frames` frames from the current position (frame `start`) to float32 (C, frames), checked."""
    import soundfile

    samples, at, bad = np.empty((file.channels, frames), np.float32), 0, list[int]()
    while at < frames:  # an hour has no room for copies
        try:
            piece = file.read(min(16 * _BLOCK, frames - at), dtype="float32", always_2d=True)
        except soundfile.SoundFileError as error:
            raise AudioError(f"{path}: is damaged or cut short and cannot be decoded ({_reason(error)})") from error
        if not len(piece):
            raise AudioError(f"{path}: is cut short ({start + at} samples where the header says {start + frames})")
        if not -_MOST <= piece.min() <= piece.max() <= _MOST:
            bad += (start + at + np.flatnonzero(~(np.abs(piece) <= _MOST).all(axis=1))).tolist()
        samples[:, at : (at := at + len(piece))] = piece.T
    if bad:
        first_s = bad[0] / file.samplerate
        raise AudioError(f"{path}: {len(bad)} samples are NaN, infinite or beyond ±1e12, the first at {first_s:.3f} s")
    return torch.from_numpy(samples)


def _refused(path: Path, part: Path, error: Exception) -> OutputError:
    """That a file cannot be written, and why: what the system says, which libsndfile keeps for itself.

    It is asked once more, by writing on; nothing is left of ``part``.
    """
    reason = _reason(error)
    try:
        with open(part, "ab") as file:
            file.write(bytes(_BLOCK))
    except OSError as known:
        reason = known.strerror or reason
    with contextlib.suppress(OSError):
        part.unlink(missing_ok=True)
    refused = OutputError(f"{path}: cannot be written ({reason})")
    refused.path = path
    return refused


def _reason(error: Exception) -> str:
    """What libsndfile said, without its prefix."""
    return str(getattr(error, "error_string", error)).removeprefix("Error : ").rstrip(". ")
