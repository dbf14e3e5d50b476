"""Tensors that are computed once and kept."""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import ParamSpec, TypeVar, cast

import torch

_P = ParamSpec("_P")
_T = TypeVar("_T")


def kept(count: int | None) -> Callable[[Callable[_P, _T]], Callable[_P, _T]]:
    """As ``functools.lru_cache``, for functions that make tensors: later calls may differentiate through these.

    A plain cache that is first asked in torch's inference mode keeps a tensor that no gradient passes ever after, and
    one that ``torch.export`` asks first a tensor without numbers.
    """

    def decorated(function: Callable[_P, _T]) -> Callable[_P, _T]:
        @wraps(function)
        def computed(*args: _P.args, **kwargs: _P.kwargs) -> _T:
            with torch.inference_mode(False):
                return function(*args, **kwargs)

        stored = cast(Callable[_P, _T], lru_cache(maxsize=count)(computed))

        @wraps(function)
        def found(*args: _P.args, **kwargs: _P.kwargs) -> _T:
            return (function if torch.compiler.is_compiling() else stored)(*args, **kwargs)

        return found

    return decorated
