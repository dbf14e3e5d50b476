"""What happens around training steps."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import current_thread, main_thread
from types import FrameType
from typing import Any

import lightning

from diffmix.errors import SettingsError
from diffmix.files import replacing
from diffmix.progress import Advance


class StepCheckpoint(lightning.Callback):
    """Keep the newest state of training in one file, replaced as a whole, so that a kill never leaves half a file.

    ``step`` is the one that is kept, at first that of the run that is gone on with, 0 without one.
    """

    def __init__(self, path: Path, every: int, step: int = 0) -> None:
        super().__init__()
        self.path, self.every = path, every
        self.step = step
        self.asked = False

    @contextmanager
    def asked_by_hand(self) -> Iterator[None]:
        """Ctrl-C lets the step under way end and keeps it; the second one stops at once."""
        if signal.getsignal(signal.SIGINT) is not signal.default_int_handler or current_thread() is not main_thread():
            yield  # somebody else's, or ignored
            return
        owner = os.getpid()

        def ask(number: int, frame: FrameType | None) -> None:
            if self.asked:
                signal.default_int_handler(number, frame)
            self.asked = True
            if os.getpid() == owner:  # processes that load data get the signal too
                print("Stopping after this step; once more stops at once", file=sys.stderr, flush=True)

        signal.signal(signal.SIGINT, ask)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def on_train_batch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule, *_: Any) -> None:
        """Save after every ``every`` steps, after the last one, and where the run is asked to stop.

        Raises SettingsError, and saves nothing, where weights are NaN or infinite.
        """
        stop = self.asked or trainer.received_sigterm
        step = trainer.global_step
        if step % self.every == 0 or step == trainer.max_steps or stop:
            if not all(bool(weights.isfinite().all()) for weights in module.parameters()):
                kept = f"step {self.step} is kept" if self.step else "nothing is kept"
                raise SettingsError(
                    f"the weights are no numbers any more by step {step}, {kept}: a lower system.learning_rate or "
                    "trainer.precision=32-true may help"
                )
            with replacing(self.path) as temporary:
                trainer.save_checkpoint(temporary)
            self.step = step
        if stop:
            raise KeyboardInterrupt

    def on_train_end(self, *_: Any) -> None:
        """Stop a run that was asked to while it was scored behind its last step."""
        if self.asked:
            raise KeyboardInterrupt


class StepProgress(lightning.Callback):
    """Tell a progress bar of every step."""

    def __init__(self, advance: Advance) -> None:
        super().__init__()
        self.advance = advance

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Show the step and the terms of the loss."""
        terms = {
            k.removeprefix("train/"): float(v) for k, v in trainer.callback_metrics.items() if k.startswith("train/")
        }
        self.advance(trainer.global_step, "  ".join(f"{k} {v:.3f}" for k, v in terms.items()))


class ScoringProgress(lightning.Callback):
    """Tell a progress bar of every scored batch."""

    def __init__(self, advance: Advance) -> None:
        super().__init__()
        self.advance = advance

    def on_validation_batch_end(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        number: int,
        *_: Any,
    ) -> None:
        """Show how many batches are done."""
        self.advance(number + 1, "")
