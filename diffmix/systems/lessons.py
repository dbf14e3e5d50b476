"""What the automatic mixer learns from: songs as an estimator hears them, and how an engineer would mix them.

A lesson is made once and kept on disk. It holds descriptions and knobs, not audio: hundreds of songs fit in memory,
and a step of training costs milliseconds.
"""

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path as FilePath
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from diffmix.balance import balanced
from diffmix.console import Console
from diffmix.data.helpers import shared, start
from diffmix.data.knowledge import Engineered, engineer, sample_style
from diffmix.data.multitrack import Multitrack
from diffmix.data.recordings import Recordings
from diffmix.data.roles import LABELS
from diffmix.data.synthetic import GENERATOR_VERSION, cache_name, cache_root
from diffmix.errors import OutputError
from diffmix.estimators.features import heard_mix, log_mel, measures
from diffmix.files import replacing
from diffmix.mix import render
from diffmix.systems.intents import IntentCode, on_console
from diffmix.types import Path

LESSON_VERSION = 1
"""Part of the cache's path: raised whenever a change anywhere alters what lessons hold."""

ALIKE = 4
"""So many songs in a row are mixed in one style, so that a mix of one can be the reference for another."""


class Lesson(NamedTuple):
    """Tracks as `features.log_mel` and `measures` give them, what is wanted of them, and the mix that this makes.

    mel_db (N, 64, F), measured (N, 4), labels (N,), tracks (N, P), bus (Q,), master (R,), style (6,) in [-1, 1]; of
    the mix and of its side signal, mix_mel_db (2, 64, F) and mix_measured (2, 4).
    """

    mel_db: Tensor
    measured: Tensor
    labels: Tensor
    tracks: Tensor
    bus: Tensor
    master: Tensor
    style: Tensor
    mix_mel_db: Tensor
    mix_measured: Tensor


class Lessons(Sequence[Lesson]):
    """The lessons that recordings make for a console, each kept on disk in ``cache`` (`cache_root()` by default)."""

    def __init__(self, console: Console, recordings: Recordings, cache: Path | None = None) -> None:
        self.console, self.recordings, self.code = console, recordings, IntentCode(console)
        self.cache = FilePath(cache) if cache else cache_root()
        # a song's lessons depend on its own seed only: asking for more songs keeps those that were made
        told = {**asdict(recordings), "console": console.description, "count": 0}
        if not recordings.folders:
            told["seed"] = 0
        self.folder = self.cache / "lessons" / f"v{GENERATOR_VERSION}.{LESSON_VERSION}" / cache_name(told)

    def __len__(self) -> int:
        return self.recordings.count * self.recordings.takes

    def __getitem__(self, index: int) -> Lesson:  # type: ignore[override]
        """Lesson number ``index``: song by song, take by take; made now if it is not on disk."""
        from safetensors.torch import load_file

        song, take = divmod(range(len(self))[index], self.recordings.takes)
        if not self._file(song, take).is_file():
            self.make(song)
        return Lesson(**load_file(self._file(song, take)))

    def alike(self, index: int) -> list[int]:
        """The lessons that were mixed in the same style as number ``index``, that one included."""
        song, take = divmod(index, self.recordings.takes)
        first = song - (self.recordings.seed + song) % ALIKE
        songs = range(max(first, 0), min(first + ALIKE, self.recordings.count))
        return [k * self.recordings.takes + take for k in songs]

    def prepare(self, progress: Callable[[int, int], None] | None = None, workers: int = 1) -> None:
        """Make all lessons that are missing; ``progress(done, total)`` is called as songs are done.

        ``workers`` > 1 shares the work with further Python processes.
        """
        missing = [k for k in range(self.recordings.count) if not self._complete(k)]
        shared(missing, self._complete, self.make, self._helper, workers, progress)

    def make(self, song: int) -> None:
        """Make the lessons of a song. Raises OutputError when they cannot be kept."""
        from safetensors.torch import save

        for take, recording in enumerate(self.recordings.of(song)):
            lesson = self.lesson(recording, self.engineered(song, take, recording))
            parts = {k: v.half() if k.endswith("mel_db") else v for k, v in lesson._asdict().items()}
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                with replacing(self._file(song, take)) as temporary:
                    temporary.write_bytes(save({k: v.contiguous() for k, v in parts.items()}))
            except OSError as error:
                raise OutputError(f"cannot keep lessons in {self.folder}: {error.strerror or error}") from None

    def engineered(self, song: int, take: int, recording: Multitrack) -> Engineered:
        """How the engineer of a lesson mixes its recording."""
        seed = self.recordings.seed + song
        style = sample_style(np.random.default_rng([seed // ALIKE, take, 1]))
        return engineer(recording, [seed, take, 2], style)

    def lesson(self, recording: Multitrack, wanted: Engineered) -> Lesson:
        """What there is to learn from a recording and how it is mixed."""
        rate, tracks = recording.sample_rate, recording.tracks
        intent = wanted.intent._replace(settings=on_console(self.console, wanted.intent.settings))
        mix = render(self.console, recording, balanced(self.console, recording, intent))
        vectors = self.code.encode(wanted.intent, [track.name for track in tracks])
        mix_mel_db, mix_measured = heard_mix(mix, rate)
        return Lesson(
            mel_db=torch.cat([log_mel(track.audio[None], rate) for track in tracks]),
            measured=torch.cat([measures(track.audio[None]) for track in tracks]),
            labels=torch.tensor([LABELS.get(track.role or "", 0) for track in tracks]),
            tracks=vectors.tracks,
            bus=vectors.bus,
            master=vectors.master,
            style=torch.tensor(wanted.style.normalised),
            mix_mel_db=mix_mel_db,
            mix_measured=mix_measured,
        )

    def _file(self, song: int, take: int) -> FilePath:
        return self.folder / f"{self.recordings.seed + song}-{take}.safetensors"

    def _complete(self, song: int) -> bool:
        return all(self._file(song, take).is_file() for take in range(self.recordings.takes))

    def _helper(self, songs: Sequence[int]) -> "subprocess.Popen[bytes]":
        layout, rate = self.console.description, self.console.sample_rate
        return start(make_lessons, [layout, rate, asdict(self.recordings), str(self.cache), songs])


def make_lessons(told: Sequence[Any]) -> None:
    """Make the lessons of some songs; what a helper of `Lessons.prepare` does."""
    layout, rate, recordings, cache, songs = told
    arguments: dict[str, Any] = {**recordings, "folders": tuple(recordings["folders"])}
    lessons = Lessons(Console(rate, **layout), Recordings(**arguments), cache)
    for song in songs:
        lessons.make(song)
