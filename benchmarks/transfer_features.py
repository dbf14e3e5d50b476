"""What features of a recording tell about its style: other content in the same style is to be found among others.

Zero-shot classification and retrieval as in C. J. Steinmetz et al., "ST-ITO" (ISMIR 2024), with content crossed: the
query, the right answer and the wrong ones are all of different songs.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import Cell, table
from benchmarks.transfer_content import RATE, Recording, piece
from benchmarks.transfer_search import statistics
from benchmarks.transfer_styles import FAMILIES, Style, family, random_style
from benchmarks.transfer_systems import mfcc
from diffmix.losses.audio_features import audio_features
from diffmix.metrics import erb_levels_db, spectral_centroid_hz
from diffmix.progress import progress

Feature = Callable[[Tensor], Tensor]
DISTRACTORS = (1, 4, 9, 24)


def features() -> dict[str, Feature]:
    """Every feature by name: audio (B, 1, T) to (B, N)."""
    return {
        "MFCC, mean, spread, maximum": lambda x: mfcc(x, RATE),
        "long-term spectrum": lambda x: erb_levels_db(x, RATE),
        "level, crest, centroid, Bark bands": _simple,
        "random projection of mel bands": _random,
        "88 statistics": lambda x: statistics(x, RATE),
        "style features (diffmix)": _ours,
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


def _ours(x: Tensor) -> Tensor:
    from diffmix.estimators.style_features import style_features

    return style_features(x, RATE)


def tables(found: Sequence[Recording], trials: int, seed: int) -> list[dict[str, object]]:
    """Accuracy of every feature."""
    music = [r for r in found if r.kind != "speech"]
    songs = sorted({r.song for r in music})
    rounds = max(2, trials // 6)
    right: dict[str, dict[str, list[float]]] = {name: {} for name in features()}
    with progress("T7", 2 * rounds) as advance:
        for n in range(rounds):
            rng = np.random.default_rng([seed, 700, n])
            styles = [family(name, rng) for name in FAMILIES]
            query, answers = (_rendered(styles, music, songs, rng, turn) for turn in range(2))
            for name, told in _similar(query, answers).items():
                right[name].setdefault("families", []).extend((told.argmax(1) == torch.arange(5)).float().tolist())
            advance(2 * n + 1, "families")
            styles = [random_style(rng) for _ in range(DISTRACTORS[-1] + 1)]
            query, answers = (_rendered(styles, music, songs, rng, turn) for turn in range(2))
            for name, told in _similar(query, answers).items():
                for count in DISTRACTORS:
                    right[name].setdefault(str(count), []).extend(_found(told, count, rng))
            advance(2 * n + 2, "retrieval")
    rows: list[list[Cell]] = []
    for name, all_of in right.items():
        rows.append([name, *(f"{100 * float(np.mean(values)):.0f} %" for values in all_of.values())])
    chance = ["chance", "20 %", *(f"{100 / (n + 1):.0f} %" for n in DISTRACTORS)]
    text = (
        "Music. First column: which of five published families a recording has, by one example of each. The others: "
        "the recording in the same random style among others in other styles. Similarity is the cosine of numbers "
        "standardised over the recordings that are compared; MFCC as they are."
    )
    columns = ["features", "families", *(f"among {n + 1}" for n in DISTRACTORS)]
    return [table("T7, what features tell", columns, [*rows, chance], text)]


def _rendered(
    styles: Sequence[Style], music: Sequence[Recording], songs: Sequence[str], rng: np.random.Generator, turn: int
) -> Tensor:
    """Each style on a recording (S, 1, T): no song twice in a turn, as long as there are enough; none in both."""
    half = songs[turn::2]
    order = [half[k % len(half)] for k in rng.permutation(max(len(styles), len(half)))]
    clips = []
    for style, song in zip(styles, order, strict=False):
        of_song = [r for r in music if r.song == song]
        one = of_song[int(rng.integers(len(of_song)))]
        clips.append(torch.from_numpy(style.render(piece(one.audio, rng), RATE)).float())
    return torch.stack(clips)


def _similar(query: Tensor, answers: Tensor) -> Mapping[str, Tensor]:
    """Cosines (Q, A) by feature."""
    found = {}
    for name, feature in features().items():
        a, b = feature(query), feature(answers)
        if not name.startswith("MFCC"):
            both = torch.cat([a, b])
            center, spread = both.mean(0), both.std(0).clamp_min(1e-6)
            a, b = (a - center) / spread, (b - center) / spread
        a, b = (torch.nn.functional.normalize(part, dim=1) for part in (a, b))
        found[name] = a @ b.T
    return found


def _found(told: Tensor, count: int, rng: np.random.Generator) -> list[float]:
    """Whether each query's right answer is nearer than ``count`` random wrong ones."""
    right = []
    for n, row in enumerate(told):
        wrong = [k for k in rng.permutation(len(row)).tolist() if k != n][:count]
        right.append(float(row[n] > row[wrong].max()))
    return right
