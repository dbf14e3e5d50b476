"""Single recordings played as tracks."""

from pathlib import Path

import numpy as np
import pytest
import torch

from diffmix.data import audio
from diffmix.data.solos import _notes, _phrases, by_role, solo
from diffmix.data.synthesis import stream
from diffmix.errors import AudioError

SR = 8_000


def sine(hz: float, seconds: float) -> torch.Tensor:
    return 0.5 * torch.sin(2 * torch.pi * hz * torch.arange(round(seconds * SR)) / SR)[None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, hz, seconds in (("vocals/anna.wav", 300, 5), ("vocals/kick take.wav", 60, 0.2), ("snare.wav", 200, 0.1)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        audio.write_wav(tmp_path / name, sine(hz, seconds), SR)
    audio.write_wav(tmp_path / "thing.wav", sine(100, 1), SR)
    return tmp_path


def test_names_tell_roles_before_folders(folder: Path) -> None:
    found = {role: [file.name for file in files] for role, files in by_role(folder).items()}
    assert found == {"kick": ["kick take.wav"], "lead_vocal": ["anna.wav"], "snare": ["snare.wav"]}


def test_folders_without_roles_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="no such folder of recordings"):
        by_role(tmp_path / "none")
    audio.write_wav(tmp_path / "thing.wav", sine(100, 1), SR)
    with pytest.raises(AudioError, match=r"as vocals/anna\.wav would"):
        by_role(tmp_path)


def test_a_solo_is_a_function_of_its_number_and_every_role_comes(folder: Path) -> None:
    files = by_role(folder)
    first, again = (solo(files, 3, 5, 2.0, SR).tracks[0] for _ in range(2))
    assert torch.equal(first.audio, again.audio)
    assert first.audio.shape[1] == 2 * SR
    tracks = [solo(files, 3, n, 2.0, SR).tracks[0] for n in range(24)]
    assert not torch.equal(first.audio, tracks[6].audio)
    roles = [track.role for track in tracks]
    assert {role: roles.count(role) >= 3 for role in files} == dict.fromkeys(files, True)
    peaks_db = [20 * float(track.audio.abs().max().log10()) for track in tracks]
    assert max(peaks_db) <= 0
    assert min(peaks_db) < -25  # recorded again, at levels of raw recordings: as played, they peak above -18 dBFS


def test_silence_is_refused(tmp_path: Path) -> None:
    audio.write_wav(tmp_path / "vox.wav", torch.zeros(1, SR), SR)
    with pytest.raises(AudioError, match=r"vox\.wav: the recording is silent"):
        solo(by_role(tmp_path), 0, 0, 1.0, SR)


def test_phrases_are_pieces_of_the_recording_with_rests() -> None:
    x = np.arange(1.0, 5 * SR + 1)[None]
    y = _phrases(x, 20 * SR, SR, stream(1))
    inside = (y[0, 1:] > 0) & (y[0, :-1] > 0)
    assert 0.9 < (np.diff(y[0])[inside] == 1).mean() < 1  # in order and at their speed, but where pieces fade
    assert 0.1 < (y == 0).mean() < 0.7


def test_strokes_lie_on_a_tempo_and_bars_repeat() -> None:
    hit = np.zeros((1, 50))
    hit[0, 0] = 1.0
    y = _notes(hit, "kick", 10 * SR, SR, stream(2))[0]
    step = 60 / stream(2).uniform(70, 160) / 4 * SR
    at = np.flatnonzero(y)
    where = np.round(at / step)
    assert len(at) > 4
    assert np.abs(at - where * step).max() <= 0.5
    struck = np.isin(np.arange(int(10 * SR / step)), where)
    assert any((struck[bar:] == struck[:-bar]).all() for bar in (8, 16, 32))
    assert y.max() <= 1


def test_melodies_have_several_pitches_and_strokes_one() -> None:
    note = sine(400, 0.3).double().numpy()

    def at_its_pitch(role: str, seed: int) -> float:
        y = _notes(note, role, 10 * SR, SR, stream(seed))[0]
        power = np.abs(np.fft.rfft(y * np.hanning(len(y)))) ** 2
        hz = np.arange(len(power)) * SR / len(y)
        return float(power[(hz > 385) & (hz < 415)].sum() / power.sum())

    assert min(at_its_pitch("tom", seed) for seed in range(6)) > 0.9
    assert min(at_its_pitch("keys", seed) for seed in range(6)) < 0.7
