"""Errors a program can handle: one family, each message a full sentence (what came, where, what is allowed)."""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, TypeVar, cast

_Function = TypeVar("_Function", bound=Callable[..., Any])


class DiffmixError(ValueError):
    """Base of every error that a user's input can cause; the command line prints it in one line and exits with 2.

    ``path`` is the file that could not be read, written or understood, or its folder if the error is about several
    files there or none; None where it is about no file: about arrays, values, calls.

    Of a number that its knob's range does not hold, in settings, a lock, a bound or a graph (and of what is no number
    in settings), ``knob`` is the knob's full name (``vox.compressor.ratio``, ``master.gain.gain_db``; the knob alone if
    it is an effect's, ``node.knob`` of a graph), ``value`` what came, (low, high) of a bound, and ``allowed`` the range
    (low, high) in its unit: that of another lock or bound if they contradict each other. All three are None in every
    other error.
    """

    path: Path | None = None
    knob: str | None = None
    value: Any = None
    allowed: tuple[float, float] | None = None

    def of(self, knob: str, value: Any, allowed: tuple[float, float]) -> Self:
        """It with the knob that it is about."""
        self.knob, self.value, self.allowed = knob, value, allowed
        return self


class AudioError(DiffmixError):
    """A file or array cannot be used as audio: unreadable, empty, not finite, wrong shape or rate."""


class SettingsError(DiffmixError):
    """A knob is unknown or out of its range, or something else that was asked for cannot be."""


class PresetError(DiffmixError):
    """A preset file has another format, a later version, or an inconsistent graph."""


class GraphError(DiffmixError):
    """A graph breaks a rule: the message names the node or edge and the rule."""


class CheckpointError(DiffmixError):
    """A checkpoint cannot be used: missing, broken, or written for another set of parameters."""


class OutputError(DiffmixError):
    """The result cannot be written where it was asked for."""


class PluginError(DiffmixError):
    """A plugin made by others cannot be loaded or used, or its process ended."""


def about(parameter: str, kind: type[DiffmixError] = DiffmixError) -> Callable[[_Function], _Function]:
    """A function whose errors of a kind get the file or folder that is its argument ``parameter`` as their path.

    Those that name a file within keep it. A text that is JSON is no path.
    """

    def decorated(function: _Function) -> _Function:
        @functools.wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            try:
                return function(*args, **kwargs)
            except kind as error:
                import inspect

                given = inspect.signature(function).bind(*args, **kwargs).arguments.get(parameter)
                if error.path is None and isinstance(given, str | os.PathLike) and str(given).lstrip()[:1] != "{":
                    error.path = Path(given)
                raise

        return cast(_Function, called)

    return decorated
