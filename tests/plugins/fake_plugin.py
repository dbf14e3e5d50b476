"""A plugin's process without a plugin: plays ``gain * audio`` and misbehaves as the name of its file says."""

import importlib.util
import os
import sys
import time
from pathlib import Path

import numpy as np

WORKER = Path(__file__).resolve().parents[2] / "diffmix" / "plugins" / "worker.py"
specification = importlib.util.spec_from_file_location("worker", WORKER)
worker = importlib.util.module_from_spec(specification)
specification.loader.exec_module(worker)


class Fake(worker.Host):
    def load(self, path, plugin_name, state):
        self.kind, self.state = Path(path).stem, state or b"factory"
        if self.kind == "broken":
            raise ImportError("the file is no plugin.")

    def describe(self, sample_rate):
        gain = {"raw": 0.25, "label": "Gain", "unit": "dB", "range": [-12.0, 12.0], "choices": []}
        mode = {"raw": 0.0, "label": "Mode", "unit": "", "range": [], "choices": ["warm", "cold"]}
        about = {"name": "Fake", "parameters": {"gain_db": gain, "mode": mode}, "state": self.state}
        return {**about, "channels": [1, 2], "resets": self.kind != "dirty"}

    def play(self, audio, raw, sample_rate, anew):
        if self.kind == "crash" and raw["gain_db"] > 0.9:
            print("out of tune", file=sys.stderr, flush=True)
            os._exit(7)
        if self.kind == "hang":
            time.sleep(60)
        if self.kind == "raise":
            raise RuntimeError("Cannot play that.")
        if self.kind == "who":
            return np.full_like(audio, os.getpid() % 2**20)
        return audio * np.float32(raw["gain_db"] * (2 if anew else 1) * len(self.state))


if __name__ == "__main__":
    worker.Host = Fake
    worker.main()
