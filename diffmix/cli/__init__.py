"""The command ``diffmix``. Each of its commands is a module here, of the same name.

The module's docstring says what the command does, ``arguments`` what may be asked of it, ``run`` how it is done.
"""

import argparse
import contextlib
import os
import signal
import sys
from typing import NoReturn

from diffmix import __version__
from diffmix.cli import automix, demo, describe, doctor, estimate, fit, graph, master, render, sweep, transfer
from diffmix.errors import DiffmixError
from diffmix.files import check_folder

__all__ = ["main", "parser"]

COMMANDS = (automix, render, master, transfer, describe, fit, estimate, graph, sweep, demo, doctor)

# The threads of torch's OpenMP spin while they wait; beside other work on the machine that costs up to ten times more
# than they save. Read when torch is loaded, so commands import it when they run, and only in programs of ours.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Those of numpy's OpenBLAS spin too, know no policy, and what numpy solves here is small. Read when numpy is loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def main(arguments: list[str] | None = None) -> None:
    """Run a command; a user's mistake ends in one sentence on standard error and exit code 2."""
    options = parser().parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        with contextlib.suppress(ValueError):  # only the main thread may; a program that calls this has its own ways
            if signal.getsignal(number) == signal.SIG_DFL:
                signal.signal(number, _ended)
    try:
        if getattr(options, "output", None):
            check_folder(options.output)  # hours of work are not to end with what could have been said at once
        options.run(options)
        sys.stdout.flush()
    except DiffmixError as error:
        print(f"diffmix: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # who reads, as `head` does, has had enough; nothing more is said, not even at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        print("diffmix: stopped", file=sys.stderr)
        sys.exit(130)


def _ended(number: int, frame: object) -> NoReturn:
    """What is being written is taken away when someone else ends the program, as with Ctrl-C."""
    sys.exit(128 + number)


def parser() -> argparse.ArgumentParser:
    """What may be written behind ``diffmix``."""
    whole = argparse.ArgumentParser(
        "diffmix", description="Automatic mixing with settings you can read, change and take along."
    )
    whole.add_argument("--version", action="version", version=f"diffmix {__version__}")
    commands = whole.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in COMMANDS:
        name = command.__name__.rpartition(".")[2]
        own = commands.add_parser(name, help=command.__doc__, description=command.__doc__)
        own.set_defaults(run=command.run)
        command.arguments(own)
    return whole
