"""Systems that search the knobs of an equaliser and a compressor while they listen, as published ones do."""

import math
from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from torch import Tensor

from benchmarks.transfer_styles import Samples
from benchmarks.transfer_systems import mfcc
from diffmix.metrics.style import at_peak, mel_weights
from diffmix.processors import Chain, Compressor, ParametricEQ

CROP = 65_536
SCALES = (6.0, 3.0, 4.0, 3.0)
"""Usual differences, dB, of mean levels, their spread, level quantiles and crests between recordings."""


@cache
def chain(sample_rate: int) -> Chain:
    """Six bands and a compressor: 22 knobs."""
    return Chain(eq=ParametricEQ(sample_rate), comp=Compressor(sample_rate, {"ratio": (1.0, 8.0)}))


def statistics(x: Tensor, sample_rate: int) -> Tensor:
    """Numbers (B, 88) of audio (B, C, T) by which it is matched, each over its usual difference.

    40 mel levels and their spread over time in dB, quantiles of the level of 50 ms (10, 25, 50, 75, 90, 97 %), the
    crest of the whole and the mean of 50 ms.
    """
    middle = x.mean(1)
    window = torch.hann_window(2048).to(x)
    spectrum = torch.stft(middle, 2048, 512, window=window, return_complex=True)
    bands = mel_weights(2048, sample_rate, 40).T.to(x) @ (spectrum.real.square() + spectrum.imag.square())
    db = 10 * bands.clamp_min(1e-7).log10()
    size = round(0.05 * sample_rate)
    frames = middle.unfold(1, size, size // 2)
    rms = 10 * frames.square().mean(2).clamp_min(1e-9).log10()
    quantiles = rms.quantile(torch.tensor([0.1, 0.25, 0.5, 0.75, 0.9, 0.97]).to(x), dim=1).T
    peak_db = 20 * middle.abs().amax(1, keepdim=True).clamp_min(1e-6).log10()
    whole = peak_db - 10 * middle.square().mean(1, keepdim=True).clamp_min(1e-9).log10()
    crest = (20 * frames.abs().amax(2).clamp_min(1e-6).log10() - rms).mean(1, keepdim=True)
    parts = [10 * bands.mean(2).clamp_min(1e-9).log10(), db.std(2), quantiles, torch.cat([whole, crest], 1)]
    return torch.cat([part / scale for part, scale in zip(parts, SCALES, strict=True)], 1)


def gradient_search(
    x: Tensor, reference: Tensor, sample_rate: int, rng: np.random.Generator, steps: int = 70
) -> Tensor:
    """Adam on the knobs until `statistics` are the reference's: what inference-time optimisation does."""
    effects = chain(sample_rate)
    wanted = statistics(at_peak(reference[None]), sample_rate)
    start = int(rng.integers(max(1, x.shape[-1] - CROP + 1)))
    crop = at_peak(x[None])[..., start : start + CROP]
    knobs = effects.spec.default().clamp(0.02, 0.98).logit()[None].clone().requires_grad_()
    optimiser = torch.optim.Adam([knobs], lr=0.15)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    best, found = math.inf, knobs.detach().clone()
    for _ in range(steps):
        optimiser.zero_grad()
        y = at_peak(effects(crop, knobs.sigmoid()))
        loss = (statistics(y, sample_rate) - wanted).abs().mean()
        loss.backward()
        if loss.item() < best:
            best, found = loss.item(), knobs.detach().clone()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        return at_peak(effects(at_peak(x[None]), found.sigmoid()))[0]


def evolution(
    x: Tensor, reference: Tensor, sample_rate: int, rng: np.random.Generator, population: int = 32, turns: int = 25
) -> Tensor:
    """CMA-ES on the knobs, and on a switch for each effect, towards the reference's `mfcc`, as ST-ITO."""
    effects = chain(sample_rate)
    size = effects.spec.size
    eq_size = ParametricEQ(sample_rate).spec.size
    wanted = mfcc(at_peak(reference[None]), sample_rate)[0]
    whole = at_peak(x[None])
    neutral = effects.spec.default()

    def heard(genes: Samples, part: Tensor) -> Tensor:
        knobs = torch.from_numpy(genes).float()
        off = torch.zeros(len(knobs), size, dtype=torch.bool)
        off[:, :eq_size], off[:, eq_size:] = knobs[:, size, None] > 0.5, knobs[:, size + 1, None] > 0.5
        return at_peak(effects(part.expand(len(knobs), -1, -1), torch.where(off, neutral, knobs[:, :size])))

    def cost(genes: Samples) -> Samples:
        start = int(turn_rng.integers(max(1, whole.shape[-1] - CROP + 1)))
        return -(mfcc(heard(genes, whole[..., start : start + CROP]), sample_rate) @ wanted).double().numpy()

    turn_rng = np.random.default_rng(rng.integers(2**31))
    with torch.no_grad():
        first = rng.uniform(size=(population, size + 2))
        best = cma_es(cost, first[int(cost(first).argmin())], 0.33, population, turns, rng)
        return heard(best[None], whole)[0]


def cma_es(
    cost: Callable[[Samples], Samples],
    start: Samples,
    sigma: float,
    population: int,
    turns: int,
    rng: np.random.Generator,
) -> Samples:
    """The best point in [0, 1]^n that a covariance matrix adaptation finds: cost of (P, n) is (P,).

    N. Hansen, "The CMA evolution strategy: a tutorial" (2016), with its default constants and points clipped to bounds.
    """
    n = len(start)
    half = population // 2
    w = math.log(half + 0.5) - np.log(np.arange(1, half + 1))
    w /= w.sum()
    mu = 1 / np.square(w).sum()
    c_sigma, damp = (mu + 2) / (n + mu + 5), 1 + 2 * max(0, math.sqrt((mu - 1) / (n + 1)) - 1) + (mu + 2) / (n + mu + 5)
    c_c = (4 + mu / n) / (n + 4 + 2 * mu / n)
    c_1 = 2 / ((n + 1.3) ** 2 + mu)
    c_mu = min(1 - c_1, 2 * (mu - 2 + 1 / mu) / ((n + 2) ** 2 + mu))
    expected = math.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n * n))
    mean, cov = np.array(start, float), np.eye(n)
    path_sigma, path_c = np.zeros(n), np.zeros(n)
    best, lowest = mean, math.inf
    for turn in range(turns):
        values, vectors = np.linalg.eigh(cov)
        scale = np.sqrt(np.maximum(values, 1e-12))
        points = np.clip(mean + sigma * (rng.standard_normal((population, n)) * scale) @ vectors.T, 0, 1)
        costs = cost(points)
        order = np.argsort(costs)
        if costs[order[0]] < lowest:
            lowest, best = float(costs[order[0]]), points[order[0]]
        steps = (points[order[:half]] - mean) / sigma
        move = w @ steps
        mean = mean + sigma * move
        white = vectors @ ((vectors.T @ move) / scale)
        path_sigma = (1 - c_sigma) * path_sigma + math.sqrt(c_sigma * (2 - c_sigma) * mu) * white
        length = float(np.linalg.norm(path_sigma))
        going = length / math.sqrt(1 - (1 - c_sigma) ** (2 * (turn + 1))) < (1.4 + 2 / (n + 1)) * expected
        path_c = (1 - c_c) * path_c + going * math.sqrt(c_c * (2 - c_c) * mu) * move
        rank_one = np.outer(path_c, path_c) + (not going) * c_c * (2 - c_c) * cov
        cov = (1 - c_1 - c_mu) * cov + c_1 * rank_one + c_mu * (steps.T * w) @ steps
        cov = (cov + cov.T) / 2
        sigma *= math.exp(min(1.0, (c_sigma / damp) * (length / expected - 1)))
    return np.asarray(best)
