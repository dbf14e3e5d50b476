"""Single recordings as an estimator hears them, from which it learns what real instruments sound like."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path as FilePath
from typing import NamedTuple

import torch
from torch import Tensor

from diffmix.data.roles import LABELS
from diffmix.data.solos import by_role, solo
from diffmix.data.synthetic import cache_root
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
    from safetensors.torch import load_file, save

    files: dict[str, list[FilePath]] = {}
    for folder in folders:
        for role, found in by_role(folder).items():
            files.setdefault(role, []).extend(found)
    told = [count, seconds, sample_rate, {role: [_digest(file) for file in found] for role, found in files.items()}]
    digest = hashlib.sha1(json.dumps(told, sort_keys=True).encode(), usedforsecurity=False).hexdigest()[:12]
    kept = FilePath(cache or cache_root()) / "solos" / f"v{SOLO_VERSION}" / f"{digest}.safetensors"
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
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with replacing(kept) as temporary:
            temporary.write_bytes(save(solos._asdict()))
    except OSError as error:
        raise OutputError(f"cannot keep solos in {kept.parent}: {error.strerror or error}") from None
    return solos


def _digest(file: FilePath) -> str:
    return hashlib.sha1(file.read_bytes(), usedforsecurity=False).hexdigest()
