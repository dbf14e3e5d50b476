"""Progress that a person sees in a terminal and a log can hold."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[float, str], None]
"""Called with the amount done so far and a short text."""


@contextmanager
def progress(title: str, total: float) -> Iterator[Advance]:
    """A progress bar on standard error; where that is no terminal, a line now and then.

    >>> with progress("Training", 100) as advance:
    ...     advance(100, "loss 1.2")
    """
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        # names of files may hold brackets, which are no markup
        columns = (TextColumn("{task.description:<22}", markup=False), BarColumn(), MofNCompleteColumn())
        times = (TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}", markup=False))
        with Progress(*columns, *times, console=Console(stderr=True)) as bar:
            task = bar.add_task(title, total=total, note="")

            def move(done: float, note: str = "") -> None:
                bar.update(task, completed=done, note=note)

            yield move
        return
    begun = last = time.monotonic()

    def line(done: float, note: str = "") -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= 10 or done >= total:
            print(f"{title}: {done:g}/{total:g} in {now - begun:.0f} s  {note}".rstrip(), file=sys.stderr, flush=True)
            last = now

    yield line
