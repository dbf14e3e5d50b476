"""The compiled loops where training puts them: forked data workers, threads of the user's, torch with many threads."""

import concurrent.futures
import multiprocessing
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from numba.core.caching import CacheImpl
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils.data import DataLoader, Dataset

from diffmix.errors import AudioError, DiffmixError
from diffmix.kernels import _compile
from diffmix.kernels import iir as kernels
from diffmix.processors import Chain, Compressor, ParametricEQ, Processor, Reverb
from diffmix.processors.base import REGISTRY

RATE = 44100


def played(seed: int, rows: int = 4) -> Tensor:
    """Output and gradient of a strip for a seed, in one tensor."""
    strip = Chain(eq=ParametricEQ(RATE), comp=Compressor(RATE), room=Reverb(RATE))
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 2, 5000, generator=generator).requires_grad_()
    y = strip(x, strip.spec.sample(rows, generator))
    y.square().sum().backward()
    assert x.grad is not None
    return torch.stack([y.detach(), x.grad])


class Played(Dataset):  # type: ignore[type-arg]
    def __len__(self) -> int:
        return 6

    def __getitem__(self, seed: int) -> Tensor:
        return played(seed)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork")
def test_forked_workers_give_the_same_samples() -> None:
    """In a process of its own: torch's autograd cannot be forked once any test has let it start threads."""
    code = "import warnings; warnings.simplefilter('ignore'); from test_safety import forked; forked()"
    folder = Path(__file__).parent
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def forked() -> None:
    """Forked data workers, after the parent has used its threads, which a fork does not take along."""
    torch.set_num_threads(2)
    expected = torch.stack([played(seed) for seed in range(6)])
    loader = DataLoader(Played(), batch_size=3, num_workers=2, multiprocessing_context="fork", timeout=60)
    assert torch.equal(torch.cat(list(loader)), expected)


def test_threads_of_the_users_do_not_see_each_other() -> None:
    expected = [played(seed) for seed in range(8)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for found, one in zip(pool.map(played, range(8)), expected, strict=True):
            assert torch.equal(found, one)


@pytest.mark.parametrize("rows", [1, 3, 5])
def test_the_number_of_threads_changes_no_bit(rows: int) -> None:
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(played(1, rows))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@pytest.mark.parametrize("effect", [Compressor, ParametricEQ, Reverb])
def test_settings_of_one_item_serve_all_and_of_other_numbers_are_refused(effect: type[Processor]) -> None:
    """The loops do not look where they read: what does not fit must not reach them."""
    made, x = effect(RATE), torch.randn(6, 2, 3000, generator=torch.Generator().manual_seed(1))
    u = made.spec.sample(1, torch.Generator().manual_seed(2))
    assert torch.equal(made(x, u), made(x, u.expand(6, -1)))
    with pytest.raises(DiffmixError, match=r"is \(4,\); allowed are as many values as items \(6,\), or one"):
        made(x, u.expand(4, -1))
    with pytest.raises(AudioError, match="settings are of 4 items and 1 samples, the audio has 6 items of 3000"):
        kernels.sos_cascade(x, torch.zeros(4, 1, 5))


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")  # torch's own, of forward mode
@pytest.mark.parametrize("kind", ["ParametricEQ", "Compressor", "Delay", "KneeCompressor"])
def test_forward_mode_is_refused_not_dropped(kind: str) -> None:
    effect = REGISTRY[kind](44100)
    u, x = effect.spec.default()[None], torch.ones(1, 1, 64)
    with pytest.raises(RuntimeError, match="no forward-mode derivative"):
        torch.func.jvp(lambda v: effect(x, v), (u,), (torch.ones_like(u),))
    with forward_ad.dual_level(), pytest.raises(RuntimeError, match="no forward-mode derivative"):
        effect(forward_ad.make_dual(x, torch.ones_like(x)), u)


@pytest.mark.parametrize("kind", ["ParametricEQ", "Compressor", "KneeCompressor"])
def test_torch_func_gives_the_gradient_of_each_item_and_no_second_one(kind: str) -> None:
    effect = REGISTRY[kind](RATE)
    x, u = 0.5 * torch.randn(3, 2, 64), torch.rand(3, effect.spec.size).requires_grad_()
    (effect(x, u) ** 3).sum().backward()
    of_one = torch.func.grad(lambda v, item: (effect(item[None], v[None]) ** 3).sum())
    assert u.grad is not None
    assert torch.allclose(torch.func.vmap(of_one)(u.detach(), x), u.grad, rtol=1e-5, atol=1e-6)
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.func.grad(lambda v: of_one(v, x[0]).sum())(u[0].detach())


def test_where_nothing_can_be_kept_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _compile.kept()
    monkeypatch.setattr(CacheImpl, "_locator_classes", [])  # as with a package and a home that cannot be written to
    with pytest.warns(RuntimeWarning, match="compiled effects cannot be kept"):
        assert not _compile.kept()
