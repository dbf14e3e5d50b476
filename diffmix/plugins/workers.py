"""Processes of their own for plugins: started when first needed, closed with their owner or the program."""

import os
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Sequence
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import IO, Any, cast

from diffmix.errors import PluginError
from diffmix.plugins import worker

Task = tuple[Any, ...]
"""(method of `diffmix.plugins.worker.Host`, its arguments ...)."""


class Workers:
    """Up to ``count`` processes, each with the plugin ``name`` loaded by the task ``setup``.

    A plugin that raises, crashes or does not answer within ``timeout_s`` seconds ends in a PluginError; the processes
    are then closed, and started anew when next needed. A copy, and a forked process, has processes of its own.
    """

    def __init__(self, name: str, setup: Task, count: int, timeout_s: float = 120) -> None:
        self.name = name
        self.setup = setup
        self.count = count
        self.timeout_s = timeout_s
        self._members: list[_Member] = []
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._close = weakref.finalize(self, _close, self._members)

    def __reduce__(self) -> Any:
        return Workers, (self.name, self.setup, self.count, self.timeout_s)

    def run(self, tasks: Sequence[Task]) -> list[Any]:
        """The results of tasks, in their order; each goes to the next process that is free."""
        with self._lock:
            if self._owner != os.getpid():  # forked: the processes are the parent's
                self._members.clear()
                self._owner = os.getpid()
            try:
                return self._run(tasks)
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """End the processes."""
        _close(self._members)

    def _run(self, tasks: Sequence[Task]) -> list[Any]:
        while len(self._members) < min(self.count, len(tasks)):
            self._members.append(_Member())
            self._members[-1].connection.send(self.setup)  # answered before the first task is
        results: list[Any] = [None] * len(tasks)
        ready = [m for m in self._members if m.set_up]
        busy: dict[Connection, tuple[_Member, int]] = {m.connection: (m, -1) for m in self._members if not m.set_up}
        following = 0
        while busy or following < len(tasks):
            for member in ready:
                if following < len(tasks):
                    self._send(member, tasks[following])
                    busy[member.connection] = member, following
                    following += 1
            ready = []
            answered = wait(list(busy), self.timeout_s)
            if not answered:
                raise PluginError(f"{self.name}: the plugin did not answer within {self.timeout_s:g} s")
            for connection in answered:
                member, index = busy.pop(cast(Connection, connection))
                result = self._receive(member)
                member.set_up = True
                if index >= 0:
                    results[index] = result
                ready.append(member)
        return results

    def _send(self, member: "_Member", task: Task) -> None:
        try:
            member.connection.send(task)
        except OSError:
            raise PluginError(f"{self.name}: {member.obituary()}") from None

    def _receive(self, member: "_Member") -> Any:
        try:
            worked, result = member.connection.recv()
        except (EOFError, OSError):
            raise PluginError(f"{self.name}: {member.obituary()}") from None
        if not worked:
            raise PluginError(f"{self.name}: {result.rstrip('.')}")
        return result


class _Member:
    """One process and the way to it."""

    def __init__(self) -> None:
        self.connection, theirs = Pipe()
        self.set_up = False
        self.said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by _close; a pipe would fill up
        with theirs:
            self.process = subprocess.Popen(
                # -P: the modules beside the script shall not be found in place of the standard library's
                [sys.executable, "-P", str(Path(worker.__file__)), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self.said,
            )

    def obituary(self) -> str:
        """How the process ended, and the last it said."""
        code = self.process.wait(timeout=5)
        self.said.seek(0)
        words = self.said.read().decode(errors="replace").strip().splitlines()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"the plugin's process ended ({how})" + (f"; its last words: {words[-1].strip()}" if words else "")


def _close(members: "list[_Member]") -> None:
    for member in members:
        member.connection.close()  # which the process takes as its end
    for member in members:
        try:
            member.process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            member.process.kill()
            member.process.wait()
        member.said.close()
    members.clear()
