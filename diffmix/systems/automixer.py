"""The automatic mixer: an estimator that sets the knobs of a console."""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any

import torch
from torch import Tensor, nn

from diffmix.console import Console, Controls, Tracks, track_loudness
from diffmix.errors import CheckpointError, SettingsError
from diffmix.estimators import Estimator
from diffmix.params import ParamSpec
from diffmix.types import Path

FORMAT, VERSION = "diffmix-automixer", 1
LISTENINGS = 4


def balanced_sides(amount: Tensor, weight: Tensor) -> Tensor:
    """A side, -1 or 1, for each track (B, N), so that left and right weigh about the same.

    ``amount`` (B, N) is how far each is from the centre, ``weight`` (B, N) how loud it is. The heaviest goes left, each
    next one to the lighter side: no track's side depends on its number, only on what it is.
    """
    pull = (amount * weight).detach()
    order = pull.argsort(dim=1, descending=True, stable=True)
    side = torch.empty_like(pull)
    lean = torch.zeros_like(pull[:, 0])
    for k in range(pull.shape[1]):
        track = order[:, k : k + 1]
        chosen = torch.where(lean < 0, 1.0, -1.0).to(pull)
        side = side.scatter(1, track, chosen[:, None])
        lean = lean + chosen * pull.gather(1, track)[:, 0]
    return side


class Automixer(nn.Module):
    """Tracks to controls of a console.

    The estimator answers every knob. Two things it does not have to learn: the trim, which follows from the track's
    loudness, and the side of a panned track, which is chosen so that the mix does not lean (the network says how far).
    """

    def __init__(self, console: Console, listen_seconds: float = 3.0, **estimator: Any) -> None:
        """An untrained mixer; ``listen_seconds`` is what it hears at a time, ``estimator`` goes to `Estimator`."""
        super().__init__()
        self.listen_seconds = listen_seconds
        self.console = console
        self.shape = dict(estimator)
        self.parts = [part for part, spec in console.specs.items() if spec.size]
        self.estimator = Estimator({part: console.specs[part] for part in self.parts}, **estimator)

    def forward(self, tracks: Tracks, loudness_lufs: Tensor, mask: Tensor | None = None) -> Controls:
        """Controls for ``tracks`` of loudness (B, N) in LUFS; ``mask`` (B, N) is 0 where a track is padding."""
        return self.finished(self._answer(tracks, mask), loudness_lufs, mask)

    def _answer(self, tracks: Tracks, mask: Tensor | None = None) -> Controls:
        """The estimator's answer; a part without knobs has none."""
        answers = dict(zip(self.parts, self.estimator(tracks, self.console.sample_rate, mask), strict=True))
        none = answers["tracks"].new_zeros(len(answers["tracks"]), 0)
        return Controls(*(answers.get(part, none) for part in self.console.specs))

    def finished(self, controls: Controls, loudness_lufs: Tensor, mask: Tensor | None = None) -> Controls:
        """The estimator's answer with sides chosen and trims set."""
        spec = self.console.track_spec
        at, fader = spec.index("pan.pan"), spec.index("fader.gain_db")
        u = controls.tracks
        amount = u[..., at]  # for this knob the estimator answers the distance from the centre
        fader_db = spec.physical(u)[..., fader]
        weight = 10 ** (fader_db / 20) * (1.0 if mask is None else mask)
        pan = 0.5 + 0.5 * amount * balanced_sides(amount, weight)
        placed = torch.cat([u[..., :at], pan[..., None], u[..., at + 1 :]], -1)
        return self.console.trimmed(controls._replace(tracks=placed), loudness_lufs)

    @torch.no_grad()
    def mix_controls(self, tracks: Tracks) -> Controls:
        """Controls for whole songs (B, N, C, T), from what each track's most telling seconds sound like.

        The estimator hears as many seconds at a time as in training: the loudest of each track, then the second loudest
        and so on, up to ``LISTENINGS`` times. A track's knobs are the mean over those in which it plays.
        """
        rate = self.console.sample_rate
        pair = (tracks, tracks[:, :0]) if isinstance(tracks, Tensor) else tracks
        heard = [_loudest(x, round(self.listen_seconds * rate)) for x in pair]
        share = torch.cat([share for _, share in heard], 1)  # (B, N, listenings)
        answers = [self._answer((heard[0][0][k], heard[1][0][k])) for k in range(share.shape[-1])]
        weight = (share / share.sum(-1, keepdim=True))[..., None]
        knobs = sum(weight[..., k, :] * answer.tracks for k, answer in enumerate(answers))
        bus, master = (torch.stack(part).mean(0) for part in list(zip(*answers, strict=True))[1:])
        return self.finished(Controls(torch.as_tensor(knobs), bus, master), track_loudness(tracks, rate))

    def save(self, folder: Path, **card: Any) -> None:
        """Write ``config.json`` (sizes, specs, console, ``card``) and ``model.safetensors``, whole or not at all."""
        from safetensors.torch import save

        folder = FilePath(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = FilePath(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            weights = {name: part.detach().cpu().contiguous() for name, part in self.estimator.state_dict().items()}
            (temporary / "model.safetensors").write_bytes(save(weights))
            specs = {part: spec.to_dict() for part, spec in self.console.specs.items()}
            config = {"format": FORMAT, "version": VERSION, "estimator": self.shape, "specs": specs}
            config |= {"console": self.console.description, "listen_seconds": self.listen_seconds, **card}
            (temporary / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
            folder.mkdir(exist_ok=True)
            for file in ("model.safetensors", "config.json"):
                os.replace(temporary / file, folder / file)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    @classmethod
    def load(cls, folder: Path, sample_rate: float) -> "Automixer":
        """Read what `save` wrote, with the stored console at ``sample_rate`` Hz.

        Raises CheckpointError if a file is missing or broken, or if the stored parameters are not this console's.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        folder = FilePath(folder)
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            weights = load_file(folder / "model.safetensors")
        except (OSError, ValueError, SafetensorError) as error:
            raise CheckpointError(f"no usable model in {folder}: {error}") from None
        if not isinstance(config, dict) or config.get("format") != FORMAT:
            raise CheckpointError(
                f"{folder / 'config.json'} does not describe an automixer: its format is not {FORMAT!r}"
            )
        if config.get("version") != VERSION:
            raise CheckpointError(f"{folder} has version {config.get('version')}, this diffmix reads version {VERSION}")
        try:
            console = Console.from_layout(config.get("console", {}), sample_rate)
        except (SettingsError, TypeError) as error:
            raise CheckpointError(f"{folder} describes a console that cannot be: {error}") from None
        mixer = cls(console, config.get("listen_seconds", 3.0), **config["estimator"])
        refuse_other_specs(mixer.console.specs, config["specs"], folder)
        try:
            mixer.estimator.load_state_dict(weights)
        except RuntimeError as error:
            raise CheckpointError(f"{folder}: {' '.join(str(error).split())}") from None
        return mixer.eval()


def _loudest(x: Tensor, window: int) -> tuple[list[Tensor], Tensor]:
    """The loudest windows of each track, loudest first, and whether (1) or not (0) the track plays in them.

    ``x`` (B, N, C, T) to at most ``LISTENINGS`` times (B, N, C, window) and (B, N, as many). A track plays in windows
    no more than 12 dB below its loudest.
    """
    if x.shape[-1] <= window:
        return [x], x.new_ones(*x.shape[:2], 1)
    windows = x.unfold(-1, window, window)  # (B, N, C, windows, window)
    energy = windows.square().sum((2, 4))
    count = min(LISTENINGS, energy.shape[-1])
    top = energy.topk(count, -1)
    chosen = [windows.take_along_dim(top.indices[:, :, None, k, None, None], 3).squeeze(3) for k in range(count)]
    return chosen, (top.values >= 0.06 * top.values[..., :1]).to(x)


def refuse_other_specs(mine: Mapping[str, ParamSpec], stored: Mapping[str, Mapping[str, Any]], where: Path) -> None:
    """Raise CheckpointError with the differing lines unless the stored parameters equal these."""
    lines: Sequence[str] = [
        f"{part}.{line}" for part, spec in mine.items() for line in spec.differences(stored.get(part, {}))
    ]
    if lines:
        shown = "; ".join(lines[:4]) + (f"; and {len(lines) - 4} more" if len(lines) > 4 else "")
        raise CheckpointError(f"{where} was trained for other parameters: {shown}")
