"""What holds in every test: no network, no display, seeded randomness, no more threads than cores."""

import gc
import os
import socket
from collections.abc import Iterator
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: its threads shall not spin beside other workers
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy: its threads spin whatever is asked of them

import pytest

os.environ.setdefault("MPLBACKEND", "Agg")


def pytest_configure(config: pytest.Config) -> None:
    """Set up what runs tests; a process that only hands them to workers starts these sooner without torch."""
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        return
    import torch
    from hypothesis import settings

    torch.set_num_threads(max(1, (os.cpu_count() or 1) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))))
    torch.manual_seed(0)  # of every device, once: for devices that nobody uses, each call keeps the whole stack
    settings.register_profile("diffmix", derandomize=True, deadline=None)
    settings.load_profile("diffmix")


@pytest.fixture(autouse=True)
def seeded() -> None:
    import torch

    torch.default_generator.manual_seed(0)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(0)


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything works without a network: a test that connects to anything but a local socket fails."""
    connect = socket.socket.connect

    def local_only(self: socket.socket, address: object) -> None:
        if self.family != socket.AF_UNIX:
            raise AssertionError(f"a test reached for the network: {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local_only)


@pytest.fixture
def declaring() -> Iterator[None]:
    """A test that declares effects, which others shall not know."""
    from diffmix.processors import REGISTRY

    known = dict(REGISTRY)
    yield
    REGISTRY.clear()
    REGISTRY.update(known)


@pytest.fixture
def sketched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports get empty pictures, where these are not what a test is about: drawing takes more than half of saving."""
    from matplotlib.figure import Figure

    def saved(self: Figure, file: Any, format: str, **_: object) -> None:
        file.write("<svg></svg>" if format == "svg" else b"")

    monkeypatch.setattr("diffmix.plots.overview", lambda measured: Figure((1, 1)))
    monkeypatch.setattr(Figure, "savefig", saved)


def pytest_collection_finish() -> None:
    """What is imported stays: the collector of garbage need not go through it again and again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Workers get neighbouring tests and take over from each other at the end: what a module makes is made once."""
    if config.getoption("dist") != "load":
        return None
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log)
