"""One recording on its way to another style: what is heard of it, believed and done."""

import dataclasses
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from diffmix.console import Console
from diffmix.data.multitrack import Multitrack
from diffmix.errors import SettingsError
from diffmix.estimators.style_features import style_features
from diffmix.estimators.translator import Posterior, Translator
from diffmix.estimators.treatment import ASPECTS as PARTS
from diffmix.estimators.treatment import EQ_HZ, PEAK_DB, Treatment
from diffmix.mix import Mix, finished, render
from diffmix.params import Param, split_name, within
from diffmix.playback import Progress
from diffmix.settings import Settings, shortest
from diffmix.transferring.decision import decide, expectations, gate_limit
from diffmix.transferring.guard import guarded
from diffmix.transferring.kinship import Kinship, kinship
from diffmix.transferring.knobs import ASPECTS, CHAIN, Fitted, idle, inside, knobs_of, neutral, treatment_of
from diffmix.transferring.listening import Recording
from diffmix.transferring.matching import matched
from diffmix.transferring.result import Belief, Transfer
from diffmix.transferring.style import Style, references_of
from diffmix.wishes import Wishes, of_master

MODES = ("auto", "same-source", "different-source")
PIECES = {"fast": 1, "balanced": 3, "best": 8}
"""How many pieces of 5.46 s are heard of each recording, by quality."""

REFUSED = {
    "different-source": "The style could not be measured surely enough",
    "same-source": "It measures as the reference does, or effects do not explain the difference",
    "style": "The style holds no treatment",
    "text": "No knobs were found that bring it nearer to the words",
}
"""Why nothing was done, by route."""

TOO_LITTLE = "What is to be done, of what locks and bounds allow, is too little to be heard"
AS_IT_CAME = "the recording is as it came"
ONLY_LOUDNESS = "only its loudness is changed"
BY_HAND = "only what was set by hand is done"

Amount = float | Mapping[str, float]


class Asked(NamedTuple):
    """What a person wants, checked."""

    amounts: dict[str, float]
    named: frozenset[str]
    mode: str
    gate: str | float
    quality: str
    ceiling_db: float
    candidates: int
    seed: int


def asked_for(
    amount: Amount,
    only: str | Sequence[str],
    mode: str,
    gate: str | float,
    quality: str,
    ceiling_db: float,
    candidates: int,
    seed: int,
) -> Asked:
    """What arguments of `transfer` ask for. Raises SettingsError."""
    words = [word.strip().casefold() for word in _texts(only)]
    given = dict(amount) if isinstance(amount, Mapping) else dict.fromkeys(ASPECTS, amount)
    for name in filter(None, [*words, *given]):
        if name not in ASPECTS:
            raise SettingsError(f"there is no aspect {name!r}; there are {', '.join(ASPECTS)}")
    for name, value in given.items():
        within(f"the amount of {name}", value, 0, 1)
    chosen = {name for name in words if name} or set(ASPECTS)
    amounts = {name: float(given.get(name, 1.0)) if name in chosen else 0.0 for name in ASPECTS}
    if mode not in list(MODES):
        raise SettingsError(f"mode is one of {', '.join(MODES)}, got {mode!r}")
    if quality not in list(PIECES):
        raise SettingsError(f"quality is one of {', '.join(PIECES)}, got {quality!r}")
    within("the ceiling", ceiling_db, -20, 0, "dBTP")
    within("the number of candidates", candidates, 1, 20, whole=True)
    within("the seed", seed, 0, 2**63 - 1, whole=True)
    gate_limit(gate)
    named = frozenset(given if isinstance(amount, Mapping) else ()) | frozenset(filter(None, words))
    return Asked(amounts, named, mode, gate, quality, ceiling_db, int(candidates), int(seed))


def _texts(only: str | Sequence[str]) -> Sequence[str]:
    texts = only.split(",") if isinstance(only, str) else list(only) if isinstance(only, Iterable) else [only]
    if odd := [text for text in texts if not isinstance(text, str)]:
        raise SettingsError(f"only names aspects, as 'tone,loudness'; got {odd[0]!r}")
    return texts


class Job:
    """One recording on its way."""

    def __init__(self, heard: Recording, asked: Asked, lock: Any, bound: Any) -> None:
        self.heard, self.asked = heard, asked
        self.rate, self.pieces = heard.sample_rate, heard.pieces(PIECES[asked.quality])
        self.song = Multitrack(heard.name, self.rate, (heard.track,))
        whole = _console(self.rate, CHAIN)
        wishes = Wishes.read(whole, self.song, of_master(lock), of_master(bound))
        self.neutral = neutral(whole.master_spec.params)
        bare = {name.removeprefix("master.") for name, text in wishes.said.items() if "=" not in text}
        self.limits = {**wishes.limits, **{f"master.{name}": (self.neutral[name],) * 2 for name in bare}}
        self.held = {name.removeprefix("master."): limit for name, limit in self.limits.items()}
        self.without = idle(self.held, self.neutral)
        self.amounts = {part: 0.0 if self.without >= {*ASPECTS[part]} else asked.amounts[part] for part in PARTS}
        self.params: dict[str, Param] = dict(whole.narrowed_specs(["mix"], self.limits)[1]["master"].params)
        self.notes = [f"The input {fault}." for fault in heard.faults]

    @property
    def loudest(self) -> Tensor:
        """The loudest of its pieces, (C, n)."""
        return self.pieces[int(self.pieces.square().mean((1, 2)).argmax())]

    # -- what to do ------------------------------------------------------------------------------------------------

    def believed(
        self,
        style: Style | None,
        others: Sequence[Recording | Style] | None,
        weights: Sequence[float] | None,
        say: Progress,
    ) -> tuple[Style, list[Belief]]:
        """What was heard, and what is to be done: one belief, or several for candidates."""
        asked, kin, alone = self.asked, Kinship(0.0, 0.0), None
        if style is None:
            assert others is not None
            style = Style(references_of(others, weights, PIECES[asked.quality]))
            alone = others[0] if len(others) == 1 and isinstance(others[0], Recording) else None
            for other in others:
                if isinstance(other, Recording):
                    self.notes += [f"The reference{_named(other.name)} {what}." for what in other.limits]
            if alone and asked.mode != "different-source" and not alone.excerpted:
                kin = kinship(self.heard.audio, self.rate, alone.audio, alone.sample_rate)
        elif asked.mode == "same-source":
            raise SettingsError("the mode same-source hears the reference itself: give a recording instead of a style")
        allowed = self._allowed(style)
        say("judging", 0.2)
        band_hz = min(reference.band_hz for reference in style.references)
        mine = style_features(self.pieces, self.rate)
        counts = torch.tensor([r.weight / len(r.features) for r in style.references for _ in r.features])
        theirs = torch.cat([r.features for r in style.references])
        posterior = Translator.load().predict(mine, theirs, counts)
        if kin.same or asked.mode == "same-source":
            if alone is None:
                raise SettingsError("the mode same-source takes one reference; several are heard as different sources")
            found = matched(self.heard, alone, kin, posterior.median, allowed, asked.quality, asked.gate, say)
            beliefs = [self._belief("same-source", kin, posterior, *found)]
        else:
            decision = decide(self.loudest, self.rate, posterior, gate=asked.gate, aspects=allowed, seed=asked.seed)
            beliefs = [self._belief("different-source", kin, posterior, *decision)]
        beliefs += self._others(beliefs[0], posterior, allowed)
        kept = [self._kept(belief, band_hz) for belief in beliefs]
        return style.with_treatment(kept[0].treatment, posterior.domain), kept

    def again(self, style: Style) -> Belief:
        """What a saved style did before, in the amounts that are asked for."""
        assert style.treatment is not None
        allowed = self._allowed(style)
        treatment = style.treatment.scaled(**allowed)
        acted = bool(treatment.to_vector().abs().max() > 0)
        belief = Belief("style", 0.0, style.domain, treatment, allowed, {}, 1.0, 0.0, acted)
        return self._kept(belief, math.inf)

    def _allowed(self, style: Style) -> dict[str, float]:
        """The most that may be done of each part of a treatment; what cannot be told is left alone, with a note."""
        allowed = dict(self.amounts)
        for reference in style.references:
            faults = [text for text, true in (("is clipped", reference.clipped), ("is mono", reference.mono)) if true]
            if reference.band_hz < EQ_HZ[-1]:
                faults.append(f"has nothing above {reference.band_hz / 1000:.1f} kHz, where tone is left as below it")
            self.notes += [f"The reference{_named(reference.name)} {fault}." for fault in faults]
        if self.heard.mono or (style.references and all(reference.mono for reference in style.references)):
            allowed["width"] = 0.0
        if any(reference.clipped for reference in style.references) and "drive" not in self.asked.named:
            allowed["drive"] = 0.0
        return allowed

    def _belief(
        self,
        route: str,
        kin: Kinship,
        posterior: Posterior,
        amounts: Mapping[str, float],
        treatment: Treatment,
        expected: float,
        harm: float,
        acted: bool,
    ) -> Belief:
        sure = _confidence(posterior, self.asked.seed)
        if acted and not (amounts["tone"] or amounts["dynamics"]):  # of which alone something is expected
            expected = 1.0
        return Belief(route, kin.likeness, posterior.domain, treatment, dict(amounts), sure, expected, harm, acted)

    def _others(self, first: Belief, posterior: Posterior, allowed: Mapping[str, float]) -> list[Belief]:
        """Treatments far from the first and from each other, of those that what was heard allows."""
        count = self.asked.candidates - 1
        if not count:
            return []
        drawn = posterior.samples(16 * count, self.asked.seed + 1).scaled(**(first.amounts if first.acted else allowed))
        points = drawn.to_vector() / posterior.scale.to_vector().clamp_min(1e-3)
        distance = (points - first.treatment.to_vector() / posterior.scale.to_vector().clamp_min(1e-3)).norm(dim=1)
        distance = torch.where(distance > distance.quantile(0.75), 0.0, distance)  # the wildest are left out
        chosen = []
        for _ in range(count):
            chosen.append(int(distance.argmax()))
            distance = torch.minimum(distance, (points - points[chosen[-1]]).norm(dim=1))
        others = Treatment(*(part[chosen] for part in drawn))
        found = expectations(self.loudest, self.rate, others, posterior, self.asked.seed)
        return [
            first._replace(treatment=Treatment(*one), expected=far, harm=posterior.harm.at(far), acted=True)
            for *one, far in zip(*others, found, strict=True)
        ]

    def _kept(self, belief: Belief, band_hz: float) -> Belief:
        """A belief whose treatment does no damage."""
        if not belief.acted:
            return belief
        treatment, cut_db = guarded(belief.treatment, self.pieces, self.rate, band_hz)
        if cut_db > 1:
            self.notes.append(f"Boosts of what is not there, or is noise, were cut by up to {cut_db:.0f} dB.")
        return belief._replace(treatment=treatment)

    # -- doing it --------------------------------------------------------------------------------------------------

    def made(self, belief: Belief, style: Style, say: Progress) -> Transfer:
        """The recording under the knobs that a belief asks for."""
        fitted, slight = Fitted({}), False
        if belief.acted:
            say("setting knobs", 0.0)
            fitted = knobs_of(belief.treatment, self.rate, self.params, without=self.without)
            slight = not fitted.knobs
            belief = belief._replace(acted=not slight)
        knobs = fitted.knobs | self._by_hand(fitted.knobs)
        wanted, target = self.heard.loudness_lufs if knobs else None, self._target_lufs(style)
        if target is not None and (knobs or "loudness" in self.asked.named):
            wanted = target
            belief = belief._replace(amounts={**belief.amounts, "loudness": self.asked.amounts["loudness"]})
        notes = list(dict.fromkeys(self.notes))
        if wanted is None:
            mix = self._untouched(say)
            notes += self._refusal(belief, AS_IT_CAME, slight)
        else:
            notes += self._refusal(belief, BY_HAND if knobs else ONLY_LOUDNESS, slight)
            notes += self._unjudged(belief)
            mix = self._finished(knobs, fitted.offset_db, wanted, say)
        if belief.route != "style":
            style = dataclasses.replace(style, treatment=belief.treatment)
        return Transfer(
            **mix.parts | {"notes": (*notes, *mix.notes), "style": style},
            belief=belief,
            loudness_lufs=wanted,
            ceiling_db=self.asked.ceiling_db,
        )

    def _by_hand(self, others: Collection[str]) -> dict[str, dict[str, float]]:
        """The stages that a person locked a knob of away from where it does least, but for ``others``."""
        moved = {name for name, (low, high) in self.held.items() if low == high != self.neutral[name]}
        found = {}
        for stage in {split_name(name)[0] for name in moved} - {"gain", "limiter", *others}:
            plain = {n.removeprefix(f"{stage}."): v for n, v in self.neutral.items() if n.startswith(f"{stage}.")}
            found[stage] = inside(plain, stage, self.params)
        return found

    def _target_lufs(self, style: Style) -> float | None:
        """The loudness on the way to the references', None if it is to stay."""
        share, own = self.asked.amounts["loudness"] if style.references else 0.0, self.heard.loudness_lufs
        return min(max(own + share * (style.loudness_lufs - own), -60.0), -5.0) if share else None

    def played(self, chain: Sequence[Any], search: str, belief: Belief, style: Style, say: Progress) -> Any:
        """The recording through plugins of any make, near to what a belief asks for."""
        from diffmix.transferring.through import played

        target = self._target_lufs(style)
        wanted = self.heard.loudness_lufs if target is None else target
        plain = target if "loudness" in self.asked.named else None
        piece, source = self.loudest.expand(2, -1), self.song.tracks[0].audio
        where = self.rate, belief.treatment, wanted, plain, self.asked.ceiling_db
        made = played(chain, source, piece, *where, self.asked.quality, search, self.asked.seed, say)
        notes = [*dict.fromkeys(self.notes)]
        if not made.settings:
            kept = AS_IT_CAME if plain is None else ONLY_LOUDNESS
            searched = "No setting of the plugins that was tried comes nearer to what was wanted"
            nothing = "Neither tone nor dynamics are to be changed, which plugins are searched for"
            why = searched if any(self.amounts[part] for part in ("tone", "dynamics")) else nothing
            notes += self._refusal(belief, kept) or [f"{why}: {kept}."]
        return dataclasses.replace(made, notes=(*notes, *made.notes), files=self.song.tracks[0].files)

    def by_hand(
        self,
        knobs: Mapping[str, Mapping[str, float]],
        words: str,
        distances: tuple[float, float],
        peak_db: float,
        say: Progress,
    ) -> Transfer:
        """The recording under knobs that were read for pieces peaking at ``peak_db``, as loud as it was."""
        used = {stage: inside(values, stage, self.params) for stage, values in knobs.items()}
        before, after = distances
        ratio = after / max(before, 1e-9)
        loud, over_db = self.heard.loudness_lufs, peak_db - PEAK_DB
        treatment = treatment_of(used, self.rate, over_db)
        belief = Belief("text", 0.0, "", treatment, {}, {}, ratio, 0.0, bool(used))
        mix = self._finished(used, over_db, loud, say) if used else self._untouched(say)
        notes = (*self.notes, *self._refusal(belief, AS_IT_CAME), *mix.notes)
        parts = mix.parts | {"notes": notes, "style": Style((), treatment, words=words)}
        return Transfer(**parts, belief=belief, ceiling_db=self.asked.ceiling_db)

    def _unjudged(self, belief: Belief) -> list[str]:
        """That locks and bounds of what was judged were no part of it, if there are any."""
        held = {split_name(name)[0] for name in self.held}
        judged = [part for part in PARTS if belief.amounts.get(part) and held & {*ASPECTS[part]}]
        says = belief.acted and belief.route in ("different-source", "same-source") and bool(judged)
        return [f"What is expected was judged without the locks and bounds of {', '.join(judged)}."] if says else []

    def _refusal(self, belief: Belief, kept: str, slight: bool = False) -> list[str]:
        """Why nothing was done, if it was asked for, and what came out instead."""
        if belief.acted or not any(self.amounts.values()):
            return []
        return [f"{TOO_LITTLE}: {kept}." if slight else f"{REFUSED[belief.route]}: {kept}.{_advice(belief)}"]

    def _untouched(self, say: Progress) -> Mix:
        console = _console(self.rate, {})
        settings = _settings(console, 0.0, {})
        say("done", 1.0)
        return Mix(render(console, self.song, settings).numpy(), self.rate, settings, console, self.song)

    def _finished(
        self, knobs: Mapping[str, Mapping[str, float]], offset_db: float, wanted: float, say: Progress
    ) -> Mix:
        """Trim, chain, loudness and true peak."""
        stages = {stage: CHAIN[stage] for stage in CHAIN if stage in knobs or stage in ("gain", "limiter")}
        console = _console(self.rate, stages)
        trim_db = 0.0
        if {"compressor", "saturation"} & knobs.keys():  # their levels are read for a peak of -12 dBFS
            peaks = self.pieces.mean(1).abs().amax(-1).clamp_min(1e-6)
            trim_db = PEAK_DB - float(20 * peaks.log10().median()) + offset_db
        settings = _settings(console, shortest(round(min(max(trim_db, -40.0), 60.0), 2)), knobs)
        limits = {name: limit for name, limit in self.limits.items() if name.split(".")[1] in stages}
        weights = {"rendering": (0.0, 0.6), "setting the level": (0.6, 0.4)}

        def later(what: str, done: float) -> None:
            start, share = weights.get(what, (0.0, 1.0))
            say(what, start + share * done)

        return finished(console, self.song, settings, wanted, self.asked.ceiling_db, limits=limits, progress=later)


def _named(name: str) -> str:
    """A reference's own name, if it has one, to go on a sentence with."""
    return "" if name == "reference" else f" {name}"


def _advice(belief: Belief) -> str:
    """What a person could do who wants it done all the same."""
    if belief.route != "different-source" or belief.expected > 0.99:
        return ""
    return (
        f" At best it would come {100 * (1 - belief.expected):.0f} % nearer to the style, and be further away in "
        f"{100 * belief.harm:.0f} % of cases; a bold gate does it all the same."
    )


def _console(rate: int, stages: Mapping[str, str]) -> Console:
    return Console(rate, strip={"trim": "Gain"}, sends={}, buses={}, master=dict(stages))


def _settings(console: Console, trim_db: float, knobs: Mapping[str, Mapping[str, float]]) -> Settings:
    settings = console.check(
        Settings(tracks={"mix": {"trim": {"gain_db": trim_db}}}, master={k: dict(v) for k, v in knobs.items()})
    )
    del settings["tracks"]["mix"]["pan"]
    return settings


def _confidence(posterior: Posterior, seed: int) -> dict[str, float]:
    """By part of a treatment, how many of what it could have been go the way of the median, 0.5 to 1."""
    drawn, median = posterior.samples(200, seed), posterior.median
    parts = {
        "tone": [t.eq_db - t.eq_db.mean(-1, keepdim=True) for t in (median, drawn)],
        "dynamics": [median.reduction_db, drawn.reduction_db],
    }
    for k, name in enumerate(("width", "drive", "space")):
        parts[name] = [t.extras[..., k : k + 1] for t in (median, drawn)]
    found = {}
    for name, (middle, others) in parts.items():
        half = 0.5 * middle.square().sum()
        agree = ((others * middle).sum(-1) > half).float().mean()
        found[name] = max(0.5, float(agree)) if float(half) > 1e-6 else 0.5
    return found


def job_of(input: Any, sample_rate: int | None, *, amount: Amount, quality: str, ceiling_db: float, seed: int) -> Job:
    """A recording of which another way decides what to do. Raises AudioError and SettingsError."""
    asked = asked_for(amount, (), "auto", "default", quality, ceiling_db, 1, seed)
    return Job(Recording.of(input, sample_rate, "the input"), asked, (), ())
