"""The differentiable mixing console: one network for every track, the mean over all as context, a few knobs each.

C. J. Steinmetz, J. Pons, S. Pascual and J. Serrà, "Automatic multitrack mixing with a differentiable mixing console of
neural audio effects" (ICASSP 2021).
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from diffmix.balance import placed_loudness
from diffmix.console import Console, Controls, DeskValues, Tracks, kinds, track_loudness
from diffmix.data.multitrack import Multitrack
from diffmix.errors import SettingsError
from diffmix.estimators.folder import described, fill, read_model, write_model
from diffmix.estimators.short_chunk_cnn import ShortChunkCNN
from diffmix.kernels.units import db_to_gain
from diffmix.losses import SumDifferenceLoss
from diffmix.metrics import balance_error_db
from diffmix.mix import grouped, ordered
from diffmix.params import ParamSpec
from diffmix.settings import Settings, shortest
from diffmix.systems.automixer import refuse_other_specs
from diffmix.systems.channel import StripProxy
from diffmix.systems.mixes import Batch, MixData, MixLoss, as_strong_as, at_loudness, peak_gain_db
from diffmix.systems.training import OwnSpecs, Training, optimizers
from diffmix.types import Path

FORMAT, VERSION = "diffmix-dmc", 1
LISTENINGS = 4
SILENT_RMS = 1e-4


def prepare(config: Mapping[str, Any]) -> Training:
    """The training that ``conf/recipe/dmc.yaml`` describes; raises SettingsError for a console that it cannot set."""
    console = Console.from_layout(config["console"])
    options = dict(config["system"])
    network, proxy = options.pop("network"), options.pop("proxy")
    model = DMC(console, listen_seconds=config["data"]["seconds"], **network)
    through = StripProxy.load(proxy, console) if proxy else None
    total, seed = config["trainer"]["max_steps"], config["seed"]
    system = MixingConsole(model, proxy=through, total_steps=total, seed=seed, **options)
    data = MixData.from_config(config["data"], round(console.sample_rate), seed)
    return Training(system, data, model.save)


class DMC(nn.Module):
    """Tracks to the knobs of a console, by weights of its own.

    Tracks come to a peak of -12 dBFS by the strip's trim; so brought, each is heard by a `ShortChunkCNN`, the mean of
    the embeddings over the tracks of the song joins each of them, and a small network answers every knob that is open:
    fader and pan on ``conf/console/dmc.yaml``. A stereo track takes its pan as balance. No answer depends on the order
    of the tracks or on padding. Buses and the master stay as the console has them.
    """

    def __init__(
        self,
        console: Console,
        *,
        width: int = 16,
        high_hz: float = 8000.0,
        hidden: int = 256,
        dropout: float = 0.2,
        listen_seconds: float = 6.0,
    ) -> None:
        """An untrained console.

        Args:
            console: its strip has a ``trim``; of the other knobs, those whose range is not a point are answered.
            width: of the encoder; 128 in the paper.
            high_hz: up to which the encoder hears; 8000 in the paper.
            hidden: width of the network behind it; 256 in the paper.
            dropout: in training, 0.2 in the paper.
            listen_seconds: what it hears at a time.

        Raises SettingsError for a console without a trim or open knobs, and for sizes that cannot be.
        """
        super().__init__()
        console.trims_db(torch.zeros(1))  # says so, if there is no trim
        if not 0 <= dropout < 1 or isinstance(hidden, bool) or not isinstance(hidden, int) or hidden < 1:
            raise SettingsError(f"dropout in [0, 1) and a whole number of hidden are needed, got {dropout}, {hidden!r}")
        self.console, self.listen_seconds = console, float(listen_seconds)
        self.shape = {"width": width, "high_hz": high_hz, "hidden": hidden, "dropout": dropout}
        self.knobs = open_knobs(console)
        if not self.knobs:
            raise SettingsError("every knob of this console's strip is locked: there is nothing to answer")
        self.encoder = ShortChunkCNN(width, high_hz)
        self.post = nn.Sequential(
            *(nn.Linear(2 * self.encoder.size, hidden), nn.Dropout(dropout), nn.PReLU()),
            *(nn.Linear(hidden, hidden), nn.Dropout(dropout), nn.PReLU()),
            nn.Linear(hidden, len(self.knobs)),
        )

    def forward(self, tracks: Tracks, mask: Tensor | None = None) -> Controls:
        """Controls for ``tracks``; ``mask`` (B, N) is 0 where a track is padding."""
        trims_db = peak_trims_db(self.console, tracks)
        return self.controls(self.answer(tracks, trims_db, mask), trims_db)

    def answer(self, tracks: Tracks, trims_db: Tensor, mask: Tensor | None = None) -> Tensor:
        """The open knobs, (B, N, K) in [0, 1], of tracks that play at these gains (B, N)."""
        embedded, first = [], 0
        for x in kinds(tracks):
            batch, n = x.shape[:2]
            if n:
                level = db_to_gain(trims_db[:, first : first + n, None, None])
                heard = self.encoder((x * level).flatten(0, 1), self.console.sample_rate)
                embedded.append(heard.view(batch, n, -1))
            first += n
        e = torch.cat(embedded, 1)
        there = torch.ones_like(e[..., :1]) if mask is None else mask[..., None].to(e)
        context = (e * there).sum(1, keepdim=True) / there.sum(1, keepdim=True).clamp_min(1)
        return torch.sigmoid(self.post(torch.cat([e, context.expand_as(e)], -1)))

    def controls(self, answer: Tensor, trims_db: Tensor) -> Controls:
        """Controls of the whole console: the answer and the trims, the rest as the console has it."""
        plain = self.console.default(*trims_db.shape)
        spec = self.console.track_spec
        columns = list(plain.tracks.to(answer).unbind(-1))
        for knob, u in zip(self.knobs, answer.unbind(-1), strict=True):
            columns[spec.index(knob)] = u
        columns[spec.index("image.balance")] = columns[spec.index("pan.pan")]
        trim = self.console.strip["trim"].spec.normalize({"gain_db": trims_db})[..., 0]
        columns[spec.index("trim.gain_db")] = trim.to(answer)
        return plain._replace(tracks=torch.stack(columns, -1))

    @torch.no_grad()
    def settings_for(self, multitrack: Multitrack) -> Settings:
        """The knobs for a whole song, of any length, at the console's sample rate.

        It is heard at up to four times, chosen so that every track plays at one of them (`telling_windows`). A track's
        knobs are the mean over the times at which it plays; the level that its fader makes counts from the peak of the
        time, not of the song.
        """
        rate = self.console.sample_rate
        if rate != multitrack.sample_rate:
            raise SettingsError(f"the console runs at {rate:g} Hz, the tracks at {multitrack.sample_rate} Hz")
        was_training = self.training
        self.eval()
        tracks, order = grouped(multitrack)
        window = round(self.listen_seconds * rate)
        starts, plays = telling_windows(tracks, window)
        trims_db = peak_trims_db(self.console, tracks)
        answers, levels = [], []
        for k, start in enumerate(starts):
            cut = slice(start, start + window)
            heard = tracks[0][..., cut], tracks[1][..., cut]
            here_db = peak_trims_db(self.console, heard)
            answers.append(self.answer(heard, here_db, plays[None, :, k]))
            levels.append(here_db - trims_db)
        weight = (plays / plays.sum(1, keepdim=True))[None]  # (1, N, times)
        mean = sum(weight[..., k, None] * answer for k, answer in enumerate(answers))
        louder_db = sum(weight[..., k] * level for k, level in enumerate(levels))
        knobs = self._louder(torch.as_tensor(mean), torch.as_tensor(louder_db))
        self.train(was_training)
        strips = [multitrack.tracks[n] for n in order]
        found = self.controls(knobs, trims_db)
        named = self.console.settings(found, [t.name for t in strips], [len(t.audio) for t in strips])
        for track, trim_db in zip(strips, trims_db[0].tolist(), strict=True):  # not rounded on its way through [0, 1]
            named["tracks"][track.name]["trim"] = {"gain_db": shortest(trim_db)}
        return ordered(named, [t.name for t in multitrack.tracks])

    def _louder(self, answer: Tensor, by_db: Tensor) -> Tensor:
        """The answer with the faders up by so many dB (1, N), as far as they go."""
        if "fader.gain_db" not in self.knobs:
            return answer
        at, param = self.knobs.index("fader.gain_db"), self.console.track_spec.params["fader.gain_db"]
        fader = (answer[..., at] + by_db / (param.high - param.low)).clamp(0, 1)
        return torch.cat([answer[..., :at], fader[..., None], answer[..., at + 1 :]], -1)

    def save(self, folder: Path, **card: Any) -> None:
        """Write ``config.json`` (sizes, specs, console, ``card``) and ``model.safetensors``, whole or not at all."""
        specs = {part: spec.to_dict() for part, spec in self.console.specs.items()}
        config = {"format": FORMAT, "version": VERSION, "network": self.shape, "listen_seconds": self.listen_seconds}
        config |= {"specs": specs, "console": self.console.description}
        write_model(folder, self, {**config, **card})

    @classmethod
    def load(cls, folder: Path, sample_rate: float = 44100.0) -> "DMC":
        """Read what `save` wrote, with the stored console at ``sample_rate`` Hz.

        Raises CheckpointError if a file is missing or broken, or if the stored parameters are not this console's.
        """
        config, weights = read_model(folder, "a differentiable mixing console", FORMAT, VERSION)
        with described(folder):
            console = Console.from_layout(config["console"], sample_rate)
            model = cls(console, listen_seconds=config["listen_seconds"], **config["network"])
            refuse_other_specs(console.specs, config["specs"], folder)
        fill(model, weights, folder)
        return model.eval()


def open_knobs(console: Console) -> list[str]:
    """The knobs of a track that a network answers: all but the trim, the image of a stereo track, and locked ones."""
    fixed = ("trim.", "image.")
    return [name for name, param in console.track_spec if param.low < param.high and not name.startswith(fixed)]


def peak_trims_db(console: Console, tracks: Tracks) -> Tensor:
    """The trims (B, N) in dB that bring each track to one peak; 0 for silence."""
    found = torch.cat([peak_gain_db(x) for x in kinds(tracks)], 1)
    trim = console.strip["trim"].spec.params["gain_db"]
    return found.clamp(trim.low, trim.high)


def telling_windows(tracks: Tracks, window: int) -> tuple[list[int], Tensor]:
    """Where to listen to a song (1, N, C, T): starts of up to ``LISTENINGS`` windows, and who plays, (N, windows).

    Each next window is the one in which most tracks play that were not heard yet, and of equal ones the one with most
    tracks. A track plays where it is at most 12 dB below its loudest window; one that plays in none of the chosen
    counts where it sounds at all, and a silent one everywhere.
    """
    given = kinds(tracks)
    last = max(0, given[0].shape[-1] - window)
    count = -(-last // window) + 1
    starts = [round(k * last / max(1, count - 1)) for k in range(count)]
    energy = torch.stack(
        [torch.cat([x[0, ..., s : s + window].square().mean((1, 2)) for x in given]) for s in starts], 1
    )  # (N, windows)
    plays = (energy >= 0.06 * energy.amax(1, keepdim=True)) & (energy > SILENT_RMS**2)
    sounds = energy > SILENT_RMS**2
    heard = torch.zeros_like(plays[:, 0])
    chosen: list[int] = []
    for _ in range(min(LISTENINGS, count)):
        new = (plays & ~heard[:, None]).sum(0) * (len(plays) + 1) + plays.sum(0)
        new[chosen] = -1
        best = int(new.argmax())
        chosen.append(best)
        heard = heard | plays[:, best]
    share = plays[:, chosen]
    share = torch.where(share.any(1, keepdim=True), share, sounds[:, chosen])
    share = torch.where(share.any(1, keepdim=True), share, True)
    return [starts[k] for k in chosen], share.to(given[0])


class MixingConsole(OwnSpecs):
    """Learns to set a console so that its mixes sound as the examples' do, from the sound alone.

    Loss: `MixLoss` of the mixes at one power. With a `StripProxy`, the effects of the strips are its imitation in
    training; scores are always of the console itself.
    """

    def __init__(
        self,
        model: DMC,
        *,
        proxy: StripProxy | None = None,
        learning_rate: float = 1e-3,
        warmup_steps: int = 20,
        weights: Mapping[str, float] | None = None,
        fft_sizes: tuple[int, ...] = (4096, 1024, 256),
        total_steps: int = 1000,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.model, self.proxy, self.seed = model, proxy, seed
        self.loss = MixLoss(weights or {"sum_difference": 1.0, "imbalance": 1.0}, fft_sizes, model.console.sample_rate)
        self.distance = SumDifferenceLoss()
        self.learning_rate, self.warmup_steps, self.total_steps = learning_rate, warmup_steps, total_steps

    def forward(self, batch: Batch) -> Controls:
        """The controls that the model chooses for a batch."""
        return self.model((batch.mono, batch.stereo), batch.mask)

    def on_train_batch_start(self, *_: Any) -> None:
        """What dropout drops follows from the step, so that a resumed run goes on as if it had not stopped."""
        torch.manual_seed((self.seed << 32) + self.global_step)

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Loss of one batch."""
        losses = self.losses(batch, self(batch))
        self.log_losses(losses, len(batch.mask))
        return self.loss.total(losses)

    def losses(self, batch: Batch, chosen: Controls) -> dict[str, Tensor]:
        """The terms of the loss, unweighted."""
        with torch.autocast(self.device.type, enabled=False):  # audio stays in float32
            controls = Controls(*(u.float() for u in chosen))
            tracks, values = (batch.mono, batch.stereo), self.model.console.values(controls)
            mixed = self.proxy.mix if self.proxy else self.model.console.mix
            return self.loss(as_strong_as(mixed(tracks, values, batch.mask), batch.mix), batch.mix)

    @torch.no_grad()
    def validation_step(self, batch: Batch, _: int) -> None:
        """Scores of the model, and of equal loudness, on held-out examples."""
        for name, chosen in (("model", self(batch)), ("equal_loudness", self.equal_loudness(batch))):
            self.log_scores(name, self.scores(batch, self.model.console.values(chosen)), len(batch.mask))

    def equal_loudness(self, batch: Batch) -> Controls:
        """The rule to beat: every track equally loud, in the centre, untreated."""
        console, tracks = self.model.console, (batch.mono, batch.stereo)
        return console.trimmed(console.default(*batch.mask.shape), track_loudness(tracks, console.sample_rate))

    def scores(self, batch: Batch, values: DeskValues) -> dict[str, Tensor]:
        """How far mixes are from the batch's; the balance only where the examples say how loud each track is in it."""
        console, tracks = self.model.console, (batch.mono, batch.stereo)
        mix = at_loudness(console.mix(tracks, values, batch.mask), console.sample_rate)
        scores = {"stft_distance": self.distance(mix, batch.mix)}
        if torch.isfinite(batch.loudness_lufs[batch.mask > 0]).all():
            loudness = placed_loudness(console, tracks, values)
            scores["balance_error_db"] = balance_error_db(loudness, batch.loudness_lufs, batch.mask).mean()
        return scores

    def configure_optimizers(self) -> Any:
        """AdamW with a linear warm-up and a cosine decay over ``total_steps``."""
        return optimizers(self.model, self.learning_rate, self.warmup_steps, self.total_steps)

    @property
    def specs(self) -> Mapping[str, ParamSpec]:
        """The parameters by part: weights for others would be useless."""
        return self.model.console.specs
