"""What features of a recording tell about its style: other content in the same style is to be found among others.

Zero-shot classification and retrieval as in C. J. Steinmetz et al., "ST-ITO" (ISMIR 2024), with content crossed: the
query, the right answer and the wrong ones are all of different songs, and of one fold, so that what learned can be one
that has not heard them.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import Cell, table
from benchmarks.transfer_content import RATE, Recording, folds, piece
from benchmarks.transfer_search import statistics
from benchmarks.transfer_styles import FAMILIES, Samples, at_peak, family, random_style
from benchmarks.transfer_systems import mfcc
from diffmix.estimators.effect_embedding import EffectEncoder, heard, similarity
from diffmix.losses.audio_features import audio_features
from diffmix.metrics import erb_levels_db, spectral_centroid_hz
from diffmix.progress import progress

Feature = Callable[[Tensor], Tensor]
Render = Callable[[Samples], Samples]
"""A style: what it makes of a recording (C, T)."""

DISTRACTORS = (1, 4, 9, 24)
LENGTHS = (1, 2, 3, 5)
"""Effects in chains of Pedalboard's plugins, which are looked for among nine others."""

OURS = "effect embedding (diffmix)"
PLUGINS: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "HighpassFilter": {"cutoff_frequency_hz": (60, 1000)},
    "LowpassFilter": {"cutoff_frequency_hz": (800, 9000)},
    "LowShelfFilter": {"cutoff_frequency_hz": (80, 500), "gain_db": (-18, 18)},
    "PeakFilter": {"cutoff_frequency_hz": (150, 6000), "gain_db": (-18, 18), "q": (0.4, 2)},
    "HighShelfFilter": {"cutoff_frequency_hz": (2500, 9500), "gain_db": (-18, 18)},
    "Compressor": {"threshold_db": (-45, -15), "ratio": (2, 10), "attack_ms": (0.5, 80), "release_ms": (10, 500)},
    "Distortion": {"drive_db": (6, 36)},
    "Bitcrush": {"bit_depth": (3, 9)},
    "Chorus": {"rate_hz": (0.1, 5), "depth": (0.1, 1), "mix": (0.2, 0.8)},
    "Phaser": {"rate_hz": (0.1, 5), "depth": (0.1, 1), "mix": (0.2, 0.8)},
    "Delay": {"delay_seconds": (0.02, 0.6), "feedback": (0, 0.7), "mix": (0.2, 0.8)},
    "Reverb": {"room_size": (0.1, 1), "damping": (0, 1), "wet_level": (0.1, 0.6), "dry_level": (0.3, 0.8)},
}
"""Plugins of Pedalboard itself and where their knobs are turned to, uniformly."""


def features() -> dict[str, Feature]:
    """Every feature by name that has learned nothing: audio (B, 1, T) to (B, N)."""
    return {
        "MFCC, mean, spread, maximum": lambda x: mfcc(x, RATE),
        "long-term spectrum": lambda x: erb_levels_db(x, RATE),
        "level, crest, centroid, Bark bands": _simple,
        "random projection of mel bands": _random,
        "88 statistics": lambda x: statistics(x, RATE),
        "style features (diffmix)": _numbers,
    }


def _simple(x: Tensor) -> Tensor:
    found = audio_features(x.expand(-1, 2, -1), RATE)
    centroid = spectral_centroid_hz(x, RATE)[:, None].clamp_min(1).log2()
    return torch.cat([found["rms"][:, :1].log(), found["crest_db"], found["bark"][:, 0], centroid], 1)


def _random(x: Tensor) -> Tensor:
    spectrum = torch.stft(x.mean(1), 2048, 1024, window=torch.hann_window(2048), return_complex=True).abs()
    matrix = torch.randn(256, 1025, generator=torch.Generator().manual_seed(0)) / 32
    projected = torch.log1p((matrix @ spectrum).abs() * 100)
    return torch.cat([projected.mean(2), projected.std(2)], 1)


def _numbers(x: Tensor) -> Tensor:
    from diffmix.estimators.style_features import style_features

    return style_features(x, RATE)


def tables(
    found: Sequence[Recording], trials: int, seed: int, embeddings: Mapping[str, Path]
) -> list[dict[str, object]]:
    """Accuracy of every feature; ``embeddings`` are the encoders of effects by fold, none where none is given."""
    fold = folds(found)
    encoders = {side: EffectEncoder.load(path) for side, path in embeddings.items()}
    styles: dict[str, dict[str, list[float]]] = {}
    chains: dict[str, dict[str, list[float]]] = {}
    rounds, turns = max(2, trials // 3), max(2, trials // 5)
    with progress("T7", 2 * rounds + turns * len(LENGTHS)) as advance:
        for n in range(rounds):
            rng, side = np.random.default_rng([seed, 700, n]), "AB"[n % 2]
            music = [r for r in found if r.kind != "speech" and fold[r.song] == side]
            told = _told([_render(family(name, rng)) for name in FAMILIES], music, rng, encoders.get(side))
            for name, matrix in told.items():
                one = styles.setdefault(name, {})
                one.setdefault("families", []).extend((matrix.argmax(1) == torch.arange(5)).float().tolist())
            advance(2 * n + 1, "families")
            drawn = [_render(random_style(rng)) for _ in range(DISTRACTORS[-1] + 1)]
            told = _told(drawn, music, rng, encoders.get(side))
            for count in DISTRACTORS:
                picked = [_others(len(drawn), n, count, rng) for n in range(len(drawn))]
                for name, matrix in told.items():
                    styles[name].setdefault(str(count), []).extend(_found(matrix, picked))
            advance(2 * n + 2, "retrieval")
        for n in range(turns * len(LENGTHS)):
            rng, side, length = np.random.default_rng([seed, 710, n]), "AB"[n % 2], LENGTHS[n // 2 % len(LENGTHS)]
            music = [r for r in found if r.kind != "speech" and fold[r.song] == side]
            told = _told([plugins(length, rng) for _ in range(10)], music, rng, encoders.get(side))
            for name, matrix in told.items():
                rest = [[k for k in range(10) if k != n] for n in range(10)]
                chains.setdefault(name, {}).setdefault(str(length), []).extend(_found(matrix, rest))
            advance(2 * rounds + n + 1, "chains")
    chance = [*(f"{100 / (n + 1):.0f} %" for n in DISTRACTORS)]
    text = (
        "Music. First column: which of five published families a recording has, by one example of each. The others: "
        "the recording in the same random style among others in other styles. Similarity is the cosine of numbers "
        "standardised over the recordings that are compared; MFCC and the embedding as they are. "
        f"{5 * rounds} and {25 * rounds} queries."
    )
    more = (
        "As before, but the styles are chains of one to five of Pedalboard's plugins with random settings, in random "
        f"order, and the right one is among ten. {10 * turns} queries each."
    )
    columns = ["features", "families", *(f"among {n + 1}" for n in DISTRACTORS)]
    lengths = ["features", *(f"{n} effect{'s' * (n > 1)}" for n in LENGTHS)]
    return [
        table("T7, what features tell", columns, [*_rows(styles), ["chance", "20 %", *chance]], text),
        table("T7, chains of effects", lengths, [*_rows(chains), ["chance", *["10 %"] * len(LENGTHS)]], more),
    ]


def plugins(count: int, rng: np.random.Generator) -> Render:
    """A chain of Pedalboard's plugins, each once, with random settings."""
    import pedalboard

    board = pedalboard.Pedalboard()
    for name in rng.permutation(list(PLUGINS))[:count].tolist():
        board.append(getattr(pedalboard, name)(**{k: float(rng.uniform(*ends)) for k, ends in PLUGINS[name].items()}))

    def render(x: Samples) -> Samples:
        return at_peak(board(at_peak(x).astype(np.float32), RATE, reset=True))

    return render


def _render(style: object) -> Render:
    return partial(style.render, sample_rate=RATE)  # type: ignore[attr-defined]


def _told(
    styles: Sequence[Render], music: Sequence[Recording], rng: np.random.Generator, encoder: EffectEncoder | None
) -> Mapping[str, Tensor]:
    """Cosines (S, S) by feature of each style on a song with each on another: no song in both."""
    songs = rng.permutation(sorted({r.song for r in music})).tolist()
    return similar(*(_rendered(styles, music, songs[turn::2], rng) for turn in range(2)), encoder)


def _rendered(
    styles: Sequence[Render], music: Sequence[Recording], songs: Sequence[str], rng: np.random.Generator
) -> Tensor:
    """Each style on a recording (S, 1, T), songs in turn."""
    clips = []
    for n, style in enumerate(styles):
        of_song = [r for r in music if r.song == songs[n % len(songs)]]
        one = of_song[int(rng.integers(len(of_song)))]
        clips.append(torch.from_numpy(style(piece(one.audio, rng))).float())
    return torch.stack(clips)


def similar(query: Tensor, answers: Tensor, encoder: EffectEncoder | None = None) -> Mapping[str, Tensor]:
    """Cosines (Q, A) of recordings (Q, 1, T) with (A, 1, T) by feature, with an encoder by its embedding too."""
    found = {}
    for name, feature in features().items():
        a, b = feature(query), feature(answers)
        if not name.startswith("MFCC"):
            both = torch.cat([a, b])
            center, spread = both.mean(0), both.std(0).clamp_min(1e-6)
            a, b = (a - center) / spread, (b - center) / spread
        a, b = (torch.nn.functional.normalize(part, dim=1) for part in (a, b))
        found[name] = a @ b.T
    if encoder is not None:
        with torch.no_grad():
            found[OURS] = similarity(*(encoder(heard(x, RATE)) for x in (query, answers)))
    return found


def _others(size: int, right: int, count: int, rng: np.random.Generator) -> list[int]:
    """Random wrong ones."""
    return [k for k in rng.permutation(size).tolist() if k != right][:count]


def _found(told: Tensor, wrong: Sequence[Sequence[int]]) -> list[float]:
    """Whether each query's right answer is nearer than the wrong ones."""
    return [float(row[n] > row[others].max()) for n, (row, others) in enumerate(zip(told, wrong, strict=True))]


def _rows(right: Mapping[str, Mapping[str, Sequence[float]]]) -> list[list[Cell]]:
    return [[name, *(f"{100 * float(np.mean(v)):.0f} %" for v in of.values())] for name, of in right.items()]
