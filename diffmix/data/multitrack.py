"""A song as separate tracks: what it is, and how it is read from folders, lists of files or arrays."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from diffmix.data import audio
from diffmix.data.folders import (
    CUE,
    HIDDEN,
    OTHER,
    UNREAD,
    files_below,
    files_in,
    holds_tracks,
    is_mixture,
    is_named,
    left_out,
    side_of,
    song_folder,
    stem_of,
    subfolders,
)
from diffmix.data.placing import apart_s, placed
from diffmix.data.roles import guess_role, is_cue
from diffmix.errors import AudioError, about
from diffmix.kernels.loudness import LoudnessMeter

_PAIR_TOLERANCE_S = 0.05  # left and right of one recording may end this far apart
_NOTED_PADDING_S = 0.001


@dataclass(frozen=True)
class Track:
    """One recording: `audio` is float32 (C, T) with C 1 or 2, `role` is one of `roles.ROLES` or None.

    Its `files` begin `start_s` after the song; before that `audio` is silent. From sample `end` on there is only the
    silence that gives all tracks one length, None where there is none.
    """

    name: str
    audio: Tensor
    role: str | None = None
    files: tuple[str, ...] = ()
    start_s: float = 0.0
    end: int | None = None

    def __repr__(self) -> str:
        return f"Track({self.name!r}, {' x '.join(map(str, self.audio.shape))}, {self.role})"


@dataclass(frozen=True)
class Multitrack:
    """Tracks of one song with one sample rate and one length; `notes` tell what loading changed or left out.

    The last `tail_s` seconds are silence behind the recordings, in which effects ring out; `rate_asked` says that the
    rate is one that was asked for, and not that of most recordings.
    """

    name: str
    sample_rate: int
    tracks: tuple[Track, ...]
    notes: tuple[str, ...] = ()
    tail_s: float = 0.0
    rate_asked: bool = False

    def __post_init__(self) -> None:
        """Refuse tracks that cannot be mixed together: other shapes or lengths, equal names, none at all."""
        if not self.tracks:
            raise AudioError(f"{self.name}: a multitrack needs at least one track")
        names = Counter(track.name for track in self.tracks)
        if len(names) < len(self.tracks):
            raise AudioError(f"{self.name}: two tracks are named {names.most_common(1)[0][0]!r}")
        for track in self.tracks:
            if track.audio.dim() != 2 or track.audio.shape[0] not in (1, 2) or track.audio.shape[1] != self.length:
                raise AudioError(
                    f"{self.name}: track {track.name!r} has shape {tuple(track.audio.shape)}; "
                    f"needed is (1, {self.length}) or (2, {self.length}), the length of the first track"
                )

    def __repr__(self) -> str:
        names = ", ".join(track.name for track in self.tracks)
        return f"Multitrack({self.name!r}, {self.seconds:.1f} s at {self.sample_rate} Hz: {names})"

    @property
    def length(self) -> int:
        """Samples per channel."""
        return self.tracks[0].audio.shape[-1]

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.length / self.sample_rate

    def rest_s(self, unheard: Collection[str] = ()) -> float:
        """How many seconds it goes on behind the last track, but for those ``unheard``."""
        tail = round(self.tail_s * self.sample_rate)
        whole = self.length - tail
        last = max(whole if t.end is None else t.end for t in self.tracks if t.name not in unheard)
        return (tail + whole - last) / self.sample_rate if last < whole else self.tail_s

    @property
    def session(self) -> dict[str, float]:
        """What its recordings do not tell: ``sample_rate`` and ``tail_s``, as settings hold them, if there are."""
        rate = {"sample_rate": self.sample_rate} if self.rate_asked else {}
        return rate | ({"tail_s": self.tail_s} if self.tail_s else {})

    @cached_property
    def loudness_lufs(self) -> dict[str, float]:
        """Integrated loudness of each track by name, in LUFS (ITU-R BS.1770-4); -70 for silence. Measured once."""
        found: dict[str, float] = {}
        for channels in (1, 2):
            alike = [t for t in self.tracks if t.audio.shape[0] == channels]
            for several in (alike[n : n + 16] for n in range(0, len(alike), 16)):  # together they are heard faster
                meter = LoudnessMeter(self.sample_rate)
                for start in range(0, self.length, 1 << 17):
                    meter.add(torch.stack([t.audio[:, start : start + (1 << 17)] for t in several]))
                found |= dict(zip((t.name for t in several), meter.loudness().tolist(), strict=True))
        return found


@dataclass(frozen=True)
class Source:
    """The file of one track, or its two files (left, right), known from their headers only.

    It is `seconds` long, begins at `start_s` of the song, and is read with a gain of `gain_db`.
    """

    name: str
    role: str | None
    files: tuple[Path, ...]
    sample_rate: int
    seconds: float
    gain_db: float = 0.0
    start_s: float = 0.0

    @property
    def label(self) -> str:
        """The file names, for messages."""
        return " + ".join(file.name for file in self.files)

    @property
    def end_s(self) -> float:
        """Where it ends in the song, in seconds."""
        return self.start_s + self.seconds

    def segment(self, start_s: float, seconds: float) -> Tensor:
        """Read `seconds` seconds from `start_s` of the song on: (C, round(seconds · sample_rate)), silent outside."""
        begin_s = max(start_s - self.start_s, 0.0)
        x = join(self, [audio.read_segment(file, begin_s, seconds)[0] for file in self.files])
        length = x.shape[1]
        late = min(max(round((self.start_s - start_s) * self.sample_rate), 0), length)
        x = pad(x, (late, 0))[:, :length]
        return x * 10 ** (self.gain_db / 20) if self.gain_db else x


def load(stems: Any, sample_rate: int | None = None, keep: Collection[str] = ()) -> Multitrack:
    """Read the tracks of a song.

    `stems` is one of
      - a folder: its audio files (or those of its `tracks/`, `raw/` or `stems/`), in natural order of their names;
      - a list of audio files and of folders, in which all files lie that are meant, however deep: a song in groups;
      - a dict from name to array or tensor of shape (T,), (C, T) or (T, C) with values around ±1; `sample_rate` says
        what they were recorded at;
      - a Multitrack, returned as it is.

    The session's rate is `sample_rate` in Hz if given, else the most common one of the files (the higher of two equally
    common ones); other files are resampled. Left and right files (`OH_L.wav`, `OH_R.wav`) become one stereo track, a
    stereo file with equal channels becomes mono, shorter tracks are padded with silence at the end. Tracks begin
    together, unless all files have time stamps (Broadcast Wave) within an hour that leave no gap. Finished mixes
    (`mix.wav`, `Song_MASTER.wav`), what only players hear (`Click.wav`, `Guide.wav`, `LTC.wav`), empty files, Git LFS
    pointers and files that are not audio are left out. Each of these is said in `notes`. ``keep`` names tracks that are
    read whatever their names say.

    Tracks are called as their files; equal names in several folders have that of the folder in front.

    Raises AudioError, with the file and the reason, when nothing is left or files cannot be read. All of these are
    named, and none is left out, for a song without its singer is another song.
    """
    if sample_rate is not None:
        sample_rate = audio.check_sample_rate(sample_rate, "sample_rate")
    if isinstance(stems, Multitrack):
        return stems if sample_rate is None else _at_rate(stems, sample_rate)
    if isinstance(stems, Mapping):
        return _from_arrays(stems, sample_rate)
    if isinstance(stems, str | os.PathLike):
        if not os.fspath(stems):  # which would be the folder that one is in
            raise AudioError("the name of the folder of stems is empty")
        folder = Path(stems)
        sources, notes = scan(folder, keep)
        return assemble(_song_name(folder), _recordings(sources), sample_rate, notes)
    if isinstance(stems, Iterable) and not isinstance(stems, Tensor | np.ndarray):
        given = [_path(path) for path in stems]
        files = dict.fromkeys(file for path in given for file in (files_below(path) if path.is_dir() else [path]))
        sources, notes = plan([*files], "the list of files", keep=keep)
        return assemble(_song_name(given[0].parent), _recordings(sources), sample_rate, notes)
    raise AudioError(
        f"stems are a folder, a list of files, a dict of name and array, or a Multitrack; got {type(stems).__name__}"
    )


@about("folder", AudioError)
def scan(folder: Path, keep: Collection[str] = ()) -> tuple[list[Source], list[str]]:
    """Find the tracks of one song from names and headers, without decoding; returns them and notes.

    ``keep`` as of `load`.
    """
    if not folder.exists():
        raise AudioError(f"{folder}: no such folder")
    if not folder.is_dir():
        raise AudioError(f"{folder}: is a file; a folder with one audio file per track is needed (or a list of files)")
    inner = song_folder(folder)
    if inner is None and any(left_out(file, named=is_named(file, keep)) is None for file in files_in(folder)):
        inner = folder
    if inner is None:
        inside = [child.name for child in subfolders(folder) if song_folder(child)]
        hint = "no audio files in it"
        if inside:
            hint = f"its folders {', '.join(inside[:5])} hold audio: name one, or all that are of one song"
        if any(is_mixture(file) for file in files_in(folder)):
            hint += " besides a finished mix, which is never an input"
        if cues := [file.name for file in files_in(folder) if is_cue(file.stem)]:
            hint += f" besides {', '.join(cues)}, which by its name only the players hear"
        raise AudioError(f"{folder}: {hint} (read are {', '.join(e[1:] for e in audio.EXTENSIONS)})")
    sources, notes = plan(files_in(inner), str(folder), keep=keep)
    dead = sorted(
        f for f in inner.iterdir() if f.is_symlink() and not f.exists() and f.suffix.lower() in audio.EXTENSIONS
    )
    notes = [*(f"{file.name}: left out, a link to a file that does not exist" for file in dead), *notes]
    if aside := [f"{child.name}/" for child in subfolders(inner) if holds_tracks(child)]:
        notes.insert(0, f"{', '.join(aside)}: left out, tracks lie beside; name folders and files to mix all")
    return sources, ([f"tracks read from {inner.relative_to(folder)}/"] if inner != folder else []) + notes


def join(source: Source, parts: Sequence[Tensor]) -> Tensor:
    """One track from its file (C, T), or from its left and right files (1, T) each, the shorter one padded."""
    if len(parts) == 1:
        return parts[0]
    length = max(part.shape[1] for part in parts)
    return torch.cat([pad(part[:1], (0, length - part.shape[1])) for part in parts])


# ------------------------------------------------------------------ which files are tracks


def plan(
    files: Sequence[Path], where: str, *, forgiving: bool = False, keep: Collection[str] = ()
) -> tuple[list[Source], list[str]]:
    """Decide which of `files` are tracks and which two belong together; returns sources and notes. `keep` as of `load`.

    Raises AudioError when no track is left, and for files that claim to be audio and cannot be read; if `forgiving`,
    these are left out and noted.
    """
    if not files:
        raise AudioError(f"{where}: no audio files in it (read are {', '.join(e[1:] for e in audio.EXTENSIONS)})")
    chosen: list[Path] = []
    aside: dict[str, list[Path]] = {}
    broken: list[AudioError] = []
    for file in files:
        if not file.exists():
            raise _unread(file, "no such file")
        try:
            reason = left_out(file, named=is_named(file, keep))
        except OSError as error:
            raise _unread(file, f"cannot be read ({error.strerror})") from error
        if reason:
            aside.setdefault(reason, []).append(file)
        elif file.suffix.lower() in UNREAD:
            text = f"{file.suffix[1:]} audio is not read; convert it to wav or flac, or move it away"
            broken.append(_unread(file, text))
        else:
            chosen.append(file)
    notes = [note for reason, found in aside.items() for note in _told(found, reason)]
    infos: dict[Path, audio.AudioInfo] = {}
    for file in chosen:
        try:
            infos[file] = audio.info(file)
        except AudioError as error:
            if not (forgiving or isinstance(error, audio.NoSamplesError)):
                broken.append(error)
                continue
            notes.append(f"{file.name}: left out, {str(error).removeprefix(f'{file}: ')}")
    _raise(broken)
    if not infos:
        raise AudioError(f"{where}: no usable audio file: {'; '.join(notes)}")
    sources, taken = [], set[str]()
    for name, group in _named([*_pairs(list(infos), infos, notes)]):
        first, seconds = infos[group[0]], max(infos[file].seconds for file in group)
        sources.append(Source(distinct(name, taken), guess_role(name), group, first.sample_rate, seconds))
    return placed(sources, notes), notes


def _told(files: Sequence[Path], reason: str) -> Iterator[str]:
    """Notes on files that are left out for one reason: one for left and right, and one for all that hold no sound."""
    if reason in (HIDDEN, OTHER):
        more = f" and {len(files) - 3} more" if len(files) > 3 else ""
        yield f"{', '.join(file.name for file in files[:3])}{more}: left out, {reason}"
        return
    rights = dict(_sides(files)) if reason == CUE else {}
    for file in files:
        if file not in rights.values():
            label, name = file.name, stem_of(file)
            if right := rights.get(file):
                label, name = f"{label} + {right.name}", side_of(file)[0]
            hint = f"; a role has it in, e.g. '{name}=percussion'" if reason == CUE else ""
            yield f"{label}: left out, {reason}{hint}"


def _unread(file: Path, why: str) -> AudioError:
    error = AudioError(f"{file}: {why}")
    error.path = file
    return error


def _raise(broken: Sequence[AudioError]) -> None:
    """Raise an error that says of every file what is wrong, if there is one."""
    if len(broken) > 1:
        told = "; ".join(str(error) for error in broken)
        raise AudioError(f"{len(broken)} files cannot be read, replace them or move them away: {told}")
    if broken:
        raise broken[0]


def _named(groups: list[tuple[str, tuple[Path, ...]]]) -> Iterator[tuple[str, tuple[Path, ...]]]:
    """The same groups of files, those of one name in several folders called by as many of these as tell them apart."""
    alike: dict[str, list[tuple[Path, ...]]] = {}
    for name, files in groups:
        alike.setdefault(name.casefold(), []).append(files)
    for name, files in groups:
        folders = [other[0].absolute().parent.parts for other in alike[name.casefold()]]
        depths = range(1, max(map(len, folders))) if len(set(folders)) > 1 else ()
        apart = len(set(folders))
        depth = next((d for d in depths if len({parts[-d:] for parts in folders}) == apart), 0)
        above = files[0].absolute().parent.parts[-depth:] if depth else ()
        yield unicodedata.normalize("NFC", " ".join((*above, name))), files


def _pairs(
    files: Sequence[Path], infos: Mapping[Path, audio.AudioInfo], notes: list[str]
) -> Iterable[tuple[str, tuple[Path, ...]]]:
    """Group left and right files; yields (track name, files) in the order of the first file of each group."""
    partner: dict[Path, tuple[Path, Path]] = {}
    for left, right in _sides(files):
        a, b = infos[left], infos[right]
        if a.channels != 1 or b.channels != 1:
            reason = "not both mono"
        elif a.sample_rate != b.sample_rate:
            reason = f"{a.sample_rate} and {b.sample_rate} Hz"
        elif abs(a.seconds - b.seconds) > _PAIR_TOLERANCE_S:
            reason = f"{a.seconds:.2f} and {b.seconds:.2f} s long"
        elif span_s := apart_s([left, right], a.sample_rate):
            reason = f"{span_s:.3f} s apart by their time stamps"
        else:
            notes.append(f"{left.name} + {right.name}: joined to one stereo track")
            partner[left] = partner[right] = (left, right)
            continue
        notes.append(f"{left.name} and {right.name}: kept as two tracks, {reason}")
    for file in files:
        if file not in partner:
            yield stem_of(file), (file,)
        elif file == min(partner[file], key=list(files).index):
            yield side_of(file)[0], partner[file]


def _sides(files: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Files that are called left and right of one recording."""
    sides: dict[tuple[Path, str, str], dict[str, Path]] = {}
    for file in files:
        base, side = side_of(file)
        if side:
            sides.setdefault((file.parent, base.casefold(), file.suffix.lower()), {}).setdefault(side, file)
    return [(found["L"], found["R"]) for found in sides.values() if len(found) == 2]


def distinct(name: str, taken: set[str]) -> str:
    """`name`, or `name_2`, `name_3`... when it is taken already (letter case aside)."""
    candidate, number = name, 2
    while candidate.casefold() in taken:
        candidate, number = f"{name}_{number}", number + 1
    taken.add(candidate.casefold())
    return candidate


# ------------------------------------------------------------------ from sources to one session


def _recordings(sources: Sequence[Source]) -> list[tuple[Source, Tensor, int]]:
    """Every track with its samples and their rate in Hz."""
    found, broken = [], list[AudioError]()
    for source in sources:
        try:
            found.append((source, *_read(source)))
        except AudioError as error:
            broken.append(error)
    _raise(broken)
    return found


def _read(source: Source) -> tuple[Tensor, int]:
    x = join(source, [audio.read(file)[0] for file in source.files])
    return pad(x, (round(source.start_s * source.sample_rate), 0)), source.sample_rate


def session_rate(rates: Sequence[int]) -> int:
    """The most common sample rate in Hz, the higher one if two are equally common."""
    counts = Counter(rates)
    return max(counts, key=lambda rate: (counts[rate], rate))


def assemble(
    name: str, recordings: Sequence[tuple[Source, Tensor, int]], sample_rate: int | None, notes: Sequence[str]
) -> Multitrack:
    """Bring recordings to one rate and length, and say in the notes what was done."""
    usual = session_rate([rate for _, _, rate in recordings])
    to_rate = sample_rate or usual
    tracks, done = [], dict[str, list[str]]()  # the files by what was done to them: a song of 40 has 40 to resample
    for source, x, rate in recordings:
        if x.shape[0] == 2 and torch.equal(x[0], x[1]):
            x = x[:1]
            done.setdefault("both channels are identical, used as mono", []).append(source.label)
        if rate != to_rate:
            x = audio.resample(x, rate, to_rate)
            done.setdefault(f"resampled from {rate} to {to_rate} Hz", []).append(source.label)
        files = tuple(str(file) for file in source.files)
        tracks.append(Track(source.name, x.contiguous(), source.role, files, source.start_s))
    length = max(track.audio.shape[1] for track in tracks)
    for i, (track, (source, _, _)) in enumerate(zip(tracks, recordings, strict=True)):
        end = track.audio.shape[1]
        missing = length - end
        if missing:
            tracks[i] = replace(track, audio=pad(track.audio, (0, missing)), end=end)
        if missing / to_rate >= _NOTED_PADDING_S:
            text = f"{end / to_rate - source.start_s:.2f} s, padded with silence to {length / to_rate:.2f} s"
            done.setdefault(text, []).append(source.label)
    told = [f"{', '.join(files)}: {text}" for text, files in done.items()]
    return Multitrack(name, to_rate, tuple(tracks), (*notes, *told), rate_asked=to_rate != usual)


def _at_rate(multitrack: Multitrack, sample_rate: int) -> Multitrack:
    if multitrack.sample_rate == sample_rate:
        return multitrack
    tracks = tuple(
        replace(
            track,
            audio=audio.resample(track.audio, multitrack.sample_rate, sample_rate),
            end=track.end and -(-track.end * sample_rate // multitrack.sample_rate),
        )
        for track in multitrack.tracks
    )
    note = f"all tracks: resampled from {multitrack.sample_rate} to {sample_rate} Hz"
    notes = *multitrack.notes, note
    return replace(multitrack, sample_rate=sample_rate, tracks=tracks, notes=notes, rate_asked=True)


def _from_arrays(stems: Mapping[str, Any], sample_rate: int | None) -> Multitrack:
    if not stems:
        raise AudioError("the dict of tracks is empty")
    if sample_rate is None:
        raise AudioError("tracks given as arrays need sample_rate=..., the rate in Hz that they were recorded at")
    recordings = []
    for name, value in stems.items():
        if not isinstance(name, str) or not name:
            raise AudioError(f"a track's name is a text that is not empty; got {name!r}")
        x = audio.from_array(value, f"track {name!r}")
        recordings.append((Source(name, guess_role(name), (Path(name),), sample_rate, x.shape[1] / sample_rate), x))
    session = assemble("multitrack", [(source, x, sample_rate) for source, x in recordings], sample_rate, [])
    return replace(session, tracks=tuple(replace(track, files=()) for track in session.tracks))


def _path(file: Any) -> Path:
    if not isinstance(file, str | os.PathLike):
        raise AudioError(f"the list of files holds a {type(file).__name__}; paths are needed (arrays go into a dict)")
    return Path(file)


def _song_name(folder: Path) -> str:
    return unicodedata.normalize("NFC", folder.resolve().name) or "multitrack"
