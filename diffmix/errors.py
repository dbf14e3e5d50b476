"""Errors a program can handle: one family, each message a full sentence (what came, where, what is allowed)."""


class DiffmixError(ValueError):
    """Base of every error that a user's input can cause; the command line prints it in one line and exits with 2."""


class AudioError(DiffmixError):
    """A file or array cannot be used as audio: unreadable, empty, not finite, wrong shape or rate."""


class SettingsError(DiffmixError):
    """A knob is unknown or out of its range."""


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
