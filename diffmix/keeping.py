"""Tensors that are computed once and kept."""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import ParamSpec, TypeVar, cast

import torch

_P = ParamSpec("_P")
_T = TypeVar("_T")


def kept(count: int) -> Callable[[Callable[_P, _T]], Callable[_P, _T]]:
    """As ``functools.lru_cache``, for functions that make tensors: later calls may differentiate through these.

    A plain cache that is first asked in torch's inference mode keeps a tensor that no gradient passes ever after.
    """

    def decorated(function: Callable[_P, _T]) -> Callable[_P, _T]:
        @wraps(function)
        def computed(*args: _P.args, **kwargs: _P.kwargs) -> _T:
            with torch.inference_mode(False):
                return function(*args, **kwargs)

        return cast(Callable[_P, _T], lru_cache(maxsize=count)(computed))

    return decorated
