"""Memory that outputs share, one after the other and never at once."""

import multiprocessing
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from diffmix.kernels import allocation
from diffmix.kernels.allocation import empty, empty_like, release
from diffmix.kernels.iir import sos_cascade

LARGE = (2, 1 << 18)  # 2 MiB of float32


@pytest.fixture(autouse=True)
def nothing_waits() -> Iterator[None]:
    release()
    yield
    release()


def waiting() -> int:
    return sum(size * len(rooms) for size, rooms in allocation._kept.items())


def test_a_freed_block_serves_the_next_array_of_its_size() -> None:
    first = empty(LARGE, np.float32)
    place = first.ctypes.data
    assert place % 64 == 0
    part = torch.from_numpy(first)[1, 5:]
    del first
    assert empty(LARGE, np.float32).ctypes.data != place  # a view still lies in it
    del part
    again = empty((1 << 18,), np.float64)
    assert (again.shape, again.dtype, again.ctypes.data) == ((1 << 18,), np.float64, place)
    other = empty_like(again)
    assert other.ctypes.data != again.ctypes.data


def test_live_outputs_are_never_overwritten() -> None:
    x = torch.randn(4, 2, 1 << 17, generator=torch.Generator().manual_seed(0))
    sos = torch.tensor([[[1.0, 0.0, 0.0, -0.5, 0.0]]])
    expected = sos_cascade(x, sos).clone()
    kept = [sos_cascade(x * gain, sos) for gain in (1.0, 2.0, 4.0)]  # each frees what it multiplied
    for y, gain in zip(kept, (1.0, 2.0, 4.0), strict=True):
        assert torch.equal(y, expected * gain)


def test_what_waits_is_bounded_and_can_be_released(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocation, "KEPT_BYTES", 8 << 20)
    arrays = [empty((size << 18,), np.float32) for size in (1, 2, 3, 4)]  # 1 to 4 MiB
    places = [array.ctypes.data for array in arrays]
    while arrays:
        del arrays[0]  # the smallest first: they are those that go
    assert 7 << 20 <= waiting() <= 8 << 20
    assert empty((4 << 18,), np.float32).ctypes.data == places[3]
    release()
    assert waiting() == 0


def test_small_and_empty_arrays_do_not_wait() -> None:
    assert empty((0, 3), np.float32).shape == (0, 3)
    small = empty((1000,), np.float64)
    del small
    assert waiting() == 0


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork")
def test_a_fork_while_another_thread_has_the_lock_can_go_on() -> None:
    held = threading.Event()

    def hold() -> None:
        with allocation._lock:
            held.set()
            time.sleep(0.2)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    worker = multiprocessing.get_context("fork").Process(target=lambda: empty(LARGE, np.float32))
    worker.start()
    worker.join(20)
    holder.join()
    worker.kill()
    assert worker.exitcode == 0
