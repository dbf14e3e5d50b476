"""Swept data sets read back: dry and wet sound, with the controls that lie between them."""

from pathlib import Path as FilePath
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.data import Dataset

from diffmix.data import audio
from diffmix.errors import AudioError, PresetError, SettingsError
from diffmix.files import check_format, read_json
from diffmix.kernels.units import db_to_gain
from diffmix.params import Param, ParamSpec
from diffmix.types import Path

FORMAT, VERSION = "diffmix-sweep", 1
MANIFEST = "manifest.json"


class Swept(NamedTuple):
    """Dry (C, before + T), whose first samples only lead up to wet (D, T), and the controls (P,) in [0, 1]."""

    dry: Tensor
    wet: Tensor
    controls: Tensor


class Sweep(Dataset[Swept]):
    """What ``diffmix sweep`` has written, for learning from dry and wet sound, or from wet sound alone.

    Wet sound that was turned down to fit into its file is turned up again. Without ``seconds`` items are whole files;
    with them, crops, so that items of one number of channels make a batch. The crop of an item is always the same one.

        data = Sweep("out/compressor", seconds=1.5)
        for dry, wet, controls in DataLoader(data, batch_size=8): ...

    Attributes:
        spec: the effect's parameters: ``spec.denormalize(controls)`` has physical values by name.
        moving: the names of those that were moved.
        sample_rate: Hz, that of all files.
    """

    def __init__(self, folder: Path, seconds: float | None = None, before_s: float = 0.0, seed: int = 0) -> None:
        """Read the manifest of a finished sweep; sound is read when it is asked for.

        Args:
            folder: what ``diffmix sweep`` was told to write to.
            seconds: length of the crops; silence follows where a file ends.
            before_s: how much of the dry sound comes before each crop, for effects that remember.
            seed: of the places of the crops.

        Raises PresetError if the folder holds no finished sweep, SettingsError if its values are outside of its ranges,
        AudioError if the dry files are not where they were, or are of several sample rates.
        """
        self.folder, self.seconds, self.before_s, self.seed = FilePath(folder), seconds, before_s, seed
        if before_s < 0 or (seconds is None and before_s) or (seconds is not None and seconds <= 0):
            raise SettingsError(f"crops last longer than 0 s, with 0 s or more before them; got {seconds}, {before_s}")
        what = "the manifest of a sweep"
        data, where = read_json(self.folder / MANIFEST, what, PresetError)
        manifest = check_format(data, where, what, FORMAT, VERSION, PresetError)
        try:
            self.spec = ParamSpec({name: Param(**param) for name, param in manifest["parameters"].items()})
            self.moving = tuple(manifest["moving"])
            self._items = [(str(i["dry"]), str(i["wet"]), float(i["gain_db"])) for i in manifest["items"]]
            values = [item["values"] for item in manifest["items"]]
        except SettingsError:  # of a parameter, whose sentence says enough
            raise
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise PresetError(f"{self.folder / MANIFEST}: is damaged ({error!r})") from None
        if not values:
            raise PresetError(f"{self.folder}: the sweep is not finished; give its command again, and it goes on")
        checked = [self.spec.check(v, f"{self.folder}, item {i}") for i, v in enumerate(values)]
        rows = torch.tensor([list(v.values()) for v in checked]).reshape(len(checked), self.spec.size)
        controls = self.spec.normalize(dict(zip(self.spec.names, rows.unbind(1), strict=True)))
        self._controls = controls.reshape(len(checked), self.spec.size)  # also those of an effect that has none
        rates = {audio.info(self.folder / dry).sample_rate for dry in sorted({dry for dry, *_ in self._items})}
        if len(rates) > 1:
            raise AudioError(
                f"{self.folder}: dry files have {', '.join(map(str, sorted(rates)))} Hz; sweep those of one at a time"
            )
        self.sample_rate = rates.pop()

    def __len__(self) -> int:
        """How many items."""
        return len(self._items)

    def __getitem__(self, number: int) -> Swept:
        """Item ``number``; IndexError past the last. Raises AudioError if a file cannot be read."""
        dry_name, wet_name, gain_db = self._items[number]
        dry_file, wet_file = self.folder / dry_name, self.folder / wet_name
        if self.seconds is None:
            (dry, _), (wet, _) = audio.read(dry_file), audio.read(wet_file)
        else:
            rate = self.sample_rate
            length, before = (round(s * rate) for s in (self.seconds, self.before_s))
            room = max(audio.info(wet_file).frames - length, 0)
            start = int(np.random.default_rng([self.seed, number % len(self)]).integers(room + 1))
            first = max(start - before, 0)
            dry, _ = audio.read_segment(dry_file, first / rate, (start + length - first) / rate)
            wet, _ = audio.read_segment(wet_file, start / rate, length / rate)
            dry = pad(dry, (before + length - dry.shape[-1], 0))
        return Swept(dry, wet * db_to_gain(torch.tensor(-gain_db)), self._controls[number])
