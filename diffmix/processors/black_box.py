"""Effects that torch cannot look into: any function from audio to audio, its gradients estimated from more calls."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, ClassVar, Literal
from weakref import WeakValueDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffmix.errors import AudioError, SettingsError
from diffmix.kernels._operator import operator
from diffmix.kernels.backend import over_rows
from diffmix.params import Param, ParamSpec
from diffmix.processors.base import Processor
from diffmix.types import Ranges

Audio = NDArray[np.float32]
Job = tuple[Audio, NDArray[np.float32]]
"""What to render: audio (C, T), and the physical values (P,) in the order of the parameters."""

Gradient = Literal["spsa", "finite differences", "none"]
InputGradient = Literal["reversed", "level", "through", "none"]


class BlackBox(Processor, abstract=True):
    """An effect that only renders: a subclass says how in `render`, and its gradients are estimated.

    ``gradient`` is how those of the parameters are:

    - ``"spsa"``: simultaneous perturbation (Spall, 1992). All parameters move at once, by ``epsilon`` of their range
      up or down at random, d = ±1: with J± the outputs, g_i = sum_t dL/dy(t) (J+(t) - J-(t)) / (v+_i - v-_i), where
      v± are the values that were rendered; a step that would leave the range ends at its limit. The mean over
      ``perturbations`` of them. Two calls each, however many parameters there are; noisy, right on average.
    - ``"finite differences"``: the same, one parameter after the other: two calls each, no noise.
    - ``"none"``: zero.

    ``input_gradient``, a choice of the class, is how that of the audio is estimated from dL/dy:

    - ``"reversed"``: the effect plays dL/dy backwards, at the level of the audio, and the result is reversed. For
      an effect that is linear, does not vary in time and treats its channels alike this is exact, its adjoint
      being its mirror image; otherwise it is the response of an effect that works at about the same level.
    - ``"level"``: exact for a change of the level of the whole audio, zero for every other change; two calls. For
      effects whose output has other frequencies or another timing than their input.
    - ``"through"``: dL/dy itself. For effects that try to give back what they get, such as a codec.
    - ``"none"``: zero.

    Nothing is random: the directions are drawn from a generator seeded with ``seed``, the audio and the values, so
    equal inputs give equal gradients, each item of a batch as it would alone, and each step of a descent has
    directions of its own. Audio is rendered in float32, whatever its dtype and ``precision`` are.
    """

    pedalboard: ClassVar[bool] = False
    streams: ClassVar[bool] = False
    uncarried = "it is a function of its own."
    input_gradient: InputGradient = "reversed"  # of an instance, where each may have its own
    epsilon: float = 1e-3

    def __init_subclass__(cls, abstract: bool = False, **kwargs: Any) -> None:
        cls.bands = {name: value for name, value in vars(cls).items() if isinstance(value, Param)}
        super().__init_subclass__(abstract, **kwargs)
        cls.surrogate = frozenset({"x", *cls.declared})

    def __init__(
        self,
        sample_rate: float,
        ranges: Ranges | None = None,
        precision: Literal["float32", "float64"] = "float32",
        *,
        gradient: Gradient = "spsa",
        epsilon: float | None = None,
        perturbations: int = 1,
        seed: int = 0,
    ) -> None:
        """See the class; ``epsilon`` (0 to 0.5) is a part of a parameter's range, the class's own by default."""
        super().__init__(sample_rate, ranges, precision)
        if gradient not in ("spsa", "finite differences", "none"):
            raise SettingsError(f"gradient is 'spsa', 'finite differences' or 'none', got {gradient!r}")
        self.gradient = gradient
        self.epsilon = float(type(self).epsilon if epsilon is None else epsilon)
        if not 0 < self.epsilon <= 0.5:
            raise SettingsError(f"epsilon = {self.epsilon:g}, allowed above 0 to 0.5 of a parameter's range")
        if perturbations < 1:
            raise SettingsError(f"perturbations = {perturbations}, at least 1 is needed")
        self.perturbations = int(perturbations)
        self.seed = int(seed)
        self._register()

    def _register(self) -> None:
        self._handle = next(_handles)
        _boxes[self._handle] = self

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._register()  # a copy has its own

    def render(self, jobs: Sequence[Job]) -> list[Audio]:
        """The output of each job, of the shape of its audio, in order. Equal jobs have equal outputs."""
        raise NotImplementedError

    def process(self, x: Tensor, /, **values: Tensor) -> Tensor:
        """Audio x (B, C, T); each value (B,), of parameters that may be named as they like, also x."""
        columns = [values[name] for name in self.spec.names]
        matrix = torch.stack(columns, -1) if columns else x.new_zeros(len(x), 0)
        return _black_box_operator(x, matrix, self._handle)

    def rendered(self, jobs: Sequence[Job]) -> list[Audio]:
        """`render`, its outputs checked; raises AudioError if one has another shape than its audio."""
        outputs = self.render(jobs)
        for (audio, _), y in zip(jobs, outputs, strict=True):
            if y.shape != audio.shape:
                raise AudioError(f"{type(self).__name__} got audio {audio.shape} and gave {y.shape}; it must keep it")
        return outputs

    def directions(self, audio: Audio, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """Where to look from a point: rows of -1, 0 or 1, one column for each parameter."""
        count = len(values)
        if self.gradient != "spsa":
            return np.eye(count) if self.gradient == "finite differences" else np.zeros((0, count))
        digest = blake2b(values.tobytes(), digest_size=16, salt=self.seed.to_bytes(16, "little", signed=True))
        digest.update(audio.tobytes())
        generator = np.random.default_rng(int.from_bytes(digest.digest(), "little"))
        return generator.choice((-1.0, 1.0), (self.perturbations if count else 0, count))

    def estimate(self, gy: Audio, audio: Audio, values: NDArray[np.float32]) -> "_Estimate":
        """The jobs that the gradient of one item's parameters needs, and what to make of their outputs."""
        directions = self.directions(audio, values)
        if not len(directions):
            return [], lambda outputs: np.zeros(len(values))
        device = self.spec.low.device
        named = dict(zip(self.spec.names, torch.from_numpy(values).to(device), strict=True))
        here = self.spec.normalize(named).double()
        move = self.epsilon * torch.from_numpy(directions).to(device)
        above, below = (
            self.spec.physical((here + way * move).clamp(0, 1)).float().cpu().numpy() for way in (1.0, -1.0)
        )
        steps = above.astype(np.float64) - below
        jobs = [(audio, row) for pair in zip(above, below, strict=True) for row in pair]

        def gradient(outputs: Sequence[Audio]) -> NDArray[np.float64]:
            up, down = outputs[::2], outputs[1::2]
            change = np.array([np.vdot(gy, a.astype(np.float64) - b) for a, b in zip(up, down, strict=True)])
            moved = steps != 0  # a locked parameter does not move
            slopes = np.divide(change[:, None], steps, out=np.zeros_like(steps), where=moved)
            return slopes.sum(0) / (1 if self.gradient == "finite differences" else len(steps))

        return jobs, gradient

    def estimate_input(self, gy: Audio, audio: Audio, values: NDArray[np.float32]) -> "_Estimate":
        """The jobs that the gradient of one item's audio needs, and what to make of their outputs."""
        kind = self.input_gradient
        if kind == "reversed":
            energy, found = float(np.vdot(audio, audio)), float(np.vdot(gy, gy))
            factor = np.float32((energy / found) ** 0.5 if energy and found else 1)
            backwards = np.ascontiguousarray(gy[:, ::-1] * factor)
            return [(backwards, values)], lambda outputs: outputs[0][:, ::-1] / factor
        if kind == "level":
            change = np.float32(1e-2)
            energy = float(np.vdot(audio, audio)) or 1.0

            def along(outputs: Sequence[Audio]) -> Audio:
                up, down = outputs
                return audio * (np.vdot(gy, up - down) / (2 * change * energy))

            return [(audio * (1 + change), values), (audio * (1 - change), values)], along
        return [], lambda outputs: gy if kind == "through" else np.zeros_like(gy)


_Estimate = tuple[list[Job], Callable[[Sequence[Audio]], NDArray[Any]]]
_handles = itertools.count()
_boxes: WeakValueDictionary[int, BlackBox] = WeakValueDictionary()  # an operator takes numbers, not objects


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(tensor.detach().cpu().float().numpy())


def _black_box_gradient(
    gy: Tensor, x: Tensor, values: Tensor, handle: int, of_input: bool, of_values: bool
) -> tuple[Tensor, Tensor]:
    box = _boxes[handle]
    gx, gv = np.zeros(x.shape, np.float32), np.zeros(values.shape)
    jobs: list[Job] = []
    pending = []  # (where the result goes, which jobs it is made of, how)
    for i, item in enumerate(zip(_array(gy), _array(x), _array(values), strict=True)):
        for wanted, target, estimate in ((of_values, gv, box.estimate), (of_input, gx, box.estimate_input)):
            if wanted:
                needed, result = estimate(*item)
                pending.append((target[i], slice(len(jobs), len(jobs) + len(needed)), result))
                jobs += needed
    outputs = box.rendered(jobs) if jobs else []  # all at once, so that they can run side by side
    for target, part, result in pending:
        target[:] = result(outputs[part])
    return torch.from_numpy(gx).to(x), torch.from_numpy(gv).to(values)


_gradient = operator(
    fake=lambda gy, x, values, handle, of_input, of_values: (x.new_empty(x.shape), values.new_empty(values.shape))
)(_black_box_gradient)


def _backward(ctx: Any, gy: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
    of_input, of_values = ctx.needs_input_grad[:2]
    gx, gv = _gradient(gy, *ctx.saved_tensors, ctx.handle, of_input, of_values)
    return gx if of_input else None, gv if of_values else None, None


def _save(ctx: Any, inputs: tuple[Tensor, Tensor, int], output: Tensor) -> None:
    x, values, ctx.handle = inputs
    ctx.box = _boxes.get(ctx.handle)  # lives until the backward
    ctx.save_for_backward(x, values)


def _black_box(x: Tensor, values: Tensor, handle: int) -> Tensor:
    jobs = list(zip(_array(x), _array(values), strict=True))
    return torch.from_numpy(np.stack(_boxes[handle].rendered(jobs))).to(x)


_black_box_operator = operator(fake=lambda x, values, handle: x.new_empty(x.shape), backward=_backward, save=_save)(
    _black_box
)


def side_by_side(render: Callable[[Job], Audio], jobs: Sequence[Job]) -> list[Audio]:
    """Render jobs in as many threads as torch may use: for functions that release the interpreter's lock."""
    outputs: list[Audio] = [np.empty(0, np.float32)] * len(jobs)

    def some(first: int, last: int) -> None:
        outputs[first:last] = [render(job) for job in jobs[first:last]]

    over_rows(some, len(jobs))
    return outputs


class FunctionNode(BlackBox, abstract=True):
    """Any Python function as an effect.

    >>> def crush(audio, *, levels):
    ...     return np.round(audio * levels) / levels
    >>> effect = FunctionNode(crush, {"levels": Param(2, 256, 16, "", "log")}, 44100)
    >>> effect(torch.randn(1, 2, 100), torch.tensor([[0.5]])).shape
    torch.Size([1, 2, 100])
    """

    def __init__(
        self,
        function: Callable[..., NDArray[Any]],
        parameters: Mapping[str, Param],
        sample_rate: float,
        *,
        input_gradient: InputGradient = "reversed",
        **options: Any,
    ) -> None:
        """An effect that plays ``function(audio, **values)``, audio (C, T) float32, physical values as floats.

        The function returns audio of the same shape, the same for the same arguments. ``options`` are those of
        `BlackBox`: gradient, epsilon, perturbations, seed.
        """
        super().__init__(sample_rate, **options)
        self.function = function
        self.spec = ParamSpec(parameters)
        self.surrogate = frozenset({"x", *parameters})  # type: ignore[misc]
        self.input_gradient = input_gradient

    def render(self, jobs: Sequence[Job]) -> list[Audio]:
        """One call of the function for each job."""
        names = self.spec.names
        calls = ((audio, dict(zip(names, values.tolist(), strict=True))) for audio, values in jobs)
        return [np.asarray(self.function(audio, **values), np.float32) for audio, values in calls]


class EpsilonScheduler:
    """Make the steps of black boxes smaller once a loss no longer falls.

    After ``patience`` calls of `step` without a new lowest loss, each ``epsilon`` is multiplied by ``factor``.
    """

    def __init__(self, *boxes: BlackBox, patience: int = 10, factor: float = 0.5) -> None:
        if patience < 1 or not 0 < factor < 1:
            raise SettingsError(f"patience is {patience} and factor {factor:g}; allowed are 1 or more, and 0..1")
        self.boxes = boxes
        self.patience = patience
        self.factor = factor
        self.lowest = float("inf")
        self.waited = 0

    def step(self, loss: float) -> None:
        """Tell the loss of an epoch."""
        self.waited += 1
        if loss < self.lowest:
            self.lowest, self.waited = float(loss), 0
        if self.waited >= self.patience:
            self.waited = 0
            for box in self.boxes:
                box.epsilon *= self.factor

    def state_dict(self) -> dict[str, Any]:
        """What a later run needs to go on: plain numbers."""
        return {"lowest": self.lowest, "waited": self.waited, "epsilon": [box.epsilon for box in self.boxes]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.lowest, self.waited = state["lowest"], state["waited"]
        for box, epsilon in zip(self.boxes, state["epsilon"], strict=True):
            box.epsilon = epsilon
