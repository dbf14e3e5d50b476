import pytest
import torch

from diffmix.descent import Adam


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("steps", [0, 25])
def test_the_steps_are_those_of_torch_to_the_last_bit(dtype: torch.dtype, steps: int) -> None:
    start = [torch.randn(3, 5, dtype=dtype), torch.zeros(4, dtype=dtype)]
    ours, theirs = ([one.clone().requires_grad_() for one in start] for _ in range(2))
    aim = torch.randn(4, dtype=dtype)
    adam = Adam(ours, 0.08, (0.9, 0.98), steps=steps, least=0.008)
    optimizer = torch.optim.Adam(theirs, 0.08, (0.9, 0.98))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, 0.008) if steps else None
    for _ in range(25):
        for a, b in (ours, theirs):
            (a.sin().square().sum() + (b - aim).abs().sum()).backward()
        adam.step()
        optimizer.step()
        if schedule:
            schedule.step()
        optimizer.zero_grad()
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert ours[0].grad is None
