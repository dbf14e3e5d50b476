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
from diffmix.params import within
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

    effects: dict[int, Processor] = {}  # by sample rate

    def effect(rate: int) -> Processor:
        if rate not in effects:
            effects[rate] = _effect(str(plugin), rate, jobs)
        return effects[rate]

    spec = effect(info(files[0]).sample_rate).spec
    moving = [name in (spec.names if parameters is None else parameters) for name in spec.names]
    if unknown := [name for name in parameters or () if name not in spec.names]:
        raise SettingsError(f"{plugin}: no parameter {unknown[0]!r}; there are: {', '.join(spec.names) or 'none'}")
    total = count or len(files) * _points(grid or 0, sum(moving))
    head: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "plugin": str(plugin),
        "made_with": {name: _version(name) for name in MADE_WITH},
        "seed": seed,
        "grid": grid,
        "parameters": spec.to_dict(),
        "moving": [name for name, moves in zip(spec.names, moving, strict=True) if moves],
        "dry": [os.path.relpath(file.absolute(), output.absolute()) for file in files],
    }
    _claim(output, head)

    def values(item: int) -> Tensor:
        if grid is None:
            u = torch.from_numpy(np.random.default_rng([seed, item]).random(spec.size, np.float32))
        else:
            steps = iter(np.unravel_index(item // len(files), (grid,) * sum(moving)))
            u = torch.tensor([int(next(steps)) / (grid - 1) if moves else 0.0 for moves in moving])
        return spec.physical(torch.where(torch.tensor(moving, dtype=torch.bool), u, spec.default()))

    missing = [item for item in range(total) if not (output / f"{item:05d}.json").is_file()]
    try:
        for start in range(0, len(missing), 4 * jobs):
            batch = missing[start : start + 4 * jobs]
            sounds = [read(files[item % len(files)]) for item in batch]
            pieces = [(effect(rate), audio, values(item)) for item, (audio, rate) in zip(batch, sounds, strict=True)]
            wet = _play(pieces, jobs)
            for item, (_, rate), y in zip(batch, sounds, wet, strict=True):
                settings = dict(zip(spec.names, map(shortest, values(item).tolist()), strict=True))
                _write(output, item, head["dry"][item % len(files)], y, rate, settings)
            if progress:
                progress(total - len(missing) + start + len(batch), total, files[batch[-1] % len(files)].name)
    finally:
        for node in effects.values():
            if isinstance(node, PluginNode):
                node.close()
    items = [json.loads((output / f"{item:05d}.json").read_text(encoding="utf-8")) for item in range(total)]
    write_text(output / MANIFEST, _text({**head, "items": items}))
    return output / MANIFEST


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
