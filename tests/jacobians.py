"""Whole Jacobians against finite differences, for what treats every item of a batch by itself.

`torch.autograd.gradcheck` calls a function twice for every number that goes in, and its gradient once for every number
that comes out. Here all of these are items of one batch.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def check_gradients(
    function: Callable[..., Tensor],
    inputs: Sequence[Tensor],
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
) -> None:
    """Every entry of the Jacobian, with the steps and tolerances of gradcheck.

    Args:
        function: From tensors (B, ...) to one (B, ...).
        inputs: float64, all of one B; those that require a gradient are turned.
        eps: How far each number is moved up and down.
        atol: How far off a derivative may be, plus
        rtol: times the finite difference.
    """
    turned = [n for n, v in enumerate(inputs) if v.requires_grad]
    sizes = [inputs[n].numel() for n in turned]
    steps = eps * torch.eye(sum(sizes), dtype=torch.float64)
    steps = torch.stack([steps, -steps])  # (2, numbers that go in, the same)
    moved = [v.detach().expand(2, sum(sizes), *v.shape).clone() for v in inputs]
    for n, step in zip(turned, steps.split(sizes, -1), strict=True):
        moved[n] += step.reshape(moved[n].shape)
    with torch.no_grad():
        up, down = function(*(v.flatten(0, 2) for v in moved)).reshape(2, sum(sizes), -1)
    expected = (up - down) / (2 * eps)

    copies = [v.detach().expand(up.shape[-1], *v.shape).clone().requires_grad_(v.requires_grad) for v in inputs]
    y = function(*(v.flatten(0, 1) for v in copies))
    every = torch.eye(up.shape[-1], dtype=y.dtype).reshape(y.shape)
    gradients = torch.autograd.grad(y, [copies[n] for n in turned], every, materialize_grads=True)
    found = torch.cat([g.flatten(1) for g in gradients], 1).T
    torch.testing.assert_close(found, expected, rtol=rtol, atol=atol)

    # and so it is of the inputs alone, time and again
    y = function(*inputs)
    w = torch.randn_like(y)
    leaves = [inputs[n] for n in turned]
    alone, again = (torch.autograd.grad(y, leaves, w, retain_graph=True, materialize_grads=True) for _ in range(2))
    torch.testing.assert_close(torch.cat([g.flatten() for g in alone]), found @ w.flatten(), rtol=rtol, atol=atol)
    assert all(torch.equal(a, b) for a, b in zip(alone, again, strict=True))
