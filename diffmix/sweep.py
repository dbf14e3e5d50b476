"""Data sets of dry and wet sound: one effect at many settings, drawn at random or on a grid."""

import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path as FilePath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffmix.data.audio import EXTENSIONS, info, read, write_wav
from diffmix.data.sweep import FORMAT, MANIFEST, VERSION
from diffmix.errors import AudioError, OutputError, SettingsError
from diffmix.files import made_folder, write_text
from diffmix.params import ParamSpec, within
from diffmix.plugins import PluginNode
from diffmix.processors import REGISTRY, Processor
from diffmix.processors.black_box import BlackBox
from diffmix.settings import shortest
from diffmix.types import Path

MADE_WITH = ("diffmix", "torch", "pedalboard")
"""The packages whose versions are written down."""


def sweep(
    plugin: Path,
    dry: Path,
    output: Path,
    *,
    count: int | None = None,
    grid: int | None = None,
    seed: int = 0,
    parameters: Sequence[str] | None = None,
    jobs: int = 2,
    progress: Callable[[int, int, str], None] | None = None,
) -> FilePath:
    """Play audio files through an effect at many settings, and write down which.

    With ``count``, item i takes file i (again from the first after the last) and settings that depend on ``seed`` and i
    alone, uniform in the controls. With ``grid``, each file meets each of as many values of one or two parameters,
    evenly spaced in the controls. ``output`` gets ``00000.wav``, ``00000.json`` and so on, and in the end
    ``manifest.json``: the parameters with their ranges, the versions of what played them, and for each item wet and dry
    file, the values, and by how many dB the wet sound was turned down so that it fits into its file (``gain_db``, 0 as
    a rule). A run that was stopped goes on where it was, also with a larger count, if the versions are the same.

    Args:
        plugin: the path of a VST3, or the name of an effect of diffmix or Pedalboard.
        dry: an audio file, or a folder that is searched for them.
        output: a folder, new or of the same sweep.
        count: how many items, with random settings.
        grid: how many values of each of ``parameters``, of which there are one or two.
        seed: of the settings.
        parameters: the names to move; the others stay at their defaults.
        jobs: how many items at once; a VST3 runs in as many processes.
        progress: called with (items done, of how many, the last one's dry file).

    Returns the path of the manifest. Raises SettingsError, PluginError, AudioError and OutputError, all DiffmixError.
    """
    if (count is None) == (grid is None):
        raise SettingsError("a sweep has either a count of random settings or a grid")
    for what, number in (("count", count), ("jobs", jobs)):
        if number is not None and number < 1:
            raise SettingsError(f"{what} is {number}, at least 1 is needed")
    within("the seed", seed, 0, 2**63 - 1, whole=True)
    files, output = _files(FilePath(dry)), FilePath(output)
    with _Effects(str(plugin), jobs) as effects:
        spec = effects.at(info(files[0]).sample_rate).spec
        if unknown := [name for name in parameters or () if name not in spec.names]:
            raise SettingsError(f"{plugin}: no parameter {unknown[0]!r}; there are: {', '.join(spec.names) or 'none'}")
        moving = [name for name in spec.names if parameters is None or name in parameters]
        total = count or len(files) * _points(grid or 0, len(moving))
        head: dict[str, Any] = {
            "format": FORMAT,
            "version": VERSION,
            "plugin": str(plugin),
            "made_with": {name: _version(name) for name in MADE_WITH},
            "seed": seed,
            "grid": grid,
            "parameters": spec.to_dict(),
            "moving": moving,
            "dry": [os.path.relpath(file.absolute(), output.absolute()) for file in files],
        }
        _claim(output, head)
        missing = [item for item in range(total) if not (output / f"{item:05d}.json").is_file()]
        for start in range(0, len(missing), 4 * jobs):
            batch = missing[start : start + 4 * jobs]
            names = [files[item % len(files)] for item in batch]
            points = [_point(spec, moving, item, len(files), grid, seed) for item in batch]
            for item, values, (y, rate) in zip(batch, points, effects.played(names, points), strict=True):
                settings = dict(zip(spec.names, map(shortest, values.tolist()), strict=True))
                _write(output, item, head["dry"][item % len(files)], y, rate, settings)
            if progress:
                progress(total - len(missing) + start + len(batch), total, names[-1].name)
    items = [json.loads((output / f"{item:05d}.json").read_text(encoding="utf-8")) for item in range(total)]
    write_text(output / MANIFEST, _text({**head, "items": items}))
    return output / MANIFEST


class _Effects:
    """The effect of a sweep, one for each sample rate; those that run in processes of their own end with the block."""

    def __init__(self, plugin: str, jobs: int) -> None:
        self.plugin, self.jobs = plugin, jobs
        self.by_rate: dict[int, Processor] = {}

    def __enter__(self) -> "_Effects":
        return self

    def __exit__(self, *_: object) -> None:
        for effect in self.by_rate.values():
            if isinstance(effect, PluginNode):
                effect.close()

    def at(self, rate: int) -> Processor:
        """That of a rate in Hz."""
        if rate not in self.by_rate:
            self.by_rate[rate] = _effect(self.plugin, rate, self.jobs)
        return self.by_rate[rate]

    def played(self, files: Sequence[FilePath], points: Sequence[Tensor]) -> list[tuple[Tensor, int]]:
        """Files at a point (P,) of its settings each, (C, T) with their rates."""
        sounds = [read(file) for file in files]
        pieces = [(self.at(rate), audio, values) for (audio, rate), values in zip(sounds, points, strict=True)]
        return list(zip(_play(pieces, self.jobs), (rate for _, rate in sounds), strict=True))


def _point(spec: ParamSpec, moving: Sequence[str], item: int, files: int, grid: int | None, seed: int) -> Tensor:
    """The values (P,) of an item: those that move at random, or on a grid that each of the files meets."""
    moves = [name in moving for name in spec.names]
    if grid is None:
        u = torch.from_numpy(np.random.default_rng([seed, item]).random(spec.size, np.float32))
    else:
        steps = iter(np.unravel_index(item // files, (grid,) * len(moving)))
        u = torch.tensor([int(next(steps)) / (grid - 1) if moved else 0.0 for moved in moves])
    return spec.physical(torch.where(torch.tensor(moves, dtype=torch.bool), u, spec.default()))


def _points(grid: int, moving: int) -> int:
    if grid < 2 or moving not in (1, 2):
        raise SettingsError(f"a grid has 2 values or more of one or two parameters, not {grid} of {moving}")
    return int(grid**moving)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0"


def _text(data: dict[str, Any]) -> str:
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def _files(dry: FilePath) -> list[FilePath]:
    """The audio files that are meant, in the order of their names."""
    if dry.is_dir():
        found = sorted(file for file in dry.rglob("*") if file.suffix.lower() in EXTENSIONS and file.is_file())
        if not found:
            raise AudioError(f"{dry}: holds no audio files ({', '.join(e[1:] for e in EXTENSIONS)})")
        return found
    info(dry)  # says what is wrong with it
    return [dry]


def _effect(plugin: str, sample_rate: int, jobs: int) -> Processor:
    kind = REGISTRY.get(plugin)
    if kind is None:
        if not FilePath(plugin).exists():
            raise SettingsError(f"{plugin}: neither a file nor an effect; effects are {', '.join(sorted(REGISTRY))}")
        return PluginNode(plugin, sample_rate, workers=jobs)
    if len(kind.outlets) > 1 or any(not port.optional for port in kind.inlets[1:]):
        raise SettingsError(f"{plugin} has more than one inlet or outlet; a sweep needs one sound in and one out")
    return kind(sample_rate)


def _play(items: Sequence[tuple[Processor, Tensor, Tensor]], jobs: int) -> list[Tensor]:
    """The sounds of (effect, audio (C, T), values (P,)), so many side by side."""
    matched = [(effect, _channels(effect, audio), values) for effect, audio, values in items]
    effects = {effect for effect, _, _ in items}
    first = items[0][0]
    if len(effects) == 1 and isinstance(first, BlackBox):
        outputs = first.rendered([(audio.numpy(), values.numpy()) for _, audio, values in matched])
        return [torch.from_numpy(np.ascontiguousarray(y)) for y in outputs]

    def play(item: tuple[Processor, Tensor, Tensor]) -> Tensor:
        effect, audio, values = item
        with torch.no_grad():
            named = dict(zip(effect.spec.names, values[:, None], strict=True))
            return effect.process(audio[None], **named)[0]

    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(play, matched))


def _channels(effect: Processor, audio: Tensor) -> Tensor:
    """Audio with the channels that an effect takes; mono is played on both sides of a stereo effect."""
    wanted = effect.inlets[0].channels
    if wanted == 2 and len(audio) == 1:
        return audio.expand(2, -1).contiguous()
    if wanted == 1 and len(audio) == 2:
        raise AudioError(f"{type(effect).__name__} takes mono, and a dry file is stereo")
    return audio


def _claim(output: FilePath, head: dict[str, Any]) -> None:
    """Make the folder of a sweep, or find that it is this one's."""
    manifest = made_folder(output) / MANIFEST
    if manifest.is_file():
        try:
            found = json.loads(manifest.read_text(encoding="utf-8"))
        except (ValueError, OSError):
            found = {}
        found = found if isinstance(found, dict) else {}
        if other := [key for key, value in head.items() if found.get(key) != value]:
            raise OutputError(f"{output}: holds another sweep (its {', '.join(other)} differ); choose another folder")
        return
    if any(output.iterdir()):
        raise OutputError(f"{output}: is not empty and holds no sweep; choose another folder")
    write_text(manifest, _text({**head, "items": []}))


def _write(output: FilePath, item: int, dry: str, y: Tensor, rate: int, values: dict[str, float]) -> None:
    """One item: the sound first, so that what is described is there."""
    peak = y.abs().max().item()
    factor = 1 / peak if 1 < peak < float("inf") else 1.0
    write_wav(output / f"{item:05d}.wav", y * factor, rate)
    gain_db = round(20 * float(np.log10(factor)), 4) if factor < 1 else 0.0
    entry = {"wet": f"{item:05d}.wav", "dry": dry, "gain_db": gain_db, "values": values}
    write_text(output / f"{item:05d}.json", _text(entry))
