"""The compiled loops where training puts them: forked data workers, threads of the user's, torch with many threads."""

import concurrent.futures
import multiprocessing

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from diffmix.errors import AudioError
from diffmix.processors import Chain, Compressor, ParametricEQ, Processor, Reverb

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
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_forked_workers_give_the_same_samples() -> None:
    """After the parent has used its threads, which a fork does not take along."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        expected = torch.stack([played(seed) for seed in range(6)])
        loader = DataLoader(Played(), batch_size=3, num_workers=2, multiprocessing_context="fork", timeout=60)
        assert torch.equal(torch.cat(list(loader)), expected)
    finally:
        torch.set_num_threads(before)


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
    with pytest.raises((AudioError, RuntimeError), match=r"settings are of 4 items|must match"):
        made(x, u.expand(4, -1))
