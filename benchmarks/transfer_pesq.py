"""PESQ of speech (ITU-T P.862.2, wide band), by a program beside, where a person has installed one.

The package ``pesq`` is a shell under the MIT licence around ITU's reference code, whose own notice allows it for
evaluation only. So it is neither a dependency nor an extra of diffmix, and never imported here: an interpreter that has
it (``pip install pesq``, which needs a C compiler) is named with ``--pesq`` and run as a process of its own.
"""

import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from diffmix.data import audio

RATE = 16_000
PROGRAM = """
import json, sys
from pesq import PesqError, pesq
import numpy as np
print("ready", flush=True)
for path in sys.stdin:
    truth, *outputs = np.load(path.strip())
    found = [pesq(16000, truth, y, "wb", on_error=PesqError.RETURN_VALUES) for y in outputs]
    print(json.dumps([float(v) if v > 0 else None for v in found]), flush=True)
"""


@dataclass
class Pesq:
    """Scores from 1 to 4.6, of more speech like the truth more."""

    python: Path

    def __post_init__(self) -> None:
        """Start the program. Raises RuntimeError if that interpreter has no pesq."""
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([str(self.python), "-c", PROGRAM], stdin=pipe, stdout=pipe, text=True)
        assert self.process.stdout is not None
        if self.process.stdout.readline().strip() != "ready":
            self.close()
            raise RuntimeError(f"{self.python} cannot import pesq: run it with -m pip install pesq")

    def close(self) -> None:
        """End the program."""
        with self.process:  # which closes its pipes and waits
            self.process.kill()

    def __call__(self, y: Tensor, truth: Tensor, sample_rate: int) -> list[float | None]:
        """Of outputs (B, C, T) beside the truth (C, T), of their middles; None where it finds no speech."""
        middles = [audio.resample(x, sample_rate, RATE) for x in (truth.mean(0, keepdim=True), y.mean(1))]
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / "heard.npy"
            np.save(file, np.concatenate([part.numpy() for part in middles]))
            self.process.stdin.write(f"{file}\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError("pesq stopped")
        found: list[float | None] = json.loads(answer)
        return found
