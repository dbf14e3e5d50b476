"""Single tracks as an estimator hears them, from which it learns what instruments sound like.

Recordings of real ones, varied, or those of generated songs, which cost a seventh of a lesson as nobody mixes them.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path as FilePath
from typing import NamedTuple

import torch
from torch import Tensor

from diffmix.data.multitrack import Multitrack
from diffmix.data.recordings import Recordings
from diffmix.data.roles import LABELS
from diffmix.data.solos import by_role, solo
from diffmix.data.synthetic import GENERATOR_VERSION, cache_name, cache_root
from diffmix.errors import OutputError
from diffmix.estimators.features import MEASURES, log_mel, measures
from diffmix.files import replacing
from diffmix.types import Path

SOLO_VERSION = 1
"""Part of the cache's path: raised whenever a change anywhere alters what solos hold."""


class Solos(NamedTuple):
    """Tracks of which only the role is to be learned: mel_db (S, 64, F), float16, measured (S, 4) and labels (S,)."""

    mel_db: Tensor
    measured: Tensor
    labels: Tensor


def joined(some: Sequence[Solos]) -> Solos:
    """All of them, in order; they are equally long."""
    return Solos(*(torch.cat(parts) for parts in zip(*some, strict=True)))


def prepare(
    folders: Sequence[str],
    count: int,
    seconds: float,
    sample_rate: int,
    cache: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Solos:
    """``count`` variations of the recordings in ``folders`` (`solo`), kept on disk in ``cache``.

    Raises AudioError as `by_role` does, OutputError when they cannot be kept.
    """
    from safetensors.torch import load_file

    files: dict[str, list[FilePath]] = {}
    for folder in folders:
        for role, found in by_role(folder).items():
            files.setdefault(role, []).extend(found)
    told = [count, seconds, sample_rate, {role: [_digest(file) for file in found] for role, found in files.items()}]
    kept = FilePath(cache or cache_root()) / "solos" / f"v{SOLO_VERSION}" / f"{cache_name(told)}.safetensors"
    if kept.is_file():
        return Solos(**load_file(kept))
    solos = Solos(torch.empty(0), torch.empty(count, MEASURES), torch.empty(count, dtype=torch.int64))
    for number in range(count):
        (track,) = solo(files, 0, number, seconds, sample_rate).tracks
        mel_db = log_mel(track.audio[None], sample_rate)[0]
        if not number:  # room for all at once: small pieces between large ones would keep memory from being reused
            solos = solos._replace(mel_db=torch.empty(count, *mel_db.shape, dtype=torch.float16))
        solos.mel_db[number], solos.measured[number] = mel_db, measures(track.audio[None])[0]
        solos.labels[number] = LABELS[track.role or ""]
        if progress:
            progress(number + 1, count)
    _keep(solos, kept)
    return solos


def of_songs(
    recordings: Recordings, cache: Path | None = None, progress: Callable[[int, int], None] | None = None
) -> Solos:
    """The tracks of generated songs, all that sound; kept song by song on disk in ``cache``, which programs may share.

    Raises AudioError as `generate_song` does, OutputError when they cannot be kept.
    """
    from safetensors.torch import load_file

    told = {**asdict(recordings), "count": 0, "seed": 0}  # more songs or others: those that are there still count
    folder = FilePath(cache or cache_root()) / "solos" / f"v{GENERATOR_VERSION}.{SOLO_VERSION}" / cache_name(told)
    found = []
    for number in range(recordings.count):
        kept = folder / f"{recordings.seed + number}.safetensors"
        if not kept.is_file():
            _keep(joined([_heard(recording) for recording in recordings.of(number)]), kept)
        found.append(Solos(**load_file(kept)))
        if progress:
            progress(number + 1, recordings.count)
    return joined(found)


def _heard(recording: Multitrack) -> Solos:
    rate, tracks = recording.sample_rate, recording.tracks
    return Solos(
        torch.cat([log_mel(track.audio[None], rate).half() for track in tracks]),
        torch.cat([measures(track.audio[None]) for track in tracks]),
        torch.tensor([LABELS[track.role or ""] for track in tracks]),
    )


def _keep(solos: Solos, file: FilePath) -> None:
    from safetensors.torch import save

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as temporary:
            temporary.write_bytes(save(solos._asdict()))
    except OSError as error:
        raise OutputError(f"cannot keep solos in {file.parent}: {error.strerror or error}") from None


def _digest(file: FilePath) -> str:
    return hashlib.sha1(file.read_bytes(), usedforsecurity=False).hexdigest()
