"""Coefficients from settings. Every formula is written once and evaluated in one of two arithmetics:

- ``float64``: differentiable torch, the ideal value;
- ``float32``: NumPy with the C library's functions, in the order written. These are Pedalboard's values to the last
  bit; the vectorised ``sin`` or ``pow`` of NumPy and torch differ there, which is enough to change a sample.

A formula takes such a namespace ``m``, then the settings, then the sample rate, and returns a sequence of coefficients.
"""

import ctypes
import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffmix.kernels._operator import operator, unwatched

Formula = Callable[..., Sequence[Any]]
_formulas: dict[str, Formula] = {}


@cache
def _c_function(name: str, arguments: int) -> Callable[..., float]:
    function = getattr(ctypes.CDLL(None), name)
    function.restype = ctypes.c_float
    function.argtypes = [ctypes.c_float] * arguments
    return function


def _map(name: str, *arrays: NDArray[np.float32]) -> NDArray[np.float32]:
    function = _c_function(name, len(arrays))
    values = map(function, *(a.ravel().tolist() for a in arrays))
    return np.array(list(values), np.float32).reshape(arrays[0].shape)


def twin_gain(db: NDArray[np.float32]) -> NDArray[np.float32]:
    """Amplitude from decibels as Pedalboard computes it."""
    return _map("powf", np.full_like(db, 10), db * np.float32(0.05))


# `gain` is amplitude from decibels, 10^(dB/20); `decay` is exp(rate/time), which Pedalboard rounds only afterwards;
# `samples` is a time in samples, which Pedalboard truncates and the ideal does not.
_float64 = SimpleNamespace(
    sin=torch.sin,
    cos=torch.cos,
    tan=torch.tan,
    log10=torch.log10,
    exp=torch.exp,
    power=torch.pow,
    decay=lambda rate, time: torch.exp(rate / time),
    sqrt=torch.sqrt,
    clip=torch.clamp,
    zeros=torch.zeros_like,
    gain=lambda db: torch.exp(db * (math.log(10) / 20)),
    power10=lambda v: torch.exp(v * math.log(10)),
    samples=lambda ms, sample_rate: sample_rate * ms / 1000,
)
_float32 = SimpleNamespace(
    sin=partial(_map, "sinf"),
    cos=partial(_map, "cosf"),
    tan=partial(_map, "tanf"),
    log10=partial(_map, "log10f"),
    exp=partial(_map, "expf"),
    power=lambda base, exponent: _map("powf", base, np.full_like(base, exponent)),
    decay=lambda rate, time: np.vectorize(lambda t: math.exp(rate / t), [np.float32])(time.astype(np.float64)),
    sqrt=np.sqrt,
    clip=np.clip,
    zeros=np.zeros_like,
    gain=twin_gain,
    power10=lambda v: _map("powf", np.full_like(v, 10), v),
    samples=lambda ms, sample_rate: np.trunc(sample_rate * ms.astype(np.float64) / 1000).astype(np.float32),
)


def formula(function: Formula) -> Formula:
    """Register a formula, so that :func:`evaluate` finds it by its name."""
    _formulas[function.__name__] = function
    return function


def aligned(*settings: Tensor) -> tuple[Tensor, ...]:
    """Settings of one shape: one with fewer dimensions is constant along the last ones, as (B,) beside (B, T) is."""
    most = max(s.ndim for s in settings)
    return torch.broadcast_tensors(*(s.reshape(s.shape + (1,) * (most - s.ndim)) for s in settings))


def evaluate(name: str, settings: Sequence[Tensor], sample_rate: float, twin: bool) -> Tensor:
    """Coefficients of a formula, float64.

    Shape: settings (...) that broadcast together give (..., number of coefficients); one with fewer dimensions than
    another is constant along the last ones, as (B,) beside (B, T) is. With ``twin`` the values are those of the
    float32 arithmetic, on any device; the gradient is always that of the float64 one.
    """
    if twin and not torch.compiler.is_compiling() and unwatched(settings):
        return _twin_values(torch.stack(aligned(*settings)), sample_rate, name)
    values = aligned(*(s.to(torch.float64) for s in settings))
    ideal = torch.stack(tuple(_formulas[name](_float64, *values, sample_rate)), -1)
    return _twin_coefficients(ideal, torch.stack(values).detach(), float(sample_rate), name) if twin else ideal


def _twin_values(settings: Tensor, sample_rate: float, name: str) -> Tensor:
    """The float32 values (as float64) of a formula at ``settings`` (S, ...)."""
    values = settings.cpu().numpy().astype(np.float32).reshape(len(settings), -1)
    twin = np.array(_formulas[name](_float32, *values, sample_rate), np.float64).T
    return torch.from_numpy(np.ascontiguousarray(twin)).reshape(*settings.shape[1:], -1).to(settings.device)


@operator(
    fake=lambda ideal, settings, sample_rate, name: ideal.new_empty(ideal.shape),
    backward=lambda ctx, gradient: (gradient, None, None, None),
)
def _twin_coefficients(ideal: Tensor, settings: Tensor, sample_rate: float, name: str) -> Tensor:
    """The float32 values at ``settings`` (S, ...), with the gradient of ``ideal``."""
    return _twin_values(settings, sample_rate, name)
