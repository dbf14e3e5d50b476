"""Memory of large outputs, kept for the next ones.

The system hands out memory in pages that it clears at the first touch, and takes large blocks back when they are freed:
in a training loop that costs up to a third of a filter's time, anew at every step. Here a block that is freed waits for
the next output of its size, as it does on a GPU. Outputs lie on whole cache lines.
"""

import math
import os
import threading
from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import NDArray

KEPT_BYTES = 256 << 20
"""So much waits at most; beyond it, sizes that were not wanted for the longest time go first."""

_SMALLEST = 1 << 20  # the C library keeps less than that by itself
_LINE = 64

_Rooms = list[NDArray[np.uint8]]
_kept: OrderedDict[int, _Rooms] = OrderedDict()  # by size, the latest wanted last
_lock = threading.RLock()  # re-entrant: collecting garbage inside it may free outputs
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


def empty(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """`numpy.empty`, in memory that may have been used before."""
    kind = np.dtype(dtype)
    size = kind.itemsize * math.prod(shape) + _LINE
    return np.empty(shape, kind) if size < _SMALLEST else np.asarray(_Lease(size, shape, kind))


def empty_like(array: NDArray[Any]) -> NDArray[Any]:
    """`empty` of the shape and type of another array."""
    return empty(array.shape, array.dtype)


def release() -> None:
    """Give the memory that waits back to the system, as `torch.cuda.empty_cache` does."""
    with _lock:
        _kept.clear()


class _Lease:
    """A block of memory for as long as an array or tensor lies in it."""

    def __init__(self, size: int, shape: tuple[int, ...], kind: np.dtype[Any]) -> None:
        with _lock:
            rooms = _kept.get(size)
            self.room = rooms.pop() if rooms else np.empty(size, np.uint8)
            if rooms is not None:
                _kept.move_to_end(size)
        place = self.room.ctypes.data + -self.room.ctypes.data % _LINE
        self.__array_interface__ = {"data": (place, False), "shape": shape, "typestr": kind.str, "version": 3}

    def __del__(self) -> None:
        _keep(self.room)


def _keep(room: NDArray[np.uint8]) -> None:
    with _lock:
        _kept.setdefault(room.nbytes, []).append(room)
        surplus = sum(size * len(rooms) for size, rooms in _kept.items()) - KEPT_BYTES
        while surplus > 0:
            oldest, rooms = next(iter(_kept.items()))
            if rooms:
                surplus -= rooms.pop().nbytes
            else:
                del _kept[oldest]
