"""What happens around training steps."""

from pathlib import Path
from typing import Any

import lightning

from diffmix.files import replacing
from diffmix.progress import Advance


class StepCheckpoint(lightning.Callback):
    """Keep the newest state of training in one file, replaced as a whole, so that a kill never leaves half a file."""

    def __init__(self, path: Path, every: int) -> None:
        super().__init__()
        self.path, self.every = path, every

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Save after every ``every`` steps and after the last one."""
        if trainer.global_step % self.every == 0 or trainer.global_step == trainer.max_steps:
            with replacing(self.path) as temporary:
                trainer.save_checkpoint(temporary)


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
