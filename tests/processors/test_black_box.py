"""Estimated gradients, held against torch's own of the same functions."""

import copy

import numpy as np
import pytest
import torch
from scipy.signal import lfilter
from torch import Tensor

from diffmix.errors import AudioError, SettingsError
from diffmix.params import Param
from diffmix.processors import Chain, Gain, PeakFilter
from diffmix.processors.black_box import BlackBox, EpsilonScheduler, FunctionNode

RATE = 44100
PARAMETERS = {"drive": Param(0.5, 8, 2, "", "log"), "offset": Param(-0.5, 0.5, 0, ""), "level": Param(0, 2, 1, "")}


def shaper(audio: np.ndarray, *, drive: float, offset: float, level: float) -> np.ndarray:
    return level * np.tanh(drive * audio + offset)


def shaper_in_torch(x: Tensor, drive: Tensor, offset: Tensor, level: Tensor) -> Tensor:
    return level[:, None, None] * torch.tanh(drive[:, None, None] * x + offset[:, None, None])


def node(**options: object) -> FunctionNode:
    return FunctionNode(shaper, PARAMETERS, RATE, **options)


def audio(batch: int = 2, length: int = 500) -> Tensor:
    return 0.3 * torch.randn(batch, 2, length, generator=torch.Generator().manual_seed(1))


def weights(x: Tensor) -> Tensor:
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(2))


def gradient(effect: BlackBox, x: Tensor, u: Tensor) -> Tensor:
    v = u.clone().requires_grad_()
    (effect(x, v) * weights(x)).sum().backward()
    assert v.grad is not None
    return v.grad


def true_gradient(x: Tensor, u: Tensor) -> Tensor:
    v = u.clone().double().requires_grad_()
    values = node().spec.denormalize(v)
    (shaper_in_torch(x.double(), *values.values()) * weights(x)).sum().backward()
    assert v.grad is not None
    return v.grad.float()


U = torch.tensor([[0.3, 0.6, 0.5], [0.8, 0.2, 0.9]])


def test_parameters_may_be_called_anything() -> None:
    """A plugin with an X-Y pad has a parameter x."""

    def tilted(audio: np.ndarray, *, x: float, self: float) -> np.ndarray:
        return x * audio + self

    effect = FunctionNode(tilted, {"x": Param(0, 2, 1, ""), "self": Param(0, 1, 0, "")}, RATE)
    torch.testing.assert_close(effect(audio(1), torch.tensor([[0.25, 0.5]])), 0.5 * audio(1) + 0.5)


def test_forward_is_the_function() -> None:
    x = audio()
    y = node()(x, U)
    for item, out, u in zip(x, y, U, strict=True):
        values = {name: v.item() for name, v in node().spec.denormalize(u).items()}
        assert np.array_equal(out.numpy(), shaper(item.numpy(), **values).astype(np.float32))
    assert node()(x.double(), U.double()).dtype == torch.float64


def test_finite_differences_are_the_gradient() -> None:
    x = audio()
    assert torch.allclose(gradient(node(gradient="finite differences"), x, U), true_gradient(x, U), rtol=2e-3)


def test_spsa_is_its_formula() -> None:
    x, effect = audio(1), node(perturbations=3, seed=5, epsilon=0.01)
    u, spec = U[:1], effect.spec
    directions = effect.directions(x[0].numpy(), spec.physical(u)[0].numpy())
    assert directions.shape == (3, 3)
    assert set(np.unique(directions)) == {-1, 1}
    expected = torch.zeros(3)
    for d in torch.from_numpy(directions).float():
        up, down = (effect(x, u + way * 0.01 * d) for way in (1, -1))
        expected += ((up - down) * weights(x)).sum() / (0.02 * d) / 3
    # 0.01 of a log range is not quite a straight line
    assert torch.allclose(gradient(effect, x, u)[0], expected, rtol=1e-2)


def test_spsa_is_right_on_average() -> None:
    x, true = audio(), true_gradient(audio(), U)
    found = gradient(node(perturbations=4000), x, U)
    assert (found - true).abs().max() <= 0.06 * true.abs().max()
    assert (gradient(node(), x, U) - true).abs().max() > 0.06 * true.abs().max()


@pytest.mark.parametrize("kind", ["spsa", "finite differences"])
def test_steps_end_at_the_limits(kind: str) -> None:
    """At the end of a range the step is one-sided, and what was stepped is what is divided by."""
    seen: list[float] = []

    def scale(x: np.ndarray, *, factor: float) -> np.ndarray:
        seen.append(factor)
        return factor * x

    effect = FunctionNode(scale, {"factor": Param(0, 2, 1, "")}, RATE, gradient=kind, epsilon=0.1)
    x = audio(3)
    found = gradient(effect, x, torch.tensor([[0.0], [1.0], [0.95]]))[:, 0]
    assert torch.allclose(found, 2 * (x * weights(x)).sum((1, 2)), rtol=1e-4)
    assert (min(seen), max(seen)) == (0, 2)
    assert sorted(seen) == pytest.approx([0, 0, 0.2, 1.7, 1.8, 1.9, 2, 2, 2])


def test_locked_and_narrowed_parameters() -> None:
    x, effect = audio(), node()
    effect.spec = effect.spec.narrowed({"offset": (0.1, 0.1), "drive": (1, 2)})
    found = gradient(effect, x, U)
    assert torch.isfinite(found).all()
    assert (found[:, 1] == 0).all()
    assert (found[:, [0, 2]] != 0).all()


def test_nothing_is_random() -> None:
    x, effect = audio(4), node()
    u = torch.rand(4, 3)
    first = gradient(effect, x, u)
    assert torch.equal(gradient(effect, x, u), first)
    assert torch.equal(gradient(node(), x, u), first)
    assert not torch.equal(gradient(node(seed=1), x, u), first)
    w = weights(x)
    for i in range(4):
        v = u[i : i + 1].clone().requires_grad_()
        (effect(x[i : i + 1], v) * w[i : i + 1]).sum().backward()
        assert torch.equal(v.grad, first[i : i + 1])


def test_directions_differ_between_steps_and_items() -> None:
    effect, x = node(), audio(1000, 10)
    values = effect.spec.physical(torch.full((1, 3), 0.5))[0].numpy()
    items = np.concatenate([effect.directions(item.numpy(), values) for item in x])
    steps = np.concatenate([effect.directions(x[0].numpy(), values + n) for n in range(1000)])
    for rows in (items, steps):
        assert len(np.unique(rows, axis=0)) == 8
        assert (np.abs(rows.mean(0)) < 0.12).all()


def test_no_gradient_on_request() -> None:
    assert (gradient(node(gradient="none"), audio(), U) == 0).all()


def test_a_parameter_is_found_by_descent() -> None:
    x, effect = audio(1), node(seed=3)
    target = effect(x, torch.tensor([[0.7, 0.4, 0.6]]))
    logits = torch.zeros(1, 3, requires_grad=True)
    optimizer = torch.optim.Adam([logits], 0.1)
    losses = []
    for _ in range(150):
        loss = (effect(x, logits.sigmoid()) - target).square().mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 1e-3 * losses[0]
    assert logits.sigmoid().detach()[0].tolist() == pytest.approx([0.7, 0.4, 0.6], abs=0.05)


def echo(x: np.ndarray, *, wet: float) -> np.ndarray:
    return x + wet * lfilter([0, 0, 0, 0.5], [1, -1.2, 0.5], x)


def upstream(effect: FunctionNode, x: Tensor) -> list[Tensor]:
    """Gradients of a gain and an equaliser in front of a black box, from a loss behind it."""
    front = Chain(trim=Gain(RATE), bell=PeakFilter(RATE))
    v = front.spec.normalize({"trim.gain_db": 3.0, "bell.cutoff_frequency_hz": 900.0, "bell.gain_db": 4.0, "bell.q": 1})
    v = v[None].expand(len(x), -1).clone().requires_grad_()
    signal = x.clone().requires_grad_()
    y = effect(front(signal, v), torch.full((len(x), 1), 0.5))
    (y * weights(x)).sum().backward()
    return [v.grad, signal.grad]


def test_the_input_gradient_of_a_linear_effect_is_exact() -> None:
    """A black box behind trainable effects: they learn as from the same filter written in torch."""
    from torchaudio.functional import lfilter as torch_lfilter

    class Transparent(Chain, abstract=True):
        """The same echo, in torch."""

        def __init__(self) -> None:
            super().__init__(gain=Gain(RATE))

        def forward(self, x: Tensor, u: Tensor) -> Tensor:
            b, a = (torch.tensor(c, dtype=torch.float64) for c in ([0, 0, 0, 0.5], [1, -1.2, 0.5, 0]))
            return x + u[:, :, None] * torch_lfilter(x.double(), a, b, clamp=False).float()

    x = audio(2, 800)
    effect = FunctionNode(echo, {"wet": Param(0, 1, 0.5, "")}, RATE)
    for found, true in zip(upstream(effect, x), upstream(Transparent(), x), strict=True):
        assert torch.allclose(found, true, rtol=1e-4, atol=1e-4 * true.abs().max())


def test_the_input_gradient_follows_the_gradient_of_the_output() -> None:
    x = audio(1)
    for kind in ("reversed", "level", "through"):
        effect = FunctionNode(echo, {"wet": Param(0, 1, 0.5, "")}, RATE, input_gradient=kind)
        gradients = []
        for factor in (1.0, -2.0, 0.0):
            signal = x.clone().requires_grad_()
            (effect(signal, torch.tensor([[0.5]])) * weights(x) * factor).sum().backward()
            gradients.append(signal.grad)
        assert gradients[0].abs().max() > 0
        assert torch.allclose(gradients[1], -2 * gradients[0], rtol=1e-3, atol=1e-4), kind
        assert (gradients[2] == 0).all()


def test_level_is_exact_for_a_gain_in_front() -> None:
    """Of a shaper, which no mirror image describes."""
    x = audio(1)
    effect = node(input_gradient="level")
    signal = (x * 2).requires_grad_()
    (effect(signal, U[:1]) * weights(x)).sum().backward()
    factor = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    values = effect.spec.denormalize(U[:1].double())
    (shaper_in_torch(x * factor, *values.values()) * weights(x)).sum().backward()
    assert (signal.grad * x).sum().item() == pytest.approx(factor.grad.item(), rel=1e-3)


def test_through_and_none() -> None:
    x = audio(1).requires_grad_()
    (node(input_gradient="through")(x, U[:1]) * weights(x)).sum().backward()
    assert torch.equal(x.grad, weights(x))
    x.grad = None
    (node(input_gradient="none")(x, U[:1]) * weights(x)).sum().backward()
    assert (x.grad == 0).all()


def test_only_what_is_wanted_is_rendered() -> None:
    calls = []

    def count(x: np.ndarray, *, a: float) -> np.ndarray:
        calls.append(a)
        return a * x

    effect = FunctionNode(count, {"a": Param(0, 1, 0.5, "")}, RATE)
    x, u = audio(1), torch.tensor([[0.5]])
    effect(x, u)
    assert len(calls) == 1
    effect(x.requires_grad_(), u).sum().backward()
    assert len(calls) == 1 + 2
    effect(x.detach(), u.requires_grad_()).sum().backward()
    assert len(calls) == 3 + 3


def test_a_copy_and_a_forgotten_effect_work() -> None:
    x, u = audio(1), U[:1].clone().requires_grad_()
    effect = node()
    twin = copy.deepcopy(effect)
    twin.epsilon = 0.2
    assert torch.equal(twin(x, u), effect(x, u))
    assert effect.epsilon == 1e-3
    y = node()(x, u)  # the effect is gone when its gradient is asked for
    y.sum().backward()
    assert u.grad is not None


def test_mistakes_end_in_a_sentence() -> None:
    with pytest.raises(SettingsError, match="gradient is 'spsa', 'finite differences' or 'none', got 'exact'"):
        node(gradient="exact")
    with pytest.raises(SettingsError, match=r"epsilon = 0.6, allowed above 0 to 0.5"):
        node(epsilon=0.6)
    with pytest.raises(SettingsError, match="perturbations = 0, at least 1"):
        node(perturbations=0)
    short = FunctionNode(lambda x, *, a: x[:, 1:], {"a": Param(0, 1, 0, "")}, RATE)
    with pytest.raises(AudioError, match=r"got audio \(2, 500\) and gave \(2, 499\)"):
        short(audio(1), torch.zeros(1, 1))
    with pytest.raises(AudioError, match="needs the whole signal"):
        node().process_chunk(audio(1), None, **node().spec.denormalize(U[:1]))


def test_epsilon_scheduler() -> None:
    a, b = node(epsilon=0.1), node(epsilon=0.2)
    schedule = EpsilonScheduler(a, b, patience=3)
    for loss in (5.0, 4.0, 4.5, 4.0):  # two without a new lowest
        schedule.step(loss)
    assert (a.epsilon, b.epsilon) == (0.1, 0.2)
    resumed = EpsilonScheduler(a, b, patience=3)
    resumed.load_state_dict(schedule.state_dict())
    resumed.step(4.1)
    assert (a.epsilon, b.epsilon) == (0.05, 0.1)
    resumed.step(3.0)
    for _ in range(3):
        resumed.step(3.5)
    assert (a.epsilon, b.epsilon) == (0.025, 0.05)
    with pytest.raises(SettingsError, match="patience is 0"):
        EpsilonScheduler(a, patience=0)


@pytest.mark.slow
def test_compiles() -> None:
    x, effect = audio(), node()
    torch._dynamo.reset()
    compiled = torch.compile(effect, fullgraph=True)
    results = []
    for f in (effect, compiled):
        a, b = x.clone().requires_grad_(), U.clone().requires_grad_()
        y = f(a, b)
        (y * weights(x)).sum().backward()
        results.append((y.detach(), a.grad, b.grad))
    for eager, fast in zip(*results, strict=True):
        assert torch.allclose(eager, fast, rtol=1e-5, atol=1e-6)
