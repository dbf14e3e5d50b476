"""Gradient descent on the knobs of a mix, from where a model put them and with that as the prior.

The prior is Gaussian in the logits of the normalised knobs: 0.5 * mean((z - z0)^2 / SPREAD^2), so that a knob near the
end of its range moves less. What is descended is heard in the fullest seconds of the song, in front of the master's
gain. After the maximum a posteriori fits of C.-Y. Yu et al., "DiffVox" (2025), here for a whole console.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor

from diffmix.console import Console, Controls, Tracks
from diffmix.data.fullness import loudest, moments
from diffmix.data.knowledge import THIRD_OCTAVES_HZ
from diffmix.data.knowledge.classes import MIX_DB
from diffmix.data.knowledge.spectrum import band_powers
from diffmix.data.knowledge.strips import like_a_mix
from diffmix.data.multitrack import Multitrack
from diffmix.descent import Adam
from diffmix.graph import Renderer
from diffmix.kernels.loudness import HEARD_LUFS, integrated_loudness
from diffmix.kernels.units import db_to_gain
from diffmix.losses.audio_features import AudioFeatureLoss
from diffmix.mix import ordered
from diffmix.params import Param, split_name
from diffmix.playback import Player, cut
from diffmix.settings import Settings, shortest
from diffmix.wishes import Wishes

WINDOWS, WINDOW_S = 3, 2.5
"""How many moments of the song are heard, and how long each is."""

SPREAD = 0.5
"""Standard deviation of the prior, in logits."""

PATIENCE = 25
"""Steps without a gain after which there is no sense in more."""

_FIXED = ("trim", "gain", "limiter")  # set by measuring
_PLACES = (("pan", "pan"), ("image", "balance"))
_VOCAL_HZ = (1000.0, 5000.0)


@dataclass(frozen=True)
class Refined:
    """Settings, how far they were from what was wanted before and after, and what moved, in words."""

    settings: Settings
    before: float
    after: float
    notes: tuple[str, ...]


class _Wanted:
    """How far a mix is from what is wanted: a reference's features, or what mixes in general are like."""

    def __init__(self, sample_rate: int, reference: Tensor | None, tracks: int) -> None:
        self.rate = sample_rate
        self.share = 1.0 if reference is not None else like_a_mix(tracks)
        self.features = AudioFeatureLoss(sample_rate)
        self.reference = None
        self.floor_db: float | None = None  # of the vocals
        hz = torch.tensor(THIRD_OCTAVES_HZ)
        self.heard = (hz >= 50) & (hz <= min(12500.0, 0.4 * sample_rate))
        self.vocal = (hz >= _VOCAL_HZ[0]) & (hz <= _VOCAL_HZ[1])
        self.spectrum = self._curve(torch.as_tensor(MIX_DB, dtype=torch.float32))
        if reference is not None:
            start, stop = loudest(reference, 30.0, sample_rate)
            self.reference = _level(reference[None, :, start:stop], sample_rate)
            self.spectrum = self._curve(_db(band_powers(self.reference[0], sample_rate).mean(0)))

    def _curve(self, spectrum_db: Tensor) -> Tensor:
        heard = spectrum_db[..., self.heard]
        return heard - heard.mean(-1, keepdim=True)

    def __call__(self, mix: Tensor, vocals: Tensor | None = None, others: Tensor | None = None) -> Tensor:
        """A number, about 1 for a mix that is far away; (B, 2, T).

        The sum of the lead ``vocals`` and that of all ``others`` are those in front of groups and master, whose
        equalisers would change one against the other if they were on one side only.
        """
        mix = torch.cat(list(mix), -1)[None]  # the moments one after the other
        powers = band_powers(mix[0], self.rate).mean(0)
        off = self.share * (self._curve(_db(powers)) - self.spectrum).square().mean() / 36
        if vocals is not None and others is not None:
            off = off + self._masked(vocals, others)
        middle, side = mix[:, 0] + mix[:, 1], mix[:, 0] - mix[:, 1]
        left, right = mix.square().mean(-1)[0]
        lean = ((right - left) / (right + left).clamp_min(1e-12)).square()
        if self.reference is not None:
            return off + self.features(_level(mix, self.rate), self.reference)
        width_db = _db(side.square().mean()) - _db(middle.square().mean())
        wide = ((width_db + 6).clamp_min(0) + (-14 - width_db).clamp_min(0)).square() / 36
        return off + self.share * wide + 4 * lean

    def _masked(self, vocals: Tensor, others: Tensor) -> Tensor:
        """How far the vocals are under what they should be over all others, where words are understood.

        That is as loud, or with a reference, which says nothing of the vocals themselves, as they were in the beginning
        if that is less.
        """
        vocal, other = (
            band_powers(torch.cat(list(x), -1), self.rate).mean(0)[self.vocal].sum() for x in (vocals, others)
        )
        ratio_db = _db(vocal) - _db(other)
        if self.floor_db is None:
            self.floor_db = min(float(ratio_db.detach()), 0.0) if self.reference is not None else 0.0
        return 0.5 * (self.floor_db - ratio_db).clamp_min(0).square() / 36


def _db(power: Tensor) -> Tensor:
    return 10 * torch.log10(power.clamp_min(1e-12))


def _level(x: Tensor, rate: float) -> Tensor:
    """x (1, 2, T) at -20 LUFS; the gain is a constant for the gradient."""
    return x * db_to_gain(-20 - integrated_loudness(x.detach(), rate))[:, None, None]


def _heard(multitrack: Multitrack) -> Tracks:
    """The fullest moments, each an item of the batch."""
    size = min(multitrack.length, round(WINDOW_S * multitrack.sample_rate))
    starts = moments(multitrack, size, WINDOWS)
    mono, stereo = zip(*(cut(multitrack, start, start + size) for start in starts), strict=True)
    return torch.cat(mono), torch.cat(stereo)


def _carry_along(
    refined: Settings, start: Settings, knobs: Mapping[str, Param], pieces: Tracks, multitrack: Multitrack
) -> None:
    """Turn the faders of tracks that rest in the pieces, which nothing moved, by the median of what the others' moved.

    ``knobs`` are the faders in the console's order. A track rests where it is 20 LU softer than in the whole song.
    """
    rate = multitrack.sample_rate
    here = torch.cat([integrated_loudness(torch.cat(list(part), -1), rate) for part in pieces if part.shape[1]])
    resting, turned = [], []
    for (name, knob), lufs in zip(knobs.items(), here, strict=True):
        before, fader = (s["tracks"][name]["fader"]["gain_db"] for s in (start, refined))
        if float(lufs) < multitrack.loudness_lufs[name] - 20:
            resting.append(name)
        elif multitrack.loudness_lufs[name] > HEARD_LUFS and knob.low < knob.high:
            turned.append(fader - before)
    for name in resting if turned else ():
        fader = refined["tracks"][name]["fader"]
        fader["gain_db"] = shortest(knobs[name].nearest(fader["gain_db"] + median(turned)))


def refine(
    console: Console,
    multitrack: Multitrack,
    settings: Settings,
    wishes: Wishes,
    steps: int,
    reference: Tensor | None = None,
    progress: Callable[[str, float], None] | None = None,
    learning_rate: float = 0.05,
) -> Refined:
    """Descend from ``settings`` in at most ``steps`` steps; the best of what was tried is returned.

    Towards ``reference`` (2, T) if there is one: its `AudioFeatureLoss` and spectrum, with a lead vocal that is masked
    no more than in the beginning. Else towards the spectrum of finished mixes, a lead vocal that is not masked where
    words are understood, and a usual width: two tracks half as much, and one not at all, for it is no full mix. Knobs
    locked, bounded or not named in ``only`` keep to that; knobs at the end of their range, such as a closed send, stay
    there, and in the centre what stands in the centre.
    """
    player = Player(console, multitrack)
    names, rate = player.names, multitrack.sample_rate
    specs = console.limited(names, dict(wishes.limits))
    start = ordered(settings, names)
    first = console.encode(start, specs)
    pieces = _heard(multitrack)
    sources = player.wired.sources(pieces)
    roles = {track.name: track.role for track in multitrack.tracks}
    leads = [end for name, end in zip(names, player.wired.ends, strict=True) if roles[name] == "lead_vocal"]
    rest = [end for end in (*player.wired.ends, *player.wired.returns.values()) if leads and end not in leads]
    live = player.wired.renderer.live
    renderer = Renderer(player.graph, console.sample_rate, processors=live, targets=[player.before_gain, *leads, *rest])
    heard = [multitrack.loudness_lufs[name] > HEARD_LUFS for name in names]
    free = Controls(*_free(console, wishes, start, first, heard))
    logits = [torch.logit(u.clamp(1e-4, 1 - 1e-4)) for u in first]
    moved = [torch.zeros_like(u).requires_grad_() for u in first]
    adam = Adam(moved, learning_rate)
    wanted = _Wanted(rate, reference, sum(heard))

    def controls() -> Controls:
        return Controls(
            *(torch.where(f, torch.sigmoid(z + d), u) for f, z, d, u in zip(free, logits, moved, first, strict=True))
        )

    count = max(1, sum(int(f.sum()) for f in free))
    best, best_at, begun = float("inf"), 0, 0.0
    kept = [d.detach().clone() for d in moved]
    for step in range(steps + 1):
        found = renderer.signals(sources, player.wired.knobs(console.values(controls(), specs), None))
        vocals, others = (torch.stack([found[e] for e in ends]).sum(0) if ends else None for ends in (leads, rest))
        prior = sum((d.square() * f).sum() for d, f in zip(moved, free, strict=True)) / (2 * count * SPREAD**2)
        loss = wanted(found[player.before_gain], vocals, others) + prior
        value = float(loss.detach())
        begun = value if step == 0 else begun
        if step == 0 or value < min(best * (1 - 1e-4), best - 1e-6):
            best, best_at, kept = value, step, [d.detach().clone() for d in moved]
        if progress:
            progress("refining", step / max(1, steps))
        if step == steps or step - best_at >= PATIENCE or not torch.isfinite(loss):
            break
        torch.as_tensor(loss).backward()
        adam.step()
    with torch.no_grad():
        for d, value_of in zip(moved, kept, strict=True):
            d.copy_(value_of)
        end = console.settings(controls(), names, player.channels, specs)
    refined, changes = _taken(console, start, end, moved, free)
    strips = console.narrowed_specs(names, wishes.limits)[0]
    faders = {name: spec.params["fader.gain_db"] for name, spec in strips.items()}
    _carry_along(refined, console.check(start), faders, pieces, multitrack)
    text = f"Refined in {best_at} steps: {begun:.3f} to {best:.3f} away from what is wanted"
    text += f"; moved most: {', '.join(changes)}." if changes else "; nothing had to move."
    return Refined(ordered(refined, [t.name for t in multitrack.tracks]), begun, best, (text,))


def _free(console: Console, wishes: Wishes, start: Settings, first: Controls, heard: Sequence[bool]) -> list[Tensor]:
    """Which controls may move: none of a track that is not ``heard``."""

    def allowed(knobs: Sequence[str], of_bus: bool = False) -> Tensor:
        stages = [split_name(name) for name in knobs]
        return torch.tensor([s not in _FIXED and wishes.frees(s, knob, of_bus) for s, knob in stages], dtype=torch.bool)

    knobs = console.track_spec.names
    tracks = [  # what stands in the centre holds the mix, and stays
        [sounds and ((s, knob) not in _PLACES or stages[s][knob] != 0) for s, knob in map(split_name, knobs)]
        for stages, sounds in zip(console.check(start)["tracks"].values(), heard, strict=True)
    ]
    masks = [
        allowed(knobs) & torch.tensor(tracks)[None],
        torch.ones(1, console.bus_spec.size, dtype=torch.bool),
        allowed(console.master_spec.names)[None],
    ]
    return [mask & (u > 0.003) & (u < 0.997) for mask, u in zip(masks, first, strict=True)]


def _taken(
    console: Console, start: Settings, end: Settings, moved: Sequence[Tensor], free: Controls
) -> tuple[Settings, list[str]]:
    """The start with the knobs that moved, and the eight that moved most, in words."""
    knobs = [("tracks", track, knob) for track in start["tracks"] for knob in console.track_spec.names]
    knobs += [("buses", *split_name(name)) for name in console.bus_spec.names]
    knobs += [("master", "master", knob) for knob in console.master_spec.names]
    distances, masks = ([number for part in parts for number in part.flatten().tolist()] for parts in (moved, free))
    full = console.check(start)
    changes: list[tuple[float, str]] = []
    for (part, strip, knob), distance, is_free in zip(knobs, distances, masks, strict=True):
        here, there = (s[part] if part == "master" else s[part][strip] for s in (full, end))
        stage, name = split_name(knob)
        if not is_free or abs(distance) < 1e-3 or stage not in there:
            continue
        before, after = here[stage][name], there[stage][name]
        here[stage][name] = shortest(after)
        changes.append((abs(distance), f"{strip}.{knob} {_short(before)} to {_short(after)}"))
    for name, stages in full["tracks"].items():
        for place in {"pan", "image"} - start["tracks"][name].keys():
            del stages[place]
    return full, [text for _, text in sorted(changes, reverse=True)[:8]]


def _short(value: float) -> str:
    """A knob's value in a sentence."""
    return f"{float(f'{value:.3g}'):g}"
