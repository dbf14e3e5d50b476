"""Any VST3 plugin as an effect of a chain, and under a name (`diffmix.processors.named`) of a graph or a console."""

from collections.abc import Sequence
from pathlib import Path as FilePath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffmix.errors import PluginError, SettingsError
from diffmix.params import Param, ParamSpec
from diffmix.plugins.builtin import PedalboardNode
from diffmix.plugins.workers import Workers
from diffmix.processors.base import REGISTRY, Port
from diffmix.processors.black_box import Audio, BlackBox, Job
from diffmix.types import Numbers, Path, Ranges


class PluginNode(BlackBox, abstract=True):
    """An effect plugin from a file (VST3; on a Mac an Audio Unit too).

    Its automatable parameters, or those named, are `Param`s: raw values from 0 to 1, whose ranges in the plugin's own
    units their ``doc`` tells. Everything else about the plugin is its ``state``, the bytes Pedalboard calls
    ``raw_state``, which is saved with the module's state. Programs and the plugin's own bypass are no parameters.

    The plugin runs in processes of its own (``workers`` at most, one for each core by default): items of a batch and
    the calls of a gradient estimate go side by side, and a plugin that crashes raises PluginError here. Equal inputs
    have equal outputs: an instance that does not play as a new one does after a reset, which loading finds out, is
    made anew for each call (``resets`` is False; much slower).
    """

    uncarried = "a preset names Pedalboard's own plugins only; save the file of the plugin and its state beside it."

    def __init__(
        self,
        path: Path,
        sample_rate: float,
        ranges: Ranges | None = None,
        *,
        parameters: Sequence[str] | None = None,
        plugin_name: str | None = None,
        state: bytes | None = None,
        workers: int | None = None,
        timeout_s: float = 120,
        **options: Any,
    ) -> None:
        """Load the plugin at ``path``.

        Args:
            path: the plugin's file or folder.
            sample_rate: Hz.
            ranges: narrower ranges of raw values, by parameter.
            parameters: the names to expose, in this order; all automatable ones by default.
            plugin_name: which one, if the file holds several.
            state: bytes of ``raw_state`` to start from; what the others are set to, and the defaults of those exposed.
            workers: how many processes at most; by default as many as torch has threads.
            timeout_s: how long a call may take.
            options: gradient, epsilon, perturbations and seed of `BlackBox`.

        Raises PluginError if it cannot be loaded, SettingsError for a parameter it does not have.
        """
        super().__init__(sample_rate, **options)
        if not FilePath(path).exists():
            raise PluginError(f"{path}: no such plugin")
        self.path = str(FilePath(path).absolute())
        self.plugin_name = plugin_name
        self.state = state
        self._start(torch.get_num_threads() if workers is None else max(1, workers), timeout_s)
        about = self._workers.run([("describe", self.sample_rate)])[0]
        if self.state != about["state"]:
            self.state = about["state"]  # which later processes shall start from
            self._start(self._workers.count, timeout_s)
        self.name: str = about["name"]
        self.resets: bool = about["resets"]
        known = about["parameters"]
        names = list(known if parameters is None else parameters)
        if missing := [name for name in names if name not in known]:
            raise SettingsError(f"{self.name}: no parameter {missing[0]!r}; there are: {', '.join(known) or 'none'}")
        self.spec = ParamSpec({name: _param(known[name]) for name in names}).narrowed(ranges or {})
        self.surrogate = frozenset({"x", *names})  # type: ignore[misc]
        if len(about["channels"]) == 1:
            self.inlets = (Port("in", about["channels"][0]),)  # type: ignore[misc]
            self.outlets = (Port("out", about["channels"][0]),)  # type: ignore[misc]

    def _start(self, workers: int, timeout_s: float) -> None:
        setup = "load", self.path, self.plugin_name, self.state
        self._workers = Workers(FilePath(self.path).name, setup, workers, timeout_s)

    def render(self, jobs: Sequence[Job]) -> list[Audio]:
        """The plugin's own output, computed side by side."""
        named = ((audio, dict(zip(self.spec.names, values.tolist(), strict=True))) for audio, values in jobs)
        tasks = [("play", audio, raw, self.sample_rate, not self.resets) for audio, raw in named]
        return [np.asarray(y, np.float32) for y in self._workers.run(tasks)]

    def live(self, values: Numbers) -> Any:
        """The plugin under raw values, by parameter, as an object of Pedalboard in this process, which it may crash."""
        import pedalboard

        made: Any = pedalboard.load_plugin(self.path, plugin_name=self.plugin_name)
        if self.state is not None:
            made.raw_state = self.state
        for name, value in values.items():
            made.parameters[name].raw_value = value
        return made

    def close(self) -> None:
        """End the plugin's processes now, not with the node; they start again when needed."""
        self._workers.close()

    def get_extra_state(self) -> Tensor:
        """The plugin's state as bytes."""
        return torch.frombuffer(bytearray(self.state or b""), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Take up a state that was saved."""
        self.state = bytes(state.cpu().numpy())
        self.close()
        self._start(self._workers.count, self._workers.timeout_s)

    def extra_repr(self) -> str:
        """Name and file."""
        return f"{self.name}, {self.path}"


def _param(about: dict[str, Any]) -> Param:
    """A plugin's parameter, as its raw value."""
    text = about["label"]
    if about["range"]:
        low, high = about["range"]
        text += f": {low:g}..{high:g} {about['unit']}".rstrip()
    elif about["choices"]:
        text += f": {', '.join(about['choices'])}"
    return Param(0, 1, min(max(about["raw"], 0.0), 1.0), "", doc=text)


class NamedPlugin(PedalboardNode, abstract=True):
    """A plugin of Pedalboard by its name, as a black box: beside its twin of the same parameters, for comparison."""

    def __init__(self, name: str, sample_rate: float, ranges: Ranges | None = None, **options: Any) -> None:
        """The plugin ``name`` with the parameters of the effect of that name; the others stay at their defaults."""
        super().__init__(sample_rate, **options)
        self.plugin_name = name
        self.spec = ParamSpec(REGISTRY[name].declared).narrowed(ranges or {})
        self.surrogate = frozenset({"x", *self.spec.names})  # type: ignore[misc]


def plugin(
    which: Path,
    sample_rate: float,
    parameters: Sequence[str] | None = None,
    ranges: Ranges | None = None,
    **options: Any,
) -> BlackBox:
    """A plugin as a node: a `PluginNode` for a file, a black box of Pedalboard's own for one of its class names.

    >>> plugin("Chorus", 44100, parameters=["rate_hz", "mix"]).spec.names
    ('rate_hz', 'mix')

    Raises PluginError for a name that is neither, SettingsError for a parameter that the plugin does not have.
    """
    name = str(which)
    kind = REGISTRY.get(name)
    if kind is None or not kind.pedalboard or name == "Convolution":  # which is nothing without an impulse response
        if not FilePath(which).exists():
            known = ", ".join(sorted(n for n, kind in REGISTRY.items() if kind.pedalboard and n != "Convolution"))
            raise PluginError(f"{name}: no such file, and no plugin of Pedalboard; those are: {known}")
        return PluginNode(which, sample_rate, ranges, parameters=parameters, **options)
    node = (
        kind(sample_rate, ranges, **options)
        if issubclass(kind, BlackBox)
        else NamedPlugin(name, sample_rate, ranges, **options)
    )
    if parameters is not None:
        if missing := [n for n in parameters if n not in node.spec.names]:
            raise SettingsError(f"{name}: no parameter {missing[0]!r}; there are: {', '.join(node.spec.names)}")
        node.spec = ParamSpec({n: node.spec.params[n] for n in parameters})
    return node
