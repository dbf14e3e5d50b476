"""A process that runs one plugin: ``python worker.py FD``, started by `diffmix.plugins.workers`.

It needs numpy and pedalboard only, so that it starts quickly, and keeps whatever the plugin does (crash, hang, print)
out of the program that uses it. Over the socket FD it receives ``(command, argument, ...)`` and answers with
``(True, result)`` or ``(False, message)`` until the other end closes.
"""

import sys
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

BESIDE_THE_SOUND = ("current_program", "program", "bypass")  # what some plugins list among their parameters


class Host:
    """The plugin, loaded anew as often as need be."""

    plugin: Any

    def load(self, path, plugin_name, state):
        """Load a plugin from its file, into ``state`` if given."""
        self.origin = path, plugin_name, state
        self.again()

    def again(self):
        """A new instance, which remembers nothing."""
        import pedalboard

        path, plugin_name, state = self.origin
        self.plugin = pedalboard.load_plugin(path, plugin_name=plugin_name)
        if not self.plugin.is_effect:
            raise ValueError("it is an instrument, not an effect")
        if state is not None:
            self.plugin.raw_state = state

    def play(self, audio, raw, sample_rate, anew):
        """Audio (C, T) under raw parameters by name; ``anew``: by an instance that has played nothing before."""
        if anew:
            self.again()
        for name, value in raw.items():
            self.plugin.parameters[name].raw_value = value
        return self.plugin.process(audio, sample_rate)

    def describe(self, sample_rate):
        """What a node needs to know: parameters, state, channels, and whether a reset is one."""
        parameters = {
            name: {
                "raw": p.raw_value,
                "label": p.name,
                "unit": p.label or "",
                "range": [v for v in (p.range or ())[:2] if isinstance(v, (int, float)) and not isinstance(v, bool)],
                "choices": [str(v) for v in p.valid_values] if p.type is not float and p.valid_values else [],
            }
            for name, p in self.plugin.parameters.items()
            if p.is_automatable and name not in BESIDE_THE_SOUND
        }
        state = self.plugin.raw_state
        channels = [c for c in (1, 2) if self.takes(c, sample_rate)]
        if not channels:
            raise ValueError("it takes neither mono nor stereo")
        return {
            "name": self.plugin.name,
            "parameters": parameters,
            "state": state,
            "channels": channels,
            "resets": self.resets(parameters, channels[-1], sample_rate),
        }

    def takes(self, channels, sample_rate):
        """Whether it plays that many channels."""
        try:
            return self.plugin.process(np.zeros((channels, 64), np.float32), sample_rate).shape == (channels, 64)
        except (ValueError, RuntimeError):
            return False

    def resets(self, parameters, channels, sample_rate):
        """Whether an instance that has played something else, under other parameters, plays as a new one does."""
        noise = np.random.default_rng(0).standard_normal((channels, int(sample_rate))).astype(np.float32) / 5
        one = {name: 0.3 + 0.4 * p["raw"] for name, p in parameters.items()}
        other = {name: 0.7 - 0.4 * p["raw"] for name, p in parameters.items()}
        first = self.play(noise, one, sample_rate, True)
        self.play(noise[:, ::-1].copy(), other, sample_rate, False)
        return bool(np.array_equal(first, self.play(noise, one, sample_rate, False)))


def main():
    """Answer until the other end closes."""
    host, other = Host(), Connection(int(sys.argv[1]))
    while True:
        try:
            command, *arguments = other.recv()
        except EOFError:
            return
        try:
            answer = True, getattr(host, command)(*arguments)
        except Exception as error:  # whatever a plugin raises becomes a sentence on the other side
            answer = False, str(error) or type(error).__name__
        other.send(answer)


if __name__ == "__main__":
    main()
