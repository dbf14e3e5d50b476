"""Style transfer of a recording: a network sets an equaliser and a compressor so that it sounds like another."""

from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, pad

from diffmix.console import Console, Controls
from diffmix.data import audio
from diffmix.data.multitrack import Multitrack, Track
from diffmix.errors import AudioError, SettingsError
from diffmix.estimators.folder import described, fill, read_model, write_model
from diffmix.estimators.style_encoder import PairController, StyleEncoder
from diffmix.kernels.loudness import HEARD_LUFS, integrated_loudness
from diffmix.metrics.style import PEAK_DB, at_peak
from diffmix.mix import Mix, finished
from diffmix.playback import Progress
from diffmix.settings import Settings, shortest
from diffmix.systems.automixer import refuse_other_specs
from diffmix.systems.style_rendering import METHODS, Networks, columns_of, network_parts, strip_chain
from diffmix.types import Path

FORMAT, VERSION = "diffmix-style-transfer-of-recordings", 1

TRACK = "recording"
"""The name of the only track of a result."""

MOST_WINDOWS = 64
"""Pieces of a recording that are heard, evenly spread over a longer one."""

SILENT_POWER = 1e-5
"""Mean power at a peak of -12 dBFS under which a piece says nothing."""


class StyleTransfer(nn.Module):
    """Two recordings to the knobs that make the first sound like the second: DeepAFx-ST.

    One encoder hears both, brought to a peak of -12 dBFS and to mono; a small network answers every knob of a console's
    strip but its trim (C. J. Steinmetz, N. J. Bryan and J. D. Reiss, "Style transfer of audio effects with
    differentiable signal processing", J. Audio Eng. Soc. 70(9), 2022). Untrained it answers near the knobs' defaults.

    Args:
        console: its strip is a ``trim`` and the effects to set, its master ends in a ``gain``.
        hear_rate: Hz at which it listens; recordings are resampled for it, effects run at the console's rate.
        listen_seconds: what it hears at a time.
        method: one of `METHODS`; ``np``, ``tcn1`` and ``tcn2`` play through networks, which run at ``hear_rate``.
        encoder: arguments of `StyleEncoder`.
        hidden: width of the controller's layers.
        network: sizes of the networks of such a method.

    Raises SettingsError for another method, and for a console without those stages.
    """

    def __init__(
        self,
        console: Console,
        hear_rate: int = 24000,
        listen_seconds: float = 5.0,
        *,
        method: str = "ad",
        encoder: Mapping[str, Any] | None = None,
        hidden: int = 256,
        network: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if method not in METHODS:
            raise SettingsError(f"method is one of {', '.join(METHODS)}, got {method!r}")
        console.trims_db(torch.zeros(1))  # says so, if there is no trim
        _ = console.loudness_knob
        self.console, self.chain = console, strip_chain(console)
        self.hear_rate, self.listen_seconds, self.method = hear_rate, listen_seconds, method
        self.shape: dict[str, Any] = {"encoder": dict(encoder or {}), "hidden": hidden, "network": dict(network or {})}
        self.encoder = StyleEncoder(**self.shape["encoder"])
        self.open = columns_of(self.chain, list(self.chain.stages), moving=True)
        self.controller = PairController(self.chain.spec.default()[self.open], self.encoder.size, hidden)
        self.networks: Networks | None = None
        if method in ("np", "tcn1", "tcn2"):
            self.networks = Networks(self.chain, network_parts(method, self.chain), **self.shape["network"])
        if method == "np" and self.networks:
            self.networks.freeze()

    def forward(self, x: Tensor, reference: Tensor) -> Tensor:
        """Controls (B, P) of the strip's effects for mono audio x (B, 1, T) like ``reference`` (B, 1, T').

        Both at ``hear_rate`` and a peak of -12 dBFS.
        """
        return self._answered(self.encoder(x[:, 0]), self.encoder(reference[:, 0]))

    def _answered(self, x: Tensor, reference: Tensor) -> Tensor:
        """Controls (B, P) from embeddings; a locked knob, which the controller does not know, is where it is."""
        open_ = self.controller(x, reference)
        fixed = self.chain.spec.default().to(open_).repeat(len(open_), 1)
        return fixed.index_copy(1, torch.tensor(self.open, device=open_.device), open_)

    def play(self, x: Tensor, u: Tensor) -> Tensor:
        """Audio x (B, C, T) at the console's rate, at a peak of -12 dBFS, through what the method plays in the end."""
        if self.networks is None:
            return self.chain(x, u)
        rate = round(self.console.sample_rate)
        y = self.networks(audio.resample(x, rate, self.hear_rate), u)
        return audio.resample(y, self.hear_rate, rate)[..., : x.shape[-1]]

    @torch.no_grad()
    def knobs(self, x: Tensor, reference: Tensor) -> Tensor:
        """Controls (1, P) for a whole recording x (C, T) like a reference (C', T'), both at the console's rate.

        An embedding is the mean over pieces of ``listen_seconds``; pieces that are silent are left out.
        """
        return self._answered(*(self._embedded(given) for given in (x, reference)))

    def _embedded(self, x: Tensor) -> Tensor:
        """The embedding (1, E) of a recording (C, T) at the console's rate; only what is heard is resampled."""
        rate = round(self.console.sample_rate)
        length = round(self.listen_seconds * rate)
        mono = at_peak(x.mean(0)[None, None])[0, 0]
        mono = pad(mono, (0, max(0, length - len(mono))))
        last = len(mono) - length
        count = min(MOST_WINDOWS, -(-2 * last // length) + 1)  # they overlap by half, or lie apart in a long recording
        starts = [round(k * last / max(1, count - 1)) for k in range(count)]
        power = torch.stack([mono[s : s + length].square().mean() for s in starts])
        kept = [s for s, p in zip(starts, power, strict=True) if p > SILENT_POWER] or [starts[int(power.argmax())]]
        heard = (audio.resample(mono[None, s : s + length], rate, self.hear_rate) for s in kept)
        return normalize(torch.cat([self.encoder(piece) for piece in heard]).mean(0, keepdim=True), dim=1)

    @torch.no_grad()
    def transferred(self, x: Tensor | Path, reference: Tensor | Path, progress: Progress | None = None) -> Mix:
        """A recording in the style of another, whole, with every setting: a `Mix` of one track.

        Each is an audio file at any rate, or (1 or 2, T) at the console's rate. A stereo recording gets the same knobs
        for both channels. The result is as loud as the reference, under a true peak of -1 dBTP.

        Raises AudioError for silence, and for a file at another rate than the console's; SettingsError for a model
        whose networks take the place of the effects.
        """
        settings, song, loudness = self._set(x, reference)
        return finished(self.console, song, settings, loudness, -1.0, progress=progress)

    @torch.no_grad()
    def settings_for(self, x: Tensor | Path, reference: Tensor | Path) -> Settings:
        """The settings of `transferred` before its loudness was reached: the master's gain is at 0 dB."""
        return self._set(x, reference)[0]

    def _set(self, x: Tensor | Path, reference: Tensor | Path) -> tuple[Settings, Multitrack, float]:
        if self.method in ("tcn1", "tcn2"):
            raise SettingsError(
                f"a model of method {self.method} has networks for effects: it plays, but sets no knobs"
            )
        rate = round(self.console.sample_rate)
        song = _recording(x, "the recording", rate, exact=True)
        model_of = _recording(reference, "the reference", rate, exact=False).tracks[0].audio
        source = song.tracks[0].audio
        loudness = float(integrated_loudness(model_of[None], rate))
        for heard, what in ((loudness, "reference"), (float(integrated_loudness(source[None], rate)), "recording")):
            if heard <= HEARD_LUFS:
                raise AudioError(f"the {what} is silent: there is no style to be heard in it")
        trim = self.console.strip["trim"].spec.params["gain_db"]
        trim_db = PEAK_DB - 20 * float(source.abs().max().log10())
        u = self.knobs(source, model_of)
        controls = self.console.default(1, 1)
        at = {name: n for n, name in enumerate(self.chain.spec.names)}
        names = self.console.track_spec.names
        columns = [u[:, at[name]] if name in at else controls.tracks[0, :, n] for n, name in enumerate(names)]
        controls = Controls(torch.stack(columns, -1)[None], controls.bus, controls.master)
        settings = self.console.settings(controls, [TRACK], [len(source)])
        settings["tracks"][TRACK]["trim"] = {"gain_db": shortest(trim.nearest(trim_db))}
        settings["master"]["gain"] = {"gain_db": 0.0}
        return settings, song, min(max(loudness, -60.0), -5.0)

    def save(self, folder: Path, **card: Any) -> None:
        """Write ``config.json`` (sizes, specs, console, ``card``) and ``model.safetensors``, whole or not at all."""
        config = {
            "format": FORMAT,
            "version": VERSION,
            "console": self.console.description,
            "specs": {part: spec.to_dict() for part, spec in self.console.specs.items()},
            "hear_rate": self.hear_rate,
            "listen_seconds": self.listen_seconds,
            "method": self.method,
            **self.shape,
        }
        write_model(folder, self, {**config, **card})

    @classmethod
    def load(cls, folder: Path, sample_rate: float | None = None) -> "StyleTransfer":
        """Read what `save` wrote, with the stored console at ``sample_rate`` Hz, by default that of its training.

        Raises CheckpointError if a file is missing or broken, or if the stored parameters are not this console's.
        """
        config, weights = read_model(folder, "a style transfer of recordings", FORMAT, VERSION)
        with described(folder):
            model = cls(
                Console.from_layout(config["console"], sample_rate or config["hear_rate"]),
                config["hear_rate"],
                config["listen_seconds"],
                method=config["method"],
                **{name: config[name] for name in ("encoder", "hidden", "network")},
            )
            refuse_other_specs(model.console.specs, config["specs"], folder)
        fill(model, weights, folder)
        return model.eval()


def _recording(given: Tensor | Path, what: str, rate: int, exact: bool) -> Multitrack:
    """A recording as a song of one track; ``exact``: its rate has to be the console's."""
    files: tuple[str, ...] = ()
    if isinstance(given, Tensor):
        x = given
        if x.ndim != 2 or len(x) not in (1, 2) or not x.shape[-1] or not x.isfinite().all():
            raise AudioError(f"{what} is {tuple(x.shape)}; allowed are finite samples (1 or 2, T)")
    else:
        x, own = audio.read(given)
        files = (str(given),)
        if exact and own != rate:
            raise AudioError(f"{given} is at {own} Hz, the console at {rate} Hz: load the model with sample_rate={own}")
        x = audio.resample(x, own, rate)
        if not 1 <= len(x) <= 2 or not x.shape[-1]:
            raise AudioError(f"{given}: has {len(x)} channels and {x.shape[-1]} samples; mono or stereo is needed")
    name = FilePath(files[0]).stem if files else what.removeprefix("the ")
    return Multitrack(name, rate, (Track(TRACK, x, None, files),))
